/*
 * Days of a tunnel on a fake clock: connections and datagrams come and go, sessions are refreshed
 * every hour, lost every few, keys are exchanged in between. Whatever is kept for longer than it is
 * needed shows as memory that is more at the end than after the first tenth.
 *
 *   soak DAYS
 */
#include "engine_pair.h"

#include <malloc.h>
#include <stdio.h>

#include "random.h"

#define SECOND_US    ((uint64_t)1000000)
#define STEP_S       ((uint64_t)10)
#define STEPS_A_DAY  (86400 / STEP_S)
#define REFRESH_S    ((uint64_t)3600)
#define LOSS_S       ((uint64_t)3 * 3600)
#define ROTATION_S   ((uint64_t)1200)
#define AT_ONCE      8
#define BYTES_MAX    ((size_t)20000)
#define DATAGRAM_MAX ((size_t)1400)

/* What malloc keeps to itself, and tables that have found their size. */
#define GROWTH_MAX ((size_t)16 * 1024)

static unsigned days;

struct soak {
    struct pair pair;
    struct rng rng;
    uint8_t number; /* of the session */
    uint64_t streams;
    uint64_t datagrams;
    struct stream_owner clients[AT_ONCE];
    struct stream_owner targets[AT_ONCE];
    struct flow_owner asking[AT_ONCE];
    struct flow_owner asked[AT_ONCE];
};

/* The next one: the tunnel's streams go on over it. */
static void next_session(struct soak *s)
{
    pair_start(&s->pair, SESSION_RESUMED, ++s->number);
}

/* Made beside the old one, which is closed when it has nothing to do any more. */
static void refresh(struct soak *s)
{
    struct session *source = s->pair.source.session;
    struct session *dest = s->pair.dest.session;

    next_session(s);
    session_close(source);
    session_close(dest);
}

static void lose(struct soak *s)
{
    pair_lose_session(&s->pair);
    s->pair.now += SECOND_US;
    next_session(s);
}

static void begin(struct soak *s, unsigned count)
{
    memset(s->clients, 0, sizeof(s->clients));
    memset(s->targets, 0, sizeof(s->targets));
    memset(s->asking, 0, sizeof(s->asking));
    memset(s->asked, 0, sizeof(s->asked));
    for (unsigned i = 0; i < count; i++) {
        pair_open(&s->pair, &s->clients[i], &s->targets[i]);
        (void)pair_send(&s->clients[i], 1 + (size_t)rng_below(&s->rng, BYTES_MAX), (uint8_t)i);
        /* Each is told apart by when it is opened. */
        pair_swap(&s->pair);
        pair_open_flow(&s->pair, &s->asking[i], &s->asked[i]);
        flow_send(s->asking[i].flow, s->clients[i].data, rng_below(&s->rng, DATAGRAM_MAX));
        pair_swap(&s->pair);
    }
}

static void end(struct soak *s, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bool is_reset = rng_once_in(&s->rng, 4);

        (void)pair_send(&s->targets[i], 1 + (size_t)rng_below(&s->rng, BYTES_MAX), (uint8_t)i);
        if (is_reset) {
            stream_reset(s->clients[i].stream, WIRE_RESET, STREAM_RESET_NOW);
        } else {
            stream_send_finish(s->clients[i].stream);
            stream_send_finish(s->targets[i].stream);
        }
        pair_settle(&s->pair);
        if (!is_reset)
            assert_int_equal(s->clients[i].finishes, 1);
        pair_release(&s->clients[i]);
        pair_release(&s->targets[i]);
        assert_int_equal(s->asked[i].datagrams, 1);
        flow_close(s->asking[i].flow, WIRE_NO_ERROR);
        s->datagrams += s->asked[i].datagrams;
    }
    pair_settle(&s->pair);
    s->streams += count;
}

static void check_nothing_is_held(const struct end *e)
{
    assert_int_equal(end_streams(e), 0);
    assert_int_equal(e->hold.used, 0);
    assert_int_equal(pool_in_use(e->pool), 0);
}

static void days_pass(void **state)
{
    static struct soak s;
    uint64_t steps = days * STEPS_A_DAY;
    size_t after_a_tenth = 0;
    size_t now = 0;

    (void)state;
    s.rng.state = 1;
    s.number = 1;
    pair_init(&s.pair, PAIR_MEMORY, 100);
    for (uint64_t step = 1; step <= steps; step++) {
        uint64_t second = step * STEP_S;
        unsigned count = (unsigned)rng_below(&s.rng, AT_ONCE);

        s.pair.now += STEP_S * SECOND_US;
        pair_settle(&s.pair);
        begin(&s, count);
        if (second % ROTATION_S == 0)
            assert_int_equal(session_rotate(s.pair.source.session, NULL), ERR_OK);
        if (second % LOSS_S == 0)
            lose(&s);
        else if (second % REFRESH_S == 0)
            refresh(&s);
        end(&s, count);
        check_nothing_is_held(&s.pair.source);
        check_nothing_is_held(&s.pair.dest);
        now = mallinfo2().uordblks;
        if (step == steps / 10)
            after_a_tenth = now;
    }
    printf("%u days: %llu streams, %llu datagrams; %zu bytes after a tenth, %zu at the end\n", days,
           (unsigned long long)s.streams, (unsigned long long)s.datagrams, after_a_tenth, now);
    assert_true(now <= after_a_tenth + GROWTH_MAX);
    pair_lose_session(&s.pair);
    pair_fini(&s.pair);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(days_pass)};

    days = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    if (days == 0) {
        fputs("usage: soak DAYS\n", stderr);
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
