/*
 * The subject alternative names of a certificate to be issued: lists as a person types them,
 * checked and turned into OpenSSL's form (RFC 5280, 4.2.1.6; RFC 6125 for wildcards).
 */
#ifndef UTUN_CRYPTO_CERT_NAMES_H
#define UTUN_CRYPTO_CERT_NAMES_H

#include <stdbool.h>

#include <openssl/x509v3.h>

#include "base/attr.h"
#include "base/error.h"

/*
 * Whether a certificate may carry it as a DNS name: labels of letters, digits, '-' and '_', at
 * most 63 bytes each and 253 together, "*" only as the whole leftmost label of three or more. When
 * it is not, *why (may be NULL) is a static text that says what is wrong.
 */
bool cert_names_is_dns(const char *name, const char **why);

/* Whether it is an IPv4 or IPv6 address as inet_pton reads it. */
bool cert_names_is_ip(const char *text);

/*
 * Each adds the entries of a comma-separated list (spaces around entries ignored, NULL is an empty
 * list) to names, those that are there already left out. On ERR_USAGE d names the entry and what
 * is wrong with it; names may hold the entries before it. ERR_NOMEM.
 */
enum err cert_names_add_dns(GENERAL_NAMES *names, const char *list, struct err_detail *d) MUST_USE;
enum err cert_names_add_ip(GENERAL_NAMES *names, const char *list, struct err_detail *d) MUST_USE;
enum err cert_names_add_uri(GENERAL_NAMES *names, const char *list, struct err_detail *d) MUST_USE;

#endif
