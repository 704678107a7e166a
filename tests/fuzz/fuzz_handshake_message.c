/*
 * Any bytes as one message of PROTOCOL 3.2. What decodes must encode to the same bytes again, up to
 * what version 1 ignores at the end.
 */
#include <assert.h>
#include <string.h>

#include "target.h"
#include "tunnel/handshake_message.h"

static void check_start(const uint8_t *message, size_t len, const uint8_t *body, size_t body_len)
{
    struct handshake_header h = handshake_header_decode(message);

    assert(len >= HANDSHAKE_HEADER_SIZE && h.length == len - HANDSHAKE_HEADER_SIZE);
    assert(h.length <= body_len);
    assert(memcmp(message + HANDSHAKE_HEADER_SIZE, body, h.length) == 0);
}

static void check_offer(const uint8_t *body, size_t len)
{
    uint8_t room[HANDSHAKE_OFFER_SIZE];
    struct handshake_offer m;
    enum err e = handshake_offer_decode(&m, body, len);

    assert(e != ERR_VERSION || m.version != HANDSHAKE_VERSION);
    if (e == ERR_OK)
        check_start(room, handshake_offer_encode(room, &m), body, len);
}

static void check_answer(const uint8_t *body, size_t len)
{
    uint8_t room[HANDSHAKE_ANSWER_SIZE];
    struct handshake_answer m;
    enum err e = handshake_answer_decode(&m, body, len);

    assert(e != ERR_VERSION || m.version != HANDSHAKE_VERSION);
    if (e != ERR_OK)
        return;
    assert(m.ciphertext >= body && m.ciphertext_len <= (size_t)(body + len - m.ciphertext));
    if (m.ciphertext_len == 0 || m.ciphertext_len == MCELIECE_CIPHERTEXT_SIZE)
        check_start(room, handshake_answer_encode(room, &m), body, len);
}

static void check_abort(const uint8_t *body, size_t len)
{
    uint8_t room[HANDSHAKE_ABORT_SIZE];
    struct handshake_abort m;

    if (handshake_abort_decode(&m, body, len) != ERR_OK)
        return;
    assert(m.text_len <= HANDSHAKE_TEXT_MAX);
    check_start(room, handshake_abort_encode(room, &m), body, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[HANDSHAKE_HEADER_SIZE];
    struct handshake_header h;

    if (size < HANDSHAKE_HEADER_SIZE)
        return 0;
    h = handshake_header_decode(data);
    handshake_header_encode(again, h);
    assert(memcmp(again, data, sizeof(again)) == 0);
    /* The length is not looked at: the body is what there is, as after a whole message. */
    data += HANDSHAKE_HEADER_SIZE;
    size -= HANDSHAKE_HEADER_SIZE;
    if (h.type == HANDSHAKE_OFFER)
        check_offer(data, size);
    else if (h.type == HANDSHAKE_ANSWER)
        check_answer(data, size);
    else if (h.type == HANDSHAKE_ABORT)
        check_abort(data, size);
    return 0;
}
