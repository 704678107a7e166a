/*
 * What has happened to a tunnel: since when it is there, which sessions have carried it, how the
 * last one was lost. Fed by the role from the events of its tunnel_owner. Threads: the worker's.
 */
#ifndef UTUN_ROLE_TUNNEL_HISTORY_H
#define UTUN_ROLE_TUNNEL_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "net/carrier.h"
#include "role/loss_note.h"

/* Times as worker_now. Anybody may read. */
struct tunnel_history {
    uint64_t since;
    uint64_t lost_at;      /* 0: a session carries it, or there was none yet */
    uint64_t sessions;     /* that carried it */
    uint64_t resumes;      /* of these, that continued its streams */
    struct loss_note loss; /* the last */
    struct loss_note said; /* what the peer said before it went; kept until a session is lost */
};

void tunnel_history_init(struct tunnel_history *h, uint64_t now);

/* A session carries it. */
void tunnel_history_on_ready(struct tunnel_history *h, const struct carrier *carrier);

/* The peer will go, and says why. */
void tunnel_history_on_go_away(struct tunnel_history *h, enum wire_code code, const char *text);

/* A session has ended. One that was overtaken by a newer one is no loss. */
void tunnel_history_on_lost(struct tunnel_history *h, enum err why, uint64_t now);

/* It has no session at all any more; the first call counts. */
void tunnel_history_on_uncarried(struct tunnel_history *h, uint64_t now);

/* How long it has had none; 0 where a session carries it. */
uint64_t tunnel_history_pause(const struct tunnel_history *h, uint64_t now);

#endif
