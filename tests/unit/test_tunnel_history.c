#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "role/tunnel_history.h"

static void a_pause_lasts_from_the_first_loss(void **state)
{
    struct tunnel_history h;

    (void)state;
    tunnel_history_init(&h, 100);
    assert_int_equal(h.since, 100);
    assert_int_equal(tunnel_history_pause(&h, 1000), 0);
    tunnel_history_on_uncarried(&h, 2000);
    tunnel_history_on_uncarried(&h, 3000);
    assert_int_equal(tunnel_history_pause(&h, 4500), 2500);
    assert_int_equal(tunnel_history_pause(&h, 1000), 0);
}

static void what_the_peer_said_belongs_to_the_next_loss(void **state)
{
    struct tunnel_history h;

    (void)state;
    tunnel_history_init(&h, 1);
    tunnel_history_on_go_away(&h, WIRE_SHUTDOWN, "going home");
    assert_false(h.loss.is_set);
    tunnel_history_on_lost(&h, ERR_CLOSED, 10);
    assert_int_equal(h.loss.why, ERR_CLOSED);
    assert_int_equal(h.loss.code, WIRE_SHUTDOWN);
    assert_string_equal(h.loss.text, "going home");
    tunnel_history_on_lost(&h, ERR_HEARTBEAT, 20);
    assert_int_equal(h.loss.code, WIRE_NO_ERROR);
    assert_string_equal(h.loss.text, err_text(ERR_HEARTBEAT));
    assert_int_equal(h.loss.at_us, 20);
}

static void to_be_overtaken_is_no_loss(void **state)
{
    struct tunnel_history h;

    (void)state;
    tunnel_history_init(&h, 1);
    tunnel_history_on_lost(&h, ERR_SUPERSEDED, 10);
    assert_false(h.loss.is_set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pause_lasts_from_the_first_loss),
        cmocka_unit_test(what_the_peer_said_belongs_to_the_next_loss),
        cmocka_unit_test(to_be_overtaken_is_no_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
