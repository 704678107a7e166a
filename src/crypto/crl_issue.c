#include "crypto/crl_issue.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/cert_issue.h"
#include "crypto/cert_issuer.h"
#include "crypto/cert_key.h"
#include "crypto/trust.h"

/* The CA's name in an error's text. */
struct name {
    char text[CERT_INFO_TEXT_SIZE / 8];
};

static struct name name_of(const X509_NAME *name)
{
    struct name out = {""};

    cert_info_name(out.text, sizeof(out.text), name);
    return out;
}

static enum err out_of_memory(struct err_detail *d)
{
    ERR_clear_error();
    return err_set(d, ERR_NOMEM, "out of memory");
}

/* -- the list before -- */

/* One that OpenSSL would not look up, or whose issuer it would take for the next one's, too. */
static bool is_odd_entry(const X509_REVOKED *entry)
{
    ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
    bool is_odd = reason != NULL && ASN1_ENUMERATED_get(reason) == CRL_REASON_REMOVE_FROM_CRL;

    ASN1_ENUMERATED_free(reason);
    ERR_clear_error();
    return is_odd || X509_REVOKED_get_ext_by_NID(entry, NID_certificate_issuer, -1) >= 0 ||
           X509_REVOKED_get_ext_by_critical(entry, 1, -1) >= 0;
}

static enum err check_complete(X509_CRL *crl, const char *path, struct err_detail *d)
{
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);
    bool is_odd = X509_CRL_get_ext_by_critical(crl, 1, -1) >= 0;

    for (int i = 0; !is_odd && i < sk_X509_REVOKED_num(entries); i++)
        is_odd = is_odd_entry(sk_X509_REVOKED_value(entries, i));
    if (!is_odd)
        return ERR_OK;
    return err_set(d, ERR_CERT_FORMAT,
                   "CRL %s: is no plain list of one CA (a delta or indirect CRL, or one for some "
                   "certificates only); go on with it by the program that made it",
                   path);
}

static enum err check_previous(const struct crl_issue_request *r, int64_t now, struct err_detail *d)
{
    const X509_NAME *ca = X509_get_subject_name(r->issuer);
    const X509_NAME *issuer = X509_CRL_get_issuer(r->previous);
    int64_t from = cert_info_time(X509_CRL_get0_lastUpdate(r->previous));
    char text[32];

    if (X509_NAME_cmp(issuer, ca) != 0)
        return err_set(
            d, ERR_CERT_UNTRUSTED,
            "CRL %s: is of the CA \"%s\", not of \"%s\"; give another name, or that CA's "
            "certificate and key",
            r->previous_path, name_of(issuer).text, name_of(ca).text);
    if (X509_CRL_verify(r->previous, r->issuer_key) != 1) {
        ERR_clear_error();
        return err_set(d, ERR_CERT_UNTRUSTED,
                       "CRL %s: names the CA \"%s\", but is not signed by its key: it was altered, "
                       "or is of another CA of that name; put the right one there",
                       r->previous_path, name_of(ca).text);
    }
    if (from == INT64_MIN || from > now) {
        cert_info_format_time(text, sizeof(text), from);
        return err_set(d, ERR_CONFIG,
                       "CRL %s: was made at %s, which is in the future; check this machine's clock",
                       r->previous_path, text);
    }
    return check_complete(r->previous, r->previous_path, d);
}

/* -- number and dates -- */

/* One more than the previous list's, or 1. */
static enum err next_number(ASN1_INTEGER **out, const struct crl_issue_request *r,
                            struct err_detail *d)
{
    ASN1_INTEGER *last = NULL;
    BIGNUM *n = NULL;
    enum err e = ERR_NOMEM;
    int found = -1;

    *out = NULL;
    if (r->previous != NULL)
        last = X509_CRL_get_ext_d2i(r->previous, NID_crl_number, &found, NULL);
    if (found != -1 && (last == NULL || ASN1_STRING_type(last) == V_ASN1_NEG_INTEGER ||
                        ASN1_STRING_length(last) > CRL_ISSUE_NUMBER_SIZE)) {
        e = err_set(d, ERR_CERT_FORMAT, "CRL %s: its CRL number is not one of RFC 5280, 5.2.3",
                    r->previous_path);
        goto out;
    }
    n = last != NULL ? ASN1_INTEGER_to_BN(last, NULL) : BN_new();
    if (n == NULL || BN_add_word(n, 1) != 1) {
        e = out_of_memory(d);
        goto out;
    }
    if (BN_num_bits(n) >= 8 * CRL_ISSUE_NUMBER_SIZE) {
        e = err_set(d, ERR_CERT_FORMAT, "CRL %s: its CRL number is the greatest there may be",
                    r->previous_path);
        goto out;
    }
    *out = BN_to_ASN1_INTEGER(n, NULL);
    e = *out != NULL ? ERR_OK : out_of_memory(d);
out:
    BN_free(n);
    ASN1_INTEGER_free(last);
    ERR_clear_error();
    return e;
}

static bool set_time(int (*set)(X509_CRL *crl, const ASN1_TIME *t), X509_CRL *crl, int64_t at)
{
    ASN1_TIME *t = ASN1_TIME_set(NULL, (time_t)at);
    bool ok = t != NULL && set(crl, t) == 1;

    ASN1_TIME_free(t);
    return ok;
}

static bool set_dates(X509_CRL *crl, const struct crl_issue_request *r, int64_t now)
{
    int days = r->days != 0 ? r->days : CRL_ISSUE_DAYS;
    int64_t from = now - CERT_ISSUE_BACKDATE_SECONDS;

    /* Whoever has both takes the one that begins later. */
    if (r->previous != NULL && cert_info_time(X509_CRL_get0_lastUpdate(r->previous)) > from)
        from = cert_info_time(X509_CRL_get0_lastUpdate(r->previous));
    return set_time(X509_CRL_set1_lastUpdate, crl, from) &&
           set_time(X509_CRL_set1_nextUpdate, crl, now + (int64_t)days * SECONDS_PER_DAY);
}

/* -- entries -- */

static enum err check_entry(const struct crl_issue_entry *entry, X509 *issuer, struct err_detail *d)
{
    const X509_NAME *ca = X509_get_subject_name(issuer);
    const X509_NAME *named = NULL;
    bool is_signed = false;

    if (entry->cert == NULL)
        return ERR_OK;
    named = X509_get_issuer_name(entry->cert);
    if (X509_NAME_cmp(named, ca) != 0)
        return err_set(
            d, ERR_CERT_UNTRUSTED,
            "certificate %s: was issued by \"%s\", so \"%s\" cannot revoke it; give that "
            "CA's certificate and key",
            entry->path, name_of(named).text, name_of(ca).text);
    is_signed = X509_verify(entry->cert, X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    if (is_signed)
        return ERR_OK;
    return err_set(d, ERR_CERT_UNTRUSTED,
                   "certificate %s: names the CA \"%s\", but is not signed by its key: it was "
                   "altered, or is of another CA of that name",
                   entry->path, name_of(ca).text);
}

/* A CA that revokes itself shuts everybody out, and nobody could believe it. */
static enum err check_not_self(X509 *issuer, const ASN1_INTEGER *serial, struct err_detail *d)
{
    const X509_NAME *ca = X509_get_subject_name(issuer);

    if (X509_NAME_cmp(ca, X509_get_issuer_name(issuer)) != 0 ||
        ASN1_INTEGER_cmp(X509_get0_serialNumber(issuer), serial) != 0)
        return ERR_OK;
    return err_set(d, ERR_USAGE,
                   "the certificate of the CA \"%s\" itself cannot be revoked; make a new CA, and "
                   "take this one out of ca_cert_path",
                   name_of(ca).text);
}

static enum err put_entry(X509_CRL *crl, const ASN1_INTEGER *serial, int64_t now)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_INTEGER *copy = ASN1_INTEGER_dup(serial);
    ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)now);
    bool ok = entry != NULL && copy != NULL && at != NULL &&
              X509_REVOKED_set_serialNumber(entry, copy) == 1 &&
              X509_REVOKED_set_revocationDate(entry, at) == 1 &&
              X509_CRL_add0_revoked(crl, entry) == 1;

    if (!ok)
        X509_REVOKED_free(entry);
    ASN1_INTEGER_free(copy);
    ASN1_TIME_free(at);
    return ok ? ERR_OK : ERR_NOMEM;
}

static enum err add_entries(struct crl_issue_result *out, const struct crl_issue_request *r,
                            int64_t now, struct err_detail *d)
{
    for (size_t i = 0; i < r->entry_count; i++) {
        const struct crl_issue_entry *entry = &r->entries[i];
        const ASN1_INTEGER *serial =
            entry->serial != NULL ? entry->serial : X509_get0_serialNumber(entry->cert);
        X509_REVOKED *there = NULL;
        enum err e = check_entry(entry, r->issuer, d);

        if (e == ERR_OK)
            e = check_not_self(r->issuer, serial, d);
        if (e != ERR_OK)
            return e;
        if (X509_CRL_get0_by_serial(out->crl, &there, serial) != 0) {
            out->known++;
            continue;
        }
        if (put_entry(out->crl, serial, now) != ERR_OK)
            return out_of_memory(d);
        out->added++;
    }
    return ERR_OK;
}

/* -- the whole -- */

static void remove_extension(X509_CRL *crl, int nid)
{
    for (int at = 0; (at = X509_CRL_get_ext_by_NID(crl, nid, -1)) >= 0;)
        X509_EXTENSION_free(X509_CRL_delete_ext(crl, at));
}

static enum err fill_in(X509_CRL *crl, const struct crl_issue_request *r, int64_t now,
                        struct err_detail *d)
{
    AUTHORITY_KEYID *key_id = NULL;
    ASN1_INTEGER *number = NULL;
    enum err e = next_number(&number, r, d);

    if (e != ERR_OK)
        return e;
    remove_extension(crl, NID_authority_key_identifier);
    remove_extension(crl, NID_crl_number);
    if (X509_CRL_set_version(crl, X509_CRL_VERSION_2) != 1 ||
        X509_CRL_set_issuer_name(crl, X509_get_subject_name(r->issuer)) != 1 ||
        !set_dates(crl, r, now) || cert_issuer_key_id(&key_id, r->issuer) != ERR_OK ||
        (key_id != NULL && X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, key_id, 0,
                                                 X509V3_ADD_DEFAULT) != 1) ||
        X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, X509V3_ADD_DEFAULT) != 1)
        e = out_of_memory(d);
    AUTHORITY_KEYID_free(key_id);
    ASN1_INTEGER_free(number);
    return e;
}

static enum err check_request(const struct crl_issue_request *r, int64_t now, struct err_detail *d)
{
    enum err e = cert_issuer_check(r->issuer, r->issuer_key, CERT_ISSUER_SIGNS_CRLS, d);

    if (e == ERR_OK)
        e = trust_check_times(r->issuer, "the CA's certificate",
                              "make a new one with 'utun cert ca'", d);
    if (e == ERR_OK && (r->days < 0 || r->days > CRL_ISSUE_MAX_DAYS))
        e = err_set(d, ERR_USAGE, "%d days: a list is good for 1 to %d days", r->days,
                    CRL_ISSUE_MAX_DAYS);
    if (e == ERR_OK && r->previous != NULL)
        e = check_previous(r, now, d);
    return e;
}

enum err crl_issue(struct crl_issue_result *out, const struct crl_issue_request *request,
                   struct err_detail *d)
{
    struct crl_issue_result r = {0};
    int64_t now = (int64_t)time(NULL);
    enum err e = ERR_OK;

    *out = (struct crl_issue_result){0};
    e = check_request(request, now, d);
    if (e != ERR_OK)
        return e;
    r.crl = request->previous != NULL ? X509_CRL_dup(request->previous) : X509_CRL_new();
    if (r.crl == NULL)
        return out_of_memory(d);
    e = fill_in(r.crl, request, now, d);
    if (e == ERR_OK)
        e = add_entries(&r, request, now, d);
    if (e != ERR_OK)
        goto out;
    if (X509_CRL_sort(r.crl) != 1 ||
        X509_CRL_sign(r.crl, request->issuer_key, cert_key_digest(request->issuer_key)) <= 0) {
        e = err_set(d, ERR_CRYPTO, "cannot sign the CRL with the CA's key");
        goto out;
    }
    *out = r;
    r = (struct crl_issue_result){0};
out:
    crl_issue_result_fini(&r);
    ERR_clear_error();
    return e;
}

void crl_issue_result_fini(struct crl_issue_result *r)
{
    X509_CRL_free(r->crl);
    *r = (struct crl_issue_result){0};
}

enum err crl_issue_parse_serial(ASN1_INTEGER **out, const char *text, struct err_detail *d)
{
    char digits[2 * CRL_ISSUE_NUMBER_SIZE + 1];
    BIGNUM *n = NULL;
    size_t used = 0;
    const char *p = text;

    *out = NULL;
    for (; *p != 0 && used + 1 < sizeof(digits); p++) {
        if (*p == ':' && used > 0 && used % 2 == 0 && isxdigit((unsigned char)p[1]) &&
            isxdigit((unsigned char)p[2]))
            continue;
        if (!isxdigit((unsigned char)*p))
            break;
        digits[used++] = *p;
    }
    digits[used] = 0;
    if (used == 0 || *p != 0)
        return err_set(d, ERR_USAGE,
                       "%.80s is no serial: give 1 to %d hexadecimal digits, with colons or "
                       "without, as 'utun cert show' prints them",
                       text[0] != 0 ? text : "an empty text", 2 * CRL_ISSUE_NUMBER_SIZE);
    if (BN_hex2bn(&n, digits) > 0)
        *out = BN_to_ASN1_INTEGER(n, NULL);
    BN_free(n);
    ERR_clear_error();
    return *out != NULL ? ERR_OK : out_of_memory(d);
}
