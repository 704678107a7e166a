#include "hostile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (128 * 1024)

uint64_t patience_ms = 20000;

void fail(const char *text, ...)
{
    va_list arguments;

    va_start(arguments, text);
    vfprintf(stderr, text, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* -- connections -- */

/* From an address of its own, so that it shares no limit with honest sources. */
static int dial(uint16_t port)
{
    const struct sockaddr_in here = {.sin_family = AF_INET,
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 65)};
    const struct sockaddr_in there = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    demand(fd >= 0 && bind(fd, (const struct sockaddr *)&here, sizeof(here)) == 0 &&
               connect(fd, (const struct sockaddr *)&there, sizeof(there)) == 0,
           "cannot connect to port %u: %s", port, strerror(errno));
    return fd;
}

static int await_source(int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};

    demand(poll(&p, 1, (int)patience_ms) == 1, "no source comes");
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

int connection_open(const struct world *world)
{
    const int one = 1;
    int fd = world->listener >= 0 ? await_source(world->listener) : dial(world->port);

    demand(fd >= 0, "no connection: %s", strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    demand(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "not blocking: %s", strerror(errno));
    return fd;
}

/* Whether something is there, or there is room, within the time. */
static bool wait_for(int fd, short events, uint64_t ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, (int)ms) == 1;
}

/* Until it is done or failed. */
static void shake_hands(struct handshake *hs, int fd)
{
    uint8_t bytes[READ_BYTES];

    for (;;) {
        bool is_going = handshake_status(hs) == HANDSHAKE_IN_PROGRESS;
        const uint8_t *data;
        size_t len;
        ssize_t n;

        handshake_drain(hs, &data, &len);
        if (len > 0) {
            n = send(fd, data, len, MSG_NOSIGNAL);
            if (n > 0)
                handshake_drained(hs, (size_t)n, now_ms());
            else if (errno != EAGAIN)
                return;
        } else if (!is_going) {
            return;
        }
        (void)wait_for(fd, (short)(POLLIN | (len > 0 ? POLLOUT : 0)), patience_ms);
        n = is_going ? recv(fd, bytes, sizeof(bytes), 0) : 0;
        if (n > 0)
            (void)!handshake_feed(hs, bytes, (size_t)n, now_ms());
        else if (is_going && (n == 0 || errno != EAGAIN))
            (void)!handshake_feed_end(hs, now_ms());
    }
}

static bool on_resume(struct handshake_owner *owner, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE])
{
    const struct hostile *of = (const struct hostile *)owner;

    (void)identity;
    if (of == NULL || memcmp(of->tunnel_id, tunnel_id, TUNNEL_ID_SIZE) != 0)
        return false;
    memcpy(secret, of->secret, TUNNEL_SECRET_SIZE);
    return true;
}

static enum err on_keypair(struct handshake_owner *owner, struct mceliece_keypair **out)
{
    (void)owner;
    return mceliece_keypair_new(out);
}

static void on_frame(struct peer *p, const struct frame *f)
{
    struct hostile *h = (struct hostile *)p; /* its first member */
    struct wire_reader entries;

    h->frames[f->type]++;
    switch (f->type) {
    case FRAME_PING:
        if (h->n_unanswered == 0)
            h->answer_at = now_ms() + h->far_ms;
        if (h->n_unanswered < sizeof(h->unanswered) / sizeof(h->unanswered[0]))
            h->unanswered[h->n_unanswered++] = f->ping.token;
        break;
    case FRAME_PONG:
        h->last_pong = f->ping.token;
        break;
    case FRAME_STREAM_OPEN:
        h->last_opened = f->open.id;
        break;
    case FRAME_STREAM_ACCEPT:
        if (f->accept.id < FOLLOWED)
            h->limits[f->accept.id] = f->accept.limit;
        break;
    case FRAME_STREAM_CREDIT:
        if (f->credit.id < FOLLOWED)
            h->limits[f->credit.id] = f->credit.limit;
        break;
    case FRAME_STREAM_DATA_FIN:
    case FRAME_STREAM_DATA:
        h->fins += f->type == FRAME_STREAM_DATA_FIN;
        h->data_bytes += f->data.len;
        if (f->data.id < FOLLOWED)
            h->received[f->data.id] += f->data.len;
        break;
    case FRAME_STREAM_RESET:
        h->resets_of[f->reset.code % 32]++;
        if (f->reset.id == h->awaited)
            h->is_refused = true;
        break;
    case FRAME_FLOW_DATAGRAM:
        h->datagram_bytes += f->datagram.len;
        break;
    case FRAME_FLOW_CLOSE:
        h->closes_of[f->flow_close.code % 32]++;
        break;
    case FRAME_RESUME:
        h->resume_next = f->resume.next_id;
        entries = f->resume.entries;
        while (wire_left(&entries) > 0) {
            struct resume_entry e;

            demand(resume_entry_decode(&entries, &e) == ERR_OK, "RESUME is malformed");
            h->resume_entries++;
        }
        break;
    default:
        break;
    }
}

static struct hostile *hostile_of(const struct world *world, struct handshake_result *r, int fd)
{
    struct hostile *h = calloc(1, sizeof(*h));

    demand(h != NULL, "no memory");
    peer_tunnel_init(&h->known, world->engine_role);
    peer_init_with(&h->peer, &h->known, SESSION_FRESH, r->keys);
    r->keys = NULL;
    h->peer.on_frame = on_frame;
    h->peer.is_careless = true;
    h->known.is_honest = false;
    h->world = world;
    h->fd = fd;
    h->is_resumed = r->is_resumed;
    memcpy(h->tunnel_id, r->tunnel_id, sizeof(h->tunnel_id));
    memcpy(h->secret, r->tunnel_secret, sizeof(h->secret));
    peer_take(&h->peer, r->leftover, r->leftover_len);
    return h;
}

enum err hostile_try(struct hostile **out, const struct world *world, const struct tls_context *tls,
                     const struct hostile *of)
{
    union {
        const struct hostile *of;
        struct handshake_owner *owner;
    } known = {.of = of};
    struct handshake_options options = {.tls = tls};
    struct handshake_result *result = NULL;
    struct handshake *hs;
    struct err_detail d = {""};
    int fd = connection_open(world);
    enum err e;

    *out = NULL;
    if (world->engine_role == TUNNEL_DEST) {
        options.dest_host = "127.0.0.1";
        if (of == NULL)
            demand(getrandom(options.tunnel_id, sizeof(options.tunnel_id), 0) > 0, "no chance");
        else
            memcpy(options.tunnel_id, of->tunnel_id, sizeof(options.tunnel_id));
        options.tunnel_secret = of == NULL ? NULL : of->secret;
        options.on_keypair = on_keypair;
    } else {
        options.owner = known.owner;
        options.on_resume = on_resume;
    }
    demand(handshake_new(&hs, &options, now_ms(), &d) == ERR_OK, "handshake: %s", d.text);
    shake_hands(hs, fd);
    e = handshake_error(hs);
    if (handshake_status(hs) == HANDSHAKE_DONE) {
        demand(handshake_take_result(hs, &result) == ERR_OK, "no result");
        *out = hostile_of(world, result, fd);
        handshake_result_free(result);
    } else {
        e = e == ERR_OK ? ERR_CLOSED : e;
        close(fd);
    }
    handshake_free(hs);
    return e;
}

struct hostile *hostile_begin(const struct world *world, const struct tls_context *tls,
                              const struct hostile *of)
{
    struct hostile *h;
    enum err e = hostile_try(&h, world, tls, of);

    demand(e == ERR_OK, "no handshake: %s", err_text(e));
    return h;
}

void hostile_end(struct hostile *h)
{
    if (h == NULL)
        return;
    close(h->fd);
    peer_fini(&h->peer);
    free(h);
}

struct hostile *hostile_ready(const struct world *world)
{
    struct hostile *h = hostile_begin(world, world->tls, NULL);

    put_settings(h, STREAM_WINDOW_INITIAL, 1000, 1);
    say(h);
    hear_until(h, &h->frames[FRAME_SETTINGS], 1);
    return h;
}

/* -- what it says -- */

void put(struct hostile *h, const struct frame *f)
{
    demand(frame_encode(&h->peer.w, f), "no room for a frame");
}

void put_raw(struct hostile *h, const void *bytes, size_t len)
{
    demand(wire_room(&h->peer.w) >= len, "no room for %zu bytes", len);
    wire_put_bytes(&h->peer.w, bytes, len);
}

void put_ping(struct hostile *h, uint64_t token)
{
    const struct frame f = {.type = FRAME_PING, .ping.token = token};

    put(h, &f);
}

void put_settings(struct hostile *h, uint64_t window, uint64_t max_streams, uint64_t session)
{
    struct frame f = {.type = FRAME_SETTINGS};

    f.settings.initial_window = window;
    f.settings.max_streams = max_streams;
    f.settings.session = session;
    put(h, &f);
}

void put_open(struct hostile *h, uint64_t id, uint16_t port, uint64_t limit)
{
    struct frame f = {.type = FRAME_STREAM_OPEN};

    f.open.id = id;
    f.open.limit = limit;
    f.open.target.port = port;
    put(h, &f);
}

void put_data(struct hostile *h, enum frame_type type, uint64_t id, uint64_t offset, size_t len)
{
    demand(wire_room(&h->peer.w) >= FRAME_DATA_OVERHEAD + len &&
               frame_encode_data_header(&h->peer.w, type, id, offset, len),
           "no room for data");
    wire_put_bytes(&h->peer.w, peer_bytes_of_peer(id, offset), len);
}

void put_accept(struct hostile *h, uint64_t id, uint64_t limit)
{
    struct frame f = {.type = FRAME_STREAM_ACCEPT};

    f.accept.id = id;
    f.accept.limit = limit;
    put(h, &f);
}

void put_credit(struct hostile *h, uint64_t id, uint64_t acked, uint64_t limit)
{
    struct frame f = {.type = FRAME_STREAM_CREDIT};

    f.credit.id = id;
    f.credit.acked = acked;
    f.credit.limit = limit;
    put(h, &f);
}

void put_reset(struct hostile *h, uint64_t id, uint64_t final_size)
{
    struct frame f = {.type = FRAME_STREAM_RESET};

    f.reset.id = id;
    f.reset.code = WIRE_RESET;
    f.reset.final_size = final_size;
    put(h, &f);
}

void put_flow_open(struct hostile *h, uint64_t id, uint16_t port)
{
    struct frame f = {.type = FRAME_FLOW_OPEN};

    f.flow_open.id = id;
    f.flow_open.target.port = port;
    put(h, &f);
}

void put_datagram(struct hostile *h, uint64_t id, size_t len)
{
    demand(wire_room(&h->peer.w) >= FRAME_DATAGRAM_OVERHEAD + len &&
               frame_encode_datagram_header(&h->peer.w, id, len),
           "no room for a datagram");
    wire_put_bytes(&h->peer.w, peer_bytes_of_peer(id, 0), len);
}

void put_flow_close(struct hostile *h, uint64_t id)
{
    struct frame f = {.type = FRAME_FLOW_CLOSE};

    f.flow_close.id = id;
    put(h, &f);
}

void put_exchange(struct hostile *h, uint64_t generation, uint64_t offset, size_t len)
{
    demand(wire_room(&h->peer.w) >= FRAME_DATA_OVERHEAD + len &&
               frame_encode_data_header(&h->peer.w, FRAME_KEY_EXCHANGE, generation, offset, len),
           "no room for an exchange");
    memset(h->peer.w.at, 0xff, len);
    h->peer.w.at += len;
}

void put_switch(struct hostile *h, uint64_t generation)
{
    struct frame f = {.type = FRAME_KEY_SWITCH};

    f.key_switch.generation = generation;
    put(h, &f);
}

void put_resume(struct hostile *h, uint64_t next, bool is_last, const struct resume_entry *entries,
                size_t n)
{
    uint8_t bytes[64 * RESUME_ENTRY_SIZE_MAX];
    struct wire_writer w;

    wire_writer_init(&w, bytes, sizeof(bytes));
    for (size_t i = 0; i < n; i++)
        resume_entry_encode(&w, &entries[i]);
    demand(!w.failed && frame_encode_resume_header(&h->peer.w, next, is_last, wire_written(&w)),
           "no room for RESUME");
    put_raw(h, bytes, wire_written(&w));
}

void put_go_away(struct hostile *h, uint16_t code, uint32_t retry_after_ms)
{
    struct frame f = {.type = FRAME_GO_AWAY};

    f.go_away.code = code;
    f.go_away.retry_after_ms = retry_after_ms;
    f.go_away.text = (const uint8_t *)"\x1b[2Jgo \xff\n";
    f.go_away.text_len = 9;
    put(h, &f);
}

/* -- bytes -- */

static void read_some(struct hostile *h)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = recv(h->fd, bytes, sizeof(bytes), 0);

    if (n > 0)
        peer_take(&h->peer, bytes, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        h->is_over = true;
}

void send_bytes(struct hostile *h, const uint8_t *data, size_t len)
{
    uint64_t until = now_ms() + patience_ms;

    while (len > 0 && !h->is_over) {
        ssize_t n = send(h->fd, data, len, MSG_NOSIGNAL);

        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno != EAGAIN) {
            h->is_over = true;
        } else {
            demand(now_ms() < until, "the daemon does not read");
            (void)wait_for(h->fd, (short)(POLLOUT | (h->is_not_heard ? 0 : POLLIN)), 100);
            if (!h->is_not_heard)
                read_some(h);
        }
    }
}

void say(struct hostile *h)
{
    uint8_t record[RECORD_SIZE_MAX];
    size_t len = peer_seal(&h->peer, record);

    send_bytes(h, record, len);
}

void say_from(struct hostile *h, size_t bytes)
{
    if (wire_written(&h->peer.w) >= bytes)
        say(h);
}

/* -- what it hears -- */

static void answer(struct hostile *h)
{
    size_t n = h->n_unanswered;

    if (n > 0 && now_ms() < h->answer_at)
        return;
    h->n_unanswered = 0;
    if (n == 0 || h->is_unpolite || wire_written(&h->peer.w) > 0)
        return;
    for (size_t i = 0; i < n; i++) {
        const struct frame f = {.type = FRAME_PONG, .ping.token = h->unanswered[i]};

        put(h, &f);
    }
    say(h);
}

void hear(struct hostile *h, uint64_t ms)
{
    uint64_t until = now_ms() + ms;

    while (!h->is_over) {
        uint64_t now = now_ms();

        if (wait_for(h->fd, POLLIN, now < until ? until - now : 0))
            read_some(h);
        else if (now_ms() >= until)
            return;
        if (!h->is_over)
            answer(h);
    }
}

void hear_until(struct hostile *h, const uint64_t *count, uint64_t least)
{
    uint64_t until = now_ms() + patience_ms;

    while (*count < least && !h->is_over && now_ms() < until)
        hear(h, 5);
    demand(*count >= least, h->is_over ? "the session ended too early" : "it does not come");
}

void must_end(struct hostile *h)
{
    uint64_t until = now_ms() + patience_ms;

    while (!h->is_over && now_ms() < until)
        hear(h, 5);
    demand(h->is_over, "the session goes on");
}

void must_live(struct hostile *h)
{
    static uint64_t token = UINT64_C(1) << 40;
    uint64_t until = now_ms() + patience_ms;

    put_ping(h, ++token);
    say(h);
    while (h->last_pong != token && !h->is_over && now_ms() < until)
        hear(h, 5);
    demand(h->last_pong == token,
           h->is_over ? "the session has ended" : "the session does not answer");
}

/* The stream that has carried something there and back. */
static uint64_t await_stream(struct hostile *h)
{
    uint64_t until = now_ms() + patience_ms;
    uint64_t fins = h->fins;

    do {
        h->awaited = h->next_id++;
        h->is_refused = false;
        put_open(h, h->awaited, h->world->echo, 4096);
        put_data(h, FRAME_STREAM_DATA_FIN, h->awaited, 0, 1000);
        say(h);
        while (h->fins == fins && !h->is_refused && !h->is_over && now_ms() < until)
            hear(h, 5);
        if (h->is_refused) {
            put_reset(h, h->awaited, 1000);
            say(h);
            hear(h, 50);
        }
    } while (h->is_refused && !h->is_over && now_ms() < until);
    demand(h->fins > fins, h->is_over ? "the session ended too early" : "no stream works");
    return h->awaited;
}

void must_serve(struct hostile *h)
{
    uint64_t bytes = h->data_bytes;
    uint64_t id = await_stream(h);

    demand(h->data_bytes == bytes + 1000, "%llu of 1000 bytes came back",
           (unsigned long long)(h->data_bytes - bytes));
    put_credit(h, id, 1001, 4096);
    say(h);
    must_live(h);
}
