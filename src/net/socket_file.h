/*
 * The file of a Unix-domain listener: taken, found to be left over from a process that is gone,
 * replaced, removed. Nothing but a socket, and no socket that somebody listens on, is ever removed.
 *
 * Two processes of ours that take the same path at the same time are kept apart by a lock on its
 * folder (flock), which ends with the call.
 *
 * Threads: any, one at a time for each file.
 */
#ifndef UTUN_NET_SOCKET_FILE_H
#define UTUN_NET_SOCKET_FILE_H

#include <sys/types.h>

#include "base/error.h"
#include "net/address.h"

/* All zeros: no file. */
struct socket_file {
    char path[ADDRESS_PATH_MAX + 1];
    dev_t device; /* of the file that was made: another one of this name is not ours */
    ino_t inode;
};

/*
 * *fd becomes a non-blocking socket that listens there, for users with these rights (the
 * permissions of a file: who may write may connect). A socket whose process is gone is replaced.
 * On error *fd is -1, and detail says what is there and what to do: ERR_ADDR_IN_USE (somebody
 * listens there, or it is no socket), ERR_PERMISSION, ERR_NOT_FOUND (there is no such folder),
 * ERR_TOO_LARGE (the path) or what errno says.
 *
 * May wait for a second for another process that takes a path of the same folder.
 */
enum err socket_file_listen(struct socket_file *f, int *fd, const char *path, mode_t rights,
                            struct err_detail *detail) MUST_USE;

/*
 * Makes it another user's. ERR_NOT_FOUND: what is there now is not the file that was made, and
 * stays as it is; or what errno says.
 */
enum err socket_file_give(const struct socket_file *f, uid_t uid, gid_t gid) MUST_USE;

/* Other rights, for who comes from now on. Errors as above. */
enum err socket_file_set_rights(const struct socket_file *f, mode_t rights) MUST_USE;

/*
 * Removes the file if it still is the one that was made. The socket must still be open: then no
 * other file can have taken its place unnoticed. Harmless without a file, and the second time.
 */
void socket_file_remove(struct socket_file *f);

#endif
