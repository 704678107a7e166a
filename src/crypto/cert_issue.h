/*
 * Issues X.509 v3 certificates (RFC 5280): a CA of its own, and the certificates of dests
 * (servers) and sources (clients) signed by it.
 *
 * Every certificate has a random 159-bit serial, subject and authority key identifiers, critical
 * basicConstraints and keyUsage. A CA may sign leaves only (pathlen 0) and CRLs. A leaf is for
 * digitalSignature and for serverAuth or clientAuth, never both: a server's certificate stolen from
 * a dest is no use to a source.
 */
#ifndef UTUN_CRYPTO_CERT_ISSUE_H
#define UTUN_CRYPTO_CERT_ISSUE_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/cert_key.h"

/* Default lifetimes, and the longest that is accepted. */
#define CERT_ISSUE_CA_DAYS   3650
#define CERT_ISSUE_LEAF_DAYS 365
#define CERT_ISSUE_MAX_DAYS  36500

/* How far back a validity starts, for machines whose clocks are behind ours. */
#define CERT_ISSUE_BACKDATE_SECONDS 300

enum cert_issue_kind {
    CERT_ISSUE_CA,
    CERT_ISSUE_SERVER,
    CERT_ISSUE_CLIENT,
};

struct cert_issue_request {
    enum cert_issue_kind kind;
    enum cert_key_algorithm algorithm; /* of the new key; the CA signs with its own */
    const char *common_name;           /* UTF-8, 1 to 64 characters */

    /*
     * Comma-separated lists for the SAN, NULL for none; not for a CA. Without any of the three a
     * server takes its common name, which must then be a DNS name or an address, and a client takes
     * it where it is one.
     */
    const char *dns_names;
    const char *ip_addresses;
    const char *uris;

    int days; /* from now; 0: the default of the kind */

    /* Seconds since 1970; 0: from the clock and days. Any past or future is allowed. */
    int64_t not_before;
    int64_t not_after;

    /* The CA that signs a leaf; NULL for a CA, which signs itself. Borrowed. */
    X509 *issuer;
    EVP_PKEY *issuer_key;
};

struct cert_issue_result {
    X509 *cert;
    EVP_PKEY *key;
    bool is_clamped; /* ends earlier than asked for: with its CA, since it cannot outlive it */
};

/*
 * Generates a key pair and the certificate for it. On success free with cert_issue_result_fini; on
 * error *out is empty. ERR_USAGE: something in the request, as d says; ERR_KEY_MISMATCH,
 * ERR_CERT_PURPOSE, ERR_CERT_EXPIRED: the issuer's key is another's, it is no CA, it has expired;
 * ERR_CRYPTO, ERR_RANDOM, ERR_NOMEM.
 */
enum err cert_issue(struct cert_issue_result *out, const struct cert_issue_request *request,
                    struct err_detail *d) MUST_USE;

void cert_issue_result_fini(struct cert_issue_result *r);

#endif
