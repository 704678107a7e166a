#include "crypto/mceliece.h"

#include <stdlib.h>

#include <mceliece.h>
#include <openssl/crypto.h>

#include "crypto/secret.h"

_Static_assert(MCELIECE_PUBLIC_KEY_SIZE == mceliece460896_PUBLICKEYBYTES, "the library's size");
_Static_assert(MCELIECE_CIPHERTEXT_SIZE == mceliece460896_CIPHERTEXTBYTES, "the library's size");
_Static_assert(MCELIECE_SECRET_SIZE == mceliece460896_BYTES, "the library's size");

struct mceliece_keypair {
    uint8_t *secret_key; /* mceliece460896_SECRETKEYBYTES, in memory of secret_new */
    uint8_t public_key[MCELIECE_PUBLIC_KEY_SIZE];
};

/*
 * The library leaves on the stack what it has computed with: of a key pair the whole secret key, of
 * the rest the secret that is shared. These overwrite as much below their caller as it uses, and
 * more: on x86-64 it was seen to use 670 and 66 KiB; threads have 8 MiB.
 */
#define KEYPAIR_STACK ((size_t)896 * 1024)
#define SECRET_STACK  ((size_t)192 * 1024)

__attribute__((noinline)) static void wipe_after_keypair(void)
{
    uint8_t below[KEYPAIR_STACK];

    OPENSSL_cleanse(below, sizeof(below));
}

__attribute__((noinline)) static void wipe_after_secret(void)
{
    uint8_t below[SECRET_STACK];

    OPENSSL_cleanse(below, sizeof(below));
}

enum err mceliece_keypair_new(struct mceliece_keypair **out)
{
    *out = NULL;
    struct mceliece_keypair *pair = calloc(1, sizeof(*pair));
    if (pair == NULL)
        return ERR_NOMEM;
    pair->secret_key = secret_new(mceliece460896_SECRETKEYBYTES);
    if (pair->secret_key == NULL) {
        mceliece_keypair_free(pair);
        return ERR_NOMEM;
    }
    mceliece460896_keypair(pair->public_key, pair->secret_key);
    wipe_after_keypair();
    *out = pair;
    return ERR_OK;
}

void mceliece_keypair_free(struct mceliece_keypair *pair)
{
    if (pair == NULL)
        return;
    secret_free(pair->secret_key, mceliece460896_SECRETKEYBYTES);
    free(pair);
}

const uint8_t *mceliece_public_key(const struct mceliece_keypair *pair)
{
    return pair->public_key;
}

enum err mceliece_encapsulate(uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE],
                              uint8_t secret[MCELIECE_SECRET_SIZE],
                              const uint8_t public_key[MCELIECE_PUBLIC_KEY_SIZE])
{
    int failed = mceliece460896_enc(ciphertext, secret, public_key);

    wipe_after_secret();
    if (failed != 0) {
        OPENSSL_cleanse(ciphertext, MCELIECE_CIPHERTEXT_SIZE);
        OPENSSL_cleanse(secret, MCELIECE_SECRET_SIZE);
        return ERR_CRYPTO;
    }
    return ERR_OK;
}

enum err mceliece_decapsulate(uint8_t secret[MCELIECE_SECRET_SIZE],
                              const uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE],
                              const struct mceliece_keypair *pair)
{
    int failed = mceliece460896_dec(secret, ciphertext, pair->secret_key);

    wipe_after_secret();
    if (failed != 0) {
        OPENSSL_cleanse(secret, MCELIECE_SECRET_SIZE);
        return ERR_CRYPTO;
    }
    return ERR_OK;
}
