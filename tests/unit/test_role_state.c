#include "forwarder.h"

#include <stdatomic.h>

#include "role/role_state.h"

#define WORKERS 3

/* A role of nothing but workers, each with so many tunnels that never have a session. */
struct crew {
    struct role_state_owner asked;
    struct worker_owner behind[WORKERS];
    struct worker *workers[WORKERS];
    struct list tunnels[WORKERS];
    size_t count;          /* tunnels that a worker says it has */
    atomic_int filling;    /* calls of fill */
    pthread_mutex_t stuck; /* held: worker 0 does not come to answer */
    _Atomic(pthread_t) filled_on[WORKERS];
};

static struct worker *worker_at(struct role_state_owner *asked, unsigned index)
{
    return list_entry(asked, struct crew, asked)->workers[index];
}

static void fill(struct role_state_owner *asked, unsigned index, struct role_worker *out)
{
    struct crew *c = list_entry(asked, struct crew, asked);

    atomic_fetch_add(&c->filling, 1);
    if (index == 0) {
        pthread_mutex_lock(&c->stuck);
        pthread_mutex_unlock(&c->stuck);
    }
    atomic_store(&c->filled_on[index], pthread_self());
    role_worker_make_room(out, &c->tunnels[index]);
    for (struct list *l = c->tunnels[index].next; l != &c->tunnels[index]; l = l->next) {
        struct role_tunnel *shown = role_worker_add(out);
        if (shown != NULL)
            shown->sessions_total = index + 1;
    }
}

static void crew_start(struct crew *c, size_t tunnels)
{
    memset(c, 0, sizeof(*c));
    pthread_mutex_init(&c->stuck, NULL);
    c->asked = (struct role_state_owner){
        .role = CONFIG_ROLE_DEST, .worker_count = WORKERS, .worker_at = worker_at, .fill = fill};
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker_options options = {.memory_budget = 1024 * 1024, .owner = &c->behind[i]};

        list_init(&c->tunnels[i]);
        for (size_t k = 0; k < tunnels; k++) {
            struct list *l = calloc(1, sizeof(*l));
            assert_non_null(l);
            list_init(l);
            list_append(&c->tunnels[i], l);
        }
        assert_int_equal(worker_new(&c->workers[i], &options), ERR_OK);
        assert_int_equal(worker_start(c->workers[i]), ERR_OK);
    }
}

static void crew_end_workers(struct crew *c)
{
    for (unsigned i = 0; i < WORKERS; i++)
        worker_drain(c->workers[i], 0);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(worker_join(c->workers[i]), ERR_OK);
}

static void crew_free(struct crew *c)
{
    struct list *l;

    for (unsigned i = 0; i < WORKERS; i++) {
        worker_free(c->workers[i]);
        while ((l = list_first(&c->tunnels[i])) != NULL) {
            list_remove(l);
            free(l);
        }
    }
    pthread_mutex_destroy(&c->stuck);
}

static void every_worker_answers_on_its_thread(void **state)
{
    struct role_state *taken;
    struct crew c;

    (void)state;
    crew_start(&c, 2);
    assert_int_equal(role_state_take(&taken, &c.asked, 30000), ERR_OK);
    assert_int_equal(taken->role, CONFIG_ROLE_DEST);
    assert_int_equal(taken->worker_count, WORKERS);
    assert_true(taken->taken_at.tv_sec > 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_true(taken->workers[i].has_answered);
        assert_false(taken->workers[i].is_draining);
        assert_int_equal(taken->workers[i].tunnel_count, 2);
        assert_int_equal(taken->workers[i].tunnels_shown, 2);
        assert_int_equal(taken->workers[i].tunnels[1].sessions_total, i + 1);
        assert_false(pthread_equal(atomic_load(&c.filled_on[i]), pthread_self()));
    }
    role_state_free(taken);
    crew_end_workers(&c);
    crew_free(&c);
}

static void many_tunnels_are_counted_and_not_all_shown(void **state)
{
    struct role_state *taken;
    struct crew c;

    (void)state;
    crew_start(&c, ROLE_TUNNELS_MAX + 7);
    assert_int_equal(role_state_take(&taken, &c.asked, 30000), ERR_OK);
    assert_int_equal(taken->workers[0].tunnel_count, ROLE_TUNNELS_MAX + 7);
    assert_int_equal(taken->workers[0].tunnels_shown, ROLE_TUNNELS_MAX);
    role_state_free(taken);
    crew_end_workers(&c);
    crew_free(&c);
}

static void a_worker_that_is_stuck_is_marked(void **state)
{
    struct role_state *taken;
    struct crew c;

    (void)state;
    crew_start(&c, 1);
    pthread_mutex_lock(&c.stuck);
    /* The others have all the time of the first question, and are asked until they have used it. */
    do {
        assert_int_equal(role_state_take(&taken, &c.asked, 50), ERR_OK);
        assert_false(taken->workers[0].has_answered);
        assert_null(taken->workers[0].tunnels);
        if (taken->workers[1].has_answered && taken->workers[2].has_answered)
            break;
        role_state_free(taken);
    } while (true);
    role_state_free(taken);
    /* Its late answers are thrown away, and it is not lost for the next question. */
    pthread_mutex_unlock(&c.stuck);
    assert_int_equal(role_state_take(&taken, &c.asked, 30000), ERR_OK);
    assert_true(taken->workers[0].has_answered);
    role_state_free(taken);
    crew_end_workers(&c);
    crew_free(&c);
}

static void workers_that_have_stopped_are_not_waited_for(void **state)
{
    struct role_state *taken;
    struct crew c;

    (void)state;
    crew_start(&c, 1);
    crew_end_workers(&c);
    assert_int_equal(role_state_take(&taken, &c.asked, UINT32_MAX / 2), ERR_OK);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_false(taken->workers[i].has_answered);
    assert_int_equal(atomic_load(&c.filling), 0);
    role_state_free(taken);
    crew_free(&c);
}

static void *ask_often(void *argument)
{
    struct crew *c = argument;

    for (unsigned i = 0; i < 200; i++) {
        struct role_state *taken;
        if (role_state_take(&taken, &c->asked, i % 3 == 0 ? 0 : 1000) != ERR_OK)
            abort();
        role_state_free(taken);
    }
    return NULL;
}

static void many_may_ask_while_workers_end(void **state)
{
    pthread_t threads[4];
    struct crew c;

    (void)state;
    crew_start(&c, 3);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &c), 0);
    while (atomic_load(&c.filling) < 30)
        poll(NULL, 0, 1);
    crew_end_workers(&c);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    crew_free(&c);
}

/* -- what a real tunnel says -- */

static void nothing_is_ready_to_be_lost(struct tunnel_owner *o)
{
    (void)o;
}

static void a_tunnel_tells_its_phase(void **state)
{
    static const struct tunnel_owner_events events = {.on_closed = nothing_is_ready_to_be_lost};
    const struct tunnel_owner_options options = {.role = TUNNEL_SOURCE,
                                                 .bounds = {.max_streams = 1, .window_max = 65536},
                                                 .events = &events};
    struct worker_owner behind = {0};
    struct worker_options worker_options = {.memory_budget = 1024 * 1024, .owner = &behind};
    struct tunnel_history history;
    struct tunnel_owner tunnel;
    struct role_tunnel shown;
    struct worker *w;

    (void)state;
    assert_int_equal(worker_new(&w, &worker_options), ERR_OK);
    assert_int_equal(tunnel_owner_start(&tunnel, w, &options), ERR_OK);
    tunnel_history_init(&history, worker_now(w) - 5000000);
    memset(&shown, 0, sizeof(shown));
    role_tunnel_fill(&shown, &tunnel, &history);
    assert_int_equal(shown.phase, ROLE_TUNNEL_CONNECTING);
    assert_true(shown.age_us >= 5000000);
    assert_int_equal(shown.waiting_us, 0);
    assert_int_equal(shown.session_count, 0);
    assert_false(shown.loss.is_set);

    history.sessions = 2;
    history.resumes = 1;
    tunnel_history_on_go_away(&history, WIRE_SHUTDOWN, "maintenance");
    tunnel_history_on_lost(&history, ERR_CLOSED, worker_now(w) - 2000000);
    tunnel_history_on_uncarried(&history, worker_now(w) - 2000000);
    memset(&shown, 0, sizeof(shown));
    role_tunnel_fill(&shown, &tunnel, &history);
    assert_int_equal(shown.phase, ROLE_TUNNEL_WAITING);
    assert_true(shown.waiting_us >= 2000000);
    assert_true(shown.loss_age_us >= 2000000);
    assert_int_equal(shown.sessions_total, 2);
    assert_int_equal(shown.resumes_total, 1);
    assert_int_equal(shown.loss.code, WIRE_SHUTDOWN);
    assert_string_equal(shown.loss.text, "maintenance");

    tunnel_owner_close(&tunnel, ERR_CLOSED);
    memset(&shown, 0, sizeof(shown));
    role_tunnel_fill(&shown, &tunnel, &history);
    assert_int_equal(shown.phase, ROLE_TUNNEL_CLOSING);
    worker_drain(w, 0);
    worker_run(w);
    worker_free(w);
}

static void phases_have_names(void **state)
{
    (void)state;
    assert_string_equal(role_tunnel_phase_name(ROLE_TUNNEL_WAITING), "waiting");
    assert_string_equal(role_tunnel_phase_name(ROLE_TUNNEL_CLOSING), "closing");
    assert_string_equal(role_tunnel_phase_name((enum role_tunnel_phase)99), "unknown");
    assert_string_equal(role_uplink_phase_name(ROLE_UPLINK_GIVEN_UP), "given_up");
    assert_string_equal(role_uplink_phase_name((enum role_uplink_phase)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_worker_answers_on_its_thread),
        cmocka_unit_test(many_tunnels_are_counted_and_not_all_shown),
        cmocka_unit_test(a_worker_that_is_stuck_is_marked),
        cmocka_unit_test(workers_that_have_stopped_are_not_waited_for),
        cmocka_unit_test(many_may_ask_while_workers_end),
        cmocka_unit_test(a_tunnel_tells_its_phase),
        cmocka_unit_test(phases_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
