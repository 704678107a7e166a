/*
 * resolve ── addresses ──> attempt 0 ── 250 ms or failure ──> attempt 1 ── ... ──> first that
 *    │                                                                             connects
 *    └── error                    the timer for all of it ends everything
 *
 * The handles close asynchronously: `pending` counts what libuv still holds, and the last close
 * callback frees the dialer.
 */
#include "net/dialer.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/lookups.h"
#include "net/socket.h"

struct attempt {
    struct dialer *dialer;
    struct address address;
    uv_poll_t poll;
    int fd;
    bool is_running;
};

struct dialer {
    uv_loop_t *loop;
    uv_getaddrinfo_t resolve;
    uv_timer_t stagger;
    uv_timer_t timeout;
    struct attempt attempts[ADDRESS_LIST_MAX];
    struct address stay;
    struct address_list skip;
    size_t count;
    size_t started;
    size_t running;
    size_t pending; /* handles and requests that libuv still holds */
    bool is_resolving;
    bool is_done;
    enum err error;
    struct err_detail detail;
    uint16_t port;
    void (*on_done)(struct dialer_owner *owner, const struct dialer_outcome *outcome);
    struct dialer_owner *owner;
    char host[NI_MAXHOST];
};

static void start_next(struct dialer *d);

static void release(struct dialer *d)
{
    assert(d->pending > 0);
    if (--d->pending == 0)
        free(d);
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct attempt *a = handle->data;

    release(a->dialer);
}

/* Stops watching the attempt; its socket is the caller's. */
static void attempt_end(struct attempt *a)
{
    assert(a->is_running);
    a->is_running = false;
    a->dialer->running--;
    uv_close((uv_handle_t *)&a->poll, on_poll_closed);
}

/* Ends everything that runs. The memory goes once libuv has let go of it. */
static void finish(struct dialer *d)
{
    d->is_done = true;
    for (size_t i = 0; i < d->started; i++) {
        if (d->attempts[i].is_running) {
            attempt_end(&d->attempts[i]);
            socket_reset(d->attempts[i].fd);
        }
    }
    /* Fails when it is not queued any more (then its callback is on the way), or never was. */
    if (d->is_resolving)
        uv_cancel((uv_req_t *)&d->resolve);
    uv_close((uv_handle_t *)&d->stagger, on_timer_closed);
    uv_close((uv_handle_t *)&d->timeout, on_timer_closed);
}

static void report(struct dialer *d, struct dialer_outcome *outcome)
{
    outcome->detail = d->detail.text;
    finish(d);
    d->on_done(d->owner, outcome);
}

static void report_failure(struct dialer *d)
{
    struct dialer_outcome outcome = {.fd = -1, .error = d->error};

    report(d, &outcome);
}

/* How much an error tells a person: an address that answered says more than one that did not. */
static int error_weight(enum err e)
{
    if (e == ERR_OK)
        return 0;
    if (e == ERR_REFUSED)
        return 4;
    if (e == ERR_TIMEOUT)
        return 3;
    if (e == ERR_UNREACHABLE)
        return 1;
    return 2;
}

/* Adds to what is told when all has failed. */
static void note(struct dialer *d, enum err e, const char *text)
{
    size_t used = strlen(d->detail.text);

    if (error_weight(e) > error_weight(d->error))
        d->error = e;
    snprintf(d->detail.text + used, sizeof(d->detail.text) - used, "%s%s", used > 0 ? "; " : "",
             text);
}

static void note_attempt(struct attempt *a, int errnum)
{
    char address[ADDRESS_TEXT_MAX];
    struct err_detail text;

    address_format_ip(&a->address, address);
    enum err e = err_set(&text, err_from_errno(errnum), "%s port %u: %s", address, a->dialer->port,
                         strerror(errnum));
    note(a->dialer, e, text.text);
}

static void report_success(struct attempt *a)
{
    struct dialer_outcome outcome = {.fd = a->fd, .address = a->address, .error = ERR_OK};

    attempt_end(a);
    report(a->dialer, &outcome);
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
    struct attempt *a = poll->data;
    struct dialer *d = a->dialer;
    int errnum = 0;
    socklen_t len = sizeof(errnum);

    (void)status;
    (void)events;
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0)
        errnum = errno;
    if (errnum == 0) {
        report_success(a);
        return;
    }
    note_attempt(a, errnum);
    attempt_end(a);
    close(a->fd);
    start_next(d);
}

/* Returns an errno value, or 0 when the attempt runs. */
static int attempt_start(struct attempt *a)
{
    struct dialer *d = a->dialer;
    enum err e = socket_new(&a->fd, &a->address);

    if (e != ERR_OK)
        return errno;
    if (socket_connect(a->fd, &a->address) != ERR_OK) {
        int errnum = errno;
        close(a->fd);
        return errnum;
    }
    if (uv_poll_init(d->loop, &a->poll, a->fd) != 0) {
        close(a->fd);
        return ENOMEM;
    }
    a->poll.data = a;
    d->pending++;
    d->running++;
    a->is_running = true;
    uv_poll_start(&a->poll, UV_WRITABLE, on_connect);
    return 0;
}

static void on_stagger(uv_timer_t *timer)
{
    start_next(timer->data);
}

static void start_next(struct dialer *d)
{
    while (d->started < d->count) {
        struct attempt *a = &d->attempts[d->started++];
        int errnum = attempt_start(a);
        if (errnum == 0) {
            uv_timer_start(&d->stagger, on_stagger, DIALER_STAGGER_MS, 0);
            return;
        }
        note_attempt(a, errnum);
    }
    if (d->running == 0)
        report_failure(d);
}

static void on_timeout(uv_timer_t *timer)
{
    struct dialer *d = timer->data;
    struct err_detail text;

    if (d->count == 0)
        note(d, err_set(&text, ERR_TIMEOUT, "%s: the name server does not answer", d->host),
             text.text);
    for (size_t i = 0; i < d->started; i++) {
        if (d->attempts[i].is_running)
            note_attempt(&d->attempts[i], ETIMEDOUT);
    }
    report_failure(d);
}

static void add_attempts(struct dialer *d, const struct address_list *list)
{
    const struct address_list one = {.count = 1, .items = {d->stay}};

    if (!address_is_none(&d->stay) && address_list_has(list, &d->stay))
        list = &one;
    for (size_t i = 0; i < list->count; i++) {
        if (address_list_has(&d->skip, &list->items[i]))
            continue;
        d->attempts[d->count] = (struct attempt){.dialer = d, .address = list->items[i]};
        d->count++;
    }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct dialer *d = req->data;
    struct err_detail text;

    lookups_end();
    d->is_resolving = false;
    if (!d->is_done) {
        if (status == 0 && list != NULL) {
            struct address_list addresses;
            address_list_take(&addresses, list);
            add_attempts(d, &addresses);
            if (d->count == 0)
                note(d, ERR_NOT_FOUND, "no other address");
        } else {
            err_set(&text, ERR_RESOLVE, "%s: %s", d->host,
                    status == UV_EAI_AGAIN ? "the name server does not answer" : "no such name");
            note(d, ERR_RESOLVE, text.text);
        }
        start_next(d);
    }
    uv_freeaddrinfo(list);
    release(d);
}

enum err dialer_start(struct dialer **out, uv_loop_t *loop, const struct dialer_options *options)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct dialer *d;
    char port[8];

    *out = NULL;
    if (strlen(options->host) >= sizeof(d->host))
        return ERR_TOO_LARGE;
    d = calloc(1, sizeof(*d));
    if (d == NULL)
        return ERR_NOMEM;
    d->loop = loop;
    d->port = options->port;
    d->on_done = options->on_done;
    d->owner = options->owner;
    snprintf(d->host, sizeof(d->host), "%s", options->host);
    snprintf(port, sizeof(port), "%u", options->port);

    if (options->stay != NULL)
        d->stay = *options->stay;
    if (options->skip != NULL)
        d->skip = *options->skip;
    d->resolve.data = d;
    if (options->addresses != NULL) {
        add_attempts(d, options->addresses);
    } else {
        if (uv_getaddrinfo(loop, &d->resolve, on_resolved, d->host, port, &hints) != 0) {
            free(d);
            return ERR_NOMEM;
        }
        lookups_begin();
        d->is_resolving = true;
        d->pending = 1;
    }
    uv_timer_init(loop, &d->stagger);
    uv_timer_init(loop, &d->timeout);
    d->stagger.data = d;
    d->timeout.data = d;
    d->pending += 2;
    uv_timer_start(&d->timeout, on_timeout, options->timeout_ms, 0);
    if (options->addresses != NULL)
        uv_timer_start(&d->stagger, on_stagger, 0, 0);
    *out = d;
    return ERR_OK;
}

void dialer_cancel(struct dialer *d)
{
    assert(!d->is_done);
    finish(d);
}
