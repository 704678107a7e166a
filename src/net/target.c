#include "net/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/address.h"
#include "net/dialer.h"
#include "net/socket.h"

struct target {
    struct target_owner *owner;
    struct dialer *dialer; /* for a name; then the rest is not used */
    struct watch watch;    /* has the socket, once connect() has not failed at once */
    uv_timer_t timer;
    int early_error; /* of connect(), reported by the timer */
};

/* The user of a dialer. */
struct dialer_owner {
    struct target target;
};

static void target_free(struct target *t)
{
    free(list_entry(t, struct dialer_owner, target));
}

/* -- a name -- */

static void on_dialed(struct dialer_owner *dialing, const struct dialer_outcome *outcome)
{
    struct target_owner *owner = dialing->target.owner;

    target_free(&dialing->target);
    owner->on_connect(owner, outcome->fd >= 0 ? ERR_OK : outcome->error, outcome->fd,
                      outcome->detail);
}

static enum err dial(struct target *t, struct watch_set *set, const struct target_options *options)
{
    struct dialer_options dialing = {
        .host = options->host,
        .port = options->port,
        .timeout_ms = options->timeout_ms,
        .on_done = on_dialed,
        .owner = list_entry(t, struct dialer_owner, target),
    };

    return dialer_start(&t->dialer, watch_set_loop(set), &dialing);
}

/* -- an address -- */

static void on_timer_closed(uv_handle_t *handle)
{
    target_free(list_entry((uv_timer_t *)handle, struct target, timer));
}

static void report(struct target *t, int error, int fd)
{
    struct target_owner *owner = t->owner;
    char text[96];
    char detail[128] = "";

    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
    if (error != 0)
        snprintf(detail, sizeof(detail), "connect: %s", strerror_r(error, text, sizeof(text)));
    owner->on_connect(owner, error == 0 ? ERR_OK : err_from_errno(error), fd, detail);
}

static void on_ready(struct watch *watch, unsigned events)
{
    struct target *t = list_entry(watch, struct target, watch);
    int fd = watch->fd;
    int error = socket_error(fd);

    if (error != 0) {
        watch_close_fd(watch);
        report(t, error, -1);
    } else if (events & WATCH_WRITE) {
        watch_close(watch);
        report(t, 0, fd);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct target *t = list_entry(timer, struct target, timer);

    watch_close_fd(&t->watch);
    report(t, t->early_error != 0 ? t->early_error : ETIMEDOUT, -1);
}

static enum err connect_directly(struct target *t, struct watch_set *set,
                                 const struct address *address, uint32_t timeout_ms)
{
    int fd;
    enum err e = socket_new(&fd, address);

    if (e != ERR_OK)
        return e;
    if (socket_connect(fd, address) != ERR_OK) {
        t->early_error = errno;
        close(fd);
        timeout_ms = 0;
    } else {
        e = watch_open(&t->watch, set, fd);
        if (e != ERR_OK) {
            close(fd);
            return e;
        }
    }
    uv_timer_init(watch_set_loop(set), &t->timer);
    uv_timer_start(&t->timer, on_timer, timeout_ms, 0);
    return ERR_OK;
}

/* -- both -- */

enum err target_start(struct target **out, struct watch_set *set,
                      const struct target_options *options, struct target_owner *owner)
{
    struct dialer_owner *dialing = calloc(1, sizeof(*dialing));
    struct address address;
    struct target *t;
    enum err e;

    *out = NULL;
    if (dialing == NULL)
        return ERR_NOMEM;
    t = &dialing->target;
    t->owner = owner;
    watch_init(&t->watch, on_ready);
    if (address_parse(&address, options->host, options->port) == ERR_OK)
        e = connect_directly(t, set, &address, options->timeout_ms);
    else
        e = dial(t, set, options);
    if (e != ERR_OK) {
        target_free(t);
        return e;
    }
    *out = t;
    return ERR_OK;
}

void target_cancel(struct target *t)
{
    if (t == NULL)
        return;
    if (t->dialer != NULL) {
        dialer_cancel(t->dialer);
        target_free(t);
        return;
    }
    /* It may have connected by now: the service is to see a RST, as from the client itself. */
    if (t->watch.fd >= 0)
        socket_set_abortive(t->watch.fd);
    watch_close_fd(&t->watch);
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}
