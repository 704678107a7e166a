/* Who is told of other CAs and CRLs, and when; credentials and workers are the test's own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/list.h"
#include "role/recheck.h"

#define WORKERS 3

static struct {
    struct recheck recheck;
    X509_STORE *store;
    uint64_t generation;
    bool is_bad;
    unsigned told[WORKERS];
    unsigned allocations;
    unsigned failing; /* this one from here on; 0: none */
} scene;

/* NOLINTBEGIN(bugprone-reserved-identifier): the names are the linker's */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return ++scene.allocations == scene.failing ? NULL : __real_calloc(n, size);
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* -- in place of credentials and workers -- */

const struct tls_context *credentials_use(struct credentials *c, enum credentials_when when,
                                          uint64_t now_us)
{
    (void)c;
    (void)now_us;
    assert_int_equal(when, CREDENTIALS_IF_CHANGED);
    return NULL;
}

uint64_t credentials_generation(const struct credentials *c)
{
    (void)c;
    return scene.generation;
}

uint64_t credentials_renewals(const struct credentials *c)
{
    (void)c;
    return 7;
}

X509_STORE *credentials_store(const struct credentials *c)
{
    (void)c;
    return scene.store;
}

bool credentials_is_bad(const struct credentials *c)
{
    (void)c;
    return scene.is_bad;
}

/* At once, where a worker would do it later. */
void worker_post(struct worker *w, struct worker_item *item)
{
    item->run(item, w);
}

static struct worker *worker_at(struct recheck *r, unsigned index)
{
    (void)r;
    assert_in_range(index, 0, WORKERS - 1);
    return NULL;
}

static void on_recheck(struct recheck *r, unsigned index, X509_STORE *store, uint64_t renewals)
{
    assert_ptr_equal(r, &scene.recheck);
    assert_ptr_equal(store, scene.store);
    assert_int_equal(renewals, 7);
    scene.told[index]++;
}

static int begin(void **state)
{
    (void)state;
    memset(&scene, 0, sizeof(scene));
    scene.store = X509_STORE_new();
    scene.generation = CREDENTIALS_FIRST;
    scene.recheck =
        (struct recheck){.worker_count = WORKERS, .worker_at = worker_at, .on_recheck = on_recheck};
    recheck_init(&scene.recheck);
    return scene.store == NULL ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    X509_STORE_free(scene.store);
    return 0;
}

static void assert_told(unsigned a, unsigned b, unsigned c)
{
    assert_int_equal(scene.told[0], a);
    assert_int_equal(scene.told[1], b);
    assert_int_equal(scene.told[2], c);
}

/* -- tests -- */

static void all_are_told_once(void **state)
{
    (void)state;
    assert_false(recheck_look(&scene.recheck));
    assert_told(0, 0, 0);
    scene.generation++;
    assert_false(recheck_look(&scene.recheck));
    assert_false(recheck_look(&scene.recheck));
    assert_told(1, 1, 1);
    scene.is_bad = true;
    assert_true(recheck_look(&scene.recheck));
    assert_told(1, 1, 1);
}

/* Nobody goes on by the old ones for good. */
static void who_missed_it_for_want_of_memory_is_told_later(void **state)
{
    (void)state;
    scene.generation++;
    scene.allocations = 0;
    scene.failing = 2;
    assert_true(recheck_look(&scene.recheck));
    assert_told(1, 0, 1);
    assert_false(recheck_look(&scene.recheck));
    assert_int_equal(scene.told[1], 1);
    assert_false(recheck_look(&scene.recheck));
    assert_int_equal(scene.told[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_are_told_once, begin, end),
        cmocka_unit_test_setup_teardown(who_missed_it_for_want_of_memory_is_told_later, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
