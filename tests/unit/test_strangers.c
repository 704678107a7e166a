#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "net/strangers.h"

#define SECOND UINT64_C(1000000)
#define START  (1000 * SECOND)

static struct strangers *budget(uint32_t burst)
{
    struct strangers *s = NULL;

    assert_int_equal(strangers_new(&s, burst), ERR_OK);
    return s;
}

static struct sockaddr_in6 in6(const char *text)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6};

    assert_int_equal(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
    return a;
}

static bool is_known(struct strangers *s, const char *text, uint64_t now)
{
    struct sockaddr_in6 a = in6(text);

    return strangers_is_known(s, (struct sockaddr *)&a, now);
}

static unsigned take_all(struct strangers *s, uint64_t now)
{
    unsigned taken = 0;

    while (strangers_take(s, now)) {
        taken++;
        assert_true(taken < 100000);
    }
    return taken;
}

static void strangers_have_one_budget(void **state)
{
    (void)state;
    struct strangers *s = budget(0);

    assert_int_equal(take_all(s, START), STRANGERS_BURST);
    assert_false(strangers_take(s, START));
    /* One by one with time, and never more than the burst. */
    assert_true(strangers_take(s, START + SECOND / STRANGERS_A_SECOND));
    assert_false(strangers_take(s, START + SECOND / STRANGERS_A_SECOND));
    assert_int_equal(take_all(s, START + 3600 * SECOND), STRANGERS_BURST);
    strangers_free(s);
}

static void tokens_of_the_honest_come_back(void **state)
{
    (void)state;
    struct strangers *s = budget(500);

    for (int i = 0; i < 5000; i++) {
        assert_true(strangers_take(s, START));
        strangers_give_back(s);
    }
    assert_int_equal(take_all(s, START), 500);
    strangers_give_back(s);
    assert_int_equal(take_all(s, START), 1);
    /* What is given back without having been taken makes the bucket no larger. */
    for (int i = 0; i < 5000; i++)
        strangers_give_back(s);
    assert_int_equal(take_all(s, START), 500);
    strangers_free(s);
}

static void the_burst_changes(void **state)
{
    (void)state;
    struct strangers *s = budget(0);

    for (int i = 0; i < 28; i++)
        assert_true(strangers_take(s, START));
    strangers_set_burst(s, 500);
    assert_int_equal(take_all(s, START), 500 - 28);
    /* Smaller: nobody owes more than that. */
    strangers_set_burst(s, 200);
    assert_int_equal(take_all(s, START), 0);
    assert_int_equal(take_all(s, START + SECOND), STRANGERS_A_SECOND);
    strangers_set_burst(s, 0);
    assert_int_equal(take_all(s, START + 3600 * SECOND), STRANGERS_BURST);
    strangers_free(s);
}

static void who_was_there_is_known_for_a_day(void **state)
{
    (void)state;
    struct strangers *s = budget(0);
    struct sockaddr_in6 a = in6("2001:db8:1:2::3");

    assert_false(is_known(s, "2001:db8:1:2::3", START));
    strangers_get_to_know(s, (struct sockaddr *)&a, START);
    assert_true(is_known(s, "2001:db8:1:2::3", START));
    assert_true(is_known(s, "2001:db8:1:2:ffff::9", START)); /* the same /64 */
    assert_false(is_known(s, "2001:db8:1:3::3", START));
    assert_true(is_known(s, "2001:db8:1:2::3", START + STRANGERS_KNOWN_US));
    assert_false(is_known(s, "2001:db8:1:2::3", START + STRANGERS_KNOWN_US + 1));
    strangers_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_have_one_budget),
        cmocka_unit_test(tokens_of_the_honest_come_back),
        cmocka_unit_test(the_burst_changes),
        cmocka_unit_test(who_was_there_is_known_for_a_day),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
