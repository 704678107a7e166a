#include "forwarder.h"

/* Clients of an entry point, through a real session to a real target. */

#define HELLO   "\x05\x01\x00"
#define REQUEST "\x05\x01\x00\x03\x03web\x00\x50"
#define PROXY4                                                                                     \
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\x9c\x40\x01\xbb"

#define SEND(fd, literal) send_all(fd, literal, sizeof(literal) - 1)

static void expect(int fd, const char *data, size_t len)
{
    char got[512];

    assert_true(len <= sizeof(got));
    receive_all(fd, got, len);
    assert_memory_equal(got, data, len);
}

#define EXPECT(fd, literal) expect(fd, literal, sizeof(literal) - 1)

#define CONNECTED "\x05\x00\x00\x01\0\0\0\0\0\0"

static struct forwarder *start(struct forwarder_options options)
{
    options.has_entries = true;
    return forwarder_start(&options);
}

static void asks_and_is_answered(void **state)
{
    struct forwarder *f = start((struct forwarder_options){.refuse = false});
    int client = connect_to(f->port);
    int server;

    (void)state;
    SEND(client, HELLO REQUEST "first words");
    server = accept_one(f->target);
    EXPECT(client, "\x05\x00" CONNECTED);
    EXPECT(server, "first words");
    SEND(server, "answer");
    shutdown(server, SHUT_WR);
    EXPECT(client, "answer");
    expect_end(client, 0);
    SEND(client, "last words");
    close(client);
    EXPECT(server, "last words");
    expect_end(server, 0);
    close(server);
    forwarder_await(f, f->source.n_ends == 1 && f->dest.n_ends == 1);
    assert_int_equal(f->source.ends[0].why, ERR_OK);
    assert_int_equal(f->source.n_entry_ends, 0);
    assert_string_equal(f->dest.asked.name, "web");
    assert_int_equal(f->dest.asked.port, 80);
    assert_int_equal(f->dest.asked.local.port, f->port);
    forwarder_stop(f);
}

static void byte_by_byte(void **state)
{
    static const char request[] = "CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n";
    struct forwarder *f = start((struct forwarder_options){.refuse = false});
    int client = connect_to(f->port);
    int server;

    (void)state;
    for (size_t i = 0; i < sizeof(request) - 1; i++)
        send_all(client, request + i, 1);
    server = accept_one(f->target);
    EXPECT(client, "HTTP/1.1 200 Connection established\r\n\r\n");
    SEND(server, "x");
    EXPECT(client, "x");
    close(client);
    close(server);
    forwarder_await(f, f->source.n_ends == 1);
    forwarder_stop(f);
}

static void refused(enum wire_code code, const char *request, size_t len, const char *reply,
                    size_t reply_len)
{
    struct forwarder *f = start((struct forwarder_options){.refuse = true, .refusal = code});
    int client = connect_to(f->port);

    send_all(client, request, len);
    expect(client, reply, reply_len);
    /* What it sends on does not turn the FIN into a RST before it is read. */
    (void)send(client, "more", 4, MSG_NOSIGNAL);
    if (reply_len < 20)
        expect_end(client, 0);
    forwarder_await(f, f->source.n_ends == 1);
    assert_int_equal(f->source.ends[0].by, PUMP_PEER);
    close(client);
    forwarder_stop(f);
}

static void refusals_of_the_dest(void **state)
{
    static const struct {
        enum wire_code code;
        char reply[13];
    } socks[] = {
        {WIRE_REFUSED, "\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0"},
        {WIRE_UNREACHABLE, "\x05\x00\x05\x03\x00\x01\0\0\0\0\0\0"},
        {WIRE_TIMEOUT, "\x05\x00\x05\x06\x00\x01\0\0\0\0\0\0"},
        {WIRE_RESOLVE, "\x05\x00\x05\x04\x00\x01\0\0\0\0\0\0"},
        {WIRE_NO_SERVICE, "\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0"},
        {WIRE_NOT_ALLOWED, "\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0"},
        {WIRE_LIMIT, "\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0"},
        {WIRE_INTERNAL, "\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0"},
    };
    static const char request[] = "CONNECT web:80 HTTP/1.0\r\n\r\n";

    (void)state;
    for (size_t i = 0; i < sizeof(socks) / sizeof(socks[0]); i++)
        refused(socks[i].code, HELLO REQUEST, sizeof(HELLO REQUEST) - 1, socks[i].reply, 12);
    refused(WIRE_REFUSED, request, sizeof(request) - 1, "HTTP/1.1 502 Bad Gateway\r\n", 26);
    refused(WIRE_NOT_ALLOWED, request, sizeof(request) - 1, "HTTP/1.1 403 Forbidden\r\n", 24);
    refused(WIRE_TIMEOUT, request, sizeof(request) - 1, "HTTP/1.1 504 Gateway Timeout\r\n", 30);
}

static void a_client_that_leaves_while_it_waits(void **state)
{
    struct forwarder *f = start((struct forwarder_options){.is_held = true});
    int client = connect_to(f->port);
    struct linger now = {.l_onoff = 1};

    (void)state;
    SEND(client, HELLO REQUEST);
    EXPECT(client, "\x05\x00");
    await_counter(&worker_stats(f->source.worker)->clients_waiting, 1);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(client);
    forwarder_await(f, f->source.n_entry_ends == 1);
    assert_int_equal(f->source.n_entry_refusals, 0);
    await_counter(&worker_stats(f->source.worker)->clients_waiting, 0);
    /* One that leaves in the middle of its words. */
    client = connect_to(f->port);
    SEND(client, HELLO "\x05");
    close(client);
    forwarder_await(f, f->source.n_entry_ends == 2);
    assert_int_equal(f->source.n_entry_refusals, 0);
    forwarder_stop(f);
}

static void waiting_has_an_end(void **state)
{
    struct forwarder *f =
        start((struct forwarder_options){.is_held = true, .entry_timeout_ms = 100});
    int client = connect_to(f->port);
    int silent = connect_to(f->port);

    (void)state;
    SEND(client, HELLO REQUEST);
    EXPECT(client, "\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0");
    expect_end(client, 0);
    expect_end(silent, ECONNRESET);
    close(client);
    close(silent);
    forwarder_await(f, f->source.n_entry_ends == 2);
    assert_int_equal(f->source.n_entry_refusals, 2);
    assert_int_equal(f->source.entry_refusal, ERR_TIMEOUT);
    forwarder_stop(f);
}

static void what_is_left_at_the_end(void **state)
{
    struct forwarder *f = start((struct forwarder_options){.is_held = true});
    int clients[3] = {connect_to(f->port), connect_to(f->port), connect_to(f->port)};

    (void)state;
    SEND(clients[0], HELLO REQUEST);
    EXPECT(clients[0], "\x05\x00");
    SEND(clients[1], HELLO "\x05");
    EXPECT(clients[1], "\x05\x00");
    SEND(clients[2], "BREW / HTTP/1.0\r\n\r\n");
    EXPECT(clients[2], "HTTP/1.1 501 Not Implemented\r\n");
    await_counter(&worker_stats(f->source.worker)->clients_waiting, 1);
    f->fds_before += 3; /* which are still open then */
    forwarder_stop(f);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
}

static void neither_of_the_two(void **state)
{
    struct forwarder *f = start((struct forwarder_options){.refuse = false});
    int client = connect_to(f->port);

    (void)state;
    SEND(client, "\x16\x03\x01");
    expect_end(client, ECONNRESET);
    close(client);
    forwarder_await(f, f->source.n_entry_ends == 1);
    assert_int_equal(f->source.entry_refusal, ERR_MALFORMED);
    forwarder_stop(f);
}

static void a_balancer_in_front(void **state)
{
    struct forwarder *f = start((struct forwarder_options){.balancer = ENTRY_BALANCED,
                                                           .proxy_protocol = PROXY_PROTOCOL_V1});
    int client = connect_to(f->port);
    int server;

    (void)state;
    SEND(client, PROXY4 HELLO REQUEST "words");
    server = accept_one(f->target);
    EXPECT(client, "\x05\x00" CONNECTED);
    EXPECT(server, "PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\nwords");
    assert_int_equal(f->dest.asked.client.port, 40000);
    assert_int_equal(f->dest.asked.local.port, 443);
    close(client);
    close(server);
    forwarder_await(f, f->source.n_ends == 1);
    /* Without its header it is no client. */
    client = connect_to(f->port);
    SEND(client, HELLO);
    expect_end(client, ECONNRESET);
    close(client);
    forwarder_await(f, f->source.n_entry_ends == 1);
    assert_int_equal(f->source.entry_refusal, ERR_MALFORMED);
    forwarder_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_and_is_answered),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(refusals_of_the_dest),
        cmocka_unit_test(a_client_that_leaves_while_it_waits),
        cmocka_unit_test(waiting_has_an_end),
        cmocka_unit_test(what_is_left_at_the_end),
        cmocka_unit_test(neither_of_the_two),
        cmocka_unit_test(a_balancer_in_front),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
