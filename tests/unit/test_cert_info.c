#include "pki.h"

#include <openssl/x509v3.h>

#include "crypto/cert_info.h"

static X509 *make(const struct pki *p, struct cert_issue_request request)
{
    struct cert_issue_result r;
    X509 *cert = NULL;

    request.algorithm = CERT_KEY_ED25519;
    if (request.kind != CERT_ISSUE_CA) {
        request.issuer = p->ca.cert;
        request.issuer_key = p->ca.key;
    }
    assert_int_equal(cert_issue(&r, &request, NULL), ERR_OK);
    cert = r.cert;
    r.cert = NULL;
    cert_issue_result_fini(&r);
    return cert;
}

static void a_server_says_what_it_is(void **state)
{
    X509 *cert = make(*state, (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                                          .common_name = "dest \xc3\xbc",
                                                          .dns_names = "a.example",
                                                          .ip_addresses = "192.0.2.1,2001:db8::1",
                                                          .uris = "spiffe://x/y"});
    char text[CERT_INFO_TEXT_SIZE];

    cert_info_common_name(text, sizeof(text), cert);
    assert_string_equal(text, "dest \xc3\xbc");
    cert_info_name(text, sizeof(text), X509_get_issuer_name(cert));
    assert_string_equal(text, "CN=Test CA");
    cert_info_alt_names(text, sizeof(text), cert);
    assert_string_equal(text, "DNS:a.example, IP:192.0.2.1, IP:2001:db8::1, URI:spiffe://x/y");
    cert_info_key_usage(text, sizeof(text), cert);
    assert_string_equal(text, "digitalSignature");
    cert_info_extended_key_usage(text, sizeof(text), cert);
    assert_string_equal(text, "serverAuth");
    cert_info_algorithm(text, sizeof(text), cert);
    assert_string_equal(text, "Ed25519");
    assert_false(cert_info_is_ca(cert));
    pki_assert_no_openssl_error();
    X509_free(cert);
}

static void a_ca_says_what_it_is(void **state)
{
    const struct pki *p = *state;
    char text[CERT_INFO_TEXT_SIZE];

    cert_info_alt_names(text, sizeof(text), p->ca.cert);
    assert_string_equal(text, "");
    cert_info_key_usage(text, sizeof(text), p->ca.cert);
    assert_string_equal(text, "keyCertSign, cRLSign");
    cert_info_extended_key_usage(text, sizeof(text), p->ca.cert);
    assert_string_equal(text, "none");
    assert_true(cert_info_is_ca(p->ca.cert));
}

static void control_characters_do_not_reach_a_terminal(void **state)
{
    X509 *cert = X509_new();
    char text[CERT_INFO_TEXT_SIZE];
    static const char hostile[] = "a\x1b[31m\n\x7f\\\xc2\x9b\xc3\xbc";

    (void)state;
    assert_int_equal(X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName,
                                                V_ASN1_UTF8STRING, (const unsigned char *)hostile,
                                                (int)strlen(hostile), -1, 0),
                     1);
    cert_info_common_name(text, sizeof(text), cert);
    assert_string_equal(text, "a\\x1b[31m\\x0a\\x7f\\x5c\\xc2\x9b\xc3\xbc");
    X509_free(cert);
}

static void long_texts_are_cut_and_say_so(void **state)
{
    X509 *cert = make(*state, (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                                          .common_name = "x",
                                                          .dns_names = "aaaaaaaaaa,bbbbbbbbbb"});
    char text[16];

    cert_info_alt_names(text, sizeof(text), cert);
    assert_string_equal(text, "DNS:aaaaaaaa...");
    X509_free(cert);
}

/* Half of one would be no UTF-8, which JSON does not take. */
static void no_character_is_cut_in_two(void **state)
{
    static const char name[] = "\xc3\xa4\xc3\xb6\xc3\xbc\xe2\x82\xac\xc3\xa4\xc3\xb6\xc3\xbc";
    static const char *const wanted[] = {
        "\xc3\xa4\xc3\xb6...",                     /* in 8 bytes */
        "\xc3\xa4\xc3\xb6...",                     /* 9 */
        "\xc3\xa4\xc3\xb6\xc3\xbc...",             /* 10 */
        "\xc3\xa4\xc3\xb6\xc3\xbc...",             /* 11 */
        "\xc3\xa4\xc3\xb6\xc3\xbc...",             /* 12 */
        "\xc3\xa4\xc3\xb6\xc3\xbc\xe2\x82\xac...", /* 13 */
    };
    X509 *cert = X509_new();
    char text[16];

    (void)state;
    assert_int_equal(X509_NAME_add_entry_by_NID(X509_get_subject_name(cert), NID_commonName,
                                                V_ASN1_UTF8STRING, (const unsigned char *)name,
                                                (int)strlen(name), -1, 0),
                     1);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        cert_info_common_name(text, 8 + i, cert);
        assert_string_equal(text, wanted[i]);
    }
    cert_info_common_name(text, sizeof(text), cert);
    assert_string_equal(text, name);
    X509_free(cert);
}

static void a_certificate_without_anything_is_described(void **state)
{
    X509 *cert = X509_new();
    char text[64] = "before";

    (void)state;
    cert_info_common_name(text, sizeof(text), cert);
    assert_string_equal(text, "");
    cert_info_alt_names(text, sizeof(text), cert);
    assert_string_equal(text, "");
    cert_info_algorithm(text, sizeof(text), cert);
    assert_string_equal(text, "unknown");
    assert_false(cert_info_is_ca(cert));
    pki_assert_no_openssl_error();
    X509_free(cert);
}

static void times_are_seconds_and_readable(void **state)
{
    ASN1_TIME *t = ASN1_TIME_set(NULL, 1795361880);
    char text[32];

    (void)state;
    assert_int_equal(cert_info_time(t), 1795361880);
    assert_true(cert_info_time(NULL) == INT64_MIN);
    cert_info_format_time(text, sizeof(text), 1795361880);
    assert_string_equal(text, "2026-11-22 15:38:00 UTC");
    cert_info_format_time(text, sizeof(text), INT64_MIN);
    assert_string_equal(text, "an unreadable time");
    ASN1_TIME_free(t);
}

static void serial_and_fingerprint_are_those_of_openssl(void **state)
{
    const struct pki *p = *state;
    uint8_t fingerprint[32];
    uint8_t expected[32];
    unsigned char *der = NULL;
    int len = i2d_X509(p->ca.cert, &der);
    char text[80];
    BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(p->ca.cert), NULL);
    char *hex = BN_bn2hex(bn);
    size_t used = 0;

    assert_true(cert_info_fingerprint(fingerprint, p->ca.cert));
    assert_int_equal(EVP_Digest(der, (size_t)len, expected, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(fingerprint, expected, 32);
    cert_info_serial(text, sizeof(text), p->ca.cert);
    for (const char *c = text; *c != 0; c++)
        if (*c != ':')
            text[used++] = *c;
    text[used] = 0;
    assert_string_equal(text, hex);
    OPENSSL_free(hex);
    BN_free(bn);
    OPENSSL_free(der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_says_what_it_is),
        cmocka_unit_test(a_ca_says_what_it_is),
        cmocka_unit_test(control_characters_do_not_reach_a_terminal),
        cmocka_unit_test(long_texts_are_cut_and_say_so),
        cmocka_unit_test(no_character_is_cut_in_two),
        cmocka_unit_test(a_certificate_without_anything_is_described),
        cmocka_unit_test(times_are_seconds_and_readable),
        cmocka_unit_test(serial_and_fingerprint_are_those_of_openssl),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
