#include "role/dest_gate.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "net/listener.h"
#include "ops/log.h"
#include "tunnel/handshake.h"

/*
 * What a source that is refused is advised, give or take a half. A dest that shuts down is mostly
 * about to be started again; one with too many tunnels stays so until some end.
 */
#define RETRY_SHUTDOWN_MS 1000
#define RETRY_LIMIT_MS    5000

struct dest_gate {
    struct dest_gate_options options;
    struct handshaker_owner handshaking;
    struct handshaker *handshaker;
    int listen_fd; /* until the handshaker has it; then -1 */
    uint16_t port;
    atomic_bool is_shut;
};

/* A session on its way from the handshake thread to the worker. */
struct arrival {
    struct worker_item item;
    struct established established;
    struct placement_key key;
    struct dest_tunnels *tunnels;
};

/* -- arrivals -- */

static void arrival_free(struct arrival *a)
{
    established_fini(&a->established);
    free(a);
}

static void on_arrival_dropped(struct worker_item *item)
{
    struct arrival *a = list_entry(item, struct arrival, item);

    placement_leave(a->tunnels->placement, &a->key);
    arrival_free(a);
}

static void log_no_session(const struct address *peer, enum err why)
{
    char text[ADDRESS_TEXT_MAX];

    address_format(peer, text);
    LOG_LIMITED(LOG_LEVEL_WARN, "session.failed", LOG_ERR("error", why), LOG_STR("address", text),
                LOG_STR("detail", err_text(why)));
}

static void on_arrival(struct worker_item *item, struct worker *worker)
{
    struct arrival *a = list_entry(item, struct arrival, item);

    if (worker_is_draining(worker)) {
        on_arrival_dropped(item);
        return;
    }
    const struct address peer = a->established.peer;
    enum err e = dest_tunnels_adopt(a->tunnels, &a->established, &a->key);
    if (e != ERR_OK)
        log_no_session(&peer, e);
    arrival_free(a);
}

/* -- the handshake thread -- */

static struct dest_gate *gate_of(struct handshaker_owner *owner)
{
    return list_entry(owner, struct dest_gate, handshaking);
}

static bool is_address_allowed(const struct dest_gate *g, const struct address *peer)
{
    const struct cidr_list *allowed = &g->options.config->dest.allowed_source_ips;

    return allowed->count == 0 ||
           cidr_list_is_match(allowed, (const struct sockaddr *)&peer->sockaddr);
}

static bool is_allowed(struct handshaker_owner *owner, const struct address *peer)
{
    return is_address_allowed(gate_of(owner), peer);
}

static const struct tls_context *choose_tls(struct handshaker_owner *owner)
{
    return credentials_use(gate_of(owner)->options.credentials, CREDENTIALS_IF_CHANGED,
                           uv_hrtime() / 1000);
}

static void on_refused(struct handshaker_owner *owner, const struct address *peer, enum err why)
{
    char text[ADDRESS_TEXT_MAX];

    (void)owner;
    address_format(peer, text);
    LOG_LIMITED(
        LOG_LEVEL_WARN, "handshake.refused", LOG_ERR("error", why), LOG_STR("address", text),
        LOG_STR("detail", why == ERR_NOT_ALLOWED ? "the address is not in allowed_source_ips"
                                                 : err_text(why)));
}

static void on_failed(struct handshaker_owner *owner, const struct handshaker_failure *failure)
{
    enum log_level level = failure->why == ERR_SHUTDOWN ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
    char text[ADDRESS_TEXT_MAX];

    (void)owner;
    address_format(&failure->peer, text);
    LOG_LIMITED(level, "handshake.failed", LOG_ERR("error", failure->why), LOG_STR("address", text),
                LOG_STR("detail", failure->detail),
                LOG_UINT("retry_after_ms", failure->retry_after_ms));
}

static struct placement_key key_of(const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                                   const uint8_t identity[PEER_IDENTITY_SIZE])
{
    struct placement_key key = {.twin = 0};

    memcpy(key.tunnel_id, tunnel_id, sizeof(key.tunnel_id));
    memcpy(key.identity, identity, sizeof(key.identity));
    return key;
}

static bool on_resume(struct handshaker_owner *owner, const uint8_t tunnel_id[TUNNEL_ID_SIZE],
                      const uint8_t identity[PEER_IDENTITY_SIZE],
                      uint8_t secret[TUNNEL_SECRET_SIZE])
{
    struct placement_key key = key_of(tunnel_id, identity);

    return placement_secret(gate_of(owner)->options.placement, &key, secret);
}

static enum err on_admit(struct handshaker_owner *owner, struct handshake_visitor *visitor)
{
    struct dest_gate *g = gate_of(owner);

    if (atomic_load(&g->is_shut))
        return ERR_SHUTDOWN;
    if (visitor->is_resumed)
        return ERR_OK;
    const struct placement_key key = key_of(visitor->tunnel_id, visitor->identity);
    return placement_admit(g->options.placement, &key, &visitor->why);
}

static uint32_t on_advise(struct handshaker_owner *owner, enum err why)
{
    uint32_t middle = why == ERR_SHUTDOWN ? RETRY_SHUTDOWN_MS : RETRY_LIMIT_MS;
    uint32_t random;

    (void)owner;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        random = (uint32_t)uv_hrtime();
    return middle / 2 + random % (middle + 1);
}

/* The handshake may have begun before CAs, CRLs or the configuration were renewed. */
static bool is_still_trusted(const struct dest_gate *g, const struct handshake_result *info)
{
    const struct credentials *credentials = g->options.credentials;
    const struct config_auth *auth = &g->options.config->auth;

    if (info->peer_cert == NULL)
        return !auth->use_mtls || !auth->verify_client_cert;
    return credentials_generation(credentials) == CREDENTIALS_FIRST ||
           peer_cert_verify(info->peer_cert, credentials_store(credentials), NULL) == ERR_OK;
}

static void on_established(struct handshaker_owner *owner, struct established *e)
{
    struct dest_gate *g = gate_of(owner);
    const struct handshake_result *info = e->info;
    struct placement *placement = g->options.placement;
    struct arrival *a = calloc(1, sizeof(*a));
    unsigned index = 0;
    enum err error = ERR_NOMEM;

    if (a != NULL && !is_address_allowed(g, &e->peer)) {
        error = ERR_NOT_ALLOWED;
    } else if (a != NULL && !is_still_trusted(g, info)) {
        error = ERR_CERT_REVOKED;
    } else if (a != NULL) {
        a->key = key_of(info->tunnel_id, info->peer_identity);
        if (info->is_resumed)
            error = placement_resume(placement, &a->key, info->tunnel_secret, &index);
        else
            error = placement_enter(placement, &a->key, info->tunnel_secret, &index);
    }
    if (error != ERR_OK) {
        log_no_session(&e->peer, error);
        established_fini(e);
        free(a);
        return;
    }
    a->established = *e;
    established_init(e);
    a->tunnels = g->options.owner->tunnels_at(g->options.owner, index);
    a->item = (struct worker_item){.run = on_arrival, .drop = on_arrival_dropped};
    worker_post(a->tunnels->worker, &a->item);
}

static bool on_look(struct handshaker_owner *owner)
{
    struct dest_gate_owner *behind = gate_of(owner)->options.owner;

    return behind->on_look(behind);
}

static void on_trouble(struct handshaker_owner *owner, enum err why)
{
    (void)owner;
    LOG_LIMITED(LOG_LEVEL_ERROR, "listener.trouble", LOG_ERR("error", why),
                LOG_MSG("cannot accept sources; trying again"));
}

/* -- life -- */

enum err dest_gate_open(struct dest_gate **out, const struct dest_gate_options *options,
                        struct err_detail *d)
{
    const struct listener_bind bind = {
        .ip = options->config->dest.listen_ip,
        .port = options->config->dest.tunnel_port,
        .count = 1,
    };
    struct dest_gate *g = calloc(1, sizeof(*g));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (g == NULL)
        return e;
    g->options = *options;
    g->handshaking = (struct handshaker_owner){
        .is_allowed = is_allowed,
        .choose_tls = choose_tls,
        .on_refused = on_refused,
        .on_failed = on_failed,
        .on_resume = on_resume,
        .on_admit = on_admit,
        .on_advise = on_advise,
        .on_established = on_established,
        .on_trouble = on_trouble,
        .on_look = on_look,
    };
    atomic_init(&g->is_shut, false);
    e = listener_bind(&g->listen_fd, &g->port, &bind, d);
    if (e != ERR_OK) {
        free(g);
        return e;
    }
    *out = g;
    return ERR_OK;
}

enum err dest_gate_start(struct dest_gate *g)
{
    const struct config_dest *config = &g->options.config->dest;
    const struct handshaker_options options = {
        .listen_fd = g->listen_fd,
        .max_size = g->options.config->crypto.max_handshake_size_bytes,
        .rate_limit = config->handshake_rate_limit,
        .rate_window_ms = config->handshake_rate_window_secs * 1000,
        .max_in_flight = config->max_handshakes,
        .owner = &g->handshaking,
    };

    g->listen_fd = -1;
    return handshaker_start(&g->handshaker, &options);
}

void dest_gate_shut(struct dest_gate *g)
{
    atomic_store(&g->is_shut, true);
    handshaker_stop(g->handshaker);
}

void dest_gate_free(struct dest_gate *g)
{
    if (g == NULL)
        return;
    handshaker_free(g->handshaker);
    if (g->listen_fd >= 0)
        close(g->listen_fd);
    free(g);
}

/* On its way to the handshake thread. */
struct change_call {
    struct handshaker_call call;
    struct dest_gate *gate;
    const struct dest_gate_change *change;
};

static void on_change(struct handshaker_call *call, struct handshaker *h)
{
    const struct change_call *c = list_entry(call, struct change_call, call);
    const struct dest_gate_change *change = c->change;
    const struct handshaker_bounds bounds = {
        .max_size = change->config->crypto.max_handshake_size_bytes,
        .max_in_flight = change->config->dest.max_handshakes,
        .rate_limit = change->config->dest.handshake_rate_limit,
        .rate = change->rate,
    };

    c->gate->options.config = change->config;
    credentials_adopt(c->gate->options.credentials, change->credentials);
    handshaker_set_bounds(h, &bounds);
}

bool dest_gate_change(struct dest_gate *g, const struct dest_gate_change *change)
{
    struct change_call call = {.call = {.run = on_change}, .gate = g, .change = change};

    if (!handshaker_run(g->handshaker, &call.call))
        return false;
    placement_set_max(g->options.placement, change->config->dest.max_tunnels);
    return true;
}

void dest_gate_look(struct dest_gate *g)
{
    handshaker_look(g->handshaker);
}

uint16_t dest_gate_port(const struct dest_gate *g)
{
    return g->port;
}

const struct handshaker_stats *dest_gate_stats(const struct dest_gate *g)
{
    return handshaker_stats(g->handshaker);
}
