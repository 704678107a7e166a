#include "role/kit_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC_MAX 512

static const char section[] = "dest.exposed_services";

enum err kit_service_set(struct kit_service *out, const struct kit_service_words *words,
                         struct err_detail *d)
{
    const struct {
        const char *key;
        const char *text;
    } parts[] = {
        {"name", words->name},
        {"port", words->port},
        {"target_ip", words->target_host},
        {"target_port", words->target_port},
        {"protocol", words->protocol},
    };

    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (config_check_value(section, parts[i].key, parts[i].text, d) != ERR_OK)
            return ERR_USAGE;
    }
    snprintf(out->name, sizeof(out->name), "%s", words->name);
    snprintf(out->target_host, sizeof(out->target_host), "%s", words->target_host);
    out->port = (uint16_t)strtoul(words->port, NULL, 10);
    out->target_port = (uint16_t)strtoul(words->target_port, NULL, 10);
    out->protocol = CONFIG_TCP;
    for (int p = CONFIG_TCP; p <= CONFIG_BOTH; p++) {
        if (strcmp(words->protocol, config_protocol_name((enum config_protocol)p)) == 0)
            out->protocol = (enum config_protocol)p;
    }
    return ERR_OK;
}

static enum err refuse(const char *text, const char *why, struct err_detail *d)
{
    return err_set(
        d, ERR_USAGE,
        "\"%.200s\": %s; write %s, as in web:8080:127.0.0.1:80 or dns:53:10.0.0.2:53/udp", text,
        why, KIT_SERVICE_FORM);
}

/* Cuts text at the separator; what follows it, or NULL. */
static char *cut(char *text, char *separator)
{
    if (text == NULL || separator == NULL)
        return NULL;
    *separator = 0;
    return separator + 1;
}

/* The host without the brackets of an IPv6 address; NULL where they are missing or not closed. */
static char *unbracket(char *host)
{
    size_t len = strlen(host);

    if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
        host[len - 1] = 0;
        return host + 1;
    }
    return strchr(host, ':') == NULL && host[0] != '[' ? host : NULL;
}

enum err kit_service_parse(struct kit_service *out, const char *text, struct err_detail *d)
{
    struct kit_service_words words = {.protocol = "tcp"};
    struct err_detail why;
    char copy[SPEC_MAX];
    char *host;
    char *slash;

    if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
        return refuse(text, "it is too long", d);
    slash = strrchr(copy, '/');
    if (slash != NULL)
        words.protocol = cut(copy, slash);
    words.name = copy;
    words.port = cut(copy, strchr(copy, ':'));
    host = words.port != NULL ? strchr(words.port, ':') : NULL;
    host = cut(copy, host);
    words.target_port = host != NULL ? cut(host, strrchr(host, ':')) : NULL;
    if (words.target_port == NULL)
        return refuse(text, "a part is missing", d);
    words.target_host = unbracket(host);
    if (words.target_host == NULL)
        return refuse(text, "an IPv6 address stands in brackets, and nothing else does", d);
    if (kit_service_set(out, &words, &why) != ERR_OK)
        return refuse(text, why.text, d);
    return ERR_OK;
}

enum err kit_service_check_last(const struct kit_service *services, size_t count,
                                struct err_detail *d)
{
    const struct kit_service *last = &services[count - 1];

    for (size_t i = 0; i + 1 < count; i++) {
        const struct kit_service *other = &services[i];

        if (strcmp(other->name, last->name) == 0)
            return err_set(d, ERR_USAGE, "there are two services named %s; rename one", last->name);
        if (other->port == last->port && (other->protocol & last->protocol) != 0)
            return err_set(d, ERR_USAGE,
                           "the services %s and %s have the same port %u; give each its own",
                           other->name, last->name, last->port);
    }
    return ERR_OK;
}
