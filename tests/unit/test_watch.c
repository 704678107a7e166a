#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/watch.h"

struct probe {
    struct watch watch;
    unsigned events; /* of all calls */
    int calls;
    int again;            /* calls to ask for */
    struct probe *victim; /* closed by the next call */
};

static void on_ready(struct watch *w, unsigned events)
{
    struct probe *p = list_entry(w, struct probe, watch);

    p->calls++;
    p->events |= events;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_each_edge_once),
        cmocka_unit_test(tells_of_a_hang_up),
        cmocka_unit_test(calls_again_as_often_as_asked),
        cmocka_unit_test(closed_is_silent),
        cmocka_unit_test(closed_within_the_batch_is_silent),
        cmocka_unit_test(closed_while_waiting_to_be_called_again),
        cmocka_unit_test(more_than_one_batch),
        cmocka_unit_test(a_bad_descriptor_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
