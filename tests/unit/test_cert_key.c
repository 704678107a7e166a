#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "crypto/cert_key.h"

static void names_are_read_forgivingly(void **state)
{
    static const struct {
        const char *name;
        enum cert_key_algorithm algorithm;
    } cases[] = {
        {"ml-dsa-65", CERT_KEY_ML_DSA_65},   {"MLDSA65", CERT_KEY_ML_DSA_65},
        {"ml_dsa_44", CERT_KEY_ML_DSA_44},   {"ML-DSA-87", CERT_KEY_ML_DSA_87},
        {"Ed25519", CERT_KEY_ED25519},       {"p256", CERT_KEY_ECDSA_P256},
        {"P-256", CERT_KEY_ECDSA_P256},      {"ecdsa-p256", CERT_KEY_ECDSA_P256},
        {"prime256v1", CERT_KEY_ECDSA_P256}, {"ECDSA P-384", CERT_KEY_ECDSA_P384},
        {"secp384r1", CERT_KEY_ECDSA_P384},
    };
    static const char *const unknown[] = {
        "",           "-",
        "rsa",        "ml-dsa-66",
        "p521",       "ed448",
        "ml-dsa-65x", "a name that is much longer than that of any algorithm there is",
    };
    enum cert_key_algorithm a = CERT_KEY_ED25519;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(cert_key_parse(&a, cases[i].name));
        assert_int_equal(a, cases[i].algorithm);
    }
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_false(cert_key_parse(&a, unknown[i]));
}

static void every_own_name_is_read_and_listed(void **state)
{
    (void)state;
    for (int i = 0; i < CERT_KEY_COUNT; i++) {
        enum cert_key_algorithm a = CERT_KEY_COUNT;
        const char *name = cert_key_name((enum cert_key_algorithm)i);

        assert_true(cert_key_parse(&a, name));
        assert_int_equal(a, i);
        assert_non_null(strstr(cert_key_all_names(), name));
    }
}

static void generated_keys_are_of_their_kind_and_all_different(void **state)
{
    static const char *const types[CERT_KEY_COUNT] = {"ML-DSA-65", "ML-DSA-44", "ML-DSA-87",
                                                      "ED25519",   "EC",        "EC"};

    (void)state;
    for (int i = 0; i < CERT_KEY_COUNT; i++) {
        EVP_PKEY *one = NULL;
        EVP_PKEY *two = NULL;

        assert_int_equal(cert_key_generate(&one, (enum cert_key_algorithm)i), ERR_OK);
        assert_int_equal(cert_key_generate(&two, (enum cert_key_algorithm)i), ERR_OK);
        assert_true(EVP_PKEY_is_a(one, types[i]));
        assert_int_equal(EVP_PKEY_eq(one, two), 0);
        EVP_PKEY_free(one);
        EVP_PKEY_free(two);
    }
}

static void the_hash_fits_the_key(void **state)
{
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);

    (void)state;
    for (int i = 0; i < CERT_KEY_COUNT; i++) {
        EVP_PKEY *key = NULL;
        const EVP_MD *md = NULL;

        assert_int_equal(cert_key_generate(&key, (enum cert_key_algorithm)i), ERR_OK);
        md = cert_key_digest(key);
        if (i == CERT_KEY_ECDSA_P256)
            assert_true(EVP_MD_is_a(md, "SHA256"));
        else if (i == CERT_KEY_ECDSA_P384)
            assert_true(EVP_MD_is_a(md, "SHA384"));
        else
            assert_null(md);
        EVP_PKEY_free(key);
    }
    assert_true(EVP_MD_is_a(cert_key_digest(rsa), "SHA256"));
    EVP_PKEY_free(rsa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_forgivingly),
        cmocka_unit_test(every_own_name_is_read_and_listed),
        cmocka_unit_test(generated_keys_are_of_their_kind_and_all_different),
        cmocka_unit_test(the_hash_fits_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
