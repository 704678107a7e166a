/*
 * Two peers of a handshake in one process, for tests: identities from a throwaway CA, and a pump
 * that carries bytes between them in pieces of a chosen size. Failures end the test.
 */
#ifndef UTUN_TESTS_UNIT_HANDSHAKE_PEERS_H
#define UTUN_TESTS_UNIT_HANDSHAKE_PEERS_H

#include "pki.h"

#include "crypto/identity.h"
#include "crypto/tls_context.h"
#include "tunnel/handshake.h"

#define PEERS_NOW UINT64_C(1000000) /* milliseconds on the tests' clock */

/* What to make a peer of; zeros are a sound one in mode `mode`. */
struct peer_setup {
    enum identity_use use;
    enum kem_mode mode;
    enum tls_auth auth;
    const char *cert;         /* NAME of NAME.crt and NAME.key; "" for none; NULL: by use */
    const char *ca;           /* NULL: "ca" */
    const char *crl;          /* a file; NULL: none */
    const char *host;         /* source; NULL: "localhost" */
    const uint8_t *secret;    /* source: to resume */
    const uint8_t *tunnel_id; /* source; NULL: all 0x11 */
    size_t max_size;
    struct handshake_owner *owner;
    bool (*on_resume)(struct handshake_owner *, const uint8_t *, const uint8_t *, uint8_t *);
    enum err (*on_admit)(struct handshake_owner *, struct handshake_visitor *);
    enum err (*on_keypair)(struct handshake_owner *, struct mceliece_keypair **);
};

static inline enum err make_keypair(struct handshake_owner *o, struct mceliece_keypair **out)
{
    (void)o;
    return mceliece_keypair_new(out);
}

static inline struct identity *peer_identity(const struct pki *p, const struct peer_setup *s)
{
    const char *name = s->cert != NULL ? s->cert : s->use == IDENTITY_SOURCE ? "client" : "server";
    char crt[64], key[64], ca[64];
    struct identity *id = NULL;
    struct err_detail d = {""};

    snprintf(crt, sizeof(crt), "%s.crt", name);
    snprintf(key, sizeof(key), "%s.key", name);
    snprintf(ca, sizeof(ca), "%s.crt", s->ca != NULL ? s->ca : "ca");
    struct pki_path crt_path = pki_path(p, crt), key_path = pki_path(p, key),
                    ca_path = pki_path(p, ca), crl_path = pki_path(p, s->crl != NULL ? s->crl : "");
    struct identity_files files = {
        .cert_path = name[0] != '\0' ? crt_path.text : NULL,
        .key_path = name[0] != '\0' ? key_path.text : NULL,
        .ca_path = ca_path.text,
        .crl_path = s->crl != NULL ? crl_path.text : NULL,
        .use = s->use,
    };
    if (identity_load(&id, &files, &d) != ERR_OK)
        fail_msg("%s: %s", name, d.text);
    return id;
}

static inline struct tls_context *peer_context(const struct pki *p, const struct peer_setup *s)
{
    struct identity *id = peer_identity(p, s);
    struct tls_context *tls = NULL;
    struct err_detail d = {""};

    if (tls_context_new(&tls, id, s->mode, s->auth, &d) != ERR_OK)
        fail_msg("%s", d.text);
    identity_free(id); /* the context lives on without it */
    return tls;
}

static inline struct handshake *peer_of_context(const struct tls_context *tls,
                                                const struct peer_setup *s)
{
    struct handshake_options o = {
        .tls = tls,
        .max_size = s->max_size,
        .owner = s->owner,
        .on_resume = s->on_resume,
        .on_admit = s->on_admit,
    };
    struct handshake *h = NULL;
    struct err_detail d = {""};

    if (s->use == IDENTITY_SOURCE) {
        o.dest_host = s->host != NULL ? s->host : "localhost";
        o.tunnel_secret = s->secret;
        memset(o.tunnel_id, 0x11, sizeof(o.tunnel_id));
        if (s->tunnel_id != NULL)
            memcpy(o.tunnel_id, s->tunnel_id, sizeof(o.tunnel_id));
        if (s->mode != KEM_MLKEM768)
            o.on_keypair = s->on_keypair != NULL ? s->on_keypair : make_keypair;
    }
    if (handshake_new(&h, &o, PEERS_NOW, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return h;
}

static inline struct handshake *peer_new(const struct pki *p, struct peer_setup s)
{
    struct tls_context *tls = peer_context(p, &s);
    struct handshake *h = peer_of_context(tls, &s);

    tls_context_free(tls); /* nor does a handshake need it */
    return h;
}

static inline struct handshake *source_new(const struct pki *p, struct peer_setup s)
{
    s.use = IDENTITY_SOURCE;
    return peer_new(p, s);
}

static inline struct handshake *dest_new(const struct pki *p, struct peer_setup s)
{
    s.use = IDENTITY_DEST;
    return peer_new(p, s);
}

/* Moves what `from` has to say, at most `most` bytes in pieces of `chunk`. Returns the bytes. */
static inline size_t carry(struct handshake *from, struct handshake *to, size_t chunk, size_t most)
{
    size_t moved = 0;

    for (;;) {
        const uint8_t *data = NULL;
        uint8_t piece[65536];
        size_t len = 0;

        handshake_drain(from, &data, &len);
        if (len > chunk)
            len = chunk;
        if (len > most - moved)
            len = most - moved;
        if (len == 0)
            return moved;
        memcpy(piece, data, len);
        handshake_drained(from, len, PEERS_NOW);
        enum err e = handshake_feed(to, piece, len, PEERS_NOW);
        assert_int_equal(e, handshake_error(to));
        moved += len;
    }
}

/* Until neither has anything more to say. */
static inline void converse(struct handshake *a, struct handshake *b, size_t chunk)
{
    assert_true(chunk <= 65536);
    while (carry(a, b, chunk, SIZE_MAX) + carry(b, a, chunk, SIZE_MAX) > 0)
        ;
}

static inline struct handshake_result *take(struct handshake *h)
{
    struct handshake_result *r = NULL;

    if (handshake_status(h) != HANDSHAKE_DONE)
        fail_msg("not done: %s", handshake_error_text(h));
    assert_int_equal(handshake_take_result(h, &r), ERR_OK);
    assert_non_null(r->keys);
    return r;
}

static inline bool same_keys(const struct handshake_result *a, const struct handshake_result *b)
{
    bool are_same = true;

    for (int d = KEY_FROM_SOURCE; d <= KEY_FROM_DEST; d++) {
        struct traffic_keys x, y;

        assert_int_equal(session_keys_traffic(a->keys, (enum key_direction)d, &x), ERR_OK);
        assert_int_equal(session_keys_traffic(b->keys, (enum key_direction)d, &y), ERR_OK);
        are_same = are_same && memcmp(&x, &y, sizeof(x)) == 0;
    }
    return are_same;
}

#endif
