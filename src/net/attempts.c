#include "net/attempts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "crypto/keypair_pool.h"
#include "net/dialer.h"
#include "net/opening.h"
#include "net/socket.h"
#include "tunnel/handshake.h"

struct dialer_owner {
    struct dialer *dialer;
};

/* Of a handshake that is under way. */
struct handshake_owner {
    struct handshaker_owner *handshaking; /* at a dest */
    struct keypair_pool *pool;            /* at a source: where its pair comes from */
};

struct attempt {
    struct attempts *all;
    struct opening_owner opening_owner;
    struct opening *opening;
    struct dialer_owner dialing;
    struct handshake_owner shaking;
    struct handshaker_dial *dial; /* NULL: it was accepted, or its outcome has been told */
    bool is_accepted;
    struct visitor visitor; /* of one that was accepted */
    struct address peer;
    struct list link;
};

void attempts_init(struct attempts *all)
{
    list_init(&all->list);
    all->count = 0;
}

static void set_count(struct attempts *all, size_t count)
{
    all->count = count;
    stats_set(&all->stats->in_flight, count);
}

static struct attempt *attempt_new(struct attempts *all)
{
    struct attempt *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->all = all;
    list_init(&a->link);
    list_append(&all->list, &a->link);
    set_count(all, all->count + 1);
    return a;
}

static void attempt_free(struct attempt *a)
{
    struct attempts *all = a->all;

    if (a->is_accepted)
        doorkeeper_leave(all->doorkeeper, &a->visitor);
    list_remove(&a->link);
    free(a);
    set_count(all, all->count - 1);
    if (all->count == 0)
        all->on_empty(all);
}

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

/* -- outcomes -- */

void attempts_refuse_dial(struct handshaker_dial *dial, enum err why)
{
    const struct handshaker_failure failure = {.why = why, .detail = err_text(why)};

    dial->on_outcome(dial, NULL, &failure);
}

static void report(struct attempt *a, const struct handshaker_failure *failure)
{
    struct handshaker_owner *owner = a->all->options->owner;
    struct handshaker_dial *dial = a->dial;

    stats_add(&a->all->stats->ended[failure->why], 1);
    if (dial != NULL) {
        a->dial = NULL;
        dial->on_outcome(dial, NULL, failure);
    } else {
        owner->on_failed(owner, failure);
    }
}

static void report_failure(struct attempt *a, enum err why, const char *detail)
{
    const struct handshaker_failure failure = {.peer = a->peer, .why = why, .detail = detail};

    report(a, &failure);
}

static void on_failed(struct opening_owner *owner, const struct opening_failure *failure)
{
    struct attempt *a = list_entry(owner, struct attempt, opening_owner);

    if (failure->is_authenticated && a->is_accepted)
        doorkeeper_give_back(a->all->doorkeeper, &a->visitor);
    const struct handshaker_failure why = {.peer = a->peer,
                                           .why = failure->why,
                                           .detail = failure->detail,
                                           .retry_after_ms = failure->retry_after_ms};

    report(a, &why);
}

static void on_established(struct opening_owner *owner, struct established *e)
{
    struct attempt *a = list_entry(owner, struct attempt, opening_owner);
    struct handshaker_owner *handshaking = a->all->options->owner;
    struct handshaker_dial *dial = a->dial;
    struct handshaker_stats *stats = a->all->stats;

    if (a->is_accepted) {
        doorkeeper_give_back(a->all->doorkeeper, &a->visitor);
        doorkeeper_get_to_know(a->all->doorkeeper, &a->visitor, now_us());
    }
    stats_add(&stats->ended[ERR_OK], 1);
    histogram_observe(&stats->duration, e->info->duration_us);
    if (dial != NULL) {
        a->dial = NULL;
        dial->on_outcome(dial, e, NULL);
    } else {
        handshaking->on_established(handshaking, e);
    }
}

static void on_closed(struct opening_owner *owner)
{
    attempt_free(list_entry(owner, struct attempt, opening_owner));
}

/* -- the connection -- */

static bool on_resume(struct handshake_owner *shaking, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE])
{
    struct handshaker_owner *owner = shaking->handshaking;

    return owner->on_resume != NULL && owner->on_resume(owner, tunnel_id, identity, secret);
}

static uint32_t advise(const struct attempts *all, enum err why)
{
    struct handshaker_owner *owner = all->options->owner;

    return owner->on_advise == NULL ? 0 : owner->on_advise(owner, why);
}

static enum err on_admit(struct handshake_owner *shaking, struct handshake_visitor *visitor)
{
    struct attempt *a = list_entry(shaking, struct attempt, shaking);
    struct handshaker_owner *owner = a->all->options->owner;
    enum err e = ERR_OK;

    if (owner->on_admit != NULL)
        e = owner->on_admit(owner, visitor);
    if (e != ERR_OK)
        visitor->retry_after_ms = advise(a->all, e);
    return e;
}

static enum err on_keypair(struct handshake_owner *shaking, struct mceliece_keypair **out)
{
    return keypair_pool_take_or_make(shaking->pool, out);
}

static const struct tls_context *choose_tls(const struct attempt *a)
{
    const struct handshaker_options *options = a->all->options;
    const struct tls_context *chosen = NULL;

    if (a->dial != NULL && a->dial->choose_tls != NULL)
        chosen = a->dial->choose_tls(a->dial);
    else if (a->dial == NULL && options->owner->choose_tls != NULL)
        chosen = options->owner->choose_tls(options->owner);
    return chosen != NULL ? chosen : options->tls;
}

/* Takes fd. After an error the attempt is still the caller's, and no callback comes. */
static enum err open_connection(struct attempt *a, int fd, struct err_detail *d)
{
    const struct handshaker_options *all = a->all->options;
    struct handshake_options options = {
        .tls = choose_tls(a),
        .max_size = all->max_size,
        .owner = &a->shaking,
    };
    struct opening_options opening = {
        .set = a->all->watches,
        .owner = &a->opening_owner,
        .peer = a->peer,
        .fd = fd,
    };
    enum err e;

    if (a->dial != NULL) {
        options.dest_host = a->dial->host;
        memcpy(options.tunnel_id, a->dial->tunnel_id, sizeof(options.tunnel_id));
        options.tunnel_secret = a->dial->tunnel_secret;
        a->shaking.pool = all->pool;
        if (all->pool != NULL)
            options.on_keypair = on_keypair;
    } else {
        a->shaking.handshaking = all->owner;
        options.on_resume = on_resume;
        options.on_admit = on_admit;
    }
    e = handshake_new(&opening.handshake, &options, uv_hrtime() / 1000000, d);
    if (e != ERR_OK) {
        close(fd);
        return e;
    }
    a->opening_owner.on_established = on_established;
    a->opening_owner.on_failed = on_failed;
    a->opening_owner.on_closed = on_closed;
    return opening_start(&a->opening, &opening);
}

static void open_or_fail(struct attempt *a, int fd)
{
    struct err_detail d;
    enum err e;

    err_set(&d, ERR_OK, "%s", "");
    e = open_connection(a, fd, &d);
    if (e == ERR_OK)
        return;
    report_failure(a, e, d.text[0] != 0 ? d.text : err_text(e));
    attempt_free(a);
}

/* -- the dest accepts -- */

static enum err let_in(struct attempts *all, struct visitor *v, const struct address *peer)
{
    struct handshaker_owner *owner = all->options->owner;

    if (owner->is_allowed != NULL && !owner->is_allowed(owner, peer))
        return ERR_NOT_ALLOWED;
    return doorkeeper_ask(all->doorkeeper, v, peer, now_us());
}

void attempts_accept(struct attempts *all, int fd, const struct address *peer)
{
    struct handshaker_owner *owner = all->options->owner;
    struct visitor v;
    enum err e = let_in(all, &v, peer);
    struct attempt *a = e == ERR_OK ? attempt_new(all) : NULL;

    if (a == NULL) {
        e = e != ERR_OK ? e : ERR_NOMEM;
        socket_reset(fd);
        stats_add(&all->stats->refused[e], 1);
        owner->on_refused(owner, peer, e);
        return;
    }
    a->is_accepted = true;
    a->visitor = v;
    a->peer = *peer;
    doorkeeper_enter(all->doorkeeper, &a->visitor);
    open_or_fail(a, fd);
}

/* -- the source dials -- */

static void on_dialed(struct dialer_owner *owner, const struct dialer_outcome *outcome)
{
    struct attempt *a = list_entry(owner, struct attempt, dialing);

    a->dialing.dialer = NULL;
    if (outcome->error != ERR_OK) {
        report_failure(a, outcome->error, outcome->detail);
        attempt_free(a);
        return;
    }
    address_of_peer(&a->peer, outcome->fd);
    open_or_fail(a, outcome->fd);
}

void attempts_dial(struct attempts *all, struct handshaker_dial *dial)
{
    struct attempt *a = attempt_new(all);
    enum err e;

    if (a == NULL) {
        attempts_refuse_dial(dial, ERR_NOMEM);
        return;
    }
    const struct dialer_options options = {
        .host = dial->host,
        .port = dial->port,
        .stay = dial->stay,
        .skip = dial->skip,
        .timeout_ms = all->options->connect_timeout_ms,
        .on_done = on_dialed,
        .owner = &a->dialing,
    };
    a->dial = dial;
    e = dialer_start(&a->dialing.dialer, watch_set_loop(all->watches), &options);
    if (e != ERR_OK) {
        report_failure(a, e, err_text(e));
        attempt_free(a);
    }
}

/* -- the end -- */

/* May free it. */
static void end_attempt(struct attempt *a)
{
    if (a->is_accepted) {
        opening_refuse(a->opening, ERR_SHUTDOWN, advise(a->all, ERR_SHUTDOWN),
                       HANDSHAKER_FAREWELL_MS);
        return;
    }
    if (a->dial != NULL)
        report_failure(a, ERR_SHUTDOWN, err_text(ERR_SHUTDOWN));
    if (a->opening != NULL) {
        opening_abort(a->opening);
        return;
    }
    if (a->dialing.dialer != NULL)
        dialer_cancel(a->dialing.dialer);
    attempt_free(a);
}

void attempts_end(struct attempts *all)
{
    struct list *link = all->list.next;

    while (link != &all->list) {
        struct attempt *a = list_entry(link, struct attempt, link);

        link = link->next; /* a may be freed here, but no other */
        end_attempt(a);
    }
}
