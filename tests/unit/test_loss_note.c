#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "role/loss_note.h"

static void it_says_why_in_the_peers_words(void **state)
{
    struct loss_note note = {0};

    (void)state;
    assert_false(note.is_set);
    loss_note_set(&note, ERR_CLOSED, WIRE_LIMIT, "zu viele Sitzungen \xc3\xbc", 17);
    assert_true(note.is_set);
    assert_int_equal(note.why, ERR_CLOSED);
    assert_int_equal(note.code, WIRE_LIMIT);
    assert_int_equal(note.at_us, 17);
    assert_string_equal(note.text, "zu viele Sitzungen \xc3\xbc");
}

static void without_words_it_takes_ours(void **state)
{
    struct loss_note note;

    (void)state;
    loss_note_set(&note, ERR_HEARTBEAT, WIRE_NO_ERROR, NULL, 1);
    assert_string_equal(note.text, err_text(ERR_HEARTBEAT));
    loss_note_set(&note, ERR_RESET, WIRE_NO_ERROR, "", 1);
    assert_string_equal(note.text, err_text(ERR_RESET));
}

static void what_a_peer_says_is_made_harmless(void **state)
{
    struct loss_note note;

    (void)state;
    loss_note_set(&note, ERR_CLOSED, WIRE_SHUTDOWN, "a\x1b[2J\nb\xff\x7f\xc2\x85\xe2\x82", 1);
    assert_string_equal(note.text, "a?[2J?b?????");
}

static void a_long_text_is_cut_between_characters(void **state)
{
    char text[LOSS_TEXT_MAX + 100];
    struct loss_note note;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    loss_note_set(&note, ERR_CLOSED, WIRE_SHUTDOWN, text, 1);
    assert_int_equal(strlen(note.text), LOSS_TEXT_MAX - 1);
    memcpy(text + LOSS_TEXT_MAX - 2, "\xc3\xbc", 2);
    loss_note_set(&note, ERR_CLOSED, WIRE_SHUTDOWN, text, 1);
    assert_int_equal(strlen(note.text), LOSS_TEXT_MAX - 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_why_in_the_peers_words),
        cmocka_unit_test(without_words_it_takes_ours),
        cmocka_unit_test(what_a_peer_says_is_made_harmless),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
