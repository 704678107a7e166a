/*
 * By what a peer's certificate is judged, wherever that is done: in TLS, for the certificate of a
 * session that runs (crypto/peer_cert.h), by `utun cert verify` (crypto/cert_check.h).
 *
 * Any thread.
 */
#ifndef UTUN_CRYPTO_TRUST_H
#define UTUN_CRYPTO_TRUST_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

/*
 * The length of a host's name without the dot that ends an absolute one, which is the same name
 * (RFC 6066, section 3).
 */
size_t trust_host_len(const char *host);

/*
 * A certificate has to name this host (PROTOCOL 3.1): an address, or a DNS name, among the subject
 * alternative names alone; a wildcard only as a whole label. False: it is neither, or memory is
 * out.
 */
bool trust_expect_host(X509_VERIFY_PARAM *param, const char *host);

#endif
