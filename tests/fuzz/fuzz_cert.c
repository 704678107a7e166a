/*
 * Any bytes as a file with certificates, a key and revocation lists, alone and as an identity, and
 * a list as one that a CA goes on with. What is shown of a certificate or a list is terminated text
 * without control characters.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/err.h>

#include "crypto/cert_check.h"
#include "crypto/cert_info.h"
#include "crypto/cert_issue.h"
#include "crypto/cert_key.h"
#include "crypto/crl_info.h"
#include "crypto/crl_issue.h"
#include "crypto/identity.h"
#include "crypto/pem.h"
#include "target.h"

static void check_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);

    assert(len < size);
    for (size_t i = 0; i < len; i++)
        assert((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

/* Also into little room, where texts are cut. */
static void show(const X509 *cert, size_t size)
{
    char text[CERT_INFO_TEXT_SIZE];

    cert_info_common_name(text, size, cert);
    check_text(text, size);
    cert_info_name(text, size, X509_get_subject_name(cert));
    check_text(text, size);
    cert_info_name(text, size, X509_get_issuer_name(cert));
    check_text(text, size);
    cert_info_alt_names(text, size, cert);
    check_text(text, size);
    cert_info_key_usage(text, size, cert);
    check_text(text, size);
    cert_info_extended_key_usage(text, size, cert);
    check_text(text, size);
    cert_info_algorithm(text, size, cert);
    check_text(text, size);
    cert_info_serial(text, size, cert);
    check_text(text, size);
    cert_info_format_time(text, size, cert_info_time(X509_get0_notAfter(cert)));
    check_text(text, size);
    (void)cert_info_is_ca(cert);
}

static void check_cert(X509 *cert)
{
    struct identity_name name;
    struct file_bytes pem;
    STACK_OF(X509) *again;

    show(cert, CERT_INFO_TEXT_SIZE);
    show(cert, 8);
    identity_of_cert(&name, cert);
    check_text(name.common_name, sizeof(name.common_name));
    check_text(name.alt_names, sizeof(name.alt_names));
    check_text(name.fingerprint_hex, sizeof(name.fingerprint_hex));
    if (pem_encode_cert(&pem, cert) != ERR_OK)
        return;
    assert(pem_decode_certs(&again, &pem, "again", NULL) == ERR_OK);
    assert(sk_X509_num(again) == 1 && X509_cmp(sk_X509_value(again, 0), cert) == 0);
    sk_X509_pop_free(again, X509_free);
    file_bytes_free(&pem);
}

/* Ours, once; Ed25519 for its speed. */
static const struct cert_issue_result *own_ca(void)
{
    static struct cert_issue_result ca;
    const struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "CA"};

    if (ca.cert == NULL && cert_issue(&ca, &request, NULL) != ERR_OK)
        abort();
    return &ca;
}

/*
 * The list as if that CA had made it is gone on with, or refused. What comes of it has every entry
 * that was there, and one more.
 */
static void go_on_with(X509_CRL *crl)
{
    const struct cert_issue_result *ca = own_ca();
    ASN1_INTEGER *serial = NULL;
    X509_CRL *own = X509_CRL_dup(crl);
    struct crl_issue_entry entry = {0};
    struct crl_issue_result next;
    X509_REVOKED *there;
    struct err_detail d = {""};
    enum err e;

    if (own == NULL || X509_CRL_set_issuer_name(own, X509_get_subject_name(ca->cert)) != 1 ||
        X509_CRL_sign(own, ca->key, NULL) <= 0)
        goto out;
    ERR_clear_error();
    if (crl_issue_parse_serial(&serial, "fe:dc:ba:98", NULL) != ERR_OK)
        goto out;
    entry.serial = serial;
    e = crl_issue(&next,
                  &(struct crl_issue_request){.issuer = ca->cert,
                                              .issuer_key = ca->key,
                                              .previous = own,
                                              .previous_path = "input",
                                              .entries = &entry,
                                              .entry_count = 1},
                  &d);
    assert((e == ERR_OK) == (next.crl != NULL));
    check_text(d.text, sizeof(d.text));
    assert(ERR_peek_error() == 0);
    if (e == ERR_OK) {
        assert(crl_info_count(next.crl) == crl_info_count(own) + next.added);
        assert(X509_CRL_get0_by_serial(next.crl, &there, serial) == 1);
        assert(X509_CRL_verify(next.crl, ca->key) == 1);
    }
    crl_issue_result_fini(&next);
out:
    ERR_clear_error();
    ASN1_INTEGER_free(serial);
    X509_CRL_free(own);
}

static void check_crl(X509_CRL *crl)
{
    static const size_t sizes[] = {CERT_INFO_TEXT_SIZE, 8};
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);
    char text[CERT_INFO_TEXT_SIZE];
    STACK_OF(X509_CRL) *again;
    struct file_bytes pem;

    for (size_t i = 0; i < 2; i++) {
        crl_info_number(text, sizes[i], crl);
        check_text(text, sizes[i]);
        cert_info_name(text, sizes[i], X509_CRL_get_issuer(crl));
        check_text(text, sizes[i]);
        for (int j = 0; j < sk_X509_REVOKED_num(entries); j++) {
            cert_info_format_serial(
                text, sizes[i], X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, j)));
            check_text(text, sizes[i]);
        }
    }
    assert(ERR_peek_error() == 0);
    go_on_with(crl);
    if (pem_encode_crl(&pem, crl) != ERR_OK)
        return;
    assert(pem_decode_crls(&again, &pem, "again", NULL) == ERR_OK);
    assert(sk_X509_CRL_num(again) == 1 && X509_CRL_match(sk_X509_CRL_value(again, 0), crl) == 0);
    sk_X509_CRL_pop_free(again, X509_CRL_free);
    file_bytes_free(&pem);
}

static void decode(const struct file_bytes *in)
{
    STACK_OF(X509) *certs;
    STACK_OF(X509_CRL) *crls;
    EVP_PKEY *key;
    struct err_detail d;
    enum err e;

    e = pem_decode_certs(&certs, in, "input", &d);
    assert((e == ERR_OK) == (certs != NULL));
    assert(ERR_peek_error() == 0);
    if (e != ERR_OK)
        check_text(d.text, sizeof(d.text));
    for (int i = 0; i < sk_X509_num(certs); i++)
        check_cert(sk_X509_value(certs, i));
    sk_X509_pop_free(certs, X509_free);

    e = pem_decode_crls(&crls, in, "input", &d);
    assert((e == ERR_OK) == (crls != NULL));
    assert(ERR_peek_error() == 0);
    for (int i = 0; i < sk_X509_CRL_num(crls); i++)
        check_crl(sk_X509_CRL_value(crls, i));
    sk_X509_CRL_pop_free(crls, X509_CRL_free);

    e = pem_decode_key(&key, in, "input", &d);
    assert((e == ERR_OK) == (key != NULL));
    assert(ERR_peek_error() == 0);
    if (key != NULL)
        (void)cert_key_digest(key);
    EVP_PKEY_free(key);
}

/* One file for all: each reader takes from it what it looks for. */
static void load(const char *path)
{
    static const struct cert_check_files checked = {.hostname = "localhost"};
    struct cert_check_files files = checked;
    struct cert_check_report report;

    for (int with_crl = 0; with_crl < 2; with_crl++) {
        struct identity_files set = {
            .cert_path = path,
            .key_path = path,
            .ca_path = path,
            .crl_path = with_crl ? path : NULL,
            .use = IDENTITY_DEST,
            .key_access = IDENTITY_KEY_ANY_MODE,
        };
        struct identity *id;
        struct err_detail d = {""};
        enum err e = identity_load(&id, &set, &d);

        assert((e == ERR_OK) == (id != NULL));
        check_text(d.text, sizeof(d.text));
        identity_free(id);
        set.cert_path = NULL;
        set.key_path = NULL;
        e = identity_load(&id, &set, &d);
        assert((e == ERR_OK) == (id != NULL));
        identity_free(id);
    }
    files.cert_path = path;
    files.ca_path = path;
    files.crl_path = path;
    cert_check(&report, &files);
    assert(report.count > 0 && report.count <= CERT_CHECK_MAX_STEPS);
    for (size_t i = 0; i < report.count; i++)
        check_text(report.steps[i].detail.text, sizeof(report.steps[i].detail.text));
    assert(ERR_peek_error() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file_bytes in = {.data = (uint8_t *)(uintptr_t)data, .len = size};
    char path[64];
    int fd = memfd_create("input", MFD_CLOEXEC);

    decode(&in);
    assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    load(path);
    close(fd);
    return 0;
}
