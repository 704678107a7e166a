/*
 * The peer of an engine under test, or of a real daemon (tests/hostile): it has the session's keys,
 * seals whatever it is told to, and opens and checks all that the engine sends. Frames that peer_X
 * writes obey the protocol; those of peer_raw and peer_lie need not, and make it a peer that is not
 * honest. What it knows of streams is the tunnel's, and goes from one session to the next by
 * RESUME. A wrong frame of the engine's ends the process.
 */
#ifndef UTUN_TESTS_FUZZ_PEER_H
#define UTUN_TESTS_FUZZ_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/key_schedule.h"
#include "tunnel/rotation.h"
#include "tunnel/tunnel.h"

#define PEER_STREAMS 64 /* the first of a session; of later ones less is checked */

/* A stream as the peer knows it. */
struct peer_stream {
    bool is_open;
    bool is_accepted;
    uint64_t sent; /* bytes, by the peer */
    bool fin_sent;
    bool reset_sent;
    uint64_t send_limit; /* the engine's credit */
    uint64_t acked;      /* by the engine */
    uint64_t received;
    bool fin_received;
    bool reset_received;
    uint64_t receive_limit; /* the peer's credit */
};

/* What the peer knows of a tunnel, whatever session carries it. */
struct peer_tunnel {
    enum tunnel_role engine_role;
    bool is_honest;
    bool is_untracked;     /* it has lied about where streams are: what follows is not checked */
    bool engine_gave_up;   /* streams, once; also some of which the peer never heard */
    uint64_t last_number;  /* of the sessions that the peer has begun as a source */
    uint64_t ready_number; /* of the newest that was ready */
    uint64_t window;       /* the peer's SETTINGS, the same in all sessions */
    uint64_t engine_window;
    uint64_t opened_ids; /* streams that were opened, by either side */
    struct peer_stream streams[PEER_STREAMS];
};

struct peer {
    /* Hears each frame of the engine's first; may be NULL. */
    void (*on_frame)(struct peer *p, const struct frame *f);
    bool is_careless; /* what the engine says of streams and flows is not checked */
    struct peer_tunnel *tunnel;
    enum tunnel_role engine_role;
    uint64_t number; /* of the session; of a dest's 0 until the source has told it */
    struct session_keys *keys;
    struct record_sealer *sealer;
    struct record_opener *opener;
    uint64_t sealed; /* records under the sender's key */
    uint64_t opened;
    struct rotation rotation;                     /* of the keys, as an honest peer's would be */
    uint64_t switched_at[KEY_CHANGES_PER_SECOND]; /* when our keys were changed last */
    uint64_t switches;
    bool is_deaf; /* it has lied, and cannot follow the engine's keys any more */
    bool settings_sent;
    bool settings_received;
    bool is_resumed;
    bool resume_sent; /* to the last */
    bool resume_received;
    uint64_t resume_at;          /* the next stream to be told of */
    bool is_named[PEER_STREAMS]; /* by the engine's RESUME */
    unsigned pings;              /* that wait for their PONG */
    unsigned pings_unsent;       /* those of them in the next record */
    uint8_t plain[RECORD_PLAINTEXT_MAX];
    struct wire_writer w;      /* over plain: the next record */
    uint8_t inbox[256 * 1024]; /* what the engine has sent and is not a whole record yet */
    size_t inbox_len;
};

/* Fresh keys for one end of a session; every call gives the same ones. */
struct session_keys *peer_keys(void);

/*
 * What stands at an offset of a stream's data, as the engine's owners and the peer send it:
 * RECORD_PLAINTEXT_MAX bytes from there on. Static.
 */
const uint8_t *peer_bytes_of_engine(uint64_t id, uint64_t offset);
const uint8_t *peer_bytes_of_peer(uint64_t id, uint64_t offset);

void peer_tunnel_init(struct peer_tunnel *t, enum tunnel_role engine_role);

/* One more session of the tunnel, which outlives it; the first is fresh, the others are resumed. */
void peer_init(struct peer *p, struct peer_tunnel *tunnel, enum session_start start);

/* With the keys of a real handshake, which are taken. */
void peer_init_with(struct peer *p, struct peer_tunnel *tunnel, enum session_start start,
                    struct session_keys *keys);
void peer_fini(struct peer *p);

/* The stream where it is open, and among those that are tracked; or NULL. */
struct peer_stream *peer_find(struct peer *p, uint64_t id);

/* Each writes a frame, or nothing where the protocol, or the room left, does not allow it now. */
void peer_settings(struct peer *p, uint64_t window, uint64_t max_streams);
void peer_ping(struct peer *p, uint64_t token);
void peer_pong(struct peer *p, uint64_t token);
void peer_go_away(struct peer *p, uint16_t code);
void peer_key_switch(struct peer *p, uint64_t now);
void peer_key_exchange(struct peer *p, size_t most);
void peer_open(struct peer *p, uint64_t limit, const char *name);
void peer_accept(struct peer *p, uint64_t id, uint64_t limit);
void peer_data(struct peer *p, uint64_t id, size_t len, enum frame_type type);
void peer_credit(struct peer *p, uint64_t id, uint64_t more);
void peer_reset(struct peer *p, uint64_t id, uint16_t code);

/*
 * Some RESUME with at most so many entries, once the protocol lets the peer say it. Streams of
 * which gives_up has the bit number % 8 are given up: they are not named.
 */
void peer_resume(struct peer *p, unsigned most, uint8_t gives_up);

/* RESUME that may say anything: entries that are near the truth, or not, as in says. */
void peer_lie(struct peer *p, struct wire_reader *says, unsigned entries);

/* The engine's RESUME, and the frames of streams that count (peer_resume.c); the rest in peer.c. */
void peer_on_resume(struct peer *p, const struct frame *f);
bool peer_carries_streams(const struct peer *p);

/* Any bytes at all, as far as there is room. */
void peer_raw(struct peer *p, const uint8_t *data, size_t len);

/*
 * Seals what was written, to room of RECORD_SIZE_MAX; the record's length, 0 when nothing was. The
 * peer switches its key with it where its frames say so.
 */
size_t peer_seal(struct peer *p, uint8_t *room);

/* Bytes from the engine. */
void peer_take(struct peer *p, const uint8_t *data, size_t len);

/* All that the engine had to say has been taken. */
void peer_took_all(struct peer *p);

#endif
