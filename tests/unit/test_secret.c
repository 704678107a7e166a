#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <openssl/crypto.h>

#include "crypto/secret.h"

static void memory_is_zeroed_and_outside_the_heap(void **state)
{
    (void)state;
    static const uint8_t zeros[13608];
    uint8_t *p = secret_new(sizeof(zeros));
    assert_non_null(p);
    assert_memory_equal(p, zeros, sizeof(zeros));
    assert_true(CRYPTO_secure_allocated(p));
    memset(p, 0xa5, sizeof(zeros));
    secret_free(p, sizeof(zeros));
    /* The arena is still mapped; behind the allocator's own links, what was there is gone. */
    uint8_t *again = OPENSSL_secure_malloc(sizeof(zeros));
    assert_ptr_equal(again, p);
    assert_memory_equal(again + 64, zeros, sizeof(zeros) - 64);
    OPENSSL_secure_free(again);
    secret_free(NULL, 1);
}

static void a_full_arena_is_no_failure(void **state)
{
    (void)state;
    enum { SIZE = 16384, COUNT = 2 * 1024 * 1024 / SIZE };
    static const uint8_t zeros[SIZE];
    uint8_t *p[COUNT];
    int outside = 0;
    for (int i = 0; i < COUNT; i++) {
        p[i] = secret_new(SIZE);
        assert_non_null(p[i]);
        assert_memory_equal(p[i], zeros, SIZE);
        outside += CRYPTO_secure_allocated(p[i]) == 0;
        memset(p[i], i, SIZE);
    }
    assert_int_equal(outside, COUNT - SECRET_ARENA_SIZE / SIZE);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(p[i][0], i);
        assert_int_equal(p[i][SIZE - 1], i);
        secret_free(p[i], SIZE);
    }
    uint8_t *one = secret_new(SIZE);
    assert_true(CRYPTO_secure_allocated(one));
    secret_free(one, SIZE);
}

static void comparison_sees_every_bit(void **state)
{
    (void)state;
    uint8_t a[48] = {1, 2, 3}, b[48] = {1, 2, 3};
    assert_true(secret_equal(a, b, sizeof(a)));
    for (size_t i = 0; i < 8 * sizeof(a); i++) {
        b[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(secret_equal(a, b, sizeof(a)));
        b[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_outside_the_heap),
        cmocka_unit_test(a_full_arena_is_no_failure),
        cmocka_unit_test(comparison_sees_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
