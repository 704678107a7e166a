#include "crypto/keypair_pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

#define BACKGROUND_NICE 10 /* behind all data, before nothing at all */

/* After a pair was taken: the handshake that needs it is not to be slowed down by the next. */
#define HANDSHAKE_MS 100

/* After one could not be made. */
#define FAILED_MS 1000

struct keypair_pool {
    pthread_t thread;
    pthread_mutex_t lock; /* over everything below */
    pthread_cond_t wanted;
    pthread_cond_t first; /* is_first_coming has ended */
    bool is_first_coming;
    bool may_rest; /* a pair was taken, and nobody has asked in vain since */
    bool is_closing;
    size_t size;
    struct keypair_pool_counters counters;
    struct mceliece_keypair *pairs[KEYPAIR_POOL_MAX]; /* the first counters.ready are set */
};

/* Until then, or closing, or somebody asks for a pair in vain. Under the lock. */
static void rest(struct keypair_pool *pool, uint32_t ms)
{
    const struct timespec until = clock_in_ms(ms);

    while (!pool->is_closing && pool->may_rest &&
           pthread_cond_clockwait(&pool->wanted, &pool->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    pool->may_rest = false;
}

/* Asleep while there is nothing to do. False: it is closing. Under the lock. */
static bool wait_for_work(struct keypair_pool *pool)
{
    while (!pool->is_closing && pool->counters.ready >= pool->size)
        pthread_cond_wait(&pool->wanted, &pool->lock);
    if (!pool->is_first_coming)
        rest(pool, HANDSHAKE_MS);
    return !pool->is_closing;
}

/* Gives the lock up meanwhile. */
static void make_one(struct keypair_pool *pool)
{
    struct mceliece_keypair *pair;

    pthread_mutex_unlock(&pool->lock);
    enum err e = mceliece_keypair_new(&pair);
    pthread_mutex_lock(&pool->lock);
    if (e == ERR_OK) {
        pool->pairs[pool->counters.ready++] = pair;
        pool->counters.made++;
    }
    pool->is_first_coming = false;
    pthread_cond_broadcast(&pool->first);
    if (e != ERR_OK) { /* out of memory: handshakes make their own, or fail, meanwhile */
        pool->may_rest = true;
        rest(pool, FAILED_MS);
    }
}

static void *refill(void *arg)
{
    struct keypair_pool *pool = arg;

    pthread_setname_np(pthread_self(), "key pairs");
    pthread_mutex_lock(&pool->lock);
    while (wait_for_work(pool)) {
        make_one(pool);
        /* The first may be waited for; what comes then is for later. */
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

enum err keypair_pool_start(struct keypair_pool **out, size_t size)
{
    assert(size >= 1 && size <= KEYPAIR_POOL_MAX);
    *out = NULL;
    struct keypair_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return ERR_NOMEM;
    pool->size = size;
    pool->is_first_coming = true;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    pthread_cond_init(&pool->first, NULL);
    if (thread_start(&pool->thread, refill, pool) != ERR_OK) {
        pthread_cond_destroy(&pool->first);
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
    pthread_cond_destroy(&pool->first);
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

struct mceliece_keypair *keypair_pool_take(struct keypair_pool *pool)
{
    struct mceliece_keypair *pair = NULL;
    pthread_mutex_lock(&pool->lock);
    pool->may_rest = pool->counters.ready > 0;
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
    pthread_mutex_lock(&pool->lock);
    pool->may_rest = true;
    while (pool->is_first_coming)
        pthread_cond_wait(&pool->first, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    *out = keypair_pool_take(pool);
    return *out != NULL ? ERR_OK : mceliece_keypair_new(out);
}

void keypair_pool_count(struct keypair_pool *pool, struct keypair_pool_counters *out)
{
    pthread_mutex_lock(&pool->lock);
    *out = pool->counters;
    pthread_mutex_unlock(&pool->lock);
}
