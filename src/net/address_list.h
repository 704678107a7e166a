/* The addresses of one name, in the order in which they are to be tried. A value, no ownership. */
#ifndef UTUN_NET_ADDRESS_LIST_H
#define UTUN_NET_ADDRESS_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "net/address.h"

struct addrinfo;

/* More addresses of one name than this are not tried. */
#define ADDRESS_LIST_MAX 16

struct address_list {
    size_t count;
    struct address items[ADDRESS_LIST_MAX];
};

/*
 * What a resolver said: the families in turn, beginning with the one that the system's address
 * selection (RFC 6724) has put first, so that a family which does not work costs one try (RFC 8305,
 * section 4).
 */
void address_list_take(struct address_list *out, const struct addrinfo *resolved);

/* False, and nothing has changed, if there are ADDRESS_LIST_MAX already. */
bool address_list_add(struct address_list *list, const struct address *a);

bool address_list_has(const struct address_list *list, const struct address *a);

#endif
