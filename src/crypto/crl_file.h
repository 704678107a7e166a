/*
 * A CA's revocation list as a file: made where there is none, gone on with where there is one
 * (crypto/crl_issue.h).
 *
 * The file is replaced as a whole, with mode 0644, or stays as it was; a link to it stays, too. Who
 * goes on with it at the same time is waited for, so that no entry is lost between the two.
 */
#ifndef UTUN_CRYPTO_CRL_FILE_H
#define UTUN_CRYPTO_CRL_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/crl_issue.h"

struct crl_file_request {
    const char *ca_cert_path;
    const char *ca_key_path;
    const char *crl_path;
    const char *const *cert_paths; /* to be revoked: the first certificate in each file */
    size_t cert_count;
    const char *const *serials; /* to be revoked, as crl_issue_parse_serial takes them */
    size_t serial_count;
    int days; /* as in struct crl_issue_request */
};

struct crl_file_result {
    struct crl_issue_result issued;
    bool is_first; /* there was no file to go on with */
};

/*
 * On success free with crl_file_result_fini; on error *out is empty and the file as before. Errors
 * are those of file_read and pem.h for each file, of crl_issue, file_lock_folder and
 * file_create_all; ERR_TOO_LARGE where the list would be longer than readers take (FILE_MAX_SIZE).
 */
enum err crl_file_renew(struct crl_file_result *out, const struct crl_file_request *request,
                        struct err_detail *d) MUST_USE;

void crl_file_result_fini(struct crl_file_result *r);

#endif
