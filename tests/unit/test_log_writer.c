#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ops/log_writer.h"

#define PATIENCE_S 30
/* More than the queue and a pipe hold together. */
#define FLOOD 20000

/* The C library's, but the day is what the test says: a clock that somebody has set. */
static atomic_int hours_ahead;

int clock_gettime(clockid_t id, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, id, out);

    if (id == CLOCK_REALTIME)
        out->tv_sec += atomic_load(&hours_ahead) * 3600;
    return result;
}

static atomic_int times_due;

static size_t on_report(struct log_writer_owner *o, uint64_t lines, char out[LOG_WRITER_LINE_MAX])
{
    (void)o;
    return (size_t)snprintf(out, LOG_WRITER_LINE_MAX, "missing %" PRIu64 "\n", lines);
}

static void on_due(struct log_writer_owner *o)
{
    (void)o;
    atomic_fetch_add(&times_due, 1);
}

static struct log_writer_owner owner = {.on_report = on_report, .on_due = on_due};

static struct log_writer *start(int fd)
{
    struct log_writer *w;
    struct log_sink sink;

    log_sink_init(&sink, fd);
    assert_int_equal(log_writer_start(&w, &sink, &owner), ERR_OK);
    return w;
}

static void put_number(struct log_writer *w, unsigned number)
{
    char line[200];
    int len = snprintf(line, sizeof(line), "line %u of a log in which every line is %100s\n",
                       number, "long");

    log_writer_put(w, line, (size_t)len);
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void lines_arrive_whole_and_in_order_around_the_ring(void **state)
{
    /* The reader stays so far behind that the ring is never empty. */
    enum { BEHIND = 3000 };
    struct log_writer *w;
    int ends[2];
    char text[300];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    w = start(ends[1]);
    FILE *reader = fdopen(ends[0], "r");
    assert_non_null(reader);
    for (unsigned i = 0; i < FLOOD + BEHIND; i++) {
        unsigned got = 0;

        if (i < FLOOD)
            put_number(w, i);
        if (i < BEHIND)
            continue;
        assert_non_null(fgets(text, sizeof(text), reader));
        assert_int_equal(sscanf(text, "line %u", &got), 1);
        assert_int_equal(got, i - BEHIND);
        assert_string_equal(text + strlen(text) - 5, "long\n");
    }
    assert_int_equal(log_writer_close(w), 0);
    fclose(reader);
    close(ends[1]);
}

/* What is missing is said where it is missing, and the count is exact. */
static void what_does_not_fit_is_counted_and_said(void **state)
{
    struct log_writer *w;
    int ends[2];
    char text[300];
    unsigned next = 0;
    uint64_t missing = 0;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    w = start(ends[1]);
    double begin = seconds_now();
    for (unsigned i = 0; i < FLOOD; i++)
        put_number(w, i);
    assert_true(seconds_now() - begin < PATIENCE_S);
    uint64_t dropped = log_writer_dropped(w);
    assert_in_range(dropped, FLOOD / 4, FLOOD);
    FILE *reader = fdopen(ends[0], "r");
    assert_non_null(reader);
    for (; next < FLOOD - dropped; next++) {
        unsigned got = 0;

        assert_non_null(fgets(text, sizeof(text), reader));
        assert_int_equal(sscanf(text, "line %u", &got), 1);
        assert_int_equal(got, next);
    }
    put_number(w, FLOOD);
    assert_non_null(fgets(text, sizeof(text), reader));
    assert_int_equal(sscanf(text, "missing %" SCNu64, &missing), 1);
    assert_int_equal(missing, dropped);
    assert_non_null(fgets(text, sizeof(text), reader));
    assert_int_equal(sscanf(text, "line %u", &next), 1);
    assert_int_equal(next, FLOOD);
    assert_int_equal(log_writer_close(w), dropped);
    fclose(reader);
    close(ends[1]);
}

/* Reports that are lost themselves add up until one gets through. */
static void a_disk_that_is_full_for_a_while(void **state)
{
    char path[] = "/tmp/utun-test-writer-XXXXXX";
    struct log_writer *w;
    char text[300] = "";
    int full = open("/dev/full", O_WRONLY);
    int file = mkstemp(path);

    (void)state;
    assert_true(full >= 0 && file >= 0);
    int fd = fcntl(full, F_DUPFD_CLOEXEC, 50);
    w = start(fd);
    for (unsigned i = 0; i < 100; i++)
        put_number(w, i);
    double end = seconds_now() + PATIENCE_S;
    while (log_writer_dropped(w) < 100 && seconds_now() < end)
        usleep(1000);
    assert_int_equal(log_writer_dropped(w), 100);
    assert_int_equal(log_writer_close(w), 100);
    close(fd);
    close(full);

    /* /dev/full cannot be emptied: a pipe whose reader has gone and come back stands for it. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    signal(SIGPIPE, SIG_IGN);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    int writer = open(path, O_WRONLY);
    assert_true(reader >= 0 && writer >= 0);
    w = start(writer);
    close(reader);
    for (unsigned i = 0; i < 7; i++) {
        put_number(w, i);
        while (log_writer_dropped(w) < i + 1 && seconds_now() < end)
            usleep(1000);
    }
    /* The last report may still be on its way to being lost. */
    usleep(50000);
    reader = open(path, O_RDONLY | O_NONBLOCK);
    struct pollfd poll_fd = {.fd = reader, .events = POLLIN};
    while (text[0] == 0 && seconds_now() < end) {
        poll(&poll_fd, 1, 100);
        (void)!read(reader, text, sizeof(text) - 1);
    }
    assert_string_equal(text, "missing 7\n");
    assert_int_equal(log_writer_close(w), 7);
    close(reader);
    close(writer);
    close(file);
    unlink(path);
}

static int64_t ms_now(void)
{
    return (int64_t)(seconds_now() * 1000);
}

static void the_thread_reminds_once_and_in_time(void **state)
{
    int64_t begin = ms_now();
    struct log_writer *w;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    atomic_store(&times_due, 0);
    w = start(ends[1]);
    log_writer_remind(w, begin + 60000); /* of the two the earlier one counts */
    log_writer_remind(w, begin + 200);
    log_writer_remind(w, begin + 70000);
    while (atomic_load(&times_due) == 0 && ms_now() < begin + PATIENCE_S * 1000)
        usleep(1000);
    assert_true(ms_now() >= begin + 200);
    log_writer_remind(w, ms_now() + 60000);
    assert_int_equal(log_writer_close(w), 0);
    assert_int_equal(atomic_load(&times_due), 1);
    close(ends[0]);
    close(ends[1]);
}

static void closing_waits_for_a_reader_but_not_for_good(void **state)
{
    struct log_writer *w;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    w = start(ends[1]);
    for (unsigned i = 0; i < FLOOD; i++)
        put_number(w, i);
    double begin = seconds_now();
    /* What nobody has read is lost, too, and counted. */
    assert_true(log_writer_close(w) > FLOOD / 2);
    assert_in_range((uint64_t)((seconds_now() - begin) * 1000), LOG_WRITER_FLUSH_MS / 2,
                    PATIENCE_S * 1000);
    close(ends[0]);
    close(ends[1]);
}

/* Neither does a disk that hangs, nor a clock that is set back meanwhile. */
static void closing_does_not_wait_for_a_dead_disk(void **state)
{
    static const char page[4096];
    struct log_sink disk = {.kind = LOG_SINK_FILE};
    struct log_writer *w;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], page, sizeof(page)) > 0)
        continue;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    disk.fd = ends[1];
    assert_int_equal(log_writer_start(&w, &disk, &owner), ERR_OK);
    put_number(w, 1);
    double begin = seconds_now();
    atomic_store(&hours_ahead, 1);
    (void)log_writer_close(w);
    atomic_store(&hours_ahead, 0);
    assert_true(seconds_now() - begin < PATIENCE_S);
    /* Its thread still hangs in the write, and goes with the process. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_arrive_whole_and_in_order_around_the_ring),
        cmocka_unit_test(what_does_not_fit_is_counted_and_said),
        cmocka_unit_test(a_disk_that_is_full_for_a_while),
        cmocka_unit_test(the_thread_reminds_once_and_in_time),
        cmocka_unit_test(closing_waits_for_a_reader_but_not_for_good),
        cmocka_unit_test(closing_does_not_wait_for_a_dead_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
