/* Batches of datagrams through real sockets of loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/listener.h"
#include "net/udp_io.h"

#define PATIENCE_MS 10000

static struct udp_io *io;
static struct flow_stats stats;
static struct flow_stats total;

static int set_up(void **state)
{
    (void)state;
    memset(&stats, 0, sizeof(stats));
    memset(&total, 0, sizeof(total));
    return udp_io_new(&io) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    udp_io_free(io);
    return 0;
}

/* A bound port as the source has it, and its address. */
static int open_port(const char *ip, struct address *own)
{
    const struct listener_bind options = {.kind = LISTENER_UDP, .ip = ip, .count = 1};
    uint16_t port;
    int fd;

    assert_int_equal(listener_bind(&fd, &port, &options, NULL), ERR_OK);
    assert_int_equal(address_parse(own, strcmp(ip, "0.0.0.0") == 0 ? "127.0.0.1" : ip, port),
                     ERR_OK);
    return fd;
}

static void send_to(int fd, const struct address *to, const void *data, size_t len)
{
    assert_int_equal(sendto(fd, data, len, 0, (const struct sockaddr *)&to->sockaddr, to->len),
                     len);
}

static size_t receive(int fd, const struct udp_packet **packets)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    size_t n;

    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    assert_int_equal(udp_io_receive(io, fd, packets, &n), ERR_OK);
    return n;
}

static void queue(int fd, const struct address *to, const struct address *from, const void *data,
                  size_t len)
{
    const struct udp_send send = {.fd = fd,
                                  .to = to,
                                  .from = from,
                                  .data = data,
                                  .len = len,
                                  .stats = &stats,
                                  .total = &total};

    udp_io_send(io, &send);
}

static void batches_keep_each_datagram(void **state)
{
    (void)state;
    const struct udp_packet *packets;
    struct address a;
    struct address b;
    int in = open_port("127.0.0.1", &a);
    int out = open_port("127.0.0.1", &b);
    uint8_t data[3 * UDP_BATCH];
    size_t n;
    size_t got = 0;

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)i;
        queue(out, &a, NULL, &data[i], 1);
    }
    udp_io_flush(io);
    assert_int_equal(stats_get(&stats.datagrams_to_local), sizeof(data));
    assert_int_equal(stats_get(&total.datagram_bytes_to_local), sizeof(data));
    while (got < sizeof(data)) {
        n = receive(in, &packets);
        assert_true(n > 0 && n <= UDP_BATCH);
        for (size_t i = 0; i < n; i++, got++) {
            assert_int_equal(packets[i].len, 1);
            assert_int_equal(packets[i].data[0], got);
            assert_int_equal(address_port(&packets[i].from), address_port(&b));
        }
    }
    assert_int_equal(udp_io_receive(io, in, &packets, &n), ERR_OK);
    assert_int_equal(n, 0);
    close(in);
    close(out);
}

static void sizes(void **state)
{
    (void)state;
    static uint8_t data[65508];
    static const size_t lens[] = {0, 1, 1472, 9000, 65507};
    const struct udp_packet *packets;
    struct address a;
    struct address b;
    int in = open_port("127.0.0.1", &a);
    int out = open_port("127.0.0.1", &b);

    memset(data, 'u', sizeof(data));
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        queue(out, &a, NULL, data, lens[i]);
        udp_io_flush(io);
        assert_int_equal(receive(in, &packets), 1);
        assert_int_equal(packets[0].len, lens[i]);
        assert_memory_equal(packets[0].data, data, lens[i]);
    }
    /* One that no socket takes is dropped, and those behind it are not. */
    queue(out, &a, NULL, data, 65508);
    queue(out, &a, NULL, "next", 4);
    udp_io_flush(io);
    assert_int_equal(receive(in, &packets), 1);
    assert_memory_equal(packets[0].data, "next", 4);
    assert_int_equal(stats_get(&stats.dropped_too_large), 1);
    assert_int_equal(stats_get(&total.dropped_too_large), 1);
    close(in);
    close(out);
}

/* A port on every address says where a datagram was sent to, and answers from there. */
static void answers_from_the_address_that_was_asked(void **state)
{
    (void)state;
    static const char *const wildcards[] = {"0.0.0.0", "::"};

    for (size_t i = 0; i < 2; i++) {
        const struct udp_packet *packets;
        struct address unused;
        struct address own;
        struct address asked;
        struct address client_address;
        struct sockaddr_storage answer;
        socklen_t len = sizeof(answer);
        char text[ADDRESS_TEXT_MAX];
        char byte;
        int server = open_port(wildcards[i], &unused);
        int client = open_port("127.0.0.1", &client_address);

        address_of_socket(&own, server);
        assert_int_equal(address_parse(&asked, "127.0.0.9", address_port(&own)), ERR_OK);
        send_to(client, &asked, "?", 1);
        assert_int_equal(receive(server, &packets), 1);
        address_format_ip(&packets[0].to, text);
        assert_string_equal(text, "127.0.0.9");
        queue(server, &packets[0].from, &packets[0].to, "!", 1);
        udp_io_flush(io);
        assert_int_equal(poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, PATIENCE_MS), 1);
        assert_int_equal(recvfrom(client, &byte, 1, 0, (struct sockaddr *)&answer, &len), 1);
        address_from_sockaddr(&own, (struct sockaddr *)&answer, len);
        address_format_ip(&own, text);
        assert_string_equal(text, "127.0.0.9");
        close(server);
        close(client);
    }
}

/* What was sent to all is answered from one address, which is the machine's own. */
static void a_broadcast_is_answered(void **state)
{
    (void)state;
    static const char *const wildcards[] = {"0.0.0.0", "::"};
    const int yes = 1;

    for (size_t i = 0; i < 2; i++) {
        const struct udp_packet *packets;
        struct address unused;
        struct address own;
        struct address everybody;
        char text[ADDRESS_TEXT_MAX];
        char byte;
        int server = open_port(wildcards[i], &unused);
        int client = open_port("127.0.0.1", &unused);

        assert_int_equal(setsockopt(client, SOL_SOCKET, SO_BROADCAST, &yes, sizeof(yes)), 0);
        address_of_socket(&own, server);
        assert_int_equal(address_parse(&everybody, "127.255.255.255", address_port(&own)), ERR_OK);
        send_to(client, &everybody, "?", 1);
        assert_int_equal(receive(server, &packets), 1);
        address_format_ip(&packets[0].to, text);
        assert_string_equal(text, "127.0.0.1");
        queue(server, &packets[0].from, &packets[0].to, "!", 1);
        udp_io_flush(io);
        assert_int_equal(stats_get(&stats.dropped_socket), 0);
        assert_int_equal(poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, PATIENCE_MS), 1);
        assert_int_equal(recv(client, &byte, 1, 0), 1);
        close(server);
        close(client);
    }
}

/* All nodes of a link that this machine has; false where it has none. */
static bool find_group(struct address *group, uint16_t port)
{
    struct ifaddrs *all;
    bool is_found = false;
    char text[IF_NAMESIZE + 16];

    assert_int_equal(getifaddrs(&all), 0);
    for (const struct ifaddrs *i = all; i != NULL && !is_found; i = i->ifa_next) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)i->ifa_addr;

        if (in6 == NULL || in6->sin6_family != AF_INET6 ||
            !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) || (i->ifa_flags & IFF_MULTICAST) == 0 ||
            (i->ifa_flags & IFF_RUNNING) == 0)
            continue;
        snprintf(text, sizeof(text), "ff02::1%%%s", i->ifa_name);
        is_found = address_parse(group, text, port) == ERR_OK;
    }
    freeifaddrs(all);
    return is_found;
}

/* Nothing can be sent from the group that was asked: the kernel chooses. */
static void a_group_is_answered(void **state)
{
    (void)state;
    const struct udp_packet *packets;
    struct address unused;
    struct address own;
    struct address group;
    char byte;
    int server = open_port("::", &unused);
    int client = open_port("::", &unused);
    struct pollfd ready = {.fd = server, .events = POLLIN};
    bool is_here = false;

    address_of_socket(&own, server);
    if (find_group(&group, address_port(&own))) {
        send_to(client, &group, "?", 1);
        is_here = poll(&ready, 1, 1000) == 1; /* or a firewall is in the way */
    }
    if (is_here) {
        assert_int_equal(receive(server, &packets), 1);
        assert_true(address_is_none(&packets[0].to));
        queue(server, &packets[0].from, &packets[0].to, "!", 1);
        udp_io_flush(io);
        assert_int_equal(stats_get(&stats.dropped_socket), 0);
        ready.fd = client;
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
        assert_int_equal(recv(client, &byte, 1, 0), 1);
    }
    close(server);
    close(client);
    if (!is_here)
        skip();
}

static void nobody_there_is_counted(void **state)
{
    (void)state;
    const struct udp_packet *packets;
    struct address gone;
    struct address own;
    int other = open_port("127.0.0.1", &gone);
    int fd = open_port("127.0.0.1", &own);
    size_t n;

    close(other);
    assert_int_equal(connect(fd, (const struct sockaddr *)&gone.sockaddr, gone.len), 0);
    queue(fd, NULL, NULL, "a", 1);
    udp_io_flush(io);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, PATIENCE_MS), 1);
    /* The next one meets the error of the first, and goes out all the same. */
    queue(fd, NULL, NULL, "b", 1);
    udp_io_flush(io);
    assert_int_equal(stats_get(&stats.dropped_target_refused), 1);
    assert_int_equal(stats_get(&stats.datagrams_to_local), 2);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, PATIENCE_MS), 1);
    assert_int_equal(udp_io_receive(io, fd, &packets, &n), ERR_REFUSED);
    assert_int_equal(n, 0);
    assert_int_equal(udp_io_receive(io, fd, &packets, &n), ERR_OK);
    close(fd);
}

static void ports_are_shared_by_workers_only(void **state)
{
    (void)state;
    struct listener_bind options = {.kind = LISTENER_UDP, .ip = "127.0.0.1", .count = 3};
    struct err_detail detail;
    uint16_t port;
    uint16_t other;
    int fds[3];
    int more[1];

    assert_int_equal(listener_bind(fds, &port, &options, NULL), ERR_OK);
    options.port = port;
    options.count = 1;
    assert_int_equal(listener_bind(more, &other, &options, &detail), ERR_ADDR_IN_USE);
    assert_non_null(strstr(detail.text, "in use"));
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void freeing_none(void **state)
{
    (void)state;
    udp_io_free(NULL);
    udp_io_flush(io); /* nothing is queued */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(batches_keep_each_datagram, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_from_the_address_that_was_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broadcast_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_there_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ports_are_shared_by_workers_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(freeing_none, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("udp_io", tests, NULL, NULL);
}
