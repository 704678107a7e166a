#include "forwarder.h"

#include "net/association.h"

/* The source's half, on a worker without a session: what is dropped before there is a flow. */

struct stage {
    struct worker_owner owner;
    struct association_owner associations;
    struct flow_stats stats;
    struct worker *worker;
    struct association *association;
    struct address address;
    enum err answer;
    uint16_t client_port;
    _Atomic unsigned asked;
    _Atomic bool is_open;
    struct destination to;
    struct stream_target target;
};

static enum err on_destination(struct association_owner *owner, const struct destination *to,
                               struct tunnel_owner **tunnel, struct stream_target *target)
{
    struct stage *s = list_entry(owner, struct stage, associations);

    *tunnel = NULL;
    s->to = *to;
    s->target = *target;
    s->asked++;
    return s->answer;
}

static void on_flow_end(struct association_owner *owner, const struct flow_end *end)
{
    (void)owner;
    (void)end;
    abort(); /* no flow has been admitted */
}

static enum err on_stage_start(struct worker_owner *owner, struct worker *worker)
{
    struct stage *s = list_entry(owner, struct stage, owner);
    struct association_options options = {
        .worker = worker,
        .owner = &s->associations,
        .stats = &s->stats,
        .client = {.address_len = 4, .address = {127, 0, 0, 1}, .port = s->client_port},
        .local = {.address_len = 4, .address = {127, 0, 0, 1}, .port = 1080},
    };

    enum err e = association_new(&s->association, &options);
    s->is_open = e == ERR_OK;
    return e;
}

static void on_stage_drain(struct worker_owner *owner, struct worker *worker)
{
    (void)worker;
    association_close(list_entry(owner, struct stage, owner)->association);
}

static void stage_start(struct stage *s)
{
    const struct worker_options options = {.memory_budget = 16 * 1024 * 1024, .owner = &s->owner};

    s->owner.on_start = on_stage_start;
    s->owner.on_drain = on_stage_drain;
    s->associations.on_destination = on_destination;
    s->associations.on_flow_end = on_flow_end;
    assert_int_equal(worker_new(&s->worker, &options), ERR_OK);
    assert_int_equal(worker_start(s->worker), ERR_OK);
    for (int i = 0; i < 5000 && !s->is_open; i++)
        poll(NULL, 0, 1);
    s->address = *association_address(s->association);
    assert_true(address_port(&s->address) > 0);
}

static void stage_stop(struct stage *s)
{
    worker_drain(s->worker, 0);
    assert_int_equal(worker_join(s->worker), ERR_OK);
    worker_free(s->worker);
}

static int client_at(const char *ip, uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct address a;

    assert_int_equal(address_parse(&a, ip, 0), ERR_OK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a.sockaddr, a.len), 0);
    address_of_socket(&a, fd);
    *port = address_port(&a);
    return fd;
}

static void say(const struct stage *s, int fd, const char *data, size_t len)
{
    assert_int_equal(
        sendto(fd, data, len, 0, (const struct sockaddr *)&s->address.sockaddr, s->address.len),
        (ssize_t)len);
}

#define GOOD             "\0\0\0\x03\x03web\x00\x35payload"
#define SAY(fd, literal) say(&s, fd, literal, sizeof(literal) - 1)

static void await_asked(struct stage *s, unsigned n)
{
    for (int i = 0; i < 5000 && s->asked != n; i++)
        poll(NULL, 0, 1);
    assert_int_equal(s->asked, n);
}

static void asks_for_each_destination(void **state)
{
    struct stage s = {.answer = ERR_CLOSED};
    uint16_t port;
    int fd;

    (void)state;
    stage_start(&s);
    fd = client_at("127.0.0.1", &port);
    SAY(fd, GOOD);
    await_asked(&s, 1);
    await_counter(&s.stats.dropped_no_session, 1);
    assert_string_equal(s.to.host, "web");
    assert_int_equal(s.to.port, 53);
    assert_int_equal(s.target.local.port, 1080);
    assert_int_equal(s.target.client.port, port);
    close(fd);
    stage_stop(&s);
}

static void drops_what_is_malformed(void **state)
{
    struct stage s = {.answer = ERR_LIMIT};
    uint16_t port;
    int fd;

    (void)state;
    stage_start(&s);
    fd = client_at("127.0.0.1", &port);
    SAY(fd, "");
    SAY(fd, "\0\0\0\x01\x7f\0\0");
    SAY(fd, "\0\0\1\x01\x7f\0\0\1\0\x35x");
    SAY(fd, "\0\0\0\x02\x7f\0\0\1\0\x35x");
    SAY(fd, GOOD);
    await_asked(&s, 1);
    await_counter(&s.stats.dropped_limit, 1);
    close(fd);
    stage_stop(&s);
}

/* The first datagram says which port is the client's, unless the client has said so itself. */
static void drops_what_is_a_strangers(void **state)
{
    struct stage s = {.answer = ERR_CLOSED};
    uint16_t port;
    int client;
    int stranger;

    (void)state;
    client = client_at("127.0.0.1", &port);
    stranger = client_at("127.0.0.2", &port);
    stage_start(&s);
    SAY(stranger, GOOD);
    SAY(client, GOOD);
    await_asked(&s, 1);
    close(stranger);
    stranger = client_at("127.0.0.1", &port);
    SAY(stranger, GOOD);
    SAY(client, GOOD);
    await_counter(&s.stats.dropped_no_session, 2);
    assert_int_equal(s.asked, 2);
    stage_stop(&s);
    close(client);

    struct stage named = {.answer = ERR_CLOSED};
    client = client_at("127.0.0.1", &named.client_port);
    stage_start(&named);
    say(&named, stranger, GOOD, sizeof(GOOD) - 1);
    say(&named, client, GOOD, sizeof(GOOD) - 1);
    await_counter(&named.stats.dropped_no_session, 1);
    assert_int_equal(named.asked, 1);
    stage_stop(&named);
    close(client);
    close(stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_for_each_destination),
        cmocka_unit_test(drops_what_is_malformed),
        cmocka_unit_test(drops_what_is_a_strangers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
