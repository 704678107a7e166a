#include "net/strangers.h"

#include <stdlib.h>

#include "net/address_table.h"

#define TOKEN_US (1000000 / STRANGERS_A_SECOND)

struct strangers {
    struct address_table *seen; /* when, plus one */
    uint64_t room;              /* of the bucket, in time */
    uint64_t empty_for;         /* how long the bucket takes to be full again ... */
    uint64_t since;             /* ... from this time on */
};

enum err strangers_new(struct strangers **out, uint32_t burst)
{
    struct strangers *s;
    enum err e;

    *out = NULL;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NOMEM;
    e = address_table_new(&s->seen);
    if (e != ERR_OK) {
        free(s);
        return e;
    }
    strangers_set_burst(s, burst);
    *out = s;
    return ERR_OK;
}

void strangers_free(struct strangers *s)
{
    if (s == NULL)
        return;
    address_table_free(s->seen);
    free(s);
}

void strangers_set_burst(struct strangers *s, uint32_t burst)
{
    s->room = (uint64_t)(burst > STRANGERS_BURST ? burst : STRANGERS_BURST) * TOKEN_US;
    if (s->empty_for > s->room)
        s->empty_for = s->room;
}

bool strangers_is_known(struct strangers *s, const struct sockaddr *address, uint64_t now)
{
    const uint64_t *seen = address_table_find(s->seen, address);

    return seen != NULL && *seen + STRANGERS_KNOWN_US > now;
}

void strangers_get_to_know(struct strangers *s, const struct sockaddr *address, uint64_t now)
{
    uint64_t *seen = address_table_enter(s->seen, address);

    if (seen != NULL)
        *seen = now + 1;
}

bool strangers_take(struct strangers *s, uint64_t now)
{
    uint64_t passed = now > s->since ? now - s->since : 0;

    s->since = now;
    s->empty_for = s->empty_for > passed ? s->empty_for - passed : 0;
    if (s->empty_for + TOKEN_US > s->room)
        return false;
    s->empty_for += TOKEN_US;
    return true;
}

void strangers_give_back(struct strangers *s)
{
    s->empty_for = s->empty_for > TOKEN_US ? s->empty_for - TOKEN_US : 0;
}
