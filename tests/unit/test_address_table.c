#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "net/address_table.h"

static struct address_table *table(void)
{
    struct address_table *t = NULL;

    assert_int_equal(address_table_new(&t), ERR_OK);
    return t;
}

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *in4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;

    if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
        storage.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
        storage.ss_family = AF_INET6;
    }
    return storage;
}

static void set(struct address_table *t, const char *text, uint64_t number)
{
    struct sockaddr_storage a = address(text);
    uint64_t *entry = address_table_enter(t, (struct sockaddr *)&a);

    assert_non_null(entry);
    *entry = number;
}

static const uint64_t *find(struct address_table *t, const char *text)
{
    struct sockaddr_storage a = address(text);

    return address_table_find(t, (struct sockaddr *)&a);
}

static void each_address_has_its_number(void **state)
{
    (void)state;
    struct address_table *t = table();

    assert_null(find(t, "192.0.2.1"));
    set(t, "192.0.2.1", 1);
    set(t, "192.0.2.2", 2);
    set(t, "::1", 3);
    assert_int_equal(*find(t, "192.0.2.1"), 1);
    assert_int_equal(*find(t, "192.0.2.2"), 2);
    assert_int_equal(*find(t, "::1"), 3);
    assert_int_equal(*find(t, "::ffff:192.0.2.1"), 1);
    assert_null(find(t, "192.0.2.3"));
    set(t, "192.0.2.1", 9);
    assert_int_equal(*find(t, "192.0.2.1"), 9);
    address_table_free(t);
}

static void an_ipv6_network_is_one(void **state)
{
    (void)state;
    struct address_table *t = table();

    set(t, "2001:db8:0:1::1", 7);
    assert_int_equal(*find(t, "2001:db8:0:1:aaaa:bbbb:cccc:dddd"), 7);
    assert_null(find(t, "2001:db8:0:2::1"));
    address_table_free(t);
}

static void other_families_have_none(void **state)
{
    (void)state;
    struct address_table *t = table();
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    assert_null(address_table_enter(t, (struct sockaddr *)&un));
    assert_null(address_table_find(t, (struct sockaddr *)&un));
    address_table_free(t);
}

/* However many come, those with the largest numbers stay as long as there is one smaller. */
static void the_least_is_forgotten(void **state)
{
    (void)state;
    struct address_table *t = table();
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    unsigned kept = 0;

    set(t, "192.0.2.1", UINT64_MAX);
    for (uint32_t i = 0; i < 40 * ADDRESS_TABLE_ENTRIES; i++) {
        in4.sin_addr.s_addr = htonl(0x0a000000 + i);
        *address_table_enter(t, (struct sockaddr *)&in4) = i + 1;
    }
    assert_int_equal(*find(t, "192.0.2.1"), UINT64_MAX);
    for (uint32_t i = 0; i < 40 * ADDRESS_TABLE_ENTRIES; i++) {
        in4.sin_addr.s_addr = htonl(0x0a000000 + i);
        if (address_table_find(t, (struct sockaddr *)&in4) != NULL)
            kept++;
    }
    assert_int_equal(kept, ADDRESS_TABLE_ENTRIES - 1);
    address_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_number),
        cmocka_unit_test(an_ipv6_network_is_one),
        cmocka_unit_test(other_families_have_none),
        cmocka_unit_test(the_least_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
