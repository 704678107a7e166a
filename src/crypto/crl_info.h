/*
 * What a revocation list says, as text and numbers for people; see crypto/cert_info.h for names,
 * serials and times. Read only; nothing here decides about trust.
 */
#ifndef UTUN_CRYPTO_CRL_INFO_H
#define UTUN_CRYPTO_CRL_INFO_H

#include <stddef.h>

#include <openssl/x509.h>

/* Long enough for every CRL number of RFC 5280. */
#define CRL_INFO_NUMBER_SIZE 64

/* The CRL number in decimal, "none" without one, "unreadable" where it is not one of RFC 5280. */
void crl_info_number(char *out, size_t size, const X509_CRL *crl);

/* How many certificates it revokes. */
size_t crl_info_count(X509_CRL *crl);

#endif
