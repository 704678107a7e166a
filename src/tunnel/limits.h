/*
 * The wire format's numbers and every bound on what a peer can make grow, each with its reason.
 * No functions. Source: docs/PROTOCOL.md, sections 6 to 11.
 */
#ifndef UTUN_TUNNEL_LIMITS_H
#define UTUN_TUNNEL_LIMITS_H

#include <stdint.h>

/* -- frame types (PROTOCOL 6) -- */

enum frame_type {
    FRAME_PING = 0x01,
    FRAME_PONG = 0x02,
    FRAME_SETTINGS = 0x03,
    FRAME_GO_AWAY = 0x04,
    FRAME_KEY_SWITCH = 0x05,
    FRAME_RESUME = 0x06,
    FRAME_KEY_EXCHANGE = 0x07,
    FRAME_STREAM_OPEN = 0x10,
    FRAME_STREAM_ACCEPT = 0x11,
    FRAME_STREAM_DATA = 0x12,
    FRAME_STREAM_DATA_FIN = 0x13,
    FRAME_STREAM_CREDIT = 0x14,
    FRAME_STREAM_RESET = 0x15,
    FRAME_FLOW_OPEN = 0x20,
    FRAME_FLOW_DATAGRAM = 0x21,
    FRAME_FLOW_CLOSE = 0x22,
};

/* Types from here on may be ignored by a peer that does not know them; all others end the session.
 */
#define FRAME_IGNORABLE_FROM 0x80

/* -- settings (PROTOCOL 6.3) -- */

enum setting_id {
    SETTING_INITIAL_WINDOW = 1,
    SETTING_MAX_STREAMS = 2,
    SETTING_SESSION = 3,
    SETTING_KEY_LIFETIME = 4,
};

#define SETTINGS_ENTRIES_MAX 64 /* a peer may send more than we know, not endlessly many */

/* -- codes of RESET, GO_AWAY and ABORT (PROTOCOL 10) -- */

enum wire_code {
    WIRE_NO_ERROR = 0,
    WIRE_INTERNAL = 1,
    WIRE_PROTOCOL = 2,
    WIRE_RESET = 3,       /* the local connection was reset */
    WIRE_REFUSED = 4,     /* the target refused */
    WIRE_UNREACHABLE = 5, /* no route to the target */
    WIRE_TIMEOUT = 6,     /* the target, or an idle half-closed stream, timed out */
    WIRE_RESOLVE = 7,     /* the target's name does not resolve */
    WIRE_NO_SERVICE = 8,
    WIRE_NOT_ALLOWED = 9,
    WIRE_LIMIT = 10,
    WIRE_SHUTDOWN = 11,
    WIRE_SESSION_LOST = 12,
    WIRE_KEM_MODE = 13,
    WIRE_VERSION = 14,
    WIRE_IDENTITY = 15,
};

/* -- handshake (PROTOCOL 3) -- */

enum handshake_message_type {
    HANDSHAKE_OFFER = 1,
    HANDSHAKE_KEM_KEY = 2,
    HANDSHAKE_ANSWER = 3,
    HANDSHAKE_ABORT = 4,
};

/* TLS bytes of a stranger: a flight with ML-DSA-87 chains fits. */
#define HANDSHAKE_TLS_MAX ((size_t)64 * 1024)

/* Bodies: far above what version 1 puts into them, room for attributes to come. */
#define HANDSHAKE_OFFER_MAX  4096
#define HANDSHAKE_ANSWER_MAX 4096
#define HANDSHAKE_ABORT_MAX  512

/* Text in ABORT: one line in a log. */
#define HANDSHAKE_TEXT_MAX 256

/* All messages together where the operator has set no max_handshake_size. */
#define HANDSHAKE_SIZE_MLKEM    ((size_t)64 * 1024)
#define HANDSHAKE_SIZE_MCELIECE ((size_t)2 * 1024 * 1024)

/* For each message: a path of 140 kbit/s carries the half megabyte of KEM_KEY in it. */
#define HANDSHAKE_MESSAGE_MS ((uint64_t)30 * 1000)

/* The same at a dest until the source is authenticated: 16 KB of TLS, and nothing that takes long.
 */
#define HANDSHAKE_STRANGER_MS ((uint64_t)10 * 1000)

/* -- bounds -- */

/*
 * What a peer's "retry after" counts for at most: long enough for a dest that is short of
 * something, short enough that one that means harm, or was wrong, does not keep its sources away
 * for a day.
 */
#define RETRY_AFTER_MAX_MS ((uint32_t)5 * 60 * 1000)

/*
 * Sessions of one tunnel at once, at a dest: one that carries it, one that takes over, and some
 * that are dead without either side having noticed.
 */
#define TUNNEL_SESSIONS_MAX 8

/*
 * Data of streams fills a record up to here, sealed length: what one segment of a loopback
 * interface carries (an MTU of 65,536 less the headers of IPv6 and TCP, rounded down). A longer
 * record has its last bytes in a segment of their own, and the receiver wakes up once for nothing.
 */
#define RECORD_FILL_MAX ((size_t)65400)

/* The longest stream data frame header: type, length, stream, offset. */
#define FRAME_DATA_OVERHEAD (1 + 4 + 8 + 8)

/* The largest payload of a UDP datagram over IPv4: 65,535 less the headers of IP and UDP. */
#define FLOW_DATAGRAM_MAX 65507

/* The longest header of a datagram frame: type, length, flow. Together they fill one record. */
#define FRAME_DATAGRAM_OVERHEAD (1 + 4 + 8)

/* A service name is a label for people and configuration files. */
#define STREAM_TARGET_NAME_MAX 255

/* Text in GO_AWAY: one line in a log. */
#define GO_AWAY_TEXT_MAX 256

/*
 * Credit that SETTINGS gives every new stream before anything is known of it. A request fits, and
 * 10,000 streams that all fill it (320 MB) stay inside the default budget.
 */
#define STREAM_WINDOW_INITIAL ((uint64_t)32 * 1024)

/* Credit once a stream is accepted, while half of the tunnel's own is left: enough for a LAN. */
#define STREAM_WINDOW_START ((uint64_t)256 * 1024)

/* A window is never set below this, so that a full record can always be sent. */
#define STREAM_WINDOW_MIN ((uint64_t)16 * 1024)

/*
 * Bytes of data after which the next stream has its turn: those of one record, less some room for
 * other frames, so that a full record is a full turn.
 */
#define SCHEDULE_QUANTUM (63 * 1024)

/*
 * Acknowledgements that nothing else asks for wait this long for a record to ride on. Short enough
 * that a sender's held bytes are freed at once by human measure, long enough to catch most replies.
 */
#define ACK_DELAY_US ((uint64_t)20 * 1000)

/*
 * Datagrams of one flow that wait for a record, and the bytes of the blocks that hold them: what a
 * flow of 50 Mbit/s sends in 80 ms. More would only make what arrives older.
 */
#define FLOW_QUEUE_DATAGRAMS 256
#define FLOW_QUEUE_BYTES     ((size_t)1024 * 1024)

/* All flows of a peer may have this part of the pool; one that holds nothing yet finds twice. */
#define FLOW_POOL_PART 16

/*
 * Datagrams of one flow that a dest keeps while it has nowhere to deliver them, the target's name
 * not being resolved yet: a first query and its repetitions. Those of all flows of a peer take half
 * of what its flows may have, so that what others of them send back finds room.
 */
#define FLOW_KEPT_DATAGRAMS 16
#define FLOW_KEPT_PART      (2 * FLOW_POOL_PART)

/*
 * Bytes that datagrams may be ahead of streams that have something to send: half a record, so that
 * each has about half of the path when both want all of it.
 */
#define FLOWS_AHEAD_MAX ((size_t)32 * 1024)

/*
 * FLOW_CLOSE frames that wait for a record: as many as a sweep of idle flows makes at once. What is
 * forgotten beyond is told again when the peer uses the flow.
 */
#define FLOW_CLOSES_MAX 16384

/* Sealed bytes made in one go, then offered to the socket: as much as one write moves. */
#define SESSION_BATCH_RECORDS 4

/*
 * Of a key exchange, in one record: small enough not to delay data by human measure on a slow path,
 * large enough that the half megabyte of McEliece's public key is gone with 8 MiB of other data.
 */
#define KEY_EXCHANGE_CHUNK 4096

/*
 * Offers of key exchanges that are not whole yet may have, beside a worker's memory, this part of
 * it: with the default of 512 MiB a hundred of half a megabyte at once. A peer that has one gets
 * more only in the first half. What finds no room is not kept, and not answered: the source makes a
 * session beside this one when its keys are old enough (PROTOCOL 9.3).
 */
#define KEY_EXCHANGES_PART 8

/*
 * Changes of one direction's keys in a second. An honest peer ratchets after 2^22 records or 2^37
 * bytes, and exchanges keys once in a lifetime, which is a second or more; each change costs some
 * ten microseconds, an exchange some hundreds.
 */
#define KEY_CHANGES_PER_SECOND 16

/* Answers to PING that wait for a record; a peer that pings faster than it reads is cut off. */
#define SESSION_PONGS_MAX 16

#endif
