/*
 * The page that the admin endpoint serves on "/": src/role/page.html, made into C by
 * tools/embed-page at build time, with the policy that allows its own script and style and nothing
 * else.
 */
#ifndef UTUN_ROLE_PAGE_H
#define UTUN_ROLE_PAGE_H

#include <stddef.h>

extern const unsigned char page_html[];
extern const size_t page_html_len;

/* For the header Content-Security-Policy. */
extern const char page_policy[];

#endif
