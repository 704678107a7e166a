/*
 * One try of an uplink to get a session: begun on the worker's thread, made by the handshaker on
 * its own, and back on the worker's when it has come to something or to nothing. Then it can be
 * started again.
 *
 *   idle ── start ──> running (the handshake thread's) ── reported ──> on_end ──> idle
 *                                          └── the worker has stopped ──> dropped
 *
 * Threads: the worker's, where nothing else is said.
 */
#ifndef UTUN_ROLE_DIAL_H
#define UTUN_ROLE_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "net/address_list.h"
#include "net/established.h"
#include "net/handshaker.h"
#include "net/worker.h"
#include "role/credentials.h"

struct dial;

/* Embed it in what dials, and fill it in. */
struct dial_owner {
    /* Once for each start: d->error is ERR_OK, with d->established to be taken, or says why not. */
    void (*on_end)(struct dial_owner *owner, struct dial *d);
};

/* Anybody on the worker's thread may read is_running; the rest while it is false. */
struct dial {
    struct dial_owner *owner;
    struct credentials *credentials; /* the handshake thread's */
    struct worker *worker;
    struct handshaker *handshaker;
    struct handshaker_dial outgoing;
    const struct config *config; /* owned: what the last start went by, as these two */
    struct address stay;
    struct address_list skip;
    enum credentials_when when;
    uint64_t generation; /* of the credentials that the try goes by */
    uint64_t renewals;   /* of theirs */
    struct worker_item report;
    bool is_running;

    enum err error;
    struct err_detail detail;
    uint32_t advice_ms;  /* the dest's, when to come again; 0: none */
    struct address peer; /* the address that has answered; len 0: none has */
    struct established established;
};

struct dial_options {
    const struct config *config; /* gets one more owner */
    size_t host;                 /* of its dest_host */
    const uint8_t *secret;       /* of the tunnel to be continued; NULL: a new one */
    const struct address *stay;  /* these two: see dialer_options; NULL: none. Copied */
    const struct address_list *skip;
    enum credentials_when when; /* whether certificates are read again in any case */
};

/*
 * Any thread. Chooses the id of the tunnel, for all starts: ERR_RANDOM. Call fini too; that is
 * harmless the second time.
 */
enum err dial_init(struct dial *d, struct credentials *credentials,
                   struct dial_owner *owner) MUST_USE;
void dial_fini(struct dial *d);

/* Before the first start. The handshaker outlives the worker. */
void dial_open(struct dial *d, struct worker *worker, struct handshaker *handshaker);

/* While none runs. secret stays as it is until on_end. */
void dial_start(struct dial *d, const struct dial_options *options);

/* The host of the last start; lives until the next. */
const char *dial_host(const struct dial *d);

#endif
