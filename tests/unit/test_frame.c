#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tunnel/frame.h"

#define ROOM 1024

/* A type, the length of the body (below 64, or by hand in two bytes), and the body. */
static enum err decode(const void *bytes, size_t len, struct frame *f)
{
    struct wire_reader r;
    enum err e;

    memset(f, 0xee, sizeof(*f));
    wire_reader_init(&r, bytes, len);
    e = frame_decode(&r, f);
    if (e == ERR_OK)
        assert_int_equal(wire_left(&r), 0);
    return e;
}

static enum err decode_body(uint8_t type, const void *body, size_t len, struct frame *f)
{
    static uint8_t room[70000];
    struct wire_writer w;

    wire_writer_init(&w, room, sizeof(room));
    wire_put_u8(&w, type);
    wire_put_varint(&w, len);
    wire_put_bytes(&w, body, len);
    assert_false(w.failed);
    return decode(room, wire_written(&w), f);
}

#define BODY(type, ...)                                                                            \
    decode_body(type, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), &f)

static size_t encode(const struct frame *f, uint8_t *room)
{
    struct wire_writer w;

    wire_writer_init(&w, room, ROOM);
    assert_true(frame_encode(&w, f));
    return wire_written(&w);
}

#define SAMPLES 12

static struct frame an_open(void)
{
    struct frame f = {.type = FRAME_STREAM_OPEN};

    f.open.id = 70;
    f.open.limit = 262144;
    f.open.target.port = 8443;
    strcpy(f.open.target.name, "postgres");
    f.open.target.client.address_len = 16;
    memcpy(f.open.target.client.address, "0123456789abcdef", 16);
    f.open.target.client.port = 50000;
    return f;
}

/* One of each type with fields that differ from each other. */
static size_t samples(struct frame *f)
{
    size_t n = 0;

    memset(f, 0, SAMPLES * sizeof(*f));
    f[n].type = FRAME_PING;
    f[n++].ping.token = UINT64_C(0x0102030405060708);
    f[n].type = FRAME_PONG;
    f[n++].ping.token = UINT64_MAX;
    f[n].type = FRAME_SETTINGS;
    f[n].settings.initial_window = 32768;
    f[n].settings.max_streams = 10000;
    f[n++].settings.key_lifetime_ms = 3600000;
    f[n].type = FRAME_GO_AWAY;
    f[n].go_away.code = WIRE_SHUTDOWN;
    f[n].go_away.retry_after_ms = 123456789;
    f[n].go_away.text = (const uint8_t *)"until tomorrow";
    f[n++].go_away.text_len = 14;
    f[n].type = FRAME_KEY_SWITCH;
    f[n++].key_switch.generation = 300;
    f[n++] = an_open();
    f[n].type = FRAME_STREAM_ACCEPT;
    f[n].accept.id = 5;
    f[n++].accept.limit = WIRE_VARINT_MAX;
    f[n].type = FRAME_STREAM_CREDIT;
    f[n].credit.id = 1;
    f[n].credit.acked = 16384;
    f[n++].credit.limit = UINT64_C(1) << 31;
    f[n].type = FRAME_STREAM_RESET;
    f[n].reset.id = WIRE_VARINT_MAX;
    f[n].reset.code = WIRE_REFUSED;
    f[n++].reset.final_size = 63;
    f[n].type = FRAME_FLOW_OPEN;
    f[n].flow_open.id = 16384;
    f[n++].flow_open.target = an_open().open.target;
    f[n].type = FRAME_FLOW_CLOSE;
    f[n].flow_close.id = WIRE_VARINT_MAX;
    f[n++].flow_close.code = WIRE_LIMIT;
    return n;
}

static void assert_same_target(const struct stream_target *a, const struct stream_target *b)
{
    assert_int_equal(a->port, b->port);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->client.address_len, b->client.address_len);
    assert_memory_equal(a->client.address, b->client.address, 16);
    assert_int_equal(a->client.port, b->client.port);
    assert_int_equal(a->client.is_process, b->client.is_process);
    assert_int_equal(a->client.uid, b->client.uid);
    assert_int_equal(a->client.pid, b->client.pid);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->local.address_len, b->local.address_len);
    assert_memory_equal(a->local.address, b->local.address, 16);
    assert_int_equal(a->local.port, b->local.port);
    assert_int_equal(a->ranges_len, b->ranges_len);
    if (a->ranges_len > 0)
        assert_memory_equal(a->ranges, b->ranges, a->ranges_len);
}

static void assert_same(const struct frame *a, const struct frame *b)
{
    assert_int_equal(a->type, b->type);
    switch ((enum frame_type)a->type) {
    case FRAME_PING:
    case FRAME_PONG:
        assert_true(a->ping.token == b->ping.token);
        break;
    case FRAME_SETTINGS:
        assert_true(a->settings.initial_window == b->settings.initial_window);
        assert_true(a->settings.max_streams == b->settings.max_streams);
        assert_true(a->settings.key_lifetime_ms == b->settings.key_lifetime_ms);
        break;
    case FRAME_GO_AWAY:
        assert_int_equal(a->go_away.code, b->go_away.code);
        assert_int_equal(a->go_away.retry_after_ms, b->go_away.retry_after_ms);
        assert_int_equal(a->go_away.text_len, b->go_away.text_len);
        assert_memory_equal(a->go_away.text, b->go_away.text, a->go_away.text_len);
        break;
    case FRAME_STREAM_OPEN:
        assert_true(a->open.id == b->open.id);
        assert_true(a->open.limit == b->open.limit);
        assert_same_target(&a->open.target, &b->open.target);
        break;
    case FRAME_FLOW_OPEN:
        assert_true(a->flow_open.id == b->flow_open.id);
        assert_same_target(&a->flow_open.target, &b->flow_open.target);
        break;
    case FRAME_FLOW_CLOSE:
        assert_true(a->flow_close.id == b->flow_close.id);
        assert_int_equal(a->flow_close.code, b->flow_close.code);
        break;
    case FRAME_FLOW_DATAGRAM:
    case FRAME_STREAM_ACCEPT:
        assert_true(a->accept.id == b->accept.id && a->accept.limit == b->accept.limit);
        break;
    case FRAME_STREAM_CREDIT:
        assert_true(a->credit.id == b->credit.id && a->credit.acked == b->credit.acked);
        assert_true(a->credit.limit == b->credit.limit);
        break;
    case FRAME_STREAM_RESET:
        assert_true(a->reset.id == b->reset.id && a->reset.final_size == b->reset.final_size);
        assert_int_equal(a->reset.code, b->reset.code);
        break;
    case FRAME_RESUME:
        assert_true(a->resume.next_id == b->resume.next_id);
        assert_int_equal(a->resume.is_last, b->resume.is_last);
        break;
    case FRAME_STREAM_DATA:
    case FRAME_STREAM_DATA_FIN:
    case FRAME_KEY_EXCHANGE:
        break;
    case FRAME_KEY_SWITCH:
        assert_true(a->key_switch.generation == b->key_switch.generation);
        break;
    }
}

static void what_ends_early_is_malformed(void **state)
{
    (void)state;
    struct frame all[SAMPLES];
    size_t n = samples(all);

    for (size_t i = 0; i < n; i++) {
        uint8_t room[ROOM];
        size_t len = encode(&all[i], room);
        struct frame f;

        /* The record ends in the middle of the frame. */
        for (size_t cut = 1; cut < len; cut++)
            assert_int_equal(decode(room, cut, &f), ERR_MALFORMED);
    }
}

/* The frame's own length is too short for its fields, or longer than they are. */
static void body_of_wrong_length_is_malformed(void **state)
{
    (void)state;
    struct frame all[SAMPLES];
    size_t n = samples(all);

    for (size_t i = 0; i < n; i++) {
        uint8_t room[ROOM];
        size_t len = encode(&all[i], room);
        size_t head = len > 65 ? 3 : 2; /* none here is near the border */
        uint8_t body[ROOM] = {0};
        struct frame f;

        memcpy(body, room + head, len - head);
        assert_int_equal(decode_body(all[i].type, body, len - head, &f), ERR_OK);
        for (size_t cut = 0; cut < len - head; cut++) {
            enum err e = decode_body(all[i].type, body, cut, &f);

            if (all[i].type == FRAME_GO_AWAY && cut >= 6)
                assert_int_equal(e, ERR_OK); /* a shorter text */
            else if ((all[i].type == FRAME_STREAM_OPEN || all[i].type == FRAME_FLOW_OPEN) &&
                     cut == len - head - 20)
                assert_int_equal(e, ERR_OK); /* without its attribute */
            else if (all[i].type == FRAME_SETTINGS && (cut == 0 || cut == 5 || cut == 8))
                assert_int_equal(e, ERR_OK); /* fewer settings */
            else
                assert_int_equal(e, ERR_MALFORMED);
        }
        if (all[i].type != FRAME_GO_AWAY)
            assert_int_equal(decode_body(all[i].type, body, len - head + 1, &f), ERR_MALFORMED);
    }
}

static void unknown_types(void **state)
{
    (void)state;
    static const uint8_t known[] = {1,    2,    3,    4,    5,    6,    7,    0x10,
                                    0x11, 0x12, 0x13, 0x14, 0x15, 0x20, 0x21, 0x22};
    struct frame f;

    for (unsigned type = 0; type < 256; type++) {
        if (memchr(known, (int)type, sizeof(known)) != NULL)
            continue;
        assert_int_equal(decode_body((uint8_t)type, "anything", 8, &f),
                         type >= FRAME_IGNORABLE_FROM ? ERR_OK : ERR_UNKNOWN_FRAME);
        assert_int_equal(f.type, type);
        /* Its length must be right all the same: what follows is found by it. */
        assert_int_equal(decode((const uint8_t[]){(uint8_t)type, 9, 1, 2, 3}, 5, &f),
                         ERR_MALFORMED);
    }
}

static void resume_comes_back_as_it_was(void **state)
{
    (void)state;
    const struct resume_entry in[] = {
        {.id = 0, .received = 0, .limit = 1},
        {.id = 7, .received = 70000, .limit = WIRE_VARINT_MAX, .is_accepted = true},
        {.id = WIRE_VARINT_MAX - 1, .received = 5, .limit = 6, .has_reset = true},
    };
    uint8_t entries[3 * RESUME_ENTRY_SIZE_MAX];
    uint8_t room[ROOM];
    struct wire_writer e;
    struct wire_writer w;
    struct frame f;

    wire_writer_init(&e, entries, sizeof(entries));
    for (size_t i = 0; i < 3; i++)
        resume_entry_encode(&e, &in[i]);
    wire_writer_init(&w, room, sizeof(room));
    assert_true(frame_encode_resume_header(&w, 123456, true, wire_written(&e)));
    assert_true(wire_written(&w) <= RESUME_HEADER_SIZE);
    memcpy(w.at, entries, wire_written(&e));
    assert_int_equal(decode(room, wire_written(&w) + wire_written(&e), &f), ERR_OK);
    assert_int_equal(f.type, FRAME_RESUME);
    assert_int_equal(f.resume.next_id, 123456);
    assert_true(f.resume.is_last);
    for (size_t i = 0; i < 3; i++) {
        struct resume_entry out;

        assert_int_equal(resume_entry_decode(&f.resume.entries, &out), ERR_OK);
        assert_true(out.id == in[i].id && out.received == in[i].received);
        assert_true(out.limit == in[i].limit);
        assert_int_equal(out.is_accepted, in[i].is_accepted);
        assert_int_equal(out.has_reset, in[i].has_reset);
    }
    assert_int_equal(wire_left(&f.resume.entries), 0);
}

static void resume_that_breaks_rules(void **state)
{
    (void)state;
    struct wire_reader r;
    struct resume_entry e;
    struct frame f;

    assert_int_equal(BODY(FRAME_RESUME, 5, 0), ERR_OK);
    assert_false(f.resume.is_last);
    assert_int_equal(BODY(FRAME_RESUME, 5), ERR_MALFORMED);    /* no flags */
    assert_int_equal(BODY(FRAME_RESUME, 5, 2), ERR_MALFORMED); /* an unknown one */
    wire_reader_init(&r, (const uint8_t[]){1, 2, 3}, 3);
    assert_int_equal(resume_entry_decode(&r, &e), ERR_MALFORMED);
    wire_reader_init(&r, (const uint8_t[]){1, 2, 3, 4}, 4);
    assert_int_equal(resume_entry_decode(&r, &e), ERR_MALFORMED);
}

static void huge_length_is_malformed(void **state)
{
    (void)state;
    static const uint8_t frame[] = {0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2};
    struct frame f;

    assert_int_equal(decode(frame, sizeof(frame), &f), ERR_MALFORMED);
}

static void settings_that_break_rules(void **state)
{
    (void)state;
    uint8_t many[130];
    struct frame f;

    assert_int_equal(BODY(FRAME_SETTINGS, 1, 5, 2, 6, 1, 5), ERR_MALFORMED);   /* one twice */
    assert_int_equal(BODY(FRAME_SETTINGS, 40, 5, 2, 6, 40, 5), ERR_MALFORMED); /* an unknown one */
    assert_int_equal(BODY(FRAME_SETTINGS, 0x7f, 0xff, 5, 0x7f, 0xff, 5), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_SETTINGS, 1, 5, 2), ERR_MALFORMED); /* without its value */
    assert_int_equal(BODY(FRAME_SETTINGS, 50, 9, 2, 6, 0x7f, 0xff, 5, 1, 7), ERR_OK);
    assert_int_equal(f.settings.initial_window, 7);
    assert_int_equal(f.settings.max_streams, 6);
    assert_int_equal(decode_body(FRAME_SETTINGS, NULL, 0, &f), ERR_OK);
    assert_int_equal(f.settings.initial_window, 0);
    assert_int_equal(f.settings.max_streams, 0);
    for (size_t i = 0; i < 65; i++) {
        many[2 * i] = (uint8_t)(i < 64 ? i : 63);
        many[2 * i + 1] = 1;
    }
    assert_int_equal(decode_body(FRAME_SETTINGS, many, 2 * 64, &f), ERR_OK);
    assert_int_equal(decode_body(FRAME_SETTINGS, many, 2 * 65, &f), ERR_MALFORMED);
}

static void more_settings_than_allowed(void **state)
{
    (void)state;
    uint8_t many[4 * 65];
    struct frame f;

    for (size_t i = 0; i < 65; i++) {
        many[4 * i] = 0x41; /* ids from 256 on */
        many[4 * i + 1] = (uint8_t)i;
        many[4 * i + 2] = 0x40;
        many[4 * i + 3] = 1;
    }
    assert_int_equal(decode_body(FRAME_SETTINGS, many, 4 * 64, &f), ERR_OK);
    assert_int_equal(decode_body(FRAME_SETTINGS, many, 4 * 65, &f), ERR_MALFORMED);
}

static void hosts_and_ranges(void **state)
{
    (void)state;
    struct frame f;

    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a'), ERR_OK);
    assert_int_equal(f.open.target.kind, STREAM_TARGET_HOST);
    assert_null(f.open.target.ranges);
    /* What the client has connected to has the form of the client. */
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 2, 6, 10, 0, 0, 1, 0, 80), ERR_OK);
    assert_int_equal(f.open.target.local.address_len, 4);
    assert_int_equal(f.open.target.local.port, 80);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 2, 4, 10, 0, 0, 1), ERR_MALFORMED);
    /* Ranges: version, bits, as many bytes as the bits need. */
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 2, 4, 0), ERR_OK);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 7, 4, 8, 10, 4, 9, 10, 128), ERR_OK);
    assert_int_equal(f.open.target.ranges_len, 7);
    assert_memory_equal(f.open.target.ranges, "\x04\x08\x0a\x04\x09\x0a\x80", 7);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 3, 6, 7, 0xfc), ERR_OK);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 1, 4), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 2, 5, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 2, 4, 8), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 3, 4, 0, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 7, 4, 33, 1, 2, 3, 4, 5),
                     ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 2, 6, 129), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 2, 4, 0, 3, 2, 4, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 1, 'a', 3, 9, 4, 0), ERR_MALFORMED);
}

static void opens_that_break_rules(void **state)
{
    (void)state;
    struct frame f;

    /* stream, limit, kind, protocol, port, port, name length, name, attributes */
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 1, 'a'), ERR_OK);
    assert_string_equal(f.open.target.name, "a");
    assert_int_equal(f.open.target.port, 0x102);
    assert_int_equal(f.open.target.client.address_len, 0);
    assert_int_equal(BODY(0x10, 0, 9, 2, 6, 1, 2, 1, 'a'), ERR_MALFORMED);    /* kind */
    assert_int_equal(BODY(0x10, 0, 9, 1, 6, 1, 2, 0), ERR_MALFORMED);         /* no host */
    assert_int_equal(BODY(0x10, 0, 9, 0, 17, 1, 2, 0), ERR_MALFORMED);        /* protocol */
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 2, 'a', 0), ERR_MALFORMED); /* a zero byte */
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 2, 'a'), ERR_MALFORMED);    /* name too short */
    /* Attributes: unknown ones are ignored, but each may come once only. */
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 9, 1, 'x', 200, 0), ERR_OK);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 9, 1, 'x', 9, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 200, 1, 'x', 200, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 9), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 9, 2, 'x'), ERR_MALFORMED);
    /* The client: an address of 4 or 16 bytes and a port, once. */
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 1, 6, 192, 0, 2, 1, 1, 0), ERR_OK);
    assert_int_equal(f.open.target.client.address_len, 4);
    assert_memory_equal(f.open.target.client.address, "\xc0\x00\x02\x01", 4);
    assert_int_equal(f.open.target.client.port, 256);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 1, 5, 192, 0, 2, 1, 1), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 1, 7, 192, 0, 2, 1, 1, 0, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 1, 0), ERR_MALFORMED);
    assert_int_equal(
        BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 1, 6, 192, 0, 2, 1, 1, 0, 1, 6, 192, 0, 2, 1, 1, 0),
        ERR_MALFORMED);
    /* Or a process: user and number, four bytes each. */
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 4, 8, 0, 0, 3, 232, 0, 1, 0, 2), ERR_OK);
    assert_true(f.open.target.client.is_process);
    assert_int_equal(f.open.target.client.address_len, 0);
    assert_int_equal(f.open.target.client.uid, 1000);
    assert_int_equal(f.open.target.client.pid, 65538);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 4, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 4, 7, 0, 0, 3, 232, 0, 1, 0), ERR_MALFORMED);
    assert_int_equal(BODY(0x10, 0, 9, 0, 6, 1, 2, 0, 4, 9, 0, 0, 3, 232, 0, 1, 0, 2, 0),
                     ERR_MALFORMED);
}

static void longest_name_fits(void **state)
{
    (void)state;
    uint8_t ranges[255] = {[252] = 6, 8, 0xfd};
    struct frame open = an_open();
    struct frame f;
    uint8_t room[ROOM];

    for (size_t i = 0; i < 252; i += 2)
        ranges[i] = 4; /* 0.0.0.0/0 */
    memset(open.open.target.name, 'n', STREAM_TARGET_NAME_MAX);
    open.open.target.name[STREAM_TARGET_NAME_MAX] = '\0';
    open.open.id = WIRE_VARINT_MAX;
    open.open.limit = WIRE_VARINT_MAX;
    open.open.target.kind = STREAM_TARGET_HOST;
    open.open.target.local = open.open.target.client;
    open.open.target.client.is_process = true;
    open.open.target.client.uid = UINT32_MAX;
    open.open.target.client.pid = 4194304;
    open.open.target.ranges = ranges;
    open.open.target.ranges_len = sizeof(ranges);
    assert_int_equal(decode(room, encode(&open, room), &f), ERR_OK);
    assert_same(&open, &f);
}

static void go_away_text_is_bounded(void **state)
{
    (void)state;
    uint8_t body[6 + GO_AWAY_TEXT_MAX + 1] = {0, WIRE_SHUTDOWN, 0, 0, 0, 1};
    struct frame f;

    assert_int_equal(decode_body(FRAME_GO_AWAY, body, 6, &f), ERR_OK);
    assert_int_equal(f.go_away.text_len, 0);
    assert_int_equal(decode_body(FRAME_GO_AWAY, body, 6 + GO_AWAY_TEXT_MAX, &f), ERR_OK);
    assert_int_equal(f.go_away.text_len, GO_AWAY_TEXT_MAX);
    assert_int_equal(decode_body(FRAME_GO_AWAY, body, 6 + GO_AWAY_TEXT_MAX + 1, &f), ERR_MALFORMED);
}

static void data_that_breaks_rules(void **state)
{
    (void)state;
    struct frame f;

    assert_int_equal(BODY(FRAME_STREAM_DATA, 3, 7), ERR_MALFORMED); /* it carries nothing */
    assert_int_equal(BODY(FRAME_STREAM_DATA, 3), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_STREAM_DATA_FIN, 3), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_STREAM_DATA_FIN, 3, 7), ERR_OK); /* a bare FIN does */
    assert_int_equal(f.data.len, 0);
    assert_int_equal(f.data.offset, 7);
    /* No byte has an offset that cannot be written, nor is the end one. */
    assert_int_equal(BODY(FRAME_STREAM_DATA, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
                     ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_STREAM_DATA, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 1),
                     ERR_OK);
}

static void round_trip_of_each_type(void **state)
{
    (void)state;
    struct frame all[SAMPLES];
    size_t n = samples(all);

    for (size_t i = 0; i < n; i++) {
        uint8_t room[ROOM];
        struct frame f;

        assert_int_equal(decode(room, encode(&all[i], room), &f), ERR_OK);
        assert_same(&all[i], &f);
    }
}

static void data_round_trip(void **state)
{
    (void)state;
    static const size_t lens[] = {1, 60, 63, 64, 16380, 16384, 65515};
    static uint8_t room[70000];

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct wire_writer w;
        struct wire_reader r;
        struct frame f;

        wire_writer_init(&w, room, sizeof(room));
        assert_true(
            frame_encode_data_header(&w, FRAME_STREAM_DATA, 200, UINT64_C(1) << 40, lens[i]));
        assert_true(wire_written(&w) <= FRAME_DATA_OVERHEAD);
        memset(w.at, 'x', lens[i]);
        w.at[0] = 'a';
        w.at[lens[i] - 1] = 'z';
        wire_reader_init(&r, room, wire_written(&w) + lens[i]);
        assert_int_equal(frame_decode(&r, &f), ERR_OK);
        assert_int_equal(wire_left(&r), 0);
        assert_int_equal(f.type, FRAME_STREAM_DATA);
        assert_int_equal(f.data.id, 200);
        assert_true(f.data.offset == UINT64_C(1) << 40);
        assert_int_equal(f.data.len, lens[i]);
        assert_int_equal(f.data.data[lens[i] - 1], 'z');
    }
}

static void datagram_round_trip(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 60, 64, 1472, 16384, FLOW_DATAGRAM_MAX};
    static uint8_t room[70000];

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct wire_writer w;
        struct wire_reader r;
        struct frame f;

        wire_writer_init(&w, room, sizeof(room));
        assert_true(frame_encode_datagram_header(&w, WIRE_VARINT_MAX, lens[i]));
        assert_true(wire_written(&w) <= FRAME_DATAGRAM_OVERHEAD);
        memset(w.at, 'x', lens[i]);
        wire_reader_init(&r, room, wire_written(&w) + lens[i]);
        assert_int_equal(frame_decode(&r, &f), ERR_OK);
        assert_int_equal(wire_left(&r), 0);
        assert_int_equal(f.type, FRAME_FLOW_DATAGRAM);
        assert_true(f.datagram.id == WIRE_VARINT_MAX);
        assert_int_equal(f.datagram.len, lens[i]);
        assert_ptr_equal(f.datagram.data, w.at);
    }
}

static void flow_frames_that_break_rules(void **state)
{
    (void)state;
    static uint8_t body[2 + FLOW_DATAGRAM_MAX];
    struct frame f;

    /* flow, kind, protocol, port, port, name length, name, attributes */
    assert_int_equal(BODY(FRAME_FLOW_OPEN, 9, 0, 17, 0, 53, 3, 'd', 'n', 's'), ERR_OK);
    assert_string_equal(f.flow_open.target.name, "dns");
    assert_int_equal(f.flow_open.target.port, 53);
    assert_int_equal(BODY(FRAME_FLOW_OPEN, 9, 0, 6, 0, 53, 0), ERR_MALFORMED); /* TCP */
    assert_int_equal(BODY(FRAME_STREAM_OPEN, 0, 9, 0, 17, 0, 53, 0), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_FLOW_OPEN, 9, 7, 17, 0, 53, 0), ERR_MALFORMED); /* kind */
    assert_int_equal(BODY(FRAME_FLOW_OPEN, 9, 0, 17, 0, 53, 2, 'd'), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_FLOW_OPEN, 9, 0, 17, 0, 53, 0, 1, 5, 0, 0, 0, 0, 0), ERR_MALFORMED);
    /* A datagram that no UDP socket could send. */
    assert_int_equal(decode_body(FRAME_FLOW_DATAGRAM, body, 1 + FLOW_DATAGRAM_MAX, &f), ERR_OK);
    assert_int_equal(decode_body(FRAME_FLOW_DATAGRAM, body, 2 + FLOW_DATAGRAM_MAX, &f),
                     ERR_MALFORMED);
    assert_int_equal(decode_body(FRAME_FLOW_DATAGRAM, NULL, 0, &f), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_FLOW_DATAGRAM, 0x40), ERR_MALFORMED); /* half a flow number */
    assert_int_equal(BODY(FRAME_FLOW_CLOSE, 1, 0), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_FLOW_CLOSE, 1, 0, 0, 0), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_FLOW_CLOSE, 1, 0, 10), ERR_OK);
    assert_int_equal(f.flow_close.code, WIRE_LIMIT);
}

static void encoding_is_whole_or_not_at_all(void **state)
{
    (void)state;
    struct frame all[SAMPLES];
    size_t n = samples(all);
    uint8_t room[ROOM];
    struct wire_writer w;

    for (size_t i = 0; i < n; i++) {
        size_t len = encode(&all[i], room);

        for (size_t size = 0; size < len; size++) {
            wire_writer_init(&w, room, size);
            assert_false(frame_encode(&w, &all[i]));
            assert_false(w.failed);
            assert_int_equal(wire_written(&w), 0);
        }
    }
    wire_writer_init(&w, room, 4);
    assert_false(frame_encode_data_header(&w, FRAME_STREAM_DATA_FIN, 100, 0, 10));
    assert_int_equal(wire_written(&w), 0);
    assert_true(frame_encode_data_header(&w, FRAME_STREAM_DATA_FIN, 1, 0, 10));
    wire_writer_init(&w, room, 3);
    assert_false(frame_encode_datagram_header(&w, 100, 10));
    assert_int_equal(wire_written(&w), 0);
    assert_true(frame_encode_datagram_header(&w, 1, 10));
}

static void key_exchange_round_trip(void **state)
{
    (void)state;
    static uint8_t room[FRAME_DATA_OVERHEAD + KEY_EXCHANGE_CHUNK];
    struct wire_writer w;
    struct wire_reader r;
    struct frame f;

    wire_writer_init(&w, room, sizeof(room));
    assert_true(frame_encode_data_header(&w, FRAME_KEY_EXCHANGE, 300, 524160, KEY_EXCHANGE_CHUNK));
    memset(w.at, 'k', KEY_EXCHANGE_CHUNK);
    wire_reader_init(&r, room, wire_written(&w) + KEY_EXCHANGE_CHUNK);
    assert_int_equal(frame_decode(&r, &f), ERR_OK);
    assert_int_equal(wire_left(&r), 0);
    assert_int_equal(f.exchange.generation, 300);
    assert_int_equal(f.exchange.offset, 524160);
    assert_int_equal(f.exchange.len, KEY_EXCHANGE_CHUNK);
    assert_int_equal(f.exchange.data[KEY_EXCHANGE_CHUNK - 1], 'k');

    assert_int_equal(BODY(FRAME_KEY_EXCHANGE, 1, 0), ERR_MALFORMED); /* it carries nothing */
    assert_int_equal(BODY(FRAME_KEY_EXCHANGE, 1), ERR_MALFORMED);
    assert_int_equal(BODY(FRAME_KEY_EXCHANGE, 1, 0, 'k'), ERR_OK);
}

/* What is decoded from a frame inside a record stays inside that frame. */
static void next_frame_is_left_alone(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {FRAME_STREAM_DATA, 4, 3, 0, 'h', 'i', FRAME_KEY_SWITCH, 1, 7};
    struct wire_reader r;
    struct frame f;

    wire_reader_init(&r, bytes, sizeof(bytes));
    assert_int_equal(frame_decode(&r, &f), ERR_OK);
    assert_int_equal(f.data.len, 2);
    assert_memory_equal(f.data.data, "hi", 2);
    assert_int_equal(frame_decode(&r, &f), ERR_OK);
    assert_int_equal(f.type, FRAME_KEY_SWITCH);
    assert_int_equal(f.key_switch.generation, 7);
    assert_int_equal(wire_left(&r), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ends_early_is_malformed),
        cmocka_unit_test(body_of_wrong_length_is_malformed),
        cmocka_unit_test(unknown_types),
        cmocka_unit_test(resume_comes_back_as_it_was),
        cmocka_unit_test(resume_that_breaks_rules),
        cmocka_unit_test(huge_length_is_malformed),
        cmocka_unit_test(settings_that_break_rules),
        cmocka_unit_test(more_settings_than_allowed),
        cmocka_unit_test(hosts_and_ranges),
        cmocka_unit_test(opens_that_break_rules),
        cmocka_unit_test(longest_name_fits),
        cmocka_unit_test(go_away_text_is_bounded),
        cmocka_unit_test(data_that_breaks_rules),
        cmocka_unit_test(round_trip_of_each_type),
        cmocka_unit_test(data_round_trip),
        cmocka_unit_test(datagram_round_trip),
        cmocka_unit_test(flow_frames_that_break_rules),
        cmocka_unit_test(encoding_is_whole_or_not_at_all),
        cmocka_unit_test(key_exchange_round_trip),
        cmocka_unit_test(next_frame_is_left_alone),
    };

    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
