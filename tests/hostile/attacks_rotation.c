/*
 * What a peer may try with a key exchange inside a session, in the modes where it begins with half
 * a megabyte (docs/PROTOCOL.md, section 9.3).
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/mlkem.h"
#include "hostile.h"

static size_t offer_size(const struct world *world)
{
    return world->kem_mode == KEM_MLKEM768 ? MLKEM_PUBLIC_KEY_SIZE : ROTATION_OFFER_MAX;
}

static size_t answer_size(const struct world *world)
{
    return world->kem_mode == KEM_MLKEM768 ? MLKEM_CIPHERTEXT_SIZE : ROTATION_ANSWER_MAX;
}

static void put_piece(struct hostile *h, uint64_t offset, const uint8_t *bytes, size_t len)
{
    demand(wire_room(&h->peer.w) >= FRAME_DATA_OVERHEAD + len &&
               frame_encode_data_header(&h->peer.w, FRAME_KEY_EXCHANGE, 1, offset, len),
           "no room for an exchange");
    wire_put_bytes(&h->peer.w, bytes, len);
}

/* -- of a source -- */

/* An offer that is right: pieces of so many bytes, until so many are said. */
static void offer(struct hostile *h, size_t bytes, size_t piece)
{
    while (h->peer.rotation.sent < bytes && !h->is_over) {
        size_t left = bytes - h->peer.rotation.sent;

        peer_key_exchange(&h->peer, left < piece ? left : piece);
        say_from(h, RECORD_PLAINTEXT_MAX - FRAME_DATA_OVERHEAD - piece);
    }
    if (wire_written(&h->peer.w) > 0)
        say(h);
}

static void await_answer(struct hostile *h)
{
    uint64_t until = now_ms() + patience_ms;

    while (!rotation_wants_switch(&h->peer.rotation) && !h->is_over && now_ms() < until)
        hear(h, 1);
    demand(rotation_wants_switch(&h->peer.rotation), "the offer is not answered");
}

static void offer_in_pieces(const struct world *world, size_t piece)
{
    struct hostile *h = hostile_ready(world);

    offer(h, offer_size(world), piece);
    await_answer(h);
    must_serve(h); /* it goes on under its old key for a while */
    peer_key_switch(&h->peer, 0);
    say(h);
    must_serve(h);
    demand(session_keys_generation(h->peer.keys, KEY_FROM_SOURCE) == 1,
           "the keys are the old ones");
    hostile_end(h);
}

/* Nothing is wrong with it: so the others fail for their reasons. */
static void offer_that_is_right(const struct world *world)
{
    offer_in_pieces(world, 30000);
}

static void offer_byte_by_byte(const struct world *world)
{
    offer_in_pieces(world, 1);
}

static void offer_that_stops(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, offer_size(world) / 2, 4096);
    must_serve(h);
    offer(h, offer_size(world) - 1, 4096);
    must_serve(h);
    must_live(h);
    hostile_end(h);
}

static void offer_too_long(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, offer_size(world) - 1, 4096);
    put_exchange(h, 1, offer_size(world) - 1, 2);
    say(h);
    must_end(h);
    hostile_end(h);
}

static void offer_with_a_gap(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, 100000, 4096);
    put_exchange(h, 1, 100001, 100);
    say(h);
    must_end(h);
    hostile_end(h);
}

static void offer_said_again(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, 100000, 4096);
    put_exchange(h, 1, 0, 4096);
    say(h);
    must_end(h);
    hostile_end(h);
}

static void offer_of_another_generation(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, 100000, 4096);
    put_exchange(h, 2, 100000, 4096);
    say(h);
    must_end(h);
    hostile_end(h);
}

/* One more, while the dest waits for the switch that the first has led to. */
static void offer_twice(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, offer_size(world), 30000);
    await_answer(h);
    put_exchange(h, 1, 0, 4096);
    say(h);
    must_end(h);
    hostile_end(h);
}

/* Of the generation that both sides have come to. */
static void offer_of_the_last_generation(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, offer_size(world), 30000);
    await_answer(h);
    peer_key_switch(&h->peer, 0);
    say(h);
    must_live(h);
    put_exchange(h, 1, 0, 4096);
    say(h);
    must_end(h);
    hostile_end(h);
}

static void switch_before_the_answer(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    offer(h, offer_size(world) / 2, 4096);
    put_switch(h, 1);
    say(h);
    must_end(h);
    hostile_end(h);
}

/* The McEliece key is no key: nobody knows the keys that come of it, and no record opens. */
static void offer_of(const struct world *world, uint8_t filler)
{
    static const uint8_t record[45] = {0x75, 1, 0, 0, 40};
    struct hostile *h = hostile_ready(world);
    struct mlkem_keypair *pair;
    uint8_t piece[4096];
    uint64_t at = MLKEM_PUBLIC_KEY_SIZE;

    demand(mlkem_keypair_new(&pair) == ERR_OK, "no memory");
    put_piece(h, 0, mlkem_public_key(pair), MLKEM_PUBLIC_KEY_SIZE);
    mlkem_keypair_free(pair);
    memset(piece, filler, sizeof(piece));
    while (at < offer_size(world)) {
        size_t left = offer_size(world) - at;

        put_piece(h, at, piece, left < sizeof(piece) ? left : sizeof(piece));
        at += left < sizeof(piece) ? left : sizeof(piece);
        say_from(h, 60000);
    }
    if (wire_written(&h->peer.w) > 0)
        say(h);
    while (!h->peer.is_deaf && !h->is_over)
        hear(h, 1); /* the dest has switched */
    put_switch(h, 1);
    say(h);
    send_bytes(h, record, sizeof(record));
    must_end(h);
    hostile_end(h);
}

static void offer_of_zeros(const struct world *world)
{
    offer_of(world, 0);
}

static void offer_of_ones(const struct world *world)
{
    offer_of(world, 0xff);
}

/* Begun in one session after the other, thousands of frames of them. */
static void offers_begun(const struct world *world)
{
    for (unsigned i = 0; i < 8; i++) {
        struct hostile *h = hostile_ready(world);

        offer(h, 1000 + 64000 * (size_t)i, 1000);
        if (i % 4 == 0)
            must_live(h);
        hostile_end(h);
    }
}

/* As many tunnels as it likes, in each an exchange that is all but done, and stays so. */
static void offers_kept(const struct world *world)
{
    struct hostile *all[256];
    size_t n = world->count < 256 ? (size_t)world->count : 256;

    for (size_t i = 0; i < n; i++) {
        all[i] = hostile_ready(world);
        for (size_t at = 0; at < offer_size(world) - 1;) {
            size_t left = offer_size(world) - 1 - at;
            size_t len = left < 60000 ? left : 60000;

            put_exchange(all[i], 1, at, len); /* a key or not: it is not read before its end */
            say(all[i]);
            at += len;
        }
    }
    for (size_t i = 0; i < n; i++) {
        hear(all[i], 0);
        if (!all[i]->is_over)
            must_live(all[i]);
    }
    for (size_t i = 0; i < n; i++)
        hostile_end(all[i]);
}

const struct attack attacks_by_offer[] = {
    {"offer_that_is_right", offer_that_is_right},
    {"offer_byte_by_byte", offer_byte_by_byte},
    {"offer_that_stops", offer_that_stops},
    {"offer_too_long", offer_too_long},
    {"offer_with_a_gap", offer_with_a_gap},
    {"offer_said_again", offer_said_again},
    {"offer_of_another_generation", offer_of_another_generation},
    {"offer_twice", offer_twice},
    {"offer_of_the_last_generation", offer_of_the_last_generation},
    {"switch_before_the_answer", switch_before_the_answer},
    {"offer_of_zeros", offer_of_zeros},
    {"offer_of_ones", offer_of_ones},
    {"offers_begun", offers_begun},
    {"offers_kept", offers_kept},
    {NULL, NULL},
};

/* -- of a dest -- */

/* The source begins an exchange once half of this has passed. */
#define LIFETIME_MS 10000

static struct hostile *hurried(const struct world *world)
{
    struct hostile *h = hostile_begin(world, world->tls, NULL);
    struct frame f = {.type = FRAME_SETTINGS};

    f.settings.initial_window = STREAM_WINDOW_INITIAL;
    f.settings.max_streams = 1000;
    f.settings.key_lifetime_ms = LIFETIME_MS;
    put(h, &f);
    say(h);
    return h;
}

/* The whole offer is there; what the peer's rotation would say to it is not said. */
static struct hostile *offered(const struct world *world)
{
    struct hostile *h = hurried(world);
    uint64_t until = now_ms() + patience_ms;

    while (h->peer.rotation.state != ROTATION_ANSWERING && !h->is_over && now_ms() < until)
        hear(h, 5);
    demand(h->peer.rotation.state == ROTATION_ANSWERING, "the source does not make an offer");
    return h;
}

static void end_with(struct hostile *h)
{
    say(h);
    must_end(h);
    hostile_end(h);
}

static void answer_to_none(const struct world *world)
{
    struct hostile *h = hurried(world);

    must_live(h);
    put_exchange(h, 1, 0, 100);
    end_with(h);
}

static void answer_too_long(const struct world *world)
{
    struct hostile *h = offered(world);

    put_exchange(h, 1, 0, answer_size(world) + 1);
    end_with(h);
}

static void answer_with_a_gap(const struct world *world)
{
    struct hostile *h = offered(world);

    put_exchange(h, 1, 0, 100);
    put_exchange(h, 1, 101, 100);
    end_with(h);
}

static void answer_of_another_generation(const struct world *world)
{
    struct hostile *h = offered(world);

    put_exchange(h, 2, 0, 100);
    end_with(h);
}

static void answer_twice(const struct world *world)
{
    struct hostile *h = offered(world);

    put_exchange(h, 1, 0, answer_size(world));
    put_exchange(h, 1, 0, 100);
    end_with(h);
}

static void switch_without_answer(const struct world *world)
{
    struct hostile *h = offered(world);

    put_exchange(h, 1, 0, answer_size(world) - 1);
    put_switch(h, 1);
    end_with(h);
}

/* Implicit rejection, twice: the source's keys are others, and the first record under ours fails.
 */
static void answer_of_garbage(const struct world *world)
{
    struct hostile *h = offered(world);

    put_exchange(h, 1, 0, answer_size(world));
    put_switch(h, 1);
    say(h);
    put_ping(h, 1);
    end_with(h);
}

/* All but its last byte: the source makes a session beside this one, and lets it go. */
static void answer_that_never_ends(const struct world *world)
{
    struct hostile *h = offered(world);
    struct pollfd arrival = {.fd = world->listener, .events = POLLIN};
    uint64_t until = now_ms() + patience_ms;

    put_exchange(h, 1, 0, answer_size(world) - 1);
    say(h);
    while (!h->is_over && poll(&arrival, 1, 0) == 0 && now_ms() < until)
        hear(h, 10);
    demand(!h->is_over && poll(&arrival, 1, 0) == 1, "the source does not make another session");
    must_end(h);
    hostile_end(h);
}

const struct attack attacks_by_answer_in_session[] = {
    {"answer_to_none", answer_to_none},
    {"answer_too_long", answer_too_long},
    {"answer_with_a_gap", answer_with_a_gap},
    {"answer_of_another_generation", answer_of_another_generation},
    {"answer_twice", answer_twice},
    {"switch_without_answer", switch_without_answer},
    {"answer_of_garbage", answer_of_garbage},
    {"answer_that_never_ends", answer_that_never_ends},
    {NULL, NULL},
};
