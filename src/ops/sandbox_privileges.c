#include "ops/sandbox_privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

/* getpwnam_r's own suggestion may be "no limit"; a line of the user database fits here. */
#define ENTRY_SIZE 16384

static bool look_up(struct account *out, const char *name, bool *fits)
{
    struct passwd entry;
    struct passwd *found = NULL;
    char buf[ENTRY_SIZE];

    if (getpwnam_r(name, &entry, buf, sizeof(buf), &found) != 0 || found == NULL)
        return false;
    *out = (struct account){
        .uid = entry.pw_uid, .gid = entry.pw_gid, .group_count = ACCOUNT_GROUPS_MAX};
    snprintf(out->name, sizeof(out->name), "%s", name);
    *fits = getgrouplist(name, entry.pw_gid, out->groups, &out->group_count) >= 0;
    return true;
}

enum err account_find(struct account *out, const char *name, struct err_detail *d)
{
    bool fits = true;

    if (name != NULL && !look_up(out, name, &fits))
        return err_set(d, ERR_NOT_FOUND,
                       "there is no account %.64s; make it, or name another with user in "
                       "[security]",
                       name);
    if (name == NULL && !look_up(out, ACCOUNT_DEFAULT, &fits) &&
        !look_up(out, ACCOUNT_FALLBACK, &fits))
        return err_set(d, ERR_NOT_FOUND,
                       "there is no account %s or %s to run as; make one, or name another with "
                       "user in [security]",
                       ACCOUNT_DEFAULT, ACCOUNT_FALLBACK);
    if (!fits)
        return err_set(d, ERR_LIMIT, "the account %s is in more than %d groups", out->name,
                       ACCOUNT_GROUPS_MAX);
    return ERR_OK;
}

enum err account_become(const struct account *account, struct err_detail *d)
{
    /* The groups first: without the user's rights they could not be changed any more. */
    if (setgroups((size_t)account->group_count, account->groups) != 0 ||
        setresgid(account->gid, account->gid, account->gid) != 0 ||
        setresuid(account->uid, account->uid, account->uid) != 0)
        return err_set(d, ERR_PERMISSION, "cannot run as %s: %s", account->name, strerror(errno));
    /* If any of it could be taken back, it was not given up. */
    if (account->uid != 0 && (setresuid(0, 0, 0) == 0 || getuid() != account->uid))
        return err_set(d, ERR_PERMISSION, "cannot run as %s: the rights of root came back",
                       account->name);
    return ERR_OK;
}

/* One thread's sets, as the kernel's interface of 64 bits has them. */
struct sets {
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

uint64_t capabilities_now(void)
{
    struct sets s = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};

    if (syscall(SYS_capget, &s.header, s.data) != 0)
        return 0;
    return (uint64_t)s.data[0].effective | (uint64_t)s.data[1].effective << 32;
}

enum err capabilities_keep(uint64_t keep)
{
    struct sets s = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};

    if (syscall(SYS_capget, &s.header, s.data) != 0)
        return ERR_PERMISSION;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        s.data[i].permitted &= (uint32_t)(keep >> (32 * i));
        s.data[i].effective = s.data[i].permitted;
        s.data[i].inheritable = 0;
    }
    return syscall(SYS_capset, &s.header, s.data) == 0 ? ERR_OK : ERR_PERMISSION;
}
