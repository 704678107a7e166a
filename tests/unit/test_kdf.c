#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "crypto/kdf.h"

static struct kdf_bytes text(const char *s)
{
    return (struct kdf_bytes){(const uint8_t *)s, strlen(s)};
}

static void equals_hex(const uint8_t *data, size_t len, const char *hex)
{
    char out[2 * 255 + 1];
    for (size_t i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", data[i]);
    assert_string_equal(out, hex);
}

static void hash_is_fips_180s(void **state)
{
    (void)state;
    uint8_t out[KDF_SIZE];
    assert_int_equal(kdf_hash(out, text("abc")), ERR_OK);
    equals_hex(out, sizeof(out),
               "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
               "8086072ba1e7cc2358baeca134c825a7");
    assert_int_equal(kdf_hash(out, (struct kdf_bytes){NULL, 0}), ERR_OK);
    equals_hex(out, sizeof(out),
               "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da"
               "274edebfe76f65fbd51ad2f14898b95b");
}

static void hmac_is_rfc_4231s(void **state)
{
    (void)state;
    uint8_t out[KDF_SIZE];
    assert_int_equal(kdf_hmac(out, text("Jefe"), text("what do ya want for nothing?")), ERR_OK);
    equals_hex(out, sizeof(out),
               "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"
               "8e2240ca5e69e2c78b3239ecfab21649");
}

static void extract_is_hmac_with_the_salt_as_key(void **state)
{
    (void)state;
    uint8_t a[KDF_SIZE], b[KDF_SIZE];
    assert_int_equal(kdf_extract(a, text("salt"), text("input")), ERR_OK);
    assert_int_equal(kdf_hmac(b, text("salt"), text("input")), ERR_OK);
    assert_memory_equal(a, b, sizeof(a));
}

static void expand_label_is_hkdf_with_a_label(void **state)
{
    /* HKDF-Expand by hand: T(1) = HMAC(secret, info ‖ 1), T(2) = HMAC(secret, T(1) ‖ info ‖ 2). */
    (void)state;
    uint8_t secret[KDF_SIZE], got[60], t1[KDF_SIZE], t2[KDF_SIZE];
    memset(secret, 0x42, sizeof(secret));
    static const char info[] = "\x00\x3c\x0butun1 label\x03xyz";
    size_t info_len = sizeof(info) - 1;
    uint8_t block[KDF_SIZE + sizeof(info)];

    memcpy(block, info, info_len);
    block[info_len] = 1;
    struct kdf_bytes key = {secret, sizeof(secret)};
    assert_int_equal(kdf_hmac(t1, key, (struct kdf_bytes){block, info_len + 1}), ERR_OK);
    memcpy(block, t1, sizeof(t1));
    memcpy(block + sizeof(t1), info, info_len);
    block[sizeof(t1) + info_len] = 2;
    assert_int_equal(kdf_hmac(t2, key, (struct kdf_bytes){block, sizeof(t1) + info_len + 1}),
                     ERR_OK);

    assert_int_equal(kdf_expand_label(got, sizeof(got), secret, "label", text("xyz")), ERR_OK);
    assert_memory_equal(got, t1, sizeof(t1));
    assert_memory_equal(got + sizeof(t1), t2, sizeof(got) - sizeof(t1));
}

static void every_input_matters(void **state)
{
    (void)state;
    uint8_t secret[KDF_SIZE] = {0}, base[32], other[32], prefix[31];
    assert_int_equal(kdf_expand_label(base, 32, secret, "key", text("")), ERR_OK);
    assert_int_equal(kdf_expand_label(other, 32, secret, "kez", text("")), ERR_OK);
    assert_memory_not_equal(base, other, 32);
    assert_int_equal(kdf_expand_label(other, 32, secret, "key", text("x")), ERR_OK);
    assert_memory_not_equal(base, other, 32);
    assert_int_equal(kdf_expand_label(prefix, 31, secret, "key", text("")), ERR_OK);
    assert_memory_not_equal(base, prefix, 31); /* the length is part of it */
    secret[47] = 1;
    assert_int_equal(kdf_expand_label(other, 32, secret, "key", text("")), ERR_OK);
    assert_memory_not_equal(base, other, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_is_fips_180s),
        cmocka_unit_test(hmac_is_rfc_4231s),
        cmocka_unit_test(extract_is_hmac_with_the_salt_as_key),
        cmocka_unit_test(expand_label_is_hkdf_with_a_label),
        cmocka_unit_test(every_input_matters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
