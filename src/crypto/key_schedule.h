/*
 * From the secrets of a handshake to the keys of records (docs/PROTOCOL.md, section 4).
 *
 * The derivation functions are pure; each output is zeroed on error (ERR_CRYPTO where OpenSSL
 * fails). struct session_keys keeps what a session needs afterwards and nothing above it: a root is
 * wiped, so that a ratchet really forgets. Any thread, one at a time.
 */
#ifndef UTUN_CRYPTO_KEY_SCHEDULE_H
#define UTUN_CRYPTO_KEY_SCHEDULE_H

#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/record.h"

#define TUNNEL_ID_SIZE     16
#define TUNNEL_SECRET_SIZE KDF_SIZE

/* The numbers are those of the wire (section 3.2). */
enum kem_mode {
    KEM_HYBRID = 1,         /* X25519, ML-KEM-768 and Classic McEliece 460896 */
    KEM_MLKEM768 = 2,       /* X25519 and ML-KEM-768 */
    KEM_MCELIECE460896 = 3, /* X25519 and Classic McEliece 460896 */
};

/* As the configuration spells it; "unknown" for any other number. Static. */
const char *kem_mode_name(unsigned mode);

/* The labels of the TLS exporter, and the size that it is asked for: KDF_SIZE. */
#define KEY_SCHEDULE_EXPORT_ROOT   "EXPERIMENTAL utun/1 root"
#define KEY_SCHEDULE_EXPORT_BINDER "EXPERIMENTAL utun/1 resume"

/* What a session's keys are bound to. */
struct key_context {
    enum kem_mode kem_mode;
    struct kdf_bytes source_cert;      /* DER; empty when absent */
    struct kdf_bytes dest_cert;        /* DER; empty when absent */
    uint8_t transcript_hash[KDF_SIZE]; /* H(OFFER ‖ KEM_KEY ‖ ANSWER) */
};

/* Section 4.2. */
enum err key_schedule_context(uint8_t out[KDF_SIZE], const struct key_context *in) MUST_USE;
enum err key_schedule_root(uint8_t out[KDF_SIZE], const uint8_t context[KDF_SIZE],
                           const uint8_t tls_secret[KDF_SIZE],
                           struct kdf_bytes kem_secret) MUST_USE;

/* A direction is named after its sender, as in the labels. */
enum key_direction {
    KEY_FROM_SOURCE,
    KEY_FROM_DEST,
};

/* Section 4.4. The binder is the TLS exporter's output for the new session. */
enum err key_schedule_proof(uint8_t out[KDF_SIZE], enum key_direction prover,
                            const uint8_t tunnel_secret[TUNNEL_SECRET_SIZE],
                            const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                            const uint8_t binder[KDF_SIZE]) MUST_USE;

/*
 * The keys of a session. Each direction has an epoch, counted from 0, which the header of a record
 * carries mod 256, and a generation, counted from 0: that of the exchange its keys come from. A
 * ratchet starts the next epoch inside a generation, a switch the next generation.
 */
struct session_keys;

/*
 * Derives generation 0 and the tunnel secret. Root and context are the caller's to wipe. ERR_NOMEM
 * or ERR_CRYPTO with *out NULL. Tests may use any bytes as root and context.
 */
enum err session_keys_new(struct session_keys **out, enum kem_mode mode,
                          const uint8_t root[KDF_SIZE], const uint8_t context[KDF_SIZE]) MUST_USE;

/* Wipes. NULL is fine. */
void session_keys_free(struct session_keys *k);

enum kem_mode session_keys_mode(const struct session_keys *k);

/* Key and prefix of the direction's current epoch (section 4.3). Wipe *out after use. */
enum err session_keys_traffic(const struct session_keys *k, enum key_direction direction,
                              struct traffic_keys *out) MUST_USE;

/* Starts the direction's next epoch and wipes the last one's secret. ERR_CRYPTO: nothing changed.
 */
enum err session_keys_ratchet(struct session_keys *k, enum key_direction direction) MUST_USE;

/* What a key exchange inside the session has brought (section 4.5). */
struct key_exchange {
    uint8_t offer_hash[KDF_SIZE];
    uint8_t answer_hash[KDF_SIZE];
    struct kdf_bytes secret; /* of ML-KEM, and of McEliece behind it where the mode has it */
};

/*
 * Derives the next generation for both directions, which stay in the one they are in until
 * session_keys_switch, and wipes what this generation was derived from. ERR_UNEXPECTED while a
 * direction has not come to the last one. ERR_CRYPTO: nothing changed.
 */
enum err session_keys_rotate(struct session_keys *k, const struct key_exchange *exchange) MUST_USE;

/* Starts the direction's next epoch with the keys of the next generation and wipes the old secret.
 * ERR_UNEXPECTED when there is none. */
enum err session_keys_switch(struct session_keys *k, enum key_direction direction) MUST_USE;

uint64_t session_keys_epoch(const struct session_keys *k, enum key_direction direction);
uint64_t session_keys_generation(const struct session_keys *k, enum key_direction direction);

/* TUNNEL_SECRET_SIZE bytes as derived from this session; borrowed, lives as long as k. */
const uint8_t *session_keys_tunnel_secret(const struct session_keys *k);

#endif
