/* The dest's side of the messages inside TLS. Source: docs/PROTOCOL.md, section 3.4. */
#include "tunnel/handshake_state.h"

#include <string.h>

#include "crypto/secret.h"

/* PROTOCOL 3.4, D5 */
static enum err send_answer(struct handshake *h, struct kdf_bytes ciphertext)
{
    struct handshake_answer m = {
        .version = HANDSHAKE_VERSION,
        .kem_mode = (uint8_t)h->mode,
        .is_resumed = h->is_resumed,
        .ciphertext = ciphertext.data,
        .ciphertext_len = (uint16_t)ciphertext.len,
    };
    enum err e = handshake_check_end(h);
    if (e == ERR_OK && h->is_resumed)
        e = key_schedule_proof(m.proof, KEY_FROM_DEST, h->secrets->resume, h->tunnel_id,
                               h->secrets->binder);
    if (e != ERR_OK)
        return e;

    uint8_t message[HANDSHAKE_ANSWER_SIZE];
    size_t n = handshake_answer_encode(message, &m);
    /* h->in holds KEM_KEY, or in mode mlkem768 nothing more: OFFER has been moved out of it. */
    struct kdf_bytes transcript[] = {
        {h->offer, h->offer_len},
        {h->in.data, h->in.size},
        {message, n},
    };
    e = handshake_derive(h, transcript, sizeof(transcript) / sizeof(transcript[0]));
    if (e == ERR_OK)
        e = tls_channel_write(h->tls, message, n);
    return e;
}

/* PROTOCOL 3.4, D3. Anything that does not fit only means that the tunnel is a new one. */
static enum err try_resume(struct handshake *h, const struct handshake_offer *offer)
{
    uint8_t proof[KDF_SIZE];
    enum err e = handshake_make_binder(h);
    if (e != ERR_OK || !offer->wants_resume || h->on_resume == NULL ||
        !h->on_resume(h->owner, h->tunnel_id, h->result->peer_identity, h->secrets->resume))
        return e;
    e = key_schedule_proof(proof, KEY_FROM_SOURCE, h->secrets->resume, h->tunnel_id,
                           h->secrets->binder);
    h->is_resumed = e == ERR_OK && secret_equal(proof, offer->proof, sizeof(proof));
    return e;
}

/* PROTOCOL 3.4, D2 */
static enum err check_offer(struct handshake *h, const struct handshake_offer *offer, enum err e)
{
    if (e == ERR_VERSION)
        return err_set(&h->detail, e, "the source speaks version %u of the protocol, this dest %d",
                       offer->version, HANDSHAKE_VERSION);
    if (e != ERR_OK)
        return err_set(&h->detail, e, "the source's OFFER is malformed");
    if (offer->kem_mode != h->mode)
        return err_set(&h->detail, ERR_KEM_MODE,
                       "kem_mode: this dest is set to \"%s\", the source%s%s%s to \"%s\"; set both "
                       "alike",
                       kem_mode_name(h->mode), h->result->has_peer ? " \"" : "",
                       h->result->peer.common_name, h->result->has_peer ? "\"" : "",
                       kem_mode_name(offer->kem_mode));
    if (!handshake_is_group_right(h))
        return err_set(&h->detail, ERR_UNEXPECTED,
                       "the source agreed on TLS group %s, kem_mode \"%s\" needs %s",
                       h->result->group, kem_mode_name(h->mode), tls_context_group(h->mode));
    return ERR_OK;
}

/* PROTOCOL 3.4, D3: before the source sends half a megabyte, and anything is computed for it. */
static enum err admit(struct handshake *h)
{
    struct handshake_visitor visitor = {
        .tunnel_id = h->tunnel_id,
        .identity = h->result->peer_identity,
        .is_resumed = h->is_resumed,
    };
    enum err e = h->on_admit == NULL ? ERR_OK : h->on_admit(h->owner, &visitor);

    if (e == ERR_OK)
        return ERR_OK;
    h->retry_after_ms = visitor.retry_after_ms;
    h->refusal = visitor.why != NULL ? visitor.why : err_text(e);
    return err_set(&h->detail, e, "the source was refused: %s", h->refusal);
}

enum err handshake_on_offer(struct handshake *h)
{
    struct handshake_offer offer;
    struct kdf_bytes body = handshake_body(h);
    enum err e = handshake_offer_decode(&offer, body.data, body.len);
    e = check_offer(h, &offer, e);
    if (e != ERR_OK)
        return e;
    memcpy(h->tunnel_id, offer.tunnel_id, TUNNEL_ID_SIZE);

    h->offer = h->in.data;
    h->offer_len = h->in.size;
    h->in = (struct handshake_incoming){0};

    e = try_resume(h, &offer);
    if (e == ERR_OK)
        e = admit(h);
    if (e != ERR_OK)
        return e;
    if (!handshake_has_mceliece(h))
        return send_answer(h, (struct kdf_bytes){NULL, 0});
    h->state = HANDSHAKE_STATE_KEM_KEY;
    return ERR_OK;
}

/* PROTOCOL 3.4, D4 */
enum err handshake_on_kem_key(struct handshake *h)
{
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE];
    enum err e = mceliece_encapsulate(ciphertext, h->secrets->kem, handshake_body(h).data);
    if (e != ERR_OK)
        return e;
    return send_answer(h, (struct kdf_bytes){ciphertext, sizeof(ciphertext)});
}
