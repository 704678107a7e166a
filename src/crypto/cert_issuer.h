/* The CA that signs certificates and CRLs: its files, whether it may, and how what it signs points
 * to it. */
#ifndef UTUN_CRYPTO_CERT_ISSUER_H
#define UTUN_CRYPTO_CERT_ISSUER_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/attr.h"
#include "base/error.h"

enum cert_issuer_right {
    CERT_ISSUER_SIGNS_CERTS,
    CERT_ISSUER_SIGNS_CRLS,
};

/*
 * From their files, as pem_read_cert and pem_read_key, with their errors; then *cert and *key are
 * NULL. A key that others may read is refused.
 */
enum err cert_issuer_read(X509 **cert, EVP_PKEY **key, const char *cert_path, const char *key_path,
                          struct err_detail *d) MUST_USE;

/*
 * Whether key belongs to the certificate and that is a CA's with the right. ERR_KEY_MISMATCH,
 * ERR_CERT_PURPOSE. Leaves OpenSSL's error queue empty.
 */
enum err cert_issuer_check(X509 *issuer, EVP_PKEY *key, enum cert_issuer_right right,
                           struct err_detail *d) MUST_USE;

/*
 * The authority key identifier (RFC 5280, 4.2.1.1 and 5.2.1) of what it signs, to be freed with
 * AUTHORITY_KEYID_free. *out is NULL with ERR_OK where the issuer has no subject key identifier, as
 * one from elsewhere may not, and with ERR_NOMEM.
 */
enum err cert_issuer_key_id(AUTHORITY_KEYID **out, X509 *issuer) MUST_USE;

#endif
