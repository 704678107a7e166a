#include "cli/endpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"

#define DEFAULT_ENDPOINT "http://127.0.0.1:9090"

static bool parse(struct http_url *out, const char *text, const char *command)
{
    struct err_detail d;

    if (http_url_parse(out, text, &d) == ERR_OK)
        return true;
    cli_error(command, "--endpoint: %s", d.text);
    return false;
}

/* Where a server that listens on any address is reached from here. */
static const char *reachable(const char *ip)
{
    if (strcmp(ip, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(ip, "::") == 0 ? "::1" : ip;
}

static bool from_config(struct http_url *out, const struct config *config, const char *command)
{
    const struct config_metrics *metrics = &config->metrics;

    if (!metrics->enabled || metrics->metrics_port == 0) {
        cli_error(command, "%s: %s; say --endpoint http://HOST:PORT", config->path,
                  metrics->enabled ? "metrics_port is 0, so only the log knows the port"
                                   : "the admin endpoint is not enabled in [metrics]");
        return false;
    }
    *out = (struct http_url){.path = ""};
    snprintf(out->host, sizeof(out->host), "%s", reachable(metrics->metrics_bind_ip));
    snprintf(out->port, sizeof(out->port), "%u", metrics->metrics_port);
    return true;
}

bool cli_endpoint(struct http_url *out, const struct cli_globals *g, const char *option,
                  const char *command)
{
    struct problems *problems;
    struct config *config;
    bool is_known = false;

    if (option != NULL)
        return parse(out, option, command);
    problems = problems_new();
    if (problems == NULL) {
        cli_error(command, "out of memory");
        return false;
    }
    enum err e = config_load(&config, g->config_path, CONFIG_ROLE_NONE, NULL, problems);
    if (e == ERR_OK)
        is_known = from_config(out, config, command);
    else if (e == ERR_NOT_FOUND && strcmp(g->config_path, CONFIG_DEFAULT_PATH) == 0)
        is_known = parse(out, DEFAULT_ENDPOINT, command);
    else
        problems_print(problems, STDERR_FILENO);
    config_free(config);
    problems_free(problems);
    return is_known;
}

enum err cli_endpoint_get(struct http_reply *out, const struct http_url *url, const char *path,
                          uint32_t timeout_ms, struct err_detail *d)
{
    struct err_detail why;
    enum err e = http_get(out, url, path, timeout_ms, &why);

    if (e == ERR_REFUSED)
        return err_set(d, e,
                       "%.300s; no source or dest answers there: is one running, and is this the "
                       "metrics_port of it? --endpoint asks another",
                       why.text);
    if (e != ERR_OK)
        *d = why;
    return e;
}
