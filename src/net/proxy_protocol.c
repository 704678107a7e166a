#include "net/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/wire.h"

#define SIGNATURE_SIZE 12
#define V2_FIXED       16 /* signature, version and command, family, length */

/* Version 2's addresses: two, with their ports. */
#define V2_SIZE_IPV4 12
#define V2_SIZE_IPV6 36

enum command {
    COMMAND_LOCAL = 0,
    COMMAND_PROXY = 1,
};

enum family {
    FAMILY_UNSPECIFIED = 0,
    FAMILY_IPV4 = 1,
    FAMILY_IPV6 = 2,
    FAMILY_UNIX = 3,
};

enum transport {
    TRANSPORT_UNSPECIFIED = 0,
    TRANSPORT_STREAM = 1,
    TRANSPORT_DATAGRAM = 2,
};

static const uint8_t signature[SIGNATURE_SIZE] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                                  0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char line_start[] = "PROXY ";

/* -- encode -- */

/* As IPv6: one header has one family. */
static struct stream_address widen(const struct stream_address *c)
{
    struct stream_address wide = {.address_len = 16, .port = c->port};

    if (c->address_len == 16)
        return *c;
    wide.address[10] = 0xff;
    wide.address[11] = 0xff;
    memcpy(wide.address + 12, c->address, 4);
    return wide;
}

static size_t encode_v1(const struct stream_address *client, const struct stream_address *local,
                        uint8_t *room)
{
    bool is_v4 = client->address_len == 4;
    int family = is_v4 ? AF_INET : AF_INET6;
    char from[INET6_ADDRSTRLEN];
    char to[INET6_ADDRSTRLEN];
    int len;

    if (client->address_len == 0 ||
        inet_ntop(family, client->address, from, sizeof(from)) == NULL ||
        inet_ntop(family, local->address, to, sizeof(to)) == NULL)
        len = snprintf((char *)room, PROXY_PROTOCOL_ROOM, "PROXY UNKNOWN\r\n");
    else
        len = snprintf((char *)room, PROXY_PROTOCOL_ROOM, "PROXY %s %s %s %u %u\r\n",
                       is_v4 ? "TCP4" : "TCP6", from, to, client->port, local->port);
    return (size_t)len;
}

static size_t encode_v2(const struct stream_address *client, const struct stream_address *local,
                        uint8_t *room)
{
    size_t n = client->address_len;
    struct wire_writer w;

    wire_writer_init(&w, room, PROXY_PROTOCOL_ROOM);
    wire_put_bytes(&w, signature, sizeof(signature));
    if (n == 0) {
        wire_put_u8(&w, 2 << 4 | COMMAND_LOCAL);
        wire_put_u8(&w, FAMILY_UNSPECIFIED << 4 | TRANSPORT_UNSPECIFIED);
        wire_put_u16(&w, 0);
        return wire_written(&w);
    }
    wire_put_u8(&w, 2 << 4 | COMMAND_PROXY);
    wire_put_u8(&w, (uint8_t)((n == 4 ? FAMILY_IPV4 : FAMILY_IPV6) << 4 | TRANSPORT_STREAM));
    wire_put_u16(&w, n == 4 ? V2_SIZE_IPV4 : V2_SIZE_IPV6);
    wire_put_bytes(&w, client->address, n);
    wire_put_bytes(&w, local->address, n);
    wire_put_u16(&w, client->port);
    wire_put_u16(&w, local->port);
    return wire_written(&w);
}

size_t proxy_protocol_encode(enum proxy_protocol_version version,
                             const struct stream_address *client,
                             const struct stream_address *local,
                             uint8_t room[static PROXY_PROTOCOL_ROOM])
{
    static const struct stream_address unknown;
    struct stream_address wide_client;
    struct stream_address wide_local;

    if (client->address_len == 0 || local->address_len == 0) {
        client = local = &unknown;
    } else if (client->address_len != local->address_len) {
        wide_client = widen(client);
        wide_local = widen(local);
        client = &wide_client;
        local = &wide_local;
    }
    return version == PROXY_PROTOCOL_V1 ? encode_v1(client, local, room)
                                        : encode_v2(client, local, room);
}

/* -- decode -- */

void proxy_header_init(struct proxy_header *h)
{
    memset(h, 0, sizeof(*h));
    h->want = 1;
}

/* An IPv4 address that is mapped into IPv6 is that address. */
static void set_address(struct stream_address *c, const uint8_t *ip, size_t len)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (len == 16 && memcmp(ip, mapped, sizeof(mapped)) == 0) {
        ip += sizeof(mapped);
        len = 4;
    }
    memset(c->address, 0, sizeof(c->address));
    memcpy(c->address, ip, len);
    c->address_len = (uint8_t)len;
}

/* The next part of the line, up to a space or the end; NULL when there is none. */
static char *next_part(char **rest)
{
    char *part = *rest;
    char *space;

    if (part == NULL)
        return NULL;
    space = strchr(part, ' ');
    *rest = NULL;
    if (space != NULL) {
        *space = '\0';
        *rest = space + 1;
    }
    return part;
}

static bool parse_ip(struct stream_address *c, int family, const char *text)
{
    uint8_t ip[16];

    if (text == NULL || inet_pton(family, text, ip) != 1)
        return false;
    set_address(c, ip, family == AF_INET ? 4 : 16);
    return true;
}

static bool parse_port(struct stream_address *c, const char *text)
{
    unsigned value = 0;
    size_t len = text == NULL ? 0 : strlen(text);

    if (len == 0 || len > 5 || strspn(text, "0123456789") != len || (len > 1 && text[0] == '0'))
        return false;
    for (; *text != '\0'; text++)
        value = value * 10 + (unsigned)(*text - '0');
    c->port = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* The line without its end. */
static bool parse_line(struct proxy_header *h, char *line)
{
    char *rest = line + strlen(line_start);
    char *kind = next_part(&rest);
    int family;

    if (strcmp(kind, "UNKNOWN") == 0)
        return true;
    if (strcmp(kind, "TCP4") == 0)
        family = AF_INET;
    else if (strcmp(kind, "TCP6") == 0)
        family = AF_INET6;
    else
        return false;
    return parse_ip(&h->client, family, next_part(&rest)) &&
           parse_ip(&h->local, family, next_part(&rest)) &&
           parse_port(&h->client, next_part(&rest)) && parse_port(&h->local, next_part(&rest)) &&
           rest == NULL;
}

static enum err take_line(struct proxy_header *h)
{
    char line[PROXY_PROTOCOL_V1_MAX + 1];
    uint8_t last = h->bytes[h->have - 1];

    if (last == '\n' && h->bytes[h->have - 2] == '\r') {
        memcpy(line, h->bytes, h->have - 2);
        line[h->have - 2] = '\0';
        if (strlen(line) != h->have - 2 || !parse_line(h, line))
            return ERR_MALFORMED;
        h->state = PROXY_HEADER_DONE;
        return ERR_OK;
    }
    if (last == '\n' || h->have == sizeof(h->bytes))
        return ERR_MALFORMED;
    h->want = h->have + 1;
    return ERR_OK;
}

static void take_addresses(struct proxy_header *h, size_t n)
{
    const uint8_t *at = h->bytes + V2_FIXED;

    set_address(&h->client, at, n);
    set_address(&h->local, at + n, n);
    h->client.port = (uint16_t)(at[2 * n] << 8 | at[2 * n + 1]);
    h->local.port = (uint16_t)(at[2 * n + 2] << 8 | at[2 * n + 3]);
}

static enum err take_block(struct proxy_header *h)
{
    unsigned command = h->bytes[12] & 0xf;
    unsigned family = h->bytes[13] >> 4;
    unsigned transport = h->bytes[13] & 0xf;
    size_t len = (size_t)(h->bytes[14] << 8 | h->bytes[15]);
    size_t addresses = 0;

    if (h->bytes[12] >> 4 != 2 || command > COMMAND_PROXY || family > FAMILY_UNIX ||
        transport > TRANSPORT_DATAGRAM)
        return ERR_MALFORMED;
    if (len > PROXY_PROTOCOL_V2_MAX - V2_FIXED)
        return ERR_TOO_LARGE;
    if (command == COMMAND_PROXY && transport == TRANSPORT_DATAGRAM)
        return ERR_MALFORMED;
    if (command == COMMAND_PROXY && transport == TRANSPORT_STREAM && family == FAMILY_IPV4)
        addresses = V2_SIZE_IPV4;
    else if (command == COMMAND_PROXY && transport == TRANSPORT_STREAM && family == FAMILY_IPV6)
        addresses = V2_SIZE_IPV6;
    if (len < addresses)
        return ERR_MALFORMED;
    if (h->have < V2_FIXED + addresses) {
        h->want = V2_FIXED + addresses;
        return ERR_OK;
    }
    if (addresses > 0)
        take_addresses(h, addresses == V2_SIZE_IPV4 ? 4 : 16);
    h->skip = len - addresses;
    h->state = h->skip > 0 ? PROXY_HEADER_SKIP : PROXY_HEADER_DONE;
    return ERR_OK;
}

/* Tells the version by its first bytes, as far as they are there. */
static enum err take_start(struct proxy_header *h)
{
    size_t line_len = strlen(line_start);
    bool is_v2 = h->bytes[0] == signature[0];
    size_t whole = is_v2 ? SIGNATURE_SIZE : line_len;

    if (memcmp(h->bytes, is_v2 ? (const void *)signature : line_start, h->have) != 0)
        return ERR_MALFORMED;
    if (h->have < whole) {
        h->want = h->have + 1;
        return ERR_OK;
    }
    h->state = is_v2 ? PROXY_HEADER_BLOCK : PROXY_HEADER_LINE;
    h->want = is_v2 ? V2_FIXED : h->have + 1;
    return ERR_OK;
}

static enum err take(struct proxy_header *h)
{
    if (h->state == PROXY_HEADER_START)
        return take_start(h);
    if (h->state == PROXY_HEADER_LINE)
        return take_line(h);
    return take_block(h);
}

static void skip(struct proxy_header *h, size_t len, size_t *used)
{
    size_t n = len - *used < h->skip ? len - *used : h->skip;

    *used += n;
    h->skip -= n;
    if (h->skip == 0)
        h->state = PROXY_HEADER_DONE;
}

enum err proxy_header_feed(struct proxy_header *h, const uint8_t *data, size_t len, size_t *used)
{
    *used = 0;
    if (h->state == PROXY_HEADER_FAILED)
        return ERR_UNEXPECTED;
    while (h->state < PROXY_HEADER_DONE && *used < len) {
        if (h->state == PROXY_HEADER_SKIP) {
            skip(h, len, used);
            continue;
        }
        h->bytes[h->have++] = data[(*used)++];
        enum err e = h->have < h->want ? ERR_OK : take(h);
        if (e != ERR_OK) {
            h->state = PROXY_HEADER_FAILED;
            return e;
        }
    }
    return ERR_OK;
}
