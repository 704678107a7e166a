/*
 * The handshake's own struct, private to src/tunnel/handshake*.c:
 *
 *   handshake.c          life, TLS, states, time, failing
 *   handshake_receive.c  one message after another out of TLS
 *   handshake_source.c   what a source sends and makes of the answer
 *   handshake_dest.c     what a dest makes of the offer
 *   handshake_keys.c     the keys at the end
 */
#ifndef UTUN_TUNNEL_HANDSHAKE_STATE_H
#define UTUN_TUNNEL_HANDSHAKE_STATE_H

#include "crypto/tls_channel.h"
#include "tunnel/handshake.h"
#include "tunnel/handshake_message.h"

enum handshake_state {
    HANDSHAKE_STATE_TLS,
    HANDSHAKE_STATE_OFFER,   /* dest: awaits it */
    HANDSHAKE_STATE_KEM_KEY, /* dest: awaits it */
    HANDSHAKE_STATE_ANSWER,  /* source: awaits it */
    HANDSHAKE_STATE_DONE,
    HANDSHAKE_STATE_FAILED,
};

struct handshake_secrets {
    uint8_t resume[TUNNEL_SECRET_SIZE]; /* the tunnel's, where it is to be continued */
    uint8_t binder[KDF_SIZE];
    uint8_t tls[KDF_SIZE];
    uint8_t kem[MCELIECE_SECRET_SIZE];
    uint8_t context[KDF_SIZE];
    uint8_t root[KDF_SIZE];
};

/* A message on its way in. */
struct handshake_incoming {
    uint8_t header[HANDSHAKE_HEADER_SIZE];
    uint8_t *data; /* header and body; NULL until the header is judged */
    size_t cap;
    size_t have; /* bytes of header, then of data */
    size_t size; /* of the whole message; 0 until the header is judged */
};

struct handshake {
    enum handshake_state state;
    enum identity_use role;
    enum kem_mode mode;
    struct tls_channel *tls;
    bool is_tls_up;
    struct handshake_owner *owner;
    bool (*on_resume)(struct handshake_owner *owner, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE]);
    enum err (*on_admit)(struct handshake_owner *owner, struct handshake_visitor *visitor);
    enum err (*on_keypair)(struct handshake_owner *owner, struct mceliece_keypair **out);

    const char *refusal; /* dest: static, what the source is told; NULL: the error's text */

    size_t max_size;
    size_t messages_size; /* of those received, the one that is under way included */
    uint64_t last_ms;     /* when the last message was complete */
    uint64_t bytes_out;

    uint8_t tunnel_id[TUNNEL_ID_SIZE];
    bool wants_resume;
    bool is_resumed;
    bool only_abort;                  /* source: the TLS group is not our mode's */
    struct mceliece_keypair *keypair; /* source: from the OFFER on */
    struct handshake_secrets *secrets;

    struct handshake_incoming in;
    uint8_t *offer; /* the whole message, for the transcript */
    size_t offer_len;

    struct handshake_result *result; /* made when TLS is up */
    enum err error;
    struct err_detail detail;
    uint32_t retry_after_ms;
};

/* -- handshake.c -- */

const char *handshake_peer_word(const struct handshake *h);
bool handshake_has_mceliece(const struct handshake *h);
bool handshake_is_group_right(const struct handshake *h);

/* -- handshake_receive.c -- */

/* The message that the state awaits. */
const char *handshake_awaited(const struct handshake *h);

enum handshake_receipt {
    HANDSHAKE_RECEIPT_NEEDS_MORE,  /* raw bytes */
    HANDSHAKE_RECEIPT_WHOLE,       /* h->in holds a message of a type that belongs here */
    HANDSHAKE_RECEIPT_BROKEN_TLS,  /* *e and h->detail say why; the peer knows or cannot be told */
    HANDSHAKE_RECEIPT_BAD_MESSAGE, /* *e and h->detail say why */
};

enum handshake_receipt handshake_receive(struct handshake *h, enum err *e) MUST_USE;

/* The body of the message in h->in. */
struct kdf_bytes handshake_body(const struct handshake *h);

/* The message in h->in must be the peer's last inside TLS: ERR_UNEXPECTED if there is more. */
enum err handshake_check_end(struct handshake *h) MUST_USE;

/* -- each returns an error to fail with; h->detail may say more -- */

/* handshake_source.c; S2 and S3 */
enum err handshake_send_offer(struct handshake *h) MUST_USE;
enum err handshake_on_answer(struct handshake *h) MUST_USE;

/* handshake_dest.c; D2 to D5 */
enum err handshake_on_offer(struct handshake *h) MUST_USE;
enum err handshake_on_kem_key(struct handshake *h) MUST_USE;

/* -- handshake_keys.c -- */

enum err handshake_make_binder(struct handshake *h) MUST_USE;

/* Of the secrets there are and the transcript's parts: h->result->keys, and the tunnel's secret. */
enum err handshake_derive(struct handshake *h, const struct kdf_bytes *transcript,
                          size_t n) MUST_USE;

#endif
