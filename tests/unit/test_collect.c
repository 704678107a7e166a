#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "role/collect.h"

/* What was written; frees m. The caller frees the text. */
static char *finish(struct metric_text *m)
{
    char *text;
    size_t len;

    assert_int_equal(metric_text_finish(m, &text, &len), ERR_OK);
    metric_text_free(m);
    return text;
}

static struct metric_text *fresh(void)
{
    struct metric_text *m;

    assert_int_equal(metric_text_new(&m), ERR_OK);
    return m;
}

static void assert_has(const char *text, const char *line)
{
    const char *at = strstr(text, line);

    if (at == NULL || (at != text && at[-1] != '\n') || at[strlen(line)] != '\n')
        fail_msg("no line \"%s\" in\n%s", line, text);
}

static struct worker *new_worker(struct worker_owner *owner)
{
    const struct worker_options options = {.memory_budget = 64 << 20, .owner = owner};
    struct worker *w;

    assert_int_equal(worker_new(&w, &options), ERR_OK);
    return w;
}

static void workers_are_added_up(void **state)
{
    struct worker_owner owner = {.on_start = NULL};
    struct worker *workers[] = {new_worker(&owner), new_worker(&owner)};
    struct collect_workers sum = {.count = 0};
    struct metric_text *m = fresh();
    char *text;

    (void)state;
    for (uint64_t i = 0; i < 2; i++) {
        struct stats *stats = worker_stats(workers[i]);

        stats_add(&stats->sessions_opened, 2 + i);
        stats_add(&stats->sessions_up, 1);
        stats_add(&stats->carriers_active, 2);
        stats_add(&stats->tunnels_carried, i);
        stats_add(&stats->sessions_closed[ERR_HEARTBEAT], 3);
        stats_add(&stats->flows.dropped_queue, 5);
        stats_set(&stats->last_pong_us, 100 * i);
        histogram_observe(&stats->rtt, 1000);
        collect_add_worker(&sum, workers[i]);
    }
    collect_write_workers(m, &sum);
    text = finish(m);
    assert_has(text, "utun_workers 2");
    assert_has(text, "utun_sessions{state=\"up\"} 2");
    assert_has(text, "utun_sessions{state=\"opening\"} 2");
    assert_has(text, "utun_sessions_opened_total 5");
    assert_has(text, "utun_sessions_closed_total{reason=\"heartbeat\"} 6");
    assert_has(text, "utun_datagrams_dropped_total{reason=\"queue\"} 10");
    assert_has(text, "utun_session_rtt_seconds_count 2");
    assert_null(strstr(text, "reason=\"ok\""));
    assert_int_equal(sum.carried, 1);
    assert_int_equal(sum.last_pong_us, 100);
    assert_true(sum.limits.pool_bytes > 0);
    free(text);
    worker_free(workers[0]);
    worker_free(workers[1]);
}

static void counters_read_at_two_moments_do_not_go_below_zero(void **state)
{
    struct collect_workers sum = {.sessions_up = 2, .carriers_active = 1, .tunnels_carried = 1};
    struct metric_text *m = fresh();
    char *text;

    (void)state;
    collect_write_workers(m, &sum);
    text = finish(m);
    assert_has(text, "utun_sessions{state=\"opening\"} 0");
    assert_has(text, "utun_tunnels{state=\"waiting\"} 0");
    free(text);
}

static void directions_are_those_of_the_client_at_both_ends(void **state)
{
    struct pump_stats pumps = {.bytes_from_local = 10, .bytes_to_local = 20, .opened = 1};
    struct flow_stats flows = {
        .datagrams_from_local = 3, .datagrams_to_local = 4, .dropped_limit = 6};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct collect_service service = {
            .label = "web",
            .has_streams = true,
            .has_flows = true,
            .target_host = i == 0 ? NULL : "127.0.0.1",
            .limit = i == 0 ? 0 : 7,
        };
        struct metric_text *m = fresh();
        char *text;

        collect_add_pumps(&service, &pumps, i == 0 ? COLLECT_CLIENTS : COLLECT_TARGETS);
        collect_add_flows(&service.flows, &flows);
        collect_write_service(m, &service);
        text = finish(m);
        assert_has(text,
                   i == 0 ? "utun_stream_bytes_total{service=\"web\",direction=\"to_target\"} 10"
                          : "utun_stream_bytes_total{service=\"web\",direction=\"to_client\"} 10");
        assert_has(text, i == 0
                             ? "utun_datagrams_total{service=\"web\",direction=\"to_client\"} 4"
                             : "utun_datagrams_total{service=\"web\",direction=\"to_target\"} 4");
        assert_has(text,
                   "utun_service_datagrams_dropped_total{service=\"web\",reason=\"limit\"} 6");
        assert_null(strstr(text, "reason=\"memory\""));
        assert_int_equal(strstr(text, "utun_streams_limit{service=\"web\"} 7") != NULL, i);
        assert_int_equal(strstr(text, "utun_target_connect_duration_seconds") != NULL, i);
        free(text);
    }
}

static void the_latest_failure_of_a_target_counts(void **state)
{
    struct pump_stats first = {.failed_at_us = 50, .failure = ERR_REFUSED, .connected_at_us = 40};
    struct pump_stats second = {.failed_at_us = 30, .failure = ERR_TIMEOUT, .connected_at_us = 60};
    struct collect_service service = {.label = "web"};

    (void)state;
    collect_add_pumps(&service, &first, COLLECT_TARGETS);
    collect_add_pumps(&service, &second, COLLECT_TARGETS);
    assert_int_equal(service.failed_at_us, 50);
    assert_int_equal(service.failure, ERR_REFUSED);
    assert_int_equal(service.connected_at_us, 60);
}

static void handshakes_are_told_by_result(void **state)
{
    struct handshaker_stats stats = {.in_flight = 2};
    struct metric_text *m = fresh();
    char *text;

    (void)state;
    stats_add(&stats.ended[ERR_CERT_EXPIRED], 4);
    stats_add(&stats.refused[ERR_RATE], 9);
    collect_write_handshakes(m, &stats, "hybrid");
    text = finish(m);
    assert_has(text, "utun_handshakes_total{mode=\"hybrid\",result=\"ok\"} 0");
    assert_has(text, "utun_handshakes_total{mode=\"hybrid\",result=\"cert_expired\"} 4");
    assert_has(text, "utun_handshakes_refused_total{reason=\"rate\"} 9");
    assert_has(text, "utun_handshakes_in_flight 2");
    free(text);
}

static void the_process_is_described(void **state)
{
    static const char *const names[] = {"process_cpu_seconds_total", "process_open_fds",
                                        "process_max_fds", "process_threads",
                                        "process_start_time_seconds"};
    struct metric_text *m = fresh();
    char *text;

    (void)state;
    collect_write_process(m);
    text = finish(m);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(strstr(text, names[i]));
    assert_has(text, "process_threads 1");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_added_up),
        cmocka_unit_test(counters_read_at_two_moments_do_not_go_below_zero),
        cmocka_unit_test(directions_are_those_of_the_client_at_both_ends),
        cmocka_unit_test(the_latest_failure_of_a_target_counts),
        cmocka_unit_test(handshakes_are_told_by_result),
        cmocka_unit_test(the_process_is_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
