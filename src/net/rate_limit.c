/*
 * A bucket of `limit` tokens for each address, kept as one time: when it will be full again. Each
 * attempt moves that time on by the price of a token; one that would move it further than a window
 * from now is refused. A set of ENTRIES_PER_SET entries is chosen by a hash with a random key, so
 * that nobody can aim at the set of another.
 */
#include "net/rate_limit.h"

#include <assert.h>
#include <endian.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ENTRIES_PER_SET 8
#define SETS            (RATE_LIMIT_ENTRIES / ENTRIES_PER_SET)

static_assert((SETS & (SETS - 1)) == 0, "the set is chosen with a mask");

struct entry {
    uint64_t address; /* 0: free */
    uint64_t full_at;
};

struct rate_limit {
    uint64_t key[2];
    uint64_t window; /* 0: no limit */
    uint64_t price;
    struct entry sets[SETS][ENTRIES_PER_SET];
};

enum err rate_limit_new(struct rate_limit **out, uint32_t limit, uint64_t window_us)
{
    struct rate_limit *r;

    *out = NULL;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    if (getrandom(r->key, sizeof(r->key), 0) != (ssize_t)sizeof(r->key)) {
        free(r);
        return ERR_RANDOM;
    }
    r->window = limit == 0 ? 0 : window_us;
    r->price = limit == 0 ? 0 : window_us / limit;
    *out = r;
    return ERR_OK;
}

void rate_limit_free(struct rate_limit *r)
{
    free(r);
}

/*
 * One number for IPv4 addresses and IPv6 /64s alike; never 0. IPv4 takes the numbers of prefixes in
 * 0:1::/32, which nobody can have (RFC 4291 reserves 0000::/8). False for other families.
 */
static bool address_number(const struct sockaddr *address, uint64_t *out)
{
    uint64_t prefix;
    uint32_t ipv4;

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)address;
        *out = (UINT64_C(1) << 32) | ntohl(in4->sin_addr.s_addr);
        return true;
    }
    if (address->sa_family != AF_INET6)
        return false;

    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        memcpy(&ipv4, in6->sin6_addr.s6_addr + 12, sizeof(ipv4));
        *out = (UINT64_C(1) << 32) | ntohl(ipv4);
        return true;
    }
    memcpy(&prefix, in6->sin6_addr.s6_addr, sizeof(prefix));
    *out = prefix == 0 ? 1 : be64toh(prefix); /* ::/64 holds the loopback address */
    return true;
}

/* The finalizer of a 64-bit multiplicative hash, keyed before and after. */
static size_t choose_set(const struct rate_limit *r, uint64_t address)
{
    uint64_t x = address ^ r->key[0];

    for (int i = 0; i < 2; i++) {
        x ^= x >> 32;
        x *= UINT64_C(0x9e3779b97f4a7c15);
        x += r->key[1];
    }
    x ^= x >> 29;
    return (size_t)(x & (SETS - 1));
}

static struct entry *find(struct rate_limit *r, uint64_t address)
{
    struct entry *set = r->sets[choose_set(r, address)];
    struct entry *least = &set[0];

    for (size_t i = 0; i < ENTRIES_PER_SET; i++) {
        if (set[i].address == address)
            return &set[i];
        if (set[i].full_at < least->full_at)
            least = &set[i];
    }
    *least = (struct entry){.address = address};
    return least;
}

bool rate_limit_take(struct rate_limit *r, const struct sockaddr *address, uint64_t now)
{
    uint64_t number;

    if (r->window == 0 || !address_number(address, &number))
        return true;

    struct entry *e = find(r, number);
    uint64_t full_at = (e->full_at > now ? e->full_at : now) + r->price;
    if (full_at > now + r->window)
        return false;
    e->full_at = full_at;
    return true;
}
