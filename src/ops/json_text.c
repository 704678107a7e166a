#include "ops/json_text.h"

#include <string.h>

#include "base/utf8.h"

#define MENDED_MAX 4096 /* a path at most */

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    char mended[MENDED_MAX];

    if (value != NULL)
        return value;
    return json_stringn(mended, utf8_copy(mended, sizeof(mended), text, strlen(text)));
}
