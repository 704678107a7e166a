/*
 * Another configuration for a role that runs, without an outage: on a signal, and when the
 * configuration file, or the file of proxy users, has changed. (Certificates, keys and CRLs that
 * change under the same names are role/credentials.h's.)
 *
 *   read, checked, credentials loaded, ports bound ──> put in place on every thread
 *      └── anything is wrong: logged with its place in the file, counted, and nothing has changed
 *
 * A file counts as changed when it is another one than was read last, and has stayed the same from
 * one look to the next: what somebody is still writing is not read.
 *
 * Threads: the one that made it; reloader_get_note from any.
 */
#ifndef UTUN_ROLE_RELOADER_H
#define UTUN_ROLE_RELOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "role/dest.h"
#include "role/source.h"

/* Names of keys, and reasons; cut where they are longer. */
#define RELOADER_TEXT_MAX 1024

enum reload_trigger {
    RELOAD_SIGNAL,
    RELOAD_FILE,
};

const char *reload_trigger_name(enum reload_trigger trigger);

/* What has come of it so far. A copy, no ownership. */
struct reload_note {
    uint64_t counts[ERR_COUNT]; /* reloads, by result */
    int64_t good_at;            /* the last that was good, or the start; seconds since 1970 */
    int64_t at;                 /* the last; 0: there was none */
    enum reload_trigger trigger;
    enum err result;
    char reason[RELOADER_TEXT_MAX];        /* "file:line:column: error: ...", or "" */
    char changed[RELOADER_TEXT_MAX];       /* keys that took effect by it, with commas between */
    char needs_restart[RELOADER_TEXT_MAX]; /* keys that the last good file has other values of */
};

struct reloader;

/* Of one of the two, which outlive it; config is what it was started with. ERR_NOMEM. */
enum err reloader_new(struct reloader **out, const struct config *config, struct source *source,
                      struct dest *dest) MUST_USE;

/* NULL is fine. */
void reloader_free(struct reloader *r);

/* Reads and checks everything, and puts it in place. Waits for every thread. */
void reloader_run(struct reloader *r, enum reload_trigger trigger);

enum reloader_sight {
    RELOADER_SAME,
    RELOADER_MOVING, /* another one than at the last look: look again a little later */
    RELOADER_CHANGED,
};

/* Looks at the files. */
enum reloader_sight reloader_look(struct reloader *r) MUST_USE;

/* Those that it looks at: the configuration, and the list of users or NULL. Until the next reload.
 */
#define RELOADER_FILES 2
void reloader_get_files(const struct reloader *r, const char *paths[RELOADER_FILES]);

/* The configuration in use; lives until the next reload. */
const struct config *reloader_config(const struct reloader *r);

void reloader_get_note(struct reloader *r, struct reload_note *out);

#endif
