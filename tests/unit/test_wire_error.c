#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/wire_error.h"

/* What one end says is what the other end hears. */
static void codes_come_back_as_their_errors(void **state)
{
    (void)state;
    static const enum err errors[] = {ERR_REFUSED, ERR_UNREACHABLE, ERR_TIMEOUT, ERR_RESOLVE,
                                      ERR_LIMIT,   ERR_SHUTDOWN,    ERR_RESET};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        assert_int_equal(wire_error(wire_code_of(errors[i])), errors[i]);
    assert_int_equal(wire_code_of(ERR_BUDGET), WIRE_LIMIT);
    assert_int_equal(wire_code_of(ERR_NOMEM), WIRE_INTERNAL);
    assert_int_equal(wire_error(WIRE_NO_SERVICE), ERR_NO_SERVICE);
    assert_int_equal(wire_error(WIRE_NOT_ALLOWED), ERR_NOT_ALLOWED);
    assert_int_equal(wire_error(WIRE_SESSION_LOST), ERR_CLOSED);
}

static void a_peer_may_send_any_code(void **state)
{
    (void)state;
    for (unsigned code = 0; code <= UINT16_MAX; code++)
        assert_int_not_equal(wire_error((enum wire_code)code), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_come_back_as_their_errors),
        cmocka_unit_test(a_peer_may_send_any_code),
    };

    return cmocka_run_group_tests_name("wire_error", tests, NULL, NULL);
}
