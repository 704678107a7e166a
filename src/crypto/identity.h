/*
 * Who we are and whom we trust: our certificate chain and private key, and the CAs (and CRLs) that
 * decide about the peer. Loaded and checked once at start and at each reload, then read-only.
 *
 * A struct identity is immutable after identity_load; any thread may read it, and the OpenSSL
 * objects it lends may be used by many SSL_CTX at once (OpenSSL counts references). Every object
 * an accessor returns is borrowed: it lives as long as the identity.
 */
#ifndef UTUN_CRYPTO_IDENTITY_H
#define UTUN_CRYPTO_IDENTITY_H

#include <stdint.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/attr.h"
#include "base/error.h"

enum identity_use {
    IDENTITY_SOURCE, /* a TLS client: needs EKU clientAuth */
    IDENTITY_DEST,   /* a TLS server: needs EKU serverAuth */
};

enum identity_key_access {
    IDENTITY_KEY_OWNER_ONLY, /* refuse a key file that group or others may read or write */
    IDENTITY_KEY_ANY_MODE,   /* for secrets mounted by an orchestrator with a fixed mode */
};

struct identity_files {
    const char *cert_path; /* PEM (leaf first, then intermediates) or DER; NULL: no certificate */
    const char *key_path;  /* PEM or DER, unencrypted; NULL exactly when cert_path is NULL */
    const char *ca_path;   /* PEM (one or more) or DER; NULL only for a dest that verifies nobody:
                              with no trust anchor, every peer that is verified is refused */
    const char *crl_path;  /* PEM (one or more) or DER; NULL: no revocation check */
    enum identity_use use;
    enum identity_key_access key_access;
};

struct identity;

/*
 * Loads and checks all of it: the key matches the leaf, the leaf is valid now and allows the use,
 * every certificate of ca_path is a CA and at least one is valid now, every CRL is current and
 * signed by one of those CAs where that CA is in the bundle. A certificate without the EKU
 * extension is for no use (trust_is_for).
 *
 * On error *out is NULL, and d (may be NULL) names the file, what is wrong and what mends it; where
 * access is the matter also the file's owner and mode. Returns ERR_NOT_FOUND, ERR_PERMISSION,
 * ERR_IO, ERR_TOO_LARGE, ERR_CERT_FORMAT, ERR_KEY_MODE, ERR_KEY_MISMATCH, ERR_CERT_EXPIRED,
 * ERR_CERT_NOT_YET, ERR_CERT_PURPOSE, ERR_CERT_UNTRUSTED (a CRL not signed by its CA), ERR_CONFIG
 * (files missing from the set) or ERR_NOMEM. Blocks on file input.
 */
enum err identity_load(struct identity **out, const struct identity_files *files,
                       struct err_detail *d) MUST_USE;

/* Frees and wipes the private key once no SSL_CTX refers to it any more. NULL is fine. */
void identity_free(struct identity *id);

/* Borrowed. NULL when the identity has no certificate of its own. */
X509 *identity_leaf(const struct identity *id);
EVP_PKEY *identity_key(const struct identity *id);

/* Borrowed. The intermediates, without leaf; never NULL, possibly empty. */
STACK_OF(X509) *identity_chain(const struct identity *id);

/*
 * Borrowed, never NULL. Verifies peers: the CAs are its trust anchors, and CRLs count as
 * trust_store_new says. Purpose and host name are the caller's to set (X509_VERIFY_PARAM). Give it
 * to SSL_CTX_set1_cert_store.
 */
X509_STORE *identity_store(const struct identity *id);

enum identity_use identity_use(const struct identity *id);

/* Seconds since 1970 at which the first certificate of our chain expires; INT64_MAX without one. */
int64_t identity_expiry(const struct identity *id);

/* When things are over, in seconds since 1970; INT64_MAX for what there is none of. */
struct identity_expiries {
    int64_t own; /* the first of our chain */
    int64_t ca;  /* the first CA of the bundle */
    int64_t crl; /* the first CRL to be out of date */
};

void identity_get_expiries(const struct identity *id, struct identity_expiries *out);

#define IDENTITY_FINGERPRINT_TEXT 65
#define IDENTITY_SERIAL_TEXT      64 /* 20 bytes (RFC 5280, 4.1.2.2) with colons, and a NUL */
#define IDENTITY_ISSUER_TEXT      260

/* A certificate as a log line shows it. Plain bytes, no ownership; always NUL-terminated. */
struct identity_name {
    char common_name[260];   /* UTF-8; control characters as \xNN; "" when there is none */
    char alt_names[512];     /* "DNS:a, IP:192.0.2.1, URI:x"; cut with "..." when longer */
    uint8_t fingerprint[32]; /* SHA-256 of the DER certificate */
    char fingerprint_hex[IDENTITY_FINGERPRINT_TEXT];
    char serial[IDENTITY_SERIAL_TEXT]; /* "1A:2B", as openssl prints it */
    char issuer[IDENTITY_ISSUER_TEXT]; /* "CN=x, O=y"; as common_name, and cut like alt_names */
    int64_t expires_at;                /* seconds since 1970; INT64_MAX when it cannot be read */
};

/* Never fails: a field that cannot be read is left empty. */
void identity_of_cert(struct identity_name *out, const X509 *cert);

/*
 * The enum err for an X509_V_ERR_* (from SSL_get_verify_result or X509_STORE_CTX_get_error):
 * ERR_OK for X509_V_OK, ERR_CERT_EXPIRED, ERR_CERT_NOT_YET, ERR_CERT_PURPOSE, ERR_CERT_NAME,
 * ERR_CERT_REVOKED, ERR_NOMEM, and ERR_CERT_UNTRUSTED for everything else. *text (text may be
 * NULL) is a static sentence for people that says what is wrong and what mends it.
 */
enum err identity_verify_error(long verify_result, const char **text);

#endif
