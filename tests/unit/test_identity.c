#include "pki.h"

#include <openssl/x509v3.h>

#include "crypto/cert_info.h"
#include "crypto/identity.h"

/* Names of files inside the folder; NULL: not given. */
struct names {
    const char *cert, *key, *ca, *crl;
    enum identity_use use;
    enum identity_key_access key_access;
};

static enum err load(struct identity **out, const struct pki *p, struct names n,
                     struct err_detail *d)
{
    struct pki_path cert = pki_path(p, n.cert != NULL ? n.cert : "");
    struct pki_path key = pki_path(p, n.key != NULL ? n.key : "");
    struct pki_path ca = pki_path(p, n.ca != NULL ? n.ca : "");
    struct pki_path crl = pki_path(p, n.crl != NULL ? n.crl : "");
    struct identity_files files = {.cert_path = n.cert != NULL ? cert.text : NULL,
                                   .key_path = n.key != NULL ? key.text : NULL,
                                   .ca_path = n.ca != NULL ? ca.text : NULL,
                                   .crl_path = n.crl != NULL ? crl.text : NULL,
                                   .use = n.use,
                                   .key_access = n.key_access};
    enum err e = identity_load(out, &files, d);

    assert_true((e == ERR_OK) == (*out != NULL));
    pki_assert_no_openssl_error();
    return e;
}

static struct names server_names(void)
{
    return (struct names){
        .cert = "server.crt", .key = "server.key", .ca = "ca.crt", .use = IDENTITY_DEST};
}

static struct identity *load_ok(const struct pki *p, struct names n)
{
    struct identity *id = NULL;
    struct err_detail d = {""};

    if (load(&id, p, n, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return id;
}

/* The load fails with that error, and its text names the file and says `says`. */
static void assert_refused(const struct pki *p, struct names n, enum err expected, const char *file,
                           const char *says)
{
    struct identity *id = NULL;
    struct err_detail d = {""};
    enum err e = load(&id, p, n, &d);

    if (e != expected || strstr(d.text, file) == NULL || strstr(d.text, says) == NULL)
        fail_msg("%s: %s", err_name(e), d.text);
}

static long verify(const struct identity *id, X509 *peer, int purpose)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    long result = X509_V_OK;

    assert_int_equal(X509_STORE_CTX_init(ctx, identity_store(id), peer, NULL), 1);
    X509_STORE_CTX_set_purpose(ctx, purpose);
    if (X509_verify_cert(ctx) != 1)
        result = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return result;
}

static void a_sound_set_loads_and_lends_its_objects(void **state)
{
    struct identity *id = load_ok(*state, server_names());
    X509 *server = pki_read_cert(*state, "server.crt");
    X509 *client = pki_read_cert(*state, "client.crt");
    X509 *stranger = pki_read_cert(*state, "stranger.crt");
    struct identity_expiries expiries;

    assert_int_equal(X509_cmp(identity_leaf(id), server), 0);
    assert_int_equal(X509_check_private_key(identity_leaf(id), identity_key(id)), 1);
    assert_int_equal(sk_X509_num(identity_chain(id)), 0);
    assert_int_equal(identity_use(id), IDENTITY_DEST);
    assert_int_equal(identity_expiry(id), cert_info_time(X509_get0_notAfter(server)));
    identity_get_expiries(id, &expiries);
    assert_int_equal(expiries.own, identity_expiry(id));
    assert_true(expiries.ca > expiries.own - 86400 && expiries.ca < INT64_MAX);
    assert_true(expiries.crl == INT64_MAX);
    assert_int_equal(verify(id, client, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    assert_int_equal(verify(id, server, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_INVALID_PURPOSE);
    assert_int_equal(verify(id, stranger, X509_PURPOSE_SSL_CLIENT),
                     X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    X509_free(server);
    X509_free(client);
    X509_free(stranger);
    identity_free(id);
    identity_free(NULL);
}

static void both_files_may_be_absent_but_not_one(void **state)
{
    struct names n = {.ca = "ca.crt", .use = IDENTITY_SOURCE};
    struct identity *id = load_ok(*state, n);
    struct identity_expiries expiries;

    assert_null(identity_leaf(id));
    assert_null(identity_key(id));
    assert_non_null(identity_chain(id));
    assert_non_null(identity_store(id));
    assert_true(identity_expiry(id) == INT64_MAX);
    identity_get_expiries(id, &expiries);
    assert_true(expiries.own == INT64_MAX);
    identity_free(id);

    n.cert = "client.crt";
    assert_refused(*state, n, ERR_CONFIG, "", "client key");
    n.cert = NULL;
    n.key = "client.key";
    assert_refused(*state, n, ERR_CONFIG, "", "client certificate");
}

static void only_a_dest_may_have_no_ca(void **state)
{
    struct names n = server_names();

    n.ca = NULL;
    identity_free(load_ok(*state, n));
    n.crl = "empty.crl";
    assert_refused(*state, n, ERR_CONFIG, "", "ca_cert_path");
    n = (struct names){.cert = "client.crt", .key = "client.key", .use = IDENTITY_SOURCE};
    assert_refused(*state, n, ERR_CONFIG, "", "ca_cert_path");
}

static void der_is_as_good_as_pem(void **state)
{
    struct names n = {.cert = "server.der",
                      .key = "server-key.der",
                      .ca = "ca.der",
                      .crl = "empty.crl.der",
                      .use = IDENTITY_DEST};

    identity_free(load_ok(*state, n));
}

static void the_wrong_time_use_or_key_is_refused(void **state)
{
    struct names n = server_names();

    n.cert = "expired.crt";
    n.key = "expired.key";
    assert_refused(*state, n, ERR_CERT_EXPIRED, "expired.crt", "utun cert server");
    n.cert = "future.crt";
    n.key = "future.key";
    assert_refused(*state, n, ERR_CERT_NOT_YET, "future.crt", "clock");
    n.cert = "client.crt";
    n.key = "client.key";
    assert_refused(*state, n, ERR_CERT_PURPOSE, "client.crt", "serverAuth");
    n = server_names();
    n.use = IDENTITY_SOURCE;
    assert_refused(*state, n, ERR_CERT_PURPOSE, "server.crt", "clientAuth");
    n = server_names();
    n.cert = "ca.crt";
    n.key = "ca.key";
    assert_refused(*state, n, ERR_CERT_PURPOSE, "ca.crt", "a CA's certificate");
    n = server_names();
    n.key = "client.key";
    assert_refused(*state, n, ERR_KEY_MISMATCH, "server.crt", "client.key");
}

static void broken_files_are_refused_by_name(void **state)
{
    static const struct {
        const char *file;
        enum err err;
    } cases[] = {
        {"none", ERR_NOT_FOUND},      {"folder", ERR_IO},           {"empty", ERR_CERT_FORMAT},
        {"garbage", ERR_CERT_FORMAT}, {"cut.crt", ERR_CERT_FORMAT}, {"huge", ERR_TOO_LARGE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct names n = server_names();

        n.cert = cases[i].file;
        assert_refused(*state, n, cases[i].err, cases[i].file, "server certificate");
        n = server_names();
        n.key = cases[i].file;
        assert_refused(*state, n, cases[i].err, cases[i].file, "server key");
        n = server_names();
        n.ca = cases[i].file;
        assert_refused(*state, n, cases[i].err, cases[i].file, "CA certificate");
        n = server_names();
        n.crl = cases[i].file;
        assert_refused(*state, n, cases[i].err, cases[i].file, "CRL");
    }
}

static void an_open_key_is_refused_unless_allowed(void **state)
{
    struct names n = server_names();

    n.key = "open.key";
    assert_refused(*state, n, ERR_KEY_MODE, "open.key", "chmod 600");
    n.key_access = IDENTITY_KEY_ANY_MODE;
    identity_free(load_ok(*state, n));
}

/* Its mode is right as it is, and the path is wrong. */
static void what_is_no_key_need_not_be_closed(void **state)
{
    struct names n = server_names();
    EVP_PKEY *key;

    n.key = "server.crt";
    assert_refused(*state, n, ERR_CERT_FORMAT, "server.crt",
                   "holds a block \"CERTIFICATE\" but no private key");
    assert_int_equal(
        pem_read_key(&key, pki_path(*state, "server.crt").text, "key", FILE_SECRET, NULL),
        ERR_CERT_FORMAT);
    assert_null(key);
}

static void the_ca_file_must_hold_cas_and_one_that_is_valid(void **state)
{
    struct names n = server_names();
    struct identity *id = NULL;
    X509 *stranger = pki_read_cert(*state, "stranger.crt");

    n.ca = "client.crt";
    assert_refused(*state, n, ERR_CERT_PURPOSE, "client.crt", "not a CA");
    n.ca = "old-ca.crt";
    assert_refused(*state, n, ERR_CERT_EXPIRED, "old-ca.crt", "utun cert ca");
    n.ca = "bundle.crt";
    id = load_ok(*state, n);
    assert_int_equal(verify(id, stranger, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    assert_int_equal(verify(id, identity_leaf(id), X509_PURPOSE_SSL_SERVER), X509_V_OK);
    identity_free(id);
    X509_free(stranger);
}

static void revocation_is_checked_where_a_crl_is_given(void **state)
{
    struct names n = server_names();
    X509 *client = pki_read_cert(*state, "client.crt");
    X509 *stranger = pki_read_cert(*state, "stranger.crt");
    struct identity *id = NULL;
    struct identity_expiries expiries;

    n.crl = "empty.crl";
    id = load_ok(*state, n);
    assert_int_equal(verify(id, client, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    identity_get_expiries(id, &expiries);
    assert_true(expiries.crl > 0 && expiries.crl < INT64_MAX);
    identity_free(id);
    n.crl = "revoked.crl";
    id = load_ok(*state, n);
    assert_int_equal(verify(id, client, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify(id, identity_leaf(id), X509_PURPOSE_SSL_SERVER), X509_V_OK);
    identity_free(id);
    /* A CA of the bundle without a CRL: its leaves are refused, not waved through. */
    n.ca = "bundle.crt";
    id = load_ok(*state, n);
    assert_int_equal(verify(id, stranger, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_UNABLE_TO_GET_CRL);
    assert_int_equal(verify(id, client, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_REVOKED);
    identity_free(id);

    n = server_names();
    n.crl = "old.crl";
    assert_refused(*state, n, ERR_CONFIG, "old.crl", "get a new one");
    n.crl = "forged.crl";
    assert_refused(*state, n, ERR_CERT_UNTRUSTED, "forged.crl", "not signed");
    n.crl = "ca.crt";
    assert_refused(*state, n, ERR_CERT_FORMAT, "ca.crt", "no CRL");
    X509_free(client);
    X509_free(stranger);
}

/* FIRST and SECOND, one after the other, as OUT. */
static void write_joined(const struct pki *p, const char *out, const char *first,
                         const char *second)
{
    struct file_bytes a;
    struct file_bytes b;

    assert_int_equal(file_read(&a, pki_path(p, first).text, "x", FILE_PUBLIC, NULL), ERR_OK);
    assert_int_equal(file_read(&b, pki_path(p, second).text, "x", FILE_PUBLIC, NULL), ERR_OK);
    a.data = realloc(a.data, a.len + b.len);
    assert_non_null(a.data);
    memcpy(a.data + a.len, b.data, b.len);
    a.len += b.len;
    pki_write(p, out, a.data, a.len, 0644);
    file_bytes_free(&a);
    file_bytes_free(&b);
}

static void drop_extension(X509 *cert, int nid)
{
    int at = X509_get_ext_by_NID(cert, nid, -1);

    if (at >= 0)
        X509_EXTENSION_free(X509_delete_ext(cert, at));
}

/* Our CAs allow no CA below them: this is one that does. */
static void make_root(const struct pki *p, struct cert_issue_result *root)
{
    const struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Root"};
    X509_EXTENSION *any =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");

    assert_int_equal(cert_issue(root, &request, NULL), ERR_OK);
    drop_extension(root->cert, NID_basic_constraints);
    assert_int_equal(X509_add_ext(root->cert, any, -1), 1);
    assert_true(X509_sign(root->cert, root->key, NULL) > 0);
    pki_write_result(p, "root", root);
    X509_EXTENSION_free(any);
}

/* Makes the certificate of a CA, which signed itself, that of an intermediate. */
static void put_under(const struct cert_issue_result *root, X509 *middle)
{
    drop_extension(middle, NID_authority_key_identifier);
    assert_int_equal(X509_set_issuer_name(middle, X509_get_subject_name(root->cert)), 1);
    assert_true(X509_sign(middle, root->key, NULL) > 0);
}

static long verify_chain(const struct identity *id, X509 *peer, X509 *middle)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *sent = sk_X509_new_null();
    long result = X509_V_OK;

    sk_X509_push(sent, middle);
    assert_int_equal(X509_STORE_CTX_init(ctx, identity_store(id), peer, sent), 1);
    if (X509_verify_cert(ctx) != 1)
        result = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    sk_X509_free(sent);
    ERR_clear_error();
    return result;
}

/*
 * Each CA answers for what it has issued, whatever other CAs of the bundle do: an intermediate that
 * is revoked is refused, one whose root has no CRL is let through, a leaf without a CRL is not.
 */
static void a_crl_is_missed_above_the_leaf_alone(void **state)
{
    struct pki *p = *state;
    struct names n = server_names();
    struct cert_issue_result root;
    struct cert_issue_result middle;
    X509 *cert;
    X509 *leaf;
    static const struct {
        const char *crls[2];
        long wanted;
    } rows[] = {
        {{"middle.crl", "root.crl"}, X509_V_OK},
        {{"middle.crl", "root-revoked.crl"}, X509_V_ERR_CERT_REVOKED},
        {{"middle.crl", "other.crl"}, X509_V_OK},
        {{"root.crl", "other.crl"}, X509_V_ERR_UNABLE_TO_GET_CRL},
    };

    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Middle CA"};
    assert_int_equal(cert_issue(&middle, &request, NULL), ERR_OK);
    request = (struct cert_issue_request){
        .kind = CERT_ISSUE_CLIENT, .algorithm = CERT_KEY_ED25519, .common_name = "below"};
    pki_issue_by(p, "below", request, &middle);
    make_root(p, &root);
    put_under(&root, middle.cert);
    pki_write_result(p, "middle", &middle);
    cert = pki_read_cert(p, "middle.crt"); /* OpenSSL remembers what the one in memory was */
    leaf = pki_read_cert(p, "below.crt");
    pki_write_crl(p, "middle.crl", middle.cert, middle.key, NULL, time(NULL) + PKI_DAY);
    pki_write_crl(p, "root.crl", root.cert, root.key, NULL, time(NULL) + PKI_DAY);
    pki_write_crl(p, "root-revoked.crl", root.cert, root.key, middle.cert, time(NULL) + PKI_DAY);
    write_joined(p, "two.crt", "other.crt", "root.crt");
    n.ca = "two.crt"; /* with a CA that has no CRL, or one that matters here not at all */
    n.crl = "both.crl";
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct identity *id;
        long got;

        write_joined(p, "both.crl", rows[i].crls[0], rows[i].crls[1]);
        id = load_ok(p, n);
        got = verify_chain(id, leaf, cert);
        if (got != rows[i].wanted)
            fail_msg("row %zu: %s", i, X509_verify_cert_error_string(got));
        identity_free(id);
    }
    X509_free(cert);
    X509_free(leaf);
    cert_issue_result_fini(&middle);
    cert_issue_result_fini(&root);
}

static void intermediates_follow_the_leaf_and_bound_the_expiry(void **state)
{
    struct names n = server_names();
    struct identity *id = NULL;
    X509 *middle = pki_read_cert(*state, "short-ca.crt");

    n.cert = "chain.crt";
    n.key = "chain.key";
    id = load_ok(*state, n);
    assert_int_equal(sk_X509_num(identity_chain(id)), 1);
    assert_int_equal(X509_cmp(sk_X509_value(identity_chain(id), 0), middle), 0);
    assert_int_equal(identity_expiry(id), cert_info_time(X509_get0_notAfter(middle)));
    identity_free(id);
    X509_free(middle);
}

static void a_peer_is_described_for_a_log(void **state)
{
    X509 *server = pki_read_cert(*state, "server.crt");
    struct identity_name name;
    const ASN1_INTEGER *serial;
    uint8_t expected[32];
    char issuer[CERT_INFO_TEXT_SIZE];
    char hex[3];

    identity_of_cert(&name, server);
    assert_string_equal(name.common_name, "dest");
    assert_string_equal(name.alt_names, "DNS:localhost, IP:127.0.0.1, IP:::1");
    assert_int_equal(X509_digest(server, EVP_sha256(), expected, NULL), 1);
    assert_memory_equal(name.fingerprint, expected, 32);
    assert_int_equal(strlen(name.fingerprint_hex), 64);
    snprintf(hex, sizeof(hex), "%02x", expected[31]);
    assert_string_equal(name.fingerprint_hex + 62, hex);
    assert_int_equal(name.expires_at, cert_info_time(X509_get0_notAfter(server)));
    cert_info_name(issuer, sizeof(issuer), X509_get_issuer_name(server));
    assert_int_not_equal(strlen(issuer), 0);
    assert_string_equal(name.issuer, issuer);
    serial = X509_get_serialNumber(server);
    assert_int_equal(strlen(name.serial), 3 * (size_t)ASN1_STRING_length(serial) - 1);
    snprintf(hex, sizeof(hex), "%02X", ASN1_STRING_get0_data(serial)[0]);
    assert_memory_equal(name.serial, hex, 2);
    X509_free(server);
}

static void verify_errors_map_to_ours(void **state)
{
    static const struct {
        long code;
        enum err err;
    } cases[] = {
        {X509_V_OK, ERR_OK},
        {X509_V_ERR_CERT_HAS_EXPIRED, ERR_CERT_EXPIRED},
        {X509_V_ERR_CERT_NOT_YET_VALID, ERR_CERT_NOT_YET},
        {X509_V_ERR_INVALID_PURPOSE, ERR_CERT_PURPOSE},
        {X509_V_ERR_HOSTNAME_MISMATCH, ERR_CERT_NAME},
        {X509_V_ERR_IP_ADDRESS_MISMATCH, ERR_CERT_NAME},
        {X509_V_ERR_CERT_REVOKED, ERR_CERT_REVOKED},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ERR_CERT_UNTRUSTED},
        {X509_V_ERR_OUT_OF_MEM, ERR_NOMEM},
        {X509_V_ERR_SUITE_B_INVALID_CURVE, ERR_CERT_UNTRUSTED},
        {123456789, ERR_CERT_UNTRUSTED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = NULL;

        assert_int_equal(identity_verify_error(cases[i].code, &text), cases[i].err);
        assert_true(text != NULL && text[0] != 0);
        assert_int_equal(identity_verify_error(cases[i].code, NULL), cases[i].err);
    }
}

static void write_der(const struct pki *p)
{
    X509 *server = pki_read_cert(p, "server.crt");
    EVP_PKEY *key = NULL;
    STACK_OF(X509_CRL) *crls = NULL;
    unsigned char *der = NULL;
    int len = i2d_X509(server, &der);

    pki_write(p, "server.der", der, (size_t)len, 0644);
    OPENSSL_free(der);
    der = NULL;
    len = i2d_X509(p->ca.cert, &der);
    pki_write(p, "ca.der", der, (size_t)len, 0644);
    OPENSSL_free(der);
    der = NULL;
    assert_int_equal(pem_read_key(&key, pki_path(p, "server.key").text, "key", FILE_SECRET, NULL),
                     ERR_OK);
    len = i2d_PrivateKey(key, &der);
    pki_write(p, "server-key.der", der, (size_t)len, 0600);
    OPENSSL_free(der);
    der = NULL;
    assert_int_equal(pem_read_crls(&crls, pki_path(p, "empty.crl").text, "CRL", NULL), ERR_OK);
    len = i2d_X509_CRL(sk_X509_CRL_value(crls, 0), &der);
    pki_write(p, "empty.crl.der", der, (size_t)len, 0644);
    OPENSSL_free(der);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    EVP_PKEY_free(key);
    X509_free(server);
}

static void write_broken(const struct pki *p)
{
    struct file_bytes b;

    assert_int_equal(mkdir(pki_path(p, "folder").text, 0700), 0);
    pki_write(p, "empty", "", 0, 0600);
    pki_write(p, "garbage", "\x30\x82garbage\0garbage", 17, 0600);
    pki_write(p, "huge", "x", 1, 0600);
    assert_int_equal(truncate(pki_path(p, "huge").text, 2 * 1024 * 1024), 0);
    assert_int_equal(file_read(&b, pki_path(p, "server.crt").text, "x", FILE_PUBLIC, NULL), ERR_OK);
    pki_write(p, "cut.crt", b.data, b.len / 2, 0600);
    file_bytes_free(&b);
    assert_int_equal(file_read(&b, pki_path(p, "server.key").text, "x", FILE_SECRET, NULL), ERR_OK);
    pki_write(p, "open.key", b.data, b.len, 0640);
    file_bytes_free(&b);
}

static int setup(void **state)
{
    int failed = pki_setup(state);
    struct pki *p = *state;
    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Other CA"};
    struct cert_issue_result other;
    int64_t now = (int64_t)time(NULL);
    X509 *client = NULL;

    if (failed != 0)
        return failed;
    pki_issue_pair(p);
    assert_int_equal(cert_issue(&other, &request, NULL), ERR_OK);
    pki_write_result(p, "other", &other);
    request.kind = CERT_ISSUE_CLIENT;
    request.common_name = "stranger";
    pki_issue_by(p, "stranger", request, &other);
    request.kind = CERT_ISSUE_SERVER;
    request.common_name = "dest";
    request.not_before = now - 20 * PKI_DAY;
    request.not_after = now - 10 * PKI_DAY;
    pki_issue(p, "expired", request);
    request.kind = CERT_ISSUE_CA;
    pki_issue(p, "old-ca", request);
    request.kind = CERT_ISSUE_SERVER;
    request.not_before = now + 10 * PKI_DAY;
    request.not_after = now + 20 * PKI_DAY;
    pki_issue(p, "future", request);
    request = (struct cert_issue_request){
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Short CA", .days = 3};
    pki_issue(p, "short-ca", request);

    client = pki_read_cert(p, "client.crt");
    pki_write_crl(p, "empty.crl", p->ca.cert, p->ca.key, NULL, now + PKI_DAY);
    pki_write_crl(p, "revoked.crl", p->ca.cert, p->ca.key, client, now + PKI_DAY);
    pki_write_crl(p, "old.crl", p->ca.cert, p->ca.key, NULL, now - PKI_DAY);
    pki_write_crl(p, "other.crl", other.cert, other.key, NULL, now + PKI_DAY);
    pki_write_crl(p, "forged.crl", p->ca.cert, other.key, NULL, now + PKI_DAY);
    X509_free(client);
    cert_issue_result_fini(&other);

    write_joined(p, "bundle.crt", "other.crt", "ca.crt");
    write_joined(p, "chain.crt", "server.crt", "short-ca.crt");
    assert_int_equal(link(pki_path(p, "server.key").text, pki_path(p, "chain.key").text), 0);
    write_der(p);
    write_broken(p);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_set_loads_and_lends_its_objects),
        cmocka_unit_test(both_files_may_be_absent_but_not_one),
        cmocka_unit_test(only_a_dest_may_have_no_ca),
        cmocka_unit_test(der_is_as_good_as_pem),
        cmocka_unit_test(the_wrong_time_use_or_key_is_refused),
        cmocka_unit_test(broken_files_are_refused_by_name),
        cmocka_unit_test(an_open_key_is_refused_unless_allowed),
        cmocka_unit_test(what_is_no_key_need_not_be_closed),
        cmocka_unit_test(the_ca_file_must_hold_cas_and_one_that_is_valid),
        cmocka_unit_test(revocation_is_checked_where_a_crl_is_given),
        cmocka_unit_test(a_crl_is_missed_above_the_leaf_alone),
        cmocka_unit_test(intermediates_follow_the_leaf_and_bound_the_expiry),
        cmocka_unit_test(a_peer_is_described_for_a_log),
        cmocka_unit_test(verify_errors_map_to_ours),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
