/*
 * The lists are what glibc 2.36 to 2.41, libuv, libmicrohttpd and OpenSSL ask for in our use of
 * them, both as they are and as they were in older versions. A name that an architecture does not
 * have is passed over.
 */
#include "ops/sandbox_seccomp.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/sockios.h>
#include <seccomp.h>

#include "base/attr.h"

static const char *const memory_and_time[] = {
    "brk",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "get_robust_list",
    "getcpu",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrusage",
    "gettid",
    "gettimeofday",
    "getuid",
    "madvise",
    "membarrier",
    "mincore",
    "mlock",
    "mlock2",
    "mremap",
    "munlock",
    "munmap",
    "nanosleep",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "sysinfo",
    "time",
    "uname",
    NULL,
};

static const char *const files_to_read[] = {
    "access",  "close",   "faccessat",  "faccessat2", "fadvise64",  "fcntl",      "fstat",
    "fstatfs", "getcwd",  "getdents64", "lseek",      "lstat",      "newfstatat", "open",
    "openat",  "pread64", "read",       "readlink",   "readlinkat", "readv",      "stat",
    "statfs",  "statx",   "write",      "writev",     NULL,
};

/* Of the socket that it was given; it can make none. */
static const char *const messages[] = {
    "poll", "ppoll", "recvfrom", "recvmsg", "sendmsg", "sendto", "shutdown", NULL,
};

static const char *const sockets_and_loops[] = {
    "accept",
    "accept4",
    "bind",
    "connect",
    "dup",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd2",
    "getpeername",
    "getpriority",
    "getsockname",
    "getsockopt",
    "inotify_add_watch",
    "inotify_rm_watch",
    "listen",
    "pipe",
    "pipe2",
    "pselect6",
    "recvmmsg",
    "select",
    "sendfile",
    "sendmmsg",
    "setpriority",
    "setsockopt",
    "splice",
    "timerfd_create",
    "timerfd_settime",
    "wait4",
    "waitid",
    NULL,
};

/* Unix sockets are made and removed; Landlock says where. */
static const char *const socket_files[] = {
    "chmod", "fchmod", "fchmodat", "flock", "unlink", "unlinkat", NULL,
};

/* Nothing in the program has a use for these: whoever asks for them is not the program. */
static const char *const hostile[] = {
    "add_key",
    "bpf",
    "chroot",
    "delete_module",
    "execve",
    "execveat",
    "fanotify_init",
    "finit_module",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mount",
    "move_mount",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "reboot",
    "request_key",
    "setdomainname",
    "setgid",
    "setgroups",
    "sethostname",
    "setns",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
    NULL,
};

/*
 * What a sanitizer's runtime needs to look for leaks and to report what it has found: a process of
 * its own that stops and reads this one.
 */
static const char *const for_sanitizers[] = {
    "clone",
    "execve",
    "getdents",
    "fork",
    "ftruncate",
    "getrlimit",
    "kill",
    "mprotect",
    "mmap",
    "personality",
    "pipe2",
    "prctl",
    "prlimit64",
    "ptrace",
    "process_vm_readv",
    "rt_tgsigqueueinfo",
    "setitimer",
    "tgkill",
    "tkill",
    "unlink",
    "vfork",
    "wait4",
    NULL,
};

/* The first error is kept, as in a chain of &&. */
static void add(int *failed, scmp_filter_ctx filter, uint32_t action, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);

    if (*failed == 0 && number >= 0)
        *failed = seccomp_rule_add(filter, action, number, 0);
}

static void add_list(int *failed, scmp_filter_ctx filter, uint32_t action, const char *const *names)
{
    for (; *names != NULL; names++)
        add(failed, filter, action, *names);
}

/* All of the conditions on the call's arguments must hold. */
static void add_if(int *failed, scmp_filter_ctx filter, const char *name,
                   const struct scmp_arg_cmp *args, unsigned count)
{
    int number = seccomp_syscall_resolve_name(name);

    if (*failed == 0 && number >= 0)
        *failed = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, count, args);
}

#define ONE_OF(list) (sizeof(list) / sizeof((list)[0]))

static void add_values(int *failed, scmp_filter_ctx filter, const char *name, unsigned arg,
                       const uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct scmp_arg_cmp is_it = {.arg = arg, .op = SCMP_CMP_EQ, .datum_a = values[i]};
        add_if(failed, filter, name, &is_it, 1);
    }
}

/* Memory may be written or run, never both, and what was written does not become code. */
static void add_memory(int *failed, scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp not_code = {
        .arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC, .datum_b = 0};
    const struct scmp_arg_cmp not_written = {.arg = 2,
                                             .op = SCMP_CMP_MASKED_EQ,
                                             .datum_a = PROT_EXEC | PROT_WRITE,
                                             .datum_b = PROT_EXEC};

    add_if(failed, filter, "mmap", &not_code, 1);
    add_if(failed, filter, "mmap", &not_written, 1); /* name services are loaded when needed */
    add_if(failed, filter, "mprotect", &not_code, 1);
}

static void add_signals(int *failed, scmp_filter_ctx filter)
{
    const uint64_t self = (uint64_t)getpid();

    add_values(failed, filter, "tgkill", 0, &self, 1); /* abort() */
}

static void add_threads(int *failed, scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp is_thread = {
        .arg = 0, .op = SCMP_CMP_MASKED_EQ, .datum_a = CLONE_THREAD, .datum_b = CLONE_THREAD};

    add_if(failed, filter, "clone", &is_thread, 1); /* clone3's flags cannot be seen: not it */
}

static void add_ioctls(int *failed, scmp_filter_ctx filter)
{
    static const uint64_t requests[] = {FIONBIO, FIOCLEX, FIONREAD, SIOCOUTQ, TCGETS, TIOCGWINSZ};

    add_values(failed, filter, "ioctl", 1, requests, ONE_OF(requests));
}

static void add_prctls(int *failed, scmp_filter_ctx filter)
{
    static const uint64_t options[] = {PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE, 0x53564d41};

    add_values(failed, filter, "prctl", 0, options, ONE_OF(options)); /* the last: PR_SET_VMA */
}

/* To look at a limit, or at one's own; not to set another process's. */
static void add_limits(int *failed, scmp_filter_ctx filter)
{
    const uint64_t self = 0;

    add(failed, filter, SCMP_ACT_ALLOW, "getrlimit");
    add_values(failed, filter, "prlimit64", 0, &self, 1);
}

/* Raw sockets and packet sockets are not among them; netlink is how addresses are sorted. */
static void add_sockets(int *failed, scmp_filter_ctx filter)
{
    static const struct {
        uint64_t family;
        uint64_t type;
    } kinds[] = {
        {AF_INET, SOCK_STREAM}, {AF_INET, SOCK_DGRAM},  {AF_INET6, SOCK_STREAM},
        {AF_INET6, SOCK_DGRAM}, {AF_UNIX, SOCK_STREAM}, {AF_UNIX, SOCK_DGRAM},
    };
    const uint64_t flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    const struct scmp_arg_cmp netlink[] = {
        {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = AF_NETLINK},
        {.arg = 2, .op = SCMP_CMP_EQ, .datum_a = NETLINK_ROUTE},
    };
    const struct scmp_arg_cmp pair = {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = AF_UNIX};

    for (size_t i = 0; i < ONE_OF(kinds); i++) {
        const struct scmp_arg_cmp args[] = {
            {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = kinds[i].family},
            {.arg = 1, .op = SCMP_CMP_MASKED_EQ, .datum_a = ~flags, .datum_b = kinds[i].type},
        };
        add_if(failed, filter, "socket", args, ONE_OF(args));
    }
    add_if(failed, filter, "socket", netlink, ONE_OF(netlink));
    add_if(failed, filter, "socketpair", &pair, 1);
}

static void add_role(int *failed, scmp_filter_ctx filter)
{
    add_list(failed, filter, SCMP_ACT_ALLOW, sockets_and_loops);
    add_list(failed, filter, SCMP_ACT_ALLOW, socket_files);
    add_threads(failed, filter);
    add_ioctls(failed, filter);
    add_sockets(failed, filter);
}

static enum err err_of(int failed)
{
    if (failed == 0)
        return ERR_OK;
    if (failed == -EINVAL || failed == -ENOSYS)
        return ERR_NOT_FOUND;
    return failed == -ENOMEM ? ERR_NOMEM : ERR_PERMISSION;
}

enum err seccomp_hide_io_uring(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int failed;

    if (filter == NULL)
        return ERR_NOMEM;
    failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0);
    if (failed == 0)
        failed = seccomp_load(filter);
    seccomp_release(filter);
    return err_of(failed);
}

enum err seccomp_enforce(enum seccomp_profile profile)
{
    scmp_filter_ctx filter = NULL;
    int failed = 0;

    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
        return ERR_NOT_FOUND;
    filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (filter == NULL)
        return ERR_NOMEM;
    failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    add_list(&failed, filter, SCMP_ACT_ALLOW, memory_and_time);
    add_list(&failed, filter, SCMP_ACT_ALLOW, files_to_read);
    add_list(&failed, filter, SCMP_ACT_ALLOW, messages);
    add_memory(&failed, filter);
    add_signals(&failed, filter);
    add_prctls(&failed, filter);
    add_limits(&failed, filter);
    if (profile == SECCOMP_PROFILE_ROLE)
        add_role(&failed, filter);
    if (SANITIZED)
        add_list(&failed, filter, SCMP_ACT_ALLOW, for_sanitizers);
    else
        add_list(&failed, filter, SCMP_ACT_KILL_PROCESS, hostile);
    if (failed == 0)
        failed = seccomp_load(filter);
    seccomp_release(filter);
    return err_of(failed);
}
