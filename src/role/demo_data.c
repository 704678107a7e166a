#include "role/demo_data.h"

#include <string.h>

#define WORD sizeof(uint64_t)

/* Words made at once to compare with, so that comparing costs no pass of its own over memory. */
#define CHECK_BYTES 4096

/* Output number `index` of a generator that only counts and scrambles the count. */
static uint64_t word_at(uint64_t seed, uint64_t index)
{
    uint64_t x = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void demo_data_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len)
{
    uint64_t index = offset / WORD;
    size_t skip = (size_t)(offset % WORD);

    while (len > 0) {
        uint64_t word = word_at(seed, index++);
        size_t n = WORD - skip < len ? WORD - skip : len;
        memcpy(out, (const uint8_t *)&word + skip, n);
        out += n;
        len -= n;
        skip = 0;
    }
}

size_t demo_data_check(uint64_t seed, uint64_t offset, const uint8_t *data, size_t len)
{
    uint8_t expected[CHECK_BYTES];
    size_t done = 0;

    while (done < len) {
        size_t n = len - done < sizeof(expected) ? len - done : sizeof(expected);
        demo_data_fill(seed, offset + done, expected, n);
        if (memcmp(expected, data + done, n) != 0) {
            for (size_t i = 0; data[done] == expected[i]; i++)
                done++;
            return done;
        }
        done += n;
    }
    return done;
}
