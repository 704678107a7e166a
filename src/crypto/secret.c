#include "crypto/secret.h"

#include <pthread.h>
#include <string.h>

#include <openssl/crypto.h>

#define ARENA_SMALLEST 64 /* bytes of the smallest block: one cache line */

static pthread_once_t arena_once = PTHREAD_ONCE_INIT;
static bool is_arena_locked;

static void arena_init(void)
{
    /* 2 is an arena that could not be locked (RLIMIT_MEMLOCK). secret_new works in any case. */
    is_arena_locked = CRYPTO_secure_malloc_init(SECRET_ARENA_SIZE, ARENA_SMALLEST) == 1;
}

bool secret_init(void)
{
    (void)pthread_once(&arena_once, arena_init);
    return is_arena_locked;
}

void *secret_new(size_t size)
{
    (void)pthread_once(&arena_once, arena_init);
    void *p = OPENSSL_secure_zalloc(size);
    return p != NULL ? p : OPENSSL_zalloc(size);
}

void secret_free(void *secret, size_t size)
{
    OPENSSL_secure_clear_free(secret, size); /* knows by the address where it came from */
}

bool secret_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}
