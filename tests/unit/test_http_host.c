#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ops/http_host.h"

static void no_name_server_is_asked_about(void **state)
{
    static const char *const fixed[] = {
        "localhost", "LocalHost:9090", "127.0.0.1",     "127.0.0.1:9090", "192.0.2.1:80",
        "[::1]",     "[::1]:9090",     "[2001:db8::1]", "localhost:",     "[::ffff:127.0.0.1]:1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (!http_host_is_fixed(fixed[i]))
            fail_msg("refused: %s", fixed[i]);
    }
}

static void anything_else_is_refused(void **state)
{
    static const char *const others[] = {
        "",
        "x",
        "attacker.example",
        "attacker.example:9090",
        "localhost.attacker.example",
        "localhost@attacker.example",
        "127.0.0.1.attacker.example",
        "attacker.example/127.0.0.1",
        "localhost.",
        "localhost:9090:1",
        "localhost:90 90",
        " localhost",
        "localhost ",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "127.0.0.1:a",
        "::1",
        "[::1",
        "[::1]x",
        "[::1]:x",
        "[::1].attacker.example",
        "[attacker.example]",
        "[127.0.0.1]",
        "[::1%lo]",
        "[",
        "[]",
        ":",
        ":9090",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (http_host_is_fixed(others[i]))
            fail_msg("taken: %s", others[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_name_server_is_asked_about),
        cmocka_unit_test(anything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
