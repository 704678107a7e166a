/*
 *   start ──> waiting for its turn <──> trying ──> on_connect
 *                  └── the time is over, or no use to wait ──> on_connect with the reason
 *
 * One timer has the end of everything, or of the try where that comes earlier.
 */
#include "net/target.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dialer.h"
#include "net/socket.h"
#include "net/target_place.h"

/* The user of a dialer. */
struct dialer_owner {
    struct dialer *dialer; /* while several addresses are tried */
};

struct target {
    struct target_owner *owner;
    const struct target_filter *filter;
    struct target_place *place; /* NULL once left */
    struct target_turn turn;
    struct dialer_owner dialing;
    struct watch_set *set;
    uv_timer_t timer;
    uint64_t deadline_ms;
    uint32_t timeout_ms;
    enum err verdict; /* that waiting would not mend */
    struct err_detail detail;
};

static void on_timer_closed(uv_handle_t *handle)
{
    free(list_entry((uv_timer_t *)handle, struct target, timer));
}

static uint64_t now_of(const struct target *t)
{
    return uv_now(watch_set_loop(t->set));
}

static void on_timer(uv_timer_t *timer);

static void set_timer(struct target *t, uint64_t at_ms)
{
    uint64_t now = now_of(t);

    if (at_ms > t->deadline_ms)
        at_ms = t->deadline_ms;
    uv_timer_start(&t->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

/* The owner is told from the timer, never from inside its own call. */
static void give_up(struct target *t, enum err why, const char *detail)
{
    t->verdict = why;
    err_set(&t->detail, why, "%s", detail);
    uv_timer_start(&t->timer, on_timer, 0, 0);
}

static void end_try(struct target *t)
{
    if (t->dialing.dialer != NULL)
        dialer_cancel(t->dialing.dialer);
    t->dialing.dialer = NULL;
    /* It may have connected by now: the service is to see a RST, as from the client itself. */
    if (t->owner->watch->fd >= 0)
        socket_set_abortive(t->owner->watch->fd);
    watch_close_fd(t->owner->watch);
}

static bool is_trying(const struct target *t)
{
    return t->dialing.dialer != NULL || t->owner->watch->fd >= 0;
}

static void leave(struct target *t)
{
    if (t->place != NULL)
        target_place_leave(t->place, &t->turn);
    t->place = NULL;
}

/* -- a try -- */

/* Whether another time may be better. */
static bool is_worth_waiting(enum err e)
{
    return (err_class(e) == ERR_CLASS_NETWORK && e != ERR_RESET) || e == ERR_NOT_FOUND;
}

static void try_failed(struct target *t, enum err why, const char *detail)
{
    if (is_worth_waiting(why) && target_place_failed(t->place, &t->turn, why, detail))
        set_timer(t, t->deadline_ms);
    else
        give_up(t, why, detail);
}

static void connect_failed(struct target *t, int error)
{
    char text[96];
    char detail[128];
    enum err why;

    /* A Unix socket whose backlog is full. */
    if (error == EAGAIN)
        error = ECONNREFUSED;
    why = err_from_errno(error);
    snprintf(detail, sizeof(detail), "connect: %s", strerror_r(error, text, sizeof(text)));
    /* It had connected, and was reset before anybody looked. The client is to see no less. */
    if (why == ERR_RESET)
        target_place_answered(t->place, &t->turn);
    try_failed(t, why, detail);
}

static void connected(struct target *t, int fd)
{
    struct target_owner *owner = t->owner;

    target_place_answered(t->place, &t->turn);
    leave(t);
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
    owner->on_connect(owner, ERR_OK, fd, "");
}

void target_on_ready(struct target *t, unsigned events)
{
    int error = events & (WATCH_ERROR | WATCH_HANGUP) ? socket_error(t->owner->watch->fd) : 0;

    if (error != 0) {
        watch_close_fd(t->owner->watch);
        connect_failed(t, error);
    } else if (events & WATCH_WRITE) {
        connected(t, t->owner->watch->fd);
    }
}

static void try_one(struct target *t, const struct address *a)
{
    int fd;
    enum err e = socket_new(&fd, a);

    if (e != ERR_OK) {
        give_up(t, e, err_text(e));
        return;
    }
    if (socket_connect(fd, a) != ERR_OK) {
        int error = errno;
        close(fd);
        connect_failed(t, error);
        return;
    }
    e = watch_open(t->owner->watch, t->set, fd);
    if (e != ERR_OK) {
        close(fd);
        give_up(t, e, err_text(e));
    }
}

static void on_dialed(struct dialer_owner *dialing, const struct dialer_outcome *outcome)
{
    struct target *t = list_entry(dialing, struct target, dialing);

    dialing->dialer = NULL;
    if (outcome->fd >= 0)
        connected(t, outcome->fd);
    else
        try_failed(t, outcome->error, outcome->detail);
}

static void try_many(struct target *t, const struct address_list *addresses)
{
    struct dialer_options options = {
        .host = "",
        .port = address_port(&addresses->items[0]),
        .addresses = addresses,
        .timeout_ms = t->timeout_ms,
        .on_done = on_dialed,
        .owner = &t->dialing,
    };
    enum err e = dialer_start(&t->dialing.dialer, watch_set_loop(t->set), &options);

    if (e != ERR_OK)
        give_up(t, e, err_text(e));
}

static bool is_allowed(const struct target *t, const struct address *a)
{
    return t->filter == NULL || t->filter->is_allowed(t->filter, a);
}

static void on_turn(struct target_turn *turn, const struct address_list *addresses,
                    uint32_t timeout_ms)
{
    struct target *t = list_entry(turn, struct target, turn);
    struct address_list allowed = {.count = 0};
    char ip[ADDRESS_TEXT_MAX];
    char detail[ADDRESS_TEXT_MAX + 32];

    if (timeout_ms > 0)
        set_timer(t, now_of(t) + timeout_ms);
    for (size_t i = 0; i < addresses->count; i++) {
        if (is_allowed(t, &addresses->items[i]))
            allowed.items[allowed.count++] = addresses->items[i];
    }
    if (allowed.count == 0) {
        address_format_ip(&addresses->items[0], ip);
        snprintf(detail, sizeof(detail), "%s is not allowed", ip);
        give_up(t, ERR_NOT_ALLOWED, detail);
    } else if (allowed.count == 1) {
        try_one(t, &allowed.items[0]);
    } else {
        try_many(t, &allowed);
    }
}

static void on_unresolved(struct target_turn *turn, const struct err_detail *why)
{
    struct target *t = list_entry(turn, struct target, turn);

    t->place = NULL;
    give_up(t, ERR_RESOLVE, why->text);
}

/* -- the end -- */

static void time_is_over(struct target *t)
{
    const char *text;
    enum err trouble = target_place_trouble(t->place, &text);

    /* Whoever is trying has only its own silence to tell of. */
    if (trouble == ERR_OK || (is_trying(t) && !t->turn.is_probing)) {
        trouble = ERR_TIMEOUT;
        text = "connect: no answer";
    }
    t->verdict = trouble;
    err_set(&t->detail, trouble, "%s (for %u ms)", text, t->timeout_ms);
}

static void on_timer(uv_timer_t *timer)
{
    struct target *t = list_entry(timer, struct target, timer);
    struct target_owner *owner = t->owner;

    if (t->verdict == ERR_OK && now_of(t) >= t->deadline_ms)
        time_is_over(t);
    if (t->verdict == ERR_OK) {
        end_try(t);
        try_failed(t, ERR_TIMEOUT, "connect: no answer");
        return;
    }
    if (is_trying(t)) {
        end_try(t);
        /* So that newcomers need not all find out. */
        (void)!target_place_failed(t->place, &t->turn, ERR_TIMEOUT, "connect: no answer");
    }
    leave(t);
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
    owner->on_connect(owner, t->verdict, -1, t->detail.text);
}

enum err target_start(struct target **out, struct target_places *places, struct watch_set *set,
                      const struct target_options *options, struct target_owner *owner)
{
    struct target *t = calloc(1, sizeof(*t));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (t == NULL)
        return e;
    t->owner = owner;
    t->filter = options->filter;
    t->set = set;
    t->timeout_ms = options->timeout_ms;
    t->deadline_ms = now_of(t) + options->timeout_ms;
    t->turn.is_impatient = options->patience == TARGET_IMPATIENT;
    t->turn.asker = options->asker;
    t->turn.on_turn = on_turn;
    t->turn.on_unresolved = on_unresolved;
    e = target_place_enter(places, &t->place, options->host, options->port, options->path,
                           &t->turn);
    if (e != ERR_OK) {
        free(t);
        return e;
    }
    uv_timer_init(watch_set_loop(set), &t->timer);
    set_timer(t, t->deadline_ms);
    target_place_wait(t->place, &t->turn);
    *out = t;
    return ERR_OK;
}

void target_cancel(struct target *t)
{
    if (t == NULL)
        return;
    end_try(t);
    leave(t);
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}
