#include "forwarder.h"

#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>
#include <sys/un.h>

#include "net/target.h"
#include "net/target_place.h"

/* -- a name server of our own -- */

static atomic_bool is_silent;

/* In place of the C library's, which it asks for everything but that name. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name == NULL || strcmp(name, "silent.test") != 0)
        return next(name, service, hints, out);
    while (atomic_load(&is_silent))
        poll(NULL, 0, 1);
    return EAI_AGAIN;
}

/* One loop with its places, and up to so many who want to connect. */
#define MANY 50

struct result {
    struct target_owner owner;
    struct watch watch;
    struct target *target;
    int calls;
    enum err why;
    int fd;
    char detail[256];
};

static struct {
    uv_loop_t loop;
    struct watch_set *set;
    struct names *names;
    struct target_places *places;
    struct stats stats;
    struct result results[MANY];
    size_t count;
} net;

static void on_connect(struct target_owner *owner, enum err why, int fd, const char *detail)
{
    struct result *r = list_entry(owner, struct result, owner);

    r->target = NULL;
    /* Open for the connection, or not at all. */
    assert_true(r->watch.fd == fd || r->watch.fd < 0);
    r->calls++;
    r->why = why;
    r->fd = fd;
    snprintf(r->detail, sizeof(r->detail), "%s", detail);
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct result *r = list_entry(watch, struct result, watch);

    if (r->target != NULL)
        target_on_ready(r->target, events);
}

static void open_net(void)
{
    memset(&net, 0, sizeof(net));
    assert_int_equal(uv_loop_init(&net.loop), 0);
    assert_int_equal(watch_set_new(&net.set, &net.loop), ERR_OK);
    assert_int_equal(names_new(&net.names, &net.loop, names_of_peers(1)), ERR_OK);
    assert_int_equal(target_places_new(&net.places, &net.loop, net.names, &net.stats), ERR_OK);
}

static struct result *start_with(const struct target_options *options)
{
    struct result *r = &net.results[net.count++];

    r->owner.on_connect = on_connect;
    r->owner.watch = &r->watch;
    watch_init(&r->watch, on_ready);
    r->fd = -1;
    assert_int_equal(target_start(&r->target, net.places, net.set, options, &r->owner), ERR_OK);
    assert_int_equal(r->calls, 0);
    return r;
}

static struct result *start(const char *host, uint16_t port, uint32_t timeout_ms)
{
    struct target_options options = {.host = host, .port = port, .timeout_ms = timeout_ms};

    open_net();
    return start_with(&options);
}

static void run(struct result *r)
{
    uint64_t until = uv_hrtime() + (uint64_t)PATIENCE_S * 1000000000;

    while (r->calls == 0 && uv_hrtime() < until)
        uv_run(&net.loop, UV_RUN_ONCE);
    assert_int_equal(r->calls, 1);
}

static void turn_for(uint64_t ms)
{
    uint64_t until = uv_hrtime() + ms * 1000000;

    while (uv_hrtime() < until) {
        uv_run(&net.loop, UV_RUN_NOWAIT);
        poll(NULL, 0, 1);
    }
}

static void stop(void)
{
    for (size_t i = 0; i < net.count; i++) {
        assert_true(net.results[i].calls <= 1);
        watch_close(&net.results[i].watch);
        if (net.results[i].fd >= 0)
            close(net.results[i].fd);
    }
    target_places_free(net.places);
    names_close(net.names);
    watch_set_close(net.set);
    uv_run(&net.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&net.loop), 0);
    assert_int_equal(stats_get(&net.stats.targets_down), 0);
}

/* Listens on a port that was free a moment ago. */
static int listen_on(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, MANY), 0);
    return fd;
}

/* Bound, so that nobody else gets it, but nobody listens. */
static int hold_port(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
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
    stop();
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
    int holder = hold_port(&port);
    struct result *r = start("127.0.0.1", port, 300);
    uint64_t before = uv_hrtime();

    (void)state;
    run(r);
    assert_int_equal(r->why, ERR_REFUSED);
    assert_int_equal(r->fd, -1);
    assert_non_null(strstr(r->detail, "refused"));
    assert_true(uv_hrtime() - before >= 250 * (uint64_t)1000000);
    close(holder);
    stop();
}

/* Before the loop looks at the socket, the service has accepted it and reset it again. */
static void reset_straight_after_accept(void **state)
{
    uint16_t port;
    int listener = listen_any(&port);
    struct result *r = start("127.0.0.1", port, 60000);
    struct linger at_once = {.l_onoff = 1};
    int server = accept_one(listener);

    (void)state;
    assert_int_equal(setsockopt(server, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(server);
    run(r);
    assert_int_equal(r->why, ERR_RESET);
    assert_int_equal(r->fd, -1);
    assert_int_equal(stats_get(&net.stats.target_failures), 0);
    close(listener);
    stop();
}

static void an_impatient_one_does_not_wait(void **state)
{
    uint16_t port;
    int holder = hold_port(&port);
    struct target_options options = {.host = "127.0.0.1", .port = port, .timeout_ms = 60000};
    struct result *patient;
    struct result *impatient;

    (void)state;
    open_net();
    patient = start_with(&options);
    turn_for(30);
    options.patience = TARGET_IMPATIENT;
    impatient = start_with(&options);
    run(impatient);
    assert_int_equal(impatient->why, ERR_REFUSED);
    options.host = "no-such-host.invalid";
    impatient = start_with(&options);
    run(impatient);
    assert_int_equal(impatient->why, ERR_RESOLVE);
    assert_non_null(strstr(impatient->detail, "no-such-host.invalid"));
    assert_int_equal(patient->calls, 0);
    target_cancel(patient->target);
    close(holder);
    stop();
}

/* However many wait, one tries at a time, and no sooner than every 10 to 100 ms. */
static void many_wait_with_one_prober(void **state)
{
    uint16_t port;
    int holder = hold_port(&port);
    struct target_options options = {.host = "127.0.0.1", .port = port, .timeout_ms = 10000};
    int listener;

    (void)state;
    open_net();
    (void)start_with(&options);
    turn_for(5);
    assert_int_equal(stats_get(&net.stats.target_failures), 1);
    for (int i = 1; i < MANY; i++)
        (void)start_with(&options);
    turn_for(500);
    assert_int_equal(stats_get(&net.stats.targets_down), 1);
    assert_true(stats_get(&net.stats.target_probes) >= 3);
    /* 10 + 20 + 40 + 80 ms, then every 100: nine in 550 ms. */
    assert_true(stats_get(&net.stats.target_failures) <= 10);
    close(holder);
    listener = listen_on(port);
    for (int i = 0; i < MANY; i++)
        run(&net.results[i]);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(net.results[i].why, ERR_OK);
    assert_int_equal(stats_get(&net.stats.targets_down), 0);
    close(listener);
    stop();
}

static void resumes_the_moment_it_is_back(void **state)
{
    uint16_t port;
    int holder = hold_port(&port);
    struct result *r = start("127.0.0.1", port, 10000);
    uint64_t before;
    int listener;

    (void)state;
    turn_for(400);
    assert_int_equal(r->calls, 0);
    close(holder);
    listener = listen_on(port);
    before = uv_hrtime();
    run(r);
    assert_int_equal(r->why, ERR_OK);
    assert_true(uv_hrtime() - before < 1000 * (uint64_t)1000000);
    close(listener);
    stop();
}

/* The prober gives up or goes: another one takes over. */
static void the_prober_is_replaced(void **state)
{
    uint16_t port;
    int holder = hold_port(&port);
    struct target_options options = {.host = "localhost", .port = port, .timeout_ms = 100};
    struct result *first;
    struct result *second;
    struct result *last;
    int listener;

    (void)state;
    open_net();
    first = start_with(&options);
    options.timeout_ms = 10000;
    second = start_with(&options);
    last = start_with(&options);
    run(first);
    assert_int_equal(first->why, ERR_REFUSED);
    target_cancel(second->target);
    turn_for(100);
    close(holder);
    listener = listen_on(port);
    run(last);
    assert_int_equal(last->why, ERR_OK);
    assert_int_equal(second->calls, 0);
    close(listener);
    stop();
}

/* -- which addresses -- */

static bool allow_none(const struct target_filter *filter, const struct address *a)
{
    (void)filter;
    (void)a;
    return false;
}

static bool allow_v4(const struct target_filter *filter, const struct address *a)
{
    (void)filter;
    return a->sockaddr.ss_family == AF_INET;
}

static void only_allowed_addresses_are_tried(void **state)
{
    const struct target_filter none = {.is_allowed = allow_none};
    const struct target_filter v4 = {.is_allowed = allow_v4};
    uint16_t port;
    int listener = listen_any(&port);
    struct target_options options = {
        .host = "localhost", .port = port, .timeout_ms = 5000, .filter = &none};
    struct result *r;

    (void)state;
    open_net();
    r = start_with(&options);
    run(r);
    assert_int_equal(r->why, ERR_NOT_ALLOWED);
    assert_non_null(strstr(r->detail, "not allowed"));
    options.filter = &v4;
    r = start_with(&options);
    run(r);
    assert_int_equal(r->why, ERR_OK);
    close(listener);
    stop();
}

/* -- Unix sockets -- */

static int listen_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void a_unix_socket(void **state)
{
    char folder[] = "/tmp/utun-target-XXXXXX";
    char path[64];
    char too_long[200];
    struct target_options options = {.path = path, .timeout_ms = 5000};
    struct target *target = NULL;
    struct result *r;
    int listener;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/service", folder);
    open_net();
    r = start_with(&options); /* there is no such file yet */
    turn_for(100);
    assert_int_equal(r->calls, 0);
    listener = listen_unix(path);
    run(r);
    assert_int_equal(r->why, ERR_OK);
    close(listener);
    options.timeout_ms = 100;
    r = start_with(&options); /* a file that nobody listens on */
    run(r);
    assert_int_equal(r->why, ERR_REFUSED);
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = 0;
    options.path = too_long;
    assert_int_equal(target_start(&target, net.places, net.set, &options, &r->owner),
                     ERR_TOO_LARGE);
    unlink(path);
    rmdir(folder);
    stop();
}

static void an_address_that_cannot_be(void **state)
{
    /* A TCP connection to a multicast group fails inside connect(2). */
    struct result *r = start("224.0.0.1", 80, 50);

    (void)state;
    run(r);
    assert_int_equal(r->why, ERR_UNREACHABLE);
    stop();
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
    stop();
}

static void no_such_name(void **state)
{
    struct result *r = start("no-such-host.invalid", 80, 1500);

    (void)state;
    run(r);
    assert_int_equal(r->why, ERR_RESOLVE);
    stop();
}

/* When the time is over, the lookup is what is blamed. */
static void no_answer_to_a_name(void **state)
{
    struct result *r;

    (void)state;
    atomic_store(&is_silent, true);
    r = start("silent.test", 80, 100);
    run(r);
    atomic_store(&is_silent, false);
    assert_int_equal(r->why, ERR_RESOLVE);
    assert_string_equal(r->detail, "silent.test: the name server does not answer (for 100 ms)");
    stop();
}

static void cancelled(const char *host)
{
    uint16_t port;
    int listener = listen_any(&port);
    struct result *r = start(host, port, 5000);

    target_cancel(r->target);
    stop();
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
        cmocka_unit_test(an_address),
        cmocka_unit_test(a_name),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(reset_straight_after_accept),
        cmocka_unit_test(an_impatient_one_does_not_wait),
        cmocka_unit_test(many_wait_with_one_prober),
        cmocka_unit_test(resumes_the_moment_it_is_back),
        cmocka_unit_test(the_prober_is_replaced),
        cmocka_unit_test(only_allowed_addresses_are_tried),
        cmocka_unit_test(a_unix_socket),
        cmocka_unit_test(an_address_that_cannot_be),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(no_such_name),
        cmocka_unit_test(no_answer_to_a_name),
        cmocka_unit_test(a_cancelled_address),
        cmocka_unit_test(a_cancelled_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
