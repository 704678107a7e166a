/*
 * The header of the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): who the
 * client of a connection really is, told in front of its first byte. Sans-I/O.
 */
#ifndef UTUN_NET_PROXY_PROTOCOL_H
#define UTUN_NET_PROXY_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tunnel/frame.h"

/* With the end of the line: what version 1 allows. */
#define PROXY_PROTOCOL_V1_MAX 107

/* A header of version 2 with its additions (TLVs); the largest that are in use are certificates. */
#define PROXY_PROTOCOL_V2_MAX ((size_t)4096)

/* The longest header that is made here. */
#define PROXY_PROTOCOL_ROOM PROXY_PROTOCOL_V1_MAX

enum proxy_protocol_version {
    PROXY_PROTOCOL_NONE = 0,
    PROXY_PROTOCOL_V1 = 1,
    PROXY_PROTOCOL_V2 = 2,
};

/*
 * A header for a TCP connection of the client, which it made to local. If either is not known the
 * header says so. Its length.
 */
size_t proxy_protocol_encode(enum proxy_protocol_version version,
                             const struct stream_address *client,
                             const struct stream_address *local,
                             uint8_t room[static PROXY_PROTOCOL_ROOM]);

enum proxy_header_state {
    PROXY_HEADER_START, /* nothing tells the version yet */
    PROXY_HEADER_LINE,  /* version 1 */
    PROXY_HEADER_BLOCK, /* version 2 */
    PROXY_HEADER_SKIP,  /* version 2, what stands behind the addresses */
    PROXY_HEADER_DONE,
    PROXY_HEADER_FAILED,
};

struct proxy_header {
    enum proxy_header_state state;
    /*
     * Once state is PROXY_HEADER_DONE. Both have no address (address_len 0) if the header gives
     * none: the connection is the balancer's own (LOCAL), or from where only it knows. Then the
     * real addresses of the connection count.
     */
    struct stream_address client;
    struct stream_address local;

    /* For proxy_protocol.c alone. */
    size_t have;
    size_t want;
    size_t skip;
    uint8_t bytes[PROXY_PROTOCOL_V1_MAX];
};

void proxy_header_init(struct proxy_header *h);

/*
 * Takes bytes up to the end of the header and none behind it; *used says how many. ERR_OK also
 * while more is needed: see state. ERR_MALFORMED or ERR_TOO_LARGE; the header is then
 * PROXY_HEADER_FAILED.
 */
enum err proxy_header_feed(struct proxy_header *h, const uint8_t *data, size_t len,
                           size_t *used) MUST_USE;

#endif
