#include "crypto/cert_check.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/cert_names.h"
#include "crypto/identity.h"
#include "crypto/pem.h"
#include "crypto/trust.h"

/* The files as far as they could be read. */
struct material {
    const struct cert_check_files *files;
    STACK_OF(X509) *certs; /* leaf first */
    STACK_OF(X509) *cas;
    STACK_OF(X509) *path; /* leaf to trust anchor, once the signatures are verified */
};

static struct cert_check_step *begin(struct cert_check_report *r, const char *name)
{
    assert(r->count < CERT_CHECK_MAX_STEPS);
    r->steps[r->count] = (struct cert_check_step){.name = name};
    return &r->steps[r->count++];
}

static X509 *leaf_of(const struct material *m)
{
    return sk_X509_value(m->certs, 0);
}

static void read_leaf(struct cert_check_step *s, struct material *m)
{
    char name[CERT_INFO_TEXT_SIZE / 4];
    char algorithm[64];

    s->err = pem_read_certs(&m->certs, m->files->cert_path, "certificate", &s->detail);
    if (s->err != ERR_OK)
        return;
    cert_info_name(name, sizeof(name), X509_get_subject_name(leaf_of(m)));
    cert_info_algorithm(algorithm, sizeof(algorithm), leaf_of(m));
    err_set(&s->detail, ERR_OK, "%s, %s", name, algorithm);
}

static void read_cas(struct cert_check_step *s, struct material *m)
{
    char name[CERT_INFO_TEXT_SIZE / 4];

    s->err = pem_read_certs(&m->cas, m->files->ca_path, "CA certificate", &s->detail);
    if (s->err != ERR_OK)
        return;
    for (int i = 0; i < sk_X509_num(m->cas); i++) {
        cert_info_name(name, sizeof(name), X509_get_subject_name(sk_X509_value(m->cas, i)));
        if (cert_info_is_ca(sk_X509_value(m->cas, i)))
            continue;
        s->err = err_set(&s->detail, ERR_CERT_PURPOSE,
                         "CA certificate %s: \"%s\" is not a CA; give the certificate made with "
                         "'utun cert ca'",
                         m->files->ca_path, name);
        return;
    }
    if (sk_X509_num(m->cas) > 1)
        err_set(&s->detail, ERR_OK, "%d CAs", sk_X509_num(m->cas));
    else
        err_set(&s->detail, ERR_OK, "%s", name);
}

/* Whether cert is valid now; noun names it in the text. */
static enum err check_times(struct err_detail *d, const X509 *cert, const char *noun)
{
    int64_t until = cert_info_time(X509_get0_notAfter(cert));
    int64_t days = (until - (int64_t)time(NULL)) / SECONDS_PER_DAY;
    enum err e = trust_check_times(cert, noun, "issue a new one", d);
    char text[32];

    if (e != ERR_OK)
        return e;
    cert_info_format_time(text, sizeof(text), until);
    return err_set(d, ERR_OK, "until %s, %lld day%s left", text, (long long)days,
                   days == 1 ? "" : "s");
}

static void check_validity(struct cert_check_step *s, struct material *m)
{
    s->err = check_times(&s->detail, leaf_of(m), "the certificate");
}

static void check_ca_validity(struct cert_check_step *s, struct material *m)
{
    for (int i = 1; i < sk_X509_num(m->path) && s->err == ERR_OK; i++) {
        char name[CERT_INFO_TEXT_SIZE / 4];
        char noun[CERT_INFO_TEXT_SIZE / 4 + 16];

        cert_info_name(name, sizeof(name), X509_get_subject_name(sk_X509_value(m->path, i)));
        snprintf(noun, sizeof(noun), "the CA \"%s\"", name);
        s->err = check_times(&s->detail, sk_X509_value(m->path, i), noun);
    }
}

/* Time has steps of its own, so that an expired certificate does not hide a wrong signature. */
static int ignore_times(int ok, X509_STORE_CTX *ctx)
{
    int error = X509_STORE_CTX_get_error(ctx);

    return trust_on_verify(ok, ctx) || error == X509_V_ERR_CERT_HAS_EXPIRED ||
           error == X509_V_ERR_CERT_NOT_YET_VALID;
}

/*
 * Verifies the leaf against the CAs, and against crls where they are not NULL. Returns an
 * X509_V_ERR_*; sets m->path where it is X509_V_OK and not yet set.
 */
static long verify(struct material *m, STACK_OF(X509_CRL) *crls)
{
    X509_STORE *store = NULL;
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    long result = X509_V_ERR_OUT_OF_MEM;

    if (ctx == NULL || !trust_store_new(&store, m->cas, crls) ||
        X509_STORE_CTX_init(ctx, store, leaf_of(m), m->certs) != 1)
        goto out;
    X509_STORE_CTX_set_verify_cb(ctx, ignore_times);
    if (X509_verify_cert(ctx) == 1) {
        result = X509_V_OK;
        if (m->path == NULL)
            m->path = X509_STORE_CTX_get1_chain(ctx);
    } else {
        result = X509_STORE_CTX_get_error(ctx);
    }
out:
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return result;
}

static void check_signature(struct cert_check_step *s, struct material *m)
{
    long result = verify(m, NULL);
    const char *text = NULL;
    char issuer[CERT_INFO_TEXT_SIZE / 8];
    char ca[CERT_INFO_TEXT_SIZE / 8];

    s->err = identity_verify_error(result, &text);
    cert_info_name(issuer, sizeof(issuer), X509_get_issuer_name(leaf_of(m)));
    cert_info_name(ca, sizeof(ca), X509_get_subject_name(sk_X509_value(m->cas, 0)));
    if (s->err == ERR_OK)
        err_set(&s->detail, ERR_OK, "issued by %s", issuer);
    else
        err_set(&s->detail, s->err, "%s (issued by \"%s\"; the CA file holds \"%s\"%s)", text,
                issuer, ca, sk_X509_num(m->cas) > 1 ? " and others" : "");
}

static void check_purpose(struct cert_check_step *s, struct material *m)
{
    enum cert_check_purpose wanted = m->files->purpose;
    bool is_server = trust_is_for(leaf_of(m), IDENTITY_DEST);
    bool is_client = trust_is_for(leaf_of(m), IDENTITY_SOURCE);
    char usage[128];

    cert_info_extended_key_usage(usage, sizeof(usage), leaf_of(m));
    if (wanted != CERT_CHECK_ANY_PURPOSE || cert_info_is_ca(leaf_of(m)))
        s->err = trust_check_use(leaf_of(m),
                                 wanted == CERT_CHECK_CLIENT ? IDENTITY_SOURCE : IDENTITY_DEST, "",
                                 &s->detail);
    else if (!is_server && !is_client)
        s->err = err_set(&s->detail, ERR_CERT_PURPOSE,
                         "neither for a dest nor for a source: its extended key usage is %s; make "
                         "one with 'utun cert server' or 'utun cert client'",
                         usage);
    if (s->err == ERR_OK)
        err_set(&s->detail, ERR_OK, "%s",
                is_server && is_client ? "dest (serverAuth) and source (clientAuth)"
                : is_server            ? "dest (serverAuth)"
                                       : "source (clientAuth)");
}

static void check_hostname(struct cert_check_step *s, struct material *m)
{
    const char *name = m->files->hostname;
    bool is_ip = cert_names_is_ip(name);
    char names[256];

    cert_info_alt_names(names, sizeof(names), leaf_of(m));
    if (trust_is_host(leaf_of(m), name))
        err_set(&s->detail, ERR_OK, "%s", name);
    else
        s->err = err_set(&s->detail, ERR_CERT_NAME,
                         "\"%s\" is not among its names (%s); issue it with %s %s", name,
                         names[0] != 0 ? names : "it has none",
                         is_ip ? "--ip-addresses" : "--dns-names", name);
}

static void check_key(struct cert_check_step *s, struct material *m)
{
    EVP_PKEY *key = NULL;

    s->err = pem_read_key(&key, m->files->key_path, "key", FILE_SECRET, &s->detail);
    if (s->err != ERR_OK)
        return;
    if (X509_check_private_key(leaf_of(m), key) == 1)
        err_set(&s->detail, ERR_OK, "belongs to the certificate");
    else
        s->err = err_set(&s->detail, ERR_KEY_MISMATCH,
                         "key %s: does not belong to the certificate; give the two files that were "
                         "made together",
                         m->files->key_path);
    EVP_PKEY_free(key);
    ERR_clear_error();
}

static void check_revocation(struct cert_check_step *s, struct material *m)
{
    STACK_OF(X509_CRL) *crls = NULL;
    const char *text = NULL;

    s->err = pem_read_crls(&crls, m->files->crl_path, "CRL", &s->detail);
    if (s->err != ERR_OK)
        return;
    s->err = identity_verify_error(verify(m, crls), &text);
    err_set(&s->detail, s->err, "%s", s->err == ERR_OK ? "not revoked" : text);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
}

void cert_check(struct cert_check_report *out, const struct cert_check_files *files)
{
    struct material m = {.files = files};

    *out = (struct cert_check_report){0};
    read_leaf(begin(out, "certificate"), &m);
    read_cas(begin(out, "CA"), &m);
    if (m.certs != NULL) {
        check_validity(begin(out, "validity"), &m);
        check_purpose(begin(out, "purpose"), &m);
        if (m.cas != NULL)
            check_signature(begin(out, "signature"), &m);
        if (m.path != NULL && sk_X509_num(m.path) > 1)
            check_ca_validity(begin(out, "CA validity"), &m);
        if (files->hostname != NULL)
            check_hostname(begin(out, "host name"), &m);
        if (files->key_path != NULL)
            check_key(begin(out, "key"), &m);
        /* Without a trusted chain there is no CA whose word on revocation counts. */
        if (files->crl_path != NULL && m.path != NULL)
            check_revocation(begin(out, "revocation"), &m);
    }
    out->is_passed = true;
    for (size_t i = 0; i < out->count; i++)
        if (out->steps[i].err != ERR_OK)
            out->is_passed = false;

    sk_X509_pop_free(m.certs, X509_free);
    sk_X509_pop_free(m.cas, X509_free);
    sk_X509_pop_free(m.path, X509_free);
}
