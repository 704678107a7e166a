#include "pki.h"

#include <openssl/bn.h>
#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/crl_info.h"
#include "crypto/crl_issue.h"

static struct crl_issue_request by_ca(const struct pki *p)
{
    return (struct crl_issue_request){
        .issuer = p->ca.cert, .issuer_key = p->ca.key, .previous_path = "before.crl"};
}

static struct crl_issue_result issue(const struct crl_issue_request *request)
{
    struct crl_issue_result r;
    struct err_detail d = {""};

    if (crl_issue(&r, request, &d) != ERR_OK)
        fail_msg("%s", d.text);
    pki_assert_no_openssl_error();
    return r;
}

/* The list that revokes these, after the one before, which it frees. */
static X509_CRL *next(const struct pki *p, X509_CRL *previous,
                      const struct crl_issue_entry *entries, size_t count)
{
    struct crl_issue_request request = by_ca(p);
    struct crl_issue_result r;

    request.previous = previous;
    request.entries = entries;
    request.entry_count = count;
    r = issue(&request);
    assert_int_equal(r.added + r.known, count);
    X509_CRL_free(previous);
    return r.crl;
}

static enum err refusal(const struct crl_issue_request *request, struct err_detail *d)
{
    struct crl_issue_result r;
    enum err e = crl_issue(&r, request, d);

    assert_null(r.crl);
    pki_assert_no_openssl_error();
    return e;
}

static enum err refusal_after(const struct pki *p, X509_CRL *previous, struct err_detail *d)
{
    struct crl_issue_request request = by_ca(p);

    request.previous = previous;
    return refusal(&request, d);
}

static X509 *leaf_of(const struct cert_issue_result *ca, const char *name)
{
    struct cert_issue_request request = {.kind = CERT_ISSUE_CLIENT,
                                         .algorithm = CERT_KEY_ED25519,
                                         .common_name = name,
                                         .issuer = ca->cert,
                                         .issuer_key = ca->key};
    struct cert_issue_result r;
    X509 *cert = NULL;

    assert_int_equal(cert_issue(&r, &request, NULL), ERR_OK);
    cert = r.cert;
    r.cert = NULL;
    cert_issue_result_fini(&r);
    return cert;
}

static struct cert_issue_result ca_named(const char *name, enum cert_key_algorithm algorithm)
{
    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = algorithm, .common_name = name};
    struct cert_issue_result r;

    assert_int_equal(cert_issue(&r, &request, NULL), ERR_OK);
    return r;
}

/* Whether TLS would refuse it by the list: X509_V_OK, X509_V_ERR_CERT_REVOKED, or a fault. */
static int verdict(X509 *ca, X509_CRL *crl, X509 *cert)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    int result;

    assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    assert_int_equal(X509_STORE_add_crl(store, crl), 1);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL |
                                      X509_V_FLAG_X509_STRICT);
    result = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return result;
}

/* As another process would read it: nothing that is cached goes with it. */
static X509_CRL *read_again(X509_CRL *crl)
{
    unsigned char *der = NULL;
    int len = i2d_X509_CRL(crl, &der);
    const unsigned char *at = der;
    X509_CRL *again = d2i_X509_CRL(NULL, &at, len);

    assert_non_null(again);
    OPENSSL_free(der);
    return again;
}

static void check_number(const X509_CRL *crl, const char *expected)
{
    char text[CRL_INFO_NUMBER_SIZE];

    crl_info_number(text, sizeof(text), crl);
    assert_string_equal(text, expected);
}

static int64_t since(X509_CRL *crl, X509 *cert)
{
    X509_REVOKED *entry = NULL;

    assert_int_equal(X509_CRL_get0_by_cert(crl, &entry, cert), 1);
    return cert_info_time(X509_REVOKED_get0_revocationDate(entry));
}

/* -- sound lists -- */

static void revoke_with(const struct cert_issue_result *ca, const char *algorithm)
{
    X509 *good = leaf_of(ca, "good");
    X509 *bad = leaf_of(ca, "bad");
    const struct crl_issue_entry entry = {.cert = bad, .path = "bad.crt"};
    struct crl_issue_request request = {.issuer = ca->cert, .issuer_key = ca->key};
    struct crl_issue_result first = issue(&request);
    struct crl_issue_result second;
    X509_CRL *read = NULL;

    if (verdict(ca->cert, first.crl, bad) != X509_V_OK)
        fail_msg("%s: the first list", algorithm);
    request.previous = first.crl;
    request.previous_path = "x.crl";
    request.entries = &entry;
    request.entry_count = 1;
    second = issue(&request);
    assert_int_equal(second.added, 1);
    read = read_again(second.crl);
    if (verdict(ca->cert, read, bad) != X509_V_ERR_CERT_REVOKED ||
        verdict(ca->cert, read, good) != X509_V_OK)
        fail_msg("%s: the second list", algorithm);
    X509_CRL_free(read);
    crl_issue_result_fini(&first);
    crl_issue_result_fini(&second);
    X509_free(good);
    X509_free(bad);
}

static void every_algorithm_revokes(void **state)
{
    (void)state;
    for (int a = 0; a < CERT_KEY_COUNT; a++) {
        struct cert_issue_result ca = ca_named("CA", (enum cert_key_algorithm)a);

        revoke_with(&ca, cert_key_name((enum cert_key_algorithm)a));
        cert_issue_result_fini(&ca);
    }
}

/* The CA of pki again, with an RSA key. */
static void an_rsa_ca_revokes(void **state)
{
    static const char *const kinds[] = {"RSA", "RSA-PSS"};

    for (size_t i = 0; i < 2; i++) {
        struct cert_issue_result ca = {.cert = pki_read_cert(*state, "ca.crt")};
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kinds[i], NULL);

        assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
        assert_true(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) > 0);
        assert_int_equal(EVP_PKEY_generate(ctx, &ca.key), 1);
        EVP_PKEY_CTX_free(ctx);
        assert_int_equal(X509_set_pubkey(ca.cert, ca.key), 1);
        assert_true(X509_sign(ca.cert, ca.key, EVP_sha256()) > 0);
        revoke_with(&ca, kinds[i]);
        cert_issue_result_fini(&ca);
    }
}

static void a_first_list_is_what_rfc_5280_asks_for(void **state)
{
    const struct pki *p = *state;
    X509_CRL *crl = next(p, NULL, NULL, 0);
    AUTHORITY_KEYID *id = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
    int64_t now = (int64_t)time(NULL);
    int64_t from = cert_info_time(X509_CRL_get0_lastUpdate(crl));
    int64_t until = cert_info_time(X509_CRL_get0_nextUpdate(crl));

    assert_int_equal(X509_CRL_get_version(crl), X509_CRL_VERSION_2);
    assert_int_equal(X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(p->ca.cert)), 0);
    assert_int_equal(ASN1_OCTET_STRING_cmp(id->keyid, X509_get0_subject_key_id(p->ca.cert)), 0);
    check_number(crl, "1");
    assert_int_equal(crl_info_count(crl), 0);
    assert_int_equal(X509_CRL_get_ext_by_critical(crl, 1, -1), -1);
    assert_in_range(now - from, CERT_ISSUE_BACKDATE_SECONDS, CERT_ISSUE_BACKDATE_SECONDS + 600);
    assert_in_range(until - from, (int64_t)CRL_ISSUE_DAYS * PKI_DAY + CERT_ISSUE_BACKDATE_SECONDS,
                    (int64_t)CRL_ISSUE_DAYS * PKI_DAY + CERT_ISSUE_BACKDATE_SECONDS);
    AUTHORITY_KEYID_free(id);
    X509_CRL_free(crl);
}

static void the_next_list_keeps_what_was_and_counts(void **state)
{
    const struct pki *p = *state;
    X509 *certs[] = {leaf_of(&p->ca, "a"), leaf_of(&p->ca, "b"), leaf_of(&p->ca, "c")};
    X509_CRL *crl = next(p, NULL, NULL, 0);

    for (size_t i = 0; i < 3; i++) {
        const struct crl_issue_entry entry = {.cert = certs[i], .path = "x.crt"};
        char number[8];

        crl = next(p, crl, &entry, 1);
        snprintf(number, sizeof(number), "%zu", i + 2);
        check_number(crl, number);
        assert_int_equal(crl_info_count(crl), i + 1);
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(verdict(p->ca.cert, crl, certs[j]),
                             j <= i ? X509_V_ERR_CERT_REVOKED : X509_V_OK);
    }
    crl = next(p, crl, NULL, 0);
    check_number(crl, "5");
    assert_int_equal(crl_info_count(crl), 3);
    X509_CRL_free(crl);
    for (size_t i = 0; i < 3; i++)
        X509_free(certs[i]);
}

/* By openssl, which gives no number unless it is told to; the entry's date is long ago. */
static X509_CRL *old_list(const struct pki *p, X509 *revoked)
{
    STACK_OF(X509_CRL) *crls = NULL;
    X509_CRL *crl = NULL;

    pki_write_crl(p, "old.crl", p->ca.cert, p->ca.key, revoked, (int64_t)time(NULL) - PKI_DAY);
    assert_int_equal(pem_read_crls(&crls, pki_path(p, "old.crl").text, "CRL", NULL), ERR_OK);
    crl = sk_X509_CRL_shift(crls);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    return crl;
}

static void revoking_twice_keeps_the_first_date(void **state)
{
    const struct pki *p = *state;
    X509 *cert = leaf_of(&p->ca, "a");
    X509_CRL *old = old_list(p, cert);
    const struct crl_issue_entry entries[] = {
        {.cert = cert, .path = "a.crt"},
        {.serial = X509_get0_serialNumber(cert)},
    };
    struct crl_issue_request request = by_ca(p);
    struct crl_issue_result r;

    check_number(old, "none");
    request.previous = old;
    request.entries = entries;
    request.entry_count = 2;
    r = issue(&request);
    assert_int_equal(r.added, 0);
    assert_int_equal(r.known, 2);
    check_number(r.crl, "1");
    assert_int_equal(crl_info_count(r.crl), 1);
    assert_true(since(r.crl, cert) == since(old, cert));
    assert_int_equal(verdict(p->ca.cert, r.crl, cert), X509_V_ERR_CERT_REVOKED);
    crl_issue_result_fini(&r);

    /* Twice in a first list, too. */
    request.previous = NULL;
    r = issue(&request);
    assert_int_equal(r.added, 1);
    assert_int_equal(r.known, 1);
    assert_int_equal(crl_info_count(r.crl), 1);
    crl_issue_result_fini(&r);
    X509_CRL_free(old);
    X509_free(cert);
}

/* The list with what alter does to it, signed again. */
static X509_CRL *altered(const struct pki *p, X509_CRL *crl, void (*alter)(X509_CRL *crl))
{
    X509_CRL *fresh = NULL;

    alter(crl);
    assert_true(X509_CRL_sign(crl, p->ca.key, NULL) > 0);
    fresh = read_again(crl);
    X509_CRL_free(crl);
    return fresh;
}

static void add_reason(X509_CRL *crl, long code)
{
    ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();

    assert_int_equal(ASN1_ENUMERATED_set(reason, code), 1);
    assert_int_equal(X509_REVOKED_add1_ext_i2d(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), 0),
                                               NID_crl_reason, reason, 0, X509V3_ADD_DEFAULT),
                     1);
    ASN1_ENUMERATED_free(reason);
}

static void add_key_compromise(X509_CRL *crl)
{
    add_reason(crl, CRL_REASON_KEY_COMPROMISE);
}

static void an_entry_stays_as_it_was(void **state)
{
    const struct pki *p = *state;
    X509 *cert = leaf_of(&p->ca, "a");
    X509 *other = leaf_of(&p->ca, "b");
    const struct crl_issue_entry entry = {.cert = other, .path = "b.crt"};
    X509_CRL *crl = next(p, altered(p, old_list(p, cert), add_key_compromise), &entry, 1);
    X509_REVOKED *there = NULL;
    ASN1_ENUMERATED *reason = NULL;

    assert_int_equal(X509_CRL_get0_by_cert(crl, &there, cert), 1);
    reason = X509_REVOKED_get_ext_d2i(there, NID_crl_reason, NULL, NULL);
    assert_int_equal(ASN1_ENUMERATED_get(reason), CRL_REASON_KEY_COMPROMISE);
    ASN1_ENUMERATED_free(reason);
    X509_CRL_free(crl);
    X509_free(cert);
    X509_free(other);
}

static void days_are_as_asked_for_and_bounded(void **state)
{
    struct crl_issue_request request = by_ca(*state);
    struct crl_issue_result r;
    struct err_detail d;
    int64_t now = (int64_t)time(NULL);

    request.days = CRL_ISSUE_MAX_DAYS;
    r = issue(&request);
    assert_in_range(cert_info_time(X509_CRL_get0_nextUpdate(r.crl)) - now,
                    (int64_t)CRL_ISSUE_MAX_DAYS * PKI_DAY,
                    (int64_t)CRL_ISSUE_MAX_DAYS * PKI_DAY + 600);
    crl_issue_result_fini(&r);
    request.days = CRL_ISSUE_MAX_DAYS + 1;
    assert_int_equal(refusal(&request, &d), ERR_USAGE);
    request.days = -1;
    assert_int_equal(refusal(&request, &d), ERR_USAGE);
    assert_non_null(strstr(d.text, "1 to 3650"));
}

static void set_begin(X509_CRL *crl, int64_t at)
{
    ASN1_TIME *t = ASN1_TIME_set(NULL, (time_t)at);

    assert_int_equal(X509_CRL_set1_lastUpdate(crl, t), 1);
    ASN1_TIME_free(t);
}

static void begin_now(X509_CRL *crl)
{
    set_begin(crl, (int64_t)time(NULL));
}

static void begin_tomorrow(X509_CRL *crl)
{
    set_begin(crl, (int64_t)time(NULL) + PKI_DAY);
}

static void a_list_never_begins_before_the_last(void **state)
{
    const struct pki *p = *state;
    X509_CRL *crl = altered(p, next(p, NULL, NULL, 0), begin_now);
    int64_t from = cert_info_time(X509_CRL_get0_lastUpdate(crl));
    struct err_detail d;

    crl = next(p, crl, NULL, 0);
    assert_true(cert_info_time(X509_CRL_get0_lastUpdate(crl)) == from);
    crl = altered(p, crl, begin_tomorrow);
    assert_int_equal(refusal_after(p, crl, &d), ERR_CONFIG);
    assert_non_null(strstr(d.text, "clock"));
    X509_CRL_free(crl);
}

/* -- who may not -- */

static void the_list_of_another_ca_is_refused(void **state)
{
    const struct pki *p = *state;
    struct cert_issue_result others[] = {ca_named("Other CA", CERT_KEY_ED25519),
                                         ca_named("Test CA", CERT_KEY_ED25519),
                                         ca_named("Test CA", CERT_KEY_ECDSA_P256)};
    struct err_detail d;

    for (size_t i = 0; i < 3; i++) {
        struct crl_issue_request request = {.issuer = others[i].cert, .issuer_key = others[i].key};
        struct crl_issue_result r = issue(&request);

        assert_int_equal(refusal_after(p, r.crl, &d), ERR_CERT_UNTRUSTED);
        assert_non_null(strstr(d.text, "CRL before.crl: "));
        assert_non_null(strstr(d.text, i == 0 ? "CN=Other CA" : "not signed by its key"));
        crl_issue_result_fini(&r);
        cert_issue_result_fini(&others[i]);
    }
}

/* Every byte of a signed list is either covered by the signature or by the parser. */
static void an_altered_list_is_refused(void **state)
{
    const struct pki *p = *state;
    X509 *cert = leaf_of(&p->ca, "a");
    const struct crl_issue_entry entry = {.cert = cert, .path = "a.crt"};
    X509_CRL *crl = next(p, NULL, &entry, 1);
    unsigned char *der = NULL;
    int len = i2d_X509_CRL(crl, &der);
    int parsed = 0;

    for (int i = 0; i < len; i++) {
        const unsigned char *at = der;
        X509_CRL *read = NULL;

        der[i] ^= 1;
        read = d2i_X509_CRL(NULL, &at, len);
        ERR_clear_error();
        if (read != NULL) {
            parsed++;
            if (refusal_after(p, read, NULL) == ERR_OK)
                fail_msg("byte %d may be altered", i);
        }
        X509_CRL_free(read);
        der[i] ^= 1;
    }
    assert_true(parsed > 100);
    OPENSSL_free(der);
    X509_CRL_free(crl);
    X509_free(cert);
}

/* An extension that is a number; is_critical and flags as X509_CRL_add1_ext_i2d has them. */
static void add_number(X509_CRL *crl, int nid, long value, int is_critical, unsigned long flags)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();

    assert_int_equal(ASN1_INTEGER_set(number, value), 1);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, nid, number, is_critical, flags), 1);
    ASN1_INTEGER_free(number);
}

static void add_delta(X509_CRL *crl)
{
    add_number(crl, NID_delta_crl, 1, 1, X509V3_ADD_DEFAULT);
}

static void add_removal(X509_CRL *crl)
{
    add_reason(crl, CRL_REASON_REMOVE_FROM_CRL);
}

/* Not even critical, as it should be. */
static void add_entry_issuer(X509_CRL *crl)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();

    assert_int_equal(ASN1_STRING_set(text, "other", 5), 1);
    GENERAL_NAME_set0_value(name, GEN_DNS, text);
    assert_true(sk_GENERAL_NAME_push(names, name) > 0);
    assert_int_equal(X509_REVOKED_add1_ext_i2d(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), 0),
                                               NID_certificate_issuer, names, 0,
                                               X509V3_ADD_DEFAULT),
                     1);
    GENERAL_NAMES_free(names);
}

static void a_list_that_is_not_complete_is_refused(void **state)
{
    static void (*const alterations[])(X509_CRL *) = {add_delta, add_removal, add_entry_issuer};
    const struct pki *p = *state;
    X509 *cert = leaf_of(&p->ca, "a");

    for (size_t i = 0; i < 3; i++) {
        X509_CRL *crl = altered(p, old_list(p, cert), alterations[i]);
        struct err_detail d;

        assert_int_equal(refusal_after(p, crl, &d), ERR_CERT_FORMAT);
        assert_non_null(strstr(d.text, "no plain list"));
        X509_CRL_free(crl);
    }
    X509_free(cert);
}

static const char *chosen_number; /* decimal, for set_number */

static void set_number(X509_CRL *crl)
{
    BIGNUM *n = NULL;
    ASN1_INTEGER *number = NULL;

    assert_true(BN_dec2bn(&n, chosen_number) > 0);
    number = BN_to_ASN1_INTEGER(n, NULL);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, X509V3_ADD_REPLACE), 1);
    ASN1_INTEGER_free(number);
    BN_free(n);
}

static void double_number(X509_CRL *crl)
{
    add_number(crl, NID_crl_number, 9, 0, X509V3_ADD_APPEND);
}

static void odd_numbers_are_refused_and_great_ones_counted(void **state)
{
    /* 2^159 - 2 may grow once more. */
    static const char *const good[][2] = {
        {"0", "1"},
        {"255", "256"},
        {"730750818665451459101842416358141509827966271486",
         "730750818665451459101842416358141509827966271487"},
    };
    static const char *const bad[] = {
        "-1",
        "730750818665451459101842416358141509827966271487",
        "1000000000000000000000000000000000000000000000000000000000000000000000000000",
    };
    const struct pki *p = *state;
    X509_CRL *crl = NULL;

    for (size_t i = 0; i < 3; i++) {
        chosen_number = good[i][0];
        crl = next(p, altered(p, next(p, NULL, NULL, 0), set_number), NULL, 0);
        check_number(crl, good[i][1]);
        X509_CRL_free(crl);
    }
    for (size_t i = 0; i < 3; i++) {
        struct err_detail d;

        chosen_number = bad[i];
        crl = altered(p, next(p, NULL, NULL, 0), set_number);
        assert_int_equal(refusal_after(p, crl, &d), ERR_CERT_FORMAT);
        assert_non_null(strstr(d.text, "CRL number"));
        X509_CRL_free(crl);
    }
    crl = altered(p, next(p, NULL, NULL, 0), double_number);
    assert_int_equal(refusal_after(p, crl, NULL), ERR_CERT_FORMAT);
    X509_CRL_free(crl);
}

static void only_certificates_of_the_ca_are_revoked(void **state)
{
    const struct pki *p = *state;
    struct cert_issue_result other = ca_named("Other CA", CERT_KEY_ED25519);
    struct cert_issue_result twin = ca_named("Test CA", CERT_KEY_ED25519);
    X509 *foreign = leaf_of(&other, "foreign");
    X509 *twins = leaf_of(&twin, "twins");
    X509 *own = leaf_of(&p->ca, "own");
    struct crl_issue_entry entries[2] = {{.cert = own, .path = "own.crt"}};
    struct crl_issue_request request = by_ca(p);
    struct err_detail d;

    request.entries = entries;
    request.entry_count = 2;
    entries[1] = (struct crl_issue_entry){.cert = foreign, .path = "foreign.crt"};
    assert_int_equal(refusal(&request, &d), ERR_CERT_UNTRUSTED);
    assert_non_null(strstr(d.text, "certificate foreign.crt: was issued by \"CN=Other CA\""));
    entries[1] = (struct crl_issue_entry){.cert = twins, .path = "twins.crt"};
    assert_int_equal(refusal(&request, &d), ERR_CERT_UNTRUSTED);
    assert_non_null(strstr(d.text, "certificate twins.crt: names the CA \"CN=Test CA\", but"));
    X509_free(foreign);
    X509_free(twins);
    X509_free(own);
    cert_issue_result_fini(&other);
    cert_issue_result_fini(&twin);
}

static void a_ca_does_not_revoke_itself(void **state)
{
    const struct pki *p = *state;
    const struct crl_issue_entry entries[] = {
        {.cert = p->ca.cert, .path = "ca.crt"},
        {.serial = X509_get0_serialNumber(p->ca.cert)},
    };
    struct crl_issue_request request = by_ca(p);
    struct err_detail d;

    for (size_t i = 0; i < 2; i++) {
        request.entries = &entries[i];
        request.entry_count = 1;
        assert_int_equal(refusal(&request, &d), ERR_USAGE);
        assert_non_null(strstr(d.text, "itself cannot be revoked"));
    }
}

static void an_unfit_ca_is_refused(void **state)
{
    const struct pki *p = *state;
    struct cert_issue_result other = ca_named("Test CA", CERT_KEY_ED25519);
    struct cert_issue_request times[] = {
        {.kind = CERT_ISSUE_CA,
         .common_name = "Old",
         .algorithm = CERT_KEY_ED25519,
         .not_before = (int64_t)time(NULL) - 2 * PKI_DAY,
         .not_after = (int64_t)time(NULL) - PKI_DAY},
        {.kind = CERT_ISSUE_CA,
         .common_name = "Young",
         .algorithm = CERT_KEY_ED25519,
         .not_before = (int64_t)time(NULL) + PKI_DAY},
    };
    struct crl_issue_request request = by_ca(p);

    request.issuer_key = other.key;
    assert_int_equal(refusal(&request, NULL), ERR_KEY_MISMATCH);
    for (size_t i = 0; i < 2; i++) {
        struct cert_issue_result ca;

        assert_int_equal(cert_issue(&ca, &times[i], NULL), ERR_OK);
        request.issuer = ca.cert;
        request.issuer_key = ca.key;
        assert_int_equal(refusal(&request, NULL), i == 0 ? ERR_CERT_EXPIRED : ERR_CERT_NOT_YET);
        cert_issue_result_fini(&ca);
    }
    cert_issue_result_fini(&other);
}

/* -- serials -- */

static void a_serial_is_read_as_it_is_shown(void **state)
{
    const struct pki *p = *state;
    X509 *cert = leaf_of(&p->ca, "lost");
    char text[80];
    ASN1_INTEGER *serial = NULL;
    struct crl_issue_entry entry = {0};
    X509_CRL *crl = NULL;

    cert_info_serial(text, sizeof(text), cert);
    assert_int_equal(crl_issue_parse_serial(&serial, text, NULL), ERR_OK);
    assert_int_equal(ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(cert)), 0);
    entry.serial = serial;
    crl = next(p, NULL, &entry, 1);
    assert_int_equal(verdict(p->ca.cert, crl, cert), X509_V_ERR_CERT_REVOKED);
    X509_CRL_free(crl);
    ASN1_INTEGER_free(serial);
    X509_free(cert);
}

static void odd_serials(void **state)
{
    static const char *const good[] = {
        "0", "a", "0A", "ff:FF", "00:01", "ffffffffffffffffffffffffffffffffffffffff"};
    static const char *const bad[] = {
        "",     "0x1",  "-1",   " 1",     "1 ",  "g",
        ":1",   "1:",   "1::2", "1:g",    "1,2", "10000000000000000000000000000000000000000",
        "\xff", "12:3", "1:23", "123:45",
    };
    const struct pki *p = *state;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ASN1_INTEGER *serial = NULL;
        struct crl_issue_entry entry = {0};
        X509_CRL *crl = NULL;
        X509_CRL *read = NULL;
        X509_REVOKED *there = NULL;

        assert_int_equal(crl_issue_parse_serial(&serial, good[i], NULL), ERR_OK);
        entry.serial = serial;
        crl = next(p, next(p, NULL, &entry, 1), &entry, 1);
        read = read_again(crl);
        assert_int_equal(crl_info_count(read), 1);
        assert_int_equal(X509_CRL_get0_by_serial(read, &there, serial), 1);
        X509_CRL_free(read);
        X509_CRL_free(crl);
        ASN1_INTEGER_free(serial);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ASN1_INTEGER *serial = NULL;
        struct err_detail d;

        if (crl_issue_parse_serial(&serial, bad[i], &d) != ERR_USAGE)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_null(serial);
        assert_non_null(strstr(d.text, "1 to 40 hexadecimal digits"));
    }
    pki_assert_no_openssl_error();
}

/* Serials that no CA should give, in certificates that one has given them. */
static void certificates_with_odd_serials_are_revoked(void **state)
{
    static const char *const serials[] = {
        "-5", "0",
        "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999"};
    const struct pki *p = *state;

    for (size_t i = 0; i < 3; i++) {
        X509 *cert = leaf_of(&p->ca, "odd");
        const struct crl_issue_entry entry = {.cert = cert, .path = "odd.crt"};
        X509_CRL *crl = NULL;
        X509_CRL *read = NULL;
        BIGNUM *n = NULL;

        assert_true(BN_dec2bn(&n, serials[i]) > 0);
        assert_non_null(BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)));
        assert_true(X509_sign(cert, p->ca.key, NULL) > 0);
        crl = next(p, next(p, NULL, &entry, 1), &entry, 1);
        read = read_again(crl);
        assert_int_equal(crl_info_count(read), 1);
        assert_true(since(read, cert) > 0);
        X509_CRL_free(read);
        X509_CRL_free(crl);
        BN_free(n);
        X509_free(cert);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_revokes),
        cmocka_unit_test(an_rsa_ca_revokes),
        cmocka_unit_test(a_first_list_is_what_rfc_5280_asks_for),
        cmocka_unit_test(the_next_list_keeps_what_was_and_counts),
        cmocka_unit_test(revoking_twice_keeps_the_first_date),
        cmocka_unit_test(an_entry_stays_as_it_was),
        cmocka_unit_test(days_are_as_asked_for_and_bounded),
        cmocka_unit_test(a_list_never_begins_before_the_last),
        cmocka_unit_test(the_list_of_another_ca_is_refused),
        cmocka_unit_test(an_altered_list_is_refused),
        cmocka_unit_test(a_list_that_is_not_complete_is_refused),
        cmocka_unit_test(odd_numbers_are_refused_and_great_ones_counted),
        cmocka_unit_test(only_certificates_of_the_ca_are_revoked),
        cmocka_unit_test(a_ca_does_not_revoke_itself),
        cmocka_unit_test(an_unfit_ca_is_refused),
        cmocka_unit_test(a_serial_is_read_as_it_is_shown),
        cmocka_unit_test(odd_serials),
        cmocka_unit_test(certificates_with_odd_serials_are_revoked),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
