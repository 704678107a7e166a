#include "ops/systemd.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define STATUS_MAX 300

/* A whole decimal number; 0 where it is anything else. */
static uint64_t number_of(const char *text)
{
    char *end = NULL;
    uint64_t value;

    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    value = strtoull(text, &end, 10);
    return errno == 0 && *end == 0 ? value : 0;
}

/* A path, or a name of the abstract name space, which is written with '@'. */
static bool address_of(const char *name, struct sockaddr_un *out, socklen_t *len)
{
    size_t name_len = strlen(name);

    memset(out, 0, sizeof(*out));
    out->sun_family = AF_UNIX;
    if ((name[0] != '/' && name[0] != '@') || name_len < 2) {
        errno = EAFNOSUPPORT;
        return false;
    }
    if (name_len >= sizeof(out->sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(out->sun_path, name, name_len);
    if (name[0] == '@')
        out->sun_path[0] = 0;
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_len);
    return true;
}

static bool connect_to(struct systemd *s, const char *name)
{
    const struct timeval patience = {.tv_usec = SYSTEMD_PATIENCE_MS % 1000 * 1000,
                                     .tv_sec = SYSTEMD_PATIENCE_MS / 1000};
    struct sockaddr_un address;
    socklen_t len = 0;

    if (!address_of(name, &address, &len))
        return false;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)&address, len) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return false;
    }
    s->fd = fd;
    return true;
}

bool systemd_init(struct systemd *s)
{
    const char *name = getenv("NOTIFY_SOCKET");
    const char *watched = getenv("WATCHDOG_PID");

    s->fd = -1;
    s->watchdog_us = 0;
    if (name == NULL || name[0] == 0)
        return true;
    if (!connect_to(s, name))
        return false;
    /* The variables are inherited by children, who are not the ones that are watched. */
    if (watched == NULL || number_of(watched) == (uint64_t)getpid())
        s->watchdog_us = number_of(getenv("WATCHDOG_USEC"));
    return true;
}

bool systemd_is_there(const struct systemd *s)
{
    return s->fd >= 0;
}

/* What does not arrive cannot be helped: the manager will draw its own conclusions. */
static void tell(const struct systemd *s, const char *lines)
{
    if (s->fd < 0)
        return;
    while (send(s->fd, lines, strlen(lines), MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

static void put_status(char *out, size_t size, const char *status)
{
    size_t len = (size_t)snprintf(out, size, "STATUS=%s", status);

    len = len < size ? len : size - 1;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f)
            out[i] = ' ';
    }
}

void systemd_ready(const struct systemd *s, const char *status)
{
    char line[STATUS_MAX] = "";
    char lines[STATUS_MAX + 16];

    if (status != NULL)
        put_status(line, sizeof(line), status);
    snprintf(lines, sizeof(lines), "READY=1\n%s", line);
    tell(s, lines);
}

void systemd_reloading(const struct systemd *s)
{
    char lines[80];

    snprintf(lines, sizeof(lines), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
    tell(s, lines);
}

void systemd_stopping(const struct systemd *s, uint64_t timeout_us)
{
    char lines[80];

    snprintf(lines, sizeof(lines), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, timeout_us);
    tell(s, lines);
}

void systemd_status(const struct systemd *s, const char *status)
{
    char line[STATUS_MAX];

    put_status(line, sizeof(line), status);
    tell(s, line);
}

void systemd_watchdog(const struct systemd *s)
{
    tell(s, "WATCHDOG=1");
}

void systemd_fini(struct systemd *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->watchdog_us = 0;
}
