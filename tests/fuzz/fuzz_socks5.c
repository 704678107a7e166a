/*
 * A client of SOCKS5 (client.h): cut or whole, what it says must come to the same. It is taken for
 * a datagram, too.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "net/socks5.h"
#include "target.h"

struct result {
    struct socks5 socks;
    enum err error;
    size_t used;
    uint8_t said[64];
    size_t said_len;
};

static void talk(struct result *r, const struct client *c, size_t piece)
{
    uint8_t room[SOCKS5_ANSWERS_MAX];

    memset(r, 0, sizeof(*r));
    socks5_init(&r->socks, c->login);
    while (r->error == ERR_OK && r->used < c->size && r->socks.state != SOCKS5_DONE) {
        size_t n = c->size - r->used < piece ? c->size - r->used : piece;
        size_t used;

        r->error = socks5_feed(&r->socks, c->data + r->used, n, &used);
        assert(used <= n);
        assert(used == n || r->error != ERR_OK || r->socks.state == SOCKS5_DONE);
        r->used += used;
        size_t len = socks5_drain(&r->socks, room);
        assert(r->said_len + len <= sizeof(r->said));
        memcpy(r->said + r->said_len, room, len);
        r->said_len += len;
    }
    assert((r->error != ERR_OK) == (r->socks.state == SOCKS5_FAILED));
    socks5_fini(&r->socks);
}

static void check_host(const struct destination *d)
{
    struct destination again;

    assert(d->host[0] != '\0');
    assert(destination_set_host(&again, (const uint8_t *)d->host, strlen(d->host)) == ERR_OK);
    assert(strcmp(again.host, d->host) == 0);
}

static void check_datagram(const uint8_t *data, size_t size)
{
    uint8_t room[SOCKS5_UDP_HEADER_MAX];
    struct destination d;
    struct destination again;
    size_t header;
    size_t len;

    if (socks5_udp_decode(data, size, &d, &header) != ERR_OK)
        return;
    assert(header <= size);
    check_host(&d);
    len = socks5_udp_encode(&d, room);
    assert(len <= sizeof(room));
    assert(socks5_udp_decode(room, len, &again, &header) == ERR_OK);
    assert(header == len && strcmp(again.host, d.host) == 0 && again.port == d.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct result whole;
    static struct result cut;
    struct client c;

    if (!client_init(&c, data, size))
        return 0;
    talk(&whole, &c, SIZE_MAX);
    talk(&cut, &c, c.piece);
    assert(whole.socks.state == cut.socks.state);
    assert(whole.error == cut.error && whole.used == cut.used);
    assert(whole.said_len == cut.said_len && memcmp(whole.said, cut.said, whole.said_len) == 0);
    if (whole.socks.state == SOCKS5_DONE)
        check_host(&whole.socks.destination);
    check_datagram(c.data, c.size);
    return 0;
}
