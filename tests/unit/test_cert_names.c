#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "crypto/cert_names.h"

static void dns_names_follow_the_rules(void **state)
{
    static const char *const good[] = {
        "localhost", "dest.example.com",      "*.example.com",  "*.sub.example.com",
        "a-b.c",     "xn--bcher-kva.example", "my_db.internal", "1and1.example",
        "A.B.C",
    };
    static const char *const bad[] = {
        "",          ".",       "a..b",           ".a",  "a.",  "-a.com", "a-.com", "*",
        "*.com",     "a.*.com", "*a.com",         "a b", "a/b", "a:80",   "a\n",    "*.*.com",
        "192.0.2.1", "::1",     "b\u00fccher.de",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!cert_names_is_dns(good[i], NULL))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *why = NULL;

        if (cert_names_is_dns(bad[i], &why))
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
    }
}

static void dns_names_and_labels_have_a_greatest_length(void **state)
{
    char name[300];

    (void)state;
    memset(name, 'a', sizeof(name));
    name[63] = 0;
    assert_true(cert_names_is_dns(name, NULL));
    name[63] = 'a';
    name[64] = 0;
    assert_false(cert_names_is_dns(name, NULL));

    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    name[253] = 0;
    assert_true(cert_names_is_dns(name, NULL));
    name[253] = 'a';
    name[254] = 0;
    assert_false(cert_names_is_dns(name, NULL));
}

static void addresses_are_what_inet_pton_reads(void **state)
{
    (void)state;
    assert_true(cert_names_is_ip("192.0.2.1"));
    assert_true(cert_names_is_ip("2001:db8::1"));
    assert_true(cert_names_is_ip("::ffff:192.0.2.1"));
    assert_false(cert_names_is_ip("[::1]"));
    assert_false(cert_names_is_ip("fe80::1%eth0"));
    assert_false(cert_names_is_ip("192.0.2"));
    assert_false(cert_names_is_ip("192.0.2.1/24"));
    assert_false(cert_names_is_ip("192.0.2.256"));
    assert_false(cert_names_is_ip(""));
}

static int add_all(const char *dns, const char *ip, const char *uri, enum err *e,
                   struct err_detail *d)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    int count = 0;

    *e = cert_names_add_dns(names, dns, d);
    if (*e == ERR_OK)
        *e = cert_names_add_ip(names, ip, d);
    if (*e == ERR_OK)
        *e = cert_names_add_uri(names, uri, d);
    count = sk_GENERAL_NAME_num(names);
    GENERAL_NAMES_free(names);
    return count;
}

static void lists_are_split_trimmed_and_without_doubles(void **state)
{
    enum err e = ERR_OK;

    (void)state;
    assert_int_equal(add_all(NULL, NULL, NULL, &e, NULL), 0);
    assert_int_equal(e, ERR_OK);
    assert_int_equal(add_all("a, b ,a", "::1,0:0:0:0:0:0:0:1, 127.0.0.1", "spiffe://x/y", &e, NULL),
                     5);
    assert_int_equal(e, ERR_OK);
}

static void a_bad_entry_is_named(void **state)
{
    static const struct {
        const char *dns, *ip, *uri, *named;
    } cases[] = {
        {"good,b\u00fccher.de", NULL, NULL, "punycode"},
        {"10.0.0.1", NULL, NULL, "--ip-addresses"},
        {"a,,b", NULL, NULL, "empty"},
        {"a,", NULL, NULL, "empty"},
        {"", NULL, NULL, "empty"},
        {NULL, "127.0.0.1,[::1]", NULL, "\"[::1]\""},
        {NULL, "example.com", NULL, "\"example.com\""},
        {NULL, NULL, "no scheme", "spiffe://"},
        {NULL, NULL, "http:", "spiffe://"},
        {NULL, NULL, "1http://x", "spiffe://"},
        {NULL, NULL, "x://\xc3\xbc", "spiffe://"},
    };
    struct err_detail d;
    enum err e = ERR_OK;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)add_all(cases[i].dns, cases[i].ip, cases[i].uri, &e, &d);
        assert_int_equal(e, ERR_USAGE);
        if (strstr(d.text, cases[i].named) == NULL)
            fail_msg("\"%s\" does not say %s", d.text, cases[i].named);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dns_names_follow_the_rules),
        cmocka_unit_test(dns_names_and_labels_have_a_greatest_length),
        cmocka_unit_test(addresses_are_what_inet_pton_reads),
        cmocka_unit_test(lists_are_split_trimmed_and_without_doubles),
        cmocka_unit_test(a_bad_entry_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
