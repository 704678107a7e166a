#include "crypto/key_schedule.h"

#include <assert.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/wire.h"
#include "crypto/secret.h"

#define ALPN           "utun/1"
#define KEM_SECRET_MAX 64

struct session_keys {
    uint8_t traffic[2][KDF_SIZE]; /* by enum key_direction */
    uint8_t next[2][KDF_SIZE];    /* of generation `newest`, where a direction is not there yet */
    uint8_t rotation[KDF_SIZE];   /* what the generation after `newest` begins with */
    uint8_t context[KDF_SIZE];    /* of generation `newest` */
    uint8_t tunnel[TUNNEL_SECRET_SIZE];
    uint64_t epoch[2];
    uint64_t generation[2];
    uint64_t newest; /* the generation that was derived last */
    enum kem_mode mode;
};

static const struct kdf_bytes nothing;

const char *kem_mode_name(unsigned mode)
{
    switch (mode) {
    case KEM_HYBRID:
        return "hybrid";
    case KEM_MLKEM768:
        return "mlkem768";
    case KEM_MCELIECE460896:
        return "mceliece460896";
    default:
        return "unknown";
    }
}

/* PROTOCOL 4.2 */
enum err key_schedule_context(uint8_t out[KDF_SIZE], const struct key_context *in)
{
    uint8_t source[KDF_SIZE], dest[KDF_SIZE];
    memset(out, 0, KDF_SIZE);
    enum err e = kdf_hash(source, in->source_cert);
    if (e == ERR_OK)
        e = kdf_hash(dest, in->dest_cert);
    if (e != ERR_OK)
        return e;

    uint8_t bytes[1 + sizeof(ALPN) + 1 + 3 * KDF_SIZE];
    struct wire_writer w;
    wire_writer_init(&w, bytes, sizeof(bytes));
    wire_put_u8(&w, (uint8_t)strlen(ALPN));
    wire_put_bytes(&w, (const uint8_t *)ALPN, strlen(ALPN));
    wire_put_u8(&w, (uint8_t)in->kem_mode);
    wire_put_bytes(&w, source, sizeof(source));
    wire_put_bytes(&w, dest, sizeof(dest));
    wire_put_bytes(&w, in->transcript_hash, KDF_SIZE);
    assert(!w.failed);
    return kdf_hash(out, (struct kdf_bytes){bytes, wire_written(&w)});
}

enum err key_schedule_root(uint8_t out[KDF_SIZE], const uint8_t context[KDF_SIZE],
                           const uint8_t tls_secret[KDF_SIZE], struct kdf_bytes kem_secret)
{
    assert(kem_secret.len <= KEM_SECRET_MAX);
    struct {
        uint8_t ikm[2 + KDF_SIZE + 2 + KEM_SECRET_MAX];
        uint8_t prk[KDF_SIZE];
    } tmp;
    struct kdf_bytes bound_to = {context, KDF_SIZE};

    memset(out, 0, KDF_SIZE);
    struct wire_writer w;
    wire_writer_init(&w, tmp.ikm, sizeof(tmp.ikm));
    wire_put_u16(&w, KDF_SIZE);
    wire_put_bytes(&w, tls_secret, KDF_SIZE);
    wire_put_u16(&w, (uint16_t)kem_secret.len);
    wire_put_bytes(&w, kem_secret.data, kem_secret.len);
    assert(!w.failed);

    enum err e = kdf_extract(tmp.prk, bound_to, (struct kdf_bytes){tmp.ikm, wire_written(&w)});
    if (e == ERR_OK)
        e = kdf_expand_label(out, KDF_SIZE, tmp.prk, "root", bound_to);
    OPENSSL_cleanse(&tmp, sizeof(tmp));
    return e;
}

/* PROTOCOL 4.4 */
enum err key_schedule_proof(uint8_t out[KDF_SIZE], enum key_direction prover,
                            const uint8_t tunnel_secret[TUNNEL_SECRET_SIZE],
                            const uint8_t tunnel_id[TUNNEL_ID_SIZE], const uint8_t binder[KDF_SIZE])
{
    uint8_t key[KDF_SIZE];
    const char *label = prover == KEY_FROM_SOURCE ? "resume source" : "resume dest";
    memset(out, 0, KDF_SIZE);
    enum err e = kdf_expand_label(key, sizeof(key), tunnel_secret, label,
                                  (struct kdf_bytes){tunnel_id, TUNNEL_ID_SIZE});
    if (e == ERR_OK)
        e = kdf_hmac(out, (struct kdf_bytes){key, sizeof(key)},
                     (struct kdf_bytes){binder, KDF_SIZE});
    OPENSSL_cleanse(key, sizeof(key));
    return e;
}

/* PROTOCOL 4.3 and 4.5: all that a root is for. */
static enum err derive_generation(uint8_t traffic[2][KDF_SIZE], uint8_t rotation[KDF_SIZE],
                                  const uint8_t root[KDF_SIZE], const uint8_t context[KDF_SIZE])
{
    struct kdf_bytes bound_to = {context, KDF_SIZE};
    enum err e =
        kdf_expand_label(traffic[KEY_FROM_SOURCE], KDF_SIZE, root, "source traffic", bound_to);
    if (e == ERR_OK)
        e = kdf_expand_label(traffic[KEY_FROM_DEST], KDF_SIZE, root, "dest traffic", bound_to);
    if (e == ERR_OK)
        e = kdf_expand_label(rotation, KDF_SIZE, root, "rotation", bound_to);
    return e;
}

enum err session_keys_new(struct session_keys **out, enum kem_mode mode,
                          const uint8_t root[KDF_SIZE], const uint8_t context[KDF_SIZE])
{
    *out = NULL;
    struct session_keys *k = secret_new(sizeof(*k));
    if (k == NULL)
        return ERR_NOMEM;
    k->mode = mode;
    memcpy(k->context, context, KDF_SIZE);
    enum err e = derive_generation(k->traffic, k->rotation, root, context);
    if (e == ERR_OK)
        e = kdf_expand_label(k->tunnel, sizeof(k->tunnel), root, "tunnel",
                             (struct kdf_bytes){context, KDF_SIZE});
    if (e != ERR_OK) {
        session_keys_free(k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

void session_keys_free(struct session_keys *k)
{
    secret_free(k, sizeof(*k));
}

enum kem_mode session_keys_mode(const struct session_keys *k)
{
    return k->mode;
}

/* PROTOCOL 4.3 */
enum err session_keys_traffic(const struct session_keys *k, enum key_direction direction,
                              struct traffic_keys *out)
{
    const uint8_t *secret = k->traffic[direction];
    enum err e = kdf_expand_label(out->key, sizeof(out->key), secret, "key", nothing);
    if (e == ERR_OK)
        e = kdf_expand_label(out->prefix, sizeof(out->prefix), secret, "nonce", nothing);
    if (e != ERR_OK)
        OPENSSL_cleanse(out, sizeof(*out));
    return e;
}

enum err session_keys_ratchet(struct session_keys *k, enum key_direction direction)
{
    uint8_t next[KDF_SIZE];
    enum err e = kdf_expand_label(next, sizeof(next), k->traffic[direction], "ratchet", nothing);
    if (e == ERR_OK) {
        memcpy(k->traffic[direction], next, sizeof(next));
        k->epoch[direction]++;
    }
    OPENSSL_cleanse(next, sizeof(next));
    return e;
}

/* PROTOCOL 4.5 */
enum err session_keys_rotate(struct session_keys *k, const struct key_exchange *exchange)
{
    struct {
        uint8_t root[KDF_SIZE];
        uint8_t traffic[2][KDF_SIZE];
        uint8_t rotation[KDF_SIZE];
    } tmp;
    uint8_t context[KDF_SIZE];
    const struct kdf_bytes bound_to[] = {
        {k->context, KDF_SIZE},
        {exchange->offer_hash, KDF_SIZE},
        {exchange->answer_hash, KDF_SIZE},
    };

    if (k->generation[KEY_FROM_SOURCE] != k->newest || k->generation[KEY_FROM_DEST] != k->newest)
        return ERR_UNEXPECTED;
    enum err e = kdf_hash_parts(context, bound_to, sizeof(bound_to) / sizeof(bound_to[0]));
    if (e == ERR_OK)
        e = key_schedule_root(tmp.root, context, k->rotation, exchange->secret);
    if (e == ERR_OK)
        e = derive_generation(tmp.traffic, tmp.rotation, tmp.root, context);
    if (e == ERR_OK) {
        memcpy(k->context, context, sizeof(context));
        memcpy(k->next, tmp.traffic, sizeof(tmp.traffic));
        memcpy(k->rotation, tmp.rotation, sizeof(tmp.rotation));
        k->newest++;
    }
    OPENSSL_cleanse(&tmp, sizeof(tmp));
    return e;
}

enum err session_keys_switch(struct session_keys *k, enum key_direction direction)
{
    if (k->generation[direction] == k->newest)
        return ERR_UNEXPECTED;
    memcpy(k->traffic[direction], k->next[direction], KDF_SIZE);
    OPENSSL_cleanse(k->next[direction], KDF_SIZE);
    k->generation[direction] = k->newest;
    k->epoch[direction]++;
    return ERR_OK;
}

uint64_t session_keys_epoch(const struct session_keys *k, enum key_direction direction)
{
    return k->epoch[direction];
}

uint64_t session_keys_generation(const struct session_keys *k, enum key_direction direction)
{
    return k->generation[direction];
}

const uint8_t *session_keys_tunnel_secret(const struct session_keys *k)
{
    return k->tunnel;
}
