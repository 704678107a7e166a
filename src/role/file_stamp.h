/* Whether a file is still the one that was read: what stat(2) says of it. */
#ifndef UTUN_ROLE_FILE_STAMP_H
#define UTUN_ROLE_FILE_STAMP_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* Whatever replaces or rewrites a file changes some of this. */
struct file_stamp {
    int error; /* errno; with it the rest is zeros */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

/* All zeros for NULL. */
struct file_stamp file_stamp_of(const char *path);

bool file_stamp_is_same(const struct file_stamp *a, const struct file_stamp *b);

#endif
