/*
 * Handshakes with peers that do not play by the rules. Two kinds: inside TLS, a tls_channel that
 * says whatever the test wants; and below it, OpenSSL with settings that a utun never has.
 */
#include "handshake_peers.h"

#include <malloc.h>

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/ssl.h>

#include "crypto/tls_channel.h"
#include "tunnel/handshake_message.h"

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void failed_with(const struct handshake *h, enum err want, const char *says)
{
    contains(handshake_error_text(h), says);
    assert_string_equal(err_name(handshake_error(h)), err_name(want));
    assert_int_equal(handshake_status(h), HANDSHAKE_FAILED);
    pki_assert_no_openssl_error();
}

static void feed(struct handshake *h, const uint8_t *data, size_t len)
{
    enum err e = handshake_feed(h, data, len, PEERS_NOW);
    assert_int_equal(e, handshake_error(h));
}

/* -- inside TLS -- */

/* Carries both ways until neither has anything more to say. */
static void converse_with_channel(struct tls_channel *c, struct handshake *h)
{
    for (bool moved = true; moved;) {
        const uint8_t *data = NULL;
        size_t len = 0;
        moved = false;
        tls_channel_output(c, &data, &len);
        if (len > 0) {
            moved = true;
            feed(h, data, len);
            tls_channel_sent(c, len);
        }
        handshake_drain(h, &data, &len);
        if (len > 0) {
            moved = true;
            assert_int_equal(tls_channel_put(c, data, len), ERR_OK);
            handshake_drained(h, len, PEERS_NOW);
        }
        bool done = false;
        if (moved && handshake_status(h) == HANDSHAKE_IN_PROGRESS)
            assert_int_equal(tls_channel_handshake(c, &done, NULL), ERR_OK);
    }
}

/* A channel that has finished TLS with the handshake h, as its peer. */
static struct tls_channel *channel_to(const struct pki *p, struct handshake *h, struct peer_setup s)
{
    struct tls_context *tls = peer_context(p, &s);
    struct tls_channel *c = NULL;
    bool done = false;
    assert_int_equal(tls_channel_new(&c, tls, "localhost", NULL), ERR_OK);
    tls_context_free(tls);
    assert_int_equal(tls_channel_handshake(c, &done, NULL), ERR_OK);
    converse_with_channel(c, h);
    assert_int_equal(handshake_status(h), HANDSHAKE_IN_PROGRESS);
    return c;
}

static struct tls_channel *source_channel(const struct pki *p, struct handshake *dest,
                                          enum kem_mode mode)
{
    return channel_to(p, dest, (struct peer_setup){.use = IDENTITY_SOURCE, .mode = mode});
}

static void say(struct tls_channel *c, struct handshake *h, const void *data, size_t len)
{
    assert_int_equal(tls_channel_write(c, data, len), ERR_OK);
    converse_with_channel(c, h);
}

/* Reads one message of the peer: its header, and its body into `body`. */
static struct handshake_header hear(struct tls_channel *c, uint8_t *body, size_t room)
{
    uint8_t header[HANDSHAKE_HEADER_SIZE];
    size_t n = 0, have = 0;
    assert_int_equal(tls_channel_read(c, header, sizeof(header), &n, NULL), ERR_OK);
    assert_int_equal(n, sizeof(header));
    struct handshake_header h = handshake_header_decode(header);
    assert_true(h.length <= room);
    while (have < h.length) {
        assert_int_equal(tls_channel_read(c, body + have, h.length - have, &n, NULL), ERR_OK);
        assert_true(n > 0);
        have += n;
    }
    return h;
}

static void hears_abort(struct tls_channel *c, enum wire_code code)
{
    uint8_t body[512];
    struct handshake_abort m;
    struct handshake_header h = hear(c, body, sizeof(body));
    assert_int_equal(h.type, HANDSHAKE_ABORT);
    assert_int_equal(handshake_abort_decode(&m, body, h.length), ERR_OK);
    assert_int_equal(m.code, code);
}

/* A dest that hears `message` right after TLS. */
static void dest_refuses(const struct pki *p, enum kem_mode mode, const void *message, size_t len,
                         enum err want, const char *says, enum wire_code code)
{
    struct handshake *dest = dest_new(p, (struct peer_setup){.mode = mode});
    struct tls_channel *c = source_channel(p, dest, mode);
    say(c, dest, message, len);
    failed_with(dest, want, says);
    hears_abort(c, code);
    tls_channel_free(c);
    handshake_free(dest);
}

static size_t make_offer(uint8_t out[HANDSHAKE_OFFER_SIZE], enum kem_mode mode)
{
    return handshake_offer_encode(
        out, &(struct handshake_offer){.version = HANDSHAKE_VERSION, .kem_mode = (uint8_t)mode});
}

static void offers_against_the_rules(void **state)
{
    uint8_t m[HANDSHAKE_OFFER_SIZE + 64] = {0};
    size_t n = make_offer(m, KEM_HYBRID);
    enum { VERSION_LOW = 5, MODE = 6, FLAGS = 7 };

    m[VERSION_LOW] = 9;
    dest_refuses(*state, KEM_HYBRID, m, n, ERR_VERSION, "version 9", WIRE_VERSION);
    m[VERSION_LOW] = 1;
    m[MODE] = 0;
    dest_refuses(*state, KEM_HYBRID, m, n, ERR_KEM_MODE, "\"unknown\"", WIRE_KEM_MODE);
    m[MODE] = 2;
    dest_refuses(*state, KEM_HYBRID, m, n, ERR_KEM_MODE, "mlkem768", WIRE_KEM_MODE);
    m[MODE] = 1;
    m[FLAGS] = 0x80;
    dest_refuses(*state, KEM_HYBRID, m, n, ERR_MALFORMED, "OFFER", WIRE_PROTOCOL);
    m[FLAGS] = 0;
    m[3] = 10; /* a body that ends early */
    dest_refuses(*state, KEM_HYBRID, m, 14, ERR_MALFORMED, "OFFER", WIRE_PROTOCOL);
    m[3] = 0; /* an empty one */
    dest_refuses(*state, KEM_HYBRID, m, 4, ERR_MALFORMED, "OFFER", WIRE_PROTOCOL);
    m[3] = (uint8_t)(n - 4 + 3); /* half an attribute behind it */
    dest_refuses(*state, KEM_HYBRID, m, n + 3, ERR_MALFORMED, "OFFER", WIRE_PROTOCOL);
}

static void headers_against_the_rules(void **state)
{
    static const struct {
        const char *header;
        enum err want;
        const char *says;
    } rows[] = {
        {"\x01\x00\x10\x01", ERR_TOO_LARGE, "4097 bytes"}, /* OFFER, one byte too many */
        {"\x01\xff\xff\xff", ERR_TOO_LARGE, "16777215 bytes"},
        {"\x02\x07\xff\x80", ERR_UNEXPECTED, "OFFER belongs"}, /* KEM_KEY too early */
        {"\x03\x00\x00\x10", ERR_UNEXPECTED, "OFFER belongs"}, /* ANSWER to a dest */
        {"\x04\x00\x02\x01", ERR_TOO_LARGE, "ABORT"},
        {"\x04\x00\x00\x00", ERR_MALFORMED, "ABORT"},
        {"\x00\x00\x00\x00", ERR_MALFORMED, "type 0"},
        {"\x77\x00\x00\x01", ERR_MALFORMED, "type 119"},
        {"GET ", ERR_MALFORMED, "type 71"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        dest_refuses(*state, KEM_HYBRID, rows[i].header, 4, rows[i].want, rows[i].says,
                     WIRE_PROTOCOL);
}

static void kem_keys_of_a_wrong_length(void **state)
{
    static const uint32_t lengths[] = {0, 1, MCELIECE_PUBLIC_KEY_SIZE - 1};
    uint8_t m[HANDSHAKE_OFFER_SIZE + HANDSHAKE_HEADER_SIZE];
    size_t n = make_offer(m, KEM_HYBRID);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        char says[64];
        snprintf(says, sizeof(says), "McEliece public key has %u bytes, 524160 are right",
                 lengths[i]);
        handshake_header_encode(m + n, (struct handshake_header){HANDSHAKE_KEM_KEY, lengths[i]});
        dest_refuses(*state, KEM_HYBRID, m, sizeof(m), ERR_MALFORMED, says, WIRE_PROTOCOL);
    }
    handshake_header_encode(
        m + n, (struct handshake_header){HANDSHAKE_KEM_KEY, MCELIECE_PUBLIC_KEY_SIZE + 1});
    dest_refuses(*state, KEM_HYBRID, m, sizeof(m), ERR_TOO_LARGE, "524161 bytes", WIRE_PROTOCOL);
    /* A second OFFER where the key belongs; a key where no mode has one. */
    handshake_header_encode(m + n, (struct handshake_header){HANDSHAKE_OFFER, 68});
    dest_refuses(*state, KEM_HYBRID, m, sizeof(m), ERR_UNEXPECTED, "KEM_KEY belongs",
                 WIRE_PROTOCOL);
    n = make_offer(m, KEM_MLKEM768);
    handshake_header_encode(m + n,
                            (struct handshake_header){HANDSHAKE_KEM_KEY, MCELIECE_PUBLIC_KEY_SIZE});
    dest_refuses(*state, KEM_MLKEM768, m, sizeof(m), ERR_UNEXPECTED, "more inside TLS",
                 WIRE_PROTOCOL);
}

static void memory_grows_only_with_what_comes(void **state)
{
    uint8_t m[HANDSHAKE_OFFER_SIZE + HANDSHAKE_HEADER_SIZE];
    size_t n = make_offer(m, KEM_HYBRID);
    handshake_header_encode(m + n,
                            (struct handshake_header){HANDSHAKE_KEM_KEY, MCELIECE_PUBLIC_KEY_SIZE});
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct tls_channel *c = source_channel(*state, dest, KEM_HYBRID);
    size_t before = mallinfo2().uordblks;
    say(c, dest, m, sizeof(m)); /* half a megabyte, it says */
    assert_int_equal(handshake_status(dest), HANDSHAKE_IN_PROGRESS);
    assert_true(mallinfo2().uordblks - before < (size_t)96 * 1024);
    static const uint8_t some[30000];
    say(c, dest, some, sizeof(some));
    assert_true(mallinfo2().uordblks - before < (size_t)160 * 1024);
    tls_channel_free(c);
    handshake_free(dest);
}

static void a_source_that_closes_tls(void **state)
{
    /* An alert in the middle, made by a channel that is fed garbage after its handshake. */
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct tls_channel *c = source_channel(*state, dest, KEM_HYBRID);
    static const uint8_t garbage[] = "\x17\x03\x03\x00\x20 this does not authenticate at all...";
    uint8_t byte;
    size_t got = 0;
    struct err_detail d = {""};
    assert_int_equal(tls_channel_put(c, garbage, sizeof(garbage) - 1), ERR_OK);
    assert_int_equal(tls_channel_read(c, &byte, 1, &got, &d), ERR_TLS);
    contains(d.text, "does not authenticate");
    converse_with_channel(c, dest);
    failed_with(dest, ERR_TLS, "the source ended TLS");
    tls_channel_free(c);
    handshake_free(dest);
}

/* -- a dest that answers as the test wants -- */

struct hostile_dest {
    struct handshake *source;
    struct tls_channel *c;
    uint8_t *messages; /* OFFER and KEM_KEY as they came */
    size_t len;
};

static struct hostile_dest hostile_dest_new(const struct pki *p, struct peer_setup source,
                                            enum kem_mode own_mode)
{
    struct hostile_dest d = {.source = source_new(p, source)};
    d.c = channel_to(p, d.source, (struct peer_setup){.use = IDENTITY_DEST, .mode = own_mode});
    size_t cap = 600000;
    d.messages = malloc(cap);
    for (size_t n = 1; n > 0; d.len += n) {
        converse_with_channel(d.c, d.source);
        assert_int_equal(tls_channel_read(d.c, d.messages + d.len, cap - d.len, &n, NULL), ERR_OK);
    }
    return d;
}

static void hostile_dest_free(struct hostile_dest *d)
{
    handshake_free(d->source);
    tls_channel_free(d->c);
    free(d->messages);
}

static void source_refuses(const struct pki *p, struct peer_setup setup,
                           const struct handshake_answer *answer, enum err want, const char *says,
                           enum wire_code code)
{
    uint8_t m[HANDSHAKE_ANSWER_SIZE];
    struct hostile_dest d = hostile_dest_new(p, setup, setup.mode);
    say(d.c, d.source, m, handshake_answer_encode(m, answer));
    failed_with(d.source, want, says);
    hears_abort(d.c, code);
    hostile_dest_free(&d);
}

static void answers_against_the_rules(void **state)
{
    static const uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE] = {1},
                         secret[TUNNEL_SECRET_SIZE] = {5};
    struct peer_setup hybrid = {.mode = KEM_HYBRID},
                      resuming = {.mode = KEM_HYBRID, .secret = secret};
    const struct handshake_answer sound = {.version = 1,
                                           .kem_mode = KEM_HYBRID,
                                           .ciphertext = ciphertext,
                                           .ciphertext_len = sizeof(ciphertext)};
    struct handshake_answer a = sound;
    a.version = 2;
    source_refuses(*state, hybrid, &a, ERR_VERSION, "version 2", WIRE_VERSION);
    a = sound;
    a.kem_mode = KEM_MLKEM768;
    source_refuses(*state, hybrid, &a, ERR_KEM_MODE, "to \"hybrid\", the dest to \"mlkem768\"",
                   WIRE_KEM_MODE);
    a = sound;
    a.ciphertext_len = 0;
    source_refuses(*state, hybrid, &a, ERR_MALFORMED, "ciphertext has 0 bytes", WIRE_PROTOCOL);
    a.ciphertext_len = 155;
    source_refuses(*state, hybrid, &a, ERR_MALFORMED, "ciphertext has 155 bytes", WIRE_PROTOCOL);
    a = sound;
    a.kem_mode = KEM_MLKEM768;
    source_refuses(*state, (struct peer_setup){.mode = KEM_MLKEM768}, &a, ERR_MALFORMED,
                   "ciphertext has 156 bytes", WIRE_PROTOCOL);
    a = sound;
    a.is_resumed = true;
    source_refuses(*state, hybrid, &a, ERR_UNEXPECTED, "did not ask for", WIRE_PROTOCOL);
    source_refuses(*state, resuming, &a, ERR_RESUME, "does not know its secret", WIRE_PROTOCOL);
}

static void messages_against_the_rules_at_a_source(void **state)
{
    static const char *const messages[] = {"\x01\x00\x00\x44", "\x02\x07\xff\x80",
                                           "\x03\x00\x10\x01", "\x09\x00\x00\x01",
                                           "\x03\x00\x00\x00"};
    static const enum err wants[] = {ERR_UNEXPECTED, ERR_UNEXPECTED, ERR_TOO_LARGE, ERR_MALFORMED,
                                     ERR_MALFORMED};
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct hostile_dest d =
            hostile_dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID}, KEM_HYBRID);
        say(d.c, d.source, messages[i], 4);
        failed_with(d.source, wants[i], "the dest");
        hears_abort(d.c, WIRE_PROTOCOL);
        hostile_dest_free(&d);
    }
}

/* ANSWER and one byte more in the same TLS record. */
static void nothing_may_follow_the_answer(void **state)
{
    static const uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE] = {1};
    uint8_t m[HANDSHAKE_ANSWER_SIZE + 1] = {0};
    struct handshake_answer a = {.version = 1,
                                 .kem_mode = KEM_HYBRID,
                                 .ciphertext = ciphertext,
                                 .ciphertext_len = sizeof(ciphertext)};
    struct hostile_dest d =
        hostile_dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID}, KEM_HYBRID);
    say(d.c, d.source, m, handshake_answer_encode(m, &a) + 1);
    failed_with(d.source, ERR_UNEXPECTED, "more inside TLS");
    hostile_dest_free(&d);
}

/* The peer's words go into a log: nothing of them may move a cursor or end a line. */
static void an_aborts_text_is_harmless(void **state)
{
    uint8_t m[HANDSHAKE_ABORT_SIZE];
    struct handshake_abort a = {.code = 10,
                                .retry_after_ms = 77,
                                .text = (const uint8_t *)"full\n\x1b[2J\x80 up",
                                .text_len = 13};
    struct hostile_dest d =
        hostile_dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID}, KEM_HYBRID);
    say(d.c, d.source, m, handshake_abort_encode(m, &a));
    failed_with(d.source, ERR_LIMIT, "full??[2J? up");
    assert_int_equal(handshake_retry_after_ms(d.source), 77);
    hostile_dest_free(&d);
}

/* A dest whose TLS agrees only on the weaker group gets no McEliece key and no session. */
static void a_weaker_group_is_never_taken(void **state)
{
    struct hostile_dest d =
        hostile_dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID}, KEM_MCELIECE460896);
    assert_int_equal(d.len, HANDSHAKE_OFFER_SIZE);
    static const uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE] = {1};
    uint8_t m[HANDSHAKE_ANSWER_SIZE];
    struct handshake_answer a = {.version = 1,
                                 .kem_mode = KEM_HYBRID, /* it lies */
                                 .ciphertext = ciphertext,
                                 .ciphertext_len = sizeof(ciphertext)};
    say(d.c, d.source, m, handshake_answer_encode(m, &a));
    failed_with(d.source, ERR_UNEXPECTED, "needs X25519MLKEM768");
    hostile_dest_free(&d);

    d = hostile_dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID}, KEM_MCELIECE460896);
    assert_int_equal(handshake_feed_end(d.source, PEERS_NOW), ERR_CLOSED);
    failed_with(d.source, ERR_CLOSED, "its kem_mode is not");
    hostile_dest_free(&d);

    /* And a source that claims a mode its TLS did not agree on. */
    uint8_t offer[HANDSHAKE_OFFER_SIZE];
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct tls_channel *c = source_channel(*state, dest, KEM_MCELIECE460896);
    say(c, dest, offer, make_offer(offer, KEM_HYBRID));
    failed_with(dest, ERR_UNEXPECTED, "needs X25519MLKEM768");
    hears_abort(c, WIRE_PROTOCOL);
    tls_channel_free(c);
    handshake_free(dest);
}

/*
 * A dest that alters the McEliece ciphertext, or encapsulated to another key: the source's keys are
 * others than the dest could know, so the first record will not open.
 */
static void an_altered_ciphertext_gives_other_keys(void **state)
{
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], secret[MCELIECE_SECRET_SIZE];
    uint8_t m[HANDSHAKE_ANSWER_SIZE];
    for (int is_altered = 0; is_altered < 2; is_altered++) {
        struct hostile_dest d =
            hostile_dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID}, KEM_HYBRID);
        const uint8_t *key = d.messages + HANDSHAKE_OFFER_SIZE + HANDSHAKE_HEADER_SIZE;
        assert_int_equal(d.len,
                         HANDSHAKE_OFFER_SIZE + HANDSHAKE_HEADER_SIZE + MCELIECE_PUBLIC_KEY_SIZE);
        assert_int_equal(mceliece_encapsulate(ciphertext, secret, key), ERR_OK);
        ciphertext[77] ^= (uint8_t)is_altered;
        struct handshake_answer a = {.version = 1,
                                     .kem_mode = KEM_HYBRID,
                                     .ciphertext = ciphertext,
                                     .ciphertext_len = sizeof(ciphertext)};
        size_t n = handshake_answer_encode(m, &a);
        say(d.c, d.source, m, n);
        struct handshake_result *r = take(d.source);

        /* The dest's own derivation, by hand from section 4. */
        struct key_context in = {.kem_mode = KEM_HYBRID};
        struct kdf_bytes parts[] = {{d.messages, d.len}, {m, n}};
        uint8_t context[KDF_SIZE], tls[KDF_SIZE], root[KDF_SIZE], *source = NULL, *dest = NULL;
        in.source_cert.len = (size_t)i2d_X509(tls_channel_peer_cert(d.c), &source);
        in.source_cert.data = source;
        in.dest_cert.len = (size_t)i2d_X509(tls_channel_own_cert(d.c), &dest);
        in.dest_cert.data = dest;
        assert_int_equal(kdf_hash_parts(in.transcript_hash, parts, 2), ERR_OK);
        assert_int_equal(key_schedule_context(context, &in), ERR_OK);
        assert_int_equal(
            tls_channel_export(d.c, tls, KEY_SCHEDULE_EXPORT_ROOT, (struct kdf_bytes){NULL, 0}),
            ERR_OK);
        assert_int_equal(
            key_schedule_root(root, context, tls, (struct kdf_bytes){secret, sizeof(secret)}),
            ERR_OK);
        struct handshake_result ours = {.keys = NULL};
        assert_int_equal(session_keys_new(&ours.keys, KEM_MLKEM768, root, context), ERR_OK);
        assert_int_equal(same_keys(r, &ours), !is_altered);
        session_keys_free(ours.keys);
        OPENSSL_free(source);
        OPENSSL_free(dest);
        handshake_result_free(r);
        hostile_dest_free(&d);
    }
}

/* -- below: OpenSSL with other settings -- */

struct raw {
    SSL *ssl;
    BIO *in, *out;
};

struct raw_setup {
    bool is_server;
    int max_version;  /* 0: TLS 1.3 */
    const char *alpn; /* wire form; NULL: ours; "": none */
    const char *cert;
    const char *key; /* NULL: the certificate's */
};

static const char our_alpn[] = "\x06utun/1";

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len,
                       const unsigned char *in, unsigned int in_len, void *arg)
{
    const char *alpn = arg;
    (void)ssl;
    (void)in;
    (void)in_len;
    *out = (const unsigned char *)alpn + 1;
    *len = (unsigned char)alpn[0];
    return SSL_TLSEXT_ERR_OK;
}

static EVP_PKEY *read_key(const struct pki *p, const char *name)
{
    char file[64];
    snprintf(file, sizeof(file), "%s.key", name);
    FILE *f = fopen(pki_path(p, file).text, "r");
    assert_non_null(f);
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(key);
    return key;
}

/*
 * Somebody who has copied a certificate but not its key (P-256): the public half is the
 * certificate's, so that OpenSSL lets him try, the private half is his own.
 */
static EVP_PKEY *stolen(const struct pki *p, const char *cert, const char *own)
{
    EVP_PKEY *victim = read_key(p, cert), *thief = read_key(p, own), *out = NULL;
    uint8_t point[256];
    size_t point_len = 0;
    BIGNUM *secret = NULL;
    assert_int_equal(EVP_PKEY_get_octet_string_param(victim, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                     sizeof(point), &point_len),
                     1);
    assert_int_equal(EVP_PKEY_get_bn_param(thief, OSSL_PKEY_PARAM_PRIV_KEY, &secret), 1);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, point_len);
    OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, secret);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &out, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(b);
    BN_clear_free(secret);
    EVP_PKEY_free(victim);
    EVP_PKEY_free(thief);
    return out;
}

static struct raw raw_new(const struct pki *p, struct raw_setup s)
{
    SSL_CTX *ctx = SSL_CTX_new(s.is_server ? TLS_server_method() : TLS_client_method());
    const char *alpn = s.alpn != NULL ? s.alpn : our_alpn;
    if (s.max_version != 0)
        assert_int_equal(SSL_CTX_set_max_proto_version(ctx, s.max_version), 1);
    if (s.is_server && alpn[0] != '\0') {
        union {
            const char *in;
            void *out;
        } arg = {.in = alpn};
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, arg.out);
    } else if (alpn[0] != '\0') {
        SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    }
    if (s.cert != NULL) {
        char file[64];
        snprintf(file, sizeof(file), "%s.crt", s.cert);
        X509 *cert = pki_read_cert(p, file);
        EVP_PKEY *key = s.key != NULL ? stolen(p, s.cert, s.key) : read_key(p, s.cert);
        assert_int_equal(SSL_CTX_use_cert_and_key(ctx, cert, key, NULL, 1), 1);
        X509_free(cert);
        EVP_PKEY_free(key);
    }
    struct raw r = {SSL_new(ctx), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())};
    SSL_CTX_free(ctx);
    SSL_set0_rbio(r.ssl, r.in);
    SSL_set0_wbio(r.ssl, r.out);
    if (s.is_server)
        SSL_set_accept_state(r.ssl);
    else
        SSL_set_connect_state(r.ssl);
    return r;
}

static void converse_raw(struct raw *r, struct handshake *h)
{
    for (bool moved = true; moved;) {
        uint8_t piece[4096];
        const uint8_t *data = NULL;
        size_t len = 0;
        int n = 0;
        moved = false;
        uint8_t byte;
        if (SSL_do_handshake(r->ssl) == 1)
            (void)SSL_read(r->ssl, &byte, 1);
        while ((n = BIO_read(r->out, piece, sizeof(piece))) > 0) {
            moved = true;
            feed(h, piece, (size_t)n);
        }
        handshake_drain(h, &data, &len);
        if (len > 0) {
            moved = true;
            assert_int_equal(BIO_write(r->in, data, (int)len), (int)len);
            handshake_drained(h, len, PEERS_NOW);
        }
        ERR_clear_error();
    }
}

static void raw_is_refused(const struct pki *p, struct raw_setup s, enum err want, const char *says)
{
    struct handshake *h = s.is_server ? source_new(p, (struct peer_setup){.mode = KEM_MLKEM768})
                                      : dest_new(p, (struct peer_setup){.mode = KEM_MLKEM768});
    struct raw r = raw_new(p, s);
    converse_raw(&r, h);
    failed_with(h, want, says);
    SSL_free(r.ssl);
    handshake_free(h);
}

static void other_versions_and_protocols(void **state)
{
    raw_is_refused(*state, (struct raw_setup){.max_version = TLS1_2_VERSION, .cert = "client"},
                   ERR_TLS_VERSION, "the source offers only TLS 1.2");
    raw_is_refused(*state, (struct raw_setup){.max_version = TLS1_2_VERSION, .alpn = ""},
                   ERR_TLS_VERSION, "the source offers only TLS 1.2");
    raw_is_refused(*state, (struct raw_setup){.alpn = "\x02h2", .cert = "client"}, ERR_ALPN,
                   "the source does not speak utun/1");
    raw_is_refused(*state, (struct raw_setup){.alpn = "", .cert = "client"}, ERR_ALPN,
                   "the source does not speak utun/1");

    raw_is_refused(
        *state,
        (struct raw_setup){.is_server = true, .max_version = TLS1_2_VERSION, .cert = "server"},
        ERR_TLS_VERSION, "the dest does not speak TLS 1.3");
    raw_is_refused(*state, (struct raw_setup){.is_server = true, .alpn = "", .cert = "server"},
                   ERR_ALPN, "the dest does not speak utun/1");
}

static void certificates_that_do_not_fit(void **state)
{
    struct pki *p = *state;
    struct cert_issue_request client = {.kind = CERT_ISSUE_CLIENT,
                                        .algorithm = CERT_KEY_ED25519,
                                        .common_name = "late",
                                        .not_before = time(NULL) - 2 * PKI_DAY,
                                        .not_after = time(NULL) - PKI_DAY};
    struct cert_issue_request server = client;
    server.kind = CERT_ISSUE_SERVER;
    server.dns_names = "localhost";
    pki_issue(p, "expired-client", client);
    pki_issue(p, "expired-server", server);
    client.not_before = server.not_before = time(NULL) + PKI_DAY;
    client.not_after = server.not_after = time(NULL) + 2 * PKI_DAY;
    client.common_name = server.common_name = "early";
    pki_issue(p, "early-client", client);
    pki_issue(p, "early-server", server);
    pki_write_without_usage(p, "any-client", "client");
    pki_write_without_usage(p, "any-server", "server");

    static const struct {
        const char *cert;
        bool is_server;
        enum err want;
        const char *says;
    } rows[] = {
        {"expired-client", false, ERR_CERT_EXPIRED, "the source's certificate (\"late\")"},
        {"expired-server", true, ERR_CERT_EXPIRED, "the dest's certificate (\"late\")"},
        {"early-client", false, ERR_CERT_NOT_YET, "(\"early\")"},
        {"early-server", true, ERR_CERT_NOT_YET, "(\"early\")"},
        {"server", false, ERR_CERT_PURPOSE, "utun cert client"}, /* a dest's, as a source */
        {"client", true, ERR_CERT_PURPOSE, "utun cert server"},  /* a source's, as a dest */
        {"any-client", false, ERR_CERT_PURPOSE, "clientAuth"},   /* that names no use */
        {"any-server", true, ERR_CERT_PURPOSE, "serverAuth"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        raw_is_refused(p, (struct raw_setup){.cert = rows[i].cert, .is_server = rows[i].is_server},
                       rows[i].want, rows[i].says);
    raw_is_refused(p, (struct raw_setup){.cert = NULL}, ERR_CERT_MISSING,
                   "presents no certificate");
}

static void a_certificate_without_its_key_is_worthless(void **state)
{
    struct pki *p = *state;
    struct cert_issue_request r = {
        .kind = CERT_ISSUE_CLIENT, .algorithm = CERT_KEY_ECDSA_P256, .common_name = "victim"};
    pki_issue(p, "victim-client", r);
    r.common_name = "thief";
    pki_issue(p, "thief", r);
    r.kind = CERT_ISSUE_SERVER;
    r.common_name = "victim";
    r.dns_names = "localhost";
    pki_issue(p, "victim-server", r);
    raw_is_refused(p, (struct raw_setup){.cert = "victim-client", .key = "thief"}, ERR_CERT_PROOF,
                   "the source does not hold the private key");
    raw_is_refused(p,
                   (struct raw_setup){.cert = "victim-server", .key = "thief", .is_server = true},
                   ERR_CERT_PROOF, "the dest does not hold the private key");
}

static void tls_messages_after_tls(void **state)
{
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    struct raw r = raw_new(*state, (struct raw_setup){.cert = "client"});
    uint8_t offer[HANDSHAKE_OFFER_SIZE];
    converse_raw(&r, dest);
    assert_int_equal(handshake_status(dest), HANDSHAKE_IN_PROGRESS);
    assert_int_equal(SSL_key_update(r.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    int n = (int)make_offer(offer, KEM_HYBRID);
    assert_int_equal(SSL_write(r.ssl, offer, n), n);
    converse_raw(&r, dest);
    failed_with(dest, ERR_UNEXPECTED, "goes on with TLS handshake messages");
    SSL_free(r.ssl);
    handshake_free(dest);

    dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    r = raw_new(*state, (struct raw_setup){.cert = "client"});
    converse_raw(&r, dest);
    (void)SSL_shutdown(r.ssl);
    converse_raw(&r, dest);
    failed_with(dest, ERR_CLOSED, "closed TLS");
    SSL_free(r.ssl);
    handshake_free(dest);
}

static void garbage_is_no_tls(void **state)
{
    static const char *const openings[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "SSH-2.0-OpenSSH_9\r\n",
                                           "\x75\x01\x01\x01\x20 a record of ours, too early",
                                           "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};
    for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
        struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
        struct handshake *source = source_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
        const uint8_t *bytes = (const uint8_t *)openings[i];
        size_t len = strlen(openings[i]);
        assert_int_equal(handshake_feed(dest, bytes, len, PEERS_NOW), ERR_TLS);
        failed_with(dest, ERR_TLS, "the port right?");
        assert_int_equal(handshake_feed(source, bytes, len, PEERS_NOW), ERR_TLS);
        failed_with(source, ERR_TLS, "the port right?");
        handshake_free(dest);
        handshake_free(source);
    }
    /* Noise of every length, with a header that looks like TLS in front of half of it. */
    uint32_t seed = 1;
    for (size_t len = 1; len < 400; len++) {
        uint8_t noise[400];
        for (size_t i = 0; i < len; i++)
            noise[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
        if (len % 2 == 0 && len > 5)
            memcpy(noise, "\x16\x03\x01\x00\x10", 5);
        struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_MLKEM768});
        feed(dest, noise, len);
        assert_int_not_equal(handshake_status(dest), HANDSHAKE_DONE);
        handshake_free(dest);
    }
}

/* A stranger who never stops talking TLS costs 64 KiB, whatever it says. */
static void bytes_before_authentication_are_bounded(void **state)
{
    struct handshake *dest = dest_new(*state, (struct peer_setup){.mode = KEM_HYBRID});
    static uint8_t record[5 + 16384] = {0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0xff, 0xff, 0xf0};
    size_t fed = 0;
    while (handshake_status(dest) == HANDSHAKE_IN_PROGRESS && fed < 1000000) {
        feed(dest, record, sizeof(record));
        fed += sizeof(record);
    }
    assert_int_equal(handshake_error(dest), ERR_TOO_LARGE);
    assert_true(fed <= HANDSHAKE_TLS_MAX + 2 * sizeof(record));
    handshake_free(dest);
}

static int setup(void **state)
{
    if (pki_setup(state) != 0)
        return -1;
    pki_issue_pair(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offers_against_the_rules),
        cmocka_unit_test(headers_against_the_rules),
        cmocka_unit_test(kem_keys_of_a_wrong_length),
        cmocka_unit_test(memory_grows_only_with_what_comes),
        cmocka_unit_test(a_source_that_closes_tls),
        cmocka_unit_test(answers_against_the_rules),
        cmocka_unit_test(messages_against_the_rules_at_a_source),
        cmocka_unit_test(nothing_may_follow_the_answer),
        cmocka_unit_test(an_aborts_text_is_harmless),
        cmocka_unit_test(a_weaker_group_is_never_taken),
        cmocka_unit_test(an_altered_ciphertext_gives_other_keys),
        cmocka_unit_test(other_versions_and_protocols),
        cmocka_unit_test(certificates_that_do_not_fit),
        cmocka_unit_test(a_certificate_without_its_key_is_worthless),
        cmocka_unit_test(tls_messages_after_tls),
        cmocka_unit_test(garbage_is_no_tls),
        cmocka_unit_test(bytes_before_authentication_are_bounded),
    };
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
