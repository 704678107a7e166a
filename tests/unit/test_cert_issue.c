#include "pki.h"

#include <openssl/x509v3.h>

#include "crypto/cert_info.h"

static struct cert_issue_request leaf_request(const struct pki *p, enum cert_issue_kind kind)
{
    return (struct cert_issue_request){.kind = kind,
                                       .algorithm = CERT_KEY_ED25519,
                                       .common_name = "leaf.example",
                                       .issuer = p->ca.cert,
                                       .issuer_key = p->ca.key};
}

static struct cert_issue_result issue(const struct cert_issue_request *request)
{
    struct cert_issue_result r;
    struct err_detail d = {""};

    if (cert_issue(&r, request, &d) != ERR_OK)
        fail_msg("%s", d.text);
    pki_assert_no_openssl_error();
    return r;
}

static enum err refusal(const struct cert_issue_request *request, struct err_detail *d)
{
    struct cert_issue_result r;
    enum err e = cert_issue(&r, request, d);

    assert_null(r.cert);
    assert_null(r.key);
    pki_assert_no_openssl_error();
    return e;
}

static bool is_critical(X509 *cert, int nid)
{
    int at = X509_get_ext_by_NID(cert, nid, -1);

    assert_true(at >= 0);
    return X509_EXTENSION_get_critical(X509_get_ext(cert, at)) == 1;
}

static void every_algorithm_makes_a_chain_that_verifies(void **state)
{
    (void)state;
    for (int a = 0; a < CERT_KEY_COUNT; a++) {
        struct cert_issue_request request = {
            .kind = CERT_ISSUE_CA, .algorithm = (enum cert_key_algorithm)a, .common_name = "CA"};
        struct cert_issue_result ca = issue(&request);
        struct cert_issue_result leaf;
        X509_STORE *store = X509_STORE_new();
        X509_STORE_CTX *ctx = X509_STORE_CTX_new();

        request = (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                              .algorithm = (enum cert_key_algorithm)a,
                                              .common_name = "dest.example",
                                              .issuer = ca.cert,
                                              .issuer_key = ca.key};
        leaf = issue(&request);
        assert_int_equal(X509_STORE_add_cert(store, ca.cert), 1);
        assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf.cert, NULL), 1);
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
        X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
        if (X509_verify_cert(ctx) != 1)
            fail_msg("%s: %s", cert_key_name((enum cert_key_algorithm)a),
                     X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
        assert_int_equal(X509_check_private_key(leaf.cert, leaf.key), 1);
        X509_STORE_CTX_free(ctx);
        X509_STORE_free(store);
        cert_issue_result_fini(&leaf);
        cert_issue_result_fini(&ca);
    }
}

static void a_ca_may_sign_leaves_and_nothing_else(void **state)
{
    const struct pki *p = *state;
    X509 *ca = p->ca.cert;

    assert_int_equal(X509_get_version(ca), X509_VERSION_3);
    assert_true(is_critical(ca, NID_basic_constraints));
    assert_true(is_critical(ca, NID_key_usage));
    assert_int_equal(X509_check_ca(ca), 1);
    assert_int_equal(X509_get_pathlen(ca), 0);
    assert_int_equal(X509_get_key_usage(ca), X509v3_KU_KEY_CERT_SIGN | X509v3_KU_CRL_SIGN);
    assert_int_equal(X509_get_ext_by_NID(ca, NID_ext_key_usage, -1), -1);
    assert_int_equal(
        ASN1_OCTET_STRING_cmp(X509_get0_subject_key_id(ca), X509_get0_authority_key_id(ca)), 0);
}

static void a_leaf_has_one_use_and_points_to_its_ca(void **state)
{
    const struct pki *p = *state;

    for (int kind = CERT_ISSUE_SERVER; kind <= CERT_ISSUE_CLIENT; kind++) {
        struct cert_issue_request request = leaf_request(p, (enum cert_issue_kind)kind);
        struct cert_issue_result r = issue(&request);

        assert_true(is_critical(r.cert, NID_basic_constraints));
        assert_true(is_critical(r.cert, NID_key_usage));
        assert_int_equal(X509_check_ca(r.cert), 0);
        assert_int_equal(X509_get_key_usage(r.cert), X509v3_KU_DIGITAL_SIGNATURE);
        assert_int_equal(X509_get_extended_key_usage(r.cert),
                         kind == CERT_ISSUE_SERVER ? XKU_SSL_SERVER : XKU_SSL_CLIENT);
        assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_subject_key_id(p->ca.cert),
                                               X509_get0_authority_key_id(r.cert)),
                         0);
        assert_int_not_equal(ASN1_OCTET_STRING_cmp(X509_get0_subject_key_id(r.cert),
                                                   X509_get0_authority_key_id(r.cert)),
                             0);
        cert_issue_result_fini(&r);
    }
}

static void serials_are_positive_long_and_never_the_same(void **state)
{
    struct cert_issue_request request = leaf_request(*state, CERT_ISSUE_CLIENT);
    BIGNUM *serials[32];
    int longest = 0;

    for (int i = 0; i < 32; i++) {
        struct cert_issue_result r = issue(&request);

        serials[i] = ASN1_INTEGER_to_BN(X509_get0_serialNumber(r.cert), NULL);
        assert_false(BN_is_negative(serials[i]));
        assert_false(BN_is_zero(serials[i]));
        assert_true(BN_num_bits(serials[i]) <= 159);
        if (BN_num_bits(serials[i]) > longest)
            longest = BN_num_bits(serials[i]);
        for (int j = 0; j < i; j++)
            assert_int_not_equal(BN_cmp(serials[i], serials[j]), 0);
        cert_issue_result_fini(&r);
    }
    assert_true(longest >= 150);
    for (int i = 0; i < 32; i++)
        BN_free(serials[i]);
}

static int64_t end_of(const X509 *cert)
{
    return cert_info_time(X509_get0_notAfter(cert));
}

static void lifetimes_are_as_asked_for(void **state)
{
    struct cert_issue_request request = leaf_request(*state, CERT_ISSUE_SERVER);
    struct cert_issue_request ca = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "CA"};
    struct cert_issue_result r = issue(&request);
    int64_t now = (int64_t)time(NULL);

    assert_in_range(now - cert_info_time(X509_get0_notBefore(r.cert)), 300, 330);
    assert_in_range(end_of(r.cert) - now + 30, (uintmax_t)365 * PKI_DAY,
                    (uintmax_t)365 * PKI_DAY + 60);
    cert_issue_result_fini(&r);
    r = issue(&ca);
    assert_in_range(end_of(r.cert) - now + 30, (uintmax_t)3650 * PKI_DAY,
                    (uintmax_t)3650 * PKI_DAY + 60);
    cert_issue_result_fini(&r);
    request.days = 7;
    r = issue(&request);
    assert_in_range(end_of(r.cert) - now + 30, 7 * PKI_DAY, 7 * PKI_DAY + 60);
    assert_false(r.is_clamped);
    cert_issue_result_fini(&r);
}

static void a_leaf_ends_with_its_ca_at_the_latest(void **state)
{
    const struct pki *p = *state;
    struct cert_issue_request request = leaf_request(p, CERT_ISSUE_SERVER);
    struct cert_issue_result r;

    request.days = 36500;
    r = issue(&request);
    assert_true(r.is_clamped);
    assert_int_equal(end_of(r.cert), end_of(p->ca.cert));
    cert_issue_result_fini(&r);
}

static void any_time_can_be_asked_for(void **state)
{
    struct cert_issue_request request = leaf_request(*state, CERT_ISSUE_CLIENT);
    struct cert_issue_result r;
    int64_t now = (int64_t)time(NULL);

    request.not_before = now - 20 * PKI_DAY;
    request.not_after = now - 10 * PKI_DAY;
    r = issue(&request);
    assert_int_equal(cert_info_time(X509_get0_notBefore(r.cert)), now - 20 * PKI_DAY);
    assert_int_equal(end_of(r.cert), now - 10 * PKI_DAY);
    cert_issue_result_fini(&r);
    request.not_before = now;
    assert_int_equal(refusal(&request, NULL), ERR_USAGE);
}

static void names_come_from_the_request_or_the_common_name(void **state)
{
    static const struct {
        enum cert_issue_kind kind;
        const char *common_name, *dns_names, *ip_addresses, *uris, *expected;
    } cases[] = {
        {CERT_ISSUE_SERVER, "dest.example", NULL, NULL, NULL, "DNS:dest.example"},
        {CERT_ISSUE_SERVER, "192.0.2.1", NULL, NULL, NULL, "IP:192.0.2.1"},
        {CERT_ISSUE_SERVER, "dest.example", "a,*.b.example", "::1", NULL,
         "DNS:a, DNS:*.b.example, IP:::1"},
        {CERT_ISSUE_CLIENT, "edge-1", NULL, NULL, NULL, "DNS:edge-1"},
        {CERT_ISSUE_CLIENT, "the edge", NULL, NULL, NULL, ""},
        {CERT_ISSUE_CLIENT, "the edge", NULL, NULL, "spiffe://x/y", "URI:spiffe://x/y"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cert_issue_request request = leaf_request(*state, cases[i].kind);
        struct cert_issue_result r;
        char text[CERT_INFO_TEXT_SIZE];

        request.common_name = cases[i].common_name;
        request.dns_names = cases[i].dns_names;
        request.ip_addresses = cases[i].ip_addresses;
        request.uris = cases[i].uris;
        r = issue(&request);
        cert_info_alt_names(text, sizeof(text), r.cert);
        assert_string_equal(text, cases[i].expected);
        cert_issue_result_fini(&r);
    }
}

static void wrong_requests_are_refused_with_a_reason(void **state)
{
    static const char *const bad_names[] = {
        "",         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "a\nb",     "not utf-8: \xff",
        "cut \xc3",
    };
    struct cert_issue_request request = leaf_request(*state, CERT_ISSUE_CLIENT);
    struct err_detail d;

    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        request.common_name = bad_names[i];
        assert_int_equal(refusal(&request, &d), ERR_USAGE);
        assert_non_null(strstr(d.text, "common name"));
    }
    /* 64 characters are allowed however many bytes they take. */
    request.common_name = "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
                          "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
                          "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
                          "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
                          "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
                          "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
                          "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
                          "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc";
    {
        struct cert_issue_result r = issue(&request);

        cert_issue_result_fini(&r);
    }

    request = leaf_request(*state, CERT_ISSUE_SERVER);
    request.common_name = "no name at all";
    assert_int_equal(refusal(&request, &d), ERR_USAGE);
    assert_non_null(strstr(d.text, "--dns-names"));
    request.dns_names = "b\xc3\xbc.example";
    assert_int_equal(refusal(&request, &d), ERR_USAGE);
    assert_non_null(strstr(d.text, "punycode"));

    request = leaf_request(*state, CERT_ISSUE_SERVER);
    request.days = -1;
    assert_int_equal(refusal(&request, &d), ERR_USAGE);
    request.days = CERT_ISSUE_MAX_DAYS + 1;
    assert_int_equal(refusal(&request, &d), ERR_USAGE);
}

static void an_unfit_ca_is_refused(void **state)
{
    const struct pki *p = *state;
    struct cert_issue_request request = leaf_request(p, CERT_ISSUE_SERVER);
    struct cert_issue_result leaf = issue(&request);
    struct cert_issue_result old;
    struct err_detail d;

    request.issuer_key = leaf.key;
    assert_int_equal(refusal(&request, &d), ERR_KEY_MISMATCH);
    request.issuer = leaf.cert;
    assert_int_equal(refusal(&request, &d), ERR_CERT_PURPOSE);
    assert_non_null(strstr(d.text, "not a CA"));

    request = (struct cert_issue_request){.kind = CERT_ISSUE_CA,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "Old CA",
                                          .not_before = (int64_t)time(NULL) - 10 * PKI_DAY,
                                          .not_after = (int64_t)time(NULL) - PKI_DAY};
    old = issue(&request);
    request = leaf_request(p, CERT_ISSUE_SERVER);
    request.issuer = old.cert;
    request.issuer_key = old.key;
    assert_int_equal(refusal(&request, &d), ERR_CERT_EXPIRED);
    cert_issue_result_fini(&old);
    cert_issue_result_fini(&leaf);
}

static void an_rsa_ca_from_elsewhere_can_sign(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    X509 *ca = X509_dup(((const struct pki *)*state)->ca.cert);
    struct cert_issue_request request = leaf_request(*state, CERT_ISSUE_SERVER);
    struct cert_issue_result r;

    assert_int_equal(X509_set_pubkey(ca, key), 1);
    assert_true(X509_sign(ca, key, EVP_sha256()) > 0);
    request.issuer = ca;
    request.issuer_key = key;
    r = issue(&request);
    assert_int_equal(X509_verify(r.cert, key), 1);
    cert_issue_result_fini(&r);
    X509_free(ca);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_makes_a_chain_that_verifies),
        cmocka_unit_test(a_ca_may_sign_leaves_and_nothing_else),
        cmocka_unit_test(a_leaf_has_one_use_and_points_to_its_ca),
        cmocka_unit_test(serials_are_positive_long_and_never_the_same),
        cmocka_unit_test(lifetimes_are_as_asked_for),
        cmocka_unit_test(a_leaf_ends_with_its_ca_at_the_latest),
        cmocka_unit_test(any_time_can_be_asked_for),
        cmocka_unit_test(names_come_from_the_request_or_the_common_name),
        cmocka_unit_test(wrong_requests_are_refused_with_a_reason),
        cmocka_unit_test(an_unfit_ca_is_refused),
        cmocka_unit_test(an_rsa_ca_from_elsewhere_can_sign),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
