#include "role/worker_round.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"

/* A worker's part. */
struct part {
    struct worker_item item;
    struct worker_round *round;
    unsigned index;
    enum err result;
};

struct worker_round {
    struct worker_round_owner *owner;
    enum err (*run)(struct worker_round_owner *owner, unsigned index);
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned left; /* under the lock */
    unsigned count;
    struct part parts[];
};

static void end_part(struct part *part, enum err result)
{
    struct worker_round *r = part->round;

    pthread_mutex_lock(&r->lock);
    part->result = result;
    r->left--;
    /* Under the lock: whoever waits may free all of it from here on. */
    pthread_cond_signal(&r->done);
    pthread_mutex_unlock(&r->lock);
}

static void on_run(struct worker_item *item, struct worker *w)
{
    struct part *part = list_entry(item, struct part, item);
    struct worker_round *r = part->round;

    (void)w;
    end_part(part, r->run(r->owner, part->index));
}

static void on_drop(struct worker_item *item)
{
    end_part(list_entry(item, struct part, item), ERR_SHUTDOWN);
}

enum err worker_round_new(struct worker_round **out, unsigned workers,
                          struct worker_round_owner *owner)
{
    struct worker_round *r = calloc(1, sizeof(*r) + workers * sizeof(r->parts[0]));

    *out = NULL;
    if (r == NULL)
        return ERR_NOMEM;
    r->owner = owner;
    r->count = workers;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->done, NULL);
    *out = r;
    return ERR_OK;
}

void worker_round_free(struct worker_round *r)
{
    if (r == NULL)
        return;
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

enum err worker_round_run(struct worker_round *r,
                          enum err (*run)(struct worker_round_owner *owner, unsigned index))
{
    r->run = run;
    r->left = r->count;
    for (unsigned i = 0; i < r->count; i++) {
        struct part *part = &r->parts[i];

        *part = (struct part){.item = {.run = on_run, .drop = on_drop}, .round = r, .index = i};
        worker_post(r->owner->worker_at(r->owner, i), &part->item);
    }
    pthread_mutex_lock(&r->lock);
    while (r->left > 0)
        pthread_cond_wait(&r->done, &r->lock);
    pthread_mutex_unlock(&r->lock);
    for (unsigned i = 0; i < r->count; i++) {
        if (r->parts[i].result != ERR_OK)
            return r->parts[i].result;
    }
    return ERR_OK;
}
