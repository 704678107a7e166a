/*
 * A set of ENTRIES_PER_SET entries is chosen by a hash with a random key, so that nobody can aim at
 * the set of another.
 */
#include "net/address_table.h"

#include <assert.h>
#include <endian.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ENTRIES_PER_SET 8
#define SETS            (ADDRESS_TABLE_ENTRIES / ENTRIES_PER_SET)

static_assert((SETS & (SETS - 1)) == 0, "the set is chosen with a mask");

struct entry {
    uint64_t address; /* 0: free */
    uint64_t number;
};

struct address_table {
    uint64_t key[2];
    struct entry sets[SETS][ENTRIES_PER_SET];
};

enum err address_table_new(struct address_table **out)
{
    struct address_table *t;

    *out = NULL;
    t = calloc(1, sizeof(*t));
    if (t == NULL)
        return ERR_NOMEM;
    if (getrandom(t->key, sizeof(t->key), 0) != (ssize_t)sizeof(t->key)) {
        free(t);
        return ERR_RANDOM;
    }
    *out = t;
    return ERR_OK;
}

void address_table_free(struct address_table *t)
{
    free(t);
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
static size_t choose_set(const struct address_table *t, uint64_t address)
{
    uint64_t x = address ^ t->key[0];

    for (int i = 0; i < 2; i++) {
        x ^= x >> 32;
        x *= UINT64_C(0x9e3779b97f4a7c15);
        x += t->key[1];
    }
    x ^= x >> 29;
    return (size_t)(x & (SETS - 1));
}

uint64_t *address_table_find(struct address_table *t, const struct sockaddr *address)
{
    uint64_t number;

    if (!address_number(address, &number))
        return NULL;
    struct entry *set = t->sets[choose_set(t, number)];
    for (size_t i = 0; i < ENTRIES_PER_SET; i++) {
        if (set[i].address == number)
            return &set[i].number;
    }
    return NULL;
}

uint64_t *address_table_enter(struct address_table *t, const struct sockaddr *address)
{
    uint64_t *found = address_table_find(t, address);
    uint64_t number;

    if (found != NULL || !address_number(address, &number))
        return found;
    struct entry *set = t->sets[choose_set(t, number)];
    struct entry *least = &set[0];
    for (size_t i = 1; i < ENTRIES_PER_SET; i++) {
        if (set[i].number < least->number)
            least = &set[i];
    }
    *least = (struct entry){.address = number};
    return &least->number;
}
