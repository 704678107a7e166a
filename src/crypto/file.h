/*
 * Reading and creating the small files that hold certificates and keys. What sets it apart from
 * plain stdio: a bound on the size, a look at the mode of what is secret, files that appear whole
 * or not at all, and errors that name the file, its owner, its mode and the command that mends it.
 *
 * Thread-safe; blocks on file input and output.
 */
#ifndef UTUN_CRYPTO_FILE_H
#define UTUN_CRYPTO_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"

/* Bounds memory against a wrong path; the CA bundle of a whole distribution is a quarter of it. */
#define FILE_MAX_SIZE ((size_t)1024 * 1024)

enum file_access {
    FILE_PUBLIC,          /* certificates: any mode */
    FILE_SECRET,          /* keys: refused where group or others have any access */
    FILE_SECRET_ANY_MODE, /* keys whose mode somebody else decides */
    /* What root hands to the account that a role runs as, and it reads again: as FILE_SECRET, but
     * a file of root's may be readable to its group. */
    FILE_SECRET_FOR_GROUP,
};

struct file_bytes {
    uint8_t *data;
    size_t len;
};

/*
 * Reads a regular file whole. `what` says in an error what the file was to be ("CA certificate").
 * On success *out is the caller's to free with file_bytes_free; on error it is empty. Returns
 * ERR_NOT_FOUND, ERR_PERMISSION, ERR_IO (a folder, a device, a read error), ERR_TOO_LARGE beyond
 * FILE_MAX_SIZE, ERR_CERT_FORMAT for an empty file, ERR_KEY_MODE or ERR_NOMEM.
 */
enum err file_read(struct file_bytes *out, const char *path, const char *what,
                   enum file_access access, struct err_detail *d) MUST_USE;

/* Wipes and frees; leaves *b empty. */
void file_bytes_free(struct file_bytes *b);

struct file_new {
    const char *path;
    const char *what;
    const void *data;
    size_t len;
    enum file_access access; /* FILE_PUBLIC: mode 0644, otherwise 0600 from before the first byte */
};

enum file_overwrite {
    FILE_KEEP_EXISTING,
    FILE_REPLACE_EXISTING,
};

/*
 * Locks the folder of path until *fd is closed, for a file that is read and then replaced; `what`
 * is the file. Waits so long for who has locked it. On error *fd is -1: ERR_LIMIT where it is still
 * locked, otherwise as file_create_all.
 */
enum err file_lock_folder(int *fd, const char *path, const char *what, int patience_ms,
                          struct err_detail *d) MUST_USE;

/*
 * Creates n files (at most FILE_CREATE_MAX), all or none: each is written and synced under a
 * temporary name in its own folder first, then all are given their names. With FILE_KEEP_EXISTING
 * nothing is written if any of the names is taken (ERR_EXISTS), also where another process takes
 * it meanwhile. Two entries with one path are ERR_USAGE. Folders are not created.
 *
 * With FILE_REPLACE_EXISTING each file is replaced atomically, but not the set of them: a crash
 * between two renames leaves the first one new and the second one old.
 */
#define FILE_CREATE_MAX 4
enum err file_create_all(const struct file_new *files, size_t n, enum file_overwrite overwrite,
                         struct err_detail *d) MUST_USE;

#endif
