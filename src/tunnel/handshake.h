/*
 * The handshake of a session, for both roles, without a socket and without a clock: TLS 1.3, then
 * OFFER, KEM_KEY and ANSWER inside it, then keys (docs/PROTOCOL.md, sections 3 and 4).
 *
 *   handshake_new ──> feed / drain / tick ... ──> HANDSHAKE_DONE ──> drain to the end, take_result
 *                                            └──> HANDSHAKE_FAILED ──> drain to the end, free
 *
 * A call may cost some milliseconds of CPU: it belongs on a handshake thread, never on an event
 * loop. One handshake belongs to one thread at a time; different ones are independent. Times are
 * milliseconds of one monotonic clock.
 */
#ifndef UTUN_TUNNEL_HANDSHAKE_H
#define UTUN_TUNNEL_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/identity.h"
#include "crypto/key_schedule.h"
#include "crypto/mceliece.h"
#include "crypto/peer_cert.h"
#include "crypto/peer_identity.h"
#include "crypto/tls_context.h"
#include "tunnel/limits.h"

struct handshake;
struct handshake_owner; /* the user's; passed to its callbacks */

/* A source at the door of a dest. */
struct handshake_visitor {
    const uint8_t *tunnel_id; /* TUNNEL_ID_SIZE */
    const uint8_t *identity;  /* PEER_IDENTITY_SIZE; zeros where no certificate was asked for */
    bool is_resumed;          /* it goes on with that tunnel, and has proven that it may */
    /* For one that is refused, to be set. */
    const char *why;         /* static, at most HANDSHAKE_TEXT_MAX; NULL: the error's text */
    uint32_t retry_after_ms; /* how long it should wait; 0: no advice */
};

struct handshake_options {
    /* Decides the role, the kem_mode and who must show a certificate. Borrowed by handshake_new. */
    const struct tls_context *tls;

    /* Bound on the messages inside TLS, headers included; 0: the mode's default. */
    size_t max_size;

    struct handshake_owner *owner;

    /* -- source only -- */
    const char *dest_host; /* whom to expect: a DNS name or an address; copied */
    /*
     * Gives a fresh pair, which is the handshake's then: once, in the modes with McEliece, when the
     * dest has shown who it is. *out is NULL on an error, which fails the handshake. It may take as
     * long as it takes to make one. Called as on_resume is; NULL only in mlkem768.
     */
    enum err (*on_keypair)(struct handshake_owner *owner, struct mceliece_keypair **out);
    uint8_t tunnel_id[TUNNEL_ID_SIZE];
    const uint8_t *tunnel_secret; /* to continue the tunnel; NULL: a new one. Copied. */

    /* -- dest only -- */
    /*
     * Looks a tunnel up that a source asks to continue: copies its secret and returns true if it
     * is known and belongs to the same identity (crypto/peer_identity.h; zeros where no certificate
     * was asked for). May be NULL: nothing is ever resumed. Called from inside handshake_feed, on
     * its thread.
     */
    bool (*on_resume)(struct handshake_owner *owner, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE]);
    /*
     * The source is authenticated, and nothing that costs much has been done for it: ERR_OK, or why
     * there is no session for it (ERR_LIMIT, ERR_SHUTDOWN), which it is told with what is set in
     * the visitor. May be NULL. Called as on_resume is.
     */
    enum err (*on_admit)(struct handshake_owner *owner, struct handshake_visitor *visitor);
};

enum handshake_status {
    HANDSHAKE_IN_PROGRESS,
    HANDSHAKE_DONE,
    HANDSHAKE_FAILED,
};

/* Everything here is owned by the struct. What is handed on must be set to NULL. */
struct handshake_result {
    struct session_keys *keys; /* for session_new */
    uint8_t *leftover;         /* raw bytes that came behind the handshake, from malloc, or NULL */
    size_t leftover_len;
    uint8_t *tunnel_secret; /* TUNNEL_SECRET_SIZE bytes, crypto/secret.h; of a resumed tunnel: its
                               old one */
    uint8_t tunnel_id[TUNNEL_ID_SIZE];         /* only unique together with the peer's identity */
    uint8_t peer_identity[PEER_IDENTITY_SIZE]; /* dest; zeros without a certificate */
    bool is_resumed;
    enum kem_mode kem_mode;
    bool has_peer; /* the peer has shown a certificate */
    struct identity_name peer;
    struct peer_cert *peer_cert; /* NULL unless has_peer */
    char group[32];              /* "X25519MLKEM768" */
    char peer_signature[32];     /* "mldsa65"; "" without a certificate */
    uint64_t bytes_in;           /* on the wire, leftover not counted */
    uint64_t bytes_out;
    uint64_t duration_us; /* for who has a clock to set */
};

/* NULL is fine. */
void handshake_result_free(struct handshake_result *r);

/*
 * A source has output at once. ERR_CONFIG (dest_host), ERR_NOMEM; *out is NULL on error and d (may
 * be NULL) says why.
 */
enum err handshake_new(struct handshake **out, const struct handshake_options *options,
                       uint64_t now_ms, struct err_detail *d) MUST_USE;

/* Wipes everything that was not handed over. NULL is fine. */
void handshake_free(struct handshake *h);

/*
 * Raw bytes from the peer, in pieces of any size. All of them are taken; those behind the end of
 * the handshake become the result's leftover. Returns handshake_error. After a failure bytes are
 * dropped: reading on for a while lets the peer get our reason instead of a reset.
 */
enum err handshake_feed(struct handshake *h, const uint8_t *data, size_t len,
                        uint64_t now_ms) MUST_USE;

/* The peer has closed its sending direction: fails what is in progress with ERR_CLOSED. */
enum err handshake_feed_end(struct handshake *h, uint64_t now_ms) MUST_USE;

/* Raw bytes for the peer, also when done or failed; valid until the next call on h. */
void handshake_drain(const struct handshake *h, const uint8_t **data, size_t *len);
void handshake_drained(struct handshake *h, size_t n, uint64_t now_ms);

/*
 * Fails with ERR_TIMEOUT once the deadline has passed. There is one as long as something is awaited
 * or left to drain; otherwise it is UINT64_MAX.
 */
enum err handshake_tick(struct handshake *h, uint64_t now_ms) MUST_USE;
uint64_t handshake_deadline_ms(const struct handshake *h);

/*
 * Gives up for a reason of ours (too many sessions, shutting down), which the peer is told if TLS
 * has got far enough. retry_after_ms 0: no advice. Harmless once it has ended.
 */
void handshake_refuse(struct handshake *h, enum err why, uint32_t retry_after_ms);

enum handshake_status handshake_status(const struct handshake *h);

/* Whether the peer has shown who it is, as far as the context's tls_auth asks; also of a failed
 * one. */
bool handshake_is_authenticated(const struct handshake *h);

/* ERR_OK unless failed. The text says where, what, why, and what mends it; lives as long as h. */
enum err handshake_error(const struct handshake *h);
const char *handshake_error_text(const struct handshake *h);

/* What an ABORT advised, ours or the peer's: milliseconds to wait; 0: nothing. Not bounded. */
uint32_t handshake_retry_after_ms(const struct handshake *h);

/* Once, when done: the result becomes the caller's. ERR_NOMEM. */
enum err handshake_take_result(struct handshake *h, struct handshake_result **out) MUST_USE;

#endif
