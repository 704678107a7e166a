/*
 * Frames: the units inside a record. Encoding and decoding of one frame stand side by side, and
 * nothing here keeps state. Source: docs/PROTOCOL.md, section 6.
 */
#ifndef UTUN_TUNNEL_FRAME_H
#define UTUN_TUNNEL_FRAME_H

#include <stdint.h>

#include "base/error.h"
#include "base/wire.h"
#include "tunnel/limits.h"

/* The IP protocol number. */
enum stream_protocol {
    STREAM_TCP = 6,
    STREAM_UDP = 17,
};

/* An IP address and a port, as they are on the wire; or a process of the source's machine. */
struct stream_address {
    uint8_t address_len; /* 4, 16, or 0 when it is not known */
    uint8_t address[16];
    uint16_t port;
    bool is_process; /* it came through a Unix socket: there is no address, but the next two */
    uint32_t uid;
    uint32_t pid;
};

enum stream_target_kind {
    STREAM_TARGET_SERVICE = 0, /* a service of the dest, by its port and perhaps its name */
    STREAM_TARGET_HOST = 1,    /* a host that the client has named, and a port */
};

/* Where a stream, or a flow, is to be connected. */
struct stream_target {
    enum stream_target_kind kind;
    uint16_t port;
    char name[STREAM_TARGET_NAME_MAX + 1]; /* of a service, "": the port alone names it */
    struct stream_address client;          /* as the source saw it */
    struct stream_address local;           /* what the client has connected to */
    /*
     * Ranges that a host's address must be in (PROTOCOL 6.4), or NULL. Decoded: well-formed, into
     * the record.
     */
    const uint8_t *ranges;
    uint8_t ranges_len;
};

struct frame {
    uint8_t type; /* enum frame_type, or an unknown type that may be ignored */
    union {
        struct {
            uint64_t token;
        } ping; /* PING and PONG */
        struct {
            uint64_t initial_window;
            uint64_t max_streams;
            uint64_t session;         /* its number in the tunnel; 0 from a dest */
            uint64_t key_lifetime_ms; /* 0: the sender's keys do not age */
        } settings;
        struct {
            uint64_t generation; /* the direction's own: a ratchet; one more: the next one's keys */
        } key_switch;
        struct {
            uint64_t generation;
            uint64_t offset;
            const uint8_t *data; /* into the record */
            size_t len;
        } exchange; /* KEY_EXCHANGE */
        struct {
            uint16_t code;
            uint32_t retry_after_ms;
            const uint8_t *text; /* into the record; not terminated */
            size_t text_len;
        } go_away;
        struct {
            uint64_t next_id; /* source: of the stream it opens next; dest: that it awaits next */
            bool is_last;
            struct wire_reader entries; /* for resume_entry_decode */
        } resume;
        struct {
            uint64_t id;
            uint64_t limit; /* the sender takes data below this offset */
            struct stream_target target;
        } open;
        struct {
            uint64_t id;
            uint64_t limit;
        } accept;
        struct {
            uint64_t id;
            uint64_t offset;
            const uint8_t *data; /* into the record */
            size_t len;
        } data; /* DATA and DATA_FIN */
        struct {
            uint64_t id;
            uint64_t
                acked; /* all bytes below have arrived; one more than the final size: FIN too */
            uint64_t limit;
        } credit;
        struct {
            uint64_t id;
            uint16_t code;
            uint64_t final_size;
        } reset;
        struct {
            uint64_t id;
            struct stream_target target;
        } flow_open;
        struct {
            uint64_t id;
            const uint8_t *data; /* into the record */
            size_t len;
        } datagram;
        struct {
            uint64_t id;
            uint16_t code;
        } flow_close;
    };
};

/*
 * Decodes the frame at r, which must hold a byte or more, and moves r behind it. An ignorable frame
 * of unknown type is ERR_OK with its type. Pointers in *f live as long as r's data.
 * ERR_UNKNOWN_FRAME for an unknown type that is not ignorable, ERR_MALFORMED for everything else.
 */
enum err frame_decode(struct wire_reader *r, struct frame *f) MUST_USE;

/* A target that lives by itself, with its ranges, in one block for free(). NULL: no memory. */
struct stream_target *stream_target_copy(const struct stream_target *target);

/* What a RESUME frame says of one stream. */
struct resume_entry {
    uint64_t id;
    uint64_t received; /* as acked in CREDIT */
    uint64_t limit;
    bool is_accepted;
    bool has_reset; /* the peer's RESET has arrived */
};

#define RESUME_ENTRY_SIZE_MAX (3 * WIRE_VARINT_SIZE + 1)
#define RESUME_HEADER_SIZE    (1 + 4 + WIRE_VARINT_SIZE + 1)

enum err resume_entry_decode(struct wire_reader *r, struct resume_entry *e) MUST_USE;
void resume_entry_encode(struct wire_writer *w, const struct resume_entry *e);

/* What goes in front of len bytes of entries: at most RESUME_HEADER_SIZE. */
bool frame_encode_resume_header(struct wire_writer *w, uint64_t next_id, bool is_last,
                                size_t len) MUST_USE;

/*
 * Encodes f at w, whole or not at all: false when there is not enough room. Not for data frames and
 * datagrams, whose payload stays where it is: frame_encode_data_header and
 * frame_encode_datagram_header write what goes in front of len bytes. KEY_EXCHANGE is like data;
 * its id is the generation.
 */
bool frame_encode(struct wire_writer *w, const struct frame *f) MUST_USE;
bool frame_encode_data_header(struct wire_writer *w, enum frame_type type, uint64_t id,
                              uint64_t offset, size_t len) MUST_USE;
bool frame_encode_datagram_header(struct wire_writer *w, uint64_t id, size_t len) MUST_USE;

#endif
