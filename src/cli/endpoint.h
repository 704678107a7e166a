/* Which admin endpoint a subcommand means, and what it answers. */
#ifndef UTUN_CLI_ENDPOINT_H
#define UTUN_CLI_ENDPOINT_H

#include <stdbool.h>

#include "base/attr.h"
#include "cli/cli.h"
#include "ops/http_get.h"

/*
 * That of --endpoint (option, may be NULL), or of the configuration's [metrics], or where there is
 * no configuration file the default one; nothing else in the file matters. False with the complaint
 * printed for command.
 */
bool cli_endpoint(struct http_url *out, const struct cli_globals *g, const char *option,
                  const char *command) MUST_USE;

/* As http_get; d also says what to do where nobody listens. */
enum err cli_endpoint_get(struct http_reply *out, const struct http_url *url, const char *path,
                          uint32_t timeout_ms, struct err_detail *d) MUST_USE;

#endif
