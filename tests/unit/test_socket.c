#include "forwarder.h"

#include <netinet/tcp.h>

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void expect_congestion_control(int fd, const char *expected)
{
    char name[16] = "";
    socklen_t len = sizeof(name);

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    assert_string_equal(name, expected);
}

static void accepted_is_prepared_like_its_listener(void **state)
{
    struct listener_bind options = {.ip = "127.0.0.1", .count = 1};
    uint16_t port;
    int listener;
    int client;
    int fd;

    (void)state;
    assert_int_equal(listener_bind(&listener, &port, &options, NULL), ERR_OK);
    client = connect_to(port);
    poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, PATIENCE_S * 1000);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_OOBINLINE), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    expect_congestion_control(fd, "reno");
    close(client);
    close(fd);
    close(listener);
}

static int socket_to(const char *ip)
{
    struct address a;
    int fd;

    assert_int_equal(address_parse(&a, ip, 9), ERR_OK);
    assert_int_equal(socket_new(&fd, &a), ERR_OK);
    return fd;
}

/* The system's own way is for paths that leave the machine. */
static void loopback_is_not_paced(void **state)
{
    char system[16] = "";
    socklen_t len = sizeof(system);
    int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int inside = socket_to("127.0.0.1");
    int outside = socket_to("192.0.2.1");

    (void)state;
    assert_int_equal(getsockopt(plain, IPPROTO_TCP, TCP_CONGESTION, system, &len), 0);
    expect_congestion_control(inside, "reno");
    expect_congestion_control(outside, system);
    close(plain);
    close(inside);
    close(outside);
}

static void keepalive_on_and_off(void **state)
{
    int pair[2];

    (void)state;
    tcp_pair(pair);
    socket_set_keepalive(pair[0], 30000);
    assert_int_equal(option(pair[0], SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(pair[0], IPPROTO_TCP, TCP_KEEPIDLE), 30);
    assert_int_equal(option(pair[0], IPPROTO_TCP, TCP_KEEPINTVL), 30);
    socket_set_keepalive(pair[0], 1001);
    assert_int_equal(option(pair[0], IPPROTO_TCP, TCP_KEEPIDLE), 2);
    assert_int_equal(option(pair[0], IPPROTO_TCP, TCP_KEEPINTVL), 2);
    socket_set_keepalive(pair[0], 200);
    assert_int_equal(option(pair[0], IPPROTO_TCP, TCP_KEEPIDLE), 1);
    socket_set_keepalive(pair[0], 0);
    assert_int_equal(option(pair[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    close(pair[0]);
    close(pair[1]);
}

static void reset_is_seen_as_such(void **state)
{
    int pair[2];

    (void)state;
    tcp_pair(pair);
    socket_reset(pair[0]);
    expect_end(pair[1], ECONNRESET);
    close(pair[1]);
}

static void unacked_counts_what_is_on_its_way(void **state)
{
    static uint8_t data[65536];
    int pair[2];
    size_t sent = 0;
    ssize_t n;

    (void)state;
    tcp_pair(pair);
    assert_int_equal(socket_unacked(pair[0]), 0);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    while ((n = send(pair[0], data, sizeof(data), MSG_NOSIGNAL)) > 0)
        sent += (size_t)n;
    assert_true(socket_unacked(pair[0]) > 0);
    assert_true(socket_unacked(pair[0]) <= sent);
    while (socket_unacked(pair[0]) > 0)
        assert_true(recv(pair[1], data, sizeof(data), 0) > 0);
    assert_int_equal(socket_unacked(-1), 0);
    close(pair[0]);
    close(pair[1]);
}

static void discards_up_to_the_end(void **state)
{
    static uint8_t data[1024 * 1024];
    int pair[2];
    int rounds = 0;
    enum socket_left left;

    (void)state;
    tcp_pair(pair);
    assert_int_equal(socket_discard(pair[1]), SOCKET_EMPTY);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    assert_true(send(pair[0], data, sizeof(data), MSG_NOSIGNAL) > 300000);
    assert_int_equal(socket_discard(pair[1]), SOCKET_MORE);
    shutdown(pair[0], SHUT_WR);
    do {
        left = socket_discard(pair[1]);
        poll(NULL, 0, 1);
    } while (left != SOCKET_ENDED && ++rounds < PATIENCE_S * 1000);
    assert_int_equal(left, SOCKET_ENDED);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_is_prepared_like_its_listener),
        cmocka_unit_test(loopback_is_not_paced),
        cmocka_unit_test(keepalive_on_and_off),
        cmocka_unit_test(reset_is_seen_as_such),
        cmocka_unit_test(unacked_counts_what_is_on_its_way),
        cmocka_unit_test(discards_up_to_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
