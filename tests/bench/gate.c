/*
 * A relay between a source and its dest that adds next to nothing, says when each session begins
 * and cuts them on demand, so that a new session is timed from the outside.
 *
 *   gate LISTEN-PORT TARGET-PORT      on 127.0.0.1
 *
 * For each connection it prints "accepted N", N being nanoseconds of CLOCK_MONOTONIC. SIGUSR1
 * resets all connections.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loopback.h"

#define CONNECTIONS_MAX 16
#define READ_BYTES      (256 * 1024)

/* fds[0] is the door; each connection has the next two, or -1 twice. */
static struct pollfd fds[1 + 2 * CONNECTIONS_MAX];
static volatile sig_atomic_t is_told_to_cut;

static void fail(const char *what)
{
    fprintf(stderr, "gate: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void on_signal(int number)
{
    (void)number;
    is_told_to_cut = 1;
}

static int open_socket(void)
{
    int fd = loopback_socket();

    if (fd < 0)
        fail("socket");
    return fd;
}

/* Closes the pair of which this is one side, with a reset. */
static void cut(size_t side)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    size_t first = side - (side - 1) % 2;

    for (size_t i = first; i < first + 2; i++) {
        (void)setsockopt(fds[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fds[i].fd);
        fds[i].fd = -1;
    }
}

static void let_in(const struct sockaddr_in *there)
{
    const int one = 1;
    int near = accept(fds[0].fd, NULL, NULL);
    int far = open_socket();
    struct timespec t;
    size_t i = 1;

    clock_gettime(CLOCK_MONOTONIC, &t);
    while (i < 1 + 2 * CONNECTIONS_MAX && fds[i].fd >= 0)
        i += 2;
    if (near < 0 || i > 2 * CONNECTIONS_MAX)
        fail("one connection too many");
    if (connect(far, (const struct sockaddr *)there, sizeof(*there)) < 0) {
        close(near);
        close(far);
        return;
    }
    (void)setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fds[i] = (struct pollfd){.fd = near, .events = POLLIN};
    fds[i + 1] = (struct pollfd){.fd = far, .events = POLLIN};
    printf("accepted %lld\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec);
    fflush(stdout);
}

static void carry(size_t side)
{
    static uint8_t buffer[READ_BYTES];
    size_t other = 1 + ((side - 1) ^ 1);
    ssize_t n = recv(fds[side].fd, buffer, sizeof(buffer), 0);

    for (ssize_t at = 0, m; at < n; at += m) {
        m = send(fds[other].fd, buffer + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (m < 0) {
            n = -1;
            break;
        }
    }
    if (n <= 0)
        cut(side);
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = on_signal};
    const struct timespec forever = {.tv_sec = 3600};
    struct sockaddr_in here;
    struct sockaddr_in there;
    sigset_t blocked;
    sigset_t open;

    if (argc != 3) {
        fprintf(stderr, "usage: gate LISTEN-PORT TARGET-PORT\n");
        return 2;
    }
    here = loopback_address(argv[1]);
    there = loopback_address(argv[2]);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &blocked, &open) < 0 || sigaction(SIGUSR1, &action, NULL) < 0)
        fail("signals");
    for (size_t i = 0; i < 1 + 2 * CONNECTIONS_MAX; i++)
        fds[i].fd = -1;
    fds[0] = (struct pollfd){.fd = open_socket(), .events = POLLIN};
    if (bind(fds[0].fd, (const struct sockaddr *)&here, sizeof(here)) < 0 ||
        listen(fds[0].fd, 64) < 0)
        fail("listen");
    for (;;) {
        int n = ppoll(fds, 1 + 2 * CONNECTIONS_MAX, &forever, &open);

        if (n < 0 && errno != EINTR)
            fail("ppoll");
        if (is_told_to_cut) {
            is_told_to_cut = 0;
            for (size_t i = 1; i < 1 + 2 * CONNECTIONS_MAX; i += 2)
                if (fds[i].fd >= 0)
                    cut(i);
            continue;
        }
        for (size_t i = 1; n > 0 && i < 1 + 2 * CONNECTIONS_MAX; i++)
            if (fds[i].fd >= 0 && fds[i].revents != 0)
                carry(i);
        if (n > 0 && fds[0].revents != 0)
            let_in(&there);
    }
}
