/*
 * Who may use the entry point: names and passwords of a file, a line each. Kept as hashes only.
 */
#ifndef UTUN_ROLE_PROXY_USERS_H
#define UTUN_ROLE_PROXY_USERS_H

#include "base/error.h"
#include "config/config.h"
#include "net/login.h"

/* Looking one up takes time for each: a household, a team, some programs. */
#define PROXY_USERS_MAX 1000

struct proxy_users;

/*
 * Reads [source] proxy_users_path; *out is NULL where there is none. On error d names the file, and
 * the line: what file_read says, ERR_CONFIG for a line that is not "name:password" or whose name
 * was there before, or for a file without any.
 */
enum err proxy_users_new(struct proxy_users **out, const struct config *config,
                         struct err_detail *d) MUST_USE;

/* One owner more. NULL is fine. */
struct proxy_users *proxy_users_share(struct proxy_users *users);

/* One owner less. NULL is fine. */
void proxy_users_free(struct proxy_users *users);

/* For any thread; NULL when users is. */
const struct login *proxy_users_login(const struct proxy_users *users);

#endif
