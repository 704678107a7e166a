#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "net/dialer.h"

/* -- a name server of our own -- */

/* What "scripted.test" resolves to, one row for each time that somebody asks; NULL ends a row. */
static const char *const (*script)[4];
static atomic_int asked;

/* In place of the C library's, which it asks itself for everything but that name. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    struct addrinfo **end = out;
    int result = 0;

    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name == NULL || strcmp(name, "scripted.test") != 0)
        return next(name, service, hints, out);
    *out = NULL;
    const char *const *row = script[atomic_fetch_add(&asked, 1)];
    for (size_t i = 0; result == 0 && i < 4 && row[i] != NULL; i++) {
        result = next(row[i], service, hints, end);
        while (result == 0 && *end != NULL)
            end = &(*end)->ai_next;
    }
    return result;
}

struct dialer_owner {
    int calls;
    int fd;
    enum err error;
    char detail[512];
    struct address address;
};

static void on_done(struct dialer_owner *owner, const struct dialer_outcome *outcome)
{
    owner->calls++;
    owner->fd = outcome->fd;
    owner->error = outcome->error;
    owner->address = outcome->address;
    snprintf(owner->detail, sizeof(owner->detail), "%s", outcome->detail);
}

/* A listener on that address of IPv4 with the given backlog; *port 0: one that is free. */
static int listener_at(const char *ip, int backlog, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(inet_pton(AF_INET, ip, &address.sin_addr), 1);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* On the loopback address, and its port. */
static int listener(int backlog, uint16_t *port)
{
    *port = 0;
    return listener_at("127.0.0.1", backlog, port);
}

static struct dialer_owner dial(const char *host, uint16_t port, uint32_t timeout_ms)
{
    struct dialer_owner owner = {.fd = -2};
    struct dialer_options options = {
        .host = host,
        .port = port,
        .timeout_ms = timeout_ms,
        .on_done = on_done,
        .owner = &owner,
    };
    struct dialer *d;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(dialer_start(&d, &loop, &options), ERR_OK);
    assert_int_equal(owner.calls, 0);
    /* Returns only when every handle is closed. */
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(owner.calls, 1);
    return owner;
}

static void connects_to_an_address(void **state)
{
    (void)state;
    uint16_t port;
    int fd = listener(8, &port);
    struct dialer_owner owner = dial("127.0.0.1", port, 5000);
    struct sockaddr_in *peer = (struct sockaddr_in *)&owner.address.sockaddr;
    int accepted = accept(fd, NULL, NULL);
    char byte = 0;

    assert_int_equal(owner.error, ERR_OK);
    assert_int_equal(ntohs(peer->sin_port), port);
    assert_int_equal(peer->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_true((fcntl(owner.fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(owner.fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(write(owner.fd, "x", 1), 1);
    assert_int_equal(read(accepted, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(accepted);
    close(owner.fd);
    close(fd);
}

static void tries_the_other_family_of_a_name(void **state)
{
    (void)state;
    uint16_t port;
    int fd = listener(8, &port); /* localhost is ::1 first, where nothing listens */
    struct dialer_owner owner = dial("localhost", port, 5000);

    assert_int_equal(owner.error, ERR_OK);
    assert_int_equal(owner.address.sockaddr.ss_family, AF_INET);
    close(owner.fd);
    close(fd);
}

static void assert_reached(const struct dialer_owner *owner, const char *ip)
{
    char text[ADDRESS_TEXT_MAX];

    if (owner->error != ERR_OK)
        fail_msg("%s", owner->detail);
    address_format_ip(&owner->address, text);
    assert_string_equal(text, ip);
}

static void a_name_is_resolved_anew_each_time(void **state)
{
    (void)state;
    static const char *const rows[][4] = {{"127.0.0.2"}, {"127.0.0.3"}, {"127.0.0.2"}};
    static const char *const wanted[] = {"127.0.0.2", "127.0.0.3", "127.0.0.2"};
    uint16_t port = 0;
    int fd = listener_at("0.0.0.0", 8, &port);

    script = rows;
    atomic_store(&asked, 0);
    for (int i = 0; i < 3; i++) {
        struct dialer_owner owner = dial("scripted.test", port, 5000);

        assert_reached(&owner, wanted[i]);
        assert_int_equal(atomic_load(&asked), i + 1);
        close(owner.fd);
    }
    close(fd);
}

static void every_address_of_both_families_is_tried(void **state)
{
    (void)state;
    static const char *const rows[][4] = {{"::1", "127.0.0.2", "127.0.0.3"}, {"::1", "127.0.0.2"}};
    uint16_t port = 0;
    int fd = listener_at("127.0.0.3", 8, &port);

    script = rows;
    atomic_store(&asked, 0);
    struct dialer_owner owner = dial("scripted.test", port, 5000);
    assert_reached(&owner, "127.0.0.3");
    close(owner.fd);
    /* Where none of them answers, all are named. */
    owner = dial("scripted.test", port, 5000);
    assert_int_equal(owner.error, ERR_REFUSED);
    assert_non_null(strstr(owner.detail, "127.0.0.2 port"));
    assert_non_null(strstr(owner.detail, "::1 port"));
    close(fd);
}

static void says_refused_with_address_and_port(void **state)
{
    (void)state;
    uint16_t port;
    char text[32];
    int fd = listener(-1, &port); /* bound, so that nobody else takes it, but not listening */
    struct dialer_owner owner = dial("127.0.0.1", port, 5000);

    snprintf(text, sizeof(text), "127.0.0.1 port %u", port);
    assert_int_equal(owner.fd, -1);
    assert_int_equal(owner.error, ERR_REFUSED);
    assert_non_null(strstr(owner.detail, text));
    assert_non_null(strstr(owner.detail, "refused"));
    close(fd);
}

static void says_that_a_name_does_not_resolve(void **state)
{
    (void)state;
    struct dialer_owner owner = dial("no-such-host.invalid", 1, 5000);

    assert_int_equal(owner.fd, -1);
    /* A machine without a name server may only find out that none answers. */
    assert_true(owner.error == ERR_RESOLVE || owner.error == ERR_TIMEOUT);
    assert_non_null(strstr(owner.detail, "no-such-host.invalid"));
}

/* An address on which connections wait for ever: with its backlog full a listener drops them. */
struct silence {
    int fd;
    int fillers[4];
};

static void silence_begin(struct silence *s, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    s->fd = listener(0, port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(*port);
    for (size_t i = 0; i < 4; i++) {
        s->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(s->fillers[i], (struct sockaddr *)&address, sizeof(address)) != 0)
            assert_int_equal(errno, EINPROGRESS);
    }
}

static void silence_end(struct silence *s)
{
    for (size_t i = 0; i < 4; i++)
        close(s->fillers[i]);
    close(s->fd);
}

static void gives_up_after_the_timeout(void **state)
{
    (void)state;
    struct silence silence;
    uint16_t port;

    silence_begin(&silence, &port);
    struct dialer_owner owner = dial("127.0.0.1", port, 100);
    assert_int_equal(owner.error, ERR_TIMEOUT);
    assert_non_null(strstr(owner.detail, "127.0.0.1"));
    silence_end(&silence);
}

static void an_address_that_is_silent_is_not_waited_for(void **state)
{
    (void)state;
    static const char *const rows[][4] = {{"127.0.0.1", "127.0.0.2"}};
    struct silence silence;
    uint16_t port;

    silence_begin(&silence, &port);
    int fd = listener_at("127.0.0.2", 8, &port);
    script = rows;
    atomic_store(&asked, 0);
    uint64_t started = uv_hrtime();
    struct dialer_owner owner = dial("scripted.test", port, 60000);
    assert_reached(&owner, "127.0.0.2");
    assert_true(uv_hrtime() - started < (uint64_t)30 * 1000 * 1000 * 1000);
    close(owner.fd);
    close(fd);
    silence_end(&silence);
}

static void on_never(struct dialer_owner *owner, const struct dialer_outcome *outcome)
{
    (void)owner;
    (void)outcome;
    fail_msg("called after the cancel");
}

static void cancel_keeps_the_callback_away(void **state)
{
    (void)state;
    uint16_t port;
    int fd = listener(8, &port);
    struct dialer_options options = {
        .host = "127.0.0.1",
        .port = port,
        .timeout_ms = 1000,
        .on_done = on_never,
    };
    struct dialer *d;
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(dialer_start(&d, &loop, &options), ERR_OK);
    dialer_cancel(d);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    close(fd);
}

static struct dialer_owner dial_with(struct dialer_options options)
{
    struct dialer_owner owner = {.fd = -2};
    struct dialer *d;
    uv_loop_t loop;

    options.on_done = on_done;
    options.owner = &owner;
    options.timeout_ms = 5000;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(dialer_start(&d, &loop, &options), ERR_OK);
    assert_int_equal(owner.calls, 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(owner.calls, 1);
    return owner;
}

static void tries_the_addresses_it_is_given(void **state)
{
    (void)state;
    struct address_list addresses = {.count = 2};
    uint16_t closed_port;
    uint16_t port;
    int closed = listener(-1, &closed_port);
    int fd = listener(8, &port);

    assert_int_equal(address_parse(&addresses.items[0], "127.0.0.1", closed_port), ERR_OK);
    assert_int_equal(address_parse(&addresses.items[1], "127.0.0.1", port), ERR_OK);
    struct dialer_owner owner =
        dial_with((struct dialer_options){.host = "", .port = port, .addresses = &addresses});
    assert_int_equal(owner.error, ERR_OK);
    assert_int_equal(address_port(&owner.address), port);
    close(owner.fd);
    close(fd);
    close(closed);
}

static void leaves_out_what_has_failed(void **state)
{
    (void)state;
    struct address_list skip = {.count = 1};
    uint16_t port;
    int fd = listener(8, &port);

    assert_int_equal(address_parse(&skip.items[0], "127.0.0.1", port), ERR_OK);
    struct dialer_owner owner =
        dial_with((struct dialer_options){.host = "127.0.0.1", .port = port, .skip = &skip});
    assert_int_equal(owner.error, ERR_NOT_FOUND);
    assert_int_equal(owner.fd, -1);
    /* Another port is another address. */
    assert_int_equal(address_parse(&skip.items[0], "127.0.0.1", 1), ERR_OK);
    owner = dial_with((struct dialer_options){.host = "127.0.0.1", .port = port, .skip = &skip});
    assert_int_equal(owner.error, ERR_OK);
    close(owner.fd);
    close(fd);
}

static void stays_where_the_name_still_has_it(void **state)
{
    (void)state;
    static const char *const rows[][4] = {
        {"127.0.0.2", "127.0.0.3"}, {"127.0.0.2", "127.0.0.3"}, {"127.0.0.2"}};
    struct address_list skip = {.count = 1};
    struct address stay;
    uint16_t port = 0;
    int fd = listener_at("0.0.0.0", 8, &port);
    struct dialer_options options = {.host = "scripted.test", .port = port, .stay = &stay};

    script = rows;
    atomic_store(&asked, 0);
    assert_int_equal(address_parse(&stay, "127.0.0.3", port), ERR_OK);
    struct dialer_owner owner = dial_with(options);
    assert_reached(&owner, "127.0.0.3");
    close(owner.fd);
    /* Where that has failed, it stays nowhere else. */
    skip.items[0] = stay;
    options.skip = &skip;
    assert_int_equal(dial_with(options).error, ERR_NOT_FOUND);
    options.skip = NULL;
    owner = dial_with(options);
    assert_reached(&owner, "127.0.0.2");
    close(owner.fd);
    close(fd);
}

static void a_name_that_is_too_long_is_refused_at_once(void **state)
{
    (void)state;
    char host[2000];
    struct dialer_options options = {.host = host, .port = 1, .on_done = on_never};
    struct dialer *d;
    uv_loop_t loop;

    memset(host, 'a', sizeof(host) - 1);
    host[sizeof(host) - 1] = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(dialer_start(&d, &loop, &options), ERR_TOO_LARGE);
    assert_null(d);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connects_to_an_address),
        cmocka_unit_test(tries_the_other_family_of_a_name),
        cmocka_unit_test(a_name_is_resolved_anew_each_time),
        cmocka_unit_test(every_address_of_both_families_is_tried),
        cmocka_unit_test(an_address_that_is_silent_is_not_waited_for),
        cmocka_unit_test(says_refused_with_address_and_port),
        cmocka_unit_test(says_that_a_name_does_not_resolve),
        cmocka_unit_test(gives_up_after_the_timeout),
        cmocka_unit_test(cancel_keeps_the_callback_away),
        cmocka_unit_test(tries_the_addresses_it_is_given),
        cmocka_unit_test(leaves_out_what_has_failed),
        cmocka_unit_test(stays_where_the_name_still_has_it),
        cmocka_unit_test(a_name_that_is_too_long_is_refused_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
