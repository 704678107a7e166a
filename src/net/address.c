#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "tunnel/frame.h"

#define IPV6_PREFIX_BYTES 8

static const struct sockaddr_in *as_v4(const struct address *a)
{
    return (const struct sockaddr_in *)(const void *)&a->sockaddr;
}

static const struct sockaddr_in6 *as_v6(const struct address *a)
{
    return (const struct sockaddr_in6 *)(const void *)&a->sockaddr;
}

static void set_v4(struct address *a, const void *ip, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    memcpy(&in.sin_addr, ip, sizeof(in.sin_addr));
    memset(a, 0, sizeof(*a));
    memcpy(&a->sockaddr, &in, sizeof(in));
    a->len = sizeof(in);
}

static void set_v6(struct address *a, const void *ip, uint16_t port, uint32_t scope)
{
    struct sockaddr_in6 in = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};

    memcpy(&in.sin6_addr, ip, sizeof(in.sin6_addr));
    memset(a, 0, sizeof(*a));
    memcpy(&a->sockaddr, &in, sizeof(in));
    a->len = sizeof(in);
}

/* An interface by name or number, as behind the "%" of RFC 4007. 0: there is none. */
static uint32_t parse_scope(const char *text)
{
    uint32_t index = if_nametoindex(text);
    char *end;
    unsigned long number;

    if (index != 0)
        return index;
    number = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && number <= UINT32_MAX ? (uint32_t)number
                                                                                : 0;
}

enum err address_parse(struct address *a, const char *ip, uint16_t port)
{
    const char *percent = strchr(ip, '%');
    char text[INET6_ADDRSTRLEN];
    size_t len = percent == NULL ? strlen(ip) : (size_t)(percent - ip);
    uint8_t bytes[16];
    uint32_t scope = 0;

    memset(a, 0, sizeof(*a));
    if (len >= sizeof(text))
        return ERR_RESOLVE;
    memcpy(text, ip, len);
    text[len] = '\0';
    if (percent == NULL && inet_pton(AF_INET, text, bytes) == 1) {
        set_v4(a, bytes, port);
        return ERR_OK;
    }
    if (percent != NULL) {
        scope = parse_scope(percent + 1);
        if (scope == 0)
            return ERR_RESOLVE;
    }
    if (inet_pton(AF_INET6, text, bytes) != 1)
        return ERR_RESOLVE;
    set_v6(a, bytes, port, scope);
    return ERR_OK;
}

enum err address_unix(struct address *a, const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(path);

    memset(a, 0, sizeof(*a));
    if (len > ADDRESS_PATH_MAX)
        return ERR_TOO_LARGE;
    memcpy(un.sun_path, path, len);
    memcpy(&a->sockaddr, &un, sizeof(un));
    a->len = sizeof(un);
    return ERR_OK;
}

static bool is_ip(const struct address *a)
{
    return a->len > 0 && a->sockaddr.ss_family != AF_UNIX;
}

void address_from_sockaddr(struct address *a, const struct sockaddr *sockaddr, socklen_t len)
{
    memset(a, 0, sizeof(*a));
    if (sockaddr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in))
        a->len = sizeof(struct sockaddr_in);
    else if (sockaddr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6))
        a->len = sizeof(struct sockaddr_in6);
    memcpy(&a->sockaddr, sockaddr, a->len);
}

static void from_kernel(struct address *a, int fd,
                        int (*get)(int fd, struct sockaddr *address, socklen_t *len))
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof(storage);

    memset(&storage, 0, sizeof(storage));
    if (get(fd, (struct sockaddr *)&storage, &len) < 0)
        len = 0;
    address_from_sockaddr(a, (struct sockaddr *)&storage, len);
}

/* The prototypes of glibc take a transparent union, which a pointer to them would not match. */
static int get_peer(int fd, struct sockaddr *address, socklen_t *len)
{
    return getpeername(fd, address, len);
}

static int get_own(int fd, struct sockaddr *address, socklen_t *len)
{
    return getsockname(fd, address, len);
}

void address_of_peer(struct address *a, int fd)
{
    from_kernel(a, fd, get_peer);
}

void address_of_socket(struct address *a, int fd)
{
    from_kernel(a, fd, get_own);
}

bool address_is_none(const struct address *a)
{
    return a->len == 0;
}

bool address_is_loopback(const struct address *a)
{
    static const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    struct stream_address s;

    address_to_stream(a, &s); /* no bytes of what is not IP */
    return s.address_len == 4 ? s.address[0] == 127
                              : memcmp(s.address, &loopback, sizeof(loopback)) == 0;
}

uint16_t address_port(const struct address *a)
{
    if (!is_ip(a))
        return 0;
    return ntohs(a->sockaddr.ss_family == AF_INET ? as_v4(a)->sin_port : as_v6(a)->sin6_port);
}

void address_set_port(struct address *a, uint16_t port)
{
    if (a->sockaddr.ss_family == AF_INET)
        ((struct sockaddr_in *)&a->sockaddr)->sin_port = htons(port);
    else if (a->sockaddr.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&a->sockaddr)->sin6_port = htons(port);
}

size_t address_customer_bytes(const struct stream_address *a)
{
    return a->address_len < IPV6_PREFIX_BYTES ? a->address_len : IPV6_PREFIX_BYTES;
}

void address_to_stream(const struct address *a, struct stream_address *out)
{
    memset(out, 0, sizeof(*out));
    out->port = address_port(a);
    if (!is_ip(a))
        return;
    if (a->sockaddr.ss_family == AF_INET) {
        out->address_len = 4;
        memcpy(out->address, &as_v4(a)->sin_addr, 4);
    } else if (IN6_IS_ADDR_V4MAPPED(&as_v6(a)->sin6_addr)) {
        out->address_len = 4;
        memcpy(out->address, as_v6(a)->sin6_addr.s6_addr + 12, 4);
    } else {
        out->address_len = 16;
        memcpy(out->address, &as_v6(a)->sin6_addr, 16);
    }
}

void address_from_stream(struct address *a, const struct stream_address *from)
{
    memset(a, 0, sizeof(*a));
    if (from->address_len == 4)
        set_v4(a, from->address, from->port);
    else if (from->address_len == 16)
        set_v6(a, from->address, from->port, 0);
}

void address_identify(const struct address *peer, int fd, struct stream_address *client)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    address_to_stream(peer, client);
    if (!address_is_none(peer) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return;
    client->is_process = true;
    client->uid = who.uid;
    client->pid = (uint32_t)who.pid;
}

void address_format_stream(const struct stream_address *from, char text[static ADDRESS_TEXT_MAX])
{
    struct address a;

    address_from_stream(&a, from);
    if (address_is_none(&a) && from->is_process)
        snprintf(text, ADDRESS_TEXT_MAX, "unix:uid=%u,pid=%u", from->uid, from->pid);
    else
        address_format(&a, text);
}

void address_format_ip(const struct address *a, char text[static ADDRESS_TEXT_MAX])
{
    struct stream_address client;
    size_t len;

    address_to_stream(a, &client);
    if (client.address_len == 0 || inet_ntop(client.address_len == 4 ? AF_INET : AF_INET6,
                                             client.address, text, ADDRESS_TEXT_MAX) == NULL) {
        memcpy(text, "-", 2);
        return;
    }
    if (client.address_len == 16 && as_v6(a)->sin6_scope_id != 0) {
        len = strlen(text);
        snprintf(text + len, ADDRESS_TEXT_MAX - len, "%%%u", as_v6(a)->sin6_scope_id);
    }
}

void address_format(const struct address *a, char text[static ADDRESS_TEXT_MAX])
{
    char ip[ADDRESS_TEXT_MAX];

    address_format_ip(a, ip);
    if (!is_ip(a))
        memcpy(text, ip, sizeof(ip));
    else
        /* An address needs 57 bytes at most; the bound is for the compiler. */
        snprintf(text, ADDRESS_TEXT_MAX, strchr(ip, ':') != NULL ? "[%.80s]:%u" : "%.80s:%u", ip,
                 address_port(a));
}
