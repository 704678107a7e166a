/* An uplink whose dest has a name with several addresses, over real connections. */
#include "handshake_peers.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/handshaker.h"
#include "net/listener.h"
#include "net/worker.h"
#include "ops/log.h"
#include "role/credentials.h"
#include "role/uplink.h"

#define PATIENCE_S 20

/* -- a name server of our own -- */

/* What "two.test" resolves to. */
static const char *const addresses[] = {"127.0.0.2", "127.0.0.3"};
static atomic_int asked;

/* In place of the C library's, which it asks itself for everything but that name. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    struct addrinfo **end = out;
    int result = 0;

    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name == NULL || strcmp(name, "two.test") != 0)
        return next(name, service, hints, out);
    atomic_fetch_add(&asked, 1);
    *out = NULL;
    for (size_t i = 0; result == 0 && i < 2; i++) {
        result = next(addresses[i], service, hints, end);
        while (result == 0 && *end != NULL)
            end = &(*end)->ai_next;
    }
    return result;
}

/* -- who listens there -- */

/* Takes connections and hangs up. */
struct impostor {
    pthread_t thread;
    atomic_int taken;
    int fd;
    uint16_t port;
};

static void *hang_up(void *argument)
{
    struct impostor *i = argument;
    int fd;

    while ((fd = accept(i->fd, NULL, NULL)) >= 0) {
        close(fd);
        atomic_fetch_add(&i->taken, 1);
    }
    return NULL;
}

static void impostor_start(struct impostor *i, const char *ip, uint16_t port)
{
    const struct listener_bind bind = {.ip = ip, .port = port, .count = 1};
    struct err_detail d;

    atomic_init(&i->taken, 0);
    assert_int_equal(listener_bind(&i->fd, &i->port, &bind, &d), ERR_OK);
    /* This one waits for its connections. */
    assert_int_equal(fcntl(i->fd, F_SETFL, 0), 0);
    assert_int_equal(pthread_create(&i->thread, NULL, hang_up, i), 0);
}

static void impostor_end(struct impostor *i)
{
    shutdown(i->fd, SHUT_RDWR);
    pthread_join(i->thread, NULL);
    close(i->fd);
}

#define SESSIONS_MAX 32

enum manner {
    HANGS_UP,     /* at once */
    SAYS_GOODBYE, /* at once */
    STAYS,        /* and lets in nobody again */
    STAYS_ALONE,  /* and hangs up on whoever continues it */
};

/* A dest that counts the sessions it is asked for. */
struct dest {
    struct handshaker_owner owner;
    struct handshaker *handshaker;
    struct tls_context *tls;
    enum manner manner;
    unsigned goodbyes;                  /* of each session that says any */
    uint32_t advice_ms;                 /* in them */
    uint8_t secret[TUNNEL_SECRET_SIZE]; /* of the tunnel of its first session */
    int fds[SESSIONS_MAX];              /* of sessions that it has not hung up */
    atomic_int refused;
    atomic_int sessions;
    uint16_t port;
};

/* The first record of a session: it begins, and perhaps is to end. */
static void say_hello(const struct established *e, const struct dest *d)
{
    struct frame settings = {.type = FRAME_SETTINGS, .settings.max_streams = 10};
    struct frame go_away = {.type = FRAME_GO_AWAY, .go_away.code = WIRE_SHUTDOWN};
    struct record_sealer *sealer;
    struct traffic_keys keys;
    uint8_t plain[16 * 1024];
    uint8_t record[sizeof(plain) + RECORD_OVERHEAD];
    struct wire_writer w;
    struct iovec part;
    size_t len;

    go_away.go_away.text = plain;
    go_away.go_away.retry_after_ms = d->advice_ms;
    wire_writer_init(&w, plain, sizeof(plain));
    assert_true(frame_encode(&w, &settings));
    for (unsigned i = 0; d->manner == SAYS_GOODBYE && i < d->goodbyes; i++)
        assert_true(frame_encode(&w, &go_away));
    part = (struct iovec){.iov_base = plain, .iov_len = wire_written(&w)};
    assert_int_equal(session_keys_traffic(e->keys, KEY_FROM_DEST, &keys), ERR_OK);
    assert_int_equal(record_sealer_new(&sealer, &keys, 0), ERR_OK);
    assert_int_equal(record_seal(sealer, &part, 1, record, sizeof(record), &len), ERR_OK);
    assert_int_equal(send(e->fd, record, len, MSG_NOSIGNAL), len);
    record_sealer_free(sealer);
}

static void on_established(struct handshaker_owner *owner, struct established *e)
{
    struct dest *d = list_entry(owner, struct dest, owner);
    int session = atomic_load(&d->sessions);
    bool is_kept = d->manner != HANGS_UP && (d->manner != STAYS_ALONE || session == 0);

    if (is_kept && session < SESSIONS_MAX) {
        say_hello(e, d);
        d->fds[session] = dup(e->fd);
    }
    if (session == 0)
        memcpy(d->secret, e->info->tunnel_secret, sizeof(d->secret));
    established_fini(e);
    atomic_fetch_add(&d->sessions, 1);
}

static bool on_resume(struct handshaker_owner *owner, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE])
{
    const struct dest *d = list_entry(owner, struct dest, owner);

    (void)tunnel_id;
    (void)identity;
    memcpy(secret, d->secret, sizeof(d->secret));
    return d->manner == STAYS_ALONE && atomic_load(&d->sessions) > 0;
}

static bool is_let_in(struct handshaker_owner *owner, const struct address *peer)
{
    struct dest *d = list_entry(owner, struct dest, owner);

    (void)peer;
    return d->manner != STAYS || atomic_load(&d->sessions) == 0;
}

static void on_refused(struct handshaker_owner *owner, const struct address *peer, enum err why)
{
    (void)peer;
    (void)why;
    atomic_fetch_add(&list_entry(owner, struct dest, owner)->refused, 1);
}

static void on_failed(struct handshaker_owner *owner, const struct handshaker_failure *failure)
{
    (void)owner;
    (void)failure;
}

static void dest_start(struct dest *d, const struct pki *p, const char *ip, uint16_t port)
{
    const struct listener_bind bind = {.ip = ip, .port = port, .count = 1};
    const struct peer_setup setup = {.mode = KEM_MLKEM768, .use = IDENTITY_DEST};
    struct handshaker_options options = {.max_in_flight = 8, .owner = &d->owner};
    struct err_detail detail;

    memset(d, 0, sizeof(*d));
    d->goodbyes = 1;
    d->owner.on_established = on_established;
    d->owner.on_resume = on_resume;
    d->owner.is_allowed = is_let_in;
    d->owner.on_refused = on_refused;
    d->owner.on_failed = on_failed;
    d->tls = peer_context(p, &setup);
    options.tls = d->tls;
    assert_int_equal(listener_bind(&options.listen_fd, &d->port, &bind, &detail), ERR_OK);
    assert_int_equal(handshaker_start(&d->handshaker, &options), ERR_OK);
}

static void dest_end(struct dest *d)
{
    handshaker_free(d->handshaker);
    tls_context_free(d->tls);
}

/* -- the source -- */

struct source {
    struct worker_owner behind;
    struct uplink_owner owner;
    struct uplink uplink;
    struct worker *worker;
    struct handshaker *handshaker;
    struct credentials *credentials;
    struct config *config;
    unsigned refresh_s;
    atomic_int given_up;
};

static enum err on_start(struct worker_owner *behind, struct worker *worker)
{
    struct source *s = list_entry(behind, struct source, behind);

    return uplink_open(&s->uplink, worker, s->handshaker);
}

static void on_drain(struct worker_owner *behind, struct worker *worker)
{
    (void)worker;
    uplink_drain(&list_entry(behind, struct source, behind)->uplink);
}

static void on_stop(struct worker_owner *behind, struct worker *worker)
{
    (void)worker;
    uplink_close(&list_entry(behind, struct source, behind)->uplink);
}

static void on_ready(struct uplink_owner *owner, struct carrier *carrier)
{
    (void)owner;
    (void)carrier;
}

static void on_give_up(struct uplink_owner *owner, const char *why)
{
    (void)why;
    atomic_fetch_add(&list_entry(owner, struct source, owner)->given_up, 1);
}

static struct config *config_of(const struct pki *p, const char *host, uint16_t port,
                                unsigned refresh_s)
{
    struct problems *problems = problems_new();
    struct config *config;
    char text[2048];
    int n = snprintf(text, sizeof(text),
                     "[source]\ndest_host = %s\ndest_tunnel_port = %u\n"
                     "initial_reconnect_delay_ms = 60000\nmax_reconnect_delay_ms = 60000\n"
                     "max_reconnect_attempts = 2\nconnection_refresh_interval_secs = %u\n"
                     "[auth]\nca_cert_path = \"%s/ca.crt\"\nclient_cert_path = \"%s/client.crt\"\n"
                     "client_key_path = \"%s/client.key\"\n[crypto]\nkem_mode = \"mlkem768\"\n",
                     host, port, refresh_s, p->dir, p->dir, p->dir);

    pki_write(p, "source.toml", text, (size_t)n, 0644);
    if (config_load(&config, pki_path(p, "source.toml").text, CONFIG_ROLE_SOURCE, NULL, problems) !=
        ERR_OK)
        fail_msg("%s", problems_at(problems, 0)->text);
    problems_free(problems);
    return config;
}

static void load(struct source *s, const struct pki *p, const char *host, uint16_t port)
{
    struct peer_setup setup = {.mode = KEM_MLKEM768, .use = IDENTITY_SOURCE};
    struct identity *identity = peer_identity(p, &setup);
    struct err_detail d = {""};

    s->config = config_of(p, host, port, s->refresh_s);
    assert_int_equal(credentials_new(&s->credentials, s->config, identity, &d), ERR_OK);
    identity_free(identity);
}

static void source_start(struct source *s, const struct pki *p, const char *host, uint16_t port,
                         unsigned refresh_s)
{
    const struct handshaker_options options = {.connect_timeout_ms = 5000, .listen_fd = -1};
    const struct worker_options worker = {.memory_budget = 1024 * 1024, .owner = &s->behind};

    memset(s, 0, sizeof(*s));
    s->refresh_s = refresh_s;
    s->behind =
        (struct worker_owner){.on_start = on_start, .on_drain = on_drain, .on_stop = on_stop};
    s->owner = (struct uplink_owner){.on_ready = on_ready, .on_give_up = on_give_up};
    load(s, p, host, port);
    assert_int_equal(uplink_init(&s->uplink, s->config, s->credentials, &s->owner), ERR_OK);
    assert_int_equal(handshaker_start(&s->handshaker, &options), ERR_OK);
    assert_int_equal(worker_new(&s->worker, &worker), ERR_OK);
    assert_int_equal(worker_start(s->worker), ERR_OK);
}

static void source_end(struct source *s)
{
    handshaker_stop(s->handshaker);
    worker_drain(s->worker, 0);
    assert_int_equal(worker_join(s->worker), ERR_OK);
    handshaker_free(s->handshaker);
    worker_free(s->worker);
    uplink_fini(&s->uplink);
    credentials_free(s->credentials);
    config_free(s->config);
}

static void await(atomic_int *count, int wanted)
{
    for (int i = 0; i < PATIENCE_S * 1000 && atomic_load(count) < wanted; i++)
        poll(NULL, 0, 1);
    assert_int_equal(atomic_load(count), wanted);
}

/* -- tests -- */

static void the_next_address_is_tried_at_once(void **state)
{
    struct impostor first;
    struct source s;
    struct dest d;

    impostor_start(&first, addresses[0], 0);
    dest_start(&d, *state, addresses[1], first.port);
    source_start(&s, *state, "\"two.test\"", first.port, 0);
    await(&d.sessions, 1); /* the next pause would be a minute */
    assert_int_equal(atomic_load(&first.taken), 1);
    source_end(&s);
    dest_end(&d);
    impostor_end(&first);
}

static void each_address_is_tried_once(void **state)
{
    struct impostor all[2];
    struct source s;

    impostor_start(&all[0], addresses[0], 0);
    impostor_start(&all[1], addresses[1], all[0].port);
    atomic_store(&asked, 0);
    source_start(&s, *state, "\"two.test\"", all[0].port, 0);
    await(&all[1].taken, 1);
    await(&asked, 3); /* the last time there was no other address left */
    source_end(&s);
    assert_int_equal(atomic_load(&all[0].taken), 1);
    assert_int_equal(atomic_load(&all[1].taken), 1);
    impostor_end(&all[0]);
    impostor_end(&all[1]);
}

/* Each goodbye asks for another session; the breaker counts them as it counts losses. */
static void goodbyes_are_counted_as_losses(void **state)
{
    struct source s;
    struct dest d;
    int most;

    dest_start(&d, *state, "127.0.0.1", 0);
    d.manner = SAYS_GOODBYE;
    source_start(&s, *state, "\"localhost\"", d.port, 0);
    most = (int)s.config->source.circuit_breaker_max_restarts + 1;
    await(&d.sessions, most);
    poll(NULL, 0, 200); /* the next pause is a minute */
    assert_int_equal(atomic_load(&d.sessions), most);
    source_end(&s);
    dest_end(&d);
    for (int i = 0; i < most; i++)
        close(d.fds[i]);
}

static unsigned count_lines(FILE *log, const char *event)
{
    char line[1024];
    unsigned count = 0;

    rewind(log);
    while (fgets(line, sizeof(line), log) != NULL)
        count += strstr(line, event) != NULL;
    return count;
}

/* Nobody's log is filled by who says it again and again. */
static void a_goodbye_counts_once(void **state)
{
    FILE *log = tmpfile();
    struct source s;
    struct dest d;
    int most;

    assert_non_null(log);
    assert_int_equal(fcntl(fileno(log), F_SETFL, O_APPEND), 0); /* it is read meanwhile */
    log_init(&(struct log_options){.level = LOG_LEVEL_WARN, .fd = fileno(log)});
    dest_start(&d, *state, "127.0.0.1", 0);
    d.manner = SAYS_GOODBYE;
    d.goodbyes = 1000;
    source_start(&s, *state, "\"localhost\"", d.port, 0);
    most = (int)s.config->source.circuit_breaker_max_restarts + 1;
    await(&d.sessions, most);
    for (int i = 0; i < PATIENCE_S * 1000 && count_lines(log, "breaker.open") == 0; i++)
        poll(NULL, 0, 1);
    poll(NULL, 0, 200);
    source_end(&s);
    log_fini();
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(count_lines(log, "breaker.open"), 1);
    fclose(log);
    dest_end(&d);
    for (int i = 0; i < most; i++)
        close(d.fds[i]);
}

struct new_config {
    struct worker_item item;
    struct uplink_change change;
    struct source *source;
    atomic_int done;
};

static void on_new_config(struct worker_item *item, struct worker *worker)
{
    struct new_config *n = list_entry(item, struct new_config, item);

    (void)worker;
    uplink_change(&n->source->uplink, &n->change);
    atomic_fetch_add(&n->done, 1);
}

static void on_config_dropped(struct worker_item *item)
{
    (void)item;
    fail();
}

/* What a goodbye has asked for is not put off by another interval of refreshes. */
static void another_interval_leaves_a_goodbye_alone(void **state)
{
    struct new_config n = {.item = {.run = on_new_config, .drop = on_config_dropped}};
    struct config *fresh;
    struct source s;
    struct dest d;

    dest_start(&d, *state, "127.0.0.1", 0);
    d.manner = SAYS_GOODBYE;
    d.advice_ms = 4000;
    source_start(&s, *state, "\"localhost\"", d.port, 0);
    await(&d.sessions, 1);
    poll(NULL, 0, 300); /* it has come */
    fresh = config_of(*state, "\"localhost\"", d.port, 600);
    assert_int_equal(uplink_change_init(&n.change, fresh), ERR_OK);
    n.source = &s;
    worker_post(s.worker, &n.item);
    await(&n.done, 1);
    await(&d.sessions, 2);
    source_end(&s);
    uplink_change_fini(&n.change);
    config_free(fresh);
    dest_end(&d);
    close(d.fds[0]);
    close(d.fds[1]);
}

/* A refresh that is refused comes again, and goes to no other dest meanwhile. */
static void a_refused_refresh_changes_nothing(const struct pki *p, const char *hosts)
{
    struct dest other;
    struct source s;
    struct dest d;

    dest_start(&d, p, addresses[0], 0);
    d.manner = STAYS;
    dest_start(&other, p, addresses[1], d.port);
    other.manner = STAYS;
    source_start(&s, p, hosts, d.port, 1);
    for (int i = 0; i < PATIENCE_S * 1000 && atomic_load(&d.refused) < 2; i++)
        poll(NULL, 0, 1);
    assert_in_range(atomic_load(&d.refused), 2, SESSIONS_MAX);
    assert_int_equal(atomic_load(&d.sessions), 1);
    assert_int_equal(atomic_load(&other.sessions), 0);
    source_end(&s);
    dest_end(&d);
    dest_end(&other);
    close(d.fds[0]);
}

/* One whose handshake was right, but which never came up, is not the last that is tried. */
static void a_refresh_that_dies_at_once_comes_again(void **state)
{
    struct source s;
    struct dest d;

    dest_start(&d, *state, "127.0.0.1", 0);
    d.manner = STAYS_ALONE;
    source_start(&s, *state, "\"localhost\"", d.port, 1);
    for (int i = 0; i < PATIENCE_S * 1000 && atomic_load(&d.sessions) < 3; i++)
        poll(NULL, 0, 1);
    assert_in_range(atomic_load(&d.sessions), 3, SESSIONS_MAX);
    source_end(&s);
    assert_int_equal(s.uplink.losses, 0);
    dest_end(&d);
    close(d.fds[0]);
}

/* However many refreshes have failed, a session that is lost then is tried to be had again. */
static void refused_refreshes_are_no_reason_to_give_up(void **state)
{
    struct source s;
    struct dest d;

    dest_start(&d, *state, "127.0.0.1", 0);
    d.manner = STAYS;
    source_start(&s, *state, "\"localhost\"", d.port, 1);
    for (int i = 0; i < PATIENCE_S * 1000 && atomic_load(&d.refused) < 3; i++)
        poll(NULL, 0, 1);
    assert_in_range(atomic_load(&d.refused), 3, SESSIONS_MAX);
    assert_int_equal(shutdown(d.fds[0], SHUT_RDWR), 0);
    for (int i = 0; i < 2000 && atomic_load(&s.given_up) == 0; i++)
        poll(NULL, 0, 1);
    assert_int_equal(atomic_load(&s.given_up), 0);
    source_end(&s);
    dest_end(&d);
    close(d.fds[0]);
}

static void a_refused_refresh_leaves_the_other_host_alone(void **state)
{
    a_refused_refresh_changes_nothing(*state, "[\"127.0.0.2\", \"127.0.0.3\"]");
}

static void a_refused_refresh_leaves_the_other_address_alone(void **state)
{
    a_refused_refresh_changes_nothing(*state, "\"two.test\"");
}

static int setup(void **state)
{
    if (pki_setup(state) != 0)
        return -1;
    log_set_level(LOG_LEVEL_ERROR);
    pki_issue_pair(*state);
    pki_issue(*state, "server",
              (struct cert_issue_request){.kind = CERT_ISSUE_SERVER,
                                          .algorithm = CERT_KEY_ED25519,
                                          .common_name = "dest",
                                          .dns_names = "two.test,localhost",
                                          .ip_addresses = "127.0.0.2,127.0.0.3"});
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_address_is_tried_at_once),
        cmocka_unit_test(each_address_is_tried_once),
        cmocka_unit_test(goodbyes_are_counted_as_losses),
        cmocka_unit_test(a_goodbye_counts_once),
        cmocka_unit_test(another_interval_leaves_a_goodbye_alone),
        cmocka_unit_test(a_refresh_that_dies_at_once_comes_again),
        cmocka_unit_test(refused_refreshes_are_no_reason_to_give_up),
        cmocka_unit_test(a_refused_refresh_leaves_the_other_host_alone),
        cmocka_unit_test(a_refused_refresh_leaves_the_other_address_alone),
    };

    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
