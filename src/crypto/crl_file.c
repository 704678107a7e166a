#include "crypto/crl_file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/cert_issuer.h"
#include "crypto/file.h"
#include "crypto/pem.h"

/* Who has the lock needs a fraction of a second; longer keeps it only who means no good. */
#define LOCK_PATIENCE_MS 10000

/* What an entry of the list to be is made of: one of the two. */
struct revoked {
    X509 *cert;
    ASN1_INTEGER *serial;
};

/* The request with its files read. */
struct material {
    X509 *ca;
    EVP_PKEY *key;
    X509_CRL *previous;
    struct revoked *revoked;
    struct crl_issue_entry *entries; /* which point to those */
    size_t count;
};

static void material_fini(struct material *m)
{
    for (size_t i = 0; m->revoked != NULL && i < m->count; i++) {
        X509_free(m->revoked[i].cert);
        ASN1_INTEGER_free(m->revoked[i].serial);
    }
    free(m->revoked);
    free(m->entries);
    X509_free(m->ca);
    EVP_PKEY_free(m->key);
    X509_CRL_free(m->previous);
}

static enum err read_entries(struct material *m, const struct crl_file_request *r,
                             struct err_detail *d)
{
    enum err e = ERR_OK;

    m->count = r->cert_count + r->serial_count;
    /* One more, for calloc(0) may be NULL. */
    m->revoked = calloc(m->count + 1, sizeof(*m->revoked));
    m->entries = calloc(m->count + 1, sizeof(*m->entries));
    if (m->revoked == NULL || m->entries == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    for (size_t i = 0; e == ERR_OK && i < m->count; i++) {
        struct revoked *one = &m->revoked[i];
        const char *path = i < r->cert_count ? r->cert_paths[i] : NULL;

        if (path != NULL)
            e = pem_read_cert(&one->cert, path, "certificate", d);
        else
            e = crl_issue_parse_serial(&one->serial, r->serials[i - r->cert_count], d);
        m->entries[i] =
            (struct crl_issue_entry){.cert = one->cert, .serial = one->serial, .path = path};
    }
    return e;
}

/* The list that is there; NULL where there is none. */
static enum err read_previous(X509_CRL **out, const char *path, struct err_detail *d)
{
    STACK_OF(X509_CRL) *crls = NULL;
    struct stat st;
    enum err e = ERR_OK;

    *out = NULL;
    /* A link that leads nowhere is a list that is missing, not none. */
    if (lstat(path, &st) != 0 && errno == ENOENT)
        return ERR_OK;
    e = pem_read_crls(&crls, path, "CRL", d);
    if (e == ERR_OK && sk_X509_CRL_num(crls) > 1)
        e = err_set(d, ERR_CERT_FORMAT,
                    "CRL %s: holds %d lists; give the file with that of this CA alone", path,
                    sk_X509_CRL_num(crls));
    if (e == ERR_OK)
        *out = sk_X509_CRL_shift(crls);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return e;
}

static enum err write_list(X509_CRL *crl, const char *path, struct err_detail *d)
{
    struct file_bytes b = {NULL, 0};
    enum err e = pem_encode_crl(&b, crl);

    if (e != ERR_OK) {
        err_set(d, e, "CRL %s: %s", path, err_text(e));
    } else if (b.len > FILE_MAX_SIZE) {
        e = err_set(d, ERR_TOO_LARGE,
                    "CRL %s: would be %zu bytes, and no more than %zu are read; make a new CA "
                    "instead",
                    path, b.len, FILE_MAX_SIZE);
    } else {
        const struct file_new file = {path, "CRL", b.data, b.len, FILE_PUBLIC};

        e = file_create_all(&file, 1, FILE_REPLACE_EXISTING, d);
    }
    file_bytes_free(&b);
    return e;
}

/* With the folder locked. */
static enum err renew(struct crl_file_result *out, struct material *m,
                      const struct crl_file_request *r, const char *path, struct err_detail *d)
{
    struct crl_file_result result = {0};
    struct crl_issue_request issue = {
        .issuer = m->ca,
        .issuer_key = m->key,
        .previous_path = path,
        .entries = m->entries,
        .entry_count = m->count,
        .days = r->days,
    };
    enum err e = read_previous(&m->previous, path, d);

    issue.previous = m->previous;
    result.is_first = m->previous == NULL;
    if (e == ERR_OK)
        e = crl_issue(&result.issued, &issue, d);
    if (e == ERR_OK)
        e = write_list(result.issued.crl, path, d);
    if (e == ERR_OK)
        *out = result;
    else
        crl_file_result_fini(&result);
    return e;
}

enum err crl_file_renew(struct crl_file_result *out, const struct crl_file_request *request,
                        struct err_detail *d)
{
    struct material m = {0};
    /* Otherwise a link would be replaced, and what it leads to grow out of date. */
    char *real = realpath(request->crl_path, NULL);
    const char *path = real != NULL ? real : request->crl_path;
    enum err e;
    int lock = -1;

    *out = (struct crl_file_result){0};
    e = cert_issuer_read(&m.ca, &m.key, request->ca_cert_path, request->ca_key_path, d);
    if (e == ERR_OK)
        e = read_entries(&m, request, d);
    if (e == ERR_OK)
        e = file_lock_folder(&lock, path, "CRL", LOCK_PATIENCE_MS, d);
    if (e == ERR_OK)
        e = renew(out, &m, request, path, d);
    if (lock >= 0)
        close(lock);
    material_fini(&m);
    free(real);
    return e;
}

void crl_file_result_fini(struct crl_file_result *r)
{
    crl_issue_result_fini(&r->issued);
    *r = (struct crl_file_result){0};
}
