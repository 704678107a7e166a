/*
 * What a service manager is told, by sd_notify's protocol: one datagram of NAME=value lines to the
 * socket that NOTIFY_SOCKET names (systemd: sd_notify(3), "Notes", which describes it as stable and
 * meant to be spoken without a library). Not libsystemd: it brings a compressor for each of three
 * formats and libgcrypt into every process, has no static form in Debian, and this is all of it
 * that is needed.
 *
 * Threads: the caller's, one at a time. A call waits for at most SYSTEMD_PATIENCE_MS, so none
 * belongs on the way of data. Without a service manager every call does nothing.
 */
#ifndef UTUN_OPS_SYSTEMD_H
#define UTUN_OPS_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>

#define SYSTEMD_PATIENCE_MS 1000

/* Embed it. */
struct systemd {
    int fd;               /* connected to the manager's socket; -1: there is none */
    uint64_t watchdog_us; /* how often it wants to hear from us at least; 0: no watchdog */
};

/*
 * Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and connects: what comes later needs no
 * right to open anything. False when NOTIFY_SOCKET is set but cannot be reached (errno says why);
 * then, too, every call does nothing.
 */
bool systemd_init(struct systemd *s);

/* Whether somebody listens. */
bool systemd_is_there(const struct systemd *s);

/* READY=1: all ports are taken, or a reload is over. status is for people; NULL: as it was. */
void systemd_ready(const struct systemd *s, const char *status);

/* RELOADING=1 with the time that Type=notify-reload asks for; systemd_ready must follow. */
void systemd_reloading(const struct systemd *s);

/* STOPPING=1, and so much time for it, where the unit gives less. */
void systemd_stopping(const struct systemd *s, uint64_t timeout_us);

/* STATUS=, what `systemctl status` shows. Control characters are left out. */
void systemd_status(const struct systemd *s, const char *status);

/* WATCHDOG=1: all is well. */
void systemd_watchdog(const struct systemd *s);

void systemd_fini(struct systemd *s);

#endif
