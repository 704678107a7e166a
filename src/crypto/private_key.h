/*
 * Where the private keys of an identity are: read into this process, or kept by the signer
 * (crypto/signer.h). What comes back signs either way.
 */
#ifndef UTUN_CRYPTO_PRIVATE_KEY_H
#define UTUN_CRYPTO_PRIVATE_KEY_H

#include <openssl/evp.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/file.h"

struct signer;

/* From now on the signer reads all keys; NULL: this process does. Before there are threads. */
void private_key_use(struct signer *signer);

/* As pem_read_key; with a signer as signer_load. Free it with EVP_PKEY_free. Any thread. */
enum err private_key_read(EVP_PKEY **out, const char *path, const char *what,
                          enum file_access access, struct err_detail *d) MUST_USE;

#endif
