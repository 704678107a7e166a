/*
 * The engine alone: two of them back to back in memory, no socket and no clock between them. What
 * it costs to carry bulk through one stream, messages over many, and whole streams.
 *
 *   bench_engine [MIB]                    how much bulk each row carries; 1024 unless said
 *   count_engine count-bulk MIB           bulk through one stream, or STREAMS streams one after
 *   count_engine count-streams STREAMS    another, inside counted(): test_instructions.py counts
 *                                         there (callgrind)
 *
 * count_engine is the same program with copies that take as many instructions on any processor
 * (copies.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/key_schedule.h"
#include "layer.h"
#include "tunnel/tunnel.h"

#define MEMORY  ((size_t)256 * 1024 * 1024)
#define STREAMS 100000

struct stream_owner {
    struct stream *stream;
    struct stream_owner *peer;
    uint64_t received;
    uint64_t frames;
    bool echoes;
    bool is_finished; /* the peer's FIN has come */
    bool is_sent;     /* everything sent, and the FIN, is acknowledged */
};

/* Off while instructions are counted: what the sockets cost is not the engine's. */
static bool has_sockets = true;

struct tunnel_owner {
    struct stream_owner *targets;
    size_t n_targets;
};

struct end {
    struct tunnel_owner owner;
    struct tunnel *tunnel;
    struct session *session;
    struct pool *pool;
    struct budget hold;
    struct budget credit;
};

struct bench {
    struct end source;
    struct end dest;
    struct stream_owner *clients;
    struct stream_owner *targets;
    uint64_t now;
    uint64_t records;
    uint64_t wire_bytes;
};

static void must(enum err e, const char *what)
{
    if (e == ERR_OK)
        return;
    fprintf(stderr, "bench_engine: %s: %s\n", what, err_text(e));
    exit(1);
}

static void write_to(struct stream_owner *o, size_t len)
{
    while (len > 0) {
        struct iovec parts[8];
        size_t used;
        size_t room = stream_send_reserve(o->stream, len, parts, 8, &used);

        if (room == 0)
            return;
        for (size_t i = 0; has_sockets && i < used; i++)
            memset(parts[i].iov_base, 'b', parts[i].iov_len); /* as the read from a socket does */
        stream_send_commit(o->stream, room);
        len -= room;
    }
}

/* -- events -- */

static void on_open(struct tunnel_owner *owner, struct stream *stream,
                    const struct stream_target *target)
{
    struct stream_owner *o = &owner->targets[owner->n_targets++];

    (void)target;
    o->stream = stream;
    stream_set_owner(stream, o);
    stream_accept(stream);
}

static void on_accept(struct stream_owner *o, struct stream *stream)
{
    (void)o;
    (void)stream;
}

static size_t on_data(struct stream_owner *o, struct stream *stream, const uint8_t *data,
                      size_t len)
{
    static uint8_t socket_buffer[65536];

    (void)stream;
    if (has_sockets)
        memcpy(socket_buffer, data, len); /* as the write to a socket does */
    o->received += len;
    o->frames++;
    if (o->echoes)
        write_to(o, len);
    return len;
}

static void on_finish(struct stream_owner *o, struct stream *stream)
{
    o->is_finished = true;
    if (o->echoes)
        stream_send_finish(stream);
}

static void on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code)
{
    (void)o;
    (void)stream;
    fprintf(stderr, "bench_engine: a stream was reset, code %d\n", (int)code);
    exit(1);
}

static void on_writable(struct stream_owner *o, struct stream *stream)
{
    (void)o;
    (void)stream;
}

static void on_sent(struct stream_owner *o, struct stream *stream)
{
    (void)stream;
    o->is_sent = true;
}

static void on_session_ready(struct tunnel_owner *owner, struct session *session)
{
    (void)owner;
    (void)session;
}

static void on_go_away(struct tunnel_owner *owner, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    (void)owner;
    (void)session;
    (void)code;
    (void)retry_after_ms;
    (void)text;
    (void)text_len;
}

static void on_keys(struct tunnel_owner *owner, struct session *session, enum key_event event)
{
    (void)owner;
    (void)session;
    (void)event;
}

static const struct tunnel_events events = {
    .on_open = on_open,
    .on_accept = on_accept,
    .on_data = on_data,
    .on_finish = on_finish,
    .on_reset = on_reset,
    .on_writable = on_writable,
    .on_sent = on_sent,
    .on_session_ready = on_session_ready,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
};

/* -- the two engines -- */

static void end_init(struct end *end, enum tunnel_role role)
{
    static const uint8_t root[KDF_SIZE] = {1};
    static const uint8_t context[KDF_SIZE] = {2};
    struct tunnel_options options = {
        .role = role,
        .max_streams = STREAMS,
        .window_max = 16 * 1024 * 1024,
        .events = &events,
        .owner = &end->owner,
        .hold = &end->hold,
        .credit = &end->credit,
    };
    struct session_keys *keys;
    size_t pool_limit;

    tunnel_share_memory(MEMORY, &pool_limit, &end->hold, &end->credit);
    must(pool_new(&end->pool, pool_limit), "pool");
    options.pool = end->pool;
    must(tunnel_new(&end->tunnel, &options), "tunnel");
    must(session_keys_new(&keys, KEM_MLKEM768, root, context), "keys");
    must(session_new(&end->session, end->tunnel, keys, SESSION_FRESH, 1), "session");
}

/* What the kernel does between two sockets; not to be counted as ours. */
static __attribute__((noinline)) void copy_as_kernel(uint8_t *to, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = from[i];
}

/* One batch from one engine to the other, through a buffer as through a socket; its bytes. */
static size_t carry(struct bench *b, struct end *from, struct end *to)
{
    static uint8_t buffer[POOL_BATCH_BYTES];
    const uint8_t *data;
    size_t len;
    size_t used;

    must(session_drain(from->session, &data, &len, b->now), "drain");
    if (len == 0)
        return 0;
    copy_as_kernel(buffer, data, len);
    session_drained(from->session, len);
    for (size_t at = 0; at + RECORD_HEADER_SIZE <= len; b->records++)
        at += RECORD_HEADER_SIZE +
              ((size_t)buffer[at + 2] << 16 | (size_t)buffer[at + 3] << 8 | buffer[at + 4]);
    b->wire_bytes += len;
    must(session_feed(to->session, buffer, len, &used, b->now), "feed");
    return len;
}

/* One turn of both event loops. */
static void turn(struct bench *b)
{
    b->now += 20;
    (void)carry(b, &b->source, &b->dest);
    (void)carry(b, &b->dest, &b->source);
}

static void settle(struct bench *b)
{
    for (int i = 0; i < 5; i++) {
        b->now += 30000;
        must(session_tick(b->source.session, b->now), "tick");
        must(session_tick(b->dest.session, b->now), "tick");
        for (size_t moved = 1; moved > 0; b->now += 20)
            moved = carry(b, &b->source, &b->dest) + carry(b, &b->dest, &b->source);
    }
}

static void bench_init(struct bench *b, size_t streams)
{
    memset(b, 0, sizeof(*b));
    b->now = 1;
    b->clients = calloc(streams + 1, sizeof(*b->clients));
    b->targets = calloc(streams + 1, sizeof(*b->targets));
    if (b->clients == NULL || b->targets == NULL)
        must(ERR_NOMEM, "owners");
    end_init(&b->source, TUNNEL_SOURCE);
    end_init(&b->dest, TUNNEL_DEST);
    b->dest.owner.targets = b->targets;
    settle(b);
    for (size_t i = 0; i < streams; i++) {
        struct stream_target target = {.port = 80, .name = "bench"};

        must(stream_open(&b->clients[i].stream, b->source.tunnel, &target, &b->clients[i]), "open");
        b->clients[i].peer = &b->targets[i];
        b->targets[i].peer = &b->clients[i];
    }
    settle(b);
    b->records = 0;
    b->wire_bytes = 0;
}

static void bench_fini(struct bench *b)
{
    tunnel_free(b->source.tunnel);
    tunnel_free(b->dest.tunnel);
    pool_free(b->source.pool);
    pool_free(b->dest.pool);
    free(b->clients);
    free(b->targets);
}

/* -- what is measured -- */

/* The last record may still be under way in part when this returns. */
static void carry_bulk(struct bench *b, size_t streams, uint64_t total)
{
    for (uint64_t received = 0; received < total;) {
        for (size_t i = 0; i < streams; i++)
            write_to(&b->clients[i], 262144); /* the most that is read at once */
        turn(b);
        received = 0;
        for (size_t i = 0; i < streams; i++)
            received += b->targets[i].received;
    }
}

static void bulk(size_t streams, uint64_t total)
{
    static struct bench bench;
    struct bench *b = &bench;
    uint64_t received = 0;
    char what[64];
    double start;
    double took;

    bench_init(b, streams);
    start = cpu_seconds();
    carry_bulk(b, streams, total);
    took = cpu_seconds() - start;
    for (size_t i = 0; i < streams; i++)
        received += b->targets[i].received;
    (void)snprintf(what, sizeof(what), "bulk, %zu stream%s, both ends", streams,
                   streams > 1 ? "s" : "");
    print_layer("engine", what, (double)received / took / 1e9, "GB/s");
    bench_fini(b);
}

/* Each client has a message of len bytes in flight, and sends the next when the answer is there. */
static void messages(size_t streams, size_t len, uint64_t total)
{
    static struct bench bench;
    struct bench *b = &bench;
    uint64_t done = 0;
    char what[64];
    double start;
    double took;

    bench_init(b, streams);
    for (size_t i = 0; i < streams; i++) {
        b->targets[i].echoes = true;
        b->clients[i].echoes = true;
    }
    start = cpu_seconds();
    for (size_t i = 0; i < streams; i++)
        write_to(&b->clients[i], len);
    while (done < total) {
        turn(b);
        done = 0;
        for (size_t i = 0; i < streams; i += streams / 10 + 1)
            done += b->clients[i].frames * (streams / 10 + 1);
    }
    took = cpu_seconds() - start;
    done = 0;
    for (size_t i = 0; i < streams; i++)
        done += b->clients[i].frames + b->targets[i].frames;
    (void)snprintf(what, sizeof(what), "message of %zu bytes, %zu stream%s, both ends", len,
                   streams, streams > 1 ? "s" : "");
    print_layer("engine", what, took * 1e9 / (double)done, "ns");
    bench_fini(b);
}

/* Opens a stream, sends a message and FIN, has both back and forgets it, so many times. */
static void carry_streams(struct bench *b, size_t streams)
{
    struct stream_target target = {.port = 80, .name = "bench"};
    struct stream_owner *client = &b->clients[0];
    struct stream_owner *service = &b->targets[0];

    for (size_t i = 0; i < streams; i++) {
        *client = (struct stream_owner){.stream = NULL};
        *service = (struct stream_owner){.echoes = true};
        b->dest.owner.n_targets = 0;
        must(stream_open(&client->stream, b->source.tunnel, &target, client), "open");
        write_to(client, 64);
        stream_send_finish(client->stream);
        while (!(client->is_sent && client->is_finished && service->is_sent)) {
            turn(b);
            b->now += 30000; /* acknowledgements wait for that long */
            must(session_tick(b->source.session, b->now), "tick");
            must(session_tick(b->dest.session, b->now), "tick");
        }
        stream_release(client->stream);
        stream_release(service->stream);
    }
}

static void whole_streams(size_t streams)
{
    static struct bench bench;
    double start;
    double took;

    bench_init(&bench, 0);
    start = cpu_seconds();
    carry_streams(&bench, streams);
    took = cpu_seconds() - start;
    print_layer("engine", "stream: open, 64 bytes each way, FIN, both ends",
                took * 1e9 / (double)streams, "ns");
    bench_fini(&bench);
}

static size_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f != NULL) {
        if (fscanf(f, "%*u %lu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* As many as the targets ask for, whatever this machine has of descriptors. */
static void idle_streams(void)
{
    static struct bench bench;
    size_t before = resident_bytes();
    char what[64];

    bench_init(&bench, STREAMS);
    (void)snprintf(what, sizeof(what), "%d idle streams, each, one end", STREAMS);
    print_layer("engine", what, (double)(resident_bytes() - before) / STREAMS / 2 / 1024, "KiB");
    bench_fini(&bench);
}

/* -- counting instructions -- */

static __attribute__((noinline)) void counted(struct bench *b, uint64_t bytes, size_t streams)
{
    if (bytes > 0)
        carry_bulk(b, 1, bytes);
    else
        carry_streams(b, streams);
}

/* The first part warms pools and windows up, and is not counted. */
static void count(const char *what, uint64_t amount)
{
    static struct bench bench;
    bool is_bulk = strcmp(what, "count-bulk") == 0;
    uint64_t before;

    has_sockets = false;
    bench_init(&bench, is_bulk ? 1 : 0);
    if (is_bulk)
        carry_bulk(&bench, 1, UINT64_C(4) << 20);
    else
        carry_streams(&bench, 100);
    before = bench.targets[0].received;
    counted(&bench, is_bulk ? before + (amount << 20) : 0, is_bulk ? 0 : (size_t)amount);
    if (is_bulk)
        printf("bytes %" PRIu64 "\n", bench.targets[0].received - before);
    bench_fini(&bench);
}

int main(int argc, char **argv)
{
    uint64_t mib;

    if (argc == 3) {
        count(argv[1], strtoull(argv[2], NULL, 10));
        return 0;
    }
    mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1024;
    idle_streams(); /* first: later there is memory that has been used before */
    bulk(1, mib << 20);
    bulk(10, mib << 20);
    bulk(100, mib << 20);
    messages(1, 64, mib << 10);
    messages(10, 64, mib << 11);
    messages(100, 64, mib << 12);
    messages(1000, 64, mib << 12);
    messages(100, 1024, mib << 11);
    messages(100, 4096, mib << 10);
    whole_streams(mib << 7);
    return 0;
}
