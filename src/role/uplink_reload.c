/* Another configuration, or other CAs and CRLs, for an uplink that runs. */
#include "role/uplink.h"

#include <string.h>

#include "role/uplink_parts.h"

enum err uplink_change_init(struct uplink_change *change, const struct config *fresh)
{
    change->config = config_share(fresh);
    return pace_init(&change->pace, &fresh->source);
}

void uplink_change_fini(struct uplink_change *change)
{
    pace_fini(&change->pace);
    config_free(change->config);
    change->config = NULL;
}

static bool is_same_dest(const struct config_source *a, const struct config_source *b)
{
    bool is_same =
        a->dest_tunnel_port == b->dest_tunnel_port && a->dest_host.count == b->dest_host.count;

    for (size_t i = 0; is_same && i < a->dest_host.count; i++)
        is_same = strcmp(a->dest_host.items[i], b->dest_host.items[i]) == 0;
    return is_same;
}

static void change_dest(struct uplink *u)
{
    const struct config_source *source = &u->config->source;

    dest_hosts_init(&u->hosts, source->dest_host.count,
                    (uint64_t)source->failback_interval_secs * 1000000);
    uv_timer_stop(&u->failback);
    if (u->dial.is_running) {
        u->is_elsewhere = true;
        return;
    }
    uv_timer_stop(&u->retry);
    uv_timer_stop(&u->refresh);
    pace_reset(&u->pace);
    uplink_start_anew(u);
}

/* Timers that run, where their times are others now. */
static void change_timers(struct uplink *u, const struct config_source *old)
{
    const struct config_source *source = &u->config->source;
    bool is_carried = u->tunnel != NULL && tunnel_owner_has_carrier(&u->tunnel->owner);

    /* Where the session is to be replaced, that is what the timer is for. */
    if (source->connection_refresh_interval_secs != old->connection_refresh_interval_secs &&
        !u->is_outdated) {
        uv_timer_stop(&u->refresh);
        if (is_carried)
            uplink_set_refresh(u);
    }
    if (source->failback_interval_secs != old->failback_interval_secs) {
        dest_hosts_set_interval(&u->hosts, (uint64_t)source->failback_interval_secs * 1000000);
        uv_timer_stop(&u->failback);
        if (is_carried)
            uplink_set_failback(u);
    }
}

void uplink_change(struct uplink *u, struct uplink_change *change)
{
    const struct config *old = u->config;

    u->config = change->config;
    change->config = old;
    pace_change(&u->pace, &change->pace);
    for (struct list *l = u->tunnels.next; l != &u->tunnels; l = l->next)
        source_tunnel_change(list_entry(l, struct source_tunnel, link), u->config);
    if (!u->is_open || worker_is_draining(u->worker))
        return;
    change_timers(u, &old->source);
    if (!is_same_dest(&old->source, &u->config->source))
        change_dest(u);
}

void uplink_recheck(struct uplink *u, X509_STORE *store)
{
    for (struct list *l = u->tunnels.next; u->is_open && l != &u->tunnels; l = l->next)
        source_tunnel_recheck(list_entry(l, struct source_tunnel, link), store);
}

void uplink_renew(struct uplink *u, uint64_t renewals)
{
    bool is_news = u->renewals != renewals;

    u->renewals = renewals;
    if (is_news && u->is_open && !worker_is_draining(u->worker) && !u->is_refresh &&
        u->tunnel != NULL && tunnel_owner_has_carrier(&u->tunnel->owner))
        uplink_set_refresh(u);
}
