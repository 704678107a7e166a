#include "role/reach.h"

#include <string.h>

#include "base/wire.h"

static const struct sockaddr *sockaddr_of(const struct address *a)
{
    return (const struct sockaddr *)&a->sockaddr;
}

static bool is_nowhere(const struct address *a)
{
    static const struct cidr this_network = {.family = AF_INET, .bits = 8};
    static const struct cidr unspecified = {.family = AF_INET6, .bits = 128};

    return cidr_is_match(&this_network, sockaddr_of(a)) ||
           cidr_is_match(&unspecified, sockaddr_of(a));
}

bool reach_is_allowed(const struct cidr_list *list, const struct address *a)
{
    return !is_nowhere(a) && cidr_list_is_match(list, sockaddr_of(a));
}

size_t reach_encode(const struct cidr_list *list, uint8_t room[static REACH_RANGES_MAX])
{
    struct wire_writer w;

    wire_writer_init(&w, room, REACH_RANGES_MAX);
    for (size_t i = 0; i < list->count; i++) {
        const struct cidr *range = &list->items[i];

        wire_put_u8(&w, range->family == AF_INET ? 4 : 6);
        wire_put_u8(&w, range->bits);
        wire_put_bytes(&w, range->address, (range->bits + 7U) / 8);
    }
    return w.failed ? 0 : wire_written(&w);
}

bool reach_has(const uint8_t *ranges, size_t len, const struct address *a)
{
    struct wire_reader r;

    wire_reader_init(&r, ranges, len);
    while (wire_left(&r) > 0) {
        struct cidr range = {.family = wire_u8(&r) == 4 ? AF_INET : AF_INET6};
        range.bits = wire_u8(&r);
        const uint8_t *bytes = wire_bytes(&r, (range.bits + 7U) / 8);
        if (bytes == NULL)
            return false;
        memcpy(range.address, bytes, (range.bits + 7U) / 8);
        if (cidr_is_match(&range, sockaddr_of(a)))
            return true;
    }
    return false;
}
