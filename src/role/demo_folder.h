/*
 * The demo's certificates: a CA, a dest's and a source's, made for this run in a folder that only
 * this user can enter, and removed with it.
 */
#ifndef UTUN_ROLE_DEMO_FOLDER_H
#define UTUN_ROLE_DEMO_FOLDER_H

#include "base/error.h"

#define DEMO_PATH_MAX 4096

struct demo_folder {
    char path[DEMO_PATH_MAX]; /* "": there is none */
};

/* Files in the folder. The CA's key is never written. */
#define DEMO_CA_CERT     "ca.crt"
#define DEMO_DEST_CERT   "dest.crt"
#define DEMO_DEST_KEY    "dest.key"
#define DEMO_SOURCE_CERT "source.crt"
#define DEMO_SOURCE_KEY  "source.key"

/*
 * Makes the folder in $TMPDIR or /tmp, and the files. On error nothing is left, and d says what
 * failed.
 */
enum err demo_folder_init(struct demo_folder *f, struct err_detail *d) MUST_USE;

/* Removes both. Harmless when there is none. */
void demo_folder_fini(struct demo_folder *f);

#endif
