/*
 * Any plaintext of a record through frame_decode. What decodes must encode to something that
 * decodes to the same.
 */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "target.h"
#include "tunnel/frame.h"

#define ROOM 1024 /* the longest frame that is not data is GO_AWAY or OPEN */

static bool is_same_address(const struct stream_address *a, const struct stream_address *b)
{
    return a->address_len == b->address_len && a->port == b->port &&
           memcmp(a->address, b->address, a->address_len) == 0 && a->is_process == b->is_process &&
           a->uid == b->uid && a->pid == b->pid;
}

static bool is_same_target(const struct stream_target *a, const struct stream_target *b)
{
    return a->kind == b->kind && a->port == b->port && strcmp(a->name, b->name) == 0 &&
           is_same_address(&a->client, &b->client) && is_same_address(&a->local, &b->local) &&
           a->ranges_len == b->ranges_len &&
           (a->ranges_len == 0 || memcmp(a->ranges, b->ranges, a->ranges_len) == 0);
}

static bool is_same(const struct frame *a, const struct frame *b)
{
    if (a->type != b->type)
        return false;
    switch ((enum frame_type)a->type) {
    case FRAME_PING:
    case FRAME_PONG:
        return a->ping.token == b->ping.token;
    case FRAME_SETTINGS:
        return a->settings.initial_window == b->settings.initial_window &&
               a->settings.max_streams == b->settings.max_streams &&
               a->settings.session == b->settings.session &&
               a->settings.key_lifetime_ms == b->settings.key_lifetime_ms;
    case FRAME_GO_AWAY:
        return a->go_away.code == b->go_away.code &&
               a->go_away.retry_after_ms == b->go_away.retry_after_ms &&
               a->go_away.text_len == b->go_away.text_len &&
               memcmp(a->go_away.text, b->go_away.text, a->go_away.text_len) == 0;
    case FRAME_KEY_SWITCH:
        return a->key_switch.generation == b->key_switch.generation;
    case FRAME_KEY_EXCHANGE:
        return a->exchange.generation == b->exchange.generation &&
               a->exchange.offset == b->exchange.offset && a->exchange.len == b->exchange.len;
    case FRAME_RESUME: /* has a round trip of its own */
        return false;
    case FRAME_STREAM_OPEN:
        return a->open.id == b->open.id && a->open.limit == b->open.limit &&
               is_same_target(&a->open.target, &b->open.target);
    case FRAME_STREAM_ACCEPT:
        return a->accept.id == b->accept.id && a->accept.limit == b->accept.limit;
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
        return a->data.id == b->data.id && a->data.offset == b->data.offset &&
               a->data.len == b->data.len;
    case FRAME_STREAM_CREDIT:
        return a->credit.id == b->credit.id && a->credit.acked == b->credit.acked &&
               a->credit.limit == b->credit.limit;
    case FRAME_STREAM_RESET:
        return a->reset.id == b->reset.id && a->reset.code == b->reset.code &&
               a->reset.final_size == b->reset.final_size;
    case FRAME_FLOW_OPEN:
        return a->flow_open.id == b->flow_open.id &&
               is_same_target(&a->flow_open.target, &b->flow_open.target);
    case FRAME_FLOW_DATAGRAM:
        return a->datagram.id == b->datagram.id && a->datagram.len == b->datagram.len;
    case FRAME_FLOW_CLOSE:
        return a->flow_close.id == b->flow_close.id && a->flow_close.code == b->flow_close.code;
    }
    return false;
}

static bool encode(struct wire_writer *w, const struct frame *f)
{
    if (f->type == FRAME_STREAM_DATA || f->type == FRAME_STREAM_DATA_FIN)
        return frame_encode_data_header(w, (enum frame_type)f->type, f->data.id, f->data.offset,
                                        f->data.len);
    if (f->type == FRAME_KEY_EXCHANGE)
        return frame_encode_data_header(w, FRAME_KEY_EXCHANGE, f->exchange.generation,
                                        f->exchange.offset, f->exchange.len);
    if (f->type == FRAME_FLOW_DATAGRAM)
        return frame_encode_datagram_header(w, f->datagram.id, f->datagram.len);
    return frame_encode(w, f);
}

static void check_round_trip(const struct frame *f)
{
    uint8_t room[ROOM];
    struct wire_writer w;
    struct wire_reader r;
    struct frame again;
    size_t len;

    wire_writer_init(&w, room, sizeof(room));
    assert(encode(&w, f));
    len = wire_written(&w);
    wire_reader_init(&r, room, len);
    if (f->type == FRAME_STREAM_DATA || f->type == FRAME_STREAM_DATA_FIN) {
        uint8_t type = wire_u8(&r);
        uint64_t body = wire_varint(&r);

        again = (struct frame){.type = type};
        again.data.len = (size_t)body - wire_left(&r);
        again.data.id = wire_varint(&r);
        again.data.offset = wire_varint(&r);
        assert(!r.failed);
    } else if (f->type == FRAME_KEY_EXCHANGE) {
        uint8_t type = wire_u8(&r);
        uint64_t body = wire_varint(&r);

        again = (struct frame){.type = type};
        again.exchange.len = (size_t)body - wire_left(&r);
        again.exchange.generation = wire_varint(&r);
        again.exchange.offset = wire_varint(&r);
        assert(!r.failed);
    } else if (f->type == FRAME_FLOW_DATAGRAM) {
        uint8_t type = wire_u8(&r);
        uint64_t body = wire_varint(&r);

        again = (struct frame){.type = type};
        again.datagram.len = (size_t)body - wire_left(&r);
        again.datagram.id = wire_varint(&r);
        assert(!r.failed);
    } else {
        assert(frame_decode(&r, &again) == ERR_OK);
    }
    assert(wire_left(&r) == 0);
    assert(is_same(f, &again));

    /* Whole or not at all. */
    wire_writer_init(&w, room, len - 1);
    assert(!encode(&w, f) && wire_written(&w) == 0 && !w.failed);
}

static void check_resume(const struct frame *f)
{
    struct wire_reader in = f->resume.entries;

    while (wire_left(&in) > 0) {
        uint8_t room[RESUME_ENTRY_SIZE_MAX];
        struct resume_entry entry;
        struct resume_entry again;
        struct wire_writer w;
        struct wire_reader r;

        if (resume_entry_decode(&in, &entry) != ERR_OK)
            return;
        wire_writer_init(&w, room, sizeof(room));
        resume_entry_encode(&w, &entry);
        assert(!w.failed);
        wire_reader_init(&r, room, wire_written(&w));
        assert(resume_entry_decode(&r, &again) == ERR_OK && wire_left(&r) == 0);
        assert(entry.id == again.id && entry.received == again.received &&
               entry.limit == again.limit && entry.is_accepted == again.is_accepted &&
               entry.has_reset == again.has_reset);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_reader r;

    wire_reader_init(&r, data, size);
    while (wire_left(&r) > 0) {
        const uint8_t *before = r.at;
        struct frame f;

        if (frame_decode(&r, &f) != ERR_OK)
            break;
        assert(r.at > before);
        if (f.type == FRAME_RESUME)
            check_resume(&f);
        else if (f.type < FRAME_IGNORABLE_FROM)
            check_round_trip(&f);
    }
    return 0;
}
