#include "role/signer_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#include "crypto/private_key.h"
#include "crypto/secret.h"
#include "crypto/signer.h"
#include "ops/sandbox_landlock.h"
#include "ops/sandbox_privileges.h"
#include "ops/sandbox_seccomp.h"
#include "role/validate.h"

/* Descriptors of the child, behind the standard ones. */
#define CHILD_SOCKET   3
#define CHILD_LIFELINE 4
#define CHILD_FIRST    5

struct signer_process {
    pid_t pid; /* 0: reaped */
    int lifeline;
    struct signer *signer;
    char end[64];
};

/* -- the child -- */

static enum err restrict_files(const char *key_path)
{
    /* For the names of accounts in errors, and what reading them loads. */
    static const char *const system_paths[] = {"/dev/urandom", "/etc/group", "/etc/nsswitch.conf",
                                               "/etc/passwd",  "/lib",       "/lib64",
                                               "/usr/lib",     "/usr/lib64", "/proc/self/exe"};
    struct landlock_rules *rules;
    enum err e = landlock_rules_new(&rules);

    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < sizeof(system_paths) / sizeof(system_paths[0]); i++)
        landlock_allow_read(rules, system_paths[i]);
    landlock_allow_folder_of(rules, key_path);
    e = landlock_enforce(rules);
    landlock_rules_free(rules);
    return e;
}

/* Each part by itself: what the kernel lacks, the role warns of for both (ops/sandbox.h). */
static void enter_sandbox(const char *key_path)
{
    const struct rlimit none = {0, 0};
    enum err parts[3];

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    parts[0] = restrict_files(key_path);
    parts[1] = capabilities_keep(CAPABILITY(CAP_DAC_READ_SEARCH));
    parts[2] = seccomp_enforce(SECCOMP_PROFILE_SIGNER);
    (void)parts;
}

NORETURN static void run_child(int fd, int lifeline, const struct config *config,
                               const struct identity_files *files)
{
    const struct signer_options options = {
        .fd = CHILD_SOCKET,
        .key_path = files->key_path,
        .use = files->use,
    };

    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)prctl(PR_SET_NAME, "utun-signer", 0, 0, 0);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    /* Both are above: nothing of these is overwritten before it is copied. */
    if (dup2(fd, CHILD_SOCKET) < 0 || dup2(lifeline, CHILD_LIFELINE) < 0)
        _exit(1);
    closefrom(CHILD_FIRST);
    (void)secret_init();
    if (config->security.sandbox)
        enter_sandbox(files->key_path);
    signer_serve(&options);
    _exit(0);
}

/* -- the parent -- */

/* A descriptor that is not one of those the child makes. */
static int raise_descriptor(int fd)
{
    int raised = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FIRST);

    close(fd);
    return raised;
}

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

enum ends { OURS, THEIRS };

/* A pair of sockets to talk by, and a pipe of which nothing is ever read but its end. */
static enum err make_ends(int sockets[2], int lifeline[2])
{
    sockets[OURS] = sockets[THEIRS] = lifeline[OURS] = lifeline[THEIRS] = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0 ||
        pipe2(lifeline, O_CLOEXEC | O_NONBLOCK) != 0)
        return ERR_LIMIT;
    sockets[THEIRS] = raise_descriptor(sockets[THEIRS]);
    lifeline[THEIRS] = raise_descriptor(lifeline[THEIRS]);
    return sockets[THEIRS] >= 0 && lifeline[THEIRS] >= 0 ? ERR_OK : ERR_LIMIT;
}

enum err signer_process_start(struct signer_process **out, const struct config *config,
                              enum config_role role, struct err_detail *d)
{
    const struct identity_files files = validate_files(config, role);
    struct signer_process *p = NULL;
    int sockets[2];
    int lifeline[2];
    enum err e;

    *out = NULL;
    if (!config->security.signer || files.key_path == NULL)
        return ERR_OK;
    e = make_ends(sockets, lifeline);
    p = calloc(1, sizeof(*p));
    if (e == ERR_OK && p == NULL)
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = signer_new(&p->signer, sockets[OURS]);
    if (e != ERR_OK)
        goto out;
    sockets[OURS] = -1; /* the signer's */
    p->pid = fork();
    if (p->pid == 0) {
        signer_free(p->signer); /* the parent's */
        free(p);
        run_child(sockets[THEIRS], lifeline[THEIRS], config, &files);
    }
    if (p->pid < 0) {
        e = ERR_LIMIT;
        goto out;
    }
    p->lifeline = lifeline[OURS];
    lifeline[OURS] = -1;
    private_key_use(p->signer);
    *out = p;
    p = NULL;
out:
    if (e != ERR_OK)
        err_set(d, e, "the process that keeps private keys cannot be started: %s", strerror(errno));
    close_all(sockets, 2);
    close_all(lifeline, 2);
    if (p != NULL)
        signer_free(p->signer);
    free(p);
    return e;
}

/* Waits for it; its end is near. */
static void reap(struct signer_process *p)
{
    int status = 0;
    pid_t got;

    if (p->pid == 0)
        return;
    do {
        got = waitpid(p->pid, &status, 0);
    } while (got < 0 && errno == EINTR);
    p->pid = 0;
    if (got < 0)
        snprintf(p->end, sizeof(p->end), "%s", "it is gone");
    else if (WIFSIGNALED(status))
        snprintf(p->end, sizeof(p->end), "killed by signal %d", WTERMSIG(status));
    else
        snprintf(p->end, sizeof(p->end), "ended with status %d", WEXITSTATUS(status));
}

void signer_process_stop(struct signer_process *p)
{
    if (p == NULL)
        return;
    private_key_use(NULL);
    signer_free(p->signer); /* the end of its input is its end */
    reap(p);
    close(p->lifeline);
    free(p);
}

pid_t signer_process_pid(const struct signer_process *p)
{
    return p->pid;
}

int signer_process_lifeline(const struct signer_process *p)
{
    return p->lifeline;
}

const char *signer_process_end(struct signer_process *p)
{
    reap(p);
    return p->end;
}
