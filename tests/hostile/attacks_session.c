/* What either peer may try with a session itself: settings, pings, keys, records, frames. */
#include "hostile.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#define WILD WIRE_VARINT_MAX

static struct hostile *begin(const struct world *world)
{
    return hostile_begin(world, world->tls, NULL);
}

/* Says what is put as the session's first record, or its next; it must be the last. */
static void end_with(struct hostile *h)
{
    say(h);
    must_end(h);
    hostile_end(h);
}

/* -- settings -- */

static void settings_missing(const struct world *world)
{
    struct hostile *h = begin(world);

    put_ping(h, 1);
    end_with(h);
}

static void settings_twice(const struct world *world)
{
    struct hostile *h = begin(world);

    put_settings(h, 1000, 10, 1);
    put_settings(h, 1000, 10, 2);
    end_with(h);
}

static void settings_later(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_settings(h, 1000, 10, 2);
    end_with(h);
}

/* The pair of id and value, so many times. */
static void put_pairs(struct hostile *h, size_t n, bool is_same)
{
    uint8_t bytes[512];
    struct wire_writer w;

    wire_writer_init(&w, bytes, sizeof(bytes));
    wire_put_u8(&w, FRAME_SETTINGS);
    wire_put_varint(&w, 2 + 4 * n);
    wire_put_u8(&w, SETTING_SESSION);
    wire_put_u8(&w, 1);
    for (size_t i = 0; i < n; i++) {
        wire_put_varint(&w, is_same ? 100 : 100 + i);
        wire_put_varint(&w, 100);
    }
    put_raw(h, bytes, wire_written(&w));
}

static void settings_too_many(const struct world *world)
{
    struct hostile *h = begin(world);

    put_pairs(h, SETTINGS_ENTRIES_MAX, false);
    end_with(h);
}

static void settings_repeated(const struct world *world)
{
    struct hostile *h = begin(world);

    put_pairs(h, 2, true);
    end_with(h);
}

static void settings_unknown(const struct world *world)
{
    struct hostile *h = begin(world);

    put_pairs(h, SETTINGS_ENTRIES_MAX - 1, false);
    say(h);
    must_live(h);
    hostile_end(h);
}

static void put_settings_of(struct hostile *h, uint64_t value, uint64_t key_lifetime_ms)
{
    struct frame f = {.type = FRAME_SETTINGS};

    f.settings.initial_window = value;
    f.settings.max_streams = value;
    f.settings.session = value;
    f.settings.key_lifetime_ms = key_lifetime_ms;
    put(h, &f);
}

static void settings_wild(const struct world *world)
{
    struct hostile *h = begin(world);

    put_settings_of(h, WILD, WILD);
    say(h);
    if (world->engine_role == TUNNEL_DEST)
        must_serve(h);
    must_live(h);
    hostile_end(h);
}

/* Keys that are too old as soon as they are there. */
static void settings_of_a_moment(const struct world *world)
{
    struct hostile *h = begin(world);

    put_settings_of(h, 1, 1);
    end_with(h);
}

/* -- pings, and what is not a question -- */

static void pings_in_one_record(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (uint64_t i = 0; i <= SESSION_PONGS_MAX; i++)
        put_ping(h, i);
    end_with(h);
}

static void pings_that_are_read(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (uint64_t i = 1; i <= 300; i++) {
        uint64_t heard = h->frames[FRAME_PONG];

        for (uint64_t k = 0; k < SESSION_PONGS_MAX / 2; k++)
            put_ping(h, i * 100 + k);
        say(h);
        while (h->frames[FRAME_PONG] < heard + SESSION_PONGS_MAX / 2 && !h->is_over)
            hear(h, 0);
    }
    must_live(h);
    hostile_end(h);
}

/* Answers are not read. Its own memory is the kernel's; the session's is bounded. */
static void pings_unread(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    h->is_not_heard = true;
    for (uint64_t i = 0; i < 200000 && !h->is_over; i++) {
        put_ping(h, i);
        say(h);
    }
    h->is_not_heard = false;
    must_end(h);
    hostile_end(h);
}

static void pongs_unasked(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (uint64_t i = 0; i < 100000; i++) {
        const struct frame f = {.type = FRAME_PONG, .ping.token = i % 7};

        put(h, &f);
        say_from(h, 16000);
    }
    must_live(h);
    hostile_end(h);
}

static void go_away_flood(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    /* A source follows advice, as far as five minutes: it has to come back for the next attack. */
    uint32_t advice = world->engine_role == TUNNEL_DEST ? UINT32_MAX : 0;

    for (uint64_t i = 0; i < 100000; i++) {
        put_go_away(h, (uint16_t)(i % 32 == WIRE_SHUTDOWN ? 0 : i % 32), advice);
        say_from(h, 60000);
    }
    must_live(h);
    hostile_end(h);
}

static void frames_to_be_ignored(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (unsigned i = 0; i < 100; i++) {
        struct wire_writer *w = &h->peer.w;

        wire_put_u8(w, (uint8_t)(0x80 + i % 128));
        wire_put_varint(w, RECORD_PLAINTEXT_MAX - 5);
        memset(w->at, 0, RECORD_PLAINTEXT_MAX - 5);
        w->at += RECORD_PLAINTEXT_MAX - 5;
        say(h);
    }
    for (unsigned i = 0; i < 2000; i++) { /* the smallest records */
        const uint8_t nothing[] = {0xff, 0};

        put_raw(h, nothing, sizeof(nothing));
        say(h);
    }
    must_live(h);
    hostile_end(h);
}

static void frame_unknown(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    const uint8_t bytes[] = {0x7f, 0};

    put_raw(h, bytes, sizeof(bytes));
    end_with(h);
}

/* Each type without a body, with one that ends early, with a byte too many. */
static void frames_malformed(const struct world *world)
{
    static const uint8_t types[] = {FRAME_PING,          FRAME_PONG,          FRAME_GO_AWAY,
                                    FRAME_KEY_SWITCH,    FRAME_RESUME,        FRAME_KEY_EXCHANGE,
                                    FRAME_STREAM_OPEN,   FRAME_STREAM_ACCEPT, FRAME_STREAM_DATA,
                                    FRAME_STREAM_CREDIT, FRAME_STREAM_RESET,  FRAME_FLOW_OPEN,
                                    FRAME_FLOW_DATAGRAM, FRAME_FLOW_CLOSE};

    for (size_t i = 0; i < sizeof(types); i++) {
        struct hostile *h = hostile_ready(world);
        const uint8_t nothing[] = {types[i], 0};

        put_raw(h, nothing, sizeof(nothing));
        end_with(h);
    }
}

static void frame_longer_than_its_record(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    const uint8_t bytes[] = {FRAME_STREAM_DATA, 0xbf, 0xff, 0xff, 0xff, 0, 0, 1};

    put_raw(h, bytes, sizeof(bytes));
    end_with(h);
}

/* -- records -- */

static void send_header(struct hostile *h, uint8_t first, uint8_t epoch, size_t len)
{
    uint8_t bytes[64] = {first, epoch, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};

    send_bytes(h, bytes, sizeof(bytes));
    must_end(h);
    hostile_end(h);
}

static void record_empty(const struct world *world)
{
    send_header(hostile_ready(world), 0x75, 0, RECORD_TAG_SIZE);
}

static void record_too_long(const struct world *world)
{
    send_header(hostile_ready(world), 0x75, 0, RECORD_PLAINTEXT_MAX + RECORD_TAG_SIZE + 1);
}

static void record_of_another_kind(const struct world *world)
{
    send_header(hostile_ready(world), 0x76, 0, 40);
}

static void record_of_another_epoch(const struct world *world)
{
    send_header(hostile_ready(world), 0x75, 1, 40);
}

static void record_of_garbage(const struct world *world)
{
    send_header(hostile_ready(world), 0x75, 0, 40);
}

static void record_first_of_garbage(const struct world *world)
{
    send_header(begin(world), 0x75, 0, 40);
}

static void record_twice(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    uint8_t record[RECORD_SIZE_MAX];
    size_t len;

    put_ping(h, 1);
    len = peer_seal(&h->peer, record);
    send_bytes(h, record, len);
    send_bytes(h, record, len);
    must_end(h);
    hostile_end(h);
}

/* -- keys -- */

static void switch_flood(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (unsigned i = 0; i < 10000 && !h->is_over; i++) {
        put_switch(h, 0);
        say(h);
    }
    must_end(h);
    hostile_end(h);
}

static void switch_not_last(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    uint8_t record[RECORD_SIZE_MAX];

    put_switch(h, 0);
    put_ping(h, 1);
    send_bytes(h, record, peer_seal(&h->peer, record));
    must_end(h);
    hostile_end(h);
}

static void switch_to_what_is_not(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_switch(h, 1);
    end_with(h);
}

static void switch_far(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_switch(h, WILD);
    end_with(h);
}

static void exchange_of_another_generation(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_exchange(h, 2, 0, 100);
    end_with(h);
}

static void exchange_unfinished(const struct world *world)
{
    for (unsigned i = 0; i < 20; i++) {
        struct hostile *h = hostile_ready(world);

        put_exchange(h, 1, 0, 1000);
        say(h);
        if (world->engine_role == TUNNEL_DEST)
            must_live(h);
        else
            must_end(h); /* it is the source's to begin */
        hostile_end(h);
    }
}

static void exchange_of_a_wrong_key(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_exchange(h, 1, 0, MLKEM_PUBLIC_KEY_SIZE); /* its numbers are beyond the modulus */
    end_with(h);
}

static void exchange_too_long(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_exchange(h, 1, 0, MLKEM_PUBLIC_KEY_SIZE + 1);
    end_with(h);
}

static void exchange_with_a_gap(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_exchange(h, 1, 0, 10);
    put_exchange(h, 1, 11, 10);
    end_with(h);
}

/* Of a source: a second offer while the first is being answered. */
static void exchange_twice_at_once(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    peer_key_exchange(&h->peer, MLKEM_PUBLIC_KEY_SIZE);
    put_exchange(h, 1, 0, 10);
    end_with(h);
}

/* Of a source: one whole exchange after the other. */
static void exchange_flood(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (unsigned i = 0; i < 1000 && !h->is_over; i++) {
        h->peer.switches = 0;
        peer_key_exchange(&h->peer, MLKEM_PUBLIC_KEY_SIZE);
        say(h);
        while (!h->is_over && !rotation_wants_switch(&h->peer.rotation))
            hear(h, 0);
        peer_key_switch(&h->peer, 0);
        say(h);
    }
    must_end(h);
    hostile_end(h);
}

/* -- keys -- */

static void print_secret(const char *name, const uint8_t *bytes, size_t len)
{
    printf("%s: ", name);
    for (size_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
    printf("\n");
}

/* No attack: says what keys the session has, for who looks into the daemon's memory, and stays. */
static void keys_told(const struct world *world)
{
    static const char *const names[] = {
        [KEY_FROM_SOURCE] = "source traffic key", [KEY_FROM_DEST] = "dest traffic key"};
    struct hostile *h = hostile_ready(world);
    struct traffic_keys keys;

    must_live(h);
    for (int d = KEY_FROM_SOURCE; d <= KEY_FROM_DEST; d++) {
        demand(session_keys_traffic(h->peer.keys, (enum key_direction)d, &keys) == ERR_OK,
               "no key");
        print_secret(names[d], keys.key, sizeof(keys.key));
    }
    OPENSSL_cleanse(&keys, sizeof(keys));
    print_secret("tunnel secret", h->secret, sizeof(h->secret));
    printf("all told\n");
    demand(fflush(stdout) == 0, "nobody listens");
    while (!h->is_over)
        hear(h, 100);
    hostile_end(h);
}

const struct attack attacks_on_session[] = {
    {"keys_told", keys_told},
    {"settings_missing", settings_missing},
    {"settings_twice", settings_twice},
    {"settings_later", settings_later},
    {"settings_too_many", settings_too_many},
    {"settings_repeated", settings_repeated},
    {"settings_unknown", settings_unknown},
    {"settings_wild", settings_wild},
    {"settings_of_a_moment", settings_of_a_moment},
    {"pings_in_one_record", pings_in_one_record},
    {"pings_that_are_read", pings_that_are_read},
    {"pings_unread", pings_unread},
    {"pongs_unasked", pongs_unasked},
    {"go_away_flood", go_away_flood},
    {"frames_to_be_ignored", frames_to_be_ignored},
    {"frame_unknown", frame_unknown},
    {"frames_malformed", frames_malformed},
    {"frame_longer_than_its_record", frame_longer_than_its_record},
    {"record_empty", record_empty},
    {"record_too_long", record_too_long},
    {"record_of_another_kind", record_of_another_kind},
    {"record_of_another_epoch", record_of_another_epoch},
    {"record_of_garbage", record_of_garbage},
    {"record_first_of_garbage", record_first_of_garbage},
    {"record_twice", record_twice},
    {"switch_flood", switch_flood},
    {"switch_not_last", switch_not_last},
    {"switch_to_what_is_not", switch_to_what_is_not},
    {"switch_far", switch_far},
    {"exchange_of_another_generation", exchange_of_another_generation},
    {"exchange_unfinished", exchange_unfinished},
    {"exchange_of_a_wrong_key", exchange_of_a_wrong_key},
    {"exchange_too_long", exchange_too_long},
    {"exchange_with_a_gap", exchange_with_a_gap},
    {"exchange_twice_at_once", exchange_twice_at_once},
    {"exchange_flood", exchange_flood},
    {NULL, NULL},
};
