#include "crypto/cert_issue.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/cert_issuer.h"
#include "crypto/cert_names.h"

/* RFC 5280 caps a serial at 20 octets, and a set top bit would cost one of them. */
#define SERIAL_BITS 159

/* Bits of keyUsage, RFC 5280, 4.2.1.3. */
enum {
    USAGE_DIGITAL_SIGNATURE = 0,
    USAGE_CERT_SIGN = 5,
    USAGE_CRL_SIGN = 6,
};

struct validity {
    int64_t from;
    int64_t until;
    bool is_clamped;
};

static enum err out_of_memory(struct err_detail *d)
{
    ERR_clear_error();
    return err_set(d, ERR_NOMEM, "out of memory");
}

static enum err check_issuer(const struct cert_issue_request *r, struct err_detail *d)
{
    if (r->kind == CERT_ISSUE_CA) {
        assert(r->issuer == NULL && r->issuer_key == NULL);
        return ERR_OK;
    }
    assert(r->issuer != NULL && r->issuer_key != NULL);
    return cert_issuer_check(r->issuer, r->issuer_key, CERT_ISSUER_SIGNS_CERTS, d);
}

static enum err choose_validity(struct validity *out, const struct cert_issue_request *r,
                                struct err_detail *d)
{
    int64_t now = (int64_t)time(NULL);
    int days = r->days != 0               ? r->days
               : r->kind == CERT_ISSUE_CA ? CERT_ISSUE_CA_DAYS
                                          : CERT_ISSUE_LEAF_DAYS;
    char text[32];

    if (days < 1 || days > CERT_ISSUE_MAX_DAYS)
        return err_set(d, ERR_USAGE, "%d days: a certificate lives from 1 to %d days", days,
                       CERT_ISSUE_MAX_DAYS);
    *out = (struct validity){
        .from = r->not_before != 0 ? r->not_before : now - CERT_ISSUE_BACKDATE_SECONDS,
        .until = r->not_after != 0 ? r->not_after : now + (int64_t)days * SECONDS_PER_DAY,
    };
    if (r->issuer != NULL) {
        int64_t last = cert_info_time(X509_get0_notAfter(r->issuer));

        if (last <= now) {
            cert_info_format_time(text, sizeof(text), last);
            return err_set(d, ERR_CERT_EXPIRED,
                           "the CA's certificate expired at %s; make a new one with 'utun cert ca'",
                           text);
        }
        if (out->until > last) {
            out->until = last;
            out->is_clamped = true;
        }
    }
    if (out->until <= out->from)
        return err_set(d, ERR_USAGE, "the certificate would end before it begins");
    return ERR_OK;
}

static enum err set_serial(X509 *cert)
{
    BIGNUM *serial = BN_new();
    enum err e = ERR_NOMEM;

    if (serial != NULL)
        e = BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
                    BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL
                ? ERR_OK
                : ERR_RANDOM;
    BN_free(serial);
    return e;
}

static enum err set_subject(X509 *cert, const char *common_name, struct err_detail *d)
{
    size_t len = strlen(common_name);

    if (len == 0)
        return err_set(d, ERR_USAGE, "the common name is empty");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)common_name[i] < 0x20 || common_name[i] == 0x7f)
            return err_set(d, ERR_USAGE, "the common name holds a control character");
    if (len <= 4 * ub_common_name &&
        X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName, MBSTRING_UTF8,
                                   (const unsigned char *)common_name, (int)len, -1, 0) == 1)
        return ERR_OK;
    ERR_clear_error();
    return err_set(d, ERR_USAGE, "the common name must be UTF-8 text of at most %d characters",
                   ub_common_name);
}

static bool set_times(X509 *cert, const struct validity *v)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)v->from) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)v->until) != NULL;
}

enum critical { NOT_CRITICAL, CRITICAL };

static bool add_extension(X509 *cert, int nid, void *value, enum critical critical)
{
    return X509_add1_ext_i2d(cert, nid, value, critical == CRITICAL, X509V3_ADD_DEFAULT) == 1;
}

static bool add_basic_constraints(X509 *cert, enum cert_issue_kind kind)
{
    BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
    bool ok = bc != NULL;

    if (ok && kind == CERT_ISSUE_CA) {
        bc->ca = 0xff;
        bc->pathlen = ASN1_INTEGER_new();
        ok = bc->pathlen != NULL && ASN1_INTEGER_set(bc->pathlen, 0) == 1;
    }
    ok = ok && add_extension(cert, NID_basic_constraints, bc, CRITICAL);
    BASIC_CONSTRAINTS_free(bc);
    return ok;
}

static bool add_key_usage(X509 *cert, enum cert_issue_kind kind)
{
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    bool ok = bits != NULL;

    if (kind == CERT_ISSUE_CA)
        ok = ok && ASN1_BIT_STRING_set_bit(bits, USAGE_CERT_SIGN, 1) == 1 &&
             ASN1_BIT_STRING_set_bit(bits, USAGE_CRL_SIGN, 1) == 1;
    else
        ok = ok && ASN1_BIT_STRING_set_bit(bits, USAGE_DIGITAL_SIGNATURE, 1) == 1;
    ok = ok && add_extension(cert, NID_key_usage, bits, CRITICAL);
    ASN1_BIT_STRING_free(bits);
    return ok;
}

static bool add_extended_key_usage(X509 *cert, enum cert_issue_kind kind)
{
    EXTENDED_KEY_USAGE *usage = NULL;
    bool ok = false;

    if (kind == CERT_ISSUE_CA)
        return true;
    usage = EXTENDED_KEY_USAGE_new();
    /* Objects of OpenSSL's own table are not freed, so they may be pushed as they are. */
    ok = usage != NULL &&
         sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(kind == CERT_ISSUE_SERVER ? NID_server_auth
                                                                          : NID_client_auth)) > 0 &&
         add_extension(cert, NID_ext_key_usage, usage, NOT_CRITICAL);
    EXTENDED_KEY_USAGE_free(usage);
    return ok;
}

/* RFC 7093, section 2, method 1: the leftmost 160 bits of the SHA-256 of the public key. */
static bool add_subject_key_id(X509 *cert)
{
    const ASN1_BIT_STRING *key = X509_get0_pubkey_bitstr(cert);
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    unsigned char hash[32];
    bool ok = id != NULL &&
              EVP_Digest(key->data, (size_t)key->length, hash, NULL, EVP_sha256(), NULL) == 1 &&
              ASN1_OCTET_STRING_set(id, hash, 20) == 1 &&
              add_extension(cert, NID_subject_key_identifier, id, NOT_CRITICAL);

    ASN1_OCTET_STRING_free(id);
    return ok;
}

static bool add_authority_key_id(X509 *cert, X509 *issuer)
{
    AUTHORITY_KEYID *id = NULL;
    bool ok = cert_issuer_key_id(&id, issuer) == ERR_OK &&
              (id == NULL || add_extension(cert, NID_authority_key_identifier, id, NOT_CRITICAL));

    AUTHORITY_KEYID_free(id);
    return ok;
}

static enum err add_common_name_as_alt_name(GENERAL_NAMES *names,
                                            const struct cert_issue_request *r,
                                            struct err_detail *d)
{
    if (cert_names_is_ip(r->common_name))
        return cert_names_add_ip(names, r->common_name, d);
    if (cert_names_is_dns(r->common_name, NULL))
        return cert_names_add_dns(names, r->common_name, d);
    if (r->kind == CERT_ISSUE_CLIENT)
        return ERR_OK;
    return err_set(d, ERR_USAGE,
                   "a server needs the names or addresses by which sources reach it, and \"%s\" is "
                   "neither; give --dns-names or --ip-addresses",
                   r->common_name);
}

static enum err add_alt_names(X509 *cert, const struct cert_issue_request *r, struct err_detail *d)
{
    GENERAL_NAMES *names = NULL;
    enum err e = ERR_OK;

    if (r->kind == CERT_ISSUE_CA)
        return ERR_OK;
    names = GENERAL_NAMES_new();
    if (names == NULL)
        return out_of_memory(d);
    e = cert_names_add_dns(names, r->dns_names, d);
    if (e == ERR_OK)
        e = cert_names_add_ip(names, r->ip_addresses, d);
    if (e == ERR_OK)
        e = cert_names_add_uri(names, r->uris, d);
    if (e == ERR_OK && sk_GENERAL_NAME_num(names) == 0)
        e = add_common_name_as_alt_name(names, r, d);
    if (e == ERR_OK && sk_GENERAL_NAME_num(names) > 0 &&
        !add_extension(cert, NID_subject_alt_name, names, NOT_CRITICAL))
        e = out_of_memory(d);
    GENERAL_NAMES_free(names);
    return e;
}

/* Everything but the subject and its names, which a person may have got wrong. */
static enum err fill_in(X509 *cert, const struct cert_issue_request *r, EVP_PKEY *key,
                        const struct validity *validity)
{
    X509 *issuer = r->issuer != NULL ? r->issuer : cert;

    if (X509_set_version(cert, X509_VERSION_3) != 1 || !set_times(cert, validity) ||
        X509_set_issuer_name(cert, X509_get_subject_name(issuer)) != 1 ||
        X509_set_pubkey(cert, key) != 1)
        return ERR_NOMEM;
    if (!add_basic_constraints(cert, r->kind) || !add_key_usage(cert, r->kind) ||
        !add_extended_key_usage(cert, r->kind) || !add_subject_key_id(cert) ||
        !add_authority_key_id(cert, issuer))
        return ERR_NOMEM;
    return set_serial(cert);
}

enum err cert_issue(struct cert_issue_result *out, const struct cert_issue_request *request,
                    struct err_detail *d)
{
    struct cert_issue_result r = {0};
    struct validity validity = {0};
    EVP_PKEY *signer = NULL;
    enum err e = ERR_OK;

    *out = (struct cert_issue_result){0};
    e = check_issuer(request, d);
    if (e != ERR_OK)
        return e;
    e = choose_validity(&validity, request, d);
    if (e != ERR_OK)
        return e;

    r.cert = X509_new();
    if (r.cert == NULL)
        return out_of_memory(d);
    e = set_subject(r.cert, request->common_name, d);
    if (e == ERR_OK)
        e = add_alt_names(r.cert, request, d);
    if (e != ERR_OK)
        goto out;
    e = cert_key_generate(&r.key, request->algorithm);
    if (e == ERR_OK)
        e = fill_in(r.cert, request, r.key, &validity);
    if (e != ERR_OK) {
        err_set(d, e, "cannot make the certificate: %s", err_text(e));
        goto out;
    }
    signer = request->issuer_key != NULL ? request->issuer_key : r.key;
    if (X509_sign(r.cert, signer, cert_key_digest(signer)) <= 0) {
        e = err_set(d, ERR_CRYPTO, "cannot sign the certificate with the CA's key");
        goto out;
    }
    r.is_clamped = validity.is_clamped;
    *out = r;
    r = (struct cert_issue_result){0};
out:
    cert_issue_result_fini(&r);
    ERR_clear_error();
    return e;
}

void cert_issue_result_fini(struct cert_issue_result *r)
{
    X509_free(r->cert);
    EVP_PKEY_free(r->key);
    *r = (struct cert_issue_result){0};
}
