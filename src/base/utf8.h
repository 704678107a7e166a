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

/*
 * Copies len bytes of text into out, of size > 0, so that they are UTF-8: a byte that belongs to no
 * character becomes U+FFFD, and what does not fit is left out from a whole character on. Ends with
 * a NUL; returns the length.
 */
size_t utf8_copy(char *out, size_t size, const char *text, size_t len);

#endif
