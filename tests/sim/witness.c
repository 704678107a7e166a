/*
 * Looks over the engine's shoulder at what reaches the cipher: the linker sends the calls of
 * crypto/record.c here first. No pair of key and nonce may be used to encrypt twice, whoever seals
 * with it: that would give away both plaintexts (NIST SP 800-38D, section 8).
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#define NONCE_SIZE   12
#define KEY_SIZE     32
#define CONTEXTS_MAX 64
#define SET_SIZE_MIN ((size_t)1 << 12)

/* The linker's names: --wrap. NOLINTBEGIN(bugprone-reserved-identifier) */
int __real_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                              const unsigned char *key, const unsigned char *iv, int encrypt,
                              const OSSL_PARAM *params);
int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                              const unsigned char *key, const unsigned char *iv, int encrypt,
                              const OSSL_PARAM *params);
int __real_EVP_EncryptInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                               const unsigned char *key, const unsigned char *iv,
                               const OSSL_PARAM *params);
int __wrap_EVP_EncryptInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                               const unsigned char *key, const unsigned char *iv,
                               const OSSL_PARAM *params);

void __real_EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx);
void __wrap_EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx);

/* Which context has which key; a place without a context is free. */
static struct {
    const EVP_CIPHER_CTX *ctx;
    uint8_t key[KEY_SIZE];
} contexts[CONTEXTS_MAX];

/* An open hash set of the pairs' fingerprints; 0 is an empty place. */
static uint64_t *set;
static size_t set_size;
static uint64_t set_count;

static uint64_t mix(uint64_t h, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        h = (h ^ data[i]) * UINT64_C(0x100000001b3);
        h ^= h >> 29;
    }
    return h;
}

static void resize(size_t size)
{
    uint64_t *old = set;
    size_t old_size = set_size;

    set = calloc(size, sizeof(*set));
    if (set == NULL)
        fail("no memory");
    set_size = size;
    for (size_t i = 0; i < old_size; i++) {
        size_t at = (size_t)old[i] & (size - 1);

        while (old[i] != 0 && set[at] != 0)
            at = (at + 1) & (size - 1);
        if (old[i] != 0)
            set[at] = old[i];
    }
    free(old);
}

static void remember(const uint8_t *key, const uint8_t *nonce)
{
    uint64_t print = mix(mix(UINT64_C(0xcbf29ce484222325), key, KEY_SIZE), nonce, NONCE_SIZE) | 1;
    size_t at;

    if (set_count * 2 >= set_size)
        resize(set_size == 0 ? SET_SIZE_MIN : set_size * 2);
    for (at = (size_t)print & (set_size - 1); set[at] != 0; at = (at + 1) & (set_size - 1)) {
        if (set[at] == print)
            fail("a nonce is used twice under one key");
    }
    set[at] = print;
    set_count++;
}

void witness_begin(void)
{
    free(set);
    set = NULL;
    set_size = 0;
    set_count = 0;
}

uint64_t witness_count(void)
{
    return set_count;
}

static uint8_t *key_of(const EVP_CIPHER_CTX *ctx)
{
    for (size_t i = 0; i < CONTEXTS_MAX; i++) {
        if (contexts[i].ctx == ctx)
            return contexts[i].key;
    }
    return NULL;
}

static uint8_t *place_for(const EVP_CIPHER_CTX *ctx)
{
    for (size_t i = 0; i < CONTEXTS_MAX; i++) {
        if (contexts[i].ctx == NULL) {
            contexts[i].ctx = ctx;
            return contexts[i].key;
        }
    }
    fail("more cipher contexts than sessions");
}

int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                              const unsigned char *key, const unsigned char *iv, int encrypt,
                              const OSSL_PARAM *params)
{
    if (key != NULL)
        memcpy(key_of(ctx) != NULL ? key_of(ctx) : place_for(ctx), key, KEY_SIZE);
    return __real_EVP_CipherInit_ex2(ctx, cipher, key, iv, encrypt, params);
}

int __wrap_EVP_EncryptInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                               const unsigned char *key, const unsigned char *iv,
                               const OSSL_PARAM *params)
{
    if (key_of(ctx) == NULL || iv == NULL)
        fail("something is encrypted without a key, or a nonce, that anybody has seen");
    remember(key_of(ctx), iv);
    return __real_EVP_EncryptInit_ex2(ctx, cipher, key, iv, params);
}

void __wrap_EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx)
{
    for (size_t i = 0; ctx != NULL && i < CONTEXTS_MAX; i++) {
        if (contexts[i].ctx == ctx)
            contexts[i].ctx = NULL;
    }
    __real_EVP_CIPHER_CTX_free(ctx);
}

/* NOLINTEND(bugprone-reserved-identifier) */
