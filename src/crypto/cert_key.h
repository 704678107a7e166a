/* The key algorithms that certificates are issued with: names, key generation, signature hash. */
#ifndef UTUN_CRYPTO_CERT_KEY_H
#define UTUN_CRYPTO_CERT_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>

#include "base/attr.h"
#include "base/error.h"

enum cert_key_algorithm {
    CERT_KEY_ML_DSA_65, /* FIPS 204, security category 3; the default */
    CERT_KEY_ML_DSA_44,
    CERT_KEY_ML_DSA_87,
    CERT_KEY_ED25519,
    CERT_KEY_ECDSA_P256,
    CERT_KEY_ECDSA_P384,
    CERT_KEY_COUNT,
};

/* As `utun cert show` and the handshake log print it: "ML-DSA-65". Static. */
const char *cert_key_name(enum cert_key_algorithm a);

/*
 * Reads a name forgivingly: letter case, '-', '_', spaces and a leading "ecdsa" do not matter
 * ("mldsa65", "p256", "secp384r1"). False where no algorithm is meant.
 */
bool cert_key_parse(enum cert_key_algorithm *out, const char *name) MUST_USE;

/* "ML-DSA-65, ML-DSA-44, ..." for help and errors. Static. */
const char *cert_key_all_names(void);

/* A fresh key pair. On error *out is NULL: ERR_CRYPTO. */
enum err cert_key_generate(EVP_PKEY **out, enum cert_key_algorithm a) MUST_USE;

/* The hash to sign with; NULL where the algorithm brings its own. Any key, also RSA. */
const EVP_MD *cert_key_digest(const EVP_PKEY *key);

#endif
