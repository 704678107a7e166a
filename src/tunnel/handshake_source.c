/* The source's side of the messages inside TLS. Source: docs/PROTOCOL.md, section 3.4. */
#include "tunnel/handshake_state.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

/* PROTOCOL 3.4, S2 */
enum err handshake_send_offer(struct handshake *h)
{
    struct handshake_offer m = {
        .version = HANDSHAKE_VERSION,
        .kem_mode = (uint8_t)h->mode,
        .wants_resume = h->wants_resume,
    };
    memcpy(m.tunnel_id, h->tunnel_id, TUNNEL_ID_SIZE);
    enum err e = handshake_make_binder(h);
    if (e == ERR_OK && h->wants_resume)
        e = key_schedule_proof(m.proof, KEY_FROM_SOURCE, h->secrets->resume, h->tunnel_id,
                               h->secrets->binder);
    if (e != ERR_OK)
        return e;

    uint8_t message[HANDSHAKE_OFFER_SIZE];
    size_t n = handshake_offer_encode(message, &m);
    h->offer = malloc(n);
    if (h->offer == NULL)
        return ERR_NOMEM;
    memcpy(h->offer, message, n);
    h->offer_len = n;
    e = tls_channel_write(h->tls, message, n);
    h->only_abort = !handshake_is_group_right(h);
    if (e != ERR_OK || h->only_abort || !handshake_has_mceliece(h))
        return e;

    uint8_t header[HANDSHAKE_HEADER_SIZE];
    e = h->on_keypair(h->owner, &h->keypair);
    if (e != ERR_OK)
        return e;
    handshake_header_encode(header,
                            (struct handshake_header){HANDSHAKE_KEM_KEY, MCELIECE_PUBLIC_KEY_SIZE});
    e = tls_channel_write(h->tls, header, sizeof(header));
    if (e == ERR_OK)
        e = tls_channel_write(h->tls, mceliece_public_key(h->keypair), MCELIECE_PUBLIC_KEY_SIZE);
    return e;
}

static enum err check_answer(struct handshake *h, const struct handshake_answer *m, enum err e)
{
    if (e == ERR_VERSION)
        return err_set(&h->detail, e, "the dest speaks version %u of the protocol, this source %d",
                       m->version, HANDSHAKE_VERSION);
    if (e != ERR_OK)
        return err_set(&h->detail, e, "the dest's ANSWER is malformed");
    if (m->kem_mode != h->mode)
        return err_set(&h->detail, ERR_KEM_MODE,
                       "kem_mode: this source is set to \"%s\", the dest to \"%s\"; set both alike",
                       kem_mode_name(h->mode), kem_mode_name(m->kem_mode));
    if (h->only_abort)
        return err_set(&h->detail, ERR_UNEXPECTED,
                       "the dest agreed on TLS group %s, kem_mode \"%s\" needs %s",
                       h->result->group, kem_mode_name(h->mode), tls_context_group(h->mode));
    if (m->ciphertext_len != (handshake_has_mceliece(h) ? MCELIECE_CIPHERTEXT_SIZE : 0))
        return err_set(&h->detail, ERR_MALFORMED, "the dest's McEliece ciphertext has %u bytes",
                       m->ciphertext_len);
    if (m->is_resumed && !h->wants_resume)
        return err_set(&h->detail, ERR_UNEXPECTED,
                       "the dest continues a tunnel that this source did not ask for");
    return ERR_OK;
}

/* PROTOCOL 3.4, S3 */
enum err handshake_on_answer(struct handshake *h)
{
    struct handshake_answer m;
    struct kdf_bytes body = handshake_body(h);
    enum err e = handshake_answer_decode(&m, body.data, body.len);
    e = check_answer(h, &m, e);
    if (e == ERR_OK)
        e = handshake_check_end(h);
    if (e != ERR_OK)
        return e;
    if (m.is_resumed) {
        uint8_t proof[KDF_SIZE];
        e = key_schedule_proof(proof, KEY_FROM_DEST, h->secrets->resume, h->tunnel_id,
                               h->secrets->binder);
        if (e != ERR_OK)
            return e;
        if (!secret_equal(proof, m.proof, sizeof(proof)))
            return err_set(&h->detail, ERR_RESUME,
                           "the dest claims to continue the tunnel and does not know its secret");
        h->is_resumed = true;
    }

    uint8_t header[HANDSHAKE_HEADER_SIZE];
    struct kdf_bytes transcript[] = {
        {h->offer, h->offer_len},
        {NULL, 0},
        {NULL, 0},
        {h->in.data, h->in.size},
    };
    if (handshake_has_mceliece(h)) {
        handshake_header_encode(
            header, (struct handshake_header){HANDSHAKE_KEM_KEY, MCELIECE_PUBLIC_KEY_SIZE});
        transcript[1] = (struct kdf_bytes){header, sizeof(header)};
        transcript[2] =
            (struct kdf_bytes){mceliece_public_key(h->keypair), MCELIECE_PUBLIC_KEY_SIZE};
        e = mceliece_decapsulate(h->secrets->kem, m.ciphertext, h->keypair);
    }
    if (e == ERR_OK)
        e = handshake_derive(h, transcript, sizeof(transcript) / sizeof(transcript[0]));
    return e;
}
