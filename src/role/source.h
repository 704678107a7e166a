/*
 * A source: listens where its clients are, keeps one tunnel to the dest for each worker, and
 * forwards each client's connection as a stream.
 *
 *   new ── start ──> running ── stop, or giving up for good ──> draining ── on_stopped ──> free
 *
 * Several may run in one process. Threads: all functions from any thread, free not from on_stopped.
 */
#ifndef UTUN_ROLE_SOURCE_H
#define UTUN_ROLE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "config/config.h"
#include "crypto/identity.h"
#include "role/role.h"
#include "role/role_state.h"
#include "role/session_log.h"

struct source;
struct collect_service; /* role/collect.h */
struct collect_workers;
struct metric_text; /* ops/metric_text.h */

/*
 * Takes the ports, with the rights that this needs; clients wait in the kernel's queue. The
 * configuration gets one more owner, the identity may go. On error nothing is left, and d says what
 * failed and what mends it: ERR_ADDR_IN_USE, ERR_PERMISSION, ...
 */
enum err source_new(struct source **out, const struct config *config,
                    const struct identity *identity, struct role_owner *owner,
                    struct err_detail *d) MUST_USE;

/* Its Unix sockets become that user's, as whom it will go on. Between new and start. */
void source_give_files(const struct source *s, uid_t uid, gid_t gid);

/*
 * Starts the threads: clients are accepted from then on and wait for the first session. On error,
 * which d explains, nothing runs, on_stopped does not come, and only source_free may follow.
 */
enum err source_start(struct source *s, struct err_detail *d) MUST_USE;

/*
 * Another configuration, that differs in no key that needs a restart (config_keep_fixed), and the
 * identity that goes with it. All of it is made first, new ports too, and then put in place on
 * every thread; the caller waits. On error nothing has changed, and d says why: a port that is in
 * use (no other is taken in its place, as it is at the start), those of credentials_new and
 * client_table_new, ERR_NOMEM, ERR_SHUTDOWN.
 *
 * One thread at a time, which is neither a worker's nor the one that calls source_free.
 */
enum err source_reload(struct source *s, const struct config *config,
                       const struct identity *identity, struct err_detail *d) MUST_USE;

/* The configuration in use; one more owner, for config_free. */
const struct config *source_config(struct source *s);

/*
 * Certificates, keys or CRLs may have changed: looks at them soon, and when they have, goes on with
 * the new ones and without the sessions of dests that they no longer trust. Does not wait.
 */
void source_look(struct source *s);

/*
 * Accepts nothing new and lets streams finish for at most timeout_ms; on_stopped follows. Calling
 * it again can only bring the end nearer.
 */
void source_stop(struct source *s, uint32_t timeout_ms);

/*
 * Waits for the end of one that was started: source_stop must have been called, or on_stopped have
 * come. NULL is fine.
 */
void source_free(struct source *s);

/* The port that is really listened on for an exposed one of TCP; 0 when it is none of ours. */
uint16_t source_port(struct source *s, uint16_t exposed_port);

/* The latest session that came up; false while there has been none. */
bool source_session(struct source *s, struct session_view *view);

/*
 * What it is doing now (role/role_state.h); waits for its workers for at most timeout_ms, and may
 * not be called on a worker's thread. *out is for role_state_free. ERR_NOMEM, ERR_LIMIT.
 */
enum err source_state(struct source *s, uint32_t timeout_ms, struct role_state **out) MUST_USE;

/* Its workers, for questions to all of them (role/pulse.h); lives as long as the source. */
struct role_state_owner *source_crew(struct source *s);

/*
 * What it has counted (role/collect.h). Any thread; nothing waits for a worker. source_collect is
 * all of it, for the metrics page; source_sum adds up its workers, to what is in sum;
 * source_get_service is false when index is behind the last service.
 */
void source_collect(struct source *s, struct metric_text *m);
void source_sum(struct source *s, struct collect_workers *sum);
void source_get_expiries(struct source *s, struct identity_expiries *out);
bool source_get_service(struct source *s, size_t index, struct collect_service *out);

#endif
