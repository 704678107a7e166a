/*
 * Tells the service manager (ops/systemd.h) how a role that runs is: that it is ready, what it does
 * (`systemctl status`), that it is alive. Alive means that the loop of each worker has turned since
 * the last time, and the daemon's own: a timer alone would praise a process that hangs.
 *
 *   open ──> start ──> stopping ──> close, and the loop once more ──> free
 *                └─> reloading ──> ready
 *
 * Without a service manager every call does nothing. Threads: the loop's.
 */
#ifndef UTUN_ROLE_SUPERVISOR_H
#define UTUN_ROLE_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "config/config.h"
#include "ops/systemd.h"
#include "role/dest.h"
#include "role/pulse.h"
#include "role/source.h"
#include "role/status.h"

/* Embed it; its fields are its own. */
struct supervisor {
    struct systemd systemd;
    struct status_subject subject;
    struct pulse *pulse; /* NULL: nobody asks whether we are alive */
    uv_timer_t beat;
    uv_timer_t look;
    uv_work_t looking;
    bool is_open;      /* the timers are */
    uint64_t pause_ms; /* before the next look */
    char seen[300];    /* of the look that is under way */
    char shown[300];   /* what the manager was told last */
};

/* Before there are threads, and before rights to open sockets are given up. Logs what is wrong. */
void supervisor_open(struct supervisor *s);

/* The role runs and its ports are taken. All of the arguments outlive it. One of the two is NULL.
 */
enum err supervisor_start(struct supervisor *s, uv_loop_t *loop, struct reloader *reloader,
                          struct source *source, struct dest *dest) MUST_USE;

/* A reload begins; supervisor_ready ends it, however it went. */
void supervisor_reloading(const struct supervisor *s);
void supervisor_ready(const struct supervisor *s);

void supervisor_stopping(const struct supervisor *s, uint32_t timeout_ms);

/* Closes its handles; harmless when it was not started. */
void supervisor_close(struct supervisor *s);

/* When the loop has ended and the role's workers are freed. */
void supervisor_free(struct supervisor *s);

#endif
