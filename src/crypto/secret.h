/*
 * Memory for secrets: wiped when freed, and as far as the arena reaches (SECRET_ARENA_SIZE) locked
 * against swapping, kept out of core dumps and fenced by guard pages. It is OpenSSL's secure heap,
 * which then also holds OpenSSL's own private keys. Beyond the arena, secrets come from the
 * ordinary heap and are still wiped. Any thread.
 */
#ifndef UTUN_CRYPTO_SECRET_H
#define UTUN_CRYPTO_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Holds the secret halves of 64 handshakes at once (16 KiB each). It is resident for the life of
 * the process, and a larger one would not fit the usual RLIMIT_MEMLOCK beside anything else.
 */
#define SECRET_ARENA_SIZE ((size_t)1024 * 1024)

/*
 * Sets the arena up, which otherwise the first secret_new does: for those who must do it before
 * they give up the right to. True where it is locked.
 */
bool secret_init(void);

/*
 * From now on OpenSSL wipes all memory that it frees. By itself it does so with what it knows to be
 * secret, but not with the copy of a private key that it decodes, nor with the text it came from.
 * Before the first use of OpenSSL in the process; false: too late.
 */
bool secret_wipe_freed(void);

/* Zeroed; NULL when out of memory. size > 0. */
void *secret_new(size_t size);

/* Wipes and frees; size as given to secret_new. NULL is fine. */
void secret_free(void *secret, size_t size);

/* Takes the same time wherever the two differ. */
bool secret_equal(const void *a, const void *b, size_t size);

#endif
