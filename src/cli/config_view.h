/* What `utun check` prints of a configuration: for people, or as JSON. */
#ifndef UTUN_CLI_CONFIG_VIEW_H
#define UTUN_CLI_CONFIG_VIEW_H

#include <stdio.h>

#include "config/config.h"
#include "config/problems.h"

/* Each key with its value and where that came from. */
void config_view_print(FILE *out, const struct config *config, enum config_role role);

/* The same and the problems as one JSON object; config NULL: the file is not good. */
void config_view_json(FILE *out, const char *path, const struct config *config,
                      enum config_role role, struct problems *problems);

#endif
