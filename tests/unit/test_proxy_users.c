#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "role/proxy_users.h"

static char path[64];
static struct config config = {.source = {.proxy_users_path = path}};

static int make_file(void **state)
{
    int fd;

    (void)state;
    strcpy(path, "/tmp/utun-users-XXXXXX");
    fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static enum err read_users(const char *text, size_t len, struct proxy_users **out,
                           struct err_detail *d)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
    return proxy_users_new(out, &config, d);
}

static bool knows(const struct proxy_users *users, const char *name, const char *password)
{
    const struct login *login = proxy_users_login(users);

    return login->is_right(login, (const uint8_t *)name, strlen(name), (const uint8_t *)password,
                           strlen(password));
}

static void who_is_right(void **state)
{
    static const char text[] = "# people\nalice:secret\r\n\nbob:pass:word \ncarol:x";
    struct proxy_users *users;
    struct err_detail d;

    (void)state;
    assert_int_equal(read_users(text, sizeof(text) - 1, &users, &d), ERR_OK);
    assert_true(knows(users, "alice", "secret"));
    assert_true(knows(users, "bob", "pass:word "));
    assert_true(knows(users, "carol", "x"));
    assert_false(knows(users, "alice", "Secret"));
    assert_false(knows(users, "alice", "secret "));
    assert_false(knows(users, "alice", ""));
    assert_false(knows(users, "", ""));
    assert_false(knows(users, "carol", "secret"));
    assert_false(knows(users, "mallory", "secret"));
    /* Where the name ends counts. */
    assert_false(knows(users, "alices", "ecret"));
    assert_false(knows(users, "# people", ""));
    char longest[300];
    memset(longest, 'n', sizeof(longest));
    longest[299] = '\0';
    assert_false(knows(users, longest, "x"));
    assert_false(knows(users, "x", longest));
    proxy_users_free(users);
}

static void nobody_has_to(void **state)
{
    struct config none = {.has_source = true};
    struct proxy_users *users;
    struct err_detail d;

    (void)state;
    assert_int_equal(proxy_users_new(&users, &none, &d), ERR_OK);
    assert_null(users);
    assert_null(proxy_users_login(users));
    proxy_users_free(users);
}

static void bad_files(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"# nobody\n", "there is no user in it"},
        {"alice:x\nbob\n", "line 2 is not name:password"},
        {"alice:\n", "line 1 is not name:password"},
        {":x\n", "line 1 is not name:password"},
        {"alice:x\n\nalice:y\n", "line 3 has a name that was there before"},
    };
    struct proxy_users *users;
    struct err_detail d;
    char text[400];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(read_users(cases[i].text, strlen(cases[i].text), &users, &d), ERR_CONFIG);
        assert_null(users);
        assert_non_null(strstr(d.text, cases[i].says));
        assert_non_null(strstr(d.text, path));
        assert_null(strstr(d.text, "alice:"));
    }
    memset(text, 'n', sizeof(text));
    text[256] = ':';
    assert_int_equal(read_users(text, 258, &users, &d), ERR_CONFIG);
    assert_non_null(strstr(d.text, "more than 255 bytes"));
}

static void too_many(void **state)
{
    static char text[20 * (PROXY_USERS_MAX + 1)];
    struct proxy_users *users;
    struct err_detail d;
    size_t len = 0;

    (void)state;
    for (int i = 0; i < PROXY_USERS_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "user%d:x\n", i);
    assert_int_equal(read_users(text, len, &users, &d), ERR_OK);
    assert_true(knows(users, "user999", "x"));
    proxy_users_free(users);
    len += (size_t)snprintf(text + len, sizeof(text) - len, "more:x\n");
    assert_int_equal(read_users(text, len, &users, &d), ERR_CONFIG);
    assert_non_null(strstr(d.text, "line 1001 is one user too many"));
}

static void others_may_not_read_it(void **state)
{
    struct proxy_users *users;
    struct err_detail d;

    (void)state;
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(read_users("a:b\n", 4, &users, &d), ERR_KEY_MODE);
    assert_null(users);
    /* Root may share it with a group: that of the account which the role becomes. */
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(read_users("a:b\n", 4, &users, &d), geteuid() == 0 ? ERR_OK : ERR_KEY_MODE);
    proxy_users_free(users);
    assert_int_equal(chmod(path, 0644), 0);
    config.auth.allow_insecure_key_files = true;
    assert_int_equal(read_users("a:b\n", 4, &users, &d), ERR_OK);
    config.auth.allow_insecure_key_files = false;
    proxy_users_free(users);
    unlink(path);
    assert_int_equal(proxy_users_new(&users, &config, &d), ERR_NOT_FOUND);
    assert_int_equal(make_file(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_right),
        cmocka_unit_test(nobody_has_to),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(too_many),
        cmocka_unit_test(others_may_not_read_it),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
