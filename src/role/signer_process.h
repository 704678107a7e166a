/*
 * The process that keeps a role's private keys (crypto/signer.h): forked before this one has read a
 * key, has threads, or hears from anybody.
 *
 * It reads the key file that the configuration names at the start, and no other, and signs the
 * role's handshakes, nothing else. The kernel lets it read the folders of that file, because a key
 * is renewed by another file in its place, and answer on its socket: seccomp and Landlock as in
 * ops/sandbox.h. Started by root it stays root, so that keys need not be readable to the account
 * that the role runs as, without root's capabilities: but for the one to read files of others
 * (CAP_DAC_READ_SEARCH), where it has that, which the packaged units do not give. It ends with this
 * process, and ignores signals that are meant for both.
 */
#ifndef UTUN_ROLE_SIGNER_PROCESS_H
#define UTUN_ROLE_SIGNER_PROCESS_H

#include <sys/types.h>

#include "base/attr.h"
#include "base/error.h"
#include "config/config.h"

struct signer_process;

/*
 * Starts it, and lets it read all keys from now on (private_key_use). *out is NULL where the role
 * has no key, or [security] signer is false. ERR_LIMIT, ERR_NOMEM; d says why.
 */
enum err signer_process_start(struct signer_process **out, const struct config *config,
                              enum config_role role, struct err_detail *d) MUST_USE;

/* Ends it. When no key of it is in use any more. NULL is fine. */
void signer_process_stop(struct signer_process *p);

pid_t signer_process_pid(const struct signer_process *p);

/* Readable (end of file) when the process is gone. Stays ours. */
int signer_process_lifeline(const struct signer_process *p);

/* When it is gone: how, for people ("killed by signal 9"), reaped if that was not done yet. */
const char *signer_process_end(struct signer_process *p);

#endif
