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

static const struct config config = {
    .path = "no such file",
    .dest = {.max_connections_per_service = 3,
             .exposed_services = rows,
             .exposed_service_count = 3},
};

static void finds_by_port(void **state)
{
    (void)state;
    struct services *s;

    assert_int_equal(services_new(&s, &config, NULL), ERR_OK);
    assert_int_equal(s->count, 3);
    const struct service *db = services_find(s, 5432, "", CONFIG_TCP);
    assert_non_null(db);
    assert_string_equal(db->name, "db");
    assert_string_equal(db->target_host, "::1");
    assert_int_equal(db->target_port, 5433);
    assert_int_equal(services_find(s, 8080, "", CONFIG_TCP)->target_port, 80);
    assert_null(services_find(s, 80, "", CONFIG_TCP));
    assert_null(services_find(s, 0, "", CONFIG_TCP));
    services_free(s);
}

static void udp_services_are_no_tcp_services(void **state)
{
    (void)state;
    struct services *s;

    assert_int_equal(services_new(&s, &config, NULL), ERR_OK);
    assert_null(services_find(s, 53, "", CONFIG_TCP));
    assert_null(services_find(s, 53, "dns", CONFIG_TCP));
    assert_string_equal(services_find(s, 53, "", CONFIG_UDP)->name, "dns");
    assert_string_equal(services_find(s, 53, "dns", CONFIG_UDP)->name, "dns");
    assert_null(services_find(s, 8080, "", CONFIG_UDP));
    assert_null(services_find(s, 0, "web", CONFIG_UDP));
    /* "both" is one service with one count. */
    assert_ptr_equal(services_find(s, 5432, "", CONFIG_UDP),
                     services_find(s, 5432, "", CONFIG_TCP));
    services_free(s);
}

static void one_port_may_lead_to_two_services(void **state)
{
    (void)state;
    struct config_exposed_service twins[] = {
        {.name = "a", .target_ip = "::1", .port = 7, .target_port = 1, .protocol = CONFIG_TCP},
        {.name = "b", .target_ip = "::1", .port = 7, .target_port = 2, .protocol = CONFIG_UDP},
        {.name = "c", .target_ip = "::1", .port = 8, .target_port = 3, .protocol = CONFIG_UDP},
        {.name = "d", .target_ip = "::1", .port = 8, .target_port = 4, .protocol = CONFIG_TCP},
    };
    const struct config two = {.dest = {.exposed_services = twins, .exposed_service_count = 4}};
    struct services *s;

    assert_int_equal(services_new(&s, &two, NULL), ERR_OK);
    assert_string_equal(services_find(s, 7, "", CONFIG_TCP)->name, "a");
    assert_string_equal(services_find(s, 7, "", CONFIG_UDP)->name, "b");
    assert_string_equal(services_find(s, 8, "", CONFIG_UDP)->name, "c");
    assert_string_equal(services_find(s, 8, "", CONFIG_TCP)->name, "d");
    services_free(s);
}

static void a_name_counts_with_its_port(void **state)
{
    (void)state;
    struct services *s;

    assert_int_equal(services_new(&s, &config, NULL), ERR_OK);
    assert_int_equal(services_find(s, 8080, "web", CONFIG_TCP)->target_port, 80);
    assert_null(services_find(s, 0, "web", CONFIG_TCP));
    assert_null(services_find(s, 5432, "web", CONFIG_TCP));
    assert_null(services_find(s, 8080, "wEb", CONFIG_TCP));
    services_free(s);
}

static void no_services_at_all(void **state)
{
    (void)state;
    const struct config empty = {.dest = {.max_connections_per_service = 3}};
    struct services *s;

    assert_int_equal(services_new(&s, &empty, NULL), ERR_OK);
    assert_null(services_find(s, 80, "", CONFIG_TCP));
    assert_null(services_find(s, 80, "web", CONFIG_TCP));
    services_free(s);
}

/* The same name is the same service, whatever else has changed. */
static void the_next_table_shares_places(void **state)
{
    (void)state;
    struct config_exposed_service next[] = {
        {.name = "db", .target_ip = "::1", .port = 1, .target_port = 5433, .protocol = CONFIG_TCP},
        {.name = "new", .target_ip = "::1", .port = 2, .target_port = 3, .protocol = CONFIG_TCP},
        {.name = "web",
         .target_ip = "web.lan",
         .port = 8080,
         .target_port = 80,
         .protocol = CONFIG_BOTH},
    };
    const struct config after = {.dest = {.exposed_services = next, .exposed_service_count = 3}};
    struct services *before;
    struct services *s;
    size_t match[3];

    assert_int_equal(services_new(&before, &config, NULL), ERR_OK);
    assert_int_equal(services_new(&s, &after, before), ERR_OK);
    assert_int_equal(services_match(match, s, before), ERR_OK);
    const struct service *old_db = services_find(before, 5432, "db", CONFIG_TCP);
    const struct service *old_web = services_find(before, 8080, "web", CONFIG_TCP);
    assert_int_equal(match[0], old_db->index);
    assert_int_equal(match[1], SERVICES_NONE);
    assert_int_equal(match[2], old_web->index);
    assert_ptr_equal(s->items[0].places, old_db->places);
    assert_ptr_equal(s->items[2].places, old_web->places);
    assert_false(service_is_same_target(&s->items[0], old_db)); /* another port */
    assert_true(service_is_same_target(&s->items[2], old_web));
    services_free(before);
    assert_int_equal(s->items[2].places->active, 0);
    services_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_by_port),
        cmocka_unit_test(udp_services_are_no_tcp_services),
        cmocka_unit_test(one_port_may_lead_to_two_services),
        cmocka_unit_test(a_name_counts_with_its_port),
        cmocka_unit_test(no_services_at_all),
        cmocka_unit_test(the_next_table_shares_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
