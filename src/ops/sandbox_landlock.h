/*
 * Files that a process may reach (landlock(7)): those below the folders it has named, to read, and
 * none to write; Unix sockets where it says so. It may not signal other processes either, nor
 * connect to abstract Unix sockets, where the kernel is new enough (6.12). Connecting to Unix
 * sockets in the file system stays possible: the kernel does not restrict it.
 */
#ifndef UTUN_OPS_SANDBOX_LANDLOCK_H
#define UTUN_OPS_SANDBOX_LANDLOCK_H

#include "base/attr.h"
#include "base/error.h"

struct landlock_rules;

/* ERR_NOT_FOUND where the kernel has no Landlock, ERR_NOMEM; *out is NULL then. */
enum err landlock_rules_new(struct landlock_rules **out) MUST_USE;

/* NULL is fine. What has been enforced stays. */
void landlock_rules_free(struct landlock_rules *rules);

/* A file, or a folder with all below it. What does not exist is passed over. */
void landlock_allow_read(struct landlock_rules *rules, const char *path);

/*
 * The folder that the file is in, and the one that it is in once links are followed: a file that
 * takes its place can be read, too. Of a file in "/" only the file.
 */
void landlock_allow_folder_of(struct landlock_rules *rules, const char *path);

/* The same folder to make Unix sockets in, and to remove files. */
void landlock_allow_socket(struct landlock_rules *rules, const char *path);

/*
 * From now on for the calling thread, and all threads and processes it begins later; for good. The
 * thread must have no_new_privs. ERR_PERMISSION.
 */
enum err landlock_enforce(const struct landlock_rules *rules) MUST_USE;

/* The version of Landlock that the kernel has; 0: none. */
int landlock_version(void);

#endif
