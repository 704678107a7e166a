/*
 * Whether every worker of a role still turns its loop: each is posted a message, and the message
 * comes back when the loop has got to it. Nothing waits, and nothing is shown but that.
 *
 * Threads: one at a time, any but a worker's.
 */
#ifndef UTUN_ROLE_PULSE_H
#define UTUN_ROLE_PULSE_H

#include <stdbool.h>

#include "base/error.h"
#include "role/role_state.h"

struct pulse;

/* The owner's workers must live until the pulse is told to stop asking; see pulse_free. */
enum err pulse_new(struct pulse **out, struct role_state_owner *owner) MUST_USE;

/* Posts a message to each worker that has none of ours waiting. */
void pulse_ask(struct pulse *p);

/* Workers that have not answered yet. One that has stopped has answered. */
unsigned pulse_missing(const struct pulse *p);

/* Only when the workers have been freed: their mailboxes may hold messages. NULL is fine. */
void pulse_free(struct pulse *p);

#endif
