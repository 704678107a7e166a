#include "role/client_rules.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ops/log.h"
#include "role/file_stamp.h"

struct client_rules {
    const struct config *config; /* of the start */
    struct file_stamp stamp;

    pthread_mutex_t lock;
    struct config *fresh; /* that has taken its place, or NULL; under the lock */
};

enum err client_rules_new(struct client_rules **out, const struct config *config)
{
    struct client_rules *r = calloc(1, sizeof(*r));

    *out = NULL;
    if (r == NULL)
        return ERR_NOMEM;
    r->config = config;
    r->stamp = file_stamp_of(config->path);
    pthread_mutex_init(&r->lock, NULL);
    *out = r;
    return ERR_OK;
}

void client_rules_free(struct client_rules *r)
{
    if (r == NULL)
        return;
    config_free(r->fresh);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void replace(struct client_rules *r, struct config *fresh)
{
    pthread_mutex_lock(&r->lock);
    struct config *old = r->fresh;
    r->fresh = fresh;
    pthread_mutex_unlock(&r->lock);
    config_free(old);
}

bool client_rules_look(struct client_rules *r)
{
    struct file_stamp stamp = file_stamp_of(r->config->path);
    struct problems *problems;
    struct config *fresh = NULL;
    enum err e = ERR_NOMEM;

    if (file_stamp_is_same(&stamp, &r->stamp))
        return false;
    r->stamp = stamp;
    problems = problems_new();
    if (problems != NULL)
        e = config_reload(&fresh, r->config, problems);
    if (e == ERR_OK) {
        replace(r, fresh);
        LOG(LOG_LEVEL_INFO, "rules.reloaded", LOG_STR("file", r->config->path),
            LOG_MSG("allowed_clients has been read again; other keys wait for a restart"));
    } else {
        const struct problem *first =
            problems != NULL && problems_count(problems) > 0 ? problems_at(problems, 0) : NULL;
        LOG(LOG_LEVEL_ERROR, "rules.reload_failed", LOG_ERR("error", e),
            LOG_STR("file", r->config->path), LOG_UINT("line", first != NULL ? first->line : 0),
            LOG_STR("detail", first != NULL ? first->text : err_text(e)),
            LOG_MSG("the rules in use stay"));
    }
    problems_free(problems);
    return e == ERR_OK;
}

static const struct config_exposed_service *find(const struct config *config, const char *name)
{
    for (size_t i = 0; config != NULL && i < config->dest.exposed_service_count; i++) {
        if (strcmp(config->dest.exposed_services[i].name, name) == 0)
            return &config->dest.exposed_services[i];
    }
    return NULL;
}

static bool is_in(const struct config_strings *patterns, const struct peer_cert *cert)
{
    for (size_t i = 0; cert != NULL && i < patterns->count; i++) {
        if (peer_cert_is_named(cert, patterns->items[i]))
            return true;
    }
    return patterns->count == 0;
}

bool client_rules_is_allowed(struct client_rules *r, const char *service,
                             const struct peer_cert *cert)
{
    const struct config_exposed_service *row;
    bool is_allowed;

    pthread_mutex_lock(&r->lock);
    row = find(r->fresh, service);
    /* One that the new file has no more goes by its last rule until the dest is restarted. */
    if (row == NULL)
        row = find(r->config, service);
    is_allowed = row == NULL || is_in(&row->allowed_clients, cert);
    pthread_mutex_unlock(&r->lock);
    return is_allowed;
}
