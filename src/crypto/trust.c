#include "crypto/trust.h"

#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/cert_names.h"

/* SSL_CTX_get_security_level of an OpenSSL that nobody has configured. */
#define SECURITY_LEVEL 2

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

/* OpenSSL takes a certificate without an extended key usage for every purpose. */
static bool lacks_usage(X509_STORE_CTX *ctx, X509 *cert)
{
    return X509_VERIFY_PARAM_get_purpose(X509_STORE_CTX_get0_param(ctx)) != 0 &&
           X509_STORE_CTX_get_error_depth(ctx) == 0 && cert != NULL &&
           (X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) == 0;
}

int trust_on_verify(int is_ok, X509_STORE_CTX *ctx)
{
    X509 *cert = X509_STORE_CTX_get_current_cert(ctx);

    if (is_ok && lacks_usage(ctx, cert)) {
        X509_STORE_CTX_set_error(ctx, X509_V_ERR_INVALID_PURPOSE);
        return 0;
    }
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
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_get0_param(store), SECURITY_LEVEL);
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

bool trust_is_host(X509 *cert, const char *host)
{
    bool is_named = cert_names_is_ip(host)
                        ? X509_check_ip_asc(cert, host, 0) == 1
                        : X509_check_host(cert, host, trust_host_len(host), HOST_FLAGS, NULL) == 1;

    ERR_clear_error();
    return is_named;
}

/* -- one certificate -- */

bool trust_is_for(X509 *cert, enum identity_use use)
{
    int purpose = use == IDENTITY_SOURCE ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER;
    bool is_for = X509_check_purpose(cert, purpose, 0) == 1 &&
                  (X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) != 0;

    ERR_clear_error();
    return is_for;
}

enum err trust_check_use(X509 *cert, enum identity_use use, const char *where, struct err_detail *d)
{
    const char *command = use == IDENTITY_SOURCE ? "utun cert client" : "utun cert server";
    char usage[256];

    if (cert_info_is_ca(cert))
        return err_set(d, ERR_CERT_PURPOSE, "%sit is a CA's certificate; give one made with '%s'",
                       where, command);
    if (trust_is_for(cert, use))
        return ERR_OK;
    cert_info_extended_key_usage(usage, sizeof(usage), cert);
    return err_set(d, ERR_CERT_PURPOSE,
                   "%snot for a %s: its extended key usage is %s, %s is needed; make one with '%s'",
                   where, use == IDENTITY_SOURCE ? "source" : "dest", usage,
                   use == IDENTITY_SOURCE ? "clientAuth" : "serverAuth", command);
}

enum err trust_check_times(const X509 *cert, const char *noun, const char *mend,
                           struct err_detail *d)
{
    int64_t from = cert_info_time(X509_get0_notBefore(cert));
    int64_t until = cert_info_time(X509_get0_notAfter(cert));
    int64_t now = (int64_t)time(NULL);
    char text[32];

    if (now < from) {
        cert_info_format_time(text, sizeof(text), from);
        return err_set(d, ERR_CERT_NOT_YET, "%s is not valid before %s; check this machine's clock",
                       noun, text);
    }
    if (now > until) {
        cert_info_format_time(text, sizeof(text), until);
        return err_set(d, ERR_CERT_EXPIRED, "%s expired at %s; %s", noun, text, mend);
    }
    return ERR_OK;
}
