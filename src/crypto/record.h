/*
 * Records: AES-256-GCM sealed units (docs/PROTOCOL.md, section 5; NIST SP 800-38D).
 *
 * A sealer holds one direction's key and counter, an opener the other end's. The counter belongs to
 * the key: it starts at 0 with it, is used up by one with every record whether or not sealing then
 * succeeds, and never wraps, so that no nonce is ever used twice under a key.
 *
 * Two kinds of transport: a stream, which delivers strictly in order and is over at the first
 * record that does not open, and datagrams, which carry their counter and may be lost, reordered
 * or repeated.
 *
 * One thread at a time may use a sealer or an opener. Neither allocates after it has been made.
 */
#ifndef UTUN_CRYPTO_RECORD_H
#define UTUN_CRYPTO_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/attr.h"
#include "base/error.h"

#define RECORD_HEADER_SIZE   5
#define RECORD_TAG_SIZE      16
#define RECORD_OVERHEAD      (RECORD_HEADER_SIZE + RECORD_TAG_SIZE)
#define RECORD_PLAINTEXT_MAX 65536
#define RECORD_SIZE_MAX      (RECORD_PLAINTEXT_MAX + RECORD_OVERHEAD)

#define RECORD_COUNTER_SIZE      8 /* of a datagram, between header and ciphertext */
#define RECORD_DATAGRAM_OVERHEAD (RECORD_OVERHEAD + RECORD_COUNTER_SIZE)
#define RECORD_REPLAY_WINDOW     1024

/*
 * Use of one key. The sender starts a new epoch at the soft limits; the receiver ends the session
 * at the hard one. 2^37 bytes are 2^33 blocks, which keeps an attacker's advantage from the
 * birthday bound below 2^-60 (docs/PROTOCOL.md, section 12).
 */
#define RECORD_SOFT_LIMIT_RECORDS (UINT64_C(1) << 22)
#define RECORD_SOFT_LIMIT_BYTES   (UINT64_C(1) << 37)
#define RECORD_HARD_LIMIT_RECORDS (UINT64_C(1) << 23)

/* One direction's keys in one epoch (docs/PROTOCOL.md, section 4.3). Wipe it after use. */
struct traffic_keys {
    uint8_t key[32];
    uint8_t prefix[4];
};

struct record_sealer;
struct record_opener;

/* The keys are copied. ERR_NOMEM or ERR_CRYPTO with *out NULL. Any thread. */
enum err record_sealer_new(struct record_sealer **out, const struct traffic_keys *keys,
                           uint8_t epoch) MUST_USE;
enum err record_opener_new(struct record_opener **out, const struct traffic_keys *keys,
                           uint8_t epoch) MUST_USE;

/* Wipes the key. NULL is fine. */
void record_sealer_free(struct record_sealer *s);
void record_opener_free(struct record_opener *o);

/*
 * Starts the next epoch: the counter returns to 0, the epoch byte goes up by one (mod 256), the old
 * key is wiped. ERR_CRYPTO: the sealer or opener is dead. An opener that is dead stays dead.
 */
enum err record_sealer_rekey(struct record_sealer *s, const struct traffic_keys *keys) MUST_USE;
enum err record_opener_rekey(struct record_opener *o, const struct traffic_keys *keys) MUST_USE;

/* A soft limit is reached: ratchet and rekey before sealing much more. */
bool record_sealer_needs_epoch(const struct record_sealer *s);

/*
 * Gathers the parts, in order, into one record at out. The parts are not changed and must not
 * overlap out; parts of length 0 are fine. Together they must hold 1 to RECORD_PLAINTEXT_MAX bytes,
 * and out their sum + RECORD_OVERHEAD. *out_len is the number of bytes written, 0 on error.
 *
 * ERR_TOO_LARGE (plaintext or out_cap; nothing happened), ERR_MALFORMED (no plaintext; nothing
 * happened), ERR_NONCE_EXHAUSTED (the counter is used up), ERR_CRYPTO (sealer dead).
 */
enum err record_seal(struct record_sealer *s, const struct iovec *parts, size_t n_parts,
                     uint8_t *out, size_t out_cap, size_t *out_len) MUST_USE;

/*
 * Says from its first bytes how long a record is: *need is the whole record's size, or 0 while len
 * is below RECORD_HEADER_SIZE. *need is 0 on error: ERR_MALFORMED (first byte, length out of
 * bounds), ERR_UNEXPECTED (another epoch), or the error that the opener died of. The opener is not
 * changed, but a stream with such bytes is over.
 */
enum err record_peek(const struct record_opener *o, const uint8_t *p, size_t len,
                     size_t *need) MUST_USE;

/*
 * Opens exactly one whole record in place. *plain points into the record and lives as long as it.
 *
 * On error *plain is NULL, *plain_len 0, nothing of the plaintext is left in the record, and the
 * opener is dead: every later call returns the same error. ERR_MALFORMED, ERR_UNEXPECTED (another
 * epoch), ERR_AUTH_TAG (altered, replayed, reordered, or sealed under another key),
 * ERR_KEY_EXPIRED (past RECORD_HARD_LIMIT_RECORDS), ERR_CRYPTO.
 */
enum err record_open(struct record_opener *o, uint8_t *record, size_t len, uint8_t **plain,
                     size_t *plain_len) MUST_USE;

/*
 * The same for datagrams, with the counter on the wire and RECORD_DATAGRAM_OVERHEAD bytes around
 * the plaintext. The counter is the sealer's: records and datagrams never share a nonce.
 *
 * A datagram that does not open is dropped, and the opener lives on, because anybody may have sent
 * it: ERR_REPLAY (opened before, or more than the window behind the newest), ERR_AUTH_TAG,
 * ERR_MALFORMED, ERR_UNEXPECTED, ERR_KEY_EXPIRED. An opener is for one kind of transport.
 */
enum err record_seal_datagram(struct record_sealer *s, const struct iovec *parts, size_t n_parts,
                              uint8_t *out, size_t out_cap, size_t *out_len) MUST_USE;
enum err record_open_datagram(struct record_opener *o, uint8_t *record, size_t len, uint8_t **plain,
                              size_t *plain_len) MUST_USE;

/* For tests of the limits only: skips ahead, which is safe; it must never go back. */
void record_sealer_skip_to_for_test(struct record_sealer *s, uint64_t counter);
void record_opener_skip_to_for_test(struct record_opener *o, uint64_t counter);

#endif
