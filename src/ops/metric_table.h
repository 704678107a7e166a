/*
 * The one table of every metric: /metrics, docs/METRICS.md and the tests of dashboard and alert
 * rules derive from it.
 *
 * Adding one takes three lines:
 *   1. a row here: X(ID, "utun_noun_unit_total", TYPE, ROLES, "label,label", "What it says.")
 *   2. where it happens, a counter: a name in STATS_LIST (net/stats.h) and stats_add(...) beside
 *      the event, on the worker's own thread
 *   3. where it is collected (role/collect.c):
 *      metric_count(m, METRIC_ID, METRIC_LABELS("value"), sum)
 * Then `utun check --metrics` prints what docs/METRICS.md has to hold; a test compares.
 *
 * Names follow Prometheus: base units (seconds, bytes), _total for counters and nothing else. A
 * label has few values that we choose (a service of the configuration, a direction, an error's
 * name): never a peer, an address, or anything that a client can make up.
 */
#ifndef UTUN_OPS_METRIC_TABLE_H
#define UTUN_OPS_METRIC_TABLE_H

#include <stdio.h>

enum metric_type {
    METRIC_TYPE_COUNTER,
    METRIC_TYPE_GAUGE,
    METRIC_TYPE_HISTOGRAM,
};

/* Which role has it. */
enum metric_roles {
    METRIC_ROLES_BOTH,
    METRIC_ROLES_SOURCE,
    METRIC_ROLES_DEST,
};

/* clang-format off */
#define METRIC_LIST(X)                                                                             \
    X(BUILD_INFO, "utun_build_info", GAUGE, BOTH, "role,version,openssl",                          \
      "Always 1; the labels say what runs.")                                                       \
    X(WORKERS, "utun_workers", GAUGE, BOTH, "",                                                    \
      "Worker threads.")                                                                           \
    X(HEALTH_STATE, "utun_health_state", GAUGE, BOTH, "state",                                     \
      "1 for the state that /health shows, 0 for the others.")                                     \
    X(READY, "utun_ready", GAUGE, BOTH, "",                                                        \
      "1 while /ready answers 200.")                                                               \
    X(SESSIONS, "utun_sessions", GAUGE, BOTH, "state",                                             \
      "Sessions now: up, or opening (keys agreed, peer not proven yet).")                          \
    X(SESSIONS_OPENED, "utun_sessions_opened_total", COUNTER, BOTH, "",                            \
      "Sessions that came up.")                                                                    \
    X(SESSIONS_CLOSED, "utun_sessions_closed_total", COUNTER, BOTH, "reason",                      \
      "Sessions that ended, refreshed ones (superseded) among them.")                              \
    X(TUNNELS, "utun_tunnels", GAUGE, BOTH, "state",                                               \
      "Tunnels now: carried by a session, or waiting for one.")                                    \
    X(HANDSHAKES, "utun_handshakes_total", COUNTER, BOTH, "mode,result",                           \
      "Handshakes that ended; at a source also connections that were never made.")                 \
    X(HANDSHAKES_REFUSED, "utun_handshakes_refused_total", COUNTER, DEST, "reason",                \
      "Connections closed before any work: not_allowed, limit, rate.")                             \
    X(HANDSHAKES_IN_FLIGHT, "utun_handshakes_in_flight", GAUGE, BOTH, "",                          \
      "Handshakes under way.")                                                                     \
    X(HANDSHAKE_DURATION, "utun_handshake_duration_seconds", HISTOGRAM, BOTH, "mode",              \
      "Time of handshakes that succeeded, from the first byte to the agreed keys.")                \
    X(RECONNECTS, "utun_reconnects_total", COUNTER, SOURCE, "reason",                              \
      "Times the last session of a tunnel was lost and another one was sought.")                   \
    X(RESUMES, "utun_resumes_total", COUNTER, BOTH, "",                                            \
      "Sessions that continued the streams of a lost one.")                                        \
    X(RESUME_RESENT, "utun_resume_resent_bytes_total", COUNTER, BOTH, "",                          \
      "Payload sent once more because the session that carried it was lost.")                      \
    X(RESUME_PAUSE, "utun_resume_pause_seconds", HISTOGRAM, BOTH, "",                              \
      "Time that a tunnel was without a session before streams went on.")                          \
    X(REFRESHES, "utun_refreshes_total", COUNTER, SOURCE, "result",                                \
      "Planned replacements of a session by a new one: ok, or why not.")                           \
    X(ROTATIONS, "utun_key_rotations_total", COUNTER, BOTH, "result",                              \
      "Key exchanges inside sessions: ok, or late (a new session takes over).")                    \
    X(KEY_AGE, "utun_session_key_age_seconds", GAUGE, BOTH, "",                                    \
      "Time since the last key exchange, of the session whose keys are oldest.")                   \
    X(RTT, "utun_session_rtt_seconds", HISTOGRAM, BOTH, "",                                        \
      "Round trips of PING and PONG between source and dest.")                                     \
    X(HEARTBEATS_MISSED, "utun_heartbeats_missed_total", COUNTER, BOTH, "",                        \
      "Probes that the peer did not answer in time.")                                              \
    X(STREAMS, "utun_streams", GAUGE, BOTH, "service",                                             \
      "Streams open now.")                                                                         \
    X(STREAMS_OPENED, "utun_streams_opened_total", COUNTER, BOTH, "service",                       \
      "Streams that began.")                                                                       \
    X(STREAMS_CLOSED, "utun_streams_closed_total", COUNTER, BOTH, "service,result",                \
      "Streams that ended: ok (FIN both ways), reset (by a program), or what went wrong.")         \
    X(STREAMS_REFUSED, "utun_streams_refused_total", COUNTER, BOTH, "reason",                      \
      "Clients turned away before there was a stream.")                                            \
    X(STREAMS_HALF_CLOSED, "utun_streams_half_closed", GAUGE, BOTH, "",                            \
      "Streams of which one direction has ended.")                                                 \
    X(STREAMS_PAUSED, "utun_streams_paused", GAUGE, BOTH, "direction",                             \
      "Streams that wait for their reader: the tunnel's other end (send), or the local socket "    \
      "(receive).")                                                                                \
    X(STREAM_BYTES, "utun_stream_bytes_total", COUNTER, BOTH, "service,direction",                 \
      "Payload, counted where it leaves or enters the local socket: to_target or to_client.")      \
    X(FLOWS, "utun_flows", GAUGE, BOTH, "service",                                                 \
      "UDP flows now.")                                                                            \
    X(FLOWS_OPENED, "utun_flows_opened_total", COUNTER, BOTH, "service",                           \
      "UDP flows that began.")                                                                     \
    X(FLOWS_REFUSED, "utun_flows_refused_total", COUNTER, BOTH, "service",                         \
      "UDP clients that were given no flow, for a limit.")                                         \
    X(DATAGRAMS, "utun_datagrams_total", COUNTER, BOTH, "service,direction",                       \
      "Datagrams, counted where they leave or enter the local socket: to_target or to_client.")    \
    X(DATAGRAM_BYTES, "utun_datagram_bytes_total", COUNTER, BOTH, "service,direction",             \
      "Their payload.")                                                                            \
    X(DATAGRAMS_DROPPED, "utun_datagrams_dropped_total", COUNTER, BOTH, "reason",                  \
      "Datagrams that could not be carried: queue, memory, no_session, too_large, limit, unknown " \
      "(flow), closed (flow), socket, target_refused.")                                            \
    X(SERVICE_DROPPED, "utun_service_datagrams_dropped_total", COUNTER, BOTH, "service,reason",    \
      "Those among them that were of a service's flow, or on the way to one.")                     \
    X(TARGET_CONNECT, "utun_target_connect_duration_seconds", HISTOGRAM, DEST, "service",          \
      "Time to connect to a target, of connections that succeeded.")                               \
    X(TARGETS_DOWN, "utun_targets_down", GAUGE, DEST, "",                                          \
      "Targets that took no connection, and that somebody waits for.")                             \
    X(TARGET_FAILURES, "utun_target_connect_failures_total", COUNTER, DEST, "",                    \
      "Tries to connect to a target that failed, those of its probes among them.")                 \
    X(TARGET_PROBES, "utun_target_probes_total", COUNTER, DEST, "",                                \
      "Tries of a target that was known to be down.")                                              \
    X(CLIENTS_WAITING, "utun_clients_waiting", GAUGE, SOURCE, "",                                  \
      "Clients that were accepted and wait for the first session.")                                \
    X(CONNECTIONS, "utun_connections", GAUGE, SOURCE, "",                                          \
      "Clients that count for max_connections.")                                                   \
    X(CONNECTIONS_LIMIT, "utun_connections_limit", GAUGE, SOURCE, "",                              \
      "max_connections.")                                                                          \
    X(STREAMS_LIMIT, "utun_streams_limit", GAUGE, DEST, "service",                                 \
      "max_connections_per_service.")                                                              \
    X(WIRE_BYTES, "utun_wire_bytes_total", COUNTER, BOTH, "direction",                             \
      "Bytes of sessions on the wire after the handshake: in or out.")                             \
    X(WIRE_CALLS, "utun_wire_calls_total", COUNTER, BOTH, "direction",                             \
      "System calls that moved them.")                                                             \
    X(BUFFER_BYTES, "utun_buffer_bytes", GAUGE, BOTH, "",                                          \
      "Buffers that hold stream data now.")                                                        \
    X(BUFFER_LIMIT, "utun_buffer_limit_bytes", GAUGE, BOTH, "",                                    \
      "What they may come to: the share of memory_budget_mb.")                                     \
    X(QUEUE_BYTES, "utun_queue_bytes", GAUGE, BOTH, "queue",                                       \
      "Payload sent and not acknowledged (send), and credit that peers may use (receive).")        \
    X(QUEUE_LIMIT, "utun_queue_limit_bytes", GAUGE, BOTH, "queue",                                 \
      "What these may come to.")                                                                   \
    X(KEYPAIRS_READY, "utun_keypairs_ready", GAUGE, SOURCE, "",                                    \
      "McEliece key pairs made ahead of time.")                                                    \
    X(LOOP_LAG, "utun_event_loop_lag_seconds", HISTOGRAM, BOTH, "",                                \
      "How late a worker's timer ran, measured twice a second while it does anything.")            \
    X(LOOP_TURNS, "utun_event_loop_turns_total", COUNTER, BOTH, "",                                \
      "Turns of the workers' event loops.")                                                        \
    X(CERTIFICATE_EXPIRY, "utun_certificate_expiry_timestamp_seconds", GAUGE, BOTH, "certificate", \
      "When our own certificate chain (own) or the first CA of the bundle (ca) expires.")          \
    X(CRL_EXPIRY, "utun_crl_expiry_timestamp_seconds", GAUGE, BOTH, "",                            \
      "When the first of the revocation lists is out of date.")                                    \
    X(IDENTITY_RELOADS, "utun_identity_reloads_total", COUNTER, BOTH, "result",                    \
      "Certificates, keys and CRLs that were read again: ok, or why the old ones stay.")           \
    X(CONFIG_RELOADS, "utun_config_reloads_total", COUNTER, BOTH, "result",                        \
      "Times the configuration was read again: ok, or why it stays as it was.")                    \
    X(CONFIG_RELOADED_AT, "utun_config_last_reload_success_timestamp_seconds", GAUGE, BOTH, "",    \
      "When the configuration in use was read.")                                                   \
    X(LOG_DROPPED, "utun_log_lines_dropped_total", COUNTER, BOTH, "",                              \
      "Log lines lost: nobody read them, or the disk was full.")                                                  \
    X(PROCESS_CPU, "process_cpu_seconds_total", COUNTER, BOTH, "",                                 \
      "CPU time of this process, user and system.")                                                \
    X(PROCESS_OPEN_FDS, "process_open_fds", GAUGE, BOTH, "",                                       \
      "Open file descriptors.")                                                                    \
    X(PROCESS_MAX_FDS, "process_max_fds", GAUGE, BOTH, "",                                         \
      "The most it may open.")                                                                     \
    X(PROCESS_RESIDENT, "process_resident_memory_bytes", GAUGE, BOTH, "",                          \
      "Memory in use.")                                                                            \
    X(PROCESS_THREADS, "process_threads", GAUGE, BOTH, "",                                         \
      "Threads.")                                                                                  \
    X(PROCESS_START, "process_start_time_seconds", GAUGE, BOTH, "",                                \
      "When this process began, in seconds since 1970.")
/* clang-format on */

#define METRIC_ID(id, name, type, roles, labels, help) METRIC_##id,
enum metric_id { METRIC_LIST(METRIC_ID) METRIC_COUNT };
#undef METRIC_ID

/* Static. */
struct metric_row {
    const char *name;
    const char *labels; /* their names, with commas between; "" for none */
    const char *help;
    enum metric_type type;
    enum metric_roles roles;
};

const struct metric_row *metric_table_row(enum metric_id id);

/* "counter", "gauge", "histogram". */
const char *metric_type_name(enum metric_type type);

/* Writes the table as Markdown. */
void metric_table_document(FILE *out);

#endif
