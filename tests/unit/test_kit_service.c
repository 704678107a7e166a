#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "role/kit_service.h"

static struct kit_service parsed(const char *text)
{
    struct kit_service s;
    struct err_detail d = {""};

    if (kit_service_parse(&s, text, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return s;
}

static void a_service_is_read_part_by_part(void **state)
{
    (void)state;
    struct kit_service s = parsed("web:8080:10.0.0.5:80");
    assert_string_equal(s.name, "web");
    assert_int_equal(s.port, 8080);
    assert_string_equal(s.target_host, "10.0.0.5");
    assert_int_equal(s.target_port, 80);
    assert_int_equal(s.protocol, CONFIG_TCP);
    s = parsed("a.b-c_d:1:db.internal.example:65535/both");
    assert_string_equal(s.name, "a.b-c_d");
    assert_string_equal(s.target_host, "db.internal.example");
    assert_int_equal(s.target_port, 65535);
    assert_int_equal(s.protocol, CONFIG_BOTH);
    assert_int_equal(parsed("x:1:h:2/udp").protocol, CONFIG_UDP);
    assert_int_equal(parsed("x:1:h:2/tcp").protocol, CONFIG_TCP);
}

static void an_ipv6_target_stands_in_brackets(void **state)
{
    struct kit_service s = parsed("dns:53:[fd00::1]:5353/udp");

    (void)state;
    assert_string_equal(s.target_host, "fd00::1");
    assert_int_equal(s.target_port, 5353);
}

static void each_fault_is_named_with_the_form(void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"", "a part is missing"},
        {"web", "a part is missing"},
        {"web:8080", "a part is missing"},
        {"web:8080:80", "a part is missing"},
        {":8080:h:80", "'name' must be"},
        {"a b:8080:h:80", "'name' must be"},
        {"web:0:h:80", "'port' must be 1 to 65535"},
        {"web:70000:h:80", "'port' must be 1 to 65535, not 70000"},
        {"web:http:h:80", "'port' must be a whole number"},
        {"web:8080::80", "'target_ip' must be"},
        {"web:8080:10.0.0.256:80", "'target_ip' must be"},
        {"web:8080:fd00::1:80", "brackets"},
        {"web:8080:[fd00::1:80", "brackets"},
        {"web:8080:[]:80", "brackets"},
        {"web:8080:h:", "'target_port' must be"},
        {"web:8080:h:99999", "'target_port' must be"},
        {"web:8080:h:80/sctp", "'protocol' must be one of"},
        {"web:8080:h:80/", "'protocol' must be one of"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kit_service s;
        struct err_detail d = {""};

        assert_int_equal(kit_service_parse(&s, cases[i].text, &d), ERR_USAGE);
        if (strstr(d.text, cases[i].why) == NULL || strstr(d.text, KIT_SERVICE_FORM) == NULL)
            fail_msg("%s: %s", cases[i].text, d.text);
    }
}

static void a_long_word_is_refused_and_not_cut(void **state)
{
    char text[2000];
    struct kit_service s;
    struct err_detail d;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text + sizeof(text) - 13, ":1:h:80/udp", 12);
    assert_int_equal(kit_service_parse(&s, text, &d), ERR_USAGE);
    assert_non_null(strstr(d.text, "too long"));
}

static enum err last_of(const char *first, const char *second, struct err_detail *d)
{
    const struct kit_service both[] = {parsed(first), parsed(second)};

    return kit_service_check_last(both, 2, d);
}

static void services_must_not_meet(void **state)
{
    struct err_detail d;

    (void)state;
    assert_int_equal(last_of("a:1:h:1", "b:2:h:1", &d), ERR_OK);
    assert_int_equal(last_of("a:1:h:1/tcp", "b:1:h:1/udp", &d), ERR_OK);
    assert_int_equal(last_of("a:1:h:1", "a:2:h:2", &d), ERR_USAGE);
    assert_non_null(strstr(d.text, "two services named a"));
    assert_int_equal(last_of("a:1:h:1/udp", "b:1:h:2/both", &d), ERR_USAGE);
    assert_non_null(strstr(d.text, "a and b have the same port 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_is_read_part_by_part),
        cmocka_unit_test(an_ipv6_target_stands_in_brackets),
        cmocka_unit_test(each_fault_is_named_with_the_form),
        cmocka_unit_test(a_long_word_is_refused_and_not_cut),
        cmocka_unit_test(services_must_not_meet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
