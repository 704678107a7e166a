/*
 * Everything that is checked before a role starts, and all that `utun check` does: the
 * configuration, then the certificates and keys it names. What is wrong is collected in problems,
 * with the line of the path that leads to a bad certificate. Blocks on file input.
 */
#ifndef UTUN_ROLE_VALIDATE_H
#define UTUN_ROLE_VALIDATE_H

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"
#include "config/problems.h"
#include "crypto/identity.h"

struct validate_request {
    const char *path;
    enum config_role role;
    const struct config_overrides *overrides; /* NULL: none */
};

/* The configuration alone, and who may use the entry point; errors as validate_load. */
enum err validate_config(struct config **config, const struct validate_request *request,
                         struct problems *problems) MUST_USE;

/*
 * On success *config and *identity are the caller's (config_free, identity_free), and problems has
 * at most warnings; *identity is the role's own, and NULL for CONFIG_ROLE_ANY, with which the
 * certificates of every role in the file are checked. On error both are NULL, and problems has at
 * least one error; the errors are those of config_load and, for the first bad file, identity_load.
 */
enum err validate_load(struct config **config, struct identity **identity,
                       const struct validate_request *request, struct problems *problems) MUST_USE;

/*
 * The same for the file of a configuration that is in use, read anew with the overrides of then.
 * role is not CONFIG_ROLE_ANY.
 */
enum err validate_reload(struct config **config, struct identity **identity,
                         const struct config *in_use, enum config_role role,
                         struct problems *problems) MUST_USE;

/* Logs "config.warning" for each problem. */
void validate_log_warnings(struct problems *problems);

/* The certificates and keys alone: for a reload of them. role is not CONFIG_ROLE_ANY. */
enum err validate_identity(struct identity **out, const struct config *config,
                           enum config_role role, struct problems *problems) MUST_USE;

/* The files that a role's identity is made of. Live as long as config. */
struct identity_files validate_files(const struct config *config, enum config_role role);

#endif
