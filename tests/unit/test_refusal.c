#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/log.h"
#include "role/refusal.h"

static struct pump_end end_with(enum err why, enum pump_side by, const char *detail,
                                uint64_t bytes_to_local)
{
    return (struct pump_end){
        .why = why, .by = by, .detail = detail, .bytes_to_local = bytes_to_local};
}

static void what_the_dest_would_not_connect_is_one(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_REFUSED,    ERR_UNREACHABLE, ERR_RESOLVE,
                                        ERR_NO_SERVICE, ERR_NOT_ALLOWED, ERR_LIMIT,
                                        ERR_TIMEOUT};

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct pump_end end = end_with(refusals[i], PUMP_PEER, "", 0);
        assert_true(refusal_is_one(&end));
    }
    /* At the dest itself: what connecting said. */
    struct pump_end end = end_with(ERR_TIMEOUT, PUMP_LOCAL, "127.0.0.1 port 1: timed out", 0);
    assert_true(refusal_is_one(&end));
}

static void what_ended_later_is_none(void **state)
{
    (void)state;
    static const enum err others[] = {ERR_OK, ERR_RESET, ERR_CLOSED, ERR_SHUTDOWN, ERR_INTERNAL};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct pump_end end = end_with(others[i], PUMP_PEER, "", 0);
        assert_false(refusal_is_one(&end));
    }
    /* Idle after data had come, or idle at our own side. */
    struct pump_end end = end_with(ERR_TIMEOUT, PUMP_PEER, "", 10);
    assert_false(refusal_is_one(&end));
    end = end_with(ERR_TIMEOUT, PUMP_LOCAL, "", 0);
    assert_false(refusal_is_one(&end));
}

static void flows_that_end_late_are_none(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_REFUSED, ERR_NO_SERVICE, ERR_LIMIT, ERR_RESOLVE};
    static const enum err others[] = {ERR_OK, ERR_TIMEOUT, ERR_CLOSED, ERR_SHUTDOWN, ERR_RESET};

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        assert_true(refusal_is_flow(&(struct flow_end){.why = refusals[i]}));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(refusal_is_flow(&(struct flow_end){.why = others[i]}));
}

static void log_of(char *out, size_t size, uint16_t port, const char *service,
                   const struct stream_address *client, enum err why, const char *detail)
{
    char path[] = "/tmp/utun-refusal-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    const struct log_options options = {
        .level = LOG_LEVEL_INFO, .format = LOG_FORMAT_JSON, .fd = fd};
    log_init(&options);
    refusal_log(port, service, client, why, detail);
    log_fini();
    ssize_t n = pread(fd, out, size - 1, 0);
    assert_true(n > 0);
    out[n] = 0;
    close(fd);
}

static void the_line_says_who_what_and_why(void **state)
{
    (void)state;
    const struct stream_address client = {
        .address_len = 4, .address = {192, 0, 2, 7}, .port = 4711};
    const struct stream_address unknown = {.address_len = 0};
    char line[2048];

    log_of(line, sizeof(line), 8080, "web", &client, ERR_REFUSED, "127.0.0.1 port 80: refused");
    assert_non_null(strstr(line, "\"event\":\"stream.refused\""));
    assert_non_null(strstr(line, "\"port\":8080"));
    assert_non_null(strstr(line, "\"service\":\"web\""));
    assert_non_null(strstr(line, "\"client\":\"192.0.2.7:4711\""));
    assert_non_null(strstr(line, "\"error\":\"refused\""));
    assert_non_null(strstr(line, "127.0.0.1 port 80: refused"));

    /* Without a service and a detail there is no empty field, and still a text. */
    log_of(line, sizeof(line), 81, "", &unknown, ERR_NO_SERVICE, "");
    assert_null(strstr(line, "\"service\""));
    assert_non_null(strstr(line, "\"error\":\"no_service\""));
    assert_non_null(strstr(line, err_text(ERR_NO_SERVICE)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_dest_would_not_connect_is_one),
        cmocka_unit_test(what_ended_later_is_none),
        cmocka_unit_test(flows_that_end_late_are_none),
        cmocka_unit_test(the_line_says_who_what_and_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
