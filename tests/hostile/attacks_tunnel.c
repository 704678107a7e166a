/* What a source may try with its tunnels, with those of others, and behind its certificate. */
#include "hostile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"
#include "tunnel/handshake_message.h"

/* -- resume -- */

/* What has been sent on stream 0, and come back. */
#define TALK 100

/* A tunnel with a stream that has carried something, and a session that goes on with it. */
static struct hostile *resumed(const struct world *world, struct hostile **first, uint64_t acked)
{
    struct hostile *a = hostile_ready(world);
    struct hostile *b;

    put_open(a, 0, world->echo, 4096);
    put_data(a, FRAME_STREAM_DATA, 0, 0, TALK);
    say(a);
    hear_until(a, &a->data_bytes, TALK);
    put_credit(a, 0, acked, 4096);
    say(a);
    must_live(a);
    b = hostile_begin(world, world->tls, a);
    demand(b->is_resumed, "the dest does not go on with the tunnel");
    put_settings(b, STREAM_WINDOW_INITIAL, 1000, 2);
    b->next_id = 1;
    *first = a;
    return b;
}

static const struct resume_entry truth = {
    .id = 0, .received = TALK, .limit = 4096, .is_accepted = true};

static void end_both(struct hostile *a, struct hostile *b)
{
    say(b);
    must_end(b);
    hostile_end(b);
    hostile_end(a);
}

static void resume_on_fresh(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_resume(h, 0, true, NULL, 0);
    say(h);
    must_end(h);
    hostile_end(h);
}

static void resume_of_more_than_was_sent(const struct world *world)
{
    struct resume_entry lie = truth;
    struct hostile *a;
    struct hostile *b = resumed(world, &a, TALK);

    lie.received = TALK + 1;
    put_resume(b, 1, true, &lie, 1);
    end_both(a, b);
}

static void resume_of_less_than_was_acknowledged(const struct world *world)
{
    struct resume_entry lie = truth;
    struct hostile *a;
    struct hostile *b = resumed(world, &a, TALK);

    lie.received = TALK - 1;
    put_resume(b, 1, true, &lie, 1);
    end_both(a, b);
}

static void resume_of_a_stream_twice(const struct world *world)
{
    const struct resume_entry twice[] = {truth, truth};
    struct hostile *a;
    struct hostile *b = resumed(world, &a, TALK);

    put_resume(b, 1, true, twice, 2);
    end_both(a, b);
}

static void resume_with_fewer_streams(const struct world *world)
{
    struct hostile *a;
    struct hostile *b = resumed(world, &a, TALK);

    put_resume(b, 0, true, &truth, 1);
    end_both(a, b);
}

static void resume_again(const struct world *world)
{
    struct hostile *a;
    struct hostile *b = resumed(world, &a, TALK);

    put_resume(b, 1, true, &truth, 1);
    put_resume(b, 1, true, &truth, 1);
    end_both(a, b);
}

static void stream_before_resume(const struct world *world)
{
    struct hostile *a;
    struct hostile *b = resumed(world, &a, TALK);

    put_data(b, FRAME_STREAM_DATA, 0, TALK, 1);
    end_both(a, b);
}

/* Streams that never were; and what it had not acknowledged comes once more. */
static void resume_of_streams_unknown(const struct world *world)
{
    struct resume_entry entries[32];
    struct hostile *a;
    struct hostile *b = resumed(world, &a, 0);

    for (uint64_t i = 0; i < 32; i++)
        entries[i] = (struct resume_entry){.id = i * 1000, .limit = WIRE_VARINT_MAX};
    put_resume(b, 1, true, entries, 32);
    say(b);
    hear_until(b, &b->data_bytes, TALK);
    must_live(b);
    put_reset(b, 0, TALK);
    must_serve(b);
    hostile_end(b);
    hostile_end(a);
}

static void resume_without_end(const struct world *world)
{
    struct hostile *a;
    struct hostile *b = resumed(world, &a, TALK);

    for (unsigned i = 0; i < 100000; i++) {
        struct resume_entry other = {.id = WIRE_VARINT_MAX - i};

        put_resume(b, 1, false, &other, 1);
        say_from(b, 60000);
    }
    must_live(b);
    put_resume(b, 1, true, &truth, 1);
    say(b);
    put_reset(b, 0, TALK);
    must_serve(b);
    hostile_end(b);
    hostile_end(a);
}

/* -- sessions and tunnels -- */

static void session_of_an_old_number(const struct world *world)
{
    struct hostile *a = hostile_ready(world);
    struct hostile *b = hostile_begin(world, world->tls, a);

    put_settings(b, 1000, 10, 1);
    say(b);
    must_end(b);
    must_serve(a);
    hostile_end(b);
    hostile_end(a);
}

/* The tunnel's first session proves its keys last, and with a higher number. */
static void session_fresh_behind_resumed(const struct world *world)
{
    struct hostile *a = hostile_begin(world, world->tls, NULL);
    struct hostile *b = hostile_begin(world, world->tls, a);

    put_settings(b, 1000, 10, 3);
    put_resume(b, 0, true, NULL, 0);
    say(b);
    hear_until(b, &b->frames[FRAME_RESUME], 1);
    put_open(b, 0, world->echo, 4096);
    put_data(b, FRAME_STREAM_DATA, 0, 0, TALK);
    say(b);
    hear_until(b, &b->data_bytes, TALK);
    put_settings(a, 1000, 10, 5);
    say(a);
    must_end(b);
    a->next_id = 1;
    must_serve(a);
    hostile_end(a);
    hostile_end(b);
}

static void sessions_beyond(const struct world *world)
{
    struct hostile *all[TUNNEL_SESSIONS_MAX + 4] = {hostile_ready(world)};

    for (size_t i = 1; i < sizeof(all) / sizeof(all[0]); i++) {
        all[i] = hostile_begin(world, world->tls, all[0]);
        if (i >= TUNNEL_SESSIONS_MAX)
            must_end(all[i]);
    }
    must_serve(all[0]);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        hostile_end(all[i]);
}

/* One source takes all it gets, and leaves room for others. */
static void tunnels_beyond(const struct world *world)
{
    struct hostile *all[4096];
    struct hostile *other;
    size_t n = 0;
    enum err e;

    do {
        demand(n < world->count, "%zu tunnels of one source, and no end", n);
        e = hostile_try(&all[n], world, world->tls, NULL);
        if (e == ERR_OK) {
            put_settings(all[n], 1000, 10, 1);
            say(all[n]);
            while (all[n]->frames[FRAME_SETTINGS] == 0 && !all[n]->is_over)
                hear(all[n], 1);
            for (size_t i = 0; i < n; i++)
                hear(all[i], 0); /* on a slow machine the first would be taken for dead */
            n++;
        }
    } while (e == ERR_OK && !all[n - 1]->is_over);
    must_live(all[0]);
    other = hostile_begin(world, world->other, NULL);
    put_settings(other, 1000, 10, 1);
    say(other);
    must_serve(other);
    hostile_end(other);
    for (size_t i = 0; i < n; i++)
        hostile_end(all[i]);
}

/* It knows the number and even the secret of another source's tunnel. */
static void tunnel_of_another(const struct world *world)
{
    struct hostile *victim = hostile_begin(world, world->other, NULL);
    struct hostile *h;

    put_settings(victim, 1000, 10, 1);
    say(victim);
    must_serve(victim);
    h = hostile_begin(world, world->tls, victim);
    demand(!h->is_resumed, "another's tunnel is gone on with");
    put_settings(h, 1000, 10, 100);
    say(h);
    must_serve(h);
    must_serve(victim);
    hostile_end(h);
    must_serve(victim);
    hostile_end(victim);
}

static void tunnel_without_its_secret(const struct world *world)
{
    struct hostile *a = hostile_ready(world);
    struct hostile of = {.next_id = 0};
    struct hostile *h;

    memcpy(of.tunnel_id, a->tunnel_id, sizeof(of.tunnel_id));
    h = hostile_begin(world, world->tls, &of);
    demand(!h->is_resumed, "a wrong proof is taken");
    put_settings(h, 1000, 10, 100);
    say(h);
    must_serve(h);
    must_serve(a);
    hostile_end(h);
    hostile_end(a);
}

/* Many tunnels, each with a stream that is sent more and more, of which nothing is acknowledged. */
static void memory_of_many_tunnels(const struct world *world)
{
    struct hostile *all[40];
    uint64_t until;

    for (size_t i = 0; i < 40; i++) {
        all[i] = hostile_ready(world);
        put_open(all[i], 0, world->spring, WIRE_VARINT_MAX);
        say(all[i]);
    }
    for (until = now_ms() + world->count; now_ms() < until;) {
        for (size_t i = 0; i < 40; i++)
            hear(all[i], 0);
    }
    for (size_t i = 0; i < 40; i++) {
        demand(!all[i]->is_over, "a session ended too early");
        hostile_end(all[i]);
    }
}

/* Each begins a record that never comes. */
static void records_unfinished(const struct world *world)
{
    const uint8_t begun[] = {0x75, 0, 1, 0, 16};
    static const uint8_t much[RECORD_PLAINTEXT_MAX];
    struct hostile *all[40];

    for (size_t i = 0; i < 40; i++) {
        all[i] = hostile_ready(world);
        send_bytes(all[i], begun, sizeof(begun));
        send_bytes(all[i], much, sizeof(much) - 1);
    }
    for (size_t i = 0; i < 40; i++) {
        hear(all[i], 0);
        demand(!all[i]->is_over, "a session ended too early");
        hostile_end(all[i]);
    }
}

/* -- behind the certificate -- */

static void handshake_messages(const struct world *world)
{
    static uint8_t m[HANDSHAKE_OFFER_MAX + 100];
    static const struct handshake_header headers[] = {{HANDSHAKE_OFFER, 0},
                                                      {HANDSHAKE_OFFER, 10},
                                                      {HANDSHAKE_OFFER, HANDSHAKE_OFFER_MAX + 1},
                                                      {HANDSHAKE_OFFER, 0xffffff},
                                                      {HANDSHAKE_KEM_KEY, 524160},
                                                      {HANDSHAKE_ANSWER, 54},
                                                      {0, 0},
                                                      {5, 10},
                                                      {0xff, 0xffffff},
                                                      {HANDSHAKE_ABORT, 3}};

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        handshake_header_encode(m, headers[i]);
        inside_must_refuse(
            world, m, HANDSHAKE_HEADER_SIZE + (headers[i].length > 100 ? 100 : headers[i].length));
    }
    inside_must_refuse(world, m, inside_make_offer(m, 2, KEM_MLKEM768, 0, 0));
    inside_must_refuse(world, m, inside_make_offer(m, 1, KEM_HYBRID, 0, 0));
    inside_must_refuse(world, m, inside_make_offer(m, 1, 0xff, 0, 0));
    inside_must_refuse(world, m, inside_make_offer(m, 1, KEM_MLKEM768, 0xfe, 0));
    inside_must_refuse(world, m,
                       inside_make_offer(m, 1, KEM_MLKEM768, 0, 3)); /* half an attribute */
    inside_must_refuse(world, m,
                       inside_make_offer(m, 1, KEM_MLKEM768, 0, 8)); /* the same one twice */
}

/* More connections than one address may have, each with a certificate, and then nothing. */
static void handshakes_that_stop(const struct world *world)
{
    struct inside all[40];

    for (size_t i = 0; i < 40; i++)
        all[i] = inside_open(world);
    usleep((useconds_t)(world->count * 1000));
    for (size_t i = 0; i < 40; i++)
        inside_close(&all[i]);
}

/* -- anything -- */

const struct attack attacks_on_tunnel[] = {
    {"resume_on_fresh", resume_on_fresh},
    {"resume_of_more_than_was_sent", resume_of_more_than_was_sent},
    {"resume_of_less_than_was_acknowledged", resume_of_less_than_was_acknowledged},
    {"resume_of_a_stream_twice", resume_of_a_stream_twice},
    {"resume_with_fewer_streams", resume_with_fewer_streams},
    {"resume_again", resume_again},
    {"resume_of_streams_unknown", resume_of_streams_unknown},
    {"resume_without_end", resume_without_end},
    {"stream_before_resume", stream_before_resume},
    {"session_of_an_old_number", session_of_an_old_number},
    {"session_fresh_behind_resumed", session_fresh_behind_resumed},
    {"sessions_beyond", sessions_beyond},
    {"tunnels_beyond", tunnels_beyond},
    {"tunnel_of_another", tunnel_of_another},
    {"tunnel_without_its_secret", tunnel_without_its_secret},
    {"memory_of_many_tunnels", memory_of_many_tunnels},
    {"records_unfinished", records_unfinished},
    {"handshake_messages", handshake_messages},
    {"handshakes_that_stop", handshakes_that_stop},
    {NULL, NULL},
};
