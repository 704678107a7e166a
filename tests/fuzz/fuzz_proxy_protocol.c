/*
 * A header of the PROXY protocol. The first byte says into which pieces the rest is cut; cut or
 * whole, it must come to the same. What decodes must encode to something that decodes to the same.
 */
#include <assert.h>
#include <string.h>

#include "net/proxy_protocol.h"
#include "target.h"

static enum err feed(struct proxy_header *h, const uint8_t *data, size_t size, size_t piece,
                     size_t *total)
{
    enum err e = ERR_OK;

    proxy_header_init(h);
    *total = 0;
    while (e == ERR_OK && *total < size && h->state != PROXY_HEADER_DONE) {
        size_t n = size - *total < piece ? size - *total : piece;
        size_t used;

        e = proxy_header_feed(h, data + *total, n, &used);
        assert(used <= n);
        assert(used == n || e != ERR_OK || h->state == PROXY_HEADER_DONE);
        *total += used;
    }
    assert((e != ERR_OK) == (h->state == PROXY_HEADER_FAILED));
    assert(*total <= PROXY_PROTOCOL_V2_MAX);
    return e;
}

static bool is_same(const struct stream_address *a, const struct stream_address *b)
{
    return a->address_len == b->address_len && a->port == b->port &&
           memcmp(a->address, b->address, a->address_len) == 0;
}

static void check_round_trip(const struct proxy_header *h, enum proxy_protocol_version version)
{
    uint8_t room[PROXY_PROTOCOL_ROOM];
    size_t len = proxy_protocol_encode(version, &h->client, &h->local, room);
    struct proxy_header again;
    size_t used;
    enum err e;

    assert(len <= sizeof(room));
    e = feed(&again, room, len, len, &used);
    assert(e == ERR_OK);
    assert(again.state == PROXY_HEADER_DONE && used == len);
    if (h->client.address_len > 0)
        assert(is_same(&again.client, &h->client) && is_same(&again.local, &h->local));
    else
        assert(again.client.address_len == 0 && again.local.address_len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole;
    struct proxy_header cut;
    size_t whole_used;
    size_t cut_used;

    if (size == 0)
        return 0;
    size_t piece = 1U + data[0];
    data++;
    size--;
    enum err e = feed(&whole, data, size, size > 0 ? size : 1, &whole_used);
    enum err e_cut = feed(&cut, data, size, piece, &cut_used);
    assert(e_cut == e);
    assert(whole_used == cut_used && whole.state == cut.state);
    if (whole.state == PROXY_HEADER_DONE) {
        assert((whole.client.address_len > 0) == (whole.local.address_len > 0));
        check_round_trip(&whole, PROXY_PROTOCOL_V1);
        check_round_trip(&whole, PROXY_PROTOCOL_V2);
    }
    return 0;
}
