/*
 * The peer of an engine under test, or of a real daemon (tests/hostile): it has the session's keys,
 * seals whatever it is told to, and opens and checks all that the engine sends. Frames that peer_X
 * writes obey the protocol; bytes written to its writer directly need not, and make it a peer that
 * is not honest. A wrong frame of the engine's ends the process.
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

struct peer {
    /* Hears each frame of the engine's first; may be NULL. */
    void (*on_frame)(struct peer *p, const struct frame *f);
    bool is_careless; /* what the engine says of streams and flows is not checked */
    enum tunnel_role engine_role;
    struct session_keys *keys;
    struct record_sealer *sealer;
    struct record_opener *opener;
    uint64_t sealed; /* records under the sender's key */
    uint64_t opened;
    struct rotation rotation; /* of the keys, as an honest peer's would be */
    unsigned switches;        /* of our keys, since somebody set it to 0; too many are refused */
    bool is_honest;
    bool is_deaf; /* it has lied, and cannot follow the engine's keys any more */
    bool settings_sent;
    bool settings_received;
    uint64_t window; /* the peer's SETTINGS */
    uint64_t engine_window;
    unsigned pings;        /* that wait for their PONG */
    unsigned pings_unsent; /* those of them in the next record */
    uint64_t opened_ids;   /* streams that were opened, by either side */
    struct peer_stream streams[PEER_STREAMS];
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

void peer_init(struct peer *p, enum tunnel_role engine_role);
/* With the keys of a real handshake, which are taken. */
void peer_init_with(struct peer *p, enum tunnel_role engine_role, struct session_keys *keys);
void peer_fini(struct peer *p);

/* Each writes a frame, or nothing where the protocol, or the room left, does not allow it now. */
void peer_settings(struct peer *p, uint64_t window, uint64_t max_streams);
void peer_ping(struct peer *p, uint64_t token);
void peer_pong(struct peer *p, uint64_t token);
void peer_go_away(struct peer *p, uint16_t code);
void peer_key_switch(struct peer *p);
void peer_key_exchange(struct peer *p, size_t most);
void peer_open(struct peer *p, uint64_t limit, const char *name);
void peer_accept(struct peer *p, uint64_t id, uint64_t limit);
void peer_data(struct peer *p, uint64_t id, size_t len, enum frame_type type);
void peer_credit(struct peer *p, uint64_t id, uint64_t more);
void peer_reset(struct peer *p, uint64_t id, uint16_t code);

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
