#include "base/thread.h"

enum err thread_start(pthread_t *out, void *(*run)(void *argument), void *argument)
{
    sigset_t before;
    int failed;

    thread_block_signals(&before);
    failed = pthread_create(out, NULL, run, argument);
    thread_restore_signals(&before);
    return failed == 0 ? ERR_OK : ERR_LIMIT;
}

void thread_block_signals(sigset_t *before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

void thread_restore_signals(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}
