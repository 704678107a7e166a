/* Flows from a client's socket to the target's and back: udp_port, flow_owner and udp_target. */
#include "forwarder.h"

#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>

#include "net/names.h"

/* -- a name server of our own -- */

static atomic_int lookups;
static atomic_bool is_dumb;

/* The C library's, counted; late.test is 127.0.0.1, once it is not dumb any more. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    atomic_fetch_add(&lookups, 1);
    if (strcmp(name, "late.test") != 0)
        return next(name, service, hints, out);
    while (atomic_load(&is_dumb))
        poll(NULL, 0, 1);
    return next("127.0.0.1", service, hints, out);
}

/* One datagram from client to target and one back; the flow's address at the dest. */
static struct sockaddr_in converse(struct forwarder *f, int client, const char *text)
{
    struct sockaddr_in flow;
    socklen_t len = sizeof(flow);
    char got[64];
    size_t n = strlen(text);

    assert_int_equal(send(client, text, n, 0), n);
    assert_int_equal(TEMP_FAILURE_RETRY(recvfrom(f->udp_target, got, sizeof(got), 0,
                                                 (struct sockaddr *)&flow, &len)),
                     n);
    assert_memory_equal(got, text, n);
    assert_int_equal(sendto(f->udp_target, text, n, 0, (struct sockaddr *)&flow, len), n);
    assert_int_equal(TEMP_FAILURE_RETRY(recv(client, got, sizeof(got), 0)), n);
    assert_memory_equal(got, text, n);
    return flow;
}

static bool is_silent(int fd)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 50) == 0;
}

static void there_and_back(void **state)
{
    (void)state;
    struct forwarder *f = forwarder_start(NULL);
    int a = udp_connect_to(f->udp_port);
    int b = udp_connect_to(f->udp_port);
    struct sockaddr_in of_a = converse(f, a, "first of a");
    struct sockaddr_in of_b = converse(f, b, "first of b");
    struct sockaddr_in again = converse(f, a, "second of a");

    assert_int_equal(of_a.sin_port, again.sin_port); /* one flow, one socket */
    assert_int_not_equal(of_a.sin_port, of_b.sin_port);
    assert_true(is_silent(a) && is_silent(b));
    assert_int_equal(stats_get(&f->source.flow_stats.flows_active), 2);
    assert_int_equal(stats_get(&f->source.flow_stats.datagrams_from_local), 3);
    await_counter(&f->source.flow_stats.datagrams_to_local, 3);
    assert_int_equal(stats_get(&f->dest.flow_stats.datagrams_to_local), 3);
    assert_int_equal(stats_get(&worker_stats(f->dest.worker)->flows.datagram_bytes_to_local), 31);
    close(a);
    close(b);
    forwarder_stop(f);
}

static void only_the_target_answers(void **state)
{
    (void)state;
    struct forwarder *f = forwarder_start(NULL);
    int client = udp_connect_to(f->udp_port);
    struct sockaddr_in flow = converse(f, client, "hello");
    uint16_t port;
    int stranger = udp_any(&port);

    assert_int_equal(sendto(stranger, "evil", 4, 0, (struct sockaddr *)&flow, sizeof(flow)), 4);
    assert_true(is_silent(client));
    (void)converse(f, client, "still there");
    close(stranger);
    close(client);
    forwarder_stop(f);
}

static void idle_flows_end_at_both_sides(void **state)
{
    (void)state;
    struct forwarder_options options = {.flow_idle_timeout_ms = 200};
    struct forwarder *f = forwarder_start(&options);
    int client = udp_connect_to(f->udp_port);

    (void)converse(f, client, "hello");
    forwarder_await(f, f->source.n_flow_ends == 1 && f->dest.n_flow_ends == 1);
    assert_int_equal(f->source.flow_end.why, ERR_TIMEOUT);
    assert_int_equal(f->dest.flow_end.why, ERR_TIMEOUT);
    assert_int_equal(f->dest.flow_end.port, SERVICE_PORT);
    assert_int_equal(f->dest.flow_end.client.address_len, 4);
    assert_int_equal(f->dest.flow_end.datagrams_to_local, 1);
    assert_int_equal(f->source.flow_end.bytes_from_local, 5);
    /* The loop's clock may be late by a turn when the flow's last datagram is noted. */
    assert_true(f->source.flow_end.duration_us >= 100 * 1000);
    assert_int_equal(stats_get(&f->source.flow_stats.flows_active), 0);
    (void)converse(f, client, "a new one");
    assert_int_equal(stats_get(&f->source.flow_stats.flows_opened), 2);
    close(client);
    forwarder_stop(f);
}

static void refused_by_the_dest(void **state)
{
    (void)state;
    struct forwarder_options options = {.refuse = true};
    struct forwarder *f = forwarder_start(&options);
    int client = udp_connect_to(f->udp_port);

    assert_int_equal(send(client, "?", 1, 0), 1);
    forwarder_await(f, f->source.n_flow_ends == 1);
    assert_int_equal(f->source.flow_end.why, ERR_NO_SERVICE);
    close(client);
    forwarder_stop(f);
}

static void a_limit_turns_newcomers_away(void **state)
{
    (void)state;
    struct forwarder_options options = {.flows_max = 2};
    struct forwarder *f = forwarder_start(&options);
    int clients[3];

    for (int i = 0; i < 3; i++)
        clients[i] = udp_connect_to(f->udp_port);
    (void)converse(f, clients[0], "one");
    (void)converse(f, clients[1], "two");
    assert_int_equal(send(clients[2], "three", 5, 0), 5);
    await_counter(&f->source.flow_stats.flows_refused, 1);
    assert_int_equal(stats_get(&f->source.flow_stats.dropped_limit), 1);
    assert_true(is_silent(f->udp_target));
    (void)converse(f, clients[0], "one again");
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    forwarder_stop(f);
}

static void a_target_that_is_down(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "localhost"};

    for (size_t i = 0; i < 2; i++) {
        struct forwarder_options options = {.target_host = hosts[i]};
        struct forwarder *f = forwarder_start(&options);
        int client = udp_connect_to(f->udp_port);
        struct sockaddr_in self;
        socklen_t len = sizeof(self);

        assert_int_equal(getsockname(f->udp_target, (struct sockaddr *)&self, &len), 0);
        /* It keeps its port from others, and takes nothing but from itself. */
        assert_int_equal(connect(f->udp_target, (struct sockaddr *)&self, sizeof(self)), 0);
        assert_int_equal(send(client, "?", 1, 0), 1);
        await_counter(&f->dest.flow_stats.dropped_target_refused, 1);
        if (i == 0) {
            /* Nothing else happens: the target may come back. */
            assert_int_equal(stats_get(&f->dest.flow_stats.flows_active), 1);
        } else {
            forwarder_await(f, f->source.n_flow_ends == 1);
            assert_int_equal(f->source.flow_end.why, ERR_REFUSED);
        }
        close(client);
        forwarder_stop(f);
    }
}

/* What comes while the resolver is asked waits, and arrives in its order. */
static void a_name_is_resolved(void **state)
{
    (void)state;
    struct forwarder_options options = {.target_host = "localhost"};
    struct forwarder *f = forwarder_start(&options);
    int client = udp_connect_to(f->udp_port);
    char got[8];

    for (const char *c = "abcd"; *c != '\0'; c++)
        assert_int_equal(send(client, c, 1, 0), 1);
    for (const char *c = "abcd"; *c != '\0'; c++) {
        assert_int_equal(TEMP_FAILURE_RETRY(recv(f->udp_target, got, sizeof(got), 0)), 1);
        assert_int_equal(got[0], *c);
    }
    close(client);
    forwarder_stop(f);
}

/* What waits for a name counts as all memory of flows does: nobody can make it grow. */
static void what_waits_for_a_name_is_bounded(void **state)
{
    (void)state;
    enum { CLIENTS = 16, EACH = 3, SIZE = 60000 }; /* no more than the source finds room for */
    struct forwarder_options options = {.target_host = "late.test"};
    const size_t room = (size_t)64 * 1024 * 1024 / FLOW_KEPT_PART / POOL_BULK_BYTES;
    struct forwarder *f;
    int clients[CLIENTS];
    static uint8_t data[SIZE];

    atomic_store(&is_dumb, true);
    f = forwarder_start(&options);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = udp_connect_to(f->udp_port);
        for (size_t n = 0; n < EACH; n++) {
            assert_int_equal(send(clients[i], data, SIZE, 0), SIZE);
            await_counter(&f->source.flow_stats.datagrams_from_local, i * EACH + n + 1);
        }
    }
    await_counter(&f->dest.flow_stats.dropped_memory, (uint64_t)CLIENTS * EACH - room);
    atomic_store(&is_dumb, false);
    await_counter(&f->dest.flow_stats.datagrams_to_local, room);
    for (size_t i = 0; i < CLIENTS; i++)
        close(clients[i]);
    forwarder_stop(f);
}

static void a_name_that_there_is_not(void **state)
{
    (void)state;
    struct forwarder_options options = {.target_host = "nobody.invalid"};
    struct forwarder *f = forwarder_start(&options);
    int client = udp_connect_to(f->udp_port);

    assert_int_equal(send(client, "?", 1, 0), 1);
    forwarder_await(f, f->source.n_flow_ends == 1 && f->dest.n_flow_ends == 1);
    assert_int_equal(f->source.flow_end.why, ERR_RESOLVE);
    /* What waited for it has gone nowhere, and is counted so. */
    assert_int_equal(f->dest.flow_end.datagrams_to_local, 0);
    assert_int_equal(f->dest.flow_end.bytes_to_local, 0);
    assert_int_equal(stats_get(&f->dest.flow_stats.dropped_closed), 1);
    close(client);
    forwarder_stop(f);
}

static bool allows_nothing(const struct target_filter *filter, const struct address *a)
{
    (void)filter;
    (void)a;
    return false;
}

/* A name whose addresses somebody may not reach leads there all the same: nobody asks anew. */
static void a_name_that_is_not_allowed(void **state)
{
    (void)state;
    const struct target_filter filter = {.is_allowed = allows_nothing};
    struct forwarder_options options = {.target_host = "localhost", .filter = &filter};
    struct forwarder *f = forwarder_start(&options);

    atomic_store(&lookups, 0);
    for (unsigned i = 1; i <= 2; i++) {
        int client = udp_connect_to(f->udp_port);

        assert_int_equal(send(client, "?", 1, 0), 1);
        forwarder_await(f, f->source.n_flow_ends == i);
        assert_int_equal(f->source.flow_end.why, ERR_NOT_ALLOWED);
        close(client);
        if (i == 1)
            poll(NULL, 0, NAME_PAUSE_MS + 100);
    }
    assert_int_equal(atomic_load(&lookups), 1);
    forwarder_stop(f);
}

/* The end of the worker while the resolver still thinks leaves nothing behind. */
static void stopped_while_resolving(void **state)
{
    (void)state;
    struct forwarder_options options = {.target_host = "nobody.invalid"};
    struct forwarder *f = forwarder_start(&options);
    int client = udp_connect_to(f->udp_port);

    assert_int_equal(send(client, "?", 1, 0), 1);
    forwarder_await(f, f->dest.n_flows > 0 || f->dest.n_flow_ends > 0);
    close(client);
    forwarder_stop(f);
}

static void flows_end_with_their_tunnel(void **state)
{
    (void)state;
    struct forwarder *f = forwarder_start(NULL);
    int client = udp_connect_to(f->udp_port);

    (void)converse(f, client, "hello");
    worker_drain(f->dest.worker, 0);
    forwarder_await(f, f->source.n_flow_ends == 1 && f->dest.n_flow_ends == 1);
    assert_int_equal(f->source.flow_end.why, ERR_CLOSED);
    close(client);
    forwarder_stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(only_the_target_answers),
        cmocka_unit_test(idle_flows_end_at_both_sides),
        cmocka_unit_test(refused_by_the_dest),
        cmocka_unit_test(a_limit_turns_newcomers_away),
        cmocka_unit_test(a_target_that_is_down),
        cmocka_unit_test(a_name_is_resolved),
        cmocka_unit_test(what_waits_for_a_name_is_bounded),
        cmocka_unit_test(a_name_that_there_is_not),
        cmocka_unit_test(a_name_that_is_not_allowed),
        cmocka_unit_test(stopped_while_resolving),
        cmocka_unit_test(flows_end_with_their_tunnel),
    };

    return cmocka_run_group_tests_name("udp", tests, NULL, NULL);
}
