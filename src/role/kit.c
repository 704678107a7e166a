#include "role/kit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/host.h"
#include "crypto/cert_files.h"
#include "crypto/cert_issue.h"
#include "crypto/file.h"
#include "role/kit_text.h"

#define PATH_SIZE  4096
#define IN_KIT_MAX 32 /* of the path of a file in the kit */

enum part {
    PART_DEST,
    PART_SOURCE,
    PART_CA,
    PART_COUNT,
};

static const struct {
    const char *name;
    mode_t mode;
} folders[PART_COUNT] = {
    [PART_DEST] = {"dest", 0755},
    [PART_SOURCE] = {"source", 0755},
    [PART_CA] = {"ca", 0700},
};

/* Everything that may be in a kit: text NULL is a certificate or a key. */
static const struct kit_file {
    enum part part;
    const char *name;
    kit_text text;
} files[] = {
    {PART_DEST, KIT_CA_CERT, NULL},
    {PART_DEST, KIT_DEST_CERT, NULL},
    {PART_DEST, KIT_DEST_KEY, NULL},
    {PART_DEST, KIT_CONFIG, kit_text_dest_config},
    {PART_DEST, KIT_COMPOSE, kit_text_dest_compose},
    {PART_DEST, "utun-dest.conf", kit_text_dest_unit},
    {PART_DEST, KIT_README, kit_text_dest_readme},
    {PART_SOURCE, KIT_CA_CERT, NULL},
    {PART_SOURCE, KIT_SOURCE_CERT, NULL},
    {PART_SOURCE, KIT_SOURCE_KEY, NULL},
    {PART_SOURCE, KIT_CONFIG, kit_text_source_config},
    {PART_SOURCE, KIT_COMPOSE, kit_text_source_compose},
    {PART_SOURCE, "utun-source.conf", kit_text_source_unit},
    {PART_SOURCE, KIT_README, kit_text_source_readme},
    {PART_CA, KIT_CA_CERT, NULL},
    {PART_CA, KIT_CA_KEY, NULL},
    {PART_CA, KIT_README, kit_text_ca_readme},
};

#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

/* A kit that is being made, under a name of its own beside the one that it will have. */
struct stage {
    const struct kit_request *request;
    char final[PATH_SIZE];
    char path[PATH_SIZE]; /* "": there is none */
};

struct stage_path {
    char text[PATH_SIZE + IN_KIT_MAX];
};

static struct stage_path path_of(const struct stage *s, enum part part, const char *name)
{
    struct stage_path path;

    snprintf(path.text, sizeof(path.text), "%s/%s%s%s", s->path, folders[part].name,
             name[0] != 0 ? "/" : "", name);
    return path;
}

static bool has_part(const struct kit_request *r, enum part part)
{
    return part != PART_CA || r->ca == NULL;
}

/* -- the folder -- */

static enum err explain(const struct stage *s, int errnum, struct err_detail *d)
{
    enum err e = err_from_errno(errnum);

    if (errnum == EEXIST || errnum == ENOTEMPTY)
        return err_set(d, ERR_EXISTS,
                       "%s is there already, and nothing is ever overwritten; name another folder "
                       "with --out, or move it away",
                       s->final);
    return err_set(d, e, "cannot make the folder %s: %s; name another with --out%s", s->final,
                   strerror(errnum),
                   errnum == ENOENT ? ", or make the one that it is to be in" : "");
}

static enum err stage_open(struct stage *s, struct err_detail *d)
{
    size_t len = strlen(s->request->folder);
    struct stat st;

    while (len > 1 && s->request->folder[len - 1] == '/')
        len--;
    if (len == 0)
        return err_set(d, ERR_USAGE, "the folder has no name; name one with --out");
    if (len + sizeof(".XXXXXX") > sizeof(s->path))
        return err_set(d, ERR_USAGE, "the folder's path is too long; name another with --out");
    snprintf(s->final, sizeof(s->final), "%.*s", (int)len, s->request->folder);
    if (lstat(s->final, &st) == 0)
        return explain(s, EEXIST, d);
    snprintf(s->path, sizeof(s->path), "%.*s.XXXXXX", (int)len, s->request->folder);
    if (mkdtemp(s->path) == NULL) {
        int errnum = errno;
        s->path[0] = 0;
        return explain(s, errnum, d);
    }
    for (enum part part = 0; part < PART_COUNT; part++) {
        const struct stage_path path = path_of(s, part, "");

        if (has_part(s->request, part) &&
            (mkdir(path.text, 0700) != 0 || chmod(path.text, folders[part].mode) != 0))
            return explain(s, errno, d);
    }
    return ERR_OK;
}

/* Gives the folder its name, unless somebody has taken it meanwhile. */
static enum err stage_commit(struct stage *s, struct err_detail *d)
{
    struct stat st;

    if (chmod(s->path, 0755) != 0)
        return explain(s, errno, d);
    if (renameat2(AT_FDCWD, s->path, AT_FDCWD, s->final, RENAME_NOREPLACE) != 0) {
        if (errno != EINVAL && errno != ENOSYS)
            return explain(s, errno, d);
        /* A filesystem without that flag: all that a rename can replace is an empty folder. */
        if (lstat(s->final, &st) == 0)
            return explain(s, EEXIST, d);
        if (rename(s->path, s->final) != 0)
            return explain(s, errno, d);
    }
    s->path[0] = 0;
    return ERR_OK;
}

static void stage_discard(struct stage *s)
{
    if (s->path[0] == 0)
        return;
    for (size_t i = 0; i < FILE_COUNT; i++)
        unlink(path_of(s, files[i].part, files[i].name).text);
    for (enum part part = 0; part < PART_COUNT; part++)
        rmdir(path_of(s, part, "").text);
    rmdir(s->path);
    s->path[0] = 0;
}

/* -- what is in it -- */

/* The text of a file, for the caller to free; NULL: no memory. */
static char *compose(kit_text text, const struct kit_request *request, size_t *len)
{
    char *data = NULL;
    FILE *memory = open_memstream(&data, len);

    if (memory == NULL)
        return NULL;
    text(memory, request);
    if (fclose(memory) == 0)
        return data;
    free(data);
    return NULL;
}

/* What checks of single values cannot see, such as two ports that meet. */
static enum err check_config(const struct kit_file *file, const char *text, size_t len,
                             struct err_detail *d)
{
    enum config_role role = file->part == PART_DEST ? CONFIG_ROLE_DEST : CONFIG_ROLE_SOURCE;
    struct problems *problems = problems_new();
    struct config *config = NULL;
    enum err e;

    if (problems == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    e = config_parse(&config, text, len, KIT_CONFIG, role, NULL, problems);
    if (e != ERR_OK)
        e = err_set(d, ERR_USAGE, "the %s's configuration would not be valid: %s",
                    folders[file->part].name, problems_at(problems, 0)->text);
    config_free(config);
    problems_free(problems);
    return e;
}

static enum err write_text(const struct stage *s, const struct kit_file *file, struct err_detail *d)
{
    const struct stage_path path = path_of(s, file->part, file->name);
    size_t len;
    char *text = compose(file->text, s->request, &len);
    const struct file_new new_file = {path.text, "file", text, len, FILE_PUBLIC};
    enum err e = ERR_OK;

    if (text == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    if (strcmp(file->name, KIT_CONFIG) == 0)
        e = check_config(file, text, len, d);
    if (e == ERR_OK)
        e = file_create_all(&new_file, 1, FILE_KEEP_EXISTING, d);
    free(text);
    return e;
}

static enum err write_texts(const struct stage *s, struct err_detail *d)
{
    enum err e = ERR_OK;

    for (size_t i = 0; i < FILE_COUNT && e == ERR_OK; i++) {
        if (files[i].text != NULL && has_part(s->request, files[i].part))
            e = write_text(s, &files[i], d);
    }
    return e;
}

/* key_name NULL: the certificate alone. */
static enum err write_pair(const struct stage *s, enum part part,
                           const struct cert_issue_result *issued, const char *cert_name,
                           const char *key_name, struct err_detail *d)
{
    const struct stage_path cert_path = path_of(s, part, cert_name);
    const struct stage_path key_path = path_of(s, part, key_name != NULL ? key_name : "");
    const struct cert_files pair = {
        .cert_path = cert_path.text,
        .key_path = key_name != NULL ? key_path.text : NULL,
    };

    return cert_files_write(&pair, issued, d);
}

static enum err issue_leaf(const struct stage *s, enum part part,
                           const struct cert_issue_result *ca, struct err_detail *d)
{
    const struct kit_request *r = s->request;
    bool is_dest = part == PART_DEST;
    const struct cert_issue_request request = {
        .kind = is_dest ? CERT_ISSUE_SERVER : CERT_ISSUE_CLIENT,
        .algorithm = r->algorithm,
        .common_name = is_dest ? "dest" : r->source_name,
        .dns_names = is_dest && !host_is_address(r->dest_host) ? r->dest_host : NULL,
        .ip_addresses = is_dest && host_is_address(r->dest_host) ? r->dest_host : NULL,
        .days = r->days,
        .issuer = ca->cert,
        .issuer_key = ca->key,
    };
    struct cert_issue_result leaf;
    enum err e = cert_issue(&leaf, &request, d);

    if (e == ERR_OK)
        e = write_pair(s, part, &leaf, is_dest ? KIT_DEST_CERT : KIT_SOURCE_CERT,
                       is_dest ? KIT_DEST_KEY : KIT_SOURCE_KEY, d);
    if (e == ERR_OK)
        e = write_pair(s, part, ca, KIT_CA_CERT, NULL, d);
    cert_issue_result_fini(&leaf);
    return e;
}

static enum err write_certificates(const struct stage *s, struct err_detail *d)
{
    const struct kit_request *r = s->request;
    const struct cert_issue_request request = {
        .kind = CERT_ISSUE_CA,
        .algorithm = r->algorithm,
        .common_name = "utun CA",
    };
    struct cert_issue_result made = {.cert = NULL};
    const struct cert_issue_result given = {.cert = r->ca, .key = r->ca_key};
    const struct cert_issue_result *ca = r->ca != NULL ? &given : &made;
    enum err e = ERR_OK;

    if (r->ca == NULL) {
        e = cert_issue(&made, &request, d);
        if (e == ERR_OK)
            e = write_pair(s, PART_CA, &made, KIT_CA_CERT, KIT_CA_KEY, d);
    }
    if (e == ERR_OK)
        e = issue_leaf(s, PART_DEST, ca, d);
    if (e == ERR_OK)
        e = issue_leaf(s, PART_SOURCE, ca, d);
    cert_issue_result_fini(&made);
    return e;
}

enum err kit_write(const struct kit_request *request, struct err_detail *d)
{
    struct stage stage = {.request = request};
    enum err e = stage_open(&stage, d);

    if (e == ERR_OK)
        e = write_texts(&stage, d);
    if (e == ERR_OK)
        e = write_certificates(&stage, d);
    if (e == ERR_OK)
        e = stage_commit(&stage, d);
    stage_discard(&stage);
    return e;
}
