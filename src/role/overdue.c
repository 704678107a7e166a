#include "role/overdue.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "net/lookups.h"
#include "ops/log.h"

/* Between two looks whether it is a lookup that is waited for. */
#define STEP_MS 100

static void wait_until(struct overdue *o, uint64_t ms)
{
    const struct timespec until = {.tv_sec = (time_t)(ms / 1000),
                                   .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)pthread_cond_timedwait(&o->changed, &o->lock, &until);
}

static void *run(void *data)
{
    struct overdue *o = data;

    pthread_setname_np(pthread_self(), "overdue");
    pthread_mutex_lock(&o->lock);
    while (!o->is_over) {
        uint64_t now = clock_ms();

        if (now < o->until_ms) {
            wait_until(o, o->until_ms);
            continue;
        }
        if (lookups_under_way() == 0) {
            wait_until(o, now + STEP_MS);
            continue;
        }
        LOG(LOG_LEVEL_WARN, "shutdown.overdue", LOG_UINT("lookups", lookups_under_way()),
            LOG_MSG("names are still being looked up that nobody needs any more; the process ends "
                    "without them"));
        log_fini();
        _exit(o->status);
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* Without it the end comes when the resolver has given up. */
static void start(struct overdue *o)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    o->has_thread = thread_start(&o->thread, run, o) == ERR_OK;
    if (!o->has_thread) {
        pthread_cond_destroy(&o->changed);
        pthread_mutex_destroy(&o->lock);
    }
}

void overdue_set(struct overdue *o, uint32_t timeout_ms, int status)
{
    uint64_t until_ms = clock_ms() + timeout_ms + OVERDUE_SLACK_MS;

    if (!o->has_thread) {
        o->until_ms = until_ms;
        o->status = status;
        start(o);
        return;
    }
    pthread_mutex_lock(&o->lock);
    if (until_ms < o->until_ms)
        o->until_ms = until_ms;
    o->status = status;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
}

void overdue_clear(struct overdue *o)
{
    if (!o->has_thread)
        return;
    pthread_mutex_lock(&o->lock);
    o->is_over = true;
    pthread_cond_signal(&o->changed);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    pthread_cond_destroy(&o->changed);
    pthread_mutex_destroy(&o->lock);
    o->has_thread = false;
}
