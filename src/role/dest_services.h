/*
 * The services of a dest as one worker sees them: connects the streams and flows that sources ask
 * for, where rules and limits allow it, accounts for each, and ends those that are no longer
 * allowed. Threads: the worker's, but for the last two.
 */
#ifndef UTUN_ROLE_DEST_SERVICES_H
#define UTUN_ROLE_DEST_SERVICES_H

#include "base/error.h"
#include "config/config.h"
#include "net/pump.h"
#include "net/worker.h"
#include "role/admission.h"
#include "role/dest_tunnel.h"
#include "role/services.h"
#include "role/targets.h"

struct dest_service;

/* Embed it in what the worker keeps; config, table, targets and admission are set. Fields are its
 * own. */
struct dest_services {
    const struct config *config;
    struct services *table;
    struct targets *targets; /* hosts that clients may name besides */
    struct admission *admission;
    struct dest_service *items; /* in the order of the table */
    struct pump_stats hosts;    /* of streams to hosts that clients name */
    struct flow_stats host_flows;
};

/* ERR_NOMEM. */
enum err dest_services_init(struct dest_services *s) MUST_USE;

/* When the worker has stopped. Harmless where init has failed or was not called. */
void dest_services_fini(struct dest_services *s);

/* Answers on_open and on_flow of struct dest_tunnels. */
void dest_services_open(struct dest_services *s, struct dest_tunnel *t, struct stream *stream,
                        const struct stream_target *target);
void dest_services_flow(struct dest_services *s, struct dest_tunnel *t, struct flow *flow,
                        const struct stream_target *target);

/* Ends the tunnel's streams and flows to services that its source may no longer use. */
void dest_services_recheck(struct dest_services *s, struct dest_tunnel *t);

/* Any thread, for counters: of the service of that index in the table. */
const struct pump_stats *dest_services_pumps(const struct dest_services *s, size_t index);
const struct flow_stats *dest_services_flows(const struct dest_services *s, size_t index);

#endif
