#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "role/client_table.h"

#define HEAD "[source]\ndest_host = \"d.example\"\ndest_tunnel_port = 1\nlisten_port = 8443\n"
#define AUTH "[auth]\nca_cert_path = \"a\"\nclient_cert_path = \"b\"\nclient_key_path = \"c\"\n"
#define PORT "[[source.exposed_ports]]\nport = "

static struct client_table *table(const char *ports, const char *mode,
                                  const struct client_table *before)
{
    struct problems *problems = problems_new();
    struct client_table *t;
    struct config *config;
    struct err_detail d;
    char text[1000];

    snprintf(text, sizeof(text), HEAD "mode = \"%s\"\n%s" AUTH, mode, ports);
    if (config_parse(&config, text, strlen(text), "utun.toml", CONFIG_ROLE_SOURCE, NULL,
                     problems) != ERR_OK)
        fail_msg("%s", problems_at(problems, 0)->text);
    problems_free(problems);
    assert_int_equal(client_table_new(&t, config, before, &d), ERR_OK);
    config_free(config); /* the table has it too */
    return t;
}

static void lists_what_is_listened_on(void **state)
{
    struct client_table *t =
        table(PORT "80\nprotocol = \"both\"\n" PORT "53\nprotocol = \"udp\"\n", "hybrid", NULL);

    (void)state;
    assert_int_equal(t->port_count, 4);
    assert_int_equal(t->ports[0].configured, 8443);
    assert_int_equal(t->ports[0].speech, ENTRY_PROXY);
    assert_int_equal(client_table_find(t, LISTENER_TCP, 80, NULL), 1);
    assert_int_equal(client_table_find(t, LISTENER_UDP, 80, NULL), 2);
    assert_int_equal(client_table_find(t, LISTENER_UDP, 53, NULL), 3);
    assert_int_equal(client_table_find(t, LISTENER_TCP, 53, NULL), CLIENT_TABLE_NONE);
    assert_int_equal(client_table_find(NULL, LISTENER_TCP, 53, NULL), CLIENT_TABLE_NONE);
    client_table_free(t);
    t = table(PORT "80\n", "protocol", NULL);
    assert_int_equal(t->port_count, 1);
    client_table_free(t);
    client_table_free(NULL);
}

/* Also those that nobody listens on in this mode: a change of it may need them. */
static void knows_which_numbers_mean_something(void **state)
{
    static const char rows[] =
        PORT "80\nlisten_path = \"/run/x\"\n" PORT "53\nprotocol = \"both\"\n";
    static const uint16_t wanted[] = {8443, 9090, 80, 53};
    static const char *const modes[] = {"protocol", "hybrid"};

    (void)state;
    for (size_t m = 0; m < 2; m++) {
        struct client_table *t = table(rows, modes[m], NULL);

        assert_int_equal(t->named_count, 4);
        assert_memory_equal(t->named, wanted, sizeof(wanted));
        client_table_free(t);
    }
}

/* What both have stays what it has got; the same number of another protocol is another port. */
static void the_next_table_keeps_ports(void **state)
{
    struct client_table *before = table(PORT "80\n" PORT "81\n", "transparent", NULL);
    struct client_table *t;

    (void)state;
    before->ports[0].port = 1080;
    before->ports[1].port = 1081;
    t = table(PORT "82\n" PORT "81\nprotocol = \"both\"\n", "transparent", before);
    assert_int_equal(t->port_count, 3);
    assert_int_equal(t->ports[0].port, 0);
    assert_false(client_table_has(before, &t->ports[0]));
    assert_int_equal(t->ports[1].port, 1081);
    assert_true(client_table_has(before, &t->ports[1]));
    assert_int_equal(t->ports[2].port, 0);
    assert_false(client_table_has(before, &t->ports[2]));
    assert_false(client_table_has(t, &before->ports[0]));
    client_table_free(before);
    client_table_free(t);
}

/* A port that becomes the entry point is the same socket, that listens to something else. */
static void the_mode_changes_what_is_heard(void **state)
{
    struct client_table *before = table(PORT "8443\n", "transparent", NULL);
    struct client_table *t;

    (void)state;
    before->ports[0].port = 8443;
    t = table("", "protocol", before);
    assert_int_equal(t->port_count, 1);
    assert_int_equal(t->ports[0].port, 8443);
    assert_int_equal(before->ports[0].speech, ENTRY_SILENT);
    assert_int_equal(t->ports[0].speech, ENTRY_PROXY);
    client_table_free(before);
    client_table_free(t);
}

/* Its path is what a Unix socket is known by, whatever port it stands for. */
static void sockets_go_by_their_path(void **state)
{
    struct client_table *before = table(PORT "80\nlisten_path = \"/run/x\"\n", "transparent", NULL);
    struct client_table *t;

    (void)state;
    before->ports[0].file.inode = 7;
    t = table(PORT "80\n" PORT "81\nlisten_path = \"/run/x\"\n", "transparent", before);
    assert_int_equal(client_table_find(t, LISTENER_TCP, 80, NULL), 0);
    assert_false(client_table_has(before, &t->ports[0]));
    assert_true(client_table_has(before, &t->ports[1]));
    assert_int_equal(t->ports[1].file.inode, 7);
    client_table_free(before);
    client_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_what_is_listened_on),
        cmocka_unit_test(knows_which_numbers_mean_something),
        cmocka_unit_test(the_next_table_keeps_ports),
        cmocka_unit_test(the_mode_changes_what_is_heard),
        cmocka_unit_test(sockets_go_by_their_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
