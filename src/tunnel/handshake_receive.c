/*
 * A message is received header first: type and length are judged before a byte of its body is kept,
 * and the room for the body grows as it comes.
 */
#include "tunnel/handshake_state.h"

#include <stdlib.h>
#include <string.h>

/* Room for the start of a message; it doubles from there. */
#define ROOM_FIRST ((size_t)16384)

struct expected {
    const char *name;
    uint8_t type;
    size_t max; /* of the body */
};

static struct expected expected_in(enum handshake_state s)
{
    switch (s) {
    case HANDSHAKE_STATE_OFFER:
        return (struct expected){"OFFER", HANDSHAKE_OFFER, HANDSHAKE_OFFER_MAX};
    case HANDSHAKE_STATE_KEM_KEY:
        return (struct expected){"KEM_KEY", HANDSHAKE_KEM_KEY, MCELIECE_PUBLIC_KEY_SIZE};
    case HANDSHAKE_STATE_ANSWER:
        return (struct expected){"ANSWER", HANDSHAKE_ANSWER, HANDSHAKE_ANSWER_MAX};
    case HANDSHAKE_STATE_TLS:
    case HANDSHAKE_STATE_DONE:
    case HANDSHAKE_STATE_FAILED:
        break;
    }
    return (struct expected){"TLS", 0, 0};
}

const char *handshake_awaited(const struct handshake *h)
{
    return expected_in(h->state).name;
}

/* PROTOCOL 3.2 */
static enum err judge_header(struct handshake *h)
{
    struct handshake_header got = handshake_header_decode(h->in.header);
    struct expected want = expected_in(h->state);
    const char *peer = handshake_peer_word(h);
    bool is_known = got.type >= HANDSHAKE_OFFER && got.type <= HANDSHAKE_ABORT;
    if (got.type == HANDSHAKE_ABORT)
        want = (struct expected){"ABORT", HANDSHAKE_ABORT, HANDSHAKE_ABORT_MAX};
    if (got.type != want.type)
        return err_set(&h->detail, is_known ? ERR_UNEXPECTED : ERR_MALFORMED,
                       "the %s sent a message of type %u where %s belongs", peer, got.type,
                       want.name);
    if (got.length > want.max)
        return err_set(&h->detail, ERR_TOO_LARGE, "the %s's %s has %u bytes, %zu are allowed", peer,
                       want.name, got.length, want.max);
    if (got.type == HANDSHAKE_KEM_KEY && got.length != MCELIECE_PUBLIC_KEY_SIZE)
        return err_set(&h->detail, ERR_MALFORMED,
                       "the source's McEliece public key has %u bytes, %d are right", got.length,
                       MCELIECE_PUBLIC_KEY_SIZE);
    h->in.size = HANDSHAKE_HEADER_SIZE + got.length;
    h->messages_size += h->in.size;
    if (h->messages_size > h->max_size)
        return err_set(&h->detail, ERR_TOO_LARGE,
                       "the %s's messages have %zu bytes or more, max_handshake_size allows %zu; "
                       "raise it on this side",
                       peer, h->messages_size, h->max_size);
    return ERR_OK;
}

static enum err grow(struct handshake_incoming *in)
{
    size_t cap = in->cap == 0 ? ROOM_FIRST : 2 * in->cap;
    if (cap > in->size)
        cap = in->size;
    uint8_t *p = realloc(in->data, cap);
    if (p == NULL)
        return ERR_NOMEM;
    if (in->data == NULL)
        memcpy(p, in->header, HANDSHAKE_HEADER_SIZE);
    in->data = p;
    in->cap = cap;
    return ERR_OK;
}

enum handshake_receipt handshake_receive(struct handshake *h, enum err *e)
{
    struct handshake_incoming *in = &h->in;
    for (;;) {
        if (in->size == 0 && in->have == HANDSHAKE_HEADER_SIZE) {
            *e = judge_header(h);
            if (*e != ERR_OK)
                return HANDSHAKE_RECEIPT_BAD_MESSAGE;
        }
        if (in->size > 0 && (in->data == NULL || in->have == in->cap) && in->cap < in->size) {
            *e = grow(in);
            if (*e != ERR_OK)
                return HANDSHAKE_RECEIPT_BAD_MESSAGE;
        }
        if (in->size > 0 && in->have == in->size)
            return HANDSHAKE_RECEIPT_WHOLE;

        uint8_t *to = in->size > 0 ? in->data : in->header;
        size_t end = in->size > 0 ? in->cap : HANDSHAKE_HEADER_SIZE, n = 0;
        *e = tls_channel_read(h->tls, to + in->have, end - in->have, &n, &h->detail);
        if (*e != ERR_OK)
            return HANDSHAKE_RECEIPT_BROKEN_TLS;
        if (n == 0)
            return HANDSHAKE_RECEIPT_NEEDS_MORE;
        in->have += n;
    }
}

struct kdf_bytes handshake_body(const struct handshake *h)
{
    return (struct kdf_bytes){h->in.data + HANDSHAKE_HEADER_SIZE,
                              h->in.size - HANDSHAKE_HEADER_SIZE};
}

enum err handshake_check_end(struct handshake *h)
{
    if (!tls_channel_has_unread(h->tls))
        return ERR_OK;
    return err_set(&h->detail, ERR_UNEXPECTED, "the %s sent more inside TLS than belongs there",
                   handshake_peer_word(h));
}
