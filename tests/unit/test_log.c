#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ops/log.h"

#define THREADS          4
#define LINES_PER_THREAD 500
#define PATIENCE_S       30

static int64_t seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static void start(int fd, enum log_format format)
{
    log_init(&(struct log_options){
        .level = LOG_LEVEL_INFO, .format = format, .timestamp = LOG_TIMESTAMP_OFF, .fd = fd});
    log_start();
}

/* Everything that is there now, as text. */
static char *read_now(int fd)
{
    size_t size = 1 << 20;
    char *text = calloc(1, size + 1);
    size_t len = 0;
    ssize_t got;

    assert_non_null(text);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (len < size && (got = read(fd, text + len, size - len)) > 0)
        len += (size_t)got;
    return text;
}

/* All that comes until the text holds what is sought. */
static char *read_until(int fd, const char *sought)
{
    int64_t end = seconds_now() + PATIENCE_S;
    char *text = calloc(1, 1);

    while (strstr(text, sought) == NULL) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        char *more = NULL;
        char *both = NULL;

        if (seconds_now() > end)
            fail_msg("\"%s\" did not come, but \"%.2000s\"", sought, text);
        poll(&poll_fd, 1, 100);
        more = read_now(fd);
        assert_true(asprintf(&both, "%s%s", text, more) >= 0);
        free(more);
        free(text);
        text = both;
    }
    return text;
}

static void expect_read(int fd, const char *expected)
{
    char *text = read_until(fd, expected);

    assert_string_equal(text, expected);
    free(text);
}

static void levels_decide_what_is_written(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    start(ends[1], LOG_FORMAT_JSON);
    LOG(LOG_LEVEL_DEBUG, "not.this");
    LOG(LOG_LEVEL_INFO, "this", LOG_INT("n", 1));
    assert_false(log_is_on(LOG_LEVEL_DEBUG));
    log_set_level(LOG_LEVEL_ERROR);
    LOG(LOG_LEVEL_WARN, "not.that");
    LOG(LOG_LEVEL_ERROR, "that");
    expect_read(ends[0], "{\"level\":\"info\",\"event\":\"this\",\"n\":1}\n"
                         "{\"level\":\"error\",\"event\":\"that\"}\n");
    log_fini();
    close(ends[0]);
    close(ends[1]);
}

static void a_stalled_reader_never_stalls_the_caller(void **state)
{
    int ends[2][2];
    uint64_t dropped_before = log_dropped();

    (void)state;
    assert_int_equal(pipe(ends[0]), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[1]), 0);
    for (int kind = 0; kind < 2; kind++) {
        int64_t begin = seconds_now();
        int reader = ends[kind][0];
        int writer = ends[kind][1];

        start(writer, LOG_FORMAT_JSON);
        for (int i = 0; i < 50000; i++)
            LOG(LOG_LEVEL_INFO, "flood", LOG_INT("i", i));
        assert_true(log_dropped() > dropped_before + 1000);
        assert_true(seconds_now() - begin < 20);
        /* The descriptor that others may share still blocks. */
        assert_int_equal(fcntl(writer, F_GETFL) & O_NONBLOCK, 0);

        /* When somebody reads again, a line says how many are missing, where they are missing. */
        char *text = read_until(reader, "\"event\":\"flood\",\"i\":10000}");
        assert_non_null(strstr(text, "\"event\":\"flood\",\"i\":0}"));
        assert_null(strstr(text, "log.dropped"));
        free(text);
        text = read_until(reader, "\"event\":\"log.dropped\",\"lines\":");
        LOG(LOG_LEVEL_INFO, "back");
        free(text);
        text = read_until(reader, "\"event\":\"back\"}\n");
        free(text);
        LOG(LOG_LEVEL_INFO, "on");
        expect_read(reader, "{\"level\":\"info\",\"event\":\"on\"}\n");
        dropped_before = log_dropped();
        log_fini();
        close(reader);
        close(writer);
    }
}

static void a_reader_that_has_gone_is_survived(void **state)
{
    int ends[2];
    uint64_t dropped_before = log_dropped();

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(ends), 0);
    start(ends[1], LOG_FORMAT_PLAIN);
    close(ends[0]);
    LOG(LOG_LEVEL_INFO, "lost");
    log_fini();
    assert_int_equal(log_dropped(), dropped_before + 1);
    close(ends[1]);
}

static void repeats_are_counted_not_written(void **state)
{
    int ends[2];
    unsigned lines = 0;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    start(ends[1], LOG_FORMAT_PLAIN);
    for (int i = 0; i < 1000; i++)
        LOG_LIMITED(LOG_LEVEL_WARN, "test.repeat", LOG_INT("i", i));
    log_fini();
    char *text = read_now(ends[0]);
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 10);
    free(text);
    close(ends[0]);
    close(ends[1]);
}

static void terminals_get_colour_unless_told_otherwise(void **state)
{
    int master;
    int slave;

    (void)state;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    start(slave, LOG_FORMAT_PLAIN);
    LOG(LOG_LEVEL_INFO, "e");
    expect_read(master, "\033[32minfo \033[0m e\r\n");
    start(slave, LOG_FORMAT_JSON);
    LOG(LOG_LEVEL_INFO, "e");
    expect_read(master, "{\"level\":\"info\",\"event\":\"e\"}\r\n");
    setenv("NO_COLOR", "1", 1);
    start(slave, LOG_FORMAT_PLAIN);
    LOG(LOG_LEVEL_INFO, "e");
    expect_read(master, "info  e\r\n");
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    start(slave, LOG_FORMAT_PLAIN);
    LOG(LOG_LEVEL_INFO, "e");
    expect_read(master, "info  e\r\n");
    log_fini();
    close(master);
    close(slave);
}

static void files_are_appended_to_where_they_are(void **state)
{
    char path[] = "/tmp/utun-test-log-XXXXXX";
    int fd = mkstemp(path);
    char text[100] = "";

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "before\n", 7), 7);
    start(fd, LOG_FORMAT_PLAIN);
    LOG(LOG_LEVEL_INFO, "e");
    log_fini();
    assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, "before\ninfo  e\n");
    close(fd);
    unlink(path);
}

/* The journal takes the level from "<N>", and shows neither that nor colours. */
static void the_journal_gets_priorities(void **state)
{
    static const enum log_format formats[] = {LOG_FORMAT_PLAIN, LOG_FORMAT_JSON};
    int ends[2];
    struct stat st;
    char stream[80];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(fstat(ends[1], &st), 0);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    for (size_t i = 0; i < 2; i++) {
        log_init(&(struct log_options){.level = LOG_LEVEL_DEBUG,
                                       .format = formats[i],
                                       .timestamp = LOG_TIMESTAMP_OFF,
                                       .fd = ends[1]});
        log_start();
        LOG(LOG_LEVEL_DEBUG, "a");
        LOG(LOG_LEVEL_INFO, "b");
        LOG(LOG_LEVEL_WARN, "c");
        LOG(LOG_LEVEL_ERROR, "d");
        if (formats[i] == LOG_FORMAT_PLAIN)
            expect_read(ends[0], "<7>debug a\n<6>info  b\n<4>warn  c\n<3>error d\n");
        else
            expect_read(ends[0], "<7>{\"level\":\"debug\",\"event\":\"a\"}\n"
                                 "<6>{\"level\":\"info\",\"event\":\"b\"}\n"
                                 "<4>{\"level\":\"warn\",\"event\":\"c\"}\n"
                                 "<3>{\"level\":\"error\",\"event\":\"d\"}\n");
    }
    /* The variable is inherited, the descriptor need not be. */
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    start(ends[1], LOG_FORMAT_PLAIN);
    LOG(LOG_LEVEL_INFO, "e");
    expect_read(ends[0], "info  e\n");
    unsetenv("JOURNAL_STREAM");
    log_fini();
    close(ends[0]);
    close(ends[1]);
}

static void the_longest_line_fits_behind_a_priority(void **state)
{
    char value[LOG_VALUE_MAX];
    int ends[2];
    struct stat st;
    char stream[80];

    (void)state;
    memset(value, 'x', sizeof(value));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(fstat(ends[1], &st), 0);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    start(ends[1], LOG_FORMAT_PLAIN);
    LOG(LOG_LEVEL_INFO, "long", LOG_BYTES("a", value, sizeof(value)),
        LOG_BYTES("b", value, sizeof(value)), LOG_BYTES("c", value, sizeof(value)),
        LOG_BYTES("d", value, sizeof(value)), LOG_BYTES("e", value, sizeof(value)));
    char *text = read_until(ends[0], "truncated=true\n");
    assert_int_equal(strncmp(text, "<6>info  long a=xxx", 19), 0);
    free(text);
    unsetenv("JOURNAL_STREAM");
    log_fini();
    close(ends[0]);
    close(ends[1]);
}

static void *log_many(void *name)
{
    for (int i = 0; i < LINES_PER_THREAD; i++)
        LOG(LOG_LEVEL_INFO, "thread", LOG_STR("name", name), LOG_INT("i", i));
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    char path[] = "/tmp/utun-test-log-XXXXXX";
    static char names[THREADS][2];
    pthread_t threads[THREADS];
    char line[200];
    int next[THREADS] = {0};
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    start(fd, LOG_FORMAT_PLAIN);
    for (int i = 0; i < THREADS; i++) {
        names[i][0] = (char)('0' + i);
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_fini();
    close(fd);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        int name;
        int i;
        assert_int_equal(sscanf(line, "info  thread name=%d i=%d\n", &name, &i), 2);
        assert_int_equal(i, next[name]++);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], LINES_PER_THREAD);
    fclose(file);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_decide_what_is_written),
        cmocka_unit_test(a_stalled_reader_never_stalls_the_caller),
        cmocka_unit_test(a_reader_that_has_gone_is_survived),
        cmocka_unit_test(repeats_are_counted_not_written),
        cmocka_unit_test(terminals_get_colour_unless_told_otherwise),
        cmocka_unit_test(files_are_appended_to_where_they_are),
        cmocka_unit_test(the_journal_gets_priorities),
        cmocka_unit_test(the_longest_line_fits_behind_a_priority),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
