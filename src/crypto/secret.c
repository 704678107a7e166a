#include "crypto/secret.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
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

/* -- memory of OpenSSL -- */

static void *take(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size == 0 ? NULL : malloc(size);
}

static void give_back(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    if (p != NULL)
        OPENSSL_cleanse(p, malloc_usable_size(p));
    free(p);
}

/* The old place is wiped as well. */
static void *take_other(void *p, size_t size, const char *file, int line)
{
    size_t old = malloc_usable_size(p);
    void *other = take(size, file, line);

    if (other == NULL && size > 0)
        return NULL;
    if (other != NULL && p != NULL)
        memcpy(other, p, old < size ? old : size);
    give_back(p, file, line);
    return other;
}

bool secret_wipe_freed(void)
{
    return CRYPTO_set_mem_functions(take, take_other, give_back) == 1;
}

/* -- secrets -- */

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
