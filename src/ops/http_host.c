#include "ops/http_host.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool is_port(const char *text)
{
    return text[0] == 0 || (text[0] == ':' && strspn(text + 1, "0123456789") == strlen(text + 1));
}

bool http_host_is_fixed(const char *host)
{
    bool is_v6 = host[0] == '[';
    const char *start = is_v6 ? host + 1 : host;
    size_t len = strcspn(start, is_v6 ? "]" : ":");
    const char *rest = start + len;
    char name[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (len >= sizeof(name) || (is_v6 && rest[0] != ']') || !is_port(is_v6 ? rest + 1 : rest))
        return false;
    memcpy(name, start, len);
    name[len] = 0;
    if (is_v6)
        return inet_pton(AF_INET6, name, &address) == 1;
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &address) == 1;
}
