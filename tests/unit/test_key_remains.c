/*
 * What is left of a session's keys in memory when it is over. A child makes two peers shake hands,
 * runs a session between them, tells its parent the secrets, and forgets them; the parent looks
 * through all of the child's memory for them, first while they are in use, then afterwards. So
 * nothing of the test itself is found.
 */
#include "handshake_peers.h"

#include "engine_pair.h"

#include <fcntl.h>
#include <sys/wait.h>

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

static void check_mode(const struct pki *pki, enum kem_mode mode)
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
        close(to_parent[0]);
        child(pki, mode);
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
            fail_msg("mode %s: the %s is still in memory", kem_mode_name(mode),
                     secrets.secrets[i].name);
    go_on();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(to_parent[0]);
    close(to_child[0]);
    close(to_child[1]);
}

static void nothing_is_left(void **state)
{
    check_mode(*state, KEM_HYBRID);
    check_mode(*state, KEM_MLKEM768);
    check_mode(*state, KEM_MCELIECE460896);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_left)};

    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
