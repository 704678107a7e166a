/*
 * From OpenSSL's error queue to one code and one sentence for people: which side refused, what, and
 * what mends it.
 */
#ifndef UTUN_CRYPTO_TLS_ERROR_H
#define UTUN_CRYPTO_TLS_ERROR_H

#include "base/error.h"
#include "crypto/identity.h"

struct tls_failure {
    enum identity_use role; /* ours */
    const char *host;       /* whom a source expected; or NULL */
    const char *peer_name;  /* of the certificate that we refused; "" if it is not known */
    long verify_result;     /* SSL_get_verify_result, X509_V_OK where we do not verify */
};

/* Reads and empties this thread's queue. Never ERR_OK. */
enum err tls_error_translate(const struct tls_failure *f, struct err_detail *d);

#endif
