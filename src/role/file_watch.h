/*
 * Hears from the system when files may have changed (inotify(7)), so that nobody has to look at
 * them all the time. It watches each file, the folder that it is in, and the folders on the way of
 * a symbolic link, which is how files are replaced: by a rename, or by a link that points
 * elsewhere.
 *
 *   new ──> set ──> fd is readable ──> drain, look at the files, set again ──> ...
 *
 * Set it once while the process has all its rights: folders that it may not read later stay
 * watched.
 *
 * It says no more than that something has happened, and may say so for another file of a folder.
 *
 * Threads: one at a time.
 */
#ifndef UTUN_ROLE_FILE_WATCH_H
#define UTUN_ROLE_FILE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Files, their folders, and those of links: what a set may come to. */
#define FILE_WATCH_MAX 64

struct file_watch;

/* ERR_NOMEM; ERR_LIMIT and what else err_from_errno makes of a system that gives none. */
enum err file_watch_new(struct file_watch **out) MUST_USE;

/* NULL is fine. */
void file_watch_free(struct file_watch *w);

/* Readable when something has happened. */
int file_watch_fd(const struct file_watch *w);

/* Takes what has happened. False: nothing that matters. */
bool file_watch_drain(struct file_watch *w);

enum file_watch_reach {
    FILE_WATCH_ALL,
    FILE_WATCH_SOME, /* look for yourself: no such folder, no right to watch it, a file server */
};

/* These paths, and no others from now on; NULL among them is none. They are not kept. */
enum file_watch_reach file_watch_set(struct file_watch *w, const char *const paths[],
                                     size_t count) MUST_USE;

#endif
