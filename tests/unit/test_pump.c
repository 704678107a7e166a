#include "forwarder.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

/* -- data -- */

struct sender {
    int fd;
    const uint8_t *data;
    size_t len;
    pthread_t thread;
};

static void *send_thread(void *argument)
{
    struct sender *s = argument;
    size_t sent = 0;

    while (sent < s->len) {
        ssize_t n = TEMP_FAILURE_RETRY(send(s->fd, s->data + sent, s->len - sent, MSG_NOSIGNAL));

        if (n <= 0)
            return NULL;
        sent += (size_t)n;
    }
    shutdown(s->fd, SHUT_WR);
    return NULL;
}

static void send_in_background(struct sender *s, int fd, const uint8_t *data, size_t len)
{
    *s = (struct sender){.fd = fd, .data = data, .len = len};
    assert_int_equal(pthread_create(&s->thread, NULL, send_thread, s), 0);
}

static void expect_bytes_and_fin(int fd, const uint8_t *data, size_t len)
{
    uint8_t *got = malloc(len);

    assert_non_null(got);
    receive_all(fd, got, len);
    assert_memory_equal(got, data, len);
    free(got);
    expect_end(fd, 0);
}

static void carries_bulk_both_ways(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    uint8_t *up = malloc(16 * MIB);
    uint8_t *down = malloc(16 * MIB);
    struct sender senders[2];
    int client;
    int server;

    (void)state;
    assert_non_null(up);
    assert_non_null(down);
    fill_pattern(up, 16 * MIB, 1);
    fill_pattern(down, 16 * MIB, 2);
    forwarder_connect(f, &client, &server);
    send_in_background(&senders[0], client, up, 16 * MIB);
    /* One after the other: each must wait in the tunnel until it is read. */
    send_in_background(&senders[1], server, down, 16 * MIB);
    expect_bytes_and_fin(server, up, 16 * MIB);
    expect_bytes_and_fin(client, down, 16 * MIB);
    pthread_join(senders[0].thread, NULL);
    pthread_join(senders[1].thread, NULL);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_OK);
    assert_int_equal(f->dest.ends[0].why, ERR_OK);
    assert_int_equal(f->source.ends[0].bytes_from_local, 16 * MIB);
    assert_int_equal(f->source.ends[0].bytes_to_local, 16 * MIB);
    assert_int_equal(f->dest.ends[0].bytes_from_local, 16 * MIB);
    close(client);
    close(server);
    free(up);
    free(down);
    forwarder_stop(f);
}

static void reports_whose_connection_it_was(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    struct address local;
    int client;
    int server;

    (void)state;
    forwarder_connect(f, &client, &server);
    address_of_socket(&local, client);
    close(client);
    close(server);
    forwarder_await(f, f->dest.n_ends == 1 && f->source.n_ends == 1);
    assert_int_equal(f->dest.ends[0].port, SERVICE_PORT);
    assert_int_equal(f->dest.ends[0].client.address_len, 4);
    assert_int_equal(f->dest.ends[0].client.port, address_port(&local));
    assert_int_equal(f->source.ends[0].client.port, address_port(&local));
    forwarder_stop(f);
}

static void a_target_may_be_a_name(void **state)
{
    struct forwarder_options options = {.target_host = "localhost"};
    struct forwarder *f = forwarder_start(&options);
    char text[5] = "";
    int client;
    int server;

    (void)state;
    client = connect_to(f->port);
    send_all(client, "hello", 5);
    server = accept_one(f->target);
    receive_all(server, text, 5);
    assert_memory_equal(text, "hello", 5);
    close(client);
    close(server);
    forwarder_stop(f);
}

static void many_connections_at_once(void **state)
{
    enum { COUNT = 300 };
    struct forwarder *f = forwarder_start(NULL);
    static int clients[COUNT];
    static int servers[COUNT];

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        uint32_t number = (uint32_t)i;

        clients[i] = connect_to(f->port);
        send_all(clients[i], &number, sizeof(number));
    }
    for (int i = 0; i < COUNT; i++) {
        uint32_t number;

        servers[i] = accept_one(f->target);
        receive_all(servers[i], &number, sizeof(number));
        send_all(servers[i], &number, sizeof(number));
        close(servers[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        uint32_t number = 0;

        receive_all(clients[i], &number, sizeof(number));
        assert_int_equal(number, (uint32_t)i);
        expect_end(clients[i], 0);
        close(clients[i]);
    }
    forwarder_await(f, f->source.n_ends == COUNT && f->dest.n_ends == COUNT);
    forwarder_stop(f);
}

/* -- FIN -- */

static void half_closed(bool client_first)
{
    struct forwarder *f = forwarder_start(NULL);
    static uint8_t data[MIB];
    struct sender sender;
    int client;
    int server;
    int a;
    int b;

    fill_pattern(data, sizeof(data), 3);
    forwarder_connect(f, &client, &server);
    a = client_first ? client : server;
    b = client_first ? server : client;
    shutdown(a, SHUT_WR);
    expect_end(b, 0);
    send_in_background(&sender, b, data, sizeof(data));
    expect_bytes_and_fin(a, data, sizeof(data));
    pthread_join(sender.thread, NULL);
    close(a);
    close(b);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_OK);
    assert_int_equal(f->dest.ends[0].why, ERR_OK);
    forwarder_stop(f);
}

static void client_fin_without_data(void **state)
{
    (void)state;
    half_closed(true);
}

static void server_fin_without_data(void **state)
{
    (void)state;
    half_closed(false);
}

static void idle_half_closed_is_reset(void **state)
{
    struct forwarder_options options = {.half_close_idle_timeout_ms = 200};
    struct forwarder *f = forwarder_start(&options);
    int client;
    int server;

    (void)state;
    forwarder_connect(f, &client, &server);
    shutdown(client, SHUT_WR);
    expect_end(server, 0);
    expect_end(client, ECONNRESET);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_TIMEOUT);
    assert_int_equal(f->dest.ends[0].why, ERR_TIMEOUT);
    close(client);
    close(server);
    forwarder_stop(f);
}

static void busy_half_closed_is_not_reset(void **state)
{
    struct forwarder_options options = {.half_close_idle_timeout_ms = 400};
    struct forwarder *f = forwarder_start(&options);
    int client;
    int server;
    char byte;

    (void)state;
    forwarder_connect(f, &client, &server);
    shutdown(client, SHUT_WR);
    expect_end(server, 0);
    for (int i = 0; i < 10; i++) {
        poll(NULL, 0, 100);
        send_all(server, "x", 1);
        receive_all(client, &byte, 1);
    }
    close(server);
    expect_end(client, 0);
    close(client);
    forwarder_await(f, f->source.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_OK);
    forwarder_stop(f);
}

static void open_and_idle_is_not_reset(void **state)
{
    struct forwarder_options options = {.half_close_idle_timeout_ms = 100};
    struct forwarder *f = forwarder_start(&options);
    int client;
    int server;
    char byte;

    (void)state;
    forwarder_connect(f, &client, &server);
    poll(NULL, 0, 500);
    send_all(client, "x", 1);
    receive_all(server, &byte, 1);
    close(client);
    close(server);
    forwarder_stop(f);
}

/* -- RST -- */

static void reset_of(bool client_resets)
{
    struct forwarder *f = forwarder_start(NULL);
    static uint8_t data[64 * KIB];
    uint64_t len;
    int client;
    int server;
    int a;
    int b;

    fill_pattern(data, sizeof(data), 4);
    forwarder_connect(f, &client, &server);
    a = client_resets ? client : server;
    b = client_resets ? server : client;
    send_all(a, data, sizeof(data));
    /* The forwarder has read it, so the RST cannot overtake it in the kernel. */
    await_counter(
        &worker_stats(client_resets ? f->source.worker : f->dest.worker)->bytes_from_local,
        sizeof(data));
    socket_reset(a);
    assert_int_equal(receive_to_end(b, &len), ECONNRESET);
    assert_int_equal(len, sizeof(data));
    close(b);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_RESET);
    assert_int_equal(f->dest.ends[0].why, ERR_RESET);
    assert_int_equal(f->source.ends[0].by, client_resets ? PUMP_LOCAL : PUMP_PEER);
    assert_int_equal(f->dest.ends[0].by, client_resets ? PUMP_PEER : PUMP_LOCAL);
    forwarder_stop(f);
}

static void client_reset_behind_data(void **state)
{
    (void)state;
    reset_of(true);
}

static void server_reset_behind_data(void **state)
{
    (void)state;
    reset_of(false);
}

static void reset_behind_fin_loses_nothing(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    static uint8_t data[MIB];
    struct sender sender;
    int client;
    int server;
    int error = 0;

    (void)state;
    fill_pattern(data, sizeof(data), 5);
    forwarder_connect(f, &client, &server);
    /* Unread data at the client turns its close() into a RST, behind the FIN. */
    send_all(server, "unread", 6);
    assert_int_equal(TEMP_FAILURE_RETRY(recv(client, data, 1, MSG_PEEK)), 1);
    fill_pattern(data, sizeof(data), 5);
    send_in_background(&sender, client, data, sizeof(data));
    pthread_join(sender.thread, NULL);
    while (socket_unacked(client) > 0)
        poll(NULL, 0, 1);
    close(client);
    expect_bytes_and_fin(server, data, sizeof(data));
    for (int i = 0; i < 1000 && error == 0; i++) {
        error = TEMP_FAILURE_RETRY(send(server, "x", 1, MSG_NOSIGNAL)) < 0 ? errno : 0;
        poll(NULL, 0, 5);
    }
    assert_true(error == EPIPE || error == ECONNRESET);
    close(server);
    forwarder_stop(f);
}

static void reset_reaches_a_side_that_only_writes(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    static uint8_t data[8 * MIB];
    struct sender sender;
    int client;
    int server;
    char byte;

    (void)state;
    forwarder_connect(f, &client, &server);
    send_in_background(&sender, server, data, sizeof(data));
    receive_all(client, &byte, 1);
    socket_reset(client);
    /* Ends because its send() fails, long before its patience does. */
    pthread_join(sender.thread, NULL);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(f->dest.ends[0].why, ERR_RESET);
    close(server);
    forwarder_stop(f);
}

static void data_before_a_reset_is_not_kept_for_ever(void **state)
{
    struct forwarder_options options = {.reset_drain_timeout_ms = 300, .window_max = 64 * KIB};
    struct forwarder *f = forwarder_start(&options);
    static uint8_t data[64 * MIB];
    int small = 4096;
    uint64_t len;
    int client;
    int server;
    ssize_t n;
    size_t sent = 0;

    (void)state;
    forwarder_connect(f, &client, &server);
    setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    /* The client reads nothing: everything between the two fills up. */
    fcntl(server, F_SETFL, O_NONBLOCK);
    for (int idle = 0; idle < 20 && sent < sizeof(data);) {
        n = TEMP_FAILURE_RETRY(send(server, data, MIB, MSG_NOSIGNAL));
        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? (size_t)n : 0;
        if (n < 0)
            poll(NULL, 0, 10);
    }
    socket_reset(server);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(receive_to_end(client, &len), ECONNRESET);
    assert_true(len < sent);
    close(client);
    forwarder_stop(f);
}

static void reset_before_the_target_answers(void **state)
{
    struct forwarder *f = forwarder_start(NULL);

    (void)state;
    for (int i = 0; i < 100; i++)
        socket_reset(connect_to(f->port));
    forwarder_await(f, f->source.n_ends == 100);
    forwarder_await(f, f->dest.n_ends == stats_get(&worker_stats(f->dest.worker)->streams_opened));
    forwarder_stop(f);
}

static void urgent_bytes_stay_in_place(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    char text[8];
    int client;
    int server;

    (void)state;
    forwarder_connect(f, &client, &server);
    send_all(client, "abc", 3);
    assert_int_equal(TEMP_FAILURE_RETRY(send(client, "d", 1, MSG_OOB)), 1);
    send_all(client, "efg", 3);
    shutdown(client, SHUT_WR);
    receive_all(server, text, 7);
    assert_memory_equal(text, "abcdefg", 7);
    expect_end(server, 0);
    close(client);
    close(server);
    forwarder_stop(f);
}

/* -- connections that are not made -- */

static void refused_by_the_target(void **state)
{
    struct forwarder *f = forwarder_start(NULL);
    int client;

    (void)state;
    close(f->target);
    f->target = open("/dev/null", O_RDONLY | O_CLOEXEC);
    client = connect_to(f->port);
    expect_end(client, ECONNRESET);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_REFUSED);
    assert_int_equal(f->source.ends[0].by, PUMP_PEER);
    assert_int_equal(f->dest.ends[0].why, ERR_REFUSED);
    assert_int_equal(f->dest.ends[0].by, PUMP_LOCAL);
    close(client);
    forwarder_stop(f);
}

static void unknown_service(void **state)
{
    struct forwarder_options options = {.refuse = true};
    struct forwarder *f = forwarder_start(&options);
    int client = connect_to(f->port);

    (void)state;
    expect_end(client, ECONNRESET);
    forwarder_await(f, f->source.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_NO_SERVICE);
    close(client);
    forwarder_stop(f);
}

static void over_the_limit(void **state)
{
    struct forwarder_options options = {.max_streams = 1};
    struct forwarder *f = forwarder_start(&options);
    int client;
    int server;
    int another;

    (void)state;
    forwarder_connect(f, &client, &server);
    another = connect_to(f->port);
    expect_end(another, ECONNRESET);
    forwarder_await(f, f->source.accept_error == ERR_LIMIT);
    /* The first is not disturbed. */
    close(client);
    expect_end(server, 0);
    close(server);
    close(another);
    forwarder_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_bulk_both_ways),
        cmocka_unit_test(reports_whose_connection_it_was),
        cmocka_unit_test(a_target_may_be_a_name),
        cmocka_unit_test(many_connections_at_once),
        cmocka_unit_test(client_fin_without_data),
        cmocka_unit_test(server_fin_without_data),
        cmocka_unit_test(idle_half_closed_is_reset),
        cmocka_unit_test(busy_half_closed_is_not_reset),
        cmocka_unit_test(open_and_idle_is_not_reset),
        cmocka_unit_test(client_reset_behind_data),
        cmocka_unit_test(server_reset_behind_data),
        cmocka_unit_test(reset_behind_fin_loses_nothing),
        cmocka_unit_test(reset_reaches_a_side_that_only_writes),
        cmocka_unit_test(data_before_a_reset_is_not_kept_for_ever),
        cmocka_unit_test(reset_before_the_target_answers),
        cmocka_unit_test(urgent_bytes_stay_in_place),
        cmocka_unit_test(refused_by_the_target),
        cmocka_unit_test(unknown_service),
        cmocka_unit_test(over_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
