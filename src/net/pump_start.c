/* How a pump begins: at the source with a client, at the dest with a target to connect to. */
#include "net/pump_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/socket.h"
#include "net/wire_error.h"

/* What goes to the target ahead of the client's bytes. */
struct proxy_preface {
    size_t len;
    uint8_t data[PROXY_PROTOCOL_ROOM];
};

static void count_connect(struct pump_stats *stats, enum err why, uint64_t started, uint64_t now)
{
    if (why == ERR_OK) {
        histogram_observe(&stats->connect, now - started);
        stats_set(&stats->connected_at_us, now);
    } else {
        stats_set(&stats->failure, why);
        stats_set(&stats->failed_at_us, now);
    }
}

/* Whole, or false: the socket is new, so there is room. */
static bool send_preface(struct stream_owner *p, int fd)
{
    const struct proxy_preface *preface = p->preface;
    bool is_sent = preface == NULL ||
                   send(fd, preface->data, preface->len, MSG_NOSIGNAL) == (ssize_t)preface->len;

    free(p->preface);
    p->preface = NULL;
    return is_sent;
}

static void on_connect(struct target_owner *target_owner, enum err why, int fd, const char *detail)
{
    struct stream_owner *p = list_entry(target_owner, struct stream_owner, target_owner);

    p->target = NULL;
    if (why == ERR_OK && p->watch.fd < 0) {
        why = watch_open(&p->watch, worker_watches(pump_worker(p)), fd);
        if (why != ERR_OK)
            socket_reset(fd);
    }
    if (why == ERR_OK && !send_preface(p, fd))
        why = ERR_RESET;
    if (p->owner->stats != NULL)
        count_connect(p->owner->stats, why, p->started_us, worker_now(pump_worker(p)));
    if (why != ERR_OK) {
        p->detail = strdup(detail);
        pump_cut_both(p, why);
        return;
    }
    pump_enter(p, PUMP_OPEN);
    p->was_open = true;
    /* Delivers what has come meanwhile, and may end the pump. */
    stream_accept(p->stream);
    tunnel_owner_touch(p->tunnel);
}

static struct stream_owner *pump_new(struct tunnel_owner *o, const struct stream_target *target,
                                     struct pump_owner *owner, enum pump_state state)
{
    struct stream_owner *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    watch_init(&p->watch, pump_on_ready);
    list_init(&p->link);
    sweep_item_init(&p->timer);
    p->tunnel = o;
    p->owner = owner;
    p->target_owner.on_connect = on_connect;
    p->target_owner.watch = &p->watch;
    p->started_us = worker_now(o->worker);
    p->read_want = PUMP_READ_MIN;
    p->client = target->client;
    p->port = target->port;
    p->name = target->name[0] == '\0' ? NULL : strdup(target->name);
    p->state = (uint8_t)state;
    p->was_open = state == PUMP_OPEN;
    return p;
}

/* From here on on_end will come. */
static void begin(struct stream_owner *p)
{
    list_append(&p->tunnel->pumps, &p->link);
    pump_worker_set(p)->count++;
    stats_add(&pump_stats_of(p)->streams_opened, 1);
    stats_add(&pump_stats_of(p)->streams_active, 1);
    if (p->owner->stats != NULL) {
        stats_add(&p->owner->stats->opened, 1);
        stats_add(&p->owner->stats->active, 1);
    }
    tunnel_owner_touch(p->tunnel);
}

enum err pump_ask(struct tunnel_owner *o, int fd, const struct stream_target *target,
                  size_t (*reply)(enum err why, uint8_t room[static PUMP_REPLY_MAX]),
                  struct pump_owner *owner)
{
    struct stream_owner *p = pump_new(o, target, owner, reply == NULL ? PUMP_OPEN : PUMP_ASKING);
    enum err e = ERR_NOMEM;

    if (p != NULL)
        e = o->is_closing ? ERR_CLOSED : watch_open(&p->watch, worker_watches(o->worker), fd);
    if (e == ERR_OK) {
        e = stream_open(&p->stream, o->tunnel, target, p);
        if (e != ERR_OK)
            watch_close(&p->watch);
    }
    if (e != ERR_OK) {
        pump_free(p);
        return e;
    }
    p->reply = reply;
    begin(p);
    /* Most clients speak first, and many have by now: then their words go out with the OPEN. */
    if (reply == NULL)
        watch_again(&p->watch, WATCH_READ);
    return ERR_OK;
}

enum err pump_accept(struct tunnel_owner *o, int fd, const struct stream_target *target,
                     struct pump_owner *owner)
{
    enum err e = pump_ask(o, fd, target, NULL, owner);

    if (e != ERR_OK)
        socket_reset(fd);
    return e;
}

static enum err make_preface(struct stream_owner *p, const struct stream_target *target)
{
    enum proxy_protocol_version version = p->owner->proxy_protocol;

    if (version == PROXY_PROTOCOL_NONE)
        return ERR_OK;
    p->preface = malloc(sizeof(*p->preface));
    if (p->preface == NULL)
        return ERR_NOMEM;
    p->preface->len =
        proxy_protocol_encode(version, &target->client, &target->local, p->preface->data);
    return ERR_OK;
}

enum err pump_dial(struct tunnel_owner *o, struct stream *stream,
                   const struct stream_target *target, const struct target_options *options,
                   struct pump_owner *owner)
{
    struct stream_owner *p = pump_new(o, target, owner, PUMP_CONNECTING);
    enum err e = p == NULL ? ERR_NOMEM : make_preface(p, target);

    if (e == ERR_OK)
        e = target_start(&p->target, worker_targets(o->worker), worker_watches(o->worker), options,
                         &p->target_owner);
    if (e != ERR_OK) {
        pump_free(p);
        tunnel_owner_refuse(o, stream, wire_code_of(e));
        return e;
    }
    p->stream = stream;
    stream_set_owner(stream, p);
    begin(p);
    return ERR_OK;
}
