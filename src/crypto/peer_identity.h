/*
 * Who a peer is, beyond the life of one certificate: the names that a certificate holds, as vouched
 * for by the key of whoever signed it. A certificate that the same CA has renewed for the same
 * names, with whatever key, gives the same identity; one of another CA, or for other names, another
 * (docs/PROTOCOL.md, section 4.6). Only for certificates that have been verified. Any thread.
 */
#ifndef UTUN_CRYPTO_PEER_IDENTITY_H
#define UTUN_CRYPTO_PEER_IDENTITY_H

#include <stdint.h>

#include <openssl/x509.h>

#include "base/attr.h"
#include "base/error.h"

#define PEER_IDENTITY_SIZE 32

/*
 * issuer: the certificate that was found to have signed the leaf; NULL where the leaf itself is
 * trusted, and its own key vouches for it. A leaf without any name, or whose names cannot be read,
 * is only itself. ERR_NOMEM; out is zeroed then.
 */
enum err peer_identity_of(uint8_t out[PEER_IDENTITY_SIZE], const X509 *leaf,
                          const X509 *issuer) MUST_USE;

#endif
