/*
 * What anybody on the path can do to a session: records that the peer has sealed arrive with bytes
 * changed, cut off, repeated, left out or put in between, in pieces of any size. The engine must
 * act on exactly the records that came as they were sent, in their order, up to the first that did
 * not.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"
#include "target.h"

#define STREAM_MAX  ((size_t)16 * 1024)
#define RECORD_ROOM ((size_t)64) /* no record sealed here is longer */

struct tunnel_owner {
    unsigned readies;
    unsigned told; /* GO_AWAYs: the n-th has code n */
};

static void on_session_ready(struct tunnel_owner *owner, struct session *session)
{
    (void)session;
    owner->readies++;
}

static void on_go_away(struct tunnel_owner *owner, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    (void)session;
    (void)retry_after_ms;
    assert((unsigned)code == owner->told);
    assert(memcmp(text, "gone", text_len) == 0);
    owner->told++;
}

static const struct tunnel_events events = {
    .on_session_ready = on_session_ready,
    .on_go_away = on_go_away,
};

/* What was sealed, and what the path makes of it. */
struct path {
    uint8_t sent[STREAM_MAX];
    size_t sent_len;
    size_t ends[STREAM_MAX / RECORD_OVERHEAD]; /* of each record in sent */
    size_t records;
    uint8_t arrives[STREAM_MAX];
    size_t arrives_len;
};

static void append(struct path *p, const uint8_t *data, size_t len)
{
    if (len > sizeof(p->arrives) - p->arrives_len)
        len = sizeof(p->arrives) - p->arrives_len;
    if (len > 0)
        memcpy(p->arrives + p->arrives_len, data, len);
    p->arrives_len += len;
}

/* The first record is SETTINGS alone, every other one a GO_AWAY that tells its number. */
static void seal_next(struct path *p, struct peer *peer)
{
    static uint8_t room[RECORD_SIZE_MAX];
    size_t len;

    if (sizeof(p->sent) - p->sent_len < RECORD_ROOM)
        return;
    if (p->records == 0)
        peer_settings(peer, 65536, 100);
    else
        peer_go_away(peer, (uint16_t)(p->records - 1));
    if (p->records % 7 == 6)
        peer_key_switch(peer, 0);
    len = peer_seal(peer, room);
    assert(len <= RECORD_ROOM);
    memcpy(p->sent + p->sent_len, room, len);
    p->sent_len += len;
    p->ends[p->records++] = p->sent_len;
}

static void meddle(struct path *p, struct wire_reader *in, struct peer *peer)
{
    size_t start = p->sent_len;
    uint8_t op = wire_u8(in) % 7;
    uint8_t arg = op == 0 ? 0 : wire_u8(in);
    size_t len;

    if (op < 5)
        seal_next(p, peer);
    len = p->sent_len - start;
    switch (op) {
    case 0: /* as it is */
        append(p, p->sent + start, len);
        break;
    case 1: { /* a byte changed */
        size_t at = p->arrives_len + arg % (len > 0 ? len : 1);
        uint8_t mask = wire_u8(in);

        append(p, p->sent + start, len);
        if (at < p->arrives_len)
            p->arrives[at] ^= mask;
        break;
    }
    case 2: /* cut off */
        append(p, p->sent + start, arg < len ? arg : len);
        break;
    case 3: /* without its start */
        append(p, p->sent + start + (arg < len ? arg : len), arg < len ? len - arg : 0);
        break;
    case 4: /* left out */
        break;
    case 5: /* an old one again */
        if (p->records > 0) {
            size_t i = arg % p->records;
            size_t from = i == 0 ? 0 : p->ends[i - 1];

            append(p, p->sent + from, p->ends[i] - from);
        }
        break;
    default: { /* bytes of a stranger's */
        size_t n = arg < wire_left(in) ? arg : wire_left(in);

        append(p, wire_bytes(in, n), n);
        break;
    }
    }
}

/* How many bytes arrive as they were sent. */
static size_t count_same(const struct path *p)
{
    size_t same = 0;

    while (same < p->sent_len && same < p->arrives_len && p->sent[same] == p->arrives[same])
        same++;
    return same;
}

/* As the pump does: what is not used stays in front of what comes next. */
static enum err feed(struct session *s, const struct path *p, size_t piece)
{
    size_t at = 0;
    size_t end = 0;
    uint64_t now = 1000;

    while (end < p->arrives_len) {
        uint8_t *copy;
        size_t used;
        enum err e;

        end = piece < p->arrives_len - end ? end + piece : p->arrives_len;
        now += 1000 * 1000; /* keys may change often */
        copy = malloc(end - at);
        assert(copy != NULL);
        memcpy(copy, p->arrives + at, end - at);
        e = session_feed(s, copy, end - at, &used, now);
        assert(used <= end - at);
        free(copy);
        if (e != ERR_OK) {
            assert(session_feed(s, NULL, 0, &used, now) == e && used == 0);
            return e;
        }
        at += used;
    }
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct peer_tunnel known;
    static struct peer peer;
    static struct path path;
    struct tunnel_owner owner = {0};
    struct budget hold;
    struct budget credit;
    struct tunnel_options options = {
        .max_streams = 4,
        .window_max = 65536,
        .events = &events,
        .hold = &hold,
        .credit = &credit,
        .owner = &owner,
    };
    struct wire_reader in;
    struct tunnel *tunnel;
    struct session *session;
    size_t limit;
    size_t piece;
    size_t same;
    unsigned good = 0; /* records that arrive whole and in their order */

    wire_reader_init(&in, data, size);
    options.role = wire_u8(&in) % 2 == 0 ? TUNNEL_SOURCE : TUNNEL_DEST;
    piece = (size_t)wire_u8(&in) + 1;
    if (piece == 256)
        piece = STREAM_MAX;
    path.sent_len = 0;
    path.records = 0;
    path.arrives_len = 0;
    peer_tunnel_init(&known, options.role);
    peer_init(&peer, &known, SESSION_FRESH);
    while (wire_left(&in) > 0)
        meddle(&path, &in, &peer);
    peer_fini(&peer);

    tunnel_share_memory(1024 * 1024, &limit, &hold, &credit);
    assert(pool_new(&options.pool, limit) == ERR_OK);
    assert(tunnel_new(&tunnel, &options) == ERR_OK);
    assert(session_new(&session, tunnel, peer_keys(), SESSION_FRESH, 1000) == ERR_OK);
    same = count_same(&path);
    while (good < path.records && path.ends[good] <= same)
        good++;
    if (feed(session, &path, piece) != ERR_OK)
        assert(same < path.arrives_len);
    assert(owner.readies == (good > 0 ? 1 : 0));
    assert(owner.told == (good > 0 ? good - 1 : 0));
    tunnel_free(tunnel);
    assert(hold.used == 0 && credit.used == 0 && pool_in_use(options.pool) == 0);
    pool_free(options.pool);
    return 0;
}
