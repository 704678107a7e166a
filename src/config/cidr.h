/*
 * Address ranges in CIDR notation (RFC 4632, RFC 4291), and matching addresses against them.
 *
 * IPv4 and IPv6 stay apart: "::/0" is every IPv6 address and no IPv4 one. An IPv4-mapped IPv6
 * address (::ffff:192.0.2.1, as a dual-stack listener reports it) is the IPv4 address it stands
 * for, in ranges and in addresses to match alike.
 */
#ifndef UTUN_CONFIG_CIDR_H
#define UTUN_CONFIG_CIDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/error.h"

struct cidr {
    uint8_t address[16]; /* network order; IPv4 uses the first 4 bytes */
    uint8_t bits;        /* 0..32 or 0..128 */
    sa_family_t family;  /* AF_INET or AF_INET6 */
};

struct cidr_list {
    struct cidr *items;
    size_t count;
};

/* "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128" and a NUL. */
#define CIDR_TEXT_MAX (INET6_ADDRSTRLEN + 4)

/*
 * Parses "192.0.2.0/24", "2001:db8::/32", or a lone address (one host). Bits set behind the prefix
 * are an error, because it is unclear which was meant; *out then holds the corrected range, and
 * only then is *out usable on error (ERR_CONFIG with *out->family set; otherwise family is 0).
 * d (may be NULL) says what is wrong.
 */
enum err cidr_parse(struct cidr *out, const char *text, struct err_detail *d) MUST_USE;

/* Writes "192.0.2.0/24" into out, which has CIDR_TEXT_MAX bytes. */
void cidr_format(const struct cidr *cidr, char *out);

/* False for an address that is neither IPv4 nor IPv6. */
bool cidr_is_match(const struct cidr *cidr, const struct sockaddr *address);

/* True if any range matches: an empty list matches nothing. */
bool cidr_list_is_match(const struct cidr_list *list, const struct sockaddr *address);

#endif
