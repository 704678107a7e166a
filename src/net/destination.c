#include "net/destination.h"

#include <stdbool.h>
#include <string.h>

#include "net/address.h"
#include "tunnel/frame.h"

static void set_address(struct destination *d, const struct address *a)
{
    char text[ADDRESS_TEXT_MAX];

    address_format_ip(a, text);
    memcpy(d->host, text, strlen(text) + 1);
}

void destination_set_ip(struct destination *d, const uint8_t *ip, size_t len)
{
    struct stream_address client = {.address_len = (uint8_t)len};
    struct address a;

    memcpy(client.address, ip, len);
    address_from_stream(&a, &client);
    set_address(d, &a);
}

enum err destination_set_host(struct destination *d, const uint8_t *name, size_t len)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789.-_";
    struct address a;

    d->host[0] = '\0';
    if (len == 0 || len >= sizeof(d->host) || memchr(name, 0, len) != NULL)
        return ERR_MALFORMED;
    memcpy(d->host, name, len);
    d->host[len] = '\0';
    if (strspn(d->host, alphabet) != len &&
        (memchr(name, '%', len) != NULL || strchr(d->host, ':') == NULL)) {
        d->host[0] = '\0';
        return ERR_MALFORMED;
    }
    if (address_parse(&a, d->host, 0) == ERR_OK) {
        set_address(d, &a);
    } else if (strchr(d->host, ':') != NULL) {
        d->host[0] = '\0';
        return ERR_MALFORMED;
    }
    return ERR_OK;
}

static bool parse_port(const char *text, uint16_t *port)
{
    size_t len = strlen(text);
    unsigned value = 0;

    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    for (; *text != '\0'; text++)
        value = value * 10 + (unsigned)(*text - '0');
    *port = (uint16_t)value;
    return value > 0 && value <= UINT16_MAX;
}

enum err destination_parse(struct destination *d, const char *text)
{
    const char *colon = strrchr(text, ':');
    struct address a;
    size_t len;

    d->host[0] = '\0';
    if (colon == NULL || !parse_port(colon + 1, &d->port))
        return ERR_MALFORMED;
    len = (size_t)(colon - text);
    if (text[0] != '[')
        return memchr(text, ':', len) != NULL ? ERR_MALFORMED
                                              : destination_set_host(d, (const uint8_t *)text, len);
    if (len < 2 || text[len - 1] != ']')
        return ERR_MALFORMED;
    if (destination_set_host(d, (const uint8_t *)text + 1, len - 2) != ERR_OK)
        return ERR_MALFORMED;
    /* Only an IPv6 address stands in brackets; one that was mapped is IPv4 by now. */
    if (memchr(text, ':', len) == NULL || address_parse(&a, d->host, 0) != ERR_OK) {
        d->host[0] = '\0';
        return ERR_MALFORMED;
    }
    return ERR_OK;
}
