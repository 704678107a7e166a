#include "role/credentials.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/problems.h"
#include "ops/log.h"
#include "role/file_stamp.h"
#include "role/role.h"
#include "role/validate.h"

#define FILES 4

struct credentials {
    const struct config *config;
    enum config_role role;
    struct tls_context *tls;
    X509_STORE *store;
    uint64_t generation;
    struct identity_name own; /* whom the own certificate names; empty where there is none */
    uint64_t renewals;
    uint64_t looked_at; /* 0: never */
    uint64_t read_at;
    bool is_read; /* stamps are those of the files that were read last, good or bad */
    bool is_bad;  /* and what they held was not good */
    struct file_stamp stamps[FILES];
    _Atomic int64_t own_expiry; /* of struct identity_expiries; read by any thread */
    _Atomic int64_t ca_expiry;
    _Atomic int64_t crl_expiry;
    _Atomic uint64_t reloads[ERR_COUNT];
    struct err_detail said; /* why the last set was not good, as logged; "": it was good */
};

/* -- what has changed -- */

/* Whether any file is another than the one that was read last. Remembers what it finds. */
static bool look(struct credentials *c)
{
    const struct identity_files files = validate_files(c->config, c->role);
    const char *const paths[FILES] = {files.cert_path, files.key_path, files.ca_path,
                                      files.crl_path};
    bool has_changed = !c->is_read;

    for (size_t i = 0; i < FILES; i++) {
        struct file_stamp stamp = file_stamp_of(paths[i]);
        has_changed = has_changed || !file_stamp_is_same(&stamp, &c->stamps[i]);
        c->stamps[i] = stamp;
    }
    return has_changed;
}

/* -- reading -- */

static void log_renewed(const struct credentials *c, const struct identity *identity)
{
    int64_t expiry = identity_expiry(identity);

    LOG(LOG_LEVEL_INFO, "identity.reloaded", LOG_STR("certificate", c->own.common_name),
        LOG_STR("alt_names", c->own.alt_names), LOG_STR("fingerprint", c->own.fingerprint_hex),
        LOG_INT("expires_in_secs", expiry == INT64_MAX ? 0 : expiry - (int64_t)time(NULL)),
        LOG_MSG("certificate files have changed; new sessions go by them"));
}

static void log_warnings(struct problems *problems)
{
    for (size_t i = 0; i < problems_count(problems); i++)
        LOG(LOG_LEVEL_WARN, "identity.warning", LOG_STR("detail", problems_at(problems, i)->text));
}

static void log_failure(struct credentials *c, enum err e, const struct err_detail *d)
{
    if (c->is_bad && strcmp(c->said.text, d->text) == 0)
        return;
    c->said = *d;
    LOG(LOG_LEVEL_ERROR, "identity.reload_failed", LOG_ERR("error", e), LOG_STR("detail", d->text),
        LOG_MSG("the certificates in use stay"));
}

static void note_expiries(struct credentials *c, const struct identity *identity)
{
    struct identity_expiries expiries;

    identity_get_expiries(identity, &expiries);
    atomic_store_explicit(&c->own_expiry, expiries.own, memory_order_relaxed);
    atomic_store_explicit(&c->ca_expiry, expiries.ca, memory_order_relaxed);
    atomic_store_explicit(&c->crl_expiry, expiries.crl, memory_order_relaxed);
}

static void take_store(struct credentials *c, const struct identity *identity)
{
    X509_STORE_free(c->store);
    c->store = identity_store(identity);
    (void)X509_STORE_up_ref(c->store);
    c->generation++;
}

static void take_own(struct credentials *c, const struct identity_name *own)
{
    if (strcmp(c->own.fingerprint_hex, own->fingerprint_hex) != 0)
        c->renewals++;
    c->own = *own;
}

static struct identity_name name_of(const struct identity *identity)
{
    struct identity_name own = {.common_name = ""};

    if (identity_leaf(identity) != NULL)
        identity_of_cert(&own, identity_leaf(identity));
    return own;
}

static void read_set(struct credentials *c, bool is_news)
{
    struct problems *problems = problems_new();
    struct identity *identity = NULL;
    struct tls_context *tls = NULL;
    struct identity_name own;
    struct err_detail d;
    enum err e = ERR_NOMEM;

    err_set(&d, e, "%s", err_text(e));
    if (problems == NULL)
        goto out;
    e = validate_identity(&identity, c->config, c->role, problems);
    if (e == ERR_OK)
        e = role_tls_context(&tls, c->config, identity, &d);
    else
        err_set(&d, e, "%s",
                problems_count(problems) > 0 ? problems_at(problems, 0)->text : err_text(e));

out:
    atomic_fetch_add_explicit(&c->reloads[e], 1, memory_order_relaxed);
    if (e != ERR_OK) {
        log_failure(c, e, &d);
        c->is_bad = true;
    } else {
        tls_context_free(c->tls);
        c->tls = tls;
        take_store(c, identity);
        own = name_of(identity);
        take_own(c, &own);
        c->is_bad = false;
        c->said.text[0] = '\0';
        note_expiries(c, identity);
        if (is_news) {
            log_renewed(c, identity);
            log_warnings(problems);
        }
    }
    identity_free(identity);
    problems_free(problems);
}

const struct tls_context *credentials_use(struct credentials *c, enum credentials_when when,
                                          uint64_t now_us)
{
    bool is_first = !c->is_read;
    bool has_changed;

    if (c->looked_at != 0 && now_us - c->looked_at < CREDENTIALS_LOOK_US)
        return c->tls;
    c->looked_at = now_us;
    has_changed = look(c);
    if (!has_changed && when == CREDENTIALS_IF_CHANGED &&
        !(c->is_bad && now_us - c->read_at >= CREDENTIALS_AGAIN_US))
        return c->tls;
    c->is_read = true;
    c->read_at = now_us;
    read_set(c, (has_changed && !is_first) || c->is_bad);
    return c->tls;
}

bool credentials_is_bad(const struct credentials *c)
{
    return c->is_bad;
}

/* -- life -- */

static void warn_of_insecurity(const struct config *config, enum identity_use use)
{
    const char *key = NULL;

    if (!config->auth.use_mtls)
        key = "use_mtls";
    else if (use == IDENTITY_DEST && !config->auth.verify_client_cert)
        key = "verify_client_cert";
    if (key != NULL)
        LOG(LOG_LEVEL_WARN, "auth.insecure", LOG_STR("key", key),
            LOG_MSG(use == IDENTITY_DEST ? "anyone who can reach this dest may use its services"
                                         : "this source proves its identity to nobody"));
}

enum err credentials_new(struct credentials **out, const struct config *config,
                         const struct identity *identity, struct err_detail *d)
{
    struct credentials *c = calloc(1, sizeof(*c));
    enum err e = ERR_NOMEM;

    *out = NULL;
    if (c == NULL)
        return err_set(d, e, "%s", err_text(e));
    c->config = config_share(config);
    c->role = identity_use(identity) == IDENTITY_DEST ? CONFIG_ROLE_DEST : CONFIG_ROLE_SOURCE;
    warn_of_insecurity(config, identity_use(identity));
    e = role_tls_context(&c->tls, config, identity, d);
    if (e != ERR_OK) {
        config_free(c->config);
        free(c);
        return e;
    }
    note_expiries(c, identity);
    take_store(c, identity);
    c->own = name_of(identity);
    *out = c;
    return ERR_OK;
}

void credentials_free(struct credentials *c)
{
    if (c == NULL)
        return;
    tls_context_free(c->tls);
    X509_STORE_free(c->store);
    config_free(c->config);
    free(c);
}

void credentials_adopt(struct credentials *c, struct credentials *fresh)
{
    tls_context_free(c->tls);
    X509_STORE_free(c->store);
    config_free(c->config);
    c->config = fresh->config;
    c->tls = fresh->tls;
    c->store = fresh->store;
    c->generation++;
    take_own(c, &fresh->own);
    /* The next look reads the files once more: they may have changed since these were read. */
    c->is_read = c->is_bad = false;
    c->looked_at = 0;
    atomic_store_explicit(&c->own_expiry, fresh->own_expiry, memory_order_relaxed);
    atomic_store_explicit(&c->ca_expiry, fresh->ca_expiry, memory_order_relaxed);
    atomic_store_explicit(&c->crl_expiry, fresh->crl_expiry, memory_order_relaxed);
    free(fresh);
}

void credentials_get_expiries(const struct credentials *c, struct identity_expiries *out)
{
    out->own = atomic_load_explicit(&c->own_expiry, memory_order_relaxed);
    out->ca = atomic_load_explicit(&c->ca_expiry, memory_order_relaxed);
    out->crl = atomic_load_explicit(&c->crl_expiry, memory_order_relaxed);
}

void credentials_get_reloads(const struct credentials *c, uint64_t counts[ERR_COUNT])
{
    for (size_t i = 0; i < ERR_COUNT; i++)
        counts[i] = atomic_load_explicit(&c->reloads[i], memory_order_relaxed);
}

X509_STORE *credentials_store(const struct credentials *c)
{
    return c->store;
}

uint64_t credentials_generation(const struct credentials *c)
{
    return c->generation;
}

uint64_t credentials_renewals(const struct credentials *c)
{
    return c->renewals;
}
