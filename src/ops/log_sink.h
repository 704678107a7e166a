/*
 * Where log lines go: a file descriptor that is written to without ever waiting for its reader.
 * A line that cannot be written now is dropped and counted. Not thread-safe.
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
#include <stdint.h>

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
    uint64_t dropped;
};

/* Never fails. fd must stay open until log_sink_fini. */
void log_sink_init(struct log_sink *sink, int fd);
void log_sink_fini(struct log_sink *sink);

/* Writes one line with one write(2). False, and counted as dropped, if it was not possible. */
bool log_sink_write(struct log_sink *sink, const char *line, size_t len);

#endif
