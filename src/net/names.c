#include "net/names.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/lookups.h"

#define BUCKETS 256 /* a power of two */

/* Peers that a name in the queue is known to be wanted by; who comes after them waits with them. */
#define ASKERS_MAX 4

/* Lookups back that it is known for whom they were. */
#define SERVED_MAX 16

struct names {
    uv_loop_t *loop;
    unsigned of_peers;
    const void *served[SERVED_MAX]; /* peers, in turn; as many as served_count says */
    uint64_t served_count;
    struct list buckets[BUCKETS];
    struct list queue;  /* of names that wait for a lookup */
    struct list asking; /* of names that peers have asked for */
    struct list kept;   /* names without users, the oldest first */
    size_t kept_count;
};

enum phase {
    IDLE,
    QUEUED,
    ASKING,
};

struct name {
    struct names *all;
    struct list link;    /* in a bucket */
    struct list turn;    /* in queue, asking or kept */
    struct list waiting; /* of struct name_user */
    size_t users;
    size_t handles; /* that libuv still holds */
    uv_timer_t late;
    uv_getaddrinfo_t lookup;
    enum phase phase;
    const void *askers[ASKERS_MAX]; /* in the queue: who wants it; else [0]: of the lookup */
    size_t asker_count;
    struct address_list addresses;
    bool is_known;    /* there are addresses, perhaps old ones */
    bool is_doubtful; /* they are old, whatever their age */
    bool is_doubtful_to_peers;
    bool is_late; /* the last answer, or the next */
    bool is_gone; /* waits for libuv */
    bool has_answer;
    uint64_t known_at_ms;
    uint64_t answer_at_ms;
    enum err why;
    struct err_detail detail;
    char host[];
};

static uint64_t now_of(const struct name *n)
{
    return uv_now(n->all->loop);
}

/* -- how many lookups -- */

unsigned names_of_peers(unsigned workers)
{
    unsigned each = NAMES_OF_PEERS_ALL / (workers > 0 ? workers : 1);

    if (each == 0)
        return 1;
    return each < NAMES_OF_PEERS ? each : NAMES_OF_PEERS;
}

enum err names_size_pool(unsigned workers)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", 4 * workers * names_of_peers(workers));
    return uv_os_setenv("UV_THREADPOOL_SIZE", text) == 0 ? ERR_OK : ERR_NOMEM;
}

static bool is_free(struct names *all, const void *asker)
{
    unsigned most = all->of_peers > 1 ? all->of_peers / 2 : 1;
    unsigned total = 0;
    unsigned own = 0;

    if (asker == NULL)
        return true;
    for (struct list *l = all->asking.next; l != &all->asking; l = l->next) {
        total++;
        own += list_entry(l, struct name, turn)->askers[0] == asker;
    }
    return total < all->of_peers && own < most;
}

static void note_served(struct names *all, const void *asker)
{
    all->served[all->served_count++ % SERVED_MAX] = asker;
}

/* How many lookups of others there were since the peer's last; SERVED_MAX: as many as are known. */
static unsigned waits_since(const struct names *all, const void *asker)
{
    unsigned since = 0;

    while (since < SERVED_MAX && since < all->served_count &&
           all->served[(all->served_count - 1 - since) % SERVED_MAX] != asker)
        since++;
    return since < all->served_count ? since : SERVED_MAX;
}

/* -- the end of a name -- */

static void handle_gone(struct name *n)
{
    assert(n->handles > 0);
    if (--n->handles == 0)
        free(n);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_gone(list_entry((uv_timer_t *)handle, struct name, late));
}

static void name_close(struct name *n)
{
    list_remove(&n->link);
    list_remove(&n->turn);
    n->is_gone = true;
    if (n->phase == ASKING)
        uv_cancel((uv_req_t *)&n->lookup);
    uv_close((uv_handle_t *)&n->late, on_timer_closed);
}

static void take_back(struct name *n)
{
    if (n->users > 0 || n->phase != IDLE || !list_is_linked(&n->turn))
        return;
    list_remove(&n->turn);
    n->all->kept_count--;
}

static void hold(struct name *n)
{
    take_back(n);
    n->users++;
}

/* Nobody wants it now. One that is asked for stays, so that nobody asks for it beside that. */
static void put_away(struct name *n)
{
    struct names *all = n->all;

    if (n->users > 0 || n->phase == ASKING)
        return;
    if (n->phase == QUEUED || !n->is_known) {
        name_close(n);
        return;
    }
    list_append(&all->kept, &n->turn);
    if (++all->kept_count > NAMES_KEPT) {
        n = list_entry(list_first(&all->kept), struct name, turn);
        take_back(n);
        name_close(n);
    }
}

static void release(struct name *n)
{
    n->users--;
    put_away(n);
}

/* -- lookups -- */

static void tell(struct name *n)
{
    struct list round;
    struct list *next;

    list_init(&round);
    list_join(&round, &n->waiting);
    hold(n); /* until all are told */
    while ((next = list_first(&round)) != NULL) {
        struct name_user *user = list_entry(next, struct name_user, link);

        list_remove(next);
        user->on_news(user);
    }
    release(n);
}

static void on_late(uv_timer_t *timer)
{
    struct name *n = list_entry(timer, struct name, late);

    n->is_late = true;
    tell(n);
}

static void note_answer(struct name *n, int status, const struct address_list *addresses)
{
    n->has_answer = true;
    n->answer_at_ms = now_of(n);
    if (addresses->count > 0) {
        n->addresses = *addresses;
        n->is_known = true;
        n->is_doubtful = n->is_doubtful_to_peers = false;
        n->is_late = false;
        n->known_at_ms = n->answer_at_ms;
        return;
    }
    /* The name server's trouble is not the name's. */
    if (n->is_known && (status == UV_EAI_AGAIN || status == UV_ENOMEM)) {
        n->is_late = true;
        return;
    }
    n->is_known = false;
    n->why = err_set(&n->detail, status == UV_ENOMEM ? ERR_NOMEM : ERR_RESOLVE, "%s: %s", n->host,
                     status == UV_ENOMEM      ? "out of memory"
                     : status == UV_EAI_AGAIN ? "the name server does not answer"
                                              : "no such name");
}

static void serve_queue(struct names *all);

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *list)
{
    struct name *n = list_entry(lookup, struct name, lookup);
    struct names *all = n->all;
    struct address_list addresses;

    lookups_end();
    address_list_take(&addresses, status == 0 ? list : NULL);
    uv_freeaddrinfo(list);
    if (n->is_gone) {
        handle_gone(n);
        return;
    }
    n->handles--;
    hold(n); /* until all is done */
    n->phase = IDLE;
    list_remove(&n->turn);
    uv_timer_stop(&n->late);
    note_answer(n, status, &addresses);
    tell(n);
    release(n);
    serve_queue(all);
}

static void ask(struct name *n, const void *asker)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const struct address_list none = {.count = 0};
    struct names *all = n->all;
    int status;

    list_remove(&n->turn);
    n->askers[0] = asker;
    n->asker_count = 1;
    status = uv_getaddrinfo(all->loop, &n->lookup, on_resolved, n->host, NULL, &hints);
    if (status != 0) {
        n->phase = IDLE;
        note_answer(n, status, &none);
        uv_timer_start(&n->late, on_late, 0, 0);
        return;
    }
    lookups_begin();
    n->phase = ASKING;
    n->handles++;
    if (asker == NULL)
        return;
    note_served(all, asker);
    list_append(&all->asking, &n->turn);
}

/* Of those who have a free lookup, who has waited for longest; *asker is who. NULL: nobody. */
static struct name *next_in_queue(struct names *all, const void **asker)
{
    struct name *best = NULL;
    unsigned longest = 0;

    for (struct list *l = all->queue.next; l != &all->queue && longest < SERVED_MAX; l = l->next) {
        struct name *n = list_entry(l, struct name, turn);

        for (size_t i = 0; i < n->asker_count; i++) {
            unsigned waits = waits_since(all, n->askers[i]);

            if ((best != NULL && waits <= longest) || !is_free(all, n->askers[i]))
                continue;
            best = n;
            longest = waits;
            *asker = n->askers[i];
        }
    }
    return best;
}

/* Peers take turns, so that no other's queue is in anybody's way. */
static void serve_queue(struct names *all)
{
    struct name *n;
    const void *asker;

    while ((n = next_in_queue(all, &asker)) != NULL)
        ask(n, asker);
}

/* The name may wait for another peer, who has many before it. */
static void note_asker(struct name *n, const void *asker)
{
    for (size_t i = 0; i < n->asker_count; i++) {
        if (n->askers[i] == asker)
            return;
    }
    if (n->asker_count < ASKERS_MAX)
        n->askers[n->asker_count++] = asker;
}

static void begin(struct name *n, const void *asker)
{
    if (is_free(n->all, asker)) {
        ask(n, asker);
    } else {
        n->asker_count = 0;
        note_asker(n, asker);
        list_append(&n->all->queue, &n->turn);
        n->phase = QUEUED;
    }
    if (n->phase != IDLE && n->is_known)
        uv_timer_start(&n->late, on_late, NAME_LATE_MS, 0);
}

enum name_answer name_look(struct name *n, struct name_user *user, uint32_t max_age_ms,
                           const void *asker)
{
    bool is_doubtful = n->is_doubtful || (asker != NULL && n->is_doubtful_to_peers);
    uint64_t now = now_of(n);

    if (n->is_known && !is_doubtful && now - n->known_at_ms < max_age_ms)
        return NAME_KNOWN;
    if (n->phase == IDLE && !(n->has_answer && now - n->answer_at_ms < NAME_PAUSE_MS)) {
        begin(n, asker);
    } else if (n->phase == QUEUED && is_free(n->all, asker)) {
        ask(n, asker);
    } else if (n->phase == QUEUED) {
        note_asker(n, asker);
    }
    if (n->phase == IDLE || (n->is_known && n->is_late))
        return n->is_known ? NAME_KNOWN : NAME_FAILED;
    if (!list_is_linked(&user->link))
        list_append(&n->waiting, &user->link);
    return NAME_COMING;
}

const struct address_list *name_addresses(const struct name *n)
{
    return &n->addresses;
}

enum err name_trouble(struct name *n, const char **text)
{
    *text = n->detail.text;
    if (n->is_known)
        return ERR_OK;
    if (n->phase != IDLE)
        n->why =
            err_set(&n->detail, ERR_RESOLVE, "%s: %s", n->host,
                    n->phase == ASKING ? "the name server does not answer"
                                       : "the name server does not answer for names before it");
    return n->why;
}

void name_doubt(struct name *n, const void *asker)
{
    if (asker == NULL)
        n->is_doubtful = true;
    else
        n->is_doubtful_to_peers = true;
}

/* -- names -- */

static struct list *bucket_of(struct names *all, const char *host)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (const char *c = host; *c != 0; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    return &all->buckets[hash & (BUCKETS - 1)];
}

static struct name *find(struct list *bucket, const char *host)
{
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct name *n = list_entry(l, struct name, link);

        if (strcmp(n->host, host) == 0)
            return n;
    }
    return NULL;
}

enum err name_enter(struct names *all, struct name **out, const char *host, struct name_user *user)
{
    size_t size = strlen(host) + 1;
    struct list *bucket = bucket_of(all, host);
    struct name *n = find(bucket, host);

    *out = NULL;
    if (n == NULL) {
        if (size > NI_MAXHOST)
            return ERR_TOO_LARGE;
        n = calloc(1, sizeof(*n) + size);
        if (n == NULL)
            return ERR_NOMEM;
        memcpy(n->host, host, size);
        n->all = all;
        list_init(&n->turn);
        list_init(&n->waiting);
        uv_timer_init(all->loop, &n->late);
        n->handles = 1;
        list_init(&n->link);
        list_append(bucket, &n->link);
    }
    hold(n);
    list_init(&user->link);
    *out = n;
    return ERR_OK;
}

void name_leave(struct name *n, struct name_user *user)
{
    list_remove(&user->link);
    release(n);
}

enum err names_new(struct names **out, uv_loop_t *loop, unsigned of_peers)
{
    struct names *all = calloc(1, sizeof(*all));

    *out = NULL;
    if (all == NULL)
        return ERR_NOMEM;
    all->loop = loop;
    all->of_peers = of_peers;
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&all->buckets[i]);
    list_init(&all->queue);
    list_init(&all->asking);
    list_init(&all->kept);
    *out = all;
    return ERR_OK;
}

void names_close(struct names *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        struct list *first;

        while ((first = list_first(&all->buckets[i])) != NULL)
            name_close(list_entry(first, struct name, link));
    }
    free(all);
}
