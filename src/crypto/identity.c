#include "crypto/identity.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/file.h"
#include "crypto/pem.h"
#include "crypto/private_key.h"
#include "crypto/trust.h"

struct identity {
    enum identity_use use;
    X509 *leaf;
    STACK_OF(X509) *chain;
    EVP_PKEY *key;
    X509_STORE *store;
    int64_t expiry;
};

/* What a file was to be and where, for the start of an error's text. */
struct place {
    char text[300];
};

static struct place place_of(const char *what, const char *path)
{
    struct place out;

    snprintf(out.text, sizeof(out.text), "%s %s", what, path);
    return out;
}

static const char *cert_noun(enum identity_use use)
{
    return use == IDENTITY_SOURCE ? "client certificate" : "server certificate";
}

static const char *key_noun(enum identity_use use)
{
    return use == IDENTITY_SOURCE ? "client key" : "server key";
}

static const char *issue_command(enum identity_use use)
{
    return use == IDENTITY_SOURCE ? "utun cert client" : "utun cert server";
}

static enum err check_own(const struct identity *id, const struct identity_files *files,
                          struct err_detail *d)
{
    struct place where = place_of(cert_noun(files->use), files->cert_path);
    char prefix[sizeof(where.text) + 2];
    char mend[64];
    enum err e = ERR_OK;

    if (X509_check_private_key(id->leaf, id->key) != 1) {
        ERR_clear_error();
        return err_set(d, ERR_KEY_MISMATCH,
                       "%s: does not belong to the private key %s; give the two files that were "
                       "made together",
                       where.text, files->key_path);
    }
    snprintf(mend, sizeof(mend), "make a new one with '%s'", issue_command(files->use));
    e = trust_check_times(id->leaf, where.text, mend, d);
    if (e != ERR_OK)
        return e;
    snprintf(prefix, sizeof(prefix), "%s: ", where.text);
    return trust_check_use(id->leaf, files->use, prefix, d);
}

static enum err load_own(struct identity *id, const struct identity_files *files,
                         struct err_detail *d)
{
    enum file_access access =
        files->key_access == IDENTITY_KEY_OWNER_ONLY ? FILE_SECRET : FILE_SECRET_ANY_MODE;
    enum err e = pem_read_certs(&id->chain, files->cert_path, cert_noun(files->use), d);

    if (e != ERR_OK)
        return e;
    id->leaf = sk_X509_shift(id->chain);
    e = private_key_read(&id->key, files->key_path, key_noun(files->use), access, d);
    if (e != ERR_OK)
        return e;
    e = check_own(id, files, d);
    if (e != ERR_OK)
        return e;

    id->expiry = cert_info_time(X509_get0_notAfter(id->leaf));
    for (int i = 0; i < sk_X509_num(id->chain); i++) {
        int64_t t = cert_info_time(X509_get0_notAfter(sk_X509_value(id->chain, i)));

        if (t < id->expiry)
            id->expiry = t;
    }
    return ERR_OK;
}

static enum err check_cas(STACK_OF(X509) *cas, const char *path, struct err_detail *d)
{
    struct place where = place_of("CA certificate", path);

    for (int i = 0; i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        char name[CERT_INFO_TEXT_SIZE / 4];

        cert_info_name(name, sizeof(name), X509_get_subject_name(ca));
        if (!cert_info_is_ca(ca))
            return err_set(d, ERR_CERT_PURPOSE,
                           "%s: \"%s\" is not a CA; give the certificate made with 'utun cert ca'",
                           where.text, name);
    }
    for (int i = 0; i < sk_X509_num(cas); i++)
        if (trust_check_times(sk_X509_value(cas, i), "", "", NULL) == ERR_OK)
            return ERR_OK;
    return trust_check_times(sk_X509_value(cas, 0), where.text,
                             "make a new one with 'utun cert ca'", d);
}

static enum err check_crl(X509_CRL *crl, STACK_OF(X509) *cas, const char *where,
                          struct err_detail *d)
{
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
    int64_t now = (int64_t)time(NULL);
    bool is_known = false;
    bool is_signed = false;
    char text[32];

    if (cert_info_time(X509_CRL_get0_lastUpdate(crl)) > now)
        return err_set(d, ERR_CONFIG, "%s: its date is in the future; check this machine's clock",
                       where);
    if (next != NULL && cert_info_time(next) < now) {
        cert_info_format_time(text, sizeof(text), cert_info_time(next));
        return err_set(d, ERR_CONFIG,
                       "%s: was to be replaced by %s; get a new one from the CA ('utun cert crl')",
                       where, text);
    }
    for (int i = 0; i < sk_X509_num(cas) && !is_signed; i++) {
        X509 *ca = sk_X509_value(cas, i);

        if (X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(crl)) != 0)
            continue;
        is_known = true;
        is_signed = X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;
        ERR_clear_error();
    }
    if (is_known && !is_signed)
        return err_set(d, ERR_CERT_UNTRUSTED,
                       "%s: is not signed by the CA it names; get it again from the CA", where);
    return ERR_OK;
}

static enum err load_trust(struct identity *id, const struct identity_files *files,
                           struct err_detail *d)
{
    STACK_OF(X509) *cas = NULL;
    STACK_OF(X509_CRL) *crls = NULL;
    enum err e = ERR_OK;

    if (files->ca_path != NULL)
        e = pem_read_certs(&cas, files->ca_path, "CA certificate", d);
    if (e == ERR_OK && files->ca_path != NULL)
        e = check_cas(cas, files->ca_path, d);
    if (e == ERR_OK && files->crl_path != NULL)
        e = pem_read_crls(&crls, files->crl_path, "CRL", d);
    for (int i = 0; e == ERR_OK && i < sk_X509_CRL_num(crls); i++)
        e = check_crl(sk_X509_CRL_value(crls, i), cas, place_of("CRL", files->crl_path).text, d);
    if (e == ERR_OK && !trust_store_new(&id->store, cas, crls))
        e = err_set(d, ERR_NOMEM, "out of memory");
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    sk_X509_pop_free(cas, X509_free);
    return e;
}

enum err identity_load(struct identity **out, const struct identity_files *files,
                       struct err_detail *d)
{
    struct identity *id = NULL;
    enum err e = ERR_OK;

    *out = NULL;
    if (files->ca_path == NULL && (files->use == IDENTITY_SOURCE || files->crl_path != NULL))
        return err_set(d, ERR_CONFIG, "no CA certificate is given; set ca_cert_path");
    if ((files->cert_path == NULL) != (files->key_path == NULL))
        return err_set(d, ERR_CONFIG, "a %s needs its %s and the other way round; set both paths",
                       cert_noun(files->use), key_noun(files->use));

    id = calloc(1, sizeof(*id));
    if (id == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    id->use = files->use;
    id->expiry = INT64_MAX;
    if (files->cert_path != NULL) {
        e = load_own(id, files, d);
    } else {
        id->chain = sk_X509_new_null();
        if (id->chain == NULL)
            e = err_set(d, ERR_NOMEM, "out of memory");
    }
    if (e == ERR_OK)
        e = load_trust(id, files, d);
    if (e != ERR_OK)
        goto out;
    *out = id;
    id = NULL;
out:
    identity_free(id);
    ERR_clear_error();
    return e;
}

void identity_free(struct identity *id)
{
    if (id == NULL)
        return;
    X509_free(id->leaf);
    sk_X509_pop_free(id->chain, X509_free);
    EVP_PKEY_free(id->key);
    X509_STORE_free(id->store);
    free(id);
}

X509 *identity_leaf(const struct identity *id)
{
    return id->leaf;
}

EVP_PKEY *identity_key(const struct identity *id)
{
    return id->key;
}

STACK_OF(X509) *identity_chain(const struct identity *id)
{
    return id->chain;
}

X509_STORE *identity_store(const struct identity *id)
{
    return id->store;
}

enum identity_use identity_use(const struct identity *id)
{
    return id->use;
}

int64_t identity_expiry(const struct identity *id)
{
    return id->expiry;
}

static void note_earlier(int64_t *earliest, const ASN1_TIME *t)
{
    int64_t at = t == NULL ? INT64_MAX : cert_info_time(t);

    if (at < *earliest)
        *earliest = at;
}

void identity_get_expiries(const struct identity *id, struct identity_expiries *out)
{
    STACK_OF(X509_OBJECT) *trusted = X509_STORE_get1_objects(id->store);

    *out = (struct identity_expiries){.own = id->expiry, .ca = INT64_MAX, .crl = INT64_MAX};
    for (int i = 0; i < sk_X509_OBJECT_num(trusted); i++) {
        const X509_OBJECT *object = sk_X509_OBJECT_value(trusted, i);
        X509 *ca = X509_OBJECT_get0_X509(object);
        X509_CRL *crl = X509_OBJECT_get0_X509_CRL(object);

        if (ca != NULL)
            note_earlier(&out->ca, X509_get0_notAfter(ca));
        if (crl != NULL)
            note_earlier(&out->crl, X509_CRL_get0_nextUpdate(crl));
    }
    sk_X509_OBJECT_pop_free(trusted, X509_OBJECT_free);
}

void identity_of_cert(struct identity_name *out, const X509 *cert)
{
    cert_info_common_name(out->common_name, sizeof(out->common_name), cert);
    cert_info_alt_names(out->alt_names, sizeof(out->alt_names), cert);
    cert_info_serial(out->serial, sizeof(out->serial), cert);
    cert_info_name(out->issuer, sizeof(out->issuer), X509_get_issuer_name(cert));
    out->expires_at = cert_info_time(X509_get0_notAfter(cert));
    if (out->expires_at == INT64_MIN)
        out->expires_at = INT64_MAX;
    out->fingerprint_hex[0] = 0;
    if (!cert_info_fingerprint(out->fingerprint, cert))
        return;
    for (size_t i = 0; i < sizeof(out->fingerprint); i++)
        snprintf(out->fingerprint_hex + 2 * i, 3, "%02x", out->fingerprint[i]);
}

static const struct {
    int code;
    enum err err;
    const char *text;
} verify_errors[] = {
    {X509_V_OK, ERR_OK, "the certificate is trusted"},
    {X509_V_ERR_CERT_HAS_EXPIRED, ERR_CERT_EXPIRED,
     "the certificate, or a CA's above it, has expired; issue a new one, unless a clock is wrong"},
    {X509_V_ERR_CERT_NOT_YET_VALID, ERR_CERT_NOT_YET,
     "the certificate, or a CA's above it, is not valid yet; check both machines' clocks"},
    {X509_V_ERR_INVALID_PURPOSE, ERR_CERT_PURPOSE,
     "the certificate's extended key usage does not name this use (a source needs clientAuth, a "
     "dest serverAuth); make one with 'utun cert client' or 'utun cert server'"},
    {X509_V_ERR_INVALID_CA, ERR_CERT_UNTRUSTED,
     "a certificate in the chain signed another without being a CA"},
    {X509_V_ERR_PATH_LENGTH_EXCEEDED, ERR_CERT_UNTRUSTED,
     "the chain is longer than one of its CAs allows"},
    {X509_V_ERR_KEYUSAGE_NO_CERTSIGN, ERR_CERT_UNTRUSTED,
     "a CA in the chain may not sign certificates"},
    {X509_V_ERR_HOSTNAME_MISMATCH, ERR_CERT_NAME,
     "the certificate does not name the host that was asked for; issue it with that name in "
     "--dns-names"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, ERR_CERT_NAME,
     "the certificate does not name the address that was asked for; issue it with that address in "
     "--ip-addresses"},
    {X509_V_ERR_CERT_REVOKED, ERR_CERT_REVOKED, "the CA has revoked the certificate"},
    {X509_V_ERR_UNABLE_TO_GET_CRL, ERR_CERT_UNTRUSTED,
     "there is no CRL from the CA that issued the certificate; add it to the CRL file"},
    {X509_V_ERR_CRL_HAS_EXPIRED, ERR_CERT_UNTRUSTED,
     "the CRL has passed its next update; get a new one from the CA ('utun cert crl')"},
    {X509_V_ERR_CRL_NOT_YET_VALID, ERR_CERT_UNTRUSTED,
     "the CRL is not valid yet; check this machine's clock"},
    {X509_V_ERR_CRL_SIGNATURE_FAILURE, ERR_CERT_UNTRUSTED, "the CRL's signature is wrong"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, ERR_CERT_UNTRUSTED,
     "a CA of the chain is missing; add it to the CA file"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ERR_CERT_UNTRUSTED,
     "no CA in the CA file issued the certificate; both sides must have the CA that issued the "
     "other's certificate"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, ERR_CERT_UNTRUSTED,
     "no CA in the CA file issued the certificate; both sides must have the CA that issued the "
     "other's certificate"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, ERR_CERT_UNTRUSTED,
     "the certificate signed itself and is not in the CA file"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, ERR_CERT_UNTRUSTED,
     "the chain ends in a CA that is not in the CA file"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, ERR_CERT_UNTRUSTED,
     "a signature in the chain is wrong: a CA of the same name, but with another key; compare the "
     "fingerprints of the CA files"},
    {X509_V_ERR_EE_KEY_TOO_SMALL, ERR_CERT_UNTRUSTED, "the certificate's key is too short"},
    {X509_V_ERR_CA_KEY_TOO_SMALL, ERR_CERT_UNTRUSTED, "a CA's key in the chain is too short"},
    {X509_V_ERR_CA_MD_TOO_WEAK, ERR_CERT_UNTRUSTED, "a signature in the chain uses a weak hash"},
    {X509_V_ERR_OUT_OF_MEM, ERR_NOMEM, "out of memory"},
};

enum err identity_verify_error(long verify_result, const char **text)
{
    for (size_t i = 0; i < sizeof(verify_errors) / sizeof(verify_errors[0]); i++) {
        if (verify_errors[i].code != verify_result)
            continue;
        if (text != NULL)
            *text = verify_errors[i].text;
        return verify_errors[i].err;
    }
    if (text != NULL)
        *text = X509_verify_cert_error_string(verify_result);
    return ERR_CERT_UNTRUSTED;
}
