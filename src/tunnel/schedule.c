#include "tunnel/schedule.h"

#include "tunnel/limits.h"

static struct schedule_item *item_of(struct list *l)
{
    return list_entry(l, struct schedule_item, link);
}

void schedule_init(struct schedule *s)
{
    list_init(&s->fresh);
    list_init(&s->rotating);
}

void schedule_item_init(struct schedule_item *i)
{
    list_init(&i->link);
    i->deficit = 0;
    i->is_fresh = false;
}

void schedule_add(struct schedule *s, struct schedule_item *i)
{
    if (list_is_linked(&i->link))
        return;
    i->deficit = SCHEDULE_QUANTUM;
    i->is_fresh = true;
    list_append(&s->fresh, &i->link);
}

void schedule_remove(struct schedule_item *i)
{
    list_remove(&i->link);
}

static void rotate(struct schedule *s, struct schedule_item *i)
{
    list_remove(&i->link);
    i->is_fresh = false;
    list_append(&s->rotating, &i->link);
}

struct schedule_item *schedule_pick(struct schedule *s)
{
    for (;;) {
        struct list *l = list_first(&s->fresh);
        struct schedule_item *i;

        if (l == NULL)
            l = list_first(&s->rotating);
        if (l == NULL)
            return NULL;
        i = item_of(l);
        if (i->deficit > 0)
            return i;
        i->deficit += SCHEDULE_QUANTUM;
        rotate(s, i);
    }
}

void schedule_spent(struct schedule_item *i, size_t len)
{
    i->deficit -= (int32_t)len;
}

/*
 * A fresh item that has nothing left waits one round among the others before it is let go, so that
 * it cannot come back as fresh ahead of them (RFC 8290, section 4.2).
 */
void schedule_idle(struct schedule *s, struct schedule_item *i)
{
    if (i->is_fresh && !list_is_empty(&s->rotating))
        rotate(s, i);
    else
        list_remove(&i->link);
}
