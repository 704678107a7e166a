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

#include "base/attr.h"
#include "base/error.h"
#include "crypto/identity.h"

/*
 * A store that verifies by these CAs, and by these CRLs (NULL: no revocation is checked). With CRLs
 * every certificate of a chain is checked: the peer's own is refused when its CA has no CRL among
 * them; that of a CA is let through when whoever issued it has none, for most PKIs have no list of
 * revoked CAs. Where a purpose is set the peer's own certificate has to name it (trust_is_for).
 * Keys and hashes are as strong as TLS asks for by itself. Both refer to what they are given. False
 * without memory.
 */
bool trust_store_new(X509_STORE **out, STACK_OF(X509) *cas, STACK_OF(X509_CRL) *crls);

/*
 * What such a store has as its callback (X509_STORE_CTX_set_verify_cb), for who sets another one
 * and has to ask this first.
 */
int trust_on_verify(int is_ok, X509_STORE_CTX *ctx);

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

/* Whether the certificate does. */
bool trust_is_host(X509 *cert, const char *host);

/*
 * Whether its extended key usage allows the use. One without the extension is for no use: by RFC
 * 5280, 4.2.1.12, it is for any, but then whoever has a certificate of that CA could pose as a dest
 * of its name, or as a source (docs/model/PROOF.md).
 */
bool trust_is_for(X509 *cert, enum identity_use use);

/*
 * The same as an error, ERR_CERT_PURPOSE, that says what is wrong with a certificate of ours; so is
 * a CA's certificate. where stands in front of the text: "server certificate x.crt: ".
 */
enum err trust_check_use(X509 *cert, enum identity_use use, const char *where,
                         struct err_detail *d) MUST_USE;

/*
 * Whether it is valid now: ERR_CERT_NOT_YET, ERR_CERT_EXPIRED. noun begins the text, mend ends that
 * of one that has expired.
 */
enum err trust_check_times(const X509 *cert, const char *noun, const char *mend,
                           struct err_detail *d) MUST_USE;

#endif
