#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "crypto/mceliece.h"

static struct mceliece_keypair *new_pair(void)
{
    struct mceliece_keypair *pair = NULL;
    assert_int_equal(mceliece_keypair_new(&pair), ERR_OK);
    return pair;
}

static void both_ends_get_the_same_secret(void **state)
{
    (void)state;
    struct mceliece_keypair *pair = new_pair();
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE];
    uint8_t a[MCELIECE_SECRET_SIZE], b[MCELIECE_SECRET_SIZE], last[MCELIECE_SECRET_SIZE] = {0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(mceliece_encapsulate(ciphertext, a, mceliece_public_key(pair)), ERR_OK);
        assert_int_equal(mceliece_decapsulate(b, ciphertext, pair), ERR_OK);
        assert_memory_equal(a, b, sizeof(a));
        assert_memory_not_equal(a, last, sizeof(a));
        memcpy(last, a, sizeof(a));
    }
    mceliece_keypair_free(pair);
}

static void an_altered_ciphertext_gives_another_secret(void **state)
{
    (void)state;
    struct mceliece_keypair *pair = new_pair();
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], a[MCELIECE_SECRET_SIZE], b[MCELIECE_SECRET_SIZE];
    assert_int_equal(mceliece_encapsulate(ciphertext, a, mceliece_public_key(pair)), ERR_OK);
    for (size_t i = 0; i < sizeof(ciphertext); i += 31) {
        ciphertext[i] ^= 0x10;
        assert_int_equal(mceliece_decapsulate(b, ciphertext, pair), ERR_OK);
        assert_memory_not_equal(a, b, sizeof(a));
        ciphertext[i] ^= 0x10;
    }
    mceliece_keypair_free(pair);
}

static void another_key_pair_gives_another_secret(void **state)
{
    (void)state;
    struct mceliece_keypair *pair = new_pair(), *other = new_pair();
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE], a[MCELIECE_SECRET_SIZE], b[MCELIECE_SECRET_SIZE];
    assert_memory_not_equal(mceliece_public_key(pair), mceliece_public_key(other),
                            MCELIECE_PUBLIC_KEY_SIZE);
    assert_int_equal(mceliece_encapsulate(ciphertext, a, mceliece_public_key(pair)), ERR_OK);
    assert_int_equal(mceliece_decapsulate(b, ciphertext, other), ERR_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    mceliece_keypair_free(pair);
    mceliece_keypair_free(other);
    mceliece_keypair_free(NULL);
}

/* -- what is left on the stack -- */

#define STACK_SIZE ((size_t)8 * 1024 * 1024)
#define PAINT      0xa5
/* Of the thread itself, and of what is called last: nothing secret is that small. */
#define STACK_TOP ((size_t)16 * 1024)

/* Addresses that the last calls have put below what they wipe. */
#define CALL_BYTES 128

static struct {
    struct mceliece_keypair *pair;
    uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE];
    uint8_t secret[MCELIECE_SECRET_SIZE];
    enum err err;
} work;

static void *make(void *arg)
{
    work.err = mceliece_keypair_new(&work.pair);
    return arg;
}

static void *encapsulate(void *arg)
{
    work.err = mceliece_encapsulate(work.ciphertext, work.secret, mceliece_public_key(work.pair));
    return arg;
}

static void *decapsulate(void *arg)
{
    work.err = mceliece_decapsulate(work.secret, work.ciphertext, work.pair);
    return arg;
}

/* On a painted stack, of which at least so much is used: what is below its top is wiped again. */
static void check_stack(void *(*run)(void *), size_t least)
{
    uint8_t *stack =
        mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t first = 0;
    size_t left = 0;
    pthread_attr_t attr;
    pthread_t thread;

    assert_ptr_not_equal(stack, MAP_FAILED);
    memset(stack, PAINT, STACK_SIZE);
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstack(&attr, stack, STACK_SIZE), 0);
    assert_int_equal(pthread_create(&thread, &attr, run, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
    assert_int_equal(work.err, ERR_OK);
    while (stack[first] == PAINT)
        first++;
    assert_true(STACK_SIZE - first >= least);
    for (size_t i = first; i < STACK_SIZE - STACK_TOP; i++)
        left += stack[i] != 0 && stack[i] != PAINT;
    if (left > CALL_BYTES)
        fail_msg("%zu bytes are left on the stack", left);
    assert_null(memmem(stack, STACK_SIZE, work.secret, sizeof(work.secret)));
    munmap(stack, STACK_SIZE);
}

static void nothing_is_left_on_the_stack(void **state)
{
    (void)state;
    memset(work.secret, 1, sizeof(work.secret)); /* none yet */
    check_stack(make, (size_t)256 * 1024);
    check_stack(encapsulate, STACK_TOP);
    check_stack(decapsulate, STACK_TOP);
    mceliece_keypair_free(work.pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_get_the_same_secret),
        cmocka_unit_test(an_altered_ciphertext_gives_another_secret),
        cmocka_unit_test(another_key_pair_gives_another_secret),
        cmocka_unit_test(nothing_is_left_on_the_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
