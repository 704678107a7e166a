/* The two files that an issued certificate becomes: itself, and its private key. */
#ifndef UTUN_CRYPTO_CERT_FILES_H
#define UTUN_CRYPTO_CERT_FILES_H

#include "base/attr.h"
#include "base/error.h"
#include "crypto/cert_issue.h"
#include "crypto/file.h"

struct cert_files {
    const char *cert_path; /* mode 0644 */
    const char *key_path;  /* mode 0600; NULL: the key is not written */
    /* What errors call them: "CA certificate", "CA key"; NULL: "certificate", "private key". */
    const char *cert_what;
    const char *key_what;
    enum file_overwrite overwrite;
};

/* Writes both as PEM, or neither. Errors as those of file_create_all; ERR_CRYPTO, ERR_NOMEM. */
enum err cert_files_write(const struct cert_files *files, const struct cert_issue_result *issued,
                          struct err_detail *d) MUST_USE;

#endif
