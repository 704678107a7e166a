/*
 * A dest: takes the sessions of any number of sources, which know nothing of each other, and
 * connects their streams to its services.
 *
 *   new ── start ──> running ── stop ──> draining ── on_stopped ──> free
 *
 * Several may run in one process. Threads: all functions from any thread, free not from on_stopped.
 */
#ifndef UTUN_ROLE_DEST_H
#define UTUN_ROLE_DEST_H

#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "crypto/identity.h"
#include "role/role.h"
#include "role/role_state.h"

struct dest;
struct collect_service; /* role/collect.h */
struct collect_workers;
struct metric_text; /* ops/metric_text.h */

/*
 * Takes the tunnel port, with the rights that this needs; sources wait in the kernel's queue. The
 * configuration gets one more owner, the identity may go. On error nothing is left, and d says what
 * failed and what mends it: ERR_ADDR_IN_USE, ERR_PERMISSION, ...
 */
enum err dest_new(struct dest **out, const struct config *config, const struct identity *identity,
                  struct role_owner *owner, struct err_detail *d) MUST_USE;

/*
 * Starts the threads, which take sessions from then on. On error, which detail explains, nothing
 * runs, on_stopped does not come, and only dest_free may follow.
 */
enum err dest_start(struct dest *d, struct err_detail *detail) MUST_USE;

/*
 * Another configuration, that differs in no key that needs a restart (config_keep_fixed), and the
 * identity that goes with it. All of it is made first, and then put in place on every thread; the
 * caller waits. What the new one does not allow any more is ended: tunnels, streams, flows. On
 * error nothing has changed: those of credentials_new, ERR_NOMEM, ERR_SHUTDOWN.
 *
 * One thread at a time, which is neither a worker's nor the one that calls dest_free.
 */
enum err dest_reload(struct dest *d, const struct config *config, const struct identity *identity,
                     struct err_detail *detail) MUST_USE;

/*
 * Certificates, keys or CRLs may have changed: looks at them soon, and when they have, goes on with
 * the new ones and without the sources that they no longer trust. Does not wait.
 */
void dest_look(struct dest *d);

/* The configuration in use; one more owner, for config_free. */
const struct config *dest_config(struct dest *d);

/*
 * Takes no new sessions and streams, and lets streams finish for at most timeout_ms; on_stopped
 * follows. Calling it again can only bring the end nearer.
 */
void dest_stop(struct dest *t, uint32_t timeout_ms);

/*
 * Waits for the end of one that was started: dest_stop must have been called, or on_stopped have
 * come. NULL is fine.
 */
void dest_free(struct dest *t);

/* The tunnel port that is really listened on: where the configuration says 0, the kernel chose. */
uint16_t dest_port(const struct dest *t);

/*
 * What it is doing now (role/role_state.h); waits for its workers for at most timeout_ms, and may
 * not be called on a worker's thread. *out is for role_state_free. ERR_NOMEM, ERR_LIMIT.
 */
enum err dest_state(struct dest *t, uint32_t timeout_ms, struct role_state **out) MUST_USE;

/* Its workers, for questions to all of them (role/pulse.h); lives as long as the dest. */
struct role_state_owner *dest_crew(struct dest *t);

/*
 * What it has counted (role/collect.h). Any thread; nothing waits for a worker. dest_collect is all
 * of it, for the metrics page; dest_sum adds up its workers, to what is in sum; dest_get_service
 * is false when index is behind the last service.
 */
void dest_collect(struct dest *d, struct metric_text *m);
void dest_sum(struct dest *d, struct collect_workers *sum);
void dest_get_expiries(struct dest *d, struct identity_expiries *out);
bool dest_get_service(struct dest *d, size_t index, struct collect_service *out);

#endif
