/*
 * What a client of the entry point may name, as far as the source can say: a service by its name,
 * and a host inside [source.allowed_outbound]. The dest decides again.
 */
#ifndef UTUN_ROLE_OUTBOUND_H
#define UTUN_ROLE_OUTBOUND_H

#include "base/error.h"
#include "config/config.h"
#include "net/destination.h"
#include "role/reach.h"
#include "tunnel/frame.h"

/* Immutable; shared by all workers. */
struct outbound {
    const struct cidr_list *allowed;
    uint8_t ranges[REACH_RANGES_MAX];
    uint8_t ranges_len;
};

void outbound_init(struct outbound *o, const struct config_source *config);

/*
 * Fills in the target but for its client and local addresses; it refers to o. ERR_NOT_ALLOWED for
 * an address that is not in the list. A name may be one of the dest's services, or a host if the
 * list has any address: what it means only the dest knows, which is told the list.
 */
enum err outbound_target(const struct outbound *o, const struct destination *d,
                         struct stream_target *target) MUST_USE;

#endif
