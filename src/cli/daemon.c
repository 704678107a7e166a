#include "cli/daemon.h"

#include <stdbool.h>
#include <unistd.h>

#include "ops/log.h"
#include "role/daemon.h"
#include "role/role.h"
#include "role/signer_process.h"
#include "role/validate.h"

/*
 * The configuration; then the process that keeps the keys, before this one could read them; then
 * certificates and keys.
 */
static enum err load(const struct validate_request *request, struct config **config,
                     struct signer_process **signer, struct identity **identity,
                     struct problems *problems)
{
    struct err_detail d;
    enum err e = validate_config(config, request, problems);

    if (e != ERR_OK)
        return e;
    e = signer_process_start(signer, *config, request->role, &d);
    if (e != ERR_OK)
        problems_add(problems, PROBLEM_ERROR, config_place(*config, "security", "signer"), NULL,
                     "%s", d.text);
    else
        e = validate_identity(identity, *config, request->role, problems);
    return e;
}

/*
 * What may be otherwise at the next start without anybody's doing, so that a service manager should
 * try it again. A file that is not there may be on a disk that is mounted later, a certificate that
 * is not valid yet may be looked at before the clock is set.
 */
static bool is_passing(enum err e)
{
    static const enum err passing[] = {ERR_NOMEM,  ERR_IO,        ERR_LIMIT,
                                       ERR_RANDOM, ERR_NOT_FOUND, ERR_CERT_NOT_YET};

    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (e == passing[i])
            return true;
    }
    return false;
}

int cli_daemon(const struct cli_globals *g, enum config_role role,
               const struct config_overrides *overrides)
{
    struct problems *problems = problems_new();
    struct config *config = NULL;
    struct signer_process *signer = NULL;
    struct identity *identity = NULL;
    const struct validate_request request = {
        .path = g->config_path,
        .role = role,
        .overrides = overrides,
    };
    enum err e;

    if (problems == NULL) {
        cli_error(NULL, "out of memory");
        return CLI_FAILED;
    }
    e = load(&request, &config, &signer, &identity, problems);
    if (e != ERR_OK) {
        problems_print(problems, STDERR_FILENO);
        problems_free(problems);
        signer_process_stop(signer);
        config_free(config);
        return is_passing(e) ? CLI_FAILED : CLI_USAGE;
    }
    role_set_log(config);
    validate_log_warnings(problems);
    problems_free(problems);
    e = daemon_run(config, identity, signer, role);
    log_fini();
    identity_free(identity);
    signer_process_stop(signer);
    config_free(config);
    return e == ERR_OK ? CLI_OK : CLI_FAILED;
}
