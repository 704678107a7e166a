/*
 * The clock that nobody sets: CLOCK_MONOTONIC. It counts from some time before the process began
 * and is never 0. Any thread. Not for tunnel/, which is told the time.
 */
#ifndef UTUN_BASE_CLOCK_H
#define UTUN_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

uint64_t clock_us(void);
uint64_t clock_ms(void);

/* So many milliseconds from now, for waits until a time of CLOCK_MONOTONIC. */
struct timespec clock_in_ms(uint32_t ms);

#endif
