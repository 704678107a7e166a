/*
 * Which sources may use which service: `allowed_clients` of the configuration, read again when the
 * file changes. Nothing else of the file takes effect while the dest runs; a file that is not good
 * changes nothing.
 *
 * Threads: client_rules_is_allowed from any; look from one at a time.
 */
#ifndef UTUN_ROLE_CLIENT_RULES_H
#define UTUN_ROLE_CLIENT_RULES_H

#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"
#include "crypto/peer_cert.h"

struct client_rules;

/* The configuration must outlive the rules. ERR_NOMEM. */
enum err client_rules_new(struct client_rules **out, const struct config *config) MUST_USE;

/* NULL is fine. */
void client_rules_free(struct client_rules *r);

/*
 * Looks whether the file is another than the one that was read last, and reads it. True: there are
 * new rules; it is logged ("rules.reloaded", or "rules.reload_failed" and nothing changes).
 */
bool client_rules_look(struct client_rules *r);

/* Of a service by its name; cert is NULL for a source that has shown none. */
bool client_rules_is_allowed(struct client_rules *r, const char *service,
                             const struct peer_cert *cert);

#endif
