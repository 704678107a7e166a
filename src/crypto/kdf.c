#include "crypto/kdf.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "base/wire.h"

#define DIGEST       "SHA2-384"
#define LABEL_PREFIX "utun1 "
#define INFO_MAX     (2 + 1 + sizeof(LABEL_PREFIX) + KDF_LABEL_MAX + 1 + KDF_CONTEXT_MAX)

static pthread_once_t hkdf_once = PTHREAD_ONCE_INIT;
static EVP_KDF *hkdf; /* fetched once for the life of the process */

static void hkdf_fetch(void)
{
    hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
}

/* OpenSSL takes parameters it only reads through pointers to non-const. */
static OSSL_PARAM octets(const char *name, struct kdf_bytes b)
{
    static uint8_t none[1];
    union {
        const uint8_t *in;
        uint8_t *out;
    } data = {.in = b.data};
    return OSSL_PARAM_construct_octet_string(name, b.len > 0 ? data.out : none, b.len);
}

enum err kdf_hash(uint8_t out[KDF_SIZE], struct kdf_bytes data)
{
    return kdf_hash_parts(out, &data, 1);
}

enum err kdf_hash_parts(uint8_t out[KDF_SIZE], const struct kdf_bytes *parts, size_t n)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx != NULL && EVP_DigestInit_ex2(ctx, EVP_sha384(), NULL) == 1;
    for (size_t i = 0; ok && i < n; i++)
        ok = EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok) {
        memset(out, 0, KDF_SIZE);
        return ERR_CRYPTO;
    }
    return ERR_OK;
}

enum err kdf_hmac(uint8_t out[KDF_SIZE], struct kdf_bytes key, struct kdf_bytes data)
{
    size_t len = 0;
    if (EVP_Q_mac(NULL, "HMAC", NULL, DIGEST, NULL, key.data, key.len, data.data, data.len, out,
                  KDF_SIZE, &len) == NULL ||
        len != KDF_SIZE) {
        OPENSSL_cleanse(out, KDF_SIZE);
        return ERR_CRYPTO;
    }
    return ERR_OK;
}

static enum err hkdf_run(uint8_t *out, size_t out_len, int mode, OSSL_PARAM first,
                         OSSL_PARAM second)
{
    if (pthread_once(&hkdf_once, hkdf_fetch) != 0 || hkdf == NULL)
        return ERR_CRYPTO;
    char digest[] = DIGEST;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        first,
        second,
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(hkdf);
    int ok = ctx != NULL && EVP_KDF_derive(ctx, out, out_len, params) == 1;
    EVP_KDF_CTX_free(ctx); /* wipes its copies */
    if (!ok) {
        OPENSSL_cleanse(out, out_len);
        return ERR_CRYPTO;
    }
    return ERR_OK;
}

enum err kdf_extract(uint8_t out[KDF_SIZE], struct kdf_bytes salt, struct kdf_bytes ikm)
{
    assert(salt.len > 0);
    return hkdf_run(out, KDF_SIZE, EVP_KDF_HKDF_MODE_EXTRACT_ONLY,
                    octets(OSSL_KDF_PARAM_SALT, salt), octets(OSSL_KDF_PARAM_KEY, ikm));
}

enum err kdf_expand_label(uint8_t *out, size_t out_len, const uint8_t secret[KDF_SIZE],
                          const char *label, struct kdf_bytes context)
{
    size_t prefix_len = strlen(LABEL_PREFIX), label_len = strlen(label);
    assert(label_len <= KDF_LABEL_MAX && context.len <= KDF_CONTEXT_MAX && out_len <= UINT16_MAX);

    uint8_t info[INFO_MAX];
    struct wire_writer w;
    wire_writer_init(&w, info, sizeof(info));
    wire_put_u16(&w, (uint16_t)out_len);
    wire_put_u8(&w, (uint8_t)(prefix_len + label_len));
    wire_put_bytes(&w, (const uint8_t *)LABEL_PREFIX, prefix_len);
    wire_put_bytes(&w, (const uint8_t *)label, label_len);
    wire_put_u8(&w, (uint8_t)context.len);
    wire_put_bytes(&w, context.data, context.len);
    assert(!w.failed);

    struct kdf_bytes key = {secret, KDF_SIZE}, description = {info, wire_written(&w)};
    return hkdf_run(out, out_len, EVP_KDF_HKDF_MODE_EXPAND_ONLY, octets(OSSL_KDF_PARAM_KEY, key),
                    octets(OSSL_KDF_PARAM_INFO, description));
}
