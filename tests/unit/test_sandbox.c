/*
 * Tries to break out. Each case runs in a child that has put itself into the sandbox, or one layer
 * of it, and ends with a status that says how it went; no layer can be taken off again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>
#include <seccomp.h>

#include "base/attr.h"
#include "ops/log.h"
#include "ops/sandbox.h"
#include "ops/sandbox_landlock.h"
#include "ops/sandbox_privileges.h"
#include "ops/sandbox_seccomp.h"

/* How a child ends. */
enum end {
    END_REFUSED = 40, /* what it tried did not work */
    END_BROKE_OUT,    /* it did */
    END_WORKS,        /* what must work does */
    END_FAILS,        /* it does not */
    END_NO_SANDBOX,   /* the sandbox could not be set up */
    END_KILLED = 128 + SIGSYS,
};

static char folder[64];   /* what the sandbox allows */
static char outside[64];  /* and what it does not */
static char file_in[128]; /* a file in each */
static char file_out[128];

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/utun-inside-XXXXXX");
    strcpy(outside, "/tmp/utun-outside-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_non_null(mkdtemp(outside));
    /* As open as can be: it is not permissions that keep the account out. */
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(chmod(outside, 0777), 0);
    snprintf(file_in, sizeof(file_in), "%s/file", folder);
    snprintf(file_out, sizeof(file_out), "%s/file", outside);
    write_text(file_in, "inside");
    write_text(file_out, "outside");
    assert_int_equal(chmod(file_in, 0666), 0);
    assert_int_equal(chmod(file_out, 0666), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file_in);
    unlink(file_out);
    rmdir(folder);
    rmdir(outside);
    return 0;
}

/* -- children -- */

static int run(int (*child)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool quiet(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    return true;
}

static bool enter_whole(void)
{
    const char *const files[] = {file_in, NULL};
    const struct sandbox_options options = {
        .wish = SANDBOX_WANTED, .files = files, .file_count = 2};

    return quiet() && sandbox_prepare(&options, NULL) == ERR_OK && sandbox_enter(NULL) == ERR_OK;
}

static bool enter_seccomp(void)
{
    return seccomp_enforce(SECCOMP_PROFILE_ROLE) == ERR_OK;
}

static bool enter_signer(void)
{
    return seccomp_enforce(SECCOMP_PROFILE_SIGNER) == ERR_OK;
}

static bool enter_landlock(void)
{
    struct landlock_rules *rules;

    if (landlock_rules_new(&rules) != ERR_OK)
        return false;
    landlock_allow_folder_of(rules, file_in);
    bool done = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && landlock_enforce(rules) == ERR_OK;
    landlock_rules_free(rules);
    return done;
}

static int refused_if(bool is_refused)
{
    return is_refused ? END_REFUSED : END_BROKE_OUT;
}

static int works_if(bool works)
{
    return works ? END_WORKS : END_FAILS;
}

/* -- ways out -- */

static int exec_program(void)
{
    char *const argv[] = {(char *)(uintptr_t) "true", NULL};
    char *const env[] = {NULL};

    execve("/bin/true", argv, env);
    return END_REFUSED; /* /bin/true would have ended with 0 */
}

static int fork_process(void)
{
    /* Not fork(): a sanitizer's own copy of the memory map stays out of it. */
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0)
        _exit(0);
    return refused_if(pid < 0);
}

static int trace_parent(void)
{
    return refused_if(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) != 0);
}

static int signal_parent(void)
{
    return refused_if(kill(getppid(), 0) != 0);
}

static int signal_thread_of_parent(void)
{
    return refused_if(syscall(SYS_tgkill, getppid(), getppid(), 0) != 0);
}

static int become_root(void)
{
    return refused_if(setresuid(0, 0, 0) != 0);
}

static int new_namespace(void)
{
    return refused_if(unshare(CLONE_NEWUSER) != 0);
}

static int raw_socket(void)
{
    return refused_if(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 &&
                      socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6) < 0);
}

static int packet_socket(void)
{
    return refused_if(socket(AF_PACKET, SOCK_RAW, 0) < 0 && socket(AF_PACKET, SOCK_DGRAM, 0) < 0);
}

static int odd_sockets(void)
{
    static const int families[] = {AF_KEY, AF_ALG, AF_BLUETOOTH, AF_VSOCK, AF_CAN};

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (socket(families[i], SOCK_DGRAM, 0) >= 0 || socket(families[i], SOCK_STREAM, 0) >= 0)
            return END_BROKE_OUT;
    return refused_if(socket(AF_NETLINK, SOCK_RAW, 9) < 0); /* NETLINK_AUDIT */
}

static int written_code(void)
{
    size_t page = 4096;
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return END_NO_SANDBOX;
    return refused_if(mprotect(memory, page, PROT_READ | PROT_EXEC) != 0 &&
                      mmap(NULL, page, PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
}

static int ring(void)
{
    char parameters[256] = {0};

    return refused_if(syscall(SYS_io_uring_setup, 4, parameters) < 0);
}

static int type_for_the_terminal(void)
{
    return refused_if(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x") < 0 && errno == ENOSYS);
}

static int raise_limit(void)
{
    const struct rlimit more = {4096, 4096};

    return refused_if(syscall(SYS_prlimit64, getppid(), RLIMIT_CORE, &more, NULL) != 0);
}

static int allow_core_dumps(void)
{
    const struct rlimit more = {1 << 20, 1 << 20};

    return refused_if(setrlimit(RLIMIT_CORE, &more) != 0 &&
                      prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 && prctl(PR_GET_DUMPABLE) == 0);
}

static int read_outside(void)
{
    return refused_if(open(file_out, O_RDONLY) < 0 && errno == EACCES);
}

static int list_outside(void)
{
    return refused_if(open("/", O_RDONLY | O_DIRECTORY) < 0 &&
                      open(outside, O_RDONLY | O_DIRECTORY) < 0);
}

static int write_inside(void)
{
    return refused_if(open(file_in, O_WRONLY) < 0 && errno == EACCES);
}

static int create_inside(void)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/new", folder);
    return refused_if(open(path, O_WRONLY | O_CREAT, 0600) < 0);
}

static int remove_inside(void)
{
    return refused_if(unlink(file_in) != 0 && rename(file_in, file_out) != 0);
}

static int read_memory_of_parent(void)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/mem", (int)getppid());
    return refused_if(open(path, O_RDONLY) < 0);
}

struct way {
    const char *name;
    int (*out)(void);
    bool is_deadly; /* the process does not live to see it refused */
};

static bool (*layer)(void);
static int (*way_out)(void);

static int try_way(void)
{
    return layer() ? way_out() : END_NO_SANDBOX;
}

static void check_ways(bool (*in)(void), const struct way *ways, size_t count)
{
    layer = in;
    for (size_t i = 0; i < count; i++) {
        way_out = ways[i].out;
        int end = run(try_way);
        int wanted = ways[i].is_deadly ? (int)END_KILLED : (int)END_REFUSED;

        /* A sanitizer needs some of it for itself; there another layer has to hold. */
        if (end != wanted && !(SANITIZED && end == END_REFUSED))
            fail_msg("%s ended with %d instead of %d", ways[i].name, end, wanted);
    }
}

/* What system calls can do. A sanitizer's runtime is let off: see sandbox_seccomp.c. */
static const struct way forbidden_calls[] = {
    {"become root", become_root, true},
    {"make a namespace", new_namespace, true},
    {"raw socket", raw_socket, false},
    {"packet socket", packet_socket, false},
    {"odd sockets", odd_sockets, false},
    {"io_uring", ring, false},
    {"type for the terminal", type_for_the_terminal, false},
};

static const struct way forbidden_without_sanitizer[] = {
    {"start a program", exec_program, true},
    {"trace another process", trace_parent, true},
    {"fork", fork_process, false},
    {"signal another process", signal_parent, false},
    {"signal a thread of another process", signal_thread_of_parent, false},
    {"run what was written", written_code, false},
    {"raise another process's limit", raise_limit, false},
};

static const struct way forbidden_files[] = {
    {"read a file outside", read_outside, false},
    {"list folders outside", list_outside, false},
    {"write to a file inside", write_inside, false},
    {"make a file inside", create_inside, false},
    {"remove or move a file inside", remove_inside, false},
    {"read another process's memory", read_memory_of_parent, false},
    {"start a program", exec_program, false},
    {"trace another process", trace_parent, false},
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void seccomp_holds(void **state)
{
    (void)state;
    check_ways(enter_seccomp, forbidden_calls, COUNT(forbidden_calls));
    if (!SANITIZED)
        check_ways(enter_seccomp, forbidden_without_sanitizer, COUNT(forbidden_without_sanitizer));
}

static int any_socket(void)
{
    return refused_if(socket(AF_INET, SOCK_STREAM, 0) < 0 && socket(AF_UNIX, SOCK_DGRAM, 0) < 0);
}

static int connect_to_any(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET};

    return refused_if(connect(0, (struct sockaddr *)&to, sizeof(to)) != 0 && errno == ENOSYS);
}

static int start_thread(void)
{
    long flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;

    return refused_if(syscall(SYS_clone, flags, NULL, NULL, NULL, NULL) < 0);
}

/* The signer may do even less. */
static void signer_holds(void **state)
{
    static const struct way more[] = {
        {"any socket", any_socket, false},
        {"connect", connect_to_any, false},
    };
    static const struct way thread[] = {{"thread", start_thread, false}};

    (void)state;
    check_ways(enter_signer, forbidden_calls, COUNT(forbidden_calls));
    check_ways(enter_signer, more, COUNT(more));
    if (SANITIZED)
        return;
    check_ways(enter_signer, forbidden_without_sanitizer, COUNT(forbidden_without_sanitizer));
    check_ways(enter_signer, thread, COUNT(thread));
}

static void landlock_holds(void **state)
{
    struct landlock_rules *rules;

    (void)state;
    if (landlock_version() == 0) {
        /* Nothing to try then, but to see that it is said. */
        assert_int_equal(landlock_rules_new(&rules), ERR_NOT_FOUND);
        assert_null(rules);
        return;
    }
    check_ways(enter_landlock, forbidden_files, COUNT(forbidden_files));
    if (landlock_version() >= 6)
        check_ways(enter_landlock, &(struct way){"signal", signal_parent, false}, 1);
}

static void whole_holds(void **state)
{
    (void)state;
    check_ways(enter_whole, forbidden_calls, COUNT(forbidden_calls));
    if (!SANITIZED)
        check_ways(enter_whole, forbidden_without_sanitizer, COUNT(forbidden_without_sanitizer));
    if (landlock_version() > 0)
        check_ways(enter_whole, forbidden_files, COUNT(forbidden_files) - 2);
}

/* -- threads that were there before -- */

static int stage[2]; /* a pipe: the thread goes on when there is something in it */
static int thread_end;

static void *wait_and_try(void *arg)
{
    char byte;

    (void)arg;
    thread_end = END_NO_SANDBOX;
    if (read(stage[0], &byte, 1) == 1)
        thread_end = refused_if(socket(AF_PACKET, SOCK_DGRAM, 0) < 0 && errno == ENOSYS &&
                                capabilities_now() == 0);
    return NULL;
}

static int earlier_thread(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_WANTED};
    pthread_t thread;

    if (!quiet() || pipe(stage) != 0 || sandbox_prepare(&options, NULL) != ERR_OK ||
        pthread_create(&thread, NULL, wait_and_try, NULL) != 0 || sandbox_enter(NULL) != ERR_OK ||
        write(stage[1], "x", 1) != 1)
        return END_NO_SANDBOX;
    pthread_join(thread, NULL);
    return thread_end;
}

static void threads_are_held(void **state)
{
    (void)state;
    assert_int_equal(run(earlier_thread), END_REFUSED);
}

/* -- accounts -- */

static int drop(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_WANTED};

    if (!quiet() || sandbox_prepare(&options, NULL) != ERR_OK || sandbox_enter(NULL) != ERR_OK)
        return END_NO_SANDBOX;
    return works_if(geteuid() != 0 && getuid() == geteuid() && getegid() != 0 &&
                    capabilities_now() == 0 && sandbox_state(SANDBOX_USER) == SANDBOX_ON &&
                    sandbox_state(SANDBOX_CAPABILITIES) == SANDBOX_ON);
}

static int stay_root(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_WANTED, .user = "root"};

    if (!quiet() || sandbox_prepare(&options, NULL) != ERR_OK || sandbox_enter(NULL) != ERR_OK)
        return END_NO_SANDBOX;
    return works_if(geteuid() == 0 && sandbox_state(SANDBOX_USER) == SANDBOX_OFF);
}

/* A ring that a loop had would stop working, and libuv would end the process. */
static int no_ring_for_loops(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_WANTED};

    if (!quiet() || sandbox_prepare(&options, NULL) != ERR_OK)
        return END_NO_SANDBOX;
    return works_if(syscall(SYS_io_uring_setup, 4, NULL) < 0 && errno == ENOSYS && getppid() > 0);
}

static void io_uring_is_hidden_from_the_first(void **state)
{
    (void)state;
    assert_int_equal(run(no_ring_for_loops), END_WORKS);
}

static int unknown_account(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_WANTED, .user = "no-such-account"};
    struct err_detail d = {""};

    return works_if(sandbox_prepare(&options, &d) == ERR_NOT_FOUND &&
                    strstr(d.text, "no-such-account") != NULL);
}

static int no_rights_to_change(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_WANTED};

    /* As in a container that was started without them. */
    if (!quiet() || capabilities_keep(0) != ERR_OK || sandbox_prepare(&options, NULL) != ERR_OK)
        return END_NO_SANDBOX;
    return works_if(sandbox_enter(NULL) == ERR_OK &&
                    sandbox_state(SANDBOX_USER) == SANDBOX_UNAVAILABLE &&
                    sandbox_state(SANDBOX_CAPABILITIES) == SANDBOX_ON);
}

static int no_rights_to_change_as_told(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_WANTED, .user = "nobody"};

    if (!quiet() || capabilities_keep(0) != ERR_OK || sandbox_prepare(&options, NULL) != ERR_OK)
        return END_NO_SANDBOX;
    return works_if(sandbox_enter(NULL) == ERR_PERMISSION);
}

static void root_is_left(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        assert_int_equal(run(unknown_account), END_FAILS); /* not root's: nobody asks */
        return;
    }
    assert_int_equal(run(drop), END_WORKS);
    assert_int_equal(run(stay_root), END_WORKS);
    assert_int_equal(run(unknown_account), END_WORKS);
    assert_int_equal(run(no_rights_to_change), END_WORKS);
    assert_int_equal(run(no_rights_to_change_as_told), END_WORKS);
}

/* -- a kernel that lacks it -- */

/* An old kernel, as far as one can be had. */
static bool hide(const char *const *calls)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    bool done = filter != NULL;

    for (; done && *calls != NULL; calls++)
        done = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
                                seccomp_syscall_resolve_name(*calls), 0) == 0;
    done = done && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return done;
}

static int without_landlock(void)
{
    static const char *const calls[] = {"landlock_create_ruleset", NULL};

    return works_if(hide(calls) && enter_whole() &&
                    sandbox_state(SANDBOX_LANDLOCK) == SANDBOX_UNAVAILABLE &&
                    sandbox_note(SANDBOX_LANDLOCK)[0] != 0 &&
                    sandbox_state(SANDBOX_SECCOMP) == SANDBOX_ON && open(file_out, O_RDONLY) >= 0);
}

static int without_seccomp(void)
{
    static const char *const calls[] = {"seccomp", NULL};

    return works_if(hide(calls) && enter_whole() &&
                    sandbox_state(SANDBOX_SECCOMP) == SANDBOX_UNAVAILABLE &&
                    sandbox_note(SANDBOX_SECCOMP)[0] != 0);
}

static int not_wanted(void)
{
    const struct sandbox_options options = {.wish = SANDBOX_NOT_WANTED, .user = "root"};

    return works_if(
        quiet() && sandbox_prepare(&options, NULL) == ERR_OK && sandbox_enter(NULL) == ERR_OK &&
        sandbox_state(SANDBOX_SECCOMP) == SANDBOX_OFF &&
        sandbox_state(SANDBOX_LANDLOCK) == SANDBOX_OFF && open(file_out, O_RDONLY) >= 0);
}

static void a_missing_part_is_said(void **state)
{
    (void)state;
    assert_int_equal(run(without_landlock), END_WORKS);
    assert_int_equal(run(without_seccomp), END_WORKS);
    assert_int_equal(run(not_wanted), END_WORKS);
}

/* -- what must go on working -- */

static bool reads(const char *path, const char *wanted)
{
    char text[32] = {0};
    int fd = open(path, O_RDONLY);
    bool is_same = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strcmp(text, wanted) == 0;

    if (fd >= 0)
        close(fd);
    return is_same;
}

static bool talks(int family, int type)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&at : (struct sockaddr *)&at6;
    socklen_t len = family == AF_INET ? sizeof(at) : sizeof(at6);
    int one = socket(family, type | SOCK_CLOEXEC, 0);
    int other = socket(family, type | SOCK_NONBLOCK, 0);

    return bind(one, address, len) == 0 && getsockname(one, address, &len) == 0 &&
           (type == SOCK_DGRAM || listen(one, 8) == 0) &&
           (connect(other, address, len) == 0 || errno == EINPROGRESS);
}

static void *do_nothing(void *arg)
{
    return arg;
}

static int everyday_work(void)
{
    struct addrinfo *found = NULL;
    pthread_t thread;
    char *memory = NULL;

    if (!enter_whole())
        return END_NO_SANDBOX;
    if (getaddrinfo("localhost", "80", NULL, &found) != 0)
        return END_FAILS;
    freeaddrinfo(found);
    (void)getaddrinfo("no-such-name.invalid", NULL, NULL, &found);
    memory = malloc((size_t)16 << 20);
    if (memory == NULL || pthread_create(&thread, NULL, do_nothing, NULL) != 0 ||
        pthread_join(thread, NULL) != 0)
        return END_FAILS;
    free(memory);
    return works_if(reads(file_in, "inside") && talks(AF_INET, SOCK_STREAM) &&
                    talks(AF_INET, SOCK_DGRAM) && talks(AF_INET6, SOCK_STREAM) &&
                    access("/proc/self/stat", R_OK) == 0 && open("/proc/self/fd", O_RDONLY) >= 0);
}

/* A file that another one has taken the place of is the one that is read. */
static int renewed_file(void)
{
    char path[160];
    char byte;
    int ready[2];
    int go[2];
    int status;
    pid_t pid;

    snprintf(path, sizeof(path), "%s/renewed", folder);
    if (pipe(ready) != 0 || pipe(go) != 0)
        return END_NO_SANDBOX;
    pid = fork();
    if (pid == 0) {
        if (!enter_whole() || write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1)
            _exit(END_NO_SANDBOX);
        _exit(works_if(reads(file_in, "renewed")));
    }
    close(ready[1]); /* a child that dies is not waited for */
    if (read(ready[0], &byte, 1) != 1)
        return END_NO_SANDBOX;
    write_text(path, "renewed");
    if (rename(path, file_in) != 0 || write(go[1], "x", 1) != 1)
        return END_NO_SANDBOX;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : END_NO_SANDBOX;
}

static void everyday_work_goes_on(void **state)
{
    (void)state;
    assert_int_equal(run(everyday_work), END_WORKS);
    assert_int_equal(run(renewed_file), END_WORKS);
}

static int no_core(void)
{
    struct rlimit limit;

    return works_if(enter_whole() && getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0 &&
                    prctl(PR_GET_DUMPABLE) == 0);
}

static void core_dumps_are_off(void **state)
{
    static const struct way back[] = {{"allow core dumps again", allow_core_dumps, false}};

    (void)state;
    assert_int_equal(run(no_core), END_WORKS);
    if (!SANITIZED)
        check_ways(enter_whole, back, COUNT(back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seccomp_holds),
        cmocka_unit_test(signer_holds),
        cmocka_unit_test(landlock_holds),
        cmocka_unit_test(whole_holds),
        cmocka_unit_test(threads_are_held),
        cmocka_unit_test(root_is_left),
        cmocka_unit_test(a_missing_part_is_said),
        cmocka_unit_test(everyday_work_goes_on),
        cmocka_unit_test(core_dumps_are_off),
        cmocka_unit_test(io_uring_is_hidden_from_the_first),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
