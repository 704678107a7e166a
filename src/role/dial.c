#include "role/dial.h"

#include <assert.h>
#include <stdio.h>
#include <sys/random.h>

#include "base/list.h"
#include "tunnel/handshake.h"

/* On the handshake thread. */
static const struct tls_context *choose_tls(struct handshaker_dial *outgoing)
{
    struct dial *d = list_entry(outgoing, struct dial, outgoing);
    const struct tls_context *tls = credentials_use(d->credentials, d->when, worker_now(d->worker));

    d->generation = credentials_generation(d->credentials);
    d->renewals = credentials_renewals(d->credentials);
    return tls;
}

/* The handshake may have begun before CAs or CRLs were renewed. */
static enum err check_again(const struct dial *d, const struct established *e, const char **detail)
{
    if (d->generation == credentials_generation(d->credentials) || e->info->peer_cert == NULL)
        return ERR_OK;
    return peer_cert_verify(e->info->peer_cert, credentials_store(d->credentials), detail);
}

/* On the handshake thread. */
static void on_outcome(struct handshaker_dial *outgoing, struct established *e,
                       const struct handshaker_failure *failure)
{
    struct dial *d = list_entry(outgoing, struct dial, outgoing);

    if (failure == NULL) {
        const char *detail = "";

        d->error = check_again(d, e, &detail);
        d->peer = e->peer;
        d->advice_ms = 0;
        snprintf(d->detail.text, sizeof(d->detail.text), "%s", detail);
        if (d->error != ERR_OK)
            established_fini(e);
        d->established = *e;
        established_init(e);
    } else {
        established_init(&d->established);
        d->error = failure->why;
        d->peer = failure->peer;
        d->advice_ms = failure->retry_after_ms;
        snprintf(d->detail.text, sizeof(d->detail.text), "%s", failure->detail);
    }
    worker_post(d->worker, &d->report);
}

static void on_report(struct worker_item *item, struct worker *worker)
{
    struct dial *d = list_entry(item, struct dial, report);

    (void)worker;
    d->is_running = false;
    d->owner->on_end(d->owner, d);
}

static void on_report_dropped(struct worker_item *item)
{
    established_fini(&list_entry(item, struct dial, report)->established);
}

enum err dial_init(struct dial *d, struct credentials *credentials, struct dial_owner *owner)
{
    *d = (struct dial){
        .owner = owner,
        .credentials = credentials,
        .outgoing = {.on_outcome = on_outcome, .choose_tls = choose_tls},
        .report = {.run = on_report, .drop = on_report_dropped},
    };
    established_init(&d->established);
    if (getrandom(d->outgoing.tunnel_id, sizeof(d->outgoing.tunnel_id), 0) !=
        (ssize_t)sizeof(d->outgoing.tunnel_id))
        return ERR_RANDOM;
    return ERR_OK;
}

void dial_fini(struct dial *d)
{
    established_fini(&d->established);
    config_free(d->config);
    d->config = NULL;
}

void dial_open(struct dial *d, struct worker *worker, struct handshaker *handshaker)
{
    d->worker = worker;
    d->handshaker = handshaker;
}

void dial_start(struct dial *d, const struct dial_options *options)
{
    const struct config *old = d->config;

    assert(!d->is_running);
    d->config = config_share(options->config);
    config_free(old);
    d->is_running = true;
    d->when = options->when;
    d->outgoing.host = d->config->source.dest_host.items[options->host];
    d->outgoing.port = d->config->source.dest_tunnel_port;
    d->stay = options->stay != NULL ? *options->stay : (struct address){.len = 0};
    d->outgoing.stay = options->stay != NULL ? &d->stay : NULL;
    d->skip.count = 0;
    if (options->skip != NULL)
        d->skip = *options->skip;
    d->outgoing.skip = &d->skip;
    d->outgoing.tunnel_secret = options->secret;
    handshaker_dial(d->handshaker, &d->outgoing);
}

const char *dial_host(const struct dial *d)
{
    return d->outgoing.host;
}
