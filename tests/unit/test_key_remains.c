/*
 * What is left of keys in memory when they are over: of a session's, and of a private key that was
 * read. A child makes two peers shake hands, runs a session between them, tells its parent the
 * secrets, and forgets them; the parent looks through all of the child's memory for them, first
 * while they are in use, then afterwards. So nothing of the test itself is found.
 */
#include "handshake_peers.h"

#include "engine_pair.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "crypto/cert_key.h"
#include "crypto/pem.h"
#include "crypto/secret.h"

#define SECRET_MAX  64
#define SECRETS_MAX 32
#define RANGE_MAX   ((uint64_t)1 << 30) /* a sanitizer's shadow has terabytes of nothing */

struct secret {
    char name[32];
    size_t len;
    uint8_t bytes[SECRET_MAX];
};

struct message {
    uint32_t count;
    struct secret secrets[SECRETS_MAX];
};

/* -- the child -- */

static int to_parent[2];
static int to_child[2];

static void add(struct message *m, const char *name, const void *bytes, size_t len)
{
    struct secret *s = &m->secrets[m->count++];

    assert_true(m->count <= SECRETS_MAX && len <= SECRET_MAX);
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->len = len;
    memcpy(s->bytes, bytes, len);
}

static void add_traffic(struct message *m, const struct session_keys *keys, const char *when)
{
    struct traffic_keys traffic;
    char name[32];

    for (int d = KEY_FROM_SOURCE; d <= KEY_FROM_DEST; d++) {
        assert_int_equal(session_keys_traffic(keys, (enum key_direction)d, &traffic), ERR_OK);
        snprintf(name, sizeof(name), "%s traffic key %d", when, d);
        add(m, name, traffic.key, sizeof(traffic.key));
    }
    OPENSSL_cleanse(&traffic, sizeof(traffic));
}

static void tell_and_wait(struct message *m)
{
    char byte;

    assert_int_equal(write(to_parent[1], m, sizeof(*m)), sizeof(*m));
    OPENSSL_cleanse(m, sizeof(*m));
    assert_int_equal(read(to_child[0], &byte, 1), 1);
}

/* A session with the keys of a real handshake. */
static void use(struct handshake_result *s, struct handshake_result *d)
{
    struct pair *p = calloc(1, sizeof(*p));
    struct message nothing = {.count = 0};

    p->now = 1000;
    end_init(&p->source, TUNNEL_SOURCE, PAIR_MEMORY, 16);
    end_init(&p->dest, TUNNEL_DEST, PAIR_MEMORY, 16);
    assert_int_equal(
        session_new(&p->source.session, p->source.tunnel, s->keys, SESSION_FRESH, p->now), ERR_OK);
    assert_int_equal(session_new(&p->dest.session, p->dest.tunnel, d->keys, SESSION_FRESH, p->now),
                     ERR_OK);
    s->keys = NULL;
    d->keys = NULL;
    pair_settle(p);
    assert_int_equal(p->source.owner.readies, 1);
    tell_and_wait(&nothing);
    pair_lose_session(p);
    end_fini(&p->source);
    end_fini(&p->dest);
    free(p);
}

static void child(const struct pki *pki, enum kem_mode mode)
{
    struct peer_setup setup_of = {.mode = mode};
    struct handshake *source = source_new(pki, setup_of);
    struct handshake *dest = dest_new(pki, setup_of);
    struct handshake_result *s;
    struct handshake_result *d;
    struct message m = {.count = 0};

    converse(source, dest, 65536);
    s = take(source);
    d = take(dest);
    add(&m, "tunnel secret", s->tunnel_secret, TUNNEL_SECRET_SIZE);
    add_traffic(&m, s->keys, "first");
    tell_and_wait(&m);
    handshake_free(source);
    handshake_free(dest);
    use(s, d);
    handshake_result_free(s);
    handshake_result_free(d);
    m.count = 0;
    tell_and_wait(&m);
    _exit(0);
}

/* Makes one, writes it down, reads it as from a file. */
static void child_with_key(enum cert_key_algorithm algorithm)
{
    struct message m = {.count = 0};
    struct file_bytes text;
    struct err_detail d;
    EVP_PKEY *made;
    EVP_PKEY *key;
    uint8_t *secret;
    size_t len = 0;

    assert_int_equal(cert_key_generate(&made, algorithm), ERR_OK);
    assert_int_equal(EVP_PKEY_get_raw_private_key(made, NULL, &len), 1);
    secret = OPENSSL_malloc(len);
    assert_int_equal(EVP_PKEY_get_raw_private_key(made, secret, &len), 1);
    add(&m, "private key", secret, len < SECRET_MAX ? len : SECRET_MAX);
    OPENSSL_clear_free(secret, len);
    assert_int_equal(pem_encode_key(&text, made), ERR_OK);
    EVP_PKEY_free(made);
    assert_int_equal(pem_decode_key(&key, &text, "key", &d), ERR_OK);
    file_bytes_free(&text);
    tell_and_wait(&m);
    tell_and_wait(&m); /* now it says nothing */
    EVP_PKEY_free(key);
    tell_and_wait(&m);
    _exit(0);
}

/* -- the parent -- */

struct found {
    bool is_found[SECRETS_MAX];
};

static void look_in(struct found *out, const uint8_t *data, size_t len, const struct message *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (!out->is_found[i] && memmem(data, len, m->secrets[i].bytes, m->secrets[i].len) != NULL)
            out->is_found[i] = true;
}

/* All that the process may write to: heap, stacks, data, the arena of secrets. */
static struct found look_through(pid_t pid, const struct message *m)
{
    struct found out = {.is_found = {false}};
    char path[64];
    char line[512];
    int memory;
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    memory = open(path, O_RDONLY);
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "r");
    assert_true(memory >= 0);
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        uint64_t begin = 0;
        uint64_t end = 0;
        char rights[8] = "";

        if (sscanf(line, "%lx-%lx %7s", &begin, &end, rights) != 3 || rights[1] != 'w' ||
            end - begin > RANGE_MAX)
            continue;
        uint8_t *data = malloc(end - begin);
        assert_non_null(data);
        ssize_t got = pread(memory, data, end - begin, (off_t)begin);
        if (got > 0)
            look_in(&out, data, (size_t)got, m);
        free(data);
    }
    fclose(maps);
    close(memory);
    return out;
}

static struct message hear(void)
{
    struct message m;
    size_t got = 0;

    while (got < sizeof(m)) {
        ssize_t n = read(to_parent[0], (uint8_t *)&m + got, sizeof(m) - got);
        if (n <= 0)
            fail_msg("the child has ended");
        got += (size_t)n;
    }
    return m;
}

static void go_on(void)
{
    assert_int_equal(write(to_child[1], "x", 1), 1);
}

/* What a child is to do. */
struct task {
    const char *name;
    const struct pki *pki;
    enum kem_mode mode; /* of two peers ... */
    bool is_key;
    enum cert_key_algorithm algorithm; /* ... or of a key */
};

static void check(const struct task *task)
{
    struct message secrets;
    struct found in_use;
    struct found left;
    uint32_t live = 0;
    int status;
    pid_t pid;

    assert_int_equal(pipe(to_parent), 0);
    assert_int_equal(pipe(to_child), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* where a check fails */
        close(to_parent[0]);
        if (task->is_key)
            child_with_key(task->algorithm);
        child(task->pki, task->mode);
    }
    close(to_parent[1]); /* a child that dies is not waited for */
    secrets = hear();
    assert_true(secrets.count > 0);
    go_on();
    (void)hear();
    in_use = look_through(pid, &secrets);
    for (uint32_t i = 0; i < secrets.count; i++)
        live += in_use.is_found[i] ? 1 : 0;
    assert_true(live > 0); /* or the search finds nothing, ever */
    go_on();
    (void)hear();
    left = look_through(pid, &secrets);
    for (uint32_t i = 0; i < secrets.count; i++)
        if (left.is_found[i])
            fail_msg("%s: the %s is still in memory", task->name, secrets.secrets[i].name);
    go_on();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(to_parent[0]);
    close(to_child[0]);
    close(to_child[1]);
}

static void nothing_of_a_session_is_left(void **state)
{
    static const enum kem_mode modes[] = {KEM_HYBRID, KEM_MLKEM768, KEM_MCELIECE460896};

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        check(&(struct task){.name = kem_mode_name(modes[i]), .pki = *state, .mode = modes[i]});
}

static void nothing_of_a_private_key_is_left(void **state)
{
    static const enum cert_key_algorithm all[] = {CERT_KEY_ED25519, CERT_KEY_ML_DSA_65,
                                                  CERT_KEY_ML_DSA_44, CERT_KEY_ML_DSA_87};

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        check(&(struct task){.name = cert_key_name(all[i]), .is_key = true, .algorithm = all[i]});
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
        cmocka_unit_test(nothing_of_a_session_is_left),
        cmocka_unit_test(nothing_of_a_private_key_is_left),
    };

    if (!secret_wipe_freed()) /* as the program does */
        return 1;
    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
