/* What every fuzz target defines; libFuzzer calls it, and replay.c does for the corpus. */
#ifndef UTUN_TESTS_FUZZ_TARGET_H
#define UTUN_TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* Ends the process when something is wrong; always returns 0. data may be read, not changed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
