#include "side.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void side_init(struct side *s, struct tunnel_options *options, size_t memory)
{
    size_t limit;

    memset(s, 0, sizeof(*s));
    s->now = 1000;
    tunnel_share_memory(memory, &limit, &s->hold, &s->credit);
    assert(pool_new(&s->pool, limit) == ERR_OK);
    options->pool = s->pool;
    options->hold = &s->hold;
    options->credit = &s->credit;
    s->exchanges = tunnel_exchange_budget(memory);
    options->exchanges = &s->exchanges;
    peer_tunnel_init(&s->known, options->role);
    assert(tunnel_new(&s->tunnel, options) == ERR_OK);
}

void side_fini(struct side *s)
{
    tunnel_free(s->tunnel);
    assert(s->hold.used == 0 && s->credit.used == 0 && s->exchanges.used == 0);
    assert(pool_in_use(s->pool) == 0);
    pool_free(s->pool);
}

void line_open(struct line *l, struct side *s, enum session_start start)
{
    assert(l->session == NULL);
    l->side = s;
    if (start == SESSION_FRESH)
        peer_tunnel_init(&s->known, s->known.engine_role);
    peer_init(&l->peer, &s->known, start);
    assert(session_new(&l->session, s->tunnel, peer_keys(), start, s->now) == ERR_OK);
}

void line_forget(struct line *l)
{
    if (l->session == NULL)
        return;
    l->session = NULL;
    peer_fini(&l->peer);
}

void line_close(struct line *l)
{
    session_close(l->session);
    line_forget(l);
}

enum err line_feed(struct line *l)
{
    static uint8_t room[RECORD_SIZE_MAX];
    size_t len = l->session == NULL ? 0 : peer_seal(&l->peer, room);
    uint8_t *copy;
    size_t used;
    enum err e;

    if (len == 0)
        return ERR_OK;
    copy = malloc(len); /* exactly, so that a read beyond shows */
    assert(copy != NULL);
    memcpy(copy, room, len);
    e = session_feed(l->session, copy, len, &used, l->side->now);
    free(copy);
    assert(e != ERR_OK || used == len);
    return e;
}

enum err line_drain(struct line *l, size_t most)
{
    while (most > 0 && l->session != NULL) {
        const uint8_t *data;
        size_t len;
        enum err e = session_drain(l->session, &data, &len, l->side->now);

        if (e != ERR_OK)
            return e;
        if (len == 0) {
            assert(!session_has_output(l->session));
            peer_took_all(&l->peer);
            return ERR_OK;
        }
        if (len > most)
            len = most;
        peer_take(&l->peer, data, len);
        session_drained(l->session, len);
        if (most != SIZE_MAX)
            return ERR_OK;
    }
    return ERR_OK;
}
