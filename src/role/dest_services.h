/*
 * The services of a dest as one worker sees them: connects the streams and flows that sources ask
 * for, where rules and limits allow it, accounts for each, and ends those that are no longer
 * allowed.
 *
 *   change_new (any thread, may fail) ──> change (the worker's, cannot) ──> change_free
 *
 * A service that is gone from the new table ends its streams and flows. One that leads elsewhere
 * keeps them where they are; who comes next goes to the new target.
 *
 * Threads: the worker's, but for _new, _free, and the two for counters.
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

struct dest_services_change;

/* Embed it in what the worker keeps; admission, worker and hosts.admission are set. Fields are its
 * own. */
struct dest_services {
    struct admission *admission;
    struct worker *worker;
    struct services *table;       /* NULL until dest_services_init */
    struct targets hosts;         /* that clients may name besides */
    struct dest_service **items;  /* in the order of the table */
    struct list retired;          /* services that are gone and still have streams or flows */
    struct worker_task reap;      /* of those of them that have none any more */
    struct pump_stats host_pumps; /* of streams to hosts that clients name */
    struct flow_stats host_flows;
};

/* Becomes an owner of the table. ERR_NOMEM. */
enum err dest_services_init(struct dest_services *s, struct services *table) MUST_USE;

/* When the worker has stopped. Harmless where init has failed or was not called. */
void dest_services_fini(struct dest_services *s);

/* All that another table takes, for one worker. ERR_NOMEM. */
enum err dest_services_change_new(struct dest_services_change **out,
                                  struct services *table) MUST_USE;

/* NULL is fine; also one that was not used. */
void dest_services_change_free(struct dest_services_change *change);

/*
 * The change's table from here on. match is services_match of it and the one in use. Streams and
 * flows of services that are gone, of all tunnels, are ended; for the rest see recheck.
 */
void dest_services_change(struct dest_services *s, struct dest_services_change *change,
                          const size_t *match, const struct dest_tunnels *tunnels);

/* Answers on_open and on_flow of struct dest_tunnels. */
void dest_services_open(struct dest_services *s, struct dest_tunnel *t, struct stream *stream,
                        const struct stream_target *target);
void dest_services_flow(struct dest_services *s, struct dest_tunnel *t, struct flow *flow,
                        const struct stream_target *target);

/* Ends the tunnel's streams and flows that its source may no longer have. */
void dest_services_recheck(struct dest_services *s, struct dest_tunnel *t);

/*
 * For counters: of the service of that index in the table. Any thread, while nothing changes the
 * table.
 */
const struct pump_stats *dest_services_pumps(const struct dest_services *s, size_t index);
const struct flow_stats *dest_services_flows(const struct dest_services *s, size_t index);

#endif
