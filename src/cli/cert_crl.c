/* utun cert crl: the list of certificates that a CA has revoked. */
#include "cli/cert.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/cert_info.h"
#include "crypto/crl_file.h"
#include "crypto/crl_info.h"

static const char *const notes =
    "Where the list exists it is gone on with: what it revokes stays revoked, its number grows by\n"
    "one, and without anything to revoke only its dates are renewed. So keep the file, beside the\n"
    "CA's key. Its mode is 0644; it is replaced as a whole, or stays as it is if anything is "
    "wrong.\n"
    "Copy it to the file that crl_path names; hosts that run take it up within seconds. Once it "
    "is\n"
    "out of date everybody is refused: make the next one before.";

/* The options as they were typed. */
struct crl_words {
    const char *days;
    struct cli_list certs;
    struct cli_list serials;
};

static bool parse(struct crl_file_request *r, struct crl_words *w, int argc, char **argv,
                  int *status)
{
    const struct cli_option options[] = {
        {"ca-cert", 0, "FILE", "the CA's certificate", &r->ca_cert_path, CLI_REQUIRED, NULL},
        {"ca-key", 0, "FILE", "the CA's private key", &r->ca_key_path, CLI_REQUIRED, NULL},
        {"out-crl", 0, "FILE", "the list: a new one, or one that is gone on with", &r->crl_path,
         CLI_REQUIRED, NULL},
        {"revoke", 0, "FILE", "a certificate to revoke (once for each)", NULL, CLI_OPTIONAL,
         &w->certs},
        {"revoke-serial", 0, "HEX", "the serial of one that is lost (once for each)", NULL,
         CLI_OPTIONAL, &w->serials},
        {"days", 0, "N", "days until the next list is due (default 30)", &w->days, CLI_OPTIONAL,
         NULL},
    };
    const struct cli_syntax syntax = {
        .command = "cert crl",
        .summary = "Makes a CA's list of revoked certificates (CRL), or the next one after that in "
                   "--out-crl,\nsigned by the CA, whatever its algorithm.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .notes = notes,
    };
    int64_t days = 0;

    if (!cli_options_parse(&syntax, argc, argv, status))
        return false;
    *status = CLI_USAGE;
    if (w->days != NULL &&
        !cli_options_number(&days, "cert crl", "days", w->days, 1, CRL_ISSUE_MAX_DAYS))
        return false;
    r->days = (int)days;
    r->cert_paths = w->certs.items;
    r->cert_count = w->certs.count;
    r->serials = w->serials.items;
    r->serial_count = w->serials.count;
    return true;
}

static void announce(const struct crl_file_result *result, const struct crl_file_request *r)
{
    X509_CRL *crl = result->issued.crl;
    size_t count = crl_info_count(crl);
    int days = r->days != 0 ? r->days : CRL_ISSUE_DAYS;
    char text[CERT_INFO_TEXT_SIZE];
    char until[32];

    cert_info_format_time(until, sizeof(until), cert_info_time(X509_CRL_get0_nextUpdate(crl)));
    printf("CRL            %s\n", r->crl_path);
    cert_info_name(text, sizeof(text), X509_CRL_get_issuer(crl));
    printf("  CA           %s\n", text);
    crl_info_number(text, sizeof(text), crl);
    printf("  CRL number   %s%s\n", text,
           result->is_first ? " (the first: no list was there)" : "");
    printf("  revoked      %zu certificate%s", count, count == 1 ? "" : "s");
    if (r->cert_count + r->serial_count > 0)
        printf(", %zu of them now", result->issued.added);
    if (result->issued.known > 0)
        printf("; %zu of those given had been before", result->issued.known);
    printf("\n  valid until  %s (%d day%s)\n", until, days, days == 1 ? "" : "s");
    printf("Copy it to the file that crl_path names, on dests to shut out sources, on sources to "
           "shut out\ndests. Make the next one before that date: after it everybody is refused.\n");
}

int cert_run_crl(int argc, char **argv)
{
    struct crl_file_request request = {0};
    struct crl_words words = {0};
    struct crl_file_result result = {0};
    struct err_detail d = {""};
    enum err e = ERR_OK;
    int status;

    if (!parse(&request, &words, argc, argv, &status))
        return status;
    e = crl_file_renew(&result, &request, &d);
    if (e != ERR_OK)
        return cert_report("cert crl", e, &d);
    announce(&result, &request);
    crl_file_result_fini(&result);
    return CLI_OK;
}
