#include "pki.h"

#include <openssl/x509v3.h>

#include "crypto/crl_info.h"

static void check_number(const X509_CRL *crl, const char *expected)
{
    char text[CRL_INFO_NUMBER_SIZE];

    crl_info_number(text, sizeof(text), crl);
    assert_string_equal(text, expected);
    pki_assert_no_openssl_error();
}

static void add_number(X509_CRL *crl, const char *hex)
{
    ASN1_INTEGER *number = s2i_ASN1_INTEGER(NULL, hex);

    assert_non_null(number);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, X509V3_ADD_REPLACE), 1);
    ASN1_INTEGER_free(number);
}

static void numbers_are_decimal(void **state)
{
    X509_CRL *crl = X509_CRL_new();
    char text[4];

    (void)state;
    check_number(crl, "none");
    add_number(crl, "0");
    check_number(crl, "0");
    add_number(crl, "0x1000");
    check_number(crl, "4096");
    crl_info_number(text, sizeof(text), crl);
    assert_string_equal(text, "409");
    add_number(crl, "-7");
    check_number(crl, "-7");
    /* 20 bytes, and 21. */
    add_number(crl, "0xffffffffffffffffffffffffffffffffffffffff");
    check_number(crl, "1461501637330902918203684832716283019655932542975");
    add_number(crl, "0x10000000000000000000000000000000000000000");
    check_number(crl, "unreadable");
    X509_CRL_free(crl);
}

static void what_is_no_number_is_unreadable(void **state)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    X509_EXTENSION *ext = NULL;

    (void)state;
    assert_int_equal(ASN1_OCTET_STRING_set(data, (const unsigned char *)"odd", 3), 1);
    ext = X509_EXTENSION_create_by_NID(NULL, NID_crl_number, 0, data);
    assert_int_equal(X509_CRL_add_ext(crl, ext, -1), 1);
    check_number(crl, "unreadable");
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(data);
    X509_CRL_free(crl);
}

static void entries_are_counted(void **state)
{
    const struct pki *p = *state;
    STACK_OF(X509_CRL) *crls = NULL;

    for (size_t n = 0; n < 2; n++) {
        pki_write_crl(p, "x.crl", p->ca.cert, p->ca.key, n == 1 ? p->ca.cert : NULL,
                      (int64_t)time(NULL) + PKI_DAY);
        assert_int_equal(pem_read_crls(&crls, pki_path(p, "x.crl").text, "CRL", NULL), ERR_OK);
        assert_int_equal(crl_info_count(sk_X509_CRL_value(crls, 0)), n);
        sk_X509_CRL_pop_free(crls, X509_CRL_free);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_decimal),
        cmocka_unit_test(what_is_no_number_is_unreadable),
        cmocka_unit_test(entries_are_counted),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
