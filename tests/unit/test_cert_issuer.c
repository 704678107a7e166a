#include "pki.h"

#include "crypto/cert_issuer.h"

static void the_ca_may_sign_both(void **state)
{
    const struct pki *p = *state;

    assert_int_equal(cert_issuer_check(p->ca.cert, p->ca.key, CERT_ISSUER_SIGNS_CERTS, NULL),
                     ERR_OK);
    assert_int_equal(cert_issuer_check(p->ca.cert, p->ca.key, CERT_ISSUER_SIGNS_CRLS, NULL),
                     ERR_OK);
    pki_assert_no_openssl_error();
}

static void another_key_and_a_leaf_are_refused(void **state)
{
    const struct pki *p = *state;
    X509 *leaf = pki_read_cert(p, "client.crt");
    EVP_PKEY *key = NULL;
    struct err_detail d;

    assert_int_equal(pem_read_key(&key, pki_path(p, "client.key").text, "key", FILE_SECRET, NULL),
                     ERR_OK);
    assert_int_equal(cert_issuer_check(p->ca.cert, key, CERT_ISSUER_SIGNS_CRLS, &d),
                     ERR_KEY_MISMATCH);
    assert_non_null(strstr(d.text, "CN=Test CA"));
    assert_int_equal(cert_issuer_check(leaf, key, CERT_ISSUER_SIGNS_CRLS, &d), ERR_CERT_PURPOSE);
    assert_non_null(strstr(d.text, "\"CN=edge-1\" is not a CA's certificate"));
    pki_assert_no_openssl_error();
    EVP_PKEY_free(key);
    X509_free(leaf);
}

/* The CA again, with another key usage, or none. */
static X509 *ca_with_usage(const struct pki *p, int bit)
{
    X509 *ca = pki_read_cert(p, "ca.crt");
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    unsigned char *der = NULL;
    X509 *fresh = NULL;
    const unsigned char *at = NULL;
    int len = 0;

    X509_EXTENSION_free(X509_delete_ext(ca, X509_get_ext_by_NID(ca, NID_key_usage, -1)));
    if (bit >= 0) {
        assert_int_equal(ASN1_BIT_STRING_set_bit(bits, bit, 1), 1);
        assert_int_equal(X509_add1_ext_i2d(ca, NID_key_usage, bits, 1, X509V3_ADD_DEFAULT), 1);
    }
    assert_true(X509_sign(ca, p->ca.key, NULL) > 0);
    len = i2d_X509(ca, &der);
    at = der;
    fresh = d2i_X509(NULL, &at, len);
    assert_non_null(fresh);
    OPENSSL_free(der);
    ASN1_BIT_STRING_free(bits);
    X509_free(ca);
    return fresh;
}

static void its_key_usage_counts(void **state)
{
    const struct pki *p = *state;
    X509 *for_certs = ca_with_usage(p, 5);
    X509 *for_crls = ca_with_usage(p, 6);
    X509 *for_all = ca_with_usage(p, -1);
    struct err_detail d;

    assert_int_equal(cert_issuer_check(for_certs, p->ca.key, CERT_ISSUER_SIGNS_CERTS, NULL),
                     ERR_OK);
    assert_int_equal(cert_issuer_check(for_certs, p->ca.key, CERT_ISSUER_SIGNS_CRLS, &d),
                     ERR_CERT_PURPOSE);
    assert_non_null(strstr(d.text, "may not sign CRLs"));
    /* One that only signs CRLs is no CA to anybody here. */
    assert_int_equal(cert_issuer_check(for_crls, p->ca.key, CERT_ISSUER_SIGNS_CERTS, NULL),
                     ERR_CERT_PURPOSE);
    assert_int_equal(cert_issuer_check(for_crls, p->ca.key, CERT_ISSUER_SIGNS_CRLS, NULL),
                     ERR_CERT_PURPOSE);
    assert_int_equal(cert_issuer_check(for_all, p->ca.key, CERT_ISSUER_SIGNS_CERTS, NULL), ERR_OK);
    assert_int_equal(cert_issuer_check(for_all, p->ca.key, CERT_ISSUER_SIGNS_CRLS, NULL), ERR_OK);
    X509_free(for_certs);
    X509_free(for_crls);
    X509_free(for_all);
}

static void the_key_id_is_the_subjects(void **state)
{
    const struct pki *p = *state;
    X509 *without = pki_read_cert(p, "ca.crt");
    AUTHORITY_KEYID *id = NULL;

    assert_int_equal(cert_issuer_key_id(&id, p->ca.cert), ERR_OK);
    assert_int_equal(ASN1_OCTET_STRING_cmp(id->keyid, X509_get0_subject_key_id(p->ca.cert)), 0);
    AUTHORITY_KEYID_free(id);
    X509_EXTENSION_free(
        X509_delete_ext(without, X509_get_ext_by_NID(without, NID_subject_key_identifier, -1)));
    assert_int_equal(cert_issuer_key_id(&id, without), ERR_OK);
    assert_null(id);
    pki_assert_no_openssl_error();
    X509_free(without);
}

static int setup(void **state)
{
    int failed = pki_setup(state);

    if (failed == 0)
        pki_issue_pair(*state);
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ca_may_sign_both),
        cmocka_unit_test(another_key_and_a_leaf_are_refused),
        cmocka_unit_test(its_key_usage_counts),
        cmocka_unit_test(the_key_id_is_the_subjects),
    };

    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
