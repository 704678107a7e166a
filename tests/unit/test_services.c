#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "role/services.h"

static struct config_exposed_service rows[] = {
    {.name = "web",
     .target_ip = "web.lan",
     .port = 8080,
     .target_port = 80,
     .protocol = CONFIG_TCP},
    {.name = "dns",
     .target_ip = "127.0.0.1",
     .port = 53,
     .target_port = 53,
     .protocol = CONFIG_UDP},
    {.name = "db", .target_ip = "::1", .port = 5432, .target_port = 5433, .protocol = CONFIG_BOTH},
};

static const struct config_dest dest = {
    .max_connections_per_service = 3,
    .exposed_services = rows,
    .exposed_service_count = 3,
};

static void finds_by_port(void **state)
{
    (void)state;
    struct services s;

    assert_int_equal(services_init(&s, &dest), ERR_OK);
    assert_int_equal(s.count, 2);
    struct service *db = services_find(&s, 5432, "");
    assert_non_null(db);
    assert_string_equal(db->name, "db");
    assert_string_equal(db->target_host, "::1");
    assert_int_equal(db->target_port, 5433);
    assert_int_equal(services_find(&s, 8080, "")->target_port, 80);
    assert_null(services_find(&s, 80, ""));
    assert_null(services_find(&s, 0, ""));
    services_fini(&s);
}

static void udp_services_are_no_tcp_services(void **state)
{
    (void)state;
    struct services s;

    assert_int_equal(services_init(&s, &dest), ERR_OK);
    assert_null(services_find(&s, 53, ""));
    assert_null(services_find(&s, 0, "dns"));
    services_fini(&s);
}

static void a_name_counts_and_not_the_port(void **state)
{
    (void)state;
    struct services s;

    assert_int_equal(services_init(&s, &dest), ERR_OK);
    assert_int_equal(services_find(&s, 0, "web")->port, 8080);
    assert_int_equal(services_find(&s, 5432, "web")->port, 8080);
    assert_null(services_find(&s, 8080, "wEb"));
    services_fini(&s);
}

static void the_limit_holds(void **state)
{
    (void)state;
    struct services s;

    assert_int_equal(services_init(&s, &dest), ERR_OK);
    struct service *web = services_find(&s, 8080, "");
    for (int i = 0; i < 3; i++)
        assert_true(service_enter(web));
    assert_false(service_enter(web));
    assert_false(service_enter(web));
    service_leave(web);
    assert_true(service_enter(web));
    assert_false(service_enter(web));
    /* Another service has its own count. */
    assert_true(service_enter(services_find(&s, 5432, "")));
    services_fini(&s);
}

static void no_services_at_all(void **state)
{
    (void)state;
    const struct config_dest empty = {.max_connections_per_service = 3};
    struct services s;

    assert_int_equal(services_init(&s, &empty), ERR_OK);
    assert_null(services_find(&s, 80, ""));
    assert_null(services_find(&s, 80, "web"));
    services_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_by_port),
        cmocka_unit_test(udp_services_are_no_tcp_services),
        cmocka_unit_test(a_name_counts_and_not_the_port),
        cmocka_unit_test(the_limit_holds),
        cmocka_unit_test(no_services_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
