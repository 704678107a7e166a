/*
 * One EVP_CIPHER_CTX per direction keeps the expanded key; a record only sets the nonce. OpenSSL's
 * own nonce generation for GCM is not used: the counter here is the one that is checked and never
 * wraps.
 */
#include "crypto/record.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define RECORD_TYPE  0x75
#define NONCE_SIZE   12
#define FRAMING_MAX  (RECORD_HEADER_SIZE + RECORD_COUNTER_SIZE)
#define COUNTER_END  UINT64_MAX /* never used as a nonce */
#define WINDOW_WORDS (RECORD_REPLAY_WINDOW / 64)

struct record_sealer {
    EVP_CIPHER_CTX *ctx;
    uint64_t counter; /* of the next record */
    uint64_t bytes;   /* sealed under this key */
    enum err dead;
    uint8_t prefix[4];
    uint8_t epoch;
};

struct record_opener {
    EVP_CIPHER_CTX *ctx;
    uint64_t counter; /* stream: of the next record; datagrams: highest authenticated + 1 */
    uint64_t window[WINDOW_WORDS]; /* bit (c mod 1024): datagram c has been opened */
    enum err dead;
    uint8_t prefix[4];
    uint8_t epoch;
};

static pthread_once_t cipher_once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *cipher; /* fetched once for the life of the process */

static void cipher_fetch(void)
{
    cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
}

static enum err ctx_set_key(EVP_CIPHER_CTX *ctx, const struct traffic_keys *keys, int encrypt)
{
    if (EVP_CIPHER_CTX_reset(ctx) != 1 ||
        EVP_CipherInit_ex2(ctx, cipher, keys->key, NULL, encrypt, NULL) != 1)
        return ERR_CRYPTO;
    return ERR_OK;
}

static enum err ctx_new(EVP_CIPHER_CTX **out, const struct traffic_keys *keys, int encrypt)
{
    *out = NULL;
    if (pthread_once(&cipher_once, cipher_fetch) != 0 || cipher == NULL)
        return ERR_CRYPTO;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL)
        return ERR_NOMEM;
    enum err e = ctx_set_key(ctx, keys, encrypt);
    if (e != ERR_OK) {
        EVP_CIPHER_CTX_free(ctx);
        return e;
    }
    *out = ctx;
    return ERR_OK;
}

static void put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--) {
        p[i] = (uint8_t)v;
        v >>= 8;
    }
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void nonce_make(uint8_t nonce[NONCE_SIZE], const uint8_t prefix[4], uint64_t counter)
{
    memcpy(nonce, prefix, 4);
    put_u64(nonce + 4, counter);
}

/* Sealing */

enum err record_sealer_new(struct record_sealer **out, const struct traffic_keys *keys,
                           uint8_t epoch)
{
    *out = NULL;
    struct record_sealer *s = OPENSSL_zalloc(sizeof(*s));
    if (s == NULL)
        return ERR_NOMEM;
    enum err e = ctx_new(&s->ctx, keys, 1);
    if (e != ERR_OK) {
        record_sealer_free(s);
        return e;
    }
    memcpy(s->prefix, keys->prefix, sizeof(s->prefix));
    s->epoch = epoch;
    *out = s;
    return ERR_OK;
}

void record_sealer_free(struct record_sealer *s)
{
    if (s == NULL)
        return;
    EVP_CIPHER_CTX_free(s->ctx);
    OPENSSL_clear_free(s, sizeof(*s));
}

enum err record_sealer_rekey(struct record_sealer *s, const struct traffic_keys *keys)
{
    if (s->dead != ERR_OK)
        return s->dead;
    s->dead = ctx_set_key(s->ctx, keys, 1);
    if (s->dead != ERR_OK)
        return s->dead;
    memcpy(s->prefix, keys->prefix, sizeof(s->prefix));
    s->counter = 0;
    s->bytes = 0;
    s->epoch++;
    return ERR_OK;
}

bool record_sealer_needs_epoch(const struct record_sealer *s)
{
    return s->counter >= RECORD_SOFT_LIMIT_RECORDS || s->bytes >= RECORD_SOFT_LIMIT_BYTES;
}

static enum err seal_body(struct record_sealer *s, uint64_t counter, const struct iovec *parts,
                          size_t n_parts, size_t framing_size, uint8_t *out)
{
    uint8_t nonce[NONCE_SIZE];
    nonce_make(nonce, s->prefix, counter);

    int n = 0;
    if (EVP_EncryptInit_ex2(s->ctx, NULL, NULL, nonce, NULL) != 1 ||
        EVP_EncryptUpdate(s->ctx, NULL, &n, out, (int)framing_size) != 1)
        return ERR_CRYPTO;

    uint8_t *p = out + framing_size;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].iov_len == 0)
            continue;
        if (EVP_EncryptUpdate(s->ctx, p, &n, parts[i].iov_base, (int)parts[i].iov_len) != 1)
            return ERR_CRYPTO;
        p += n;
    }
    if (EVP_EncryptFinal_ex(s->ctx, p, &n) != 1)
        return ERR_CRYPTO;

    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, p, RECORD_TAG_SIZE),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CIPHER_CTX_get_params(s->ctx, params) == 1 ? ERR_OK : ERR_CRYPTO;
}

static enum err seal(struct record_sealer *s, const struct iovec *parts, size_t n_parts,
                     size_t framing_size, uint8_t *out, size_t out_cap, size_t *out_len)
{
    *out_len = 0;
    if (s->dead != ERR_OK)
        return s->dead;

    size_t plain_len = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].iov_len > RECORD_PLAINTEXT_MAX - plain_len)
            return ERR_TOO_LARGE;
        plain_len += parts[i].iov_len;
    }
    if (plain_len == 0)
        return ERR_MALFORMED;
    size_t total = framing_size + plain_len + RECORD_TAG_SIZE;
    if (out_cap < total)
        return ERR_TOO_LARGE;
    if (s->counter == COUNTER_END)
        return ERR_NONCE_EXHAUSTED;

    uint64_t counter = s->counter++; /* used up now, whatever happens below */
    s->bytes += plain_len;

    size_t length = plain_len + RECORD_TAG_SIZE;
    out[0] = RECORD_TYPE;
    out[1] = s->epoch;
    out[2] = (uint8_t)(length >> 16);
    out[3] = (uint8_t)(length >> 8);
    out[4] = (uint8_t)length;
    if (framing_size > RECORD_HEADER_SIZE)
        put_u64(out + RECORD_HEADER_SIZE, counter);

    s->dead = seal_body(s, counter, parts, n_parts, framing_size, out);
    if (s->dead != ERR_OK) {
        OPENSSL_cleanse(out, total);
        return s->dead;
    }
    *out_len = total;
    return ERR_OK;
}

enum err record_seal(struct record_sealer *s, const struct iovec *parts, size_t n_parts,
                     uint8_t *out, size_t out_cap, size_t *out_len)
{
    return seal(s, parts, n_parts, RECORD_HEADER_SIZE, out, out_cap, out_len);
}

enum err record_seal_datagram(struct record_sealer *s, const struct iovec *parts, size_t n_parts,
                              uint8_t *out, size_t out_cap, size_t *out_len)
{
    return seal(s, parts, n_parts, FRAMING_MAX, out, out_cap, out_len);
}

void record_sealer_skip_to_for_test(struct record_sealer *s, uint64_t counter)
{
    assert(counter >= s->counter);
    s->counter = counter;
}

/* Opening */

enum err record_opener_new(struct record_opener **out, const struct traffic_keys *keys,
                           uint8_t epoch)
{
    *out = NULL;
    struct record_opener *o = OPENSSL_zalloc(sizeof(*o));
    if (o == NULL)
        return ERR_NOMEM;
    enum err e = ctx_new(&o->ctx, keys, 0);
    if (e != ERR_OK) {
        record_opener_free(o);
        return e;
    }
    memcpy(o->prefix, keys->prefix, sizeof(o->prefix));
    o->epoch = epoch;
    *out = o;
    return ERR_OK;
}

void record_opener_free(struct record_opener *o)
{
    if (o == NULL)
        return;
    EVP_CIPHER_CTX_free(o->ctx);
    OPENSSL_clear_free(o, sizeof(*o));
}

enum err record_opener_rekey(struct record_opener *o, const struct traffic_keys *keys)
{
    if (o->dead != ERR_OK)
        return o->dead;
    o->dead = ctx_set_key(o->ctx, keys, 0);
    if (o->dead != ERR_OK)
        return o->dead;
    memcpy(o->prefix, keys->prefix, sizeof(o->prefix));
    memset(o->window, 0, sizeof(o->window));
    o->counter = 0;
    o->epoch++;
    return ERR_OK;
}

/* Total size of the record whose header is at p, without the counter of a datagram. */
static enum err header_check(const struct record_opener *o, const uint8_t *p, size_t len,
                             size_t *need)
{
    *need = 0;
    if (len >= 1 && p[0] != RECORD_TYPE)
        return ERR_MALFORMED;
    if (len >= 2 && p[1] != o->epoch)
        return ERR_UNEXPECTED;
    if (len < RECORD_HEADER_SIZE)
        return ERR_OK;
    size_t length = (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (length <= RECORD_TAG_SIZE || length > RECORD_PLAINTEXT_MAX + RECORD_TAG_SIZE)
        return ERR_MALFORMED;
    *need = RECORD_HEADER_SIZE + length;
    return ERR_OK;
}

enum err record_peek(const struct record_opener *o, const uint8_t *p, size_t len, size_t *need)
{
    *need = 0;
    if (o->dead != ERR_OK)
        return o->dead;
    return header_check(o, p, len, need);
}

static enum err open_body(struct record_opener *o, uint64_t counter, size_t framing_size,
                          uint8_t *record, size_t len)
{
    uint8_t nonce[NONCE_SIZE];
    nonce_make(nonce, o->prefix, counter);

    uint8_t *body = record + framing_size;
    size_t body_len = len - framing_size - RECORD_TAG_SIZE;
    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, body + body_len,
                                          RECORD_TAG_SIZE),
        OSSL_PARAM_construct_end(),
    };
    int n = 0;
    if (EVP_DecryptInit_ex2(o->ctx, NULL, NULL, nonce, params) != 1 ||
        EVP_DecryptUpdate(o->ctx, NULL, &n, record, (int)framing_size) != 1 ||
        EVP_DecryptUpdate(o->ctx, body, &n, body, (int)body_len) != 1) {
        OPENSSL_cleanse(body, body_len);
        return ERR_CRYPTO;
    }
    if (EVP_DecryptFinal_ex(o->ctx, body + n, &n) != 1) {
        OPENSSL_cleanse(body, body_len);
        return ERR_AUTH_TAG;
    }
    return ERR_OK;
}

enum err record_open(struct record_opener *o, uint8_t *record, size_t len, uint8_t **plain,
                     size_t *plain_len)
{
    *plain = NULL;
    *plain_len = 0;
    if (o->dead != ERR_OK)
        return o->dead;

    size_t need = 0;
    enum err e = header_check(o, record, len, &need);
    if (e == ERR_OK && (need == 0 || need != len))
        e = ERR_MALFORMED;
    if (e == ERR_OK && o->counter >= RECORD_HARD_LIMIT_RECORDS)
        e = ERR_KEY_EXPIRED;
    if (e == ERR_OK)
        e = open_body(o, o->counter, RECORD_HEADER_SIZE, record, len);
    if (e != ERR_OK) {
        o->dead = e;
        return e;
    }
    o->counter++;
    *plain = record + RECORD_HEADER_SIZE;
    *plain_len = len - RECORD_OVERHEAD;
    return ERR_OK;
}

static bool window_has(const struct record_opener *o, uint64_t counter)
{
    if (counter >= o->counter)
        return false;
    if (o->counter - counter > RECORD_REPLAY_WINDOW)
        return true; /* too old to tell: counts as seen */
    return o->window[counter % RECORD_REPLAY_WINDOW / 64] >> (counter % 64) & 1;
}

static void window_add(struct record_opener *o, uint64_t counter)
{
    if (counter >= o->counter) {
        if (counter - o->counter >= RECORD_REPLAY_WINDOW) {
            memset(o->window, 0, sizeof(o->window));
        } else {
            for (uint64_t c = o->counter; c <= counter; c++)
                o->window[c % RECORD_REPLAY_WINDOW / 64] &= ~(UINT64_C(1) << (c % 64));
        }
        o->counter = counter + 1;
    }
    o->window[counter % RECORD_REPLAY_WINDOW / 64] |= UINT64_C(1) << (counter % 64);
}

enum err record_open_datagram(struct record_opener *o, uint8_t *record, size_t len, uint8_t **plain,
                              size_t *plain_len)
{
    *plain = NULL;
    *plain_len = 0;
    if (o->dead != ERR_OK)
        return o->dead;

    size_t need = 0;
    enum err e = header_check(o, record, len, &need);
    if (e != ERR_OK)
        return e;
    if (need == 0 || need + RECORD_COUNTER_SIZE != len)
        return ERR_MALFORMED;
    uint64_t counter = get_u64(record + RECORD_HEADER_SIZE);
    if (counter >= RECORD_HARD_LIMIT_RECORDS)
        return ERR_KEY_EXPIRED;
    if (window_has(o, counter))
        return ERR_REPLAY;
    e = open_body(o, counter, FRAMING_MAX, record, len);
    if (e != ERR_OK)
        return e;
    window_add(o, counter); /* only now: a forged counter must not move the window */
    *plain = record + FRAMING_MAX;
    *plain_len = len - RECORD_DATAGRAM_OVERHEAD;
    return ERR_OK;
}

void record_opener_skip_to_for_test(struct record_opener *o, uint64_t counter)
{
    assert(counter >= o->counter);
    o->counter = counter;
}
