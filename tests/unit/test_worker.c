#include "forwarder.h"

#include <stdatomic.h>

/* -- mailbox -- */

struct letter {
    struct worker_item item;
    struct counter *counter;
    int number;
};

struct counter {
    struct worker_owner owner;
    atomic_int run;
    atomic_int dropped;
    int last;
    bool in_order;
    atomic_int drains;
    atomic_int stops;
    enum err start_error;
};

static void letter_run(struct worker_item *item, struct worker *w)
{
    struct letter *l = list_entry(item, struct letter, item);

    (void)w;
    l->counter->in_order = l->counter->in_order && l->number == l->counter->last + 1;
    l->counter->last = l->number;
    atomic_fetch_add(&l->counter->run, 1);
    free(l);
}

static void letter_drop(struct worker_item *item)
{
    struct letter *l = list_entry(item, struct letter, item);

    atomic_fetch_add(&l->counter->dropped, 1);
    free(l);
}

static void post(struct worker *w, struct counter *c, int number)
{
    struct letter *l = calloc(1, sizeof(*l));

    if (l == NULL)
        abort();
    l->item.run = letter_run;
    l->item.drop = letter_drop;
    l->counter = c;
    l->number = number;
    worker_post(w, &l->item);
}

static enum err count_start(struct worker_owner *owner, struct worker *w)
{
    (void)w;
    return list_entry(owner, struct counter, owner)->start_error;
}

static void count_drain(struct worker_owner *owner, struct worker *w)
{
    (void)w;
    atomic_fetch_add(&list_entry(owner, struct counter, owner)->drains, 1);
}

static void count_stop(struct worker_owner *owner, struct worker *w)
{
    (void)w;
    atomic_fetch_add(&list_entry(owner, struct counter, owner)->stops, 1);
}

static struct worker *new_worker(struct counter *c)
{
    struct worker_options options = {.memory_budget = 1024 * 1024, .owner = &c->owner};
    struct worker *w;

    *c = (struct counter){
        .owner = {.on_start = count_start, .on_drain = count_drain, .on_stop = count_stop},
        .in_order = true,
    };
    assert_int_equal(worker_new(&w, &options), ERR_OK);
    return w;
}

static void every_item_runs_once_in_order(void **state)
{
    struct counter c;
    struct worker *w = new_worker(&c);

    (void)state;
    assert_int_equal(worker_start(w), ERR_OK);
    for (int i = 1; i <= 10000; i++)
        post(w, &c, i);
    while (atomic_load(&c.run) < 10000)
        poll(NULL, 0, 1);
    assert_true(c.in_order);
    worker_drain(w, 1000);
    assert_int_equal(worker_join(w), ERR_OK);
    post(w, &c, 10001);
    assert_int_equal(atomic_load(&c.run), 10000);
    assert_int_equal(atomic_load(&c.dropped), 1);
    assert_int_equal(atomic_load(&c.drains), 1);
    assert_int_equal(atomic_load(&c.stops), 1);
    worker_free(w);
}

struct poster {
    struct worker *worker;
    struct counter *counter;
    pthread_t thread;
};

static void *post_many(void *argument)
{
    struct poster *p = argument;

    for (int i = 0; i < 5000; i++)
        post(p->worker, p->counter, i);
    return NULL;
}

static void no_item_is_lost_when_it_stops(void **state)
{
    struct counter c;
    struct worker *w = new_worker(&c);
    struct poster posters[3];

    (void)state;
    assert_int_equal(worker_start(w), ERR_OK);
    for (int i = 0; i < 3; i++) {
        posters[i] = (struct poster){.worker = w, .counter = &c};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_many, &posters[i]), 0);
    }
    worker_drain(w, 0);
    for (int i = 0; i < 3; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(worker_join(w), ERR_OK);
    assert_int_equal(atomic_load(&c.run) + atomic_load(&c.dropped), 15000);
    worker_free(w);
}

static void never_started(void **state)
{
    struct counter c;
    struct worker *w = new_worker(&c);

    (void)state;
    post(w, &c, 1);
    worker_free(w);
    assert_int_equal(atomic_load(&c.dropped), 1);
}

static void a_failed_start_stops_it(void **state)
{
    struct counter c;
    struct worker *w = new_worker(&c);

    (void)state;
    c.start_error = ERR_ADDR_IN_USE;
    assert_int_equal(worker_start(w), ERR_OK);
    assert_int_equal(worker_join(w), ERR_ADDR_IN_USE);
    assert_int_equal(atomic_load(&c.stops), 1);
    worker_free(w);
}

/* -- draining -- */

static void streams_may_finish(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    static uint8_t data[1024 * 1024];
    uint8_t *got = malloc(sizeof(data));
    int client;
    int server;

    (void)state;
    assert_non_null(got);
    fill_pattern(data, sizeof(data), 1);
    forwarder_connect(f, &client, &server);
    send_all(client, "request", 7);
    receive_all(server, got, 7);
    worker_drain(f->source.worker, PATIENCE_S * 1000);
    /* The dest is told, and nobody is accepted any more. */
    forwarder_await(f, f->dest.go_away == WIRE_SHUTDOWN);
    assert_string_equal(f->dest.go_away_text, "shutting down");
    send_all(server, data, sizeof(data));
    close(server);
    receive_all(client, got, sizeof(data));
    assert_memory_equal(got, data, sizeof(data));
    expect_end(client, 0);
    close(client);
    assert_int_equal(worker_join(f->source.worker), ERR_OK);
    assert_int_equal(f->source.ends[0].why, ERR_OK);
    assert_int_equal(f->source.lost_why, ERR_SHUTDOWN);
    free(got);
    forwarder_stop(f);
}

static void the_deadline_ends_the_rest(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    int client;
    int server;

    (void)state;
    forwarder_connect(f, &client, &server);
    worker_drain(f->dest.worker, 200);
    expect_end(client, ECONNRESET);
    expect_end(server, ECONNRESET);
    assert_int_equal(worker_join(f->dest.worker), ERR_OK);
    assert_int_equal(f->dest.ends[0].why, ERR_SHUTDOWN);
    close(client);
    close(server);
    forwarder_stop(f);
}

static void a_second_word_hurries_it(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    int client;
    int server;

    (void)state;
    forwarder_connect(f, &client, &server);
    worker_drain(f->source.worker, PATIENCE_S * 10000);
    forwarder_await(f, f->dest.go_away == WIRE_SHUTDOWN);
    worker_drain(f->source.worker, 0);
    expect_end(client, ECONNRESET);
    assert_int_equal(worker_join(f->source.worker), ERR_OK);
    close(client);
    close(server);
    forwarder_stop(f);
}

static void while_draining_the_dest_takes_no_stream(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    int client;
    int server;
    int late;

    (void)state;
    forwarder_connect(f, &client, &server);
    worker_drain(f->dest.worker, PATIENCE_S * 1000);
    forwarder_await(f, f->source.go_away == WIRE_SHUTDOWN);
    late = connect_to(f->port);
    expect_end(late, ECONNRESET);
    forwarder_await(f, f->source.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_SHUTDOWN);
    close(late);
    close(client);
    close(server);
    forwarder_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_runs_once_in_order),
        cmocka_unit_test(no_item_is_lost_when_it_stops),
        cmocka_unit_test(never_started),
        cmocka_unit_test(a_failed_start_stops_it),
        cmocka_unit_test(streams_may_finish),
        cmocka_unit_test(the_deadline_ends_the_rest),
        cmocka_unit_test(a_second_word_hurries_it),
        cmocka_unit_test(while_draining_the_dest_takes_no_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
