#include "config/cidr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAPPED_BITS 96

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static uint8_t family_bits(sa_family_t family)
{
    return family == AF_INET ? 32 : 128;
}

/* Clears the bits behind the prefix. Returns whether any was set. */
static bool clear_host_bits(struct cidr *cidr)
{
    bool was_set = false;

    for (unsigned i = 0; i < family_bits(cidr->family) / 8U; i++) {
        unsigned first = i * 8U;
        unsigned kept = cidr->bits <= first ? 0 : cidr->bits - first;
        uint8_t mask = kept >= 8 ? 0xff : (uint8_t)(0xff00U >> kept);

        was_set = was_set || (cidr->address[i] & (uint8_t)~mask) != 0;
        cidr->address[i] = (uint8_t)(cidr->address[i] & mask);
    }
    return was_set;
}

static void unmap(struct cidr *cidr)
{
    if (cidr->family == AF_INET6 && cidr->bits >= MAPPED_BITS &&
        memcmp(cidr->address, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        memmove(cidr->address, cidr->address + 12, 4);
        memset(cidr->address + 4, 0, 12);
        cidr->bits = (uint8_t)(cidr->bits - MAPPED_BITS);
        cidr->family = AF_INET;
    }
}

static bool parse_bits(const char *text, uint8_t max, uint8_t *out)
{
    unsigned value = 0;
    size_t len = strlen(text);

    if (len == 0 || len > 3 || strspn(text, "0123456789") != len || (len > 1 && text[0] == '0'))
        return false;
    for (; *text != 0; text++)
        value = value * 10 + (unsigned)(*text - '0');
    if (value > max)
        return false;
    *out = (uint8_t)value;
    return true;
}

enum err cidr_parse(struct cidr *out, const char *text, struct err_detail *d)
{
    struct cidr cidr = {.family = AF_UNSPEC};
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);

    memset(out, 0, sizeof(*out));
    if (len >= sizeof(address))
        return err_set(d, ERR_CONFIG, "not an address range: too long");
    memcpy(address, text, len);
    address[len] = 0;
    if (inet_pton(AF_INET, address, cidr.address) == 1)
        cidr.family = AF_INET;
    else if (inet_pton(AF_INET6, address, cidr.address) == 1)
        cidr.family = AF_INET6;
    else
        return err_set(d, ERR_CONFIG, "'%s' is not an IPv4 or IPv6 address", address);

    cidr.bits = family_bits(cidr.family);
    if (slash != NULL && !parse_bits(slash + 1, cidr.bits, &cidr.bits))
        return err_set(d, ERR_CONFIG, "the prefix length '%.20s' is not between 0 and %d",
                       slash + 1, family_bits(cidr.family));

    unmap(&cidr);
    bool has_host_bits = clear_host_bits(&cidr);
    *out = cidr;
    if (has_host_bits)
        return err_set(d, ERR_CONFIG, "bits are set behind the prefix");
    return ERR_OK;
}

void cidr_format(const struct cidr *cidr, char *out)
{
    char address[INET6_ADDRSTRLEN];

    if (inet_ntop(cidr->family, cidr->address, address, sizeof(address)) == NULL)
        snprintf(out, CIDR_TEXT_MAX, "?");
    else
        snprintf(out, CIDR_TEXT_MAX, "%s/%d", address, cidr->bits);
}

bool cidr_is_match(const struct cidr *cidr, const struct sockaddr *address)
{
    struct cidr host = {.family = address->sa_family};

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)address;
        memcpy(host.address, &in4->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(host.address, &in6->sin6_addr, 16);
    } else {
        return false;
    }
    host.bits = family_bits(host.family);
    unmap(&host);
    if (host.family != cidr->family)
        return false;
    host.bits = cidr->bits;
    clear_host_bits(&host);
    return memcmp(host.address, cidr->address, sizeof(host.address)) == 0;
}

bool cidr_list_is_match(const struct cidr_list *list, const struct sockaddr *address)
{
    for (size_t i = 0; i < list->count; i++) {
        if (cidr_is_match(&list->items[i], address))
            return true;
    }
    return false;
}
