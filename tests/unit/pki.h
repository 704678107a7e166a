/*
 * A throwaway CA in a private temporary folder, for tests that need certificates of every kind.
 * Keys are Ed25519, which is quick; tests of an algorithm name theirs. Failures end the test.
 */
#ifndef UTUN_TESTS_UNIT_PKI_H
#define UTUN_TESTS_UNIT_PKI_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "crypto/cert_issue.h"
#include "crypto/pem.h"

#define PKI_DAY 86400

struct pki {
    char dir[64];
    struct cert_issue_result ca; /* also in ca.crt and ca.key */
};

/* A path inside the folder, as a value so that several fit into one expression. */
struct pki_path {
    char text[160];
};

static inline struct pki_path pki_path(const struct pki *p, const char *name)
{
    struct pki_path out;

    snprintf(out.text, sizeof(out.text), "%s/%s", p->dir, name);
    return out;
}

static inline void pki_write(const struct pki *p, const char *name, const void *data, size_t len,
                             mode_t mode)
{
    FILE *f = fopen(pki_path(p, name).text, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(pki_path(p, name).text, mode), 0);
}

/* Writes NAME.crt and NAME.key. */
static inline void pki_write_result(const struct pki *p, const char *name,
                                    const struct cert_issue_result *r)
{
    struct file_bytes b = {0};
    char file[64];

    assert_int_equal(pem_encode_cert(&b, r->cert), ERR_OK);
    snprintf(file, sizeof(file), "%s.crt", name);
    pki_write(p, file, b.data, b.len, 0644);
    file_bytes_free(&b);
    assert_int_equal(pem_encode_key(&b, r->key), ERR_OK);
    snprintf(file, sizeof(file), "%s.key", name);
    pki_write(p, file, b.data, b.len, 0600);
    file_bytes_free(&b);
}

/* Issues by the request, signed by signer (NULL: itself), into NAME.crt and NAME.key. */
static inline void pki_issue_by(const struct pki *p, const char *name,
                                struct cert_issue_request request,
                                const struct cert_issue_result *signer)
{
    struct cert_issue_result r;
    struct err_detail d = {""};

    if (signer != NULL) {
        request.issuer = signer->cert;
        request.issuer_key = signer->key;
    }
    if (cert_issue(&r, &request, &d) != ERR_OK)
        fail_msg("%s: %s", name, d.text);
    pki_write_result(p, name, &r);
    cert_issue_result_fini(&r);
}

static inline void pki_issue(const struct pki *p, const char *name,
                             struct cert_issue_request request)
{
    pki_issue_by(p, name, request, request.kind == CERT_ISSUE_CA ? NULL : &p->ca);
}

/* A sound server and client certificate: server.crt (localhost, 127.0.0.1, ::1), client.crt. */
static inline void pki_issue_pair(const struct pki *p)
{
    pki_issue(p, "server",
              (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "dest",
                                          .dns_names = "localhost",
                                          .ip_addresses = "127.0.0.1,::1"});
    pki_issue(p, "client",
              (struct cert_issue_request){.kind = CERT_ISSUE_CLIENT,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "edge-1"});
}

static inline X509 *pki_read_cert(const struct pki *p, const char *name)
{
    STACK_OF(X509) *certs = NULL;
    X509 *cert = NULL;

    assert_int_equal(pem_read_certs(&certs, pki_path(p, name).text, "certificate", NULL), ERR_OK);
    cert = sk_X509_shift(certs);
    sk_X509_pop_free(certs, X509_free);
    return cert;
}

/* OF.crt again, with its key, but without an extended key usage, in NAME.crt and NAME.key. */
static inline void pki_write_without_usage(const struct pki *p, const char *name, const char *of)
{
    struct cert_issue_result altered = {0};
    char file[64];

    snprintf(file, sizeof(file), "%s.crt", of);
    altered.cert = pki_read_cert(p, file);
    snprintf(file, sizeof(file), "%s.key", of);
    assert_int_equal(pem_read_key(&altered.key, pki_path(p, file).text, "key", FILE_SECRET, NULL),
                     ERR_OK);
    X509_EXTENSION_free(
        X509_delete_ext(altered.cert, X509_get_ext_by_NID(altered.cert, NID_ext_key_usage, -1)));
    assert_true(X509_sign(altered.cert, p->ca.key, NULL) > 0);
    pki_write_result(p, name, &altered);
    cert_issue_result_fini(&altered);
}

/* A CRL of the CA named by issuer, signed with key, that revokes `revoked` (NULL: nothing). */
static inline void pki_write_crl(const struct pki *p, const char *name, const X509 *issuer,
                                 EVP_PKEY *key, const X509 *revoked, int64_t next_update)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *t = ASN1_TIME_set(
        NULL, (time_t)(next_update < time(NULL) ? next_update - PKI_DAY : time(NULL) - 60));
    BIO *bio = BIO_new_file(pki_path(p, name).text, "w");

    assert_non_null(crl);
    assert_non_null(t);
    assert_non_null(bio);
    assert_int_equal(X509_CRL_set_version(crl, X509_CRL_VERSION_2), 1);
    assert_int_equal(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)), 1);
    assert_int_equal(X509_CRL_set1_lastUpdate(crl, t), 1);
    if (revoked != NULL) {
        X509_REVOKED *entry = X509_REVOKED_new();
        ASN1_INTEGER *serial = ASN1_INTEGER_dup(X509_get0_serialNumber(revoked));

        assert_int_equal(X509_REVOKED_set_serialNumber(entry, serial), 1);
        assert_int_equal(X509_REVOKED_set_revocationDate(entry, t), 1);
        assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
        ASN1_INTEGER_free(serial);
    }
    assert_non_null(ASN1_TIME_set(t, (time_t)next_update));
    assert_int_equal(X509_CRL_set1_nextUpdate(crl, t), 1);
    assert_int_equal(X509_CRL_sort(crl), 1);
    assert_true(X509_CRL_sign(crl, key, cert_key_digest(key)) > 0);
    assert_int_equal(PEM_write_bio_X509_CRL(bio, crl), 1);
    BIO_free(bio);
    ASN1_TIME_free(t);
    X509_CRL_free(crl);
}

/* Group setup and teardown: *state is the struct pki. */
static inline int pki_setup(void **state)
{
    struct pki *p = calloc(1, sizeof(*p));
    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Test CA"};

    if (p == NULL)
        return -1;
    snprintf(p->dir, sizeof(p->dir), "/tmp/utun-pki-XXXXXX");
    if (mkdtemp(p->dir) == NULL || cert_issue(&p->ca, &request, NULL) != ERR_OK)
        return -1;
    pki_write_result(p, "ca", &p->ca);
    *state = p;
    return 0;
}

static inline int pki_remove_entry(const char *path, const struct stat *st, int type,
                                   struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline int pki_teardown(void **state)
{
    struct pki *p = *state;
    int failed = nftw(p->dir, pki_remove_entry, 8, FTW_DEPTH | FTW_PHYS);

    cert_issue_result_fini(&p->ca);
    free(p);
    return failed;
}

/* OpenSSL's error queue must stay empty: a later, unrelated failure would report it. */
static inline void pki_assert_no_openssl_error(void)
{
    assert_int_equal(ERR_peek_error(), 0);
}

#endif
