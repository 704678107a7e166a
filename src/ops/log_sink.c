#include "ops/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void log_sink_init(struct log_sink *sink, int fd)
{
    struct stat st;
    char path[64];

    memset(sink, 0, sizeof(*sink));
    sink->fd = fd;
    sink->kind = LOG_SINK_FILE;
    if (fstat(fd, &st) != 0 || S_ISREG(st.st_mode))
        return;
    if (S_ISSOCK(st.st_mode)) {
        sink->kind = LOG_SINK_SOCKET;
        return;
    }
    sink->kind = LOG_SINK_POLLED;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own < 0)
        return;
    sink->fd = own;
    sink->is_own = true;
    sink->kind = LOG_SINK_NONBLOCKING;
}

void log_sink_fini(struct log_sink *sink)
{
    if (sink->is_own)
        close(sink->fd);
    sink->fd = -1;
    sink->is_own = false;
}

static ssize_t write_now(const struct log_sink *sink, const char *bytes, size_t len)
{
    struct pollfd poll_fd = {.fd = sink->fd, .events = POLLOUT};

    switch (sink->kind) {
    case LOG_SINK_SOCKET:
        return send(sink->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    case LOG_SINK_POLLED:
        if (poll(&poll_fd, 1, 0) != 1 || (poll_fd.revents & POLLOUT) == 0) {
            errno = EAGAIN;
            return -1;
        }
        return write(sink->fd, bytes, len);
    case LOG_SINK_FILE:
    case LOG_SINK_NONBLOCKING:
        break;
    }
    return write(sink->fd, bytes, len);
}

enum log_sink_result log_sink_write(struct log_sink *sink, const char *line, size_t len)
{
    ssize_t written;

    if (sink->is_torn && write_now(sink, "\n", 1) == 1)
        sink->is_torn = false;
    do {
        written = write_now(sink, line, len);
    } while (written < 0 && errno == EINTR);
    if (written == (ssize_t)len)
        return LOG_SINK_WRITTEN;
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return LOG_SINK_LATER;
    sink->is_torn = sink->is_torn || written > 0;
    return LOG_SINK_LOST;
}

void log_sink_wait(const struct log_sink *sink, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = sink->fd, .events = POLLOUT};

    (void)poll(&poll_fd, 1, timeout_ms);
}
