#include "crypto/peer_cert.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/cert_names.h"
#include "crypto/trust.h"

struct peer_cert {
    X509 *leaf;
    STACK_OF(X509) *sent;
    enum identity_use use;
    char *host; /* NULL: it need not name any */
    int64_t until;
};

/* path leads from the leaf to a trusted CA. */
static int64_t end_of(const STACK_OF(X509) *path)
{
    int64_t until = INT64_MAX;

    for (int i = 0; i < sk_X509_num(path); i++) {
        int64_t end = cert_info_time(X509_get0_notAfter(sk_X509_value(path, i)));

        if (end < until)
            until = end;
    }
    return until;
}

enum err peer_cert_new(struct peer_cert **out, const struct peer_cert_options *options)
{
    struct peer_cert *p = calloc(1, sizeof(*p));

    *out = NULL;
    if (p == NULL)
        return ERR_NOMEM;
    p->use = options->use;
    p->until = end_of(options->path);
    p->host = options->host != NULL ? strdup(options->host) : NULL;
    p->sent = options->sent != NULL ? X509_chain_up_ref(options->sent) : sk_X509_new_null();
    if (p->sent != NULL && X509_up_ref(options->leaf) == 1)
        p->leaf = options->leaf;
    if (p->leaf == NULL || (options->host != NULL && p->host == NULL)) {
        peer_cert_free(p);
        ERR_clear_error();
        return ERR_NOMEM;
    }
    *out = p;
    return ERR_OK;
}

void peer_cert_free(struct peer_cert *p)
{
    if (p == NULL)
        return;
    X509_free(p->leaf);
    sk_X509_pop_free(p->sent, X509_free);
    free(p->host);
    free(p);
}

/* -- names -- */

/* A name of the certificate, as bytes: it may hold anything, a NUL too. */
struct name {
    const char *text;
    size_t len;
};

static bool is_same_bytes(struct name name, const char *text)
{
    return name.len == strlen(text) && memcmp(name.text, text, name.len) == 0;
}

static bool is_same_dns(struct name name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.text, text, name.len) == 0;
}

/* A name without a wildcard in it, such as may be compared without regard to case. */
static bool is_dns(struct name name)
{
    char text[256];

    if (name.len >= sizeof(text) || memchr(name.text, 0, name.len) != NULL || name.len == 0)
        return false;
    memcpy(text, name.text, name.len);
    text[name.len] = 0;
    return text[0] != '*' && cert_names_is_dns(text, NULL);
}

static bool is_dns_match(struct name name, const char *pattern)
{
    const char *dot;
    struct name rest;

    if (is_same_bytes(name, pattern))
        return true;
    if (!is_dns(name))
        return false;
    if (strncmp(pattern, "*.", 2) != 0)
        return is_same_dns(name, pattern);
    dot = memchr(name.text, '.', name.len);
    if (dot == NULL)
        return false;
    rest = (struct name){.text = dot, .len = name.len - (size_t)(dot - name.text)};
    return is_same_dns(rest, pattern + 1);
}

static bool is_common_name(const X509 *leaf, const char *pattern)
{
    const X509_NAME *subject = X509_get_subject_name(leaf);
    int at = -1;
    bool is_match = false;

    while (!is_match && (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0) {
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
        unsigned char *text = NULL;
        int len = ASN1_STRING_to_UTF8(&text, value);

        if (len >= 0)
            is_match =
                is_dns_match((struct name){.text = (char *)text, .len = (size_t)len}, pattern);
        OPENSSL_free(text);
    }
    return is_match;
}

static bool is_alt_name(const X509 *leaf, const char *pattern)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    bool is_match = false;

    for (int i = 0; !is_match && i < sk_GENERAL_NAME_num(names); i++) {
        int type = 0;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);

        if (type != GEN_DNS && type != GEN_URI)
            continue;
        struct name name = {.text = (const char *)ASN1_STRING_get0_data(value),
                            .len = (size_t)ASN1_STRING_length(value)};
        is_match = type == GEN_DNS ? is_dns_match(name, pattern) : is_same_bytes(name, pattern);
    }
    GENERAL_NAMES_free(names);
    return is_match;
}

bool peer_cert_is_named(const struct peer_cert *p, const char *pattern)
{
    bool is_match = is_common_name(p->leaf, pattern) || is_alt_name(p->leaf, pattern);

    ERR_clear_error();
    return is_match;
}

/* -- trust -- */

int64_t peer_cert_until(const struct peer_cert *p)
{
    return p->until;
}

enum err peer_cert_check_time(const struct peer_cert *p, const char **why)
{
    return identity_verify_error(
        p->until < (int64_t)time(NULL) ? X509_V_ERR_CERT_HAS_EXPIRED : X509_V_OK, why);
}

enum err peer_cert_verify(struct peer_cert *p, X509_STORE *store, const char **why)
{
    const char *purpose = p->use == IDENTITY_SOURCE ? "ssl_client" : "ssl_server";
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    long result = X509_V_ERR_OUT_OF_MEM;

    if (ctx != NULL && X509_STORE_CTX_init(ctx, store, p->leaf, p->sent) == 1 &&
        X509_STORE_CTX_set_default(ctx, purpose) == 1 &&
        (p->host == NULL || trust_expect_host(X509_STORE_CTX_get0_param(ctx), p->host))) {
        if (X509_verify_cert(ctx) == 1) {
            result = X509_V_OK;
            p->until = end_of(X509_STORE_CTX_get0_chain(ctx));
        } else {
            result = X509_STORE_CTX_get_error(ctx);
        }
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return identity_verify_error(result, why);
}
