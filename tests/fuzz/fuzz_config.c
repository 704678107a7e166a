/*
 * Any text as a configuration, for every role. A text is taken or there is an error that says why,
 * and whatever is said of it is one line that a terminal can show; also as `utun check` shows it.
 * What stands behind a NUL is the configuration that comes after it, in a process that runs.
 * "?section key value" is one value that a person has typed.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/changes.h"
#include "config/effective.h"
#include "target.h"

/* What a terminal would act on. */
static void check_line(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
}

static void check_problems(struct problems *problems)
{
    char line[2048];

    assert(problems_count(problems) <= PROBLEMS_MAX + 1);
    for (size_t i = 0; i < problems_count(problems); i++) {
        size_t len = problem_format(problems_at(problems, i), line, sizeof(line));

        assert(len < sizeof(line) && strlen(line) == len && len > 0);
        check_line(line, len);
    }
}

static void check_port(uint16_t port)
{
    assert(port > 0);
}

/* What every role builds on. */
static void check_config(const struct config *config, enum config_role role)
{
    assert(config->has_source || config->has_dest);
    assert(role != CONFIG_ROLE_SOURCE || config->has_source);
    assert(role != CONFIG_ROLE_DEST || config->has_dest);
    assert(config->crypto.max_handshake_size_bytes > 0);
    assert(config_place(config, "auth", "ca_cert_path").file != NULL);
    assert(config_kem_mode_name(config->crypto.kem_mode)[0] != '?');
    if (config->has_source) {
        const struct config_source *s = &config->source;

        assert(s->listen_ip != NULL && s->dest_host.count > 0);
        assert(config_mode_name(s->mode)[0] != '?');
        check_port(s->dest_tunnel_port);
        assert(s->exposed_port_count > 0 || s->mode != CONFIG_MODE_TRANSPARENT);
        for (size_t i = 0; i < s->exposed_port_count; i++)
            check_port(s->exposed_ports[i].port);
        assert(s->send_buffer_max_bytes <= s->memory_budget_bytes);
    }
    if (config->has_dest) {
        const struct config_dest *d = &config->dest;

        assert(d->listen_ip != NULL);
        check_port(d->tunnel_port);
        for (size_t i = 0; i < d->exposed_service_count; i++) {
            const struct config_exposed_service *service = &d->exposed_services[i];

            assert(service->name != NULL && service->target_ip != NULL);
            check_port(service->target_port);
        }
        assert(d->send_buffer_max_bytes <= d->memory_budget_bytes);
    }
}

/* As `utun check` shows it. */
static void check_effective(const struct config *config, enum config_role role)
{
    struct effective e = effective_begin(config, role);

    while (effective_next(&e)) {
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);

        assert(out != NULL);
        if (effective_is_set(&e))
            effective_print(out, &e);
        fclose(out);
        check_line(text, len);
        free(text);
        assert(e.place.file != NULL);
    }
}

/* What needs a restart stays as it was; after that nothing needs one. */
static void check_reload(const struct config *old, struct config *fresh, enum config_role role)
{
    struct config_changes changes;
    char names[64];
    size_t fixed;

    config_compare(&changes, old, fresh, role);
    assert(changes.count <= CONFIG_CHANGES_MAX);
    fixed = config_changes_list(&changes, SCHEMA_RESTART, names, sizeof(names));
    assert(fixed <= changes.count && strlen(names) < sizeof(names));
    enum err e = config_keep_fixed(fresh, old, role);
    assert(e == ERR_OK);
    config_compare(&changes, old, fresh, role);
    assert(config_changes_list(&changes, SCHEMA_RESTART, names, sizeof(names)) == 0);
    check_config(fresh, role);
    check_effective(fresh, role);
}

static struct config *parse(const char *text, size_t size, enum config_role role)
{
    struct problems *problems = problems_new();
    struct config *config;
    enum err e = config_parse(&config, text, size, "folder/config.toml", role, NULL, problems);

    assert((e == ERR_OK) == (config != NULL));
    assert((e == ERR_OK) == (problems_errors(problems) == 0));
    assert(e == ERR_OK || e == ERR_CONFIG || e == ERR_TOO_LARGE);
    check_problems(problems);
    if (config != NULL)
        check_config(config, role);
    problems_free(problems);
    return config;
}

/* The key is one of those that are asked for like that: it takes no array. */
static void check_typed(char *typed)
{
    char *rest = typed;
    const char *section = strsep(&rest, " ");
    const char *key = strsep(&rest, " ");
    const struct schema_key *found;
    enum schema_section_id id;
    struct err_detail d;

    if (rest == NULL || !schema_find_section(section, &id))
        return;
    found = schema_find(id, key);
    if (found == NULL || found->type == SCHEMA_HOSTS || found->type == SCHEMA_PATTERNS ||
        found->type == SCHEMA_RANGES)
        return;
    if (config_check_value(section, key, rest, &d) == ERR_OK)
        return;
    assert(d.text[0] != 0);
    check_line(d.text, strlen(d.text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum config_role roles[] = {CONFIG_ROLE_ANY, CONFIG_ROLE_SOURCE, CONFIG_ROLE_DEST};
    const char *text = (const char *)data;
    const char *end = size == 0 ? NULL : memchr(text, 0, size);

    if (size > 0 && text[0] == '?') {
        char *typed = calloc(1, size);

        assert(typed != NULL);
        memcpy(typed, text + 1, size - 1);
        check_typed(typed);
        free(typed);
        return 0;
    }
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        size_t len = end != NULL ? (size_t)(end - text) : size;
        struct config *config = parse(text, len, roles[i]);
        struct config *fresh = NULL;

        if (config != NULL)
            check_effective(config, roles[i]);
        if (config != NULL && end != NULL && roles[i] != CONFIG_ROLE_ANY)
            fresh = parse(end + 1, size - len - 1, roles[i]);
        if (fresh != NULL)
            check_reload(config, fresh, roles[i]);
        config_free(fresh);
        config_free(config);
    }
    return 0;
}
