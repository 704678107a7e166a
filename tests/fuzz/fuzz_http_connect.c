/* A client of the HTTP proxy (client.h): cut or whole, what it says must come to the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "net/http_connect.h"
#include "target.h"

struct result {
    struct http_connect http;
    enum err error;
    size_t used;
};

static void talk(struct result *r, const struct client *c, size_t piece)
{
    r->error = ERR_OK;
    r->used = 0;
    http_connect_init(&r->http, c->login);
    while (r->error == ERR_OK && r->used < c->size && r->http.state != HTTP_CONNECT_DONE) {
        size_t n = c->size - r->used < piece ? c->size - r->used : piece;
        size_t used;

        r->error = http_connect_feed(&r->http, c->data + r->used, n, &used);
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
    struct client c;

    if (!client_init(&c, data, size))
        return 0;
    talk(&whole, &c, SIZE_MAX);
    talk(&cut, &c, c.piece);
    assert(whole.http.state == cut.http.state);
    assert(whole.error == cut.error && whole.used == cut.used);
    assert(whole.http.status == cut.http.status);
    if (whole.http.state == HTTP_CONNECT_DONE)
        assert(whole.http.destination.host[0] != '\0' && whole.http.destination.port != 0);
    if (whole.http.state == HTTP_CONNECT_FAILED)
        assert(http_connect_encode_failure(&whole.http, room) > 0);
    return 0;
}
