#include "net/target_place.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/lookups.h"

#define BUCKETS 256 /* a power of two */

struct target_places {
    uv_loop_t *loop;
    struct stats *stats;
    struct list buckets[BUCKETS];
    struct list kept; /* names without users, the oldest first */
    size_t kept_count;
};

struct target_place {
    struct target_places *set;
    struct list link; /* in a bucket */
    struct list kept;
    struct list waiting; /* of struct target_turn */
    struct target_turn *probe;
    size_t users;
    size_t handles; /* that libuv still holds */
    uv_timer_t timer;
    uv_getaddrinfo_t resolve;
    struct address_list addresses;
    uint64_t resolved_at_ms;
    uint64_t asked_at_ms; /* for its addresses, the last time */
    uint32_t pause_ms;
    uint32_t answer_ms;
    bool is_name;
    bool is_unix;
    bool is_resolved; /* there are addresses, perhaps old ones */
    bool is_asking;
    bool is_down;
    bool is_gone; /* waits for libuv */
    enum err trouble;
    struct err_detail detail;
    uint16_t port;
    char host[]; /* or the path */
};

static void go_on(struct target_place *p);

static uint64_t now_of(const struct target_place *p)
{
    return uv_now(p->set->loop);
}

/* -- the end of a place -- */

static void handle_gone(struct target_place *p)
{
    assert(p->handles > 0);
    if (--p->handles == 0)
        free(p);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_gone(list_entry((uv_timer_t *)handle, struct target_place, timer));
}

static void set_down(struct target_place *p, bool is_down)
{
    if (p->is_down == is_down)
        return;
    p->is_down = is_down;
    stats_add(&p->set->stats->targets_down, is_down ? 1 : (uint64_t)-1);
}

static void take_back(struct target_place *p)
{
    if (!list_is_linked(&p->kept))
        return;
    list_remove(&p->kept);
    p->set->kept_count--;
}

static void hold(struct target_place *p)
{
    take_back(p);
    p->users++;
}

static void place_close(struct target_place *p)
{
    set_down(p, false);
    list_remove(&p->link);
    take_back(p);
    p->is_gone = true;
    if (p->is_asking)
        uv_cancel((uv_req_t *)&p->resolve);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

static void release(struct target_place *p)
{
    struct target_places *s = p->set;

    if (--p->users > 0)
        return;
    uv_timer_stop(&p->timer);
    if (!p->is_name || p->is_down || !p->is_resolved) {
        place_close(p);
        return;
    }
    list_append(&s->kept, &p->kept);
    if (++s->kept_count > TARGET_NAMES_KEPT)
        place_close(list_entry(list_first(&s->kept), struct target_place, kept));
}

/* -- its name -- */

static void note_trouble(struct target_place *p, enum err why, const char *detail)
{
    p->trouble = why;
    err_set(&p->detail, why, "%s", detail);
}

static void on_timer(uv_timer_t *timer)
{
    go_on(list_entry(timer, struct target_place, timer));
}

static void pause_probing(struct target_place *p)
{
    if (uv_is_active((uv_handle_t *)&p->timer))
        return;
    p->pause_ms = p->pause_ms == 0 ? TARGET_PROBE_FIRST_MS : p->pause_ms * 2;
    if (p->pause_ms > TARGET_PROBE_LAST_MS)
        p->pause_ms = TARGET_PROBE_LAST_MS;
    uv_timer_start(&p->timer, on_timer, p->pause_ms, 0);
}

/* Those who do not wait for a better time. */
static void turn_away_impatient(struct target_place *p)
{
    struct list impatient;
    struct list *next;

    list_init(&impatient);
    hold(p); /* until all are told */
    for (struct list *l = p->waiting.next; l != &p->waiting; l = next) {
        next = l->next;
        if (list_entry(l, struct target_turn, link)->is_impatient) {
            list_remove(l);
            list_append(&impatient, l);
        }
    }
    while ((next = list_first(&impatient)) != NULL) {
        struct target_turn *turn = list_entry(next, struct target_turn, link);
        struct err_detail why = p->detail;

        list_remove(next);
        turn->on_unresolved(turn, &why);
        release(p);
    }
    release(p);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct target_place *p = list_entry(req, struct target_place, resolve);
    struct address_list addresses;
    char text[sizeof(p->detail.text)];

    lookups_end();
    p->is_asking = false;
    if (p->is_gone) {
        uv_freeaddrinfo(list);
        handle_gone(p);
        return;
    }
    p->handles--;
    address_list_take(&addresses, status == 0 ? list : NULL);
    uv_freeaddrinfo(list);
    hold(p); /* until all is said */
    if (addresses.count > 0) {
        p->addresses = addresses;
        p->is_resolved = true;
        p->resolved_at_ms = now_of(p);
    } else if (status == UV_EAI_AGAIN && p->is_resolved) {
        /* The name server's trouble is not the target's. */
        p->resolved_at_ms = now_of(p) - TARGET_NAME_TTL_MS + TARGET_NAME_PAUSE_MS;
    } else {
        snprintf(text, sizeof(text), "%s: %s", p->host,
                 status == UV_EAI_AGAIN ? "the name server does not answer" : "no such name");
        p->is_resolved = false;
        note_trouble(p, ERR_RESOLVE, text);
        set_down(p, true);
    }
    go_on(p);
    release(p);
}

/* Whether its addresses are fit to be tried. Where they are not, it asks, or waits to ask. */
static bool has_addresses(struct target_place *p)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    uint64_t age = now_of(p) - p->resolved_at_ms;
    uint64_t since = now_of(p) - p->asked_at_ms;
    char port[8];

    if (!p->is_name)
        return true;
    if (p->is_asking)
        return false;
    if (p->is_resolved && age < (p->is_down ? TARGET_NAME_PAUSE_MS : TARGET_NAME_TTL_MS))
        return true;
    if (p->is_down && since < TARGET_NAME_PAUSE_MS) {
        if (!p->is_resolved)
            uv_timer_start(&p->timer, on_timer, TARGET_NAME_PAUSE_MS - since, 0);
        return p->is_resolved;
    }
    snprintf(port, sizeof(port), "%u", p->port);
    p->asked_at_ms = now_of(p);
    if (uv_getaddrinfo(p->set->loop, &p->resolve, on_resolved, p->host, port, &hints) != 0) {
        set_down(p, true);
        note_trouble(p, ERR_NOMEM, "out of memory");
        pause_probing(p);
        return false;
    }
    lookups_begin();
    p->is_asking = true;
    p->handles++;
    return false;
}

/* -- turns -- */

static void give_turn(struct target_place *p, struct target_turn *turn, uint32_t timeout_ms)
{
    list_remove(&turn->link);
    turn->on_turn(turn, &p->addresses, timeout_ms);
}

static void probe(struct target_place *p)
{
    struct list *first = list_first(&p->waiting);

    if (first == NULL || p->probe != NULL || uv_is_active((uv_handle_t *)&p->timer))
        return;
    p->probe = list_entry(first, struct target_turn, link);
    p->probe->is_probing = true;
    stats_add(&p->set->stats->target_probes, 1);
    if (p->answer_ms == 0)
        p->answer_ms = TARGET_PROBE_ANSWER_MS;
    give_turn(p, p->probe, p->answer_ms);
}

static void let_all_go(struct target_place *p)
{
    struct list round;
    struct list *next;

    /* Who fails at once waits again, and the others with him. */
    list_init(&round);
    list_join(&round, &p->waiting);
    while (!p->is_down && (next = list_first(&round)) != NULL)
        give_turn(p, list_entry(next, struct target_turn, link), 0);
    list_join(&p->waiting, &round);
}

static void let_impatient_go(struct target_place *p)
{
    struct list *next;

    for (struct list *l = p->waiting.next; l != &p->waiting; l = next) {
        struct target_turn *turn = list_entry(l, struct target_turn, link);

        next = l->next;
        if (turn->is_impatient)
            give_turn(p, turn, 0);
    }
}

static void go_on(struct target_place *p)
{
    if (list_first(&p->waiting) == NULL)
        return;
    if (!has_addresses(p)) {
        if (!p->is_asking && !p->is_resolved)
            turn_away_impatient(p);
        return;
    }
    if (!p->is_down)
        let_all_go(p);
    if (p->is_down) {
        let_impatient_go(p);
        probe(p);
    }
}

void target_place_wait(struct target_place *p, struct target_turn *turn)
{
    list_append(&p->waiting, &turn->link);
    go_on(p);
}

static void end_probe(struct target_place *p, struct target_turn *turn)
{
    if (turn->is_probing)
        p->probe = NULL;
    turn->is_probing = false;
}

bool target_place_failed(struct target_place *p, struct target_turn *turn, enum err why,
                         const char *detail)
{
    bool was_probing = turn->is_probing;

    end_probe(p, turn);
    note_trouble(p, why, detail);
    set_down(p, true);
    stats_add(&p->set->stats->target_failures, 1);
    if (was_probing && why == ERR_TIMEOUT && p->answer_ms < UINT32_MAX / 2)
        p->answer_ms *= 2;
    pause_probing(p);
    if (turn->is_impatient)
        return false;
    list_append(&p->waiting, &turn->link);
    return true;
}

void target_place_answered(struct target_place *p, struct target_turn *turn)
{
    end_probe(p, turn);
    set_down(p, false);
    p->pause_ms = 0;
    p->answer_ms = 0;
    p->trouble = ERR_OK;
    uv_timer_stop(&p->timer);
    go_on(p);
}

void target_place_leave(struct target_place *p, struct target_turn *turn)
{
    list_remove(&turn->link);
    if (turn->is_probing) {
        end_probe(p, turn);
        pause_probing(p);
    }
    release(p);
}

enum err target_place_trouble(const struct target_place *p, const char **detail)
{
    *detail = p->detail.text;
    return p->trouble;
}

/* -- places -- */

static struct list *bucket_of(struct target_places *s, const char *text, uint16_t port)
{
    uint32_t hash = 2166136261u ^ port; /* FNV-1a */

    for (const char *c = text; *c != 0; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    return &s->buckets[hash & (BUCKETS - 1)];
}

static struct target_place *find(struct list *bucket, const char *text, uint16_t port, bool is_unix)
{
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct target_place *p = list_entry(l, struct target_place, link);

        if (p->port == port && p->is_unix == is_unix && strcmp(p->host, text) == 0)
            return p;
    }
    return NULL;
}

static enum err place_new(struct target_place **out, struct target_places *s, const char *text,
                          uint16_t port, bool is_unix)
{
    size_t size = strlen(text) + 1;
    struct target_place *p = calloc(1, sizeof(*p) + size);
    enum err e = ERR_OK;

    *out = NULL;
    if (p == NULL)
        return ERR_NOMEM;
    if (is_unix)
        e = address_unix(&p->addresses.items[0], text);
    else
        p->is_name = address_parse(&p->addresses.items[0], text, port) != ERR_OK;
    if (e == ERR_OK && p->is_name && size > NI_MAXHOST)
        e = ERR_TOO_LARGE;
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    p->addresses.count = p->is_name ? 0 : 1;
    memcpy(p->host, text, size);
    p->set = s;
    p->port = port;
    p->is_unix = is_unix;
    list_init(&p->link);
    list_init(&p->kept);
    list_init(&p->waiting);
    uv_timer_init(s->loop, &p->timer);
    p->handles = 1;
    *out = p;
    return ERR_OK;
}

enum err target_place_enter(struct target_places *s, struct target_place **out, const char *host,
                            uint16_t port, const char *path, struct target_turn *turn)
{
    const char *text = path != NULL ? path : host;
    struct list *bucket = bucket_of(s, text, port);
    struct target_place *p = find(bucket, text, port, path != NULL);

    *out = NULL;
    if (p == NULL) {
        enum err e = place_new(&p, s, text, port, path != NULL);
        if (e != ERR_OK)
            return e;
        list_append(bucket, &p->link);
    }
    hold(p);
    list_init(&turn->link);
    turn->is_probing = false;
    *out = p;
    return ERR_OK;
}

enum err target_places_new(struct target_places **out, uv_loop_t *loop, struct stats *stats)
{
    struct target_places *s = calloc(1, sizeof(*s));

    *out = NULL;
    if (s == NULL)
        return ERR_NOMEM;
    s->loop = loop;
    s->stats = stats;
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&s->buckets[i]);
    list_init(&s->kept);
    *out = s;
    return ERR_OK;
}

void target_places_close(struct target_places *s)
{
    struct list *first;

    if (s == NULL)
        return;
    while ((first = list_first(&s->kept)) != NULL)
        place_close(list_entry(first, struct target_place, kept));
    free(s);
}
