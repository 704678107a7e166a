/*
 * Memory that runs out and random numbers that do not come, at every single call of the core: the
 * n-th one fails, for n = 1, 2, ... until a run gets by without it. Whatever happens has to be an
 * error or success, never a crash; and nothing may be lost, which a sanitizer's build looks for.
 *
 * McEliece's library asks the system for random numbers by itself and has no error to return. What
 * it does instead is wait; that it never goes on without them is what is looked at there.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_METHOD: nothing newer lets a caller's numbers fail */
#include "handshake_peers.h"

#include "engine_pair.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "base/chain.h"
#include "base/idmap.h"
#include "base/pool.h"
#include "config/changes.h"
#include "crypto/mceliece.h"
#include "crypto/mlkem.h"
#include "crypto/record.h"

/* -- what fails -- */

static struct {
    unsigned long left; /* calls until the one that fails; 0: none does */
    unsigned long calls;
    bool has_failed;
} memory, numbers;

#define IS_DUE(what)                                                                               \
    ((what).calls++, (what).left > 0 && --(what).left == 0 && ((what).has_failed = true))

/* NOLINTBEGIN(bugprone-reserved-identifier): the names are the linker's */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strndup(const char *text, size_t len);

/* The linker puts these in the place of our own calls. */
void *__wrap_malloc(size_t size)
{
    return IS_DUE(memory) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return IS_DUE(memory) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return IS_DUE(memory) ? NULL : __real_realloc(old, size);
}

char *__wrap_strndup(const char *text, size_t len)
{
    return IS_DUE(memory) ? NULL : __real_strndup(text, len);
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* And these stand in for OpenSSL's, wherever it is linked from. */
static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return IS_DUE(memory) ? NULL : __real_malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return IS_DUE(memory) ? NULL : __real_realloc(old, size);
}

static void openssl_free(void *memory_of_it, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory_of_it);
}

static int random_bytes(unsigned char *out, int len)
{
    int (*real)(unsigned char *, int) = RAND_OpenSSL()->bytes;

    return IS_DUE(numbers) ? 0 : real(out, len);
}

/* The system's, of which calls refuse from the left-th one on, and how often that was waited for.
 */
static struct {
    unsigned long left;
    unsigned long refusals;
    unsigned long waits;
    unsigned long calls;
} entropy;

/* These two stand in for the C library's, also for a shared library that calls them. */
ssize_t getrandom(void *out, size_t len, unsigned flags)
{
    entropy.calls++;
    if (entropy.left > 1) {
        entropy.left--;
    } else if (entropy.refusals > 0) {
        entropy.refusals--;
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_getrandom, out, len, flags);
}

unsigned sleep(unsigned seconds)
{
    (void)seconds;
    entropy.waits++;
    return 0;
}

static const RAND_METHOD random_method = {.bytes = random_bytes, .pseudorand = random_bytes};

/* -- scenarios: each cleans up after itself, however it went -- */

static enum err use_base(const struct pki *pki)
{
    static const uint8_t data[5000];
    struct pool *pool = NULL;
    struct chain chain;
    struct idmap map;
    enum err e = pool_new(&pool, (size_t)1024 * 1024);

    (void)pki;
    if (e != ERR_OK)
        return e;
    chain_init(&chain, pool);
    idmap_init(&map, 0);
    for (int i = 0; e == ERR_OK && i < 20; i++)
        e = chain_append(&chain, data, sizeof(data));
    for (uint64_t id = 1; e == ERR_OK && id < 100; id++)
        e = idmap_put(&map, id, &map);
    idmap_fini(&map);
    chain_fini(&chain);
    assert_int_equal(pool_in_use(pool), 0);
    pool_free(pool);
    return e;
}

static enum err use_keys(const struct pki *pki)
{
    static const uint8_t root[KDF_SIZE] = {1};
    static const uint8_t context[KDF_SIZE] = {2};
    const struct key_exchange exchange = {.secret = {root, 32}};
    struct session_keys *keys = NULL;
    struct record_sealer *sealer = NULL;
    struct record_opener *opener = NULL;
    struct traffic_keys traffic = {.key = {0}};
    enum err e = session_keys_new(&keys, KEM_MLKEM768, root, context);

    (void)pki;
    if (e == ERR_OK)
        e = session_keys_traffic(keys, KEY_FROM_SOURCE, &traffic);
    if (e == ERR_OK)
        e = record_sealer_new(&sealer, &traffic, 0);
    if (e == ERR_OK)
        e = record_opener_new(&opener, &traffic, 0);
    if (e == ERR_OK)
        e = session_keys_ratchet(keys, KEY_FROM_SOURCE);
    if (e == ERR_OK)
        e = session_keys_traffic(keys, KEY_FROM_SOURCE, &traffic);
    if (e == ERR_OK)
        e = record_sealer_rekey(sealer, &traffic);
    if (e == ERR_OK)
        e = session_keys_rotate(keys, &exchange);
    record_sealer_free(sealer);
    record_opener_free(opener);
    session_keys_free(keys);
    return e;
}

static enum err use_mlkem(const struct pki *pki)
{
    uint8_t ciphertext[MLKEM_CIPHERTEXT_SIZE];
    uint8_t here[MLKEM_SECRET_SIZE];
    uint8_t there[MLKEM_SECRET_SIZE];
    struct mlkem_keypair *pair = NULL;
    enum err e = mlkem_keypair_new(&pair);

    (void)pki;
    if (e == ERR_OK)
        e = mlkem_encapsulate(ciphertext, here, mlkem_public_key(pair));
    if (e == ERR_OK)
        e = mlkem_decapsulate(there, ciphertext, pair);
    /* Without memory OpenSSL rejects as if the ciphertext were wrong: by another secret. */
    if (e == ERR_OK && memcmp(here, there, sizeof(here)) != 0)
        e = ERR_KEY_CONFIRM;
    mlkem_keypair_free(pair);
    return e;
}

static enum err use_mceliece(const struct pki *pki)
{
    static uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE];
    uint8_t sent[MCELIECE_SECRET_SIZE];
    uint8_t received[MCELIECE_SECRET_SIZE];
    struct mceliece_keypair *pair = NULL;
    enum err e = mceliece_keypair_new(&pair);

    (void)pki;
    if (e == ERR_OK)
        e = mceliece_encapsulate(ciphertext, sent, mceliece_public_key(pair));
    if (e == ERR_OK)
        e = mceliece_decapsulate(received, ciphertext, pair);
    if (e == ERR_OK)
        assert_memory_equal(sent, received, sizeof(sent));
    mceliece_keypair_free(pair);
    return e;
}

static enum err make_context(struct tls_context **out, const struct pki *pki, enum identity_use use)
{
    const bool is_dest = use == IDENTITY_DEST;
    const struct pki_path cert = pki_path(pki, is_dest ? "server.crt" : "client.crt");
    const struct pki_path key = pki_path(pki, is_dest ? "server.key" : "client.key");
    const struct pki_path ca = pki_path(pki, "ca.crt");
    const struct identity_files files = {
        .cert_path = cert.text, .key_path = key.text, .ca_path = ca.text, .use = use};
    struct identity *id = NULL;
    struct err_detail d;

    *out = NULL;
    enum err e = identity_load(&id, &files, &d);
    if (e == ERR_OK)
        e = tls_context_new(out, id, KEM_MLKEM768, TLS_AUTH_MUTUAL, &d);
    identity_free(id);
    return e;
}

static enum err use_identity(const struct pki *pki)
{
    struct tls_context *tls;
    enum err e = make_context(&tls, pki, IDENTITY_DEST);

    tls_context_free(tls);
    return e;
}

static enum err issue(const struct pki *pki)
{
    const struct cert_issue_request request = {.kind = CERT_ISSUE_SERVER,
                                               .algorithm = CERT_KEY_ED25519,
                                               .common_name = "dest",
                                               .dns_names = "localhost",
                                               .ip_addresses = "127.0.0.1",
                                               .issuer = pki->ca.cert,
                                               .issuer_key = pki->ca.key};
    struct cert_issue_result r;
    struct err_detail d;
    enum err e = cert_issue(&r, &request, &d);

    if (e == ERR_OK)
        cert_issue_result_fini(&r);
    return e;
}

/* -- the configuration, and a reload of it -- */

static const char config_text[] = "[source]\n"
                                  "dest_host = [\"dest.example\", \"192.0.2.1\"]\n"
                                  "dest_tunnel_port = 8443\n"
                                  "mode = \"hybrid\"\n"
                                  "listen_port = 1080\n"
                                  "workers = %d\n"
                                  "listen_ip = \"127.0.0.%d\"\n"
                                  "[source.allowed_outbound]\n"
                                  "allowed_ips = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n"
                                  "[[source.exposed_ports]]\n"
                                  "port = 8080\n"
                                  "[auth]\n"
                                  "ca_cert_path = \"ca.crt\"\n"
                                  "client_cert_path = \"client.crt\"\n"
                                  "client_key_path = \"client.key\"\n";

/* On error there is no configuration, and something that says why. */
static enum err parse(struct config **out, int number)
{
    const struct config_overrides overrides = {.log_level = "debug"};
    struct problems *problems = problems_new();
    char text[sizeof(config_text) + 16];

    *out = NULL;
    if (problems == NULL)
        return ERR_NOMEM;
    int len = snprintf(text, sizeof(text), config_text, number, number);
    enum err e = config_parse(out, text, (size_t)len, "folder/utun.toml", CONFIG_ROLE_SOURCE,
                              &overrides, problems);
    assert_true((e == ERR_OK) == (*out != NULL));
    assert_true((e == ERR_OK) == (problems_errors(problems) == 0));
    if (e != ERR_OK)
        assert_string_equal(err_name(e), err_name(ERR_NOMEM));
    for (size_t i = 0; i < problems_count(problems); i++)
        assert_non_null(problems_at(problems, i)->text);
    problems_free(problems);
    return e;
}

static enum err use_config(const struct pki *pki)
{
    struct config_changes changes;
    struct config *old = NULL;
    struct config *fresh = NULL;
    struct err_detail d;

    (void)pki;
    enum err e = parse(&old, 1);
    if (e == ERR_OK)
        e = parse(&fresh, 2);
    if (e == ERR_OK) {
        config_compare(&changes, old, fresh, CONFIG_ROLE_SOURCE);
        e = config_keep_fixed(fresh, old, CONFIG_ROLE_SOURCE);
    }
    if (e == ERR_OK) {
        assert_string_equal(fresh->source.listen_ip, "127.0.0.1");
        assert_int_equal(fresh->source.workers, 1);
        assert_int_equal(fresh->source.exposed_port_count, 1);
        assert_int_equal(fresh->source.allowed_outbound.count, 2);
        assert_string_equal(fresh->auth.client_key_path, "folder/client.key");
        e = config_check_value("source", "dest_host", "dest.example", &d);
    }
    config_free(fresh);
    config_free(old);
    return e;
}

/* -- a handshake -- */

/* Carries on as long as anything moves; a peer that has failed takes and says what it can. */
static void carry_on(struct handshake *from, struct handshake *to, bool *moved)
{
    const uint8_t *data;
    size_t len;

    handshake_drain(from, &data, &len);
    if (len == 0)
        return;
    *moved = true;
    enum err e = handshake_feed(to, data, len, PEERS_NOW);
    (void)e; /* handshake_status says it, too */
    handshake_drained(from, len, PEERS_NOW);
}

/* The contexts are made once: a handshake is what is looked at. */
static struct tls_context *contexts[2];

static enum err shake_hands(const struct pki *pki)
{
    struct handshake *peers[2] = {NULL, NULL};
    struct handshake_result *results[2] = {NULL, NULL};
    struct err_detail d;
    bool moved = true;
    enum err e = ERR_OK;

    (void)pki;
    for (int i = 0; e == ERR_OK && i < 2; i++) {
        const struct handshake_options options = {.tls = contexts[i], .dest_host = "localhost"};
        e = handshake_new(&peers[i], &options, PEERS_NOW, &d);
    }
    while (e == ERR_OK && moved) {
        moved = false;
        carry_on(peers[0], peers[1], &moved);
        carry_on(peers[1], peers[0], &moved);
    }
    for (int i = 0; e == ERR_OK && i < 2; i++) {
        if (handshake_status(peers[i]) == HANDSHAKE_DONE)
            e = handshake_take_result(peers[i], &results[i]);
        else
            e = handshake_status(peers[i]) == HANDSHAKE_FAILED ? handshake_error(peers[i])
                                                               : ERR_CLOSED;
    }
    if (e == ERR_OK) {
        memory.left = numbers.left = 0; /* the comparison is the test's own */
        assert_true(same_keys(results[0], results[1]));
    }
    for (int i = 0; i < 2; i++) {
        handshake_result_free(results[i]);
        handshake_free(peers[i]);
    }
    return e;
}

/* -- the engine -- */

static enum err engine_new(struct end *end, enum tunnel_role role, uint64_t now)
{
    static const uint8_t root[KDF_SIZE] = {3};
    const size_t bytes = (size_t)16 * 1024 * 1024;
    struct session_keys *keys;
    struct tunnel_options options = {
        .role = role,
        .max_streams = 16,
        .max_flows = 16,
        .window_max = 1024 * 1024,
        .events = &pair_events,
        .owner = &end->owner,
        .hold = &end->hold,
        .credit = &end->credit,
    };
    size_t pool_limit;

    tunnel_share_memory(bytes, &pool_limit, &end->hold, &end->credit);
    end->owner.accept_at_once = true;
    enum err e = pool_new(&end->pool, pool_limit);
    options.pool = end->pool;
    if (e == ERR_OK)
        e = tunnel_new(&end->tunnel, &options);
    if (e == ERR_OK)
        e = session_keys_new(&keys, KEM_MLKEM768, root, root);
    if (e == ERR_OK)
        e = session_new(&end->session, end->tunnel, keys, SESSION_FRESH, now);
    return e;
}

static enum err move(struct end *from, struct end *to, uint64_t now, bool *moved)
{
    static uint8_t room[1024 * 1024];
    const uint8_t *data;
    size_t len;
    size_t used;

    enum err e = session_drain(from->session, &data, &len, now);
    if (e != ERR_OK || len == 0)
        return e;
    assert_true(len <= sizeof(room));
    *moved = true;
    memcpy(room, data, len);
    session_drained(from->session, len);
    return session_feed(to->session, room, len, &used, now);
}

static enum err settle(struct pair *p)
{
    enum err e = ERR_OK;

    for (int i = 0; e == ERR_OK && i < 3; i++) {
        bool moved = true;

        while (e == ERR_OK && moved) {
            moved = false;
            p->now += 100;
            e = move(&p->source, &p->dest, p->now, &moved);
            if (e == ERR_OK)
                e = move(&p->dest, &p->source, p->now, &moved);
        }
        p->now += ACK_DELAY_US + 1;
        if (e == ERR_OK)
            e = session_tick(p->source.session, p->now);
        if (e == ERR_OK)
            e = session_tick(p->dest.session, p->now);
    }
    return e;
}

/* A stream and a flow with data, and new keys for both directions. */
static enum err talk(struct pair *p, struct stream_owner here[2], struct flow_owner flows[2])
{
    const struct stream_target web = {.port = 80, .name = "web"};
    const struct stream_target dns = {.port = 53, .name = "dns"};
    enum err e = settle(p);

    here[0].appetite = here[1].appetite = SIZE_MAX;
    p->dest.owner.next = &here[1];
    p->dest.owner.next_flow = &flows[1];
    if (e == ERR_OK)
        e = stream_open(&here[0].stream, p->source.tunnel, &web, &here[0]);
    if (e == ERR_OK)
        e = flow_open(&flows[0].flow, p->source.tunnel, &dns, &flows[0]);
    if (e != ERR_OK)
        return e;
    (void)pair_send(&here[0], 100000, 'a');
    flow_send(flows[0].flow, (const uint8_t *)"question", 8);
    e = settle(p);
    if (e == ERR_OK && here[1].stream != NULL)
        (void)pair_send(&here[1], 100000, 'b');
    if (e == ERR_OK)
        e = session_rotate(p->source.session, NULL);
    if (e == ERR_OK)
        e = settle(p);
    return e;
}

static enum err run_engine(const struct pki *pki)
{
    static struct pair p;
    static struct stream_owner here[2];
    static struct flow_owner flows[2];

    (void)pki;
    memset(&p, 0, sizeof(p));
    memset(here, 0, sizeof(here));
    memset(flows, 0, sizeof(flows));
    p.now = 1000;
    enum err e = engine_new(&p.source, TUNNEL_SOURCE, p.now);
    if (e == ERR_OK)
        e = engine_new(&p.dest, TUNNEL_DEST, p.now);
    if (e == ERR_OK)
        e = talk(&p, here, flows);
    tunnel_free(p.source.tunnel);
    tunnel_free(p.dest.tunnel);
    pool_free(p.source.pool);
    pool_free(p.dest.pool);
    return e;
}

/* -- every n -- */

struct tally {
    unsigned long runs;
    unsigned long errors;
};

#define TRY_EVERY(what, scenario, pki, tally)                                                      \
    for (unsigned long n = 1;; n++) {                                                              \
        (what).left = n;                                                                           \
        (what).has_failed = false;                                                                 \
        enum err result = (scenario)(pki);                                                         \
        bool has_failed = (what).has_failed;                                                       \
        (what).left = 0;                                                                           \
        ERR_clear_error();                                                                         \
        (tally)->runs++;                                                                           \
        (tally)->errors += result != ERR_OK ? 1 : 0;                                               \
        if (!has_failed) {                                                                         \
            assert_string_equal(err_name(result), "ok");                                           \
            break;                                                                                 \
        }                                                                                          \
    }

static void run(const char *name, enum err (*scenario)(const struct pki *), const struct pki *pki)
{
    struct tally tally = {.runs = 0};

    /* What is made once and kept is made now. */
    assert_string_equal(err_name(scenario(pki)), "ok");
    TRY_EVERY(memory, scenario, pki, &tally);
    print_message("%s: %lu allocations failed, %lu errors\n", name, tally.runs - 1, tally.errors);
    assert_true(tally.errors > 0);
    /* Once memory is there again everything works again. */
    assert_string_equal(err_name(scenario(pki)), "ok");
}

static void memory_runs_out(void **state)
{
    run("base", use_base, *state);
    run("configuration", use_config, *state);
    run("keys", use_keys, *state);
    run("ML-KEM", use_mlkem, *state);
    run("McEliece", use_mceliece, *state);
    run("engine", run_engine, *state);
    run("identity", use_identity, *state);
    run("certificate", issue, *state);
    run("handshake", shake_hands, *state);
}

/* Without random numbers there is no key, no certificate and no session. */
static void random_numbers_fail(void **state)
{
    static enum err (*const scenarios[])(const struct pki *) = {use_mlkem, issue, shake_hands};

    assert_int_equal(RAND_set_rand_method(&random_method), 1);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        struct tally tally = {.runs = 0};

        TRY_EVERY(numbers, scenarios[i], *state, &tally);
        assert_true(tally.errors > 0);
        assert_int_equal(tally.errors, tally.runs - 1); /* all but the one that got by */
    }
    assert_int_equal(RAND_set_rand_method(RAND_OpenSSL()), 1);
}

/* Each of the calls refuses three times in turn. */
static void random_numbers_of_mceliece_are_waited_for(void **state)
{
    unsigned long calls;

    entropy.calls = entropy.refusals = 0;
    assert_string_equal(err_name(use_mceliece(*state)), "ok");
    calls = entropy.calls;
    assert_true(calls >= 2); /* the key pair's, and the ciphertext's */
    for (unsigned long n = 1; n <= 2; n++) {
        entropy.left = n;
        entropy.refusals = 3;
        entropy.waits = 0;
        assert_string_equal(err_name(use_mceliece(*state)), "ok");
        assert_int_equal(entropy.refusals, 0);
        assert_int_equal(entropy.waits, 3);
    }
}

static int setup(void **state)
{
    if (pki_setup(state) != 0)
        return -1;
    pki_issue_pair(*state);
    for (int i = 0; i < 2; i++)
        if (make_context(&contexts[i], *state, i == 0 ? IDENTITY_SOURCE : IDENTITY_DEST) != ERR_OK)
            return -1;
    return 0;
}

static int teardown(void **state)
{
    tls_context_free(contexts[0]);
    tls_context_free(contexts[1]);
    return pki_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(random_numbers_fail),
        cmocka_unit_test(random_numbers_of_mceliece_are_waited_for),
    };

    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return 1;
    return cmocka_run_group_tests(tests, setup, teardown);
}
