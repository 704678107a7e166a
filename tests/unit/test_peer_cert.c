#include "pki.h"

#include "crypto/cert_info.h"
#include "crypto/identity.h"
#include "crypto/peer_cert.h"

static struct peer_cert *issue(const struct pki *p, const char *name,
                               struct cert_issue_request request)
{
    struct peer_cert *peer = NULL;
    X509 *cert;

    request.kind = CERT_ISSUE_CLIENT;
    request.algorithm = CERT_KEY_ED25519;
    pki_issue(p, name, request);
    char file[64];
    snprintf(file, sizeof(file), "%s.crt", name);
    cert = pki_read_cert(p, file);
    assert_int_equal(peer_cert_new(&peer, &(struct peer_cert_options){.leaf = cert}), ERR_OK);
    X509_free(cert);
    return peer;
}

struct expected {
    const char *pattern;
    bool is_match;
};

static void check(const struct peer_cert *peer, const struct expected *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (peer_cert_is_named(peer, rows[i].pattern) != rows[i].is_match)
            fail_msg("\"%s\" %s", rows[i].pattern, rows[i].is_match ? "does not match" : "matches");
    }
    pki_assert_no_openssl_error();
}

#define CHECK(peer, rows) check(peer, rows, sizeof(rows) / sizeof((rows)[0]))

static void common_names(void **state)
{
    struct peer_cert *peer =
        issue(*state, "cn", (struct cert_issue_request){.common_name = "edge-1"});
    struct peer_cert *person =
        issue(*state, "person", (struct cert_issue_request){.common_name = "Ada Lovelace"});
    const struct expected rows[] = {
        {"edge-1", true},  {"EDGE-1", true},    {"edge-10", false}, {"edge-", false},
        {"edge-2", false}, {"*.edge-1", false}, {"", false},        {"dge-1", false},
    };
    const struct expected person_rows[] = {
        {"Ada Lovelace", true},
        {"ada lovelace", false},
        {"Ada", false},
    };

    CHECK(peer, rows);
    CHECK(person, person_rows);
    peer_cert_free(peer);
    peer_cert_free(person);
}

static void dns_names(void **state)
{
    struct peer_cert *peer =
        issue(*state, "dns",
              (struct cert_issue_request){.common_name = "x",
                                          .dns_names = "a.edge.example.org,b.example.org"});
    const struct expected rows[] = {
        {"a.edge.example.org", true},
        {"A.Edge.Example.ORG", true},
        {"b.example.org", true},
        {"*.example.org", true}, /* b */
        {"*.edge.example.org", true},
        {"*.EDGE.example.org", true},
        {"*.org", false}, /* one label only */
        {"*.b.example.org", false},
        {"edge.example.org", false},
        {".example.org", false},
        {"example.org", false},
        {"*", false},
        {"*example.org", false},
    };

    CHECK(peer, rows);
    peer_cert_free(peer);
}

static void a_wildcard_reaches_no_deeper(void **state)
{
    struct peer_cert *peer =
        issue(*state, "deep",
              (struct cert_issue_request){.common_name = "x", .dns_names = "a.edge.example.org"});
    const struct expected rows[] = {{"*.example.org", false}, {"*.edge.example.org", true}};

    CHECK(peer, rows);
    peer_cert_free(peer);
}

/* What a CA has given to many hosts names no client, but for a rule that says exactly that. */
static void a_wildcard_in_the_certificate(void **state)
{
    struct peer_cert *peer =
        issue(*state, "wild",
              (struct cert_issue_request){.common_name = "x", .dns_names = "*.example.org"});
    const struct expected rows[] = {
        {"a.example.org", false},
        {"*.example.org", true},
        {"*.org", false},
    };

    CHECK(peer, rows);
    peer_cert_free(peer);
}

static void uris(void **state)
{
    struct peer_cert *peer = issue(
        *state, "uri",
        (struct cert_issue_request){.common_name = "x", .uris = "spiffe://example.org/edge/1"});
    const struct expected rows[] = {
        {"spiffe://example.org/edge/1", true},
        {"spiffe://example.org/edge/", false},
        {"spiffe://example.org/Edge/1", false},
        {"spiffe://example.org/edge/10", false},
        {"*.org/edge/1", false},
    };

    CHECK(peer, rows);
    peer_cert_free(peer);
}

/* "evil" NUL ".example.org" is not "evil", nor anything below example.org. */
static void a_nul_ends_no_name(void **state)
{
    struct peer_cert *peer =
        issue(*state, "nul", (struct cert_issue_request){.common_name = "edge"});
    X509 *cert = pki_read_cert(*state, "nul.crt");
    X509 *forged = X509_dup(cert);
    X509_NAME *name = X509_NAME_new();
    static const unsigned char text[] = "good\0.example.org";

    assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING, text,
                                                (int)sizeof(text) - 1, -1, 0),
                     1);
    assert_int_equal(X509_set_subject_name(forged, name), 1);
    peer_cert_free(peer);
    assert_int_equal(peer_cert_new(&peer, &(struct peer_cert_options){.leaf = forged}), ERR_OK);
    const struct expected rows[] = {{"good", false}, {"*.example.org", false}};
    CHECK(peer, rows);
    peer_cert_free(peer);
    X509_NAME_free(name);
    X509_free(forged);
    X509_free(cert);
}

/* -- trust -- */

static struct identity *load(const struct pki *p, const char *ca, const char *crl)
{
    struct pki_path cert = pki_path(p, "server.crt");
    struct pki_path key = pki_path(p, "server.key");
    struct pki_path ca_path = pki_path(p, ca);
    struct pki_path crl_path = pki_path(p, crl != NULL ? crl : "");
    const struct identity_files files = {.cert_path = cert.text,
                                         .key_path = key.text,
                                         .ca_path = ca_path.text,
                                         .crl_path = crl != NULL ? crl_path.text : NULL,
                                         .use = IDENTITY_DEST};
    struct identity *id = NULL;
    struct err_detail d;

    if (identity_load(&id, &files, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return id;
}

static void trust(void **state)
{
    const struct pki *p = *state;
    struct peer_cert *peer = issue(p, "kept", (struct cert_issue_request){.common_name = "kept"});
    struct peer_cert *gone = issue(p, "gone", (struct cert_issue_request){.common_name = "gone"});
    X509 *revoked = pki_read_cert(p, "gone.crt");
    struct identity *id;
    const char *why = NULL;

    pki_issue_pair(p);
    id = load(p, "ca.crt", NULL);
    assert_int_equal(peer_cert_verify(peer, identity_store(id), &why), ERR_OK);
    assert_int_equal(peer_cert_verify(gone, identity_store(id), &why), ERR_OK);
    identity_free(id);

    pki_write_crl(p, "ca.crl", p->ca.cert, p->ca.key, revoked, time(NULL) + PKI_DAY);
    id = load(p, "ca.crt", "ca.crl");
    assert_int_equal(peer_cert_verify(peer, identity_store(id), &why), ERR_OK);
    assert_int_equal(peer_cert_verify(gone, identity_store(id), &why), ERR_CERT_REVOKED);
    assert_non_null(strstr(why, "revoked"));
    identity_free(id);

    /* A CA of another name and key. */
    pki_issue(p, "other",
              (struct cert_issue_request){
                  .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Other"});
    id = load(p, "other.crt", NULL);
    assert_int_equal(peer_cert_verify(peer, identity_store(id), NULL), ERR_CERT_UNTRUSTED);
    identity_free(id);
    pki_assert_no_openssl_error();
    X509_free(revoked);
    peer_cert_free(peer);
    peer_cert_free(gone);
}

/* A server's certificate is no source's. */
static void purpose(void **state)
{
    const struct pki *p = *state;
    struct peer_cert *peer = NULL;
    X509 *server;
    struct identity *id;

    pki_issue_pair(p);
    server = pki_read_cert(p, "server.crt");
    assert_int_equal(peer_cert_new(&peer, &(struct peer_cert_options){.leaf = server}), ERR_OK);
    id = load(p, "ca.crt", NULL);
    assert_int_equal(peer_cert_verify(peer, identity_store(id), NULL), ERR_CERT_PURPOSE);
    identity_free(id);
    peer_cert_free(peer);
    X509_free(server);
}

/* To name no use is not to name all of them. */
static void no_usage_is_no_purpose(void **state)
{
    const struct pki *p = *state;
    static const enum identity_use uses[] = {IDENTITY_SOURCE, IDENTITY_DEST};
    struct peer_cert *peer = NULL;
    const char *why = NULL;
    struct identity *id;
    X509 *cert;

    pki_issue_pair(p);
    id = load(p, "ca.crt", NULL);
    pki_write_without_usage(p, "no-usage", "client");
    cert = pki_read_cert(p, "no-usage.crt");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            peer_cert_new(&peer, &(struct peer_cert_options){.leaf = cert, .use = uses[i]}),
            ERR_OK);
        assert_int_equal(peer_cert_verify(peer, identity_store(id), &why), ERR_CERT_PURPOSE);
        assert_non_null(strstr(why, "clientAuth"));
        peer_cert_free(peer);
    }
    X509_free(cert);
    identity_free(id);
}

/* A dest is held to the host that was asked for, under the rules of TLS. */
static void a_dest_names_its_host(void **state)
{
    const struct {
        const char *host;
        enum err wanted;
    } rows[] = {
        {"localhost", ERR_OK},
        {"LOCALHOST.", ERR_OK},
        {"127.0.0.1", ERR_OK},
        {"::1", ERR_OK},
        {"dest", ERR_CERT_NAME}, /* its common name */
        {"127.0.0.2", ERR_CERT_NAME},
        {"a.example.org", ERR_OK},
        {"a.b.example.org", ERR_CERT_NAME},
    };
    const struct pki *p = *state;
    X509 *server;
    X509 *client;
    struct identity *id;
    struct peer_cert *peer = NULL;

    pki_issue_pair(p);
    client = pki_read_cert(p, "client.crt");
    id = load(p, "ca.crt", NULL);
    pki_issue(p, "host",
              (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "dest",
                                          .dns_names = "localhost,*.example.org",
                                          .ip_addresses = "127.0.0.1,::1"});
    server = pki_read_cert(p, "host.crt");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct peer_cert_options options = {
            .leaf = server, .use = IDENTITY_DEST, .host = rows[i].host};
        enum err e;

        assert_int_equal(peer_cert_new(&peer, &options), ERR_OK);
        e = peer_cert_verify(peer, identity_store(id), NULL);
        if (e != rows[i].wanted)
            fail_msg("%s: %s", rows[i].host, err_name(e));
        peer_cert_free(peer);
    }
    assert_int_equal(peer_cert_new(&peer, &(struct peer_cert_options){.leaf = client,
                                                                      .use = IDENTITY_DEST,
                                                                      .host = "edge-1"}),
                     ERR_OK);
    assert_int_equal(peer_cert_verify(peer, identity_store(id), NULL), ERR_CERT_PURPOSE);
    peer_cert_free(peer);
    pki_assert_no_openssl_error();
    identity_free(id);
    X509_free(server);
    X509_free(client);
}

/* The first of the chain to be over counts; and each verification says it anew. */
static void it_is_over_with_the_first_of_the_chain(void **state)
{
    const struct pki *p = *state;
    struct peer_cert *peer = issue(p, "until", (struct cert_issue_request){.common_name = "until"});
    struct peer_cert *gone =
        issue(p, "expired",
              (struct cert_issue_request){.common_name = "expired",
                                          .not_before = time(NULL) - 2 * PKI_DAY,
                                          .not_after = time(NULL) - PKI_DAY});
    X509 *old = pki_read_cert(p, "expired.crt");
    X509 *leaf = pki_read_cert(p, "until.crt");
    STACK_OF(X509) *path = sk_X509_new_null();
    struct peer_cert *over = NULL;
    const char *why = NULL;
    struct identity *id;

    pki_issue_pair(p);
    assert_true(peer_cert_until(peer) == INT64_MAX);
    id = load(p, "ca.crt", NULL);
    assert_int_equal(peer_cert_verify(peer, identity_store(id), NULL), ERR_OK);
    assert_int_equal(peer_cert_until(peer), cert_info_time(X509_get0_notAfter(leaf)));
    assert_int_equal(peer_cert_check_time(peer, NULL), ERR_OK);
    sk_X509_push(path, leaf);
    sk_X509_push(path, old);
    assert_int_equal(peer_cert_new(&over, &(struct peer_cert_options){.leaf = leaf, .path = path}),
                     ERR_OK);
    assert_int_equal(peer_cert_until(over), cert_info_time(X509_get0_notAfter(old)));
    assert_int_equal(peer_cert_check_time(over, &why), ERR_CERT_EXPIRED);
    assert_non_null(strstr(why, "expired"));
    /* By this store another CA stands above it. */
    assert_int_equal(peer_cert_verify(over, identity_store(id), NULL), ERR_OK);
    assert_int_equal(peer_cert_check_time(over, NULL), ERR_OK);
    identity_free(id);
    sk_X509_free(path);
    peer_cert_free(over);
    peer_cert_free(gone);
    peer_cert_free(peer);
    X509_free(leaf);
    X509_free(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(common_names),
        cmocka_unit_test(dns_names),
        cmocka_unit_test(a_wildcard_reaches_no_deeper),
        cmocka_unit_test(a_wildcard_in_the_certificate),
        cmocka_unit_test(uris),
        cmocka_unit_test(a_nul_ends_no_name),
        cmocka_unit_test(trust),
        cmocka_unit_test(purpose),
        cmocka_unit_test(no_usage_is_no_purpose),
        cmocka_unit_test(a_dest_names_its_host),
        cmocka_unit_test(it_is_over_with_the_first_of_the_chain),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
