#include "role/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/list.h"
#include "config/host.h"
#include "net/listener.h"
#include "ops/admin_server.h"
#include "ops/log.h"
#include "ops/metric_text.h"
#include "role/collect.h"
#include "role/page.h"
#include "role/status.h"

#define JSON_TYPE   "application/json"
#define OK          200
#define UNAVAILABLE 503

struct admin {
    struct admin_owner owner;
    struct status_subject subject;
    struct admin_server *server;
    int fd; /* until the server has it; or -1 */
    uint16_t port;
};

static const char *role_name(const struct status_subject *subject)
{
    return subject->source != NULL ? "source" : "dest";
}

/* -- /metrics -- */

static void write_health(struct metric_text *m, const struct health *health)
{
    for (unsigned i = 0; i < HEALTH_STATES; i++)
        metric_count(m, METRIC_HEALTH_STATE, METRIC_LABELS(health_state_name((enum health_state)i)),
                     i == (unsigned)health->state ? 1 : 0);
    metric_count(m, METRIC_READY, METRIC_NO_LABELS, health->is_ready ? 1 : 0);
}

static void write_reloads(struct metric_text *m, struct reloader *reloader)
{
    struct reload_note note;

    reloader_get_note(reloader, &note);
    for (size_t i = 0; i < ERR_COUNT; i++) {
        if (note.counts[i] > 0 || i == ERR_OK)
            metric_count(m, METRIC_CONFIG_RELOADS, METRIC_LABELS(err_name((enum err)i)),
                         note.counts[i]);
    }
    metric_number(m, METRIC_CONFIG_RELOADED_AT, METRIC_NO_LABELS, (double)note.good_at);
}

static enum err answer_metrics(const struct status_subject *subject, struct admin_reply *reply)
{
    struct metric_text *m;
    struct status status;
    enum err e = metric_text_new(&m);

    if (e != ERR_OK)
        return e;
    metric_count(
        m, METRIC_BUILD_INFO,
        METRIC_LABELS(role_name(subject), UTUN_VERSION, OpenSSL_version(OPENSSL_VERSION_STRING)),
        1);
    collect_write_process(m);
    write_reloads(m, subject->reloader);
    if (subject->source != NULL)
        source_collect(subject->source, m);
    else
        dest_collect(subject->dest, m);
    e = status_take(&status, subject);
    if (e == ERR_OK) {
        write_health(m, &status.health);
        metric_number(m, METRIC_KEY_AGE, METRIC_NO_LABELS, (double)status.keys_age_us / 1e6);
        status_fini(&status);
        e = metric_text_finish(m, &reply->body, &reply->body_len);
    }
    metric_text_free(m);
    reply->content_type = METRIC_TEXT_TYPE;
    return e;
}

/* -- JSON -- */

/* Takes json. */
static enum err answer_json(json_t *json, struct admin_reply *reply)
{
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    int len = text == NULL ? -1 : asprintf(&reply->body, "%s\n", text);

    json_decref(json);
    free(text);
    if (len < 0) {
        reply->body = NULL;
        return ERR_NOMEM;
    }
    reply->content_type = JSON_TYPE;
    reply->body_len = (size_t)len;
    return ERR_OK;
}

enum question {
    ASK_HEALTH,
    ASK_READY,
    ASK_STATUS,
};

static enum err answer_status(const struct status_subject *subject, enum question question,
                              struct admin_reply *reply)
{
    struct status status;
    enum err e = status_take(&status, subject);

    if (e != ERR_OK)
        return e;
    if (question == ASK_READY && !status.health.is_ready)
        reply->status = UNAVAILABLE;
    e = answer_json(question == ASK_STATUS ? status_json(&status) : status_health_json(&status),
                    reply);
    status_fini(&status);
    return e;
}

/* -- the page -- */

static enum err answer_page(struct admin_reply *reply)
{
    reply->body = malloc(page_html_len);
    if (reply->body == NULL)
        return ERR_NOMEM;
    memcpy(reply->body, page_html, page_html_len);
    reply->body_len = page_html_len;
    reply->content_type = "text/html; charset=utf-8";
    reply->content_security_policy = page_policy;
    return ERR_OK;
}

/* -- the server -- */

static enum err on_request(struct admin_owner *owner, const char *path, struct admin_reply *reply)
{
    const struct status_subject *subject = &list_entry(owner, struct admin, owner)->subject;

    if (strcmp(path, "/metrics") == 0)
        return answer_metrics(subject, reply);
    if (strcmp(path, "/health") == 0)
        return answer_status(subject, ASK_HEALTH, reply);
    if (strcmp(path, "/ready") == 0)
        return answer_status(subject, ASK_READY, reply);
    if (strcmp(path, "/status") == 0)
        return answer_status(subject, ASK_STATUS, reply);
    if (strcmp(path, "/") == 0)
        return answer_page(reply);
    return ERR_NOT_FOUND;
}

enum err admin_open(struct admin **out, const struct config *config, struct err_detail *d)
{
    const struct listener_bind bind = {
        .ip = config->metrics.metrics_bind_ip,
        .port = config->metrics.metrics_port,
        .count = 1,
    };
    struct err_detail why;
    struct admin *a;

    *out = NULL;
    if (!config->metrics.enabled)
        return ERR_OK;
    a = calloc(1, sizeof(*a));
    if (a == NULL)
        return err_set(d, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    enum err e = listener_bind(&a->fd, &a->port, &bind, &why);
    if (e != ERR_OK) {
        free(a);
        return err_set(d, e,
                       "the admin endpoint: %.300s (metrics_port in [metrics], or --metrics-port; "
                       "enabled = false there does without)",
                       why.text);
    }
    a->owner.on_request = on_request;
    a->owner.is_local = host_is_loopback(bind.ip);
    a->subject.started_at = (int64_t)time(NULL);
    a->subject.started_us = clock_us();
    *out = a;
    return ERR_OK;
}

enum err admin_serve(struct admin *a, struct source *source, struct dest *dest,
                     struct reloader *reloader, struct err_detail *d)
{
    const struct config *config = reloader_config(reloader);
    int fd;

    if (a == NULL)
        return ERR_OK;
    fd = a->fd;
    a->fd = -1;
    a->subject.source = source;
    a->subject.dest = dest;
    a->subject.reloader = reloader;
    enum err e = admin_server_start(&a->server, fd, &a->owner);
    if (e != ERR_OK)
        return err_set(d, e, "the admin endpoint cannot be served: %s", err_text(e));
    LOG(LOG_LEVEL_INFO, "admin.listening", LOG_STR("ip", config->metrics.metrics_bind_ip),
        LOG_UINT("port", a->port));
    return ERR_OK;
}

void admin_close(struct admin *a)
{
    if (a == NULL)
        return;
    admin_server_free(a->server);
    if (a->fd >= 0)
        close(a->fd);
    free(a);
}
