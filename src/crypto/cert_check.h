/*
 * Checks a certificate file the way a peer would, one question at a time, so that the answer to
 * "why am I refused" is a list with one line that says so.
 */
#ifndef UTUN_CRYPTO_CERT_CHECK_H
#define UTUN_CRYPTO_CERT_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum cert_check_purpose {
    CERT_CHECK_ANY_PURPOSE, /* serverAuth or clientAuth */
    CERT_CHECK_SERVER,
    CERT_CHECK_CLIENT,
};

struct cert_check_files {
    const char *cert_path;
    const char *ca_path;
    const char *key_path; /* NULL: not checked */
    const char *crl_path; /* NULL: not checked */
    const char *hostname; /* a DNS name or an address; NULL: not checked */
    enum cert_check_purpose purpose;
};

struct cert_check_step {
    const char *name;         /* static: "certificate", "CA", "validity", "signature", ... */
    enum err err;             /* ERR_OK: passed */
    struct err_detail detail; /* what was found, or what is wrong and what mends it */
};

#define CERT_CHECK_MAX_STEPS 9

struct cert_check_report {
    struct cert_check_step steps[CERT_CHECK_MAX_STEPS];
    size_t count;
    bool is_passed; /* every step passed */
};

/*
 * Runs every check that can be run: steps that need a file which could not be read are left out,
 * the step that reads the file has failed then. Never fails itself. Blocks on file input.
 */
void cert_check(struct cert_check_report *out, const struct cert_check_files *files);

#endif
