/*
 * Timers: `beat` four times in the manager's watchdog interval. It says that all is well if every
 * worker has answered the last question, and asks the next; a worker that hangs is noticed at the
 * second beat from then on, and the manager acts one interval after the last good one. `look`: how
 * the role is, taken on a thread of libuv's pool, since it waits for the workers; LOOK_MS after it
 * was another than before, then after ever longer pauses, so that an idle role is left to sleep.
 */
#include "role/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ops/log.h"

#define LOOK_MS     5000
#define LOOK_MAX_MS 40000
/* Beyond what the role gives its streams: for closing, and for what systemd itself needs. */
#define STOP_SLACK_MS 10000

#define BEATS_PER_WATCHDOG 4

void supervisor_open(struct supervisor *s)
{
    memset(s, 0, sizeof(*s));
    if (!systemd_init(&s->systemd))
        LOG(LOG_LEVEL_WARN, "supervisor.unreachable", LOG_STR("error", strerror(errno)),
            LOG_MSG("NOTIFY_SOCKET names no socket that can be reached: the service manager is not "
                    "told that utun is ready"));
}

static void on_beat(uv_timer_t *timer)
{
    struct supervisor *s = timer->data;
    unsigned missing = pulse_missing(s->pulse);

    if (missing == 0)
        systemd_watchdog(&s->systemd);
    else
        LOG(LOG_LEVEL_WARN, "supervisor.stuck", LOG_UINT("workers", missing),
            LOG_MSG("these do not answer; the watchdog is not told that all is well"));
    pulse_ask(s->pulse);
}

/* On a thread of the pool. */
static void on_looking(uv_work_t *work)
{
    struct supervisor *s = work->data;
    struct status status;

    s->seen[0] = 0;
    if (status_take(&status, &s->subject) != ERR_OK)
        return;
    snprintf(s->seen, sizeof(s->seen), "%s: %s", health_state_name(status.health.state),
             status.health.message);
    status_fini(&status);
}

static void on_look(uv_timer_t *timer);

static void on_looked(uv_work_t *work, int failure)
{
    struct supervisor *s = work->data;

    if (!s->is_open)
        return;
    s->pause_ms = s->pause_ms < LOOK_MAX_MS / 2 ? 2 * s->pause_ms : LOOK_MAX_MS;
    if (failure == 0 && s->seen[0] != 0 && strcmp(s->seen, s->shown) != 0) {
        memcpy(s->shown, s->seen, sizeof(s->shown));
        systemd_status(&s->systemd, s->shown);
        s->pause_ms = LOOK_MS;
    }
    uv_timer_start(&s->look, on_look, s->pause_ms, 0);
}

static void on_look(uv_timer_t *timer)
{
    struct supervisor *s = timer->data;

    if (uv_queue_work(timer->loop, &s->looking, on_looking, on_looked) != 0)
        uv_timer_start(timer, on_look, LOOK_MS, 0);
}

enum err supervisor_start(struct supervisor *s, uv_loop_t *loop, struct reloader *reloader,
                          struct source *source, struct dest *dest)
{
    uint64_t beat_ms = s->systemd.watchdog_us / 1000 / BEATS_PER_WATCHDOG;
    enum err e;

    if (!systemd_is_there(&s->systemd))
        return ERR_OK;
    if (beat_ms > 0) {
        e = pulse_new(&s->pulse, source != NULL ? source_crew(source) : dest_crew(dest));
        if (e != ERR_OK)
            return e;
    }
    s->subject = (struct status_subject){.reloader = reloader, .source = source, .dest = dest};
    uv_timer_init(loop, &s->beat);
    uv_timer_init(loop, &s->look);
    s->beat.data = s;
    s->look.data = s;
    s->looking.data = s;
    s->is_open = true;
    if (s->pulse != NULL) {
        pulse_ask(s->pulse);
        uv_timer_start(&s->beat, on_beat, beat_ms, beat_ms);
    }
    s->pause_ms = LOOK_MS;
    uv_timer_start(&s->look, on_look, 0, 0);
    systemd_ready(&s->systemd, NULL);
    return ERR_OK;
}

void supervisor_reloading(const struct supervisor *s)
{
    systemd_reloading(&s->systemd);
}

void supervisor_ready(const struct supervisor *s)
{
    systemd_ready(&s->systemd, NULL);
}

void supervisor_stopping(const struct supervisor *s, uint32_t timeout_ms)
{
    systemd_stopping(&s->systemd, ((uint64_t)timeout_ms + STOP_SLACK_MS) * 1000);
}

void supervisor_close(struct supervisor *s)
{
    if (!s->is_open)
        return;
    s->is_open = false;
    uv_close((uv_handle_t *)&s->beat, NULL);
    uv_close((uv_handle_t *)&s->look, NULL);
}

void supervisor_free(struct supervisor *s)
{
    pulse_free(s->pulse);
    s->pulse = NULL;
    systemd_fini(&s->systemd);
}
