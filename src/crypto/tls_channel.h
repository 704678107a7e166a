/*
 * One TLS connection without a socket: raw bytes go in and come out, messages are written and read
 * in between. It ends exactly where the caller stops reading; raw bytes behind that are handed back
 * untouched.
 *
 *   tls_channel_put ──> handshake, then read ──> tls_channel_take_rest
 *   write ──> tls_channel_output / tls_channel_sent
 *
 * Errors are final and told precisely: who refused whom, and why. After one, what is left to send
 * (the alert) is still there. One thread at a time.
 */
#ifndef UTUN_CRYPTO_TLS_CHANNEL_H
#define UTUN_CRYPTO_TLS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/peer_cert.h"
#include "crypto/tls_context.h"

struct tls_channel;

/*
 * host: whom a source expects, a DNS name or an address; copied. It is required unless auth is
 * TLS_AUTH_NONE, and ignored for a dest. ERR_CONFIG (no usable name), ERR_NOMEM.
 */
enum err tls_channel_new(struct tls_channel **out, const struct tls_context *context,
                         const char *host, struct err_detail *d) MUST_USE;

/*
 * For a channel that has failed: forgets all but what is left to send, which tls_channel_output and
 * tls_channel_sent go on with; nothing else may be called any more but tls_channel_free.
 */
void tls_channel_end(struct tls_channel *c);

/* Sends nothing. NULL is fine. */
void tls_channel_free(struct tls_channel *c);

/* Takes raw bytes from the peer. Give at most a few records' worth at a time and let them be read:
 * that bounds what the channel holds. ERR_NOMEM. */
enum err tls_channel_put(struct tls_channel *c, const uint8_t *data, size_t len) MUST_USE;

/* Raw bytes that TLS has taken so far, without those that wait to be. */
uint64_t tls_channel_consumed(const struct tls_channel *c);

/*
 * Goes on with the handshake; *done says whether it is over and the peer is authenticated as the
 * context's tls_auth asks. ERR_CERT_* (also ERR_CERT_REFUSED: the peer refused ours), ERR_ALPN,
 * ERR_TLS_VERSION, ERR_TLS, ERR_TOO_LARGE, ERR_NOMEM.
 */
enum err tls_channel_handshake(struct tls_channel *c, bool *done, struct err_detail *d) MUST_USE;

/*
 * Reads up to len bytes of what the peer wrote; *n = 0: more raw bytes are needed. ERR_CLOSED when
 * the peer has closed TLS, ERR_UNEXPECTED for handshake messages that do not belong here, otherwise
 * as tls_channel_handshake: a source learns only here that the dest refused its certificate.
 */
enum err tls_channel_read(struct tls_channel *c, uint8_t *data, size_t len, size_t *n,
                          struct err_detail *d) MUST_USE;

/* Whether bytes that the peer wrote are decrypted, or begun to be, and not yet read. */
bool tls_channel_has_unread(const struct tls_channel *c);

/* Encrypts all of it into the output. ERR_NOMEM, ERR_TLS. */
enum err tls_channel_write(struct tls_channel *c, const uint8_t *data, size_t len) MUST_USE;

/* Raw bytes for the peer: valid until the next call on the channel. */
void tls_channel_output(const struct tls_channel *c, const uint8_t **data, size_t *len);
void tls_channel_sent(struct tls_channel *c, size_t n);

/* Hands over the raw bytes behind the end of TLS; *rest is from malloc, NULL when there are none.
 */
enum err tls_channel_take_rest(struct tls_channel *c, uint8_t **rest, size_t *len) MUST_USE;

/* RFC 8446, section 7.5. */
enum err tls_channel_export(struct tls_channel *c, uint8_t out[KDF_SIZE], const char *label,
                            struct kdf_bytes context) MUST_USE;

/* What each side has shown; NULL if nothing. Borrowed, live as long as the channel. */
const X509 *tls_channel_own_cert(const struct tls_channel *c);
const X509 *tls_channel_peer_cert(const struct tls_channel *c);

/* What the peer has shown, to be kept beyond the channel; *out is NULL if nothing. ERR_NOMEM. */
enum err tls_channel_keep_peer(const struct tls_channel *c, struct peer_cert **out) MUST_USE;

/*
 * The certificate that was found to have signed the peer's; borrowed. NULL where the peer's own is
 * trusted, or was not verified.
 */
const X509 *tls_channel_peer_issuer(const struct tls_channel *c);

/* As OpenSSL names them: "X25519MLKEM768", "mldsa65"; "" when unknown. Live as long as c. */
const char *tls_channel_group(const struct tls_channel *c);
const char *tls_channel_peer_signature(const struct tls_channel *c);

#endif
