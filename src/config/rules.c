#include "config/rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "config/host.h"
#include "config/row_rules.h"

/* A McEliece public key of 524,160 bytes, and the TLS handshake before it. */
#define MCELIECE_HANDSHAKE_MIN ((size_t)540672)

/* [source.allowed_outbound] as the wire carries it. */
#define RANGES_MAX 255U

struct rules {
    const struct config *config;
    enum config_role role;
    const struct places *places;
    struct problems *problems;
};

static struct problem_place place_of(const struct rules *r, enum schema_section_id section,
                                     const char *key)
{
    return places_get(r->places, section, 0, key);
}

static bool is_good(const struct rules *r, enum schema_section_id section, const char *key)
{
    return places_is_good(r->places, section, 0, key);
}

static bool is_given(const struct rules *r, enum schema_section_id section, const char *key)
{
    return places_has(r->places, section, 0, key);
}

static bool is_role(const struct rules *r, enum config_role role)
{
    return r->role == role || r->role == CONFIG_ROLE_ANY;
}

/* The place of whichever of two keys was given, the first one preferred. */
static struct problem_place place_of_either(const struct rules *r, enum schema_section_id section,
                                            const char *first, const char *second)
{
    return place_of(r, section, is_given(r, section, first) ? first : second);
}

static void check_heartbeat(const struct rules *r)
{
    const struct config_source *source = &r->config->source;

    if (is_good(r, SCHEMA_SOURCE, "heartbeat_timeout_ms") &&
        is_good(r, SCHEMA_SOURCE, "heartbeat_interval_ms") &&
        source->heartbeat_timeout_ms > source->heartbeat_interval_ms)
        problems_add(
            r->problems, PROBLEM_ERROR,
            place_of_either(r, SCHEMA_SOURCE, "heartbeat_timeout_ms", "heartbeat_interval_ms"),
            "lower heartbeat_timeout_ms or raise heartbeat_interval_ms",
            "heartbeat_timeout_ms (%" PRIu32 ") is longer than heartbeat_interval_ms (%" PRIu32
            "): a ping would still be waited for when the next one is due",
            source->heartbeat_timeout_ms, source->heartbeat_interval_ms);
}

static void check_backoff(const struct rules *r)
{
    const struct config_source *source = &r->config->source;

    if (is_good(r, SCHEMA_SOURCE, "max_reconnect_delay_ms") &&
        is_good(r, SCHEMA_SOURCE, "initial_reconnect_delay_ms") &&
        source->max_reconnect_delay_ms < source->initial_reconnect_delay_ms)
        problems_add(r->problems, PROBLEM_ERROR,
                     place_of_either(r, SCHEMA_SOURCE, "max_reconnect_delay_ms",
                                     "initial_reconnect_delay_ms"),
                     "raise max_reconnect_delay_ms or lower initial_reconnect_delay_ms",
                     "max_reconnect_delay_ms (%" PRIu32
                     ") is less than initial_reconnect_delay_ms (%" PRIu32 ")",
                     source->max_reconnect_delay_ms, source->initial_reconnect_delay_ms);
}

static void check_memory(const struct rules *r, enum schema_section_id section, size_t window,
                         size_t budget)
{
    if (is_good(r, section, "connection_channel_size") && is_good(r, section, "memory_budget_mb") &&
        window > budget)
        problems_add(r->problems, PROBLEM_ERROR,
                     place_of_either(r, section, "connection_channel_size", "memory_budget_mb"),
                     "lower connection_channel_size or raise memory_budget_mb",
                     "connection_channel_size lets one stream buffer %zu KiB, more than the "
                     "memory_budget_mb of all streams (%zu KiB)",
                     window / 1024, budget / 1024);
}

/* A source tells the dest its list with each name; PROTOCOL 6.4 gives it 255 bytes. */
static void check_outbound_size(const struct rules *r)
{
    const struct cidr_list *list = &r->config->source.allowed_outbound;
    size_t size = 0;

    for (size_t i = 0; i < list->count; i++)
        size += 2U + (list->items[i].bits + 7U) / 8;
    if (size > RANGES_MAX)
        problems_add(r->problems, PROBLEM_ERROR,
                     places_get(r->places, SCHEMA_ALLOWED_OUTBOUND, 0, "allowed_ips"),
                     "combine ranges into larger ones",
                     "allowed_ips needs %zu bytes when it is sent to the dest, more than %u: an "
                     "IPv4 range needs 2 to 6, an IPv6 range 2 to 18",
                     size, RANGES_MAX);
}

static void check_entry_point(const struct rules *r)
{
    const struct config_source *source = &r->config->source;

    if (!is_good(r, SCHEMA_SOURCE, "mode") || !is_good(r, SCHEMA_SOURCE, "listen_port"))
        return;
    if (source->mode == CONFIG_MODE_TRANSPARENT) {
        if (source->exposed_port_count > 0 && is_given(r, SCHEMA_SOURCE, "listen_port"))
            problems_add(r->problems, PROBLEM_WARNING, place_of(r, SCHEMA_SOURCE, "listen_port"),
                         "remove it, or list the port in [[source.exposed_ports]]",
                         "listen_port is not used in transparent mode beside exposed_ports");
        if (source->allowed_outbound.count > 0)
            problems_add(r->problems, PROBLEM_WARNING,
                         places_get(r->places, SCHEMA_ALLOWED_OUTBOUND, 0, "allowed_ips"),
                         "set mode to \"protocol\" or \"hybrid\", or remove it",
                         "allowed_outbound has no meaning in transparent mode");
        if (source->proxy_users_path != NULL)
            problems_add(r->problems, PROBLEM_WARNING,
                         place_of(r, SCHEMA_SOURCE, "proxy_users_path"),
                         "set mode to \"protocol\" or \"hybrid\", or remove it",
                         "proxy_users_path has no meaning in transparent mode");
        return;
    }
    for (size_t i = 0; i < source->exposed_port_count; i++) {
        const struct config_exposed_port *port = &source->exposed_ports[i];

        if (port->port != source->listen_port || !row_rules_takes_tcp_port(port))
            continue;
        problems_add(r->problems, PROBLEM_ERROR,
                     places_get(r->places, SCHEMA_EXPOSED_PORTS, i, "port"),
                     "choose another listen_port, or another port here",
                     "port %u is the listen_port of %s mode already", port->port,
                     config_mode_name(source->mode));
    }
    if (source->mode == CONFIG_MODE_PROTOCOL && source->exposed_port_count > 0)
        problems_add(r->problems, PROBLEM_WARNING,
                     places_get(r->places, SCHEMA_EXPOSED_PORTS, 0, NULL),
                     "set mode to \"hybrid\" to have both, or remove them",
                     "exposed_ports are not listened on in protocol mode");
}

/* Whether it has more than the networks that people have to themselves, 10.0.0.0/8 and fc00::/7. */
static bool is_wide(const struct cidr_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].bits < (list->items[i].family == AF_INET ? 8 : 7))
            return true;
    }
    return false;
}

static void check_open_proxy(const struct rules *r)
{
    const struct config_source *source = &r->config->source;

    if (!is_role(r, CONFIG_ROLE_SOURCE) || !is_good(r, SCHEMA_SOURCE, "mode") ||
        source->mode == CONFIG_MODE_TRANSPARENT || !is_good(r, SCHEMA_SOURCE, "listen_ip") ||
        !host_is_any(source->listen_ip) || !is_wide(&source->allowed_outbound) ||
        source->proxy_users_path != NULL || !is_good(r, SCHEMA_SOURCE, "proxy_users_path"))
        return;
    problems_add(r->problems, PROBLEM_WARNING,
                 places_get(r->places, SCHEMA_ALLOWED_OUTBOUND, 0, "allowed_ips"),
                 "set proxy_users_path, a listen_ip that only your clients reach, or list narrower "
                 "ranges",
                 "an open proxy: nobody has to log in at %s, and allowed_ips has more than a "
                 "private network",
                 source->listen_ip);
}

static void check_metrics(const struct rules *r)
{
    const struct config_metrics *metrics = &r->config->metrics;

    if (!metrics->enabled || !is_good(r, SCHEMA_METRICS, "metrics_bind_ip") ||
        host_is_loopback(metrics->metrics_bind_ip))
        return;
    problems_add(
        r->problems, PROBLEM_WARNING, place_of(r, SCHEMA_METRICS, "metrics_bind_ip"),
        "set it to \"127.0.0.1\", or let a firewall admit nobody but your monitoring",
        "metrics_bind_ip = \"%s\": whoever reaches it sees peers, services and counts, and "
        "nobody has to log in",
        metrics->metrics_bind_ip);
}

/* The admin endpoint against the TCP port that a role listens on. */
static void check_metrics_against(const struct rules *r, const char *listen_ip, uint16_t port,
                                  const char *what)
{
    const struct config_metrics *metrics = &r->config->metrics;

    if (!metrics->enabled || metrics->metrics_port != port ||
        !is_good(r, SCHEMA_METRICS, "metrics_port") ||
        !is_good(r, SCHEMA_METRICS, "metrics_bind_ip") ||
        !host_is_overlap(metrics->metrics_bind_ip, listen_ip))
        return;
    problems_add(r->problems, PROBLEM_ERROR, place_of(r, SCHEMA_METRICS, "metrics_port"),
                 "choose another metrics_port, or set enabled = false in [metrics]",
                 "metrics_port %u is the same port as %s", port, what);
}

static void check_source_metrics(const struct rules *r)
{
    const struct config_source *source = &r->config->source;
    bool is_alone = source->exposed_port_count == 0;

    if (!is_good(r, SCHEMA_SOURCE, "listen_ip") || !is_good(r, SCHEMA_SOURCE, "mode"))
        return;
    if ((source->mode != CONFIG_MODE_TRANSPARENT || is_alone) &&
        is_good(r, SCHEMA_SOURCE, "listen_port"))
        check_metrics_against(r, source->listen_ip, source->listen_port, "listen_port in [source]");
    for (size_t i = 0; i < source->exposed_port_count; i++) {
        if (row_rules_takes_tcp_port(&source->exposed_ports[i]))
            check_metrics_against(r, source->listen_ip, source->exposed_ports[i].port,
                                  "one of [[source.exposed_ports]]");
    }
}

static void check_dest_hosts(const struct rules *r)
{
    const struct config_strings *hosts = &r->config->source.dest_host;

    for (size_t i = 0; i < hosts->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcasecmp(hosts->items[i], hosts->items[j]) != 0)
                continue;
            problems_add(r->problems, PROBLEM_ERROR, place_of(r, SCHEMA_SOURCE, "dest_host"),
                         "list each dest once", "dest_host has '%s' twice", hosts->items[i]);
            return;
        }
    }
}

static void check_source(const struct rules *r)
{
    const struct config_source *source = &r->config->source;

    check_dest_hosts(r);
    row_rules_check_ports(r->config, r->places, r->problems);
    check_entry_point(r);
    check_open_proxy(r);
    check_outbound_size(r);
    check_heartbeat(r);
    check_backoff(r);
    check_memory(r, SCHEMA_SOURCE, source->stream_window_max_bytes, source->memory_budget_bytes);
    check_source_metrics(r);
}

/* Rules that nobody can meet, since sources show no certificates. */
static void check_allowed_clients(const struct rules *r)
{
    const struct config_dest *dest = &r->config->dest;
    const struct config_auth *auth = &r->config->auth;

    for (size_t i = 0; i < dest->exposed_service_count; i++) {
        if (dest->exposed_services[i].allowed_clients.count > 0 &&
            !(auth->use_mtls && auth->verify_client_cert))
            problems_add(r->problems, PROBLEM_WARNING,
                         places_get(r->places, SCHEMA_EXPOSED_SERVICES, i, "allowed_clients"),
                         "set use_mtls and verify_client_cert to true",
                         "allowed_clients names sources by their certificates, which this dest "
                         "does not ask for: nobody may use the service");
    }
}

static void check_dest(const struct rules *r)
{
    const struct config_dest *dest = &r->config->dest;

    row_rules_check_services(r->config, r->places, r->problems);
    check_allowed_clients(r);
    check_memory(r, SCHEMA_DEST, dest->stream_window_max_bytes, dest->memory_budget_bytes);
    if (dest->exposed_service_count == 0 && dest->allowed_targets.count == 0)
        problems_add(r->problems, PROBLEM_WARNING, place_of(r, SCHEMA_DEST, NULL),
                     "add a [[dest.exposed_services]] block",
                     "there are no exposed_services: sources will find nothing to reach");
    if (is_good(r, SCHEMA_DEST, "listen_ip") && is_good(r, SCHEMA_DEST, "tunnel_port") &&
        is_given(r, SCHEMA_DEST, "tunnel_port"))
        check_metrics_against(r, dest->listen_ip, dest->tunnel_port, "tunnel_port in [dest]");
}

static void require_path(const struct rules *r, const char *path, const char *key,
                         const char *owner)
{
    char suggestion[120];

    if (path != NULL || !is_good(r, SCHEMA_AUTH, key))
        return;
    snprintf(suggestion, sizeof(suggestion), "add %s = \"...\" to [auth] (`utun cert` makes one)",
             key);
    problems_add(r->problems, PROBLEM_ERROR, place_of(r, SCHEMA_AUTH, NULL), suggestion,
                 "[auth] has no '%s', which %s needs", key, owner);
}

static void check_auth(const struct rules *r)
{
    const struct config_auth *auth = &r->config->auth;
    bool is_source = r->config->has_source && is_role(r, CONFIG_ROLE_SOURCE);
    bool is_dest = r->config->has_dest && is_role(r, CONFIG_ROLE_DEST);

    if (!is_given(r, SCHEMA_AUTH, NULL)) {
        problems_add(r->problems, PROBLEM_ERROR, place_of(r, SCHEMA_AUTH, NULL),
                     "add [auth] with the paths of the certificates and keys",
                     "the file has no [auth] section");
        return;
    }
    if (is_source || (is_dest && auth->use_mtls && auth->verify_client_cert))
        require_path(r, auth->ca_cert_path, "ca_cert_path", "each role");
    if (is_source && auth->use_mtls) {
        require_path(r, auth->client_cert_path, "client_cert_path", "a source");
        require_path(r, auth->client_key_path, "client_key_path", "a source");
    }
    if (is_dest) {
        require_path(r, auth->server_cert_path, "server_cert_path", "a dest");
        require_path(r, auth->server_key_path, "server_key_path", "a dest");
    }
    if (!auth->use_mtls)
        problems_add(r->problems, PROBLEM_WARNING, place_of(r, SCHEMA_AUTH, "use_mtls"),
                     "set it to true unless something else decides who may connect",
                     "use_mtls = false: sources are not authenticated");
    else if (!auth->verify_client_cert && is_dest)
        problems_add(r->problems, PROBLEM_WARNING, place_of(r, SCHEMA_AUTH, "verify_client_cert"),
                     "set it to true unless something else decides who may connect",
                     "verify_client_cert = false: sources are not asked for a certificate");
    if (auth->allow_insecure_key_files)
        problems_add(r->problems, PROBLEM_WARNING,
                     place_of(r, SCHEMA_AUTH, "allow_insecure_key_files"),
                     "set it to false and give the key files mode 0600 where you can",
                     "allow_insecure_key_files = true: others may read the private keys");
}

static void check_crypto(const struct rules *r)
{
    const struct config_crypto *crypto = &r->config->crypto;
    bool has_mceliece = crypto->kem_mode != CONFIG_KEM_MLKEM768;

    if (is_good(r, SCHEMA_CRYPTO, "key_rotation_interval_seconds") &&
        is_good(r, SCHEMA_CRYPTO, "rehandshake_before_expiry_seconds") &&
        crypto->rehandshake_before_expiry_seconds >= crypto->key_rotation_interval_seconds)
        problems_add(r->problems, PROBLEM_ERROR,
                     place_of_either(r, SCHEMA_CRYPTO, "rehandshake_before_expiry_seconds",
                                     "key_rotation_interval_seconds"),
                     "set rehandshake_before_expiry_seconds to a tenth of the interval, say",
                     "rehandshake_before_expiry_seconds (%" PRIu32
                     ") must be less than key_rotation_interval_seconds (%" PRIu32 ")",
                     crypto->rehandshake_before_expiry_seconds,
                     crypto->key_rotation_interval_seconds);
    if (is_given(r, SCHEMA_CRYPTO, "max_handshake_size") &&
        is_good(r, SCHEMA_CRYPTO, "max_handshake_size") && is_good(r, SCHEMA_CRYPTO, "kem_mode") &&
        has_mceliece && crypto->max_handshake_size_bytes < MCELIECE_HANDSHAKE_MIN)
        problems_add(r->problems, PROBLEM_ERROR, place_of(r, SCHEMA_CRYPTO, "max_handshake_size"),
                     "raise it, or remove it to have 2097152",
                     "max_handshake_size %zu is too small for kem_mode \"%s\", whose public key "
                     "alone has 524160 bytes: at least %zu",
                     crypto->max_handshake_size_bytes, config_kem_mode_name(crypto->kem_mode),
                     MCELIECE_HANDSHAKE_MIN);
}

static void check_sections(const struct rules *r)
{
    const struct config *config = r->config;
    struct problem_place file = {.file = r->places->file};

    if (r->role == CONFIG_ROLE_SOURCE && !config->has_source)
        problems_add(r->problems, PROBLEM_ERROR, file,
                     config->has_dest ? "add it, or start `utun dest`"
                                      : "add it with dest_host and dest_tunnel_port",
                     "the file has no [source] section");
    else if (r->role == CONFIG_ROLE_DEST && !config->has_dest)
        problems_add(r->problems, PROBLEM_ERROR, file,
                     config->has_source ? "add it, or start `utun source`"
                                        : "add it with tunnel_port and exposed_services",
                     "the file has no [dest] section");
    else if (!config->has_source && !config->has_dest)
        problems_add(r->problems, PROBLEM_ERROR, file, "add the one of the role that runs here",
                     "the file has neither a [source] nor a [dest] section");
}

void rules_check(const struct config *config, enum config_role role, const struct places *places,
                 struct problems *problems)
{
    const struct rules r = {.config = config, .role = role, .places = places, .problems = problems};

    if (role == CONFIG_ROLE_NONE)
        return;
    check_sections(&r);
    if (config->has_source)
        check_source(&r);
    if (config->has_dest)
        check_dest(&r);
    check_auth(&r);
    check_crypto(&r);
    check_metrics(&r);
}
