#include "role/client_rules.h"

bool client_rules_is_allowed(const struct config_strings *allowed, const struct peer_cert *cert)
{
    for (size_t i = 0; cert != NULL && i < allowed->count; i++) {
        if (peer_cert_is_named(cert, allowed->items[i]))
            return true;
    }
    return allowed->count == 0;
}
