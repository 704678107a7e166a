#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tunnel/handshake_message.h"

/* Decodes a copy of exactly len bytes, so that a sanitizer sees any read beyond. */
static enum err decode_offer(struct handshake_offer *m, const uint8_t *body, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    memcpy(copy + 1, body, len);
    enum err e = handshake_offer_decode(m, copy + 1, len);
    free(copy);
    return e;
}

static void headers_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[HANDSHAKE_HEADER_SIZE];
    handshake_header_encode(bytes, (struct handshake_header){2, 524160});
    assert_memory_equal(bytes, "\x02\x07\xff\x80", 4);
    struct handshake_header h = handshake_header_decode(bytes);
    assert_int_equal(h.type, 2);
    assert_int_equal(h.length, 524160);
}

static void offers_round_trip(void **state)
{
    (void)state;
    struct handshake_offer in = {.version = 1, .kem_mode = 3, .wants_resume = true}, out;
    uint8_t bytes[HANDSHAKE_OFFER_SIZE];
    memset(in.tunnel_id, 0xab, sizeof(in.tunnel_id));
    memset(in.proof, 0xcd, sizeof(in.proof));
    size_t n = handshake_offer_encode(bytes, &in);
    assert_int_equal(n, 72);
    assert_memory_equal(bytes, "\x01\x00\x00\x44\x00\x01\x03\x01\xab", 9);
    assert_int_equal(decode_offer(&out, bytes + 4, n - 4), ERR_OK);
    assert_memory_equal(&out, &in, sizeof(in));
    for (size_t len = 0; len < n - 4; len++)
        assert_int_equal(decode_offer(&out, bytes + 4, len), ERR_MALFORMED);
}

static void offers_have_rules(void **state)
{
    (void)state;
    struct handshake_offer in = {.version = 1, .kem_mode = 1}, out;
    uint8_t bytes[HANDSHAKE_OFFER_SIZE], body[256] = {0};
    size_t n = handshake_offer_encode(bytes, &in) - 4;
    memcpy(body, bytes + 4, n);

    body[1] = 2; /* another version, of which we know nothing more */
    assert_int_equal(decode_offer(&out, body, 2), ERR_VERSION);
    assert_int_equal(out.version, 2);
    assert_int_equal(decode_offer(&out, body, n), ERR_VERSION);
    body[1] = 1;
    for (int bit = 1; bit < 8; bit++) { /* flags that nobody has defined */
        body[3] = (uint8_t)(1 << bit);
        assert_int_equal(decode_offer(&out, body, n), ERR_MALFORMED);
    }
    body[3] = 0;
    body[n - 1] = 1; /* a proof, and nothing to prove */
    assert_int_equal(decode_offer(&out, body, n), ERR_MALFORMED);
    body[n - 1] = 0;
    assert_int_equal(decode_offer(&out, body, n), ERR_OK);
}

static void attributes_are_ignored_but_checked(void **state)
{
    (void)state;
    struct handshake_offer in = {.version = 1, .kem_mode = 1}, out;
    uint8_t bytes[HANDSHAKE_OFFER_SIZE], body[512];
    size_t n = handshake_offer_encode(bytes, &in) - 4;
    memcpy(body, bytes + 4, n);
    static const struct {
        const char *bytes;
        size_t len;
        enum err want;
    } rows[] = {
        {"\x00\x01\x00\x00", 4, ERR_OK},
        {"\x00\x01\x00\x02hi\xff\xff\x00\x01x", 11, ERR_OK},
        {"\x00\x01\x00\x02hi\x00\x01\x00\x00", 10, ERR_MALFORMED}, /* twice */
        {"\x00", 1, ERR_MALFORMED},
        {"\x00\x01\x00", 3, ERR_MALFORMED},
        {"\x00\x01\x00\x02h", 5, ERR_MALFORMED},
        {"\x00\x01\xff\xff", 4, ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memcpy(body + n, rows[i].bytes, rows[i].len);
        assert_int_equal(decode_offer(&out, body, n + rows[i].len), rows[i].want);
    }
}

static void answers_round_trip(void **state)
{
    (void)state;
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], bytes[HANDSHAKE_ANSWER_SIZE];
    memset(ciphertext, 0x77, sizeof(ciphertext));
    struct handshake_answer in = {.version = 1,
                                  .kem_mode = 1,
                                  .is_resumed = true,
                                  .ciphertext = ciphertext,
                                  .ciphertext_len = sizeof(ciphertext)},
                            out;
    memset(in.proof, 0xee, sizeof(in.proof));
    size_t n = handshake_answer_encode(bytes, &in);
    assert_int_equal(n, 4 + 4 + 48 + 2 + 156);
    assert_int_equal(handshake_answer_decode(&out, bytes + 4, n - 4), ERR_OK);
    assert_int_equal(out.ciphertext_len, 156);
    assert_memory_equal(out.ciphertext, ciphertext, 156);
    assert_true(out.is_resumed);
    assert_memory_equal(out.proof, in.proof, sizeof(in.proof));
    for (size_t len = 0; len < n - 4; len++) {
        uint8_t *copy = malloc(len + 1);
        memcpy(copy + 1, bytes + 4, len);
        assert_int_equal(handshake_answer_decode(&out, copy + 1, len), ERR_MALFORMED);
        free(copy);
    }
    in.ciphertext_len = 0;
    n = handshake_answer_encode(bytes, &in);
    assert_int_equal(handshake_answer_decode(&out, bytes + 4, n - 4), ERR_OK);
    assert_int_equal(out.ciphertext_len, 0);
}

static void aborts_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[HANDSHAKE_ABORT_SIZE];
    struct handshake_abort in = {.code = 13,
                                 .kem_mode = 2,
                                 .retry_after_ms = 4000000000,
                                 .text = (const uint8_t *)"no",
                                 .text_len = 2},
                           out;
    size_t n = handshake_abort_encode(bytes, &in);
    assert_int_equal(n, 4 + 9 + 2);
    assert_int_equal(handshake_abort_decode(&out, bytes + 4, n - 4), ERR_OK);
    assert_int_equal(out.code, 13);
    assert_int_equal(out.kem_mode, 2);
    assert_int_equal(out.retry_after_ms, 4000000000);
    assert_int_equal(out.text_len, 2);
    assert_memory_equal(out.text, "no", 2);
    for (size_t len = 0; len < n - 4; len++)
        assert_int_equal(handshake_abort_decode(&out, bytes + 4, len), ERR_MALFORMED);

    uint8_t body[400] = {0};
    body[7] = 1;
    body[8] = 1; /* 257 bytes of text */
    assert_int_equal(handshake_abort_decode(&out, body, sizeof(body)), ERR_MALFORMED);
    body[8] = 0;
    assert_int_equal(handshake_abort_decode(&out, body, sizeof(body)), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_round_trip), cmocka_unit_test(offers_round_trip),
        cmocka_unit_test(offers_have_rules),  cmocka_unit_test(attributes_are_ignored_but_checked),
        cmocka_unit_test(answers_round_trip), cmocka_unit_test(aborts_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
