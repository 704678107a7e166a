#include "pki.h"

#include "crypto/cert_files.h"

static struct cert_files pair_in(const struct pki_path *cert, const struct pki_path *key)
{
    return (struct cert_files){
        .cert_path = cert->text,
        .cert_what = "leaf certificate",
        .key_path = key->text,
        .key_what = "leaf key",
        .overwrite = FILE_KEEP_EXISTING,
    };
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void both_are_written_and_only_the_key_is_closed(void **state)
{
    const struct pki *p = *state;
    const struct pki_path cert = pki_path(p, "a.crt");
    const struct pki_path key = pki_path(p, "a.key");
    const struct cert_files files = pair_in(&cert, &key);
    STACK_OF(X509) *certs = NULL;
    EVP_PKEY *read = NULL;

    assert_int_equal(cert_files_write(&files, &p->ca, NULL), ERR_OK);
    assert_int_equal(mode_of(cert.text), 0644);
    assert_int_equal(mode_of(key.text), 0600);
    assert_int_equal(pem_read_certs(&certs, cert.text, "certificate", NULL), ERR_OK);
    assert_int_equal(pem_read_key(&read, key.text, "key", FILE_SECRET, NULL), ERR_OK);
    assert_int_equal(X509_check_private_key(sk_X509_value(certs, 0), read), 1);
    sk_X509_pop_free(certs, X509_free);
    EVP_PKEY_free(read);
}

static void a_key_may_be_left_out(void **state)
{
    const struct pki *p = *state;
    const struct pki_path cert = pki_path(p, "b.crt");
    const struct pki_path key = pki_path(p, "b.key");
    struct cert_files files = pair_in(&cert, &key);

    files.key_path = NULL;
    assert_int_equal(cert_files_write(&files, &p->ca, NULL), ERR_OK);
    assert_int_equal(access(cert.text, F_OK), 0);
    assert_int_equal(access(key.text, F_OK), -1);
}

static void nothing_is_written_beside_a_file_that_exists(void **state)
{
    const struct pki *p = *state;
    const struct pki_path cert = pki_path(p, "c.crt");
    const struct pki_path key = pki_path(p, "c.key");
    struct cert_files files = pair_in(&cert, &key);
    struct err_detail d;

    pki_write(p, "c.crt", "old", 3, 0644);
    assert_int_equal(cert_files_write(&files, &p->ca, &d), ERR_EXISTS);
    assert_non_null(strstr(d.text, "leaf certificate"));
    assert_int_equal(access(key.text, F_OK), -1);
    files.cert_what = NULL;
    assert_int_equal(cert_files_write(&files, &p->ca, &d), ERR_EXISTS);
    assert_non_null(strstr(d.text, "certificate"));
    assert_null(strstr(d.text, "leaf"));
    files.overwrite = FILE_REPLACE_EXISTING;
    assert_int_equal(cert_files_write(&files, &p->ca, &d), ERR_OK);
    assert_int_equal(mode_of(key.text), 0600);
}

static void a_missing_folder_is_named(void **state)
{
    const struct pki *p = *state;
    const struct pki_path cert = pki_path(p, "none/c.crt");
    const struct pki_path key = pki_path(p, "d.key");
    const struct cert_files files = pair_in(&cert, &key);
    struct err_detail d;

    assert_int_equal(cert_files_write(&files, &p->ca, &d), ERR_NOT_FOUND);
    assert_non_null(strstr(d.text, "mkdir -p"));
    assert_int_equal(access(key.text, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_are_written_and_only_the_key_is_closed),
        cmocka_unit_test(a_key_may_be_left_out),
        cmocka_unit_test(nothing_is_written_beside_a_file_that_exists),
        cmocka_unit_test(a_missing_folder_is_named),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
