/*
 * The certificates, keys and CRLs that a role's handshakes go by, read again while it runs.
 *
 *   in use ──a file has changed, or a refresh wants them afresh──> read and check the whole set
 *      ├── good: it takes the old one's place
 *      └── bad: logged once with the reason; the old set stays in use
 *
 * Files are looked at (stat) when a handshake begins, at most once in CREDENTIALS_LOOK_US. A set is
 * never mixed of old and new files: what was read while somebody was still replacing files fails
 * its check, or is read again when the next look finds another change.
 *
 * Threads: one at a time; the handshake thread's, once the role runs.
 */
#ifndef UTUN_ROLE_CREDENTIALS_H
#define UTUN_ROLE_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "crypto/identity.h"
#include "crypto/tls_context.h"

#define CREDENTIALS_LOOK_US ((uint64_t)1000 * 1000)

/* A bad set is tried again after this even if no file changes: it may just not be valid yet. */
#define CREDENTIALS_AGAIN_US ((uint64_t)5 * 1000 * 1000)

struct credentials;

/*
 * Of the identity, which names the role and may go afterwards; the configuration names the files,
 * and gets one more owner. Where the configuration gives up a part of authentication it is logged
 * ("auth.insecure"), here and never again. Errors of tls_context_new, ERR_NOMEM; d says why.
 */
enum err credentials_new(struct credentials **out, const struct config *config,
                         const struct identity *identity, struct err_detail *d) MUST_USE;

/* NULL is fine. Handshakes that have begun do not need them any more. */
void credentials_free(struct credentials *c);

/*
 * Takes over what fresh has, and frees it: other files, or a set of the same that is known to be
 * good. Counters go on. On the thread of credentials_use; it never fails.
 */
void credentials_adopt(struct credentials *c, struct credentials *fresh);

enum credentials_when {
    CREDENTIALS_IF_CHANGED,
    CREDENTIALS_AFRESH, /* read and checked even if no file seems to have changed */
};

/* What a handshake that begins now goes by. Live until the next call; never NULL. */
const struct tls_context *credentials_use(struct credentials *c, enum credentials_when when,
                                          uint64_t now_us);

/* What was read last was not good: worth a look again, also when no file changes. */
bool credentials_is_bad(const struct credentials *c);

/* Any thread: of the set in use; how often files were read again, by how that ended. */
void credentials_get_expiries(const struct credentials *c, struct identity_expiries *out);
void credentials_get_reloads(const struct credentials *c, uint64_t counts[ERR_COUNT]);
/* Who is trusted by what is in use, as identity_store. Borrowed until the next credentials_use. */
X509_STORE *credentials_store(const struct credentials *c);

/* Of a set that has never been renewed. */
#define CREDENTIALS_FIRST 1

/* Another number whenever another set has come into use. */
uint64_t credentials_generation(const struct credentials *c);

/* How often the role's own certificate has become another; at first 0. */
uint64_t credentials_renewals(const struct credentials *c);

#endif
