/* What is said about a session, in the log and to whoever asks: who, how agreed, how it ended. */
#ifndef UTUN_ROLE_SESSION_LOG_H
#define UTUN_ROLE_SESSION_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/identity.h"
#include "net/carrier.h"
#include "tunnel/limits.h"

/* Of records; there is no other. */
#define SESSION_CIPHER "AES-256-GCM"

/* The certificate that a peer has shown for a session. */
struct session_cert {
    bool is_shown; /* false: it has shown none, and the rest is empty */
    char fingerprint[IDENTITY_FINGERPRINT_TEXT];
    char serial[IDENTITY_SERIAL_TEXT];
    char issuer[IDENTITY_ISSUER_TEXT];
    int64_t expires_at; /* seconds since 1970; INT64_MAX when it does not say */
};

/* A copy that needs no carrier any more. */
struct session_view {
    char peer[sizeof(((struct identity_name *)NULL)->common_name)]; /* "" without a certificate */
    struct session_cert cert;
    char address[ADDRESS_TEXT_MAX];
    const char *kem_mode; /* static */
    char group[32];
    char signature[32];
    uint64_t handshake_us;
    uint64_t handshake_bytes; /* both directions */
};

void session_view_of(struct session_view *view, const struct carrier *carrier);

/* "session.up", "session.down", "session.go_away"; each says which session of the tunnel it is. */
void session_log_up(const struct carrier *carrier);

/*
 * "session.resume": the streams of the tunnel go on, after a pause if it had no session meanwhile;
 * the pause is counted, too. Nothing for a fresh session.
 */
void session_log_resume(const struct tunnel_owner *tunnel, const struct carrier *carrier,
                        uint64_t pause_us);

/* "session.rotated", "session.rotation_late"; nothing for KEYS_DUE. */
void session_log_keys(const struct carrier *carrier, enum key_event event);

void session_log_down(const struct carrier *carrier, enum err why);
void session_log_go_away(const struct carrier *carrier, enum wire_code code,
                         uint32_t retry_after_ms, const char *text);

#endif
