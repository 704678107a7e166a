#include "pki.h"

#include "role/client_rules.h"

static struct config_strings rule(const char **patterns, size_t count)
{
    return (struct config_strings){.items = patterns, .count = count};
}

static void the_named_may(void **state)
{
    struct pki *pki = *state;
    const char *named[] = {"edge-2", "*.example.org", "edge-1"};
    const struct config_strings yes = rule(named, 3);
    const struct config_strings no = rule(named, 2);
    const struct config_strings all = rule(NULL, 0);
    struct peer_cert *cert;
    X509 *leaf;

    pki_issue_pair(pki);
    leaf = pki_read_cert(pki, "client.crt");
    assert_int_equal(peer_cert_new(&cert, &(struct peer_cert_options){.leaf = leaf}), ERR_OK);
    X509_free(leaf);
    assert_true(client_rules_is_allowed(&yes, cert));
    assert_false(client_rules_is_allowed(&no, cert));
    assert_true(client_rules_is_allowed(&all, cert));
    peer_cert_free(cert);
}

static void nobody_is_named_by_no_rule(void **state)
{
    const char *named[] = {"edge-1", "*"};
    const struct config_strings some = rule(named, 2);
    const struct config_strings all = rule(NULL, 0);

    (void)state;
    assert_false(client_rules_is_allowed(&some, NULL));
    assert_true(client_rules_is_allowed(&all, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_named_may),
        cmocka_unit_test(nobody_is_named_by_no_rule),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
