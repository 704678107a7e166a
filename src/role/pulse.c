#include "role/pulse.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/list.h"

struct beat {
    struct worker_item item;
    atomic_bool is_waiting;
};

struct pulse {
    struct role_state_owner *owner;
    struct beat beats[];
};

static void on_dropped(struct worker_item *item)
{
    atomic_store(&list_entry(item, struct beat, item)->is_waiting, false);
}

static void on_run(struct worker_item *item, struct worker *w)
{
    (void)w;
    on_dropped(item);
}

enum err pulse_new(struct pulse **out, struct role_state_owner *owner)
{
    struct pulse *p = calloc(1, sizeof(*p) + owner->worker_count * sizeof(p->beats[0]));

    *out = p;
    if (p == NULL)
        return ERR_NOMEM;
    p->owner = owner;
    for (unsigned i = 0; i < owner->worker_count; i++)
        p->beats[i].item = (struct worker_item){.run = on_run, .drop = on_dropped};
    return ERR_OK;
}

void pulse_ask(struct pulse *p)
{
    for (unsigned i = 0; i < p->owner->worker_count; i++) {
        if (!atomic_exchange(&p->beats[i].is_waiting, true))
            worker_post(p->owner->worker_at(p->owner, i), &p->beats[i].item);
    }
}

unsigned pulse_missing(const struct pulse *p)
{
    unsigned missing = 0;

    for (unsigned i = 0; i < p->owner->worker_count; i++)
        missing += atomic_load(&p->beats[i].is_waiting) ? 1 : 0;
    return missing;
}

void pulse_free(struct pulse *p)
{
    free(p);
}
