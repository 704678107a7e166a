/*
 * A key exchange inside a session: fresh ML-KEM-768, and McEliece where the kem_mode has it, mixed
 * with what the running keys came from. One object for all the exchanges of a session, one at a
 * time. Source: docs/PROTOCOL.md, section 9.3.
 *
 *   source   idle ──start──> offering ──the whole answer is there──> switching ─┐
 *   dest     idle ──first chunk──> collecting ──all──> answering ──sent──> switching ─┤
 *            idle <─────────────────── both directions have switched ───────────────┘
 *   dest     idle ──rotation_decline──> declined, to the end of the session
 *
 * An error ends the session; nothing is to be called then but rotation_fini.
 */
#ifndef UTUN_TUNNEL_ROTATION_H
#define UTUN_TUNNEL_ROTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/key_schedule.h"
#include "crypto/mceliece.h"
#include "crypto/mlkem.h"
#include "tunnel/frame.h"

#define ROTATION_OFFER_MAX  (MLKEM_PUBLIC_KEY_SIZE + MCELIECE_PUBLIC_KEY_SIZE)
#define ROTATION_ANSWER_MAX (MLKEM_CIPHERTEXT_SIZE + MCELIECE_CIPHERTEXT_SIZE)

enum rotation_state {
    ROTATION_IDLE,
    ROTATION_OFFERING,
    ROTATION_COLLECTING,
    ROTATION_ANSWERING,
    ROTATION_SWITCHING,
    ROTATION_DECLINED,
};

/* Fields are for rotation.c alone, but for state, which anybody may read. */
struct rotation {
    enum rotation_state state;
    struct session_keys *keys;
    enum key_direction outward;
    struct mlkem_keypair *mlkem;       /* source: until the answer is there */
    struct mceliece_keypair *mceliece; /* the same */
    uint8_t *in;                       /* the offer or answer so far */
    size_t in_len;
    size_t in_cap;
    size_t sent; /* of the offer or answer */
    uint8_t answer[ROTATION_ANSWER_MAX];
};

/* keys is borrowed; outward is the direction that we send in: KEY_FROM_SOURCE makes a source. */
void rotation_init(struct rotation *r, struct session_keys *keys, enum key_direction outward);
void rotation_fini(struct rotation *r);

/*
 * Source: begins an exchange. Takes the pair, also on error: one that was never used before, or
 * NULL in the mode without McEliece. ERR_UNEXPECTED while an exchange is under way, which goes on.
 */
enum err rotation_start(struct rotation *r, struct mceliece_keypair *pair) MUST_USE;

/*
 * The next chunk to be sent, of at most max bytes: *data lives until rotation_sent, which says that
 * it is in a record. 0 when there is nothing to send.
 */
size_t rotation_chunk(const struct rotation *r, size_t max, const uint8_t **data, uint64_t *offset);
void rotation_sent(struct rotation *r, size_t len);

/* Whether a chunk or a switch is to be sent. */
bool rotation_has_output(const struct rotation *r);

/* The generation that the exchange leads to. */
uint64_t rotation_generation(const struct rotation *r);

/* How long a whole offer is, in the session's mode. */
size_t rotation_offer_size(const struct rotation *r);

/* Dest, while it is idle: the offer that comes now is read over, and never answered. */
void rotation_decline(struct rotation *r);

/* A KEY_EXCHANGE frame of the peer. ERR_UNEXPECTED, ERR_MALFORMED, ERR_NOMEM, ERR_CRYPTO. */
enum err rotation_on_chunk(struct rotation *r, const struct frame *f) MUST_USE;

/* Whether the peer may switch to the next generation now. */
bool rotation_takes_switch(const struct rotation *r);

/* KEY_SWITCH to the next generation must go out now: behind it everything is under the new keys. */
bool rotation_wants_switch(const struct rotation *r);

/* One direction has switched (session_keys_switch). True when the exchange is over with it. */
bool rotation_on_switched(struct rotation *r);

#endif
