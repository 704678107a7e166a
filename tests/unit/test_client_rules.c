#include "pki.h"

#include "role/client_rules.h"

struct stage {
    struct pki *pki;
    struct pki_path path;
    struct config *config;
    struct client_rules *rules;
    struct peer_cert *cert; /* edge-1 */
};

static void write_config(const struct stage *s, const char *allowed, const char *rest)
{
    char text[1024];

    snprintf(text, sizeof(text),
             "[dest]\n%s\n[[dest.exposed_services]]\nname = \"web\"\nport = 80\n"
             "target_ip = \"127.0.0.1\"\ntarget_port = 80\nallowed_clients = [%s]\n"
             "[auth]\nca_cert_path = \"ca.crt\"\nserver_cert_path = \"server.crt\"\n"
             "server_key_path = \"server.key\"\n",
             rest, allowed);
    unlink(s->path.text); /* another inode: clocks may be coarse */
    pki_write(s->pki, "utun.toml", text, strlen(text), 0644);
}

static void open_stage(struct stage *s, struct pki *pki)
{
    const struct config_overrides overrides = {.tunnel_port = "7000"};
    struct problems *problems = problems_new();
    X509 *cert;

    s->pki = pki;
    s->path = pki_path(pki, "utun.toml");
    write_config(s, "\"edge-1\"", "");
    assert_int_equal(config_load(&s->config, s->path.text, CONFIG_ROLE_DEST, &overrides, problems),
                     ERR_OK);
    problems_free(problems);
    assert_int_equal(client_rules_new(&s->rules, s->config), ERR_OK);
    pki_issue_pair(pki);
    cert = pki_read_cert(pki, "client.crt");
    assert_int_equal(peer_cert_new(&s->cert, cert, NULL), ERR_OK);
    X509_free(cert);
}

static void close_stage(struct stage *s)
{
    client_rules_free(s->rules);
    peer_cert_free(s->cert);
    config_free(s->config);
}

static void the_named_may(void **state)
{
    struct stage s;

    open_stage(&s, *state);
    assert_true(client_rules_is_allowed(s.rules, "web", s.cert));
    assert_false(client_rules_is_allowed(s.rules, "web", NULL));
    assert_false(client_rules_look(s.rules));
    close_stage(&s);
}

/* The option that stood in for tunnel_port at the start still does. */
static void a_changed_file_counts(void **state)
{
    struct stage s;

    open_stage(&s, *state);
    write_config(&s, "\"edge-2\", \"*.example.org\"", "");
    assert_true(client_rules_look(s.rules));
    assert_false(client_rules_is_allowed(s.rules, "web", s.cert));
    write_config(&s, "", "");
    assert_true(client_rules_look(s.rules));
    assert_true(client_rules_is_allowed(s.rules, "web", s.cert));
    assert_true(client_rules_is_allowed(s.rules, "web", NULL));
    assert_false(client_rules_look(s.rules));
    close_stage(&s);
}

static void a_bad_file_changes_nothing(void **state)
{
    struct stage s;

    open_stage(&s, *state);
    write_config(&s, "\"edge-2\"", "no_such_key = 1");
    assert_false(client_rules_look(s.rules));
    assert_true(client_rules_is_allowed(s.rules, "web", s.cert));
    unlink(s.path.text);
    assert_false(client_rules_look(s.rules));
    assert_true(client_rules_is_allowed(s.rules, "web", s.cert));
    write_config(&s, "\"edge-2\"", "");
    assert_true(client_rules_look(s.rules));
    assert_false(client_rules_is_allowed(s.rules, "web", s.cert));
    close_stage(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_named_may),
        cmocka_unit_test(a_changed_file_counts),
        cmocka_unit_test(a_bad_file_changes_nothing),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
