#include "tunnel/frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum open_attribute {
    OPEN_CLIENT = 1,
    OPEN_LOCAL = 2,
    OPEN_RANGES = 3,
    OPEN_PROCESS = 4,
};

static bool is_among(uint64_t id, const uint64_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static void decode_settings(struct wire_reader *r, struct frame *f)
{
    uint64_t seen[SETTINGS_ENTRIES_MAX];

    f->settings.initial_window = 0;
    f->settings.max_streams = 0;
    f->settings.session = 0;
    f->settings.key_lifetime_ms = 0;
    for (size_t n = 0; wire_left(r) > 0; n++) {
        uint64_t id = wire_varint(r);
        uint64_t value = wire_varint(r);

        if (n == SETTINGS_ENTRIES_MAX || is_among(id, seen, n)) {
            r->failed = true;
            return;
        }
        seen[n] = id;
        if (id == SETTING_INITIAL_WINDOW)
            f->settings.initial_window = value;
        else if (id == SETTING_MAX_STREAMS)
            f->settings.max_streams = value;
        else if (id == SETTING_SESSION)
            f->settings.session = value;
        else if (id == SETTING_KEY_LIFETIME)
            f->settings.key_lifetime_ms = value;
    }
}

static void encode_settings(struct wire_writer *w, const struct frame *f)
{
    wire_put_varint(w, SETTING_INITIAL_WINDOW);
    wire_put_varint(w, f->settings.initial_window);
    wire_put_varint(w, SETTING_MAX_STREAMS);
    wire_put_varint(w, f->settings.max_streams);
    if (f->settings.session != 0) {
        wire_put_varint(w, SETTING_SESSION);
        wire_put_varint(w, f->settings.session);
    }
    if (f->settings.key_lifetime_ms != 0) {
        wire_put_varint(w, SETTING_KEY_LIFETIME);
        wire_put_varint(w, f->settings.key_lifetime_ms);
    }
}

static void decode_go_away(struct wire_reader *r, struct frame *f)
{
    f->go_away.code = wire_u16(r);
    f->go_away.retry_after_ms = wire_u32(r);
    f->go_away.text_len = wire_left(r);
    f->go_away.text = wire_bytes(r, f->go_away.text_len);
    if (f->go_away.text_len > GO_AWAY_TEXT_MAX)
        r->failed = true;
}

static void encode_go_away(struct wire_writer *w, const struct frame *f)
{
    wire_put_u16(w, f->go_away.code);
    wire_put_u32(w, f->go_away.retry_after_ms);
    wire_put_bytes(w, f->go_away.text, f->go_away.text_len);
}

static void decode_client(struct wire_reader *r, struct stream_address *client)
{
    size_t len = wire_left(r);

    if (len != 4 + 2 && len != 16 + 2) {
        r->failed = true;
        return;
    }
    client->address_len = (uint8_t)(len - 2);
    memcpy(client->address, wire_bytes(r, client->address_len), client->address_len);
    client->port = wire_u16(r);
}

static void encode_client(struct wire_writer *w, enum open_attribute type,
                          const struct stream_address *client)
{
    if (client->address_len == 0)
        return;
    wire_put_u8(w, (uint8_t)type);
    wire_put_u8(w, (uint8_t)(client->address_len + 2));
    wire_put_bytes(w, client->address, client->address_len);
    wire_put_u16(w, client->port);
}

static void decode_process(struct wire_reader *r, struct stream_address *client)
{
    client->is_process = true;
    client->uid = wire_u32(r);
    client->pid = wire_u32(r);
    if (wire_left(r) > 0)
        r->failed = true;
}

static void encode_process(struct wire_writer *w, const struct stream_address *client)
{
    if (!client->is_process)
        return;
    wire_put_u8(w, OPEN_PROCESS);
    wire_put_u8(w, 4 + 4);
    wire_put_u32(w, client->uid);
    wire_put_u32(w, client->pid);
}

/* Only looks whether they are well-formed. */
static void decode_ranges(struct wire_reader *r, struct stream_target *target)
{
    target->ranges = r->at;
    target->ranges_len = (uint8_t)wire_left(r);
    if (target->ranges_len == 0)
        r->failed = true;
    while (wire_left(r) > 0) {
        uint8_t version = wire_u8(r);
        uint8_t bits = wire_u8(r);

        if ((version != 4 && version != 6) || bits > (version == 4 ? 32 : 128) ||
            wire_bytes(r, (bits + 7U) / 8) == NULL)
            r->failed = true;
        if (r->failed)
            return;
    }
}

static void decode_attributes(struct wire_reader *r, struct stream_target *target)
{
    uint64_t seen[4] = {0}; /* a bit for each type of attribute */

    while (wire_left(r) > 0) {
        uint8_t type = wire_u8(r);
        struct wire_reader value = wire_sub(r, wire_u8(r));

        if (type == OPEN_CLIENT)
            decode_client(&value, &target->client);
        else if (type == OPEN_LOCAL)
            decode_client(&value, &target->local);
        else if (type == OPEN_RANGES && !value.failed)
            decode_ranges(&value, target);
        else if (type == OPEN_PROCESS)
            decode_process(&value, &target->client);
        if (value.failed || (seen[type / 64] >> type % 64 & 1) != 0)
            r->failed = true;
        seen[type / 64] |= UINT64_C(1) << type % 64;
    }
}

static void decode_target(struct wire_reader *r, enum stream_protocol protocol,
                          struct stream_target *target)
{
    const uint8_t *name;
    size_t name_len;
    uint8_t kind;

    memset(target, 0, sizeof(*target));
    kind = wire_u8(r);
    if (kind > STREAM_TARGET_HOST || wire_u8(r) != protocol)
        r->failed = true;
    target->kind = (enum stream_target_kind)kind;
    target->port = wire_u16(r);
    name_len = wire_u8(r);
    name = wire_bytes(r, name_len);
    if (name == NULL)
        return;
    if (memchr(name, 0, name_len) != NULL || (kind == STREAM_TARGET_HOST && name_len == 0)) {
        r->failed = true;
        return;
    }
    memcpy(target->name, name, name_len);
    decode_attributes(r, target);
}

struct stream_target *stream_target_copy(const struct stream_target *target)
{
    struct stream_target *copy = malloc(sizeof(*copy) + target->ranges_len);

    if (copy == NULL)
        return NULL;
    *copy = *target;
    if (target->ranges_len > 0)
        copy->ranges = memcpy(copy + 1, target->ranges, target->ranges_len);
    return copy;
}

static void encode_target(struct wire_writer *w, enum stream_protocol protocol,
                          const struct stream_target *target)
{
    size_t name_len = strlen(target->name);

    wire_put_u8(w, (uint8_t)target->kind);
    wire_put_u8(w, (uint8_t)protocol);
    wire_put_u16(w, target->port);
    wire_put_u8(w, (uint8_t)name_len);
    wire_put_bytes(w, (const uint8_t *)target->name, name_len);
    encode_client(w, OPEN_CLIENT, &target->client);
    encode_client(w, OPEN_LOCAL, &target->local);
    encode_process(w, &target->client);
    if (target->ranges_len > 0) {
        wire_put_u8(w, OPEN_RANGES);
        wire_put_u8(w, target->ranges_len);
        wire_put_bytes(w, target->ranges, target->ranges_len);
    }
}

static void decode_datagram(struct wire_reader *r, struct frame *f)
{
    f->datagram.id = wire_varint(r);
    f->datagram.len = wire_left(r);
    f->datagram.data = wire_bytes(r, f->datagram.len);
    if (f->datagram.len > FLOW_DATAGRAM_MAX)
        r->failed = true;
}

static void decode_data(struct wire_reader *r, struct frame *f)
{
    f->data.id = wire_varint(r);
    f->data.offset = wire_varint(r);
    f->data.len = wire_left(r);
    f->data.data = wire_bytes(r, f->data.len);
    if (f->data.offset > WIRE_VARINT_MAX - f->data.len)
        r->failed = true;
    if (f->type == FRAME_STREAM_DATA && f->data.len == 0)
        r->failed = true; /* it would carry nothing; only a FIN may come alone */
}

static void decode_exchange(struct wire_reader *r, struct frame *f)
{
    f->exchange.generation = wire_varint(r);
    f->exchange.offset = wire_varint(r);
    f->exchange.len = wire_left(r);
    f->exchange.data = wire_bytes(r, f->exchange.len);
    if (f->exchange.len == 0)
        r->failed = true;
}

enum resume_flag {
    RESUME_LAST = 1 << 0, /* of the frame */
};

enum resume_entry_flag {
    ENTRY_ACCEPTED = 1 << 0,
    ENTRY_HAS_RESET = 1 << 1,
};

static void decode_resume(struct wire_reader *r, struct frame *f)
{
    uint8_t flags;

    f->resume.next_id = wire_varint(r);
    flags = wire_u8(r);
    if ((flags & ~RESUME_LAST) != 0)
        r->failed = true;
    f->resume.is_last = (flags & RESUME_LAST) != 0;
    f->resume.entries = wire_sub(r, wire_left(r));
}

bool frame_encode_resume_header(struct wire_writer *w, uint64_t next_id, bool is_last, size_t len)
{
    struct wire_writer try = *w;

    wire_put_u8(&try, FRAME_RESUME);
    wire_put_varint(&try, wire_varint_size(next_id) + 1 + len);
    wire_put_varint(&try, next_id);
    wire_put_u8(&try, is_last ? RESUME_LAST : 0);
    if (try.failed)
        return false;
    *w = try;
    return true;
}

enum err resume_entry_decode(struct wire_reader *r, struct resume_entry *e)
{
    uint8_t flags;

    e->id = wire_varint(r);
    e->received = wire_varint(r);
    e->limit = wire_varint(r);
    flags = wire_u8(r);
    e->is_accepted = (flags & ENTRY_ACCEPTED) != 0;
    e->has_reset = (flags & ENTRY_HAS_RESET) != 0;
    return r->failed || (flags & ~(ENTRY_ACCEPTED | ENTRY_HAS_RESET)) != 0 ? ERR_MALFORMED : ERR_OK;
}

void resume_entry_encode(struct wire_writer *w, const struct resume_entry *e)
{
    wire_put_varint(w, e->id);
    wire_put_varint(w, e->received);
    wire_put_varint(w, e->limit);
    wire_put_u8(
        w, (uint8_t)((e->is_accepted ? ENTRY_ACCEPTED : 0) | (e->has_reset ? ENTRY_HAS_RESET : 0)));
}

enum err frame_decode(struct wire_reader *r, struct frame *f)
{
    struct wire_reader body;

    f->type = wire_u8(r);
    body = wire_sub(r, (size_t)wire_varint(r));
    if (r->failed)
        return ERR_MALFORMED;
    switch (f->type) {
    case FRAME_PING:
    case FRAME_PONG:
        f->ping.token = wire_u64(&body);
        break;
    case FRAME_SETTINGS:
        decode_settings(&body, f);
        break;
    case FRAME_GO_AWAY:
        decode_go_away(&body, f);
        break;
    case FRAME_KEY_SWITCH:
        f->key_switch.generation = wire_varint(&body);
        break;
    case FRAME_RESUME:
        decode_resume(&body, f);
        break;
    case FRAME_KEY_EXCHANGE:
        decode_exchange(&body, f);
        break;
    case FRAME_STREAM_OPEN:
        f->open.id = wire_varint(&body);
        f->open.limit = wire_varint(&body);
        decode_target(&body, STREAM_TCP, &f->open.target);
        break;
    case FRAME_STREAM_ACCEPT:
        f->accept.id = wire_varint(&body);
        f->accept.limit = wire_varint(&body);
        break;
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
        decode_data(&body, f);
        break;
    case FRAME_STREAM_CREDIT:
        f->credit.id = wire_varint(&body);
        f->credit.acked = wire_varint(&body);
        f->credit.limit = wire_varint(&body);
        break;
    case FRAME_STREAM_RESET:
        f->reset.id = wire_varint(&body);
        f->reset.code = wire_u16(&body);
        f->reset.final_size = wire_varint(&body);
        break;
    case FRAME_FLOW_OPEN:
        f->flow_open.id = wire_varint(&body);
        decode_target(&body, STREAM_UDP, &f->flow_open.target);
        break;
    case FRAME_FLOW_DATAGRAM:
        decode_datagram(&body, f);
        break;
    case FRAME_FLOW_CLOSE:
        f->flow_close.id = wire_varint(&body);
        f->flow_close.code = wire_u16(&body);
        break;
    default:
        return f->type >= FRAME_IGNORABLE_FROM ? ERR_OK : ERR_UNKNOWN_FRAME;
    }
    return body.failed || wire_left(&body) > 0 ? ERR_MALFORMED : ERR_OK;
}

static void encode_body(struct wire_writer *w, const struct frame *f)
{
    switch ((enum frame_type)f->type) {
    case FRAME_PING:
    case FRAME_PONG:
        wire_put_u64(w, f->ping.token);
        break;
    case FRAME_SETTINGS:
        encode_settings(w, f);
        break;
    case FRAME_GO_AWAY:
        encode_go_away(w, f);
        break;
    case FRAME_KEY_SWITCH:
        wire_put_varint(w, f->key_switch.generation);
        break;
    case FRAME_STREAM_OPEN:
        wire_put_varint(w, f->open.id);
        wire_put_varint(w, f->open.limit);
        encode_target(w, STREAM_TCP, &f->open.target);
        break;
    case FRAME_STREAM_ACCEPT:
        wire_put_varint(w, f->accept.id);
        wire_put_varint(w, f->accept.limit);
        break;
    case FRAME_STREAM_CREDIT:
        wire_put_varint(w, f->credit.id);
        wire_put_varint(w, f->credit.acked);
        wire_put_varint(w, f->credit.limit);
        break;
    case FRAME_STREAM_RESET:
        wire_put_varint(w, f->reset.id);
        wire_put_u16(w, f->reset.code);
        wire_put_varint(w, f->reset.final_size);
        break;
    case FRAME_FLOW_OPEN:
        wire_put_varint(w, f->flow_open.id);
        encode_target(w, STREAM_UDP, &f->flow_open.target);
        break;
    case FRAME_FLOW_CLOSE:
        wire_put_varint(w, f->flow_close.id);
        wire_put_u16(w, f->flow_close.code);
        break;
    case FRAME_RESUME:
    case FRAME_KEY_EXCHANGE:
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
    case FRAME_FLOW_DATAGRAM:
        assert(false && "encoded by a function of their own");
    }
}

/* No body that is encoded here, the longest being OPEN and GO_AWAY, needs more than two bytes. */
static void put_length(uint8_t *at, size_t len)
{
    struct wire_writer w;

    assert(wire_varint_size(len) <= 2);
    wire_writer_init(&w, at, 2);
    wire_put_varint(&w, len);
}

bool frame_encode(struct wire_writer *w, const struct frame *f)
{
    struct wire_writer try = *w;
    size_t start; /* of the body */
    size_t len;

    wire_put_u8(&try, f->type);
    wire_put_u8(&try, 0); /* the length, which nearly always takes one byte */
    start = wire_written(&try);
    encode_body(&try, f);
    len = wire_written(&try) - start;
    if (wire_varint_size(len) > 1)
        wire_put_u8(&try, 0);
    if (try.failed)
        return false;
    if (wire_varint_size(len) > 1)
        memmove(try.start + start + 1, try.start + start, len);
    put_length(try.start + start - 1, len);
    *w = try;
    return true;
}

bool frame_encode_data_header(struct wire_writer *w, enum frame_type type, uint64_t id,
                              uint64_t offset, size_t len)
{
    struct wire_writer try = *w;

    wire_put_u8(&try, (uint8_t)type);
    wire_put_varint(&try, wire_varint_size(id) + wire_varint_size(offset) + len);
    wire_put_varint(&try, id);
    wire_put_varint(&try, offset);
    if (try.failed)
        return false;
    *w = try;
    return true;
}

bool frame_encode_datagram_header(struct wire_writer *w, uint64_t id, size_t len)
{
    struct wire_writer try = *w;

    wire_put_u8(&try, FRAME_FLOW_DATAGRAM);
    wire_put_varint(&try, wire_varint_size(id) + len);
    wire_put_varint(&try, id);
    if (try.failed)
        return false;
    *w = try;
    return true;
}
