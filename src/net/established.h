/*
 * What a handshake leaves behind: a connection whose peer is proven and whose keys are agreed. Made
 * on the handshake thread, handed over once, whole, to the worker that will carry it.
 */
#ifndef UTUN_NET_ESTABLISHED_H
#define UTUN_NET_ESTABLISHED_H

#include <stddef.h>
#include <stdint.h>

#include "net/address.h"

struct session_keys;     /* crypto/key_schedule.h */
struct handshake_result; /* tunnel/handshake.h */

/* Everything here is owned by the struct. A field that is handed on is set to -1 or NULL. */
struct established {
    int fd;                    /* connected, non-blocking; TLS carries nothing more */
    struct address peer;       /* the other end of fd */
    struct session_keys *keys; /* for session_new */
    uint8_t *leftover;         /* bytes that came behind the handshake, from malloc; may be NULL */
    size_t leftover_len;
    struct handshake_result *info; /* who the peer is and what was negotiated; may be NULL */
};

/* Empty: no socket, nothing owned. */
void established_init(struct established *e);

/* Closes and frees what has not been handed on. Twice is harmless. */
void established_fini(struct established *e);

#endif
