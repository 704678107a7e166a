/*
 * A carrier: the connection below one session. Reads records from the socket into the engine and
 * writes what the engine has sealed, in batches, once a turn.
 *
 * Its end, for whatever reason, is reported once, by on_session_lost, and never from inside a call
 * on it.
 */
#ifndef UTUN_NET_CARRIER_H
#define UTUN_NET_CARRIER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "net/established.h"
#include "net/tunnel_owner.h"

struct carrier_options {
    uint32_t keep_alive_ms; /* TCP keep-alive; 0: off */
    enum session_start start;
};

/*
 * The session on e is one more of the tunnel's; when its keys are proven it carries the streams.
 * Takes what is in e, also on error.
 */
enum err carrier_new(struct tunnel_owner *o, struct established *e,
                     const struct carrier_options *options) MUST_USE;

/* Ends it for our own reason, at the end of this turn. Nothing more is sent, but for ERR_SHUTDOWN
 * what waits is tried once. */
void carrier_close(struct carrier *c, enum err why);

/*
 * Source: begins a key exchange in the session. Takes the pair, also on error; see session_rotate.
 * An error that ends the session has ended the carrier.
 */
void carrier_rotate(struct carrier *c, struct mceliece_keypair *pair);

/* Tells the peer that we are about to close. text as for session_go_away. */
void carrier_go_away(struct carrier *c, enum wire_code code, uint32_t retry_after_ms,
                     const char *text);

/* NULL when it has come to its end. */
struct session *carrier_session(struct carrier *c);

/* The number of its session in the tunnel; 0 if it was never ready. */
uint64_t carrier_number(const struct carrier *c);

/* See session_generation; 0 once it has ended. */
uint64_t carrier_generation(const struct carrier *c);

/* Who is at the other end; live as long as the carrier. info may be NULL. */
const struct address *carrier_peer(const struct carrier *c);
const struct handshake_result *carrier_info(const struct carrier *c);

/* Bytes on the wire in both directions, and the times it was made and its keys agreed (worker_now).
 */
struct carrier_traffic {
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t since_us;
    uint64_t keys_since_us; /* when its keys were agreed */
    size_t streams; /* that it carried when it came to its end; 0 before, or if it carried none */
};

void carrier_get_traffic(const struct carrier *c, struct carrier_traffic *traffic);

/* -- for tunnel_owner -- */

/* Writes what the session has to send at the end of this turn, once. */
void carrier_flush_later(struct carrier *c);

/* Its session carries the streams: counts it. */
void carrier_on_session_ready(struct carrier *c);

/* Its keys are new. */
void carrier_on_keys_rotated(struct carrier *c);

/* The carrier behind its link in tunnel_owner.carriers. */
struct carrier *carrier_of_link(struct list *link);

bool carrier_is_of(const struct carrier *c, const struct session *session);

#endif
