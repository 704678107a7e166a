#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "ops/log_limit.h"

static struct log_limit limit;

static int setup(void **state)
{
    (void)state;
    log_limit_init(&limit);
    return 0;
}

/* Admits n lines at a time and returns how many went through. */
static unsigned admit(const char *event, unsigned n, int64_t now_ms, uint64_t *summarised)
{
    struct log_limit_summary summary;
    unsigned admitted = 0;

    *summarised = 0;
    for (unsigned i = 0; i < n; i++) {
        admitted += log_limit_admit(&limit, event, now_ms, &summary) ? 1 : 0;
        *summarised += summary.count;
    }
    return admitted;
}

static void only_the_first_lines_of_a_window_pass(void **state)
{
    uint64_t summarised;

    (void)state;
    assert_int_equal(admit("a", 1000, 5, &summarised), LOG_LIMIT_LINES);
    assert_int_equal(admit("a", 1000, 5 + LOG_LIMIT_WINDOW_MS - 1, &summarised), 0);
    assert_int_equal(summarised, 0);
    assert_int_equal(admit("a", 1, 5 + LOG_LIMIT_WINDOW_MS, &summarised), 1);
    assert_int_equal(summarised, 2000 - LOG_LIMIT_LINES);
    assert_int_equal(admit("a", 100, 5 + LOG_LIMIT_WINDOW_MS, &summarised), LOG_LIMIT_LINES - 1);
}

static void events_do_not_share_a_limit(void **state)
{
    uint64_t summarised;
    char same_name[] = "a";

    (void)state;
    assert_int_equal(admit("a", 20, 0, &summarised), LOG_LIMIT_LINES);
    assert_int_equal(admit("b", 20, 0, &summarised), LOG_LIMIT_LINES);
    assert_int_equal(admit(same_name, 20, 0, &summarised), 0);
}

static void summaries_come_without_a_further_event(void **state)
{
    struct log_limit_summary summary;
    uint64_t summarised;

    (void)state;
    admit("quiet", 3, 0, &summarised);
    assert_int_equal(limit.due_ms, INT64_MAX);
    admit("noisy", 25, 0, &summarised);
    admit("later", 11, 500, &summarised);
    assert_int_equal(limit.due_ms, LOG_LIMIT_WINDOW_MS);
    assert_false(log_limit_drain(&limit, LOG_LIMIT_WINDOW_MS - 1, &summary));
    assert_true(log_limit_drain(&limit, LOG_LIMIT_WINDOW_MS, &summary));
    assert_string_equal(summary.event, "noisy");
    assert_int_equal(summary.count, 15);
    assert_false(log_limit_drain(&limit, LOG_LIMIT_WINDOW_MS, &summary));
    assert_int_equal(limit.due_ms, LOG_LIMIT_WINDOW_MS + 500);
    assert_true(log_limit_drain(&limit, LOG_LIMIT_WINDOW_MS + 500, &summary));
    assert_string_equal(summary.event, "later");
    assert_false(log_limit_drain(&limit, LOG_LIMIT_WINDOW_MS + 500, &summary));
    assert_int_equal(limit.due_ms, INT64_MAX);
    assert_int_equal(admit("noisy", 20, LOG_LIMIT_WINDOW_MS, &summarised), LOG_LIMIT_LINES);
    assert_int_equal(summarised, 0);
}

static void more_events_than_places_are_not_limited(void **state)
{
    static char names[LOG_LIMIT_EVENTS + 1][8];
    uint64_t summarised;

    (void)state;
    for (unsigned i = 0; i <= LOG_LIMIT_EVENTS; i++) {
        snprintf(names[i], sizeof(names[i]), "e%u", i);
        assert_int_equal(admit(names[i], 20, 0, &summarised),
                         i < LOG_LIMIT_EVENTS ? LOG_LIMIT_LINES : 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(only_the_first_lines_of_a_window_pass, setup),
        cmocka_unit_test_setup(events_do_not_share_a_limit, setup),
        cmocka_unit_test_setup(summaries_come_without_a_further_event, setup),
        cmocka_unit_test_setup(more_events_than_places_are_not_limited, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
