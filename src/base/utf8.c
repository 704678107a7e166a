#include "base/utf8.h"

#include <string.h>

size_t utf8_next(const void *text, size_t len, uint32_t *value)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t *at = text;
    size_t n;

    if (at[0] < 0x80) {
        *value = at[0];
        return 1;
    }
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        n = 2;
        *value = at[0] & 0x1fU;
    } else if (at[0] >= 0xe0 && at[0] <= 0xef) {
        n = 3;
        *value = at[0] & 0x0fU;
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        n = 4;
        *value = at[0] & 0x07U;
    } else {
        return 0;
    }
    if (len < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        *value = *value << 6 | (at[i] & 0x3fU);
    }
    if (*value < lowest[n] || *value > 0x10ffff || (*value >= 0xd800 && *value <= 0xdfff))
        return 0;
    return n;
}

size_t utf8_copy(char *out, size_t size, const char *text, size_t len)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t used = 0;

    for (size_t at = 0, n; at < len; at += n) {
        uint32_t value;
        const char *from = text + at;
        size_t put = n = utf8_next(from, len - at, &value);

        if (n == 0) {
            n = 1;
            put = sizeof(replacement) - 1;
            from = replacement;
        }
        if (put >= size - used)
            break;
        memcpy(out + used, from, put);
        used += put;
    }
    out[used] = 0;
    return used;
}
