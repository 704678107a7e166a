/* Which sources may use a service: `allowed_clients` of the configuration. Threads: any. */
#ifndef UTUN_ROLE_CLIENT_RULES_H
#define UTUN_ROLE_CLIENT_RULES_H

#include <stdbool.h>

#include "config/config.h"
#include "crypto/peer_cert.h"

/* No pattern: all of them. cert is NULL for a source that has shown none: no pattern names it. */
bool client_rules_is_allowed(const struct config_strings *allowed, const struct peer_cert *cert);

#endif
