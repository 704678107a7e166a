/*
 * Where log lines go: a file descriptor that is written to without ever waiting for its reader.
 * Not thread-safe.
 *
 * The descriptor's own flags stay as they are, since other processes may share it: pipes and
 * terminals are opened a second time, sockets are sent to with MSG_DONTWAIT, and where neither is
 * possible a line is written only if poll says that there is room. Writing to a regular file may
 * wait for the disk.
 */
#ifndef UTUN_OPS_LOG_SINK_H
#define UTUN_OPS_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>

enum log_sink_kind {
    LOG_SINK_FILE,
    LOG_SINK_NONBLOCKING,
    LOG_SINK_SOCKET,
    LOG_SINK_POLLED,
};

struct log_sink {
    int fd;
    bool is_own;  /* fd was opened here */
    bool is_torn; /* the last line was written in part */
    enum log_sink_kind kind;
};

enum log_sink_result {
    LOG_SINK_WRITTEN,
    LOG_SINK_LATER, /* nobody reads just now; nothing of the line is written */
    LOG_SINK_LOST,  /* a full disk, a reader that has gone, a line of which only a part was taken */
};

/* Never fails. fd must stay open until log_sink_fini. */
void log_sink_init(struct log_sink *sink, int fd);
void log_sink_fini(struct log_sink *sink);

/* Writes one line with one write(2). */
enum log_sink_result log_sink_write(struct log_sink *sink, const char *line, size_t len);

/* After LOG_SINK_LATER: waits until there is room, for at most so long. */
void log_sink_wait(const struct log_sink *sink, int timeout_ms);

#endif
