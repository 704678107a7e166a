/*
 * What has to be true of the rows of [[source.exposed_ports]] and of [[dest.exposed_services]],
 * each and together: ports, names and paths that are there twice, and keys that go together or do
 * not.
 */
#ifndef UTUN_CONFIG_ROW_RULES_H
#define UTUN_CONFIG_ROW_RULES_H

#include <stdbool.h>

#include "config/config.h"
#include "config/places.h"
#include "config/problems.h"

void row_rules_check_ports(const struct config *config, const struct places *places,
                           struct problems *problems);
void row_rules_check_services(const struct config *config, const struct places *places,
                              struct problems *problems);

/* Whether it takes a port of the machine for TCP. */
bool row_rules_takes_tcp_port(const struct config_exposed_port *row);

#endif
