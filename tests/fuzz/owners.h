/*
 * The owners of an engine's streams: what they do is told by the input, from outside and from
 * inside events, and what they are told must be what tunnel.h says. And what a peer says to them.
 */
#ifndef UTUN_TESTS_FUZZ_OWNERS_H
#define UTUN_TESTS_FUZZ_OWNERS_H

#include "side.h"

#define OWNERS 24

struct tunnel_owner {
    struct side side;
    struct wire_reader in;
    enum tunnel_role role;
    uint32_t max_streams;
    uint64_t opened;     /* streams, by a source */
    uint64_t max_opened; /* of them; the rest of all is zeros before owners_init */
    bool is_ready;       /* a session has been */
    bool acts_in_events;
    bool accepts_at_once;
    unsigned depth; /* of events */
    struct stream_owner *owners[OWNERS];
};

struct stream_owner {
    struct tunnel_owner *all;
    struct stream *stream;
    size_t slot;
    uint64_t id;
    uint64_t taken;
    uint64_t committed;
    bool is_accepted;
    bool is_finished; /* by stream_send_finish */
    bool is_waiting;  /* for on_writable */
    bool is_reset;    /* by stream_reset */
    bool has_kept;    /* something that on_data did not take */
    bool in_data;
    bool told_finish;
    bool told_reset;
    bool told_sent;
};

/*
 * How the engine and its owners are, as the bits of the input's first byte say, which is returned:
 * 1 a dest, 2 acts in events, 4 accepts at once, 8 few streams, 0x10 and 0x20 how much memory. The
 * events of sessions, but for on_go_away, are the target's.
 */
uint8_t owners_init(struct tunnel_owner *all, const uint8_t *data, size_t size,
                    const struct tunnel_events *of_sessions);

/* Everything ends, with the tunnel and its sessions. */
void owners_fini(struct tunnel_owner *all);

/* One owner does something. */
void owners_act(struct tunnel_owner *all);
void owners_act_in_event(struct tunnel_owner *all);
void owners_release(struct stream_owner *o);
void owners_release_all(struct tunnel_owner *all);

/* The peer writes some frame, which is right, or bytes as they are. True: it is to be sent at once.
 */
bool owners_speak(struct tunnel_owner *all, struct peer *peer);

/* A size, small or large: up to 254 KiB. */
size_t owners_read_size(struct wire_reader *in);

/* After every step. */
void owners_check_bounds(const struct tunnel_owner *all);

#endif
