#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "role/account.h"

static struct stats stats;
static const struct audit_who who = {.name = {.common_name = "edge-1"}};
static struct audit_pace pace;
static const struct account service = {.who = &who,
                                       .pace = &pace,
                                       .stats = &stats,
                                       .protocol = "tcp",
                                       .service = "web",
                                       .target_host = "2001:db8::1",
                                       .target_port = 80};

static enum audit_result stream(enum err why, bool was_open)
{
    const struct pump_end end = {
        .why = why, .by = PUMP_LOCAL, .detail = "", .name = "", .was_open = was_open};

    return account_stream(&service, &end);
}

static void streams(void **state)
{
    (void)state;
    assert_int_equal(stream(ERR_OK, true), AUDIT_DONE);
    assert_int_equal(stream(ERR_RESET, true), AUDIT_DONE);
    assert_int_equal(stream(ERR_CLOSED, true), AUDIT_DONE);
    assert_int_equal(stream(ERR_REFUSED, false), AUDIT_FAILED);
    assert_int_equal(stream(ERR_TIMEOUT, false), AUDIT_FAILED);
    assert_int_equal(stream(ERR_NOT_ALLOWED, false), AUDIT_REFUSED);
    /* What a rule, a reload or a revocation ends. */
    assert_int_equal(stream(ERR_NOT_ALLOWED, true), AUDIT_ENDED);
    assert_int_equal(stream(ERR_NO_SERVICE, true), AUDIT_ENDED);
    assert_int_equal(stream(ERR_CERT_REVOKED, true), AUDIT_ENDED);
}

static enum audit_result flow(enum err why, uint64_t to_local, uint64_t from_local)
{
    const struct flow_end end = {.why = why,
                                 .detail = "",
                                 .datagrams_to_local = to_local,
                                 .datagrams_from_local = from_local};

    return account_flow(&service, &end);
}

static void flows(void **state)
{
    (void)state;
    assert_int_equal(flow(ERR_TIMEOUT, 1, 1), AUDIT_DONE);
    assert_int_equal(flow(ERR_TIMEOUT, 1, 0), AUDIT_DONE); /* it may want no answer */
    assert_int_equal(flow(ERR_CLOSED, 0, 0), AUDIT_DONE);
    assert_int_equal(flow(ERR_RESOLVE, 0, 0), AUDIT_FAILED);
    assert_int_equal(flow(ERR_REFUSED, 1, 0), AUDIT_FAILED);
    assert_int_equal(flow(ERR_REFUSED, 2, 1), AUDIT_DONE);
    assert_int_equal(flow(ERR_NOT_ALLOWED, 0, 0), AUDIT_REFUSED);
    assert_int_equal(flow(ERR_NOT_ALLOWED, 1, 0), AUDIT_ENDED);
    assert_int_equal(flow(ERR_CERT_EXPIRED, 1, 1), AUDIT_ENDED);
}

/* What is written to standard error while call runs. */
static char *written_by(void (*call)(void))
{
    static char text[8192];
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    size_t n;

    assert_non_null(file);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    call();
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    rewind(file);
    n = fread(text, 1, sizeof(text) - 1, file);
    text[n] = '\0';
    fclose(file);
    return text;
}

static void refuse_host(void)
{
    const struct account host = {.who = &who,
                                 .pace = &pace,
                                 .stats = &stats,
                                 .protocol = "udp",
                                 .service = "",
                                 .target_host = "db.example",
                                 .target_port = 5432};
    const struct stream_target target = {.port = 5432, .client = {.is_process = true, .uid = 7}};

    account_refused(&host, &target, ERR_LIMIT, "too many");
}

static void refuse_path(void)
{
    const struct account path = {.who = &who,
                                 .pace = &pace,
                                 .stats = &stats,
                                 .protocol = "tcp",
                                 .service = "web",
                                 .target_host = "/run/web.sock"};
    const struct stream_target target = {.port = 80};

    account_refused(&path, &target, ERR_NOT_ALLOWED, "");
}

static void end_stream(void)
{
    (void)stream(ERR_OK, true);
}

static void has(const char *text, const char *wanted)
{
    if (strstr(text, wanted) == NULL)
        fail_msg("%s is not in %s", wanted, text);
}

static void the_lines(void **state)
{
    const char *text;

    (void)state;
    text = written_by(refuse_host);
    has(text, "audit.stream");
    has(text, "result=refused");
    has(text, "peer=edge-1");
    has(text, "db.example:5432");
    has(text, "unix:uid=7,pid=0");
    has(text, "stream.refused");
    assert_int_equal(stats_get(&stats.streams_refused[ERR_LIMIT]), 1);
    text = written_by(refuse_path);
    has(text, "target=/run/web.sock");
    assert_int_equal(stats_get(&stats.streams_refused[ERR_NOT_ALLOWED]), 1);
    text = written_by(end_stream);
    has(text, "[2001:db8::1]:80");
    assert_null(strstr(text, "stream.refused"));
}

/* Many at once, then a few a second; the rest is counted, and told of. */
static void refusals_have_a_pace(void **state)
{
    const uint64_t second = 1000000;
    struct audit_pace p;
    unsigned written = 0;

    (void)state;
    audit_pace_init(&p, NULL);
    for (int i = 0; i < AUDIT_REFUSALS_AT_ONCE; i++)
        assert_true(audit_pace_take(&p, second));
    for (int i = 0; i < 5000; i++)
        assert_false(audit_pace_take(&p, second));
    assert_int_equal(p.left_out, 5000);
    for (uint64_t ms = 0; ms < 10000; ms++)
        written += audit_pace_take(&p, second + ms * 1000) ? 1 : 0;
    assert_in_range(written, 10 * AUDIT_REFUSALS_A_SECOND - 1, 10 * AUDIT_REFUSALS_A_SECOND);
    /* After a quiet time all are there again. */
    for (int i = 0; i < AUDIT_REFUSALS_AT_ONCE; i++)
        assert_true(audit_pace_take(&p, 1000 * second));
    assert_false(audit_pace_take(&p, 1000 * second));
}

static void fail_many(void)
{
    for (int i = 0; i < AUDIT_REFUSALS_AT_ONCE + 10; i++) {
        (void)stream(ERR_REFUSED, false);
        (void)stream(ERR_NOT_ALLOWED, false);
        (void)flow(ERR_RESOLVE, 0, 0);
        (void)flow(ERR_CLOSED, 0, 0);
    }
}

static void reach_many(void)
{
    for (int i = 0; i < AUDIT_REFUSALS_AT_ONCE + 10; i++) {
        (void)stream(ERR_OK, true);
        (void)flow(ERR_TIMEOUT, 1, 1);
    }
}

/* Not only what is refused at once: a target that is not there costs a source as little. */
static void what_fails_has_the_same_pace(void **state)
{
    (void)state;
    audit_pace_init(&pace, NULL);
    (void)written_by(fail_many);
    assert_int_equal(pace.left_out, 3 * AUDIT_REFUSALS_AT_ONCE + 40);
    (void)written_by(reach_many);
    assert_int_equal(pace.left_out, 3 * AUDIT_REFUSALS_AT_ONCE + 40);
    audit_pace_init(&pace, NULL);
}

static void tell_of_those_left_out(void)
{
    pace.left_out = 77;
    refuse_path();
}

static void those_left_out_are_told(void **state)
{
    const char *text;

    (void)state;
    audit_pace_init(&pace, NULL);
    text = written_by(tell_of_those_left_out);
    has(text, "log.suppressed");
    has(text, "of=audit.stream");
    has(text, "lines=77");
    has(text, "peer=edge-1");
    assert_int_equal(pace.left_out, 0);
    assert_null(strstr(written_by(refuse_path), "log.suppressed"));
}

/* Refusals have stopped, the tunnel goes on: it is said all the same, once, when it is due. */
static void on_due(struct sweep *sweep, struct sweep_item *item)
{
    (void)sweep;
    assert_ptr_equal(item, &pace.unsaid);
    audit_log_left_out(&who, &pace);
}

static uv_loop_t loop;

static void run_loop(void)
{
    uv_run(&loop, UV_RUN_DEFAULT); /* until nothing is left to be said */
}

static void say_now(void)
{
    audit_log_left_out(&who, &pace);
}

static void those_left_out_are_told_in_time(void **state)
{
    struct sweep later;
    const char *text;

    (void)state;
    uv_loop_init(&loop);
    sweep_init(&later, &loop, 10, on_due);
    audit_pace_init(&pace, &later);
    for (int i = 0; i < AUDIT_REFUSALS_AT_ONCE + 3; i++)
        (void)audit_pace_take(&pace, 1000000);
    assert_int_equal(pace.left_out, 3);
    text = written_by(run_loop);
    has(text, "log.suppressed");
    has(text, "lines=3");
    assert_int_equal(pace.left_out, 0);
    /* Said by the way, it need not be said later. */
    assert_false(audit_pace_take(&pace, 1000000));
    has(written_by(say_now), "log.suppressed");
    assert_null(strstr(written_by(run_loop), "log.suppressed"));
    sweep_close(&later);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams),
        cmocka_unit_test(flows),
        cmocka_unit_test(the_lines),
        cmocka_unit_test(refusals_have_a_pace),
        cmocka_unit_test(what_fails_has_the_same_pace),
        cmocka_unit_test(those_left_out_are_told),
        cmocka_unit_test(those_left_out_are_told_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
