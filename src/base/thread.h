/* Threads beside the main one, which alone takes signals. */
#ifndef UTUN_BASE_THREAD_H
#define UTUN_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

#include "base/error.h"

/*
 * Starts a thread that blocks every signal; join it. ERR_LIMIT: the system has none to give, and
 * *out is not set.
 */
enum err thread_start(pthread_t *out, void *(*run)(void *argument), void *argument) MUST_USE;

/*
 * Blocks every signal for the calling thread and what it starts, for a library that starts threads
 * itself; *before is for thread_restore_signals, soon.
 */
void thread_block_signals(sigset_t *before);
void thread_restore_signals(const sigset_t *before);

#endif
