#include "role/role.h"

#include <unistd.h>

#include "ops/log.h"

enum kem_mode role_kem_mode(const struct config *config)
{
    switch (config->crypto.kem_mode) {
    case CONFIG_KEM_MLKEM768:
        return KEM_MLKEM768;
    case CONFIG_KEM_MCELIECE460896:
        return KEM_MCELIECE460896;
    case CONFIG_KEM_HYBRID:
        break;
    }
    return KEM_HYBRID;
}

enum err role_tls_context(struct tls_context **out, const struct config *config,
                          const struct identity *identity, struct err_detail *d)
{
    bool is_dest = identity_use(identity) == IDENTITY_DEST;
    enum tls_auth auth = TLS_AUTH_MUTUAL;

    if (!config->auth.use_mtls || (is_dest && !config->auth.verify_client_cert))
        auth = TLS_AUTH_SERVER_ONLY;
    return tls_context_new(out, identity, role_kem_mode(config), auth, d);
}

void role_set_log(const struct config *config)
{
    const struct log_options log = {
        .level = config->logging.level,
        .format = config->logging.format,
        .timestamp = config->logging.include_timestamp ? LOG_TIMESTAMP_ON : LOG_TIMESTAMP_OFF,
        .fd = STDERR_FILENO,
    };

    log_init(&log);
}
