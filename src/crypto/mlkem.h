/*
 * ML-KEM-768 (FIPS 203), through OpenSSL: key pairs that are used once, encapsulation to a public
 * key, decapsulation. Some 50 microseconds each: fine on an event loop. Any thread.
 */
#ifndef UTUN_CRYPTO_MLKEM_H
#define UTUN_CRYPTO_MLKEM_H

#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"

#define MLKEM_PUBLIC_KEY_SIZE 1184
#define MLKEM_CIPHERTEXT_SIZE 1088
#define MLKEM_SECRET_SIZE     32

struct mlkem_keypair;

/* A fresh key pair. ERR_NOMEM or ERR_CRYPTO with *out NULL. */
enum err mlkem_keypair_new(struct mlkem_keypair **out) MUST_USE;

/* Wipes. NULL is fine. */
void mlkem_keypair_free(struct mlkem_keypair *pair);

/* MLKEM_PUBLIC_KEY_SIZE bytes; borrowed, lives as long as the pair. */
const uint8_t *mlkem_public_key(const struct mlkem_keypair *pair);

/*
 * ERR_MALFORMED where the public key fails the check of FIPS 203, section 7.2; ERR_CRYPTO where
 * OpenSSL fails. Both outputs are zeroed on error.
 */
enum err mlkem_encapsulate(uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE],
                           uint8_t secret[MLKEM_SECRET_SIZE],
                           const uint8_t public_key[MLKEM_PUBLIC_KEY_SIZE]) MUST_USE;

/*
 * A ciphertext that was altered, or made for another key, gives another secret and not an error
 * (implicit rejection).
 */
enum err mlkem_decapsulate(uint8_t secret[MLKEM_SECRET_SIZE],
                           const uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE],
                           const struct mlkem_keypair *pair) MUST_USE;

#endif
