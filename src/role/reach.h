/*
 * Which addresses a client may be connected to besides services: one rule for both roles, and how a
 * source tells the dest what it would have allowed (PROTOCOL 6.4, the attribute "ranges").
 *
 * A range has the addresses of loopback (127.0.0.0/8, ::1) and of the link (169.254.0.0/16, where
 * clouds keep the machine's own credentials, and fe80::/10) only where it lies within these:
 * 0.0.0.0/0 does not lead to the admin endpoint of a dest, 127.0.0.1 does. Likewise the addresses
 * outside of the link from which some clouds give out such credentials: each has to be listed by
 * itself.
 */
#ifndef UTUN_ROLE_REACH_H
#define UTUN_ROLE_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/cidr.h"
#include "net/address.h"

/* What an attribute holds. */
#define REACH_RANGES_MAX 255

/*
 * Whether the list has the address. 0.0.0.0/8 and :: never count: connecting to them leads to this
 * machine, whatever the list says of 127.0.0.1.
 */
bool reach_is_allowed(const struct cidr_list *list, const struct address *a);

/* The length of the encoded list; 0: it is empty, or does not fit. */
size_t reach_encode(const struct cidr_list *list, uint8_t room[static REACH_RANGES_MAX]);

/* Whether one of the ranges, which must be well-formed, has the address. */
bool reach_has(const uint8_t *ranges, size_t len, const struct address *a);

#endif
