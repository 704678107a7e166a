#include "net/lookups.h"

#include <stdatomic.h>

static atomic_uint under_way;

void lookups_begin(void)
{
    atomic_fetch_add_explicit(&under_way, 1, memory_order_relaxed);
}

void lookups_end(void)
{
    atomic_fetch_sub_explicit(&under_way, 1, memory_order_relaxed);
}

unsigned lookups_under_way(void)
{
    return atomic_load_explicit(&under_way, memory_order_relaxed);
}
