#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "config/effective.h"

#define AUTH                                                                                       \
    "[auth]\nca_cert_path = \"ca\"\nclient_cert_path = \"c\"\nclient_key_path = \"k\"\n"           \
    "server_cert_path = \"c\"\nserver_key_path = \"k\"\n"
#define SOURCE "[source]\ndest_host = [\"a.example\", \"::1\"]\ndest_tunnel_port = 9443\n"
#define DEST   "[dest]\ntunnel_port = 9443\n"

static struct config *parsed(const char *text, enum config_role role,
                             const struct config_overrides *overrides)
{
    struct problems *problems = problems_new();
    struct config *config;

    if (config_parse(&config, text, strlen(text), "x.toml", role, overrides, problems) != ERR_OK)
        fail_msg("%s", problems_at(problems, 0)->text);
    problems_free(problems);
    return config;
}

/* The n-th (from 0) of the keys of that name in the section; false if there are fewer. */
static bool find(struct effective *out, const struct config *config, enum schema_section_id section,
                 const char *key, size_t n)
{
    *out = effective_begin(config, CONFIG_ROLE_ANY);
    while (effective_next(out)) {
        if (out->section == section && strcmp(out->key->name, key) == 0 && n-- == 0)
            return true;
    }
    return false;
}

static void assert_prints(const struct effective *e, const char *wanted)
{
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    effective_print(memory, e);
    fclose(memory);
    assert_string_equal(text, wanted);
    free(text);
}

static void each_value_knows_where_it_came_from(void **state)
{
    const struct config_overrides overrides = {.dest_tunnel_port = "1", .log_level = "debug"};
    struct config *config =
        parsed(SOURCE "max_connections = 7\n" AUTH, CONFIG_ROLE_ANY, &overrides);
    struct effective e;

    (void)state;
    assert_true(find(&e, config, SCHEMA_SOURCE, "dest_tunnel_port", 0));
    assert_int_equal(e.origin, EFFECTIVE_OPTION);
    assert_string_equal(e.place.file, "--dest-tunnel-port");
    assert_prints(&e, "1");
    assert_true(find(&e, config, SCHEMA_SOURCE, "max_connections", 0));
    assert_int_equal(e.origin, EFFECTIVE_FILE);
    assert_int_equal(e.place.line, 4);
    assert_int_equal(e.place.column, 19);
    assert_int_equal(effective_integer(&e), 7);
    assert_true(find(&e, config, SCHEMA_SOURCE, "mode", 0));
    assert_int_equal(e.origin, EFFECTIVE_DEFAULT);
    assert_string_equal(effective_word(&e), "transparent");
    assert_true(find(&e, config, SCHEMA_LOGGING, "level", 0));
    assert_prints(&e, "\"debug\"");
    config_free(config);
}

static void every_key_of_the_sections_comes_once(void **state)
{
    struct config *config = parsed(SOURCE DEST AUTH, CONFIG_ROLE_ANY, NULL);
    struct effective e = effective_begin(config, CONFIG_ROLE_ANY);
    size_t count;
    const struct schema_key *keys = schema_keys(&count);
    size_t at = 0;

    (void)state;
    while (effective_next(&e)) {
        /* The services are none, so their keys are not there; the one implied port is. */
        while (keys[at].section == SCHEMA_EXPOSED_SERVICES)
            at++;
        assert_ptr_equal(e.key, &keys[at]);
        at++;
    }
    assert_int_equal(at, count);
    config_free(config);
}

static void blocks_come_one_after_the_other(void **state)
{
    struct config *config = parsed(
        SOURCE
        "[[source.exposed_ports]]\nport = 1\n[[source.exposed_ports]]\nport = 2\n"
        "protocol = \"udp\"\n" DEST
        "[[dest.exposed_services]]\nname = \"a\"\nport = 5\ntarget_ip = \"h\"\n"
        "target_port = 6\nallowed_clients = [\"x\", \"*.y\"]\ndescription = 'a \"b\\'\n" AUTH,
        CONFIG_ROLE_ANY, NULL);
    struct effective e;

    (void)state;
    assert_true(find(&e, config, SCHEMA_EXPOSED_PORTS, "port", 1));
    assert_int_equal(e.index, 1);
    assert_int_equal(effective_integer(&e), 2);
    assert_true(find(&e, config, SCHEMA_EXPOSED_PORTS, "protocol", 0));
    assert_int_equal(e.origin, EFFECTIVE_DEFAULT);
    assert_prints(&e, "\"tcp\"");
    assert_true(find(&e, config, SCHEMA_EXPOSED_PORTS, "protocol", 1));
    assert_int_equal(e.origin, EFFECTIVE_FILE);
    assert_prints(&e, "\"udp\"");
    assert_false(find(&e, config, SCHEMA_EXPOSED_PORTS, "port", 2));
    assert_true(find(&e, config, SCHEMA_EXPOSED_SERVICES, "allowed_clients", 0));
    assert_prints(&e, "[\"x\", \"*.y\"]");
    assert_true(find(&e, config, SCHEMA_EXPOSED_SERVICES, "description", 0));
    assert_prints(&e, "\"a \\\"b\\\\\"");
    config_free(config);
}

static void values_are_in_the_units_of_the_file(void **state)
{
    struct config *config =
        parsed(SOURCE "frame_buffer_size = 1\nwrite_queue_size = 65536\nmemory_budget_mb = 64\n"
                      "accept_proxy_protocol = [\"10.0.0.0/8\", \"::1\"]\n" AUTH
                      "[crypto]\nkem_mode = \"mlkem768\"\n",
               CONFIG_ROLE_SOURCE, NULL);
    struct effective e;

    (void)state;
    assert_true(find(&e, config, SCHEMA_SOURCE, "memory_budget_mb", 0));
    assert_int_equal(effective_integer(&e), 64);
    /* What other keys and bounds make of a value is what counts. */
    assert_true(find(&e, config, SCHEMA_SOURCE, "frame_buffer_size", 0));
    assert_int_equal(effective_integer(&e), 192);
    assert_true(find(&e, config, SCHEMA_SOURCE, "write_queue_size", 0));
    assert_int_equal(effective_integer(&e), 1024);
    assert_true(find(&e, config, SCHEMA_CRYPTO, "max_handshake_size", 0));
    assert_int_equal(effective_integer(&e), 65536);
    assert_true(find(&e, config, SCHEMA_SOURCE, "accept_proxy_protocol", 0));
    assert_prints(&e, "[\"10.0.0.0/8\", \"::1/128\"]");
    assert_true(find(&e, config, SCHEMA_SOURCE, "dest_host", 0));
    assert_prints(&e, "[\"a.example\", \"::1\"]");
    assert_true(find(&e, config, SCHEMA_SOURCE, "reconnection_enabled", 0));
    assert_prints(&e, "true");
    assert_true(find(&e, config, SCHEMA_AUTH, "crl_path", 0));
    assert_false(effective_is_set(&e));
    assert_true(find(&e, config, SCHEMA_AUTH, "ca_cert_path", 0));
    assert_true(effective_is_set(&e));
    config_free(config);
}

static void a_role_sees_its_own_sections_only(void **state)
{
    struct config *config = parsed(SOURCE DEST AUTH, CONFIG_ROLE_ANY, NULL);
    struct effective e = effective_begin(config, CONFIG_ROLE_DEST);

    (void)state;
    while (effective_next(&e))
        assert_int_not_equal(schema_section(e.section)->role, CONFIG_ROLE_SOURCE);
    config_free(config);
}

static void control_characters_are_escaped(void **state)
{
    struct config *config =
        parsed(DEST "[[dest.exposed_services]]\nname = \"a\"\nport = 5\ntarget_ip = \"h\"\n"
                    "target_port = 6\ndescription = \"\\u001b[31m\\n\\u007f\"\n" AUTH,
               CONFIG_ROLE_DEST, NULL);
    struct effective e;

    (void)state;
    assert_true(find(&e, config, SCHEMA_EXPOSED_SERVICES, "description", 0));
    assert_prints(&e, "\"\\u001B[31m\\u000A\\u007F\"");
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_knows_where_it_came_from),
        cmocka_unit_test(every_key_of_the_sections_comes_once),
        cmocka_unit_test(blocks_come_one_after_the_other),
        cmocka_unit_test(values_are_in_the_units_of_the_file),
        cmocka_unit_test(a_role_sees_its_own_sections_only),
        cmocka_unit_test(control_characters_are_escaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
