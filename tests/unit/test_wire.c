#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/wire.h"

static struct wire_reader over(const uint8_t *data, size_t len)
{
    struct wire_reader r;

    wire_reader_init(&r, data, len);
    return r;
}

static void reader_stays_failed(void **state)
{
    (void)state;
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct wire_reader r = over(data, sizeof(data));
    struct wire_reader sub;

    assert_int_equal(wire_u8(&r), 1);
    assert_null(wire_bytes(&r, 8));
    assert_true(r.failed);
    /* Seven bytes are there, but nothing is given any more. */
    assert_int_equal(wire_left(&r), 0);
    assert_int_equal(wire_u8(&r), 0);
    assert_int_equal(wire_u16(&r), 0);
    assert_int_equal(wire_u24(&r), 0);
    assert_int_equal(wire_u32(&r), 0);
    assert_int_equal(wire_u64(&r), 0);
    assert_int_equal(wire_varint(&r), 0);
    assert_null(wire_bytes(&r, 0));
    sub = wire_sub(&r, 0);
    assert_true(sub.failed);
    assert_int_equal(wire_left(&sub), 0);
}

static void integers_run_out_at_each_byte(void **state)
{
    (void)state;
    static const uint8_t data[8] = {0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8};

    for (size_t len = 0; len <= sizeof(data); len++) {
        struct wire_reader r = over(data, len);
        uint16_t u16 = wire_u16(&r);

        assert_int_equal(u16, len >= 2 ? 0xf1f2 : 0);
        assert_int_equal(r.failed, len < 2);
        r = over(data, len);
        assert_int_equal(wire_u24(&r), len >= 3 ? 0xf1f2f3 : 0);
        assert_int_equal(r.failed, len < 3);
        r = over(data, len);
        assert_int_equal(wire_u32(&r), len >= 4 ? 0xf1f2f3f4 : 0);
        assert_int_equal(r.failed, len < 4);
        r = over(data, len);
        assert_true(wire_u64(&r) == (len >= 8 ? UINT64_C(0xf1f2f3f4f5f6f7f8) : 0));
        assert_int_equal(r.failed, len < 8);
    }
}

static void varint_runs_out_at_each_byte(void **state)
{
    (void)state;
    static const uint8_t first[] = {0x3f, 0x40, 0x80, 0xc0};
    static const size_t size[] = {1, 2, 4, 8};

    for (size_t form = 0; form < 4; form++) {
        uint8_t data[8] = {first[form], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

        for (size_t len = 0; len <= 8; len++) {
            struct wire_reader r = over(data, len);

            wire_varint(&r);
            assert_int_equal(r.failed, len < size[form]);
            if (!r.failed)
                assert_int_equal(wire_left(&r), len - size[form]);
        }
    }
}

static void varint_boundaries(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        size_t size;
    } cases[] = {
        {0, 1},
        {1, 1},
        {63, 1},
        {64, 2},
        {16383, 2},
        {16384, 4},
        {(UINT64_C(1) << 30) - 1, 4},
        {UINT64_C(1) << 30, 8},
        {UINT64_C(1) << 32, 8},
        {WIRE_VARINT_MAX - 1, 8},
        {WIRE_VARINT_MAX, 8},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t room[WIRE_VARINT_SIZE];
        struct wire_writer w;
        struct wire_reader r;

        assert_int_equal(wire_varint_size(cases[i].value), cases[i].size);
        for (size_t size = 0; size < cases[i].size; size++) {
            wire_writer_init(&w, room, size);
            wire_put_varint(&w, cases[i].value);
            assert_true(w.failed);
            assert_int_equal(wire_written(&w), 0);
        }
        wire_writer_init(&w, room, cases[i].size);
        wire_put_varint(&w, cases[i].value);
        assert_false(w.failed);
        assert_int_equal(wire_written(&w), cases[i].size);
        r = over(room, cases[i].size);
        assert_true(wire_varint(&r) == cases[i].value);
        assert_int_equal(wire_left(&r), 0);
    }
}

/* The examples of RFC 9000, appendix A.1, the two-byte form of 37 among them. */
static void varint_takes_any_form(void **state)
{
    (void)state;
    static const struct {
        uint8_t data[8];
        size_t len;
        uint64_t value;
    } cases[] = {
        {{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, 8, UINT64_C(151288809941952652)},
        {{0x9d, 0x7f, 0x3e, 0x7d}, 4, 494878333},
        {{0x7b, 0xbd}, 2, 15293},
        {{0x25}, 1, 37},
        {{0x40, 0x25}, 2, 37},
        {{0x80, 0, 0, 0x25}, 4, 37},
        {{0xc0, 0, 0, 0, 0, 0, 0, 0x25}, 8, 37},
        {{0xc0}, 8, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_reader r = over(cases[i].data, cases[i].len);

        assert_true(wire_varint(&r) == cases[i].value);
        assert_false(r.failed);
        assert_int_equal(wire_left(&r), 0);
    }
}

static void sub_reader_is_bounded(void **state)
{
    (void)state;
    static const uint8_t data[] = {1, 2, 3, 4, 5};
    struct wire_reader r = over(data, sizeof(data));
    struct wire_reader sub = wire_sub(&r, 2);

    assert_int_equal(wire_left(&r), 3);
    assert_int_equal(wire_u16(&sub), 0x0102);
    assert_int_equal(wire_u8(&sub), 0);
    assert_true(sub.failed);
    assert_false(r.failed);
    assert_int_equal(wire_u8(&r), 3);
    sub = wire_sub(&r, 3);
    assert_true(sub.failed);
    assert_true(r.failed);
    r = over(data, sizeof(data));
    sub = wire_sub(&r, SIZE_MAX);
    assert_true(sub.failed && r.failed);
}

static void writer_stays_failed(void **state)
{
    (void)state;
    uint8_t room[8];
    struct wire_writer w;

    memset(room, 0xee, sizeof(room));
    wire_writer_init(&w, room, 5);
    wire_put_u32(&w, 0x01020304);
    wire_put_u16(&w, 0x0506);
    assert_true(w.failed);
    wire_put_u8(&w, 7); /* there would be room, but what came before it is missing */
    wire_put_bytes(&w, room, 0);
    assert_true(w.failed);
    assert_int_equal(wire_written(&w), 4);
    assert_int_equal(room[4], 0xee);
    assert_int_equal(room[5], 0xee);
}

static void writes_what_is_read(void **state)
{
    (void)state;
    uint8_t room[1 + 2 + 3 + 4 + 8 + 3];
    struct wire_writer w;
    struct wire_reader r;

    wire_writer_init(&w, room, sizeof(room));
    wire_put_u8(&w, 0xfe);
    wire_put_u16(&w, 0xfedc);
    wire_put_u24(&w, 0xfedcba);
    wire_put_u32(&w, 0xfedcba98);
    wire_put_u64(&w, UINT64_C(0xfedcba9876543210));
    wire_put_bytes(&w, (const uint8_t *)"abc", 3);
    assert_false(w.failed);
    assert_int_equal(wire_written(&w), sizeof(room));
    r = over(room, sizeof(room));
    assert_int_equal(wire_u8(&r), 0xfe);
    assert_int_equal(wire_u16(&r), 0xfedc);
    assert_int_equal(wire_u24(&r), 0xfedcba);
    assert_int_equal(wire_u32(&r), 0xfedcba98);
    assert_true(wire_u64(&r) == UINT64_C(0xfedcba9876543210));
    assert_memory_equal(wire_bytes(&r, 3), "abc", 3);
    assert_non_null(wire_bytes(&r, 0));
    assert_int_equal(wire_left(&r), 0);
    assert_false(r.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_stays_failed),
        cmocka_unit_test(integers_run_out_at_each_byte),
        cmocka_unit_test(varint_runs_out_at_each_byte),
        cmocka_unit_test(varint_boundaries),
        cmocka_unit_test(varint_takes_any_form),
        cmocka_unit_test(sub_reader_is_bounded),
        cmocka_unit_test(writer_stays_failed),
        cmocka_unit_test(writes_what_is_read),
    };

    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
