#include "crypto/cert_info.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/attr.h"

/* A text that grows up to its size, and ends in "..." once it did not fit. */
struct text {
    char *at;
    size_t size;
    size_t used;
    bool is_cut;
};

static struct text text_init(char *out, size_t size)
{
    out[0] = 0;
    return (struct text){.at = out, .size = size};
}

/* No half of a character stays. Cut once, it takes nothing more. */
static void text_cut(struct text *t)
{
    size_t end = t->size > 4 ? t->size - 4 : 0;

    while (end > 0 && ((unsigned char)t->at[end] & 0xc0) == 0x80)
        end--;
    if (t->size > 4)
        memcpy(t->at + end, "...", 4);
    t->is_cut = true;
}

static void text_put(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void text_put(struct text *t, const char *fmt, ...)
{
    va_list args;
    int n = 0;

    if (t->is_cut)
        return;
    va_start(args, fmt);
    n = vsnprintf(t->at + t->used, t->size - t->used, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= t->size - t->used)
        text_cut(t);
    else
        t->used += (size_t)n;
}

/* Puts bytes of UTF-8 with C0 and C1 control characters, DEL and backslash made visible. */
static void text_put_bytes(struct text *t, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool is_c1 = bytes[i] == 0xc2 && i + 1 < len && bytes[i + 1] < 0xa0;

        if (bytes[i] < 0x20 || bytes[i] == 0x7f || bytes[i] == '\\' || is_c1)
            text_put(t, "\\x%02x", bytes[i]);
        else
            text_put(t, "%c", bytes[i]);
    }
}

static void text_separate(struct text *t)
{
    if (t->used > 0)
        text_put(t, ", ");
}

static void text_put_asn1(struct text *t, const ASN1_STRING *s)
{
    unsigned char *utf8 = NULL;
    int len = ASN1_STRING_to_UTF8(&utf8, s);

    if (len > 0)
        text_put_bytes(t, utf8, (size_t)len);
    OPENSSL_free(utf8);
    ERR_clear_error();
}

void cert_info_common_name(char *out, size_t size, const X509 *cert)
{
    struct text t = text_init(out, size);
    const X509_NAME *name = X509_get_subject_name(cert);
    int last = -1;

    for (int i = -1; (i = X509_NAME_get_index_by_NID(name, NID_commonName, i)) >= 0;)
        last = i;
    if (last >= 0)
        text_put_asn1(&t, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
}

void cert_info_name(char *out, size_t size, const X509_NAME *name)
{
    struct text t = text_init(out, size);

    for (int i = X509_NAME_entry_count(name) - 1; i >= 0; i--) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        char oid[80];
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));

        if (nid == NID_undef)
            OBJ_obj2txt(oid, sizeof(oid), X509_NAME_ENTRY_get_object(entry), 1);
        text_separate(&t);
        text_put(&t, "%s=", nid == NID_undef ? oid : OBJ_nid2sn(nid));
        text_put_asn1(&t, X509_NAME_ENTRY_get_data(entry));
    }
    ERR_clear_error();
}

static void text_put_alt_name(struct text *t, const GENERAL_NAME *name)
{
    char buf[INET6_ADDRSTRLEN] = "?";
    int type = 0;
    const void *value = GENERAL_NAME_get0_value(name, &type);
    int len = 0;

    switch (type) {
    case GEN_DNS:
        text_put(t, "DNS:");
        text_put_asn1(t, value);
        return;
    case GEN_URI:
        text_put(t, "URI:");
        text_put_asn1(t, value);
        return;
    case GEN_EMAIL:
        text_put(t, "email:");
        text_put_asn1(t, value);
        return;
    case GEN_IPADD:
        len = ASN1_STRING_length(value);
        if (len == 4 || len == 16)
            inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value), buf,
                      sizeof(buf));
        text_put(t, "IP:%s", buf);
        return;
    default:
        text_put(t, "other");
    }
}

void cert_info_alt_names(char *out, size_t size, const X509 *cert)
{
    struct text t = text_init(out, size);
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        text_separate(&t);
        text_put_alt_name(&t, sk_GENERAL_NAME_value(names, i));
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
}

void cert_info_key_usage(char *out, size_t size, const X509 *cert)
{
    static const char *const bits[] = {
        "digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
        "keyCertSign",      "cRLSign",        "encipherOnly",    "decipherOnly",
    };
    struct text t = text_init(out, size);
    ASN1_BIT_STRING *usage = X509_get_ext_d2i(cert, NID_key_usage, NULL, NULL);

    if (usage == NULL)
        text_put(&t, "any");
    for (int i = 0; usage != NULL && i < (int)(sizeof(bits) / sizeof(bits[0])); i++) {
        if (ASN1_BIT_STRING_get_bit(usage, i) == 0)
            continue;
        text_separate(&t);
        text_put(&t, "%s", bits[i]);
    }
    ASN1_BIT_STRING_free(usage);
    ERR_clear_error();
}

void cert_info_extended_key_usage(char *out, size_t size, const X509 *cert)
{
    struct text t = text_init(out, size);
    EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);

    if (usage == NULL)
        text_put(&t, "none");
    for (int i = 0; i < sk_ASN1_OBJECT_num(usage); i++) {
        char name[80] = "?";

        OBJ_obj2txt(name, sizeof(name), sk_ASN1_OBJECT_value(usage, i), 0);
        text_separate(&t);
        switch (OBJ_obj2nid(sk_ASN1_OBJECT_value(usage, i))) {
        case NID_server_auth:
            text_put(&t, "serverAuth");
            break;
        case NID_client_auth:
            text_put(&t, "clientAuth");
            break;
        default:
            text_put(&t, "%s", name);
        }
    }
    EXTENDED_KEY_USAGE_free(usage);
    ERR_clear_error();
}

void cert_info_algorithm(char *out, size_t size, const X509 *cert)
{
    struct text t = text_init(out, size);
    EVP_PKEY *key = X509_get0_pubkey(cert);
    const char *type = key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;
    char group[64] = "?";
    size_t len = 0;

    if (type == NULL) {
        text_put(&t, "unknown");
    } else if (strcmp(type, "EC") == 0) {
        (void)EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                             &len);
        if (strcmp(group, "prime256v1") == 0)
            text_put(&t, "ECDSA P-256");
        else if (strcmp(group, "secp384r1") == 0)
            text_put(&t, "ECDSA P-384");
        else
            text_put(&t, "ECDSA %s", group);
    } else if (strncmp(type, "RSA", 3) == 0) {
        text_put(&t, "%s %d", type, EVP_PKEY_get_bits(key));
    } else if (strcmp(type, "ED25519") == 0) {
        text_put(&t, "Ed25519");
    } else {
        text_put(&t, "%s", type);
    }
    ERR_clear_error();
}

void cert_info_serial(char *out, size_t size, const X509 *cert)
{
    cert_info_format_serial(out, size, X509_get0_serialNumber(cert));
}

void cert_info_format_serial(char *out, size_t size, const ASN1_INTEGER *serial)
{
    struct text t = text_init(out, size);
    const unsigned char *bytes = ASN1_STRING_get0_data(serial);
    int len = ASN1_STRING_length(serial);

    for (int i = 0; i < len; i++)
        text_put(&t, "%s%02X", i > 0 ? ":" : "", bytes[i]);
}

bool cert_info_fingerprint(uint8_t out[32], const X509 *cert)
{
    unsigned int len = 0;

    if (X509_digest(cert, EVP_sha256(), out, &len) == 1 && len == 32)
        return true;
    memset(out, 0, 32);
    ERR_clear_error();
    return false;
}

int64_t cert_info_time(const ASN1_TIME *at)
{
    struct tm tm = {0};

    if (at == NULL || ASN1_TIME_to_tm(at, &tm) != 1) {
        ERR_clear_error();
        return INT64_MIN;
    }
    return timegm(&tm);
}

void cert_info_format_time(char *out, size_t size, int64_t t)
{
    time_t seconds = (time_t)t;
    struct tm tm;

    if (t == INT64_MIN || gmtime_r(&seconds, &tm) == NULL ||
        strftime(out, size, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(out, size, "an unreadable time");
}

bool cert_info_is_ca(const X509 *cert)
{
    /* The function fills in cached flags; with pem_decode_certs they are there already. */
    return X509_check_ca((X509 *)(uintptr_t)cert) == 1;
}
