#include "crypto/pem.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* One block of a PEM file. The data may be a private key, so it is wiped when freed. */
struct block {
    char *label;
    char *header;
    unsigned char *data;
    long len;
};

static void block_fini(struct block *b)
{
    OPENSSL_free(b->label);
    OPENSSL_free(b->header);
    OPENSSL_clear_free(b->data, b->len > 0 ? (size_t)b->len : 0);
    *b = (struct block){0};
}

/* The next block; false at the end, with *damaged set where the end is not a clean one. */
static bool block_next(struct block *b, BIO *in, bool *damaged)
{
    *b = (struct block){0};
    *damaged = false;
    ERR_clear_error();
    if (PEM_read_bio(in, &b->label, &b->header, &b->data, &b->len) == 1)
        return true;
    *damaged = ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    ERR_clear_error();
    return false;
}

static bool is_pem(const struct file_bytes *in)
{
    return memmem(in->data, in->len, "-----BEGIN ", 11) != NULL;
}

static bool is_cert_label(const char *label)
{
    return strcmp(label, PEM_STRING_X509) == 0 || strcmp(label, PEM_STRING_X509_OLD) == 0;
}

static bool is_crl_label(const char *label)
{
    return strcmp(label, PEM_STRING_X509_CRL) == 0;
}

static bool is_key_label(const char *label)
{
    size_t len = strlen(label);

    return len >= 11 && strcmp(label + len - 11, "PRIVATE KEY") == 0;
}

/* What one kind of object needs to be read: the label of its blocks and how to take a block in. */
struct kind {
    const char *noun;
    bool (*is_label)(const char *label);
    bool (*take)(void *stack, const unsigned char *der, long len);
};

static bool take_cert(void *stack, const unsigned char *der, long len)
{
    const unsigned char *at = der;
    X509 *cert = d2i_X509(NULL, &at, len);

    /* Purpose flags are computed here once: later readers are many threads. */
    if (cert != NULL && at == der + len && X509_check_purpose(cert, -1, 0) == 1 &&
        sk_X509_push(stack, cert) > 0)
        return true;
    X509_free(cert);
    return false;
}

static bool take_crl(void *stack, const unsigned char *der, long len)
{
    const unsigned char *at = der;
    X509_CRL *crl = d2i_X509_CRL(NULL, &at, len);

    if (crl != NULL && at == der + len && sk_X509_CRL_push(stack, crl) > 0)
        return true;
    X509_CRL_free(crl);
    return false;
}

static const struct kind cert_kind = {"certificate", is_cert_label, take_cert};
static const struct kind crl_kind = {"CRL", is_crl_label, take_crl};

static enum err decode_pem(const struct kind *kind, void *stack, const struct file_bytes *in,
                           const char *where, struct err_detail *d)
{
    BIO *bio = BIO_new_mem_buf(in->data, (int)in->len);
    struct block b = {0};
    bool damaged = false;
    char other[64] = "";
    enum err e = ERR_OK;
    int taken = 0;

    if (bio == NULL)
        return err_set(d, ERR_NOMEM, "%s: out of memory", where);
    while (e == ERR_OK && block_next(&b, bio, &damaged)) {
        if (!kind->is_label(b.label))
            snprintf(other, sizeof(other), "%s", b.label);
        else if (kind->take(stack, b.data, b.len))
            taken++;
        else
            e = err_set(d, ERR_CERT_FORMAT, "%s: PEM block %d is not a valid %s; make it anew",
                        where, taken + 1, kind->noun);
        block_fini(&b);
    }
    if (e == ERR_OK && damaged)
        e = err_set(d, ERR_CERT_FORMAT,
                    "%s: PEM block %d is cut off or damaged; copy the file again", where,
                    taken + 1);
    else if (e == ERR_OK && taken == 0)
        e = err_set(d, ERR_CERT_FORMAT, "%s: holds %s%s%s but no %s; check the path", where,
                    other[0] != 0 ? "a block \"" : "PEM text", other, other[0] != 0 ? "\"" : "",
                    kind->noun);
    BIO_free(bio);
    return e;
}

static enum err decode(const struct kind *kind, void *stack, const struct file_bytes *in,
                       const char *where, struct err_detail *d)
{
    enum err e = ERR_OK;

    if (is_pem(in))
        e = decode_pem(kind, stack, in, where, d);
    else if (!kind->take(stack, in->data, (long)in->len))
        e = err_set(d, ERR_CERT_FORMAT, "%s: is not a %s: neither PEM nor DER; check the path",
                    where, kind->noun);
    ERR_clear_error();
    return e;
}

enum err pem_decode_certs(STACK_OF(X509) **out, const struct file_bytes *in, const char *where,
                          struct err_detail *d)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    enum err e = ERR_OK;

    *out = NULL;
    if (certs == NULL)
        return err_set(d, ERR_NOMEM, "%s: out of memory", where);
    e = decode(&cert_kind, certs, in, where, d);
    if (e == ERR_OK)
        *out = certs;
    else
        sk_X509_pop_free(certs, X509_free);
    return e;
}

enum err pem_decode_crls(STACK_OF(X509_CRL) **out, const struct file_bytes *in, const char *where,
                         struct err_detail *d)
{
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
    enum err e = ERR_OK;

    *out = NULL;
    if (crls == NULL)
        return err_set(d, ERR_NOMEM, "%s: out of memory", where);
    e = decode(&crl_kind, crls, in, where, d);
    if (e == ERR_OK)
        *out = crls;
    else
        sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return e;
}

static enum err refuse_encrypted(const char *where, struct err_detail *d)
{
    return err_set(d, ERR_CERT_FORMAT,
                   "%s: the private key is encrypted; decrypt it with: (umask 077; openssl pkey "
                   "-in ENCRYPTED -out PLAIN)",
                   where);
}

static enum err decode_key_der(EVP_PKEY **out, const unsigned char *der, long len,
                               const char *where, struct err_detail *d)
{
    const unsigned char *at = der;

    *out = d2i_AutoPrivateKey(NULL, &at, len);
    ERR_clear_error();
    if (*out != NULL)
        return ERR_OK;
    return err_set(d, ERR_CERT_FORMAT, "%s: is not a private key of a known kind; make it anew",
                   where);
}

static enum err decode_key_pem(EVP_PKEY **out, const struct file_bytes *in, const char *where,
                               struct err_detail *d)
{
    BIO *bio = BIO_new_mem_buf(in->data, (int)in->len);
    struct block b = {0};
    bool damaged = false;
    char other[64] = "";
    enum err e = ERR_OK;

    if (bio == NULL)
        return err_set(d, ERR_NOMEM, "%s: out of memory", where);
    while (e == ERR_OK && *out == NULL && block_next(&b, bio, &damaged)) {
        if (!is_key_label(b.label))
            snprintf(other, sizeof(other), "%s", b.label);
        else if (strcmp(b.label, PEM_STRING_PKCS8) == 0 || strstr(b.header, "ENCRYPTED") != NULL)
            e = refuse_encrypted(where, d);
        else
            e = decode_key_der(out, b.data, b.len, where, d);
        block_fini(&b);
    }
    if (e == ERR_OK && *out == NULL && damaged)
        e = err_set(d, ERR_CERT_FORMAT, "%s: the PEM text is cut off or damaged; copy it again",
                    where);
    else if (e == ERR_OK && *out == NULL)
        e = err_set(d, ERR_CERT_FORMAT, "%s: holds %s%s%s but no private key; check the path",
                    where, other[0] != 0 ? "a block \"" : "PEM text", other,
                    other[0] != 0 ? "\"" : "");
    BIO_free(bio);
    return e;
}

enum err pem_decode_key(EVP_PKEY **out, const struct file_bytes *in, const char *where,
                        struct err_detail *d)
{
    *out = NULL;
    if (is_pem(in))
        return decode_key_pem(out, in, where, d);
    return decode_key_der(out, in->data, (long)in->len, where, d);
}

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

enum err pem_read_certs(STACK_OF(X509) **out, const char *path, const char *what,
                        struct err_detail *d)
{
    struct file_bytes b = {0};
    enum err e = file_read(&b, path, what, FILE_PUBLIC, d);

    *out = NULL;
    if (e == ERR_OK)
        e = pem_decode_certs(out, &b, place_of(what, path).text, d);
    file_bytes_free(&b);
    return e;
}

enum err pem_read_cert(X509 **out, const char *path, const char *what, struct err_detail *d)
{
    STACK_OF(X509) *certs = NULL;
    enum err e = pem_read_certs(&certs, path, what, d);

    *out = e == ERR_OK ? sk_X509_shift(certs) : NULL;
    sk_X509_pop_free(certs, X509_free);
    return e;
}

enum err pem_read_crls(STACK_OF(X509_CRL) **out, const char *path, const char *what,
                       struct err_detail *d)
{
    struct file_bytes b = {0};
    enum err e = file_read(&b, path, what, FILE_PUBLIC, d);

    *out = NULL;
    if (e == ERR_OK)
        e = pem_decode_crls(out, &b, place_of(what, path).text, d);
    file_bytes_free(&b);
    return e;
}

static bool is_called_key(const struct file_bytes *in)
{
    return memmem(in->data, in->len, "PRIVATE KEY-----", 16) != NULL;
}

/*
 * That a file is open to others is nothing to mend where it is a certificate, say, by a wrong path:
 * then what it is goes into *d instead, and ERR_CERT_FORMAT is returned. Else ERR_KEY_MODE.
 */
static enum err doubt_open_key(const char *path, const char *what, struct err_detail *d)
{
    struct file_bytes b = {0};
    EVP_PKEY *key = NULL;
    struct err_detail why;
    enum err e = file_read(&b, path, what, FILE_SECRET_ANY_MODE, &why);

    if (e == ERR_OK && !is_called_key(&b))
        e = pem_decode_key(&key, &b, place_of(what, path).text, &why);
    EVP_PKEY_free(key);
    file_bytes_free(&b);
    return e == ERR_CERT_FORMAT ? err_set(d, e, "%s", why.text) : ERR_KEY_MODE;
}

enum err pem_read_key(EVP_PKEY **out, const char *path, const char *what, enum file_access access,
                      struct err_detail *d)
{
    struct file_bytes b = {0};
    enum err e = file_read(&b, path, what, access, d);

    *out = NULL;
    if (e == ERR_OK)
        e = pem_decode_key(out, &b, place_of(what, path).text, d);
    else if (e == ERR_KEY_MODE)
        e = doubt_open_key(path, what, d);
    file_bytes_free(&b);
    return e;
}

/* Moves what was written to bio into *out. */
static enum err take_text(struct file_bytes *out, BIO *bio)
{
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);

    if (len <= 0)
        return ERR_CRYPTO;
    out->data = malloc((size_t)len);
    if (out->data == NULL)
        return ERR_NOMEM;
    memcpy(out->data, text, (size_t)len);
    out->len = (size_t)len;
    return ERR_OK;
}

enum err pem_encode_cert(struct file_bytes *out, const X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    enum err e = ERR_NOMEM;

    *out = (struct file_bytes){0};
    if (bio != NULL)
        e = PEM_write_bio_X509(bio, cert) == 1 ? take_text(out, bio) : ERR_CRYPTO;
    BIO_free(bio);
    ERR_clear_error();
    return e;
}

enum err pem_encode_crl(struct file_bytes *out, const X509_CRL *crl)
{
    BIO *bio = BIO_new(BIO_s_mem());
    enum err e = ERR_NOMEM;

    *out = (struct file_bytes){0};
    if (bio != NULL)
        e = PEM_write_bio_X509_CRL(bio, crl) == 1 ? take_text(out, bio) : ERR_CRYPTO;
    BIO_free(bio);
    ERR_clear_error();
    return e;
}

enum err pem_encode_key(struct file_bytes *out, const EVP_PKEY *key)
{
    /* A memory BIO wipes its buffer when it grows and when it is freed. */
    BIO *bio = BIO_new(BIO_s_mem());
    enum err e = ERR_NOMEM;

    *out = (struct file_bytes){0};
    if (bio != NULL)
        e = PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1
                ? take_text(out, bio)
                : ERR_CRYPTO;
    BIO_free(bio);
    ERR_clear_error();
    return e;
}
