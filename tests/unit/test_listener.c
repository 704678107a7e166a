#include "forwarder.h"

#include <sys/resource.h>

struct counting {
    struct listener_owner owner;
    uv_loop_t loop;
    struct watch_set *set;
    struct listener *listener;
    int clients;
    int troubles;
    enum err trouble;
    struct address peer;
    int close_after;
};

static void count_client(struct listener_owner *owner, int fd, const struct address *peer)
{
    struct counting *c = list_entry(owner, struct counting, owner);
    int nodelay = 0;
    socklen_t len = sizeof(nodelay);

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &nodelay, &len), 0);
    assert_true(nodelay);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    c->clients++;
    c->peer = *peer;
    close(fd);
    if (c->clients == c->close_after) {
        listener_close(c->listener);
        c->listener = NULL;
    }
}

static void count_trouble(struct listener_owner *owner, enum err why)
{
    struct counting *c = list_entry(owner, struct counting, owner);

    c->troubles++;
    c->trouble = why;
}

static struct counting *counting_start(int fd)
{
    static struct counting c;

    memset(&c, 0, sizeof(c));
    c.owner = (struct listener_owner){.on_client = count_client, .on_trouble = count_trouble};
    assert_int_equal(uv_loop_init(&c.loop), 0);
    assert_int_equal(watch_set_new(&c.set, &c.loop), ERR_OK);
    assert_int_equal(listener_new(&c.listener, c.set, fd, &c.owner), ERR_OK);
    return &c;
}

static void counting_stop(struct counting *c)
{
    listener_close(c->listener);
    watch_set_close(c->set);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
}

static void run_until(struct counting *c, const int *value, int wanted)
{
    for (int i = 0; i < PATIENCE_S * 1000 && *value < wanted; i++) {
        uv_run(&c->loop, UV_RUN_NOWAIT);
        poll(NULL, 0, 1);
    }
    assert_int_equal(*value, wanted);
}

/* -- taking a port -- */

static uint16_t bind_one(const char *ip, uint16_t port, unsigned fallback, int *fd)
{
    struct listener_bind options = {.ip = ip, .port = port, .fallback = fallback, .count = 1};
    struct err_detail detail = {.text = ""};
    uint16_t actual;
    enum err e = listener_bind(fd, &actual, &options, &detail);

    if (e != ERR_OK)
        fail_msg("%s", detail.text);
    return actual;
}

static void the_next_free_port(void **state)
{
    uint16_t port;
    int other = listen_any(&port);
    int flag = 1;
    int fd;

    (void)state;
    /* Mostly the next one, but other tests run beside this one. */
    assert_in_range(bind_one("127.0.0.1", port, LISTENER_FALLBACK, &fd), port + 1, port + 5);
    close(fd);
    close(other);
    /* The other process may share its port: we do not join it. */
    other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    {
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

        setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &flag, sizeof(flag));
        setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &flag, sizeof(flag));
        assert_int_equal(bind(other, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(other, 1), 0);
    }
    assert_in_range(bind_one("127.0.0.1", port, LISTENER_FALLBACK, &fd), port + 1, port + 5);
    close(fd);
    close(other);
}

/* What means something else is passed over, and does not count as tried. */
static void a_port_of_another_meaning_is_not_taken(void **state)
{
    uint16_t named[LISTENER_FALLBACK];
    struct listener_bind options = {.ip = "127.0.0.1",
                                    .count = 1,
                                    .fallback = LISTENER_FALLBACK,
                                    .named = named,
                                    .named_count = LISTENER_FALLBACK};
    struct err_detail detail;
    uint16_t actual;
    int fd;
    int other = listen_any(&options.port);

    (void)state;
    for (unsigned i = 0; i < LISTENER_FALLBACK; i++)
        named[i] = (uint16_t)(options.port + 1 + i);
    assert_int_equal(listener_bind(&fd, &actual, &options, &detail), ERR_OK);
    assert_in_range(actual, options.port + 6, options.port + 10);
    close(fd);
    close(other);
    /* Its own port is one of those that are named, of course. */
    named[0] = options.port;
    assert_int_equal(listener_bind(&fd, &actual, &options, &detail), ERR_OK);
    assert_int_equal(actual, options.port);
    close(fd);
}

static void no_port_is_free(void **state)
{
    struct listener_bind options = {.ip = "127.0.0.1", .count = 2};
    struct err_detail detail;
    uint16_t actual = 7;
    int fds[2];
    uint16_t port;
    int other = listen_any(&port);

    (void)state;
    options.port = port;
    assert_int_equal(listener_bind(fds, &actual, &options, &detail), ERR_ADDR_IN_USE);
    assert_non_null(strstr(detail.text, "127.0.0.1"));
    assert_non_null(strstr(detail.text, "in use"));
    assert_int_equal(actual, 0);
    assert_int_equal(fds[0], -1);
    assert_int_equal(fds[1], -1);
    close(other);
}

static void bad_addresses(void **state)
{
    static const struct {
        const char *ip;
        enum err e;
    } cases[] = {{"localhost", ERR_RESOLVE}, {"", ERR_RESOLVE}, {"192.0.2.1", ERR_UNREACHABLE}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct listener_bind options = {.ip = cases[i].ip, .count = 1, .fallback = 5};
        struct err_detail detail = {.text = ""};
        uint16_t actual;
        int fd;

        assert_int_equal(listener_bind(&fd, &actual, &options, &detail), cases[i].e);
        assert_true(strlen(detail.text) > 10);
        assert_int_equal(fd, -1);
    }
}

static void several_sockets_share_the_port(void **state)
{
    struct listener_bind options = {.ip = "127.0.0.1", .count = 4};
    int counts[4] = {0};
    int fds[4];
    uint16_t port;

    (void)state;
    assert_int_equal(listener_bind(fds, &port, &options, NULL), ERR_OK);
    for (int i = 0; i < 200; i++)
        close(connect_to(port));
    for (int i = 0; i < 4; i++) {
        int fd;

        while ((fd = accept4(fds[i], NULL, NULL, SOCK_CLOEXEC)) >= 0) {
            counts[i]++;
            close(fd);
        }
        close(fds[i]);
    }
    assert_int_equal(counts[0] + counts[1] + counts[2] + counts[3], 200);
    for (int i = 0; i < 4; i++)
        assert_true(counts[i] > 0);
}

static void both_families(void **state)
{
    struct counting *c;
    char text[ADDRESS_TEXT_MAX];
    uint16_t port;
    int client;
    int fd;

    (void)state;
    port = bind_one("::", 0, 0, &fd);
    c = counting_start(fd);
    client = connect_to(port);
    run_until(c, &c->clients, 1);
    address_format_ip(&c->peer, text);
    assert_string_equal(text, "127.0.0.1");
    close(client);
    counting_stop(c);
}

/* -- accepting -- */

static void accepts_all_of_a_crowd(void **state)
{
    enum { COUNT = 200 }; /* more than one turn takes */
    struct counting *c;
    int clients[COUNT];
    uint16_t port;
    int fd;

    (void)state;
    port = bind_one("127.0.0.1", 0, 0, &fd);
    c = counting_start(fd);
    for (int i = 0; i < COUNT; i++)
        clients[i] = connect_to(port);
    run_until(c, &c->clients, COUNT);
    for (int i = 0; i < COUNT; i++)
        close(clients[i]);
    assert_int_equal(c->troubles, 0);
    counting_stop(c);
}

static void may_be_closed_from_inside(void **state)
{
    struct counting *c;
    int clients[3];
    uint16_t port;
    int fd;

    (void)state;
    port = bind_one("127.0.0.1", 0, 0, &fd);
    c = counting_start(fd);
    c->close_after = 2;
    for (int i = 0; i < 3; i++)
        clients[i] = connect_to(port);
    run_until(c, &c->clients, 2);
    for (int i = 0; i < 10; i++)
        uv_run(&c->loop, UV_RUN_NOWAIT);
    assert_int_equal(c->clients, 2);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    counting_stop(c);
}

static void goes_on_when_descriptors_are_back(void **state)
{
    struct counting *c;
    struct rlimit before;
    struct rlimit none;
    int clients[2];
    uint16_t port;
    int fd;

    (void)state;
    port = bind_one("127.0.0.1", 0, 0, &fd);
    c = counting_start(fd);
    clients[0] = connect_to(port);
    clients[1] = connect_to(port);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    run_until(c, &c->troubles, 1);
    /* Several pauses later still one report and no client. */
    for (int i = 0; i < 250; i++) {
        uv_run(&c->loop, UV_RUN_NOWAIT);
        poll(NULL, 0, 1);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(c->troubles, 1);
    assert_int_equal(c->trouble, ERR_LIMIT);
    assert_int_equal(c->clients, 0);
    run_until(c, &c->clients, 2);
    close(clients[0]);
    close(clients[1]);
    counting_stop(c);
}

/* As the workers of a source share a Unix socket: the end of one listener is not the other's. */
static void one_of_two_on_the_same_socket_is_closed(void **state)
{
    struct counting *c;
    uint16_t port;
    int client;
    int other;
    int fd;

    (void)state;
    port = bind_one("127.0.0.1", 0, 0, &fd);
    other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    c = counting_start(fd);
    uv_run(&c->loop, UV_RUN_NOWAIT);
    listener_close(c->listener);
    c->listener = NULL;
    /* What is left of it, and would be called, goes at the end of the turn. */
    client = connect_to(port);
    assert_int_equal(poll(&(struct pollfd){.fd = other, .events = POLLIN}, 1, -1), 1);
    uv_run(&c->loop, UV_RUN_NOWAIT);
    assert_int_equal(c->clients, 0);
    assert_int_equal(c->troubles, 0);
    close(client);
    close(other);
    counting_stop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_free_port),
        cmocka_unit_test(a_port_of_another_meaning_is_not_taken),
        cmocka_unit_test(no_port_is_free),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(several_sockets_share_the_port),
        cmocka_unit_test(both_families),
        cmocka_unit_test(accepts_all_of_a_crowd),
        cmocka_unit_test(may_be_closed_from_inside),
        cmocka_unit_test(goes_on_when_descriptors_are_back),
        cmocka_unit_test(one_of_two_on_the_same_socket_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
