#include "role/demo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/config.h"
#include "role/demo_folder.h"
#include "role/demo_web.h"
#include "role/dest.h"
#include "role/source.h"
#include "role/validate.h"

/* How long the session may take to come up, and how often it is looked for. */
#define SESSION_PATIENCE_MS 15000
#define SESSION_LOOK_MS     5

/* For streams that a client has left when the demo ends. */
#define STOP_MS 500

struct demo {
    struct role_owner owner; /* of both */
    struct demo_folder folder;
    struct demo_web *web;
    struct config *config; /* of both roles */
    struct dest *dest;
    struct source *source;
    struct demo_facts facts;
};

static const char config_format[] = "[source]\n"
                                    "listen_ip = '127.0.0.1'\n"
                                    "dest_host = '127.0.0.1'\n"
                                    "dest_tunnel_port = %u\n"
                                    "initial_reconnect_delay_ms = 100\n"
                                    "[[source.exposed_ports]]\n"
                                    "port = %u\n"
                                    "[dest]\n"
                                    "listen_ip = '127.0.0.1'\n"
                                    "tunnel_port = %u\n"
                                    "[[dest.exposed_services]]\n"
                                    "name = 'demo'\n"
                                    "port = %u\n"
                                    "target_ip = '127.0.0.1'\n"
                                    "target_port = %u\n"
                                    "[auth]\n"
                                    "ca_cert_path = '" DEMO_CA_CERT "'\n"
                                    "client_cert_path = '" DEMO_SOURCE_CERT "'\n"
                                    "client_key_path = '" DEMO_SOURCE_KEY "'\n"
                                    "server_cert_path = '" DEMO_DEST_CERT "'\n"
                                    "server_key_path = '" DEMO_DEST_KEY "'\n";

/*
 * A free port, and the socket that keeps it from being given to anybody else: it is bound and does
 * not listen, so a listener with SO_REUSEADDR can have the port.
 */
static enum err reserve_port(int *fd, uint16_t *port, struct err_detail *d)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(address);
    int on = 1;

    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd >= 0 && setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(*fd, (struct sockaddr *)&address, len) == 0 &&
        getsockname(*fd, (struct sockaddr *)&address, &len) == 0) {
        *port = ntohs(address.sin_port);
        return ERR_OK;
    }
    return err_set(d, err_from_errno(errno), "no free port on 127.0.0.1: %s", strerror(errno));
}

static void on_stopped(struct role_owner *owner, enum err why)
{
    (void)owner;
    (void)why;
}

/* The first problem is what d says. */
static enum err take_problem(struct problems *problems, enum err e, struct err_detail *d)
{
    if (e != ERR_OK && problems_count(problems) > 0)
        err_set(d, e, "%s", problems_at(problems, 0)->text);
    return e;
}

static enum err load_config(struct demo *demo, struct err_detail *d)
{
    char text[2048];
    char path[DEMO_PATH_MAX + 16];
    struct problems *problems = problems_new();

    if (problems == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    int len = snprintf(text, sizeof(text), config_format, demo->facts.tunnel_port,
                       demo->facts.source_port, demo->facts.tunnel_port, demo->facts.source_port,
                       demo->facts.web_port);
    /* Never written: the name only says which folder the paths are in. */
    snprintf(path, sizeof(path), "%s/demo.toml", demo->folder.path);
    enum err e =
        config_parse(&demo->config, text, (size_t)len, path, CONFIG_ROLE_ANY, NULL, problems);
    e = take_problem(problems, e, d);
    problems_free(problems);
    return e;
}

static enum err start_dest(struct demo *demo, const struct identity *identity, struct err_detail *d)
{
    struct dest *dest;
    enum err e = dest_new(&dest, demo->config, identity, &demo->owner, d);

    if (e == ERR_OK)
        e = dest_start(dest, d);
    if (e == ERR_OK)
        demo->dest = dest;
    else
        dest_free(dest);
    return e;
}

static enum err start_source(struct demo *demo, const struct identity *identity,
                             struct err_detail *d)
{
    struct source *source;
    enum err e = source_new(&source, demo->config, identity, &demo->owner, d);

    if (e == ERR_OK)
        e = source_start(source, d);
    if (e == ERR_OK)
        demo->source = source;
    else
        source_free(source);
    return e;
}

static enum err start_role(struct demo *demo, enum config_role role, struct err_detail *d)
{
    struct problems *problems = problems_new();
    struct identity *identity = NULL;
    enum err e;

    if (problems == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    e = validate_identity(&identity, demo->config, role, problems);
    e = take_problem(problems, e, d);
    if (e == ERR_OK)
        e = role == CONFIG_ROLE_DEST ? start_dest(demo, identity, d)
                                     : start_source(demo, identity, d);
    identity_free(identity);
    problems_free(problems);
    return e;
}

static enum err await_session(struct demo *demo, int stop_fd, struct err_detail *d)
{
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
    uint64_t deadline = clock_us() + SESSION_PATIENCE_MS * UINT64_C(1000);

    while (!source_session(demo->source, &demo->facts.session)) {
        if (poll(&stop, 1, SESSION_LOOK_MS) > 0)
            return err_set(d, ERR_SHUTDOWN, "interrupted");
        if (clock_us() > deadline)
            return err_set(d, ERR_TIMEOUT, "the session did not come up in %d s",
                           SESSION_PATIENCE_MS / 1000);
    }
    return ERR_OK;
}

static enum err start_all(struct demo *demo, int stop_fd, struct err_detail *d)
{
    int tunnel_fd = -1;
    int source_fd = -1;
    uint64_t start = clock_us();
    enum err e = demo_folder_init(&demo->folder, d);

    demo->facts.certificates_us = clock_us() - start;
    if (e == ERR_OK)
        e = demo_web_start(&demo->web);
    if (e == ERR_OK)
        demo->facts.web_port = demo_web_port(demo->web);
    if (e == ERR_OK)
        e = reserve_port(&tunnel_fd, &demo->facts.tunnel_port, d);
    if (e == ERR_OK)
        e = reserve_port(&source_fd, &demo->facts.source_port, d);
    if (e == ERR_OK)
        e = load_config(demo, d);
    if (e == ERR_OK)
        e = start_role(demo, CONFIG_ROLE_DEST, d);
    if (e == ERR_OK)
        e = start_role(demo, CONFIG_ROLE_SOURCE, d);
    if (e == ERR_OK)
        demo->facts.source_port = source_port(demo->source, demo->facts.source_port);
    if (tunnel_fd >= 0)
        close(tunnel_fd);
    if (source_fd >= 0)
        close(source_fd);
    return e == ERR_OK ? await_session(demo, stop_fd, d) : e;
}

enum err demo_start(struct demo **out, int stop_fd, struct err_detail *d)
{
    struct demo *demo = calloc(1, sizeof(*demo));
    enum err e;

    *out = NULL;
    err_set(d, ERR_OK, "%s", "");
    if (demo == NULL)
        return err_set(d, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    demo->owner.on_stopped = on_stopped;
    e = start_all(demo, stop_fd, d);
    if (e != ERR_OK) {
        demo_stop(demo);
        return d != NULL && d->text[0] != 0 ? e : err_set(d, e, "%s", err_text(e));
    }
    *out = demo;
    return ERR_OK;
}

void demo_stop(struct demo *demo)
{
    if (demo == NULL)
        return;
    if (demo->source != NULL)
        source_stop(demo->source, STOP_MS);
    source_free(demo->source);
    if (demo->dest != NULL)
        dest_stop(demo->dest, STOP_MS);
    dest_free(demo->dest);
    demo_web_stop(demo->web);
    config_free(demo->config);
    demo_folder_fini(&demo->folder);
    free(demo);
}

const struct demo_facts *demo_facts(const struct demo *demo)
{
    return &demo->facts;
}
