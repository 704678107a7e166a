/*
 * A connection on which TLS is done, certificates and all, and on which the rest of the handshake
 * is still to be said: by an attack, as it likes.
 */
#ifndef UTUN_TESTS_INSIDE_H
#define UTUN_TESTS_INSIDE_H

#include "crypto/tls_channel.h"
#include "hostile.h"

struct inside {
    struct tls_channel *channel;
    int fd;
    bool is_over; /* the daemon has closed the connection */
};

struct inside inside_open(const struct world *world);
void inside_close(struct inside *in);

/* Says it inside TLS. Ends early, without failing, where the daemon closes the connection. */
void inside_say(struct inside *in, const void *bytes, size_t len);

/* The same in two steps: many small records of TLS go out together. */
void inside_put(struct inside *in, const void *bytes, size_t len);
void inside_push(struct inside *in);

/* Bytes as they are, behind or beside TLS. */
void inside_send_raw(struct inside *in, const void *bytes, size_t len);

/* Reads what the daemon says inside TLS: exactly so many bytes, which must come. */
void inside_hear(struct inside *in, uint8_t *bytes, size_t len);

/* Lets the time pass, or less if the daemon closes the connection; what it says is dropped. */
void inside_wait(struct inside *in, uint64_t ms);

/* The daemon closes the connection, within the time. */
void inside_must_end(struct inside *in, uint64_t ms);

/* Says it, and the daemon closes the connection and takes nothing for a session. */
void inside_must_refuse(const struct world *world, const uint8_t *message, size_t len);

/* OFFER with these fields, and so many bytes of attributes, all zeros; returns its size. */
size_t inside_make_offer(uint8_t *out, unsigned version, unsigned mode, unsigned flags,
                         size_t attributes);

#endif
