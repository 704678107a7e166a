#include "role/outbound.h"

#include <assert.h>
#include <string.h>

void outbound_init(struct outbound *o, const struct config_source *config)
{
    memset(o, 0, sizeof(*o));
    o->allowed = &config->allowed_outbound;
    o->ranges_len = (uint8_t)reach_encode(o->allowed, o->ranges);
    /* config/rules.c refuses a list that does not fit. */
    assert(o->ranges_len > 0 || o->allowed->count == 0);
}

enum err outbound_target(const struct outbound *o, const struct destination *d,
                         struct stream_target *target)
{
    struct address a;

    memset(target, 0, sizeof(*target));
    target->port = d->port;
    memcpy(target->name, d->host, sizeof(target->name));
    if (address_parse(&a, d->host, d->port) == ERR_OK) {
        target->kind = STREAM_TARGET_HOST;
        return reach_is_allowed(o->allowed, &a) ? ERR_OK : ERR_NOT_ALLOWED;
    }
    if (o->allowed->count > 0) {
        target->kind = STREAM_TARGET_HOST;
        target->ranges = o->ranges;
        target->ranges_len = o->ranges_len;
    }
    return ERR_OK;
}
