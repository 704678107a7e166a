#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/problems.h"

static const char *const nothing = NULL; /* no suggestion */

static void problems_come_out_in_the_order_of_the_file(void **state)
{
    struct problems *p = problems_new();

    (void)state;
    problems_add(p, PROBLEM_ERROR, (struct problem_place){"f", 9, 1}, nothing, "third");
    problems_add(p, PROBLEM_WARNING, (struct problem_place){"f", 2, 7}, nothing, "second");
    problems_add(p, PROBLEM_ERROR, (struct problem_place){"f", 2, 3}, nothing, "first");
    problems_add(p, PROBLEM_ERROR, (struct problem_place){"f", 9, 1}, nothing, "fourth");
    assert_int_equal(problems_count(p), 4);
    assert_int_equal(problems_errors(p), 3);
    assert_string_equal(problems_at(p, 0)->text, "first");
    assert_string_equal(problems_at(p, 1)->text, "second");
    assert_string_equal(problems_at(p, 2)->text, "third");
    assert_string_equal(problems_at(p, 3)->text, "fourth");
    problems_free(p);
    problems_free(NULL);
}

static void a_problem_is_one_line(void **state)
{
    struct problems *p = problems_new();
    char line[200];

    (void)state;
    problems_add(p, PROBLEM_ERROR, (struct problem_place){"a.toml", 4, 2}, "do %s", "no %d", 7);
    size_t len = problem_format(problems_at(p, 0), line, sizeof(line));
    assert_int_equal(len, strlen(line));
    assert_string_equal(line, "a.toml:4:2: error: no 7; do %s");
    problems_add(p, PROBLEM_WARNING, (struct problem_place){"--option", 0, 0}, nothing, "odd");
    problem_format(problems_at(p, 0), line, sizeof(line));
    assert_string_equal(line, "--option: warning: odd");
    assert_int_equal(problem_format(problems_at(p, 0), line, 5), 4);
    assert_string_equal(line, "--op");
    problems_free(p);
}

static void control_characters_never_come_through(void **state)
{
    struct problems *p = problems_new();
    char line[300];

    (void)state;
    problems_add(p, PROBLEM_ERROR, (struct problem_place){"a\nb", 1, 1}, "x\033]0;y\007",
                 "\033[31m%s", "q\r\x7f \xc2\x9b caf\xc3\xa9");
    problem_format(problems_at(p, 0), line, sizeof(line));
    assert_string_equal(line, "a?b:1:1: error: ?[31mq?? ?? caf\xc3\xa9; x?]0;y?");
    problems_free(p);
}

static void too_many_are_cut_with_a_word_about_it(void **state)
{
    struct problems *p = problems_new();

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        problems_add(p, PROBLEM_ERROR, (struct problem_place){"f", 1 + i, 1}, nothing, "wrong");
    assert_int_equal(problems_count(p), PROBLEMS_MAX);
    assert_int_equal(problems_errors(p), 1000);
    assert_non_null(strstr(problems_at(p, PROBLEMS_MAX - 1)->text, "more problems"));
    problems_free(p);
}

static void printing_writes_every_line(void **state)
{
    struct problems *p = problems_new();
    char text[200];
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    problems_add(p, PROBLEM_ERROR, (struct problem_place){"f", 2, 1}, nothing, "b");
    problems_add(p, PROBLEM_WARNING, (struct problem_place){"f", 1, 1}, nothing, "a");
    problems_print(p, ends[1]);
    close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof(text) - 1);
    close(ends[0]);
    assert_true(got > 0);
    text[got] = 0;
    assert_string_equal(text, "f:1:1: warning: a\nf:2:1: error: b\n");
    problems_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_come_out_in_the_order_of_the_file),
        cmocka_unit_test(a_problem_is_one_line),
        cmocka_unit_test(control_characters_never_come_through),
        cmocka_unit_test(too_many_are_cut_with_a_word_about_it),
        cmocka_unit_test(printing_writes_every_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
