/*
 * Issues the revocation lists of a CA (RFC 5280, section 5): a first one, or the next, which goes
 * on with the one before.
 *
 * The next list has every entry of the one before as it was, whether its certificate has expired or
 * not, and a CRL number (5.2.3) that is greater by one. A list is version 2, points to its CA by an
 * authority key identifier, is for all certificates of that CA, and complete: a delta CRL, or one
 * for a part of them or for those of other CAs, is not gone on with.
 */
#ifndef UTUN_CRYPTO_CRL_ISSUE_H
#define UTUN_CRYPTO_CRL_ISSUE_H

#include <stddef.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/attr.h"
#include "base/error.h"

/* Until the next list is due: as a rule, and at most. */
#define CRL_ISSUE_DAYS     30
#define CRL_ISSUE_MAX_DAYS 3650

/* Bytes of the longest serial or CRL number (RFC 5280, 4.1.2.2 and 5.2.3). */
#define CRL_ISSUE_NUMBER_SIZE 20

/* What is to be revoked: a certificate, which the CA must have issued, or just a serial. */
struct crl_issue_entry {
    X509 *cert;                 /* NULL: the serial is given */
    const ASN1_INTEGER *serial; /* NULL: that of the certificate */
    const char *path;           /* of the certificate, for errors */
};

struct crl_issue_request {
    X509 *issuer;
    EVP_PKEY *issuer_key;

    X509_CRL *previous;        /* NULL: it is the first list */
    const char *previous_path; /* for errors */

    const struct crl_issue_entry *entries;
    size_t entry_count;
    int days; /* from now until the next list is due; 0: CRL_ISSUE_DAYS */
};

struct crl_issue_result {
    X509_CRL *crl;
    size_t added; /* entries of the request that were not in the list */
    size_t known; /* those that were, or that are twice in the request: they keep their date */
};

/*
 * All of the request is borrowed. On success free with crl_issue_result_fini; on error *out is
 * empty. ERR_KEY_MISMATCH, ERR_CERT_PURPOSE, ERR_CERT_EXPIRED, ERR_CERT_NOT_YET: the issuer's key
 * is another's, it may sign no CRLs, it is not valid now. ERR_CERT_UNTRUSTED: the previous list or
 * a certificate is not this CA's. ERR_CERT_FORMAT: the previous list cannot be gone on with.
 * ERR_CONFIG: it is from the future. ERR_USAGE: something in the request. ERR_CRYPTO, ERR_NOMEM.
 */
enum err crl_issue(struct crl_issue_result *out, const struct crl_issue_request *request,
                   struct err_detail *d) MUST_USE;

void crl_issue_result_fini(struct crl_issue_result *r);

/*
 * A serial as `utun cert show` and openssl print it: hexadecimal digits, with colons between them
 * or not. Free with ASN1_INTEGER_free. ERR_USAGE, ERR_NOMEM.
 */
enum err crl_issue_parse_serial(ASN1_INTEGER **out, const char *text,
                                struct err_detail *d) MUST_USE;

#endif
