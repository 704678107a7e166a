/* What source and dest have in common. */
#ifndef UTUN_ROLE_ROLE_H
#define UTUN_ROLE_ROLE_H

#include "base/error.h"
#include "config/config.h"
#include "crypto/identity.h"
#include "crypto/key_schedule.h"
#include "crypto/tls_context.h"

/* Embed it in what runs a role, and fill it in. */
struct role_owner {
    /*
     * Every worker has stopped: call the role's free. Once, on a worker's thread. ERR_OK after a
     * stop that was asked for; otherwise what made it impossible to go on, which is logged already.
     */
    void (*on_stopped)(struct role_owner *owner, enum err why);
};

enum kem_mode role_kem_mode(const struct config *config);

/* How this role, which the identity names, speaks TLS. The context keeps what it needs of both. */
enum err role_tls_context(struct tls_context **out, const struct config *config,
                          const struct identity *identity, struct err_detail *d) MUST_USE;

/* What is logged from now on, and how, to standard error. */
void role_set_log(const struct config *config);

#endif
