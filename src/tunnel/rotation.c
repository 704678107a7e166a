#include "tunnel/rotation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

/* Room for what comes in grows as it arrives. */
#define IN_START ((size_t)4096)

static bool is_source(const struct rotation *r)
{
    return r->outward == KEY_FROM_SOURCE;
}

static enum key_direction inward(const struct rotation *r)
{
    return is_source(r) ? KEY_FROM_DEST : KEY_FROM_SOURCE;
}

static bool has_mceliece(const struct rotation *r)
{
    return session_keys_mode(r->keys) != KEM_MLKEM768;
}

size_t rotation_offer_size(const struct rotation *r)
{
    return has_mceliece(r) ? ROTATION_OFFER_MAX : MLKEM_PUBLIC_KEY_SIZE;
}

static size_t answer_size(const struct rotation *r)
{
    return has_mceliece(r) ? ROTATION_ANSWER_MAX : MLKEM_CIPHERTEXT_SIZE;
}

void rotation_init(struct rotation *r, struct session_keys *keys, enum key_direction outward)
{
    *r = (struct rotation){.keys = keys, .outward = outward};
}

static void drop_in(struct rotation *r)
{
    free(r->in);
    r->in = NULL;
    r->in_len = 0;
    r->in_cap = 0;
}

static void drop_pairs(struct rotation *r)
{
    mlkem_keypair_free(r->mlkem);
    mceliece_keypair_free(r->mceliece);
    r->mlkem = NULL;
    r->mceliece = NULL;
}

void rotation_fini(struct rotation *r)
{
    drop_in(r);
    drop_pairs(r);
}

/* PROTOCOL 9.3, K1 */
enum err rotation_start(struct rotation *r, struct mceliece_keypair *pair)
{
    enum err e;

    assert(is_source(r) && (pair != NULL) == has_mceliece(r));
    if (r->state != ROTATION_IDLE) {
        mceliece_keypair_free(pair);
        return ERR_UNEXPECTED;
    }
    e = mlkem_keypair_new(&r->mlkem);
    if (e != ERR_OK) {
        mceliece_keypair_free(pair);
        return e;
    }
    r->mceliece = pair;
    r->sent = 0;
    r->state = ROTATION_OFFERING;
    return ERR_OK;
}

/* The two parts of an offer lie apart. */
size_t rotation_chunk(const struct rotation *r, size_t max, const uint8_t **data, uint64_t *offset)
{
    size_t left;

    *offset = r->sent;
    if (r->state == ROTATION_OFFERING && r->sent < MLKEM_PUBLIC_KEY_SIZE) {
        *data = mlkem_public_key(r->mlkem) + r->sent;
        left = MLKEM_PUBLIC_KEY_SIZE - r->sent;
    } else if (r->state == ROTATION_OFFERING && r->sent < rotation_offer_size(r)) {
        *data = mceliece_public_key(r->mceliece) + (r->sent - MLKEM_PUBLIC_KEY_SIZE);
        left = rotation_offer_size(r) - r->sent;
    } else if (r->state == ROTATION_ANSWERING) {
        *data = r->answer + r->sent;
        left = answer_size(r) - r->sent;
    } else {
        *data = NULL;
        left = 0;
    }
    return left < max ? left : max;
}

void rotation_sent(struct rotation *r, size_t len)
{
    r->sent += len;
    if (r->state == ROTATION_ANSWERING && r->sent == answer_size(r))
        r->state = ROTATION_SWITCHING;
}

uint64_t rotation_generation(const struct rotation *r)
{
    uint64_t out = session_keys_generation(r->keys, r->outward);
    uint64_t in = session_keys_generation(r->keys, inward(r));

    return out < in ? in : out + 1;
}

/* PROTOCOL 4.5, with the hash of an offer that may lie in two parts. */
static enum err derive(struct rotation *r, const struct kdf_bytes offer[2], struct kdf_bytes answer,
                       struct kdf_bytes secret)
{
    struct key_exchange exchange = {.secret = secret};
    enum err e = kdf_hash_parts(exchange.offer_hash, offer, 2);

    if (e == ERR_OK)
        e = kdf_hash(exchange.answer_hash, answer);
    if (e == ERR_OK)
        e = session_keys_rotate(r->keys, &exchange);
    return e;
}

/* K2: the whole offer is there. */
static enum err answer(struct rotation *r)
{
    const struct kdf_bytes offer[2] = {{r->in, r->in_len}, {NULL, 0}};
    uint8_t secret[MLKEM_SECRET_SIZE + MCELIECE_SECRET_SIZE];
    size_t secret_len = MLKEM_SECRET_SIZE;
    enum err e = mlkem_encapsulate(r->answer, secret, r->in);

    if (e == ERR_OK && has_mceliece(r)) {
        secret_len += MCELIECE_SECRET_SIZE;
        e = mceliece_encapsulate(r->answer + MLKEM_CIPHERTEXT_SIZE, secret + MLKEM_SECRET_SIZE,
                                 r->in + MLKEM_PUBLIC_KEY_SIZE);
    }
    if (e == ERR_OK)
        e = derive(r, offer, (struct kdf_bytes){r->answer, answer_size(r)},
                   (struct kdf_bytes){secret, secret_len});
    OPENSSL_cleanse(secret, sizeof(secret));
    drop_in(r);
    if (e == ERR_OK) {
        r->sent = 0;
        r->state = ROTATION_ANSWERING;
    }
    return e;
}

/* K3: the whole answer is there. */
static enum err conclude(struct rotation *r)
{
    const struct kdf_bytes offer[2] = {
        {mlkem_public_key(r->mlkem), MLKEM_PUBLIC_KEY_SIZE},
        {has_mceliece(r) ? mceliece_public_key(r->mceliece) : NULL,
         has_mceliece(r) ? MCELIECE_PUBLIC_KEY_SIZE : 0},
    };
    uint8_t secret[MLKEM_SECRET_SIZE + MCELIECE_SECRET_SIZE];
    size_t secret_len = MLKEM_SECRET_SIZE;
    enum err e = mlkem_decapsulate(secret, r->in, r->mlkem);

    if (e == ERR_OK && has_mceliece(r)) {
        secret_len += MCELIECE_SECRET_SIZE;
        e = mceliece_decapsulate(secret + MLKEM_SECRET_SIZE, r->in + MLKEM_CIPHERTEXT_SIZE,
                                 r->mceliece);
    }
    if (e == ERR_OK)
        e = derive(r, offer, (struct kdf_bytes){r->in, r->in_len},
                   (struct kdf_bytes){secret, secret_len});
    OPENSSL_cleanse(secret, sizeof(secret));
    drop_in(r);
    drop_pairs(r);
    if (e == ERR_OK)
        r->state = ROTATION_SWITCHING;
    return e;
}

static enum err grow(struct rotation *r, size_t need, size_t total)
{
    size_t cap = r->in_cap == 0 ? IN_START : r->in_cap;
    uint8_t *bigger;

    if (need <= r->in_cap)
        return ERR_OK;
    while (cap < need)
        cap *= 2;
    bigger = realloc(r->in, cap < total ? cap : total);
    if (bigger == NULL)
        return ERR_NOMEM;
    r->in = bigger;
    r->in_cap = cap < total ? cap : total;
    return ERR_OK;
}

/* An answer before the offer is out, or an offer before the last exchange is over, is a fault. */
static bool awaits_chunk(const struct rotation *r)
{
    if (is_source(r))
        return r->state == ROTATION_OFFERING && r->sent == rotation_offer_size(r);
    return r->state == ROTATION_IDLE || r->state == ROTATION_COLLECTING ||
           r->state == ROTATION_DECLINED;
}

void rotation_decline(struct rotation *r)
{
    assert(!is_source(r) && r->state == ROTATION_IDLE);
    r->state = ROTATION_DECLINED;
}

enum err rotation_on_chunk(struct rotation *r, const struct frame *f)
{
    size_t total = is_source(r) ? answer_size(r) : rotation_offer_size(r);
    enum err e;

    if (!awaits_chunk(r) || f->exchange.generation != rotation_generation(r))
        return ERR_UNEXPECTED;
    if (f->exchange.offset != r->in_len || f->exchange.len > total - r->in_len)
        return ERR_MALFORMED;
    if (r->state == ROTATION_DECLINED) {
        r->in_len += f->exchange.len;
        return ERR_OK;
    }
    e = grow(r, r->in_len + f->exchange.len, total);
    if (e != ERR_OK)
        return e;
    memcpy(r->in + r->in_len, f->exchange.data, f->exchange.len);
    r->in_len += f->exchange.len;
    if (!is_source(r))
        r->state = ROTATION_COLLECTING;
    if (r->in_len < total)
        return ERR_OK;
    return is_source(r) ? conclude(r) : answer(r);
}

/* A dest right behind its answer; a source once the dest has switched (K2, K3). */
bool rotation_wants_switch(const struct rotation *r)
{
    uint64_t out = session_keys_generation(r->keys, r->outward);
    uint64_t in = session_keys_generation(r->keys, inward(r));

    if (r->state != ROTATION_SWITCHING)
        return false;
    return is_source(r) ? out < in : out == in;
}

bool rotation_has_output(const struct rotation *r)
{
    return (r->state == ROTATION_OFFERING && r->sent < rotation_offer_size(r)) ||
           r->state == ROTATION_ANSWERING || rotation_wants_switch(r);
}

bool rotation_takes_switch(const struct rotation *r)
{
    uint64_t out = session_keys_generation(r->keys, r->outward);
    uint64_t in = session_keys_generation(r->keys, inward(r));

    if (r->state != ROTATION_SWITCHING)
        return false;
    return is_source(r) ? out == in : out > in;
}

bool rotation_on_switched(struct rotation *r)
{
    if (session_keys_generation(r->keys, KEY_FROM_SOURCE) !=
        session_keys_generation(r->keys, KEY_FROM_DEST))
        return false;
    r->state = ROTATION_IDLE;
    return true;
}
