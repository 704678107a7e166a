/*
 * The certificate that a peer has shown and proven, kept as long as its tunnel lives: whom a rule
 * names, and whether it would still be accepted when CAs or CRLs have changed.
 *
 * One thread at a time.
 */
#ifndef UTUN_CRYPTO_PEER_CERT_H
#define UTUN_CRYPTO_PEER_CERT_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/x509.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/identity.h"

struct peer_cert;

struct peer_cert_options {
    X509 *leaf;
    STACK_OF(X509) *sent;  /* what the peer has sent with it; may be NULL */
    STACK_OF(X509) *path;  /* up to a CA that is trusted, leaf first; NULL: was not verified */
    enum identity_use use; /* what the peer is */
    const char *host;      /* whom it has to name, copied; NULL: anybody, a source */
};

/* Refers to the certificates. ERR_NOMEM. */
enum err peer_cert_new(struct peer_cert **out, const struct peer_cert_options *options) MUST_USE;

/* NULL is fine. */
void peer_cert_free(struct peer_cert *p);

/*
 * Whether the pattern names the peer: it equals a common name of the subject, a DNS name or a URI
 * among the subject alternative names; or it is "*.example.org" and a DNS name or common name is
 * one label in front of ".example.org" (RFC 6125, 6.4.3). DNS names are compared without regard to
 * case, everything else byte by byte. A wildcard inside the certificate stands for itself only:
 * a CA that gives one to a client has not said which client it is.
 */
bool peer_cert_is_named(const struct peer_cert *p, const char *pattern);

/*
 * The last second, since 1970, at which all certificates are valid that the peer's was trusted by
 * when it was last verified; INT64_MAX where it never was.
 */
int64_t peer_cert_until(const struct peer_cert *p);

/* ERR_CERT_EXPIRED when that is over now; *why (may be NULL) is then a static sentence. */
enum err peer_cert_check_time(const struct peer_cert *p, const char **why) MUST_USE;

/*
 * Whether the peer would be accepted now by that store (identity_store): chain, validity, purpose,
 * host, revocation. Otherwise ERR_CERT_..., and *why (may be NULL) is a static sentence.
 */
enum err peer_cert_verify(struct peer_cert *p, X509_STORE *store, const char **why) MUST_USE;

#endif
