/* Each case in a process of its own, as it may be ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/lookups.h"
#include "ops/log.h"
#include "role/overdue.h"

#define CLEARED 7

static int status_of(void (*child)(struct overdue *o))
{
    struct overdue o = {.has_thread = false};
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        log_set_level(LOG_LEVEL_ERROR);
        child(&o);
        overdue_clear(&o);
        _exit(CLEARED);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Longer than any time that the cases set; the test's own limit is behind it. */
static void wait_for_ever(void)
{
    for (;;)
        pause();
}

static void wait_ms(uint32_t ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&pause, NULL);
}

static void with_a_lookup(struct overdue *o)
{
    lookups_begin();
    overdue_set(o, 0, 3);
    wait_for_ever();
}

static void with_a_second_signal(struct overdue *o)
{
    lookups_begin();
    overdue_set(o, 3600000, 3);
    overdue_set(o, 0, 4);
    overdue_set(o, 3600000, 5);
    wait_for_ever();
}

static void with_a_lookup_later(struct overdue *o)
{
    overdue_set(o, 0, 3);
    wait_ms(OVERDUE_SLACK_MS + 200);
    lookups_begin();
    wait_for_ever();
}

static void without_a_lookup(struct overdue *o)
{
    lookups_begin();
    lookups_end();
    overdue_set(o, 0, 3);
    wait_ms(OVERDUE_SLACK_MS + 300);
}

static void in_time(struct overdue *o)
{
    lookups_begin();
    overdue_set(o, 3600000, 3);
}

static void never_set(struct overdue *o)
{
    (void)o;
}

static void a_lookup_is_not_waited_for(void **state)
{
    (void)state;
    assert_int_equal(status_of(with_a_lookup), 3);
    assert_int_equal(status_of(with_a_lookup_later), 3);
}

static void the_earlier_time_and_the_later_status(void **state)
{
    (void)state;
    assert_int_equal(status_of(with_a_second_signal), 5);
}

static void all_else_is_waited_for(void **state)
{
    (void)state;
    assert_int_equal(status_of(without_a_lookup), CLEARED);
    assert_int_equal(status_of(in_time), CLEARED);
    assert_int_equal(status_of(never_set), CLEARED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lookup_is_not_waited_for),
        cmocka_unit_test(the_earlier_time_and_the_later_status),
        cmocka_unit_test(all_else_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
