#include "role/reloader.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/changes.h"
#include "config/problems.h"
#include "ops/log.h"
#include "role/file_stamp.h"
#include "role/validate.h"
#include "role/role.h"

struct watched {
    struct file_stamp read; /* as it was when it was read last */
    struct file_stamp seen; /* at the last look */
};

struct reloader {
    const struct config *config; /* owned */
    struct source *source;
    struct dest *dest;
    struct watched file;
    struct watched users;

    pthread_mutex_t lock;
    struct reload_note note; /* under the lock */
};

const char *reload_trigger_name(enum reload_trigger trigger)
{
    return trigger == RELOAD_SIGNAL ? "signal" : "file";
}

static enum config_role role_of(const struct reloader *r)
{
    return r->source != NULL ? CONFIG_ROLE_SOURCE : CONFIG_ROLE_DEST;
}

/* -- files -- */

static const char *users_path(const struct reloader *r)
{
    const struct config_source *source = &r->config->source;

    return r->source != NULL && source->mode != CONFIG_MODE_TRANSPARENT ? source->proxy_users_path
                                                                        : NULL;
}

static void note_read(struct watched *w, const char *path)
{
    w->read = w->seen = file_stamp_of(path);
}

static enum reloader_sight look(struct watched *w, const char *path)
{
    struct file_stamp now = file_stamp_of(path);
    bool is_steady = file_stamp_is_same(&now, &w->seen);

    w->seen = now;
    if (!is_steady)
        return RELOADER_MOVING;
    return file_stamp_is_same(&now, &w->read) ? RELOADER_SAME : RELOADER_CHANGED;
}

enum reloader_sight reloader_look(struct reloader *r)
{
    enum reloader_sight file = look(&r->file, r->config->path);
    enum reloader_sight users = look(&r->users, users_path(r));

    if (file == RELOADER_MOVING || users == RELOADER_MOVING)
        return RELOADER_MOVING;
    return file == RELOADER_CHANGED ? file : users;
}

void reloader_get_files(const struct reloader *r, const char *paths[RELOADER_FILES])
{
    paths[0] = r->config->path;
    paths[1] = users_path(r);
}

/* -- what comes of it -- */

static void join(char *out, size_t size, const struct config_changes *changes)
{
    size_t len;

    (void)config_changes_list(changes, SCHEMA_LIVE, out, size);
    len = strlen(out);
    if (len > 0 && len + 3 < size)
        len += (size_t)snprintf(out + len, size - len, ", ");
    if (config_changes_list(changes, SCHEMA_NEXT, out + len, size - len) == 0 && len > 0)
        out[len - 2] = 0;
}

static void note_good(struct reloader *r, enum reload_trigger trigger,
                      const struct config_changes *changes)
{
    struct reload_note *n = &r->note;

    pthread_mutex_lock(&r->lock);
    n->counts[ERR_OK]++;
    n->at = n->good_at = (int64_t)time(NULL);
    n->trigger = trigger;
    n->result = ERR_OK;
    n->reason[0] = 0;
    join(n->changed, sizeof(n->changed), changes);
    (void)config_changes_list(changes, SCHEMA_RESTART, n->needs_restart, sizeof(n->needs_restart));
    pthread_mutex_unlock(&r->lock);
    LOG(LOG_LEVEL_INFO, "config.reloaded", LOG_STR("trigger", reload_trigger_name(trigger)),
        LOG_STR("file", r->config->path), LOG_STR("changed", n->changed));
    if (n->needs_restart[0] != 0)
        LOG(LOG_LEVEL_WARN, "config.restart_needed", LOG_STR("keys", n->needs_restart),
            LOG_MSG("these keep the values of the start until it is restarted"));
}

static void note_bad(struct reloader *r, enum reload_trigger trigger, enum err e,
                     const struct problem *first)
{
    struct reload_note *n = &r->note;

    pthread_mutex_lock(&r->lock);
    n->counts[e]++;
    n->at = (int64_t)time(NULL);
    n->trigger = trigger;
    n->result = e;
    n->changed[0] = 0;
    (void)problem_format(first, n->reason, sizeof(n->reason));
    pthread_mutex_unlock(&r->lock);
    LOG(LOG_LEVEL_ERROR, "config.reload_failed", LOG_STR("trigger", reload_trigger_name(trigger)),
        LOG_ERR("error", e), LOG_STR("file", first->file), LOG_UINT("line", first->line),
        LOG_UINT("column", first->column), LOG_STR("detail", first->text),
        LOG_STR("suggestion", first->suggestion),
        LOG_MSG("the configuration in use stays as it is"));
}

/* -- reading and putting in place -- */

static const struct problem *first_error(struct problems *problems)
{
    for (size_t i = 0; i < problems_count(problems); i++) {
        if (problems_at(problems, i)->level == PROBLEM_ERROR)
            return problems_at(problems, i);
    }
    return problems_at(problems, 0);
}

/* On error problems has at least one. */
static enum err replace(struct reloader *r, struct config **fresh, struct config_changes *changes,
                        struct problems *problems)
{
    struct identity *identity;
    struct err_detail detail;
    enum err e = validate_reload(fresh, &identity, r->config, role_of(r), problems);

    if (e != ERR_OK)
        return e;
    config_compare(changes, r->config, *fresh, role_of(r));
    e = config_keep_fixed(*fresh, r->config, role_of(r));
    if (e != ERR_OK)
        err_set(&detail, e, "%s", err_text(e));
    else
        e = r->source != NULL ? source_reload(r->source, *fresh, identity, &detail)
                              : dest_reload(r->dest, *fresh, identity, &detail);
    if (e != ERR_OK)
        problems_add(problems, PROBLEM_ERROR, (struct problem_place){.file = r->config->path}, NULL,
                     "%s", detail.text);
    identity_free(identity);
    return e;
}

void reloader_run(struct reloader *r, enum reload_trigger trigger)
{
    static const struct problem no_memory = {.text = "out of memory"};
    struct problems *problems = problems_new();
    struct config_changes changes = {.count = 0};
    struct config *fresh = NULL;

    /* Before they are read: what changes meanwhile is seen at the next look. */
    note_read(&r->file, r->config->path);
    note_read(&r->users, users_path(r));
    enum err e = problems != NULL ? replace(r, &fresh, &changes, problems) : ERR_NOMEM;
    if (e == ERR_OK) {
        bool is_other_file = config_changes_has(&changes, SCHEMA_SOURCE, "proxy_users_path") ||
                             config_changes_has(&changes, SCHEMA_SOURCE, "mode");

        role_set_log(fresh);
        validate_log_warnings(problems);
        config_free(r->config);
        r->config = config_share(fresh);
        if (is_other_file)
            note_read(&r->users, users_path(r));
        note_good(r, trigger, &changes);
    } else {
        note_bad(r, trigger, e, problems != NULL ? first_error(problems) : &no_memory);
    }
    config_free(fresh);
    problems_free(problems);
}

/* -- life -- */

enum err reloader_new(struct reloader **out, const struct config *config, struct source *source,
                      struct dest *dest)
{
    struct reloader *r = calloc(1, sizeof(*r));

    *out = NULL;
    if (r == NULL)
        return ERR_NOMEM;
    pthread_mutex_init(&r->lock, NULL);
    r->config = config_share(config);
    r->source = source;
    r->dest = dest;
    r->note.good_at = (int64_t)time(NULL);
    note_read(&r->file, config->path);
    note_read(&r->users, users_path(r));
    *out = r;
    return ERR_OK;
}

void reloader_free(struct reloader *r)
{
    if (r == NULL)
        return;
    config_free(r->config);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

const struct config *reloader_config(const struct reloader *r)
{
    return r->config;
}

void reloader_get_note(struct reloader *r, struct reload_note *out)
{
    pthread_mutex_lock(&r->lock);
    *out = r->note;
    pthread_mutex_unlock(&r->lock);
}
