/*
 * A peer that means harm: it has a certificate that is right, makes a real handshake with a real
 * daemon, and then sends whatever an attack tells it to, well sealed. What an attack finds wrong
 * with the daemon ends the process, with a sentence.
 */
#ifndef UTUN_TESTS_HOSTILE_H
#define UTUN_TESTS_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../fuzz/peer.h"
#include "crypto/tls_context.h"
#include "tunnel/handshake.h"

/* How long anything is waited for: it ends by a condition, and this is only the end of patience. */
extern uint64_t patience_ms;

/* Whom the process attacks, as who, and with what at hand. */
struct world {
    enum tunnel_role engine_role; /* the daemon's */
    uint16_t port;                /* where a dest listens; 0 for a source */
    int listener;                 /* where a source comes to; -1 for a dest */
    struct tls_context *tls;
    struct tls_context *other; /* of another identity; NULL: there is none */
    enum kem_mode kem_mode;    /* the daemon's */
    uint64_t seed;
    uint64_t count;
    /* Services of the dest. */
    uint16_t echo;
    uint16_t sink;   /* its target never reads */
    uint16_t spring; /* its target sends without end */
    uint16_t datagrams;
    uint16_t away; /* its target is down */
};

/* Streams of a session, the first ones, of which it is known how far they are. */
#define FOLLOWED 64

/* One session. */
struct hostile {
    struct peer peer; /* what is to be said is written to peer.w */
    struct peer_tunnel known;
    const struct world *world;
    int fd;
    bool is_over;      /* the daemon has closed the connection */
    bool is_resumed;   /* it goes on with the tunnel */
    bool is_unpolite;  /* answers no PING */
    bool is_not_heard; /* reads nothing while it has something to say */
    uint64_t far_ms;   /* answers each PING so much later */
    uint64_t answer_at;
    uint8_t tunnel_id[TUNNEL_ID_SIZE];
    uint8_t secret[TUNNEL_SECRET_SIZE];
    uint64_t next_id;         /* of the stream, and flow, that it opens next */
    uint64_t unanswered[256]; /* PINGs */
    size_t n_unanswered;
    /* What it has heard. */
    uint64_t frames[256]; /* by type */
    uint64_t data_bytes;
    uint64_t datagram_bytes;
    uint64_t fins;
    uint64_t resets_of[32]; /* by code */
    uint64_t closes_of[32]; /* FLOW_CLOSE by code */
    uint64_t last_opened;   /* stream, by a source */
    uint64_t last_pong;
    uint64_t resume_next;
    uint64_t awaited; /* stream: whether it was reset */
    bool is_refused;
    uint64_t resume_entries;
    uint64_t limits[FOLLOWED];   /* by stream: how far it may send */
    uint64_t received[FOLLOWED]; /* by stream: bytes */
};

/* Says what is wrong, and ends the process. */
void fail(const char *text, ...) __attribute__((format(printf, 1, 2), noreturn));
#define demand(condition, ...)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail(__VA_ARGS__);                                                                     \
    } while (0)

uint64_t now_ms(void);

/* -- connections -- */

/* A connection to a dest, or the next one of a source; not blocking. */
int connection_open(const struct world *world);

/* The tunnel to go on with: that of h, or NULL for a new one. */
struct hostile *hostile_begin(const struct world *world, const struct tls_context *tls,
                              const struct hostile *of);

/* The handshake alone, which may come to nothing: its error. *out is NULL then. */
enum err hostile_try(struct hostile **out, const struct world *world, const struct tls_context *tls,
                     const struct hostile *of);

/* Closes the connection without a word. */
void hostile_end(struct hostile *h);

/* Like hostile_begin, with SETTINGS said and heard. */
struct hostile *hostile_ready(const struct world *world);

/* -- what it says -- */

void put(struct hostile *h, const struct frame *f);
void put_raw(struct hostile *h, const void *bytes, size_t len);
void put_ping(struct hostile *h, uint64_t token);
void put_settings(struct hostile *h, uint64_t window, uint64_t max_streams, uint64_t session);
void put_open(struct hostile *h, uint64_t id, uint16_t port, uint64_t limit);
void put_data(struct hostile *h, enum frame_type type, uint64_t id, uint64_t offset, size_t len);
void put_accept(struct hostile *h, uint64_t id, uint64_t limit);
void put_credit(struct hostile *h, uint64_t id, uint64_t acked, uint64_t limit);
void put_reset(struct hostile *h, uint64_t id, uint64_t final_size);
void put_flow_open(struct hostile *h, uint64_t id, uint16_t port);
void put_datagram(struct hostile *h, uint64_t id, size_t len);
void put_flow_close(struct hostile *h, uint64_t id);
void put_exchange(struct hostile *h, uint64_t generation, uint64_t offset, size_t len);
void put_switch(struct hostile *h, uint64_t generation);
void put_resume(struct hostile *h, uint64_t next, bool is_last, const struct resume_entry *entries,
                size_t n);
void put_go_away(struct hostile *h, uint16_t code, uint32_t retry_after_ms);

/* Seals what was put, and sends it; waits for room, and hears meanwhile unless told not to. */
void say(struct hostile *h);

/* When so many bytes are put. */
void say_from(struct hostile *h, size_t bytes);

/* Sends bytes as they are, sealed or not. */
void send_bytes(struct hostile *h, const uint8_t *data, size_t len);

/* -- what it hears -- */

void hear(struct hostile *h, uint64_t ms);

/* Until the count, one of h's, is there; fails when the session ends before. */
void hear_until(struct hostile *h, const uint64_t *count, uint64_t least);

/* Until the daemon has ended the session, which it must. */
void must_end(struct hostile *h);

/* The session lives, and everything that was said has been worked through. */
void must_live(struct hostile *h);

/*
 * The same, and a new stream works, at the latest when sessions that were lost have given their
 * places back. Only for what attacks a dest.
 */
void must_serve(struct hostile *h);

/* -- attacks -- */

struct attack {
    const char *name;
    void (*run)(const struct world *world);
};

extern const struct attack attacks_on_session[]; /* on both roles; each ends with a name of NULL */
extern const struct attack attacks_on_stream[];  /* on a dest */
extern const struct attack attacks_on_tunnel[];  /* on a dest */
extern const struct attack attacks_on_credit[];  /* on a dest */
extern const struct attack attacks_on_source[];
extern const struct attack attacks_by_chance[]; /* on both roles */

/* With keys of half a megabyte, which have to be the kem_mode's. */
extern const struct attack attacks_by_key[];    /* on a dest, in the handshake */
extern const struct attack attacks_by_answer[]; /* on a source, in the handshake */
extern const struct attack attacks_by_offer[];  /* on a dest, in a session */
extern const struct attack attacks_by_answer_in_session[];

#endif
