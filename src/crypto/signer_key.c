/*
 * The provider (provider(7)): one implementation of key management for all algorithms, under their
 * names, and one of signatures.
 */
#include "crypto/signer_key.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/signer.h"

#define PROVIDER_NAME  "utun-signer"
#define SIGNATURE_NAME "UTUN-SIGNER"
#define PROPERTIES     "provider=" PROVIDER_NAME

/* The parameter by which signer_key_new hands a struct origin to the key that is made. */
#define PARAM_ORIGIN "utun-origin"

struct origin {
    struct signer *signer;
    uint32_t number;
    EVP_PKEY *public_key; /* of OpenSSL's own provider */
};

/* -- keys -- */

/* The dispatch table's functions have the types of core_dispatch.h. */
typedef void (*function)(void);

static OSSL_FUNC_keymgmt_new_fn key_new;
static OSSL_FUNC_keymgmt_free_fn key_free;
static OSSL_FUNC_keymgmt_import_fn key_import;
static OSSL_FUNC_keymgmt_import_types_fn key_import_types;
static OSSL_FUNC_keymgmt_export_fn key_export;
static OSSL_FUNC_keymgmt_export_types_fn key_export_types;
static OSSL_FUNC_keymgmt_has_fn key_has;
static OSSL_FUNC_keymgmt_match_fn key_match;
static OSSL_FUNC_keymgmt_get_params_fn key_get_params;
static OSSL_FUNC_keymgmt_gettable_params_fn key_gettable_params;
static OSSL_FUNC_keymgmt_query_operation_name_fn key_operation_name;

static void *key_new(void *provider)
{
    (void)provider;
    return OPENSSL_zalloc(sizeof(struct origin));
}

static void key_free(void *key)
{
    struct origin *o = key;

    if (o == NULL)
        return;
    if (o->signer != NULL)
        signer_drop(o->signer, o->number);
    EVP_PKEY_free(o->public_key);
    OPENSSL_free(o);
}

static int key_import(void *key, int selection, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, PARAM_ORIGIN);
    struct origin *o = key;

    (void)selection;
    if (p == NULL || p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != sizeof(*o))
        return 0;
    memcpy(o, p->data, sizeof(*o));
    return EVP_PKEY_up_ref(o->public_key);
}

static const OSSL_PARAM *key_import_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_octet_string(PARAM_ORIGIN, NULL, 0),
                                       OSSL_PARAM_END};

    (void)selection;
    return types;
}

/* There is nothing private to export. Without this refusal OpenSSL would sign by itself. */
static int key_export(void *key, int selection, OSSL_CALLBACK *callback, void *arg)
{
    const struct origin *o = key;

    if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0)
        return 0;
    return EVP_PKEY_export(o->public_key, selection, callback, arg);
}

static const OSSL_PARAM *key_export_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
                                       OSSL_PARAM_END};

    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 ? NULL : types;
}

static int key_has(const void *key, int selection)
{
    (void)selection;
    return key != NULL;
}

static int key_match(const void *key1, const void *key2, int selection)
{
    const struct origin *a = key1;
    const struct origin *b = key2;

    (void)selection;
    return EVP_PKEY_eq(a->public_key, b->public_key) == 1;
}

static int key_get_params(void *key, OSSL_PARAM params[])
{
    const struct origin *o = key;

    return EVP_PKEY_get_params(o->public_key, params);
}

static const OSSL_PARAM *key_gettable_params(void *provider)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };

    (void)provider;
    return params;
}

static const char *key_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? SIGNATURE_NAME : NULL;
}

static const OSSL_DISPATCH key_functions[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (function)key_new},
    {OSSL_FUNC_KEYMGMT_FREE, (function)key_free},
    {OSSL_FUNC_KEYMGMT_IMPORT, (function)key_import},
    {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (function)key_import_types},
    {OSSL_FUNC_KEYMGMT_EXPORT, (function)key_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (function)key_export_types},
    {OSSL_FUNC_KEYMGMT_HAS, (function)key_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (function)key_match},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (function)key_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (function)key_gettable_params},
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (function)key_operation_name},
    {0, NULL},
};

/* -- signatures -- */

static OSSL_FUNC_signature_newctx_fn signing_new;
static OSSL_FUNC_signature_freectx_fn signing_free;
static OSSL_FUNC_signature_digest_sign_init_fn signing_init;
static OSSL_FUNC_signature_digest_sign_fn signing_sign;
static OSSL_FUNC_signature_set_ctx_params_fn signing_set_params;
static OSSL_FUNC_signature_settable_ctx_params_fn signing_settable_params;

struct signing {
    const struct origin *key; /* the EVP_PKEY that is being used keeps it */
    struct signer_scheme scheme;
};

static void *signing_new(void *provider, const char *properties)
{
    (void)provider;
    (void)properties;
    return OPENSSL_zalloc(sizeof(struct signing));
}

static void signing_free(void *ctx)
{
    OPENSSL_free(ctx);
}

static int signing_init(void *ctx, const char *digest, void *key, const OSSL_PARAM params[])
{
    struct signing *s = ctx;

    *s = (struct signing){.key = key};
    if (digest != NULL && strlen(digest) >= sizeof(s->scheme.digest))
        return 0;
    snprintf(s->scheme.digest, sizeof(s->scheme.digest), "%s", digest != NULL ? digest : "");
    return signing_set_params(ctx, params);
}

static int signing_set_params(void *ctx, const OSSL_PARAM params[])
{
    const OSSL_PARAM *padding = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
    const OSSL_PARAM *salt = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
    struct signing *s = ctx;

    if (padding != NULL && OSSL_PARAM_get_int32(padding, &s->scheme.padding) != 1)
        return 0;
    if (salt == NULL)
        return 1;
    if (salt->data_type != OSSL_PARAM_UTF8_STRING)
        return OSSL_PARAM_get_int32(salt, &s->scheme.salt_len);
    /* Some callers spell it out. */
    if (strcmp(salt->data, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) != 0)
        return 0;
    s->scheme.salt_len = RSA_PSS_SALTLEN_DIGEST;
    return 1;
}

static const OSSL_PARAM *signing_settable_params(void *ctx, void *provider)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL),
        OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL),
        OSSL_PARAM_END,
    };

    (void)ctx;
    (void)provider;
    return params;
}

static int signing_sign(void *ctx, unsigned char *out, size_t *len, size_t room,
                        const unsigned char *data, size_t data_len)
{
    const struct signing *s = ctx;

    if (out == NULL) {
        *len = (size_t)EVP_PKEY_get_size(s->key->public_key);
        return 1;
    }
    *len = room;
    return signer_sign(s->key->signer, s->key->number, &s->scheme, data, data_len, out, len) ==
           ERR_OK;
}

static const OSSL_DISPATCH signing_functions[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (function)signing_new},
    {OSSL_FUNC_SIGNATURE_FREECTX, (function)signing_free},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (function)signing_init},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (function)signing_sign},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (function)signing_set_params},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (function)signing_settable_params},
    {0, NULL},
};

/* -- the provider -- */

/* All the names by which TLS asks what a key is. */
static const OSSL_ALGORITHM key_algorithms[] = {
    {"ML-DSA-65:MLDSA65:id-ml-dsa-65", PROPERTIES, key_functions, NULL},
    {"ML-DSA-44:MLDSA44:id-ml-dsa-44", PROPERTIES, key_functions, NULL},
    {"ML-DSA-87:MLDSA87:id-ml-dsa-87", PROPERTIES, key_functions, NULL},
    {"ED25519", PROPERTIES, key_functions, NULL},
    {"EC:id-ecPublicKey", PROPERTIES, key_functions, NULL},
    {"RSA:rsaEncryption", PROPERTIES, key_functions, NULL},
    {"RSA-PSS:RSASSA-PSS", PROPERTIES, key_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM signature_algorithms[] = {
    {SIGNATURE_NAME, PROPERTIES, signing_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
    (void)provider;
    *no_cache = 0;
    if (operation == OSSL_OP_KEYMGMT)
        return key_algorithms;
    return operation == OSSL_OP_SIGNATURE ? signature_algorithms : NULL;
}

static const OSSL_DISPATCH provider_functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (function)provider_query},
    {0, NULL},
};

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **provider)
{
    (void)handle;
    (void)in;
    *out = provider_functions;
    *provider = (void *)(uintptr_t)handle;
    return 1;
}

/* The context, once for the process; NULL where it cannot be made. */
static OSSL_LIB_CTX *context;
static OSSL_PROVIDER *provider_loaded;
static pthread_once_t context_once = PTHREAD_ONCE_INIT;

static void context_free(void)
{
    OSSL_PROVIDER_unload(provider_loaded);
    OSSL_LIB_CTX_free(context);
}

static void context_make(void)
{
    context = OSSL_LIB_CTX_new();
    if (context == NULL)
        return;
    if (OSSL_PROVIDER_add_builtin(context, PROVIDER_NAME, provider_init) == 1)
        provider_loaded = OSSL_PROVIDER_load(context, PROVIDER_NAME);
    if (provider_loaded == NULL) {
        OSSL_LIB_CTX_free(context);
        context = NULL;
        return;
    }
    (void)OPENSSL_atexit(context_free);
}

enum err signer_key_new(EVP_PKEY **out, struct signer *signer, uint32_t number,
                        const uint8_t *public_key, size_t len, struct err_detail *d)
{
    const unsigned char *at = public_key;
    struct origin origin = {.signer = signer, .number = number};
    EVP_PKEY_CTX *ctx = NULL;
    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_octet_string(PARAM_ORIGIN, &origin, sizeof(origin)),
        OSSL_PARAM_construct_end()};
    enum err e = ERR_CRYPTO;

    *out = NULL;
    (void)pthread_once(&context_once, context_make);
    origin.public_key = d2i_PUBKEY(NULL, &at, (long)len);
    if (context == NULL || origin.public_key == NULL) {
        e = err_set(d, ERR_CRYPTO, "the signer's public key cannot be used: %s",
                    ERR_reason_error_string(ERR_peek_last_error()));
        goto out;
    }
    ctx = EVP_PKEY_CTX_new_from_name(context, EVP_PKEY_get0_type_name(origin.public_key), NULL);
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, out, EVP_PKEY_KEYPAIR, params) != 1) {
        e = err_set(d, ERR_CRYPTO, "a key of the algorithm %s cannot be kept by the signer",
                    EVP_PKEY_get0_type_name(origin.public_key));
        *out = NULL;
        goto out;
    }
    e = ERR_OK;
out:
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(origin.public_key);
    ERR_clear_error();
    return e;
}
