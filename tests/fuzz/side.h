/*
 * An engine under test, and what it stands on; and its lines: each a session with the peer at its
 * other end, joined directly. What a target makes of it is in its struct tunnel_owner.
 */
#ifndef UTUN_TESTS_FUZZ_SIDE_H
#define UTUN_TESTS_FUZZ_SIDE_H

#include "peer.h"
#include "tunnel/engine.h"

struct side {
    struct tunnel *tunnel;
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    struct budget exchanges;
    uint64_t now;
    struct peer_tunnel known; /* by the peer */
};

struct line {
    struct side *side;
    struct session *session; /* NULL: there is none */
    struct peer peer;
};

/* Fills in the memory of options. */
void side_init(struct side *s, struct tunnel_options *options, size_t memory);

/* Frees the tunnel, with its sessions. What is left over ends the process. */
void side_fini(struct side *s);

/* A session; there must be none. A fresh one is of a peer that knows nothing. */
void line_open(struct line *l, struct side *s, enum session_start start);
void line_close(struct line *l);

/* Its session is gone with the tunnel. */
void line_forget(struct line *l);

/* The peer's next record arrives, alone in its memory. */
enum err line_feed(struct line *l) MUST_USE;

/* At most so many bytes go to the peer; with SIZE_MAX, all that the engine has to say. */
enum err line_drain(struct line *l, size_t most) MUST_USE;

#endif
