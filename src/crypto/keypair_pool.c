#include "crypto/keypair_pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define BACKGROUND_NICE 10 /* behind all data, before nothing at all */

struct keypair_pool {
    pthread_t thread;
    pthread_mutex_t lock; /* over everything below */
    pthread_cond_t wanted;
    bool is_closing;
    size_t size;
    struct keypair_pool_counters counters;
    struct mceliece_keypair *pairs[KEYPAIR_POOL_MAX]; /* the first counters.ready are set */
};

/* Takes the pair, under the lock; false: there was no room, or no pair. */
static bool keep(struct keypair_pool *pool, struct mceliece_keypair *pair)
{
    if (pair == NULL || pool->counters.ready >= pool->size) {
        mceliece_keypair_free(pair);
        return false;
    }
    pool->pairs[pool->counters.ready++] = pair;
    return true;
}

static void *refill(void *arg)
{
    struct keypair_pool *pool = arg;
    pthread_setname_np(pthread_self(), "key pairs");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->is_closing && pool->counters.ready >= pool->size)
            pthread_cond_wait(&pool->wanted, &pool->lock);
        if (pool->is_closing)
            break;
        pthread_mutex_unlock(&pool->lock);

        struct mceliece_keypair *pair = NULL;
        if (mceliece_keypair_new(&pair) != ERR_OK)
            sleep(1); /* out of memory: handshakes make their own, or fail, meanwhile */

        pthread_mutex_lock(&pool->lock);
        if (keep(pool, pair))
            pool->counters.made++;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are for the threads that run event loops. */
static int start_thread(struct keypair_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&pool->thread, NULL, refill, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

enum err keypair_pool_start(struct keypair_pool **out, size_t size)
{
    assert(size >= 1 && size <= KEYPAIR_POOL_MAX);
    *out = NULL;
    struct keypair_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return ERR_NOMEM;
    pool->size = size;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    if (start_thread(pool) != 0) {
        pthread_cond_destroy(&pool->wanted);
        pthread_mutex_destroy(&pool->lock);
        free(pool);
        return ERR_LIMIT;
    }
    *out = pool;
    return ERR_OK;
}

void keypair_pool_close(struct keypair_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->is_closing = true;
    pthread_cond_signal(&pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    pthread_join(pool->thread, NULL);

    for (size_t i = 0; i < pool->counters.ready; i++)
        mceliece_keypair_free(pool->pairs[i]);
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

struct mceliece_keypair *keypair_pool_take(struct keypair_pool *pool)
{
    struct mceliece_keypair *pair = NULL;
    pthread_mutex_lock(&pool->lock);
    if (pool->counters.ready > 0) {
        size_t last = --pool->counters.ready;
        pair = pool->pairs[last];
        pool->pairs[last] = NULL;
        pool->counters.taken++;
    } else {
        pool->counters.missed++;
    }
    pthread_cond_signal(&pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    return pair;
}

enum err keypair_pool_take_or_make(struct keypair_pool *pool, struct mceliece_keypair **out)
{
    *out = keypair_pool_take(pool);
    return *out != NULL ? ERR_OK : mceliece_keypair_new(out);
}

void keypair_pool_give_back(struct keypair_pool *pool, struct mceliece_keypair *pair)
{
    pthread_mutex_lock(&pool->lock);
    if (keep(pool, pair))
        pool->counters.returned++;
    pthread_mutex_unlock(&pool->lock);
}

void keypair_pool_count(struct keypair_pool *pool, struct keypair_pool_counters *out)
{
    pthread_mutex_lock(&pool->lock);
    *out = pool->counters;
    pthread_mutex_unlock(&pool->lock);
}
