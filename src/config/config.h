/*
 * The configuration: typed, validated, immutable after config_load. docs/CONFIGURATION.md says what
 * each key means; the fields here have the keys' names and hold the keys' values, and where a key
 * counts in other units than bytes the field holds bytes and says so in its name.
 *
 * Any thread may read a loaded configuration. Every pointer inside lives as long as it.
 */
#ifndef UTUN_CONFIG_CONFIG_H
#define UTUN_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "config/cidr.h"
#include "config/problems.h"

#define CONFIG_DEFAULT_PATH "/etc/utun/config.toml"

enum config_role {
    CONFIG_ROLE_ANY, /* `utun check` without --role: every role the file has */
    CONFIG_ROLE_SOURCE,
    CONFIG_ROLE_DEST,
    CONFIG_ROLE_NONE, /* who only asks a role that runs: of the file [metrics] alone is read */
};

enum config_mode {
    CONFIG_MODE_TRANSPARENT,
    CONFIG_MODE_PROTOCOL,
    CONFIG_MODE_HYBRID,
};

/* A set of bits: "both" is CONFIG_TCP | CONFIG_UDP. */
enum config_protocol {
    CONFIG_TCP = 1,
    CONFIG_UDP = 2,
    CONFIG_BOTH = 3,
};

/* The permissions of a Unix socket's file: who may connect. */
enum config_listen_mode {
    CONFIG_LISTEN_USER = 0600,
    CONFIG_LISTEN_GROUP = 0660,
    CONFIG_LISTEN_ALL = 0666,
};

enum config_proxy_protocol {
    CONFIG_PROXY_NONE,
    CONFIG_PROXY_V1,
    CONFIG_PROXY_V2,
};

enum config_kem_mode {
    CONFIG_KEM_HYBRID,
    CONFIG_KEM_MLKEM768,
    CONFIG_KEM_MCELIECE460896,
};

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARN,
    LOG_LEVEL_ERROR,
};

enum log_format {
    LOG_FORMAT_JSON,
    LOG_FORMAT_PLAIN,
};

/* items is NULL when count is 0. */
struct config_strings {
    const char **items;
    size_t count;
};

struct config_exposed_port {
    uint16_t port;
    enum config_protocol protocol;
    const char *listen_path; /* of a Unix socket, which then stands for the port; NULL: none */
    enum config_listen_mode listen_mode;
};

struct config_exposed_service {
    const char *name;
    const char *target_ip;   /* an address or a host name */
    const char *description; /* "" when not given */
    uint16_t port;           /* the name of the service on the wire, in transparent mode */
    uint16_t target_port;
    const char *target_path; /* of a Unix socket, instead of the two; NULL: none */
    enum config_protocol protocol;
    enum config_proxy_protocol proxy_protocol;
    struct config_strings allowed_clients; /* empty: every verified source */
};

struct config_source {
    const char *listen_ip;
    uint16_t listen_port;
    enum config_mode mode;
    struct config_strings dest_host; /* one or more, by priority; addresses or host names */
    uint16_t dest_tunnel_port;
    uint32_t workers; /* 0: one per core */
    uint32_t busy_wait_us;
    uint32_t max_connections;
    uint32_t connection_timeout_ms;
    uint32_t keep_alive_interval_ms; /* 0: off */
    uint32_t half_close_idle_timeout_secs;
    uint32_t heartbeat_interval_ms;
    uint32_t heartbeat_timeout_ms;
    uint32_t max_missed_pongs;
    bool reconnection_enabled;
    uint32_t max_reconnect_attempts; /* 0: no end */
    uint32_t initial_reconnect_delay_ms;
    uint32_t max_reconnect_delay_ms;
    uint32_t circuit_breaker_window_secs;
    uint32_t circuit_breaker_max_restarts;
    uint32_t stream_resume_timeout_secs;
    uint32_t connection_refresh_interval_secs; /* 0: off */
    uint32_t connection_drain_timeout_secs;
    uint32_t failback_interval_secs; /* 0: off */
    uint32_t shutdown_timeout_secs;
    size_t session_output_max_bytes; /* frame_buffer_size x 1 KiB, at least 192 KiB */
    size_t stream_window_max_bytes;  /* connection_channel_size x 16 KiB */
    size_t send_buffer_max_bytes;    /* write_queue_size x 64 KiB, at most the budget */
    size_t memory_budget_bytes;      /* memory_budget_mb x 1 MiB */
    struct cidr_list accept_proxy_protocol;
    const char *proxy_users_path;              /* NULL: nobody has to log in */
    struct cidr_list allowed_outbound;         /* [source.allowed_outbound] allowed_ips */
    struct config_exposed_port *exposed_ports; /* never empty in transparent mode: see below */
    size_t exposed_port_count;
};

/*
 * A source with no exposed_ports in transparent mode gets one, (listen_port, tcp), so that roles
 * need no special case.
 */

struct config_dest {
    const char *listen_ip;
    uint16_t tunnel_port;
    uint32_t workers; /* 0: one per core */
    uint32_t busy_wait_us;
    uint32_t max_connections_per_service;
    uint32_t connection_timeout_ms;
    uint32_t target_connect_timeout_ms;
    uint32_t keep_alive_interval_ms; /* 0: off */
    uint32_t half_close_idle_timeout_secs;
    uint32_t stale_cleanup_interval_secs;
    uint32_t stream_resume_timeout_secs;
    uint32_t shutdown_timeout_secs;
    uint32_t handshake_rate_limit; /* 0: no limit */
    uint32_t handshake_rate_window_secs;
    uint32_t max_handshakes;
    uint32_t max_tunnels;
    size_t session_output_max_bytes; /* as in struct config_source */
    size_t stream_window_max_bytes;
    size_t send_buffer_max_bytes;
    size_t memory_budget_bytes;
    struct cidr_list allowed_source_ips; /* [dest.connection_filter]; empty: any */
    struct cidr_list allowed_targets;    /* [dest.allowed_targets] allowed_ips; empty: none */
    uint32_t allowed_targets_max_connections;
    struct config_exposed_service *exposed_services;
    size_t exposed_service_count;
};

/* A path is absolute or relative to the working directory, ready to open; NULL when not set. */
struct config_auth {
    bool use_mtls;
    bool verify_client_cert;
    bool allow_insecure_key_files;
    const char *ca_cert_path;
    const char *client_cert_path;
    const char *client_key_path;
    const char *server_cert_path;
    const char *server_key_path;
    const char *crl_path;
};

struct config_crypto {
    enum config_kem_mode kem_mode;
    uint32_t key_rotation_interval_seconds;
    uint32_t rehandshake_before_expiry_seconds;
    size_t max_handshake_size_bytes; /* by mode when the file has no max_handshake_size */
};

struct config_security {
    bool sandbox;
    bool signer;
    const char *user; /* NULL: not set */
};

struct config_logging {
    enum log_level level;
    enum log_format format;
    bool include_timestamp;
    bool audit;
};

struct config_metrics {
    bool enabled;
    const char *metrics_bind_ip;
    uint16_t metrics_port;
};

struct config {
    const char *path; /* of the file, as given to config_load */
    bool has_source;
    bool has_dest;
    struct config_source source; /* only when has_source */
    struct config_dest dest;     /* only when has_dest */
    struct config_auth auth;
    struct config_crypto crypto;
    struct config_security security;
    struct config_logging logging;
    struct config_metrics metrics;
    struct config_private *private; /* memory and the places of keys; for config/ alone */
};

/*
 * What the command line sets over the file, each as typed, NULL when not given. --listen-ip counts
 * for the role's own section.
 */
struct config_overrides {
    const char *listen_ip;
    const char *listen_port;
    const char *dest_host;
    const char *dest_tunnel_port;
    const char *tunnel_port;
    const char *metrics_port;
    const char *log_level;
    const char *log_format;
};

/*
 * Reads, parses and validates the file, with overrides (NULL: none) laid over it before validation.
 * Everything that is wrong, and every warning, goes to problems. Returns ERR_OK and the
 * configuration (free it with config_free), or an error with *out NULL and at least one problem of
 * level PROBLEM_ERROR: ERR_NOT_FOUND, ERR_PERMISSION, ERR_IO (the file cannot be read),
 * ERR_TOO_LARGE (over 1 MiB), ERR_NOMEM, ERR_CONFIG (everything that the text itself is to blame
 * for).
 *
 * The file must have the section of the role (with CONFIG_ROLE_ANY: at least one of them). Where it
 * has both, both are validated. With CONFIG_ROLE_NONE every other section than [metrics] may be
 * missing, wrong or unknown, and counts as missing. Blocks on file input; certificates are not
 * opened here (role/validate.h does).
 */
enum err config_load(struct config **out, const char *path, enum config_role role,
                     const struct config_overrides *overrides, struct problems *problems) MUST_USE;

/* The same for text in memory (path only names it, and gives relative paths their folder). */
enum err config_parse(struct config **out, const char *text, size_t len, const char *path,
                      enum config_role role, const struct config_overrides *overrides,
                      struct problems *problems) MUST_USE;

/*
 * The file of a configuration that config_load has made, read anew, for the same role and with the
 * same overrides. As config_load, but only from a regular file: it never waits for a pipe's writer.
 */
enum err config_reload(struct config **out, const struct config *config,
                       struct problems *problems) MUST_USE;

/*
 * One more owner of the same configuration, which config_free is told of like the first. A loaded
 * configuration never changes, so that any thread may have it, and it lives as long as the last of
 * its owners. One that was not loaded (a test's own) has no owners to count.
 */
const struct config *config_share(const struct config *config);

/* One owner less. NULL is fine. */
void config_free(const struct config *config);

/* For config/ alone: what the configuration points to lives here. */
struct arena *config_arena(struct config *config);

/*
 * Where a key got its value, for messages: the place in the file, or the option. For a key that is
 * at its default the place is the file, line 0. section is "auth", key "ca_cert_path".
 */
struct problem_place config_place(const struct config *config, const char *section,
                                  const char *key);

/*
 * Whether text would do as the value of that key, looked at alone: for what a person is asked
 * before there is a file. The key takes no array. ERR_CONFIG, with why and what to do in d.
 */
enum err config_check_value(const char *section, const char *key, const char *text,
                            struct err_detail *d) MUST_USE;

/* The word the file uses for a value, e.g. "both". Static strings. */
const char *config_mode_name(enum config_mode mode);
const char *config_protocol_name(enum config_protocol protocol);
const char *config_kem_mode_name(enum config_kem_mode mode);

#endif
