#include "forwarder.h"

struct result {
    struct target_owner owner;
    uv_loop_t loop;
    struct watch_set *set;
    struct target *target;
    int calls;
    enum err why;
    int fd;
    char detail[256];
};

static void on_connect(struct target_owner *owner, enum err why, int fd, const char *detail)
{
    struct result *r = list_entry(owner, struct result, owner);

    r->calls++;
    r->why = why;
    r->fd = fd;
    snprintf(r->detail, sizeof(r->detail), "%s", detail);
}

static struct result *start(const char *host, uint16_t port, uint32_t timeout_ms)
{
    static struct result r;
    struct target_options options = {.host = host, .port = port, .timeout_ms = timeout_ms};

    memset(&r, 0, sizeof(r));
    r.owner.on_connect = on_connect;
    r.fd = -1;
    assert_int_equal(uv_loop_init(&r.loop), 0);
    assert_int_equal(watch_set_new(&r.set, &r.loop), ERR_OK);
    assert_int_equal(target_start(&r.target, r.set, &options, &r.owner), ERR_OK);
    assert_int_equal(r.calls, 0);
    return &r;
}

static void run(struct result *r)
{
    for (int i = 0; i < PATIENCE_S * 1000 && r->calls == 0; i++)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(r->calls, 1);
}

static void stop(struct result *r)
{
    if (r->fd >= 0)
        close(r->fd);
    watch_set_close(r->set);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    assert_true(r->calls <= 1);
}

static void connects_to(const char *host)
{
    uint16_t port;
    int listener = listen_any(&port);
    struct result *r = start(host, port, 5000);
    int server;
    char byte;

    run(r);
    assert_int_equal(r->why, ERR_OK);
    assert_true(r->fd >= 0);
    assert_true(fcntl(r->fd, F_GETFL) & O_NONBLOCK);
    server = accept_one(listener);
    send_all(r->fd, "x", 1);
    receive_all(server, &byte, 1);
    close(server);
    close(listener);
    stop(r);
}

static void an_address(void **state)
{
    (void)state;
    connects_to("127.0.0.1");
}

static void a_name(void **state)
{
    (void)state;
    connects_to("localhost");
}

static void nobody_listens(void **state)
{
    uint16_t port;
    int listener = listen_any(&port);
    struct result *r;

    (void)state;
    close(listener);
    r = start("127.0.0.1", port, 5000);
    run(r);
    assert_int_equal(r->why, ERR_REFUSED);
    assert_int_equal(r->fd, -1);
    assert_non_null(strstr(r->detail, "refused"));
    stop(r);
}

static void an_address_that_cannot_be(void **state)
{
    /* A TCP connection to a multicast group fails inside connect(2). */
    struct result *r = start("224.0.0.1", 80, 5000);

    (void)state;
    run(r);
    assert_int_equal(r->why, ERR_UNREACHABLE);
    stop(r);
}

static void nobody_answers(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct result *r;
    int fillers[4];

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    /* A full backlog: further SYNs are dropped. */
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&a, sizeof(a));
    }
    poll(NULL, 0, 50);
    r = start("127.0.0.1", ntohs(a.sin_port), 200);
    run(r);
    assert_int_equal(r->why, ERR_TIMEOUT);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(listener);
    stop(r);
}

static void no_such_name(void **state)
{
    struct result *r = start("no-such-host.invalid", 80, 20000);

    (void)state;
    run(r);
    assert_int_equal(r->why, ERR_RESOLVE);
    stop(r);
}

static void cancelled(const char *host)
{
    uint16_t port;
    int listener = listen_any(&port);
    struct result *r = start(host, port, 5000);

    target_cancel(r->target);
    stop(r);
    assert_int_equal(r->calls, 0);
    close(listener);
}

static void a_cancelled_address(void **state)
{
    (void)state;
    cancelled("127.0.0.1");
}

static void a_cancelled_name(void **state)
{
    (void)state;
    cancelled("localhost");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address),          cmocka_unit_test(a_name),
        cmocka_unit_test(nobody_listens),      cmocka_unit_test(an_address_that_cannot_be),
        cmocka_unit_test(nobody_answers),      cmocka_unit_test(no_such_name),
        cmocka_unit_test(a_cancelled_address), cmocka_unit_test(a_cancelled_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
