/*
 * The least that an encrypted forwarder can do, as a yardstick for the ones that do more: two
 * processes, one thread each, that copy bytes through AES-256-GCM and nothing else. No streams, no
 * flow control, no handshake, no key agreement: the key is a constant and protects nothing.
 *
 *   copy_loop near LISTEN-PORT CONNECT-PORT     seals what clients send, opens what comes back
 *   copy_loop far LISTEN-PORT CONNECT-PORT      opens what `near` sends, seals what comes back
 *
 * Records of 64 KiB, reads of up to 256 KiB, one write for each read, all on 127.0.0.1. One
 * connection after another; traffic may go one way or the other, not in bulk both ways at once.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loopback.h"

#define READ_BYTES   (256 * 1024)
#define RECORD_BYTES (64 * 1024)
#define HEADER       4
#define TAG          16
#define NONCE        12

/* One direction: from one socket to the other, sealing or opening. */
struct way {
    int from;
    int to;
    bool seals;
    bool is_over;
    uint64_t counter;
    EVP_CIPHER_CTX *cipher;
    size_t held; /* at the start of `in`: the beginning of a record whose end has not come */
    uint8_t in[READ_BYTES + RECORD_BYTES + HEADER + TAG];
    uint8_t out[READ_BYTES + 2 * (RECORD_BYTES + HEADER + TAG)];
};

static void fail(const char *what)
{
    fprintf(stderr, "copy_loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void must(int is_good)
{
    if (is_good == 1)
        return;
    fprintf(stderr, "copy_loop: a record could not be sealed or opened\n");
    exit(1);
}

static void next_nonce(struct way *w, uint8_t nonce[NONCE])
{
    memset(nonce, 0, NONCE);
    memcpy(nonce + NONCE - sizeof(w->counter), &w->counter, sizeof(w->counter));
    w->counter++;
}

/* The record's bytes at out. */
static size_t seal(struct way *w, const uint8_t *data, size_t len, uint8_t *out)
{
    uint8_t nonce[NONCE];
    uint32_t size = htonl((uint32_t)len);
    int n;

    next_nonce(w, nonce);
    memcpy(out, &size, HEADER);
    must(EVP_EncryptInit_ex(w->cipher, NULL, NULL, NULL, nonce));
    must(EVP_EncryptUpdate(w->cipher, NULL, &n, out, HEADER));
    must(EVP_EncryptUpdate(w->cipher, out + HEADER, &n, data, (int)len));
    must(EVP_EncryptFinal_ex(w->cipher, out + HEADER + len, &n));
    must(EVP_CIPHER_CTX_ctrl(w->cipher, EVP_CTRL_AEAD_GET_TAG, TAG, out + HEADER + len));
    return HEADER + len + TAG;
}

static void open_record(struct way *w, uint8_t *record, size_t len, uint8_t *out)
{
    uint8_t nonce[NONCE];
    int n;

    next_nonce(w, nonce);
    must(EVP_DecryptInit_ex(w->cipher, NULL, NULL, NULL, nonce));
    must(EVP_DecryptUpdate(w->cipher, NULL, &n, record, HEADER));
    must(EVP_DecryptUpdate(w->cipher, out, &n, record + HEADER, (int)len));
    must(EVP_CIPHER_CTX_ctrl(w->cipher, EVP_CTRL_AEAD_SET_TAG, TAG, record + HEADER + len));
    must(EVP_DecryptFinal_ex(w->cipher, out + len, &n));
}

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static size_t seal_all(struct way *w, size_t len)
{
    size_t made = 0;

    for (size_t at = 0; at < len; at += RECORD_BYTES) {
        size_t part = len - at < RECORD_BYTES ? len - at : RECORD_BYTES;

        made += seal(w, w->in + at, part, w->out + made);
    }
    return made;
}

static size_t open_all(struct way *w, size_t len)
{
    size_t made = 0;
    size_t at = 0;

    while (len - at >= HEADER) {
        uint32_t size;

        memcpy(&size, w->in + at, HEADER);
        size = ntohl(size);
        must(size <= RECORD_BYTES);
        if (len - at < HEADER + size + TAG)
            break;
        open_record(w, w->in + at, size, w->out + made);
        made += size;
        at += HEADER + size + TAG;
    }
    w->held = len - at;
    memmove(w->in, w->in + at, w->held);
    return made;
}

/* One read and one write; false when the connection is broken. */
static bool carry(struct way *w)
{
    ssize_t n = read(w->from, w->in + w->held, READ_BYTES);
    size_t made;

    if (n < 0)
        return false;
    if (n == 0) {
        w->is_over = true;
        return shutdown(w->to, SHUT_WR) == 0;
    }
    made = w->seals ? seal_all(w, (size_t)n) : open_all(w, w->held + (size_t)n);
    return write_all(w->to, w->out, made);
}

static struct way *way_new(int from, int to, bool seals)
{
    static const uint8_t key[32] = {'b', 'e', 'n', 'c', 'h'};
    struct way *w = calloc(1, sizeof(*w));

    if (w == NULL)
        fail("calloc");
    w->from = from;
    w->to = to;
    w->seals = seals;
    w->cipher = EVP_CIPHER_CTX_new();
    must(EVP_CipherInit_ex(w->cipher, EVP_aes_256_gcm(), NULL, key, NULL, seals));
    return w;
}

static void way_free(struct way *w)
{
    EVP_CIPHER_CTX_free(w->cipher);
    free(w);
}

static void forward(int client, int target, bool is_near)
{
    struct way *there = way_new(client, target, is_near);
    struct way *back = way_new(target, client, !is_near);
    bool is_good = true;

    while (is_good && !(there->is_over && back->is_over)) {
        struct pollfd sockets[2] = {{.fd = there->is_over ? -1 : client, .events = POLLIN},
                                    {.fd = back->is_over ? -1 : target, .events = POLLIN}};

        if (poll(sockets, 2, -1) < 0)
            fail("poll");
        if (sockets[0].revents != 0)
            is_good = carry(there);
        if (is_good && sockets[1].revents != 0)
            is_good = carry(back);
    }
    way_free(there);
    way_free(back);
}

static int open_socket(void)
{
    int fd = loopback_socket();

    if (fd < 0)
        fail("socket");
    return fd;
}

int main(int argc, char **argv)
{
    struct sockaddr_in here;
    struct sockaddr_in there;
    const int one = 1;
    bool is_near;
    int door;

    if (argc != 4 || (strcmp(argv[1], "near") != 0 && strcmp(argv[1], "far") != 0)) {
        fprintf(stderr, "usage: copy_loop near|far LISTEN-PORT CONNECT-PORT\n");
        return 2;
    }
    is_near = strcmp(argv[1], "near") == 0;
    here = loopback_address(argv[2]);
    there = loopback_address(argv[3]);
    door = open_socket();
    if (bind(door, (const struct sockaddr *)&here, sizeof(here)) < 0 || listen(door, 64) < 0)
        fail("listen");
    for (;;) {
        int client = accept(door, NULL, NULL);
        int target = open_socket();

        if (client < 0)
            fail("accept");
        (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(target, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(target, (const struct sockaddr *)&there, sizeof(there)) == 0)
            forward(client, target, is_near);
        close(client);
        close(target);
    }
}
