/* Reading UTF-8 (RFC 3629) that may be anything. Pure; any thread. */
#ifndef UTUN_BASE_UTF8_H
#define UTUN_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * The length of the character that the len >= 1 bytes at text start with, and its value; 0 (and
 * *value undefined) if they start with none: a stray or missing continuation byte, an overlong
 * form, a surrogate, or a value above U+10FFFF.
 */
size_t utf8_next(const void *text, size_t len, uint32_t *value);

#endif
