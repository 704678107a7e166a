/*
 * Private keys in another process. The *signer* is a small process that reads key files, keeps the
 * keys and signs; whoever talks to strangers has only its end of a socket and the public halves, so
 * that what it might disclose of its memory holds no long-term key.
 *
 *   the network's process                     the signer
 *   signer_load (path)            ──>         reads the file, keeps the key under a number
 *                                 <──         number, public key
 *   signer_sign (number, bytes)   ──>         signs
 *                                 <──         signature
 *   signer_drop (number)          ──>         forgets the key
 *
 * It does no more than a role needs, whoever asks: it reads one key file, and signs what TLS 1.3
 * signs for a peer of that role. With it nobody makes a certificate, or poses as the other role.
 *
 * One datagram of a SOCK_SEQPACKET socket for each question and answer, between two processes of
 * one program on one machine: structs as they are in memory.
 *
 * Threads: any may ask; questions wait for each other. A question waits for SIGNER_PATIENCE_SECS.
 */
#ifndef UTUN_CRYPTO_SIGNER_H
#define UTUN_CRYPTO_SIGNER_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/file.h"
#include "crypto/identity.h"

/* A signature takes a millisecond; a machine that is busy is given time. */
#define SIGNER_PATIENCE_SECS 20

/* A set in use, one being tried, and those of handshakes that began before a renewal. */
#define SIGNER_KEYS_MAX 64

/* What CertificateVerify signs has at most 162 bytes (RFC 8446, 4.4.3). A path is at most 4096. */
#define SIGNER_QUESTION_MAX 4096

/* The public key and the signature of RSA with 16384 bits and of ML-DSA-87 are smaller. */
#define SIGNER_ANSWER_MAX 8192

/* -- in the signer's process -- */

struct signer_options {
    int fd;                /* stays the caller's */
    const char *key_path;  /* the only file that is read, as signer_load names it; it may change */
    enum identity_use use; /* whose handshakes are signed */
};

/*
 * Answers on the socket until the other end is closed. Does not log; what goes wrong is the answer.
 * Keys are freed and wiped at the end.
 */
void signer_serve(const struct signer_options *options);

/* -- in the network's process -- */

struct signer;

/* Takes the socket. ERR_NOMEM; the socket stays the caller's then. */
enum err signer_new(struct signer **out, int fd) MUST_USE;

/* NULL is fine. Keys of it must be gone. */
void signer_free(struct signer *s);

/*
 * As pem_read_key, but what comes back is a key whose private half the signer has: with
 * EVP_DigestSign it signs, it gives its public half, and it cannot be exported. Errors of
 * pem_read_key, ERR_NOT_ALLOWED for another file than the signer's, and ERR_CLOSED or ERR_TIMEOUT
 * where the signer does not answer. Free it with EVP_PKEY_free.
 */
enum err signer_load(struct signer *s, EVP_PKEY **out, const char *path, const char *what,
                     enum file_access access, struct err_detail *d) MUST_USE;

/* How a key signs. */
struct signer_scheme {
    char digest[32];  /* "" where the algorithm brings its own */
    int32_t padding;  /* RSA_PKCS1_PSS_PADDING; 0: the key's own */
    int32_t salt_len; /* of PSS, as in EVP_PKEY_CTX_set_rsa_pss_saltlen */
};

/*
 * For crypto/signer_key.c: signs data (at most SIGNER_QUESTION_MAX bytes) with the key of that
 * number. *len is the room in signature before, its length after. ERR_NOT_ALLOWED for all but the
 * content of a CertificateVerify of the signer's role, under our cipher suite's hash (RFC 8446,
 * 4.4.3; PROTOCOL 3.1), and for schemes that TLS 1.3 has not.
 */
enum err signer_sign(struct signer *s, uint32_t key, const struct signer_scheme *scheme,
                     const void *data, size_t data_len, uint8_t *signature, size_t *len) MUST_USE;
void signer_drop(struct signer *s, uint32_t key);

#endif
