#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/record.h"

#define EPOCH 7

static const struct traffic_keys keys = {
    .key = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
            16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
    .prefix = {0xa0, 0xa1, 0xa2, 0xa3},
};

static const char text[] = "attack at dawn";
#define TEXT_LEN (sizeof(text) - 1)

enum transport { STREAM, DATAGRAM };

static struct record_sealer *new_sealer(const struct traffic_keys *k)
{
    struct record_sealer *s = NULL;
    assert_int_equal(record_sealer_new(&s, k, EPOCH), ERR_OK);
    return s;
}

static struct record_opener *new_opener(const struct traffic_keys *k)
{
    struct record_opener *o = NULL;
    assert_int_equal(record_opener_new(&o, k, EPOCH), ERR_OK);
    return o;
}

static size_t seal_as(enum transport t, struct record_sealer *s, const void *data, size_t len,
                      uint8_t *out, size_t cap)
{
    uint8_t copy[RECORD_PLAINTEXT_MAX];
    memcpy(copy, data, len);
    struct iovec part = {copy, len};
    size_t n = 0;
    if (t == STREAM)
        assert_int_equal(record_seal(s, &part, 1, out, cap, &n), ERR_OK);
    else
        assert_int_equal(record_seal_datagram(s, &part, 1, out, cap, &n), ERR_OK);
    return n;
}

static size_t seal(struct record_sealer *s, const void *data, size_t len, uint8_t *out, size_t cap)
{
    return seal_as(STREAM, s, data, len, out, cap);
}

static void opens_to(struct record_opener *o, uint8_t *record, size_t len, const void *want,
                     size_t want_len)
{
    uint8_t *plain = NULL;
    size_t plain_len = 0;
    assert_int_equal(record_open(o, record, len, &plain, &plain_len), ERR_OK);
    assert_int_equal(plain_len, want_len);
    assert_memory_equal(plain, want, want_len);
}

static bool contains(const uint8_t *hay, size_t len, const char *needle, size_t n)
{
    return memmem(hay, len, needle, n) != NULL;
}

/* Opens, expects the error, and looks for anything of the plaintext that was left behind. */
static void refuses(enum transport t, struct record_opener *o, uint8_t *record, size_t len,
                    enum err want)
{
    uint8_t *plain = record;
    size_t plain_len = 1;
    enum err e = t == STREAM ? record_open(o, record, len, &plain, &plain_len)
                             : record_open_datagram(o, record, len, &plain, &plain_len);
    if (want != ERR_OK)
        assert_int_equal(e, want);
    else
        assert_int_not_equal(e, ERR_OK);
    assert_null(plain);
    assert_int_equal(plain_len, 0);
    assert_false(contains(record, len, "tack", 4));
}

static void from_hex(uint8_t *out, const char *hex)
{
    for (size_t i = 0; hex[2 * i] != '\0'; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
}

static void ciphertext_is_nists(void **state)
{
    /* Test cases 13 and 14 of the GCM specification: key, nonce and plaintext all zeros. The tag is
     * another one, because here the header is authenticated too. */
    (void)state;
    static const struct traffic_keys zero;
    static const uint8_t plain[16];
    uint8_t record[16 + RECORD_OVERHEAD], want[16];
    struct record_sealer *s = new_sealer(&zero);
    assert_int_equal(seal(s, plain, sizeof(plain), record, sizeof(record)), sizeof(record));
    from_hex(want, "cea7403d4d606b6e074ec5d3baf39d18");
    assert_memory_equal(record + RECORD_HEADER_SIZE, want, sizeof(want));
    record_sealer_free(s);
}

static void whole_records_equal_an_independent_implementation(void **state)
{
    /* Computed with Python's cryptography package; also pins the nonce's layout. */
    (void)state;
    static const struct {
        enum transport transport;
        uint64_t counter;
        const char *hex;
    } rows[] = {
        {STREAM, 0, "750700001e7dcd2857400f95ddcd1bdf5226b4187ed200fab4c9d0c34b757f344435f3"},
        {STREAM, 1, "750700001ed1dbccef0f1fe6d56ffac90b0c05b1874b965341711b2af52a095b707a92"},
        {DATAGRAM, 0x123,
         "750700001e00000000000001238e713f6b54da71ba3028d38909700e0b802fa8c0636fce873854dd16176d"},
        {STREAM, UINT64_C(0x0102030405060708),
         "750700001e978e36c597d05a7832466c92a11b7755f83569cb3b3d3b69932aff9b6486"},
    };
    struct record_sealer *s = new_sealer(&keys);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t record[64], want[64];
        record_sealer_skip_to_for_test(s, rows[i].counter);
        size_t n = seal_as(rows[i].transport, s, text, TEXT_LEN, record, sizeof(record));
        assert_int_equal(n, strlen(rows[i].hex) / 2);
        from_hex(want, rows[i].hex);
        assert_memory_equal(record, want, n);
    }
    record_sealer_free(s);
}

static void round_trip_at_every_size_class(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 15, 16, 17, 255, 256, 1024, 16384, 65535, 65536};
    uint8_t *data = malloc(RECORD_PLAINTEXT_MAX), *record = malloc(RECORD_SIZE_MAX);
    for (size_t i = 0; i < RECORD_PLAINTEXT_MAX; i++)
        data[i] = (uint8_t)(i * 31 + i / 256);
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = seal(s, data, sizes[i], record, RECORD_SIZE_MAX);
        size_t need = 0;
        assert_int_equal(n, sizes[i] + RECORD_OVERHEAD);
        assert_int_equal(record_peek(o, record, 4, &need), ERR_OK);
        assert_int_equal(need, 0);
        assert_int_equal(record_peek(o, record, RECORD_HEADER_SIZE, &need), ERR_OK);
        assert_int_equal(need, n);
        opens_to(o, record, n, data, sizes[i]);
    }
    record_sealer_free(s);
    record_opener_free(o);
    free(data);
    free(record);
}

static void gathered_parts_equal_one_piece(void **state)
{
    (void)state;
    uint8_t data[4096], whole[4096 + RECORD_OVERHEAD], parts[4096 + RECORD_OVERHEAD];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    struct record_sealer *a = new_sealer(&keys), *b = new_sealer(&keys);
    size_t n = seal(a, data, sizeof(data), whole, sizeof(whole));

    static const size_t cuts[] = {1, 0, 15, 17, 3, 16, 1000, 33, 0};
    struct iovec v[sizeof(cuts) / sizeof(cuts[0]) + 1];
    size_t at = 0, k = 0;
    for (; k < sizeof(cuts) / sizeof(cuts[0]); k++) {
        v[k] = (struct iovec){cuts[k] == 0 ? NULL : data + at, cuts[k]};
        at += cuts[k];
    }
    v[k++] = (struct iovec){data + at, sizeof(data) - at};
    size_t m = 0;
    assert_int_equal(record_seal(b, v, k, parts, sizeof(parts), &m), ERR_OK);
    assert_int_equal(m, n);
    assert_memory_equal(whole, parts, n);
    record_sealer_free(a);
    record_sealer_free(b);
}

static void bad_sizes_are_refused_and_cost_nothing(void **state)
{
    (void)state;
    uint8_t *data = calloc(1, RECORD_PLAINTEXT_MAX + 1), *out = malloc(RECORD_SIZE_MAX + 1);
    uint8_t want[64];
    struct record_sealer *s = new_sealer(&keys);
    struct iovec one[2] = {{data, RECORD_PLAINTEXT_MAX + 1}, {data, 0}};
    struct iovec two[2] = {{data, RECORD_PLAINTEXT_MAX}, {data, 1}};
    struct iovec huge[2] = {{data, 10}, {data, SIZE_MAX - 5}};
    struct iovec ok[1] = {{data, 32}};
    size_t n = 1;
    assert_int_equal(record_seal(s, one, 1, out, RECORD_SIZE_MAX + 1, &n), ERR_TOO_LARGE);
    assert_int_equal(record_seal(s, two, 2, out, RECORD_SIZE_MAX + 1, &n), ERR_TOO_LARGE);
    assert_int_equal(record_seal(s, huge, 2, out, RECORD_SIZE_MAX + 1, &n), ERR_TOO_LARGE);
    assert_int_equal(record_seal(s, ok, 1, out, 32 + RECORD_OVERHEAD - 1, &n), ERR_TOO_LARGE);
    assert_int_equal(record_seal(s, ok, 0, out, RECORD_SIZE_MAX, &n), ERR_MALFORMED);
    assert_int_equal(record_seal(s, one + 1, 1, out, RECORD_SIZE_MAX, &n), ERR_MALFORMED);
    assert_int_equal(n, 0);
    from_hex(want, "750700001e7dcd2857400f95ddcd1bdf5226b4187ed200fab4c9d0c34b757f344435f3");
    n = seal(s, text, TEXT_LEN, out, RECORD_SIZE_MAX);
    assert_memory_equal(out, want, n); /* still the record with counter 0 */
    record_sealer_free(s);
    free(data);
    free(out);
}

static int compare_tags(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void nonces_are_unique_in_volume(void **state)
{
    /* Under one key, equal plaintexts get equal ciphertexts exactly when the nonce repeats. */
    (void)state;
    enum { RECORDS = 200000 };
    uint8_t(*seen)[16] = malloc(RECORDS * 16);
    static const uint8_t plain[16];
    uint8_t record[64];
    struct iovec part = {record, 0};
    struct record_sealer *s = new_sealer(&keys);
    for (size_t i = 0; i < RECORDS; i++) {
        size_t n = 0;
        uint8_t zeros[16] = {0};
        part = (struct iovec){zeros, sizeof(plain)};
        if (i % 2 == 0) {
            assert_int_equal(record_seal(s, &part, 1, record, sizeof(record), &n), ERR_OK);
            memcpy(seen[i], record + RECORD_HEADER_SIZE, 16);
        } else { /* both kinds draw from one counter */
            assert_int_equal(record_seal_datagram(s, &part, 1, record, sizeof(record), &n), ERR_OK);
            memcpy(seen[i], record + RECORD_HEADER_SIZE + RECORD_COUNTER_SIZE, 16);
        }
    }
    qsort(seen, RECORDS, 16, compare_tags);
    for (size_t i = 1; i < RECORDS; i++)
        assert_memory_not_equal(seen[i - 1], seen[i], 16);
    record_sealer_free(s);
    free(seen);
}

static void a_replayed_record_ends_the_stream(void **state)
{
    (void)state;
    uint8_t first[64], again[64], next[64];
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    size_t n = seal(s, text, TEXT_LEN, first, sizeof(first));
    memcpy(again, first, n);
    opens_to(o, first, n, text, TEXT_LEN);
    refuses(STREAM, o, again, n, ERR_AUTH_TAG);
    n = seal(s, text, TEXT_LEN, next, sizeof(next));
    refuses(STREAM, o, next, n, ERR_AUTH_TAG); /* dead, though this one is right */
    size_t need = 1;
    assert_int_equal(record_peek(o, next, n, &need), ERR_AUTH_TAG);
    assert_int_equal(need, 0);
    assert_int_equal(record_opener_rekey(o, &keys), ERR_AUTH_TAG);
    record_sealer_free(s);
    record_opener_free(o);
}

static void reordered_and_dropped_records_end_the_stream(void **state)
{
    (void)state;
    uint8_t first[64], second[64];
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    size_t n = seal(s, text, TEXT_LEN, first, sizeof(first));
    assert_int_equal(seal(s, text, TEXT_LEN, second, sizeof(second)), n);
    refuses(STREAM, o, second, n, ERR_AUTH_TAG);
    refuses(STREAM, o, first, n, ERR_AUTH_TAG);
    record_sealer_free(s);
    record_opener_free(o);
}

static void every_flipped_byte_is_noticed(void **state)
{
    (void)state;
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    for (int t = STREAM; t <= DATAGRAM; t++) {
        uint8_t record[64], bad[64];
        struct record_sealer *s = new_sealer(&keys);
        size_t n = seal_as((enum transport)t, s, text, TEXT_LEN, record, sizeof(record));
        for (size_t i = 0; i < n; i++) {
            for (size_t m = 0; m < sizeof(masks); m++) {
                struct record_opener *o = new_opener(&keys);
                memcpy(bad, record, n);
                bad[i] ^= masks[m];
                refuses((enum transport)t, o, bad, n, ERR_OK);
                record_opener_free(o);
            }
        }
        record_sealer_free(s);
    }
}

static void every_truncation_and_extension_is_noticed(void **state)
{
    (void)state;
    for (int t = STREAM; t <= DATAGRAM; t++) {
        uint8_t record[128], bad[128];
        struct record_sealer *s = new_sealer(&keys);
        size_t n = seal_as((enum transport)t, s, text, TEXT_LEN, record, sizeof(record));
        memset(record + n, 0x75, sizeof(record) - n);
        for (size_t len = 0; len < n + 20; len++) {
            if (len == n)
                continue;
            struct record_opener *o = new_opener(&keys);
            memcpy(bad, record, sizeof(bad));
            refuses((enum transport)t, o, bad, len, ERR_MALFORMED);
            record_opener_free(o);

            /* The same with a header that says so. */
            size_t around = t == STREAM ? RECORD_HEADER_SIZE : RECORD_HEADER_SIZE + 8;
            if (len < around)
                continue;
            o = new_opener(&keys);
            memcpy(bad, record, sizeof(bad));
            bad[4] = (uint8_t)(len - around);
            refuses((enum transport)t, o, bad, len, ERR_OK);
            record_opener_free(o);
        }
        record_sealer_free(s);
    }
}

static void headers_out_of_bounds_are_refused_early(void **state)
{
    (void)state;
    static const struct {
        uint8_t header[RECORD_HEADER_SIZE];
        size_t len;
        enum err want;
        size_t need;
    } rows[] = {
        {{0x74}, 1, ERR_MALFORMED, 0},
        {{0x75}, 1, ERR_OK, 0},
        {{0x75, EPOCH + 1}, 2, ERR_UNEXPECTED, 0},
        {{0x75, EPOCH - 1}, 2, ERR_UNEXPECTED, 0},
        {{0x75, EPOCH, 0, 0, 16}, 5, ERR_MALFORMED, 0}, /* no plaintext */
        {{0x75, EPOCH, 0, 0, 17}, 5, ERR_OK, 22},
        {{0x75, EPOCH, 0, 0, 0}, 5, ERR_MALFORMED, 0},
        {{0x75, EPOCH, 1, 0, 16}, 5, ERR_OK, RECORD_SIZE_MAX},
        {{0x75, EPOCH, 1, 0, 17}, 5, ERR_MALFORMED, 0},
        {{0x75, EPOCH, 0xff, 0xff, 0xff}, 5, ERR_MALFORMED, 0},
    };
    struct record_opener *o = new_opener(&keys);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t need = 1;
        assert_int_equal(record_peek(o, rows[i].header, rows[i].len, &need), rows[i].want);
        assert_int_equal(need, rows[i].need);
    }
    record_opener_free(o);
}

static void directions_do_not_mix(void **state)
{
    /* A record sent back to its sender must not open there: each direction has its own keys. */
    (void)state;
    struct traffic_keys back = keys;
    back.key[31] ^= 1;
    struct record_sealer *here = new_sealer(&keys), *there = new_sealer(&back);
    struct record_opener *from_here = new_opener(&keys), *from_there = new_opener(&back);
    uint8_t record[64], reflected[64];
    for (int i = 0; i < 3; i++) {
        size_t n = seal(here, text, TEXT_LEN, record, sizeof(record));
        opens_to(from_here, record, n, text, TEXT_LEN);
        n = seal(there, text, TEXT_LEN, record, sizeof(record));
        opens_to(from_there, record, n, text, TEXT_LEN);
    }
    size_t n = seal(here, text, TEXT_LEN, reflected, sizeof(reflected));
    refuses(STREAM, from_there, reflected, n, ERR_AUTH_TAG);

    struct traffic_keys other_prefix = keys; /* the prefix alone is enough to tell them apart */
    other_prefix.prefix[0] ^= 1;
    struct record_opener *o = new_opener(&other_prefix);
    struct record_sealer *s = new_sealer(&keys);
    n = seal(s, text, TEXT_LEN, record, sizeof(record));
    refuses(STREAM, o, record, n, ERR_AUTH_TAG);

    record_opener_free(o);
    record_sealer_free(s);
    record_sealer_free(here);
    record_sealer_free(there);
    record_opener_free(from_here);
    record_opener_free(from_there);
}

static void a_new_epoch_starts_anew_and_refuses_the_old(void **state)
{
    (void)state;
    struct traffic_keys next = keys;
    memset(next.key, 0x5a, sizeof(next.key));
    struct record_sealer *s = new_sealer(&keys), *old = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    uint8_t record[64];
    size_t n = seal(s, text, TEXT_LEN, record, sizeof(record));
    opens_to(o, record, n, text, TEXT_LEN);

    record_sealer_skip_to_for_test(s, RECORD_SOFT_LIMIT_RECORDS);
    assert_true(record_sealer_needs_epoch(s));
    assert_int_equal(record_sealer_rekey(s, &next), ERR_OK);
    assert_false(record_sealer_needs_epoch(s));
    assert_int_equal(record_opener_rekey(o, &next), ERR_OK);
    n = seal(s, text, TEXT_LEN, record, sizeof(record));
    assert_int_equal(record[1], EPOCH + 1);
    opens_to(o, record, n, text, TEXT_LEN);

    n = seal(old, text, TEXT_LEN, record, sizeof(record));
    refuses(STREAM, o, record, n, ERR_UNEXPECTED);
    record_sealer_free(s);
    record_sealer_free(old);
    record_opener_free(o);
}

static void the_epoch_byte_wraps(void **state)
{
    (void)state;
    struct record_sealer *s = NULL;
    struct record_opener *o = NULL;
    uint8_t record[64];
    assert_int_equal(record_sealer_new(&s, &keys, 255), ERR_OK);
    assert_int_equal(record_opener_new(&o, &keys, 255), ERR_OK);
    size_t n = seal(s, text, TEXT_LEN, record, sizeof(record));
    assert_int_equal(record[1], 255);
    opens_to(o, record, n, text, TEXT_LEN);
    assert_int_equal(record_sealer_rekey(s, &keys), ERR_OK);
    assert_int_equal(record_opener_rekey(o, &keys), ERR_OK);
    n = seal(s, text, TEXT_LEN, record, sizeof(record));
    assert_int_equal(record[1], 0);
    opens_to(o, record, n, text, TEXT_LEN);
    record_sealer_free(s);
    record_opener_free(o);
}

static void limits_of_one_key(void **state)
{
    (void)state;
    uint8_t record[64];
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    record_sealer_skip_to_for_test(s, RECORD_SOFT_LIMIT_RECORDS - 1);
    assert_false(record_sealer_needs_epoch(s));
    (void)seal(s, text, TEXT_LEN, record, sizeof(record));
    assert_true(record_sealer_needs_epoch(s));

    record_sealer_skip_to_for_test(s, RECORD_HARD_LIMIT_RECORDS - 1);
    record_opener_skip_to_for_test(o, RECORD_HARD_LIMIT_RECORDS - 1);
    size_t n = seal(s, text, TEXT_LEN, record, sizeof(record));
    opens_to(o, record, n, text, TEXT_LEN);
    n = seal(s, text, TEXT_LEN, record, sizeof(record));
    refuses(STREAM, o, record, n, ERR_KEY_EXPIRED);
    record_sealer_free(s);
    record_opener_free(o);
}

static void the_counter_never_wraps(void **state)
{
    (void)state;
    uint8_t data[4] = {0}, record[64];
    struct iovec part = {data, sizeof(data)};
    struct record_sealer *s = new_sealer(&keys);
    size_t n = 0;
    record_sealer_skip_to_for_test(s, UINT64_MAX - 1);
    assert_int_equal(record_seal_datagram(s, &part, 1, record, sizeof(record), &n), ERR_OK);
    for (int i = 0; i < 3; i++) {
        n = 1;
        assert_int_equal(record_seal(s, &part, 1, record, sizeof(record), &n), ERR_NONCE_EXHAUSTED);
        assert_int_equal(n, 0);
        assert_int_equal(record_seal_datagram(s, &part, 1, record, sizeof(record), &n),
                         ERR_NONCE_EXHAUSTED);
    }
    assert_int_equal(record_sealer_rekey(s, &keys), ERR_OK); /* a new key is the way on */
    assert_int_equal(record_seal(s, &part, 1, record, sizeof(record), &n), ERR_OK);
    record_sealer_free(s);
}

/* Datagrams */

static void datagram_opens(struct record_opener *o, const uint8_t *record, size_t len,
                           enum err want)
{
    uint8_t copy[64], *plain = NULL;
    size_t plain_len = 0;
    memcpy(copy, record, len);
    assert_int_equal(record_open_datagram(o, copy, len, &plain, &plain_len), want);
    if (want == ERR_OK) {
        assert_int_equal(plain_len, TEXT_LEN);
        assert_memory_equal(plain, text, TEXT_LEN);
    } else {
        assert_null(plain);
    }
}

static void datagrams_open_once_in_any_order(void **state)
{
    (void)state;
    enum { COUNT = 3000, SIZE = TEXT_LEN + RECORD_DATAGRAM_OVERHEAD };
    uint8_t(*sent)[SIZE] = malloc(COUNT * SIZE);
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(seal_as(DATAGRAM, s, text, TEXT_LEN, sent[i], SIZE), SIZE);

    /* Batches of 500, each shuffled by a stride that is coprime to it; every one a second time. */
    for (size_t batch = 0; batch < COUNT; batch += 500) {
        for (size_t i = 0; i < 500; i++)
            datagram_opens(o, sent[batch + i * 37 % 500], SIZE, ERR_OK);
        for (size_t i = 0; i < 500; i++)
            datagram_opens(o, sent[batch + i], SIZE, ERR_REPLAY);
    }
    datagram_opens(o, sent[0], SIZE, ERR_REPLAY);
    record_sealer_free(s);
    record_opener_free(o);
    free(sent);
}

static void the_window_has_its_exact_size(void **state)
{
    (void)state;
    enum { COUNT = 2 * RECORD_REPLAY_WINDOW + 2, SIZE = TEXT_LEN + RECORD_DATAGRAM_OVERHEAD };
    uint8_t(*sent)[SIZE] = malloc(COUNT * SIZE);
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    for (size_t i = 0; i < COUNT; i++)
        (void)seal_as(DATAGRAM, s, text, TEXT_LEN, sent[i], SIZE);
    size_t top = RECORD_REPLAY_WINDOW;
    datagram_opens(o, sent[top], SIZE, ERR_OK);
    datagram_opens(o, sent[0], SIZE, ERR_REPLAY); /* 1024 behind: outside */
    datagram_opens(o, sent[1], SIZE, ERR_OK);     /* 1023 behind: inside */
    datagram_opens(o, sent[1], SIZE, ERR_REPLAY);
    top = COUNT - 1; /* more than a window ahead: nothing old is remembered, nothing is open */
    datagram_opens(o, sent[top], SIZE, ERR_OK);
    datagram_opens(o, sent[top], SIZE, ERR_REPLAY);
    for (size_t i = 0; i < COUNT - 1; i++)
        datagram_opens(o, sent[i], SIZE, i + RECORD_REPLAY_WINDOW > top ? ERR_OK : ERR_REPLAY);
    record_sealer_free(s);
    record_opener_free(o);
    free(sent);
}

static void a_forged_datagram_changes_nothing(void **state)
{
    (void)state;
    uint8_t first[64], forged[64], bad[64];
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    size_t n = seal_as(DATAGRAM, s, text, TEXT_LEN, first, sizeof(first));
    memcpy(forged, first, n);
    forged[RECORD_HEADER_SIZE + 5] = 0x10; /* a counter far ahead */
    datagram_opens(o, forged, n, ERR_AUTH_TAG);
    memcpy(bad, first, n);
    bad[n - 1] ^= 1;
    datagram_opens(o, bad, n, ERR_AUTH_TAG);
    memcpy(bad, first, n);
    bad[RECORD_HEADER_SIZE] = 0xff;
    datagram_opens(o, bad, n, ERR_KEY_EXPIRED);
    datagram_opens(o, first, n, ERR_OK); /* the window did not move, the counter is not used up */
    record_sealer_free(s);
    record_opener_free(o);
}

static void a_new_epoch_empties_the_window(void **state)
{
    (void)state;
    uint8_t record[64];
    struct record_sealer *s = new_sealer(&keys);
    struct record_opener *o = new_opener(&keys);
    size_t n = seal_as(DATAGRAM, s, text, TEXT_LEN, record, sizeof(record));
    datagram_opens(o, record, n, ERR_OK);
    assert_int_equal(record_sealer_rekey(s, &keys), ERR_OK);
    assert_int_equal(record_opener_rekey(o, &keys), ERR_OK);
    datagram_opens(o, record, n, ERR_UNEXPECTED);
    n = seal_as(DATAGRAM, s, text, TEXT_LEN, record, sizeof(record));
    datagram_opens(o, record, n, ERR_OK);
    record_sealer_free(s);
    record_opener_free(o);
}

static void free_takes_null(void **state)
{
    (void)state;
    record_sealer_free(NULL);
    record_opener_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ciphertext_is_nists),
        cmocka_unit_test(whole_records_equal_an_independent_implementation),
        cmocka_unit_test(round_trip_at_every_size_class),
        cmocka_unit_test(gathered_parts_equal_one_piece),
        cmocka_unit_test(bad_sizes_are_refused_and_cost_nothing),
        cmocka_unit_test(nonces_are_unique_in_volume),
        cmocka_unit_test(a_replayed_record_ends_the_stream),
        cmocka_unit_test(reordered_and_dropped_records_end_the_stream),
        cmocka_unit_test(every_flipped_byte_is_noticed),
        cmocka_unit_test(every_truncation_and_extension_is_noticed),
        cmocka_unit_test(headers_out_of_bounds_are_refused_early),
        cmocka_unit_test(directions_do_not_mix),
        cmocka_unit_test(a_new_epoch_starts_anew_and_refuses_the_old),
        cmocka_unit_test(the_epoch_byte_wraps),
        cmocka_unit_test(limits_of_one_key),
        cmocka_unit_test(the_counter_never_wraps),
        cmocka_unit_test(datagrams_open_once_in_any_order),
        cmocka_unit_test(the_window_has_its_exact_size),
        cmocka_unit_test(a_forged_datagram_changes_nothing),
        cmocka_unit_test(a_new_epoch_empties_the_window),
        cmocka_unit_test(free_takes_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
