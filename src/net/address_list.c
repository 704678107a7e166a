#include "net/address_list.h"

#include <netdb.h>
#include <string.h>

/* The next one of the family (is_first), or of any other; NULL: there is none. */
static const struct addrinfo *skip_to(const struct addrinfo *ai, int family, bool is_first)
{
    while (ai != NULL && (ai->ai_family == family) != is_first)
        ai = ai->ai_next;
    return ai;
}

void address_list_take(struct address_list *out, const struct addrinfo *resolved)
{
    const struct addrinfo *next[2];
    int family;

    out->count = 0;
    if (resolved == NULL)
        return;
    family = resolved->ai_family;
    next[0] = resolved;
    next[1] = skip_to(resolved, family, false);
    for (unsigned turn = 0; out->count < ADDRESS_LIST_MAX; turn = 1 - turn) {
        const struct addrinfo *ai = next[turn];

        if (ai == NULL && next[1 - turn] == NULL)
            return;
        if (ai == NULL)
            continue;
        next[turn] = skip_to(ai->ai_next, family, turn == 0);
        address_from_sockaddr(&out->items[out->count], ai->ai_addr, ai->ai_addrlen);
        if (!address_is_none(&out->items[out->count]))
            out->count++;
    }
}

bool address_list_add(struct address_list *list, const struct address *a)
{
    if (list->count == ADDRESS_LIST_MAX)
        return false;
    list->items[list->count++] = *a;
    return true;
}

bool address_list_has(const struct address_list *list, const struct address *a)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].len == a->len &&
            memcmp(&list->items[i].sockaddr, &a->sockaddr, a->len) == 0)
            return true;
    }
    return false;
}
