/*
 * Classic McEliece 460896 (the round-4 submission), through libmceliece: key pairs that are used
 * once, encapsulation to a public key, decapsulation.
 *
 * About 35 ms for a key pair and 0.1 ms for the other two: never call mceliece_keypair_new on an
 * event loop, take one from a struct keypair_pool. Any thread. Where the kernel has no randomness
 * to give, librandombytes waits or ends the process; it never returns weak bytes. What the library
 * leaves on the stack is wiped, of which a key pair takes a megabyte.
 */
#ifndef UTUN_CRYPTO_MCELIECE_H
#define UTUN_CRYPTO_MCELIECE_H

#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"

#define MCELIECE_PUBLIC_KEY_SIZE 524160
#define MCELIECE_CIPHERTEXT_SIZE 156
#define MCELIECE_SECRET_SIZE     32

struct mceliece_keypair;

/* A fresh key pair; its secret half is in memory of crypto/secret.h. ERR_NOMEM with *out NULL. */
enum err mceliece_keypair_new(struct mceliece_keypair **out) MUST_USE;

/* Wipes. NULL is fine. */
void mceliece_keypair_free(struct mceliece_keypair *pair);

/* MCELIECE_PUBLIC_KEY_SIZE bytes; borrowed, lives as long as the pair. */
const uint8_t *mceliece_public_key(const struct mceliece_keypair *pair);

/* ERR_CRYPTO where the library refuses the key; both outputs are zeroed then. */
enum err mceliece_encapsulate(uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE],
                              uint8_t secret[MCELIECE_SECRET_SIZE],
                              const uint8_t public_key[MCELIECE_PUBLIC_KEY_SIZE]) MUST_USE;

/*
 * A ciphertext that was altered, or made for another key, gives another secret and not an error
 * (implicit rejection): the peers' keys differ, and the first record does not open.
 */
enum err mceliece_decapsulate(uint8_t secret[MCELIECE_SECRET_SIZE],
                              const uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE],
                              const struct mceliece_keypair *pair) MUST_USE;

#endif
