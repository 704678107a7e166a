/* The rows of the schema; see schema.h for what derives from them. */
#include "config/schema.h"

#define IN_CONFIG(member)                                                                          \
    .offset = offsetof(struct config, member), .size = sizeof(((struct config *)0)->member)
#define IN_PORT(member)                                                                            \
    .offset = offsetof(struct config_exposed_port, member),                                        \
    .size = sizeof(((struct config_exposed_port *)0)->member)
#define IN_SERVICE(member)                                                                         \
    .offset = offsetof(struct config_exposed_service, member),                                     \
    .size = sizeof(((struct config_exposed_service *)0)->member)

#define INTEGER(low, high)      .type = SCHEMA_INTEGER, .min = (low), .max = (high), .scale = 1
#define SCALED(low, high, unit) .type = SCHEMA_INTEGER, .min = (low), .max = (high), .scale = (unit)
#define PORT                    INTEGER(1, 65535)
#define WORD(set)               .type = SCHEMA_WORD, .words = (set)

#define KIB     1024
#define MIB     (1024 * 1024)
#define HOUR    3600
#define DAY     86400
#define HOUR_MS 3600000
#define SINCE   .since = "0.2.0"
#define LIVE    .effect = SCHEMA_LIVE
#define NEXT    .effect = SCHEMA_NEXT
#define RESTART .effect = SCHEMA_RESTART

static const struct schema_word modes[] = {
    {"transparent", CONFIG_MODE_TRANSPARENT},
    {"protocol", CONFIG_MODE_PROTOCOL},
    {"hybrid", CONFIG_MODE_HYBRID},
    {NULL, 0},
};

static const struct schema_word protocols[] = {
    {"tcp", CONFIG_TCP},
    {"udp", CONFIG_UDP},
    {"both", CONFIG_BOTH},
    {NULL, 0},
};

static const struct schema_word listen_modes[] = {
    {"0600", CONFIG_LISTEN_USER},
    {"0660", CONFIG_LISTEN_GROUP},
    {"0666", CONFIG_LISTEN_ALL},
    {NULL, 0},
};

static const struct schema_word proxy_protocols[] = {
    {"none", CONFIG_PROXY_NONE},
    {"v1", CONFIG_PROXY_V1},
    {"v2", CONFIG_PROXY_V2},
    {NULL, 0},
};

static const struct schema_word kem_modes[] = {
    {"hybrid", CONFIG_KEM_HYBRID},
    {"mlkem768", CONFIG_KEM_MLKEM768},
    {"mceliece460896", CONFIG_KEM_MCELIECE460896},
    {NULL, 0},
};

static const struct schema_word levels[] = {
    {"debug", LOG_LEVEL_DEBUG},
    {"info", LOG_LEVEL_INFO},
    {"warn", LOG_LEVEL_WARN},
    {"error", LOG_LEVEL_ERROR},
    {NULL, 0},
};

static const struct schema_word formats[] = {
    {"json", LOG_FORMAT_JSON},
    {"plain", LOG_FORMAT_PLAIN},
    {NULL, 0},
};

static const struct schema_section sections[SCHEMA_SECTION_COUNT] = {
    [SCHEMA_SOURCE] = {.name = "source",
                       .role = CONFIG_ROLE_SOURCE,
                       .meaning = "The role that runs near the clients and listens for them."},
    [SCHEMA_ALLOWED_OUTBOUND] =
        {.name = "source.allowed_outbound",
         .role = CONFIG_ROLE_SOURCE,
         .meaning = "What clients of `protocol` mode may name as targets besides services."},
    [SCHEMA_EXPOSED_PORTS] =
        {.name = "source.exposed_ports",
         .role = CONFIG_ROLE_SOURCE,
         .is_array = true,
         .items_offset = offsetof(struct config, source.exposed_ports),
         .count_offset = offsetof(struct config, source.exposed_port_count),
         .item_size = sizeof(struct config_exposed_port),
         .meaning = "One block for each port that the source listens on. What arrives there goes "
                    "to the dest's service with the same port."},
    [SCHEMA_DEST] = {.name = "dest",
                     .role = CONFIG_ROLE_DEST,
                     .meaning = "The role that runs near the services and waits for sources."},
    [SCHEMA_EXPOSED_SERVICES] = {.name = "dest.exposed_services",
                                 .role = CONFIG_ROLE_DEST,
                                 .is_array = true,
                                 .items_offset = offsetof(struct config, dest.exposed_services),
                                 .count_offset =
                                     offsetof(struct config, dest.exposed_service_count),
                                 .item_size = sizeof(struct config_exposed_service),
                                 .meaning = "One block for each service that sources may reach."},
    [SCHEMA_CONNECTION_FILTER] = {.name = "dest.connection_filter",
                                  .role = CONFIG_ROLE_DEST,
                                  .meaning =
                                      "Who may connect at all, decided before any handshake work."},
    [SCHEMA_ALLOWED_TARGETS] =
        {.name = "dest.allowed_targets",
         .role = CONFIG_ROLE_DEST,
         .meaning = "Targets besides the services that a source in `protocol` mode may ask for. "
                    "The dest decides by this list, whatever the source allows."},
    [SCHEMA_AUTH] = {.name = "auth",
                     .role = CONFIG_ROLE_ANY,
                     .meaning = "Certificates and keys, PEM or DER. Required. A relative path "
                                "starts at the folder of the configuration file."},
    [SCHEMA_CRYPTO] = {.name = "crypto",
                       .role = CONFIG_ROLE_ANY,
                       .meaning = "Key agreement. Both roles must have the same `kem_mode`."},
    [SCHEMA_SECURITY] = {.name = "security",
                         .role = CONFIG_ROLE_ANY,
                         .meaning = "How the process protects itself."},
    [SCHEMA_LOGGING] = {.name = "logging",
                        .role = CONFIG_ROLE_ANY,
                        .meaning = "What is written to standard error."},
    [SCHEMA_METRICS] = {.name = "metrics",
                        .role = CONFIG_ROLE_ANY,
                        .meaning = "The admin endpoint: metrics, health and status over HTTP."},
};

/* clang-format off */
static const struct schema_key keys[] = {
    {.section = SCHEMA_SOURCE, .name = "listen_ip", .type = SCHEMA_ADDRESS, .initial = "0.0.0.0",
     IN_CONFIG(source.listen_ip), SINCE, RESTART,
     .meaning = "Address of the listeners; `::` listens on IPv6 and IPv4."},
    {.section = SCHEMA_SOURCE, .name = "listen_port", PORT, .initial = "8443",
     IN_CONFIG(source.listen_port), SINCE, LIVE,
     .meaning = "The single entry point of `protocol` and `hybrid` mode. In `transparent` mode it "
                "is the only listener if there are no `exposed_ports`, and unused otherwise."},
    {.section = SCHEMA_SOURCE, .name = "mode", WORD(modes), .initial = "transparent",
     IN_CONFIG(source.mode), SINCE, LIVE,
     .meaning = "`transparent`: each exposed port is forwarded to the service of that port. "
                "`protocol`: clients name the target by SOCKS5 or HTTP CONNECT on `listen_port`. "
                "`hybrid`: both."},
    {.section = SCHEMA_SOURCE, .name = "dest_host", .type = SCHEMA_HOSTS, .is_required = true,
     IN_CONFIG(source.dest_host), SINCE, LIVE,
     .meaning = "Where the dest is: an IP address or a host name, resolved anew at each connect, "
                "and checked against the dest's certificate. An array lists several dests by "
                "priority: the next one is taken when one fails (see `failback_interval_secs`). A "
                "name with several addresses counts as several."},
    {.section = SCHEMA_SOURCE, .name = "dest_tunnel_port", PORT, .is_required = true,
     IN_CONFIG(source.dest_tunnel_port), SINCE, LIVE,
     .meaning = "The dest's `tunnel_port`."},
    {.section = SCHEMA_SOURCE, .name = "workers", INTEGER(0, 64), .initial = "1",
     IN_CONFIG(source.workers), SINCE, RESTART,
     .meaning = "Threads that move data, each with its own tunnel; 0 is one per processor core."},
    {.section = SCHEMA_SOURCE, .name = "busy_wait_us", INTEGER(0, 1000), .initial = "50",
     IN_CONFIG(source.busy_wait_us), SINCE, RESTART,
     .meaning = "A worker whose last waits were shorter than this looks for so long before it "
                "sleeps: requests and answers in turn are quicker, and it takes more processor "
                "time. 0 where that is metered."},
    {.section = SCHEMA_SOURCE, .name = "max_connections", INTEGER(1, 1000000), .initial = "10000",
     IN_CONFIG(source.max_connections), SINCE, LIVE,
     .meaning = "Streams and flows at once; a client beyond that is refused."},
    {.section = SCHEMA_SOURCE, .name = "connection_timeout_ms", INTEGER(100, DAY * 1000),
     .initial = "30000", IN_CONFIG(source.connection_timeout_ms), SINCE, LIVE,
     .meaning = "How long a new client waits for a session, a half-open request for its rest, and "
                "an idle flow for its next datagram."},
    {.section = SCHEMA_SOURCE, .name = "keep_alive_interval_ms", INTEGER(0, 2 * HOUR_MS),
     .initial = "30000", IN_CONFIG(source.keep_alive_interval_ms), SINCE, NEXT,
     .meaning = "TCP keep-alive (`SO_KEEPALIVE`) on the tunnel socket, in whole seconds rounded "
                "up; 0 turns it off."},
    {.section = SCHEMA_SOURCE, .name = "half_close_idle_timeout_secs", INTEGER(1, 7 * DAY),
     .initial = "3600", IN_CONFIG(source.half_close_idle_timeout_secs), SINCE, LIVE,
     .meaning = "A stream that one side has closed is reset when nothing moves on it for this "
                "long. There is no other limit to a half-closed stream."},
    {.section = SCHEMA_SOURCE, .name = "heartbeat_interval_ms", INTEGER(10, HOUR_MS),
     .initial = "15000", IN_CONFIG(source.heartbeat_interval_ms), SINCE, NEXT,
     .meaning = "A ping is sent when nothing was received for this long."},
    {.section = SCHEMA_SOURCE, .name = "heartbeat_timeout_ms", INTEGER(10, HOUR_MS),
     .initial = "5000", IN_CONFIG(source.heartbeat_timeout_ms), SINCE, NEXT,
     .meaning = "A ping unanswered for this long counts as missed. At most "
                "`heartbeat_interval_ms`."},
    {.section = SCHEMA_SOURCE, .name = "max_missed_pongs", INTEGER(1, 100), .initial = "3",
     IN_CONFIG(source.max_missed_pongs), SINCE, NEXT,
     .meaning = "After so many missed pongs in a row the session is dead and recovery starts."},
    {.section = SCHEMA_SOURCE, .name = "reconnection_enabled", .type = SCHEMA_BOOLEAN,
     .initial = "true", IN_CONFIG(source.reconnection_enabled), SINCE, LIVE,
     .meaning = "Whether a lost session is replaced. When false, the source ends with the session."},
    {.section = SCHEMA_SOURCE, .name = "max_reconnect_attempts", INTEGER(0, 1000000),
     .initial = "0", IN_CONFIG(source.max_reconnect_attempts), SINCE, LIVE,
     .meaning = "Failed attempts in a row before the source gives up; 0 is never."},
    {.section = SCHEMA_SOURCE, .name = "initial_reconnect_delay_ms", INTEGER(1, HOUR_MS),
     .initial = "1000", IN_CONFIG(source.initial_reconnect_delay_ms), SINCE, LIVE,
     .meaning = "The shortest pause between attempts; the pauses grow from here with jitter."},
    {.section = SCHEMA_SOURCE, .name = "max_reconnect_delay_ms", INTEGER(1, HOUR_MS),
     .initial = "60000", IN_CONFIG(source.max_reconnect_delay_ms), SINCE, LIVE,
     .meaning = "The longest pause between attempts. At least `initial_reconnect_delay_ms`."},
    {.section = SCHEMA_SOURCE, .name = "circuit_breaker_window_secs", INTEGER(1, DAY),
     .initial = "60", IN_CONFIG(source.circuit_breaker_window_secs), SINCE, LIVE,
     .meaning = "The time in which `circuit_breaker_max_restarts` counts lost sessions."},
    {.section = SCHEMA_SOURCE, .name = "circuit_breaker_max_restarts", INTEGER(1, 10000),
     .initial = "5", IN_CONFIG(source.circuit_breaker_max_restarts), SINCE, LIVE,
     .meaning = "With more sessions lost in the window, reconnecting pauses for "
                "`max_reconnect_delay_ms`."},
    {.section = SCHEMA_SOURCE, .name = "stream_resume_timeout_secs", INTEGER(0, HOUR),
     .initial = "60", IN_CONFIG(source.stream_resume_timeout_secs), SINCE, LIVE,
     .meaning = "How long streams wait for a new session after theirs was lost, before they are "
                "reset."},
    {.section = SCHEMA_SOURCE, .name = "connection_refresh_interval_secs", INTEGER(0, 30 * DAY),
     .initial = "3600", IN_CONFIG(source.connection_refresh_interval_secs), SINCE, LIVE,
     .meaning = "The age at which a session is replaced by a new one with a full new handshake, "
                "without a pause for its streams; 0 is never."},
    {.section = SCHEMA_SOURCE, .name = "connection_drain_timeout_secs", INTEGER(0, DAY),
     .initial = "60", IN_CONFIG(source.connection_drain_timeout_secs), SINCE, LIVE,
     .meaning = "How long streams that cannot move to the new session may finish on the old one."},
    {.section = SCHEMA_SOURCE, .name = "failback_interval_secs", INTEGER(0, DAY), .initial = "60",
     IN_CONFIG(source.failback_interval_secs), SINCE, LIVE,
     .meaning = "With several dests in `dest_host`: how long a session with another than the first "
                "must have lasted before those that come before it are tried again; 0 is never. "
                "Each time that a dest is lost again sooner, this doubles, up to an hour. Streams "
                "of the session that is left may finish (`connection_drain_timeout_secs`)."},
    {.section = SCHEMA_SOURCE, .name = "shutdown_timeout_secs", INTEGER(0, 30), .initial = "30",
     IN_CONFIG(source.shutdown_timeout_secs), SINCE, LIVE,
     .meaning = "How long streams may finish after SIGTERM or SIGINT. A second signal ends at "
                "once."},
    {.section = SCHEMA_SOURCE, .name = "frame_buffer_size", SCALED(1, 1048576, KIB),
     .initial = "1000", IN_CONFIG(source.session_output_max_bytes), SINCE, LIVE,
     .meaning = "× 1 KiB = most sealed bytes waiting for the tunnel socket of one session "
                "(1000 is 1,024,000 bytes; three records, 193 KiB, are always allowed, and more than "
                "four, 257 KiB, are never made ahead)."},
    {.section = SCHEMA_SOURCE, .name = "connection_channel_size", SCALED(4, 65536, 16 * KIB),
     .initial = "1024", IN_CONFIG(source.stream_window_max_bytes), SINCE, LIVE,
     .meaning = "× 16 KiB = most bytes one stream may buffer in each direction, its largest "
                "flow-control window (1024 is 16 MiB)."},
    {.section = SCHEMA_SOURCE, .name = "write_queue_size", SCALED(1, 65536, 64 * KIB),
     .initial = "8192", IN_CONFIG(source.send_buffer_max_bytes), SINCE, RESTART,
     .meaning = "× 64 KiB = most bytes all streams of one worker may hold for sending until they "
                "are acknowledged (8192 is 512 MiB), and never more than a quarter of its part of "
                "`memory_budget_mb`."},
    {.section = SCHEMA_SOURCE, .name = "memory_budget_mb", SCALED(16, 1048576, MIB),
     .initial = "512", IN_CONFIG(source.memory_budget_bytes), SINCE, RESTART,
     .meaning = "× 1 MiB = most bytes in all stream buffers of the process."},
    {.section = SCHEMA_SOURCE, .name = "accept_proxy_protocol", .type = SCHEMA_RANGES,
     IN_CONFIG(source.accept_proxy_protocol), SINCE, LIVE,
     .meaning = "Load balancers in front of the source whose PROXY protocol header (version 1 or "
                "2) is believed; from these addresses the header is then required."},
    {.section = SCHEMA_SOURCE, .name = "proxy_users_path", .type = SCHEMA_PATH,
     .initial_note = "none", IN_CONFIG(source.proxy_users_path), SINCE, LIVE,
     .meaning = "File of lines `name:password`, each a user of the entry point (`protocol` and "
                "`hybrid` mode); only its owner may be able to read it, and where that is root its "
                "group, too. Without it nobody has to log in. Read again when it changes."},

    {.section = SCHEMA_ALLOWED_OUTBOUND, .name = "allowed_ips", .type = SCHEMA_RANGES,
     IN_CONFIG(source.allowed_outbound), SINCE, LIVE,
     .meaning = "Addresses that clients of the entry point may name as targets, and that a name "
                "which they give may stand for. Empty: none, only services. The dest's "
                "`allowed_targets` must allow them too. Of loopback and link-local addresses a range has "
                "only what lies within 127.0.0.0/8, ::1, 169.254.0.0/16 or fe80::/10 itself, and of "
                "clouds' metadata addresses outside of these none but one listed by itself."},

    {.section = SCHEMA_EXPOSED_PORTS, .name = "port", PORT, .is_required = true, IN_PORT(port),
     SINCE, LIVE, .meaning = "The port to listen on, and the service's `port` at the dest."},
    {.section = SCHEMA_EXPOSED_PORTS, .name = "protocol", WORD(protocols), .initial = "tcp",
     IN_PORT(protocol), SINCE, LIVE,
     .meaning = "The same port may be listed for `tcp` and for `udp`, but nothing twice."},
    {.section = SCHEMA_EXPOSED_PORTS, .name = "listen_path", .type = SCHEMA_PATH,
     .initial_note = "none", IN_PORT(listen_path), SINCE, LIVE,
     .meaning = "A Unix-domain socket to listen on instead of the port, for `tcp` only; at most "
                "107 bytes. `port` still is the service's. One that is left over from a process "
                "that is gone is replaced; it is removed at the end."},
    {.section = SCHEMA_EXPOSED_PORTS, .name = "listen_mode", WORD(listen_modes), .initial = "0600",
     IN_PORT(listen_mode), SINCE, LIVE,
     .meaning = "Who may connect to `listen_path`: utun's own user (`0600`), its group too "
                "(`0660`), or everybody (`0666`)."},

    {.section = SCHEMA_DEST, .name = "listen_ip", .type = SCHEMA_ADDRESS, .initial = "0.0.0.0",
     IN_CONFIG(dest.listen_ip), SINCE, RESTART,
     .meaning = "Address of the tunnel listener; `::` listens on IPv6 and IPv4."},
    {.section = SCHEMA_DEST, .name = "tunnel_port", PORT, .is_required = true,
     IN_CONFIG(dest.tunnel_port), SINCE, RESTART, .meaning = "The port that sources connect to."},
    {.section = SCHEMA_DEST, .name = "workers", INTEGER(0, 64), .initial = "1",
     IN_CONFIG(dest.workers), SINCE, RESTART,
     .meaning = "Threads that move data; 0 is one per processor core."},
    {.section = SCHEMA_DEST, .name = "busy_wait_us", INTEGER(0, 1000), .initial = "50",
     IN_CONFIG(dest.busy_wait_us), SINCE, RESTART, .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "max_connections_per_service", INTEGER(1, 1000000),
     .initial = "100", IN_CONFIG(dest.max_connections_per_service), SINCE, LIVE,
     .meaning = "Streams and flows of one service at once; one beyond that is refused. Half of "
                "these places are kept in even parts for the sources that are connected; the "
                "others are for whoever comes first."},
    {.section = SCHEMA_DEST, .name = "connection_timeout_ms", INTEGER(100, DAY * 1000),
     .initial = "30000", IN_CONFIG(dest.connection_timeout_ms), SINCE, LIVE,
     .meaning = "How long a flow is kept without a datagram either way."},
    {.section = SCHEMA_DEST, .name = "target_connect_timeout_ms", INTEGER(10, 600000),
     .initial = "5000", IN_CONFIG(dest.target_connect_timeout_ms), SINCE, LIVE,
     .meaning = "How long a target that does not answer, or is down, is waited for. Those who "
                "wait for the same target send it one try at a time, and go on the moment it is "
                "back."},
    {.section = SCHEMA_DEST, .name = "keep_alive_interval_ms", INTEGER(0, 2 * HOUR_MS),
     .initial = "30000", IN_CONFIG(dest.keep_alive_interval_ms), SINCE, NEXT,
     .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "half_close_idle_timeout_secs", INTEGER(1, 7 * DAY),
     .initial = "3600", IN_CONFIG(dest.half_close_idle_timeout_secs), SINCE, LIVE,
     .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "stale_cleanup_interval_secs", INTEGER(1, HOUR),
     .initial = "15", IN_CONFIG(dest.stale_cleanup_interval_secs), SINCE, LIVE,
     .meaning = "How often idle flows are looked for; one may live so much longer than "
                "`connection_timeout_ms`."},
    {.section = SCHEMA_DEST, .name = "stream_resume_timeout_secs", INTEGER(0, HOUR),
     .initial = "60", IN_CONFIG(dest.stream_resume_timeout_secs), SINCE, LIVE,
     .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "shutdown_timeout_secs", INTEGER(0, 30), .initial = "30",
     IN_CONFIG(dest.shutdown_timeout_secs), SINCE, LIVE, .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "handshake_rate_limit", INTEGER(0, 100000), .initial = "16",
     IN_CONFIG(dest.handshake_rate_limit), SINCE, LIVE,
     .meaning = "Handshakes that one address may begin in `handshake_rate_window_secs`. Addresses "
                "from which no session has come in the last day are strangers, and together can "
                "have 32 handshakes a second that fail. 0 is no limit, also for these."},
    {.section = SCHEMA_DEST, .name = "handshake_rate_window_secs", INTEGER(1, HOUR),
     .initial = "10", IN_CONFIG(dest.handshake_rate_window_secs), SINCE, LIVE,
     .meaning = "The time in which `handshake_rate_limit` counts."},
    {.section = SCHEMA_DEST, .name = "max_handshakes", INTEGER(1, 4096), .initial = "64",
     IN_CONFIG(dest.max_handshakes), SINCE, LIVE,
     .meaning = "Handshakes in flight at once, of all addresses together; all strangers, or one "
                "address, can have three quarters of them, one address from which no session has "
                "come yet a quarter."},
    {.section = SCHEMA_DEST, .name = "max_tunnels", INTEGER(1, 1000000), .initial = "4096",
     IN_CONFIG(dest.max_tunnels), SINCE, LIVE,
     .meaning = "Tunnels at once, one for each worker of each source. With more, a source is sent "
                "away with the advice to come back in some seconds. The last quarter is kept for "
                "sources that have less than a quarter (or less than 8): one source alone may have "
                "three quarters, and what it has lost does not count while it comes back."},
    {.section = SCHEMA_DEST, .name = "frame_buffer_size", SCALED(1, 1048576, KIB),
     .initial = "1000", IN_CONFIG(dest.session_output_max_bytes), SINCE, LIVE,
     .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "connection_channel_size", SCALED(4, 65536, 16 * KIB),
     .initial = "1024", IN_CONFIG(dest.stream_window_max_bytes), SINCE, LIVE,
     .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "write_queue_size", SCALED(1, 65536, 64 * KIB),
     .initial = "8192", IN_CONFIG(dest.send_buffer_max_bytes), SINCE, RESTART,
     .meaning = "As in `[source]`."},
    {.section = SCHEMA_DEST, .name = "memory_budget_mb", SCALED(16, 1048576, MIB),
     .initial = "512", IN_CONFIG(dest.memory_budget_bytes), SINCE, RESTART,
     .meaning = "As in `[source]`."},

    {.section = SCHEMA_EXPOSED_SERVICES, .name = "name", .type = SCHEMA_NAME, .is_required = true,
     IN_SERVICE(name), SINCE, LIVE,
     .meaning = "Its name in logs and metrics, and for `protocol` mode."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "port", PORT, .is_required = true,
     IN_SERVICE(port), SINCE, LIVE,
     .meaning = "The port by which sources know it. No two services may share port and protocol."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "target_ip", .type = SCHEMA_HOST,
     .initial_note = "required without `target_path`", IN_SERVICE(target_ip), SINCE, LIVE,
     .meaning = "Where the service really is, seen from the dest: an IP address, or a host name, "
                "which is resolved again after 30 seconds and whenever the target does not answer; "
                "all its addresses are tried."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "target_port", PORT,
     .initial_note = "required without `target_path`", IN_SERVICE(target_port), SINCE, LIVE,
     .meaning = "The port there."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "target_path", .type = SCHEMA_PATH,
     .initial_note = "none", IN_SERVICE(target_path), SINCE, LIVE,
     .meaning = "A Unix-domain socket instead of `target_ip` and `target_port`, for `tcp` only; at "
                "most 107 bytes. It has no resets: where a TCP target would see one, this one sees "
                "an end of file."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "protocol", WORD(protocols), .initial = "tcp",
     IN_SERVICE(protocol), SINCE, LIVE,
     .meaning = "What the target speaks."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "description", .type = SCHEMA_TEXT, .initial = "",
     IN_SERVICE(description), SINCE, LIVE, .meaning = "For people; shown in the status page."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "allowed_clients", .type = SCHEMA_PATTERNS,
     IN_SERVICE(allowed_clients), SINCE, LIVE,
     .meaning = "Sources that may use the service, by common name, DNS name or URI of their "
                "certificate; `*.example.org` is any one label in front of the rest. Empty: every "
                "verified source. Streams that a change no longer allows end."},
    {.section = SCHEMA_EXPOSED_SERVICES, .name = "proxy_protocol", WORD(proxy_protocols),
     .initial = "none", IN_SERVICE(proxy_protocol), SINCE, LIVE,
     .meaning = "Whether a TCP target is told the real client's address by a PROXY protocol "
                "header, and in which version."},

    {.section = SCHEMA_CONNECTION_FILTER, .name = "allowed_source_ips", .type = SCHEMA_RANGES,
     IN_CONFIG(dest.allowed_source_ips), SINCE, LIVE,
     .meaning = "Addresses that may connect to `tunnel_port`. Empty: any."},

    {.section = SCHEMA_ALLOWED_TARGETS, .name = "allowed_ips", .type = SCHEMA_RANGES,
     IN_CONFIG(dest.allowed_targets), SINCE, LIVE,
     .meaning = "Addresses that a source may ask for, by themselves or by a name that the dest "
                "resolves to them. Empty: none, only services. `0.0.0.0` and `::` are never "
                "allowed. Of loopback and link-local addresses, the dest's own admin endpoint for "
                "one, a range has only what lies within 127.0.0.0/8, ::1, 169.254.0.0/16 or "
                "fe80::/10 itself, and of clouds' metadata addresses outside of these none but one "
                "listed by itself."},
    {.section = SCHEMA_ALLOWED_TARGETS, .name = "max_connections", INTEGER(1, 1000000),
     .initial = "1000", IN_CONFIG(dest.allowed_targets_max_connections), SINCE, LIVE,
     .meaning = "Streams and flows at once to such targets; one more is refused. These places are "
                "divided among sources as those of a service are."},

    {.section = SCHEMA_AUTH, .name = "use_mtls", .type = SCHEMA_BOOLEAN, .initial = "true",
     IN_CONFIG(auth.use_mtls), SINCE, NEXT,
     .meaning = "Mutual authentication. When false, the source shows no certificate and the dest "
                "asks for none: anyone who can reach the dest may use it. The source still "
                "verifies the dest. A warning is logged at each start."},
    {.section = SCHEMA_AUTH, .name = "verify_client_cert", .type = SCHEMA_BOOLEAN,
     .initial = "true", IN_CONFIG(auth.verify_client_cert), SINCE, LIVE,
     .meaning = "When false, the dest asks sources for no certificate: anyone who can reach it "
                "may use it. A warning is logged at each start."},
    {.section = SCHEMA_AUTH, .name = "ca_cert_path", .type = SCHEMA_PATH,
     .initial_note = "required", IN_CONFIG(auth.ca_cert_path), SINCE, LIVE,
     .meaning = "The CA certificates that the peer's certificate must come from. Only a dest that "
                "does not verify sources can do without."},
    {.section = SCHEMA_AUTH, .name = "client_cert_path", .type = SCHEMA_PATH,
     .initial_note = "required in a source", IN_CONFIG(auth.client_cert_path), SINCE, NEXT,
     .meaning = "The source's certificate, perhaps followed by intermediates. Not needed when "
                "`use_mtls` is false."},
    {.section = SCHEMA_AUTH, .name = "client_key_path", .type = SCHEMA_PATH,
     .initial_note = "required in a source", IN_CONFIG(auth.client_key_path), SINCE, NEXT,
     .meaning = "The private key to it. The file must not be readable by others. While `signer` is "
                "on, a file of another name takes a restart."},
    {.section = SCHEMA_AUTH, .name = "server_cert_path", .type = SCHEMA_PATH,
     .initial_note = "required in a dest", IN_CONFIG(auth.server_cert_path), SINCE, NEXT,
     .meaning = "The dest's certificate, perhaps followed by intermediates."},
    {.section = SCHEMA_AUTH, .name = "server_key_path", .type = SCHEMA_PATH,
     .initial_note = "required in a dest", IN_CONFIG(auth.server_key_path), SINCE, NEXT,
     .meaning = "The private key to it. The file must not be readable by others. While `signer` is "
                "on, a file of another name takes a restart."},
    {.section = SCHEMA_AUTH, .name = "crl_path", .type = SCHEMA_PATH, .initial_note = "none",
     IN_CONFIG(auth.crl_path), SINCE, LIVE,
     .meaning = "Certificate revocation lists, one or more in a file; `utun cert crl` makes them. A "
                "peer is refused when its CA has none in it, or one that is out of date; CAs are "
                "checked where whoever issued them has one. Read again when the file changes; a "
                "dest then ends the tunnels of sources that are revoked, a source its sessions "
                "with a dest that is."},
    {.section = SCHEMA_AUTH, .name = "allow_insecure_key_files", .type = SCHEMA_BOOLEAN,
     .initial = "false", IN_CONFIG(auth.allow_insecure_key_files), SINCE, LIVE,
     .meaning = "Accepts private keys that others can read, as some orchestrators mount them. A "
                "warning is logged at each start."},

    {.section = SCHEMA_CRYPTO, .name = "kem_mode", WORD(kem_modes), .initial = "hybrid",
     IN_CONFIG(crypto.kem_mode), SINCE, NEXT,
     .meaning = "`hybrid`: X25519, ML-KEM-768 and Classic McEliece 460896 together, and all three "
                "must fall before a recorded session can be read. `mlkem768`: X25519 and "
                "ML-KEM-768. `mceliece460896`: X25519 and Classic McEliece."},
    {.section = SCHEMA_CRYPTO, .name = "key_rotation_interval_seconds", INTEGER(2, 7 * DAY),
     .initial = "3600", IN_CONFIG(crypto.key_rotation_interval_seconds), SINCE, NEXT,
     .meaning = "The longest life of one generation of traffic keys; the smaller one of source and "
                "dest counts. Before its end a fresh ML-KEM-768 exchange, and by mode a McEliece "
                "one, gives the running session new keys."},
    {.section = SCHEMA_CRYPTO, .name = "rehandshake_before_expiry_seconds", INTEGER(1, 7 * DAY),
     .initial = "300", IN_CONFIG(crypto.rehandshake_before_expiry_seconds), SINCE, NEXT,
     .meaning = "How long before the end of that life the source begins the exchange. Less than "
                "`key_rotation_interval_seconds`. If no new keys have come when half of this time "
                "is left, a new session is made beside the running one."},
    {.section = SCHEMA_CRYPTO, .name = "max_handshake_size", INTEGER(16 * KIB, 16 * MIB),
     .initial_note = "65536 for `mlkem768`, 2097152 otherwise",
     IN_CONFIG(crypto.max_handshake_size_bytes), SINCE, NEXT,
     .meaning = "Most bytes a peer may send in a handshake. With McEliece at least 540672."},

    {.section = SCHEMA_SECURITY, .name = "sandbox", .type = SCHEMA_BOOLEAN, .initial = "true",
     IN_CONFIG(security.sandbox), SINCE, RESTART,
     .meaning = "Whether the process gives up what it does not need before it serves anybody: "
                "capabilities, system calls (seccomp), files (Landlock), core dumps. What the "
                "kernel does not have is warned of, and left out. When false, a warning is logged "
                "at each start."},
    {.section = SCHEMA_SECURITY, .name = "user", .type = SCHEMA_TEXT,
     .initial_note = "`utun`, or `nobody` where there is no such account",
     IN_CONFIG(security.user), SINCE, RESTART,
     .meaning = "The account that a process started by root runs as once its ports are bound. It "
                "must be able to read what is read again: the configuration, certificates, CAs, CRLs, "
                "users; keys only without `signer`. `root` keeps root, unwisely. Started by "
                "anybody else the process stays what it is."},
    {.section = SCHEMA_SECURITY, .name = "signer", .type = SCHEMA_BOOLEAN, .initial = "true",
     IN_CONFIG(security.signer), SINCE, RESTART,
     .meaning = "Whether private keys live in a process of their own, `utun-signer`, which only "
                "signs handshakes of its role with the key file that was named at the start, so that "
                "the memory of the one that talks to others never holds them."},

    {.section = SCHEMA_LOGGING, .name = "level", WORD(levels), .initial = "info",
     IN_CONFIG(logging.level), SINCE, LIVE,
     .meaning = "The least important level that is written."},
    {.section = SCHEMA_LOGGING, .name = "format", WORD(formats), .initial = "json",
     IN_CONFIG(logging.format), SINCE, LIVE,
     .meaning = "`json`: one object a line. `plain`: for people."},
    {.section = SCHEMA_LOGGING, .name = "include_timestamp", .type = SCHEMA_BOOLEAN,
     .initial = "true", IN_CONFIG(logging.include_timestamp), SINCE, LIVE,
     .meaning = "Whether lines carry the time (UTC)."},
    {.section = SCHEMA_LOGGING, .name = "audit", .type = SCHEMA_BOOLEAN, .initial = "true",
     IN_CONFIG(logging.audit), SINCE, LIVE,
     .meaning = "Whether a dest writes an `audit.stream` line, of level `info`, for every stream "
                "that is refused or over: who, what, the result, the bytes, how long."},

    {.section = SCHEMA_METRICS, .name = "enabled", .type = SCHEMA_BOOLEAN, .initial = "true",
     IN_CONFIG(metrics.enabled), SINCE, RESTART,
     .meaning = "Whether the admin endpoint is served."},
    {.section = SCHEMA_METRICS, .name = "metrics_port", INTEGER(0, 65535), .initial = "9090",
     IN_CONFIG(metrics.metrics_port), SINCE, RESTART,
     .meaning = "Its port; with 0 the system chooses one, which the log names (`admin.listening`)."},
    {.section = SCHEMA_METRICS, .name = "metrics_bind_ip", .type = SCHEMA_ADDRESS,
     .initial = "127.0.0.1", IN_CONFIG(metrics.metrics_bind_ip), SINCE, RESTART,
     .meaning = "Its address. It has no authentication: keep it private."},
};
/* clang-format on */

const struct schema_section *schema_section(enum schema_section_id id)
{
    return &sections[id];
}

const struct schema_key *schema_keys(size_t *count)
{
    *count = sizeof(keys) / sizeof(keys[0]);
    return keys;
}
