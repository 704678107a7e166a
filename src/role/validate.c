#include "role/validate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crypto/cert_info.h"
#include "crypto/pem.h"
#include "crypto/private_key.h"
#include "ops/log.h"
#include "role/proxy_users.h"

#define EXPIRY_WARNING_DAYS 14

/* What errors call the files, as identity_load does. */
static const char ca_what[] = "CA certificate";
static const char crl_what[] = "CRL";

/* The files of one role, the keys of [auth] that name them, and what errors call them. */
struct file_set {
    struct identity_files files;
    const char *cert_key;
    const char *cert_what;
    const char *key_key;
    const char *key_what;
};

static struct file_set files_of(const struct config *config, enum config_role role)
{
    const struct config_auth *auth = &config->auth;
    struct file_set set = {
        .files = {.ca_path = auth->ca_cert_path,
                  .crl_path = auth->crl_path,
                  .key_access = auth->allow_insecure_key_files ? IDENTITY_KEY_ANY_MODE
                                                               : IDENTITY_KEY_OWNER_ONLY},
    };

    if (role == CONFIG_ROLE_DEST) {
        set.files.use = IDENTITY_DEST;
        set.files.cert_path = auth->server_cert_path;
        set.files.key_path = auth->server_key_path;
        set.cert_key = "server_cert_path";
        set.cert_what = "server certificate";
        set.key_key = "server_key_path";
        set.key_what = "server key";
        return set;
    }
    set.files.use = IDENTITY_SOURCE;
    set.cert_key = "client_cert_path";
    set.cert_what = "client certificate";
    set.key_key = "client_key_path";
    set.key_what = "client key";
    if (auth->use_mtls) {
        set.files.cert_path = auth->client_cert_path;
        set.files.key_path = auth->client_key_path;
    }
    return set;
}

struct identity_files validate_files(const struct config *config, enum config_role role)
{
    return files_of(config, role).files;
}

static void report(struct problems *problems, const struct config *config, const char *key,
                   const struct err_detail *detail)
{
    problems_add(problems, PROBLEM_ERROR, config_place(config, "auth", key), NULL, "%s",
                 detail->text);
}

/*
 * The key of [auth] that an error of identity_load is about: its text starts with what the file was
 * to be. The path alone would not tell, since two keys may name the same file.
 */
static const char *key_at_fault(const struct file_set *set, const char *text)
{
    const struct {
        const char *what;
        const char *key;
    } candidates[] = {
        {set->cert_what, set->cert_key},
        {set->key_what, set->key_key},
        {crl_what, "crl_path"},
    };

    for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
        if (strncmp(text, candidates[i].what, strlen(candidates[i].what)) == 0)
            return candidates[i].key;
    }
    return "ca_cert_path";
}

/* Reads each file alone, so that one bad file does not hide another. Returns the first error. */
static enum err check_files(const struct file_set *set, const struct config *config,
                            struct problems *problems)
{
    const struct identity_files *files = &set->files;
    enum file_access access =
        files->key_access == IDENTITY_KEY_OWNER_ONLY ? FILE_SECRET : FILE_SECRET_ANY_MODE;
    STACK_OF(X509) *certs = NULL;
    STACK_OF(X509_CRL) *crls = NULL;
    EVP_PKEY *key = NULL;
    struct err_detail detail;
    enum err first = ERR_OK;
    enum err e = ERR_OK;

    if (files->ca_path != NULL) {
        e = pem_read_certs(&certs, files->ca_path, ca_what, &detail);
        sk_X509_pop_free(certs, X509_free);
        if (e != ERR_OK)
            report(problems, config, "ca_cert_path", &detail);
        first = e;
    }
    if (files->cert_path != NULL) {
        e = pem_read_certs(&certs, files->cert_path, set->cert_what, &detail);
        sk_X509_pop_free(certs, X509_free);
        if (e != ERR_OK)
            report(problems, config, set->cert_key, &detail);
        first = first != ERR_OK ? first : e;
    }
    if (files->key_path != NULL) {
        e = private_key_read(&key, files->key_path, set->key_what, access, &detail);
        EVP_PKEY_free(key);
        if (e != ERR_OK)
            report(problems, config, set->key_key, &detail);
        first = first != ERR_OK ? first : e;
    }
    if (files->crl_path != NULL) {
        e = pem_read_crls(&crls, files->crl_path, crl_what, &detail);
        sk_X509_CRL_pop_free(crls, X509_CRL_free);
        if (e != ERR_OK)
            report(problems, config, "crl_path", &detail);
        first = first != ERR_OK ? first : e;
    }
    return first;
}

static void warn_of_expiry(const struct identity *identity, const struct config *config,
                           const char *cert_key, struct problems *problems)
{
    int64_t expiry = identity_expiry(identity);
    int64_t left = expiry != INT64_MAX ? expiry - (int64_t)time(NULL) : INT64_MAX;

    if (left >= (int64_t)EXPIRY_WARNING_DAYS * SECONDS_PER_DAY)
        return;
    problems_add(problems, PROBLEM_WARNING, config_place(config, "auth", cert_key),
                 "make a new one with `utun cert` in time",
                 "the certificate expires in %" PRId64 " days", left / SECONDS_PER_DAY);
}

enum err validate_identity(struct identity **out, const struct config *config,
                           enum config_role role, struct problems *problems)
{
    struct file_set set = files_of(config, role);
    struct err_detail detail;

    *out = NULL;
    enum err e = check_files(&set, config, problems);
    if (e != ERR_OK)
        return e;
    e = identity_load(out, &set.files, &detail);
    if (e != ERR_OK)
        report(problems, config, key_at_fault(&set, detail.text), &detail);
    else
        warn_of_expiry(*out, config, set.cert_key, problems);
    return e;
}

/* Checks the certificates of each role that the request is about. */
static enum err check_identities(struct identity **identity, const struct config *config,
                                 enum config_role role, struct problems *problems)
{
    static const enum config_role roles[] = {CONFIG_ROLE_SOURCE, CONFIG_ROLE_DEST};
    struct identity *each = NULL;
    enum err first = ERR_OK;

    if (role != CONFIG_ROLE_ANY)
        return validate_identity(identity, config, role, problems);
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        bool is_there = roles[i] == CONFIG_ROLE_SOURCE ? config->has_source : config->has_dest;
        enum err e = is_there ? validate_identity(&each, config, roles[i], problems) : ERR_OK;

        first = first != ERR_OK ? first : e;
        identity_free(each);
        each = NULL;
    }
    return first;
}

/* Whether those who may use the entry point can be read. */
static enum err check_users(const struct config *config, enum config_role role,
                            struct problems *problems)
{
    struct proxy_users *users = NULL;
    struct err_detail detail;
    enum err e = ERR_OK;

    if (role != CONFIG_ROLE_DEST && config->has_source &&
        config->source.mode != CONFIG_MODE_TRANSPARENT)
        e = proxy_users_new(&users, config, &detail);
    proxy_users_free(users);
    if (e != ERR_OK)
        problems_add(problems, PROBLEM_ERROR, config_place(config, "source", "proxy_users_path"),
                     NULL, "%s", detail.text);
    return e;
}

/* On error *config is freed, and NULL. */
static enum err check_config(struct config **config, enum config_role role,
                             struct problems *problems)
{
    enum err e = check_users(*config, role, problems);

    if (e != ERR_OK) {
        config_free(*config);
        *config = NULL;
    }
    return e;
}

/* The same. */
static enum err check_files_of(struct config **config, struct identity **identity,
                               enum config_role role, struct problems *problems)
{
    enum err e = check_identities(identity, *config, role, problems);

    if (e != ERR_OK) {
        config_free(*config);
        *config = NULL;
    }
    return e;
}

enum err validate_config(struct config **config, const struct validate_request *request,
                         struct problems *problems)
{
    enum err e = config_load(config, request->path, request->role, request->overrides, problems);

    return e != ERR_OK ? e : check_config(config, request->role, problems);
}

enum err validate_load(struct config **config, struct identity **identity,
                       const struct validate_request *request, struct problems *problems)
{
    enum err e = validate_config(config, request, problems);

    *identity = NULL;
    return e != ERR_OK ? e : check_files_of(config, identity, request->role, problems);
}

enum err validate_reload(struct config **config, struct identity **identity,
                         const struct config *in_use, enum config_role role,
                         struct problems *problems)
{
    enum err e = config_reload(config, in_use, problems);

    *identity = NULL;
    if (e == ERR_OK)
        e = check_config(config, role, problems);
    return e != ERR_OK ? e : check_files_of(config, identity, role, problems);
}

void validate_log_warnings(struct problems *problems)
{
    for (size_t i = 0; i < problems_count(problems); i++) {
        const struct problem *p = problems_at(problems, i);

        LOG(LOG_LEVEL_WARN, "config.warning", LOG_STR("file", p->file), LOG_UINT("line", p->line),
            LOG_MSG(p->text), LOG_STR("suggestion", p->suggestion));
    }
}
