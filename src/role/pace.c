#include "role/pace.h"

#include <sys/random.h>

#include <uv.h>

#include "ops/log.h"

static uint64_t draw(void)
{
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        random = uv_hrtime();
    return random;
}

enum err pace_init(struct pace *p, const struct config_source *config)
{
    *p = (struct pace){.advised_ms = 0};
    backoff_init(&p->backoff, config->initial_reconnect_delay_ms, config->max_reconnect_delay_ms);
    return breaker_init(&p->breaker, (uint64_t)config->circuit_breaker_window_secs * 1000000,
                        (uint64_t)config->max_reconnect_delay_ms * 1000,
                        config->circuit_breaker_max_restarts);
}

void pace_fini(struct pace *p)
{
    breaker_fini(&p->breaker);
}

static bool has_same_bounds(const struct breaker *a, const struct breaker *b)
{
    return a->window_us == b->window_us && a->pause_us == b->pause_us && a->max == b->max;
}

void pace_change(struct pace *p, struct pace *fresh)
{
    struct breaker old = p->breaker;

    backoff_set(&p->backoff, fresh->backoff.min_ms, fresh->backoff.max_ms);
    if (has_same_bounds(&p->breaker, &fresh->breaker))
        return;
    p->breaker = fresh->breaker;
    fresh->breaker = old;
}

void pace_advise(struct pace *p, uint32_t ms)
{
    backoff_advise(&p->backoff, ms);
}

void pace_on_session(struct pace *p)
{
    p->is_loss_counted = false;
}

void pace_on_up(struct pace *p, uint64_t now)
{
    backoff_reset(&p->backoff);
    breaker_on_up(&p->breaker, now);
    p->advised_ms = 0;
}

void pace_on_loss(struct pace *p, uint64_t now)
{
    p->backoff.attempts = 0; /* those that have failed were there to refresh it */
    if (!p->is_loss_counted)
        breaker_on_loss(&p->breaker, now);
    p->is_loss_counted = true;
}

void pace_on_failure(struct pace *p, uint64_t now)
{
    breaker_on_failure(&p->breaker, now);
}

uint64_t pace_wait_us(struct pace *p, uint64_t now)
{
    return breaker_wait_us(&p->breaker, now);
}

static uint32_t at_least_the_breakers(struct pace *p, uint32_t delay, uint64_t now)
{
    uint64_t pause = breaker_wait_us(&p->breaker, now) / 1000;

    if (pause <= delay)
        return delay;
    LOG(LOG_LEVEL_WARN, "breaker.open", LOG_UINT("pause_ms", pause),
        LOG_UINT("max_restarts", p->breaker.max),
        LOG_UINT("window_secs", p->breaker.window_us / 1000000),
        LOG_MSG("sessions are lost too often; waiting before the next one"));
    return (uint32_t)pause;
}

uint32_t pace_first_ms(struct pace *p, uint64_t now)
{
    p->advised_ms = p->backoff.advised_ms;
    return at_least_the_breakers(p, backoff_first(&p->backoff, draw()), now);
}

uint32_t pace_next_ms(struct pace *p, uint64_t now)
{
    p->advised_ms = p->backoff.advised_ms;
    return at_least_the_breakers(p, backoff_next(&p->backoff, draw()), now);
}

uint32_t pace_refresh_ms(struct pace *p, uint64_t limit_ms)
{
    bool is_advised = p->backoff.advised_ms > 0;
    uint32_t delay = backoff_next(&p->backoff, draw());

    return !is_advised && limit_ms > 0 && delay > limit_ms ? (uint32_t)limit_ms : delay;
}

void pace_reset(struct pace *p)
{
    backoff_reset(&p->backoff);
}
