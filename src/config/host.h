/* The syntax of IP addresses and host names, as they stand in the configuration. */
#ifndef UTUN_CONFIG_HOST_H
#define UTUN_CONFIG_HOST_H

#include <stdbool.h>

/* An IPv4 address in four decimal parts, or an IPv6 address without brackets or scope. */
bool host_is_address(const char *text);

/*
 * A host name (RFC 1123, 2.1): labels of 1 to 63 letters, digits, hyphens (not at an end) and
 * underscores (which DNS names in use have), at most 253 bytes, perhaps with a final dot; the last
 * label not all digits, so that "10.0.0.256" is a mistyped address and not a name.
 */
bool host_is_name(const char *text);

/* An address of 127.0.0.0/8, or ::1. */
bool host_is_loopback(const char *address);

/* "0.0.0.0" or "::". */
bool host_is_any(const char *address);

/* Whether a socket on one address may be in the way of one on the other. Both are addresses. */
bool host_is_overlap(const char *a, const char *b);

#endif
