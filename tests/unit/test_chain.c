#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../sim/random.h"
#include "base/chain.h"

/* Byte i of every stream here; its period is no multiple of a block. */
static uint8_t pattern(uint64_t offset)
{
    uint64_t x = (offset + 1) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint8_t)(x >> 56);
}

static struct pool *pool(size_t limit)
{
    struct pool *p = NULL;

    assert_int_equal(pool_new(&p, limit), ERR_OK);
    return p;
}

static uint8_t *made(uint64_t offset, size_t len)
{
    uint8_t *data = malloc(len > 0 ? len : 1);

    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = pattern(offset + i);
    return data;
}

static enum err append(struct chain *c, size_t len)
{
    uint8_t *data = made(c->end, len);
    enum err e = chain_append(c, data, len);

    free(data);
    return e;
}

/* Views everything from offset on in pieces, and compares each byte. */
static void check_from(struct chain *c, uint64_t offset, size_t len, size_t n_parts)
{
    while (offset < c->end) {
        struct iovec parts[8];
        size_t viewed;
        size_t n = chain_view(c, offset, len, parts, n_parts, &viewed);
        size_t sum = 0;

        assert_in_range(n, 1, n_parts);
        assert_in_range(viewed, 1, len);
        for (size_t i = 0; i < n; i++) {
            const uint8_t *p = parts[i].iov_base;

            assert_true(parts[i].iov_len > 0);
            for (size_t j = 0; j < parts[i].iov_len; j++) {
                if (p[j] != pattern(offset + sum + j))
                    fail_msg("wrong byte at %llu", (unsigned long long)(offset + sum + j));
            }
            sum += parts[i].iov_len;
        }
        assert_int_equal(sum, viewed);
        assert_true(n == n_parts || viewed == len || offset + viewed == c->end);
        offset += viewed;
    }
}

static void append_is_all_or_nothing(void **state)
{
    (void)state;
    struct pool *p = pool(4 * POOL_BULK_BYTES);
    struct chain c;
    size_t in_use;

    chain_init(&c, p);
    assert_int_equal(append(&c, 8 * POOL_BULK_BYTES), ERR_BUDGET);
    assert_int_equal(chain_held(&c), 0);
    assert_int_equal(pool_in_use(p), 0);
    /* With something in it, its last block half full: exactly that is left. */
    assert_int_equal(append(&c, 1000), ERR_OK);
    in_use = pool_in_use(p);
    assert_int_equal(append(&c, 8 * POOL_BULK_BYTES), ERR_BUDGET);
    assert_int_equal(chain_held(&c), 1000);
    assert_int_equal(pool_in_use(p), in_use);
    check_from(&c, 0, 1000, 8);
    /* And it can be added to as if nothing had been. */
    assert_int_equal(append(&c, 150000), ERR_OK);
    check_from(&c, 0, 1000000, 8);
    /* The cursor of a view must not lead into what was taken back. */
    check_from(&c, 150000, 1000000, 8);
    assert_int_equal(append(&c, 4 * POOL_BULK_BYTES), ERR_BUDGET);
    check_from(&c, 150999, 1000000, 8);
    check_from(&c, 0, 7, 3);
    chain_fini(&c);
    assert_int_equal(pool_in_use(p), 0);
    pool_free(p);
}

static void reserve_gives_nothing_at_the_bound(void **state)
{
    (void)state;
    struct pool *p = pool(POOL_SMALL_BYTES);
    struct chain c;
    struct iovec parts[4];
    size_t used = 9;
    size_t room;

    chain_init(&c, p);
    room = chain_reserve(&c, 100000, parts, 4, &used); /* bulk is what it would take */
    assert_int_equal(room, 0);
    assert_int_equal(used, 0);
    chain_commit(&c, 0);
    room = chain_reserve(&c, 0, parts, 4, &used);
    assert_int_equal(room + used, 0);
    chain_commit(&c, 0);
    room = chain_reserve(&c, 6000, parts, 4, &used);
    assert_in_range(room, 4000, POOL_SMALL_BYTES);
    assert_int_equal(used, 1);
    chain_commit(&c, 0);
    assert_int_equal(pool_in_use(p), 0); /* room that was not used is given back */
    chain_fini(&c);
    pool_free(p);
}

static void holds_no_block_without_bytes(void **state)
{
    (void)state;
    struct pool *p = pool(1024 * 1024);
    struct chain c;

    chain_init(&c, p);
    assert_int_equal(append(&c, 0), ERR_OK);
    assert_int_equal(pool_in_use(p), 0);
    assert_int_equal(append(&c, 200000), ERR_OK);
    chain_drop(&c, 199999);
    assert_in_range(pool_in_use(p), 1, POOL_BULK_BYTES);
    check_from(&c, 199999, 10, 1);
    chain_drop(&c, 200000);
    assert_int_equal(pool_in_use(p), 0);
    chain_drop(&c, 200000);
    chain_skip(&c, 50);
    assert_true(c.start == 200050 && c.end == 200050);
    assert_int_equal(append(&c, 10), ERR_OK);
    check_from(&c, 200050, 10, 1);
    chain_fini(&c);
    pool_free(p);
}

static void view_of_nothing_is_nothing(void **state)
{
    (void)state;
    struct pool *p = pool(1024 * 1024);
    struct chain c;
    struct iovec part;
    size_t viewed = 9;

    chain_init(&c, p);
    assert_int_equal(chain_view(&c, 0, 100, &part, 1, &viewed), 0);
    assert_int_equal(viewed, 0);
    assert_int_equal(append(&c, 100), ERR_OK);
    assert_int_equal(chain_view(&c, 100, 100, &part, 1, &viewed), 0);
    assert_int_equal(viewed, 0);
    assert_int_equal(chain_view(&c, 5, 0, &part, 1, &viewed), 0);
    assert_int_equal(viewed, 0);
    chain_fini(&c);
    pool_free(p);
}

/* Small traffic takes small blocks; a chain wastes little more than what it holds. */
static void blocks_fit_what_is_in_them(void **state)
{
    (void)state;
    struct pool *p = pool(64 * 1024 * 1024);
    struct chain c;

    chain_init(&c, p);
    for (size_t total = 0; total < 300000; total += 10) {
        assert_int_equal(append(&c, 10), ERR_OK);
        assert_true(pool_in_use(p) <= chain_held(&c) * 102 / 100 + POOL_SMALL_BYTES);
    }
    chain_drop(&c, c.end);
    for (size_t total = 0; total < 1000000; total += 33000) {
        assert_int_equal(append(&c, 33000), ERR_OK);
        assert_true(pool_in_use(p) <= 2 * chain_held(&c) + POOL_SMALL_BYTES);
    }
    chain_fini(&c);
    pool_free(p);
}

/* Appends len bytes through reserve and commit, as the reader of a socket does. */
static void reserve_and_fill(struct chain *c, struct rng *rng, size_t want)
{
    struct iovec parts[8];
    size_t used;
    size_t room = chain_reserve(c, want, parts, 1 + rng_below(rng, 8), &used);
    size_t len = rng_size(rng, room);
    size_t done = 0;

    assert_true(room <= want);
    for (size_t i = 0; i < used; i++) {
        uint8_t *at = parts[i].iov_base;

        for (size_t j = 0; j < parts[i].iov_len; j++) {
            at[j] = done < len ? pattern(c->end + done) : 0xee; /* all of it may be written */
            done++;
        }
    }
    assert_int_equal(done, room);
    chain_commit(c, len);
}

static void behaves_like_its_model(void **state)
{
    (void)state;

    for (uint64_t seed = 0; seed < 60; seed++) {
        struct rng rng = {.state = seed};
        /* From a pool that is always short to one that never is. */
        struct pool *p = pool(POOL_BULK_BYTES + rng_size(&rng, 4 * 1024 * 1024));
        struct chain c;
        uint64_t start = 0;
        uint64_t end = 0;

        chain_init(&c, p);
        for (int n = 0; n < 600; n++) {
            uint64_t at = start + rng_size(&rng, (size_t)(end - start));
            size_t in_use = pool_in_use(p);
            size_t len = rng_size(&rng, 150000);
            struct iovec part[3];
            size_t viewed;

            switch (rng_below(&rng, 6)) {
            case 0:
                if (append(&c, len) == ERR_OK)
                    end += len;
                else
                    assert_int_equal(pool_in_use(p), in_use);
                break;
            case 1:
            case 2:
                reserve_and_fill(&c, &rng, len);
                end = c.end;
                break;
            case 3:
                chain_drop(&c, at);
                start = at;
                break;
            case 4:
                if (rng_once_in(&rng, 20))
                    check_from(&c, at, 1 + rng_size(&rng, 100000), 1 + rng_below(&rng, 8));
                else
                    chain_view(&c, at, len, part, 3, &viewed);
                break;
            default:
                if (start == end) {
                    chain_skip(&c, len);
                    start += len;
                    end += len;
                }
                break;
            }
            assert_true(c.start == start && c.end == end);
            assert_true(pool_in_use(p) <= pool_limit(p));
            assert_int_equal(pool_in_use(p) > 0, start < end);
        }
        check_from(&c, start, 65536, 8);
        chain_fini(&c);
        assert_int_equal(pool_in_use(p), 0);
        pool_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_is_all_or_nothing),
        cmocka_unit_test(reserve_gives_nothing_at_the_bound),
        cmocka_unit_test(holds_no_block_without_bytes),
        cmocka_unit_test(view_of_nothing_is_nothing),
        cmocka_unit_test(blocks_fit_what_is_in_them),
        cmocka_unit_test(behaves_like_its_model),
    };

    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
