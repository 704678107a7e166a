/* What a dest may try with the sources that come to it. */
#include "hostile.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end_with(struct hostile *h)
{
    say(h);
    must_end(h);
    hostile_end(h);
}

/* A client of the source's port. */
static int client_open(const struct world *world)
{
    const struct sockaddr_in there = {.sin_family = AF_INET,
                                      .sin_port = htons(world->echo),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    demand(fd >= 0 && connect(fd, (const struct sockaddr *)&there, sizeof(there)) == 0,
           "the source does not take clients");
    return fd;
}

/* Stream h->last_opened belongs to the client. */
static struct hostile *with_client(const struct world *world, int *client)
{
    struct hostile *h = hostile_ready(world);

    must_live(h);
    *client = client_open(world);
    hear_until(h, &h->frames[FRAME_STREAM_OPEN], 1);
    return h;
}

/* A client's stream, and what the dest says of it. */
static void lie(const struct world *world, void (*put_lie)(struct hostile *h, uint64_t id))
{
    int client;
    struct hostile *h = with_client(world, &client);

    put_lie(h, h->last_opened);
    say(h);
    must_end(h);
    hostile_end(h);
    close(client);
}

static void opens_a_stream(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_open(h, 1000, 80, 10);
    end_with(h);
}

static void opens_a_flow(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    put_flow_open(h, 1000, 80);
    end_with(h);
}

static void put_accept_of_none(struct hostile *h, uint64_t id)
{
    put_accept(h, id + 1, 10);
}

static void put_accept_twice(struct hostile *h, uint64_t id)
{
    put_accept(h, id, 10);
    put_accept(h, id, 10);
}

static void put_accept_behind_reset(struct hostile *h, uint64_t id)
{
    put_reset(h, id, 0);
    put_accept(h, id, 10);
}

static void put_data_of_none(struct hostile *h, uint64_t id)
{
    put_data(h, FRAME_STREAM_DATA, id + 1, 0, 10);
}

static void put_data_with_a_gap(struct hostile *h, uint64_t id)
{
    put_data(h, FRAME_STREAM_DATA, id, 1, 10);
}

static void put_data_behind_fin(struct hostile *h, uint64_t id)
{
    put_data(h, FRAME_STREAM_DATA_FIN, id, 0, 10);
    put_data(h, FRAME_STREAM_DATA_FIN, id, 10, 0);
}

static void put_data_beyond_credit(struct hostile *h, uint64_t id)
{
    for (uint64_t at = 0; at < UINT64_C(64) * 1024 * 1024 && !h->is_over; at += 60000) {
        put_data(h, FRAME_STREAM_DATA, id, at, 60000);
        say(h);
    }
}

static void put_ack_of_what_was_not_sent(struct hostile *h, uint64_t id)
{
    put_credit(h, id, 1000, 10);
}

static void put_reset_of_another_size(struct hostile *h, uint64_t id)
{
    put_reset(h, id, 1);
}

static void put_reset_twice(struct hostile *h, uint64_t id)
{
    put_reset(h, id, 0);
    put_reset(h, id, 0);
}

#define LIE(name)                                                                                  \
    static void name(const struct world *world)                                                    \
    {                                                                                              \
        lie(world, put_##name);                                                                    \
    }

LIE(accept_of_none)
LIE(accept_twice)
LIE(accept_behind_reset)
LIE(data_of_none)
LIE(data_with_a_gap)
LIE(data_behind_fin)
LIE(data_beyond_credit)
LIE(ack_of_what_was_not_sent)
LIE(reset_of_another_size)
LIE(reset_twice)

/* -- resume -- */

/* The source comes back with a stream, and the dest says that it knows the tunnel. */
static struct hostile *come_back(const struct world *world, struct hostile **first, int *client)
{
    struct hostile *a = with_client(world, client);
    struct hostile *b;

    put_accept(a, a->last_opened, 1000);
    say(a);
    must_live(a);
    shutdown(a->fd, SHUT_RDWR);
    b = hostile_begin(world, world->tls, a);
    demand(b->is_resumed, "the source does not go on with its tunnel");
    b->last_opened = a->last_opened;
    put_settings(b, 1000, 1000, 0);
    *first = a;
    return b;
}

static void end_both(struct hostile *a, struct hostile *b, int client)
{
    say(b);
    must_end(b);
    hostile_end(b);
    hostile_end(a);
    close(client);
}

static void resume_of_more_streams(const struct world *world)
{
    struct hostile *a;
    int client;
    struct hostile *b = come_back(world, &a, &client);

    put_resume(b, b->last_opened + 2, true, NULL, 0);
    end_both(a, b, client);
}

static void resume_of_a_stream_unknown(const struct world *world)
{
    const struct resume_entry entry = {.id = 100000};
    struct hostile *a;
    int client;
    struct hostile *b = come_back(world, &a, &client);

    put_resume(b, b->last_opened + 1, true, &entry, 1);
    end_both(a, b, client);
}

static void resume_of_more_than_was_sent(const struct world *world)
{
    struct hostile *a;
    int client;
    struct hostile *b = come_back(world, &a, &client);
    const struct resume_entry entry = {.id = b->last_opened, .received = 1, .limit = 10};

    put_resume(b, b->last_opened + 1, true, &entry, 1);
    end_both(a, b, client);
}

/* A stream that it has accepted, it now has never heard of. */
static void resume_of_fewer_streams(const struct world *world)
{
    struct hostile *a;
    int client;
    struct hostile *b = come_back(world, &a, &client);

    put_resume(b, 0, true, NULL, 0);
    end_both(a, b, client);
}

/* -- without end -- */

static void takes_no_streams(const struct world *world)
{
    struct hostile *h = hostile_begin(world, world->tls, NULL);
    int client;
    char byte;

    put_settings(h, 0, 0, 0);
    say(h);
    must_live(h);
    client = client_open(world);
    demand(read(client, &byte, 1) <= 0, "a client is not sent away");
    close(client);
    must_live(h);
    demand(h->frames[FRAME_STREAM_OPEN] == 0, "a stream was opened");
    hostile_end(h);
}

/* Clients have much to say, all of it is allowed, and none of it is read. */
static void never_reads(const struct world *world)
{
    static const uint8_t much[65536];
    const uint8_t life[] = {0xff, 0};
    struct hostile *h = hostile_begin(world, world->tls, NULL);
    int clients[60];

    put_settings(h, WIRE_VARINT_MAX, 1000, 0);
    say(h);
    must_live(h);
    h->is_not_heard = true;
    for (size_t i = 0; i < 60; i++) {
        clients[i] = client_open(world);
        fcntl(clients[i], F_SETFL, O_NONBLOCK);
    }
    for (uint64_t until = now_ms() + world->count; now_ms() < until && !h->is_over;) {
        for (size_t i = 0; i < 60; i++)
            (void)!send(clients[i], much, sizeof(much), MSG_NOSIGNAL);
        put_raw(h, life, sizeof(life));
        say(h);
        usleep(5000);
    }
    for (size_t i = 0; i < 60; i++)
        close(clients[i]);
    hostile_end(h);
}

/*
 * What a dest says, or does, must not make a source do one handshake after the other: in three
 * seconds not more than so many.
 */
static void count_sessions(const struct world *world, void (*on_session)(struct hostile *h))
{
    struct pollfd arrival = {.fd = world->listener, .events = POLLIN};
    struct hostile *all[256];
    uint64_t until;
    size_t n = 0;

    demand(poll(&arrival, 1, (int)patience_ms) == 1, "the source does not come");
    until = now_ms() + 3000;
    while (now_ms() < until) {
        if (poll(&arrival, 1, 10) == 1) {
            demand(n < world->count, "%zu sessions, and three seconds are not over", n);
            all[n] = hostile_begin(world, world->tls, n == 0 ? NULL : all[n - 1]);
            on_session(all[n++]);
        }
        for (size_t i = 0; i < n; i++)
            hear(all[i], 0);
    }
    printf("%zu sessions\n", n);
    for (size_t i = 0; i < n; i++)
        hostile_end(all[i]);
}

static void begin_normally(struct hostile *h)
{
    put_settings(h, 1000, 1000, 0);
    if (h->is_resumed)
        put_resume(h, 0, true, NULL, 0);
}

static void send_away(struct hostile *h)
{
    begin_normally(h);
    say(h);
    must_live(h);
    put_go_away(h, WIRE_SHUTDOWN, 0);
    say(h);
}

static void sends_away_for_ever(const struct world *world)
{
    count_sessions(world, send_away);
}

static void hang_up(struct hostile *h)
{
    begin_normally(h);
    say(h);
    must_live(h);
    shutdown(h->fd, SHUT_RDWR);
}

static void hangs_up_for_ever(const struct world *world)
{
    count_sessions(world, hang_up);
}

static void refuse_keys(struct hostile *h)
{
    struct frame f = {.type = FRAME_SETTINGS};

    f.settings.max_streams = 1000;
    f.settings.key_lifetime_ms = 100;
    put(h, &f);
    if (h->is_resumed)
        put_resume(h, 0, true, NULL, 0);
    say(h);
}

/* Keys are soon too old, and no exchange is answered: the source makes a session beside it. */
static void ages_keys_for_ever(const struct world *world)
{
    count_sessions(world, refuse_keys);
}

const struct attack attacks_on_source[] = {
    {"opens_a_stream", opens_a_stream},
    {"opens_a_flow", opens_a_flow},
    {"accept_of_none", accept_of_none},
    {"accept_twice", accept_twice},
    {"accept_behind_reset", accept_behind_reset},
    {"data_of_none", data_of_none},
    {"data_with_a_gap", data_with_a_gap},
    {"data_behind_fin", data_behind_fin},
    {"data_beyond_credit", data_beyond_credit},
    {"ack_of_what_was_not_sent", ack_of_what_was_not_sent},
    {"reset_of_another_size", reset_of_another_size},
    {"reset_twice", reset_twice},
    {"resume_of_more_streams", resume_of_more_streams},
    {"resume_of_a_stream_unknown", resume_of_a_stream_unknown},
    {"resume_of_more_than_was_sent", resume_of_more_than_was_sent},
    {"resume_of_fewer_streams", resume_of_fewer_streams},
    {"takes_no_streams", takes_no_streams},
    {"never_reads", never_reads},
    {"sends_away_for_ever", sends_away_for_ever},
    {"hangs_up_for_ever", hangs_up_for_ever},
    {"ages_keys_for_ever", ages_keys_for_ever},
    {NULL, NULL},
};
