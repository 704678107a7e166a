/*
 * A question has one part for each worker. Whoever asks waits until all have answered, or time is
 * over; parts that come later find the question abandoned and throw their answer away. The last
 * holder of the question frees it.
 */
#include "role/role_state.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"

struct question;

struct part {
    struct worker_item item;
    struct question *question;
    unsigned index;
};

struct question {
    struct role_state_owner *owner;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    struct role_state *state; /* NULL: nobody waits any more */
    unsigned waiting;         /* parts that have not answered */
    unsigned holders;
    struct part parts[];
};

static uint64_t since(uint64_t then, uint64_t now)
{
    return now > then ? now - then : 0;
}

/* With the lock held; the lock is gone when this returns. */
static void release(struct question *q)
{
    bool is_last = --q->holders == 0;

    pthread_mutex_unlock(&q->lock);
    if (!is_last)
        return;
    pthread_cond_destroy(&q->answered);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static void answer(struct part *part, struct role_worker *w)
{
    struct question *q = part->question;

    pthread_mutex_lock(&q->lock);
    if (q->state != NULL)
        q->state->workers[part->index] = *w;
    else
        free(w->tunnels);
    q->waiting--;
    pthread_cond_signal(&q->answered);
    release(q);
}

static void on_asked(struct worker_item *item, struct worker *worker)
{
    struct part *part = list_entry(item, struct part, item);
    struct role_state_owner *owner = part->question->owner;
    struct role_worker w = {.has_answered = true, .is_draining = worker_is_draining(worker)};

    owner->fill(owner, part->index, &w);
    answer(part, &w);
}

static void on_dropped(struct worker_item *item)
{
    struct role_worker none = {0};

    answer(list_entry(item, struct part, item), &none);
}

static enum err question_new(struct question **out, struct role_state_owner *owner)
{
    struct question *q = calloc(1, sizeof(*q) + owner->worker_count * sizeof(q->parts[0]));
    pthread_condattr_t attr;

    *out = NULL;
    if (q == NULL)
        return ERR_NOMEM;
    q->owner = owner;
    q->waiting = owner->worker_count;
    q->holders = owner->worker_count + 1;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(&q->answered, &attr);
    pthread_condattr_destroy(&attr);
    if (failed != 0) {
        free(q);
        return ERR_LIMIT;
    }
    pthread_mutex_init(&q->lock, NULL);
    for (unsigned i = 0; i < owner->worker_count; i++)
        q->parts[i] =
            (struct part){.item = {.run = on_asked, .drop = on_dropped}, .question = q, .index = i};
    *out = q;
    return ERR_OK;
}

enum err role_state_take(struct role_state **out, struct role_state_owner *owner,
                         uint32_t timeout_ms)
{
    struct timespec deadline = clock_in_ms(timeout_ms);
    struct role_state *state = calloc(1, sizeof(*state));
    struct question *q = NULL;
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (state == NULL)
        goto out;
    state->role = owner->role;
    state->worker_count = owner->worker_count;
    state->workers = calloc(owner->worker_count, sizeof(*state->workers));
    clock_gettime(CLOCK_REALTIME, &state->taken_at);
    if (state->workers == NULL)
        goto out;
    e = question_new(&q, owner);
    if (e != ERR_OK)
        goto out;
    q->state = state;
    for (unsigned i = 0; i < owner->worker_count; i++)
        worker_post(owner->worker_at(owner, i), &q->parts[i].item);
    pthread_mutex_lock(&q->lock);
    while (q->waiting > 0 && pthread_cond_timedwait(&q->answered, &q->lock, &deadline) == 0)
        ;
    q->state = NULL;
    release(q);
    *out = state;
    state = NULL;

out:
    role_state_free(state);
    return e;
}

void role_state_free(struct role_state *state)
{
    if (state == NULL)
        return;
    for (unsigned i = 0; state->workers != NULL && i < state->worker_count; i++)
        free(state->workers[i].tunnels);
    free(state->workers);
    free(state);
}

/* -- for roles -- */

void role_worker_make_room(struct role_worker *w, const struct list *tunnels)
{
    size_t count = 0;

    for (const struct list *l = tunnels->next; l != tunnels && count < ROLE_TUNNELS_MAX;
         l = l->next)
        count++;
    w->tunnels = count == 0 ? NULL : calloc(count, sizeof(*w->tunnels));
    w->tunnel_room = w->tunnels == NULL ? 0 : count;
}

struct role_tunnel *role_worker_add(struct role_worker *w)
{
    w->tunnel_count++;
    return w->tunnels_shown < w->tunnel_room ? &w->tunnels[w->tunnels_shown++] : NULL;
}

static void fill_session(struct role_session *out, struct carrier *c, uint64_t now)
{
    session_get_state(carrier_session(c), &out->state);
    session_view_of(&out->view, c);
    carrier_get_traffic(c, &out->traffic);
    out->age_us = since(out->traffic.since_us, now);
    out->idle_us = since(out->state.last_received, now);
    out->keys_age_us = since(out->traffic.keys_since_us, now);
}

void role_tunnel_fill(struct role_tunnel *out, const struct tunnel_owner *owner,
                      const struct tunnel_history *history)
{
    uint64_t now = worker_now(owner->worker);

    for (struct list *l = owner->carriers.next; l != &owner->carriers; l = l->next) {
        struct carrier *c = carrier_of_link(l);

        if (carrier_session(c) != NULL && out->session_count < ROLE_SESSIONS_MAX)
            fill_session(&out->sessions[out->session_count++], c, now);
    }
    if (owner->tunnel != NULL)
        tunnel_get_state(owner->tunnel, &out->held);
    if (owner->is_closing)
        out->phase = ROLE_TUNNEL_CLOSING;
    else if (tunnel_owner_is_ready(owner))
        out->phase = ROLE_TUNNEL_CARRIED;
    else
        out->phase = history->sessions == 0 ? ROLE_TUNNEL_CONNECTING : ROLE_TUNNEL_WAITING;
    out->age_us = since(history->since, now);
    out->waiting_us = tunnel_history_pause(history, now);
    out->sessions_total = history->sessions;
    out->resumes_total = history->resumes;
    out->loss = history->loss;
    out->loss_age_us = history->loss.is_set ? since(history->loss.at_us, now) : 0;
}

const char *role_tunnel_phase_name(enum role_tunnel_phase phase)
{
    static const char *const names[] = {"connecting", "carried", "waiting", "draining", "closing"};

    return (size_t)phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "unknown";
}

const char *role_uplink_phase_name(enum role_uplink_phase phase)
{
    static const char *const names[] = {"up", "dialing", "waiting", "given_up"};

    return (size_t)phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "unknown";
}
