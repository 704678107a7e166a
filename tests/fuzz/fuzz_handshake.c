/*
 * The handshake of either role behind TLS, which both sides really speak: a peer with a certificate
 * that is right says, in any order, messages that are right, nearly right or any bytes, in TLS or
 * beneath it, while time passes. Nothing may crash, hang or leak; every end has its reason; a
 * tunnel is gone on with only after the right proof, and keys come only with a peer that is known.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/wire.h"
#include "crypto/cert_issue.h"
#include "crypto/mceliece.h"
#include "crypto/pem.h"
#include "crypto/tls_channel.h"
#include "target.h"
#include "tunnel/handshake.h"
#include "tunnel/handshake_message.h"

#define ROLES     2
#define MODES     3
#define STEPS_MAX 64
#define START_MS  UINT64_C(1000000)

static const uint8_t tunnel_id[TUNNEL_ID_SIZE] = "a known tunnel";
static const uint8_t tunnel_secret[TUNNEL_SECRET_SIZE] = "its secret";

/* By role and kem_mode. */
static struct tls_context *contexts[ROLES][MODES + 1];
static struct mceliece_keypair *keypair; /* the peer's */

struct handshake_owner {
    struct handshake *engine;
    struct tls_channel *peer;
    bool is_peer_up;
    bool is_peer_over;
    bool was_proven; /* the peer has sent a proof that is right */
    uint64_t now_ms;
};

/* -- certificates -- */

static void write_file(const char *folder, const char *name, const struct file_bytes *bytes)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert(f != NULL);
    size_t written = fwrite(bytes->data, 1, bytes->len, f);
    int end = fclose(f);
    assert(written == bytes->len && end == 0 && chmod(path, 0600) == 0);
}

static void write_identity(const char *folder, const struct cert_issue_result *r)
{
    struct file_bytes bytes = {0};

    assert(pem_encode_cert(&bytes, r->cert) == ERR_OK);
    write_file(folder, "crt", &bytes);
    file_bytes_free(&bytes);
    assert(pem_encode_key(&bytes, r->key) == ERR_OK);
    write_file(folder, "key", &bytes);
    file_bytes_free(&bytes);
}

static void make_contexts(const char *folder, const struct cert_issue_result *ca,
                          enum identity_use use)
{
    struct cert_issue_request request = {
        .kind = use == IDENTITY_DEST ? CERT_ISSUE_SERVER : CERT_ISSUE_CLIENT,
        .algorithm = CERT_KEY_ED25519,
        .common_name = "fuzz",
        .dns_names = use == IDENTITY_DEST ? "localhost" : NULL,
        .issuer = ca->cert,
        .issuer_key = ca->key,
    };
    char crt[128];
    char key[128];
    char ca_crt[128];
    struct cert_issue_result r;
    struct identity *id;

    snprintf(crt, sizeof(crt), "%s/crt", folder);
    snprintf(key, sizeof(key), "%s/key", folder);
    snprintf(ca_crt, sizeof(ca_crt), "%s/ca", folder);
    assert(cert_issue(&r, &request, NULL) == ERR_OK);
    write_identity(folder, &r);
    cert_issue_result_fini(&r);
    const struct identity_files files = {
        .cert_path = crt, .key_path = key, .ca_path = ca_crt, .use = use};
    assert(identity_load(&id, &files, NULL) == ERR_OK);
    for (int mode = KEM_HYBRID; mode <= KEM_MCELIECE460896; mode++)
        assert(tls_context_new(&contexts[use == IDENTITY_DEST][mode], id, (enum kem_mode)mode,
                               TLS_AUTH_MUTUAL, NULL) == ERR_OK);
    identity_free(id);
    unlink(crt);
    unlink(key);
}

/* Once; they live as long as the process. */
static void prepare(void)
{
    static bool is_done;
    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = CERT_KEY_ED25519, .common_name = "ca"};
    char folder[] = "/tmp/utun-fuzz-XXXXXX";
    char ca_crt[128];
    struct cert_issue_result ca;
    struct file_bytes bytes = {0};

    if (is_done)
        return;
    is_done = true;
    assert(mkdtemp(folder) != NULL);
    assert(cert_issue(&ca, &request, NULL) == ERR_OK);
    assert(pem_encode_cert(&bytes, ca.cert) == ERR_OK);
    write_file(folder, "ca", &bytes);
    file_bytes_free(&bytes);
    make_contexts(folder, &ca, IDENTITY_SOURCE);
    make_contexts(folder, &ca, IDENTITY_DEST);
    cert_issue_result_fini(&ca);
    snprintf(ca_crt, sizeof(ca_crt), "%s/ca", folder);
    unlink(ca_crt);
    rmdir(folder);
    assert(mceliece_keypair_new(&keypair) == ERR_OK);
}

/* -- both sides -- */

static bool on_resume(struct handshake_owner *o, const uint8_t id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE])
{
    static const uint8_t nobody[PEER_IDENTITY_SIZE];

    (void)o;
    assert(memcmp(identity, nobody, sizeof(nobody)) != 0);
    if (memcmp(id, tunnel_id, TUNNEL_ID_SIZE) != 0)
        return false;
    memcpy(secret, tunnel_secret, TUNNEL_SECRET_SIZE);
    return true;
}

static enum err on_keypair(struct handshake_owner *o, struct mceliece_keypair **out)
{
    (void)o;
    return mceliece_keypair_new(out);
}

static enum err on_admit(struct handshake_owner *o, struct handshake_visitor *visitor)
{
    assert(!visitor->is_resumed || o->was_proven);
    return ERR_OK;
}

static bool is_going_on(const struct handshake_owner *o)
{
    return handshake_status(o->engine) == HANDSHAKE_IN_PROGRESS;
}

/* What the engine says is read, and not looked at. */
static void listen_to(struct handshake_owner *o)
{
    uint8_t room[4096];
    size_t n = 1;

    if (!o->is_peer_up && tls_channel_handshake(o->peer, &o->is_peer_up, NULL) != ERR_OK)
        o->is_peer_over = true;
    while (o->is_peer_up && !o->is_peer_over && n > 0) {
        if (tls_channel_read(o->peer, room, sizeof(room), &n, NULL) != ERR_OK)
            o->is_peer_over = true;
    }
}

/* Until neither has anything more to say. */
static void converse(struct handshake_owner *o)
{
    const uint8_t *data;
    size_t len;

    for (;;) {
        bool has_moved = false;

        if (!o->is_peer_over)
            listen_to(o);
        tls_channel_output(o->peer, &data, &len);
        if (len > 0) {
            uint8_t *copy = malloc(len); /* exactly, so that a read beyond shows */
            assert(copy != NULL);
            memcpy(copy, data, len);
            tls_channel_sent(o->peer, len);
            assert(handshake_feed(o->engine, copy, len, o->now_ms) == handshake_error(o->engine));
            free(copy);
            has_moved = true;
        }
        handshake_drain(o->engine, &data, &len);
        if (len > 0) {
            if (!o->is_peer_over && tls_channel_put(o->peer, data, len) != ERR_OK)
                o->is_peer_over = true;
            handshake_drained(o->engine, len, o->now_ms);
            has_moved = true;
        }
        if (!has_moved)
            return;
    }
}

static void say(struct handshake_owner *o, const uint8_t *data, size_t len)
{
    if (o->is_peer_up && !o->is_peer_over && tls_channel_write(o->peer, data, len) != ERR_OK)
        o->is_peer_over = true;
}

/* -- what the peer says -- */

static bool make_proof(struct handshake_owner *o, enum key_direction prover, uint8_t how,
                       uint8_t out[KDF_SIZE])
{
    uint8_t binder[KDF_SIZE];
    enum err e = tls_channel_export(o->peer, binder, KEY_SCHEDULE_EXPORT_BINDER,
                                    (struct kdf_bytes){tunnel_id, TUNNEL_ID_SIZE});

    if (e == ERR_OK)
        e = key_schedule_proof(out, prover, tunnel_secret, tunnel_id, binder);
    assert(e == ERR_OK);
    if (how == 0)
        return true;
    out[how % KDF_SIZE] ^= how;
    return false;
}

static void say_offer(struct handshake_owner *o, struct wire_reader *in)
{
    uint8_t room[HANDSHAKE_OFFER_SIZE];
    struct handshake_offer m = {.version = HANDSHAKE_VERSION, .kem_mode = wire_u8(in)};
    uint8_t how = wire_u8(in);

    memcpy(m.tunnel_id, tunnel_id, TUNNEL_ID_SIZE);
    m.wants_resume = how >= 64;
    if (m.wants_resume && o->is_peer_up)
        o->was_proven |= make_proof(o, KEY_FROM_SOURCE, how & 0x3f, m.proof);
    say(o, room, handshake_offer_encode(room, &m));
}

static void say_kem_key(struct handshake_owner *o, struct wire_reader *in)
{
    static uint8_t message[HANDSHAKE_HEADER_SIZE + MCELIECE_PUBLIC_KEY_SIZE + 8];
    int byte = wire_u8(in);
    int change = byte < 128 ? byte : byte - 256;
    uint32_t len = MCELIECE_PUBLIC_KEY_SIZE;

    if (change > 120 || change < -120)
        len = change > 0 ? len + 1 : len - 1;
    handshake_header_encode(message,
                            (struct handshake_header){.type = HANDSHAKE_KEM_KEY, .length = len});
    memcpy(message + HANDSHAKE_HEADER_SIZE, mceliece_public_key(keypair), MCELIECE_PUBLIC_KEY_SIZE);
    message[HANDSHAKE_HEADER_SIZE + 1000] ^= (uint8_t)change;
    /* The end of it may be late, or never come. */
    if (change % 3 == 2)
        say(o, message, len / 2);
    else
        say(o, message, HANDSHAKE_HEADER_SIZE + len);
}

static void say_answer(struct handshake_owner *o, struct wire_reader *in)
{
    static const uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE] = "any will do";
    uint8_t room[HANDSHAKE_ANSWER_SIZE];
    struct handshake_answer m = {.version = HANDSHAKE_VERSION, .kem_mode = wire_u8(in)};
    uint8_t how = wire_u8(in);

    m.is_resumed = how >= 64;
    if (m.is_resumed && o->is_peer_up)
        o->was_proven |= make_proof(o, KEY_FROM_DEST, how & 0x3f, m.proof);
    m.ciphertext = ciphertext;
    m.ciphertext_len = m.kem_mode == KEM_MLKEM768 ? 0 : sizeof(ciphertext);
    say(o, room, handshake_answer_encode(room, &m));
}

static void step(struct handshake_owner *o, struct wire_reader *in)
{
    uint8_t op = wire_u8(in) % 8;

    if (op == 0) {
        say_offer(o, in);
    } else if (op == 1) {
        say_kem_key(o, in);
    } else if (op == 2) {
        say_answer(o, in);
    } else if (op == 3 || op == 4) {
        size_t n = wire_u8(in);

        if (n > wire_left(in))
            n = wire_left(in);
        const uint8_t *data = wire_bytes(in, n);
        if (op == 3)
            say(o, data, n);
        else if (is_going_on(o))
            (void)!handshake_feed(o->engine, data, n, o->now_ms);
    } else if (op == 5) {
        o->now_ms += (uint64_t)wire_u8(in) * 200;
        (void)!handshake_tick(o->engine, o->now_ms);
    } else if (op == 6) {
        converse(o);
    } else if (wire_u8(in) % 4 == 0) {
        handshake_refuse(o->engine, ERR_SHUTDOWN, 1000);
    } else {
        (void)!handshake_feed_end(o->engine, o->now_ms);
    }
}

/* -- all of it -- */

static void check_end(struct handshake_owner *o)
{
    struct handshake_result *r;

    if (handshake_status(o->engine) == HANDSHAKE_FAILED)
        assert(handshake_error(o->engine) != ERR_OK && handshake_error_text(o->engine)[0] != '\0');
    if (handshake_status(o->engine) != HANDSHAKE_DONE)
        return;
    assert(handshake_is_authenticated(o->engine) && handshake_error(o->engine) == ERR_OK);
    assert(handshake_take_result(o->engine, &r) == ERR_OK);
    assert(r->keys != NULL && r->has_peer && r->tunnel_secret != NULL);
    assert(!r->is_resumed || o->was_proven);
    assert(!r->is_resumed || memcmp(r->tunnel_secret, tunnel_secret, TUNNEL_SECRET_SIZE) == 0);
    handshake_result_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handshake_owner o = {.now_ms = START_MS};
    struct handshake_options options = {
        .owner = &o, .on_resume = on_resume, .on_admit = on_admit, .dest_host = "localhost"};
    struct wire_reader in;

    prepare();
    wire_reader_init(&in, data, size);
    uint8_t set_up = wire_u8(&in);
    bool is_dest = (set_up & 1) != 0;
    enum kem_mode mode = (enum kem_mode)(1 + (set_up >> 1) % MODES);
    enum kem_mode peer_mode = (set_up & 0x40) != 0 ? (enum kem_mode)(1 + mode % MODES) : mode;

    options.tls = contexts[is_dest][mode];
    options.tunnel_secret = !is_dest && (set_up & 0x80) != 0 ? tunnel_secret : NULL;
    memcpy(options.tunnel_id, tunnel_id, TUNNEL_ID_SIZE);
    if (!is_dest && mode != KEM_MLKEM768)
        options.on_keypair = on_keypair;
    assert(handshake_new(&o.engine, &options, o.now_ms, NULL) == ERR_OK);
    assert(tls_channel_new(&o.peer, contexts[!is_dest][peer_mode], "localhost", NULL) == ERR_OK);
    if ((set_up & 0x20) == 0) /* else bytes come before or into TLS */
        converse(&o);
    for (int i = 0; i < STEPS_MAX && wire_left(&in) > 0; i++)
        step(&o, &in);
    converse(&o);
    check_end(&o);
    handshake_free(o.engine);
    tls_channel_free(o.peer);
    return 0;
}
