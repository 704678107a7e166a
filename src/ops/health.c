#include "ops/health.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/attr.h"

#define US_PER_S 1000000

static void set(struct health *h, enum health_state state, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void set(struct health *h, enum health_state state, const char *fmt, ...)
{
    va_list args;

    h->state = state;
    va_start(args, fmt);
    vsnprintf(h->message, sizeof(h->message), fmt, args);
    va_end(args);
}

static uint64_t age(const struct health_facts *f, uint64_t since_us)
{
    return f->now_us > since_us ? f->now_us - since_us : 0;
}

static void assess_without_session(struct health *h, const struct health_facts *f)
{
    const char *colon = f->last_failure[0] != 0 ? ": " : "";

    if (!f->is_source)
        set(h, HEALTH_CONNECTING, "no source is connected");
    else if (f->attempts >= HEALTH_ATTEMPTS)
        set(h, HEALTH_UNHEALTHY, "no session after %llu tries%s%s", (unsigned long long)f->attempts,
            colon, f->last_failure);
    else if (f->attempts > 0)
        set(h, HEALTH_CONNECTING, "the last try failed%s%s", colon, f->last_failure);
    else if (f->last_up_us > 0)
        set(h, HEALTH_CONNECTING, "the session was lost; connecting again");
    else
        set(h, HEALTH_STARTING, "the first session is being made");
}

static void assess_session(struct health *h, const struct health_facts *f)
{
    bool has_pong = f->last_pong_us > 0;

    if (!has_pong || age(f, f->last_pong_us) > f->pong_age_us) {
        if (has_pong)
            set(h, HEALTH_DEGRADED, "no answer came through a session for %llu s",
                (unsigned long long)(age(f, f->last_pong_us) / US_PER_S));
        else
            set(h, HEALTH_STARTING, "no answer has come through a session yet");
        return;
    }
    if (f->is_source && f->leaving == f->carried) {
        set(h, HEALTH_DEGRADED, "the dest shuts down: new clients wait for the next session");
        return;
    }
    h->is_ready = true;
    if (f->answering < f->workers)
        set(h, HEALTH_DEGRADED, "%u of %u workers do not answer", f->workers - f->answering,
            f->workers);
    else if (f->pongs_missing > 0)
        set(h, HEALTH_DEGRADED, "%llu probes were not answered in time",
            (unsigned long long)f->pongs_missing);
    else if (f->is_source && f->carried - f->leaving < f->workers)
        set(h, HEALTH_DEGRADED, "%u of %u workers have a session", f->carried - f->leaving,
            f->workers);
    else if (f->is_source)
        set(h, HEALTH_HEALTHY, "connected");
    else
        set(h, HEALTH_HEALTHY, "%llu session%s", (unsigned long long)f->sessions,
            f->sessions == 1 ? "" : "s");
}

void health_assess(struct health *out, const struct health_facts *f)
{
    out->is_ready = false;
    if (f->carried == 0)
        assess_without_session(out, f);
    else
        assess_session(out, f);
    if (f->is_stopping) {
        out->is_ready = false;
        set(out, HEALTH_DEGRADED, "shutting down");
    }
}

const char *health_state_name(enum health_state state)
{
    static const char *const names[HEALTH_STATES] = {
        [HEALTH_STARTING] = "starting",   [HEALTH_CONNECTING] = "connecting",
        [HEALTH_HEALTHY] = "healthy",     [HEALTH_DEGRADED] = "degraded",
        [HEALTH_UNHEALTHY] = "unhealthy",
    };

    return names[state];
}
