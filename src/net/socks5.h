/*
 * The server's side of SOCKS5 (RFC 1928) up to the request, with username and password (RFC 1929)
 * where a login is asked for; and the header of its UDP datagrams. Sans-I/O.
 *
 *   greeting ──> [login] ──> request ──> done
 *       └───────────┴───────────┴──────> failed
 */
#ifndef UTUN_NET_SOCKS5_H
#define UTUN_NET_SOCKS5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/address.h"
#include "net/destination.h"
#include "net/login.h"

#define SOCKS5_VERSION 5 /* the first byte that a client sends */

enum socks5_command {
    SOCKS5_CONNECT = 1,
    SOCKS5_UDP_ASSOCIATE = 3,
};

/* The longest message: a login with a name and a password of 255 bytes each. */
#define SOCKS5_MESSAGE_MAX (3 + 255 + 255)

/* With an IPv6 address. */
#define SOCKS5_REPLY_MAX 22

/* All that is sent before the reply: the method and the login's status, then perhaps a refusal. */
#define SOCKS5_ANSWERS_MAX (2 + 2 + SOCKS5_REPLY_MAX)

enum socks5_state {
    SOCKS5_GREETING,
    SOCKS5_LOGIN,
    SOCKS5_REQUEST,
    SOCKS5_DONE,
    SOCKS5_FAILED,
};

struct socks5 {
    /* The result, once state is SOCKS5_DONE. */
    enum socks5_command command;
    struct destination destination;
    const char *fault; /* for people, once state is SOCKS5_FAILED; static */
    enum socks5_state state;

    /* For socks5.c alone. */
    const struct login *login;
    uint16_t have; /* bytes of the message */
    uint16_t want; /* bytes of it that must be there before the next look */
    uint8_t message[SOCKS5_MESSAGE_MAX];
    uint8_t answers_len;
    uint8_t answers[SOCKS5_ANSWERS_MAX];
};

/* login may be NULL: then nobody has to log in, and nobody can. */
void socks5_init(struct socks5 *s, const struct login *login);

/* Wipes the password. */
void socks5_fini(struct socks5 *s);

/*
 * Takes bytes up to the end of the request and none behind it; *used says how many. ERR_OK also
 * while more is needed: see state. ERR_MALFORMED, or ERR_NOT_ALLOWED for a method or a login that
 * is not good enough; then fault says why, and what is to be sent tells the client.
 */
enum err socks5_feed(struct socks5 *s, const uint8_t *data, size_t len, size_t *used) MUST_USE;

/* Moves what is to be sent now to room; returns its length. */
size_t socks5_drain(struct socks5 *s, uint8_t room[static SOCKS5_ANSWERS_MAX]);

/*
 * The reply to the request: ERR_OK is success, everything else says the reason as well as the
 * protocol can. bound is the address that serves the client, or NULL (CONNECT: what the dest has
 * bound means nothing here).
 */
size_t socks5_encode_reply(enum err why, const struct address *bound,
                           uint8_t room[static SOCKS5_REPLY_MAX]);

/* -- UDP (RFC 1928, section 7) -- */

/* RSV, FRAG, ATYP, a name and its length, port. */
#define SOCKS5_UDP_HEADER_MAX (4 + 1 + 255 + 2)

/*
 * Decodes a datagram's header; *header is its length, behind which the data begins.
 * ERR_MALFORMED; ERR_UNEXPECTED for a fragment, which this server does not put together.
 */
enum err socks5_udp_decode(const uint8_t *data, size_t len, struct destination *to,
                           size_t *header) MUST_USE;

/* The header of a datagram that came from there. from must have an address or a name, as decoded.
 */
size_t socks5_udp_encode(const struct destination *from,
                         uint8_t room[static SOCKS5_UDP_HEADER_MAX]);

#endif
