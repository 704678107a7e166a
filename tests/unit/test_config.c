#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/toml.h"

#define OPEN_PROXY "mode=\"protocol\"\n[source.allowed_outbound]\nallowed_ips=[\"0.0.0.0/0\"]\n"
#define AUTH                                                                                       \
    "[auth]\nca_cert_path=\"ca\"\nclient_cert_path=\"cc\"\nclient_key_path=\"ck\"\n"               \
    "server_cert_path=\"sc\"\nserver_key_path=\"sk\"\n"

/* Three lines; what a case adds starts in line 4 of [source]. */
#define SOURCE "[source]\ndest_host=\"dest.example\"\ndest_tunnel_port=9443\n"

/* Two lines, and five of a service; what a case adds starts in line 8 of that service. */
#define DEST "[dest]\ntunnel_port=9443\n"
#define SERVICE                                                                                    \
    "[[dest.exposed_services]]\nname=\"web\"\nport=80\ntarget_ip=\"127.0.0.1\"\ntarget_port="      \
    "8080\n"

#define ANY         CONFIG_ROLE_ANY
#define SOURCE_ROLE CONFIG_ROLE_SOURCE
#define DEST_ROLE   CONFIG_ROLE_DEST

static struct config *parse_with(const char *text, enum config_role role,
                                 const struct config_overrides *overrides, struct problems *p)
{
    struct config *config;
    enum err e = config_parse(&config, text, strlen(text), "dir/u.toml", role, overrides, p);

    if (e == ERR_OK)
        assert_int_equal(problems_errors(p), 0);
    else
        assert_true(config == NULL && problems_errors(p) > 0);
    return config;
}

/* Parses what must be good; warnings are allowed. */
static struct config *parse(const char *text, enum config_role role)
{
    struct problems *p = problems_new();
    struct config *config = parse_with(text, role, NULL, p);

    if (config == NULL)
        problems_print(p, STDERR_FILENO);
    assert_non_null(config);
    problems_free(p);
    return config;
}

static bool has_line(struct problems *p, const char *expected)
{
    char line[2000];

    for (size_t i = 0; i < problems_count(p); i++) {
        problem_format(problems_at(p, i), line, sizeof(line));
        if (strstr(line, expected) != NULL)
            return true;
    }
    return false;
}

struct expectation {
    const char *text;
    enum config_role role;
    const char *line; /* part of a problem's line */
};

/* Each text must be refused (or warned about) with that line. */
static void check(const struct expectation *cases, size_t count, enum problem_level level)
{
    for (size_t i = 0; i < count; i++) {
        struct problems *p = problems_new();
        struct config *config = parse_with(cases[i].text, cases[i].role, NULL, p);

        if ((config == NULL) != (level == PROBLEM_ERROR) || !has_line(p, cases[i].line)) {
            print_error("case %zu:\n%s\nexpected: %s\ngot:\n", i, cases[i].text, cases[i].line);
            problems_print(p, STDERR_FILENO);
            fail();
        }
        config_free(config);
        problems_free(p);
    }
}

#define CHECK(cases, level) check(cases, sizeof(cases) / sizeof((cases)[0]), level)

static void defaults_are_those_of_the_documentation(void **state)
{
    struct config *c = parse(SOURCE DEST AUTH, ANY);
    const struct config_source *s = &c->source;
    const struct config_dest *d = &c->dest;

    (void)state;
    assert_true(c->has_source && c->has_dest);
    assert_string_equal(s->listen_ip, "0.0.0.0");
    assert_int_equal(s->listen_port, 8443);
    assert_int_equal(s->mode, CONFIG_MODE_TRANSPARENT);
    assert_int_equal(s->dest_host.count, 1);
    assert_string_equal(s->dest_host.items[0], "dest.example");
    assert_int_equal(s->dest_tunnel_port, 9443);
    assert_int_equal(s->workers, 1);
    assert_int_equal(s->busy_wait_us, 50);
    assert_int_equal(s->max_connections, 10000);
    assert_int_equal(s->connection_timeout_ms, 30000);
    assert_int_equal(s->keep_alive_interval_ms, 30000);
    assert_int_equal(s->half_close_idle_timeout_secs, 3600);
    assert_int_equal(s->heartbeat_interval_ms, 15000);
    assert_int_equal(s->heartbeat_timeout_ms, 5000);
    assert_int_equal(s->max_missed_pongs, 3);
    assert_true(s->reconnection_enabled);
    assert_int_equal(s->max_reconnect_attempts, 0);
    assert_int_equal(s->initial_reconnect_delay_ms, 1000);
    assert_int_equal(s->max_reconnect_delay_ms, 60000);
    assert_int_equal(s->circuit_breaker_window_secs, 60);
    assert_int_equal(s->circuit_breaker_max_restarts, 5);
    assert_int_equal(s->stream_resume_timeout_secs, 60);
    assert_int_equal(s->connection_refresh_interval_secs, 3600);
    assert_int_equal(s->connection_drain_timeout_secs, 60);
    assert_int_equal(s->shutdown_timeout_secs, 30);
    assert_int_equal(s->session_output_max_bytes, 1024000);
    assert_int_equal(s->stream_window_max_bytes, 16 * 1024 * 1024);
    assert_int_equal(s->send_buffer_max_bytes, 512 * 1024 * 1024);
    assert_int_equal(s->memory_budget_bytes, 512 * 1024 * 1024);
    assert_int_equal(s->accept_proxy_protocol.count, 0);
    assert_int_equal(s->allowed_outbound.count, 0);
    assert_int_equal(s->exposed_port_count, 1);
    assert_int_equal(s->exposed_ports[0].port, 8443);
    assert_int_equal(s->exposed_ports[0].protocol, CONFIG_TCP);

    assert_string_equal(d->listen_ip, "0.0.0.0");
    assert_int_equal(d->tunnel_port, 9443);
    assert_int_equal(d->max_connections_per_service, 100);
    assert_int_equal(d->target_connect_timeout_ms, 5000);
    assert_int_equal(d->stale_cleanup_interval_secs, 15);
    assert_int_equal(d->handshake_rate_limit, 16);
    assert_int_equal(d->handshake_rate_window_secs, 10);
    assert_int_equal(d->max_handshakes, 64);
    assert_int_equal(d->max_tunnels, 4096);
    assert_int_equal(d->stream_window_max_bytes, 16 * 1024 * 1024);
    assert_int_equal(d->exposed_service_count, 0);

    assert_true(c->auth.use_mtls && c->auth.verify_client_cert);
    assert_false(c->auth.allow_insecure_key_files);
    assert_null(c->auth.crl_path);
    assert_int_equal(c->crypto.kem_mode, CONFIG_KEM_HYBRID);
    assert_int_equal(c->crypto.key_rotation_interval_seconds, 3600);
    assert_int_equal(c->crypto.rehandshake_before_expiry_seconds, 300);
    assert_int_equal(c->crypto.max_handshake_size_bytes, 2 * 1024 * 1024);
    assert_int_equal(c->logging.level, LOG_LEVEL_INFO);
    assert_int_equal(c->logging.format, LOG_FORMAT_JSON);
    assert_true(c->logging.include_timestamp);
    assert_true(c->metrics.enabled);
    assert_int_equal(c->metrics.metrics_port, 9090);
    assert_string_equal(c->metrics.metrics_bind_ip, "127.0.0.1");
    config_free(c);
    config_free(NULL);
}

static void every_key_of_a_full_file_is_read(void **state)
{
    struct config *c =
        parse("[logging]\nlevel=\"debug\"\nformat=\"plain\"\ninclude_timestamp=false\n"
              "[metrics]\nenabled=false\nmetrics_port=9999\nmetrics_bind_ip=\"::1\"\n"
              "[crypto]\nkem_mode=\"mlkem768\"\nkey_rotation_interval_seconds=60\n"
              "rehandshake_before_expiry_seconds=5\nmax_handshake_size=70000\n"
              "[auth]\nuse_mtls=true\nverify_client_cert=false\nca_cert_path=\"/etc/ca\"\n"
              "client_cert_path=\"c\"\nclient_key_path=\"../"
              "k\"\nserver_cert_path=\"\"\ncrl_path=\"crl\"\n"
              "allow_insecure_key_files=true\n"
              "[source]\nlisten_ip=\"::\"\nlisten_port=1\nmode=\"hybrid\"\n"
              "dest_host=[\"192.0.2.1\", \"b.example\"]\ndest_tunnel_port=65535\nworkers=4\n"
              "max_connections=5\nconnection_timeout_ms=200\nkeep_alive_interval_ms=0\n"
              "half_close_idle_timeout_secs=7\nheartbeat_interval_ms=100\nheartbeat_timeout_ms=50\n"
              "max_missed_pongs=2\nreconnection_enabled=false\nmax_reconnect_attempts=3\n"
              "initial_reconnect_delay_ms=10\nmax_reconnect_delay_ms=20\n"
              "circuit_breaker_window_secs=30\ncircuit_breaker_max_restarts=2\n"
              "frame_buffer_size=1\nconnection_channel_size=4\nwrite_queue_size=65536\n"
              "memory_budget_mb=16\nstream_resume_timeout_secs=0\n"
              "connection_refresh_interval_secs=0\nconnection_drain_timeout_secs=0\n"
              "shutdown_timeout_secs=0\naccept_proxy_protocol=[\"10.0.0.0/8\"]\n"
              "[source.allowed_outbound]\nallowed_ips=[\"192.0.2.0/24\", \"2001:db8::/32\"]\n"
              "[[source.exposed_ports]]\nport=22\n"
              "[[source.exposed_ports]]\nport=53\nprotocol=\"both\"\n",
              SOURCE_ROLE);

    (void)state;
    assert_true(c->has_source && !c->has_dest);
    assert_int_equal(c->source.mode, CONFIG_MODE_HYBRID);
    assert_string_equal(c->source.dest_host.items[1], "b.example");
    assert_int_equal(c->source.workers, 4);
    assert_int_equal(c->source.keep_alive_interval_ms, 0);
    assert_false(c->source.reconnection_enabled);
    assert_int_equal(c->source.session_output_max_bytes, 192 * 1024);
    assert_int_equal(c->source.stream_window_max_bytes, 64 * 1024);
    assert_int_equal(c->source.send_buffer_max_bytes, 16 * 1024 * 1024);
    assert_int_equal(c->source.allowed_outbound.count, 2);
    assert_int_equal(c->source.accept_proxy_protocol.items[0].bits, 8);
    assert_int_equal(c->source.exposed_port_count, 2);
    assert_int_equal(c->source.exposed_ports[0].protocol, CONFIG_TCP);
    assert_int_equal(c->source.exposed_ports[1].port, 53);
    assert_int_equal(c->source.exposed_ports[1].protocol, CONFIG_BOTH);
    assert_string_equal(c->auth.ca_cert_path, "/etc/ca");
    assert_string_equal(c->auth.client_cert_path, "dir/c");
    assert_string_equal(c->auth.client_key_path, "dir/../k");
    assert_null(c->auth.server_cert_path);
    assert_string_equal(c->auth.crl_path, "dir/crl");
    assert_int_equal(c->crypto.kem_mode, CONFIG_KEM_MLKEM768);
    assert_int_equal(c->crypto.max_handshake_size_bytes, 70000);
    assert_int_equal(c->logging.level, LOG_LEVEL_DEBUG);
    assert_string_equal(c->metrics.metrics_bind_ip, "::1");
    assert_string_equal(config_mode_name(c->source.mode), "hybrid");
    assert_string_equal(config_protocol_name(CONFIG_BOTH), "both");
    assert_string_equal(config_kem_mode_name(CONFIG_KEM_MCELIECE460896), "mceliece460896");
    config_free(c);
}

static void services_are_read(void **state)
{
    struct config *c = parse(DEST SERVICE "protocol=\"udp\"\ndescription=\"d\"\n"
                                          "allowed_clients=[\"a\", \"*.example\"]\n"
                                          "proxy_protocol=\"v2\"\n"
                                          "[[dest.exposed_services]]\nname=\"dns\"\nport=80\n"
                                          "target_ip=\"resolver.example\"\ntarget_port=53\n"
                                          "[dest.connection_filter]\n"
                                          "allowed_source_ips=[\"203.0.113.7\"]\n"
                                          "[dest.allowed_targets]\nallowed_ips=[\"::1\"]\n" AUTH,
                             DEST_ROLE);
    const struct config_exposed_service *web = &c->dest.exposed_services[0];

    (void)state;
    assert_int_equal(c->dest.exposed_service_count, 2);
    assert_string_equal(web->name, "web");
    assert_int_equal(web->port, 80);
    assert_string_equal(web->target_ip, "127.0.0.1");
    assert_int_equal(web->target_port, 8080);
    assert_int_equal(web->protocol, CONFIG_UDP);
    assert_string_equal(web->description, "d");
    assert_int_equal(web->allowed_clients.count, 2);
    assert_int_equal(web->proxy_protocol, CONFIG_PROXY_V2);
    assert_int_equal(c->dest.exposed_services[1].protocol, CONFIG_TCP);
    assert_string_equal(c->dest.exposed_services[1].description, "");
    assert_int_equal(c->dest.allowed_source_ips.items[0].bits, 32);
    assert_int_equal(c->dest.allowed_targets.count, 1);
    config_free(c);
}

static void values_out_of_place_are_refused(void **state)
{
    static const struct expectation cases[] = {
        {SOURCE "listen_port=0\n" AUTH, ANY,
         "dir/u.toml:4:13: error: 'listen_port' must be 1 to 65535, not 0"},
        {SOURCE "listen_port=65536\n" AUTH, ANY, ":4:13: error: 'listen_port' must be 1 to 65535"},
        {SOURCE "listen_port=-9223372036854775808\n" AUTH, ANY, ":4:13: error: 'listen_port'"},
        {SOURCE "listen_port=\"8443\"\n" AUTH, ANY,
         ":4:13: error: 'listen_port' must be an integer (1 to 65535), not a string; write "
         "listen_port = 8443, without quotes"},
        {SOURCE "listen_port=1.5\n" AUTH, ANY, "not a floating-point number"},
        {SOURCE "listen_port=[1]\n" AUTH, ANY, "not an array"},
        {SOURCE "listen_port=2026-11-22\n" AUTH, ANY, "not a date or time"},
        {SOURCE "listen_ip=1\n" AUTH, ANY, ":4:11: error: 'listen_ip' must be a string"},
        {SOURCE "listen_ip=\"localhost\"\n" AUTH, ANY,
         ":4:11: error: 'listen_ip' must be an IP address, not \"localhost\"; give the address"},
        {SOURCE "listen_ip=\"1.2.3\"\n" AUTH, ANY, "'listen_ip' must be an IP address"},
        {SOURCE "reconnection_enabled=\"true\"\n" AUTH, ANY,
         "'reconnection_enabled' must be a boolean (true or false), not a string; write "
         "reconnection_enabled = true, without quotes"},
        {SOURCE "reconnection_enabled=1\n" AUTH, ANY, "must be a boolean"},
        {SOURCE "mode=\"transparnt\"\n" AUTH, ANY,
         ":4:6: error: 'mode' must be one of \"transparent\", \"protocol\", \"hybrid\", not "
         "\"transparnt\"; did you mean \"transparent\"?"},
        {SOURCE "mode=\"\\u0000\"\n" AUTH, ANY, "'mode' is a string with a NUL character in it"},
        {SOURCE "connection_timeout_ms=99\n" AUTH, ANY, "must be 100 to 86400000, not 99"},
        {SOURCE "shutdown_timeout_secs=31\n" AUTH, ANY, "must be 0 to 30, not 31"},
        {SOURCE "workers=65\n" AUTH, ANY, "must be 0 to 64, not 65"},
        {SOURCE "connection_channel_size=0\n" AUTH, ANY, "must be 4 to 65536"},
        {SOURCE "accept_proxy_protocol=\"10.0.0.0/8\"\n" AUTH, ANY,
         "must be an array of strings, not a string; put it in brackets"},
        {SOURCE "accept_proxy_protocol=[1]\n" AUTH, ANY,
         ":4:24: error: 'accept_proxy_protocol' must hold strings only, not an integer"},
        {SOURCE "accept_proxy_protocol=[\"10.1.2.3/8\"]\n" AUTH, ANY,
         ":4:24: error: 'accept_proxy_protocol' has the range \"10.1.2.3/8\": bits are set behind "
         "the prefix; write \"10.0.0.0/8\""},
        {SOURCE "accept_proxy_protocol=[\n\"10.0.0.0/8\",\n \"x\"]\n" AUTH, ANY,
         ":6:2: error: 'accept_proxy_protocol' has the range \"x\": 'x' is not an IPv4"},
        {SOURCE "[source.allowed_outbound]\nallowed_ips=[\"10.0.0.0/33\"]\n" AUTH, ANY,
         ":5:14: error: 'allowed_ips' has the range"},
        {DEST SERVICE "[dest.connection_filter]\nallowed_source_ips=[\"::/129\"]\n" AUTH, ANY,
         ":9:21: error: 'allowed_source_ips' has the range"},
        {DEST SERVICE "protocol=\"TCP\"\n" AUTH, ANY, ":8:10: error: 'protocol' must be one of"},
        {DEST SERVICE "allowed_clients=[\"\"]\n" AUTH, ANY, "which is an empty name"},
        {DEST SERVICE "target_path=\"/run/x\"\n" AUTH, ANY, "a service has one target"},
        {DEST "[[dest.exposed_services]]\nname=\"a\"\nport=1\ntarget_path=\"/run/x\"\n"
              "protocol=\"both\"\n" AUTH,
         ANY, "target_path is for protocol \"tcp\" only"},
        {DEST "[[dest.exposed_services]]\nname=\"a\"\nport=1\n" AUTH, ANY,
         ":3:1: error: [[dest.exposed_services]] has no 'target_ip'"},
        {DEST SERVICE "allowed_clients=[\"a*.b\"]\n" AUTH, ANY, "only as its whole first label"},
        {DEST SERVICE "proxy_protocol=\"v3\"\n" AUTH, ANY, "did you mean \"v1\"?"},
        {DEST
         "[[dest.exposed_services]]\nname=\"a b\"\nport=1\ntarget_ip=\"h\"\ntarget_port=1\n" AUTH,
         ANY, ":4:6: error: 'name' must be 1 to 63 letters, digits"},
        {DEST
         "[[dest.exposed_services]]\nname=\"a\"\nport=1\ntarget_ip=\"h:80\"\ntarget_port=1\n" AUTH,
         ANY,
         ":6:11: error: 'target_ip' must be an IP address or a host name, not \"h:80\"; give "
         "the host alone"},
        {"[source]\ndest_host=\"10.0.0.256\"\ndest_tunnel_port=1\n" AUTH, ANY,
         ":2:11: error: 'dest_host' must be an IP address or a host name, not \"10.0.0.256\""},
        {"[source]\ndest_host=[]\ndest_tunnel_port=1\n" AUTH, ANY,
         ":2:11: error: 'dest_host' is empty"},
        {"[source]\ndest_host=[\"a\", \"b c\"]\ndest_tunnel_port=1\n" AUTH, ANY,
         ":2:17: error: 'dest_host' must be an IP address or a host name"},
        {"[source]\ndest_host=[\"a\", \"A\"]\ndest_tunnel_port=1\n" AUTH, ANY,
         "dest_host has 'A' twice"},
        {"[source]\ndest_host=\"[::1]\"\ndest_tunnel_port=1\n" AUTH, ANY, "without brackets"},
        {SOURCE AUTH "[crypto]\nkem_mode=\"kyber\"\n", ANY, "'kem_mode' must be one of"},
        {SOURCE AUTH "[logging]\nlevel=\"warning\"\n", ANY, "did you mean \"warn\"?"},
        {SOURCE AUTH "[metrics]\nmetrics_bind_ip=\"*\"\n", ANY, "'metrics_bind_ip' must be an IP"},
    };

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
}

static void unknown_names_are_refused_with_a_suggestion(void **state)
{
    static const struct expectation cases[] = {
        {SOURCE "  listen_prot=1\n" AUTH, ANY,
         ":4:3: error: unknown key 'listen_prot' in [source]; did you mean 'listen_port'?"},
        {SOURCE "tunnel_port=1\n" AUTH, ANY,
         ":4:1: error: unknown key 'tunnel_port' in [source]; it belongs in [dest]"},
        {"listen_port=1\n" SOURCE AUTH, ANY,
         ":1:1: error: unknown key 'listen_port'; it belongs in [source]"},
        {SOURCE AUTH "[loging]\nlevel=\"info\"\n", ANY,
         ":10:2: error: unknown section 'loging'; did you mean [logging]?"},
        {SOURCE "[[source.exposed_port]]\nport=1\n" AUTH, ANY,
         "unknown section 'exposed_port' in [source]; did you mean [[source.exposed_ports]]?"},
        {SOURCE AUTH "[tls]\nx=1\n", ANY, "unknown section 'tls'"},
        {SOURCE "banana=1\n" AUTH, ANY, "unknown key 'banana' in [source]; `utun check --keys`"},
        {SOURCE "[[source.exposed_ports]]\nport=1\nname=\"x\"\n" AUTH, ANY,
         ":6:1: error: unknown key 'name' in [[source.exposed_ports]]; it belongs in "
         "[[dest.exposed_services]]"},
        {SOURCE "\"\\u001b[31m\"=1\n" AUTH, ANY, "unknown key '?[31m'"},
    };

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
}

static void wrong_shapes_are_refused(void **state)
{
    static const struct expectation cases[] = {
        {"source=1\n" AUTH, ANY, ":1:1: error: [source] must be a table, not an integer"},
        {"[[source]]\ndest_host=\"a\"\ndest_tunnel_port=1\n" AUTH, ANY,
         ":1:3: error: [source] must be a table, not an array; write [source] once"},
        {SOURCE "[source.exposed_ports]\nport=1\n" AUTH, ANY,
         ":4:9: error: [[source.exposed_ports]] is a list of blocks"},
        {SOURCE "exposed_ports=[22]\n" AUTH, ANY,
         ":4:16: error: [[source.exposed_ports]] holds tables, not an integer"},
        {SOURCE "allowed_outbound=[]\n" AUTH, ANY, "[source.allowed_outbound] must be a table"},
        {SOURCE "listen_port.x=1\n" AUTH, ANY,
         "'listen_port' must be an integer (1 to 65535), not "
         "a table"},
        {"auth=3\n" SOURCE, ANY, "[auth] must be a table, not an integer"},
    };

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
}

static void what_is_missing_is_named(void **state)
{
    static const struct expectation cases[] = {
        {"", SOURCE_ROLE, "dir/u.toml: error: the file has no [source] section"},
        {"", DEST_ROLE, "error: the file has no [dest] section"},
        {"", ANY, "error: the file has neither a [source] nor a [dest] section"},
        {SOURCE AUTH, DEST_ROLE, "no [dest] section; add it, or start `utun source`"},
        {DEST AUTH, SOURCE_ROLE, "no [source] section; add it, or start `utun dest`"},
        {SOURCE, ANY, "the file has no [auth] section"},
        {"\n[source]\ndest_host=\"a\"\n" AUTH, ANY,
         ":2:1: error: [source] has no 'dest_tunnel_port'; add dest_tunnel_port = ... (1 to "
         "65535)"},
        {"[source]\n" AUTH, ANY, "[source] has no 'dest_host'"},
        {"[dest]\n" AUTH, ANY, "[dest] has no 'tunnel_port'"},
        {SOURCE "[[source.exposed_ports]]\nprotocol=\"tcp\"\n" AUTH, ANY,
         ":4:1: error: [[source.exposed_ports]] has no 'port'"},
        {DEST "[[dest.exposed_services]]\n" AUTH, ANY,
         ":3:1: error: [[dest.exposed_services]] has no 'target_port'"},
        {SOURCE "[auth]\n", ANY,
         ":4:1: error: [auth] has no 'ca_cert_path', which each role needs"},
        {SOURCE "[auth]\nca_cert_path=\"a\"\n", ANY, "[auth] has no 'client_cert_path'"},
        {SOURCE "[auth]\nca_cert_path=\"a\"\n", ANY, "[auth] has no 'client_key_path'"},
        {SOURCE "[auth]\nca_cert_path=\"\"\nuse_mtls=false\n", ANY, "[auth] has no 'ca_cert_path'"},
        {DEST "[auth]\nca_cert_path=\"a\"\n", ANY, "[auth] has no 'server_cert_path'"},
        {DEST "[auth]\nca_cert_path=\"a\"\n", ANY, "[auth] has no 'server_key_path'"},
        {DEST "[auth]\nserver_cert_path=\"a\"\nserver_key_path=\"b\"\n", ANY,
         "[auth] has no 'ca_cert_path'"},
    };

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
}

static void a_role_needs_its_own_certificate_only(void **state)
{
    (void)state;
    config_free(parse(SOURCE DEST "[auth]\nca_cert_path=\"a\"\nclient_cert_path=\"b\"\n"
                                  "client_key_path=\"c\"\n",
                      SOURCE_ROLE));
    config_free(parse(SOURCE DEST "[auth]\nca_cert_path=\"a\"\nserver_cert_path=\"b\"\n"
                                  "server_key_path=\"c\"\n",
                      DEST_ROLE));
    config_free(parse(SOURCE "[auth]\nca_cert_path=\"a\"\nuse_mtls=false\n", ANY));
    config_free(parse(DEST "[auth]\nserver_cert_path=\"b\"\nserver_key_path=\"c\"\n"
                           "verify_client_cert=false\n",
                      ANY));
}

static void rules_between_keys_hold(void **state)
{
    static const struct expectation cases[] = {
        {SOURCE "heartbeat_interval_ms=1000\n" AUTH, ANY,
         ":4:23: error: heartbeat_timeout_ms (5000) is longer than heartbeat_interval_ms (1000)"},
        {SOURCE "heartbeat_timeout_ms=15001\n" AUTH, ANY, ":4:22: error: heartbeat_timeout_ms"},
        {SOURCE "initial_reconnect_delay_ms=70000\n" AUTH, ANY,
         ":4:28: error: max_reconnect_delay_ms (60000) is less than initial_reconnect_delay_ms"},
        {SOURCE "max_reconnect_delay_ms=999\n" AUTH, ANY, ":4:24: error: max_reconnect_delay_ms"},
        {SOURCE "connection_channel_size=65536\n" AUTH, ANY,
         ":4:25: error: connection_channel_size lets one stream buffer 1048576 KiB"},
        {DEST "memory_budget_mb=16\nconnection_channel_size=1025\n" AUTH, ANY,
         ":4:25: error: connection_channel_size lets one stream"},
        {SOURCE AUTH "[crypto]\nkey_rotation_interval_seconds=300\n", ANY,
         ":11:31: error: rehandshake_before_expiry_seconds (300) must be less than "
         "key_rotation_interval_seconds (300)"},
        {SOURCE AUTH "[crypto]\nmax_handshake_size=65536\n", ANY,
         ":11:20: error: max_handshake_size 65536 is too small for kem_mode \"hybrid\""},
        {SOURCE AUTH "[crypto]\nmax_handshake_size=65536\nkem_mode=\"mceliece460896\"\n", ANY,
         "is too small for kem_mode \"mceliece460896\""},
        {SOURCE "mode=\"hybrid\"\n[[source.exposed_ports]]\nport=8443\n" AUTH, ANY,
         ":6:6: error: port 8443 is the listen_port of hybrid mode already"},
        {SOURCE "mode=\"protocol\"\nlisten_port=53\n[[source.exposed_ports]]\nport=53\n"
                "protocol=\"both\"\n" AUTH,
         ANY, "port 53 is the listen_port of protocol mode already"},
        {SOURCE AUTH "[metrics]\nmetrics_port=8443\n", ANY,
         ":11:14: error: metrics_port 8443 is the same port as listen_port in [source]"},
        {SOURCE "listen_port=9090\n" AUTH, ANY, "error: metrics_port 9090 is the same port as"},
        {SOURCE "[[source.exposed_ports]]\nport=9090\n" AUTH, ANY,
         "metrics_port 9090 is the same port as one of [[source.exposed_ports]]"},
        {DEST AUTH "[metrics]\nmetrics_port=9443\n", ANY,
         "metrics_port 9443 is the same port as tunnel_port in [dest]"},
    };

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
    config_free(parse(SOURCE "[[source.exposed_ports]]\nport=9090\nprotocol=\"udp\"\n" AUTH, ANY));
    config_free(parse(SOURCE "listen_ip=\"192.0.2.1\"\nlisten_port=9090\n" AUTH, ANY));
    config_free(parse(SOURCE "listen_port=9090\n" AUTH "[metrics]\nenabled=false\n", ANY));
    config_free(parse(SOURCE "mode=\"hybrid\"\n[[source.exposed_ports]]\nport=8443\n"
                             "protocol=\"udp\"\n" AUTH,
                      ANY));
    config_free(
        parse(SOURCE AUTH "[crypto]\nmax_handshake_size=65536\nkem_mode=\"mlkem768\"\n", ANY));
}

#define PORT(port, protocol) "[[source.exposed_ports]]\nport=" port "\nprotocol=\"" protocol "\"\n"
#define NAMED(name, port, protocol)                                                                \
    "[[dest.exposed_services]]\nname=\"" name "\"\nport=" port                                     \
    "\ntarget_ip=\"h\"\ntarget_port=1\nprotocol=\"" protocol "\"\n"

static void the_same_port_and_protocol_is_refused(void **state)
{
    static const struct expectation cases[] = {
        {SOURCE PORT("22", "tcp") PORT("22", "tcp") AUTH, ANY,
         ":8:6: error: port 22 is listed twice for tcp: already in line 5"},
        {SOURCE PORT("22", "both") PORT("22", "tcp") AUTH, ANY, "port 22 is listed twice for tcp"},
        {SOURCE PORT("22", "both") PORT("22", "udp") AUTH, ANY, "port 22 is listed twice for udp"},
        {SOURCE PORT("22", "udp") PORT("22", "both") AUTH, ANY, "port 22 is listed twice for udp"},
        {SOURCE PORT("22", "both") PORT("22", "both") AUTH, ANY,
         "port 22 is listed twice for tcp and udp"},
        {DEST NAMED("a", "80", "tcp") NAMED("b", "80", "both") AUTH, ANY,
         ":11:6: error: port 80 is listed twice for tcp: already in line 5"},
        {DEST NAMED("a", "80", "udp") NAMED("b", "80", "udp") AUTH, ANY,
         "port 80 is listed twice for udp"},
        {DEST NAMED("a", "80", "tcp") NAMED("a", "81", "tcp") AUTH, ANY,
         ":10:6: error: there are two services named 'a': the other is in line 4"},
    };

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
    config_free(parse(SOURCE PORT("22", "tcp") PORT("22", "udp") PORT("23", "both") AUTH, ANY));
    config_free(parse(DEST NAMED("a", "80", "tcp") NAMED("b", "80", "udp") AUTH, ANY));
}

#define SOCKET(port, rest) "[[source.exposed_ports]]\nport=" port "\n" rest "\n"

static void unix_sockets_to_listen_on(void **state)
{
    static const struct expectation cases[] = {
        {SOURCE SOCKET("22", "listen_path=\"/run/a\"\nprotocol=\"both\"") AUTH, ANY,
         ":6:13: error: listen_path is for protocol \"tcp\" only"},
        {SOURCE SOCKET("22", "listen_path=\"/run/a\"\nlisten_mode=\"0777\"") AUTH, ANY,
         ":7:13: error: 'listen_mode' must be one of"},
        {SOURCE SOCKET("22", "listen_path=\"/run/a\"\nlisten_mode=600") AUTH, ANY,
         ":7:13: error: 'listen_mode' must be"},
        {SOURCE SOCKET("22", "listen_mode=\"0660\"") AUTH, ANY,
         ":6:13: error: listen_mode is of a Unix socket, and there is no listen_path"},
        {SOURCE SOCKET("22", "listen_path=\"\"") AUTH, ANY, ":6:13: error: 'listen_path'"},
        {SOURCE SOCKET("22", "listen_path=\"/run/a\"") SOCKET("23", "listen_path=\"/run/a\"") AUTH,
         ANY, ":9:13: error: listen_path '/run/a' is listed twice: already in line 6"},
        {SOURCE SOCKET("22", "listen_path=\"/run/0123456789012345678901234567890123456789"
                             "01234567890123456789012345678901234567890123456789012345678901234\"")
             AUTH,
         ANY, "longer than the 107 bytes"},
    };
    struct config *c;

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
    /* It stands for a port and takes none: not of the entry point, nor of the admin endpoint. */
    c = parse(SOURCE "mode=\"hybrid\"\nlisten_port=22\n" PORT("23", "tcp")
                  SOCKET("22", "listen_path=\"a/b\"") SOCKET("23", "listen_path=\"/run/c\"")
                      SOCKET("9090", "listen_path=\"/run/d\"\nlisten_mode=\"0666\"") AUTH,
              ANY);
    assert_int_equal(c->source.exposed_port_count, 4);
    assert_null(c->source.exposed_ports[0].listen_path);
    assert_non_null(strstr(c->source.exposed_ports[1].listen_path, "a/b"));
    assert_int_equal(c->source.exposed_ports[1].listen_mode, CONFIG_LISTEN_USER);
    assert_string_equal(c->source.exposed_ports[2].listen_path, "/run/c");
    assert_int_equal(c->source.exposed_ports[3].listen_mode, CONFIG_LISTEN_ALL);
    config_free(c);
}

static void everything_is_reported_at_once(void **state)
{
    struct problems *p = problems_new();
    struct config *c = parse_with("[source]\n"
                                  "listen_port=0\n"
                                  "moed=\"hybrid\"\n"
                                  "listen_ip=\"x\"\n"
                                  "[[source.exposed_ports]]\n"
                                  "port=5\n"
                                  "[[source.exposed_ports]]\n"
                                  "port=5\n"
                                  "[auth]\n",
                                  SOURCE_ROLE, NULL, p);

    (void)state;
    assert_null(c);
    assert_int_equal(problems_errors(p), 9);
    assert_true(has_line(p, ":1:1: error: [source] has no 'dest_host'"));
    assert_true(has_line(p, ":1:1: error: [source] has no 'dest_tunnel_port'"));
    assert_true(has_line(p, ":2:13: error: 'listen_port'"));
    assert_true(has_line(p, ":3:1: error: unknown key 'moed'"));
    assert_true(has_line(p, ":4:11: error: 'listen_ip'"));
    assert_true(has_line(p, ":8:6: error: port 5 is listed twice"));
    assert_true(has_line(p, ":9:1: error: [auth] has no 'ca_cert_path'"));
    problems_free(p);
}

static void what_has_no_effect_is_warned_about(void **state)
{
    static const struct expectation cases[] = {
        {DEST SERVICE "allowed_clients=[\"a\"]\n" AUTH "verify_client_cert=false\n", DEST_ROLE,
         "warning: allowed_clients names sources by their certificates"},
        {DEST AUTH, DEST_ROLE, ":1:1: warning: there are no exposed_services"},
        {SOURCE AUTH "use_mtls=false\n", SOURCE_ROLE, "warning: use_mtls = false: sources are not"},
        {DEST AUTH "verify_client_cert=false\n", DEST_ROLE,
         "warning: verify_client_cert = false: sources are not asked for a certificate"},
        {SOURCE OPEN_PROXY AUTH, SOURCE_ROLE,
         ":6:13: warning: an open proxy: nobody has to log in"},
        {SOURCE "mode=\"hybrid\"\n[source.allowed_outbound]\nallowed_ips=[\"2000::/3\"]\n" AUTH,
         ANY, "warning: an open proxy"},
        {SOURCE AUTH "[metrics]\nmetrics_bind_ip=\"0.0.0.0\"\n", SOURCE_ROLE,
         "warning: metrics_bind_ip = \"0.0.0.0\": whoever reaches it"},
        {DEST SERVICE AUTH "[metrics]\nmetrics_bind_ip=\"10.0.0.1\"\n", DEST_ROLE,
         "warning: metrics_bind_ip = \"10.0.0.1\""},
        {DEST AUTH "allow_insecure_key_files=true\n", DEST_ROLE, "warning: allow_insecure_key"},
        {SOURCE "listen_port=1\n[[source.exposed_ports]]\nport=2\n" AUTH, SOURCE_ROLE,
         ":4:13: warning: listen_port is not used in transparent mode beside exposed_ports"},
        {SOURCE "[source.allowed_outbound]\nallowed_ips=[\"10.0.0.0/8\"]\n" AUTH, SOURCE_ROLE,
         "warning: allowed_outbound has no meaning in transparent mode"},
        {SOURCE "proxy_users_path=\"users\"\n" AUTH, SOURCE_ROLE,
         "warning: proxy_users_path has no meaning in transparent mode"},
        {SOURCE "mode=\"protocol\"\n[[source.exposed_ports]]\nport=2\n" AUTH, SOURCE_ROLE,
         "warning: exposed_ports are not listened on in protocol mode"},
    };
    struct problems *p = problems_new();

    (void)state;
    CHECK(cases, PROBLEM_WARNING);

    /* At their defaults, and in the section of the role that does not run, they are silent. */
    config_free(parse_with(SOURCE "max_missed_pongs=3\nheartbeat_interval_ms=15000\n" AUTH
                                  "crl_path=\"\"\n"
                                  "[dest]\ntunnel_port=1\nconnection_timeout_ms=2000\n" SERVICE,
                           SOURCE_ROLE, NULL, p));
    assert_int_equal(problems_count(p), 0);
    problems_free(p);
}

static void what_is_closed_is_not_warned_about(void **state)
{
    static const struct {
        const char *text;
        enum config_role role;
    } cases[] = {
        {SOURCE OPEN_PROXY "[dest]\ntunnel_port=1\n" SERVICE AUTH, DEST_ROLE},
        {SOURCE "listen_ip=\"127.0.0.1\"\n" OPEN_PROXY AUTH, SOURCE_ROLE},
        {SOURCE "proxy_users_path=\"users\"\n" OPEN_PROXY AUTH, SOURCE_ROLE},
        {SOURCE "mode=\"protocol\"\n[source.allowed_outbound]\n"
                "allowed_ips=[\"10.0.0.0/8\", \"fc00::/7\"]\n" AUTH,
         SOURCE_ROLE},
        {SOURCE AUTH "[metrics]\nmetrics_bind_ip=\"::1\"\n", SOURCE_ROLE},
        {SOURCE AUTH "[metrics]\nenabled=false\nmetrics_bind_ip=\"0.0.0.0\"\n", SOURCE_ROLE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct problems *p = problems_new();

        config_free(parse_with(cases[i].text, cases[i].role, NULL, p));
        if (problems_count(p) > 0)
            fail_msg("case %zu: %s", i, problems_at(p, 0)->text);
        problems_free(p);
    }
}

static void options_stand_in_for_keys(void **state)
{
    const struct config_overrides overrides = {
        .listen_ip = "::",
        .listen_port = "1234",
        .dest_host = "::1",
        .dest_tunnel_port = "4321",
        .metrics_port = "9999",
        .log_level = "warn",
        .log_format = "plain",
    };
    struct problems *p = problems_new();
    struct config *c = parse_with("[source]\nlisten_port=99999999\ndest_host=7\n" AUTH, SOURCE_ROLE,
                                  &overrides, p);

    (void)state;
    assert_non_null(c);
    assert_string_equal(c->source.listen_ip, "::");
    assert_int_equal(c->source.listen_port, 1234);
    assert_int_equal(c->source.exposed_ports[0].port, 1234);
    assert_string_equal(c->source.dest_host.items[0], "::1");
    assert_int_equal(c->source.dest_tunnel_port, 4321);
    assert_int_equal(c->metrics.metrics_port, 9999);
    assert_int_equal(c->logging.level, LOG_LEVEL_WARN);
    assert_int_equal(c->logging.format, LOG_FORMAT_PLAIN);
    assert_string_equal(config_place(c, "source", "listen_port").file, "--listen-port");
    config_free(c);
    problems_free(p);
}

static void wrong_options_are_named(void **state)
{
    static const struct {
        struct config_overrides overrides;
        enum config_role role;
        const char *line;
    } cases[] = {
        {{.listen_port = "abc"},
         SOURCE_ROLE,
         "--listen-port: error: 'listen_port' must be a whole number, 1 to 65535, not \"abc\""},
        {{.listen_port = ""}, SOURCE_ROLE, "--listen-port: error: 'listen_port' must be a whole"},
        {{.listen_port = " 1"}, SOURCE_ROLE, "--listen-port: error: "},
        {{.listen_port = "1-1"}, SOURCE_ROLE, "--listen-port: error: "},
        {{.listen_port = "99999999999999999999"}, SOURCE_ROLE, "--listen-port: error: "},
        {{.listen_port = "70000"}, SOURCE_ROLE, "must be 1 to 65535, not 70000"},
        {{.listen_ip = "host"}, SOURCE_ROLE, "--listen-ip: error: 'listen_ip' must be an IP"},
        {{.listen_ip = "host"}, DEST_ROLE, "--listen-ip: error: 'listen_ip' must be an IP"},
        {{.dest_host = "a b"}, SOURCE_ROLE, "--dest-host: error: "},
        {{.dest_tunnel_port = "0"}, SOURCE_ROLE, "--dest-tunnel-port: error: "},
        {{.tunnel_port = "0"}, DEST_ROLE, "--tunnel-port: error: "},
        {{.metrics_port = "65536"}, DEST_ROLE, "--metrics-port: error: "},
        {{.metrics_port = "9443"}, DEST_ROLE, "--metrics-port: error: metrics_port 9443 is the"},
        {{.log_level = "loud"}, DEST_ROLE, "--log-level: error: "},
        {{.log_format = "xml"}, DEST_ROLE, "--log-format: error: "},
        {{.listen_port = "1"}, DEST_ROLE, "--listen-port: error: it has no meaning for a dest"},
        {{.tunnel_port = "1"}, SOURCE_ROLE, "--tunnel-port: error: it has no meaning for a source"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct problems *p = problems_new();

        assert_null(parse_with(SOURCE DEST AUTH, cases[i].role, &cases[i].overrides, p));
        assert_true(has_line(p, cases[i].line));
        problems_free(p);
    }
}

static void places_lead_to_the_line(void **state)
{
    struct config *c = parse(SOURCE AUTH, ANY);

    (void)state;
    assert_int_equal(config_place(c, "auth", "ca_cert_path").line, 5);
    assert_int_equal(config_place(c, "auth", "crl_path").line, 4);
    assert_int_equal(config_place(c, "crypto", "kem_mode").line, 0);
    assert_int_equal(config_place(c, "nonsense", "x").line, 0);
    assert_string_equal(config_place(c, "auth", "ca_cert_path").file, "dir/u.toml");
    config_free(c);
}

static void syntax_errors_and_limits_are_reported(void **state)
{
    static const struct expectation cases[] = {
        {"[source\n", ANY, "dir/u.toml:1:8: error: "},
        {"[source]\nlisten_port = \n", ANY, "dir/u.toml:2:"},
        {"[source]\nlisten_port = 1\nlisten_port = 2\n", ANY, "dir/u.toml:3:"},
        {"x = \"\xff\"\n", ANY, "dir/u.toml:1:6: error: not UTF-8"},
    };
    struct problems *p = problems_new();
    char *text = calloc(1, TOML_TEXT_MAX + 1);
    struct config *c;

    (void)state;
    CHECK(cases, PROBLEM_ERROR);
    assert_non_null(text);
    memset(text, '\n', TOML_TEXT_MAX + 1);
    assert_int_equal(config_parse(&c, text, TOML_TEXT_MAX + 1, "f", ANY, NULL, p), ERR_TOO_LARGE);
    assert_true(has_line(p, "f: error: larger than 1 MiB"));
    free(text);
    problems_free(p);
}

static void arrays_have_an_end(void **state)
{
    struct problems *p = problems_new();
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(out);
    fputs(SOURCE "accept_proxy_protocol=[\n", out);
    for (int i = 0; i <= 10000; i++)
        fputs("\"::1\",\n", out);
    fputs("]\n", out);
    for (int i = 0; i <= 4096; i++)
        fprintf(out, "[[source.exposed_ports]]\nport=%d\n", i + 1);
    fputs(AUTH, out);
    fclose(out);
    assert_null(parse_with(text, ANY, NULL, p));
    assert_true(has_line(p, "'accept_proxy_protocol' has more than 10000 elements"));
    assert_true(has_line(p, "more than 4096 blocks of [[source.exposed_ports]]"));
    free(text);
    problems_free(p);
}

/* Who asks a role that runs must not need more of its file than the role did. */
static void of_no_role_metrics_alone_are_read(void **state)
{
    static const char text[] =
        SOURCE "[dest]\n[elsewhere]\nkey = 1\n[auth]\nca_cert_path = 5\n"
               "[metrics]\nmetrics_bind_ip = \"127.0.0.9\"\nmetrics_port = 9191\n";
    static const char wrong[] = "[metrics]\nmetrics_prot = 9191\n";
    struct problems *p = problems_new();
    struct config *c;

    (void)state;
    assert_int_equal(config_parse(&c, text, sizeof(text) - 1, "f", ANY, NULL, p), ERR_CONFIG);
    problems_free(p);
    p = problems_new();
    assert_int_equal(config_parse(&c, text, sizeof(text) - 1, "f", CONFIG_ROLE_NONE, NULL, p),
                     ERR_OK);
    assert_int_equal(problems_count(p), 0);
    assert_string_equal(c->metrics.metrics_bind_ip, "127.0.0.9");
    assert_int_equal(c->metrics.metrics_port, 9191);
    assert_false(c->has_source || c->has_dest);
    config_free(c);
    assert_int_equal(config_parse(&c, "", 0, "f", CONFIG_ROLE_NONE, NULL, p), ERR_OK);
    assert_true(c->metrics.enabled);
    assert_int_equal(c->metrics.metrics_port, 9090);
    config_free(c);
    assert_int_equal(config_parse(&c, wrong, sizeof(wrong) - 1, "f", CONFIG_ROLE_NONE, NULL, p),
                     ERR_CONFIG);
    assert_true(has_line(p, "unknown key 'metrics_prot' in [metrics]"));
    problems_free(p);
}

static void unreadable_files_are_explained(void **state)
{
    char folder[] = "/tmp/utun-test-config-XXXXXX";
    char path[100];
    struct problems *p = problems_new();
    struct config *c;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/absent.toml", folder);
    assert_int_equal(config_load(&c, path, ANY, NULL, p), ERR_NOT_FOUND);
    assert_true(has_line(p, "absent.toml: error: cannot read the configuration: No such file"));
    assert_int_equal(config_load(&c, folder, ANY, NULL, p), ERR_IO);
    assert_true(has_line(p, "Is a directory; name a file with --config"));
    snprintf(path, sizeof(path), "%s/c.toml", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(SOURCE AUTH, file);
    fclose(file);
    problems_free(p);
    p = problems_new();
    assert_int_equal(config_load(&c, path, SOURCE_ROLE, NULL, p), ERR_OK);
    char expected[100];
    snprintf(expected, sizeof(expected), "%s/ca", folder);
    assert_string_equal(c->auth.ca_cert_path, expected);
    assert_string_equal(c->path, path);
    config_free(c);
    problems_free(p);
    unlink(path);
    rmdir(folder);
}

/* A pipe in its place must not hold up a role that runs: nobody may ever write to it. */
static void a_pipe_is_not_waited_for_while_a_role_runs(void **state)
{
    char folder[] = "/tmp/utun-test-config-XXXXXX";
    char path[100];
    struct problems *p = problems_new();
    struct config *again;
    struct config *c;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/c.toml", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(SOURCE AUTH, file);
    fclose(file);
    assert_int_equal(config_load(&c, path, SOURCE_ROLE, NULL, p), ERR_OK);
    assert_int_equal(config_reload(&again, c, p), ERR_OK);
    config_free(again);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)alarm(60);
    assert_int_equal(config_reload(&again, c, p), ERR_IO);
    (void)alarm(0);
    assert_true(has_line(p, "c.toml: error: the configuration is not a regular file"));
    config_free(c);
    problems_free(p);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_documentation),
        cmocka_unit_test(every_key_of_a_full_file_is_read),
        cmocka_unit_test(services_are_read),
        cmocka_unit_test(values_out_of_place_are_refused),
        cmocka_unit_test(unknown_names_are_refused_with_a_suggestion),
        cmocka_unit_test(wrong_shapes_are_refused),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(a_role_needs_its_own_certificate_only),
        cmocka_unit_test(rules_between_keys_hold),
        cmocka_unit_test(the_same_port_and_protocol_is_refused),
        cmocka_unit_test(unix_sockets_to_listen_on),
        cmocka_unit_test(everything_is_reported_at_once),
        cmocka_unit_test(what_has_no_effect_is_warned_about),
        cmocka_unit_test(what_is_closed_is_not_warned_about),
        cmocka_unit_test(options_stand_in_for_keys),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(places_lead_to_the_line),
        cmocka_unit_test(syntax_errors_and_limits_are_reported),
        cmocka_unit_test(arrays_have_an_end),
        cmocka_unit_test(of_no_role_metrics_alone_are_read),
        cmocka_unit_test(unreadable_files_are_explained),
        cmocka_unit_test(a_pipe_is_not_waited_for_while_a_role_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
