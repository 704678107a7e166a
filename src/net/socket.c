#include "net/socket.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What socket_discard drops in one call. */
#define DISCARD_STEP  65536
#define DISCARD_STEPS 4

static void set_option(int fd, int level, int name, int value)
{
    /* Every option here tunes a connection that also works without it. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

enum err socket_new(int *fd, const struct address *a)
{
    *fd = socket(a->sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return err_from_errno(errno);
    socket_prepare(*fd, a);
    return ERR_OK;
}

enum err socket_connect(int fd, const struct address *a)
{
    if (connect(fd, (const struct sockaddr *)&a->sockaddr, a->len) == 0 || errno == EINPROGRESS ||
        errno == EINTR)
        return ERR_OK;
    return err_from_errno(errno);
}

int socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return errno;
    return error;
}

void socket_prepare(int fd, const struct address *a)
{
    static const char unpaced[] = "reno"; /* every kernel has it, and everybody may set it */

    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (address_is_loopback(a))
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unpaced, sizeof(unpaced) - 1);
}

void socket_set_keepalive(int fd, uint32_t ms)
{
    int seconds = (int)(ms / 1000 + (ms % 1000 > 0));

    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, ms > 0 ? 1 : 0);
    if (ms == 0)
        return;
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

void socket_set_user_timeout(int fd, uint32_t ms)
{
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms > INT_MAX ? INT_MAX : (int)ms);
}

void socket_set_unsent_max(int fd, uint32_t bytes)
{
    set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes);
}

void socket_set_abortive(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

void socket_reset(int fd)
{
    socket_set_abortive(fd);
    close(fd);
}

size_t socket_unacked(int fd)
{
    int bytes = 0;

    if (ioctl(fd, SIOCOUTQ, &bytes) < 0 || bytes < 0)
        return 0;
    return (size_t)bytes;
}

enum socket_left socket_discard(int fd)
{
    for (int i = 0; i < DISCARD_STEPS; i++) {
        /* For TCP, MSG_TRUNC drops the bytes inside the kernel: there is no buffer. */
        ssize_t n = recv(fd, NULL, DISCARD_STEP, MSG_TRUNC | MSG_DONTWAIT);

        if (n < 0 && errno == EFAULT) {
            /* A Unix socket wants to have a buffer. */
            char dropped[4096];
            n = recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT);
        }
        if (n == 0)
            return SOCKET_ENDED;
        if (n < 0 && errno == EAGAIN)
            return SOCKET_EMPTY;
        if (n < 0 && errno != EINTR)
            return SOCKET_ENDED;
    }
    return SOCKET_MORE;
}
