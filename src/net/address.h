/* IP address and port, or a Unix socket's path: parsing and formatting of literals, not names. */
#ifndef UTUN_NET_ADDRESS_H
#define UTUN_NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

struct stream_address; /* tunnel/frame.h */

struct address {
    socklen_t len; /* 0: none */
    struct sockaddr_storage sockaddr;
};

/* "[ffff:...:255.255.255.255%scope]:65535" and the final NUL. */
#define ADDRESS_TEXT_MAX 96

/* The longest path of a Unix socket that the system takes, without its NUL. */
#define ADDRESS_PATH_MAX 107

/* ip is a literal ("1.2.3.4", "::1", "fe80::1%eth0"); ERR_RESOLVE if it is not one. */
enum err address_parse(struct address *a, const char *ip, uint16_t port) MUST_USE;

/* Of a Unix socket. ERR_TOO_LARGE: longer than ADDRESS_PATH_MAX. */
enum err address_unix(struct address *a, const char *path) MUST_USE;

/* From the kernel. One that is not IP becomes "none". */
void address_from_sockaddr(struct address *a, const struct sockaddr *sockaddr, socklen_t len);
void address_of_peer(struct address *a, int fd);
void address_of_socket(struct address *a, int fd);

/* "1.2.3.4:80", "[::1]:80", "-" for none. An IPv4 address mapped into IPv6 is shown as IPv4. */
void address_format(const struct address *a, char text[static ADDRESS_TEXT_MAX]);
/* The same without the port: "1.2.3.4", "::1". */
void address_format_ip(const struct address *a, char text[static ADDRESS_TEXT_MAX]);

uint16_t address_port(const struct address *a);
void address_set_port(struct address *a, uint16_t port); /* of an IP address */
bool address_is_none(const struct address *a);
/* 127.0.0.0/8, also mapped into IPv6, or ::1: what is sent there never leaves the machine. */
bool address_is_loopback(const struct address *a);

/* As it is in a frame about a stream: 4 bytes also when it is mapped into IPv6. */
void address_to_stream(const struct address *a, struct stream_address *out);
void address_from_stream(struct address *a, const struct stream_address *from);

/* How many of its first bytes tell one customer from another: all of IPv4, the /64 of IPv6. */
size_t address_customer_bytes(const struct stream_address *a);

/*
 * Who is at the other end of fd, which was accepted from peer: that address, or the process that
 * has connected to a Unix socket.
 */
void address_identify(const struct address *peer, int fd, struct stream_address *client);

/* "1.2.3.4:80", "unix:uid=1000,pid=4242", or "-". */
void address_format_stream(const struct stream_address *from, char text[static ADDRESS_TEXT_MAX]);

#endif
