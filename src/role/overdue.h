/*
 * The end of a role that has been asked for, and does not come, because a name is still being
 * looked up for nobody (net/lookups.h): a thread that then ends the process. Whatever else takes
 * long is waited for.
 *
 * Threads: one; all zeros is where it begins.
 */
#ifndef UTUN_ROLE_OVERDUE_H
#define UTUN_ROLE_OVERDUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What closing may take when the time for streams is over. */
#define OVERDUE_SLACK_MS 1000

/* Embed it; its fields are its own. */
struct overdue {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool has_thread;
    bool is_over;
    int status;
    uint64_t until_ms;
};

/*
 * The end should have come when timeout_ms and the slack are over; the process then ends with this
 * status, after "shutdown.overdue" and log_fini. Again: the earlier time counts, and the later
 * status.
 */
void overdue_set(struct overdue *o, uint32_t timeout_ms, int status);

/* It has come. Harmless when it was not set. */
void overdue_clear(struct overdue *o);

#endif
