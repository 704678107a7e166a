/*
 * Intrusive doubly linked list. A head and every item are struct list; an item that is in no list
 * points to itself, so removing it twice is harmless.
 */
#ifndef UTUN_BASE_LIST_H
#define UTUN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

/* The struct of the given type whose member is at ptr. */
#define list_entry(ptr, type, member) ((type *)(void *)&((char *)(ptr))[-list_offset(type, member)])
#define list_offset(type, member)     ((ptrdiff_t)offsetof(type, member))

static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

/* For an item: whether it is in some list. */
static inline bool list_is_linked(const struct list *item)
{
    return item->next != item;
}

static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

/* The item must be in no list. */
static inline void list_append(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

/* Moves all items of from behind those of head; from is empty afterwards. */
static inline void list_join(struct list *head, struct list *from)
{
    if (list_is_empty(from))
        return;
    /* The analyzer cannot see that a list has no NULL in it, whoever has taken items out. */
    from->next->prev = head->prev; /* NOLINT(clang-analyzer-core.NullDereference) */
    from->prev->next = head;
    head->prev->next = from->next;
    head->prev = from->prev;
    list_init(from);
}

/* The first item, or NULL. */
static inline struct list *list_first(const struct list *head)
{
    /* The analyzer cannot see that an item is taken out of its list before it is freed. */
    return list_is_empty(head) ? NULL : head->next; /* NOLINT(clang-analyzer-unix.Malloc) */
}

#endif
