/* What a source may try with the credit that a dest gives it: to have more than its part. */
#include "hostile.h"

#include <stdio.h>

#define TUNNELS 4
#define STREAMS 16                    /* of each tunnel */
#define FAR_MS  50                    /* what is far away gets large windows */
#define PIECE   ((uint64_t)16 * 1024) /* of data, for one frame */

/* A tunnel of which each stream sends what it may, and takes what comes back. */
struct sender {
    struct hostile *h;
    uint64_t n; /* streams */
    uint64_t sent[STREAMS];
    uint64_t acked[STREAMS];
};

static void sender_open(struct sender *s, const struct world *world, const struct tls_context *tls,
                        uint64_t n)
{
    *s = (struct sender){.h = hostile_begin(world, tls, NULL), .n = n};
    s->h->far_ms = FAR_MS;
    put_settings(s->h, STREAM_WINDOW_INITIAL, 1000, 1);
    for (uint64_t id = 0; id < n; id++)
        put_open(s->h, id, world->echo, WIRE_VARINT_MAX);
    say(s->h);
    hear_until(s->h, &s->h->frames[FRAME_STREAM_ACCEPT], n);
}

static void send_all(struct sender *s, uint64_t id)
{
    while (s->sent[id] < s->h->limits[id]) {
        uint64_t left = s->h->limits[id] - s->sent[id];
        uint64_t len = left < PIECE ? left : PIECE;

        put_data(s->h, FRAME_STREAM_DATA, id, s->sent[id], (size_t)len);
        s->sent[id] += len;
        say_from(s->h, 2 * PIECE);
    }
}

/* So that the dest holds nothing for it. */
static void acknowledge(struct sender *s, uint64_t id)
{
    if (s->acked[id] < s->h->received[id])
        put_credit(s->h, id, s->h->received[id], WIRE_VARINT_MAX);
    s->acked[id] = s->h->received[id];
}

/* Hears what there is, and answers for one of its streams. */
static void take_turn(struct sender *s, uint64_t id, bool sends)
{
    hear(s->h, 0);
    demand(!s->h->is_over, "a session ended too early");
    acknowledge(s, id);
    if (sends)
        send_all(s, id);
    say_from(s->h, 1);
}

/*
 * Each stream in turn sends for its part of the time, and stops: how much the dest lets them send
 * beyond what it has, when all of that is through.
 */
static uint64_t widen(struct sender *s, uint64_t ms)
{
    uint64_t sum = 0;

    for (uint64_t id = 0; id < s->n; id++) {
        uint64_t until = now_ms() + ms / s->n;

        while (now_ms() < until)
            take_turn(s, id, true);
        until = now_ms() + patience_ms;
        while (s->acked[id] < s->sent[id] && now_ms() < until)
            take_turn(s, id, false);
        demand(s->acked[id] == s->sent[id], "what was sent does not come back");
    }
    must_live(s->h);
    for (uint64_t id = 0; id < s->n; id++)
        sum += s->h->limits[id] - s->sent[id];
    return sum;
}

/*
 * One source has many streams for which it is given credit, and does not use it: another's stream
 * has its part nevertheless.
 */
static void credit_hoarded(const struct world *world)
{
    struct sender hoard[TUNNELS];
    struct sender other;
    uint64_t hoarded = 0;
    uint64_t alone;
    uint64_t beside;

    sender_open(&other, world, world->other, 1);
    alone = widen(&other, world->count / 4);
    hostile_end(other.h);
    for (size_t i = 0; i < TUNNELS; i++)
        sender_open(&hoard[i], world, world->tls, STREAMS);
    for (size_t i = 0; i < TUNNELS; i++)
        hoarded += widen(&hoard[i], world->count / TUNNELS);
    sender_open(&other, world, world->other, 1);
    beside = widen(&other, world->count / 4);
    printf("%llu KiB hoarded, %llu of another, %llu without it\n",
           (unsigned long long)hoarded / 1024, (unsigned long long)beside / 1024,
           (unsigned long long)alone / 1024);
    demand(beside >= 2 * STREAM_WINDOW_INITIAL, "the other has less than its part");
    hostile_end(other.h);
    for (size_t i = 0; i < TUNNELS; i++)
        hostile_end(hoard[i].h);
}

const struct attack attacks_on_credit[] = {
    {"credit_hoarded", credit_hoarded},
    {NULL, NULL},
};
