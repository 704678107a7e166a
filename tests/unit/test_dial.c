/* A dial's way to the handshake thread and back. */
#include "handshake_peers.h"

#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#include "net/listener.h"
#include "ops/log.h"
#include "role/dial.h"

#define PATIENCE_MS 20000

/* What dials, on a worker of its own. */
struct caller {
    struct worker_owner behind;
    struct dial_owner owner;
    struct dial dial;
    struct worker *worker;
    struct handshaker *handshaker;
    struct credentials *credentials;
    struct config *config;
    int starts_left;            /* after the first */
    struct address_list failed; /* forgotten as soon as the dial has begun */
    atomic_int ends;
    enum err error; /* of the last end, as all below */
    bool is_running;
    char host[100];
    struct err_detail detail;
};

static void begin(struct caller *c)
{
    const struct dial_options options = {
        .config = c->config, .skip = &c->failed, .when = CREDENTIALS_IF_CHANGED};

    dial_start(&c->dial, &options);
    memset(&c->failed, 0, sizeof(c->failed));
}

static enum err on_start(struct worker_owner *behind, struct worker *worker)
{
    struct caller *c = list_entry(behind, struct caller, behind);

    dial_open(&c->dial, worker, c->handshaker);
    begin(c);
    return ERR_OK;
}

static void on_end(struct dial_owner *owner, struct dial *d)
{
    struct caller *c = list_entry(owner, struct caller, owner);

    c->error = d->error;
    c->is_running = d->is_running;
    snprintf(c->host, sizeof(c->host), "%s", dial_host(d));
    c->detail = d->detail;
    if (c->starts_left-- > 0)
        begin(c);
    atomic_fetch_add(&c->ends, 1);
}

static void caller_start(struct caller *c, const struct pki *p, uint16_t port)
{
    const struct handshaker_options options = {.connect_timeout_ms = PATIENCE_MS, .listen_fd = -1};
    const struct worker_options worker = {.memory_budget = 1024 * 1024, .owner = &c->behind};
    struct peer_setup setup = {.mode = KEM_MLKEM768, .use = IDENTITY_SOURCE};
    struct identity *identity = peer_identity(p, &setup);
    struct problems *problems = problems_new();
    struct err_detail d = {""};
    char text[1024];
    int n = snprintf(text, sizeof(text),
                     "[source]\ndest_host = \"127.0.0.1\"\ndest_tunnel_port = %u\n"
                     "[auth]\nca_cert_path = \"%s/ca.crt\"\nclient_cert_path = \"%s/client.crt\"\n"
                     "client_key_path = \"%s/client.key\"\n[crypto]\nkem_mode = \"mlkem768\"\n",
                     port, p->dir, p->dir, p->dir);

    pki_write(p, "source.toml", text, (size_t)n, 0644);
    if (config_load(&c->config, pki_path(p, "source.toml").text, CONFIG_ROLE_SOURCE, NULL,
                    problems) != ERR_OK)
        fail_msg("%s", problems_at(problems, 0)->text);
    assert_int_equal(credentials_new(&c->credentials, c->config, identity, &d), ERR_OK);
    problems_free(problems);
    identity_free(identity);
    c->behind.on_start = on_start;
    c->owner.on_end = on_end;
    assert_int_equal(dial_init(&c->dial, c->credentials, &c->owner), ERR_OK);
    assert_int_equal(handshaker_start(&c->handshaker, &options), ERR_OK);
    assert_int_equal(worker_new(&c->worker, &worker), ERR_OK);
    assert_int_equal(worker_start(c->worker), ERR_OK);
}

static void caller_end(struct caller *c)
{
    worker_drain(c->worker, 0);
    assert_int_equal(worker_join(c->worker), ERR_OK);
    handshaker_free(c->handshaker);
    worker_free(c->worker);
    dial_fini(&c->dial);
    dial_fini(&c->dial);
    credentials_free(c->credentials);
    config_free(c->config);
}

/* A dest that takes connections, and says nothing. */
static int listen_silently(uint16_t *port)
{
    const struct listener_bind bind = {.ip = "127.0.0.1", .count = 1};
    struct err_detail d;
    int fd;

    assert_int_equal(listener_bind(&fd, port, &bind, &d), ERR_OK);
    return fd;
}

static void an_end_comes_for_each_start(void **state)
{
    struct caller c = {.starts_left = 2};
    uint16_t port;

    close(listen_silently(&port)); /* nobody listens there any more */
    caller_start(&c, *state, port);
    for (int i = 0; i < PATIENCE_MS && atomic_load(&c.ends) < 3; i++)
        poll(NULL, 0, 1);
    assert_int_equal(atomic_load(&c.ends), 3);
    caller_end(&c);
    assert_int_equal(atomic_load(&c.ends), 3);
    assert_int_equal(c.error, ERR_REFUSED);
    assert_false(c.is_running);
    assert_string_equal(c.host, "127.0.0.1");
    assert_true(c.detail.text[0] != 0);
}

/* The dest takes the connection and says nothing; meanwhile the worker stops. */
static void no_end_comes_to_a_worker_that_has_stopped(void **state)
{
    struct caller c = {.starts_left = 0};
    uint16_t port;
    struct pollfd ready = {.fd = listen_silently(&port), .events = POLLIN};

    caller_start(&c, *state, port);
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    caller_end(&c);
    assert_int_equal(atomic_load(&c.ends), 0);
    close(ready.fd);
}

/* A reload may bring other hosts while the handshake thread looks at what has failed. */
static void what_has_failed_is_the_dials_own(void **state)
{
    struct caller c = {.starts_left = 0};
    uint16_t port;
    struct pollfd ready = {.fd = listen_silently(&port), .events = POLLIN};

    c.failed.count = 1;
    assert_int_equal(address_parse(&c.failed.items[0], "127.0.0.1", port), ERR_OK);
    caller_start(&c, *state, port);
    for (int i = 0; i < PATIENCE_MS && atomic_load(&c.ends) < 1; i++)
        poll(NULL, 0, 1);
    caller_end(&c);
    assert_int_equal(c.error, ERR_NOT_FOUND);
    assert_int_equal(poll(&ready, 1, 0), 0); /* nobody has come */
    close(ready.fd);
}

static int setup(void **state)
{
    if (pki_setup(state) != 0)
        return -1;
    log_set_level(LOG_LEVEL_ERROR);
    pki_issue_pair(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_comes_for_each_start),
        cmocka_unit_test(no_end_comes_to_a_worker_that_has_stopped),
        cmocka_unit_test(what_has_failed_is_the_dials_own),
    };

    return cmocka_run_group_tests_name("dial", tests, setup, pki_teardown);
}
