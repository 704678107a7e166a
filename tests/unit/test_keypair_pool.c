#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/keypair_pool.h"

static struct keypair_pool *start(size_t size)
{
    struct keypair_pool *pool = NULL;
    assert_int_equal(keypair_pool_start(&pool, size), ERR_OK);
    return pool;
}

static struct keypair_pool_counters count(struct keypair_pool *pool)
{
    struct keypair_pool_counters c;
    keypair_pool_count(pool, &c);
    return c;
}

/* Waits for another thread's work: the one place where the real clock has to do. */
static void wait_until_ready(struct keypair_pool *pool, size_t n)
{
    for (int i = 0; i < 60000 && count(pool).ready < n; i++)
        usleep(1000);
    assert_int_equal(count(pool).ready, n);
}

static void it_fills_and_refills(void **state)
{
    (void)state;
    struct keypair_pool *pool = start(2);
    wait_until_ready(pool, 2);
    struct mceliece_keypair *a = keypair_pool_take(pool), *b = keypair_pool_take(pool);
    assert_non_null(a);
    assert_non_null(b);
    assert_memory_not_equal(mceliece_public_key(a), mceliece_public_key(b),
                            MCELIECE_PUBLIC_KEY_SIZE);
    wait_until_ready(pool, 2);
    struct keypair_pool_counters c = count(pool);
    assert_int_equal(c.made, 4);
    assert_int_equal(c.taken, 2);
    assert_int_equal(c.missed, 0);
    mceliece_keypair_free(a);
    mceliece_keypair_free(b);
    keypair_pool_close(pool);
}

static void an_empty_pool_makes_nobody_wait(void **state)
{
    (void)state;
    struct keypair_pool *pool = start(1);
    struct mceliece_keypair *pair = NULL;
    uint64_t missed = 0;
    for (; (pair = keypair_pool_take(pool)) == NULL; missed++)
        usleep(1000);
    assert_true(missed > 0); /* a pair takes longer than to come here */
    assert_int_equal(count(pool).missed, missed);
    mceliece_keypair_free(pair);

    assert_int_equal(keypair_pool_take_or_make(pool, &pair), ERR_OK);
    assert_non_null(pair);
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], a[MCELIECE_SECRET_SIZE], b[MCELIECE_SECRET_SIZE];
    assert_int_equal(mceliece_encapsulate(ciphertext, a, mceliece_public_key(pair)), ERR_OK);
    assert_int_equal(mceliece_decapsulate(b, ciphertext, pair), ERR_OK);
    assert_memory_equal(a, b, sizeof(a));
    mceliece_keypair_free(pair);
    keypair_pool_close(pool);
}

/* It has been begun already; one that began now would come later. */
static void the_first_pair_is_waited_for(void **state)
{
    (void)state;
    struct keypair_pool *pool = start(KEYPAIR_POOL_MAX);
    struct mceliece_keypair *pair = NULL;
    assert_int_equal(keypair_pool_take_or_make(pool, &pair), ERR_OK);
    assert_non_null(pair);
    struct keypair_pool_counters c = count(pool);
    assert_int_equal(c.taken, 1);
    assert_int_equal(c.missed, 0);
    mceliece_keypair_free(pair);
    keypair_pool_close(pool);
}

static void it_closes_at_any_moment(void **state)
{
    (void)state;
    keypair_pool_close(NULL);
    keypair_pool_close(start(KEYPAIR_POOL_MAX)); /* before, or while, the first pair is made */
    struct keypair_pool *pool = start(1);
    wait_until_ready(pool, 1); /* asleep, with one to wipe */
    keypair_pool_close(pool);
}

enum { THREADS = 4, EACH = 3 };

struct taker {
    struct keypair_pool *pool;
    struct mceliece_keypair *pairs[EACH];
};

static void *take_some(void *arg)
{
    struct taker *t = arg;
    for (int i = 0; i < EACH; i++)
        if (keypair_pool_take_or_make(t->pool, &t->pairs[i]) != ERR_OK)
            abort();
    return NULL;
}

static void threads_never_share_a_pair(void **state)
{
    (void)state;
    struct keypair_pool *pool = start(3);
    struct taker takers[THREADS];
    pthread_t threads[THREADS];
    struct mceliece_keypair *all[THREADS * EACH];
    for (int i = 0; i < THREADS; i++) {
        takers[i].pool = pool;
        assert_int_equal(pthread_create(&threads[i], NULL, take_some, &takers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS * EACH; i++) {
        all[i] = takers[i / EACH].pairs[i % EACH];
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(mceliece_public_key(all[i]), mceliece_public_key(all[j]), 64);
    }
    struct keypair_pool_counters c = count(pool);
    assert_int_equal(c.taken + c.missed, THREADS * EACH);
    assert_int_equal(c.made - c.taken, c.ready);
    for (int i = 0; i < THREADS * EACH; i++)
        mceliece_keypair_free(all[i]);
    keypair_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_fills_and_refills),
        cmocka_unit_test(an_empty_pool_makes_nobody_wait),
        cmocka_unit_test(the_first_pair_is_waited_for),
        cmocka_unit_test(it_closes_at_any_moment),
        cmocka_unit_test(threads_never_share_a_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
