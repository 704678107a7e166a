/*
 * What a certificate says, as text and numbers for people: names, times, use, algorithm. Read
 * only; nothing here decides about trust.
 *
 * Texts are cut to the given size (with "..." at the end where it fits) and always terminated;
 * control characters in them appear as \xNN, since a peer chose them and a terminal shows them.
 */
#ifndef UTUN_CRYPTO_CERT_INFO_H
#define UTUN_CRYPTO_CERT_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

/* Long enough for every subject we issue and most that we do not. */
#define CERT_INFO_TEXT_SIZE 1024

/* The subject's (last) common name, "" if it has none. */
void cert_info_common_name(char *out, size_t size, const X509 *cert);

/* A whole distinguished name: "CN=x, O=y" (RFC 2253 with spaces). */
void cert_info_name(char *out, size_t size, const X509_NAME *name);

/* "DNS:a, IP:192.0.2.1, URI:x, email:x", "" if there are none. */
void cert_info_alt_names(char *out, size_t size, const X509 *cert);

/* "digitalSignature, keyCertSign", "any" without the extension. */
void cert_info_key_usage(char *out, size_t size, const X509 *cert);

/* "serverAuth, clientAuth", others by OpenSSL's long names; "any" without the extension. */
void cert_info_extended_key_usage(char *out, size_t size, const X509 *cert);

/* "ML-DSA-65", "Ed25519", "ECDSA P-256", "RSA 2048". */
void cert_info_algorithm(char *out, size_t size, const X509 *cert);

/* Upper-case hexadecimal with colons, as openssl prints it. */
void cert_info_serial(char *out, size_t size, const X509 *cert);
void cert_info_format_serial(char *out, size_t size, const ASN1_INTEGER *serial);

/* The SHA-256 of the DER form; false (and all zero) if it cannot be had. */
bool cert_info_fingerprint(uint8_t out[32], const X509 *cert);

#define SECONDS_PER_DAY 86400

/* Seconds since 1970. A time that cannot be read is INT64_MIN. */
int64_t cert_info_time(const ASN1_TIME *t);

/* "2026-11-22 15:38:00 UTC" */
void cert_info_format_time(char *out, size_t size, int64_t t);

bool cert_info_is_ca(const X509 *cert);

#endif
