/*
 * Certificates, keys and CRLs between bytes and OpenSSL's objects: PEM (RFC 7468, with text and
 * other blocks around it ignored) or a single DER structure, told apart by the content.
 *
 * Every function leaves OpenSSL's error queue empty. `where` names the bytes in an error, usually
 * "<what> <path>". Errors: ERR_CERT_FORMAT, ERR_NOMEM; outputs are NULL then.
 */
#ifndef UTUN_CRYPTO_PEM_H
#define UTUN_CRYPTO_PEM_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/file.h"

/* One certificate or more, in the order of the file. Free with sk_X509_pop_free(.., X509_free). */
enum err pem_decode_certs(STACK_OF(X509) **out, const struct file_bytes *in, const char *where,
                          struct err_detail *d) MUST_USE;

/* One CRL or more. Free with sk_X509_CRL_pop_free(.., X509_CRL_free). */
enum err pem_decode_crls(STACK_OF(X509_CRL) **out, const struct file_bytes *in, const char *where,
                         struct err_detail *d) MUST_USE;

/*
 * The first private key: PKCS#8, or the older forms for RSA and EC. An encrypted key is refused
 * with the command that decrypts it.
 */
enum err pem_decode_key(EVP_PKEY **out, const struct file_bytes *in, const char *where,
                        struct err_detail *d) MUST_USE;

/*
 * The same from a file: file_read, with its errors, and then decode. `what` says what the file was
 * to be. pem_read_cert has the first certificate: behind it there may be those of CAs. A file that
 * holds no key is ERR_CERT_FORMAT, whoever may read it.
 */
enum err pem_read_certs(STACK_OF(X509) **out, const char *path, const char *what,
                        struct err_detail *d) MUST_USE;
enum err pem_read_cert(X509 **out, const char *path, const char *what,
                       struct err_detail *d) MUST_USE;
enum err pem_read_crls(STACK_OF(X509_CRL) **out, const char *path, const char *what,
                       struct err_detail *d) MUST_USE;
enum err pem_read_key(EVP_PKEY **out, const char *path, const char *what, enum file_access access,
                      struct err_detail *d) MUST_USE;

/* PEM text; free with file_bytes_free, which wipes it. ERR_CRYPTO where OpenSSL refuses. */
enum err pem_encode_cert(struct file_bytes *out, const X509 *cert) MUST_USE;
enum err pem_encode_crl(struct file_bytes *out, const X509_CRL *crl) MUST_USE;
enum err pem_encode_key(struct file_bytes *out, const EVP_PKEY *key) MUST_USE;

#endif
