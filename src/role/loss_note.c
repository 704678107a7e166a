#include "role/loss_note.h"

#include <string.h>

#include "base/utf8.h"

/* Whole characters only; nothing that moves a cursor or ends a line. */
static void copy_harmless(char *out, size_t size, const char *text)
{
    size_t left = strlen(text);
    size_t used = 0;

    while (left > 0) {
        uint32_t value;
        size_t n = utf8_next(text, left, &value);
        bool is_safe = n > 0 && value >= 0x20 && (value < 0x7f || value > 0x9f);
        size_t put = is_safe ? n : 1;

        if (used + put >= size)
            break;
        if (is_safe)
            memcpy(out + used, text, n);
        else
            out[used] = '?';
        used += put;
        n = n > 0 ? n : 1;
        text += n;
        left -= n;
    }
    out[used] = '\0';
}

void loss_note_set(struct loss_note *note, enum err why, enum wire_code code, const char *text,
                   uint64_t now)
{
    *note = (struct loss_note){.is_set = true, .why = why, .code = code, .at_us = now};
    copy_harmless(note->text, sizeof(note->text),
                  text == NULL || text[0] == '\0' ? err_text(why) : text);
}
