/*
 * Any text as a configuration, for every role. A text is taken or there is an error that says why,
 * and whatever is said of it is one line that a terminal can show.
 */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "config/config.h"
#include "target.h"

static void check_problems(struct problems *problems)
{
    char line[2048];

    assert(problems_count(problems) <= PROBLEMS_MAX + 1);
    for (size_t i = 0; i < problems_count(problems); i++) {
        size_t len = problem_format(problems_at(problems, i), line, sizeof(line));

        assert(len < sizeof(line) && strlen(line) == len && len > 0);
        for (size_t k = 0; k < len; k++)
            assert((unsigned char)line[k] >= 0x20 && line[k] != 0x7f);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum config_role roles[] = {CONFIG_ROLE_ANY, CONFIG_ROLE_SOURCE, CONFIG_ROLE_DEST};

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        struct problems *problems = problems_new();
        struct config *config;
        enum err e = config_parse(&config, (const char *)data, size, "folder/config.toml", roles[i],
                                  NULL, problems);

        assert((e == ERR_OK) == (config != NULL));
        assert((e == ERR_OK) == (problems_errors(problems) == 0));
        assert(e == ERR_OK || e == ERR_CONFIG || e == ERR_TOO_LARGE);
        check_problems(problems);
        if (config != NULL)
            check_config(config, roles[i]);
        config_free(config);
        problems_free(problems);
    }
    return 0;
}
