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

/* A socket that listens there; -1 and errno. */
static int open_socket(const struct address *a, const char *path, mode_t rights)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0)
        return -1;
    /* The file has the rights of its socket, so nobody can connect before it gets its own. */
    if (fchmod(fd, 0) == 0 && bind(fd, (const struct sockaddr *)&a->sockaddr, a->len) == 0) {
        if (listen(fd, SOCKET_BACKLOG) == 0 && chmod(path, rights) == 0)
            return fd;
        error = errno;
        unlink(path);
        errno = error;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* False and errno. */
static bool take_place(struct socket_file *f, int *fd, const struct address *a, const char *path,
                       mode_t rights)
{
    struct stat st;

    *fd = open_socket(a, path, rights);
    if (*fd < 0)
        return false;
    if (lstat(path, &st) < 0) {
        close(*fd);
        *fd = -1;
        errno = ENOENT;
        return false;
    }
    snprintf(f->path, sizeof(f->path), "%s", path);
    f->device = st.st_dev;
    f->inode = st.st_ino;
    return true;
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

void socket_file_remove(struct socket_file *f)
{
    struct stat st;

    if (f->path[0] != '\0' && lstat(f->path, &st) == 0 && st.st_dev == f->device &&
        st.st_ino == f->inode)
        unlink(f->path);
    f->path[0] = '\0';
}
