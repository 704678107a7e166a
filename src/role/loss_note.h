/*
 * A note of the last session that was lost, or could not be made: why, in whose words, when. Kept
 * by whoever may be asked for it. Threads: its owner's.
 */
#ifndef UTUN_ROLE_LOSS_NOTE_H
#define UTUN_ROLE_LOSS_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "tunnel/limits.h"

#define LOSS_TEXT_MAX 256

struct loss_note {
    bool is_set; /* false: nothing has been lost yet, and the rest is empty */
    enum err why;
    enum wire_code code;      /* what the peer gave as its reason; WIRE_NO_ERROR: it gave none */
    char text[LOSS_TEXT_MAX]; /* for people: the peer's words, made harmless, or ours. UTF-8 */
    uint64_t at_us;           /* worker_now */
};

/*
 * text may be anything, and longer than fits; control characters and what is no UTF-8 become '?'.
 * NULL or "": err_text(why).
 */
void loss_note_set(struct loss_note *note, enum err why, enum wire_code code, const char *text,
                   uint64_t now);

#endif
