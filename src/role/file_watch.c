#include "role/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

/* As many links in a row as Linux follows. */
#define LINKS_MAX 40

#define FOLDER_EVENTS                                                                              \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF |         \
     IN_ONLYDIR)
#define FILE_EVENTS (IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

struct file_watch {
    int fd;
    size_t count;
    int ids[FILE_WATCH_MAX]; /* of the kernel's watches */
};

/* What is being set: the watches that there will be, and whether some are missing. */
struct set {
    struct file_watch *watch;
    size_t count;
    int ids[FILE_WATCH_MAX];
    enum file_watch_reach reach;
};

enum err file_watch_new(struct file_watch **out)
{
    struct file_watch *w = calloc(1, sizeof(*w));

    *out = NULL;
    if (w == NULL)
        return ERR_NOMEM;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        enum err e = err_from_errno(errno);

        free(w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

void file_watch_free(struct file_watch *w)
{
    if (w == NULL)
        return;
    close(w->fd);
    free(w);
}

int file_watch_fd(const struct file_watch *w)
{
    return w->fd;
}

bool file_watch_drain(struct file_watch *w)
{
    _Alignas(struct inotify_event) char bytes[4096];
    bool matters = false;
    ssize_t len;

    while ((len = read(w->fd, bytes, sizeof(bytes))) > 0) {
        const struct inotify_event *event;

        for (ssize_t at = 0; at < len; at += (ssize_t)(sizeof(*event) + event->len)) {
            event = (const struct inotify_event *)(const void *)(bytes + at);
            matters = matters || (event->mask & IN_IGNORED) == 0; /* that one we have caused */
        }
    }
    return matters;
}

/* -- what is to be watched -- */

static bool has(const int *ids, size_t count, int id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

/* Files that others change through a server, or behind a driver, are changed unheard. */
static bool is_remote(const char *path)
{
    static const uint32_t remote[] = {
        0x6969,     /* NFS */
        0x517b,     /* SMB */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB 2 */
        0x65735546, /* FUSE */
        0x01021997, /* 9P */
        0x00c36400, /* Ceph */
        0x5346414f, /* AFS */
        0x786f4256, /* VirtualBox's shared folders */
        0x6a656a63, /* virtiofs */
    };
    struct statfs fs;

    if (statfs(path, &fs) != 0)
        return true;
    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++) {
        if ((uint32_t)fs.f_type == remote[i])
            return true;
    }
    return false;
}

static void add(struct set *s, const char *path, uint32_t events)
{
    int id = inotify_add_watch(s->watch->fd, path, events);

    if (id < 0 || (!has(s->ids, s->count, id) && s->count == FILE_WATCH_MAX)) {
        s->reach = FILE_WATCH_SOME;
        return;
    }
    if (!has(s->ids, s->count, id))
        s->ids[s->count++] = id;
}

static void add_folder_of(struct set *s, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];

    snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1,
             slash == NULL ? "." : path);
    if (is_remote(folder))
        s->reach = FILE_WATCH_SOME;
    add(s, folder, FOLDER_EVENTS);
}

/* Where the link at path points to, seen from where we are. False: it is no link. */
static bool follow(const char *path, char target[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    char text[PATH_MAX];
    ssize_t len = readlink(path, text, sizeof(text) - 1);
    int written;

    if (len < 0)
        return false;
    text[len] = 0;
    if (text[0] == '/' || slash == NULL)
        written = snprintf(target, PATH_MAX, "%s", text);
    else
        written = snprintf(target, PATH_MAX, "%.*s%s", (int)(slash - path) + 1, path, text);
    return written < PATH_MAX;
}

static void add_path(struct set *s, const char *path)
{
    char here[PATH_MAX];
    char next[PATH_MAX];

    if (snprintf(here, sizeof(here), "%s", path) >= (int)sizeof(here)) {
        s->reach = FILE_WATCH_SOME;
        return;
    }
    add_folder_of(s, here);
    for (int links = 0; links < LINKS_MAX && follow(here, next); links++) {
        memcpy(here, next, sizeof(here));
        add_folder_of(s, here);
    }
    /* What is not there yet is seen by its folder when it comes. */
    if (access(here, F_OK) == 0)
        add(s, here, FILE_EVENTS);
}

enum file_watch_reach file_watch_set(struct file_watch *w, const char *const paths[], size_t count)
{
    struct set s = {.watch = w, .reach = FILE_WATCH_ALL};

    for (size_t i = 0; i < count; i++) {
        if (paths[i] != NULL)
            add_path(&s, paths[i]);
    }
    for (size_t i = 0; i < w->count; i++) {
        if (!has(s.ids, s.count, w->ids[i]))
            (void)inotify_rm_watch(w->fd, w->ids[i]);
    }
    memcpy(w->ids, s.ids, sizeof(w->ids));
    w->count = s.count;
    return s.reach;
}
