#include "pki.h"

#include <openssl/x509v3.h>

#include "crypto/peer_identity.h"

struct who {
    uint8_t bytes[PEER_IDENTITY_SIZE];
};

static struct who who_is(const X509 *leaf, const X509 *issuer)
{
    static const uint8_t nobody[PEER_IDENTITY_SIZE];
    struct who who;

    assert_int_equal(peer_identity_of(who.bytes, leaf, issuer), ERR_OK);
    assert_memory_not_equal(who.bytes, nobody, sizeof(nobody));
    pki_assert_no_openssl_error();
    return who;
}

static bool is_same(struct who a, struct who b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

/* A client certificate of that CA. */
static X509 *client(const struct cert_issue_result *ca, const char *name, const char *uris)
{
    struct cert_issue_request request = {.kind = CERT_ISSUE_CLIENT,
                                         .algorithm = CERT_KEY_ED25519,
                                         .common_name = name,
                                         .uris = uris,
                                         .issuer = ca->cert,
                                         .issuer_key = ca->key};
    struct cert_issue_result r;
    X509 *cert;

    assert_int_equal(cert_issue(&r, &request, NULL), ERR_OK);
    cert = r.cert;
    r.cert = NULL;
    cert_issue_result_fini(&r);
    return cert;
}

static struct cert_issue_result other_ca(const char *name)
{
    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = name};
    struct cert_issue_result r;

    assert_int_equal(cert_issue(&r, &request, NULL), ERR_OK);
    return r;
}

static void a_renewed_certificate_is_the_same_peer(void **state)
{
    const struct pki *p = *state;
    X509 *old = client(&p->ca, "edge-1", "spiffe://a/edge,spiffe://a/one");
    X509 *renewed = client(&p->ca, "edge-1", "spiffe://a/edge,spiffe://a/one");
    X509 *shuffled = client(&p->ca, "edge-1", "spiffe://a/one,spiffe://a/edge");

    assert_int_not_equal(X509_cmp(old, renewed), 0);
    assert_true(is_same(who_is(old, p->ca.cert), who_is(renewed, p->ca.cert)));
    assert_true(is_same(who_is(old, p->ca.cert), who_is(shuffled, p->ca.cert)));
    X509_free(old);
    X509_free(renewed);
    X509_free(shuffled);
}

static void other_names_are_other_peers(void **state)
{
    const struct pki *p = *state;
    X509 *certs[] = {
        client(&p->ca, "edge-1", NULL),
        client(&p->ca, "edge-2", NULL),
        client(&p->ca, "edge-1", "spiffe://a/edge"),
        client(&p->ca, "edge-1", "spiffe://a/edge,spiffe://a/one"),
        client(&p->ca, "edge-1", "spiffe://a/edgespiffe://a/one"),
    };
    size_t n = sizeof(certs) / sizeof(certs[0]);

    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++)
            assert_int_equal(is_same(who_is(certs[i], p->ca.cert), who_is(certs[k], p->ca.cert)),
                             i == k);
    }
    for (size_t i = 0; i < n; i++)
        X509_free(certs[i]);
}

static void another_authority_vouches_for_another_peer(void **state)
{
    const struct pki *p = *state;
    struct cert_issue_result other = other_ca("Test CA"); /* even of the same name */
    X509 *mine = client(&p->ca, "edge-1", NULL);
    X509 *theirs = client(&other, "edge-1", NULL);

    assert_false(is_same(who_is(mine, p->ca.cert), who_is(theirs, other.cert)));
    /* A leaf that is trusted itself is vouched for by its own key. */
    assert_false(is_same(who_is(mine, NULL), who_is(mine, p->ca.cert)));
    assert_false(is_same(who_is(mine, NULL), who_is(theirs, NULL)));
    X509_free(mine);
    X509_free(theirs);
    cert_issue_result_fini(&other);
}

/* What the extension says is no list of names. */
static void put_unreadable_names(X509 *cert)
{
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension;

    assert_int_equal(ASN1_OCTET_STRING_set(value, (const unsigned char *)"\x30\x05zz", 4), 1);
    extension = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
}

static void who_has_no_name_is_only_himself(void **state)
{
    const struct pki *p = *state;
    X509 *certs[4];

    for (size_t i = 0; i < 4; i++) {
        certs[i] = client(&p->ca, "no DNS name", NULL);
        if (i < 2) {
            X509_NAME *none = X509_NAME_new();
            assert_int_equal(X509_set_subject_name(certs[i], none), 1);
            X509_NAME_free(none);
        } else {
            put_unreadable_names(certs[i]);
        }
        assert_true(X509_sign(certs[i], p->ca.key, NULL) > 0);
    }
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(is_same(who_is(certs[i], p->ca.cert), who_is(certs[k], p->ca.cert)),
                             i == k);
    }
    for (size_t i = 0; i < 4; i++)
        X509_free(certs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_renewed_certificate_is_the_same_peer),
        cmocka_unit_test(other_names_are_other_peers),
        cmocka_unit_test(another_authority_vouches_for_another_peer),
        cmocka_unit_test(who_has_no_name_is_only_himself),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
