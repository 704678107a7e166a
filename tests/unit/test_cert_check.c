#include "pki.h"

#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "crypto/cert_check.h"

/* The paths of a check, whose texts must outlive it. */
struct asked {
    struct pki_path cert, ca, key, crl;
    struct cert_check_files files;
};

static void ask(struct asked *a, const struct pki *p, const char *cert, const char *ca,
                const char *key, const char *crl)
{
    *a = (struct asked){.cert = pki_path(p, cert), .ca = pki_path(p, ca)};
    a->files.cert_path = a->cert.text;
    a->files.ca_path = a->ca.text;
    if (key != NULL) {
        a->key = pki_path(p, key);
        a->files.key_path = a->key.text;
    }
    if (crl != NULL) {
        a->crl = pki_path(p, crl);
        a->files.crl_path = a->crl.text;
    }
}

static const struct cert_check_step *find_step(const struct cert_check_report *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->steps[i].name, name) == 0)
            return &r->steps[i];
    return NULL;
}

/* Only the named step failed, with that error. */
static void assert_only_failure(const struct cert_check_report *r, const char *name, enum err e)
{
    assert_false(r->is_passed);
    assert_non_null(find_step(r, name));
    for (size_t i = 0; i < r->count; i++) {
        enum err expected = strcmp(r->steps[i].name, name) == 0 ? e : ERR_OK;

        if (r->steps[i].err != expected)
            fail_msg("%s: %s: %s", r->steps[i].name, err_name(r->steps[i].err),
                     r->steps[i].detail.text);
        assert_true(r->steps[i].detail.text[0] != 0);
    }
    pki_assert_no_openssl_error();
}

static void a_sound_certificate_passes_every_check(void **state)
{
    struct cert_check_report r;
    struct asked a;

    ask(&a, *state, "server.crt", "ca.crt", "server.key", "empty.crl");
    a.files.hostname = "localhost";
    a.files.purpose = CERT_CHECK_SERVER;
    cert_check(&r, &a.files);
    for (size_t i = 0; i < r.count; i++)
        if (r.steps[i].err != ERR_OK)
            fail_msg("%s: %s", r.steps[i].name, r.steps[i].detail.text);
    assert_true(r.is_passed);
    assert_int_equal(r.count, 9);
    a.files.hostname = "::1";
    cert_check(&r, &a.files);
    assert_true(r.is_passed);
    pki_assert_no_openssl_error();
}

static void each_fault_fails_its_own_check_only(void **state)
{
    struct cert_check_report r;
    struct asked a;

    /* A common name is no name to be reached by, also where there is no other DNS name. */
    ask(&a, *state, "address.crt", "ca.crt", NULL, NULL);
    a.files.hostname = "dest";
    cert_check(&r, &a.files);
    assert_only_failure(&r, "host name", ERR_CERT_NAME);
    ask(&a, *state, "server.crt", "ca.crt", NULL, NULL);
    a.files.hostname = "dest";
    cert_check(&r, &a.files);
    assert_only_failure(&r, "host name", ERR_CERT_NAME);
    a.files.hostname = "127.0.0.2";
    cert_check(&r, &a.files);
    assert_only_failure(&r, "host name", ERR_CERT_NAME);
    assert_non_null(strstr(find_step(&r, "host name")->detail.text, "--ip-addresses 127.0.0.2"));

    ask(&a, *state, "server.crt", "ca.crt", NULL, NULL);
    a.files.purpose = CERT_CHECK_CLIENT;
    cert_check(&r, &a.files);
    assert_only_failure(&r, "purpose", ERR_CERT_PURPOSE);
    ask(&a, *state, "client.crt", "ca.crt", NULL, NULL);
    a.files.purpose = CERT_CHECK_SERVER;
    cert_check(&r, &a.files);
    assert_only_failure(&r, "purpose", ERR_CERT_PURPOSE);
    ask(&a, *state, "ca.crt", "ca.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "purpose", ERR_CERT_PURPOSE);

    ask(&a, *state, "server.crt", "ca.crt", "client.key", NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "key", ERR_KEY_MISMATCH);

    ask(&a, *state, "server.crt", "ca.crt", NULL, "revoked.crl");
    cert_check(&r, &a.files);
    assert_only_failure(&r, "revocation", ERR_CERT_REVOKED);
    ask(&a, *state, "client.crt", "ca.crt", NULL, "revoked.crl");
    cert_check(&r, &a.files);
    assert_true(r.is_passed);
    ask(&a, *state, "client.crt", "ca.crt", NULL, "old.crl");
    cert_check(&r, &a.files);
    assert_only_failure(&r, "revocation", ERR_CERT_UNTRUSTED);

    ask(&a, *state, "server.crt", "other.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "signature", ERR_CERT_UNTRUSTED);
    /* Of the same name, with another key. */
    ask(&a, *state, "server.crt", "twin.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "signature", ERR_CERT_UNTRUSTED);
    ask(&a, *state, "server.crt", "client.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_int_equal(find_step(&r, "CA")->err, ERR_CERT_PURPOSE);
}

static void time_does_not_hide_other_faults(void **state)
{
    struct cert_check_report r;
    struct asked a;

    ask(&a, *state, "expired.crt", "ca.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "validity", ERR_CERT_EXPIRED);
    ask(&a, *state, "future.crt", "ca.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "validity", ERR_CERT_NOT_YET);
    ask(&a, *state, "expired.crt", "other.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_int_equal(find_step(&r, "validity")->err, ERR_CERT_EXPIRED);
    assert_int_equal(find_step(&r, "signature")->err, ERR_CERT_UNTRUSTED);
    ask(&a, *state, "orphan.crt", "old-ca.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "CA validity", ERR_CERT_EXPIRED);
}

static void unreadable_files_fail_their_step_and_end_what_needs_them(void **state)
{
    struct cert_check_report r;
    struct asked a;

    ask(&a, *state, "none.crt", "ca.crt", "server.key", NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "certificate", ERR_NOT_FOUND);
    assert_int_equal(r.count, 2);
    ask(&a, *state, "server.crt", "none.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "CA", ERR_NOT_FOUND);
    assert_null(find_step(&r, "signature"));
    ask(&a, *state, "server.crt", "ca.crt", "open.key", "server.crt");
    cert_check(&r, &a.files);
    assert_int_equal(find_step(&r, "key")->err, ERR_KEY_MODE);
    assert_int_equal(find_step(&r, "revocation")->err, ERR_CERT_FORMAT);
}

/* server.crt with a key that is too short. */
static void write_weak(const struct pki *p, const char *name)
{
    struct cert_issue_result weak = {.cert = pki_read_cert(p, "server.crt"),
                                     .key = EVP_RSA_gen(1024)};

    assert_int_equal(X509_set_pubkey(weak.cert, weak.key), 1);
    assert_true(X509_sign(weak.cert, p->ca.key, NULL) > 0);
    pki_write_result(p, name, &weak);
    cert_issue_result_fini(&weak);
}

/* What a role refuses does not pass here: the rules are the same. */
static void it_is_as_strict_as_a_role(void **state)
{
    static const enum cert_check_purpose purposes[] = {CERT_CHECK_ANY_PURPOSE, CERT_CHECK_SERVER,
                                                       CERT_CHECK_CLIENT};
    struct cert_check_report r;
    struct asked a;

    pki_write_without_usage(*state, "no-usage", "server");
    ask(&a, *state, "no-usage.crt", "ca.crt", NULL, NULL);
    for (size_t i = 0; i < 3; i++) {
        a.files.purpose = purposes[i];
        cert_check(&r, &a.files);
        assert_only_failure(&r, "purpose", ERR_CERT_PURPOSE);
        assert_non_null(strstr(find_step(&r, "purpose")->detail.text, "is none"));
    }
    write_weak(*state, "weak");
    ask(&a, *state, "weak.crt", "ca.crt", NULL, NULL);
    cert_check(&r, &a.files);
    assert_only_failure(&r, "signature", ERR_CERT_UNTRUSTED);

    pki_issue(*state, "wild",
              (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "dest",
                                          .dns_names = "*.example.org"});
    ask(&a, *state, "wild.crt", "ca.crt", NULL, NULL);
    a.files.hostname = "a.example.org.";
    cert_check(&r, &a.files);
    assert_true(r.is_passed);
    a.files.hostname = "a.b.example.org";
    cert_check(&r, &a.files);
    assert_only_failure(&r, "host name", ERR_CERT_NAME);
}

static int setup(void **state)
{
    static const char open_key[] = "-----BEGIN PRIVATE KEY-----\n";
    int failed = pki_setup(state);
    struct pki *p = *state;
    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Other CA"};
    struct cert_issue_result old_ca;
    int64_t now = (int64_t)time(NULL);
    X509 *server = NULL;

    if (failed != 0)
        return failed;
    pki_issue_pair(p);
    pki_issue(p, "other", request);
    request.common_name = "Test CA";
    pki_issue(p, "twin", request);
    pki_issue(p, "address",
              (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "dest",
                                          .ip_addresses = "192.0.2.1"});
    request = (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "dest",
                                          .not_before = now - 20 * PKI_DAY,
                                          .not_after = now - 10 * PKI_DAY};
    pki_issue(p, "expired", request);
    request.not_before = now + 10 * PKI_DAY;
    request.not_after = now + 20 * PKI_DAY;
    pki_issue(p, "future", request);

    /* An expired CA refuses to sign, so its certificate is made to look expired afterwards. */
    request = (struct cert_issue_request){
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Old CA"};
    assert_int_equal(cert_issue(&old_ca, &request, NULL), ERR_OK);
    request.kind = CERT_ISSUE_SERVER;
    request.common_name = "dest";
    pki_issue_by(p, "orphan", request, &old_ca);
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(old_ca.cert), (time_t)(now - 60)));
    assert_true(X509_sign(old_ca.cert, old_ca.key, NULL) > 0);
    pki_write_result(p, "old-ca", &old_ca);
    cert_issue_result_fini(&old_ca);

    server = pki_read_cert(p, "server.crt");
    pki_write_crl(p, "empty.crl", p->ca.cert, p->ca.key, NULL, now + PKI_DAY);
    pki_write_crl(p, "revoked.crl", p->ca.cert, p->ca.key, server, now + PKI_DAY);
    pki_write_crl(p, "old.crl", p->ca.cert, p->ca.key, NULL, now - PKI_DAY);
    pki_write(p, "open.key", open_key, sizeof(open_key) - 1, 0644);
    X509_free(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_certificate_passes_every_check),
        cmocka_unit_test(each_fault_fails_its_own_check_only),
        cmocka_unit_test(it_is_as_strict_as_a_role),
        cmocka_unit_test(time_does_not_hide_other_faults),
        cmocka_unit_test(unreadable_files_fail_their_step_and_end_what_needs_them),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
