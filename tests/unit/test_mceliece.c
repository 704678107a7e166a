#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "crypto/mceliece.h"

static struct mceliece_keypair *new_pair(void)
{
    struct mceliece_keypair *pair = NULL;
    assert_int_equal(mceliece_keypair_new(&pair), ERR_OK);
    return pair;
}

static void both_ends_get_the_same_secret(void **state)
{
    (void)state;
    struct mceliece_keypair *pair = new_pair();
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE];
    uint8_t a[MCELIECE_SECRET_SIZE], b[MCELIECE_SECRET_SIZE], last[MCELIECE_SECRET_SIZE] = {0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(mceliece_encapsulate(ciphertext, a, mceliece_public_key(pair)), ERR_OK);
        assert_int_equal(mceliece_decapsulate(b, ciphertext, pair), ERR_OK);
        assert_memory_equal(a, b, sizeof(a));
        assert_memory_not_equal(a, last, sizeof(a));
        memcpy(last, a, sizeof(a));
    }
    mceliece_keypair_free(pair);
}

static void an_altered_ciphertext_gives_another_secret(void **state)
{
    (void)state;
    struct mceliece_keypair *pair = new_pair();
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], a[MCELIECE_SECRET_SIZE], b[MCELIECE_SECRET_SIZE];
    assert_int_equal(mceliece_encapsulate(ciphertext, a, mceliece_public_key(pair)), ERR_OK);
    for (size_t i = 0; i < sizeof(ciphertext); i += 31) {
        ciphertext[i] ^= 0x10;
        assert_int_equal(mceliece_decapsulate(b, ciphertext, pair), ERR_OK);
        assert_memory_not_equal(a, b, sizeof(a));
        ciphertext[i] ^= 0x10;
    }
    mceliece_keypair_free(pair);
}

static void another_key_pair_gives_another_secret(void **state)
{
    (void)state;
    struct mceliece_keypair *pair = new_pair(), *other = new_pair();
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], a[MCELIECE_SECRET_SIZE], b[MCELIECE_SECRET_SIZE];
    assert_memory_not_equal(mceliece_public_key(pair), mceliece_public_key(other),
                            MCELIECE_PUBLIC_KEY_SIZE);
    assert_int_equal(mceliece_encapsulate(ciphertext, a, mceliece_public_key(pair)), ERR_OK);
    assert_int_equal(mceliece_decapsulate(b, ciphertext, other), ERR_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    mceliece_keypair_free(pair);
    mceliece_keypair_free(other);
    mceliece_keypair_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_get_the_same_secret),
        cmocka_unit_test(an_altered_ciphertext_gives_another_secret),
        cmocka_unit_test(another_key_pair_gives_another_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
