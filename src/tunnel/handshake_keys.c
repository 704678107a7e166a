/* What both peers derive at the end of a handshake. Source: docs/PROTOCOL.md, section 4. */
#include "tunnel/handshake_state.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/x509.h>

#include "crypto/secret.h"

enum err handshake_make_binder(struct handshake *h)
{
    return tls_channel_export(h->tls, h->secrets->binder, KEY_SCHEDULE_EXPORT_BINDER,
                              (struct kdf_bytes){h->tunnel_id, TUNNEL_ID_SIZE});
}

static enum err encode_cert(struct kdf_bytes *out, uint8_t **owned, const X509 *cert)
{
    *out = (struct kdf_bytes){NULL, 0};
    *owned = NULL;
    if (cert == NULL)
        return ERR_OK;
    int n = i2d_X509(cert, owned);
    if (n <= 0)
        return ERR_CRYPTO;
    *out = (struct kdf_bytes){*owned, (size_t)n};
    return ERR_OK;
}

/* PROTOCOL 4.2 */
static enum err derive_keys(struct handshake *h, const struct kdf_bytes *transcript, size_t n)
{
    struct handshake_secrets *s = h->secrets;
    struct key_context in = {.kem_mode = h->mode};
    const X509 *own = tls_channel_own_cert(h->tls), *peer = tls_channel_peer_cert(h->tls);
    uint8_t *source = NULL, *dest = NULL;
    bool is_source = h->role == IDENTITY_SOURCE;

    enum err e = kdf_hash_parts(in.transcript_hash, transcript, n);
    if (e == ERR_OK)
        e = encode_cert(&in.source_cert, &source, is_source ? own : peer);
    if (e == ERR_OK)
        e = encode_cert(&in.dest_cert, &dest, is_source ? peer : own);
    if (e == ERR_OK)
        e = tls_channel_export(h->tls, s->tls, KEY_SCHEDULE_EXPORT_ROOT,
                               (struct kdf_bytes){NULL, 0});
    if (e == ERR_OK)
        e = key_schedule_context(s->context, &in);
    if (e == ERR_OK)
        e = key_schedule_root(
            s->root, s->context, s->tls,
            (struct kdf_bytes){s->kem, handshake_has_mceliece(h) ? sizeof(s->kem) : 0});
    if (e == ERR_OK)
        e = session_keys_new(&h->result->keys, h->mode, s->root, s->context);
    OPENSSL_free(source);
    OPENSSL_free(dest);
    return e;
}

enum err handshake_derive(struct handshake *h, const struct kdf_bytes *transcript, size_t n)
{
    struct handshake_result *r = h->result;
    enum err e = derive_keys(h, transcript, n);
    if (e != ERR_OK)
        return e;
    /* PROTOCOL 4.4: a tunnel's secret is that of its first session. */
    r->tunnel_secret = secret_new(TUNNEL_SECRET_SIZE);
    if (r->tunnel_secret == NULL)
        return ERR_NOMEM;
    memcpy(r->tunnel_secret,
           h->is_resumed ? h->secrets->resume : session_keys_tunnel_secret(r->keys),
           TUNNEL_SECRET_SIZE);
    return ERR_OK;
}
