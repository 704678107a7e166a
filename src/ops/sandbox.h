/*
 * How a daemon protects itself, and everybody else from it should it be taken over. On by default
 * ([security] in docs/CONFIGURATION.md); each part says for itself how it stands.
 *
 *   prepare   one thread yet, nothing from outside read: no core dumps, no new privileges,
 *             files by Landlock, no capability but what binding a low port and the next step need
 *   (ports are bound here; threads that read anything from outside begin after enter)
 *   enter     another account than root; with it the last capabilities go; system calls by seccomp
 *
 * A kernel that lacks a part makes its state SANDBOX_UNAVAILABLE, with a warning in the log; that
 * ends nothing. There is one sandbox in a process.
 */
#ifndef UTUN_OPS_SANDBOX_H
#define UTUN_OPS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/error.h"

enum sandbox_part {
    SANDBOX_USER,          /* runs as another account than root */
    SANDBOX_CAPABILITIES,  /* has none */
    SANDBOX_NO_NEW_PRIVS,  /* no program that it starts could have more rights */
    SANDBOX_SECCOMP,       /* system calls by an allow-list */
    SANDBOX_LANDLOCK,      /* files by an allow-list */
    SANDBOX_NO_CORE_DUMPS, /* and other processes of the account cannot look into it */
    SANDBOX_LOCKED_KEYS,   /* key memory is never swapped */
    SANDBOX_SIGNER,        /* private keys are in another process */
    SANDBOX_PART_COUNT,
};

enum sandbox_state {
    SANDBOX_OFF,         /* not wanted, or not yet */
    SANDBOX_ON,          /* in force */
    SANDBOX_UNAVAILABLE, /* wanted, and the system does not have it */
};

struct account; /* ops/sandbox_privileges.h */

struct sandbox_options {
    enum { SANDBOX_NOT_WANTED, SANDBOX_WANTED } wish;
    const char *user; /* of a process that root starts; NULL: sandbox_privileges.h says which */
    /* Files that are read while it runs, or are renewed: their folders stay readable. NULLs are
     * passed over. */
    const char *const *files;
    size_t file_count;
    /* Unix sockets that are made and removed. */
    const char *const *sockets;
    size_t socket_count;
};

/*
 * Call it once, before there are other threads. Fails only where going on would mean to ignore what
 * the operator asked for: an account that does not exist. d says what is wrong.
 */
enum err sandbox_prepare(const struct sandbox_options *options, struct err_detail *d) MUST_USE;

/*
 * As whom the process will go on; NULL: as it is. After prepare. Files that it makes until then are
 * to be given to that account.
 */
const struct account *sandbox_account(void);

/*
 * Closes it, for all threads, and logs how it stands ("sandbox.ready"), with one warning for each
 * part that is unavailable or was turned off. ERR_PERMISSION where the account that the operator
 * named cannot be taken.
 */
enum err sandbox_enter(struct err_detail *d) MUST_USE;

/* For the parts that others look after, SANDBOX_LOCKED_KEYS and SANDBOX_SIGNER; before enter. */
void sandbox_set(enum sandbox_part part, enum sandbox_state state, const char *note);

/* Any thread, after sandbox_enter. */
enum sandbox_state sandbox_state(enum sandbox_part part);

/* Why it is not on, or what it amounts to: "nobody", "CAP_NET_BIND_SERVICE is kept". Never NULL. */
const char *sandbox_note(enum sandbox_part part);

/* Static: "user", "no_core_dumps"; "on", "off", "unavailable". */
const char *sandbox_part_name(enum sandbox_part part);
const char *sandbox_state_name(enum sandbox_state state);

#endif
