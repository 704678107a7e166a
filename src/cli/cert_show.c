/* utun cert show: what certificates and revocation lists say. */
#include "cli/cert.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "crypto/cert_info.h"
#include "crypto/crl_info.h"
#include "crypto/pem.h"

static const char *days_word(int64_t days)
{
    return days == 1 ? "day" : "days";
}

/* not_after is NULL where there is no end. */
static void show_validity(const ASN1_TIME *not_before, const ASN1_TIME *not_after)
{
    int64_t from = cert_info_time(not_before);
    int64_t until = cert_info_time(not_after);
    int64_t now = (int64_t)time(NULL);
    int64_t days = 0;
    char text[32];

    cert_info_format_time(text, sizeof(text), from);
    printf("  valid from    %s%s\n", text, now < from ? " (NOT VALID YET)" : "");
    cert_info_format_time(text, sizeof(text), until);
    if (until == INT64_MIN) {
        printf("  valid until   %s\n", not_after == NULL ? "no end is given" : text);
    } else if (now > until) {
        days = (now - until) / SECONDS_PER_DAY;
        printf("  valid until   %s (EXPIRED %" PRId64 " %s ago)\n", text, days, days_word(days));
    } else {
        days = (until - now) / SECONDS_PER_DAY;
        printf("  valid until   %s (%" PRId64 " %s left)\n", text, days, days_word(days));
    }
}

static void show_cert(const X509 *cert)
{
    char text[CERT_INFO_TEXT_SIZE];
    uint8_t fingerprint[32];

    cert_info_name(text, sizeof(text), X509_get_subject_name(cert));
    printf("  subject       %s\n", text);
    cert_info_name(text, sizeof(text), X509_get_issuer_name(cert));
    printf("  issuer        %s\n", text);
    cert_info_alt_names(text, sizeof(text), cert);
    printf("  names         %s\n", text[0] != 0 ? text : "none");
    show_validity(X509_get0_notBefore(cert), X509_get0_notAfter(cert));
    cert_info_algorithm(text, sizeof(text), cert);
    printf("  algorithm     %s\n", text);
    printf("  signed with   %s\n", OBJ_nid2ln(X509_get_signature_nid(cert)));
    printf("  kind          %s\n", cert_info_is_ca(cert) ? "CA" : "leaf");
    cert_info_key_usage(text, sizeof(text), cert);
    printf("  key usage     %s\n", text);
    cert_info_extended_key_usage(text, sizeof(text), cert);
    printf("  extended      %s\n", text);
    cert_info_serial(text, sizeof(text), cert);
    printf("  serial        %s\n", text);
    if (cert_info_fingerprint(fingerprint, cert)) {
        printf("  SHA-256       ");
        for (size_t i = 0; i < sizeof(fingerprint); i++)
            printf("%s%02X", i > 0 ? ":" : "", fingerprint[i]);
        printf("\n");
    }
}

static void show_crl(X509_CRL *crl)
{
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);
    char text[CERT_INFO_TEXT_SIZE];
    char since[32];

    cert_info_name(text, sizeof(text), X509_CRL_get_issuer(crl));
    printf("  issuer        %s\n", text);
    crl_info_number(text, sizeof(text), crl);
    printf("  CRL number    %s\n", text);
    show_validity(X509_CRL_get0_lastUpdate(crl), X509_CRL_get0_nextUpdate(crl));
    printf("  signed with   %s\n", OBJ_nid2ln(X509_CRL_get_signature_nid(crl)));
    printf("  kind          CRL\n");
    printf("  revoked       %zu\n", crl_info_count(crl));
    for (int i = 0; i < sk_X509_REVOKED_num(entries); i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);

        cert_info_format_serial(text, sizeof(text), X509_REVOKED_get0_serialNumber(entry));
        cert_info_format_time(since, sizeof(since),
                              cert_info_time(X509_REVOKED_get0_revocationDate(entry)));
        printf("    %s  since %s\n", text, since);
    }
}

static void show_all(const char *path, STACK_OF(X509) *certs, STACK_OF(X509_CRL) *crls)
{
    int cert_count = certs != NULL ? sk_X509_num(certs) : 0;
    int crl_count = crls != NULL ? sk_X509_CRL_num(crls) : 0;
    bool is_alone = cert_count + crl_count == 1;

    for (int i = 0; i < cert_count; i++) {
        if (is_alone)
            printf("%s\n", path);
        else
            printf("%s%s, certificate %d of %d\n", i > 0 ? "\n" : "", path, i + 1, cert_count);
        show_cert(sk_X509_value(certs, i));
    }
    for (int i = 0; i < crl_count; i++) {
        if (is_alone)
            printf("%s\n", path);
        else
            printf("%s%s, CRL %d of %d\n", cert_count + i > 0 ? "\n" : "", path, i + 1, crl_count);
        show_crl(sk_X509_CRL_value(crls, i));
    }
}

int cert_run_show(int argc, char **argv)
{
    const char *path = NULL;
    const struct cli_operand operand = {"FILE", "certificates or CRLs in PEM or DER", &path};
    const struct cli_syntax syntax = {
        .command = "cert show",
        .summary = "Prints what each certificate and each CRL of a file says.",
        .operand = &operand,
    };
    STACK_OF(X509) *certs = NULL;
    STACK_OF(X509_CRL) *crls = NULL;
    struct err_detail d = {""};
    enum err e = ERR_OK;
    int status;

    if (!cli_options_parse(&syntax, argc, argv, &status))
        return status;
    e = pem_read_certs(&certs, path, "certificate", &d);
    /* What is wrong with a file that holds neither is said of certificates. */
    if ((e == ERR_OK || e == ERR_CERT_FORMAT) && pem_read_crls(&crls, path, "CRL", NULL) == ERR_OK)
        e = ERR_OK;
    if (e == ERR_OK)
        show_all(path, certs, crls);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    sk_X509_pop_free(certs, X509_free);
    return e == ERR_OK ? CLI_OK : cert_report("cert show", e, &d);
}
