/*
 * Data for trying a connection out: pseudo-random, the same each time, and any part of it can be
 * made, or checked, without the parts before.
 */
#ifndef UTUN_ROLE_DEMO_DATA_H
#define UTUN_ROLE_DEMO_DATA_H

#include <stddef.h>
#include <stdint.h>

/* Bytes offset .. offset + len of the endless row of this seed. */
void demo_data_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len);

/* How many of the bytes are right, counted from the first: len if all are. */
size_t demo_data_check(uint64_t seed, uint64_t offset, const uint8_t *data, size_t len);

#endif
