#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "config/changes.h"

#define AUTH                                                                                       \
    "[auth]\nca_cert_path = \"ca\"\nclient_cert_path = \"c\"\nclient_key_path = \"k\"\n"           \
    "server_cert_path = \"s\"\nserver_key_path = \"t\"\n"

#define SOURCE "[source]\ndest_host = \"d.example\"\ndest_tunnel_port = 7000\n"
#define DEST   "[dest]\ntunnel_port = 7000\n"

static struct config *parse(const char *text, enum config_role role)
{
    struct problems *problems = problems_new();
    struct config *config;

    if (config_parse(&config, text, strlen(text), "utun.toml", role, NULL, problems) != ERR_OK)
        fail_msg("%s", problems_at(problems, 0)->text);
    problems_free(problems);
    return config;
}

/* The keys of each effect that differ, joined: "live|next|restart". */
static void assert_changes(const char *old_text, const char *fresh_text, enum config_role role,
                           const char *wanted)
{
    struct config *old = parse(old_text, role);
    struct config *fresh = parse(fresh_text, role);
    struct config_changes changes;
    char live[300];
    char next[300];
    char fixed[300];
    char all[1000];

    config_compare(&changes, old, fresh, role);
    config_changes_list(&changes, SCHEMA_LIVE, live, sizeof(live));
    config_changes_list(&changes, SCHEMA_NEXT, next, sizeof(next));
    config_changes_list(&changes, SCHEMA_RESTART, fixed, sizeof(fixed));
    snprintf(all, sizeof(all), "%s|%s|%s", live, next, fixed);
    assert_string_equal(all, wanted);
    config_free(old);
    config_free(fresh);
}

static void the_same_has_no_changes(void **state)
{
    (void)state;
    assert_changes(SOURCE AUTH, SOURCE AUTH, CONFIG_ROLE_SOURCE, "||");
    /* Saying the default changes nothing. */
    assert_changes(SOURCE AUTH, SOURCE "workers = 1\n" AUTH "[logging]\nlevel = \"info\"\n",
                   CONFIG_ROLE_SOURCE, "||");
    assert_changes(DEST AUTH, DEST AUTH, CONFIG_ROLE_DEST, "||");
}

static void each_key_says_when_it_acts(void **state)
{
    (void)state;
    assert_changes(SOURCE AUTH,
                   SOURCE "max_connections = 5\nworkers = 2\nlisten_ip = \"::\"\n" AUTH
                          "[crypto]\nkem_mode = \"mlkem768\"\nmax_handshake_size = 2097152\n"
                          "[metrics]\nmetrics_port = 1\n",
                   CONFIG_ROLE_SOURCE,
                   "source.max_connections|crypto.kem_mode|"
                   "source.listen_ip, source.workers, metrics.metrics_port");
    assert_changes("[source]\ndest_host = [\"a\", \"b\"]\ndest_tunnel_port = 1\n" AUTH,
                   "[source]\ndest_host = [\"b\", \"a\"]\ndest_tunnel_port = 1\n" AUTH,
                   CONFIG_ROLE_SOURCE, "source.dest_host||");
    assert_changes(DEST "[dest.connection_filter]\nallowed_source_ips = [\"10.0.0.0/8\"]\n" AUTH,
                   DEST "[dest.connection_filter]\nallowed_source_ips = [\"10.0.0.0/9\"]\n" AUTH,
                   CONFIG_ROLE_DEST, "dest.connection_filter.allowed_source_ips||");
    assert_changes(DEST AUTH, DEST AUTH "crl_path = \"crl\"\n", CONFIG_ROLE_DEST,
                   "auth.crl_path||");
}

static void an_array_counts_as_one(void **state)
{
#define WEB                                                                                        \
    "[[dest.exposed_services]]\nname = \"web\"\nport = 80\ntarget_ip = \"::1\"\ntarget_port = "
#define NAMED "allowed_clients = [\"a\"]\n"
    (void)state;
    assert_changes(DEST WEB "1\n" AUTH, DEST WEB "1\n" AUTH, CONFIG_ROLE_DEST, "||");
    assert_changes(DEST WEB "1\n" AUTH, DEST WEB "2\n" AUTH, CONFIG_ROLE_DEST,
                   "dest.exposed_services||");
    assert_changes(DEST WEB "1\n" AUTH, DEST WEB "1\n" NAMED AUTH, CONFIG_ROLE_DEST,
                   "dest.exposed_services||");
    assert_changes(DEST WEB "1\n" AUTH, DEST AUTH, CONFIG_ROLE_DEST, "dest.exposed_services||");
}

/* A file with both roles: a role does not speak of the other's keys. */
static void the_other_role_does_not_count(void **state)
{
    (void)state;
    assert_changes(SOURCE DEST AUTH, SOURCE "workers = 2\n" DEST "max_tunnels = 2\n" AUTH,
                   CONFIG_ROLE_DEST, "dest.max_tunnels||");
}

static void what_is_fixed_is_kept(void **state)
{
    struct config *old =
        parse(SOURCE "listen_ip = \"127.0.0.1\"\nworkers = 2\n" AUTH, CONFIG_ROLE_SOURCE);
    struct config *fresh =
        parse(SOURCE "workers = 3\nmax_connections = 7\n" AUTH "[metrics]\nenabled = false\n",
              CONFIG_ROLE_SOURCE);
    struct config_changes changes;
    char fixed[10];

    (void)state;
    config_compare(&changes, old, fresh, CONFIG_ROLE_SOURCE);
    /* All are counted, also those whose names do not fit. */
    assert_int_equal(config_changes_list(&changes, SCHEMA_RESTART, fixed, sizeof(fixed)), 3);
    assert_string_equal(fixed, "source.li");
    assert_true(config_changes_has(&changes, SCHEMA_SOURCE, "workers"));
    assert_false(config_changes_has(&changes, SCHEMA_SOURCE, "mode"));
    assert_int_equal(config_keep_fixed(fresh, old, CONFIG_ROLE_SOURCE), ERR_OK);
    config_free(old);
    assert_string_equal(fresh->source.listen_ip, "127.0.0.1");
    assert_int_equal(fresh->source.workers, 2);
    assert_true(fresh->metrics.enabled);
    assert_int_equal(fresh->source.max_connections, 7);
    config_free(fresh);
}

/* config_keep_fixed copies texts and numbers, no lists; arrays of tables change as a whole. */
static void every_key_has_an_effect(void **state)
{
    size_t count;
    const struct schema_key *keys = schema_keys(&count);

    (void)state;
    assert_true(count <= CONFIG_CHANGES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_int_not_equal(keys[i].effect, SCHEMA_EFFECT_NONE);
        if (schema_section(keys[i].section)->is_array || keys[i].type == SCHEMA_HOSTS ||
            keys[i].type == SCHEMA_RANGES || keys[i].type == SCHEMA_PATTERNS)
            assert_int_equal(keys[i].effect, SCHEMA_LIVE);
    }
}

static void lives_as_long_as_its_last_owner(void **state)
{
    struct config *first = parse(SOURCE AUTH, CONFIG_ROLE_SOURCE);
    const struct config *second = config_share(first);

    (void)state;
    assert_ptr_equal(first, second);
    config_free(first);
    assert_string_equal(second->source.dest_host.items[0], "d.example");
    config_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_has_no_changes),
        cmocka_unit_test(each_key_says_when_it_acts),
        cmocka_unit_test(an_array_counts_as_one),
        cmocka_unit_test(the_other_role_does_not_count),
        cmocka_unit_test(what_is_fixed_is_kept),
        cmocka_unit_test(every_key_has_an_effect),
        cmocka_unit_test(lives_as_long_as_its_last_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
