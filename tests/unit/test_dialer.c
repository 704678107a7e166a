#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "net/dialer.h"

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

/* A listener on the loopback address of IPv4 with the given backlog, and its port. */
static int listener(int backlog, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
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

static void gives_up_after_the_timeout(void **state)
{
    (void)state;
    uint16_t port;
    int fd = listener(0, &port);
    int fillers[4];
    struct sockaddr_in address = {.sin_family = AF_INET};

    /* With its backlog full a listener drops new connections, so that they wait. */
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    for (size_t i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fillers[i], (struct sockaddr *)&address, sizeof(address)) != 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    struct dialer_owner owner = dial("127.0.0.1", port, 100);

    assert_int_equal(owner.error, ERR_TIMEOUT);
    assert_non_null(strstr(owner.detail, "127.0.0.1"));
    for (size_t i = 0; i < 4; i++)
        close(fillers[i]);
    close(fd);
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
        cmocka_unit_test(says_refused_with_address_and_port),
        cmocka_unit_test(says_that_a_name_does_not_resolve),
        cmocka_unit_test(gives_up_after_the_timeout),
        cmocka_unit_test(cancel_keeps_the_callback_away),
        cmocka_unit_test(a_name_that_is_too_long_is_refused_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
