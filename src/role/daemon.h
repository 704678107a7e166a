/*
 * A role as a program of its own: runs it on the calling thread until a signal, or the role itself,
 * ends it.
 *
 * SIGTERM and SIGINT: it stops taking, and lets streams finish for shutdown_timeout_secs; the
 * second ends it at once. A name that is still being looked up does not hold it up for more than a
 * second (role/overdue.h). SIGHUP: the configuration is read anew (role/reloader.h). SIGPIPE is
 * ignored.
 */
#ifndef UTUN_ROLE_DAEMON_H
#define UTUN_ROLE_DAEMON_H

#include "base/error.h"
#include "config/config.h"
#include "crypto/identity.h"
#include "role/signer_process.h"

/*
 * role is CONFIG_ROLE_SOURCE or CONFIG_ROLE_DEST, and the identity is its. signer keeps its key, or
 * is NULL; when that process ends, the role ends with an error. Call it once, before
 * there are other threads. ERR_OK when a signal has ended it; otherwise why it could not start, or
 * go on, which is logged already.
 */
enum err daemon_run(const struct config *config, const struct identity *identity,
                    struct signer_process *signer, enum config_role role) MUST_USE;

#endif
