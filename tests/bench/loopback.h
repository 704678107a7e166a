/* TCP sockets on 127.0.0.1, for programs that stand in the path of a measurement. */
#ifndef UTUN_TESTS_BENCH_LOOPBACK_H
#define UTUN_TESTS_BENCH_LOOPBACK_H

#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

/* The port is a number in decimal. */
static inline struct sockaddr_in loopback_address(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* That may take a port at once after whoever had it; -1 with errno. */
static inline int loopback_socket(void)
{
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
        return -1;
    return fd;
}

#endif
