#include "net/target_place.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 256 /* a power of two */

struct target_places {
    uv_loop_t *loop;
    struct stats *stats;
    struct names *names;
    struct list buckets[BUCKETS];
};

struct target_place {
    struct target_places *set;
    struct list link;    /* in a bucket */
    struct list waiting; /* of struct target_turn */
    struct target_turn *probe;
    size_t users;
    uv_timer_t timer;
    struct name *name; /* NULL: an address, or a path */
    struct name_user asking;
    struct address_list addresses;
    uint32_t pause_ms;
    uint32_t answer_ms;
    bool is_unix;
    bool is_down;
    enum err trouble;
    struct err_detail detail;
    uint16_t port;
    char host[]; /* or the path */
};

static void go_on(struct target_place *p, const void *asker);

/* -- the end of a place -- */

static void on_timer_closed(uv_handle_t *handle)
{
    free(list_entry((uv_timer_t *)handle, struct target_place, timer));
}

static void set_down(struct target_place *p, bool is_down)
{
    if (p->is_down == is_down)
        return;
    p->is_down = is_down;
    stats_add(&p->set->stats->targets_down, is_down ? 1 : (uint64_t)-1);
}

static void release(struct target_place *p)
{
    if (--p->users > 0)
        return;
    set_down(p, false);
    list_remove(&p->link);
    if (p->name != NULL)
        name_leave(p->name, &p->asking);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

/* -- its name -- */

static void note_trouble(struct target_place *p, enum err why, const char *detail)
{
    p->trouble = why;
    err_set(&p->detail, why, "%s", detail);
}

/* On whose account those who wait are. */
static const void *first_asker(const struct target_place *p)
{
    return list_entry(p->waiting.next, const struct target_turn, link)->asker;
}

static void look_again(struct target_place *p)
{
    if (!list_is_empty(&p->waiting))
        go_on(p, first_asker(p));
}

static void on_timer(uv_timer_t *timer)
{
    look_again(list_entry(timer, struct target_place, timer));
}

static void on_news(struct name_user *asking)
{
    look_again(list_entry(asking, struct target_place, asking));
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
    p->users++; /* until all are told */
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

static void name_failed(struct target_place *p)
{
    const char *text;
    enum err why = name_trouble(p->name, &text);

    note_trouble(p, why, text);
    set_down(p, true);
    if (!uv_is_active((uv_handle_t *)&p->timer))
        uv_timer_start(&p->timer, on_timer, NAME_PAUSE_MS, 0);
    turn_away_impatient(p);
}

/* Whether its addresses are fit to be tried. Where they are not, it asks, or waits to ask, and may
 * be gone. */
static bool has_addresses(struct target_place *p, const void *asker)
{
    enum name_answer answer;

    if (p->name == NULL)
        return true;
    answer = name_look(p->name, &p->asking, p->is_down ? NAME_PAUSE_MS : NAME_TTL_MS, asker);
    if (answer == NAME_KNOWN) {
        p->addresses = *name_addresses(p->name);
        for (size_t i = 0; i < p->addresses.count; i++)
            address_set_port(&p->addresses.items[i], p->port);
    }
    if (answer == NAME_FAILED)
        name_failed(p);
    return answer == NAME_KNOWN;
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

static void go_on(struct target_place *p, const void *asker)
{
    if (!has_addresses(p, asker))
        return;
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
    go_on(p, turn->asker);
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
    look_again(p);
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
    enum err why = list_is_linked(&p->asking.link) ? name_trouble(p->name, detail) : ERR_OK;

    if (why != ERR_OK)
        return why;
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

static enum err find_addresses(struct target_place *p, const char *text)
{
    if (p->is_unix)
        return address_unix(&p->addresses.items[0], text);
    if (address_parse(&p->addresses.items[0], text, p->port) == ERR_OK)
        return ERR_OK;
    p->asking.on_news = on_news;
    return name_enter(p->set->names, &p->name, text, &p->asking);
}

static enum err place_new(struct target_place **out, struct target_places *s, const char *text,
                          uint16_t port, bool is_unix)
{
    size_t size = strlen(text) + 1;
    struct target_place *p = calloc(1, sizeof(*p) + size);
    enum err e;

    *out = NULL;
    if (p == NULL)
        return ERR_NOMEM;
    memcpy(p->host, text, size);
    p->set = s;
    p->port = port;
    p->is_unix = is_unix;
    p->addresses.count = 1;
    list_init(&p->asking.link);
    e = find_addresses(p, text);
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    list_init(&p->link);
    list_init(&p->waiting);
    uv_timer_init(s->loop, &p->timer);
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
    p->users++;
    list_init(&turn->link);
    turn->is_probing = false;
    *out = p;
    return ERR_OK;
}

enum err target_places_new(struct target_places **out, uv_loop_t *loop, struct names *names,
                           struct stats *stats)
{
    struct target_places *s = calloc(1, sizeof(*s));

    *out = NULL;
    if (s == NULL)
        return ERR_NOMEM;
    s->loop = loop;
    s->stats = stats;
    s->names = names;
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&s->buckets[i]);
    *out = s;
    return ERR_OK;
}

void target_places_free(struct target_places *s)
{
    free(s);
}
