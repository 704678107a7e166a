#include "role/source_tunnel.h"

#include <stdlib.h>

#include "ops/log.h"
#include "role/session_log.h"
#include "tunnel/handshake.h"

/* How often a tunnel that is to end looks whether its last stream has. */
#define DRAIN_LOOK_MS 100

static void on_expiry_closed(uv_handle_t *handle)
{
    free(list_entry((uv_timer_t *)handle, struct source_tunnel, expiry.timer));
}

static void on_drain_closed(uv_handle_t *handle)
{
    struct source_tunnel *t = handle->data;

    expiry_close(&t->expiry, on_expiry_closed);
}

static void on_closed(struct tunnel_owner *owner)
{
    struct source_tunnel *t = list_entry(owner, struct source_tunnel, owner);

    list_remove(&t->link);
    t->behind->on_closed(t->behind, t);
    uv_close((uv_handle_t *)&t->drain, on_drain_closed);
}

/* -- whom a session may be with: who may not gets no word more, nor what waits for him -- */

/* NULL: its dest has shown none. */
static struct peer_cert *cert_of(const struct carrier *carrier)
{
    const struct handshake_result *info = carrier_info(carrier);

    return info == NULL ? NULL : info->peer_cert;
}

static void on_expiry(struct expiry *expiry)
{
    struct source_tunnel *t = list_entry(expiry, struct source_tunnel, expiry);

    for (struct list *l = t->owner.carriers.next; l != &t->owner.carriers; l = l->next) {
        struct carrier *carrier = carrier_of_link(l);
        const struct peer_cert *cert = cert_of(carrier);
        enum err e = cert == NULL ? ERR_OK : peer_cert_check_time(cert, NULL);

        if (e != ERR_OK)
            carrier_close(carrier, e);
        else if (cert != NULL)
            expiry_set_earlier(expiry, peer_cert_until(cert));
    }
}

void source_tunnel_recheck(struct source_tunnel *t, X509_STORE *store)
{
    for (struct list *l = t->owner.carriers.next; l != &t->owner.carriers; l = l->next) {
        struct carrier *carrier = carrier_of_link(l);
        struct peer_cert *cert = cert_of(carrier);
        enum err e = cert == NULL ? ERR_OK : peer_cert_verify(cert, store, NULL);

        if (e != ERR_OK)
            carrier_close(carrier, e);
    }
    on_expiry(&t->expiry);
}

/* -- events -- */

static void on_session_ready(struct tunnel_owner *owner, struct carrier *carrier)
{
    struct source_tunnel *t = list_entry(owner, struct source_tunnel, owner);
    uint64_t pause = tunnel_history_pause(&t->history, worker_now(owner->worker));

    session_log_up(carrier);
    tunnel_history_on_ready(&t->history, carrier);
    t->is_leaving = false;
    on_expiry(&t->expiry);
    if (t->is_retired)
        return;
    session_log_resume(owner, carrier, pause);
    t->behind->on_ready(t->behind, t, carrier, pause);
}

static void on_session_lost(struct tunnel_owner *owner, struct carrier *carrier, enum err why)
{
    struct source_tunnel *t = list_entry(owner, struct source_tunnel, owner);
    uint64_t now = worker_now(owner->worker);

    if (t->is_leaving && why == ERR_RESET)
        why = ERR_CLOSED;
    session_log_down(carrier, why);
    tunnel_history_on_lost(&t->history, why, now);
    if (owner->is_closing || worker_is_draining(owner->worker))
        return;
    if (tunnel_owner_has_carrier(owner)) {
        if (carrier_number(carrier) == 0 && !t->is_retired)
            t->behind->on_stillborn(t->behind, t);
        return;
    }
    if (t->is_retired) {
        tunnel_owner_close(owner, why);
        return;
    }
    t->behind->on_uncarried(t->behind, t, carrier);
    tunnel_history_on_uncarried(&t->history, now);
}

static void on_go_away(struct tunnel_owner *owner, struct carrier *carrier, enum wire_code code,
                       uint32_t retry_after_ms, const char *text)
{
    struct source_tunnel *t = list_entry(owner, struct source_tunnel, owner);

    session_log_go_away(carrier, code, retry_after_ms, text);
    tunnel_history_on_go_away(&t->history, code, text);
    t->is_leaving = code == WIRE_SHUTDOWN;
    if (!t->is_retired)
        t->behind->on_go_away(t->behind, t, code, retry_after_ms);
}

static void on_keys(struct tunnel_owner *owner, struct carrier *carrier, enum key_event event)
{
    struct source_tunnel *t = list_entry(owner, struct source_tunnel, owner);

    session_log_keys(carrier, event);
    if (!t->is_retired)
        t->behind->on_keys(t->behind, carrier, event);
}

static const struct tunnel_owner_events tunnel_events = {
    .on_session_ready = on_session_ready,
    .on_session_lost = on_session_lost,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
    .on_closed = on_closed,
};

static struct tunnel_bounds bounds_of(const struct config *all)
{
    const struct config_source *config = &all->source;

    return (struct tunnel_bounds){
        .max_streams = config->max_connections,
        .max_flows = config->max_connections,
        .window_max = config->stream_window_max_bytes,
        .output_max = config->session_output_max_bytes,
        .heartbeat = {.interval_us = (uint64_t)config->heartbeat_interval_ms * 1000,
                      .timeout_us = (uint64_t)config->heartbeat_timeout_ms * 1000,
                      .max_missed = config->max_missed_pongs},
        .key_lifetime_us = (uint64_t)all->crypto.key_rotation_interval_seconds * 1000000,
        .key_margin_us = (uint64_t)all->crypto.rehandshake_before_expiry_seconds * 1000000,
    };
}

void source_tunnel_change(struct source_tunnel *t, const struct config *config)
{
    const struct tunnel_bounds bounds = bounds_of(config);

    tunnel_owner_set_bounds(&t->owner, &bounds);
}

enum err source_tunnel_new(struct source_tunnel **out, struct source_tunnel_owner *behind,
                           struct worker *worker, const struct config *config)
{
    const struct tunnel_owner_options options = {
        .role = TUNNEL_SOURCE,
        .bounds = bounds_of(config),
        .events = &tunnel_events,
    };
    struct source_tunnel *t = calloc(1, sizeof(*t));
    enum err e = t == NULL ? ERR_NOMEM : tunnel_owner_start(&t->owner, worker, &options);

    *out = NULL;
    if (e != ERR_OK) {
        free(t);
        return e;
    }
    t->behind = behind;
    tunnel_history_init(&t->history, worker_now(worker));
    list_init(&t->link);
    uv_timer_init(worker_loop(worker), &t->drain);
    t->drain.data = t;
    expiry_init(&t->expiry, worker_loop(worker), on_expiry);
    *out = t;
    return ERR_OK;
}

void source_tunnel_give_up(struct source_tunnel *t, const char *why)
{
    struct tunnel_state state;

    tunnel_get_state(t->owner.tunnel, &state);
    if (state.streams > 0)
        LOG(LOG_LEVEL_WARN, "tunnel.lost", LOG_UINT("streams", state.streams), LOG_MSG(why));
    tunnel_owner_lose(&t->owner);
}

static void on_drain_look(uv_timer_t *timer)
{
    struct source_tunnel *t = timer->data;
    struct tunnel_state state;

    tunnel_get_state(t->owner.tunnel, &state);
    if (state.streams == 0)
        tunnel_owner_close(&t->owner, ERR_SUPERSEDED);
    else if (uv_now(timer->loop) >= t->drain_until)
        tunnel_owner_cut(&t->owner);
    if (t->owner.is_closing)
        uv_timer_stop(timer);
}

void source_tunnel_retire(struct source_tunnel *t, uint64_t drain_ms)
{
    t->is_retired = true;
    if (tunnel_owner_has_carrier(&t->owner)) {
        LOG(LOG_LEVEL_INFO, "tunnel.draining", LOG_UINT("timeout_ms", drain_ms),
            LOG_MSG("the new session does not continue the old one's streams"));
        t->drain_until = uv_now(t->drain.loop) + drain_ms;
        uv_timer_start(&t->drain, on_drain_look, 0, DRAIN_LOOK_MS);
        return;
    }
    source_tunnel_give_up(t, "the dest does not know the tunnel any more");
    tunnel_owner_close(&t->owner, ERR_CLOSED);
}

void source_tunnel_get_state(const struct source_tunnel *t, struct role_tunnel *out)
{
    role_tunnel_fill(out, &t->owner, &t->history);
    out->is_leaving = t->is_leaving;
    if (t->is_retired && out->phase != ROLE_TUNNEL_CLOSING)
        out->phase = ROLE_TUNNEL_DRAINING;
}
