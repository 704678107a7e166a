/*
 * The demo's client: one HTTP request over a TCP connection to the loopback address, timed, every
 * byte of data checked. Blocks; ends early when stop_fd becomes readable (ERR_SHUTDOWN).
 */
#ifndef UTUN_ROLE_DEMO_CLIENT_H
#define UTUN_ROLE_DEMO_CLIENT_H

#include <stdint.h>

#include "base/error.h"

struct demo_transfer {
    uint16_t port;
    int stop_fd;
    uint64_t bytes;
    uint64_t elapsed_us; /* output: from connecting to the last byte, or to the server's answer */
};

/*
 * Both return ERR_OK only when all bytes arrived and were right, and otherwise say in d what was
 * wrong: ERR_MALFORMED (a wrong byte, another answer), ERR_CLOSED (too few), what the socket said.
 */
enum err demo_client_download(struct demo_transfer *t, struct err_detail *d) MUST_USE;
enum err demo_client_upload(struct demo_transfer *t, struct err_detail *d) MUST_USE;

#endif
