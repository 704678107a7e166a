#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ops/systemd.h"

/* The manager's side: a bound socket, its name in NOTIFY_SOCKET. */
struct manager {
    int fd;
    char path[64]; /* as NOTIFY_SOCKET has it */
};

static void forget_environment(void)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void manager_start(struct manager *m, char first)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    forget_environment();
    snprintf(m->path, sizeof(m->path), "%ctmp/utun-test-notify-%d", first, (int)getpid());
    memcpy(address.sun_path, m->path, strlen(m->path));
    if (first == '@')
        address.sun_path[0] = 0;
    m->fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_true(m->fd >= 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(m->path));
    assert_int_equal(bind(m->fd, (const struct sockaddr *)&address, len), 0);
    setenv("NOTIFY_SOCKET", m->path, 1);
}

static void manager_end(struct manager *m)
{
    close(m->fd);
    if (m->path[0] == '/')
        unlink(m->path);
    forget_environment();
}

static void expect_lines(const struct manager *m, const char *expected)
{
    char got[1024] = "";

    assert_true(recv(m->fd, got, sizeof(got) - 1, MSG_DONTWAIT) > 0);
    assert_string_equal(got, expected);
}

static void expect_silence(const struct manager *m)
{
    char got[16];

    assert_int_equal(recv(m->fd, got, sizeof(got), MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void every_message_is_one_datagram(void **state)
{
    static const char firsts[] = {'/', '@'};

    (void)state;
    for (size_t i = 0; i < sizeof(firsts); i++) {
        struct manager m;
        struct systemd s;

        manager_start(&m, firsts[i]);
        assert_true(systemd_init(&s));
        assert_true(systemd_is_there(&s));
        assert_int_equal(s.watchdog_us, 0);
        expect_silence(&m);
        systemd_ready(&s, NULL);
        expect_lines(&m, "READY=1\n");
        systemd_ready(&s, "all is well");
        expect_lines(&m, "READY=1\nSTATUS=all is well");
        systemd_watchdog(&s);
        expect_lines(&m, "WATCHDOG=1");
        systemd_stopping(&s, 40000000);
        expect_lines(&m, "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000");
        systemd_fini(&s);
        systemd_watchdog(&s);
        expect_silence(&m);
        manager_end(&m);
    }
}

static void a_reload_carries_the_time(void **state)
{
    struct manager m;
    struct systemd s;
    char got[200] = "";
    uint64_t at = 0;
    struct timespec now;

    (void)state;
    manager_start(&m, '@');
    assert_true(systemd_init(&s));
    systemd_reloading(&s);
    assert_true(recv(m.fd, got, sizeof(got) - 1, MSG_DONTWAIT) > 0);
    assert_int_equal(sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%" SCNu64, &at), 1);
    clock_gettime(CLOCK_MONOTONIC, &now);
    assert_true(at > 0 && at <= ((uint64_t)now.tv_sec + 1) * 1000000);
    systemd_fini(&s);
    manager_end(&m);
}

/* A status may quote a peer: it cannot pass for another assignment, however long it is. */
static void a_status_stays_one_line(void **state)
{
    struct manager m;
    struct systemd s;
    char endless[2000];
    char got[2000] = "";

    (void)state;
    manager_start(&m, '@');
    assert_true(systemd_init(&s));
    systemd_status(&s, "lost: \"x\nREADY=1\x1b[2J\"");
    expect_lines(&m, "STATUS=lost: \"x READY=1 [2J\"");
    memset(endless, 'x', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = 0;
    systemd_status(&s, endless);
    assert_in_range(recv(m.fd, got, sizeof(got), MSG_DONTWAIT), 200, 400);
    systemd_fini(&s);
    manager_end(&m);
}

static void the_watchdog_is_for_this_process_only(void **state)
{
    static const struct {
        const char *usec;
        int64_t pid_offset; /* from ours; -1: WATCHDOG_PID is not set */
        uint64_t expected;
    } cases[] = {
        {"30000000", 0, 30000000},
        {"30000000", -1, 30000000},
        {"30000000", 1, 0},
        {"", 0, 0},
        {"-5", 0, 0},
        {"30s", 0, 0},
        {"99999999999999999999999", 0, 0},
    };
    struct manager m;
    struct systemd s;
    char pid[32];

    (void)state;
    manager_start(&m, '@');
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setenv("WATCHDOG_USEC", cases[i].usec, 1);
        snprintf(pid, sizeof(pid), "%" PRId64, (int64_t)getpid() + cases[i].pid_offset);
        if (cases[i].pid_offset < 0)
            unsetenv("WATCHDOG_PID");
        else
            setenv("WATCHDOG_PID", pid, 1);
        assert_true(systemd_init(&s));
        assert_int_equal(s.watchdog_us, cases[i].expected);
        systemd_fini(&s);
    }
    manager_end(&m);
}

static void without_a_manager_nothing_happens(void **state)
{
    static const char *const bad[] = {"/nonexistent/utun", "relative", "@", "vsock:2:1234"};
    struct systemd s;
    char longer[300];

    (void)state;
    forget_environment();
    setenv("WATCHDOG_USEC", "1000000", 1);
    assert_true(systemd_init(&s));
    assert_false(systemd_is_there(&s));
    assert_int_equal(s.watchdog_us, 0);
    setenv("NOTIFY_SOCKET", "", 1);
    assert_true(systemd_init(&s));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        assert_false(systemd_init(&s));
        assert_false(systemd_is_there(&s));
        assert_int_equal(s.watchdog_us, 0);
        systemd_ready(&s, "nobody hears it");
        systemd_watchdog(&s);
        systemd_fini(&s);
    }
    memset(longer, 'x', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = 0;
    setenv("NOTIFY_SOCKET", longer, 1);
    assert_false(systemd_init(&s));
    assert_int_equal(errno, ENAMETOOLONG);
    forget_environment();
}

/* A manager that has stalled holds the caller up for a moment, and not for good. */
static void a_full_queue_is_not_waited_for(void **state)
{
    struct manager m;
    struct systemd s;
    struct timespec before;
    struct timespec after;

    (void)state;
    manager_start(&m, '@');
    assert_true(systemd_init(&s));
    while (send(s.fd, "x", 1, MSG_DONTWAIT) == 1)
        ;
    clock_gettime(CLOCK_MONOTONIC, &before);
    systemd_watchdog(&s);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 20);
    systemd_fini(&s);
    manager_end(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_one_datagram),
        cmocka_unit_test(a_reload_carries_the_time),
        cmocka_unit_test(a_status_stays_one_line),
        cmocka_unit_test(the_watchdog_is_for_this_process_only),
        cmocka_unit_test(without_a_manager_nothing_happens),
        cmocka_unit_test(a_full_queue_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
