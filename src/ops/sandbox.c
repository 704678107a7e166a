#include "ops/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <linux/capability.h>

#include "ops/log.h"
#include "ops/sandbox_landlock.h"
#include "ops/sandbox_privileges.h"
#include "ops/sandbox_seccomp.h"

/*
 * What the libraries read. Names are resolved while the daemon runs, by whatever nsswitch.conf says
 * and with a resolv.conf that is replaced when the network changes: hence all of /etc, and the
 * folders that it is linked into. Whose permissions still count there.
 */
static const char *const system_paths[] = {
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/dev/random",
    "/dev/urandom",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
};

/* What is kept until ports and sockets are there, and the account is another one. */
#define TO_BIND CAPABILITY(CAP_NET_BIND_SERVICE)
#define TO_BECOME                                                                                  \
    (CAPABILITY(CAP_SETUID) | CAPABILITY(CAP_SETGID) | CAPABILITY(CAP_CHOWN) |                     \
     CAPABILITY(CAP_DAC_OVERRIDE))

struct part {
    enum sandbox_state state;
    char note[160];
};

static struct {
    bool is_wanted;
    bool is_user_named;
    bool has_account;
    struct account account;
    int own_folder; /* keeps /proc/self the folder that Landlock allows */
    struct part parts[SANDBOX_PART_COUNT];
} sandbox = {.own_folder = -1};

void sandbox_set(enum sandbox_part part, enum sandbox_state state, const char *note)
{
    sandbox.parts[part].state = state;
    snprintf(sandbox.parts[part].note, sizeof(sandbox.parts[part].note), "%.150s", note);
}

/* -- before the start -- */

static enum err find_account(const char *user, struct err_detail *d)
{
    enum err e;

    sandbox.is_user_named = user != NULL;
    if (geteuid() != 0) {
        sandbox_set(SANDBOX_USER, SANDBOX_ON, "not started by root");
        return ERR_OK;
    }
    e = account_find(&sandbox.account, user, d);
    if (e != ERR_OK && user == NULL && e == ERR_NOT_FOUND) {
        sandbox_set(SANDBOX_USER, SANDBOX_UNAVAILABLE,
                    "there is no account " ACCOUNT_DEFAULT " or " ACCOUNT_FALLBACK);
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    if (sandbox.account.uid == 0)
        sandbox_set(SANDBOX_USER, SANDBOX_OFF, "[security] user is root");
    else
        sandbox.has_account = true;
    return ERR_OK;
}

static void stop_core_dumps(void)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
        sandbox_set(SANDBOX_NO_CORE_DUMPS, SANDBOX_ON, "");
    else
        sandbox_set(SANDBOX_NO_CORE_DUMPS, SANDBOX_UNAVAILABLE, strerror(errno));
}

static void stop_new_privileges(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        sandbox_set(SANDBOX_NO_NEW_PRIVS, SANDBOX_ON, "");
    else
        sandbox_set(SANDBOX_NO_NEW_PRIVS, SANDBOX_UNAVAILABLE, strerror(errno));
}

static void allow_files(struct landlock_rules *rules, const struct sandbox_options *options)
{
    for (size_t i = 0; i < sizeof(system_paths) / sizeof(system_paths[0]); i++)
        landlock_allow_read(rules, system_paths[i]);
    sandbox.own_folder = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    landlock_allow_read(rules, "/proc/self");
    /* A sanitizer reads it to name the place of what it has found. */
    landlock_allow_read(rules, "/proc/self/exe");
    for (size_t i = 0; i < options->file_count; i++)
        if (options->files[i] != NULL)
            landlock_allow_folder_of(rules, options->files[i]);
    for (size_t i = 0; i < options->socket_count; i++)
        landlock_allow_socket(rules, options->sockets[i]);
}

static void restrict_files(const struct sandbox_options *options)
{
    struct landlock_rules *rules = NULL;
    char note[64];
    enum err e = landlock_rules_new(&rules);

    if (e == ERR_OK) {
        allow_files(rules, options);
        e = landlock_enforce(rules);
    }
    landlock_rules_free(rules);
    snprintf(note, sizeof(note), "Landlock version %d", landlock_version());
    if (e == ERR_OK)
        sandbox_set(SANDBOX_LANDLOCK, SANDBOX_ON, note);
    else
        sandbox_set(SANDBOX_LANDLOCK, SANDBOX_UNAVAILABLE,
                    e == ERR_NOT_FOUND ? "this kernel does not have it, or has it turned off"
                                       : err_text(e));
}

enum err sandbox_prepare(const struct sandbox_options *options, struct err_detail *d)
{
    enum err e = find_account(options->user, d);

    if (e != ERR_OK)
        return e;
    sandbox.is_wanted = options->wish == SANDBOX_WANTED;
    if (!sandbox.is_wanted)
        return ERR_OK;
    stop_core_dumps();
    stop_new_privileges();
    /* Without it there is no seccomp_enforce later either, which says so. */
    (void)!seccomp_hide_io_uring();
    restrict_files(options);
    if (capabilities_keep(sandbox.has_account ? TO_BIND | TO_BECOME : TO_BIND) != ERR_OK)
        sandbox_set(SANDBOX_CAPABILITIES, SANDBOX_UNAVAILABLE, "they cannot be given up");
    return ERR_OK;
}

const struct account *sandbox_account(void)
{
    return sandbox.has_account ? &sandbox.account : NULL;
}

/* -- after the start -- */

static enum err leave_root(struct err_detail *d)
{
    struct err_detail why;
    enum err e;

    if (!sandbox.has_account)
        return ERR_OK;
    e = account_become(&sandbox.account, &why);
    if (e == ERR_OK) {
        /* The kernel makes a process that changes its account one that may be looked into again. */
        if (sandbox.parts[SANDBOX_NO_CORE_DUMPS].state == SANDBOX_ON)
            (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        sandbox_set(SANDBOX_USER, SANDBOX_ON, sandbox.account.name);
        return ERR_OK;
    }
    if (sandbox.is_user_named)
        return err_set(d, e, "%s", why.text);
    sandbox_set(SANDBOX_USER, SANDBOX_UNAVAILABLE, why.text);
    return ERR_OK;
}

static void judge_capabilities(void)
{
    uint64_t left = capabilities_now();

    if (left == 0)
        sandbox_set(SANDBOX_CAPABILITIES, SANDBOX_ON, "");
    else if (!sandbox.is_wanted)
        sandbox_set(SANDBOX_CAPABILITIES, SANDBOX_OFF, "");
    else if (left == TO_BIND)
        sandbox_set(SANDBOX_CAPABILITIES, SANDBOX_ON, "CAP_NET_BIND_SERVICE is kept");
    else
        sandbox_set(SANDBOX_CAPABILITIES, SANDBOX_UNAVAILABLE, "some are kept");
}

static void restrict_calls(void)
{
    enum err e = seccomp_enforce(SECCOMP_PROFILE_ROLE);

    if (e == ERR_OK)
        sandbox_set(SANDBOX_SECCOMP, SANDBOX_ON, "");
    else
        sandbox_set(SANDBOX_SECCOMP, SANDBOX_UNAVAILABLE,
                    e == ERR_NOT_FOUND ? "this kernel does not have it" : err_text(e));
}

static const char *word_of(enum sandbox_part part)
{
    return sandbox_state_name(sandbox.parts[part].state);
}

static void log_state(void)
{
    LOG(LOG_LEVEL_INFO, "sandbox.ready", LOG_STR("user", word_of(SANDBOX_USER)),
        LOG_STR("account", sandbox.has_account ? sandbox.account.name : ""),
        LOG_UINT("uid", geteuid()), LOG_STR("capabilities", word_of(SANDBOX_CAPABILITIES)),
        LOG_STR("no_new_privs", word_of(SANDBOX_NO_NEW_PRIVS)),
        LOG_STR("seccomp", word_of(SANDBOX_SECCOMP)),
        LOG_STR("landlock", word_of(SANDBOX_LANDLOCK)),
        LOG_STR("no_core_dumps", word_of(SANDBOX_NO_CORE_DUMPS)),
        LOG_STR("locked_keys", word_of(SANDBOX_LOCKED_KEYS)),
        LOG_STR("signer", word_of(SANDBOX_SIGNER)));
    if (!sandbox.is_wanted)
        LOG(LOG_LEVEL_WARN, "sandbox.off",
            LOG_MSG("[security] sandbox = false: a hole in this process is not contained"));
    for (int i = 0; i < SANDBOX_PART_COUNT; i++) {
        if (sandbox.parts[i].state == SANDBOX_UNAVAILABLE)
            LOG(LOG_LEVEL_WARN, "sandbox.unavailable",
                LOG_STR("part", sandbox_part_name((enum sandbox_part)i)),
                LOG_STR("detail", sandbox.parts[i].note),
                LOG_MSG("it goes on without this protection"));
    }
}

enum err sandbox_enter(struct err_detail *d)
{
    enum err e = leave_root(d);

    if (e != ERR_OK)
        return e;
    judge_capabilities();
    if (sandbox.is_wanted)
        restrict_calls();
    log_state();
    return ERR_OK;
}

/* -- how it stands -- */

enum sandbox_state sandbox_state(enum sandbox_part part)
{
    return sandbox.parts[part].state;
}

const char *sandbox_note(enum sandbox_part part)
{
    return sandbox.parts[part].note;
}

const char *sandbox_part_name(enum sandbox_part part)
{
    static const char *const names[SANDBOX_PART_COUNT] = {
        [SANDBOX_USER] = "user",
        [SANDBOX_CAPABILITIES] = "capabilities",
        [SANDBOX_NO_NEW_PRIVS] = "no_new_privs",
        [SANDBOX_SECCOMP] = "seccomp",
        [SANDBOX_LANDLOCK] = "landlock",
        [SANDBOX_NO_CORE_DUMPS] = "no_core_dumps",
        [SANDBOX_LOCKED_KEYS] = "locked_keys",
        [SANDBOX_SIGNER] = "signer",
    };

    return names[part];
}

const char *sandbox_state_name(enum sandbox_state state)
{
    static const char *const names[] = {
        [SANDBOX_OFF] = "off",
        [SANDBOX_ON] = "on",
        [SANDBOX_UNAVAILABLE] = "unavailable",
    };

    return names[state];
}
