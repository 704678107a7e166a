/*
 * memcpy, memmove and memset as plain loops, linked in place of the C library's (--wrap) where
 * instructions are counted: those have as many forms as there are processors, and one that copies a
 * megabyte by a single instruction hides what it costs.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The linker's option makes the names. NOLINTBEGIN(bugprone-reserved-identifier) */
void *__wrap_memcpy(void *to, const void *from, size_t len);
void *__wrap_memmove(void *to, const void *from, size_t len);
void *__wrap_memset(void *to, int value, size_t len);
void *__wrap___memcpy_chk(void *to, const void *from, size_t len, size_t room);
void *__wrap___memmove_chk(void *to, const void *from, size_t len, size_t room);
void *__wrap___memset_chk(void *to, int value, size_t len, size_t room);

/* The compiler must not make a call of memcpy out of the loop that stands for it. */
#define KEEP_LOOP() __asm__ volatile("" ::: "memory")

void *__wrap_memcpy(void *to, const void *from, size_t len)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
        uint64_t word;

        __builtin_memcpy(&word, in, sizeof(word));
        __builtin_memcpy(out, &word, sizeof(word));
        in += sizeof(word);
        out += sizeof(word);
        KEEP_LOOP();
    }
    for (; len > 0; len--) {
        *out++ = *in++;
        KEEP_LOOP();
    }
    return to;
}

void *__wrap_memmove(void *to, const void *from, size_t len)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    if (out <= in || out >= in + len)
        return __wrap_memcpy(to, from, len);
    while (len > 0) {
        len--;
        out[len] = in[len];
        KEEP_LOOP();
    }
    return to;
}

void *__wrap_memset(void *to, int value, size_t len)
{
    uint8_t *out = to;

    for (; len > 0; len--) {
        *out++ = (uint8_t)value;
        KEEP_LOOP();
    }
    return to;
}

void *__wrap___memcpy_chk(void *to, const void *from, size_t len, size_t room)
{
    (void)room;
    return __wrap_memcpy(to, from, len);
}

void *__wrap___memmove_chk(void *to, const void *from, size_t len, size_t room)
{
    (void)room;
    return __wrap_memmove(to, from, len);
}

void *__wrap___memset_chk(void *to, int value, size_t len, size_t room)
{
    (void)room;
    return __wrap_memset(to, value, len);
}
/* NOLINTEND(bugprone-reserved-identifier) */
