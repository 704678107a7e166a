/* The rules of a configuration that need more than one key to decide. */
#ifndef UTUN_CONFIG_RULES_H
#define UTUN_CONFIG_RULES_H

#include "config/config.h"
#include "config/places.h"
#include "config/problems.h"

/*
 * Checks all rules of the sections that the configuration has, and adds what it finds to problems.
 * What only one role needs (its certificate, say) is asked of role alone; nothing of
 * CONFIG_ROLE_NONE.
 */
void rules_check(const struct config *config, enum config_role role, const struct places *places,
                 struct problems *problems);

#endif
