#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "base/thread.h"

static void *note_mask(void *argument)
{
    pthread_sigmask(SIG_SETMASK, NULL, argument);
    return argument;
}

static bool is_same(const sigset_t *a, const sigset_t *b)
{
    for (int n = 1; n < SIGRTMAX; n++) {
        if (sigismember(a, n) != sigismember(b, n))
            return false;
    }
    return true;
}

static void a_thread_takes_no_signals(void **state)
{
    sigset_t mask;
    sigset_t before;
    sigset_t after;
    pthread_t thread;
    void *result;

    (void)state;
    sigemptyset(&mask);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(thread_start(&thread, note_mask, &mask), ERR_OK);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &mask);
    assert_true(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGHUP));
    assert_true(sigismember(&mask, SIGCHLD) && sigismember(&mask, SIGRTMAX));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_true(is_same(&before, &after));
}

static void signals_are_blocked_and_restored(void **state)
{
    sigset_t usual;
    sigset_t before;
    sigset_t mask;

    (void)state;
    pthread_sigmask(SIG_SETMASK, NULL, &usual);
    thread_block_signals(&before);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_true(sigismember(&mask, SIGINT) && sigismember(&mask, SIGUSR1));
    assert_true(is_same(&before, &usual));
    thread_restore_signals(&before);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_true(is_same(&mask, &usual));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_takes_no_signals),
        cmocka_unit_test(signals_are_blocked_and_restored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
