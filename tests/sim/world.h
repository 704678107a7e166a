/*
 * What a simulated run consists of; private to the simulator.
 *
 *   world.c    failing, and the memory of the two sides
 *   owners.c   who has the streams: clients behind the source, targets behind the dest
 *   network.c  connections, sessions and tunnels, and what goes wrong with them
 *   witness.c  who looks at what is sealed
 *   sim.c      the run itself
 */
#ifndef UTUN_SIM_WORLD_H
#define UTUN_SIM_WORLD_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnel/tunnel.h"
#include "random.h"
#include "sim.h"

#define STREAMS_MAX 16

enum ending {
    END_FIN,
    END_FIN_THEN_RESET, /* the reset must not eat what was before the FIN */
    END_RESET_AFTER_DATA,
    END_RESET_NOW,
    ENDINGS,
};

/* How rough the world is: one of these once in so many steps; 0 is never. */
struct weather {
    uint64_t refresh; /* a new session beside one that works */
    uint64_t cut;     /* a connection ends; each side notices in its own time */
    uint64_t hole;    /* a connection loses everything from here on, and nobody is told */
    uint64_t tamper;  /* somebody changes a byte on the way */
    uint64_t give_up; /* one side gives up all its streams */
    uint64_t restart; /* the dest forgets everything */
    uint64_t rotate;  /* a key exchange that nobody has asked for */
    uint64_t reload;  /* a tunnel gets other bounds */
    uint64_t ratchet; /* all keys of a connection come near the end of what they may seal */
};

/* One end of a stream: the client behind the source, or the target behind the dest. */
struct stream_owner {
    struct side *side;
    struct stream_owner *peer;
    struct stream *stream;
    unsigned index;

    uint64_t to_send;
    uint64_t sent;
    enum ending ending;
    bool wait_for_room;
    bool end_sent; /* FIN or reset, as planned */
    bool reset_sent;

    unsigned appetite; /* takes 1/appetite of what it is offered; 0: nothing at once */
    uint64_t received;
    bool finish_told;
    bool reset_told;
    enum wire_code reset_code;

    bool is_opened;
    bool gave_up; /* its side gave up, or the peer's did, while it was open */
    bool accept_pending;
    bool refuse; /* dest: refuses the stream */
    bool is_released;
    bool was_rash;  /* it reset the stream, and let go of it, out of its turn */
    bool is_taking; /* on_data is running */
};

/* Bytes on their way in one direction. */
struct wire {
    uint8_t *data;
    size_t len;
    size_t room;
};

struct tunnel_owner {
    int unused;
};

struct side {
    struct tunnel_owner as_owner;
    struct sim *sim;
    enum tunnel_role role;
    struct tunnel *tunnel;
    struct tunnel *former; /* source: whose dest has forgotten it, while owners hold its streams */
    struct pool *pool;
    struct budget hold;
    struct budget credit;
    struct tunnel_bounds bounds;
    bool is_ready;      /* a session has carried the tunnel's streams */
    uint64_t elsewhere; /* bytes of hold that other tunnels have */
};

/* One end of a connection. */
struct plug {
    struct session *session;
    struct wire out;
    uint64_t generation; /* of the session's keys */
    bool is_retired;
    bool knows; /* that the connection is broken, or should be given up */
};

/* A connection with its session at both ends. */
struct cable {
    struct plug source;
    struct plug dest;
    bool is_broken; /* nothing arrives any more */
    bool is_tampered;
};

#define CABLES_MAX 5

struct sim {
    uint64_t seed;
    struct rng rng;
    uint64_t now;
    uint64_t steps;
    struct weather weather;
    uint64_t storms;     /* what may still go wrong */
    bool is_known;       /* the dest knows the tunnel: the next session continues it */
    bool has_restarted;  /* the source does not know yet that the dest has */
    bool is_dial_wanted; /* a session has to be replaced */
    enum kem_mode kem_mode;
    uint64_t key_lifetime_us[2]; /* by enum tunnel_role */
    uint64_t key_margin_us;
    unsigned exchanges;  /* that may still be begun */
    uint64_t changed_at; /* when keys were changed last */
    struct cable cables[CABLES_MAX];
    struct sim_result result;
    size_t capacity; /* of a wire, bytes; the receiver keeps the beginning of a record there */
    unsigned n_streams;
    bool rash;      /* owners act from inside events, too */
    unsigned depth; /* of such acts */
    struct side source;
    struct side dest;
    struct stream_owner clients[STREAMS_MAX];
    struct stream_owner targets[STREAMS_MAX];
};

/* -- world.c -- */

/* From here on the run that failures are those of. */
void world_begin(struct sim *sim);

__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...);
void must(enum err e, const char *what);

/* With a memory from barely enough to plenty, and a tunnel. */
void side_init(struct sim *sim, struct side *side, enum tunnel_role role);
void side_fini(struct side *side);

/* A tunnel in the place of the one it has. */
void side_begin_tunnel(struct side *side);

void check_memory(struct side *side);

/* The operator has changed the configuration. */
void step_reload(struct side *side);

/* Other tunnels of the same worker take memory, and give it back. */
void step_elsewhere(struct side *side);

/* -- owners.c -- */

void owner_on_open(struct tunnel_owner *owner, struct stream *stream,
                   const struct stream_target *target);
void owner_on_accept(struct stream_owner *o, struct stream *stream);
size_t owner_on_data(struct stream_owner *o, struct stream *stream, const uint8_t *data,
                     size_t len);
void owner_on_finish(struct stream_owner *o, struct stream *stream);
void owner_on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code);
void owner_on_writable(struct stream_owner *o, struct stream *stream);
void owner_on_sent(struct stream_owner *o, struct stream *stream);

struct side *side_of(struct tunnel_owner *owner);

/* It has a stream, and has not let go of it. */
bool owner_is_live(const struct stream_owner *o);

void owners_plan(struct sim *sim);
void owners_check_end(const struct sim *sim);

/* One side, or both, know nothing of these streams any more: their owners expect nothing. */
void owners_give_up(struct sim *sim);

void step_open(struct sim *sim);
void step_owner(struct sim *sim, struct stream_owner *o);

/* -- network.c -- */

extern const struct tunnel_events network_events;

void network_make_weather(struct sim *sim);
void network_close(struct sim *sim);

void step_network(struct sim *sim);
void step_time(struct sim *sim);

/* -- witness.c -- */

/* A new run: nothing has been sealed yet. */
void witness_begin(void);

/* Key and nonce pairs seen. */
uint64_t witness_count(void);

#endif
