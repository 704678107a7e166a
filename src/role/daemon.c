/*
 * Files are looked at when the system says that something has happened to them, then once a second
 * until nothing moves any more. Where it says nothing (role/file_watch.h) every second, and every
 * LOOK_RARELY_MS anyway, since it does not see everything.
 */
#include "role/daemon.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <uv.h>

#include "base/list.h"
#include "crypto/secret.h"
#include "net/names.h"
#include "net/worker.h"
#include "ops/log.h"
#include "ops/sandbox.h"
#include "ops/sandbox_privileges.h"
#include "role/admin.h"
#include "role/dest.h"
#include "role/file_watch.h"
#include "role/overdue.h"
#include "role/reloader.h"
#include "role/role.h"
#include "role/source.h"
#include "role/supervisor.h"
#include "role/validate.h"

static const int caught[] = {SIGTERM, SIGINT, SIGHUP};

#define LOOK_MS        1000
#define LOOK_RARELY_MS 300000
/* So many after something has happened: a file is read when two show the same. */
#define LOOKS 3

#define CAUGHT (sizeof(caught) / sizeof(caught[0]))

struct daemon {
    struct role_owner owner;
    struct reloader *reloader;
    struct source *source; /* one of the two */
    struct dest *dest;
    struct admin *admin; /* NULL: not enabled */
    struct supervisor supervisor;
    struct overdue overdue;
    struct signer_process *signer; /* NULL: this process has the keys */
    uv_loop_t loop;
    uv_signal_t signals[CAUGHT];
    struct file_watch *files; /* NULL: the system gives none */
    uv_poll_t news;           /* of files */
    uv_timer_t look;
    uv_timer_t hangup; /* SIGHUP has come; again and again is once */
    unsigned looks_left;
    bool is_told; /* of whatever happens to them */
    uv_async_t stopped;
    uv_poll_t lifeline; /* of the signer */
    enum err why;       /* written before `stopped` is sent */
    bool has_handles;   /* all of them, open */
    bool is_running;    /* the role's threads are */
    bool has_failed;    /* to start */
    bool is_stopping;
    bool is_ending; /* at once: a signal has nothing more to ask for */
    bool has_lost_signer;
};

static void on_stopped(struct role_owner *owner, enum err why)
{
    struct daemon *d = list_entry(owner, struct daemon, owner);

    d->why = why;
    uv_async_send(&d->stopped);
}

static void stop_role(struct daemon *d, uint32_t timeout_ms)
{
    if (d->source != NULL)
        source_stop(d->source, timeout_ms);
    if (d->dest != NULL)
        dest_stop(d->dest, timeout_ms);
}

/* From here on the end is near, and a resolver that does not answer is no reason to wait. */
static void limit_end(struct daemon *d, uint32_t timeout_ms)
{
    bool is_well = !d->has_failed && !d->has_lost_signer && d->why == ERR_OK;

    overdue_set(&d->overdue, timeout_ms, is_well ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* -- files -- */

static void watch_files(struct daemon *d)
{
    enum config_role role = d->source != NULL ? CONFIG_ROLE_SOURCE : CONFIG_ROLE_DEST;
    const struct identity_files identity = validate_files(reloader_config(d->reloader), role);
    const char *paths[RELOADER_FILES + 4];
    size_t count = RELOADER_FILES;

    reloader_get_files(d->reloader, paths);
    paths[count++] = identity.cert_path;
    paths[count++] = identity.key_path;
    paths[count++] = identity.ca_path;
    paths[count++] = identity.crl_path;
    d->is_told = d->files != NULL && file_watch_set(d->files, paths, count) == FILE_WATCH_ALL;
}

static void on_look(uv_timer_t *timer);

static void look_soon(struct daemon *d)
{
    if (d->looks_left == 0)
        uv_timer_start(&d->look, on_look, LOOK_MS, 0);
    d->looks_left = LOOKS;
}

static void reload(struct daemon *d, enum reload_trigger trigger)
{
    if (d->is_stopping)
        return;
    supervisor_reloading(&d->supervisor);
    reloader_run(d->reloader, trigger);
    supervisor_ready(&d->supervisor);
    watch_files(d);
    look_soon(d);
}

static void on_look(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    enum reloader_sight sight = reloader_look(d->reloader);

    d->looks_left -= d->looks_left > 0 ? 1 : 0;
    if (sight == RELOADER_MOVING)
        d->looks_left = LOOKS;
    if (d->source != NULL)
        source_look(d->source);
    else
        dest_look(d->dest);
    watch_files(d);
    uv_timer_start(timer, on_look, d->is_told && d->looks_left == 0 ? LOOK_RARELY_MS : LOOK_MS, 0);
    if (sight == RELOADER_CHANGED)
        reload(d, RELOAD_FILE);
}

static void on_news(uv_poll_t *poll, int status, int events)
{
    struct daemon *d = poll->data;

    (void)status;
    (void)events;
    if (file_watch_drain(d->files))
        look_soon(d);
}

/* -- signals and the end -- */

static uint32_t shutdown_timeout_secs(const struct daemon *d)
{
    const struct config *config = reloader_config(d->reloader);

    if (d->is_stopping)
        return 0;
    return d->source != NULL ? config->source.shutdown_timeout_secs
                             : config->dest.shutdown_timeout_secs;
}

/*
 * libuv takes signals as long as there are any: without end they would leave the loop no time for
 * anything else. Blocked, they wait in the kernel, which keeps one of each. Other threads block
 * them anyway.
 */
static void mask(int how, const int *numbers, size_t count)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        sigaddset(&set, numbers[i]);
    pthread_sigmask(how, &set, NULL);
}

static const int hangup[] = {SIGHUP};

/*
 * Not from on_signal: a reload for each of thousands would let no other signal through for a
 * minute, and libuv's own queue would be full at some time, and then drop SIGTERM.
 */
static void on_hangup(uv_timer_t *timer)
{
    reload(timer->data, RELOAD_SIGNAL);
    mask(SIG_UNBLOCK, hangup, 1);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;
    uint32_t seconds = shutdown_timeout_secs(d);

    if (d->is_ending)
        return;
    if (number == SIGHUP) {
        mask(SIG_BLOCK, hangup, 1);
        uv_timer_start(&d->hangup, on_hangup, 0, 0);
        return;
    }
    if (d->is_stopping) {
        d->is_ending = true;
        uv_timer_stop(&d->hangup);
        mask(SIG_BLOCK, caught, CAUGHT);
    }
    d->is_stopping = true;
    LOG(LOG_LEVEL_INFO, "shutdown.begin",
        LOG_STR("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"),
        LOG_UINT("timeout_secs", seconds));
    supervisor_stopping(&d->supervisor, seconds * 1000);
    limit_end(d, seconds * 1000);
    stop_role(d, seconds * 1000);
}

/* Without it there is no new session, and nobody can start it again with the rights that it had. */
static void on_signer_gone(uv_poll_t *poll, int status, int events)
{
    struct daemon *d = poll->data;

    (void)status;
    (void)events;
    uv_poll_stop(poll);
    LOG(LOG_LEVEL_ERROR, "signer.died", LOG_STR("detail", signer_process_end(d->signer)),
        LOG_MSG("the process that keeps the private key is gone; this one ends with it"));
    d->has_lost_signer = true;
    d->is_stopping = true;
    limit_end(d, 0);
    stop_role(d, 0);
}

/* After this the loop has nothing left to do. */
static void close_handles(struct daemon *d)
{
    mask(SIG_BLOCK, caught, CAUGHT); /* one more is not to kill what is about to end well */
    for (size_t i = 0; i < CAUGHT; i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    uv_close((uv_handle_t *)&d->look, NULL);
    uv_close((uv_handle_t *)&d->hangup, NULL);
    if (d->files != NULL)
        uv_close((uv_handle_t *)&d->news, NULL);
    supervisor_close(&d->supervisor);
    uv_close((uv_handle_t *)&d->stopped, NULL);
    if (d->signer != NULL)
        uv_close((uv_handle_t *)&d->lifeline, NULL);
}

static void on_role_stopped(uv_async_t *async)
{
    struct daemon *d = async->data;

    limit_end(d, 0);
    close_handles(d);
}

/*
 * Streams and flows have a socket each. The soft limit is as low as it is for programs that use
 * select(2), which this one does not; the hard one is the operator's word.
 */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static enum err open_handles(struct daemon *d)
{
    if (uv_loop_init(&d->loop) != 0)
        return ERR_LIMIT;
    if (uv_async_init(&d->loop, &d->stopped, on_role_stopped) != 0)
        return ERR_LIMIT;
    d->stopped.data = d;
    uv_timer_init(&d->loop, &d->look);
    d->look.data = d;
    uv_timer_init(&d->loop, &d->hangup);
    d->hangup.data = d;
    if (file_watch_new(&d->files) == ERR_OK) {
        if (uv_poll_init(&d->loop, &d->news, file_watch_fd(d->files)) != 0)
            return ERR_LIMIT;
        d->news.data = d;
        uv_poll_start(&d->news, UV_READABLE, on_news);
    }
    if (d->signer != NULL) {
        if (uv_poll_init(&d->loop, &d->lifeline, signer_process_lifeline(d->signer)) != 0)
            return ERR_LIMIT;
        d->lifeline.data = d;
        uv_poll_start(&d->lifeline, UV_READABLE | UV_DISCONNECT, on_signer_gone);
    }
    for (size_t i = 0; i < CAUGHT; i++) {
        uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
        if (uv_signal_start(&d->signals[i], on_signal, caught[i]) != 0)
            return ERR_LIMIT;
    }
    d->has_handles = true;
    return ERR_OK;
}

/* What the sandbox is told: files that are read again while the role runs, or may be; sockets. */
struct sandbox_plan {
    struct sandbox_options options;
    const char *files[6];
    const char **sockets;
};

/* With a signer nobody here reads the key: whoever takes this process over is not to, either. */
static enum err plan_sandbox(struct sandbox_plan *plan, const struct config *config,
                             enum config_role role, const struct signer_process *signer)
{
    const struct identity_files identity = validate_files(config, role);

    *plan = (struct sandbox_plan){
        .files = {config->path, identity.cert_path, signer == NULL ? identity.key_path : NULL,
                  identity.ca_path, identity.crl_path,
                  role == CONFIG_ROLE_SOURCE ? config->source.proxy_users_path : NULL},
    };
    plan->options = (struct sandbox_options){
        .wish = config->security.sandbox ? SANDBOX_WANTED : SANDBOX_NOT_WANTED,
        .user = config->security.user,
        .files = plan->files,
        .file_count = sizeof(plan->files) / sizeof(plan->files[0]),
    };
    if (role != CONFIG_ROLE_SOURCE || config->source.exposed_port_count == 0)
        return ERR_OK;
    plan->sockets = calloc(config->source.exposed_port_count, sizeof(*plan->sockets));
    plan->options.sockets = plan->sockets;
    if (plan->sockets == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < config->source.exposed_port_count; i++)
        if (config->source.exposed_ports[i].listen_path != NULL)
            plan->sockets[plan->options.socket_count++] =
                config->source.exposed_ports[i].listen_path;
    return ERR_OK;
}

/* What others than the sandbox itself know of it. */
static void tell_sandbox(const struct signer_process *signer, bool are_keys_locked)
{
    char note[64] = "no key, or [security] signer is false";

    sandbox_set(SANDBOX_LOCKED_KEYS, are_keys_locked ? SANDBOX_ON : SANDBOX_UNAVAILABLE,
                are_keys_locked ? "" : "RLIMIT_MEMLOCK is too small");
    if (signer != NULL)
        snprintf(note, sizeof(note), "process %ld", (long)signer_process_pid(signer));
    sandbox_set(SANDBOX_SIGNER, signer != NULL ? SANDBOX_ON : SANDBOX_OFF, note);
}

/*
 * Ports are taken with the rights that this needs; these are given up before the role has threads
 * and anything from outside is read.
 */
static enum err take_ports(struct daemon *d, const struct config *config,
                           const struct identity *identity, enum config_role role,
                           struct err_detail *detail)
{
    enum err e = admin_open(&d->admin, config, detail);

    if (e == ERR_OK && role == CONFIG_ROLE_SOURCE)
        e = source_new(&d->source, config, identity, &d->owner, detail);
    else if (e == ERR_OK)
        e = dest_new(&d->dest, config, identity, &d->owner, detail);
    return e;
}

static void give_files(const struct daemon *d)
{
    const struct account *account = sandbox_account();

    if (account != NULL && d->source != NULL)
        source_give_files(d->source, account->uid, account->gid);
}

static enum err start_role(struct daemon *d, struct err_detail *detail)
{
    enum err e = d->source != NULL ? source_start(d->source, detail) : dest_start(d->dest, detail);

    d->is_running = e == ERR_OK;
    if (e == ERR_OK)
        e = admin_serve(d->admin, d->source, d->dest, d->reloader, detail);
    if (e == ERR_OK) {
        e = supervisor_start(&d->supervisor, &d->loop, d->reloader, d->source, d->dest);
        err_set(detail, e, "%s", err_text(e));
    }
    return e;
}

/* As far as it got before it failed. */
static void end_start(struct daemon *d)
{
    d->has_failed = true;
    d->is_stopping = true;
    if (d->is_running)
        stop_role(d, 0);
    else if (d->has_handles)
        close_handles(d);
}

enum err daemon_run(const struct config *config, const struct identity *identity,
                    struct signer_process *signer, enum config_role role)
{
    struct daemon d = {.owner = {.on_stopped = on_stopped}, .signer = signer};
    struct sandbox_plan plan;
    struct err_detail detail;
    enum err e;

    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    supervisor_open(&d.supervisor);
    tell_sandbox(signer, secret_init());
    e = plan_sandbox(&plan, config, role, signer);
    err_set(&detail, e, "%s", err_text(e));
    if (e == ERR_OK)
        e = sandbox_prepare(&plan.options, &detail);
    /* Before there are threads, so that none of them is ever the one a signal kills. */
    if (e == ERR_OK) {
        e = names_size_pool(worker_count(role == CONFIG_ROLE_SOURCE ? config->source.workers
                                                                    : config->dest.workers));
        if (e == ERR_OK)
            e = open_handles(&d);
        err_set(&detail, e, "%s", err_text(e));
    }
    log_start();
    if (e == ERR_OK)
        e = take_ports(&d, config, identity, role, &detail);
    if (e == ERR_OK) {
        e = reloader_new(&d.reloader, config, d.source, d.dest);
        err_set(&detail, e, "%s", err_text(e));
    }
    if (e == ERR_OK) {
        watch_files(&d); /* with rights to folders that are about to be given up */
        give_files(&d);
        e = sandbox_enter(&detail);
    }
    free(plan.sockets);
    if (e == ERR_OK)
        e = start_role(&d, &detail);
    if (e == ERR_OK) {
        look_soon(&d);
    } else {
        LOG(LOG_LEVEL_ERROR, "start.failed", LOG_ERR("error", e), LOG_STR("detail", detail.text));
        end_start(&d);
    }
    if (d.has_handles)
        uv_run(&d.loop, UV_RUN_DEFAULT);
    admin_close(d.admin);
    file_watch_free(d.files);
    reloader_free(d.reloader);
    source_free(d.source);
    dest_free(d.dest);
    overdue_clear(&d.overdue);
    supervisor_free(&d.supervisor);
    if (d.has_handles)
        uv_loop_close(&d.loop);
    if (e != ERR_OK)
        return e;
    if (d.has_lost_signer)
        d.why = ERR_CLOSED;
    LOG(LOG_LEVEL_INFO, "shutdown.done", LOG_ERR("reason", d.why));
    return d.why;
}
