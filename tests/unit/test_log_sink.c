#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ops/log_sink.h"

static const char line[] = "a line of the log\n";

static enum log_sink_result write_line(struct log_sink *sink)
{
    return log_sink_write(sink, line, sizeof(line) - 1);
}

static void a_full_reader_means_later_and_the_descriptor_stays_as_it_was(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct log_sink sink;
        char bytes[4096];
        int ends[2];
        enum log_sink_result result;
        int lines = 0;

        assert_int_equal(kind == 0 ? pipe(ends) : socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        log_sink_init(&sink, ends[1]);
        do
            result = write_line(&sink);
        while (result == LOG_SINK_WRITTEN && ++lines < 1000000);
        assert_int_equal(result, LOG_SINK_LATER);
        assert_true(lines > 10);
        log_sink_wait(&sink, 1); /* comes back, though nobody reads */
        assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        while (read(ends[0], bytes, sizeof(bytes)) > 0)
            ;
        log_sink_wait(&sink, 30000);
        assert_int_equal(write_line(&sink), LOG_SINK_WRITTEN);
        log_sink_fini(&sink);
        close(ends[0]);
        close(ends[1]);
    }
}

static void a_full_disk_and_a_reader_that_has_gone_lose_the_line(void **state)
{
    struct log_sink sink;
    int ends[2];
    int full = open("/dev/full", O_WRONLY);

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_true(full >= 0);
    log_sink_init(&sink, full);
    assert_int_equal(write_line(&sink), LOG_SINK_LOST);
    assert_int_equal(write_line(&sink), LOG_SINK_LOST);
    log_sink_fini(&sink);
    close(full);

    assert_int_equal(pipe(ends), 0);
    log_sink_init(&sink, ends[1]);
    close(ends[0]);
    assert_int_equal(write_line(&sink), LOG_SINK_LOST);
    log_sink_fini(&sink);
    close(ends[1]);

    log_sink_init(&sink, ends[1]); /* closed: not even a descriptor */
    assert_int_equal(write_line(&sink), LOG_SINK_LOST);
    log_sink_fini(&sink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_reader_means_later_and_the_descriptor_stays_as_it_was),
        cmocka_unit_test(a_full_disk_and_a_reader_that_has_gone_lose_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
