/*
 * A client of one of the proxies: the first byte of the input says whether it has to log in, and
 * into which pieces the rest, which it says, is cut.
 */
#ifndef UTUN_TESTS_FUZZ_CLIENT_H
#define UTUN_TESTS_FUZZ_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/login.h"

struct client {
    const struct login *login; /* NULL: none; a name and a password that begin alike are right */
    size_t piece;
    const uint8_t *data; /* size bytes of the input */
    size_t size;
};

/* False: the input is empty. */
bool client_init(struct client *c, const uint8_t *data, size_t size);

#endif
