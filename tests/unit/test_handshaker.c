/* Handshakers of a dest and of sources in one process, over real connections. */
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

static void story_init(struct story *s)
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

static void story_fini(struct story *s)
{
    for (size_t i = 0; i < s->count; i++)
        established_fini(&s->events[i].e);
    free(s->events);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->told);
}

static void tell(struct story *s, enum event_type type, const struct handshaker_failure *failure,
                 struct established *e)
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
static struct event *await_any(struct story *s, size_t index)
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
static struct event *await(struct story *s, size_t index, enum event_type type)
{
    await_any(s, index);
    if (s->events[index].type != type)
        fail_msg("event %zu is of type %d: %s", index, s->events[index].type,
                 s->events[index].detail);
    return &s->events[index];
}

static size_t told(struct story *s)
{
    pthread_mutex_lock(&s->lock);
    size_t count = s->count;
    pthread_mutex_unlock(&s->lock);
    return count;
}

/* -- the two sides -- */

static void on_refused(struct handshaker_owner *owner, const struct address *peer, enum err why)
{
    struct dest *d = list_entry(owner, struct dest, owner);
    struct handshaker_failure failure = {.peer = *peer, .why = why, .detail = ""};

    tell(&d->story, EVENT_REFUSED, &failure, NULL);
}

static void on_failed(struct handshaker_owner *owner, const struct handshaker_failure *failure)
{
    tell(&list_entry(owner, struct dest, owner)->story, EVENT_FAILED, failure, NULL);
}

static void on_established(struct handshaker_owner *owner, struct established *e)
{
    tell(&list_entry(owner, struct dest, owner)->story, EVENT_ESTABLISHED, NULL, e);
}

static void on_outcome(struct handshaker_dial *dial, struct established *e,
                       const struct handshaker_failure *failure)
{
    tell(&list_entry(dial, struct source, dial)->story,
         failure != NULL ? EVENT_FAILED : EVENT_ESTABLISHED, failure, e);
}

static bool nobody(struct handshaker_owner *owner, const struct address *peer)
{
    (void)owner;
    (void)peer;
    return false;
}

static struct handshaker_options dest_bounds(void)
{
    return (struct handshaker_options){
        .rate_limit = 0, .rate_window_ms = 10000, .max_in_flight = 64};
}

static void dest_start(struct dest *d, const struct pki *p, const struct peer_setup *setup_of,
                       struct handshaker_options options)
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

static void dest_end(struct dest *d)
{
    handshaker_free(d->handshaker);
    tls_context_free(d->tls);
    story_fini(&d->story);
}

static void source_start_with(struct source *s, const struct pki *p,
                              const struct peer_setup *setup_of, size_t pairs)
{
    struct peer_setup setup_copy = *setup_of;
    struct handshaker_options options = {.connect_timeout_ms = 5000, .listen_fd = -1};

    setup_copy.use = IDENTITY_SOURCE;
    story_init(&s->story);
    s->tls = peer_context(p, &setup_copy);
    s->pool = NULL;
    if (setup_copy.mode != KEM_MLKEM768)
        assert_int_equal(keypair_pool_start(&s->pool, pairs), ERR_OK);
    options.tls = s->tls;
    options.pool = s->pool;
    assert_int_equal(handshaker_start(&s->handshaker, &options), ERR_OK);
}

static void source_start(struct source *s, const struct pki *p, const struct peer_setup *setup_of)
{
    source_start_with(s, p, setup_of, 1);
}

static void source_dial(struct source *s, const char *host, uint16_t port)
{
    s->dial.host = host;
    s->dial.port = port;
    s->dial.on_outcome = on_outcome;
    memset(s->dial.tunnel_id, 0x42, sizeof(s->dial.tunnel_id));
    handshaker_dial(s->handshaker, &s->dial);
}

static void source_end(struct source *s)
{
    handshaker_free(s->handshaker);
    keypair_pool_close(s->pool);
    tls_context_free(s->tls);
    story_fini(&s->story);
}

/* -- strangers -- */

/* From 127.0.0.`last`. */
static int stranger_from(uint8_t last, uint16_t port)
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

static int stranger(uint16_t port)
{
    return stranger_from(1, port);
}

/* Reads to the end: returns 0 at a FIN, the errno otherwise; *len is how much there was. */
static int read_to_end(int fd, size_t *len)
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

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* -- tests -- */

static void a_dial_becomes_a_session(void **state)
{
    static const enum kem_mode modes[] = {KEM_HYBRID, KEM_MLKEM768, KEM_MCELIECE460896};

    for (size_t i = 0; i < 3; i++) {
        size_t before = open_descriptors();
        struct peer_setup setup_of = {.mode = modes[i]};
        struct dest d = {.port = 0};
        struct source s = {.pool = NULL};
        char byte = 0;

        dest_start(&d, *state, &setup_of, dest_bounds());
        source_start(&s, *state, &setup_of);
        source_dial(&s, "localhost", d.port);
        struct established *near = &await(&s.story, 0, EVENT_ESTABLISHED)->e;
        struct established *far = &await(&d.story, 0, EVENT_ESTABLISHED)->e;

        assert_string_equal(near->info->peer.common_name, "dest");
        assert_string_equal(far->info->peer.common_name, "edge-1");
        assert_int_equal(near->info->kem_mode, modes[i]);
        assert_true(near->info->duration_us > 0);
        assert_int_equal(address_port(&near->peer), d.port);
        for (int k = 0; k < TUNNEL_ID_SIZE; k++)
            assert_int_equal(far->info->tunnel_id[k], 0x42);
        struct handshake_result keys[2] = {{.keys = near->keys}, {.keys = far->keys}};
        assert_true(same_keys(&keys[0], &keys[1]));
        /* Nothing of the handshake is left in the connection. */
        assert_int_equal(near->leftover_len + far->leftover_len, 0);
        assert_int_equal(write(near->fd, "x", 1), 1);
        struct pollfd p = {.fd = far->fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
        assert_int_equal(read(far->fd, &byte, 1), 1);
        assert_int_equal(byte, 'x');

        source_end(&s);
        dest_end(&d);
        assert_int_equal(open_descriptors(), before);
    }
}

static void many_dials_at_once(void **state)
{
    enum { DIALS = 12 };
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.port = 0};
    struct source s[DIALS];

    memset(s, 0, sizeof(s));
    dest_start(&d, *state, &setup_of, dest_bounds());
    for (size_t i = 0; i < DIALS; i++) {
        source_start(&s[i], *state, &setup_of);
        source_dial(&s[i], "127.0.0.1", d.port);
    }
    for (size_t i = 0; i < DIALS; i++) {
        await(&s[i].story, 0, EVENT_ESTABLISHED);
        await(&d.story, i, EVENT_ESTABLISHED);
    }
    for (size_t i = 0; i < DIALS; i++)
        source_end(&s[i]);
    dest_end(&d);
}

static void an_address_that_is_not_allowed_is_reset_at_once(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct dest d = {.owner = {.is_allowed = nobody}};
    size_t len;

    dest_start(&d, *state, &setup_of, dest_bounds());
    int fd = stranger(d.port);
    assert_int_equal(read_to_end(fd, &len), ECONNRESET);
    assert_int_equal(len, 0);
    struct event *event = await(&d.story, 0, EVENT_REFUSED);
    assert_int_equal(event->why, ERR_NOT_ALLOWED);
    assert_false(address_is_none(&event->peer));
    close(fd);
    dest_end(&d);
}

static void an_address_that_comes_too_often_is_reset_at_once(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    int fds[3];
    size_t len;

    bounds.rate_limit = 2;
    bounds.rate_window_ms = 600 * 1000;
    dest_start(&d, *state, &setup_of, bounds);
    for (size_t i = 0; i < 3; i++)
        fds[i] = stranger(d.port);
    assert_int_equal(read_to_end(fds[2], &len), ECONNRESET);
    assert_int_equal(await(&d.story, 0, EVENT_REFUSED)->why, ERR_RATE);
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    dest_end(&d);
}

static void only_so_many_are_in_flight(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    int fds[3];
    size_t len;

    bounds.max_in_flight = 2;
    dest_start(&d, *state, &setup_of, bounds);
    for (size_t i = 0; i < 3; i++)
        fds[i] = stranger(d.port);
    assert_int_equal(read_to_end(fds[2], &len), ECONNRESET);
    assert_int_equal(await(&d.story, 0, EVENT_REFUSED)->why, ERR_LIMIT);

    /* Two who are silent go, and there is room again. */
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(await(&d.story, 1, EVENT_FAILED)->why, ERR_CLOSED);
    assert_int_equal(await(&d.story, 2, EVENT_FAILED)->why, ERR_CLOSED);
    source_start(&s, *state, &setup_of);
    source_dial(&s, "localhost", d.port);
    await(&s.story, 0, EVENT_ESTABLISHED);
    source_end(&s);
    close(fds[2]);
    dest_end(&d);
}

/* Whose sessions have been here is served when strangers hold all that they may. */
static void who_is_known_finds_room(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    int fds[4];
    size_t len;

    bounds.max_in_flight = 4;
    dest_start(&d, *state, &setup_of, bounds);
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 0, EVENT_ESTABLISHED);
    await(&d.story, 0, EVENT_ESTABLISHED);

    for (uint8_t i = 0; i < 4; i++)
        fds[i] = stranger_from(10 + i, d.port);
    assert_int_equal(read_to_end(fds[3], &len), ECONNRESET);
    assert_int_equal(await(&d.story, 1, EVENT_REFUSED)->why, ERR_LIMIT);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 1, EVENT_ESTABLISHED);
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
    source_end(&s);
    dest_end(&d);
}

/* From however many addresses: when all together have failed too often, strangers wait outside. */
static void strangers_use_up_their_budget(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    struct event *last;
    size_t tries = 1;

    bounds.rate_limit = 100000;
    dest_start(&d, *state, &setup_of, bounds);
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 0, EVENT_ESTABLISHED);
    last = await(&d.story, 0, EVENT_ESTABLISHED);
    do {
        int fd = stranger_from((uint8_t)(2 + tries % 250), d.port);

        (void)!send(fd, "garbage", 7, MSG_NOSIGNAL);
        close(fd);
        last = await_any(&d.story, tries++);
    } while (last->type != EVENT_REFUSED && tries < EVENTS_MAX - 2);
    assert_int_equal(last->type, EVENT_REFUSED);
    assert_int_equal(last->why, ERR_RATE);
    assert_true(tries > 128);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 1, EVENT_ESTABLISHED);
    source_end(&s);
    dest_end(&d);
}

static void a_mismatch_is_told_to_both(void **state)
{
    struct peer_setup near_setup = {.mode = KEM_HYBRID};
    struct peer_setup far_setup = {.mode = KEM_MLKEM768};
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};

    dest_start(&d, *state, &far_setup, dest_bounds());
    source_start(&s, *state, &near_setup);
    source_dial(&s, "localhost", d.port);
    const struct event *near = await(&s.story, 0, EVENT_FAILED);
    const struct event *far = await(&d.story, 0, EVENT_FAILED);
    assert_int_equal(near->why, ERR_KEM_MODE);
    assert_int_equal(far->why, ERR_KEM_MODE);
    assert_non_null(strstr(near->detail, "hybrid"));
    assert_non_null(strstr(near->detail, "mlkem768"));
    assert_non_null(strstr(far->detail, "hybrid"));
    assert_non_null(strstr(far->detail, "mlkem768"));
    source_end(&s);
    dest_end(&d);
}

/* A dest that is none says nothing: the pair was not sent, and waits for the next dial. */
static void a_dial_that_fails_early_gives_its_pair_back(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    const struct listener_bind bind = {.ip = "127.0.0.1", .count = 1};
    struct keypair_pool_counters c;
    struct err_detail detail;
    struct source s = {.pool = NULL};
    uint16_t port;
    int door;

    assert_int_equal(listener_bind(&door, &port, &bind, &detail), ERR_OK);
    /* So many that the thread does not fill it meanwhile: there is room. */
    source_start_with(&s, *state, &setup_of, KEYPAIR_POOL_MAX);
    source_dial(&s, "127.0.0.1", port);
    struct pollfd p = {.fd = door, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
    close(accept(door, NULL, NULL));
    await(&s.story, 0, EVENT_FAILED);
    handshaker_free(s.handshaker); /* so that all of it is over */
    s.handshaker = NULL;
    keypair_pool_count(s.pool, &c);
    assert_int_equal(c.returned, 1);
    source_end(&s);
    close(door);
}

static void a_port_that_refuses_is_named(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    struct source s = {.pool = NULL};
    char port[32];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(port, sizeof(port), "127.0.0.1 port %u", ntohs(address.sin_port));
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", ntohs(address.sin_port));
    const struct event *event = await(&s.story, 0, EVENT_FAILED);
    assert_int_equal(event->why, ERR_REFUSED);
    assert_non_null(strstr(event->detail, port));
    source_end(&s);
    close(fd);
}

/* A FIN, not a reset, although more was sent than the handshake has read. */
static void garbage_gets_an_end_and_no_reset(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct dest d = {.port = 0};
    char garbage[64 * 1024];
    size_t len;

    memset(garbage, 'G', sizeof(garbage));
    dest_start(&d, *state, &setup_of, dest_bounds());
    int fd = stranger(d.port);
    for (int i = 0; i < 16; i++)
        assert_int_equal(send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL), sizeof(garbage));
    assert_int_equal(read_to_end(fd, &len), 0);
    const struct event *event = await(&d.story, 0, EVENT_FAILED);
    assert_int_equal(err_class(event->why), ERR_CLASS_PROTOCOL);
    assert_true(event->detail[0] != 0);
    close(fd);
    dest_end(&d);
}

/* Who goes on talking after the refusal is cut off in the end: by bytes here, by time elsewhere. */
static void nobody_is_listened_to_for_ever(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct dest d = {.port = 0};
    char garbage[64 * 1024];
    size_t sent = 0;
    ssize_t n;

    memset(garbage, 'G', sizeof(garbage));
    dest_start(&d, *state, &setup_of, dest_bounds());
    int fd = stranger(d.port);
    while ((n = send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL)) > 0) {
        sent += (size_t)n;
        assert_true(sent < (size_t)64 * 1024 * 1024);
    }
    assert_true(errno == EPIPE || errno == ECONNRESET);
    close(fd);
    dest_end(&d);
}

static enum err full(struct handshaker_owner *owner, bool is_resumed)
{
    (void)owner;
    (void)is_resumed;
    return ERR_LIMIT;
}

static enum err admit_aloud(struct handshaker_owner *owner, bool is_resumed)
{
    assert_false(is_resumed);
    tell(&list_entry(owner, struct dest, owner)->story, EVENT_ADMITTED, NULL, NULL);
    return ERR_OK;
}

static uint32_t advise(struct handshaker_owner *owner, enum err why)
{
    (void)owner;
    return why == ERR_LIMIT ? 4321 : 1234;
}

static void who_is_refused_is_told_when_to_come_back(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.owner = {.on_admit = full, .on_advise = advise}};
    struct source s = {.pool = NULL};

    dest_start(&d, *state, &setup_of, dest_bounds());
    source_start(&s, *state, &setup_of);
    source_dial(&s, "localhost", d.port);
    const struct event *near = await(&s.story, 0, EVENT_FAILED);
    const struct event *far = await(&d.story, 0, EVENT_FAILED);
    assert_int_equal(near->why, ERR_LIMIT);
    assert_int_equal(near->retry_after_ms, 4321);
    assert_int_equal(far->why, ERR_LIMIT);
    assert_int_equal(far->retry_after_ms, 4321);
    source_end(&s);
    dest_end(&d);
}

/* A source in the test's hands that has finished TLS, and keeps everything behind that to itself.
 */
struct slow_source {
    struct handshake *handshake;
    int fd;
};

static void slow_source_read(struct slow_source *s, bool until_failed)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    uint8_t buffer[4096];

    while (handshake_status(s->handshake) == HANDSHAKE_IN_PROGRESS) {
        const uint8_t *out;
        size_t len;

        handshake_drain(s->handshake, &out, &len);
        /* The Finished goes out with the OFFER behind it; both fit into this, the key does not. */
        len = len < 8192 ? len : 8192;
        if (len > 0) {
            assert_int_equal(send(s->fd, out, len, MSG_NOSIGNAL), len);
            handshake_drained(s->handshake, len, 0);
            if (len == 8192 && !until_failed)
                return;
        }
        if (poll(&p, 1, len > 0 ? 0 : PATIENCE_S * 1000) == 0)
            continue;
        ssize_t n = TEMP_FAILURE_RETRY(read(s->fd, buffer, sizeof(buffer)));
        assert_true(n > 0);
        (void)!handshake_feed(s->handshake, buffer, (size_t)n, 0);
    }
}

static void stopping_tells_who_is_authenticated(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.owner = {.on_admit = admit_aloud, .on_advise = advise}};
    struct slow_source s;

    dest_start(&d, *state, &setup_of, dest_bounds());
    s.handshake = source_new(*state, setup_of);
    s.fd = stranger(d.port);
    slow_source_read(&s, false);
    await(&d.story, 0, EVENT_ADMITTED); /* and now in the middle of KEM_KEY */
    handshaker_stop(d.handshaker);
    const struct event *far = await(&d.story, 1, EVENT_FAILED);
    assert_int_equal(far->why, ERR_SHUTDOWN);
    assert_int_equal(far->retry_after_ms, 1234);
    slow_source_read(&s, true);
    assert_int_equal(handshake_error(s.handshake), ERR_SHUTDOWN);
    assert_int_equal(handshake_retry_after_ms(s.handshake), 1234);
    handshake_free(s.handshake);
    close(s.fd);
    dest_end(&d);
}

static void stopping_waits_for_nobody_who_is_silent(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.owner = {.on_admit = admit_aloud, .on_advise = advise}};
    struct slow_source s;
    size_t len;

    dest_start(&d, *state, &setup_of, dest_bounds());
    s.handshake = source_new(*state, setup_of);
    s.fd = stranger(d.port);
    slow_source_read(&s, false);
    int fd = stranger(d.port);
    await(&d.story, 0, EVENT_ADMITTED);
    uint64_t started = uv_hrtime();
    dest_end(&d);
    assert_true(uv_hrtime() - started < (uint64_t)(HANDSHAKER_FAREWELL_MS + 5000) * 1000000);
    (void)read_to_end(fd, &len); /* reset where it was not even accepted any more */
    assert_int_equal(len, 0);    /* before TLS there are no words */
    close(fd);
    close(s.fd);
    handshake_free(s.handshake);
}

static void stopping_ends_what_is_under_way(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    const struct listener_bind bind = {.ip = "127.0.0.1", .count = 1};
    size_t before = open_descriptors();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    struct err_detail detail;
    uint16_t port;
    int silent;

    assert_int_equal(listener_bind(&silent, &port, &bind, &detail), ERR_OK);
    dest_start(&d, *state, &setup_of, dest_bounds());
    source_start(&s, *state, &setup_of);
    source_dial(&s, "localhost", port); /* connects, and nobody answers */
    int fd = stranger(d.port);
    assert_int_equal(told(&s.story), 0);
    handshaker_stop(s.handshaker);
    assert_int_equal(await(&s.story, 0, EVENT_FAILED)->why, ERR_SHUTDOWN);
    source_dial(&s, "localhost", port);
    assert_int_equal(await(&s.story, 1, EVENT_FAILED)->why, ERR_SHUTDOWN);
    source_end(&s);
    dest_end(&d);
    close(fd);
    close(silent);
    assert_int_equal(open_descriptors(), before);
}

static int setup(void **state)
{
    uv_loop_t loop;

    /* libuv opens a pipe with its first loop and keeps it; the tests count descriptors. */
    if (pki_setup(state) != 0 || uv_loop_init(&loop) != 0 || uv_loop_close(&loop) != 0)
        return -1;
    pki_issue_pair(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dial_becomes_a_session),
        cmocka_unit_test(many_dials_at_once),
        cmocka_unit_test(an_address_that_is_not_allowed_is_reset_at_once),
        cmocka_unit_test(an_address_that_comes_too_often_is_reset_at_once),
        cmocka_unit_test(only_so_many_are_in_flight),
        cmocka_unit_test(who_is_known_finds_room),
        cmocka_unit_test(strangers_use_up_their_budget),
        cmocka_unit_test(a_mismatch_is_told_to_both),
        cmocka_unit_test(a_dial_that_fails_early_gives_its_pair_back),
        cmocka_unit_test(a_port_that_refuses_is_named),
        cmocka_unit_test(garbage_gets_an_end_and_no_reset),
        cmocka_unit_test(nobody_is_listened_to_for_ever),
        cmocka_unit_test(who_is_refused_is_told_when_to_come_back),
        cmocka_unit_test(stopping_tells_who_is_authenticated),
        cmocka_unit_test(stopping_waits_for_nobody_who_is_silent),
        cmocka_unit_test(stopping_ends_what_is_under_way),
    };

    return cmocka_run_group_tests(tests, setup, pki_teardown);
}
