#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/pool.h"

static struct pool *pool(size_t limit)
{
    struct pool *p = NULL;

    assert_int_equal(pool_new(&p, limit), ERR_OK);
    assert_int_equal(pool_limit(p), limit);
    return p;
}

static void refuses_beyond_its_bound(void **state)
{
    (void)state;
    struct pool *p = pool(2 * POOL_BULK_BYTES);
    void *bulk = pool_take(p, POOL_BULK);
    void *small[POOL_BULK_BYTES / POOL_SMALL_BYTES];

    assert_non_null(bulk);
    for (size_t i = 0; i < POOL_BULK_BYTES / POOL_SMALL_BYTES; i++) {
        small[i] = pool_take(p, POOL_SMALL);
        assert_non_null(small[i]);
    }
    assert_int_equal(pool_in_use(p), 2 * POOL_BULK_BYTES);
    assert_null(pool_take(p, POOL_SMALL));
    assert_null(pool_take(p, POOL_BULK));
    /* A small block that comes back makes room for a small one, not for a bulk one. */
    pool_put(p, POOL_SMALL, small[0]);
    assert_null(pool_take(p, POOL_BULK));
    small[0] = pool_take(p, POOL_SMALL);
    assert_non_null(small[0]);
    for (size_t i = 0; i < POOL_BULK_BYTES / POOL_SMALL_BYTES; i++)
        pool_put(p, POOL_SMALL, small[i]);
    pool_put(p, POOL_BULK, bulk);
    assert_int_equal(pool_in_use(p), 0);
    pool_free(p);
}

static void bound_of_nothing_gives_nothing(void **state)
{
    (void)state;
    struct pool *p = pool(POOL_SMALL_BYTES - 1);

    assert_null(pool_take(p, POOL_SMALL));
    assert_null(pool_take(p, POOL_BULK));
    pool_put(p, POOL_SMALL, NULL);
    pool_free(p);
    pool_free(NULL);
}

static void batches_do_not_count(void **state)
{
    (void)state;
    struct pool *p = pool(POOL_SMALL_BYTES);
    void *small = pool_take(p, POOL_SMALL);
    void *batches[20];

    assert_non_null(small);
    for (size_t i = 0; i < 20; i++) {
        batches[i] = pool_take(p, POOL_BATCH);
        assert_non_null(batches[i]);
        memset(batches[i], (int)i, POOL_BATCH_BYTES);
    }
    assert_int_equal(pool_in_use(p), POOL_SMALL_BYTES);
    for (size_t i = 0; i < 20; i++)
        pool_put(p, POOL_BATCH, batches[i]); /* more than are kept */
    pool_put(p, POOL_SMALL, small);
    pool_free(p);
}

static void blocks_are_whole_and_reused(void **state)
{
    (void)state;
    struct pool *p = pool(64 * 1024 * 1024);

    for (int size = 0; size < POOL_SIZES; size++) {
        static void *blocks[400];
        size_t n = size == POOL_SMALL ? 400 : 80;
        void *last;

        for (size_t i = 0; i < n; i++) {
            blocks[i] = pool_take(p, (enum pool_size)size);
            assert_non_null(blocks[i]);
            memset(blocks[i], 0xaa, pool_block_bytes((enum pool_size)size));
        }
        for (size_t i = 0; i < n; i++)
            pool_put(p, (enum pool_size)size, blocks[i]);
        assert_int_equal(pool_in_use(p), 0);
        last = pool_take(p, (enum pool_size)size);
        pool_put(p, (enum pool_size)size, last);
        assert_ptr_equal(pool_take(p, (enum pool_size)size), last);
        pool_put(p, (enum pool_size)size, last);
    }
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_beyond_its_bound),
        cmocka_unit_test(bound_of_nothing_gives_nothing),
        cmocka_unit_test(batches_do_not_count),
        cmocka_unit_test(blocks_are_whole_and_reused),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
