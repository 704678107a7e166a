/*
 * Where a client of an entry point wants to go: a host, which may be an IP address, a name for the
 * dest to resolve or one of its services, and a port. A host is text that is safe in a log and in
 * any protocol: an address in its canonical form, or letters, digits, '.', '-' and '_'.
 */
#ifndef UTUN_NET_DESTINATION_H
#define UTUN_NET_DESTINATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tunnel/limits.h"

struct destination {
    char host[STREAM_TARGET_NAME_MAX + 1];
    uint16_t port;
};

/*
 * Each sets the host only. ERR_MALFORMED, with the host empty, when it is not one: no bytes or too
 * many, or other characters. An address that is given as a name counts as the address it is, and
 * one that is mapped into IPv6 as IPv4.
 */
enum err destination_set_host(struct destination *d, const uint8_t *name, size_t len) MUST_USE;
/* From 4 or 16 bytes, network order. */
void destination_set_ip(struct destination *d, const uint8_t *ip, size_t len);

/*
 * "name:1", "1.2.3.4:65535", "[::1]:443" (RFC 3986, 3.2 without user information): the port must
 * be there and not be 0. ERR_MALFORMED otherwise.
 */
enum err destination_parse(struct destination *d, const char *text) MUST_USE;

#endif
