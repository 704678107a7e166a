#include "engine_pair.h"

#include "tunnel/engine.h"
#include "tunnel/rotation.h"

#define SECOND   ((uint64_t)1000 * 1000)
#define LIFETIME (60 * SECOND)
#define MARGIN   (10 * SECOND)

static const enum kem_mode modes[] = {KEM_MLKEM768, KEM_HYBRID, KEM_MCELIECE460896};

/* -- two exchanges back to back, without sessions -- */

struct side {
    struct session_keys *keys;
    struct rotation rotation;
};

static void side_init(struct side *s, enum key_direction outward)
{
    s->keys = pair_keys(1);
    rotation_init(&s->rotation, s->keys, outward);
}

static void side_fini(struct side *s)
{
    rotation_fini(&s->rotation);
    session_keys_free(s->keys);
}

static struct mceliece_keypair *fresh_pair(void)
{
    struct mceliece_keypair *pair = NULL;

    if (pair_kem_mode != KEM_MLKEM768)
        assert_int_equal(mceliece_keypair_new(&pair), ERR_OK);
    return pair;
}

/* One chunk as a frame; false when there is none. */
static bool take_chunk(struct side *from, size_t max, struct frame *f)
{
    const uint8_t *data;
    uint64_t offset;
    size_t len = rotation_chunk(&from->rotation, max, &data, &offset);

    if (len == 0)
        return false;
    *f = (struct frame){.type = FRAME_KEY_EXCHANGE};
    f->exchange.generation = rotation_generation(&from->rotation);
    f->exchange.offset = offset;
    f->exchange.data = data;
    f->exchange.len = len;
    return true;
}

static void carry(struct side *from, struct side *to, size_t max)
{
    struct frame f;

    while (take_chunk(from, max, &f)) {
        size_t len = f.exchange.len;

        assert_int_equal(rotation_on_chunk(&to->rotation, &f), ERR_OK);
        rotation_sent(&from->rotation, len);
    }
}

static void switch_one(struct side *sender, struct side *receiver, enum key_direction direction,
                       bool is_end)
{
    assert_true(rotation_wants_switch(&sender->rotation));
    assert_int_equal(session_keys_switch(sender->keys, direction), ERR_OK);
    assert_int_equal(rotation_on_switched(&sender->rotation), is_end);
    assert_false(rotation_wants_switch(&sender->rotation));
    assert_true(rotation_takes_switch(&receiver->rotation));
    assert_int_equal(session_keys_switch(receiver->keys, direction), ERR_OK);
    assert_int_equal(rotation_on_switched(&receiver->rotation), is_end);
    assert_false(rotation_takes_switch(&receiver->rotation));
}

static void assert_same_keys(const struct side *a, const struct side *b)
{
    for (enum key_direction d = KEY_FROM_SOURCE; d <= KEY_FROM_DEST; d++) {
        struct traffic_keys x;
        struct traffic_keys y;

        assert_int_equal(session_keys_traffic(a->keys, d, &x), ERR_OK);
        assert_int_equal(session_keys_traffic(b->keys, d, &y), ERR_OK);
        assert_memory_equal(&x, &y, sizeof(x));
    }
}

static void both_sides_come_to_the_same_new_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct side source;
        struct side dest;
        struct traffic_keys last;

        pair_kem_mode = modes[i];
        side_init(&source, KEY_FROM_SOURCE);
        side_init(&dest, KEY_FROM_DEST);
        assert_int_equal(session_keys_traffic(source.keys, KEY_FROM_SOURCE, &last), ERR_OK);
        for (unsigned generation = 1; generation <= 2; generation++) {
            struct traffic_keys next;

            assert_int_equal(rotation_start(&source.rotation, fresh_pair()), ERR_OK);
            assert_int_equal(rotation_generation(&source.rotation), generation);
            carry(&source, &dest, generation == 1 ? 1000 : SIZE_MAX);
            assert_int_equal(dest.rotation.state, ROTATION_ANSWERING);
            assert_false(rotation_wants_switch(&dest.rotation));
            carry(&dest, &source, generation == 1 ? 7 : SIZE_MAX);
            assert_false(rotation_wants_switch(&source.rotation)); /* the dest is first */
            switch_one(&dest, &source, KEY_FROM_DEST, false);
            switch_one(&source, &dest, KEY_FROM_SOURCE, true);
            assert_int_equal(source.rotation.state, ROTATION_IDLE);
            assert_int_equal(dest.rotation.state, ROTATION_IDLE);
            assert_same_keys(&source, &dest);
            assert_int_equal(session_keys_traffic(source.keys, KEY_FROM_SOURCE, &next), ERR_OK);
            assert_memory_not_equal(&last, &next, sizeof(last));
            last = next;
        }
        side_fini(&source);
        side_fini(&dest);
    }
    pair_kem_mode = KEM_MLKEM768;
}

static void an_altered_exchange_gives_other_keys(void **state)
{
    (void)state;
    static const size_t places[] = {0, 1183, 1184, 300000};

    pair_kem_mode = KEM_HYBRID;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct side source;
        struct side dest;
        struct frame f;
        struct traffic_keys x;
        struct traffic_keys y;
        uint8_t changed[4096];
        enum err e = ERR_OK;

        side_init(&source, KEY_FROM_SOURCE);
        side_init(&dest, KEY_FROM_DEST);
        assert_int_equal(rotation_start(&source.rotation, fresh_pair()), ERR_OK);
        while (e == ERR_OK && take_chunk(&source, sizeof(changed), &f)) {
            size_t len = f.exchange.len;

            memcpy(changed, f.exchange.data, len);
            if (places[i] >= f.exchange.offset && places[i] < f.exchange.offset + len)
                changed[places[i] - f.exchange.offset] ^= 1;
            f.exchange.data = changed;
            e = rotation_on_chunk(&dest.rotation, &f);
            rotation_sent(&source.rotation, len);
        }
        if (e == ERR_OK) { /* otherwise it is no public key any more */
            carry(&dest, &source, SIZE_MAX);
            assert_int_equal(session_keys_switch(source.keys, KEY_FROM_DEST), ERR_OK);
            assert_int_equal(session_keys_switch(dest.keys, KEY_FROM_DEST), ERR_OK);
            assert_int_equal(session_keys_traffic(source.keys, KEY_FROM_DEST, &x), ERR_OK);
            assert_int_equal(session_keys_traffic(dest.keys, KEY_FROM_DEST, &y), ERR_OK);
            assert_memory_not_equal(&x, &y, sizeof(x));
        }
        side_fini(&source);
        side_fini(&dest);
    }
    pair_kem_mode = KEM_MLKEM768;
}

static void one_exchange_at_a_time(void **state)
{
    (void)state;
    struct side source;
    struct side dest;

    side_init(&source, KEY_FROM_SOURCE);
    side_init(&dest, KEY_FROM_DEST);
    assert_int_equal(rotation_start(&source.rotation, NULL), ERR_OK);
    assert_int_equal(rotation_start(&source.rotation, NULL), ERR_UNEXPECTED);
    carry(&source, &dest, SIZE_MAX);
    carry(&dest, &source, SIZE_MAX);
    assert_int_equal(rotation_start(&source.rotation, NULL), ERR_UNEXPECTED);
    switch_one(&dest, &source, KEY_FROM_DEST, false);
    assert_int_equal(rotation_start(&source.rotation, NULL), ERR_UNEXPECTED);
    switch_one(&source, &dest, KEY_FROM_SOURCE, true);
    assert_int_equal(rotation_start(&source.rotation, NULL), ERR_OK);
    side_fini(&source);
    side_fini(&dest);
}

/* -- inside sessions -- */

static struct pair pair;
static struct stream_owner client;
static struct stream_owner target;

static void begin_pair(void)
{
    memset(&client, 0, sizeof(client));
    memset(&target, 0, sizeof(target));
    pair_init(&pair, PAIR_MEMORY, 10);
    pair_open(&pair, &client, &target);
    pair_settle(&pair);
}

static void keys_rotate_under_traffic(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        uint64_t up = 0;
        uint64_t down = 0;
        unsigned rounds = 0;

        pair_kem_mode = modes[i];
        begin_pair();
        for (unsigned generation = 1; generation <= 3; generation++) {
            assert_int_equal(session_rotate(pair.source.session, fresh_pair()), ERR_OK);
            while (session_generation(pair.source.session) < generation ||
                   session_generation(pair.dest.session) < generation) {
                up += pair_send(&client, 100000, 'u');
                down += pair_send(&target, 100000, 'd');
                assert_true(pair_carry(&pair, &pair.source, &pair.dest) +
                                pair_carry(&pair, &pair.dest, &pair.source) >
                            0);
                pair.now += 100;
                assert_true(++rounds < 2000);
            }
            pair_settle(&pair);
            assert_int_equal(pair.source.owner.key_events[KEYS_ROTATED], generation);
            assert_int_equal(pair.dest.owner.key_events[KEYS_ROTATED], generation);
        }
        assert_int_equal(target.received, up);
        assert_int_equal(client.received, down);
        assert_true(up > 0 && down > 0);
        pair_fini(&pair);
    }
    pair_kem_mode = KEM_MLKEM768;
}

/* The half megabyte takes the place of other bytes, not of the others' turns. */
static void an_exchange_leaves_most_of_each_record_to_data(void **state)
{
    (void)state;
    size_t sealed = 0;
    uint64_t before;

    pair_kem_mode = KEM_HYBRID;
    begin_pair();
    assert_int_equal(session_rotate(pair.source.session, fresh_pair()), ERR_OK);
    before = target.received;
    while (session_generation(pair.source.session) == 0) {
        (void)pair_send(&client, 256 * 1024, 'u');
        sealed += pair_carry(&pair, &pair.source, &pair.dest);
        pair_carry(&pair, &pair.dest, &pair.source);
        pair.now += 100;
    }
    assert_true(target.received - before > 8 * (uint64_t)ROTATION_OFFER_MAX);
    assert_true(sealed > target.received - before + ROTATION_OFFER_MAX);
    pair_fini(&pair);
    pair_kem_mode = KEM_MLKEM768;
}

static void ratchets_and_exchanges_do_not_disturb_each_other(void **state)
{
    (void)state;
    uint64_t up = 0;
    uint64_t down = 0;

    pair_kem_mode = KEM_HYBRID;
    begin_pair();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(session_rotate(pair.source.session, fresh_pair()), ERR_OK);
        for (int j = 0; j < 400; j++) {
            if (j % 50 == 49) { /* both pass the soft limit with their next records */
                session_skip_to_for_test(pair.source.session, RECORD_SOFT_LIMIT_RECORDS,
                                         RECORD_SOFT_LIMIT_RECORDS);
                session_skip_to_for_test(pair.dest.session, RECORD_SOFT_LIMIT_RECORDS,
                                         RECORD_SOFT_LIMIT_RECORDS);
                pair.now += SECOND;
            }
            up += pair_send(&client, 30000, 'u');
            down += pair_send(&target, 30000, 'd');
            pair_carry(&pair, &pair.source, &pair.dest);
            pair_carry(&pair, &pair.dest, &pair.source);
            pair.now += 100;
        }
        pair_settle(&pair);
        assert_int_equal(session_generation(pair.source.session), i + 1);
        assert_int_equal(session_generation(pair.dest.session), i + 1);
    }
    assert_int_equal(target.received, up);
    assert_int_equal(client.received, down);
    assert_true(session_keys_epoch(pair.source.session->keys, KEY_FROM_SOURCE) >= 3 + 8);
    pair_fini(&pair);
    pair_kem_mode = KEM_MLKEM768;
}

static void a_session_that_ends_takes_its_exchange_along(void **state)
{
    (void)state;
    pair_kem_mode = KEM_HYBRID;
    begin_pair();
    assert_int_equal(session_rotate(pair.source.session, fresh_pair()), ERR_OK);
    for (int i = 0; i < 10; i++) {
        pair_carry(&pair, &pair.source, &pair.dest);
        pair.now += 100;
    }
    assert_int_equal(pair.dest.session->rotation.state, ROTATION_COLLECTING);
    pair_fini(&pair);
    pair_kem_mode = KEM_MLKEM768;
}

/* -- age -- */

static void begin_aging(uint64_t source_lifetime, uint64_t dest_lifetime)
{
    memset(&pair, 0, sizeof(pair));
    pair.now = 1000;
    pair_key_margin_us = MARGIN;
    pair_key_lifetime_us = source_lifetime;
    end_init(&pair.source, TUNNEL_SOURCE, PAIR_MEMORY, 10);
    pair_key_lifetime_us = dest_lifetime;
    end_init(&pair.dest, TUNNEL_DEST, PAIR_MEMORY, 10);
    pair_key_lifetime_us = 0;
    pair_key_margin_us = 0;
    end_attach(&pair.source, 1, pair.now);
    end_attach(&pair.dest, 1, pair.now);
    pair_settle(&pair);
}

static void tick_both(uint64_t at)
{
    pair.now = 1000 + at;
    assert_int_equal(session_tick(pair.source.session, pair.now), ERR_OK);
    assert_int_equal(session_tick(pair.dest.session, pair.now), ERR_OK);
}

static void the_owner_is_told_when_an_exchange_is_due(void **state)
{
    (void)state;
    begin_aging(LIFETIME, LIFETIME);
    tick_both(LIFETIME - MARGIN - SECOND);
    assert_int_equal(pair.source.owner.key_events[KEYS_DUE], 0);
    tick_both(LIFETIME - MARGIN);
    tick_both(LIFETIME - MARGIN + SECOND);
    assert_int_equal(pair.source.owner.key_events[KEYS_DUE], 2);
    assert_int_equal(session_rotate(pair.source.session, NULL), ERR_OK);
    tick_both(LIFETIME - MARGIN + 2 * SECOND);
    assert_int_equal(pair.source.owner.key_events[KEYS_DUE], 2);
    pair_swap(&pair);
    assert_int_equal(pair.source.owner.key_events[KEYS_ROTATED], 1);
    tick_both(LIFETIME + SECOND); /* the old keys would have been expired */
    assert_int_equal(pair.source.owner.key_events[KEYS_LATE], 0);
    tick_both(LIFETIME - MARGIN + 2 * SECOND + LIFETIME - MARGIN);
    assert_int_equal(pair.source.owner.key_events[KEYS_DUE], 3);
    assert_int_equal(pair.dest.owner.key_events[KEYS_DUE], 0);
    pair_fini(&pair);
}

static void without_an_exchange_the_session_is_late_and_then_over(void **state)
{
    (void)state;
    begin_aging(LIFETIME, LIFETIME);
    tick_both(LIFETIME - MARGIN / 2);
    assert_int_equal(pair.source.owner.key_events[KEYS_LATE], 1);
    assert_int_equal(pair.dest.owner.key_events[KEYS_LATE], 0);
    tick_both(LIFETIME - 1);
    assert_true(session_deadline(pair.source.session) <= 1000 + LIFETIME);
    assert_true(session_deadline(pair.dest.session) <= 1000 + LIFETIME);
    assert_int_equal(session_tick(pair.source.session, 1000 + LIFETIME), ERR_KEY_EXPIRED);
    assert_int_equal(session_tick(pair.dest.session, 1000 + LIFETIME), ERR_KEY_EXPIRED);
    pair_fini(&pair);
}

/* The exchange has begun, and the path then swallows everything. */
static void a_stalled_exchange_does_not_keep_old_keys_alive(void **state)
{
    (void)state;
    begin_aging(LIFETIME, LIFETIME);
    tick_both(LIFETIME - MARGIN);
    assert_int_equal(session_rotate(pair.source.session, NULL), ERR_OK);
    assert_true(pair_carry(&pair, &pair.source, &pair.dest) > 0);
    tick_both(LIFETIME - MARGIN / 2);
    assert_int_equal(pair.source.owner.key_events[KEYS_LATE], 1);
    assert_int_equal(session_tick(pair.source.session, 1000 + LIFETIME), ERR_KEY_EXPIRED);
    assert_int_equal(session_tick(pair.dest.session, 1000 + LIFETIME), ERR_KEY_EXPIRED);
    pair_fini(&pair);
}

/* A dest without room for the offer leaves it unanswered; streams do not feel it. */
static void an_offer_without_room_is_left_unanswered(void **state)
{
    (void)state;
    pair_kem_mode = KEM_HYBRID;
    begin_aging(LIFETIME, LIFETIME);
    pair.dest.exchanges.limit = rotation_offer_size(&pair.dest.session->rotation) - 1;
    tick_both(LIFETIME - MARGIN);
    assert_int_equal(session_rotate(pair.source.session, fresh_pair()), ERR_OK);
    pair_swap(&pair);
    assert_int_equal(pair.dest.session->rotation.state, ROTATION_DECLINED);
    assert_null(pair.dest.session->rotation.in);
    assert_int_equal(pair.dest.exchanges.used, 0);
    assert_int_equal(session_generation(pair.source.session), 0);
    tick_both(LIFETIME - MARGIN / 2);
    assert_int_equal(pair.source.owner.key_events[KEYS_LATE], 1);
    pair_fini(&pair);
    pair_kem_mode = KEM_MLKEM768;
}

static void room_for_an_offer_is_given_back(void **state)
{
    (void)state;
    pair_kem_mode = KEM_HYBRID;
    begin_pair();
    pair.dest.exchanges = tunnel_exchange_budget(0); /* one offer finds room */
    for (unsigned generation = 1; generation <= 2; generation++) {
        assert_int_equal(session_rotate(pair.source.session, fresh_pair()), ERR_OK);
        assert_true(pair_carry(&pair, &pair.source, &pair.dest) > 0);
        assert_int_equal(pair.dest.exchanges.used, ROTATION_OFFER_MAX);
        pair_settle(&pair);
        assert_int_equal(pair.dest.exchanges.used, 0);
        assert_int_equal(session_generation(pair.dest.session), generation);
    }
    assert_int_equal(session_rotate(pair.source.session, fresh_pair()), ERR_OK);
    assert_true(pair_carry(&pair, &pair.source, &pair.dest) > 0);
    pair_lose_session(&pair);
    assert_int_equal(pair.dest.exchanges.used, 0);
    pair_fini(&pair);
    pair_kem_mode = KEM_MLKEM768;
}

static void the_smaller_lifetime_of_both_counts(void **state)
{
    (void)state;
    begin_aging(0, LIFETIME);
    tick_both(LIFETIME / 2);
    assert_int_equal(pair.source.owner.key_events[KEYS_DUE], 0);
    tick_both(LIFETIME - MARGIN);
    assert_int_equal(pair.source.owner.key_events[KEYS_DUE], 1);
    pair_fini(&pair);
    begin_aging(LIFETIME, 1000 * LIFETIME);
    tick_both(LIFETIME - 1);
    assert_int_equal(session_tick(pair.dest.session, 1000 + LIFETIME), ERR_KEY_EXPIRED);
    pair_fini(&pair);
    begin_aging(0, 0);
    tick_both(1000 * LIFETIME);
    assert_int_equal(pair.source.owner.key_events[KEYS_DUE], 0);
    pair_fini(&pair);
}

/* -- hostile peers -- */

static struct end end;
static struct hostile hostile;

static struct hostile *begin_hostile(enum tunnel_role role)
{
    memset(&end, 0, sizeof(end));
    end_init(&end, role, PAIR_MEMORY, 10);
    end_attach(&end, 1, 1000);
    hostile_init(&hostile, &end, role, 1);
    hostile_settings(&hostile, 32768, 100);
    assert_int_equal(hostile_send(&hostile), ERR_OK);
    return &hostile;
}

static void end_hostile(void)
{
    hostile_fini(&hostile);
    end_fini(&end);
}

static void hostile_chunk(struct hostile *h, uint64_t generation, uint64_t offset, size_t len)
{
    assert_true(frame_encode_data_header(&h->w, FRAME_KEY_EXCHANGE, generation, offset, len));
    for (size_t i = 0; i < len; i++)
        wire_put_u8(&h->w, 1);
}

static void expect_hostile_end(enum err e)
{
    assert_int_equal(hostile_send(&hostile), e);
    end_hostile();
}

/* Of three peers with 3, 2 and 1 sessions, and one that comes too late. */
static void no_peer_takes_all_the_room_for_offers(void **state)
{
    static const struct {
        size_t peer;
        bool is_kept;
    } sessions[] = {{0, true}, {0, true}, {0, false}, {1, true}, {1, false}, {2, true}, {3, false}};
    enum { N = sizeof(sessions) / sizeof(sessions[0]) };
    static struct end ends[N];
    static struct hostile peers[N];
    struct tunnel_peer of[4] = {{0}};
    struct budget room = {.limit = (uint64_t)4 * MLKEM_PUBLIC_KEY_SIZE};

    (void)state;
    for (size_t i = 0; i < N; i++) {
        end_init(&ends[i], TUNNEL_DEST, PAIR_MEMORY, 10);
        ends[i].tunnel->peer = &of[sessions[i].peer];
        ends[i].tunnel->peer->tunnels++;
        ends[i].tunnel->options.exchanges = &room;
        end_attach(&ends[i], 1, 1000);
        hostile_init(&peers[i], &ends[i], TUNNEL_DEST, 1);
        hostile_settings(&peers[i], 32768, 100);
        for (uint64_t offset = 0; offset < 100; offset += 10)
            hostile_chunk(&peers[i], 1, offset, 10);
        assert_int_equal(hostile_send(&peers[i]), ERR_OK);
        assert_int_equal(ends[i].session->rotation.state,
                         sessions[i].is_kept ? ROTATION_COLLECTING : ROTATION_DECLINED);
        assert_int_equal(ends[i].session->rotation.in != NULL, sessions[i].is_kept);
    }
    assert_int_equal(room.used, room.limit);
    for (size_t i = 0; i < N; i++) {
        hostile_fini(&peers[i]);
        end_fini(&ends[i]);
    }
    assert_int_equal(room.used, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(of[i].exchanges, 0);
}

static void what_is_not_kept_of_an_offer_is_still_checked(void **state)
{
    (void)state;
    begin_hostile(TUNNEL_DEST);
    end.exchanges.limit = 0;
    hostile_chunk(&hostile, 1, 0, MLKEM_PUBLIC_KEY_SIZE);
    hostile_chunk(&hostile, 1, MLKEM_PUBLIC_KEY_SIZE, 1);
    expect_hostile_end(ERR_MALFORMED);
    begin_hostile(TUNNEL_DEST);
    end.exchanges.limit = 0;
    hostile_chunk(&hostile, 1, 0, 10);
    hostile_chunk(&hostile, 1, 11, 10);
    expect_hostile_end(ERR_MALFORMED);
    begin_hostile(TUNNEL_DEST);
    end.exchanges.limit = 0;
    hostile_chunk(&hostile, 1, 0, MLKEM_PUBLIC_KEY_SIZE);
    hostile_key_switch(&hostile, 1);
    expect_hostile_end(ERR_UNEXPECTED);
}

static void chunks_out_of_place_end_the_session(void **state)
{
    (void)state;
    hostile_chunk(begin_hostile(TUNNEL_DEST), 0, 0, 10);
    expect_hostile_end(ERR_UNEXPECTED);
    hostile_chunk(begin_hostile(TUNNEL_DEST), 2, 0, 10);
    expect_hostile_end(ERR_UNEXPECTED);
    hostile_chunk(begin_hostile(TUNNEL_DEST), 1, 1, 10);
    expect_hostile_end(ERR_MALFORMED);
    begin_hostile(TUNNEL_DEST);
    hostile_chunk(&hostile, 1, 0, 10);
    hostile_chunk(&hostile, 1, 0, 10);
    expect_hostile_end(ERR_MALFORMED);
    begin_hostile(TUNNEL_DEST);
    hostile_chunk(&hostile, 1, 0, 10);
    hostile_chunk(&hostile, 1, 11, 10);
    expect_hostile_end(ERR_MALFORMED);
    hostile_chunk(begin_hostile(TUNNEL_DEST), 1, 0, MLKEM_PUBLIC_KEY_SIZE + 1);
    expect_hostile_end(ERR_MALFORMED);
    hostile_chunk(begin_hostile(TUNNEL_DEST), 1, WIRE_VARINT_MAX, 10);
    expect_hostile_end(ERR_MALFORMED);
}

static void an_answer_that_nobody_asked_for_ends_the_session(void **state)
{
    (void)state;
    hostile_chunk(begin_hostile(TUNNEL_SOURCE), 1, 0, 10);
    expect_hostile_end(ERR_UNEXPECTED);
    /* Nor before the offer is out. */
    begin_hostile(TUNNEL_SOURCE);
    assert_int_equal(session_rotate(end.session, NULL), ERR_OK);
    hostile_chunk(&hostile, 1, 0, 10);
    expect_hostile_end(ERR_UNEXPECTED);
}

static void an_offer_that_is_no_key_ends_the_session(void **state)
{
    (void)state;
    begin_hostile(TUNNEL_DEST);
    assert_true(
        frame_encode_data_header(&hostile.w, FRAME_KEY_EXCHANGE, 1, 0, MLKEM_PUBLIC_KEY_SIZE));
    for (size_t i = 0; i < MLKEM_PUBLIC_KEY_SIZE; i++)
        wire_put_u8(&hostile.w, 0xff);
    expect_hostile_end(ERR_MALFORMED);
}

static void a_switch_without_an_exchange_ends_the_session(void **state)
{
    (void)state;
    static const enum tunnel_role roles[] = {TUNNEL_SOURCE, TUNNEL_DEST};

    for (size_t i = 0; i < 2; i++) {
        hostile_key_switch(begin_hostile(roles[i]), 1);
        expect_hostile_end(ERR_UNEXPECTED);
        hostile_key_switch(begin_hostile(roles[i]), 2);
        expect_hostile_end(ERR_UNEXPECTED);
        hostile_key_switch(begin_hostile(roles[i]), WIRE_VARINT_MAX);
        expect_hostile_end(ERR_UNEXPECTED);
    }
    /* In the middle of one. */
    begin_hostile(TUNNEL_DEST);
    hostile_chunk(&hostile, 1, 0, 10);
    hostile_key_switch(&hostile, 1);
    expect_hostile_end(ERR_UNEXPECTED);
}

static void an_offer_on_top_of_another_ends_the_session(void **state)
{
    (void)state;
    struct mlkem_keypair *pair_of_hostile = NULL;
    uint8_t room[65536];

    begin_hostile(TUNNEL_DEST);
    assert_int_equal(mlkem_keypair_new(&pair_of_hostile), ERR_OK);
    assert_true(
        frame_encode_data_header(&hostile.w, FRAME_KEY_EXCHANGE, 1, 0, MLKEM_PUBLIC_KEY_SIZE));
    wire_put_bytes(&hostile.w, mlkem_public_key(pair_of_hostile), MLKEM_PUBLIC_KEY_SIZE);
    assert_int_equal(hostile_send(&hostile), ERR_OK);
    assert_true(end_drain(&end, room, sizeof(room), 1000) > MLKEM_CIPHERTEXT_SIZE);
    mlkem_keypair_free(pair_of_hostile);
    hostile_chunk(&hostile, 2, 0, 10);
    expect_hostile_end(ERR_UNEXPECTED);
}

static void too_many_changes_of_keys_end_the_session(void **state)
{
    (void)state;
    struct hostile *h = begin_hostile(TUNNEL_DEST);

    for (int i = 0; i < KEY_CHANGES_PER_SECOND; i++) {
        struct traffic_keys k;

        hostile_key_switch(h, 0);
        assert_int_equal(hostile_send(h), ERR_OK);
        assert_int_equal(session_keys_ratchet(h->keys, KEY_FROM_SOURCE), ERR_OK);
        assert_int_equal(session_keys_traffic(h->keys, KEY_FROM_SOURCE, &k), ERR_OK);
        assert_int_equal(record_sealer_rekey(h->sealer, &k), ERR_OK);
    }
    hostile_key_switch(h, 0);
    expect_hostile_end(ERR_LIMIT);
}

static void not_before_the_session_is_ready(void **state)
{
    (void)state;
    memset(&end, 0, sizeof(end));
    end_init(&end, TUNNEL_SOURCE, PAIR_MEMORY, 10);
    end_attach(&end, 1, 1000);
    assert_int_equal(session_rotate(end.session, NULL), ERR_UNEXPECTED);
    end_fini(&end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_come_to_the_same_new_keys),
        cmocka_unit_test(an_altered_exchange_gives_other_keys),
        cmocka_unit_test(one_exchange_at_a_time),
        cmocka_unit_test(keys_rotate_under_traffic),
        cmocka_unit_test(an_exchange_leaves_most_of_each_record_to_data),
        cmocka_unit_test(ratchets_and_exchanges_do_not_disturb_each_other),
        cmocka_unit_test(a_session_that_ends_takes_its_exchange_along),
        cmocka_unit_test(the_owner_is_told_when_an_exchange_is_due),
        cmocka_unit_test(without_an_exchange_the_session_is_late_and_then_over),
        cmocka_unit_test(a_stalled_exchange_does_not_keep_old_keys_alive),
        cmocka_unit_test(an_offer_without_room_is_left_unanswered),
        cmocka_unit_test(room_for_an_offer_is_given_back),
        cmocka_unit_test(the_smaller_lifetime_of_both_counts),
        cmocka_unit_test(no_peer_takes_all_the_room_for_offers),
        cmocka_unit_test(what_is_not_kept_of_an_offer_is_still_checked),
        cmocka_unit_test(chunks_out_of_place_end_the_session),
        cmocka_unit_test(an_answer_that_nobody_asked_for_ends_the_session),
        cmocka_unit_test(an_offer_that_is_no_key_ends_the_session),
        cmocka_unit_test(a_switch_without_an_exchange_ends_the_session),
        cmocka_unit_test(an_offer_on_top_of_another_ends_the_session),
        cmocka_unit_test(too_many_changes_of_keys_end_the_session),
        cmocka_unit_test(not_before_the_session_is_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
