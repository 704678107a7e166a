#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/watch.h"

struct probe {
    struct watch watch;
    unsigned events; /* of all calls */
    int calls;
    int again;            /* calls to ask for */
    size_t spends;        /* bytes in each call */
    int order;            /* of its last call among all calls */
    struct probe *victim; /* closed by the next call */
};

static void on_ready(struct watch *w, unsigned events)
{
    struct probe *p = list_entry(w, struct probe, watch);

    static int calls;

    p->calls++;
    p->order = ++calls;
    p->events |= events;
    watch_spend(w, p->spends);
    if (p->again > 0) {
        p->again--;
        watch_again(w, WATCH_READ);
    }
    if (p->victim != NULL) {
        watch_close(&p->victim->watch);
        p->victim = NULL;
    }
}

struct stage {
    uv_loop_t loop;
    struct watch_set *set;
    int pair[2];
    struct probe probe;
    uv_poll_t *deep; /* of a test; closed at the end of its run */
};

static void run(struct stage *s)
{
    for (int i = 0; i < 5; i++)
        uv_run(&s->loop, UV_RUN_NOWAIT);
}

static void forget(struct probe *p)
{
    p->calls = 0;
    p->events = 0;
}

static void open_pair(struct stage *s, struct probe *p, int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    watch_init(&p->watch, on_ready);
    assert_int_equal(watch_open(&p->watch, s->set, pair[0]), ERR_OK);
}

static struct stage *stage_start(void)
{
    static struct stage s;

    memset(&s, 0, sizeof(s));
    assert_int_equal(uv_loop_init(&s.loop), 0);
    assert_int_equal(watch_set_new(&s.set, &s.loop), ERR_OK);
    open_pair(&s, &s.probe, s.pair);
    return &s;
}

static void stage_stop(struct stage *s)
{
    if (s->probe.watch.fd >= 0)
        watch_close_fd(&s->probe.watch);
    close(s->pair[1]);
    watch_set_close(s->set);
    assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void tells_each_edge_once(void **state)
{
    struct stage *s = stage_start();
    char byte;

    (void)state;
    run(s);
    assert_int_equal(s->probe.calls, 1);
    assert_int_equal(s->probe.events, WATCH_WRITE);
    forget(&s->probe);
    run(s);
    assert_int_equal(s->probe.calls, 0);
    assert_int_equal(write(s->pair[1], "x", 1), 1);
    run(s);
    assert_int_equal(s->probe.calls, 1);
    assert_true(s->probe.events & WATCH_READ);
    /* Unread, and yet silent until more comes. */
    forget(&s->probe);
    run(s);
    assert_int_equal(s->probe.calls, 0);
    assert_int_equal(read(s->pair[0], &byte, 1), 1);
    assert_int_equal(write(s->pair[1], "y", 1), 1);
    run(s);
    assert_int_equal(s->probe.calls, 1);
    stage_stop(s);
}

static void who_moves_much_gives_way(void **state)
{
    struct stage *s = stage_start();
    struct probe light = {.calls = 0};
    int pair[2];

    (void)state;
    open_pair(s, &light, pair);
    s->probe.spends = WATCH_HEAVY_BYTES;
    run(s);
    for (int round = 0; round < 2; round++) {
        forget(&s->probe);
        forget(&light);
        assert_int_equal(write(s->pair[1], "x", 1), 1);
        assert_int_equal(write(pair[1], "y", 1), 1);
        run(s);
        assert_int_equal(s->probe.calls, 1);
        assert_true(s->probe.events & WATCH_READ);
        assert_int_equal(light.calls, 1);
        /* It was ready first; once it has moved little it is called first again. */
        assert_true((s->probe.order > light.order) == (round == 0));
        s->probe.spends = 1;
        assert_int_equal(write(s->pair[1], "x", 1), 1);
        run(s);
    }
    watch_close_fd(&light.watch);
    close(pair[1]);
    stage_stop(s);
}

static void a_turn_is_over_when_much_has_moved(void **state)
{
    enum { PROBES = 4 };
    struct stage *s = stage_start();
    struct probe probes[PROBES];
    int pairs[PROBES][2];

    (void)state;
    memset(probes, 0, sizeof(probes));
    for (int i = 0; i < PROBES; i++)
        open_pair(s, &probes[i], pairs[i]);
    run(s);
    for (int i = 0; i < PROBES; i++) {
        forget(&probes[i]);
        probes[i].spends = WATCH_TURN_BYTES;
        watch_again(&probes[i].watch, WATCH_READ);
    }
    /* One a turn, and each gets its turn before the first has another. */
    for (int turn = 1; turn <= PROBES; turn++) {
        int called = 0;

        uv_run(&s->loop, UV_RUN_NOWAIT);
        for (int i = 0; i < PROBES; i++)
            called += probes[i].calls;
        assert_int_equal(called, turn);
        watch_again(&probes[0].watch, WATCH_READ);
    }
    for (int i = 0; i < PROBES; i++)
        assert_int_equal(probes[i].calls, 1);
    for (int i = 0; i < PROBES; i++) {
        watch_close_fd(&probes[i].watch);
        close(pairs[i][1]);
    }
    stage_stop(s);
}

static void what_others_move_keeps_nobody_waiting(void **state)
{
    enum { PROBES = 1 + WATCH_TURN_BYTES / (WATCH_HEAVY_BYTES - 1) };
    struct stage *s = stage_start();
    struct probe probes[PROBES];
    int pairs[PROBES][2];

    (void)state;
    memset(probes, 0, sizeof(probes));
    for (int i = 0; i < PROBES; i++) {
        open_pair(s, &probes[i], pairs[i]);
        probes[i].spends = WATCH_HEAVY_BYTES - 1;
    }
    run(s);
    forget(&s->probe);
    watch_again(&s->probe.watch, WATCH_READ);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < PROBES; i++)
            assert_int_equal(write(pairs[i][1], "x", 1), 1);
        uv_run(&s->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(s->probe.calls, 1);
    for (int i = 0; i < PROBES; i++) {
        watch_close_fd(&probes[i].watch);
        close(pairs[i][1]);
    }
    stage_stop(s);
}

static void tells_of_a_hang_up(void **state)
{
    struct stage *s = stage_start();

    (void)state;
    run(s);
    forget(&s->probe);
    shutdown(s->pair[1], SHUT_WR);
    run(s);
    assert_true(s->probe.events & WATCH_HANGUP);
    assert_true(s->probe.events & WATCH_READ);
    stage_stop(s);
}

static void calls_again_as_often_as_asked(void **state)
{
    struct stage *s = stage_start();

    (void)state;
    run(s);
    forget(&s->probe);
    s->probe.again = 3;
    watch_again(&s->probe.watch, WATCH_READ);
    watch_again(&s->probe.watch, WATCH_WRITE);
    /* The loop does not sleep while somebody waits. */
    for (int i = 0; i < 10 && s->probe.calls < 4; i++)
        uv_run(&s->loop, UV_RUN_ONCE);
    assert_int_equal(s->probe.calls, 4);
    assert_int_equal(s->probe.events, WATCH_READ | WATCH_WRITE);
    run(s);
    assert_int_equal(s->probe.calls, 4);
    stage_stop(s);
}

static void closed_is_silent(void **state)
{
    struct stage *s = stage_start();

    (void)state;
    watch_again(&s->probe.watch, WATCH_READ);
    watch_close(&s->probe.watch);
    watch_close(&s->probe.watch);
    assert_int_equal(write(s->pair[1], "x", 1), 1);
    run(s);
    assert_int_equal(s->probe.calls, 0);
    /* And can be opened again. */
    assert_int_equal(watch_open(&s->probe.watch, s->set, s->pair[0]), ERR_OK);
    run(s);
    assert_int_equal(s->probe.calls, 1);
    stage_stop(s);
}

/* Two are ready in the same batch, and whoever comes first closes the other. */
static void closed_within_the_batch_is_silent(void **state)
{
    struct stage *s = stage_start();
    struct probe other = {0};
    int pair[2];

    (void)state;
    open_pair(s, &other, pair);
    run(s);
    forget(&s->probe);
    forget(&other);
    s->probe.victim = &other;
    other.victim = &s->probe;
    assert_int_equal(write(s->pair[1], "x", 1), 1);
    assert_int_equal(write(pair[1], "x", 1), 1);
    run(s);
    assert_int_equal(s->probe.calls + other.calls, 1);
    if (other.watch.fd >= 0)
        watch_close_fd(&other.watch);
    else
        close(pair[0]);
    if (s->probe.watch.fd < 0)
        close(s->pair[0]);
    close(pair[1]);
    stage_stop(s);
}

static void closed_while_waiting_to_be_called_again(void **state)
{
    struct stage *s = stage_start();
    struct probe other = {0};
    int pair[2];

    (void)state;
    open_pair(s, &other, pair);
    run(s);
    forget(&s->probe);
    forget(&other);
    s->probe.victim = &other;
    watch_again(&s->probe.watch, WATCH_READ);
    watch_again(&other.watch, WATCH_READ);
    run(s);
    assert_int_equal(s->probe.calls, 1);
    assert_int_equal(other.calls, 0);
    close(pair[0]);
    close(pair[1]);
    stage_stop(s);
}

static void more_than_one_batch(void **state)
{
    enum { COUNT = 300 };
    struct stage *s = stage_start();
    static struct probe probes[COUNT];
    static int pairs[COUNT][2];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        memset(&probes[i], 0, sizeof(probes[i]));
        open_pair(s, &probes[i], pairs[i]);
    }
    run(s);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(probes[i].calls, 1);
        watch_close_fd(&probes[i].watch);
        close(pairs[i][1]);
    }
    stage_stop(s);
}

static void a_bad_descriptor_is_an_error(void **state)
{
    struct stage *s = stage_start();
    struct probe p = {0};

    (void)state;
    watch_init(&p.watch, on_ready);
    assert_int_not_equal(watch_open(&p.watch, s->set, 1 << 20), ERR_OK);
    watch_close(&p.watch);
    stage_stop(s);
}

/* -- watch_set_run -- */

/* A writes to B through the set, B wakes libuv, which starts a timer, which lets a poll come. */
struct run {
    struct watch_turn turn;
    struct stage *stage;
    struct probe client;
    int pair[2];
    uv_async_t async;
    uv_timer_t timer;
    uv_poll_t poll;
    int begins;
    int turns;
    int busy_turns; /* for which the loop is asked not to sleep */
    bool was_async;
    bool was_timer;
    bool was_poll;
};

static void on_run_poll(uv_poll_t *poll, int status, int events)
{
    struct run *r = poll->data;

    (void)events;
    assert_int_equal(status, 0);
    r->was_poll = true;
    watch_close_fd(&r->client.watch);
    watch_close_fd(&r->stage->probe.watch);
    watch_set_close(r->stage->set);
    uv_close((uv_handle_t *)&r->poll, NULL);
    uv_close((uv_handle_t *)&r->timer, NULL);
    uv_close((uv_handle_t *)&r->async, NULL);
    if (r->stage->deep != NULL)
        uv_close((uv_handle_t *)r->stage->deep, NULL);
}

static void on_run_timer(uv_timer_t *timer)
{
    struct run *r = timer->data;

    r->was_timer = true;
    /* New in libuv's set while the loop runs, and ready at once. */
    uv_poll_init(&r->stage->loop, &r->poll, r->stage->pair[1]);
    r->poll.data = r;
    uv_poll_start(&r->poll, UV_WRITABLE, on_run_poll);
}

static void on_run_async(uv_async_t *async)
{
    struct run *r = async->data;

    r->was_async = true;
    uv_timer_start(&r->timer, on_run_timer, 2, 0);
}

static void on_run_ready(struct watch *w, unsigned events)
{
    struct run *r = list_entry(list_entry(w, struct probe, watch), struct run, client);

    r->client.calls++;
    if (events & WATCH_READ && r->client.again-- > 0)
        watch_again(w, WATCH_READ);
    else if (events & WATCH_READ)
        uv_async_send(&r->async);
}

static void never(uv_poll_t *poll, int status, int events)
{
    (void)poll;
    (void)status;
    (void)events;
    fail();
}

static void on_run_begin(struct watch_turn *turn)
{
    list_entry(turn, struct run, turn)->begins++;
}

static bool on_run_turn(struct watch_turn *turn)
{
    struct run *r = list_entry(turn, struct run, turn);

    r->turns++;
    if (r->turns == r->busy_turns)
        assert_int_equal(write(r->pair[1], "x", 1), 1);
    return r->turns < r->busy_turns;
}

static void run_all_kinds(struct stage *s, uint32_t busy_us)
{
    struct run r = {.stage = s,
                    .turn = {.on_begin = on_run_begin, .on_end = on_run_turn, .busy_us = busy_us},
                    .busy_turns = 5};

    open_pair(s, &r.client, r.pair);
    r.client.watch.on_ready = on_run_ready;
    r.client.again = 3;
    uv_async_init(&s->loop, &r.async, on_run_async);
    uv_timer_init(&s->loop, &r.timer);
    r.async.data = r.timer.data = &r;
    watch_set_run(s->set, &r.turn);
    assert_true(r.was_async && r.was_timer && r.was_poll);
    /* Perhaps writable, then readable, and the three that it asked for. */
    assert_in_range(r.client.calls, 4, 5);
    assert_int_equal(s->probe.calls, 1);
    /* It slept until the timer was due, and did not turn meanwhile. */
    assert_in_range(r.turns, 5, 30);
    assert_int_equal(r.begins, r.turns);
    close(r.pair[1]);
    close(s->pair[1]);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void runs_what_is_libuvs_too(void **state)
{
    (void)state;
    run_all_kinds(stage_start(), 0);
}

static void runs_all_the_same_where_it_looks_before_it_sleeps(void **state)
{
    static const uint32_t times[] = {50, 1000000}; /* it sleeps for the timer, or never */

    (void)state;
    for (size_t i = 0; i < 2; i++)
        run_all_kinds(stage_start(), times[i]);
}

/* libuv's epoll instance holds others inside each other, as deep as Linux lets it; ours may not
 * hold libuv's then. */
static void runs_where_epoll_may_not_nest(void **state)
{
    enum { DEPTH = 4 };
    struct stage *s = stage_start();
    int fds[DEPTH];
    uv_poll_t poll;

    (void)state;
    for (int i = 0; i < DEPTH; i++) {
        struct epoll_event e = {.events = EPOLLIN};

        fds[i] = epoll_create1(EPOLL_CLOEXEC);
        assert_true(fds[i] >= 0);
        if (i > 0)
            assert_int_equal(epoll_ctl(fds[i], EPOLL_CTL_ADD, fds[i - 1], &e), 0);
    }
    assert_int_equal(uv_poll_init(&s->loop, &poll, fds[DEPTH - 1]), 0);
    uv_poll_start(&poll, UV_READABLE, never);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    uv_unref((uv_handle_t *)&poll);
    s->deep = &poll;
    run_all_kinds(s, 50);
    for (int i = 0; i < DEPTH; i++)
        close(fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_each_edge_once),
        cmocka_unit_test(who_moves_much_gives_way),
        cmocka_unit_test(a_turn_is_over_when_much_has_moved),
        cmocka_unit_test(what_others_move_keeps_nobody_waiting),
        cmocka_unit_test(tells_of_a_hang_up),
        cmocka_unit_test(calls_again_as_often_as_asked),
        cmocka_unit_test(closed_is_silent),
        cmocka_unit_test(closed_within_the_batch_is_silent),
        cmocka_unit_test(closed_while_waiting_to_be_called_again),
        cmocka_unit_test(more_than_one_batch),
        cmocka_unit_test(a_bad_descriptor_is_an_error),
        cmocka_unit_test(runs_what_is_libuvs_too),
        cmocka_unit_test(runs_all_the_same_where_it_looks_before_it_sleeps),
        cmocka_unit_test(runs_where_epoll_may_not_nest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
