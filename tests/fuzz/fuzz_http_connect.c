/*
 * A client of the HTTP proxy. The first byte says whether it has to log in, and into which pieces
 * the rest is cut; cut or whole, it must come to the same.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_connect.h"
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
    struct http_connect http;
    enum err error;
    size_t used;
};

static void talk(struct result *r, const struct login *login, const uint8_t *data, size_t size,
                 size_t piece)
{
    r->error = ERR_OK;
    r->used = 0;
    http_connect_init(&r->http, login);
    while (r->error == ERR_OK && r->used < size && r->http.state != HTTP_CONNECT_DONE) {
        size_t n = size - r->used < piece ? size - r->used : piece;
        size_t used;

        r->error = http_connect_feed(&r->http, data + r->used, n, &used);
        assert(used <= n);
        assert(used == n || r->error != ERR_OK || r->http.state == HTTP_CONNECT_DONE);
        r->used += used;
    }
    assert((r->error != ERR_OK) == (r->http.state == HTTP_CONNECT_FAILED));
    assert(r->used <= HTTP_CONNECT_REQUEST_MAX + 1);
    http_connect_fini(&r->http);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct result whole;
    static struct result cut;
    char room[HTTP_CONNECT_REPLY_MAX];

    if (size == 0)
        return 0;
    const struct login *login = (data[0] & 1) != 0 ? &users : NULL;
    size_t piece = 1U + (data[0] >> 1);
    data++;
    size--;
    talk(&whole, login, data, size, size > 0 ? size : 1);
    talk(&cut, login, data, size, piece);
    assert(whole.http.state == cut.http.state);
    assert(whole.error == cut.error && whole.used == cut.used);
    assert(whole.http.status == cut.http.status);
    if (whole.http.state == HTTP_CONNECT_DONE)
        assert(whole.http.destination.host[0] != '\0' && whole.http.destination.port != 0);
    if (whole.http.state == HTTP_CONNECT_FAILED)
        assert(http_connect_encode_failure(&whole.http, room) > 0);
    return 0;
}
