#include "config/host.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

static bool parse(const char *text, struct in6_addr *out)
{
    struct in_addr v4;

    if (inet_pton(AF_INET, text, &v4) == 1) {
        memset(out, 0, sizeof(*out));
        out->s6_addr[10] = 0xff;
        out->s6_addr[11] = 0xff;
        memcpy(out->s6_addr + 12, &v4, 4);
        return true;
    }
    return inet_pton(AF_INET6, text, out) == 1;
}

bool host_is_address(const char *text)
{
    struct in6_addr unused;

    return parse(text, &unused);
}

bool host_is_name(const char *text)
{
    size_t len = strlen(text);
    size_t start = 0;
    bool is_number = false;

    if (len > 1 && text[len - 1] == '.')
        len--;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && text[i] != '.') {
            if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
                return false;
            continue;
        }
        if (i == start || i - start > 63 || text[start] == '-' || text[i - 1] == '-')
            return false;
        is_number = strspn(text + start, "0123456789") >= i - start;
        start = i + 1;
    }
    return !is_number;
}

bool host_is_loopback(const char *address)
{
    struct in6_addr parsed;

    return parse(address, &parsed) &&
           (IN6_IS_ADDR_LOOPBACK(&parsed) ||
            (IN6_IS_ADDR_V4MAPPED(&parsed) && parsed.s6_addr[12] == IN_LOOPBACKNET));
}

bool host_is_any(const char *address)
{
    struct in6_addr parsed;
    static const struct in6_addr any4 = {{{[10] = 0xff, [11] = 0xff}}};

    return parse(address, &parsed) &&
           (IN6_IS_ADDR_UNSPECIFIED(&parsed) || memcmp(&parsed, &any4, sizeof(any4)) == 0);
}

bool host_is_overlap(const char *a, const char *b)
{
    struct in6_addr a6;
    struct in6_addr b6;

    if (!parse(a, &a6) || !parse(b, &b6))
        return false;
    if (memcmp(&a6, &b6, sizeof(a6)) == 0)
        return true;
    /* "::" takes both families, "0.0.0.0" only its own. */
    if (IN6_IS_ADDR_UNSPECIFIED(&a6) || IN6_IS_ADDR_UNSPECIFIED(&b6))
        return true;
    return (host_is_any(a) && IN6_IS_ADDR_V4MAPPED(&b6)) ||
           (host_is_any(b) && IN6_IS_ADDR_V4MAPPED(&a6));
}
