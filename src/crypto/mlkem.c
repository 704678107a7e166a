#include "crypto/mlkem.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define ALGORITHM "ML-KEM-768"

struct mlkem_keypair {
    EVP_PKEY *key; /* in OpenSSL's memory, which wipes it */
    uint8_t public_key[MLKEM_PUBLIC_KEY_SIZE];
};

enum err mlkem_keypair_new(struct mlkem_keypair **out)
{
    struct mlkem_keypair *pair = calloc(1, sizeof(*pair));
    size_t len = sizeof(pair->public_key);

    *out = NULL;
    if (pair == NULL)
        return ERR_NOMEM;
    pair->key = EVP_PKEY_Q_keygen(NULL, NULL, ALGORITHM);
    if (pair->key == NULL || EVP_PKEY_get_raw_public_key(pair->key, pair->public_key, &len) != 1 ||
        len != sizeof(pair->public_key)) {
        mlkem_keypair_free(pair);
        return ERR_CRYPTO;
    }
    *out = pair;
    return ERR_OK;
}

void mlkem_keypair_free(struct mlkem_keypair *pair)
{
    if (pair == NULL)
        return;
    EVP_PKEY_free(pair->key);
    free(pair);
}

const uint8_t *mlkem_public_key(const struct mlkem_keypair *pair)
{
    return pair->public_key;
}

enum err mlkem_encapsulate(uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE],
                           uint8_t secret[MLKEM_SECRET_SIZE],
                           const uint8_t public_key[MLKEM_PUBLIC_KEY_SIZE])
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key_ex(NULL, ALGORITHM, NULL, public_key, MLKEM_PUBLIC_KEY_SIZE);
    EVP_PKEY_CTX *ctx = NULL;
    size_t ciphertext_len = MLKEM_CIPHERTEXT_SIZE;
    size_t secret_len = MLKEM_SECRET_SIZE;
    enum err e = ERR_MALFORMED;

    if (key == NULL)
        goto out;
    e = ERR_CRYPTO;
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (ctx == NULL || EVP_PKEY_encapsulate_init(ctx, NULL) != 1 ||
        EVP_PKEY_encapsulate(ctx, ciphertext, &ciphertext_len, secret, &secret_len) != 1 ||
        ciphertext_len != MLKEM_CIPHERTEXT_SIZE || secret_len != MLKEM_SECRET_SIZE)
        goto out;
    e = ERR_OK;

out:
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    if (e != ERR_OK) {
        OPENSSL_cleanse(ciphertext, MLKEM_CIPHERTEXT_SIZE);
        OPENSSL_cleanse(secret, MLKEM_SECRET_SIZE);
    }
    return e;
}

enum err mlkem_decapsulate(uint8_t secret[MLKEM_SECRET_SIZE],
                           const uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE],
                           const struct mlkem_keypair *pair)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pair->key, NULL);
    size_t len = MLKEM_SECRET_SIZE;
    enum err e = ERR_CRYPTO;

    if (ctx != NULL && EVP_PKEY_decapsulate_init(ctx, NULL) == 1 &&
        EVP_PKEY_decapsulate(ctx, secret, &len, ciphertext, MLKEM_CIPHERTEXT_SIZE) == 1 &&
        len == MLKEM_SECRET_SIZE)
        e = ERR_OK;
    else
        OPENSSL_cleanse(secret, MLKEM_SECRET_SIZE);
    EVP_PKEY_CTX_free(ctx);
    return e;
}
