#include "crypto/peer_identity.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

/* Kinds of hashes, so that none of them can ever be taken for another. */
#define LABEL_NAMES       "utun/1 identity by names"
#define LABEL_CERTIFICATE "utun/1 identity by certificate"

/* DER of something, from OpenSSL's allocator. */
struct der {
    unsigned char *data;
    int len; /* below 0: it could not be encoded */
};

static int compare(const void *a, const void *b)
{
    const struct der *x = a;
    const struct der *y = b;
    int order = memcmp(x->data, y->data, (size_t)(x->len < y->len ? x->len : y->len));

    return order != 0 ? order : x->len - y->len;
}

/* Each part with its length in front: what is hashed can be read in one way only. */
static bool add(EVP_MD_CTX *hash, const void *data, size_t len)
{
    const uint8_t length[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                               (uint8_t)len};

    return EVP_DigestUpdate(hash, length, sizeof(length)) == 1 &&
           EVP_DigestUpdate(hash, data, len) == 1;
}

static bool add_der(EVP_MD_CTX *hash, struct der der)
{
    bool is_added = der.len >= 0 && add(hash, der.data, (size_t)der.len);

    OPENSSL_free(der.data);
    return is_added;
}

static EVP_MD_CTX *begin(const char *label)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();

    if (hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 &&
        add(hash, label, strlen(label)))
        return hash;
    EVP_MD_CTX_free(hash);
    return NULL;
}

/* The order in which a certificate lists its names says nothing. */
static bool add_alt_names(EVP_MD_CTX *hash, const GENERAL_NAMES *names)
{
    size_t count = names == NULL ? 0 : (size_t)sk_GENERAL_NAME_num(names);
    struct der *all = calloc(count + 1, sizeof(*all));
    bool is_added = all != NULL;

    for (size_t i = 0; is_added && i < count; i++) {
        all[i].len = i2d_GENERAL_NAME(sk_GENERAL_NAME_value(names, (int)i), &all[i].data);
        is_added = all[i].len >= 0;
    }
    if (is_added)
        qsort(all, count, sizeof(*all), compare);
    for (size_t i = 0; is_added && i < count; i++)
        is_added = add(hash, all[i].data, (size_t)all[i].len);
    for (size_t i = 0; all != NULL && i < count; i++)
        OPENSSL_free(all[i].data);
    free(all);
    return is_added;
}

static enum err by_names(uint8_t out[PEER_IDENTITY_SIZE], const X509 *leaf, const X509 *authority,
                         const GENERAL_NAMES *names)
{
    EVP_MD_CTX *hash = begin(LABEL_NAMES);
    struct der key = {NULL, -1};
    struct der subject = {NULL, -1};
    enum err e = ERR_NOMEM;

    if (hash == NULL)
        return e;
    key.len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(authority), &key.data);
    subject.len = i2d_X509_NAME(X509_get_subject_name(leaf), &subject.data);
    bool has_key = add_der(hash, key);
    bool has_subject = add_der(hash, subject);
    if (has_key && has_subject && add_alt_names(hash, names) &&
        EVP_DigestFinal_ex(hash, out, NULL) == 1)
        e = ERR_OK;
    EVP_MD_CTX_free(hash);
    return e;
}

static enum err by_certificate(uint8_t out[PEER_IDENTITY_SIZE], const X509 *leaf)
{
    EVP_MD_CTX *hash = begin(LABEL_CERTIFICATE);
    struct der der = {NULL, -1};
    enum err e = ERR_NOMEM;

    if (hash == NULL)
        return e;
    der.len = i2d_X509(leaf, &der.data);
    if (add_der(hash, der) && EVP_DigestFinal_ex(hash, out, NULL) == 1)
        e = ERR_OK;
    EVP_MD_CTX_free(hash);
    return e;
}

enum err peer_identity_of(uint8_t out[PEER_IDENTITY_SIZE], const X509 *leaf, const X509 *issuer)
{
    enum { NO_SUCH_EXTENSION = -1 };
    int found = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &found, NULL);
    bool is_readable = names != NULL || found == NO_SUCH_EXTENSION;
    bool has_name = X509_NAME_entry_count(X509_get_subject_name(leaf)) > 0 ||
                    (names != NULL && sk_GENERAL_NAME_num(names) > 0);
    enum err e;

    memset(out, 0, PEER_IDENTITY_SIZE);
    if (is_readable && has_name)
        e = by_names(out, leaf, issuer != NULL ? issuer : leaf, names);
    else
        e = by_certificate(out, leaf);
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return e;
}
