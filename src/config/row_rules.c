#include "config/row_rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The longest path of a Unix socket, without its NUL. */
#define SOCKET_PATH_MAX 107

struct rows {
    const struct config *config;
    const struct places *places;
    struct problems *problems;
};

static void line_text(char *out, size_t size, struct problem_place place)
{
    if (place.line != 0)
        snprintf(out, size, "line %" PRIu32, place.line);
    else
        snprintf(out, size, "%s", place.file);
}

/* How a protocol pair collides, for people: "tcp", "udp", "tcp and udp". */
static const char *overlap_name(enum config_protocol a, enum config_protocol b)
{
    unsigned overlap = (unsigned)a & (unsigned)b;

    if (overlap == CONFIG_BOTH)
        return "tcp and udp";
    return overlap == CONFIG_TCP ? "tcp" : "udp";
}

static void report_twice(const struct rows *r, enum schema_section_id section, size_t earlier,
                         size_t later, uint16_t port, const char *protocols)
{
    char where[64];

    line_text(where, sizeof(where), places_get(r->places, section, earlier, "port"));
    problems_add(r->problems, PROBLEM_ERROR, places_get(r->places, section, later, "port"),
                 "remove one of the two, or change its port or protocol",
                 "port %u is listed twice for %s: already in %s", port, protocols, where);
}

static void report(const struct rows *r, enum schema_section_id section, size_t index,
                   const char *key, const char *mend, const char *text)
{
    problems_add(r->problems, PROBLEM_ERROR, places_get(r->places, section, index, key), mend, "%s",
                 text);
}

/* The path of a Unix socket, which is the value of key. */
static void check_socket_path(const struct rows *r, enum schema_section_id section, size_t index,
                              const char *key, enum config_protocol protocol, const char *path)
{
    char text[100];

    if (((unsigned)protocol & CONFIG_UDP) != 0) {
        snprintf(text, sizeof(text), "%s is for protocol \"tcp\" only", key);
        report(r, section, index, key, "set protocol to \"tcp\"", text);
    }
    if (path != NULL && strlen(path) > SOCKET_PATH_MAX) {
        snprintf(text, sizeof(text), "%s is longer than the %d bytes that the system allows", key,
                 SOCKET_PATH_MAX);
        report(r, section, index, key, "put the socket where its path is shorter", text);
    }
}

static void check_listen_path(const struct rows *r, size_t index)
{
    const struct config_exposed_port *row = &r->config->source.exposed_ports[index];
    char where[64];

    if (row->listen_path == NULL) {
        /* Elsewhere "" is the same as nothing. Here it would open the port to the network. */
        if (places_has(r->places, SCHEMA_EXPOSED_PORTS, index, "listen_path"))
            report(r, SCHEMA_EXPOSED_PORTS, index, "listen_path", "name a path, or remove the key",
                   "'listen_path' is empty");
        else if (places_has(r->places, SCHEMA_EXPOSED_PORTS, index, "listen_mode"))
            report(r, SCHEMA_EXPOSED_PORTS, index, "listen_mode",
                   "add listen_path, or remove listen_mode",
                   "listen_mode is of a Unix socket, and there is no listen_path");
        return;
    }
    check_socket_path(r, SCHEMA_EXPOSED_PORTS, index, "listen_path", row->protocol,
                      row->listen_path);
    for (size_t i = 0; i < index; i++) {
        const char *earlier = r->config->source.exposed_ports[i].listen_path;

        if (earlier == NULL || strcmp(earlier, row->listen_path) != 0)
            continue;
        line_text(where, sizeof(where),
                  places_get(r->places, SCHEMA_EXPOSED_PORTS, i, "listen_path"));
        problems_add(r->problems, PROBLEM_ERROR,
                     places_get(r->places, SCHEMA_EXPOSED_PORTS, index, "listen_path"),
                     "give each its own path", "listen_path '%s' is listed twice: already in %s",
                     row->listen_path, where);
        return;
    }
}

bool row_rules_takes_tcp_port(const struct config_exposed_port *row)
{
    return row->listen_path == NULL && ((unsigned)row->protocol & CONFIG_TCP) != 0;
}

static void check_exposed_ports(const struct rows *r)
{
    const struct config_source *source = &r->config->source;

    for (size_t i = 0; i < source->exposed_port_count; i++) {
        const struct config_exposed_port *later = &source->exposed_ports[i];

        check_listen_path(r, i);
        for (size_t j = 0; j < i && later->port != 0 && later->listen_path == NULL; j++) {
            const struct config_exposed_port *earlier = &source->exposed_ports[j];

            if (earlier->listen_path != NULL || earlier->port != later->port ||
                ((unsigned)earlier->protocol & (unsigned)later->protocol) == 0)
                continue;
            report_twice(r, SCHEMA_EXPOSED_PORTS, j, i, later->port,
                         overlap_name(earlier->protocol, later->protocol));
            break;
        }
    }
}

/* A target is a host and a port, or a path. */
static void check_target(const struct rows *r, size_t index)
{
    const struct config_exposed_service *row = &r->config->dest.exposed_services[index];
    bool has_ip = places_has(r->places, SCHEMA_EXPOSED_SERVICES, index, "target_ip");
    bool has_port = places_has(r->places, SCHEMA_EXPOSED_SERVICES, index, "target_port");

    if (!places_has(r->places, SCHEMA_EXPOSED_SERVICES, index, "target_path")) {
        if (!has_ip)
            report(r, SCHEMA_EXPOSED_SERVICES, index, NULL,
                   "add target_ip = ... (IP address or host name)",
                   "[[dest.exposed_services]] has no 'target_ip'");
        if (!has_port)
            report(r, SCHEMA_EXPOSED_SERVICES, index, NULL, "add target_port = ... (1 to 65535)",
                   "[[dest.exposed_services]] has no 'target_port'");
        return;
    }
    if (has_ip || has_port)
        report(r, SCHEMA_EXPOSED_SERVICES, index, "target_path",
               "remove target_path, or target_ip and target_port",
               "a service has one target: a path, or an address and a port");
    check_socket_path(r, SCHEMA_EXPOSED_SERVICES, index, "target_path", row->protocol,
                      row->target_path);
}

static void check_exposed_services(const struct rows *r)
{
    const struct config_dest *dest = &r->config->dest;
    char where[64];

    for (size_t i = 0; i < dest->exposed_service_count; i++) {
        const struct config_exposed_service *later = &dest->exposed_services[i];
        bool is_port_reported = later->port == 0;
        bool is_name_reported = later->name == NULL;

        check_target(r, i);
        for (size_t j = 0; j < i && !(is_port_reported && is_name_reported); j++) {
            const struct config_exposed_service *earlier = &dest->exposed_services[j];

            if (!is_port_reported && earlier->port == later->port &&
                ((unsigned)earlier->protocol & (unsigned)later->protocol) != 0) {
                report_twice(r, SCHEMA_EXPOSED_SERVICES, j, i, later->port,
                             overlap_name(earlier->protocol, later->protocol));
                is_port_reported = true;
            }
            if (!is_name_reported && earlier->name != NULL &&
                strcmp(earlier->name, later->name) == 0) {
                line_text(where, sizeof(where),
                          places_get(r->places, SCHEMA_EXPOSED_SERVICES, j, "name"));
                problems_add(r->problems, PROBLEM_ERROR,
                             places_get(r->places, SCHEMA_EXPOSED_SERVICES, i, "name"),
                             "give each service its own name",
                             "there are two services named '%s': the other is in %s", later->name,
                             where);
                is_name_reported = true;
            }
        }
    }
}

void row_rules_check_ports(const struct config *config, const struct places *places,
                           struct problems *problems)
{
    check_exposed_ports(&(struct rows){config, places, problems});
}

void row_rules_check_services(const struct config *config, const struct places *places,
                              struct problems *problems)
{
    check_exposed_services(&(struct rows){config, places, problems});
}
