/*
 * What a dest connects to besides its services: hosts that clients of a source's entry point name,
 * inside [dest.allowed_targets]. A name is resolved here, every address that it has is checked
 * before it is connected to, and no other is; whatever the source allows.
 */
#ifndef UTUN_ROLE_TARGETS_H
#define UTUN_ROLE_TARGETS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "net/pump.h"
#include "role/admission.h"
#include "role/dest_tunnel.h"
#include "role/services.h"
#include "tunnel/frame.h"

/* Of one worker; all of them count together. Embed it. */
struct targets {
    struct admission *admission; /* set by whoever embeds it */
    const struct cidr_list *allowed;
    const struct service *hosts;
    uint32_t timeout_ms;
};

/* The table must live until the next call. */
void targets_set(struct targets *t, const struct services *services);

/* Ends the tunnel's streams and flows, counted in these, that are where they may no longer be. */
void targets_recheck(struct targets *t, struct dest_tunnel *tunnel,
                     const struct pump_stats *streams, const struct flow_stats *flows);

/* Whether it is a host, and no service of this name and port. */
bool targets_is_host(const struct services *services, const struct stream_target *target,
                     enum config_protocol protocol);

/*
 * Connects or refuses a stream whose target is a host, and accounts for it. Takes the stream, which
 * counts in stats.
 */
void targets_open(struct targets *t, struct dest_tunnel *tunnel, struct stream *stream,
                  const struct stream_target *target, struct pump_stats *stats);

/* The same for a flow. stats outlive the worker's flows. */
void targets_open_flow(struct targets *t, struct dest_tunnel *tunnel, struct flow *flow,
                       const struct stream_target *target, struct flow_stats *stats);

#endif
