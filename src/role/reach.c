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

/*
 * Who lists a wide range hardly means the machine that connects itself, what is on its link, or
 * where its cloud gives out the machine's own credentials and setup: these are outside of the link
 * in some clouds, each an address of its own.
 */
static bool is_near(const struct address *a, uint8_t *bits)
{
    static const struct cidr near[] = {
        {.family = AF_INET, .bits = 8, .address = {127}},
        {.family = AF_INET, .bits = 16, .address = {169, 254}},
        {.family = AF_INET6, .bits = 128, .address = {[15] = 1}},
        {.family = AF_INET6, .bits = 10, .address = {0xfe, 0x80}},
        {.family = AF_INET, .bits = 32, .address = {100, 100, 100, 200}}, /* Alibaba Cloud */
        {.family = AF_INET, .bits = 32, .address = {168, 63, 129, 16}},   /* Azure */
        {.family = AF_INET, .bits = 32, .address = {192, 0, 0, 192}},     /* Oracle, the first */
        /* AWS fd00:ec2::254, Oracle fd00:c1::a9fe:a9fe, Google fd20:ce::254 */
        {.family = AF_INET6,
         .bits = 128,
         .address = {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}},
        {.family = AF_INET6,
         .bits = 128,
         .address = {0xfd, 0x00, 0x00, 0xc1, [12] = 0xa9, 0xfe, 0xa9, 0xfe}},
        {.family = AF_INET6,
         .bits = 128,
         .address = {0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54}},
    };

    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        *bits = near[i].bits;
        if (cidr_is_match(&near[i], sockaddr_of(a)))
            return true;
    }
    return false;
}

static bool has(const struct cidr *range, const struct address *a)
{
    uint8_t bits;

    return cidr_is_match(range, sockaddr_of(a)) && !(is_near(a, &bits) && range->bits < bits);
}

bool reach_is_allowed(const struct cidr_list *list, const struct address *a)
{
    bool is_listed = false;

    for (size_t i = 0; i < list->count && !is_listed; i++)
        is_listed = has(&list->items[i], a);
    return is_listed && !is_nowhere(a);
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
        if (has(&range, a))
            return true;
    }
    return false;
}
