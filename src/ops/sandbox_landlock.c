#include "ops/sandbox_landlock.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

/*
 * The interface grows with the kernel, and the headers of the machine that builds are often older
 * than the kernel of the one that runs. So the struct is written out here, and rights by number.
 */
struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_SOCKET                                                                                  \
    (LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE)
#define FS_FIRST (((uint64_t)1 << 13) - 1) /* what version 1 knows: EXECUTE to MAKE_SYM */
#define FS_REFER ((uint64_t)1 << 13)       /* 2: link and rename between folders */
#define FS_TRUNC ((uint64_t)1 << 14)       /* 3 */
#define FS_IOCTL ((uint64_t)1 << 15)       /* 5: on devices */

#define SCOPE_ABSTRACT_SOCKET ((uint64_t)1 << 0) /* 6 */
#define SCOPE_SIGNAL          ((uint64_t)1 << 1) /* 6 */

struct landlock_rules {
    int fd;
};

int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return version > 0 ? (int)version : 0;
}

enum err landlock_rules_new(struct landlock_rules **out)
{
    int version = landlock_version();
    struct ruleset_attr attr = {.handled_access_fs = FS_FIRST};
    size_t size = sizeof(attr.handled_access_fs);
    struct landlock_rules *rules;

    *out = NULL;
    if (version == 0)
        return ERR_NOT_FOUND;
    if (version >= 2)
        attr.handled_access_fs |= FS_REFER;
    if (version >= 3)
        attr.handled_access_fs |= FS_TRUNC;
    if (version >= 5)
        attr.handled_access_fs |= FS_IOCTL;
    if (version >= 6) {
        attr.scoped = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
        size = sizeof(attr);
    }
    rules = calloc(1, sizeof(*rules));
    if (rules == NULL)
        return ERR_NOMEM;
    rules->fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (rules->fd < 0) {
        free(rules);
        return ERR_NOT_FOUND;
    }
    *out = rules;
    return ERR_OK;
}

void landlock_rules_free(struct landlock_rules *rules)
{
    if (rules == NULL)
        return;
    close(rules->fd);
    free(rules);
}

static void allow(struct landlock_rules *rules, const char *path, uint64_t folder_rights)
{
    struct landlock_path_beneath_attr below = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
        .parent_fd = open(path, O_PATH | O_CLOEXEC),
    };
    struct stat st;

    if (below.parent_fd < 0)
        return;
    if (fstat(below.parent_fd, &st) == 0 && S_ISDIR(st.st_mode))
        below.allowed_access = folder_rights;
    (void)syscall(SYS_landlock_add_rule, rules->fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0);
    close(below.parent_fd);
}

void landlock_allow_read(struct landlock_rules *rules, const char *path)
{
    allow(rules, path, FS_READ);
}

void landlock_allow_socket(struct landlock_rules *rules, const char *path)
{
    char copy[PATH_MAX];

    snprintf(copy, sizeof(copy), "%s", path);
    allow(rules, dirname(copy), FS_SOCKET);
}

static void allow_folder(struct landlock_rules *rules, const char *path)
{
    char copy[PATH_MAX];
    const char *folder;

    snprintf(copy, sizeof(copy), "%s", path);
    folder = dirname(copy);
    landlock_allow_read(rules, strcmp(folder, "/") == 0 ? path : folder);
}

void landlock_allow_folder_of(struct landlock_rules *rules, const char *path)
{
    char real[PATH_MAX];

    allow_folder(rules, path);
    if (realpath(path, real) != NULL)
        allow_folder(rules, real);
}

enum err landlock_enforce(const struct landlock_rules *rules)
{
    return syscall(SYS_landlock_restrict_self, rules->fd, 0) == 0 ? ERR_OK : ERR_PERMISSION;
}
