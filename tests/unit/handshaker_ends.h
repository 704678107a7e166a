/* Handshakers of a dest and of sources in one process, over real connections, and strangers. */
#ifndef UTUN_TESTS_HANDSHAKER_ENDS_H
#define UTUN_TESTS_HANDSHAKER_ENDS_H

#include "handshake_peers.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#include "base/list.h"
#include "crypto/keypair_pool.h"
#include "net/handshaker.h"
#include "net/listener.h"

#define PATIENCE_S 20
#define EVENTS_MAX 1024

enum event_type {
    EVENT_REFUSED,
    EVENT_FAILED,
    EVENT_ESTABLISHED,
    EVENT_ADMITTED,
};

struct event {
    enum event_type type;
    enum err why;
    uint32_t retry_after_ms;
    char detail[512];
    struct address peer;
    struct established e;
};

/* What a handshaker has told, in the order it was told. */
struct story {
    pthread_mutex_t lock;
    pthread_cond_t told;
    struct event *events; /* EVENTS_MAX */
    size_t count;
};

struct dest {
    struct handshaker_owner owner;
    struct story story;
    struct handshaker *handshaker;
    struct tls_context *tls;
    uint16_t port;
};

struct source {
    struct handshaker_dial dial;
    struct story story;
    struct handshaker *handshaker;
    struct keypair_pool *pool;
    struct tls_context *tls;
};

static inline void story_init(struct story *s)
{
    pthread_condattr_t monotonic;

    memset(s, 0, sizeof(*s));
    s->events = calloc(EVENTS_MAX, sizeof(*s->events));
    assert_non_null(s->events);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&s->lock, NULL);
}

static inline void story_fini(struct story *s)
{
    for (size_t i = 0; i < s->count; i++)
        established_fini(&s->events[i].e);
    free(s->events);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->told);
}

static inline void tell(struct story *s, enum event_type type,
                        const struct handshaker_failure *failure, struct established *e)
{
    pthread_mutex_lock(&s->lock);
    assert_true(s->count < EVENTS_MAX);
    struct event *event = &s->events[s->count++];
    event->type = type;
    established_init(&event->e);
    if (failure != NULL) {
        event->why = failure->why;
        event->retry_after_ms = failure->retry_after_ms;
        event->peer = failure->peer;
        snprintf(event->detail, sizeof(event->detail), "%s", failure->detail);
    }
    if (e != NULL) {
        event->e = *e;
        established_init(e);
    }
    pthread_cond_broadcast(&s->told);
    pthread_mutex_unlock(&s->lock);
}

/* Waits for event number `index`. */
static inline struct event *await_any(struct story *s, size_t index)
{
    struct timespec deadline;
    int waited = 0;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&s->lock);
    while (s->count <= index && waited == 0)
        waited = pthread_cond_timedwait(&s->told, &s->lock, &deadline);
    pthread_mutex_unlock(&s->lock);
    if (waited != 0)
        fail_msg("event %zu did not come", index);
    return &s->events[index];
}

/* It must be of that type. */
static inline struct event *await(struct story *s, size_t index, enum event_type type)
{
    await_any(s, index);
    if (s->events[index].type != type)
        fail_msg("event %zu is of type %d: %s", index, s->events[index].type,
                 s->events[index].detail);
    return &s->events[index];
}

static inline size_t told(struct story *s)
{
    pthread_mutex_lock(&s->lock);
    size_t count = s->count;
    pthread_mutex_unlock(&s->lock);
    return count;
}

/* -- the two sides -- */

static inline void on_refused(struct handshaker_owner *owner, const struct address *peer,
                              enum err why)
{
    struct dest *d = list_entry(owner, struct dest, owner);
    struct handshaker_failure failure = {.peer = *peer, .why = why, .detail = ""};

    tell(&d->story, EVENT_REFUSED, &failure, NULL);
}

static inline void on_failed(struct handshaker_owner *owner,
                             const struct handshaker_failure *failure)
{
    tell(&list_entry(owner, struct dest, owner)->story, EVENT_FAILED, failure, NULL);
}

static inline void on_established(struct handshaker_owner *owner, struct established *e)
{
    tell(&list_entry(owner, struct dest, owner)->story, EVENT_ESTABLISHED, NULL, e);
}

static inline void on_outcome(struct handshaker_dial *dial, struct established *e,
                              const struct handshaker_failure *failure)
{
    tell(&list_entry(dial, struct source, dial)->story,
         failure != NULL ? EVENT_FAILED : EVENT_ESTABLISHED, failure, e);
}

static inline struct handshaker_options dest_bounds(void)
{
    return (struct handshaker_options){
        .rate_limit = 0, .rate_window_ms = 10000, .max_in_flight = 64};
}

static inline void dest_start(struct dest *d, const struct pki *p,
                              const struct peer_setup *setup_of, struct handshaker_options options)
{
    const struct listener_bind bind = {.ip = "127.0.0.1", .count = 1};
    struct peer_setup s = *setup_of;
    struct err_detail detail;

    s.use = IDENTITY_DEST;
    story_init(&d->story);
    d->tls = peer_context(p, &s);
    d->owner.on_refused = on_refused;
    d->owner.on_failed = on_failed;
    d->owner.on_established = on_established;
    options.tls = d->tls;
    options.owner = &d->owner;
    assert_int_equal(listener_bind(&options.listen_fd, &d->port, &bind, &detail), ERR_OK);
    assert_int_equal(handshaker_start(&d->handshaker, &options), ERR_OK);
}

static inline void dest_end(struct dest *d)
{
    handshaker_free(d->handshaker);
    tls_context_free(d->tls);
    story_fini(&d->story);
}

static inline void source_start(struct source *s, const struct pki *p,
                                const struct peer_setup *setup_of)
{
    struct peer_setup setup_copy = *setup_of;
    struct handshaker_options options = {.connect_timeout_ms = 5000, .listen_fd = -1};

    setup_copy.use = IDENTITY_SOURCE;
    story_init(&s->story);
    s->tls = peer_context(p, &setup_copy);
    s->pool = NULL;
    if (setup_copy.mode != KEM_MLKEM768)
        assert_int_equal(keypair_pool_start(&s->pool, 1), ERR_OK);
    options.tls = s->tls;
    options.pool = s->pool;
    assert_int_equal(handshaker_start(&s->handshaker, &options), ERR_OK);
}

static inline void source_dial(struct source *s, const char *host, uint16_t port)
{
    s->dial.host = host;
    s->dial.port = port;
    s->dial.on_outcome = on_outcome;
    memset(s->dial.tunnel_id, 0x42, sizeof(s->dial.tunnel_id));
    handshaker_dial(s->handshaker, &s->dial);
}

static inline void source_end(struct source *s)
{
    handshaker_free(s->handshaker);
    keypair_pool_close(s->pool);
    tls_context_free(s->tls);
    story_fini(&s->story);
}

/* -- strangers -- */

/* From 127.0.0.`last`. */
static inline int stranger_from(uint8_t last, uint16_t port)
{
    struct sockaddr_in near = {.sin_family = AF_INET};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    near.sin_addr.s_addr = htonl(UINT32_C(0x7f000000) + last);
    assert_int_equal(bind(fd, (struct sockaddr *)&near, sizeof(near)), 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline int stranger(uint16_t port)
{
    return stranger_from(1, port);
}

/* Reads to the end: returns 0 at a FIN, the errno otherwise; *len is how much there was. */
static inline int read_to_end(int fd, size_t *len)
{
    char buffer[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (*len = 0;;) {
        assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
        ssize_t n = TEMP_FAILURE_RETRY(read(fd, buffer, sizeof(buffer)));
        if (n <= 0)
            return n == 0 ? 0 : errno;
        *len += (size_t)n;
    }
}

static inline size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* -- life -- */

static inline int ends_setup(void **state)
{
    uv_loop_t loop;

    /* libuv opens a pipe with its first loop and keeps it; the tests count descriptors. */
    if (pki_setup(state) != 0 || uv_loop_init(&loop) != 0 || uv_loop_close(&loop) != 0)
        return -1;
    pki_issue_pair(*state);
    return 0;
}

#endif
