/*
 * What a process may do because of who runs it: its account and its capabilities (capabilities(7)).
 *
 * Capabilities belong to threads. Giving them up with capabilities_keep must happen before there
 * are threads; changing from root to another account takes them from every thread at once.
 */
#ifndef UTUN_OPS_SANDBOX_PRIVILEGES_H
#define UTUN_OPS_SANDBOX_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/error.h"

/* Of a process that root starts, the first that there is. */
#define ACCOUNT_DEFAULT  "utun"
#define ACCOUNT_FALLBACK "nobody"

#define ACCOUNT_GROUPS_MAX 64

struct account {
    char name[64];
    uid_t uid;
    gid_t gid;
    gid_t groups[ACCOUNT_GROUPS_MAX];
    int group_count;
};

/*
 * The account of that name; NULL: ACCOUNT_DEFAULT or ACCOUNT_FALLBACK. ERR_NOT_FOUND where there is
 * none, and d says what to do; ERR_LIMIT where it is in too many groups.
 */
enum err account_find(struct account *out, const char *name, struct err_detail *d) MUST_USE;

/*
 * Makes all threads run as that account for good: user, group, other groups. ERR_PERMISSION where
 * the system does not allow it; nothing has changed then.
 */
enum err account_become(const struct account *account, struct err_detail *d) MUST_USE;

/* Capabilities as bits, CAPABILITY(CAP_NET_BIND_SERVICE). */
#define CAPABILITY(number) ((uint64_t)1 << (number))

/* Those that the calling thread has in effect. */
uint64_t capabilities_now(void);

/* Gives up all others, for good, on the calling thread. ERR_PERMISSION. */
enum err capabilities_keep(uint64_t keep) MUST_USE;

#endif
