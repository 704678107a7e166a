#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "role/worker_round.h"

#define WORKERS 3

struct crew {
    struct worker_round_owner owner;
    struct worker_owner behind;
    struct worker *workers[WORKERS];
    pthread_t caller;
    _Atomic unsigned runs;
    _Atomic unsigned seen; /* set of indices */
    unsigned bad;          /* the index that fails; WORKERS: none */
};

static struct worker *worker_at(struct worker_round_owner *owner, unsigned index)
{
    return list_entry(owner, struct crew, owner)->workers[index];
}

static enum err run(struct worker_round_owner *owner, unsigned index)
{
    struct crew *c = list_entry(owner, struct crew, owner);

    assert_false(pthread_equal(pthread_self(), c->caller));
    atomic_fetch_add(&c->runs, 1);
    atomic_fetch_or(&c->seen, 1U << index);
    return index == c->bad ? ERR_LIMIT : ERR_OK;
}

static void begin(struct crew *c)
{
    const struct worker_options options = {.memory_budget = 1024 * 1024, .owner = &c->behind};

    *c = (struct crew){.owner = {.worker_at = worker_at}, .caller = pthread_self(), .bad = WORKERS};
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(worker_new(&c->workers[i], &options), ERR_OK);
        assert_int_equal(worker_start(c->workers[i]), ERR_OK);
    }
}

static void end(struct crew *c)
{
    for (int i = 0; i < WORKERS; i++) {
        worker_drain(c->workers[i], 0);
        assert_int_equal(worker_join(c->workers[i]), ERR_OK);
        worker_free(c->workers[i]);
    }
}

static void each_runs_once_and_all_are_waited_for(void **state)
{
    struct worker_round *round;
    struct crew c;

    (void)state;
    begin(&c);
    assert_int_equal(worker_round_new(&round, WORKERS, &c.owner), ERR_OK);
    for (unsigned i = 1; i <= 100; i++) {
        c.seen = 0;
        assert_int_equal(worker_round_run(round, run), ERR_OK);
        assert_int_equal(c.runs, i * WORKERS);
        assert_int_equal(c.seen, (1U << WORKERS) - 1);
    }
    worker_round_free(round);
    end(&c);
}

/* The others run all the same: what was begun everywhere has to be ended everywhere. */
static void one_that_fails_stops_no_other(void **state)
{
    struct worker_round *round;
    struct crew c;

    (void)state;
    begin(&c);
    c.bad = 1;
    assert_int_equal(worker_round_new(&round, WORKERS, &c.owner), ERR_OK);
    assert_int_equal(worker_round_run(round, run), ERR_LIMIT);
    assert_int_equal(c.runs, WORKERS);
    worker_round_free(round);
    end(&c);
}

static void one_that_has_stopped_is_not_waited_for(void **state)
{
    struct worker_round *round;
    struct crew c;

    (void)state;
    begin(&c);
    assert_int_equal(worker_round_new(&round, WORKERS, &c.owner), ERR_OK);
    worker_drain(c.workers[2], 0);
    assert_int_equal(worker_join(c.workers[2]), ERR_OK);
    assert_int_equal(worker_round_run(round, run), ERR_SHUTDOWN);
    assert_int_equal(c.runs, WORKERS - 1);
    worker_round_free(round);
    end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_runs_once_and_all_are_waited_for),
        cmocka_unit_test(one_that_fails_stops_no_other),
        cmocka_unit_test(one_that_has_stopped_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
