/* Handshakes that succeed, and those that two honest peers refuse each other. */
#include "handshake_peers.h"

#include <openssl/rsa.h>
#include <openssl/x509v3.h>

static const enum kem_mode modes[] = {KEM_HYBRID, KEM_MLKEM768, KEM_MCELIECE460896};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static int setup(void **state)
{
    if (pki_setup(state) != 0)
        return -1;
    pki_issue_pair(*state);
    return 0;
}

/* Completes it, compares both results and hands them over. */
static void complete(struct handshake *source, struct handshake *dest, size_t chunk,
                     struct handshake_result **s, struct handshake_result **d)
{
    converse(source, dest, chunk);
    if (handshake_status(source) != HANDSHAKE_DONE || handshake_status(dest) != HANDSHAKE_DONE)
        fail_msg("source: %s; dest: %s", handshake_error_text(source), handshake_error_text(dest));
    *s = take(source);
    *d = take(dest);
    assert_true(same_keys(*s, *d));
    assert_memory_equal((*s)->tunnel_secret, (*d)->tunnel_secret, TUNNEL_SECRET_SIZE);
    assert_memory_equal((*s)->tunnel_id, (*d)->tunnel_id, TUNNEL_ID_SIZE);
    assert_int_equal((*s)->is_resumed, (*d)->is_resumed);
    assert_int_equal((*s)->bytes_in, (*d)->bytes_out);
    assert_int_equal((*d)->bytes_in, (*s)->bytes_out);
    assert_string_equal((*s)->group, (*d)->group);
    pki_assert_no_openssl_error();
    assert_int_equal(handshake_deadline_ms(source), UINT64_MAX);
    assert_int_equal(handshake_deadline_ms(dest), UINT64_MAX);
    handshake_free(source);
    handshake_free(dest);
}

static void free_results(struct handshake_result *a, struct handshake_result *b)
{
    handshake_result_free(a);
    handshake_result_free(b);
}

static void every_mode_completes(void **state)
{
    static const char *groups[] = {"X25519MLKEM768", "X25519MLKEM768", "X25519"};
    for (size_t i = 0; i < MODES; i++) {
        struct handshake_result *s = NULL, *d = NULL;
        struct peer_setup setup_of = {.mode = modes[i]};
        complete(source_new(*state, setup_of), dest_new(*state, setup_of), 65536, &s, &d);
        assert_int_equal(s->kem_mode, modes[i]);
        assert_int_equal(strcasecmp(s->group, groups[i]), 0);
        assert_string_equal(s->peer.common_name, "dest");
        assert_string_equal(d->peer.common_name, "edge-1");
        assert_string_equal(s->peer_signature, "ed25519");
        assert_string_equal(d->peer_signature, "ed25519");
        assert_false(s->is_resumed);
        assert_null(s->leftover);
        assert_null(d->leftover);
        free_results(s, d);
    }
}

static void any_chunking_completes(void **state)
{
    static const size_t chunks[] = {1, 2, 3, 5, 63, 1000, 16383};
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        for (size_t m = 0; m < MODES; m++) {
            struct handshake_result *s = NULL, *d = NULL;
            struct peer_setup setup_of = {.mode = modes[m]};
            if (chunks[i] < 3 && modes[m] == KEM_MCELIECE460896)
                continue; /* half a megabyte in single bytes is enough once */
            complete(source_new(*state, setup_of), dest_new(*state, setup_of), chunks[i], &s, &d);
            free_results(s, d);
        }
    }
}

static void bytes_behind_the_handshake_are_kept(void **state)
{
    static const char first[] = "\x75 the first record and a half";
    for (size_t m = 0; m < MODES; m++) {
        struct peer_setup setup_of = {.mode = modes[m]};
        struct handshake *source = source_new(*state, setup_of), *dest = dest_new(*state, setup_of);
        uint8_t piece[65536];
        while (handshake_status(dest) != HANDSHAKE_DONE) {
            carry(source, dest, 65536, SIZE_MAX);
            if (handshake_status(dest) != HANDSHAKE_DONE)
                carry(dest, source, 65536, SIZE_MAX);
        }
        /* ANSWER and records right behind it, in one piece. */
        const uint8_t *data = NULL;
        size_t len = 0;
        handshake_drain(dest, &data, &len);
        memcpy(piece, data, len);
        memcpy(piece + len, first, sizeof(first));
        handshake_drained(dest, len, PEERS_NOW);
        assert_int_equal(handshake_feed(source, piece, len + sizeof(first), PEERS_NOW), ERR_OK);
        assert_int_equal(handshake_feed(source, piece, 3, PEERS_NOW), ERR_OK); /* after the end */
        assert_int_equal(handshake_feed(dest, (const uint8_t *)first, 5, PEERS_NOW), ERR_OK);

        struct handshake_result *s = take(source), *d = take(dest);
        assert_true(same_keys(s, d));
        assert_int_equal(s->leftover_len, sizeof(first) + 3);
        assert_memory_equal(s->leftover, first, sizeof(first));
        assert_memory_equal(s->leftover + sizeof(first), piece, 3);
        assert_int_equal(d->leftover_len, 5);
        assert_memory_equal(d->leftover, first, 5);
        assert_int_equal(s->bytes_in, d->bytes_out);
        free_results(s, d);
        handshake_free(source);
        handshake_free(dest);
    }
}

static void no_two_sessions_share_keys(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct handshake_result *s[2], *d[2];
    for (int i = 0; i < 2; i++)
        complete(source_new(*state, setup_of), dest_new(*state, setup_of), 65536, &s[i], &d[i]);
    assert_false(same_keys(s[0], s[1]));
    assert_memory_not_equal(s[0]->tunnel_secret, s[1]->tunnel_secret, TUNNEL_SECRET_SIZE);
    for (int i = 0; i < 2; i++)
        free_results(s[i], d[i]);
}

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* Both sides fail, with these errors and with these words in their texts. */
static void both_fail(struct handshake *source, struct handshake *dest, enum err at_source,
                      const char *source_says, enum err at_dest, const char *dest_says)
{
    converse(source, dest, 65536);
    contains(handshake_error_text(source), source_says);
    contains(handshake_error_text(dest), dest_says);
    assert_string_equal(err_name(handshake_error(source)), err_name(at_source));
    assert_string_equal(err_name(handshake_error(dest)), err_name(at_dest));
    assert_int_equal(handshake_status(source), HANDSHAKE_FAILED);
    assert_int_equal(handshake_status(dest), HANDSHAKE_FAILED);
    pki_assert_no_openssl_error();
    handshake_free(source);
    handshake_free(dest);
}

static void different_modes_name_each_other(void **state)
{
    for (size_t a = 0; a < MODES; a++) {
        for (size_t b = 0; b < MODES; b++) {
            char at_source[128], at_dest[128];
            if (a == b)
                continue;
            snprintf(at_source, sizeof(at_source),
                     "this source is set to \"%s\", the dest to \"%s\"", kem_mode_name(modes[a]),
                     kem_mode_name(modes[b]));
            snprintf(at_dest, sizeof(at_dest),
                     "this dest is set to \"%s\", the source \"edge-1\" to \"%s\"",
                     kem_mode_name(modes[b]), kem_mode_name(modes[a]));
            both_fail(source_new(*state, (struct peer_setup){.mode = modes[a]}),
                      dest_new(*state, (struct peer_setup){.mode = modes[b]}), ERR_KEM_MODE,
                      at_source, ERR_KEM_MODE, at_dest);
        }
    }
}

static void another_ca_is_refused(void **state)
{
    struct cert_issue_result other;
    struct cert_issue_request ca = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "Another CA"};
    assert_int_equal(cert_issue(&other, &ca, NULL), ERR_OK);
    pki_write_result(*state, "other-ca", &other);
    pki_issue_by(*state, "other-client",
                 (struct cert_issue_request){.kind = CERT_ISSUE_CLIENT,
                                             .algorithm = CERT_KEY_ED25519,
                                             .common_name = "stranger"},
                 &other);
    pki_issue_by(*state, "other-server",
                 (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                             .algorithm = CERT_KEY_ED25519,
                                             .common_name = "impostor",
                                             .dns_names = "localhost"},
                 &other);
    cert_issue_result_fini(&other);

    struct peer_setup sound = {.mode = KEM_HYBRID};
    both_fail(source_new(*state, (struct peer_setup){.mode = KEM_HYBRID, .cert = "other-client"}),
              dest_new(*state, sound), ERR_CERT_REFUSED, "the dest refuses our certificate",
              ERR_CERT_UNTRUSTED, "the source's certificate (\"stranger\")");
    both_fail(source_new(*state, sound),
              dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID, .cert = "other-server"}),
              ERR_CERT_UNTRUSTED, "the dest's certificate (\"impostor\")", ERR_CERT_REFUSED,
              "the source refuses our certificate");
}

static void the_name_must_be_the_dests(void **state)
{
    static const char *const right[] = {"localhost", "LOCALHOST", "localhost.", "127.0.0.1", "::1"};
    static const char *const wrong[] = {"example.org", "127.0.0.2", "::2",
                                        "dest",        "localhos",  "localhost.x"};
    struct peer_setup dest = {.mode = KEM_MLKEM768};
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        struct handshake_result *s = NULL, *d = NULL;
        complete(source_new(*state, (struct peer_setup){.mode = KEM_MLKEM768, .host = right[i]}),
                 dest_new(*state, dest), 65536, &s, &d);
        free_results(s, d);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        both_fail(source_new(*state, (struct peer_setup){.mode = KEM_MLKEM768, .host = wrong[i]}),
                  dest_new(*state, dest), ERR_CERT_NAME, wrong[i], ERR_CERT_REFUSED,
                  "the source refuses our certificate");
}

static void an_unusable_host_is_an_error_at_once(void **state)
{
    struct peer_setup s = {.use = IDENTITY_SOURCE, .mode = KEM_HYBRID};
    struct tls_context *tls = peer_context(*state, &s);
    static const char *const hosts[] = {NULL, "", "."};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct handshake_options o = {
            .tls = tls, .dest_host = hosts[i], .on_keypair = make_keypair};
        struct handshake *h = NULL;
        struct err_detail d = {""};
        if (i == 2) { /* a single dot is no name that a certificate could have, but is one */
            assert_int_equal(handshake_new(&h, &o, PEERS_NOW, &d), ERR_OK);
            handshake_free(h);
            continue;
        }
        assert_int_equal(handshake_new(&h, &o, PEERS_NOW, &d), ERR_CONFIG);
        assert_null(h);
        contains(d.text, "dest_host");
    }
    tls_context_free(tls);
}

static void a_revoked_certificate_is_refused(void **state)
{
    struct pki *p = *state;
    X509 *client = pki_read_cert(p, "client.crt");
    pki_write_crl(p, "revoked.crl", p->ca.cert, p->ca.key, client, time(NULL) + PKI_DAY);
    pki_write_crl(p, "empty.crl", p->ca.cert, p->ca.key, NULL, time(NULL) + PKI_DAY);
    X509_free(client);
    both_fail(source_new(p, (struct peer_setup){.mode = KEM_MLKEM768}),
              dest_new(p, (struct peer_setup){.mode = KEM_MLKEM768, .crl = "revoked.crl"}),
              ERR_CERT_REFUSED, "revoked", ERR_CERT_REVOKED, "revoked");
    struct handshake_result *s = NULL, *d = NULL;
    complete(source_new(p, (struct peer_setup){.mode = KEM_MLKEM768, .crl = "empty.crl"}),
             dest_new(p, (struct peer_setup){.mode = KEM_MLKEM768, .crl = "empty.crl"}), 65536, &s,
             &d);
    free_results(s, d);
}

static void a_source_needs_a_certificate(void **state)
{
    struct peer_setup none = {
        .mode = KEM_HYBRID, .cert = "", .auth = TLS_AUTH_SERVER_ONLY, .use = IDENTITY_SOURCE};
    both_fail(source_new(*state, none), dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID}),
              ERR_CERT_REFUSED, "requires a certificate", ERR_CERT_MISSING,
              "the source presents no certificate");

    struct identity *id = peer_identity(*state, &none);
    struct tls_context *tls = NULL;
    struct err_detail d = {""};
    assert_int_equal(tls_context_new(&tls, id, KEM_HYBRID, TLS_AUTH_MUTUAL, &d), ERR_CONFIG);
    contains(d.text, "client_cert_path");
    assert_null(tls);
    identity_free(id);
}

static void authentication_can_be_switched_off(void **state)
{
    struct handshake_result *s = NULL, *d = NULL;
    struct peer_setup server_only = {.mode = KEM_HYBRID, .auth = TLS_AUTH_SERVER_ONLY};
    struct peer_setup bare = {.mode = KEM_HYBRID, .auth = TLS_AUTH_SERVER_ONLY, .cert = ""};
    complete(source_new(*state, bare), dest_new(*state, server_only), 65536, &s, &d);
    assert_true(s->has_peer);
    assert_false(d->has_peer);
    assert_string_equal(d->peer.common_name, "");
    free_results(s, d);

    /* A certificate that nobody asked for is not shown, and does not count for the keys. */
    complete(source_new(*state, (struct peer_setup){.mode = KEM_MLKEM768}),
             dest_new(*state, (struct peer_setup){.mode = KEM_MLKEM768, .auth = TLS_AUTH_NONE}),
             65536, &s, &d);
    assert_false(d->has_peer);
    free_results(s, d);

    /* A source that checks nothing takes even another CA's dest, under any name. */
    struct peer_setup blind = {
        .mode = KEM_HYBRID, .auth = TLS_AUTH_NONE, .ca = "other-ca", .host = "any.name"};
    complete(source_new(*state, blind), dest_new(*state, server_only), 65536, &s, &d);
    assert_true(s->has_peer);
    free_results(s, d);
}

static void every_algorithm_completes(void **state)
{
    static const struct {
        enum cert_key_algorithm algorithm;
        const char *signature;
    } rows[] = {
        {CERT_KEY_ML_DSA_65, "mldsa65"},
        {CERT_KEY_ML_DSA_44, "mldsa44"},
        {CERT_KEY_ML_DSA_87, "mldsa87"},
        {CERT_KEY_ED25519, "ed25519"},
        {CERT_KEY_ECDSA_P256, "ecdsa_secp256r1_sha256"},
        {CERT_KEY_ECDSA_P384, "ecdsa_secp384r1_sha384"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cert_issue_result ca;
        struct cert_issue_request request = {
            .kind = CERT_ISSUE_CA, .algorithm = rows[i].algorithm, .common_name = "CA of a kind"};
        assert_int_equal(cert_issue(&ca, &request, NULL), ERR_OK);
        pki_write_result(*state, "kind-ca", &ca);
        request = (struct cert_issue_request){
            .kind = CERT_ISSUE_SERVER, .algorithm = rows[i].algorithm, .common_name = "localhost"};
        pki_issue_by(*state, "kind-server", request, &ca);
        request.kind = CERT_ISSUE_CLIENT;
        pki_issue_by(*state, "kind-client", request, &ca);
        cert_issue_result_fini(&ca);

        struct handshake_result *s = NULL, *d = NULL;
        complete(source_new(*state, (struct peer_setup){.mode = KEM_MLKEM768,
                                                        .cert = "kind-client",
                                                        .ca = "kind-ca"}),
                 dest_new(*state, (struct peer_setup){.mode = KEM_MLKEM768,
                                                      .cert = "kind-server",
                                                      .ca = "kind-ca"}),
                 65536, &s, &d);
        assert_string_equal(s->peer_signature, rows[i].signature);
        assert_string_equal(d->peer_signature, rows[i].signature);
        free_results(s, d);
    }
}

/* A certificate with an RSA key, signed by RSA, as an existing PKI has them. */
static X509 *rsa_cert(const char *cn, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                      const char *usage, bool signs_with_pss)
{
    X509 *x = X509_new();
    X509V3_CTX v3;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), issuer == NULL ? 1 : 2);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), PKI_DAY);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer != NULL ? issuer : x));
    X509V3_set_ctx(&v3, issuer != NULL ? issuer : x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints,
                                            issuer == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    if (usage != NULL) {
        e = X509V3_EXT_conf_nid(NULL, &v3, NID_ext_key_usage, usage);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
        e = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, "DNS:localhost");
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    assert_int_equal(
        EVP_DigestSignInit(md, &pctx, EVP_sha256(), NULL, issuer_key != NULL ? issuer_key : key),
        1);
    if (signs_with_pss)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
    assert_true(X509_sign_ctx(x, md) > 0);
    EVP_MD_CTX_free(md);
    return x;
}

static void rsa_chains_complete(void **state)
{
    for (int is_pss = 0; is_pss < 2; is_pss++) {
        struct cert_issue_result ca = {.key = EVP_RSA_gen(2048)},
                                 server = {.key = EVP_RSA_gen(2048)},
                                 client = {.key = EVP_RSA_gen(2048)};
        ca.cert = rsa_cert("RSA CA", ca.key, NULL, NULL, NULL, is_pss != 0);
        server.cert = rsa_cert("dest", server.key, ca.cert, ca.key, "serverAuth", is_pss != 0);
        client.cert = rsa_cert("edge", client.key, ca.cert, ca.key, "clientAuth", is_pss != 0);
        pki_write_result(*state, "rsa-ca", &ca);
        pki_write_result(*state, "rsa-server", &server);
        pki_write_result(*state, "rsa-client", &client);

        struct handshake_result *s = NULL, *d = NULL;
        complete(source_new(*state, (struct peer_setup){.mode = KEM_MLKEM768,
                                                        .cert = "rsa-client",
                                                        .ca = "rsa-ca"}),
                 dest_new(*state, (struct peer_setup){.mode = KEM_MLKEM768,
                                                      .cert = "rsa-server",
                                                      .ca = "rsa-ca"}),
                 65536, &s, &d);
        assert_string_equal(s->peer_signature, "rsa_pss_rsae_sha256");
        free_results(s, d);
        cert_issue_result_fini(&ca);
        cert_issue_result_fini(&server);
        cert_issue_result_fini(&client);
    }
}

/* -- admission -- */

struct door {
    const char *why;
    enum err answer;
    int calls;
    bool was_resumed;
};

static struct door door;

static enum err ask_at_the_door(struct handshake_owner *o, struct handshake_visitor *visitor)
{
    static const uint8_t nobody[PEER_IDENTITY_SIZE];

    (void)o;
    assert_memory_not_equal(visitor->identity, nobody, sizeof(nobody));
    door.calls++;
    door.was_resumed = visitor->is_resumed;
    visitor->retry_after_ms = 2500;
    visitor->why = door.why;
    return door.answer;
}

static void an_authenticated_source_may_be_sent_away(void **state)
{
    static const enum kem_mode some[] = {KEM_HYBRID, KEM_MLKEM768};
    static const enum err reasons[] = {ERR_LIMIT, ERR_SHUTDOWN};
    static const char *const words[] = {"there are too many of yours", NULL};

    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 2; k++) {
            struct handshake *source = source_new(*state, (struct peer_setup){.mode = some[i]});
            struct handshake *dest =
                dest_new(*state, (struct peer_setup){.mode = some[i], .on_admit = ask_at_the_door});

            door = (struct door){.answer = reasons[k], .why = words[k]};
            converse(source, dest, 65536);
            assert_int_equal(door.calls, 1);
            assert_false(door.was_resumed);
            assert_int_equal(handshake_error(dest), reasons[k]);
            assert_int_equal(handshake_retry_after_ms(dest), 2500);
            assert_int_equal(handshake_error(source), reasons[k]);
            assert_int_equal(handshake_retry_after_ms(source), 2500);
            const char *why = words[k] != NULL ? words[k] : err_text(reasons[k]);
            assert_non_null(strstr(handshake_error_text(dest), why));
            assert_non_null(strstr(handshake_error_text(source), why));
            handshake_free(source);
            handshake_free(dest);
        }
    }
}

static void a_stranger_is_not_even_asked_for(void **state)
{
    struct handshake *source = source_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct handshake *dest =
        dest_new(*state, (struct peer_setup){.mode = KEM_MLKEM768, .on_admit = ask_at_the_door});

    door = (struct door){.answer = ERR_LIMIT};
    converse(source, dest, 65536);
    assert_int_equal(door.calls, 0); /* the mode does not fit: that is said, and nothing else */
    assert_int_equal(handshake_error(source), ERR_KEM_MODE);
    assert_int_equal(handshake_retry_after_ms(source), 0);
    handshake_free(source);
    handshake_free(dest);
}

/* -- resume -- */

struct handshake_owner {
    uint8_t tunnel_id[TUNNEL_ID_SIZE];
    uint8_t secret[TUNNEL_SECRET_SIZE];
    uint8_t identity[PEER_IDENTITY_SIZE]; /* that the tunnel belongs to */
    int calls;
};

static bool look_up(struct handshake_owner *o, const uint8_t *tunnel_id, const uint8_t *identity,
                    uint8_t *secret)
{
    o->calls++;
    if (memcmp(tunnel_id, o->tunnel_id, TUNNEL_ID_SIZE) != 0 ||
        memcmp(identity, o->identity, sizeof(o->identity)) != 0)
        return false;
    memcpy(secret, o->secret, TUNNEL_SECRET_SIZE);
    return true;
}

static void a_tunnel_is_resumed_by_its_owner_only(void **state)
{
    struct handshake_owner tunnels = {.calls = 0};
    struct handshake_result *s = NULL, *d = NULL;
    uint8_t secret[TUNNEL_SECRET_SIZE], wrong[TUNNEL_SECRET_SIZE], other_id[TUNNEL_ID_SIZE] = {9};
    struct peer_setup dest = {
        .mode = KEM_HYBRID, .owner = &tunnels, .on_resume = look_up, .on_admit = ask_at_the_door};

    door = (struct door){.answer = ERR_OK};

    complete(source_new(*state, (struct peer_setup){.mode = KEM_HYBRID}), dest_new(*state, dest),
             65536, &s, &d);
    assert_int_equal(tunnels.calls, 0); /* nobody asked */
    memcpy(secret, s->tunnel_secret, sizeof(secret));
    memcpy(tunnels.secret, d->tunnel_secret, sizeof(secret));
    memcpy(tunnels.tunnel_id, d->tunnel_id, sizeof(tunnels.tunnel_id));
    memcpy(tunnels.identity, d->peer_identity, sizeof(tunnels.identity));
    memcpy(wrong, secret, sizeof(wrong));
    wrong[47] ^= 1;
    free_results(s, d);

    pki_issue(*state, "client-2",
              (struct cert_issue_request){.kind = CERT_ISSUE_CLIENT,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "edge-1"});
    pki_issue(*state, "client-3",
              (struct cert_issue_request){.kind = CERT_ISSUE_CLIENT,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "edge-2"});
    const struct {
        const uint8_t *secret;
        const uint8_t *id;
        const char *cert;
        bool is_resumed;
    } rows[] = {
        {secret, NULL, NULL, true},        /* right */
        {secret, NULL, NULL, true},        /* and again */
        {wrong, NULL, NULL, false},        /* the proof is wrong */
        {secret, other_id, NULL, false},   /* no such tunnel */
        {secret, NULL, "client-2", true},  /* a renewed certificate for the same names */
        {secret, NULL, "client-3", false}, /* another name */
        {NULL, NULL, NULL, false},         /* not asked for: a new tunnel under the old id */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer_setup source = {.mode = KEM_HYBRID,
                                    .secret = rows[i].secret,
                                    .tunnel_id = rows[i].id,
                                    .cert = rows[i].cert};
        complete(source_new(*state, source), dest_new(*state, dest), 65536, &s, &d);
        assert_int_equal(s->is_resumed, rows[i].is_resumed);
        assert_int_equal(door.was_resumed, rows[i].is_resumed);
        assert_int_equal(memcmp(s->tunnel_secret, secret, sizeof(secret)) == 0, rows[i].is_resumed);
        free_results(s, d);
    }
    assert_int_equal(tunnels.calls, 6);

    /* A dest that keeps no tunnels answers with a new one. */
    complete(source_new(*state, (struct peer_setup){.mode = KEM_MLKEM768, .secret = secret}),
             dest_new(*state, (struct peer_setup){.mode = KEM_MLKEM768}), 65536, &s, &d);
    assert_false(s->is_resumed);
    free_results(s, d);
}

/* -- the key pair -- */

static unsigned asked;

static enum err count_asked(struct handshake_owner *o, struct mceliece_keypair **out)
{
    asked++;
    return make_keypair(o, out);
}

static enum err have_none(struct handshake_owner *o, struct mceliece_keypair **out)
{
    (void)o;
    *out = NULL;
    return ERR_NOMEM;
}

/* How often the source asked for a pair in a handshake with this dest. */
static unsigned asked_by(struct handshake *source, struct handshake *dest)
{
    asked = 0;
    if (dest != NULL)
        converse(source, dest, 65536);
    handshake_free(source);
    handshake_free(dest);
    return asked;
}

/* So an impostor does not cost the source any. */
static void a_pair_is_asked_for_once_the_dest_is_known(void **state)
{
    struct peer_setup hybrid = {.mode = KEM_HYBRID, .on_keypair = count_asked};
    struct peer_setup misnamed = {
        .mode = KEM_HYBRID, .on_keypair = count_asked, .host = "other.example"};
    struct peer_setup dest = {.mode = KEM_HYBRID};

    assert_int_equal(asked_by(source_new(*state, hybrid), NULL), 0); /* nobody answers */
    assert_int_equal(asked_by(source_new(*state, misnamed), dest_new(*state, dest)), 0);
    dest.mode = KEM_MCELIECE460896; /* the wrong TLS group: it is told so, and sent no key */
    assert_int_equal(asked_by(source_new(*state, hybrid), dest_new(*state, dest)), 0);
    dest.mode = KEM_HYBRID;
    assert_int_equal(asked_by(source_new(*state, hybrid), dest_new(*state, dest)), 1);
}

static void no_pair_no_session(void **state)
{
    struct handshake *source =
        source_new(*state, (struct peer_setup){.mode = KEM_HYBRID, .on_keypair = have_none});
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});

    converse(source, dest, 65536);
    assert_int_equal(handshake_error(source), ERR_NOMEM);
    assert_int_equal(handshake_error(dest), ERR_REFUSED); /* it is told, not left waiting */
    handshake_free(source);
    handshake_free(dest);
}

/* -- bounds, time, giving up -- */

static void the_operators_bound_holds(void **state)
{
    both_fail(source_new(*state, (struct peer_setup){.mode = KEM_HYBRID}),
              dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID, .max_size = 500000}),
              ERR_REFUSED, "larger than its bound", ERR_TOO_LARGE, "max_handshake_size");
    /* One byte too few, and exactly enough: headers and bodies of OFFER and KEM_KEY. */
    size_t exact = 4 + 68 + 4 + MCELIECE_PUBLIC_KEY_SIZE;
    both_fail(source_new(*state, (struct peer_setup){.mode = KEM_HYBRID}),
              dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID, .max_size = exact - 1}),
              ERR_REFUSED, "larger than its bound", ERR_TOO_LARGE, "max_handshake_size");
    struct handshake_result *s = NULL, *d = NULL;
    complete(source_new(*state, (struct peer_setup){.mode = KEM_HYBRID}),
             dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID, .max_size = exact}), 65536,
             &s, &d);
    free_results(s, d);
}

static void a_refusal_brings_its_reason_and_advice(void **state)
{
    struct handshake *source = source_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    /* TLS is up at the dest once it has the source's Finished: some 3 KB. */
    carry(source, dest, 65536, SIZE_MAX);
    carry(dest, source, 65536, SIZE_MAX);
    carry(source, dest, 65536, 16384);
    assert_int_equal(handshake_status(dest), HANDSHAKE_IN_PROGRESS);
    handshake_refuse(dest, ERR_SHUTDOWN, 1500);
    handshake_refuse(dest, ERR_LIMIT, 9); /* harmless now */
    assert_int_equal(handshake_error(dest), ERR_SHUTDOWN);
    converse(source, dest, 65536);
    assert_int_equal(handshake_error(source), ERR_SHUTDOWN);
    assert_int_equal(handshake_retry_after_ms(source), 1500);
    contains(handshake_error_text(source), "shutting down");
    handshake_free(source);
    handshake_free(dest);

    dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    handshake_refuse(dest, ERR_LIMIT, 0); /* before TLS nothing can be said */
    const uint8_t *data = NULL;
    size_t len = 1;
    handshake_drain(dest, &data, &len);
    assert_int_equal(len, 0);
    assert_int_equal(handshake_deadline_ms(dest), UINT64_MAX);
    handshake_free(dest);
}

static void a_peer_that_closes_is_named(void **state)
{
    struct handshake *source = source_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    carry(source, dest, 65536, SIZE_MAX);
    assert_int_equal(handshake_feed_end(source, PEERS_NOW), ERR_CLOSED);
    contains(handshake_error_text(source), "the dest closed");
    contains(handshake_error_text(source), "TLS was awaited");
    assert_int_equal(handshake_feed_end(dest, PEERS_NOW), ERR_CLOSED);
    contains(handshake_error_text(dest), "the source closed");
    handshake_free(source);
    handshake_free(dest);
}

/*
 * The source stops after n bytes. Whatever is in the middle then, the dest waits 30 s and not
 * longer, 10 s for who is not authenticated, and says for what.
 */
static void a_peer_that_stops_anywhere_times_out(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct tls_context *source_tls = NULL, *dest_tls = NULL;
    struct peer_setup s = setup_of, d = setup_of;
    s.use = IDENTITY_SOURCE;
    d.use = IDENTITY_DEST;
    source_tls = peer_context(*state, &s);
    dest_tls = peer_context(*state, &d);
    static const size_t stops[] = {0,    1,     4,     5,      100,    500,    1000,   1500,
                                   2000, 2200,  2400,  2500,   2600,   2700,   2800,   3000,
                                   5000, 20000, 65536, 131072, 262144, 500000, 520000, 526000};
    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
        struct handshake *source = peer_of_context(source_tls, &s);
        struct handshake *dest = peer_of_context(dest_tls, &d);
        size_t left = stops[i], moved = 0;
        do {
            moved = carry(source, dest, 65536, left);
            left -= moved;
        } while (carry(dest, source, 65536, SIZE_MAX) + moved > 0 && left > 0);
        assert_int_equal(handshake_status(dest), HANDSHAKE_IN_PROGRESS);
        carry(dest, source, 65536, SIZE_MAX);

        uint64_t deadline = handshake_deadline_ms(dest);
        bool is_known = handshake_is_authenticated(dest);
        if (stops[i] <= 1500 || stops[i] >= 5000)
            assert_int_equal(is_known, stops[i] >= 5000);
        assert_int_equal(deadline, PEERS_NOW + (is_known ? 30000 : 10000));
        assert_int_equal(handshake_tick(dest, deadline - 1), ERR_OK);
        assert_int_equal(handshake_tick(dest, deadline), ERR_TIMEOUT);
        contains(handshake_error_text(dest), stops[i] < 2000   ? "did not finish TLS"
                                             : stops[i] > 5000 ? "did not finish KEM_KEY"
                                                               : "did not finish");
        assert_int_equal(handshake_feed(dest, (const uint8_t *)"x", 1, deadline), ERR_TIMEOUT);
        handshake_free(source);
        handshake_free(dest);
    }
    /* And the other way round: a dest that never answers. */
    struct handshake *source = peer_of_context(source_tls, &s);
    struct handshake *dest = peer_of_context(dest_tls, &d);
    carry(source, dest, 65536, SIZE_MAX);
    carry(dest, source, 65536, SIZE_MAX);
    assert_int_equal(handshake_tick(source, PEERS_NOW + 29999), ERR_OK);
    assert_int_equal(handshake_tick(source, PEERS_NOW + 30000), ERR_TIMEOUT);
    contains(handshake_error_text(source), "did not take"); /* KEM_KEY is still in our hands */
    handshake_free(source);
    handshake_free(dest);

    source = peer_of_context(source_tls, &s);
    dest = peer_of_context(dest_tls, &d);
    carry(source, dest, 65536, SIZE_MAX);
    carry(dest, source, 65536, SIZE_MAX);
    carry(source, dest, 65536, SIZE_MAX);
    assert_int_equal(handshake_tick(source, PEERS_NOW + 30000), ERR_TIMEOUT);
    contains(handshake_error_text(source), "ANSWER");
    /* A dest that is done, and whose answer nobody takes, gives up too. */
    assert_int_equal(handshake_status(dest), HANDSHAKE_DONE);
    assert_int_equal(handshake_tick(dest, PEERS_NOW + 30000), ERR_TIMEOUT);
    assert_int_equal(handshake_status(dest), HANDSHAKE_FAILED);
    handshake_free(source);
    handshake_free(dest);
    tls_context_free(source_tls);
    tls_context_free(dest_tls);
}

static void each_message_has_its_own_time(void **state)
{
    struct handshake *source = source_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    /* TLS counts as one message each way, and a dest gives a stranger 10 s for its own. */
    static const uint64_t delays[] = {4000, 5000, 9000, 29000};
    uint64_t now = PEERS_NOW;
    for (int round = 0; round < 4; round++) {
        struct handshake *from = round % 2 == 0 ? source : dest,
                         *to = round % 2 == 0 ? dest : source;
        const uint8_t *data = NULL;
        size_t len = 0;
        now += delays[round];
        assert_int_equal(handshake_tick(source, now), ERR_OK);
        assert_int_equal(handshake_tick(dest, now), ERR_OK);
        for (handshake_drain(from, &data, &len); len > 0; handshake_drain(from, &data, &len)) {
            assert_int_equal(handshake_feed(to, data, len, now), ERR_OK);
            handshake_drained(from, len, now);
        }
    }
    assert_int_equal(handshake_status(source), HANDSHAKE_DONE);
    assert_int_equal(handshake_status(dest), HANDSHAKE_DONE);
    handshake_free(source);
    handshake_free(dest); /* without taking the results: nothing may leak */
    handshake_free(NULL);
    handshake_result_free(NULL);
    tls_context_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_completes),
        cmocka_unit_test(any_chunking_completes),
        cmocka_unit_test(bytes_behind_the_handshake_are_kept),
        cmocka_unit_test(no_two_sessions_share_keys),
        cmocka_unit_test(different_modes_name_each_other),
        cmocka_unit_test(another_ca_is_refused),
        cmocka_unit_test(the_name_must_be_the_dests),
        cmocka_unit_test(an_unusable_host_is_an_error_at_once),
        cmocka_unit_test(a_revoked_certificate_is_refused),
        cmocka_unit_test(a_source_needs_a_certificate),
        cmocka_unit_test(authentication_can_be_switched_off),
        cmocka_unit_test(every_algorithm_completes),
        cmocka_unit_test(rsa_chains_complete),
        cmocka_unit_test(an_authenticated_source_may_be_sent_away),
        cmocka_unit_test(a_stranger_is_not_even_asked_for),
        cmocka_unit_test(a_tunnel_is_resumed_by_its_owner_only),
        cmocka_unit_test(a_pair_is_asked_for_once_the_dest_is_known),
        cmocka_unit_test(no_pair_no_session),
        cmocka_unit_test(the_operators_bound_holds),
        cmocka_unit_test(a_refusal_brings_its_reason_and_advice),
        cmocka_unit_test(a_peer_that_closes_is_named),
        cmocka_unit_test(a_peer_that_stops_anywhere_times_out),
        cmocka_unit_test(each_message_has_its_own_time),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
