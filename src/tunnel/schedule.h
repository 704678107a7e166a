/*
 * Whose turn it is to send: deficit round robin with a short way for newcomers, after RFC 8290
 * (FQ-CoDel, section 4.1). A stream that becomes ready goes to the list of fresh ones, which is
 * served first; once it has used its quantum, or has had its say, it takes turns with all others.
 * So a keystroke does not wait behind bulk, and a stream cannot keep its first place by sending
 * little and often. The last frame of a turn may pass the quantum, so that frames need not be cut
 * to what is left of it: the next turn is shorter by as much.
 */
#ifndef UTUN_TUNNEL_SCHEDULE_H
#define UTUN_TUNNEL_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct schedule {
    struct list fresh;
    struct list rotating;
};

struct schedule_item {
    struct list link;
    int32_t deficit; /* of its turn: a frame may begin as long as this is positive */
    bool is_fresh;
};

void schedule_init(struct schedule *s);
void schedule_item_init(struct schedule_item *i);

static inline bool schedule_is_empty(const struct schedule *s)
{
    return list_is_empty(&s->fresh) && list_is_empty(&s->rotating);
}

/* The item has something to send. Harmless when it is in already. */
void schedule_add(struct schedule *s, struct schedule_item *i);
void schedule_remove(struct schedule_item *i);

/*
 * The item whose turn it is, or NULL; its deficit is positive. It stays in its list: after asking
 * it, call schedule_spent (it sent len > 0 bytes, at most a record's; or a bare FIN as 1) or
 * schedule_idle (it had nothing).
 */
struct schedule_item *schedule_pick(struct schedule *s);
void schedule_spent(struct schedule_item *i, size_t len);
void schedule_idle(struct schedule *s, struct schedule_item *i);

#endif
