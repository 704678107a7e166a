#include "peer.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "crypto/record.h"

static enum key_direction from_engine(const struct peer *p)
{
    return p->engine_role == TUNNEL_SOURCE ? KEY_FROM_SOURCE : KEY_FROM_DEST;
}

static enum key_direction from_peer(const struct peer *p)
{
    return p->engine_role == TUNNEL_SOURCE ? KEY_FROM_DEST : KEY_FROM_SOURCE;
}

struct session_keys *peer_keys(void)
{
    static const uint8_t root[KDF_SIZE] = "root";
    static const uint8_t context[KDF_SIZE] = "context";
    struct session_keys *keys;

    assert(session_keys_new(&keys, KEM_MLKEM768, root, context) == ERR_OK);
    return keys;
}

/* No size of a block or a record is a multiple of the period, so bytes in a wrong place show. */
#define PERIOD 251

static const uint8_t *bytes_from(uint64_t start)
{
    static uint8_t bytes[PERIOD + RECORD_PLAINTEXT_MAX];
    static bool is_filled;

    for (size_t i = 0; !is_filled && i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i % PERIOD);
    is_filled = true;
    return bytes + start % PERIOD;
}

const uint8_t *peer_bytes_of_engine(uint64_t id, uint64_t offset)
{
    return bytes_from(id * 31 + offset);
}

const uint8_t *peer_bytes_of_peer(uint64_t id, uint64_t offset)
{
    return bytes_from(id * 31 + offset + 100);
}

void peer_tunnel_init(struct peer_tunnel *t, enum tunnel_role engine_role)
{
    memset(t, 0, sizeof(*t));
    t->engine_role = engine_role;
    t->is_honest = true;
}

void peer_init(struct peer *p, struct peer_tunnel *tunnel, enum session_start start)
{
    peer_init_with(p, tunnel, start, peer_keys());
}

void peer_init_with(struct peer *p, struct peer_tunnel *tunnel, enum session_start start,
                    struct session_keys *keys)
{
    struct traffic_keys k;

    memset(p, 0, offsetof(struct peer, plain));
    p->inbox_len = 0;
    p->tunnel = tunnel;
    p->engine_role = tunnel->engine_role;
    p->is_resumed = start == SESSION_RESUMED;
    if (p->engine_role == TUNNEL_DEST)
        p->number = ++tunnel->last_number;
    if (p->is_resumed && !tunnel->is_honest)
        tunnel->is_untracked = true; /* what it believes may be what the engine has refused */
    p->keys = keys;
    assert(session_keys_traffic(p->keys, from_peer(p), &k) == ERR_OK);
    assert(record_sealer_new(&p->sealer, &k, 0) == ERR_OK);
    assert(session_keys_traffic(p->keys, from_engine(p), &k) == ERR_OK);
    assert(record_opener_new(&p->opener, &k, 0) == ERR_OK);
    rotation_init(&p->rotation, p->keys, from_peer(p));
    wire_writer_init(&p->w, p->plain, sizeof(p->plain));
}

void peer_fini(struct peer *p)
{
    rotation_fini(&p->rotation);
    record_sealer_free(p->sealer);
    record_opener_free(p->opener);
    session_keys_free(p->keys);
}

/* -- what the peer sends -- */

struct peer_stream *peer_find(struct peer *p, uint64_t id)
{
    struct peer_stream *streams = p->tunnel->streams;

    return id < PEER_STREAMS && streams[id].is_open ? &streams[id] : NULL;
}

/* The same, if the peer may speak of it now. */
static struct peer_stream *find(struct peer *p, uint64_t id)
{
    return peer_carries_streams(p) ? peer_find(p, id) : NULL;
}

static void raise(uint64_t *limit, uint64_t value)
{
    if (value > *limit)
        *limit = value;
}

static void open_stream(struct peer *p, uint64_t id)
{
    struct peer_tunnel *t = p->tunnel;
    struct peer_stream *s;

    t->opened_ids = id + 1;
    if (id >= PEER_STREAMS)
        return;
    s = &t->streams[id];
    if (t->engine_role == TUNNEL_DEST)
        memset(s, 0, sizeof(*s)); /* else it is the engine's, see find_raw */
    s->is_open = true;
    raise(&s->send_limit, t->engine_window);
    raise(&s->receive_limit, t->window);
}

/* The room is large enough for the frames of one input but for those that carry data. */
static bool write_frame(struct peer *p, const struct frame *f)
{
    return frame_encode(&p->w, f);
}

void peer_settings(struct peer *p, uint64_t window, uint64_t max_streams)
{
    struct frame f = {.type = FRAME_SETTINGS};

    if (p->settings_sent || wire_written(&p->w) > 0)
        return;
    if (p->is_resumed)
        window = p->tunnel->window;
    f.settings.initial_window = window;
    f.settings.max_streams = max_streams;
    f.settings.session = p->number;
    if (!write_frame(p, &f))
        return;
    p->settings_sent = true;
    p->tunnel->window = window;
}

void peer_ping(struct peer *p, uint64_t token)
{
    struct frame f = {.type = FRAME_PING, .ping.token = token};

    if (p->settings_sent && p->pings < SESSION_PONGS_MAX && write_frame(p, &f)) {
        p->pings++;
        p->pings_unsent++;
    }
}

void peer_pong(struct peer *p, uint64_t token)
{
    struct frame f = {.type = FRAME_PONG, .ping.token = token};

    if (p->settings_sent)
        (void)!write_frame(p, &f);
}

void peer_go_away(struct peer *p, uint16_t code)
{
    struct frame f = {.type = FRAME_GO_AWAY};

    f.go_away.code = code;
    f.go_away.text = (const uint8_t *)"gone";
    f.go_away.text_len = code % 5;
    if (p->settings_sent)
        (void)!write_frame(p, &f);
}

void peer_key_switch(struct peer *p, uint64_t now)
{
    struct frame f = {.type = FRAME_KEY_SWITCH};
    uint64_t *at = &p->switched_at[p->switches % KEY_CHANGES_PER_SECOND];

    if (p->switches >= KEY_CHANGES_PER_SECOND && now - *at <= 1000000)
        return;
    f.key_switch.generation = session_keys_generation(p->keys, from_peer(p));
    if (rotation_wants_switch(&p->rotation))
        f.key_switch.generation++;
    if (!p->settings_sent || !write_frame(p, &f))
        return;
    *at = now;
    p->switches++;
}

/* Begins an exchange, if it is our turn to, and goes on with it. */
void peer_key_exchange(struct peer *p, size_t most)
{
    struct mceliece_keypair *pair = NULL;
    const uint8_t *chunk;
    uint64_t offset;
    size_t len;

    if (!p->settings_sent)
        return;
    if (p->engine_role == TUNNEL_DEST && p->rotation.state == ROTATION_IDLE) {
        if (session_keys_mode(p->keys) != KEM_MLKEM768)
            assert(mceliece_keypair_new(&pair) == ERR_OK);
        assert(rotation_start(&p->rotation, pair) == ERR_OK);
    }
    len = rotation_chunk(&p->rotation, most, &chunk, &offset);
    if (len == 0 || len + FRAME_DATA_OVERHEAD > wire_room(&p->w))
        return;
    assert(frame_encode_data_header(&p->w, FRAME_KEY_EXCHANGE, rotation_generation(&p->rotation),
                                    offset, len));
    wire_put_bytes(&p->w, chunk, len);
    rotation_sent(&p->rotation, len);
}

void peer_open(struct peer *p, uint64_t limit, const char *name)
{
    struct frame f = {.type = FRAME_STREAM_OPEN};

    if (!p->settings_sent || p->engine_role != TUNNEL_DEST || !peer_carries_streams(p) ||
        p->tunnel->opened_ids >= PEER_STREAMS)
        return;
    f.open.id = p->tunnel->opened_ids;
    f.open.limit = limit;
    f.open.target.port = 80;
    strncpy(f.open.target.name, name, STREAM_TARGET_NAME_MAX);
    if (!write_frame(p, &f))
        return;
    open_stream(p, f.open.id);
    raise(&p->tunnel->streams[f.open.id].receive_limit, limit);
}

void peer_accept(struct peer *p, uint64_t id, uint64_t limit)
{
    struct frame f = {.type = FRAME_STREAM_ACCEPT};
    struct peer_stream *s = find(p, id);

    if (!p->settings_sent || p->engine_role != TUNNEL_SOURCE || s == NULL || s->is_accepted ||
        s->reset_sent)
        return;
    f.accept.id = id;
    f.accept.limit = limit;
    if (!write_frame(p, &f))
        return;
    s->is_accepted = true;
    raise(&s->receive_limit, limit);
}

void peer_data(struct peer *p, uint64_t id, size_t len, enum frame_type type)
{
    struct peer_stream *s = find(p, id);

    if (!p->settings_sent || s == NULL || s->fin_sent || s->reset_sent)
        return;
    if (len > s->send_limit - s->sent)
        len = (size_t)(s->send_limit - s->sent);
    if (wire_room(&p->w) < FRAME_DATA_OVERHEAD + len || (len == 0 && type == FRAME_STREAM_DATA))
        return;
    assert(frame_encode_data_header(&p->w, type, id, s->sent, len));
    wire_put_bytes(&p->w, peer_bytes_of_peer(id, s->sent), len);
    s->sent += len;
    s->fin_sent = type == FRAME_STREAM_DATA_FIN;
}

void peer_credit(struct peer *p, uint64_t id, uint64_t more)
{
    struct frame f = {.type = FRAME_STREAM_CREDIT};
    struct peer_stream *s = find(p, id);

    if (!p->settings_sent || s == NULL || s->reset_sent)
        return;
    f.credit.id = id;
    f.credit.acked = s->received + (s->fin_received ? 1 : 0);
    f.credit.limit = s->received + more;
    if (write_frame(p, &f))
        raise(&s->receive_limit, f.credit.limit);
}

void peer_reset(struct peer *p, uint64_t id, uint16_t code)
{
    struct frame f = {.type = FRAME_STREAM_RESET};
    struct peer_stream *s = find(p, id);

    if (!p->settings_sent || s == NULL || s->reset_sent)
        return;
    f.reset.id = id;
    f.reset.code = code;
    f.reset.final_size = s->sent;
    s->reset_sent = write_frame(p, &f);
}

/*
 * Bytes may name a stream of which the peer has not heard yet: the engine takes them once its OPEN
 * is on the way, so they count when that comes.
 */
static struct peer_stream *find_raw(struct peer *p, uint64_t id)
{
    struct peer_tunnel *t = p->tunnel;

    if (p->engine_role == TUNNEL_SOURCE && id >= t->opened_ids && id < PEER_STREAMS &&
        peer_carries_streams(p))
        return &t->streams[id];
    return find(p, id);
}

/* What the engine may do after frames that were written as bytes, should it take them. */
static void learn(struct peer *p, const struct frame *f)
{
    struct peer_stream *s;

    switch (f->type) {
    case FRAME_SETTINGS:
        if (!p->settings_sent)
            p->tunnel->window = f->settings.initial_window;
        p->settings_sent = true;
        break;
    case FRAME_STREAM_OPEN:
        if (f->open.id >= p->tunnel->opened_ids && p->engine_role == TUNNEL_DEST)
            open_stream(p, f->open.id);
        s = find(p, f->open.id);
        if (s != NULL)
            raise(&s->receive_limit, f->open.limit);
        break;
    case FRAME_STREAM_ACCEPT:
        s = find_raw(p, f->accept.id);
        if (s != NULL) {
            s->is_accepted = true;
            raise(&s->receive_limit, f->accept.limit);
        }
        break;
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
        s = find_raw(p, f->data.id);
        if (s != NULL) {
            raise(&s->sent, f->data.offset + f->data.len);
            s->fin_sent = s->fin_sent || f->type == FRAME_STREAM_DATA_FIN;
        }
        break;
    case FRAME_STREAM_CREDIT:
        s = find_raw(p, f->credit.id);
        if (s != NULL)
            raise(&s->receive_limit, f->credit.limit);
        break;
    case FRAME_STREAM_RESET:
        s = find_raw(p, f->reset.id);
        if (s != NULL)
            s->reset_sent = true;
        break;
    default:
        break;
    }
}

void peer_raw(struct peer *p, const uint8_t *data, size_t len)
{
    if (len == 0 || len > wire_room(&p->w))
        return;
    wire_put_bytes(&p->w, data, len);
    p->tunnel->is_honest = false;
    if (p->is_resumed)
        p->tunnel->is_untracked = true;
}

/* Whether its last frame, and only that, is KEY_SWITCH, and to which generation. */
static bool read_back(struct peer *p, size_t len, uint64_t *generation)
{
    struct wire_reader r;

    wire_reader_init(&r, p->plain, len);
    while (wire_left(&r) > 0) {
        struct frame f;

        if (frame_decode(&r, &f) != ERR_OK)
            return false;
        if (f.type == FRAME_KEY_SWITCH) {
            *generation = f.key_switch.generation;
            return wire_left(&r) == 0;
        }
        if (!p->tunnel->is_honest)
            learn(p, &f);
    }
    return false;
}

/* False for a switch to keys that there are not. */
static bool change_key(struct peer *p, enum key_direction direction, uint64_t generation)
{
    if (generation == session_keys_generation(p->keys, direction)) {
        assert(session_keys_ratchet(p->keys, direction) == ERR_OK);
    } else {
        if (generation != session_keys_generation(p->keys, direction) + 1 ||
            session_keys_switch(p->keys, direction) != ERR_OK)
            return false;
        rotation_on_switched(&p->rotation);
    }
    return true;
}

static void switch_key(struct peer *p, uint64_t generation)
{
    struct traffic_keys k;

    if (!change_key(p, from_peer(p), generation)) {
        assert(!p->tunnel->is_honest);
        return;
    }
    assert(session_keys_traffic(p->keys, from_peer(p), &k) == ERR_OK);
    assert(record_sealer_rekey(p->sealer, &k) == ERR_OK);
    p->sealed = 0;
}

size_t peer_seal(struct peer *p, uint8_t *room)
{
    struct iovec part = {.iov_base = p->plain, .iov_len = wire_written(&p->w)};
    uint64_t generation;
    size_t len;

    if (part.iov_len == 0)
        return 0;
    assert(record_seal(p->sealer, &part, 1, room, RECORD_SIZE_MAX, &len) == ERR_OK);
    p->sealed++;
    p->pings_unsent = 0;
    if (read_back(p, part.iov_len, &generation))
        switch_key(p, generation);
    wire_writer_init(&p->w, p->plain, sizeof(p->plain));
    return len;
}

/* -- what the engine sends -- */

static void follow_key(struct peer *p, uint64_t generation)
{
    struct traffic_keys k;

    if (!change_key(p, from_engine(p), generation)) {
        assert(!p->tunnel->is_honest);
        p->is_deaf = true;
        return;
    }
    assert(session_keys_traffic(p->keys, from_engine(p), &k) == ERR_OK);
    assert(record_opener_rekey(p->opener, &k) == ERR_OK);
    p->opened = 0;
}

static void on_open(struct peer *p, const struct frame *f)
{
    assert(p->engine_role == TUNNEL_SOURCE);
    assert(f->open.id >= p->tunnel->opened_ids);
    assert(f->open.id == p->tunnel->opened_ids || p->tunnel->engine_gave_up);
    open_stream(p, f->open.id);
    if (f->open.id < PEER_STREAMS)
        raise(&p->tunnel->streams[f->open.id].send_limit, f->open.limit);
}

static void on_data(struct peer *p, struct peer_stream *s, const struct frame *f)
{
    assert(!s->fin_received);
    assert(s->is_accepted || p->engine_role == TUNNEL_SOURCE);
    assert(f->data.offset == s->received);
    assert(f->data.offset + f->data.len <= s->receive_limit);
    assert(memcmp(f->data.data, peer_bytes_of_engine(f->data.id, f->data.offset), f->data.len) ==
           0);
    s->received += f->data.len;
    s->fin_received = f->type == FRAME_STREAM_DATA_FIN;
}

static void on_credit(struct peer_stream *s, const struct frame *f)
{
    assert(f->credit.acked >= s->acked);
    assert(f->credit.acked <= s->sent + (s->fin_sent ? 1 : 0));
    s->acked = f->credit.acked;
    raise(&s->send_limit, f->credit.limit);
}

static void on_stream_frame(struct peer *p, const struct frame *f)
{
    bool is_data = f->type == FRAME_STREAM_DATA || f->type == FRAME_STREAM_DATA_FIN;
    uint64_t id = f->accept.id;
    struct peer_stream *s;

    if (is_data)
        id = f->data.id;
    else if (f->type == FRAME_STREAM_CREDIT)
        id = f->credit.id;
    else if (f->type == FRAME_STREAM_RESET)
        id = f->reset.id;
    assert(id < p->tunnel->opened_ids);
    s = peer_find(p, id);
    if (s == NULL)
        return;
    assert(!s->reset_received); /* nothing comes behind it */
    if (is_data) {
        on_data(p, s, f);
    } else if (f->type == FRAME_STREAM_CREDIT) {
        on_credit(s, f);
    } else if (f->type == FRAME_STREAM_RESET) {
        assert(f->reset.final_size == s->received);
        s->reset_received = true;
    } else {
        assert(p->engine_role == TUNNEL_DEST && !s->is_accepted);
        s->is_accepted = true;
        raise(&s->send_limit, f->accept.limit);
    }
}

static void on_settings(struct peer *p, const struct frame *f)
{
    struct peer_tunnel *t = p->tunnel;

    p->settings_received = true;
    if (p->engine_role == TUNNEL_SOURCE) {
        assert(f->settings.session > 0);
        p->number = f->settings.session;
    }
    if (p->number > t->ready_number)
        t->ready_number = p->number;
    t->engine_window = f->settings.initial_window;
    for (size_t i = 0; i < PEER_STREAMS; i++) /* that were opened before it came */
        raise(&t->streams[i].send_limit, t->engine_window);
}

static void on_frame(struct peer *p, const struct frame *f)
{
    bool is_older = p->number < p->tunnel->ready_number;

    assert(p->settings_received == (f->type != FRAME_SETTINGS));
    if (p->on_frame != NULL)
        p->on_frame(p, f);
    if (p->is_careless && (f->type >= FRAME_STREAM_OPEN || f->type == FRAME_RESUME))
        return;
    switch ((enum frame_type)f->type) {
    case FRAME_SETTINGS:
        on_settings(p, f);
        return;
    case FRAME_STREAM_OPEN:
        if (is_older)
            return;
        if (!p->tunnel->is_untracked) {
            assert(peer_carries_streams(p));
            on_open(p, f);
        } else if (f->open.id >= p->tunnel->opened_ids) {
            open_stream(p, f->open.id);
        }
        return;
    case FRAME_STREAM_ACCEPT:
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
    case FRAME_STREAM_CREDIT:
    case FRAME_STREAM_RESET:
        if (is_older || p->tunnel->is_untracked)
            return;
        assert(peer_carries_streams(p));
        on_stream_frame(p, f);
        return;
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_GO_AWAY:
    case FRAME_KEY_SWITCH:
        return;
    case FRAME_FLOW_OPEN:
        assert(p->engine_role == TUNNEL_SOURCE);
        return;
    case FRAME_FLOW_DATAGRAM:
    case FRAME_FLOW_CLOSE:
        return;
    case FRAME_KEY_EXCHANGE:
        if (rotation_on_chunk(&p->rotation, f) != ERR_OK)
            assert(!p->tunnel->is_honest);
        return;
    case FRAME_RESUME:
        peer_on_resume(p, f);
        return;
    }
    assert(false && "a type of frame that nobody knows");
}

static void on_plaintext(struct peer *p, const uint8_t *plain, size_t len)
{
    struct wire_reader r;

    wire_reader_init(&r, plain, len);
    while (wire_left(&r) > 0) {
        struct frame f;

        assert(frame_decode(&r, &f) == ERR_OK);
        on_frame(p, &f);
        if (f.type == FRAME_KEY_SWITCH) {
            assert(wire_left(&r) == 0);
            follow_key(p, f.key_switch.generation);
        }
    }
}

void peer_take(struct peer *p, const uint8_t *data, size_t len)
{
    while (len > 0 && !p->is_deaf) {
        size_t n = sizeof(p->inbox) - p->inbox_len;
        size_t at = 0;
        size_t need;

        n = n < len ? n : len;
        memcpy(p->inbox + p->inbox_len, data, n);
        p->inbox_len += n;
        data += n;
        len -= n;
        while (!p->is_deaf) {
            uint8_t *plain;
            size_t plain_len;

            assert(record_peek(p->opener, p->inbox + at, p->inbox_len - at, &need) == ERR_OK);
            if (need == 0 || need > p->inbox_len - at)
                break;
            assert(record_open(p->opener, p->inbox + at, need, &plain, &plain_len) == ERR_OK);
            p->opened++;
            on_plaintext(p, plain, plain_len);
            at += need;
        }
        memmove(p->inbox, p->inbox + at, p->inbox_len - at);
        p->inbox_len -= at;
    }
}

void peer_took_all(struct peer *p)
{
    assert(p->inbox_len == 0 || p->is_deaf);
    p->pings = p->pings_unsent;
}
