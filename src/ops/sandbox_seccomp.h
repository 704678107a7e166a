/*
 * System calls that a process may make (seccomp(2)): an allow-list for all of its threads, for
 * good.
 *
 * What is not on the list fails as if the kernel did not have it (ENOSYS), so that libraries fall
 * back to what they did before it was invented. What only an attacker would try (starting programs,
 * tracing, other accounts, namespaces, mounts, kernel modules) ends the process at once by SIGSYS.
 */
#ifndef UTUN_OPS_SANDBOX_SECCOMP_H
#define UTUN_OPS_SANDBOX_SECCOMP_H

#include "base/attr.h"
#include "base/error.h"

enum seccomp_profile {
    SECCOMP_PROFILE_ROLE,   /* a source or dest: sockets, threads, files to read */
    SECCOMP_PROFILE_SIGNER, /* reads files, signs, answers on the socket that it has */
};

/*
 * From now on the kernel seems to have no io_uring; nothing else changes. Before the first event
 * loop: libuv gives each a ring for epoll_ctl, whatever UV_USE_IO_URING says, and aborts when the
 * ring that it has stops working, which seccomp_enforce would bring about. Errors as there.
 */
enum err seccomp_hide_io_uring(void) MUST_USE;

/*
 * For all threads that there are and will be. Sets no_new_privs. ERR_NOT_FOUND where the kernel has
 * no seccomp filters; ERR_NOMEM, ERR_PERMISSION. No filter is set then.
 */
enum err seccomp_enforce(enum seccomp_profile profile) MUST_USE;

#endif
