/*
 * The admin endpoint of a role that runs: /metrics, /health, /ready, /status and the page on /.
 *
 *   open (takes the port) ──> serve ──> close
 *
 * Threads: the caller's; requests are answered on the server's own (ops/admin_server.h), which
 * reads counters and asks workers by mailbox (role/role_state.h).
 */
#ifndef UTUN_ROLE_ADMIN_H
#define UTUN_ROLE_ADMIN_H

#include "base/error.h"
#include "config/config.h"
#include "role/dest.h"
#include "role/reloader.h"
#include "role/source.h"

struct admin;

/*
 * Takes the port, so that a port in use is known before anything else runs. *out is NULL where the
 * endpoint is not enabled. config is only read. On error d says what
 * failed and what mends it: ERR_ADDR_IN_USE, ERR_PERMISSION, ...
 */
enum err admin_open(struct admin **out, const struct config *config, struct err_detail *d) MUST_USE;

/*
 * Begins to answer, for one of the two; logs "admin.listening". a may be NULL. The reloader
 * outlives it too.
 */
enum err admin_serve(struct admin *a, struct source *source, struct dest *dest,
                     struct reloader *reloader, struct err_detail *d) MUST_USE;

/* Before the role is freed. NULL is fine. */
void admin_close(struct admin *a);

#endif
