#include "role/uplink.h"

#include <string.h>

#include "crypto/secret.h"
#include "net/carrier.h"
#include "ops/log.h"
#include "role/session_log.h"
#include "role/uplink_parts.h"
#include "tunnel/handshake.h"

/* A refresh that is due while another try runs looks again after this. */
#define BUSY_LOOK_MS 1000

static void dial(struct uplink *u);
static void begin_round(struct uplink *u);

/* -- recovery -- */

static void on_retry(uv_timer_t *timer)
{
    struct uplink *u = timer->data;
    uint64_t wait = pace_wait_us(&u->pace, worker_now(u->worker));

    if (wait > 0)
        uv_timer_start(&u->retry, on_retry, wait / 1000 + 1, 0);
    else
        begin_round(u);
}

enum retry {
    RETRY_AT_ONCE, /* a session that ran is lost */
    RETRY_LATER,   /* the last try came to nothing */
};

static void give_up(struct uplink *u, const char *why)
{
    u->has_given_up = true;
    u->owner->on_give_up(u->owner, why);
}

static void retry(struct uplink *u, enum retry when)
{
    const struct config_source *config = &u->config->source;
    uint64_t now = worker_now(u->worker);
    uint32_t delay;

    if (!config->reconnection_enabled) {
        give_up(u, "no session, and reconnection_enabled is false");
        return;
    }
    if (config->max_reconnect_attempts > 0 &&
        u->pace.backoff.attempts >= config->max_reconnect_attempts) {
        give_up(u, "no session after max_reconnect_attempts tries");
        return;
    }
    delay = when == RETRY_AT_ONCE ? pace_first_ms(&u->pace, now) : pace_next_ms(&u->pace, now);
    LOG(LOG_LEVEL_INFO, "session.retry", LOG_UINT("delay_ms", delay),
        LOG_UINT("advised_ms", u->pace.advised_ms), LOG_UINT("attempt", u->pace.backoff.attempts));
    uv_timer_start(&u->retry, on_retry, delay, 0);
}

static void on_patience_over(uv_timer_t *timer)
{
    struct uplink *u = timer->data;

    source_tunnel_give_up(u->tunnel, "no new session within stream_resume_timeout_secs");
}

/* Nothing carries the tunnel any more. */
static void on_uncarried(struct source_tunnel_owner *owner, struct source_tunnel *t,
                         struct carrier *lost)
{
    struct uplink *u = list_entry(owner, struct uplink, behind);
    uint64_t now = worker_now(u->worker);
    bool has_run = carrier_number(lost) != 0;

    uv_timer_stop(&u->refresh);
    uv_timer_stop(&u->failback);
    if (t->history.loss.is_set)
        u->loss = t->history.loss;
    u->losses++;
    stats_add(&worker_stats(u->worker)->reconnects[u->loss.why], 1);
    if (has_run)
        pace_on_loss(&u->pace, now);
    else
        pace_on_failure(&u->pace, now);
    if (t->history.lost_at == 0) {
        if (t->is_leaving)
            source_tunnel_give_up(t, "the dest has shut down");
        else
            uv_timer_start(&u->patience, on_patience_over,
                           (uint64_t)u->config->source.stream_resume_timeout_secs * 1000, 0);
    }
    if (!u->dial.is_running)
        retry(u, has_run ? RETRY_AT_ONCE : RETRY_LATER);
}

/* -- refresh -- */

static void on_refresh(uv_timer_t *timer)
{
    struct uplink *u = timer->data;
    uint64_t wait = pace_wait_us(&u->pace, worker_now(u->worker));

    if (wait > 0) {
        uv_timer_start(&u->refresh, on_refresh, wait / 1000 + 1, 0);
        return;
    }
    if (u->dial.is_running) {
        /* A try to return to a better dest, which leaves this timer alone. */
        uv_timer_start(&u->refresh, on_refresh, BUSY_LOOK_MS, 0);
        return;
    }
    u->is_refresh = true;
    begin_round(u);
}

/*
 * The dest will close the session in use, or does not renew its keys: another one is to come. What
 * it costs a dest to say so is nothing, and a session is dear, so that this is counted as a loss.
 */
static void replace(struct uplink *u)
{
    uint64_t now = worker_now(u->worker);

    u->is_outdated = true;
    pace_on_loss(&u->pace, now);
    uv_timer_start(&u->refresh, on_refresh, pace_first_ms(&u->pace, now), 0);
}

static void refresh_failed(struct uplink *u)
{
    uint64_t interval = (uint64_t)u->config->source.connection_refresh_interval_secs * 1000;
    uint32_t delay = pace_refresh_ms(&u->pace, interval);

    stats_add(&worker_stats(u->worker)->refreshes[u->loss.why], 1);
    LOG(LOG_LEVEL_WARN, "session.refresh_failed", LOG_ERR("error", u->loss.why),
        LOG_STR("detail", u->loss.text), LOG_UINT("delay_ms", delay),
        LOG_MSG("the session in use goes on"));
    uv_timer_start(&u->refresh, on_refresh, delay, 0);
}

/* The handshake was right, but the session has not come up; the one in use goes on. */
static void on_stillborn(struct source_tunnel_owner *owner, struct source_tunnel *t)
{
    struct uplink *u = list_entry(owner, struct uplink, behind);

    if (t->history.loss.is_set)
        u->loss = t->history.loss;
    pace_on_failure(&u->pace, worker_now(u->worker));
    if (!u->dial.is_running)
        refresh_failed(u);
}

void uplink_set_refresh(struct uplink *u)
{
    uint64_t interval = (uint64_t)u->config->source.connection_refresh_interval_secs * 1000;

    if (u->shown < u->renewals)
        uv_timer_start(&u->refresh, on_refresh, 0, 0);
    else if (interval > 0)
        uv_timer_start(&u->refresh, on_refresh, interval, 0);
    else
        uv_timer_stop(&u->refresh);
}

/* -- fail-back -- */

static void on_failback(uv_timer_t *timer);

/* Counts from when that dest was first in use, and again after a try that came to nothing. */
void uplink_set_failback(struct uplink *u)
{
    uint64_t wait = dest_hosts_wait_us(&u->hosts) / 1000;

    if (wait == 0)
        uv_timer_stop(&u->failback);
    else if (!uv_is_active((uv_handle_t *)&u->failback))
        uv_timer_start(&u->failback, on_failback, wait, 0);
}

static void on_failback(uv_timer_t *timer)
{
    struct uplink *u = timer->data;

    if (u->dial.is_running || !dest_hosts_begin(&u->hosts, HOSTS_BETTER)) {
        uplink_set_failback(u);
        return;
    }
    u->is_failback = true;
    dial(u);
}

/* -- the tunnel's events -- */

static void on_ready(struct source_tunnel_owner *owner, struct source_tunnel *t,
                     struct carrier *carrier, uint64_t pause_us)
{
    struct uplink *u = list_entry(owner, struct uplink, behind);

    (void)t;
    (void)pause_us;
    u->is_outdated = false;
    pace_on_up(&u->pace, worker_now(u->worker));
    uv_timer_stop(&u->patience);
    uplink_set_refresh(u);
    uplink_set_failback(u);
    u->owner->on_ready(u->owner, carrier);
}

static void on_go_away(struct source_tunnel_owner *owner, struct source_tunnel *t,
                       enum wire_code code, uint32_t retry_after_ms)
{
    struct uplink *u = list_entry(owner, struct uplink, behind);

    (void)t;
    pace_advise(&u->pace, retry_after_ms);
    if (code != WIRE_SHUTDOWN || !u->config->source.reconnection_enabled ||
        worker_is_draining(u->worker))
        return;
    /* Whoever takes its place may be there already. To say it again changes nothing. */
    if (!u->is_outdated)
        replace(u);
}

/* Without a pair at hand the engine asks again soon. */
static void rotate(struct uplink *u, struct carrier *carrier)
{
    struct mceliece_keypair *pair = NULL;

    if (carrier_info(carrier)->kem_mode != KEM_MLKEM768) {
        pair = handshaker_take_keypair(u->handshaker);
        if (pair == NULL)
            return;
    }
    carrier_rotate(carrier, pair);
}

static void on_keys(struct source_tunnel_owner *owner, struct carrier *carrier,
                    enum key_event event)
{
    struct uplink *u = list_entry(owner, struct uplink, behind);

    if (event == KEYS_DUE)
        rotate(u, carrier);
    else if (event == KEYS_LATE)
        replace(u);
}

static void on_closed(struct source_tunnel_owner *owner, struct source_tunnel *t)
{
    struct uplink *u = list_entry(owner, struct uplink, behind);

    if (u->tunnel == t)
        u->tunnel = NULL;
}

/* The tunnel to which new streams go from here on. */
static enum err begin_tunnel(struct uplink *u)
{
    const struct config_source *config = &u->config->source;
    struct source_tunnel *old = u->tunnel;
    struct source_tunnel *fresh;
    enum err e = source_tunnel_new(&fresh, &u->behind, u->worker, u->config);

    if (e != ERR_OK)
        return e;
    list_append(&u->tunnels, &fresh->link);
    u->tunnel = fresh;
    if (old != NULL) {
        uv_timer_stop(&u->patience);
        source_tunnel_retire(old, (uint64_t)config->connection_drain_timeout_secs * 1000);
    }
    return ERR_OK;
}

/* -- dialing -- */

static void dial(struct uplink *u)
{
    const struct dial_options options = {
        .config = u->config,
        .host = u->hosts.index,
        .secret = u->has_secret && !u->is_failback ? u->secret : NULL,
        .stay = dest_hosts_stay(&u->hosts),
        .skip = &u->hosts.failed,
        /* A refresh is there to renew everything. */
        .when = u->is_refresh ? CREDENTIALS_AFRESH : CREDENTIALS_IF_CHANGED,
    };

    u->is_elsewhere = false;
    uv_timer_stop(&u->retry); /* one dial at a time */
    u->dials++;
    dial_start(&u->dial, &options);
}

/* There is a session, and nothing is known against it. */
static bool is_well(const struct uplink *u)
{
    return u->tunnel != NULL && tunnel_owner_has_carrier(&u->tunnel->owner) &&
           !u->tunnel->is_leaving && !u->is_outdated;
}

static void begin_round(struct uplink *u)
{
    /* After a change of the configuration none of the hosts may be in use. */
    if (!is_well(u) || !dest_hosts_begin(&u->hosts, HOSTS_SAME))
        (void)!dest_hosts_begin(&u->hosts, HOSTS_ANY);
    dial(u);
}

/* Why it failed, unless it only found no address of the host that has not failed already. */
static void note_failure(struct uplink *u)
{
    char peer[ADDRESS_TEXT_MAX];

    if (u->dial.error == ERR_NOT_FOUND && u->hosts.failed.count > 0)
        return;
    address_format(&u->dial.peer, peer);
    LOG(LOG_LEVEL_WARN, "handshake.failed", LOG_ERR("error", u->dial.error),
        LOG_STR("detail", u->dial.detail.text), LOG_STR("host", dial_host(&u->dial)),
        LOG_STR("address", peer), LOG_UINT("retry_after_ms", u->dial.advice_ms));
    pace_advise(&u->pace, u->dial.advice_ms);
    loss_note_set(&u->loss, u->dial.error, WIRE_NO_ERROR, u->dial.detail.text,
                  worker_now(u->worker));
    u->failures++;
}

/*
 * Behind one name there may be several dests. The dialer takes the first address that answers, so
 * one that answers, and nothing more, would hide the others.
 */
static bool has_next(struct uplink *u)
{
    const struct address none = {.len = 0};
    struct address literal;
    bool is_literal = address_parse(&literal, dial_host(&u->dial), 0) == ERR_OK;

    return dest_hosts_failed(&u->hosts, is_literal ? &none : &u->dial.peer);
}

static void on_dial_failed(struct uplink *u)
{
    bool was_failback = u->is_failback;

    note_failure(u);
    if (has_next(u)) {
        dial(u);
        return;
    }
    u->is_failback = false;
    if (was_failback) {
        /* The session in use may have been lost meanwhile. */
        if (tunnel_owner_has_carrier(&u->tunnel->owner))
            uplink_set_failback(u);
        else
            begin_round(u);
        return;
    }
    if (u->hosts.aim == HOSTS_SAME && !is_well(u)) {
        /* Meanwhile the session in use has become one that others may replace. */
        begin_round(u);
        return;
    }
    if (tunnel_owner_has_carrier(&u->tunnel->owner)) {
        refresh_failed(u);
    } else {
        pace_on_failure(&u->pace, worker_now(u->worker));
        retry(u, RETRY_LATER);
    }
    u->is_refresh = false;
}

/* The tunnel's secret is that of its first session. */
static void keep_secret(struct uplink *u)
{
    struct handshake_result *info = u->dial.established.info;

    memcpy(u->secret, info->tunnel_secret, TUNNEL_SECRET_SIZE);
    u->has_secret = true;
    secret_free(info->tunnel_secret, TUNNEL_SECRET_SIZE);
    info->tunnel_secret = NULL;
}

static enum err on_established(struct uplink *u)
{
    const struct carrier_options options = {
        .keep_alive_ms = u->config->source.keep_alive_interval_ms,
        .start = u->dial.established.info->is_resumed ? SESSION_RESUMED : SESSION_FRESH,
    };
    enum err e;

    if (u->has_secret && options.start == SESSION_FRESH) {
        e = begin_tunnel(u);
        if (e != ERR_OK) {
            established_fini(&u->dial.established);
            return e;
        }
    }
    dest_hosts_up(&u->hosts, &u->dial.peer, worker_now(u->worker));
    keep_secret(u);
    pace_on_session(&u->pace);
    u->shown = u->dial.renewals;
    e = carrier_new(&u->tunnel->owner, &u->dial.established, &options);
    if (e == ERR_OK && u->hosts.count > 1)
        LOG(LOG_LEVEL_INFO, "dest.chosen", LOG_STR("host", dial_host(&u->dial)),
            LOG_UINT("priority", u->hosts.index), LOG_BOOL("failback", u->is_failback));
    if (e == ERR_OK && u->is_refresh) {
        u->refreshes++;
        stats_add(&worker_stats(u->worker)->refreshes[ERR_OK], 1);
        LOG(LOG_LEVEL_INFO, "session.refresh",
            LOG_BOOL("resumed", options.start == SESSION_RESUMED));
    }
    return e;
}

void uplink_start_anew(struct uplink *u)
{
    established_fini(&u->dial.established);
    u->is_failback = false;
    u->is_refresh = u->tunnel != NULL && tunnel_owner_has_carrier(&u->tunnel->owner);
    begin_round(u);
}

static void on_dial_end(struct dial_owner *owner, struct dial *d)
{
    struct uplink *u = list_entry(owner, struct uplink, dialing);

    if (worker_is_draining(u->worker)) {
        established_fini(&d->established);
        return;
    }
    if (u->is_elsewhere) {
        uplink_start_anew(u);
        return;
    }
    if (d->error == ERR_OK) {
        d->error = on_established(u);
        if (d->error == ERR_OK) {
            u->is_refresh = false;
            u->is_failback = false;
            return;
        }
        err_set(&d->detail, d->error, "the session cannot be started: %s", err_text(d->error));
    }
    on_dial_failed(u);
}

/* -- the uplink's life -- */

enum err uplink_init(struct uplink *u, const struct config *config, struct credentials *credentials,
                     struct uplink_owner *owner)
{
    const struct config_source *source = &config->source;

    *u = (struct uplink){.config = config_share(config), .owner = owner};
    u->behind = (struct source_tunnel_owner){.on_ready = on_ready,
                                             .on_uncarried = on_uncarried,
                                             .on_stillborn = on_stillborn,
                                             .on_go_away = on_go_away,
                                             .on_keys = on_keys,
                                             .on_closed = on_closed};
    list_init(&u->tunnels);
    u->dialing.on_end = on_dial_end;
    dest_hosts_init(&u->hosts, source->dest_host.count,
                    (uint64_t)source->failback_interval_secs * 1000000);
    u->secret = secret_new(TUNNEL_SECRET_SIZE);
    enum err e = dial_init(&u->dial, credentials, &u->dialing);
    if (e == ERR_OK && u->secret == NULL)
        e = ERR_NOMEM;
    return e == ERR_OK ? pace_init(&u->pace, source) : e;
}

void uplink_fini(struct uplink *u)
{
    if (u->config == NULL)
        return;
    dial_fini(&u->dial);
    pace_fini(&u->pace);
    secret_free(u->secret, TUNNEL_SECRET_SIZE);
    config_free(u->config);
    u->config = NULL;
}

enum err uplink_open(struct uplink *u, struct worker *worker, struct handshaker *handshaker)
{
    uv_timer_t *timers[] = {&u->retry, &u->refresh, &u->patience, &u->failback};
    enum err e;

    u->worker = worker;
    u->handshaker = handshaker;
    dial_open(&u->dial, worker, handshaker);
    e = begin_tunnel(u);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        uv_timer_init(worker_loop(worker), timers[i]);
        timers[i]->data = u;
    }
    u->is_open = true;
    begin_round(u);
    return ERR_OK;
}

void uplink_drain(struct uplink *u)
{
    if (!u->is_open)
        return;
    uv_timer_stop(&u->retry);
    uv_timer_stop(&u->refresh);
    uv_timer_stop(&u->patience);
    uv_timer_stop(&u->failback);
}

void uplink_close(struct uplink *u)
{
    if (!u->is_open)
        return;
    u->is_open = false;
    uv_close((uv_handle_t *)&u->retry, NULL);
    uv_close((uv_handle_t *)&u->refresh, NULL);
    uv_close((uv_handle_t *)&u->patience, NULL);
    uv_close((uv_handle_t *)&u->failback, NULL);
}

struct tunnel_owner *uplink_tunnel(struct uplink *u)
{
    if (u->tunnel == NULL || u->tunnel->is_leaving || !tunnel_owner_is_ready(&u->tunnel->owner))
        return NULL;
    return &u->tunnel->owner;
}

static enum role_uplink_phase phase_of(const struct uplink *u)
{
    if (u->tunnel != NULL && tunnel_owner_is_ready(&u->tunnel->owner))
        return ROLE_UPLINK_UP;
    if (u->has_given_up)
        return ROLE_UPLINK_GIVEN_UP;
    return uv_is_active((const uv_handle_t *)&u->retry) ? ROLE_UPLINK_WAITING : ROLE_UPLINK_DIALING;
}

void uplink_get_state(struct uplink *u, struct role_worker *out)
{
    struct role_tunnel *tunnel;

    if (!u->is_open)
        return;
    out->uplink = (struct role_uplink){
        .phase = phase_of(u),
        .is_refreshing = u->is_refresh,
        .breaker = u->pace.breaker.state,
        .attempts = u->pace.backoff.attempts,
        .next_try_in_us = uv_timer_get_due_in(&u->retry) * 1000,
        .advised_ms = u->pace.advised_ms,
        .dials_total = u->dials,
        .failures_total = u->failures,
        .losses_total = u->losses,
        .refreshes_total = u->refreshes,
        .loss = u->loss,
        .loss_age_us = u->loss.is_set ? worker_now(u->worker) - u->loss.at_us : 0,
    };
    role_worker_make_room(out, &u->tunnels);
    for (struct list *l = u->tunnels.next; l != &u->tunnels; l = l->next) {
        tunnel = role_worker_add(out);
        if (tunnel == NULL)
            continue;
        source_tunnel_get_state(list_entry(l, struct source_tunnel, link), tunnel);
        memcpy(tunnel->id, u->dial.outgoing.tunnel_id, sizeof(tunnel->id));
    }
}
