/* utun init: asks, or is told, what the tunnel is for, and makes a folder for each host. */
#include "cli/cli.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/options.h"
#include "config/host.h"
#include "crypto/cert_issue.h"
#include "crypto/cert_issuer.h"
#include "role/kit.h"

#define DEFAULT_FOLDER      "utun"
#define DEFAULT_TUNNEL_PORT "9443"
#define DEFAULT_LISTEN_IP   "127.0.0.1"
#define DEFAULT_SOURCE_NAME "source"
#define ANSWER_SIZE         256
#define SERVICE_SIZE        1024 /* all of a service at once */

static const char service_section[] = "dest.exposed_services";
static const char example[] = "utun init --dest-host dest.example --service web:8080:127.0.0.1:80";

/* The options as they were typed. */
struct init_words {
    const char *dest_host;
    const char *tunnel_port;
    const char *listen_ip;
    const char *source_name;
    const char *folder;
    const char *algorithm;
    const char *days;
    const char *ca_cert;
    const char *ca_key;
    struct cli_list services;
};

/* What kit_write is asked for, and the memory that this points into. */
struct init_plan {
    struct kit_request request;
    struct kit_service services[KIT_SERVICES_MAX];
    char dest_host[ANSWER_SIZE];
    char tunnel_port[ANSWER_SIZE];
};

static bool parse(struct init_words *w, int argc, char **argv, int *status)
{
    const struct cli_option options[] = {
        {.name = "dest-host",
         .value_name = "HOST",
         .help = "name or address by which the source finds the dest",
         .value = &w->dest_host},
        {.name = "tunnel-port",
         .value_name = "PORT",
         .help = "port of the dest (default " DEFAULT_TUNNEL_PORT ")",
         .value = &w->tunnel_port},
        {.name = "service",
         .value_name = "SERVICE",
         .help = KIT_SERVICE_FORM ", once for each",
         .list = &w->services},
        {.name = "listen-ip",
         .value_name = "IP",
         .help = "where the source listens (default " DEFAULT_LISTEN_IP ")",
         .value = &w->listen_ip},
        {.name = "source-name",
         .value_name = "NAME",
         .help = "the source's name in its certificate (default " DEFAULT_SOURCE_NAME ")",
         .value = &w->source_name},
        {.name = "out",
         .value_name = "DIR",
         .help = "the folder to make (default " DEFAULT_FOLDER ")",
         .value = &w->folder},
        {.name = "algorithm",
         .value_name = "NAME",
         .help = "of all keys (default ML-DSA-65)",
         .value = &w->algorithm},
        {.name = "days",
         .value_name = "N",
         .help = "days both certificates are valid (default 365)",
         .value = &w->days},
        {.name = "ca-cert",
         .value_name = "FILE",
         .help = "an existing CA to sign them",
         .value = &w->ca_cert},
        {.name = "ca-key", .value_name = "FILE", .help = "with its key", .value = &w->ca_key},
    };
    const struct cli_syntax syntax = {
        .command = "init",
        .summary = "Makes all that a source and a dest need, in a folder for each host: "
                   "certificates,\nconfiguration, and files to start them with.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes =
            "A service's NAME is for people, the first PORT is the one that clients connect to, "
            "HOST and\nthe second PORT are where the dest finds it. Without --dest-host or "
            "--service, init asks\nfor them at a terminal. The folder must not exist; "
            "nothing is ever overwritten. Example:\n\n"
            "  utun init --dest-host dest.example \\\n"
            "      --service web:8080:127.0.0.1:80 --service dns:5353:10.0.0.2:53/udp",
    };

    return cli_options_parse(&syntax, argc, argv, status);
}

/* -- options -- */

static bool check_option(const char *option, const char *text, const char *section, const char *key)
{
    struct err_detail d;

    if (config_check_value(section, key, text, &d) == ERR_OK)
        return true;
    cli_error("init", "--%s: %s", option, d.text);
    return false;
}

static bool take_services(struct init_plan *plan, const struct cli_list *list)
{
    struct kit_request *r = &plan->request;
    struct err_detail d;

    for (size_t i = 0; i < list->count; i++) {
        enum err e = kit_service_parse(&plan->services[i], list->items[i], &d);

        r->service_count = i + 1;
        if (e == ERR_OK)
            e = kit_service_check_last(plan->services, r->service_count, &d);
        if (e != ERR_OK) {
            cli_error("init", "--service %s", d.text);
            return false;
        }
    }
    return true;
}

static bool take_algorithm(struct kit_request *r, const struct init_words *w)
{
    int64_t days = 0;

    r->algorithm = CERT_KEY_ML_DSA_65;
    if (w->algorithm != NULL && !cert_key_parse(&r->algorithm, w->algorithm)) {
        cli_error("init", "--algorithm %s: must be one of %s", w->algorithm, cert_key_all_names());
        return false;
    }
    if (w->days != NULL &&
        !cli_options_number(&days, "init", "days", w->days, 1, CERT_ISSUE_MAX_DAYS))
        return false;
    r->days = (int)days;
    return true;
}

/* Everything that was given is checked before anything is asked. */
static bool take_options(struct init_plan *plan, const struct init_words *w)
{
    struct kit_request *r = &plan->request;

    r->services = plan->services;
    r->folder = w->folder != NULL ? w->folder : DEFAULT_FOLDER;
    r->listen_ip = w->listen_ip != NULL ? w->listen_ip : DEFAULT_LISTEN_IP;
    r->source_name = w->source_name != NULL ? w->source_name : DEFAULT_SOURCE_NAME;
    if ((w->ca_cert == NULL) != (w->ca_key == NULL)) {
        cli_error("init", "an existing CA is given by both --ca-cert FILE and --ca-key FILE");
        return false;
    }
    if (w->dest_host != NULL) {
        if (!check_option("dest-host", w->dest_host, "source", "dest_host"))
            return false;
        snprintf(plan->dest_host, sizeof(plan->dest_host), "%s", w->dest_host);
    }
    if (w->tunnel_port != NULL) {
        if (!check_option("tunnel-port", w->tunnel_port, "dest", "tunnel_port"))
            return false;
        snprintf(plan->tunnel_port, sizeof(plan->tunnel_port), "%s", w->tunnel_port);
    }
    return check_option("listen-ip", r->listen_ip, "source", "listen_ip") &&
           take_services(plan, &w->services) && take_algorithm(r, w);
}

/* -- questions -- */

/* The name and whatever else was typed with it; "" when there are no more. */
static bool ask_name(char *out, size_t size, bool is_first)
{
    const char *question = is_first ? "Name of a service, like web, or all of it, like "
                                      "web:8080:127.0.0.1:80"
                                    : "Name of one more service (empty: that was all)";
    struct err_detail d;

    while (ask_text(out, size, question, NULL)) {
        if (out[0] == 0 && !is_first)
            return true;
        /* No name has a colon. */
        if (strchr(out, ':') != NULL ||
            config_check_value(service_section, "name", out, &d) == ERR_OK)
            return true;
        ask_complain(d.text);
    }
    return false;
}

/* The other parts, one by one. *e is what kit_service_set says. */
static bool ask_parts(struct kit_service *out, const char *name, enum err *e, struct err_detail *d)
{
    char port[ANSWER_SIZE];
    char host[ANSWER_SIZE];
    char target_port[ANSWER_SIZE];
    char protocol[ANSWER_SIZE];
    const struct kit_service_words words = {name, port, host, target_port, protocol};

    if (!ask_value(port, sizeof(port), "  Port that clients of the source connect to", NULL,
                   service_section, "port") ||
        !ask_value(host, sizeof(host), "  Host it runs on, as the dest sees it", "127.0.0.1",
                   service_section, "target_ip") ||
        !ask_value(target_port, sizeof(target_port), "  Port there", port, service_section,
                   "target_port") ||
        !ask_value(protocol, sizeof(protocol), "  tcp, udp or both", "tcp", service_section,
                   "protocol"))
        return false;
    *e = kit_service_set(out, &words, d);
    return true;
}

/* True and *is_over when there are no more. */
static bool ask_service(struct init_plan *plan, bool *is_over)
{
    struct kit_request *r = &plan->request;
    struct kit_service *service = &plan->services[r->service_count];
    char first[SERVICE_SIZE];
    struct err_detail d;
    enum err e = ERR_OK;

    putchar('\n');
    if (!ask_name(first, sizeof(first), r->service_count == 0))
        return false;
    *is_over = first[0] == 0;
    if (*is_over)
        return true;
    if (strchr(first, ':') != NULL)
        e = kit_service_parse(service, first, &d);
    else if (!ask_parts(service, first, &e, &d))
        return false;
    r->service_count++;
    if (e == ERR_OK)
        e = kit_service_check_last(plan->services, r->service_count, &d);
    if (e != ERR_OK) {
        ask_complain(d.text);
        r->service_count--;
    }
    return true;
}

static bool ask_rest(struct init_plan *plan)
{
    bool is_over = plan->request.service_count > 0;

    if (plan->dest_host[0] == 0 && !ask_value(plan->dest_host, sizeof(plan->dest_host),
                                              "Name or address by which the source finds the dest",
                                              NULL, "source", "dest_host"))
        return false;
    if (plan->tunnel_port[0] == 0 &&
        !ask_value(plan->tunnel_port, sizeof(plan->tunnel_port), "Port of the dest",
                   DEFAULT_TUNNEL_PORT, "dest", "tunnel_port"))
        return false;
    while (!is_over && plan->request.service_count < KIT_SERVICES_MAX) {
        if (!ask_service(plan, &is_over))
            return false;
    }
    putchar('\n');
    return true;
}

static bool complete(struct init_plan *plan)
{
    struct kit_request *r = &plan->request;
    const char *missing = NULL;

    if (plan->dest_host[0] == 0)
        missing = "--dest-host HOST";
    else if (r->service_count == 0)
        missing = "--service " KIT_SERVICE_FORM;
    if (missing != NULL && !ask_is_possible()) {
        cli_error("init", "%s is missing, and there is no terminal to ask at; for example: %s",
                  missing, example);
        return false;
    }
    if (missing != NULL && !ask_rest(plan)) {
        cli_error("init", "the questions were not answered; nothing was written");
        return false;
    }
    if (plan->tunnel_port[0] == 0)
        snprintf(plan->tunnel_port, sizeof(plan->tunnel_port), "%s", DEFAULT_TUNNEL_PORT);
    r->dest_host = plan->dest_host;
    r->tunnel_port = (uint16_t)strtoul(plan->tunnel_port, NULL, 10);
    return true;
}

/* -- the work -- */

static enum err read_ca(struct kit_request *r, const struct init_words *w, struct err_detail *d)
{
    if (w->ca_cert == NULL)
        return ERR_OK;
    return cert_issuer_read(&r->ca, &r->ca_key, w->ca_cert, w->ca_key, d);
}

/* A signal waits until the folder is whole, or gone. */
static enum err write_kit(const struct kit_request *r, struct err_detail *d)
{
    sigset_t signals;
    sigset_t before;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, &before);
    enum err e = kit_write(r, d);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return e;
}

static void announce(const struct kit_request *r)
{
    printf("%s/dest    copy it to %s; what is to be done there is in its README\n", r->folder,
           r->dest_host);
    printf("%s/source  copy it to the host near the clients; the same\n", r->folder);
    if (r->ca == NULL)
        printf("%s/ca      stays here: its key signs certificates, and neither host needs it\n",
               r->folder);
    printf("\nTo look at them first:\n"
           "  utun check --config %s/dest/config.toml\n"
           "  utun check --config %s/source/config.toml\n",
           r->folder, r->folder);
    if (host_is_address(r->dest_host))
        printf("\nThe dest's certificate is for the address %s alone: a source that is to find it "
               "under\nanother name or address needs another certificate (utun cert server).\n",
               r->dest_host);
}

int cli_init(struct cli_globals *g, int argc, char **argv)
{
    struct init_words words = {.dest_host = NULL};
    struct init_plan plan = {.dest_host = ""};
    struct kit_request *r = &plan.request;
    struct err_detail d = {""};
    int status;

    (void)g;
    if (!parse(&words, argc, argv, &status))
        return status;
    if (!take_options(&plan, &words) || !complete(&plan))
        return CLI_USAGE;
    enum err e = read_ca(r, &words, &d);
    if (e == ERR_OK)
        e = write_kit(r, &d);
    if (e == ERR_OK)
        announce(r);
    else
        cli_error("init", "%s", d.text[0] != 0 ? d.text : err_text(e));
    X509_free(r->ca);
    EVP_PKEY_free(r->ca_key);
    if (e == ERR_OK)
        return CLI_OK;
    return e == ERR_USAGE ? CLI_USAGE : CLI_FAILED;
}
