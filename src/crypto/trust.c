#include "crypto/trust.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_names.h"

#define HOST_FLAGS (X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)

/* -- stores -- */

/* Of the same name, whatever is in it: one that cannot be used is not none. */
static bool has_crl(const X509_STORE_CTX *ctx, const X509_NAME *issuer)
{
    STACK_OF(X509_CRL) *crls = X509_STORE_CTX_get1_crls(ctx, issuer);
    bool has_one = sk_X509_CRL_num(crls) > 0;

    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return has_one;
}

int trust_on_verify(int is_ok, X509_STORE_CTX *ctx)
{
    const X509 *cert = X509_STORE_CTX_get_current_cert(ctx);

    if (is_ok || X509_STORE_CTX_get_error(ctx) != X509_V_ERR_UNABLE_TO_GET_CRL ||
        X509_STORE_CTX_get_error_depth(ctx) == 0 || cert == NULL ||
        has_crl(ctx, X509_get_issuer_name(cert)))
        return is_ok;
    X509_STORE_CTX_set_error(ctx, X509_V_OK);
    return 1;
}

bool trust_store_new(X509_STORE **out, STACK_OF(X509) *cas, STACK_OF(X509_CRL) *crls)
{
    X509_STORE *store = X509_STORE_new();
    bool done = store != NULL;

    *out = NULL;
    for (int i = 0; done && i < sk_X509_num(cas); i++)
        done = X509_STORE_add_cert(store, sk_X509_value(cas, i)) == 1;
    for (int i = 0; done && i < sk_X509_CRL_num(crls); i++)
        done = X509_STORE_add_crl(store, sk_X509_CRL_value(crls, i)) == 1;
    if (done && crls != NULL)
        done = X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
    ERR_clear_error();
    if (!done) {
        X509_STORE_free(store);
        return false;
    }
    X509_STORE_set_verify_cb(store, trust_on_verify);
    *out = store;
    return true;
}

/* -- names -- */

size_t trust_host_len(const char *host)
{
    size_t len = strlen(host);

    return len > 1 && host[len - 1] == '.' ? len - 1 : len;
}

bool trust_expect_host(X509_VERIFY_PARAM *param, const char *host)
{
    bool done = host[0] != 0;

    if (done && cert_names_is_ip(host)) {
        done = X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    } else if (done) {
        X509_VERIFY_PARAM_set_hostflags(param, HOST_FLAGS);
        done = X509_VERIFY_PARAM_set1_host(param, host, trust_host_len(host)) == 1;
    }
    ERR_clear_error();
    return done;
}
