/*
 * A client of SOCKS5. The first byte says whether it has to log in, and into which pieces the rest
 * is cut; cut or whole, it must come to the same. The rest is taken for a datagram, too.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/socks5.h"
#include "target.h"

/* So that a guess can be right. */
static bool is_right(const struct login *login, const uint8_t *name, size_t name_len,
                     const uint8_t *password, size_t password_len)
{
    (void)login;
    return name_len > 0 && password_len > 0 && name[0] == password[0];
}

static const struct login users = {.is_right = is_right};

struct result {
    struct socks5 socks;
    enum err error;
    size_t used;
    uint8_t said[64];
    size_t said_len;
};

static void talk(struct result *r, const struct login *login, const uint8_t *data, size_t size,
                 size_t piece)
{
    uint8_t room[SOCKS5_ANSWERS_MAX];

    memset(r, 0, sizeof(*r));
    socks5_init(&r->socks, login);
    while (r->error == ERR_OK && r->used < size && r->socks.state != SOCKS5_DONE) {
        size_t n = size - r->used < piece ? size - r->used : piece;
        size_t used;

        r->error = socks5_feed(&r->socks, data + r->used, n, &used);
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

    if (size == 0)
        return 0;
    const struct login *login = (data[0] & 1) != 0 ? &users : NULL;
    size_t piece = 1U + (data[0] >> 1);
    data++;
    size--;
    talk(&whole, login, data, size, size > 0 ? size : 1);
    talk(&cut, login, data, size, piece);
    assert(whole.socks.state == cut.socks.state);
    assert(whole.error == cut.error && whole.used == cut.used);
    assert(whole.said_len == cut.said_len && memcmp(whole.said, cut.said, whole.said_len) == 0);
    if (whole.socks.state == SOCKS5_DONE)
        check_host(&whole.socks.destination);
    check_datagram(data, size);
    return 0;
}
