/* One session against a peer that follows no rule: whatever it does, nothing wrong is delivered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hostile_scene.h"

/* -- records -- */

#define RECORDS 4

/* Four records: SETTINGS; OPEN and data; more data; more data. */
struct tape {
    uint8_t data[RECORDS][256];
    size_t len[RECORDS];
};

static void record_tape(struct tape *t)
{
    struct hostile h;

    hostile_init(&h, NULL, TUNNEL_DEST, 1);
    hostile_settings(&h, 32768, 100);
    t->len[0] = hostile_seal(&h, t->data[0]);
    hostile_open(&h, 0);
    hostile_data(&h, 0, 0, 5);
    t->len[1] = hostile_seal(&h, t->data[1]);
    hostile_data(&h, 0, 5, 7);
    t->len[2] = hostile_seal(&h, t->data[2]);
    hostile_data(&h, 0, 12, 9);
    t->len[3] = hostile_seal(&h, t->data[3]);
    hostile_fini(&h);
}

static enum err feed(const uint8_t *data, size_t len)
{
    size_t used;
    enum err e = end_feed(&scene.end, data, len, &used, 1000);

    assert_true(e != ERR_OK || used == len);
    return e;
}

static void altered_record_delivers_nothing(void **state)
{
    (void)state;
    static uint8_t long_enough[2 * RECORD_SIZE_MAX];
    struct tape t;

    record_tape(&t);
    for (size_t at = 0; at < t.len[1]; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            size_t used;
            enum err e;

            begin(TUNNEL_DEST);
            assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
            memcpy(long_enough, t.data[1], t.len[1]);
            long_enough[at] ^= (uint8_t)(1U << bit);
            /* More bytes behind it, for what has become longer. */
            e = end_feed(&scene.end, long_enough, sizeof(long_enough), &used, 1000);
            if (at == 0)
                assert_int_equal(e, ERR_MALFORMED);
            else if (at == 1)
                assert_int_equal(e, ERR_UNEXPECTED); /* another epoch */
            else
                assert_true(e == ERR_AUTH_TAG || (at < RECORD_HEADER_SIZE && e == ERR_MALFORMED));
            assert_int_equal(used, 0);
            assert_int_equal(scene.end.owner.opens, 0);
            /* The right one comes too late. */
            assert_int_equal(end_feed(&scene.end, t.data[1], t.len[1], &used, 1000), e);
            assert_int_equal(scene.end.owner.opens, 0);
            end_scene();
        }
    }
}

static void altered_first_record_is_a_failed_key_confirmation(void **state)
{
    (void)state;
    struct tape t;

    record_tape(&t);
    for (size_t at = RECORD_HEADER_SIZE; at < t.len[0]; at++) {
        begin(TUNNEL_DEST);
        t.data[0][at] ^= 1;
        assert_int_equal(feed(t.data[0], t.len[0]), ERR_KEY_CONFIRM);
        t.data[0][at] ^= 1;
        assert_int_equal(scene.end.owner.readies, 0);
        assert_false(session_is_ready(scene.end.session));
        end_scene();
    }
}

static void replayed_record_ends_the_session(void **state)
{
    (void)state;
    struct tape t;

    record_tape(&t);
    begin(TUNNEL_DEST);
    assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
    assert_int_equal(feed(t.data[1], t.len[1]), ERR_OK);
    assert_int_equal(feed(t.data[1], t.len[1]), ERR_AUTH_TAG);
    assert_int_equal(scene.end.owner.opens, 1);
    assert_int_equal(scene.owner.received, 5);
    end_scene();
    begin(TUNNEL_DEST);
    assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
    assert_int_equal(feed(t.data[0], t.len[0]), ERR_AUTH_TAG);
    assert_int_equal(scene.end.owner.readies, 1);
    end_scene();
}

static void reordered_or_dropped_records_end_the_session(void **state)
{
    (void)state;
    struct tape t;

    record_tape(&t);
    begin(TUNNEL_DEST); /* 1 is dropped; or 2 and 1 are swapped */
    assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
    assert_int_equal(feed(t.data[2], t.len[2]), ERR_AUTH_TAG);
    assert_int_equal(feed(t.data[1], t.len[1]), ERR_AUTH_TAG);
    assert_int_equal(scene.end.owner.opens, 0);
    end_scene();
    begin(TUNNEL_DEST); /* 2 is dropped */
    assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
    assert_int_equal(feed(t.data[1], t.len[1]), ERR_OK);
    assert_int_equal(feed(t.data[3], t.len[3]), ERR_AUTH_TAG);
    assert_int_equal(scene.owner.received, 5);
    end_scene();
    begin(TUNNEL_DEST); /* the first is dropped */
    assert_int_equal(feed(t.data[1], t.len[1]), ERR_KEY_CONFIRM);
    end_scene();
}

static void set_length(uint8_t *record, size_t len)
{
    len -= RECORD_HEADER_SIZE;
    record[2] = (uint8_t)(len >> 16);
    record[3] = (uint8_t)(len >> 8);
    record[4] = (uint8_t)len;
}

static void truncated_or_extended_record_ends_the_session(void **state)
{
    (void)state;
    static uint8_t record[2 * RECORD_SIZE_MAX];
    struct tape t;

    record_tape(&t);
    for (size_t len = RECORD_OVERHEAD + 1; len < t.len[1] + 40; len++) {
        if (len == t.len[1])
            continue;
        begin(TUNNEL_DEST);
        assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
        memset(record, 0, sizeof(record));
        memcpy(record, t.data[1], t.len[1]);
        set_length(record, len);
        assert_int_equal(feed(record, len), ERR_AUTH_TAG);
        assert_int_equal(scene.end.owner.opens, 0);
        end_scene();
    }
    /* Cut, and the next record behind it. */
    for (size_t cut = 1; cut < t.len[1]; cut++) {
        size_t used;

        begin(TUNNEL_DEST);
        assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
        memset(record, 0, sizeof(record));
        memcpy(record, t.data[1], t.len[1] - cut);
        memcpy(record + t.len[1] - cut, t.data[2], t.len[2]);
        memcpy(record + t.len[1] - cut + t.len[2], t.data[3], t.len[3]);
        /* The zeros behind it are for where it now seems longer. */
        assert_int_not_equal(end_feed(&scene.end, record, sizeof(record), &used, 1000), ERR_OK);
        assert_int_equal(scene.end.owner.opens, 0);
        end_scene();
    }
}

static void length_out_of_bounds_ends_the_session_at_once(void **state)
{
    (void)state;
    struct tape t;

    record_tape(&t);
    begin(TUNNEL_DEST);
    assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
    set_length(t.data[1], RECORD_SIZE_MAX + 1);
    assert_int_equal(feed(t.data[1], RECORD_HEADER_SIZE), ERR_MALFORMED);
    end_scene();
    begin(TUNNEL_DEST);
    assert_int_equal(feed(t.data[0], t.len[0]), ERR_OK);
    set_length(t.data[1], RECORD_OVERHEAD); /* no plaintext */
    assert_int_equal(feed(t.data[1], RECORD_OVERHEAD), ERR_MALFORMED);
    end_scene();
}

static void own_records_sent_back_end_the_session(void **state)
{
    (void)state;
    uint8_t room[1024];
    size_t len;

    begin(TUNNEL_DEST);
    len = end_drain(&scene.end, room, sizeof(room), 1000);
    assert_true(len > 0);
    assert_int_equal(feed(room, len), ERR_KEY_CONFIRM);
    end_scene();
    begin_ready(TUNNEL_DEST);
    len = end_drain(&scene.end, room, sizeof(room), 1000);
    assert_int_equal(feed(room, len), ERR_AUTH_TAG);
    end_scene();
}

static void records_of_another_session_end_the_session(void **state)
{
    (void)state;
    struct hostile other;

    begin(TUNNEL_DEST);
    hostile_init(&other, &scene.end, TUNNEL_DEST, 2);
    hostile_settings(&other, 32768, 100);
    assert_int_equal(hostile_send(&other), ERR_KEY_CONFIRM);
    assert_int_equal(scene.end.owner.readies, 0);
    hostile_fini(&other);
    end_scene();
    begin(TUNNEL_DEST);
    hostile_settings(&scene.hostile, 32768, 100);
    assert_int_equal(hostile_send(&scene.hostile), ERR_OK);
    hostile_init(&other, &scene.end, TUNNEL_DEST, 2);
    hostile_open(&other, 0);
    (void)hostile_seal(&other, (uint8_t[1024]){0});
    hostile_open(&other, 0); /* at the right counter */
    assert_int_equal(hostile_send(&other), ERR_AUTH_TAG);
    assert_int_equal(scene.end.owner.opens, 0);
    hostile_fini(&other);
    end_scene();
}

static void bytes_may_come_one_by_one(void **state)
{
    (void)state;
    uint8_t all[1024];
    size_t len = 0;
    size_t held = 0;
    struct tape t;

    record_tape(&t);
    for (size_t i = 0; i < RECORDS; i++) {
        memcpy(all + len, t.data[i], t.len[i]);
        len += t.len[i];
    }
    begin(TUNNEL_DEST);
    for (size_t at = 1; at <= len; at++) {
        size_t used;

        assert_int_equal(end_feed(&scene.end, all + held, at - held, &used, 1000), ERR_OK);
        held += used;
    }
    assert_int_equal(held, len);
    assert_int_equal(scene.owner.received, 21);
    end_scene();
}

/* -- frames of the session -- */

static void first_frame_must_be_settings(void **state)
{
    (void)state;
    struct frame ping = {.type = FRAME_PING};

    begin(TUNNEL_DEST);
    hostile_frame(&scene.hostile, &ping);
    hostile_settings(&scene.hostile, 32768, 100);
    expect_end(ERR_UNEXPECTED);
    begin(TUNNEL_DEST);
    hostile_open(&scene.hostile, 0);
    expect_end(ERR_UNEXPECTED);
    begin(TUNNEL_DEST); /* one that may be ignored later */
    wire_put_u8(&scene.hostile.w, FRAME_IGNORABLE_FROM);
    wire_put_varint(&scene.hostile.w, 0);
    hostile_settings(&scene.hostile, 32768, 100);
    expect_end(ERR_UNEXPECTED);
    begin(TUNNEL_DEST);
    hostile_key_switch(&scene.hostile, 0);
    expect_end(ERR_UNEXPECTED);
}

static void second_settings_end_the_session(void **state)
{
    (void)state;

    begin(TUNNEL_DEST);
    hostile_settings(&scene.hostile, 32768, 100);
    hostile_settings(&scene.hostile, 32768, 100);
    expect_end(ERR_UNEXPECTED);
    begin_ready(TUNNEL_DEST);
    hostile_settings(&scene.hostile, 32768, 100);
    expect_end(ERR_UNEXPECTED);
}

static void unknown_frames(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();

    wire_put_u8(&h->w, 0x80);
    wire_put_varint(&h->w, 3);
    wire_put_bytes(&h->w, (const uint8_t *)"abc", 3);
    hostile_data(h, 0, 0, 10);
    wire_put_u8(&h->w, 0xff);
    wire_put_varint(&h->w, 0);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.received, 10);
    wire_put_u8(&h->w, 0x16);
    wire_put_varint(&h->w, 0);
    hostile_data(h, 0, 10, 10);
    expect_end(ERR_UNKNOWN_FRAME);
    assert_int_equal(scene.owner.received, 10);
}

static void malformed_frame_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();

    wire_put_u8(&h->w, FRAME_STREAM_CREDIT);
    wire_put_varint(&h->w, 1);
    wire_put_u8(&h->w, 0);
    expect_end(ERR_MALFORMED);
}

static void ping_flood_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_ready(TUNNEL_DEST);
    struct frame f = {.type = FRAME_PING};

    for (uint64_t i = 0; i < SESSION_PONGS_MAX; i++) {
        f.ping.token = 1000 + i;
        hostile_frame(h, &f);
    }
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(hostile_read(h, 1000, FRAME_PONG, &f), SESSION_PONGS_MAX);
    assert_int_equal(f.ping.token, 1000); /* whichever comes last, each is answered once */
    for (uint64_t i = 0; i <= SESSION_PONGS_MAX; i++) {
        f = (struct frame){.type = FRAME_PING};
        hostile_frame(h, &f);
    }
    expect_end(ERR_LIMIT);
}

/* A peer that stood still has the PINGs of all that time to answer: not more than it may get. */
static void patience_is_no_ping_flood(void **state)
{
    (void)state;
    static struct pair p;
    static uint8_t sent[64 * 1024];
    const struct tunnel_bounds patient = {
        .max_streams = 10,
        .window_max = 1024 * 1024,
        .heartbeat = {.interval_us = 1000000, .timeout_us = 1000000, .max_missed = 100},
    };
    size_t len = 0;
    size_t used;

    pair_init(&p, PAIR_MEMORY, 10);
    pair_lose_session(&p);
    tunnel_set_bounds(p.source.tunnel, &patient);
    pair_start(&p, SESSION_RESUMED, 2);
    for (int i = 0; i < 90; i++) {
        p.now += 1000000;
        assert_int_equal(session_tick(p.source.session, p.now), ERR_OK);
        session_ping(p.source.session, p.now);
        len += end_drain(&p.source, sent + len, sizeof(sent) - len, p.now);
        assert_false(session_has_output(p.source.session));
    }
    assert_true(session_missed_pongs(p.source.session) > 80);
    assert_int_equal(end_feed(&p.dest, sent, len, &used, p.now), ERR_OK);
    assert_int_equal(used, len);
    pair_settle(&p);
    assert_int_equal(session_missed_pongs(p.source.session), 0);
    /* All are answered: the next is sent again. */
    session_ping(p.source.session, p.now);
    assert_true(session_has_output(p.source.session));
    pair_settle(&p);
    pair_fini(&p);
}

static void unasked_pong_is_harmless(void **state)
{
    (void)state;
    struct hostile *h = begin_ready(TUNNEL_DEST);
    struct frame f = {.type = FRAME_PONG, .ping.token = 12345};

    hostile_frame(h, &f);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(session_rtt_us(scene.end.session), 0);
    end_scene();
}

static void go_away_reaches_the_owner(void **state)
{
    (void)state;
    static struct pair p;

    pair_init(&p, PAIR_MEMORY, 10);
    session_go_away(p.dest.session, WIRE_SHUTDOWN, 500, "see you");
    pair_settle(&p);
    assert_int_equal(p.source.owner.go_aways, 1);
    assert_int_equal(p.source.owner.code, WIRE_SHUTDOWN);
    assert_string_equal(p.source.owner.text, "see you");
    session_go_away(p.source.session, WIRE_NO_ERROR, 0, NULL);
    pair_settle(&p);
    assert_int_equal(p.dest.owner.go_aways, 1);
    assert_string_equal(p.dest.owner.text, "");
    pair_fini(&p);
}

static enum session_phase phase_of(const struct session *s)
{
    struct session_state state;

    session_get_state(s, &state);
    return state.phase;
}

static void it_tells_what_it_is_doing(void **state)
{
    (void)state;
    static struct pair p;
    struct session_state now;

    end_init(&p.source, TUNNEL_SOURCE, PAIR_MEMORY, 10);
    end_start(&p.source, SESSION_FRESH, 1, 1000);
    assert_int_equal(phase_of(p.source.session), SESSION_STARTING);
    end_fini(&p.source);

    pair_init(&p, PAIR_MEMORY, 10);
    p.now += 10000000;
    session_ping(p.source.session, p.now);
    assert_true(pair_carry(&p, &p.source, &p.dest) > 0);
    p.now += 7000;
    assert_true(pair_carry(&p, &p.dest, &p.source) > 0);
    session_get_state(p.source.session, &now);
    assert_int_equal(now.phase, SESSION_CURRENT);
    assert_int_equal(now.number, session_number(p.source.session));
    assert_int_equal(now.rtt_us, 7000);
    assert_int_equal(now.last_received, p.now);
    assert_int_equal(now.missed_pongs, 0);

    struct session *first = p.source.session;
    pair_start(&p, SESSION_RESUMED, 2);
    assert_int_equal(phase_of(p.source.session), SESSION_CURRENT);
    assert_int_equal(phase_of(first), SESSION_RETIRED);
    assert_string_equal(session_phase_name(SESSION_RETIRED), "retired");
    assert_string_equal(session_phase_name((enum session_phase)9), "unknown");
    pair_fini(&p);
}

static void rtt_is_measured(void **state)
{
    (void)state;
    static struct pair p;

    pair_init(&p, PAIR_MEMORY, 10);
    p.now += 10000000;
    session_ping(p.source.session, p.now);
    assert_true(pair_carry(&p, &p.source, &p.dest) > 0);
    p.now += 7000;
    assert_true(pair_carry(&p, &p.dest, &p.source) > 0);
    assert_int_equal(session_rtt_us(p.source.session), 7000);
    assert_true(session_rtt_min_us(p.source.session) <= 7000);
    assert_int_equal(session_last_received(p.source.session), p.now);
    pair_fini(&p);
}

/* -- key switch -- */

#define KEY_CHANGES_EVERY_US (1000 * 1000 / KEY_CHANGES_PER_SECOND)

static void key_switch_of_the_peer_is_followed(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    uint64_t offset = 0;

    for (int i = 0; i < 300; i++) { /* the epoch byte wraps */
        struct traffic_keys k;

        hostile_data(h, 0, offset, 10);
        offset += 10;
        hostile_key_switch(h, 0);
        h->now += KEY_CHANGES_EVERY_US;
        assert_int_equal(hostile_send(h), ERR_OK);
        assert_int_equal(session_keys_ratchet(h->keys, KEY_FROM_SOURCE), ERR_OK);
        assert_int_equal(session_keys_traffic(h->keys, KEY_FROM_SOURCE, &k), ERR_OK);
        assert_int_equal(record_sealer_rekey(h->sealer, &k), ERR_OK);
    }
    hostile_data(h, 0, offset, 10);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.received, offset + 10);
    end_scene();
}

static void old_key_after_a_switch_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();

    hostile_key_switch(h, 0);
    assert_int_equal(hostile_send(h), ERR_OK);
    hostile_data(h, 0, 0, 10);
    expect_end(ERR_UNEXPECTED);
    assert_int_equal(scene.owner.received, 0);
}

static void key_switch_must_be_last(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();

    hostile_key_switch(h, 0);
    hostile_data(h, 0, 0, 10);
    expect_end(ERR_UNEXPECTED);
    assert_int_equal(scene.owner.received, 0);
}

static void key_past_its_hard_limit_ends_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();

    record_sealer_skip_to_for_test(h->sealer, RECORD_HARD_LIMIT_RECORDS);
    session_skip_to_for_test(scene.end.session, 1, RECORD_HARD_LIMIT_RECORDS);
    hostile_data(h, 0, 0, 10);
    expect_end(ERR_KEY_EXPIRED);
}

/* Both engines pass the soft limit in the middle of a transfer, three times. */
static void keys_switch_by_themselves(void **state)
{
    (void)state;
    static struct pair p;
    static struct stream_owner client;
    static struct stream_owner target;
    uint64_t sent = 0;

    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&p, PAIR_MEMORY, 10);
    pair_open(&p, &client, &target);
    pair_settle(&p);
    for (int i = 0; i < 3; i++) {
        const uint8_t *data;
        size_t len;

        session_skip_to_for_test(p.source.session, RECORD_SOFT_LIMIT_RECORDS - 2,
                                 RECORD_SOFT_LIMIT_RECORDS - 3);
        session_skip_to_for_test(p.dest.session, RECORD_SOFT_LIMIT_RECORDS - 3,
                                 RECORD_SOFT_LIMIT_RECORDS - 2);
        for (int j = 0; j < 10; j++) {
            sent += pair_send(&client, 200000, 'u');
            assert_true(pair_send(&target, 100000, 'd') > 0);
            pair_swap(&p);
        }
        session_ping(p.source.session, p.now);
        session_ping(p.dest.session, p.now);
        assert_int_equal(session_drain(p.source.session, &data, &len, p.now), ERR_OK);
        assert_int_equal(data[1], i + 1); /* the epoch */
        assert_int_equal(session_drain(p.dest.session, &data, &len, p.now), ERR_OK);
        assert_int_equal(data[1], i + 1);
        pair_settle(&p);
    }
    assert_int_equal(target.received, sent);
    assert_true(sent > 1000000);
    assert_true(client.received > 1000000);
    pair_fini(&p);
}

/* -- time -- */

static void acknowledgements_wait_for_company_but_not_long(void **state)
{
    (void)state;
    struct hostile *h = begin_stream();
    struct frame f;

    (void)hostile_read(h, 1000, FRAME_STREAM_ACCEPT, &f);
    assert_false(session_has_output(scene.end.session));
    hostile_data(h, 0, 0, 10);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_false(session_has_output(scene.end.session));
    assert_int_equal(session_deadline(scene.end.session), 1000 + ACK_DELAY_US);
    assert_int_equal(session_tick(scene.end.session, 1000 + ACK_DELAY_US - 1), ERR_OK);
    assert_false(session_has_output(scene.end.session));
    assert_int_equal(session_tick(scene.end.session, 1000 + ACK_DELAY_US), ERR_OK);
    assert_true(session_has_output(scene.end.session));
    assert_int_equal(hostile_read(h, 1000 + ACK_DELAY_US, FRAME_STREAM_CREDIT, &f), 1);
    assert_int_equal(f.credit.acked, 10);
    assert_true(session_deadline(scene.end.session) == UINT64_MAX);
    /* With company it does not wait. */
    hostile_data(h, 0, 10, 10);
    assert_int_equal(hostile_send(h), ERR_OK);
    pair_send_text(&scene.owner, "an answer");
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_CREDIT, &f), 1);
    assert_int_equal(f.credit.acked, 20);
    end_scene();
}

static void unwritten_bytes_are_offered_again(void **state)
{
    (void)state;
    uint8_t together[1024];
    const uint8_t *data;
    size_t total = 0;
    size_t len;
    size_t first;
    struct wire_reader r;
    struct frame f;
    uint8_t *plain;

    begin(TUNNEL_DEST);
    assert_true(session_has_output(scene.end.session));
    assert_int_equal(session_drain(scene.end.session, &data, &first, 1000), ERR_OK);
    len = first;
    while (len > 0) {
        together[total++] = data[0];
        session_drained(scene.end.session, 1);
        assert_int_equal(session_has_output(scene.end.session), len > 1);
        assert_int_equal(session_drain(scene.end.session, &data, &len, 1000), ERR_OK);
    }
    assert_int_equal(total, first);
    assert_int_equal(record_open(scene.hostile.opener, together, total, &plain, &len), ERR_OK);
    wire_reader_init(&r, plain, len);
    assert_int_equal(frame_decode(&r, &f), ERR_OK);
    assert_int_equal(f.type, FRAME_SETTINGS);
    end_scene();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(altered_record_delivers_nothing),
        cmocka_unit_test(altered_first_record_is_a_failed_key_confirmation),
        cmocka_unit_test(replayed_record_ends_the_session),
        cmocka_unit_test(reordered_or_dropped_records_end_the_session),
        cmocka_unit_test(truncated_or_extended_record_ends_the_session),
        cmocka_unit_test(length_out_of_bounds_ends_the_session_at_once),
        cmocka_unit_test(own_records_sent_back_end_the_session),
        cmocka_unit_test(records_of_another_session_end_the_session),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(first_frame_must_be_settings),
        cmocka_unit_test(second_settings_end_the_session),
        cmocka_unit_test(unknown_frames),
        cmocka_unit_test(malformed_frame_ends_the_session),
        cmocka_unit_test(ping_flood_ends_the_session),
        cmocka_unit_test(patience_is_no_ping_flood),
        cmocka_unit_test(unasked_pong_is_harmless),
        cmocka_unit_test(go_away_reaches_the_owner),
        cmocka_unit_test(it_tells_what_it_is_doing),
        cmocka_unit_test(rtt_is_measured),
        cmocka_unit_test(key_switch_of_the_peer_is_followed),
        cmocka_unit_test(old_key_after_a_switch_ends_the_session),
        cmocka_unit_test(key_switch_must_be_last),
        cmocka_unit_test(key_past_its_hard_limit_ends_the_session),
        cmocka_unit_test(keys_switch_by_themselves),
        cmocka_unit_test(acknowledgements_wait_for_company_but_not_long),
        cmocka_unit_test(unwritten_bytes_are_offered_again),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
