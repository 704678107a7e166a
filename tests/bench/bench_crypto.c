/*
 * What the cryptography costs, each part alone, in CPU time of one thread: records sealed and
 * opened, McEliece, and whole handshakes by kem_mode at either side.
 *
 *   bench_crypto [MIB]     how much is sealed and opened in each size at most; 1024 unless said
 */
#include "../unit/handshake_peers.h"

#include "crypto/record.h"
#include "layer.h"

static size_t most_mib = 1024;

static void bench_records(size_t size)
{
    enum { BATCH = 64 };
    const size_t most = most_mib << 20, total = size << 20 < most ? size << 20 : most;
    char what[64];
    struct traffic_keys keys = {.key = {1}, .prefix = {2}};
    struct record_sealer *s = NULL;
    struct record_opener *o = NULL;
    uint8_t *plain = calloc(1, size), *records = malloc(BATCH * (size + RECORD_OVERHEAD));
    struct iovec part = {plain, size};
    double sealing = 0, opening = 0;
    size_t done = 0;
    assert_int_equal(record_sealer_new(&s, &keys, 0), ERR_OK);
    assert_int_equal(record_opener_new(&o, &keys, 0), ERR_OK);
    for (; done < total; done += BATCH * size) {
        size_t n = 0, at = 0;
        double t = cpu_seconds();
        for (int i = 0; i < BATCH; i++, at += n)
            assert_int_equal(record_seal(s, &part, 1, records + at, size + RECORD_OVERHEAD, &n),
                             ERR_OK);
        sealing += cpu_seconds() - t;
        at = 0;
        t = cpu_seconds();
        for (int i = 0; i < BATCH; i++, at += n) {
            uint8_t *p = NULL;
            size_t len = 0;
            assert_int_equal(record_open(o, records + at, n, &p, &len), ERR_OK);
        }
        opening += cpu_seconds() - t;
    }
    (void)snprintf(what, sizeof(what), "seal, %zu bytes", size);
    print_layer("record", what, sealing * 1e9 * (double)size / (double)done, "ns");
    (void)snprintf(what, sizeof(what), "open, %zu bytes", size);
    print_layer("record", what, opening * 1e9 * (double)size / (double)done, "ns");
    record_sealer_free(s);
    record_opener_free(o);
    free(plain);
    free(records);
}

static void bench_mceliece(void)
{
    enum { PAIRS = 10, TIMES = 100 };
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], secret[MCELIECE_SECRET_SIZE];
    struct mceliece_keypair *pair = NULL;
    double t = cpu_seconds();
    for (int i = 0; i < PAIRS; i++) {
        mceliece_keypair_free(pair);
        assert_int_equal(mceliece_keypair_new(&pair), ERR_OK);
    }
    double generating = (cpu_seconds() - t) / (double)PAIRS;
    t = cpu_seconds();
    for (int i = 0; i < TIMES; i++)
        assert_int_equal(mceliece_encapsulate(ciphertext, secret, mceliece_public_key(pair)),
                         ERR_OK);
    double encapsulating = (cpu_seconds() - t) / (double)TIMES;
    t = cpu_seconds();
    for (int i = 0; i < TIMES; i++)
        assert_int_equal(mceliece_decapsulate(secret, ciphertext, pair), ERR_OK);
    double decapsulating = (cpu_seconds() - t) / (double)TIMES;
    print_layer("mceliece", "key pair", generating * 1e3, "ms");
    print_layer("mceliece", "encapsulate", encapsulating * 1e3, "ms");
    print_layer("mceliece", "decapsulate", decapsulating * 1e3, "ms");
    mceliece_keypair_free(pair);
}

/* Feeds `to` all that `from` has to say; the time goes to the one who works. */
static bool pass(struct handshake *from, struct handshake *to, double *spent)
{
    const uint8_t *data = NULL;
    size_t len = 0;
    handshake_drain(from, &data, &len);
    if (len == 0)
        return false;
    double t = cpu_seconds();
    assert_int_equal(handshake_feed(to, data, len, PEERS_NOW), ERR_OK);
    *spent += cpu_seconds() - t;
    handshake_drained(from, len, PEERS_NOW);
    return true;
}

/* Made ahead of time, as a source has them. */
static struct mceliece_keypair *ready;

static enum err take_ready(struct handshake_owner *o, struct mceliece_keypair **out)
{
    (void)o;
    *out = ready;
    ready = NULL;
    return ERR_OK;
}

static void bench_handshake(const struct pki *p, enum kem_mode mode, const char *algorithm)
{
    enum { TIMES = 30 };
    struct peer_setup
        source = {.use = IDENTITY_SOURCE, .mode = mode, .cert = "bench-client", .ca = "bench-ca"},
        dest = {.use = IDENTITY_DEST, .mode = mode, .cert = "bench-server", .ca = "bench-ca"};
    struct tls_context *source_tls = peer_context(p, &source), *dest_tls = peer_context(p, &dest);
    double at_source = 0, at_dest = 0;
    char what[64];
    for (int i = 0; i < TIMES; i++) {
        struct handshake_options o = {.tls = source_tls, .dest_host = "localhost"};
        struct handshake *s = NULL, *d = NULL;
        struct handshake_result *r = NULL;
        if (mode != KEM_MLKEM768) {
            assert_int_equal(mceliece_keypair_new(&ready), ERR_OK);
            o.on_keypair = take_ready;
        }
        double t = cpu_seconds();
        assert_int_equal(handshake_new(&s, &o, PEERS_NOW, NULL), ERR_OK);
        at_source += cpu_seconds() - t;
        o = (struct handshake_options){.tls = dest_tls};
        t = cpu_seconds();
        assert_int_equal(handshake_new(&d, &o, PEERS_NOW, NULL), ERR_OK);
        at_dest += cpu_seconds() - t;
        while (pass(s, d, &at_dest) || pass(d, s, &at_source))
            ;
        r = take(s);
        handshake_result_free(r);
        handshake_free(s);
        handshake_free(d);
    }
    (void)snprintf(what, sizeof(what), "%s, %s, source", kem_mode_name(mode), algorithm);
    print_layer("handshake", what, at_source / (double)TIMES * 1e3, "ms");
    (void)snprintf(what, sizeof(what), "%s, %s, dest", kem_mode_name(mode), algorithm);
    print_layer("handshake", what, at_dest / (double)TIMES * 1e3, "ms");
    tls_context_free(source_tls);
    tls_context_free(dest_tls);
}

static void bench_handshakes(struct pki *p, enum cert_key_algorithm algorithm)
{
    static const enum kem_mode modes[] = {KEM_HYBRID, KEM_MLKEM768, KEM_MCELIECE460896};
    struct cert_issue_result ca;
    struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA, .algorithm = algorithm, .common_name = "Bench CA"};
    assert_int_equal(cert_issue(&ca, &request, NULL), ERR_OK);
    pki_write_result(p, "bench-ca", &ca);
    request = (struct cert_issue_request){
        .kind = CERT_ISSUE_SERVER, .algorithm = algorithm, .common_name = "localhost"};
    pki_issue_by(p, "bench-server", request, &ca);
    request.kind = CERT_ISSUE_CLIENT;
    pki_issue_by(p, "bench-client", request, &ca);
    cert_issue_result_fini(&ca);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        bench_handshake(p, modes[i], cert_key_name(algorithm));
}

static void everything(void **state)
{
    static const size_t sizes[] = {64, 1024, 16384, 65536};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        bench_records(sizes[i]);
    bench_mceliece();
    bench_handshakes(*state, CERT_KEY_ML_DSA_65);
    bench_handshakes(*state, CERT_KEY_ED25519);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        most_mib = strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
