/* utun demo: a whole tunnel in one process, tried out before your eyes. */
#include "cli/cli.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/options.h"
#include "ops/log.h"
#include "role/demo.h"
#include "role/demo_client.h"

#define MIB             ((uint64_t)1024 * 1024)
#define DEFAULT_MIB     256
#define MAX_MIB         (1024 * 1024)
#define LABEL_WIDTH     15
#define US_PER_MS       1000.0
#define BITS_PER_GBIT_S 1e3 /* bits in a microsecond */

/* How it is drawn: colours where there are some, arrows where the character set has them. */
struct style {
    const char *bold;
    const char *dim;
    const char *good;
    const char *bad;
    const char *plain;
    const char *dot;
    const char *arrow;
    const char *tunnel;
    const char *check;
    bool is_terminal;
};

static struct style choose_style(void)
{
    const char *term = getenv("TERM");
    const char *no_colour = getenv("NO_COLOR");
    struct style s = {
        .bold = "",
        .dim = "",
        .good = "",
        .bad = "",
        .plain = "",
        .dot = "+",
        .arrow = "-->",
        .tunnel = "==========>",
        .check = "",
        .is_terminal = isatty(STDOUT_FILENO) == 1,
    };

    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") == 0) {
        s.dot = "·";
        s.arrow = "──▸";
        s.tunnel = "══════════▸";
        s.check = "✓ ";
    }
    if (s.is_terminal && (no_colour == NULL || no_colour[0] == 0) && term != NULL &&
        strcmp(term, "dumb") != 0) {
        s.bold = "\033[1m";
        s.dim = "\033[2m";
        s.good = "\033[32m";
        s.bad = "\033[31m";
        s.plain = "\033[0m";
    }
    return s;
}

static void print_label(const struct style *s, const char *label)
{
    printf("  %s%-*s%s", s->dim, LABEL_WIDTH, label, s->plain);
}

static void print_facts(const struct style *s, const struct demo_facts *facts)
{
    const struct session_view *session = &facts->session;

    printf("  client %s source %s:%u%s %s%s%s dest %s:%u%s %s web %s:%u%s\n\n", s->arrow, s->dim,
           facts->source_port, s->plain, s->bold, s->tunnel, s->plain, s->dim, facts->tunnel_port,
           s->plain, s->arrow, s->dim, facts->web_port, s->plain);

    print_label(s, "Certificates");
    printf("a CA, a dest's and a source's, ML-DSA-65, made in %.0f ms for this run\n",
           (double)facts->certificates_us / US_PER_MS);
    print_label(s, "Key agreement");
    printf("TLS 1.3 %s %s %s Classic McEliece 460896  %s(kem_mode %s)%s\n", s->dot, session->group,
           s->dot, s->dim, session->kem_mode, s->plain);
    print_label(s, "Peer");
    printf("\"%s\", proven with %s\n", session->peer, session->signature);
    print_label(s, "Records");
    printf("%s\n", SESSION_CIPHER);
    print_label(s, "Handshake");
    printf("%.1f ms, %.0f KB\n\n", (double)session->handshake_us / US_PER_MS,
           (double)session->handshake_bytes / 1000.0);
    fflush(stdout);
}

typedef enum err (*transfer_run)(struct demo_transfer *t, struct err_detail *d);

static enum err run_transfer(const struct style *s, const char *label, transfer_run run,
                             struct demo_transfer *t)
{
    struct err_detail d;
    enum err e;

    err_set(&d, ERR_OK, "%s", "");
    print_label(s, label);
    if (s->is_terminal)
        printf("%" PRIu64 " MiB ...", t->bytes / MIB);
    fflush(stdout);
    e = run(t, &d);
    if (s->is_terminal) {
        printf("\r");
        print_label(s, label);
    }
    if (e == ERR_OK)
        printf("%" PRIu64 " MiB in %.2f s   %s%.2f Gbit/s%s   %s%severy byte is right%s\n",
               t->bytes / MIB, (double)t->elapsed_us / (US_PER_MS * 1000.0), s->bold,
               (double)t->bytes * 8.0 / (double)t->elapsed_us / BITS_PER_GBIT_S, s->plain, s->good,
               s->check, s->plain);
    else
        printf("%s%s%s\n", s->bad, e == ERR_SHUTDOWN ? "interrupted" : d.text, s->plain);
    fflush(stdout);
    return e;
}

static enum err check(const struct style *s, uint16_t port, uint64_t bytes, int stop_fd)
{
    struct demo_transfer t = {.port = port, .stop_fd = stop_fd, .bytes = bytes};
    enum err e = run_transfer(s, "Download", demo_client_download, &t);

    if (e == ERR_OK)
        e = run_transfer(s, "Upload", demo_client_upload, &t);
    return e;
}

static void wait_for_stop(const struct style *s, uint16_t port, int stop_fd)
{
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};

    putchar('\n');
    print_label(s, "Try it");
    printf("%scurl http://127.0.0.1:%u/%s\n\n", s->bold, port, s->plain);
    printf("  Ctrl-C ends the demo and removes its certificates.\n");
    fflush(stdout);
    while (poll(&stop, 1, -1) <= 0)
        ;
    putchar('\n');
}

/* The signals that end the demo, to be read from a descriptor; no thread is interrupted by them. */
static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static void init_log(const struct cli_globals *g)
{
    struct log_options log = {
        .level = LOG_LEVEL_WARN,
        .format = LOG_FORMAT_PLAIN,
        .timestamp = LOG_TIMESTAMP_ON,
        .fd = STDERR_FILENO,
    };
    static const char *const levels[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; g->log_level != NULL && i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(levels[i], g->log_level) == 0)
            log.level = (enum log_level)i;
    }
    if (g->log_format != NULL && strcmp(g->log_format, "json") == 0)
        log.format = LOG_FORMAT_JSON;
    log_init(&log);
}

static int run(const struct cli_globals *g, uint64_t bytes, bool is_once)
{
    const struct style style = choose_style();
    struct demo *demo = NULL;
    struct err_detail d;
    int stop_fd = open_signals();

    if (stop_fd < 0) {
        cli_error("demo", "cannot take signals");
        return CLI_FAILED;
    }
    init_log(g);
    printf(
        "\n  %sutun demo%s  a source and a dest in one process, and a web server behind them\n\n",
        style.bold, style.plain);
    fflush(stdout);

    enum err e = demo_start(&demo, stop_fd, &d);
    if (e == ERR_OK) {
        uint16_t port = demo_facts(demo)->source_port;
        print_facts(&style, demo_facts(demo));
        e = check(&style, port, bytes, stop_fd);
        if (e == ERR_OK && !is_once)
            wait_for_stop(&style, port, stop_fd);
        else
            putchar('\n');
    } else if (e != ERR_SHUTDOWN) {
        cli_error("demo", "%s", d.text);
    }
    demo_stop(demo);
    log_fini();
    close(stop_fd);
    if (e == ERR_SHUTDOWN) /* asked for; but a check that was not finished has not passed */
        return is_once ? CLI_FAILED : CLI_OK;
    return e == ERR_OK ? CLI_OK : CLI_FAILED;
}

int cli_demo(struct cli_globals *g, int argc, char **argv)
{
    const char *once = NULL;
    const char *size = NULL;
    int64_t mib = DEFAULT_MIB;
    const struct cli_option options[] = {
        {.name = "once", .help = "end after the check", .value = &once},
        {.name = "size",
         .value_name = "MIB",
         .help = "how much is sent each way (default 256)",
         .value = &size},
    };
    const struct cli_syntax syntax = {
        .command = "demo",
        .summary = "Runs a whole tunnel in one process, pushes data through it and checks it.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes =
            "Needs no configuration: its certificates are made for the run, and removed. Exit\n"
            "status: 0 when every byte arrived as it was sent, 1 otherwise.",
    };
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    if (size != NULL && !cli_options_number(&mib, "demo", "--size", size, 1, MAX_MIB))
        return CLI_USAGE;
    return run(g, (uint64_t)mib * MIB, once != NULL);
}
