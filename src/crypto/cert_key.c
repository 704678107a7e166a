#include "crypto/cert_key.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include <openssl/err.h>

static const struct {
    const char *name;
    const char *type; /* OpenSSL's */
    const char *group;
    const char *spellings[5]; /* in lower case, without separators */
} algorithms[CERT_KEY_COUNT] = {
    [CERT_KEY_ML_DSA_65] = {"ML-DSA-65", "ML-DSA-65", NULL, {"mldsa65", "dilithium3", "mldsa"}},
    [CERT_KEY_ML_DSA_44] = {"ML-DSA-44", "ML-DSA-44", NULL, {"mldsa44", "dilithium2"}},
    [CERT_KEY_ML_DSA_87] = {"ML-DSA-87", "ML-DSA-87", NULL, {"mldsa87", "dilithium5"}},
    [CERT_KEY_ED25519] = {"Ed25519", "ED25519", NULL, {"ed25519", "eddsa"}},
    [CERT_KEY_ECDSA_P256] = {"ECDSA-P256",
                             "EC",
                             "P-256",
                             {"ecdsap256", "p256", "prime256v1", "secp256r1", "ecdsa"}},
    [CERT_KEY_ECDSA_P384] = {"ECDSA-P384", "EC", "P-384", {"ecdsap384", "p384", "secp384r1"}},
};

#define SPELLINGS (sizeof(algorithms[0].spellings) / sizeof(algorithms[0].spellings[0]))

const char *cert_key_name(enum cert_key_algorithm a)
{
    assert(a < CERT_KEY_COUNT);
    return algorithms[a].name;
}

const char *cert_key_all_names(void)
{
    return "ML-DSA-65, ML-DSA-44, ML-DSA-87, Ed25519, ECDSA-P256, ECDSA-P384";
}

bool cert_key_parse(enum cert_key_algorithm *out, const char *name)
{
    char plain[32];
    size_t used = 0;

    for (const char *p = name; *p != 0; p++) {
        if (*p == '-' || *p == '_' || *p == ' ')
            continue;
        if (used + 1 == sizeof(plain))
            return false;
        plain[used] = *p;
        if (*p >= 'A' && *p <= 'Z')
            plain[used] = (char)(*p - 'A' + 'a');
        used++;
    }
    plain[used] = 0;
    for (int a = 0; a < CERT_KEY_COUNT; a++) {
        for (size_t i = 0; i < SPELLINGS && algorithms[a].spellings[i] != NULL; i++) {
            if (strcmp(plain, algorithms[a].spellings[i]) != 0)
                continue;
            *out = (enum cert_key_algorithm)a;
            return true;
        }
    }
    return false;
}

enum err cert_key_generate(EVP_PKEY **out, enum cert_key_algorithm a)
{
    assert(a < CERT_KEY_COUNT);
    if (algorithms[a].group != NULL)
        *out = EVP_PKEY_Q_keygen(NULL, NULL, algorithms[a].type, algorithms[a].group);
    else
        *out = EVP_PKEY_Q_keygen(NULL, NULL, algorithms[a].type);
    ERR_clear_error();
    return *out != NULL ? ERR_OK : ERR_CRYPTO;
}

const EVP_MD *cert_key_digest(const EVP_PKEY *key)
{
    char name[32] = "";
    int kind = EVP_PKEY_get_default_digest_name((EVP_PKEY *)(uintptr_t)key, name, sizeof(name));

    ERR_clear_error();
    if (kind == 2 && strcmp(name, "UNDEF") == 0)
        return NULL;
    /* The hash matches the group's strength: RFC 5758, section 3.2 leaves it to us. */
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) > 256 ? EVP_sha384() : EVP_sha256();
}
