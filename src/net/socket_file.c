#include "net/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "net/socket.h"

/* Somebody else may hold the lock for as long as he likes; then it is done without. */
#define LOCK_TRIES   100
#define LOCK_STEP_NS 10000000L

/* Locks the folder of the path until the descriptor is closed; -1 where that is not possible. */
static int lock_folder(const char *path)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_NS};
    char folder[ADDRESS_PATH_MAX + 1] = ".";
    const char *slash = strrchr(path, '/');
    int fd;

    if (slash != NULL)
        snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) < 0; i++)
        nanosleep(&step, NULL);
    return fd;
}

static enum err explain(struct err_detail *detail, const char *path, int error)
{
    if (error == EADDRINUSE)
        return err_set(detail, ERR_ADDR_IN_USE,
                       "listen on %s: another process listens there; stop it or set another path",
                       path);
    if (error == ESTALE)
        return err_set(
            detail, ERR_ADDR_IN_USE,
            "listen on %s: somebody has put another file in the place of the socket; use "
            "a folder that others cannot write",
            path);
    if (error == ENOENT)
        return err_set(detail, ERR_NOT_FOUND, "listen on %s: there is no such folder", path);
    return err_set(detail, err_from_errno(error), "listen on %s: %s", path, strerror(error));
}

/* Asks whether a process listens on the socket: 0, or what connecting to it said. */
static int try_connect(const struct address *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = 0;

    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)&a->sockaddr, a->len) < 0)
        error = errno;
    close(fd);
    return error;
}

/* Makes room for a new socket, the folder being locked. */
static enum err clear_place(const char *path, const struct address *a, struct err_detail *detail)
{
    struct stat st;
    int error;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? ERR_OK : explain(detail, path, errno);
    if (!S_ISSOCK(st.st_mode))
        return err_set(detail, ERR_ADDR_IN_USE,
                       "listen on %s: what is there is not a socket; remove it or set another path",
                       path);
    error = try_connect(a);
    if (error == ECONNREFUSED)
        return unlink(path) == 0 || errno == ENOENT ? ERR_OK : explain(detail, path, errno);
    /* Its queue may be full, or it may be of another type: it is alive. */
    if (error == 0 || error == EAGAIN || error == EPROTOTYPE)
        error = EADDRINUSE;
    return explain(detail, path, error);
}

/* The file itself, whatever takes its name afterwards; -1 and errno, ESTALE if it is no socket. */
static int pin(const char *path, struct stat *st)
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0 && fstat(fd, st) == 0 && S_ISSOCK(st->st_mode) && st->st_nlink == 1)
        return fd;
    if (fd >= 0)
        close(fd);
    errno = ESTALE;
    return -1;
}

/* Nothing but a path leads to the rights of a file that is only pinned. */
static int change_rights(int pinned, mode_t rights)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", pinned);
    return chmod(path, rights);
}

/*
 * Whoever may write the folder can have put something else there since it was bound, to have its
 * rights changed: only what is ours, and has no rights yet, can be the one. False and errno.
 */
static bool open_to_others(struct socket_file *f, const char *path, mode_t rights)
{
    struct stat st;
    int pinned = pin(path, &st);
    int error;

    if (pinned < 0)
        return false;
    if (st.st_uid != geteuid() || (st.st_mode & 07777) != 0) {
        close(pinned);
        errno = ESTALE;
        return false;
    }
    error = change_rights(pinned, rights) == 0 ? 0 : errno;
    close(pinned);
    snprintf(f->path, sizeof(f->path), "%s", path);
    f->device = st.st_dev;
    f->inode = st.st_ino;
    errno = error;
    return error == 0;
}

/* False and errno. */
static bool take_place(struct socket_file *f, int *fd, const struct address *a, const char *path,
                       mode_t rights)
{
    int error;

    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return false;
    /* The file has the rights of its socket, so nobody can connect before it gets its own. */
    if (fchmod(*fd, 0) == 0 && bind(*fd, (const struct sockaddr *)&a->sockaddr, a->len) == 0 &&
        listen(*fd, SOCKET_BACKLOG) == 0 && open_to_others(f, path, rights))
        return true;
    error = errno;
    socket_file_remove(f);
    close(*fd);
    *fd = -1;
    errno = error;
    return false;
}

enum err socket_file_listen(struct socket_file *f, int *fd, const char *path, mode_t rights,
                            struct err_detail *detail)
{
    struct address a;
    int lock;
    enum err e;

    *fd = -1;
    memset(f, 0, sizeof(*f));
    if (address_unix(&a, path) != ERR_OK)
        return err_set(detail, ERR_TOO_LARGE, "listen on %.*s...: the path is longer than %d bytes",
                       ADDRESS_PATH_MAX, path, ADDRESS_PATH_MAX);
    lock = lock_folder(path);
    e = clear_place(path, &a, detail);
    if (e == ERR_OK && !take_place(f, fd, &a, path, rights))
        e = explain(detail, path, errno);
    if (lock >= 0)
        close(lock);
    return e;
}

/* The file that was made; -1 where something else is there now. */
static int pin_own(const struct socket_file *f)
{
    struct stat st;
    int pinned = pin(f->path, &st);

    if (pinned >= 0 && (st.st_dev != f->device || st.st_ino != f->inode)) {
        close(pinned);
        pinned = -1;
    }
    return pinned;
}

enum err socket_file_give(const struct socket_file *f, uid_t uid, gid_t gid)
{
    int pinned = pin_own(f);
    enum err e;

    if (pinned < 0)
        return ERR_NOT_FOUND;
    e = fchownat(pinned, "", uid, gid, AT_EMPTY_PATH) == 0 ? ERR_OK : err_from_errno(errno);
    close(pinned);
    return e;
}

enum err socket_file_set_rights(const struct socket_file *f, mode_t rights)
{
    int pinned = pin_own(f);
    enum err e;

    if (pinned < 0)
        return ERR_NOT_FOUND;
    e = change_rights(pinned, rights) == 0 ? ERR_OK : err_from_errno(errno);
    close(pinned);
    return e;
}

void socket_file_remove(struct socket_file *f)
{
    struct stat st;

    if (f->path[0] != '\0' && lstat(f->path, &st) == 0 && st.st_dev == f->device &&
        st.st_ino == f->inode)
        unlink(f->path);
    f->path[0] = '\0';
}
