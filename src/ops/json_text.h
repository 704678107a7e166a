/* Text of any bytes as a JSON string, which has to be UTF-8. */
#ifndef UTUN_OPS_JSON_TEXT_H
#define UTUN_OPS_JSON_TEXT_H

#include <jansson.h>

/*
 * A file's name may be any bytes, and a text that was cut may end within a character: what is not
 * UTF-8 becomes U+FFFD, and such a text is cut to 4,095 bytes. A new reference; NULL without
 * memory.
 */
json_t *json_text(const char *text);

#endif
