#include "role/session_log.h"

#include <stdio.h>
#include <string.h>

#include "ops/log.h"
#include "tunnel/handshake.h"

#define NS_PER_US 1000

static void cert_view_of(struct session_cert *view, const struct identity_name *peer)
{
    view->is_shown = true;
    snprintf(view->fingerprint, sizeof(view->fingerprint), "%s", peer->fingerprint_hex);
    snprintf(view->serial, sizeof(view->serial), "%s", peer->serial);
    snprintf(view->issuer, sizeof(view->issuer), "%s", peer->issuer);
    view->expires_at = peer->expires_at;
}

void session_view_of(struct session_view *view, const struct carrier *carrier)
{
    const struct handshake_result *info = carrier_info(carrier);

    memset(view, 0, sizeof(*view));
    address_format(carrier_peer(carrier), view->address);
    view->kem_mode = kem_mode_name(info != NULL ? info->kem_mode : 0);
    if (info == NULL)
        return;
    if (info->has_peer) {
        snprintf(view->peer, sizeof(view->peer), "%s", info->peer.common_name);
        cert_view_of(&view->cert, &info->peer);
    }
    snprintf(view->group, sizeof(view->group), "%s", info->group);
    snprintf(view->signature, sizeof(view->signature), "%s", info->peer_signature);
    view->handshake_us = info->duration_us;
    view->handshake_bytes = info->bytes_in + info->bytes_out;
}

static bool is_resumed(const struct carrier *carrier)
{
    const struct handshake_result *info = carrier_info(carrier);

    return info != NULL && info->is_resumed;
}

void session_log_up(const struct carrier *carrier)
{
    struct session_view view;

    session_view_of(&view, carrier);
    LOG(LOG_LEVEL_INFO, "session.up", LOG_STR("peer", view.peer), LOG_STR("address", view.address),
        LOG_STR("kem_mode", view.kem_mode), LOG_STR("group", view.group),
        LOG_STR("signature", view.signature), LOG_STR("cipher", SESSION_CIPHER),
        LOG_DUR("handshake_ms", (int64_t)(view.handshake_us * NS_PER_US)), LOG_UINT("epoch", 0),
        LOG_UINT("session", carrier_number(carrier)), LOG_BOOL("resumed", is_resumed(carrier)));
}

void session_log_resume(const struct tunnel_owner *tunnel, const struct carrier *carrier,
                        uint64_t pause_us)
{
    struct stats *stats = worker_stats(tunnel->worker);
    struct tunnel_state state;

    if (!is_resumed(carrier))
        return;
    if (pause_us > 0) {
        stats_add(&stats->resumes, 1);
        histogram_observe(&stats->resume_pause, pause_us);
    }
    tunnel_get_state(tunnel->tunnel, &state);
    LOG(LOG_LEVEL_INFO, "session.resume", LOG_UINT("session", carrier_number(carrier)),
        LOG_UINT("streams", state.streams), LOG_DUR("pause_ms", (int64_t)(pause_us * NS_PER_US)));
}

void session_log_keys(const struct carrier *carrier, enum key_event event)
{
    switch (event) {
    case KEYS_DUE:
        break;
    case KEYS_LATE:
        LOG(LOG_LEVEL_WARN, "session.rotation_late", LOG_UINT("session", carrier_number(carrier)),
            LOG_MSG("no key exchange was finished in time; a new session replaces this one"));
        break;
    case KEYS_ROTATED:
        LOG(LOG_LEVEL_INFO, "session.rotated", LOG_UINT("session", carrier_number(carrier)),
            LOG_UINT("generation", carrier_generation(carrier)));
        break;
    }
}

void session_log_down(const struct carrier *carrier, enum err why)
{
    struct session_view view;
    struct carrier_traffic traffic;
    enum log_level level = LOG_LEVEL_WARN;

    if (why == ERR_CLOSED || why == ERR_SHUTDOWN || why == ERR_SUPERSEDED)
        level = LOG_LEVEL_INFO;
    session_view_of(&view, carrier);
    carrier_get_traffic(carrier, &traffic);
    LOG(level, "session.down", LOG_ERR("reason", why), LOG_STR("detail", err_text(why)),
        LOG_STR("peer", view.peer), LOG_STR("address", view.address),
        LOG_UINT("session", carrier_number(carrier)), LOG_UINT("streams", traffic.streams),
        LOG_UINT("bytes_in", traffic.bytes_in), LOG_UINT("bytes_out", traffic.bytes_out));
}

void session_log_go_away(const struct carrier *carrier, enum wire_code code,
                         uint32_t retry_after_ms, const char *text)
{
    struct session_view view;

    session_view_of(&view, carrier);
    LOG_LIMITED(LOG_LEVEL_INFO, "session.go_away", LOG_UINT("code", (uint64_t)code),
                LOG_STR("text", text), LOG_UINT("retry_after_ms", retry_after_ms),
                LOG_STR("peer", view.peer), LOG_STR("address", view.address));
}
