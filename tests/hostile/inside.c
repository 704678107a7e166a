#include "inside.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel/handshake_message.h"

static void wait_for(const struct inside *in, short events)
{
    struct pollfd p = {.fd = in->fd, .events = events};

    (void)poll(&p, 1, 50);
}

/* What comes is put into the channel, and is the caller's to read. */
static void pull(struct inside *in)
{
    uint8_t bytes[16384];
    ssize_t n = recv(in->fd, bytes, sizeof(bytes), 0);

    if (n > 0)
        demand(tls_channel_put(in->channel, bytes, (size_t)n) == ERR_OK, "no memory");
    else if (n == 0 || errno != EAGAIN)
        in->is_over = true;
}

void inside_send_raw(struct inside *in, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint64_t until = now_ms() + patience_ms;

    while (len > 0 && !in->is_over) {
        ssize_t n = send(in->fd, at, len, MSG_NOSIGNAL);

        if (n > 0) {
            at += n;
            len -= (size_t)n;
            continue;
        }
        in->is_over = errno != EAGAIN;
        demand(now_ms() < until, "the daemon does not read");
        wait_for(in, POLLOUT);
    }
}

void inside_push(struct inside *in)
{
    const uint8_t *data;
    size_t len;

    tls_channel_output(in->channel, &data, &len);
    inside_send_raw(in, data, len);
    tls_channel_sent(in->channel, len);
}

struct inside inside_open(const struct world *world)
{
    struct inside in = {.fd = connection_open(world)};
    struct err_detail d = {""};
    uint64_t until = now_ms() + patience_ms;
    bool is_done = false;

    demand(tls_channel_new(&in.channel, world->tls, "127.0.0.1", &d) == ERR_OK, "%s", d.text);
    while (!is_done) {
        demand(tls_channel_handshake(in.channel, &is_done, &d) == ERR_OK, "%s", d.text);
        inside_push(&in);
        if (is_done)
            break;
        demand(!in.is_over && now_ms() < until, "the daemon does not finish TLS");
        wait_for(&in, POLLIN);
        pull(&in);
    }
    return in;
}

void inside_close(struct inside *in)
{
    tls_channel_free(in->channel);
    close(in->fd);
}

void inside_put(struct inside *in, const void *bytes, size_t len)
{
    demand(tls_channel_write(in->channel, bytes, len) == ERR_OK, "no memory");
}

void inside_say(struct inside *in, const void *bytes, size_t len)
{
    inside_put(in, bytes, len);
    inside_push(in);
}

void inside_hear(struct inside *in, uint8_t *bytes, size_t len)
{
    uint64_t until = now_ms() + patience_ms;
    struct err_detail d = {""};

    while (len > 0) {
        size_t n;

        demand(tls_channel_read(in->channel, bytes, len, &n, &d) == ERR_OK, "%s", d.text);
        bytes += n;
        len -= n;
        if (n > 0)
            continue;
        demand(!in->is_over && now_ms() < until, "the daemon does not say enough");
        wait_for(in, POLLIN);
        pull(in);
    }
}

void inside_wait(struct inside *in, uint64_t ms)
{
    uint64_t until = now_ms() + ms;
    uint8_t bytes[4096];

    while (!in->is_over && now_ms() < until) {
        ssize_t n = recv(in->fd, bytes, sizeof(bytes), 0);

        in->is_over = n == 0 || (n < 0 && errno != EAGAIN);
        if (n < 0 && !in->is_over)
            wait_for(in, POLLIN);
    }
}

void inside_must_end(struct inside *in, uint64_t ms)
{
    inside_wait(in, ms);
    demand(in->is_over, "the daemon does not close the connection");
}

void inside_must_refuse(const struct world *world, const uint8_t *message, size_t len)
{
    struct inside in = inside_open(world);

    inside_say(&in, message, len);
    inside_must_end(&in, patience_ms);
    inside_close(&in);
}

size_t inside_make_offer(uint8_t *out, unsigned version, unsigned mode, unsigned flags,
                         size_t attributes)
{
    struct handshake_offer offer = {.version = (uint16_t)version, .kem_mode = (uint8_t)mode};
    size_t len = handshake_offer_encode(out, &offer);

    out[HANDSHAKE_HEADER_SIZE + 3] = (uint8_t)flags;
    memset(out + len, 0, attributes);
    handshake_header_encode(out, (struct handshake_header){
                                     .type = HANDSHAKE_OFFER,
                                     .length = (uint32_t)(len + attributes - HANDSHAKE_HEADER_SIZE),
                                 });
    return len + attributes;
}
