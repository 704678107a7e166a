/*
 * How UTun speaks TLS (docs/PROTOCOL.md, section 3.1): version, suites, groups, signatures,
 * certificates. Made once for an identity and shared by all its handshakes.
 *
 * Any thread may make channels of one context at the same time. A context may be freed while they
 * still live; so may the identity it was made of.
 */
#ifndef UTUN_CRYPTO_TLS_CONTEXT_H
#define UTUN_CRYPTO_TLS_CONTEXT_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/identity.h"
#include "crypto/key_schedule.h"

/*
 * Certificate messages beyond this are refused: room for five certificates of the largest kind,
 * ML-DSA-87.
 */
#define TLS_CERTIFICATES_MAX ((size_t)40 * 1024)

/* Who has to show a certificate. Anything but the first is for operators who have said so. */
enum tls_auth {
    TLS_AUTH_MUTUAL,      /* both */
    TLS_AUTH_SERVER_ONLY, /* the dest; it asks a source for none */
    TLS_AUTH_NONE,        /* the dest shows one that the source does not check: no protection
                             against an attacker in the middle */
};

struct tls_context;

/*
 * The role is identity_use(id). A dest needs a certificate of its own, a source does too with
 * TLS_AUTH_MUTUAL: ERR_CONFIG. ERR_CRYPTO where OpenSSL refuses the certificate or key (too weak,
 * of an unknown kind), ERR_NOMEM. *out is NULL on error and d (may be NULL) says why.
 */
enum err tls_context_new(struct tls_context **out, const struct identity *id, enum kem_mode mode,
                         enum tls_auth auth, struct err_detail *d) MUST_USE;

/* NULL is fine. */
void tls_context_free(struct tls_context *c);

enum identity_use tls_context_role(const struct tls_context *c);
enum kem_mode tls_context_kem_mode(const struct tls_context *c);
enum tls_auth tls_context_auth(const struct tls_context *c);

/* The group that a session of this mode must have agreed on. Static. */
const char *tls_context_group(enum kem_mode mode);

/* What OpenSSL's callbacks leave behind while a handshake runs. */
struct tls_notes {
    bool is_done;        /* to be set by the channel: no handshake message may follow */
    bool is_disturbed;   /* one did */
    bool is_alpn_wrong;  /* the source does not offer ours */
    bool own_cert_asked; /* the dest has asked a source for its certificate */
    char refused[256];   /* common name of a certificate that did not verify */
};

/* For tls_channel: a new SSL of the context; NULL when out of memory. notes live as long as it. */
SSL *tls_context_make(const struct tls_context *c, struct tls_notes *notes);

#endif
