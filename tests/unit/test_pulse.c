#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "role/pulse.h"

#define WORKERS    3
#define PATIENCE_S 30

/* A role of nothing but workers. */
struct crew {
    struct role_state_owner owner;
    struct worker_owner behind[WORKERS];
    struct worker *workers[WORKERS];
};

static struct worker *worker_at(struct role_state_owner *owner, unsigned index)
{
    return list_entry(owner, struct crew, owner)->workers[index];
}

static void crew_start(struct crew *c)
{
    memset(c, 0, sizeof(*c));
    c->owner = (struct role_state_owner){.worker_count = WORKERS, .worker_at = worker_at};
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker_options options = {.memory_budget = 1024 * 1024, .owner = &c->behind[i]};

        assert_int_equal(worker_new(&c->workers[i], &options), ERR_OK);
        assert_int_equal(worker_start(c->workers[i]), ERR_OK);
    }
}

static void crew_stop(struct crew *c)
{
    for (unsigned i = 0; i < WORKERS; i++)
        worker_drain(c->workers[i], 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(worker_join(c->workers[i]), ERR_OK);
}

static void crew_free(struct crew *c)
{
    for (unsigned i = 0; i < WORKERS; i++)
        worker_free(c->workers[i]);
}

static void wait_missing(const struct pulse *p, unsigned expected)
{
    for (int i = 0; i < PATIENCE_S * 1000 && pulse_missing(p) != expected; i++)
        usleep(1000);
    assert_int_equal(pulse_missing(p), expected);
}

/* What keeps a worker's loop from turning until the test lets it. */
struct cramp {
    struct worker_item item;
    pthread_mutex_t held;
};

static void hang(struct worker_item *item, struct worker *w)
{
    struct cramp *cramp = list_entry(item, struct cramp, item);

    (void)w;
    pthread_mutex_lock(&cramp->held);
    pthread_mutex_unlock(&cramp->held);
}

static void dropped(struct worker_item *item)
{
    (void)item;
}

static void every_worker_answers(void **state)
{
    struct pulse *p;
    struct crew c;

    (void)state;
    crew_start(&c);
    assert_int_equal(pulse_new(&p, &c.owner), ERR_OK);
    assert_int_equal(pulse_missing(p), 0);
    for (int i = 0; i < 100; i++) {
        pulse_ask(p);
        wait_missing(p, 0);
    }
    crew_stop(&c);
    crew_free(&c);
    pulse_free(p);
}

static void one_that_hangs_is_missed_until_it_goes_on(void **state)
{
    struct cramp cramp = {.item = {.run = hang, .drop = dropped}};
    struct pulse *p;
    struct crew c;

    (void)state;
    crew_start(&c);
    assert_int_equal(pulse_new(&p, &c.owner), ERR_OK);
    pthread_mutex_init(&cramp.held, NULL);
    pthread_mutex_lock(&cramp.held);
    worker_post(c.workers[1], &cramp.item);
    for (int i = 0; i < 5; i++) {
        pulse_ask(p);
        wait_missing(p, 1);
    }
    pthread_mutex_unlock(&cramp.held);
    wait_missing(p, 0);
    pulse_ask(p);
    wait_missing(p, 0);
    crew_stop(&c);
    crew_free(&c);
    pulse_free(p);
    pthread_mutex_destroy(&cramp.held);
}

/* While a role shuts down its workers end one by one: that is no reason for alarm. */
static void workers_that_have_stopped_are_not_missed(void **state)
{
    struct pulse *p;
    struct crew c;

    (void)state;
    crew_start(&c);
    assert_int_equal(pulse_new(&p, &c.owner), ERR_OK);
    pulse_ask(p);
    crew_stop(&c);
    pulse_ask(p);
    wait_missing(p, 0);
    crew_free(&c);
    pulse_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_worker_answers),
        cmocka_unit_test(one_that_hangs_is_missed_until_it_goes_on),
        cmocka_unit_test(workers_that_have_stopped_are_not_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
