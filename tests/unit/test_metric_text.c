#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ops/metric_text.h"

static struct metric_text *fresh(void)
{
    struct metric_text *t;

    assert_int_equal(metric_text_new(&t), ERR_OK);
    return t;
}

/* The page; frees t. The caller frees the page. */
static char *finish(struct metric_text *t)
{
    char *page;
    size_t len;

    assert_int_equal(metric_text_finish(t, &page, &len), ERR_OK);
    assert_int_equal(strlen(page), len);
    metric_text_free(t);
    return page;
}

static void nothing_is_an_empty_page(void **state)
{
    char *page = finish(fresh());

    (void)state;
    assert_string_equal(page, "");
    free(page);
}

static void samples_come_in_the_order_of_the_table(void **state)
{
    struct metric_text *t = fresh();
    char *page;

    (void)state;
    metric_count(t, METRIC_STREAM_BYTES, METRIC_LABELS("web", "to_target"), 18446744073709551615u);
    metric_count(t, METRIC_WORKERS, METRIC_NO_LABELS, 2);
    metric_count(t, METRIC_STREAM_BYTES, METRIC_LABELS("web", "to_client"), 7);
    page = finish(t);
    char *workers = strstr(page, "# TYPE utun_workers gauge\nutun_workers 2\n");
    char *bytes = strstr(page, "# TYPE utun_stream_bytes_total counter\n"
                               "utun_stream_bytes_total{service=\"web\",direction=\"to_target\"} "
                               "18446744073709551615\n"
                               "utun_stream_bytes_total{service=\"web\",direction=\"to_client\"} "
                               "7\n");
    assert_non_null(workers);
    assert_non_null(bytes);
    assert_true(workers < bytes);
    assert_memory_equal(page, "# HELP utun_workers ", 20);
    free(page);
}

static void label_values_are_escaped(void **state)
{
    struct metric_text *t = fresh();
    char *page;

    (void)state;
    metric_count(t, METRIC_STREAMS, METRIC_LABELS("a\"b\\c\nd"), 1);
    page = finish(t);
    assert_non_null(strstr(page, "utun_streams{service=\"a\\\"b\\\\c\\nd\"} 1\n"));
    free(page);
}

static void histograms_are_cumulative_and_in_seconds(void **state)
{
    struct metric_text *t = fresh();
    struct histogram_sum h = {.count = 6, .sum_us = 61500000};
    char *page;

    (void)state;
    h.buckets[0] = 2;
    h.buckets[3] = 3;
    h.buckets[HISTOGRAM_BOUNDS] = 1;
    metric_histogram(t, METRIC_RTT, METRIC_NO_LABELS, &h);
    metric_histogram(t, METRIC_TARGET_CONNECT, METRIC_LABELS("web"), &h);
    page = finish(t);
    assert_non_null(strstr(page, "utun_session_rtt_seconds_bucket{le=\"0.0001\"} 2\n"));
    assert_non_null(strstr(page, "utun_session_rtt_seconds_bucket{le=\"0.0005\"} 2\n"));
    assert_non_null(strstr(page, "utun_session_rtt_seconds_bucket{le=\"0.001\"} 5\n"));
    assert_non_null(strstr(page, "utun_session_rtt_seconds_bucket{le=\"60\"} 5\n"));
    assert_non_null(strstr(page, "utun_session_rtt_seconds_bucket{le=\"+Inf\"} 6\n"
                                 "utun_session_rtt_seconds_sum 61.5\n"
                                 "utun_session_rtt_seconds_count 6\n"));
    assert_non_null(strstr(
        page, "utun_target_connect_duration_seconds_bucket{service=\"web\",le=\"+Inf\"} 6\n"));
    free(page);
}

static void numbers_keep_their_fraction(void **state)
{
    struct metric_text *t = fresh();
    char *page;

    (void)state;
    metric_number(t, METRIC_PROCESS_START, METRIC_NO_LABELS, 1795374000.25);
    page = finish(t);
    assert_non_null(strstr(page, "process_start_time_seconds 1795374000.25\n"));
    free(page);
}

static void samples_that_are_never_written_are_freed(void **state)
{
    struct metric_text *t = fresh();

    (void)state;
    metric_count(t, METRIC_WORKERS, METRIC_NO_LABELS, 2);
    metric_text_free(t);
    metric_text_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_an_empty_page),
        cmocka_unit_test(samples_come_in_the_order_of_the_table),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(histograms_are_cumulative_and_in_seconds),
        cmocka_unit_test(numbers_keep_their_fraction),
        cmocka_unit_test(samples_that_are_never_written_are_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
