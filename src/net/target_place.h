/*
 * What all connections to one target share, in one worker: its addresses, and whether it is down.
 * While it is, only one of those who wait tries it, at growing pauses; its success lets all go.
 *
 *   up: everybody tries at once ── a try fails ──> down: one at a time ── a try succeeds ──> up
 *
 * A name is asked for again when it is due (net/names.h), and sooner while the target is down.
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_TARGET_PLACE_H
#define UTUN_NET_TARGET_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/error.h"
#include "base/list.h"
#include "net/address_list.h"
#include "net/names.h"
#include "net/stats.h"

/* Between tries of a target that is down: grows from the first to the second. */
#define TARGET_PROBE_FIRST_MS 10
#define TARGET_PROBE_LAST_MS  100

/* A probe that nobody answers ends after so long, twice as long the next time, and so on. */
#define TARGET_PROBE_ANSWER_MS 1000

/* Every place of a worker. */
struct target_places;

enum err target_places_new(struct target_places **out, uv_loop_t *loop, struct names *names,
                           struct stats *stats) MUST_USE;

/* All places must have been left. NULL is fine. */
void target_places_free(struct target_places *s);

struct target_place;

/* One who wants to connect. Embed it, fill in on_turn. */
struct target_turn {
    struct list link;
    bool is_probing;
    bool is_impatient; /* gets its turn also while the target is down, and no second one */
    const void *asker; /* see name_look */
    /*
     * Try these now, for at most timeout_ms (0: as long as you like); end it with
     * target_place_failed, _answered or _leave. Do not report to your own user from inside.
     */
    void (*on_turn)(struct target_turn *turn, const struct address_list *addresses,
                    uint32_t timeout_ms);
    /* An impatient one: the name does not resolve. It has left. */
    void (*on_unresolved)(struct target_turn *turn, const struct err_detail *why);
};

/*
 * The place of host (a name or an address) and port, or of path (a Unix socket; NULL: none). Each
 * success is ended by one target_place_leave. ERR_NOMEM, ERR_TOO_LARGE.
 */
enum err target_place_enter(struct target_places *s, struct target_place **out, const char *host,
                            uint16_t port, const char *path, struct target_turn *turn) MUST_USE;

/* Puts it into the queue; on_turn may come from inside. */
void target_place_wait(struct target_place *p, struct target_turn *turn);

/* The try failed. True: it is in the queue again. False: it has to give up, and leave. */
bool target_place_failed(struct target_place *p, struct target_turn *turn, enum err why,
                         const char *detail) MUST_USE;

/* The try found the target alive: others may go on. It still has to leave. */
void target_place_answered(struct target_place *p, struct target_turn *turn);

/* Takes it out, wherever it is. p may be gone afterwards. */
void target_place_leave(struct target_place *p, struct target_turn *turn);

/* What is waited for, or why the last try failed; ERR_OK when there is no such thing. The text
 * lives until the next call. */
enum err target_place_trouble(const struct target_place *p, const char **detail);

#endif
