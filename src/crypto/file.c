#include "crypto/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>

#define PATH_SIZE 4096

#define LOCK_STEP_MS 50

/* An account or group by name, or by number where the name is not known. */
struct account {
    char name[64];
};

static struct account user_name(uid_t uid)
{
    struct account out;
    struct passwd pw;
    struct passwd *found = NULL;
    char buf[1024];

    if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) == 0 && found != NULL)
        snprintf(out.name, sizeof(out.name), "%s", found->pw_name);
    else
        snprintf(out.name, sizeof(out.name), "%u", (unsigned)uid);
    return out;
}

static struct account group_name(gid_t gid)
{
    struct account out;
    struct group gr;
    struct group *found = NULL;
    char buf[1024];

    if (getgrgid_r(gid, &gr, buf, sizeof(buf), &found) == 0 && found != NULL)
        snprintf(out.name, sizeof(out.name), "%s", found->gr_name);
    else
        snprintf(out.name, sizeof(out.name), "%u", (unsigned)gid);
    return out;
}

/* "owner root:utun, mode 0640" */
struct access_text {
    char text[160];
};

static struct access_text access_text(const struct stat *st)
{
    struct access_text out;

    snprintf(out.text, sizeof(out.text), "owner %s:%s, mode %04o", user_name(st->st_uid).name,
             group_name(st->st_gid).name, (unsigned)(st->st_mode & 07777));
    return out;
}

/* A path as it can be pasted behind a command. */
struct shell_word {
    char text[320];
};

static struct shell_word shell_word(const char *path)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-+=:@%,";
    struct shell_word out;
    size_t used = 0;

    if (path[0] != 0 && path[0] != '-' && path[strspn(path, plain)] == 0) {
        snprintf(out.text, sizeof(out.text), "%s", path);
        return out;
    }
    /* A leading dash would read as an option. */
    used = (size_t)snprintf(out.text, sizeof(out.text), path[0] == '-' ? "'./" : "'");
    for (const char *p = path; *p != 0 && used + 6 < sizeof(out.text); p++) {
        if (*p == '\'') {
            memcpy(out.text + used, "'\\''", 4);
            used += 4;
        } else {
            out.text[used++] = *p;
        }
    }
    out.text[used++] = '\'';
    out.text[used] = 0;
    return out;
}

/* The folder of path in out, "." for a bare name. */
static void folder_of(char out[PATH_SIZE], const char *path)
{
    char copy[PATH_SIZE];

    snprintf(copy, sizeof(copy), "%s", path);
    snprintf(out, PATH_SIZE, "%s", dirname(copy));
}

/* Root that may not do something has been started without what makes it root elsewhere. */
static const char *less_than_root(void)
{
    return geteuid() == 0 ? ", here without rights to others' files," : "";
}

/*
 * The outermost folder on the way to path that is missing or may not be entered. False if all of
 * them can be looked through.
 */
static bool find_closed_folder(char out[PATH_SIZE], const char *path, int errnum)
{
    char at[PATH_SIZE];
    bool found = false;

    folder_of(at, path);
    for (;;) {
        if (access(at, errnum == ENOENT ? F_OK : X_OK) != 0 && errno == errnum) {
            snprintf(out, PATH_SIZE, "%s", at);
            found = true;
        }
        if (strcmp(at, "/") == 0 || strcmp(at, ".") == 0)
            return found;
        folder_of(at, at);
    }
}

/* What makes a secret readable to who asks, as its kind allows it. */
static enum err explain_secret(const char *path, const char *what, enum file_access access_kind,
                               const struct stat *st, struct err_detail *d)
{
    const struct account self = user_name(geteuid());
    const char *less = less_than_root();
    const struct shell_word word = shell_word(path);

    if (access_kind == FILE_SECRET_FOR_GROUP)
        return err_set(d, ERR_PERMISSION,
                       "%s %s: user %s%s may not read it (%s); run: chown root:%s %s && chmod 640 "
                       "%s",
                       what, path, self.name, less, access_text(st).text,
                       group_name(geteuid() == 0 ? st->st_gid : getegid()).name, word.text,
                       word.text);
    return err_set(d, ERR_PERMISSION, "%s %s: user %s%s may not read it (%s); run: chown %s %s",
                   what, path, self.name, less, access_text(st).text, self.name, word.text);
}

/* Explains a failed open or stat. */
static enum err explain_access(const char *path, const char *what, enum file_access access_kind,
                               int errnum, struct err_detail *d)
{
    enum err e = err_from_errno(errnum);
    char folder[PATH_SIZE];
    struct stat st;
    const char *me = NULL;
    struct account self = user_name(geteuid());

    me = self.name;
    if (errnum == ENOENT) {
        if (find_closed_folder(folder, path, ENOENT))
            return err_set(d, e, "%s %s: the folder %s does not exist; check the path", what, path,
                           folder);
        return err_set(d, e, "%s %s: no such file; check the path, or make one with 'utun cert'",
                       what, path);
    }
    if (errnum != EACCES)
        return err_set(d, e, "%s %s: %s", what, path, strerror(errnum));
    if (find_closed_folder(folder, path, EACCES) && stat(folder, &st) == 0)
        return err_set(d, e, "%s %s: user %s%s may not enter the folder %s (%s); run: chmod a+x %s",
                       what, path, me, less_than_root(), folder, access_text(&st).text,
                       shell_word(folder).text);
    /* Permissions allow it, so it is Landlock (ops/sandbox.h), or the like, that does not. */
    if (access(path, R_OK) == 0)
        return err_set(d, e,
                       "%s %s: is not in a folder that this process has been reading from since "
                       "it was started; restart it",
                       what, path);
    if (stat(path, &st) != 0)
        return err_set(d, e, "%s %s: user %s may not read it; run: ls -ld %s", what, path, me,
                       shell_word(path).text);
    if (access_kind == FILE_PUBLIC)
        return err_set(d, e, "%s %s: user %s%s may not read it (%s); run: chmod a+r %s", what, path,
                       me, less_than_root(), access_text(&st).text, shell_word(path).text);
    return explain_secret(path, what, access_kind, &st, d);
}

/* The bits of the mode that a file of this kind may not have. */
static mode_t forbidden_bits(enum file_access access_kind, const struct stat *st)
{
    switch (access_kind) {
    case FILE_SECRET:
        return 077;
    case FILE_SECRET_FOR_GROUP:
        return st->st_uid == 0 ? 037 : 077;
    case FILE_PUBLIC:
    case FILE_SECRET_ANY_MODE:
        break;
    }
    return 0;
}

static enum err check_kind(const char *path, const char *what, enum file_access access_kind,
                           const struct stat *st, struct err_detail *d)
{
    const mode_t forbidden = forbidden_bits(access_kind, st);

    if (S_ISDIR(st->st_mode))
        return err_set(d, ERR_IO, "%s %s: is a folder, not a file (%s); give the file in it", what,
                       path, access_text(st).text);
    if (!S_ISREG(st->st_mode))
        return err_set(d, ERR_IO, "%s %s: is not a regular file (%s)", what, path,
                       access_text(st).text);
    if ((st->st_mode & forbidden) != 0)
        return err_set(d, ERR_KEY_MODE, "%s %s: open to %s (%s); run: chmod %s %s", what, path,
                       (st->st_mode & 07) != 0 ? "everyone" : "its group", access_text(st).text,
                       forbidden == 037 ? "640" : "600", shell_word(path).text);
    if (st->st_size > (off_t)FILE_MAX_SIZE)
        return err_set(d, ERR_TOO_LARGE,
                       "%s %s: %lld bytes, more than the %zu allowed; check the "
                       "path",
                       what, path, (long long)st->st_size, FILE_MAX_SIZE);
    if (st->st_size == 0)
        return err_set(d, ERR_CERT_FORMAT, "%s %s: the file is empty (%s); make it anew", what,
                       path, access_text(st).text);
    return ERR_OK;
}

enum err file_read(struct file_bytes *out, const char *path, const char *what,
                   enum file_access access, struct err_detail *d)
{
    struct file_bytes b = {0};
    struct stat st;
    enum err e = ERR_OK;
    size_t size = 0;
    int fd = -1;

    *out = (struct file_bytes){0};
    /* O_NONBLOCK: a named pipe must not hang us before fstat can refuse it. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return explain_access(path, what, access, errno, d);
    if (fstat(fd, &st) != 0) {
        e = explain_access(path, what, access, errno, d);
        goto out;
    }
    e = check_kind(path, what, access, &st, d);
    if (e != ERR_OK)
        goto out;

    /* One byte more than the size, so that a file that grows meanwhile is noticed. */
    size = (size_t)st.st_size + 1;
    b.data = malloc(size);
    if (b.data == NULL) {
        e = err_set(d, ERR_NOMEM, "%s %s: out of memory", what, path);
        goto out;
    }
    while (b.len < size) {
        ssize_t n = read(fd, b.data + b.len, size - b.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            e = err_set(d, ERR_IO, "%s %s: %s", what, path, strerror(errno));
            goto out;
        }
        if (n == 0)
            break;
        b.len += (size_t)n;
    }
    if (b.len != (size_t)st.st_size) {
        e = err_set(d, ERR_IO, "%s %s: changed while it was read; try again", what, path);
        goto out;
    }
    *out = b;
    b = (struct file_bytes){0};
out:
    file_bytes_free(&b);
    close(fd);
    return e;
}

void file_bytes_free(struct file_bytes *b)
{
    if (b->data != NULL)
        OPENSSL_cleanse(b->data, b->len);
    free(b->data);
    *b = (struct file_bytes){0};
}

static enum err explain_create(const struct file_new *f, int errnum, struct err_detail *d)
{
    char folder[PATH_SIZE];
    struct stat st;
    enum err e = err_from_errno(errnum);

    folder_of(folder, f->path);
    if (errnum == ENOENT)
        return err_set(d, e, "%s %s: the folder %s does not exist; run: mkdir -p %s", f->what,
                       f->path, folder, shell_word(folder).text);
    if ((errnum == EACCES || errnum == EPERM) && stat(folder, &st) == 0)
        return err_set(d, e, "%s %s: user %s may not create files in %s (%s); run: chown %s %s",
                       f->what, f->path, user_name(geteuid()).name, folder, access_text(&st).text,
                       user_name(geteuid()).name, shell_word(folder).text);
    return err_set(d, e, "%s %s: %s", f->what, f->path, strerror(errnum));
}

static enum err check_target(const struct file_new *f, enum file_overwrite overwrite,
                             struct err_detail *d)
{
    struct stat st;

    if (lstat(f->path, &st) != 0)
        return errno == ENOENT ? ERR_OK : explain_create(f, errno, d);
    if (S_ISDIR(st.st_mode))
        return err_set(d, ERR_EXISTS, "%s %s: is a folder; give the name of a file in it", f->what,
                       f->path);
    if (overwrite == FILE_KEEP_EXISTING)
        return err_set(d, ERR_EXISTS,
                       "%s %s: already exists (%s); nothing was written; choose another name, or "
                       "replace it with --force",
                       f->what, f->path, access_text(&st).text);
    return ERR_OK;
}

/* Whether both paths lead to the same name in the same folder, however they are spelled. */
static bool is_same_path(const char *a, const char *b)
{
    char copy_a[PATH_SIZE];
    char copy_b[PATH_SIZE];
    char folder[PATH_SIZE];
    struct stat st_a;
    struct stat st_b;

    snprintf(copy_a, sizeof(copy_a), "%s", a);
    snprintf(copy_b, sizeof(copy_b), "%s", b);
    if (strcmp(basename(copy_a), basename(copy_b)) != 0)
        return false;
    folder_of(folder, a);
    if (stat(folder, &st_a) != 0)
        return false;
    folder_of(folder, b);
    return stat(folder, &st_b) == 0 && st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino;
}

static int write_and_sync(int fd, const struct file_new *f)
{
    const uint8_t *at = f->data;
    size_t left = f->len;

    while (left > 0) {
        ssize_t n = write(fd, at, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += n;
        left -= (size_t)n;
    }
    /* Certificates are for everyone to read, whatever the umask made of the mode. */
    if (f->access == FILE_PUBLIC && fchmod(fd, 0644) != 0)
        return -1;
    return fsync(fd);
}

/* Writes f under a temporary name, which goes to temp; "" if it is not there on return. */
static enum err write_temporary(char temp[PATH_SIZE], const struct file_new *f,
                                struct err_detail *d)
{
    enum err e = ERR_OK;
    int fd = -1;
    int len = snprintf(temp, PATH_SIZE, "%s.XXXXXX", f->path);

    if (len < 0 || len >= PATH_SIZE) {
        temp[0] = 0;
        return err_set(d, ERR_USAGE, "%s: the path is too long", f->what);
    }
    /* mkostemp creates with O_EXCL and mode 0600, so a key is closed before its first byte. */
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        temp[0] = 0;
        return explain_create(f, errno, d);
    }
    if (write_and_sync(fd, f) != 0)
        e = explain_create(f, errno, d);
    close(fd);
    if (e != ERR_OK) {
        unlink(temp);
        temp[0] = 0;
    }
    return e;
}

/* Like rename, but fails with EEXIST where the name is taken. */
static int rename_to_free_name(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* Filesystems without RENAME_NOREPLACE have hard links. */
    if (link(from, to) != 0)
        return -1;
    unlink(from);
    return 0;
}

static void sync_folder(const char *path)
{
    char folder[PATH_SIZE];
    int fd = -1;

    folder_of(folder, path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

enum err file_lock_folder(int *fd, const char *path, const char *what, int patience_ms,
                          struct err_detail *d)
{
    const struct file_new file = {.path = path, .what = what};
    const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};
    char folder[PATH_SIZE];
    int failed = 0;

    folder_of(folder, path);
    *fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return explain_create(&file, errno, d);
    for (;;) {
        failed = flock(*fd, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
        if (failed != EWOULDBLOCK || patience_ms <= 0)
            break;
        nanosleep(&step, NULL);
        patience_ms -= LOCK_STEP_MS;
    }
    if (failed == 0)
        return ERR_OK;
    close(*fd);
    *fd = -1;
    if (failed != EWOULDBLOCK)
        return explain_create(&file, failed, d);
    return err_set(d, ERR_LIMIT,
                   "%s %s: another process keeps the folder %s locked; wait for it, and try again",
                   what, path, folder);
}

enum err file_create_all(const struct file_new *files, size_t n, enum file_overwrite overwrite,
                         struct err_detail *d)
{
    char temp[FILE_CREATE_MAX][PATH_SIZE] = {0};
    enum err e = ERR_OK;
    size_t named = 0;

    assert(n <= FILE_CREATE_MAX);
    for (size_t i = 0; i < n; i++) {
        e = check_target(&files[i], overwrite, d);
        if (e != ERR_OK)
            return e;
        for (size_t j = 0; j < i; j++)
            if (is_same_path(files[i].path, files[j].path))
                return err_set(d, ERR_USAGE, "%s and %s are to be written to the same file %s",
                               files[j].what, files[i].what, files[i].path);
    }
    for (size_t i = 0; i < n; i++) {
        e = write_temporary(temp[i], &files[i], d);
        if (e != ERR_OK)
            goto out;
    }
    for (; named < n; named++) {
        int failed = overwrite == FILE_KEEP_EXISTING
                         ? rename_to_free_name(temp[named], files[named].path)
                         : rename(temp[named], files[named].path);

        if (failed != 0) {
            e = explain_create(&files[named], errno, d);
            goto out;
        }
        temp[named][0] = 0;
    }
    for (size_t i = 0; i < n; i++)
        sync_folder(files[i].path);
out:
    for (size_t i = 0; i < n; i++)
        if (temp[i][0] != 0)
            unlink(temp[i]);
    /* What was replaced is gone, but what was newly created can be taken back. */
    if (e != ERR_OK && overwrite == FILE_KEEP_EXISTING)
        for (size_t i = 0; i < named; i++)
            unlink(files[i].path);
    return e;
}
