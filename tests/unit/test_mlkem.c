#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "crypto/mlkem.h"

static struct mlkem_keypair *new_pair(void)
{
    struct mlkem_keypair *pair = NULL;
    assert_int_equal(mlkem_keypair_new(&pair), ERR_OK);
    return pair;
}

static void both_ends_get_the_same_secret(void **state)
{
    (void)state;
    struct mlkem_keypair *pair = new_pair();
    uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE];
    uint8_t a[MLKEM_SECRET_SIZE], b[MLKEM_SECRET_SIZE], last[MLKEM_SECRET_SIZE] = {0};
    for (int i = 0; i < 16; i++) {
        assert_int_equal(mlkem_encapsulate(ciphertext, a, mlkem_public_key(pair)), ERR_OK);
        assert_int_equal(mlkem_decapsulate(b, ciphertext, pair), ERR_OK);
        assert_memory_equal(a, b, sizeof(a));
        assert_memory_not_equal(a, last, sizeof(a));
        memcpy(last, a, sizeof(a));
    }
    mlkem_keypair_free(pair);
}

static void an_altered_ciphertext_gives_another_secret(void **state)
{
    (void)state;
    struct mlkem_keypair *pair = new_pair();
    uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE], a[MLKEM_SECRET_SIZE], b[MLKEM_SECRET_SIZE];
    assert_int_equal(mlkem_encapsulate(ciphertext, a, mlkem_public_key(pair)), ERR_OK);
    for (size_t i = 0; i < sizeof(ciphertext); i += 97) {
        ciphertext[i] ^= 0x10;
        assert_int_equal(mlkem_decapsulate(b, ciphertext, pair), ERR_OK);
        assert_memory_not_equal(a, b, sizeof(a));
        ciphertext[i] ^= 0x10;
    }
    mlkem_keypair_free(pair);
}

static void another_key_pair_gives_another_secret(void **state)
{
    (void)state;
    struct mlkem_keypair *pair = new_pair(), *other = new_pair();
    uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE], a[MLKEM_SECRET_SIZE], b[MLKEM_SECRET_SIZE];
    assert_memory_not_equal(mlkem_public_key(pair), mlkem_public_key(other), MLKEM_PUBLIC_KEY_SIZE);
    assert_int_equal(mlkem_encapsulate(ciphertext, a, mlkem_public_key(pair)), ERR_OK);
    assert_int_equal(mlkem_decapsulate(b, ciphertext, other), ERR_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    mlkem_keypair_free(pair);
    mlkem_keypair_free(other);
    mlkem_keypair_free(NULL);
}

/* FIPS 203, 7.2: a coefficient that is not below q is not a public key. */
static void a_public_key_out_of_range_is_refused(void **state)
{
    (void)state;
    uint8_t public_key[MLKEM_PUBLIC_KEY_SIZE], zero[MLKEM_SECRET_SIZE] = {0};
    uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE], secret[MLKEM_SECRET_SIZE] = {1};
    memset(public_key, 0xff, sizeof(public_key));
    assert_int_equal(mlkem_encapsulate(ciphertext, secret, public_key), ERR_MALFORMED);
    assert_memory_equal(secret, zero, sizeof(secret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_get_the_same_secret),
        cmocka_unit_test(an_altered_ciphertext_gives_another_secret),
        cmocka_unit_test(another_key_pair_gives_another_secret),
        cmocka_unit_test(a_public_key_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
