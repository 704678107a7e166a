/* What a source may try with streams and flows. */
#include "hostile.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BURST ((size_t)60000) /* bytes of frames for one record */

static void end_with(struct hostile *h)
{
    say(h);
    must_end(h);
    hostile_end(h);
}

/* A session with an accepted stream 0 to a service; places that lost sessions had come free. */
static struct hostile *with_stream(const struct world *world, uint16_t port)
{
    uint64_t until = now_ms() + patience_ms;

    for (;;) {
        struct hostile *h = hostile_ready(world);

        put_open(h, 0, port, 4096);
        say(h);
        while (h->frames[FRAME_STREAM_ACCEPT] + h->frames[FRAME_STREAM_RESET] == 0)
            hear(h, 1);
        if (h->frames[FRAME_STREAM_ACCEPT] > 0) {
            h->next_id = 1;
            return h;
        }
        hostile_end(h);
        demand(now_ms() < until, "no stream is accepted");
        usleep(50 * 1000);
    }
}

/* -- opening -- */

static void open_backwards(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_open(h, 5, world->echo, 0);
    put_open(h, 4, world->echo, 0);
    end_with(h);
}

static void open_twice(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_open(h, 0, world->echo, 0);
    end_with(h);
}

static void open_the_last(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_open(h, WIRE_VARINT_MAX, world->echo, 0);
    end_with(h);
}

/* More than the service takes: each one too many is refused, and the session goes on. */
static void open_beyond_the_service(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    const unsigned n = 300;

    for (unsigned i = 0; i < n; i++)
        put_open(h, h->next_id++, world->sink, 4096);
    say(h);
    while (h->frames[FRAME_STREAM_ACCEPT] + h->frames[FRAME_STREAM_RESET] < n && !h->is_over)
        hear(h, 5);
    demand(h->resets_of[WIRE_LIMIT] > 0, "no stream is refused");
    for (unsigned i = 0; i < n; i++)
        put_reset(h, i, 0);
    say(h);
    must_serve(h);
    hostile_end(h);
}

/* Never waits for an answer. */
static void open_without_end(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    h->is_not_heard = true;
    for (uint64_t i = 0; i < 100000 && !h->is_over; i++) {
        put_open(h, i, world->sink, 4096);
        say_from(h, BURST);
    }
    h->is_not_heard = false;
    must_end(h);
    hostile_end(h);
}

/* Opens and resets as fast as the dest reads. */
static void rapid_reset(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (uint64_t i = 0; i < 4000; i++) {
        put_open(h, h->next_id, world->sink, 4096);
        put_reset(h, h->next_id++, 0);
        if (i % 50 == 49) {
            say(h);
            hear_until(h, &h->frames[FRAME_STREAM_RESET], i + 1);
        }
    }
    must_serve(h);
    hostile_end(h);
}

static void rapid_reset_unread(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    h->is_not_heard = true;
    for (uint64_t i = 0; i < 100000 && !h->is_over; i++) {
        put_open(h, i, world->sink, 4096);
        put_reset(h, i, 0);
        say_from(h, BURST);
    }
    h->is_not_heard = false;
    must_end(h);
    hostile_end(h);
}

static void put_host(struct hostile *h, uint64_t id, const char *name, uint16_t port)
{
    struct frame f = {.type = FRAME_STREAM_OPEN};

    f.open.id = id;
    f.open.limit = 4096;
    f.open.target.kind = STREAM_TARGET_HOST;
    f.open.target.port = port;
    strncpy(f.open.target.name, name, STREAM_TARGET_NAME_MAX);
    put(h, &f);
}

/* Services that are none, hosts and addresses that nobody has allowed. */
static void targets_not_allowed(const struct world *world)
{
    static const char *const hosts[] = {
        "127.0.0.1",       "::1",   "::ffff:127.0.0.1", "0.0.0.0", "::",    "localhost",
        "169.254.169.254", "127.1", "2130706433",       "0x7f.1",  "[::1]", "127.0.0.1\n",
        "service-1"};
    const unsigned n = sizeof(hosts) / sizeof(hosts[0]);
    struct hostile *h = hostile_ready(world);

    for (unsigned i = 0; i < n; i++)
        put_host(h, h->next_id++, hosts[i], world->port);
    put_open(h, h->next_id++, world->port, 4096); /* the dest itself */
    put_open(h, h->next_id++, 0, 4096);
    say(h);
    hear_until(h, &h->frames[FRAME_STREAM_RESET], n + 2);
    demand(h->frames[FRAME_STREAM_ACCEPT] == 0, "a target that is not allowed was reached");
    for (unsigned i = 0; i < n + 2; i++)
        put_reset(h, i, 0);
    must_serve(h);
    hostile_end(h);
}

/* -- data and credit -- */

static void data_on_none(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_data(h, FRAME_STREAM_DATA, 1, 0, 10);
    end_with(h);
}

static void data_with_a_gap(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_data(h, FRAME_STREAM_DATA, 0, 1, 10);
    end_with(h);
}

static void data_again(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_data(h, FRAME_STREAM_DATA, 0, 0, 10);
    put_data(h, FRAME_STREAM_DATA, 0, 5, 10);
    end_with(h);
}

static void data_behind_fin(const struct world *world)
{
    struct hostile *h = with_stream(world, world->sink);

    put_data(h, FRAME_STREAM_DATA_FIN, 0, 0, 10);
    put_data(h, FRAME_STREAM_DATA, 0, 10, 10);
    end_with(h);
}

static void data_behind_reset(const struct world *world)
{
    struct hostile *h = with_stream(world, world->sink);

    put_reset(h, 0, 0);
    put_data(h, FRAME_STREAM_DATA, 0, 0, 10);
    end_with(h);
}

static void data_beyond_credit(const struct world *world)
{
    struct hostile *h = with_stream(world, world->sink);

    for (uint64_t at = 0; at < UINT64_C(64) * 1024 * 1024 && !h->is_over; at += 60000) {
        put_data(h, FRAME_STREAM_DATA, 0, at, 60000);
        say(h);
    }
    must_end(h);
    hostile_end(h);
}

/* The same on streams that are not connected yet, each within what SETTINGS has given. */
static void data_before_accept(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_open(h, 0, world->sink, 4096);
    put_data(h, FRAME_STREAM_DATA, 0, 0, STREAM_WINDOW_INITIAL);
    put_data(h, FRAME_STREAM_DATA, 0, STREAM_WINDOW_INITIAL, 1);
    end_with(h);
}

static void data_at_the_end_of_numbers(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_data(h, FRAME_STREAM_DATA, 0, WIRE_VARINT_MAX, 10);
    end_with(h);
}

/* A byte in each frame, as fast as the dest takes them; the echo comes back. */
static void data_byte_by_byte(const struct world *world)
{
    const uint64_t n = 100000;
    struct hostile *h = with_stream(world, world->echo);

    put_credit(h, 0, 0, WIRE_VARINT_MAX);
    for (uint64_t i = 0; i < n && !h->is_over; i++) {
        if (i >= STREAM_WINDOW_INITIAL && i % 4096 == 0) {
            say(h);
            hear_until(h, &h->data_bytes, i + 4096 - STREAM_WINDOW_INITIAL);
        }
        put_data(h, FRAME_STREAM_DATA, 0, i, 1);
        say_from(h, BURST);
    }
    say(h);
    hear_until(h, &h->data_bytes, n);
    put_reset(h, 0, n);
    must_serve(h);
    hostile_end(h);
}

static void credit_for_none(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_credit(h, 7, 0, 10);
    end_with(h);
}

static void credit_for_what_was_not_sent(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_credit(h, 0, 1, 10);
    end_with(h);
}

static void credit_that_shrinks(const struct world *world)
{
    struct hostile *h = with_stream(world, world->spring);

    for (uint64_t limit = 4000; limit > 0; limit--)
        put_credit(h, 0, 0, limit);
    say(h);
    hear_until(h, &h->data_bytes, STREAM_WINDOW_INITIAL);
    must_live(h);
    demand(h->data_bytes == STREAM_WINDOW_INITIAL, "more than the credit came");
    put_reset(h, 0, 0);
    must_serve(h);
    hostile_end(h);
}

/* One byte of credit after the other, to a target that has as much as anybody wants. */
static void credit_byte_by_byte(const struct world *world)
{
    struct hostile *h = with_stream(world, world->spring);

    hear_until(h, &h->data_bytes, STREAM_WINDOW_INITIAL);
    for (uint64_t limit = STREAM_WINDOW_INITIAL; limit < STREAM_WINDOW_INITIAL + 1000; limit++) {
        put_credit(h, 0, limit, limit + 1);
        say(h);
        while (h->data_bytes <= limit && !h->is_over)
            hear(h, 0);
    }
    put_reset(h, 0, 0);
    must_serve(h);
    hostile_end(h);
}

/* All the credit there is on many streams that never end, and nothing is read. */
static void never_reads(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    const uint8_t life[] = {0xff, 0};

    h->is_not_heard = true;
    h->is_unpolite = true;
    for (unsigned i = 0; i < 60; i++)
        put_open(h, h->next_id++, world->spring, WIRE_VARINT_MAX);
    say(h);
    for (uint64_t until = now_ms() + world->count; now_ms() < until && !h->is_over;) {
        put_raw(h, life, sizeof(life));
        say(h);
        usleep(20 * 1000);
    }
    hostile_end(h);
}

/* Takes everything and acknowledges nothing. */
static void never_acknowledges(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (unsigned i = 0; i < 60; i++)
        put_open(h, h->next_id++, world->spring, WIRE_VARINT_MAX);
    say(h);
    hear_until(h, &h->data_bytes, 1); /* what its lost sessions hold is its own share */
    hear(h, world->count);
    must_live(h);
    hostile_end(h);
}

/*
 * As many streams as there are places, each full of what it was promised, for a target that is
 * waited for: more than there is memory.
 */
static void memory_of_waiting_streams(const struct world *world)
{
    struct hostile *h = hostile_ready(world);
    unsigned n = 0;

    for (uint64_t until = now_ms() + world->count; now_ms() < until;) {
        for (; n < 700; n++) {
            put_open(h, h->next_id, world->away, WIRE_VARINT_MAX);
            put_data(h, FRAME_STREAM_DATA, h->next_id++, 0, (size_t)STREAM_WINDOW_INITIAL);
            say(h);
        }
        hear(h, 10);
    }
    printf("%u streams, %u reset for want of memory\n", n, (unsigned)h->resets_of[WIRE_LIMIT]);
    must_live(h);
    hostile_end(h);
}

/* -- accept and reset -- */

static void accept_by_a_source(const struct world *world)
{
    struct hostile *h = with_stream(world, world->echo);

    put_accept(h, 0, 10);
    end_with(h);
}

static void reset_twice(const struct world *world)
{
    struct hostile *h = with_stream(world, world->sink);

    put_reset(h, 0, 0);
    put_reset(h, 0, 0);
    end_with(h);
}

static void reset_of_another_size(const struct world *world)
{
    struct hostile *h = with_stream(world, world->sink);

    put_reset(h, 0, 5);
    end_with(h);
}

static void reset_of_none(const struct world *world)
{
    struct hostile *h = with_stream(world, world->sink);

    put_reset(h, 5, 0);
    end_with(h);
}

/* -- flows -- */

/* Flows beyond what the service takes, with numbers that share a place in any simple table. */
static void flows_without_end(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (uint64_t i = 0; i < 20000 && !h->is_over; i++) {
        put_flow_open(h, i << 40, world->datagrams);
        say_from(h, BURST);
    }
    say(h);
    must_live(h);
    demand(h->closes_of[WIRE_LIMIT] > 0, "no flow is refused");
    must_serve(h);
    hostile_end(h);
}

static void flows_open_and_shut(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (uint64_t i = 0; i < 3000 && !h->is_over; i++) {
        put_flow_open(h, i, world->datagrams);
        put_datagram(h, i, 10);
        put_flow_close(h, i);
        say_from(h, BURST / 10);
    }
    say(h);
    must_serve(h);
    hostile_end(h);
}

static void datagrams_of_none(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    for (uint64_t i = 0; i < 200000 && !h->is_over; i++) {
        put_datagram(h, WIRE_VARINT_MAX - i, 0);
        put_flow_close(h, i);
        say_from(h, BURST);
    }
    say(h);
    must_serve(h);
    hostile_end(h);
}

static void datagrams_without_end(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_flow_open(h, 1, world->datagrams);
    for (uint64_t i = 0; i < 50000 && !h->is_over; i++) {
        put_datagram(h, 1, i % 50 == 0 ? 50000 : i % 100);
        say_from(h, BURST / 8);
    }
    say(h);
    must_serve(h);
    hostile_end(h);
}

/* -- as much work as it can cause, for so many milliseconds -- */

static void flood(const struct world *world, void (*put_some)(struct hostile *h, uint64_t i))
{
    struct hostile *h = hostile_ready(world);
    uint64_t until = now_ms() + world->count;

    put_flow_open(h, 0, world->datagrams);
    for (uint64_t i = 1; now_ms() < until && !h->is_over; i++) {
        put_some(h, i);
        say_from(h, BURST);
    }
    say(h);
    must_serve(h);
    hostile_end(h);
}

static void put_small_datagram(struct hostile *h, uint64_t i)
{
    put_datagram(h, 0, 20 + i % 2);
}

static void flood_of_datagrams(const struct world *world)
{
    flood(world, put_small_datagram);
}

static void put_refused(struct hostile *h, uint64_t i)
{
    put_flow_open(h, i, 1);
}

static void flood_of_refusals(const struct world *world)
{
    flood(world, put_refused);
}

/* Each is over before its target has answered. */
static void put_brief(struct hostile *h, uint64_t i)
{
    put_open(h, h->next_id, h->world->sink, 4096);
    put_reset(h, h->next_id++, 0);
    if (i % 50 != 0)
        return;
    say(h);
    hear_until(h, &h->frames[FRAME_STREAM_RESET], i);
}

static void flood_of_brief_streams(const struct world *world)
{
    flood(world, put_brief);
}

/* Nothing goes through any of them. */
static void put_shut_flow(struct hostile *h, uint64_t i)
{
    put_flow_open(h, i, h->world->datagrams);
    put_flow_close(h, i);
}

static void flood_of_shut_flows(const struct world *world)
{
    flood(world, put_shut_flow);
}

/* Each is for a name whose addresses are known, and not allowed. */
static void put_forbidden(struct hostile *h, uint64_t i)
{
    put_host(h, h->next_id++, "localhost", h->world->sink);
    if (i % 50 != 0)
        return;
    say(h);
    hear_until(h, &h->frames[FRAME_STREAM_RESET], i);
    for (uint64_t id = h->next_id - 50; id < h->next_id; id++)
        put_reset(h, id, 0);
}

static void flood_of_forbidden_names(const struct world *world)
{
    flood(world, put_forbidden);
}

static void datagram_too_long(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_flow_open(h, 1, world->datagrams);
    say(h);
    put_datagram(h, 1, FLOW_DATAGRAM_MAX + 1);
    end_with(h);
}

const struct attack attacks_on_stream[] = {
    {"open_backwards", open_backwards},
    {"open_twice", open_twice},
    {"open_the_last", open_the_last},
    {"open_beyond_the_service", open_beyond_the_service},
    {"open_without_end", open_without_end},
    {"rapid_reset", rapid_reset},
    {"rapid_reset_unread", rapid_reset_unread},
    {"targets_not_allowed", targets_not_allowed},
    {"data_on_none", data_on_none},
    {"data_with_a_gap", data_with_a_gap},
    {"data_again", data_again},
    {"data_behind_fin", data_behind_fin},
    {"data_behind_reset", data_behind_reset},
    {"data_beyond_credit", data_beyond_credit},
    {"data_before_accept", data_before_accept},
    {"data_at_the_end_of_numbers", data_at_the_end_of_numbers},
    {"data_byte_by_byte", data_byte_by_byte},
    {"credit_for_none", credit_for_none},
    {"credit_for_what_was_not_sent", credit_for_what_was_not_sent},
    {"credit_that_shrinks", credit_that_shrinks},
    {"credit_byte_by_byte", credit_byte_by_byte},
    {"never_reads", never_reads},
    {"never_acknowledges", never_acknowledges},
    {"memory_of_waiting_streams", memory_of_waiting_streams},
    {"accept_by_a_source", accept_by_a_source},
    {"reset_twice", reset_twice},
    {"reset_of_another_size", reset_of_another_size},
    {"reset_of_none", reset_of_none},
    {"flows_without_end", flows_without_end},
    {"flows_open_and_shut", flows_open_and_shut},
    {"datagrams_of_none", datagrams_of_none},
    {"datagrams_without_end", datagrams_without_end},
    {"datagram_too_long", datagram_too_long},
    {"flood_of_datagrams", flood_of_datagrams},
    {"flood_of_refusals", flood_of_refusals},
    {"flood_of_brief_streams", flood_of_brief_streams},
    {"flood_of_shut_flows", flood_of_shut_flows},
    {"flood_of_forbidden_names", flood_of_forbidden_names},
    {NULL, NULL},
};
