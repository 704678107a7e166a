#include "role/demo_folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/cert_files.h"
#include "crypto/cert_issue.h"

static const char *const names[] = {
    DEMO_CA_CERT, DEMO_DEST_CERT, DEMO_DEST_KEY, DEMO_SOURCE_CERT, DEMO_SOURCE_KEY,
};

struct file_path {
    char text[DEMO_PATH_MAX + 16]; /* room for a slash and the longest name */
};

static struct file_path path_in(const struct demo_folder *f, const char *name)
{
    struct file_path path;

    snprintf(path.text, sizeof(path.text), "%s/%.14s", f->path, name);
    return path;
}

static enum err make_folder(struct demo_folder *f, struct err_detail *d)
{
    const char *parent = getenv("TMPDIR");

    if (parent == NULL || parent[0] != '/')
        parent = "/tmp";
    if ((size_t)snprintf(f->path, sizeof(f->path), "%s/utun-demo-XXXXXX", parent) >=
        sizeof(f->path)) {
        f->path[0] = 0;
        return err_set(d, ERR_TOO_LARGE, "the path in TMPDIR is too long");
    }
    if (mkdtemp(f->path) == NULL) {
        int errnum = errno;
        f->path[0] = 0;
        return err_set(d, err_from_errno(errnum), "cannot make a folder in %s: %s", parent,
                       strerror(errnum));
    }
    return ERR_OK;
}

/* key_name NULL: the key is not written. */
static enum err write_pair(const struct demo_folder *f, const struct cert_issue_result *pair,
                           const char *cert_name, const char *key_name, struct err_detail *d)
{
    const struct file_path cert_path = path_in(f, cert_name);
    const struct file_path key_path = path_in(f, key_name != NULL ? key_name : "");
    const struct cert_files files = {
        .cert_path = cert_path.text,
        .key_path = key_name != NULL ? key_path.text : NULL,
    };

    return cert_files_write(&files, pair, d);
}

static enum err issue(const struct demo_folder *f, const struct cert_issue_request *request,
                      const char *cert_name, const char *key_name, struct err_detail *d)
{
    struct cert_issue_result result;
    enum err e = cert_issue(&result, request, d);

    if (e == ERR_OK)
        e = write_pair(f, &result, cert_name, key_name, d);
    cert_issue_result_fini(&result);
    return e;
}

static enum err make_files(const struct demo_folder *f, struct err_detail *d)
{
    const struct cert_issue_request ca_request = {
        .kind = CERT_ISSUE_CA,
        .algorithm = CERT_KEY_ML_DSA_65,
        .common_name = "utun demo CA",
        .days = 2,
    };
    struct cert_issue_result ca;
    enum err e = cert_issue(&ca, &ca_request, d);

    if (e == ERR_OK)
        e = write_pair(f, &ca, DEMO_CA_CERT, NULL, d);
    const struct cert_issue_request dest_request = {
        .kind = CERT_ISSUE_SERVER,
        .algorithm = CERT_KEY_ML_DSA_65,
        .common_name = "demo dest",
        .ip_addresses = "127.0.0.1",
        .days = 1,
        .issuer = ca.cert,
        .issuer_key = ca.key,
    };
    const struct cert_issue_request source_request = {
        .kind = CERT_ISSUE_CLIENT,
        .algorithm = CERT_KEY_ML_DSA_65,
        .common_name = "demo source",
        .days = 1,
        .issuer = ca.cert,
        .issuer_key = ca.key,
    };
    if (e == ERR_OK)
        e = issue(f, &dest_request, DEMO_DEST_CERT, DEMO_DEST_KEY, d);
    if (e == ERR_OK)
        e = issue(f, &source_request, DEMO_SOURCE_CERT, DEMO_SOURCE_KEY, d);
    cert_issue_result_fini(&ca);
    return e;
}

enum err demo_folder_init(struct demo_folder *f, struct err_detail *d)
{
    enum err e = make_folder(f, d);

    if (e == ERR_OK)
        e = make_files(f, d);
    if (e != ERR_OK)
        demo_folder_fini(f);
    return e;
}

void demo_folder_fini(struct demo_folder *f)
{
    if (f->path[0] == 0)
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_in(f, names[i]).text);
    rmdir(f->path);
    f->path[0] = 0;
}
