/* utun cert: the certificates that sources and dests present, and the lists of revoked ones. */
#include "cli/cert.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/cert_check.h"
#include "crypto/cert_files.h"
#include "crypto/cert_info.h"
#include "crypto/cert_issue.h"
#include "crypto/cert_issuer.h"
#include "crypto/file.h"

/* The options of ca, server and client as they were typed. */
struct issue_words {
    const char *common_name;
    const char *dns_names;
    const char *ip_addresses;
    const char *uris;
    const char *ca_cert;
    const char *ca_key;
    const char *out_cert;
    const char *out_key;
    const char *days;
    const char *not_before;
    const char *not_after;
    const char *algorithm;
    const char *force;
};

static const char *command_of(enum cert_issue_kind kind)
{
    switch (kind) {
    case CERT_ISSUE_CA:
        return "cert ca";
    case CERT_ISSUE_SERVER:
        return "cert server";
    case CERT_ISSUE_CLIENT:
        return "cert client";
    }
    return "cert";
}

static const char *noun_of(enum cert_issue_kind kind)
{
    switch (kind) {
    case CERT_ISSUE_CA:
        return "CA";
    case CERT_ISSUE_SERVER:
        return "server";
    case CERT_ISSUE_CLIENT:
        return "client";
    }
    return "?";
}

int cert_report(const char *command, enum err e, const struct err_detail *d)
{
    cli_error(command, "%s", d->text[0] != 0 ? d->text : err_text(e));
    return e == ERR_USAGE ? CLI_USAGE : CLI_FAILED;
}

static const char *const issue_notes =
    "Algorithms: ML-DSA-65, ML-DSA-44, ML-DSA-87, Ed25519, ECDSA-P256, ECDSA-P384.\n"
    "A time is 2026-11-22 or 2026-11-22T15:38:00Z, in UTC. The key is written with mode 0600, the\n"
    "certificate with 0644. Nothing is written if either file exists, unless --force is given.";

#define ISSUE_CA_OPTIONS 8 /* the first of the table in parse_issue */

static const char *summary_of(enum cert_issue_kind kind)
{
    switch (kind) {
    case CERT_ISSUE_CA:
        return "Makes a certificate authority: its certificate goes to every source and dest, its "
               "key\nsigns their certificates and belongs on neither.";
    case CERT_ISSUE_SERVER:
        return "Makes the certificate of a dest (TLS server), signed by the CA. Sources check that "
               "their\ndest_host is among its names; without any, the common name is taken.";
    case CERT_ISSUE_CLIENT:
        return "Makes the certificate of a source (TLS client), signed by the CA. Without any "
               "names, a\ncommon name that is a DNS name or an address is taken as one.";
    }
    return "";
}

static bool parse_issue(struct issue_words *w, enum cert_issue_kind kind, int argc, char **argv,
                        int *status)
{
    bool is_ca = kind == CERT_ISSUE_CA;
    const struct cli_option options[] = {
        {"common-name", 0, "NAME",
         is_ca                       ? "the CA's name"
         : kind == CERT_ISSUE_SERVER ? "the dest's name"
                                     : "the source's name",
         &w->common_name, CLI_REQUIRED, NULL},
        {"out-cert", 0, "FILE", "where the certificate goes", &w->out_cert, CLI_REQUIRED, NULL},
        {"out-key", 0, "FILE", "where the private key goes", &w->out_key, CLI_REQUIRED, NULL},
        {"days", 0, "N",
         is_ca ? "days it is valid (default 3650)" : "days it is valid (default 365)", &w->days,
         CLI_OPTIONAL, NULL},
        {"algorithm", 0, "NAME", "of its key (default ML-DSA-65)", &w->algorithm, CLI_OPTIONAL,
         NULL},
        {"not-before", 0, "TIME", "begin (default 5 minutes ago)", &w->not_before, CLI_OPTIONAL,
         NULL},
        {"not-after", 0, "TIME", "end, instead of --days", &w->not_after, CLI_OPTIONAL, NULL},
        {"force", 0, NULL, "replace files that exist", &w->force, CLI_OPTIONAL, NULL},
        /* A CA has none of these. */
        {"ca-cert", 0, "FILE", "the CA's certificate", &w->ca_cert, CLI_REQUIRED, NULL},
        {"ca-key", 0, "FILE", "the CA's private key", &w->ca_key, CLI_REQUIRED, NULL},
        {"dns-names", 0, "A,B", "DNS names it stands for; *.example.com is possible", &w->dns_names,
         CLI_OPTIONAL, NULL},
        {"ip-addresses", 0, "A,B", "IPv4 and IPv6 addresses it stands for", &w->ip_addresses,
         CLI_OPTIONAL, NULL},
        {"uri", 0, "A,B", "URIs it stands for, like spiffe://example.com/edge", &w->uris,
         CLI_OPTIONAL, NULL},
    };
    const struct cli_syntax syntax = {
        .command = command_of(kind),
        .summary = summary_of(kind),
        .options = options,
        .option_count = is_ca ? ISSUE_CA_OPTIONS : sizeof(options) / sizeof(options[0]),
        .notes = issue_notes,
    };

    return cli_options_parse(&syntax, argc, argv, status);
}

/* Seconds since 1970 of an ISO 8601 date or time in UTC. */
static bool parse_time(int64_t *out, const char *command, const char *option, const char *text)
{
    static const char *const forms[] = {
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d",
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);

        if (end == NULL || *end != 0)
            continue;
        *out = timegm(&tm);
        return true;
    }
    cli_error(command, "--%s %s: write a time like 2026-11-22T15:38:00Z or 2026-11-22", option,
              text);
    return false;
}

/* What was typed as a request; false with the complaint printed. */
static bool read_request(struct cert_issue_request *r, const struct issue_words *w)
{
    const char *command = command_of(r->kind);
    int64_t days = 0;

    r->common_name = w->common_name;
    r->dns_names = w->dns_names;
    r->ip_addresses = w->ip_addresses;
    r->uris = w->uris;
    r->algorithm = CERT_KEY_ML_DSA_65;
    if (w->algorithm != NULL && !cert_key_parse(&r->algorithm, w->algorithm)) {
        cli_error(command, "--algorithm %s: must be one of %s", w->algorithm, cert_key_all_names());
        return false;
    }
    if (w->days != NULL && w->not_after != NULL) {
        cli_error(command, "--days and --not-after both say when it ends; give one of them");
        return false;
    }
    if (w->days != NULL &&
        !cli_options_number(&days, command, "days", w->days, 1, CERT_ISSUE_MAX_DAYS))
        return false;
    r->days = (int)days;
    return (w->not_before == NULL ||
            parse_time(&r->not_before, command, "not-before", w->not_before)) &&
           (w->not_after == NULL || parse_time(&r->not_after, command, "not-after", w->not_after));
}

static enum err write_result(const struct cert_issue_result *result,
                             const struct cert_issue_request *r, const struct issue_words *w,
                             struct err_detail *d)
{
    char cert_what[32];
    char key_what[32];
    const struct cert_files files = {
        .cert_path = w->out_cert,
        .cert_what = cert_what,
        .key_path = w->out_key,
        .key_what = key_what,
        .overwrite = w->force != NULL ? FILE_REPLACE_EXISTING : FILE_KEEP_EXISTING,
    };

    snprintf(cert_what, sizeof(cert_what), "%s certificate", noun_of(r->kind));
    snprintf(key_what, sizeof(key_what), "%s key", noun_of(r->kind));
    return cert_files_write(&files, result, d);
}

static void announce(const struct cert_issue_result *result, const struct cert_issue_request *r,
                     const struct issue_words *w)
{
    char text[CERT_INFO_TEXT_SIZE];
    char until[32];

    cert_info_format_time(until, sizeof(until), cert_info_time(X509_get0_notAfter(result->cert)));
    if (result->is_clamped)
        cli_error(command_of(r->kind),
                  "warning: a certificate cannot outlive its CA, so it ends with it at %s", until);
    cert_info_name(text, sizeof(text), X509_get_subject_name(result->cert));
    printf("%s certificate  %s\n", noun_of(r->kind), w->out_cert);
    printf("  subject      %s\n", text);
    cert_info_alt_names(text, sizeof(text), result->cert);
    if (text[0] != 0)
        printf("  names        %s\n", text);
    printf("  algorithm    %s\n", cert_key_name(r->algorithm));
    printf("  valid until  %s\n", until);
    printf("%s private key  %s (mode 0600)\n", noun_of(r->kind), w->out_key);
}

static int issue(enum cert_issue_kind kind, int argc, char **argv)
{
    struct issue_words w = {0};
    struct cert_issue_request request = {.kind = kind};
    struct cert_issue_result result = {0};
    struct err_detail d = {""};
    enum err e = ERR_OK;
    int status;

    if (!parse_issue(&w, kind, argc, argv, &status))
        return status;
    if (!read_request(&request, &w))
        return CLI_USAGE;
    if (kind != CERT_ISSUE_CA)
        e = cert_issuer_read(&request.issuer, &request.issuer_key, w.ca_cert, w.ca_key, &d);
    if (e == ERR_OK)
        e = cert_issue(&result, &request, &d);
    if (e == ERR_OK)
        e = write_result(&result, &request, &w, &d);
    if (e == ERR_OK)
        announce(&result, &request, &w);
    cert_issue_result_fini(&result);
    X509_free(request.issuer);
    EVP_PKEY_free(request.issuer_key);
    return e == ERR_OK ? CLI_OK : cert_report(command_of(kind), e, &d);
}

static int run_ca(int argc, char **argv)
{
    return issue(CERT_ISSUE_CA, argc, argv);
}

static int run_server(int argc, char **argv)
{
    return issue(CERT_ISSUE_SERVER, argc, argv);
}

static int run_client(int argc, char **argv)
{
    return issue(CERT_ISSUE_CLIENT, argc, argv);
}

static bool parse_purpose(enum cert_check_purpose *out, const char *word)
{
    *out = CERT_CHECK_ANY_PURPOSE;
    if (word == NULL)
        return true;
    if (strcmp(word, "server") == 0 || strcmp(word, "client") == 0) {
        *out = strcmp(word, "server") == 0 ? CERT_CHECK_SERVER : CERT_CHECK_CLIENT;
        return true;
    }
    cli_error("cert verify", "--purpose %s: must be server (a dest) or client (a source)", word);
    return false;
}

static int run_verify(int argc, char **argv)
{
    struct cert_check_files files = {0};
    const char *purpose = NULL;
    const struct cli_option options[] = {
        {"cert", 0, "FILE", "the certificate, with its intermediates if any", &files.cert_path,
         CLI_REQUIRED, NULL},
        {"ca-cert", 0, "FILE", "the CA certificates that are trusted", &files.ca_path, CLI_REQUIRED,
         NULL},
        {"hostname", 0, "NAME", "a DNS name or address it must stand for", &files.hostname,
         CLI_OPTIONAL, NULL},
        {"key", 0, "FILE", "the private key it must belong to", &files.key_path, CLI_OPTIONAL,
         NULL},
        {"crl", 0, "FILE", "the CA's list of revoked certificates", &files.crl_path, CLI_OPTIONAL,
         NULL},
        {"purpose", 0, "USE", "server or client (default: either)", &purpose, CLI_OPTIONAL, NULL},
    };
    const struct cli_syntax syntax = {
        .command = "cert verify",
        .summary = "Checks a certificate as a peer would, and prints a line for each check.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes = "Exit status: 0 if every check passed, otherwise 1.",
    };
    struct cert_check_report report;
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    if (!parse_purpose(&files.purpose, purpose))
        return CLI_USAGE;
    cert_check(&report, &files);
    for (size_t i = 0; i < report.count; i++)
        printf("%-4s  %-11s  %s\n", report.steps[i].err == ERR_OK ? "ok" : "FAIL",
               report.steps[i].name, report.steps[i].detail.text);
    printf("%s: %s\n", files.cert_path, report.is_passed ? "passed" : "NOT accepted");
    return report.is_passed ? CLI_OK : CLI_FAILED;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} actions[] = {
    {"ca", run_ca, "make a certificate authority"},
    {"server", run_server, "make a dest's certificate"},
    {"client", run_client, "make a source's certificate"},
    {"crl", cert_run_crl, "revoke certificates: a CA's list, new or gone on with"},
    {"show", cert_run_show, "print what a certificate or a CRL says"},
    {"verify", run_verify, "check a certificate as a peer would"},
};

#define ACTION_COUNT (sizeof(actions) / sizeof(actions[0]))

static void print_help(void)
{
    printf(
        "Usage: utun cert ACTION [OPTIONS]\n\n"
        "Makes, revokes, shows and verifies the certificates of sources and dests.\n\nActions:\n");
    for (size_t i = 0; i < ACTION_COUNT; i++)
        printf("  %-8s%s\n", actions[i].name, actions[i].help);
    printf("\nutun cert ACTION --help lists the options of an action. To begin with:\n\n"
           "  utun cert ca --common-name \"My CA\" --out-cert ca.crt --out-key ca.key\n"
           "  utun cert server --common-name dest.example.com --dns-names dest.example.com \\\n"
           "      --ca-cert ca.crt --ca-key ca.key --out-cert dest.crt --out-key dest.key\n"
           "  utun cert client --common-name edge-1 \\\n"
           "      --ca-cert ca.crt --ca-key ca.key --out-cert edge-1.crt --out-key edge-1.key\n");
}

int cli_cert(struct cli_globals *g, int argc, char **argv)
{
    const char *names[ACTION_COUNT + 1] = {0};
    const char *nearest = NULL;

    (void)g;
    if (argc < 2) {
        cli_error("cert", "no action given; see: utun cert --help");
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
        print_help();
        return CLI_OK;
    }
    for (size_t i = 0; i < ACTION_COUNT; i++) {
        if (strcmp(argv[1], actions[i].name) == 0)
            return actions[i].run(argc - 1, argv + 1);
        names[i] = actions[i].name;
    }
    nearest = cli_nearest(argv[1], names);
    if (nearest != NULL)
        cli_error("cert", "unknown action %s; did you mean %s?", argv[1], nearest);
    else
        cli_error("cert", "unknown action %s; see: utun cert --help", argv[1]);
    return CLI_USAGE;
}
