#include "role/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* As many links in a row as Linux follows. */
#define LINKS_MAX 40

#define FOLDER_EVENTS                                                                              \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF |       \
     IN_MOVE_SELF | IN_ONLYDIR)
#define FILE_EVENTS (IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

struct item {
    int id; /* of the kernel's watch */
    dev_t device;
    ino_t inode;
};

struct file_watch {
    int fd;
    size_t count;
    struct item items[FILE_WATCH_MAX];
};

/* What is being set: the watches that there will be, and whether some are missing. */
struct set {
    struct file_watch *watch;
    size_t count;
    struct item items[FILE_WATCH_MAX];
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

static void forget(struct file_watch *w, int id)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->items[i].id == id) {
            w->items[i] = w->items[--w->count];
            return;
        }
    }
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
            if (event->mask & IN_Q_OVERFLOW)
                w->count = 0; /* some may have gone unheard; who is still there gets the same id */
            if (event->mask & IN_IGNORED)
                forget(w, event->wd); /* what it was has gone, or we have removed it */
            else
                matters = true;
        }
    }
    return matters;
}

/* -- what is to be watched -- */

static const struct item *find(const struct item *items, size_t count, const struct stat *st)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].device == st->st_dev && items[i].inode == st->st_ino)
            return &items[i];
    }
    return NULL;
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

/* What is watched already stays so, also when there is no longer a right to begin with it. */
static bool add(struct set *s, const char *path, uint32_t events)
{
    const struct item *known;
    struct item item;
    struct stat st;

    if (stat(path, &st) != 0)
        return false;
    if (find(s->items, s->count, &st) != NULL)
        return true;
    if (s->count == FILE_WATCH_MAX)
        return false;
    known = find(s->watch->items, s->watch->count, &st);
    item = (struct item){.device = st.st_dev, .inode = st.st_ino};
    item.id = known != NULL ? known->id : inotify_add_watch(s->watch->fd, path, events);
    if (item.id < 0)
        return false;
    s->items[s->count++] = item;
    return true;
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

/* The folder that path is in: it ends in a slash, or is ".". */
static void folder_of(const char *path, char folder[PATH_MAX])
{
    const char *slash = strrchr(path, '/');

    snprintf(folder, PATH_MAX, "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1,
             slash == NULL ? "." : path);
}

static void add_folder(struct set *s, const char *folder)
{
    if (is_remote(folder) || !add(s, folder, FOLDER_EVENTS))
        s->reach = FILE_WATCH_SOME;
}

/* Where a link is on the way to the folder, that may come to lead elsewhere. */
static void add_links_to(struct set *s, const char *folder)
{
    const char *slash = folder;

    while ((slash = strchr(slash + 1, '/')) != NULL) {
        char part[PATH_MAX];
        char other[PATH_MAX];

        snprintf(part, sizeof(part), "%.*s", (int)(slash - folder), folder);
        if (!follow(part, other))
            continue;
        if (follow(other, part))
            s->reach = FILE_WATCH_SOME; /* a link to a link */
        snprintf(part, sizeof(part), "%.*s", (int)(slash - folder), folder);
        folder_of(part, other);
        add_folder(s, other);
    }
}

static void add_folder_of(struct set *s, const char *path)
{
    char folder[PATH_MAX];

    folder_of(path, folder);
    add_links_to(s, folder);
    add_folder(s, folder);
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
    /*
     * Its folder sees whatever comes, goes or has been written. A file by itself matters where it
     * is mounted there, or its rights change; and may not be readable for us.
     */
    (void)add(s, here, FILE_EVENTS);
    if (access(here, F_OK) == 0 && is_remote(here))
        s->reach = FILE_WATCH_SOME;
}

enum file_watch_reach file_watch_set(struct file_watch *w, const char *const paths[], size_t count)
{
    struct set s = {.watch = w, .reach = FILE_WATCH_ALL};

    for (size_t i = 0; i < count; i++) {
        if (paths[i] != NULL)
            add_path(&s, paths[i]);
    }
    for (size_t i = 0; i < w->count; i++) {
        const struct item *old = &w->items[i];
        bool is_kept = false;

        for (size_t k = 0; k < s.count; k++)
            is_kept = is_kept || s.items[k].id == old->id;
        if (!is_kept)
            (void)inotify_rm_watch(w->fd, old->id);
    }
    memcpy(w->items, s.items, sizeof(w->items));
    w->count = s.count;
    return s.reach;
}
