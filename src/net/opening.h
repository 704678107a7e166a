/*
 * An opening: one connection on which a handshake is under way. Moves its bytes, keeps its time,
 * and ends as a struct established, or in failure. Then the peer is told why (a TLS alert or an
 * ABORT, then FIN) and read from for a bounded while, so that the reason arrives and not a reset.
 *
 *   talking ── done ──> on_established ──> on_closed
 *      └── failed ──> on_failed ──> telling ──> lingering ──> on_closed
 *
 * Threads: its loop's only.
 */
#ifndef UTUN_NET_OPENING_H
#define UTUN_NET_OPENING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/established.h"
#include "net/watch.h"
#include "tunnel/handshake.h"

/* How long, and for how many bytes, a peer that was refused is read from. */
#define OPENING_LINGER_MS    5000
#define OPENING_LINGER_BYTES ((size_t)2 * 1024 * 1024)

/* The same for one that was not authenticated: some round trips. */
#define OPENING_LINGER_STRANGER_MS 1000

struct opening;

/* Why there is no session. */
struct opening_failure {
    enum err why;
    const char *detail;      /* for people; lives as long as the callback */
    uint32_t retry_after_ms; /* how long the refused side should wait before it tries again; or 0 */
    bool is_authenticated;   /* the peer had shown its certificate, as far as one is asked for */
};

/* Embed it in what waits for the end, and fill it in. */
struct opening_owner {
    /* At most one of these two, once. Takes what is in e. */
    void (*on_established)(struct opening_owner *owner, struct established *e);
    void (*on_failed)(struct opening_owner *owner, const struct opening_failure *failure);
    /* The connection is closed or handed over, and the opening is gone. Once, always last. */
    void (*on_closed)(struct opening_owner *owner);
};

struct opening_options {
    struct watch_set *set;
    struct opening_owner *owner;
    struct handshake *handshake; /* new, nothing fed or drained; taken */
    struct address peer;
    int fd; /* connected, non-blocking; taken */
};

/* Takes what it is given also on error (ERR_NOMEM ...), when no callback comes. */
enum err opening_start(struct opening **out, const struct opening_options *options) MUST_USE;

/*
 * Fails it for a reason of ours: the peer is told, with how long it should wait, if TLS has got far
 * enough for that. All is over, the telling too, after linger_ms at most. Where it has failed
 * already only that counts. Callbacks come from inside.
 */
void opening_refuse(struct opening *o, enum err why, uint32_t retry_after_ms, uint32_t linger_ms);

/* Closes the connection at once. Neither on_established nor on_failed comes; on_closed does,
 * inside. */
void opening_abort(struct opening *o);

#endif
