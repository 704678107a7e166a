#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "role/placement.h"

static struct placement_key key_of(uint8_t tunnel, uint8_t identity)
{
    struct placement_key key = {.twin = 0};

    memset(key.tunnel_id, tunnel, sizeof(key.tunnel_id));
    memset(key.identity, identity, sizeof(key.identity));
    return key;
}

static unsigned enter(struct placement *p, uint8_t tunnel, uint8_t identity)
{
    struct placement_key key = key_of(tunnel, identity);
    uint8_t secret[TUNNEL_SECRET_SIZE] = {tunnel, identity};
    unsigned worker = 99;

    assert_int_equal(placement_enter(p, &key, secret, &worker), ERR_OK);
    return worker;
}

static void leave(struct placement *p, uint8_t tunnel, uint8_t identity)
{
    struct placement_key key = key_of(tunnel, identity);

    placement_leave(p, &key);
}

static struct placement *placement_of(unsigned workers)
{
    struct placement *p = NULL;

    assert_int_equal(placement_new(&p, workers, 100), ERR_OK);
    return p;
}

static void new_tunnels_spread(void **state)
{
    (void)state;
    struct placement *p = placement_of(4);
    unsigned tunnels[4] = {0};

    for (uint8_t i = 0; i < 40; i++)
        tunnels[enter(p, i, 1)]++;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(tunnels[i], 10);
    assert_int_equal(placement_tunnels(p), 40);
    placement_free(p);
}

static void a_tunnel_stays_where_it_is(void **state)
{
    (void)state;
    struct placement *p = placement_of(3);
    unsigned home = enter(p, 7, 1);

    for (uint8_t i = 0; i < 5; i++)
        enter(p, (uint8_t)(100 + i), 1);
    assert_int_equal(enter(p, 7, 1), home);
    /* The first session ends, the second keeps the place. */
    leave(p, 7, 1);
    assert_int_equal(enter(p, 7, 1), home);
    placement_free(p);
}

static void a_worker_that_lost_tunnels_gets_the_next(void **state)
{
    (void)state;
    struct placement *p = placement_of(2);
    unsigned first = enter(p, 1, 1);

    assert_int_not_equal(enter(p, 2, 1), first);
    leave(p, 1, 1);
    assert_int_equal(enter(p, 3, 1), first);
    assert_int_equal(placement_tunnels(p), 2);
    placement_free(p);
}

static void another_identity_has_a_tunnel_of_its_own(void **state)
{
    (void)state;
    struct placement *p = placement_of(2);
    unsigned first = enter(p, 1, 1);

    assert_int_not_equal(enter(p, 1, 2), first);
    assert_int_equal(placement_tunnels(p), 2);
    placement_free(p);
}

static void a_tunnel_is_continued_by_its_secret(void **state)
{
    (void)state;
    struct placement *p = placement_of(3);
    struct placement_key key = key_of(7, 1);
    struct placement_key other = key_of(7, 2);
    uint8_t secret[TUNNEL_SECRET_SIZE] = {7, 1};
    uint8_t wrong[TUNNEL_SECRET_SIZE] = {7, 2};
    uint8_t found[TUNNEL_SECRET_SIZE];
    unsigned worker = 99;

    assert_false(placement_secret(p, &key, found));
    assert_int_equal(placement_resume(p, &key, secret, &worker), ERR_NOT_FOUND);
    enter(p, 1, 1);
    unsigned home = enter(p, 7, 1);
    assert_true(placement_secret(p, &key, found));
    assert_memory_equal(found, secret, sizeof(secret));
    /* Another identity knows nothing of it, and another secret does not continue it. */
    assert_false(placement_secret(p, &other, found));
    assert_int_equal(placement_resume(p, &key, wrong, &worker), ERR_NOT_FOUND);
    assert_int_equal(placement_resume(p, &key, secret, &worker), ERR_OK);
    assert_int_equal(worker, home);
    leave(p, 7, 1);
    assert_true(placement_secret(p, &key, found));
    leave(p, 7, 1);
    assert_false(placement_secret(p, &key, found));
    assert_int_equal(placement_tunnels(p), 1);
    placement_free(p);
}

static void a_new_tunnel_takes_the_old_ones_place(void **state)
{
    (void)state;
    struct placement *p = placement_of(2);
    struct placement_key key = key_of(7, 1);
    uint8_t old[TUNNEL_SECRET_SIZE] = {7, 1};
    uint8_t new[TUNNEL_SECRET_SIZE] = {9};
    unsigned home = enter(p, 7, 1);
    unsigned worker = 99;

    assert_int_equal(placement_enter(p, &key, new, &worker), ERR_OK);
    assert_int_equal(worker, home);
    assert_int_equal(placement_resume(p, &key, old, &worker), ERR_NOT_FOUND);
    /* The end of the old one does not take the secret of the new one with it. */
    placement_forget(p, &key, old);
    leave(p, 7, 1);
    assert_int_equal(placement_resume(p, &key, new, &worker), ERR_OK);
    leave(p, 7, 1);
    placement_forget(p, &key, new);
    assert_int_equal(placement_resume(p, &key, new, &worker), ERR_NOT_FOUND);
    placement_free(p);
}

static void a_proven_tunnel_keeps_its_place(void **state)
{
    (void)state;
    struct placement *p = placement_of(2);
    struct placement_key key = key_of(7, 1);
    struct placement_key intruders[2] = {key, key};
    uint8_t mine[TUNNEL_SECRET_SIZE] = {7, 1};
    uint8_t theirs[TUNNEL_SECRET_SIZE] = {9};
    uint8_t found[TUNNEL_SECRET_SIZE];
    unsigned worker = 99;

    enter(p, 7, 1);
    placement_prove(p, &key, theirs); /* proves nothing */
    placement_prove(p, &key, mine);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(placement_enter(p, &intruders[i], theirs, &worker), ERR_OK);
        assert_int_not_equal(intruders[i].twin, 0);
        assert_true(placement_secret(p, &key, found));
        assert_memory_equal(found, mine, sizeof(mine));
        assert_int_equal(placement_resume(p, &key, theirs, &worker), ERR_NOT_FOUND);
    }
    assert_int_not_equal(intruders[0].twin, intruders[1].twin);
    assert_int_equal(placement_tunnels(p), 3);
    placement_forget(p, &intruders[0], theirs);
    placement_leave(p, &intruders[0]);
    placement_leave(p, &intruders[1]);
    assert_int_equal(placement_resume(p, &key, mine, &worker), ERR_OK);
    leave(p, 7, 1);

    /* Once it may not be continued any more, its place is free. */
    placement_forget(p, &key, mine);
    assert_int_equal(placement_enter(p, &key, theirs, &worker), ERR_OK);
    assert_int_equal(key.twin, 0);
    assert_int_equal(placement_resume(p, &key, theirs, &worker), ERR_OK);
    placement_free(p);
}

static void there_are_only_so_many(void **state)
{
    (void)state;
    struct placement *p = NULL;
    struct placement_key third = key_of(3, 1);
    struct placement_key twin = key_of(1, 1);
    uint8_t secret[TUNNEL_SECRET_SIZE] = {1, 1};
    unsigned worker = 99;
    const char *why;

    assert_int_equal(placement_new(&p, 4, 2), ERR_OK);
    enter(p, 1, 1);
    assert_int_equal(placement_admit(p, &third, &why), ERR_OK);
    assert_null(why);
    enter(p, 2, 1);
    assert_int_equal(placement_admit(p, &third, &why), ERR_LIMIT);
    assert_non_null(strstr(why, "max_tunnels"));
    assert_int_equal(placement_enter(p, &third, secret, &worker), ERR_LIMIT);
    /* One that begins anew has its old place, unless that is another's by now. */
    assert_int_equal(placement_admit(p, &twin, &why), ERR_OK);
    placement_prove(p, &twin, secret);
    assert_int_equal(placement_admit(p, &twin, &why), ERR_LIMIT);
    assert_int_equal(placement_enter(p, &twin, secret, &worker), ERR_LIMIT);
    /* Those that are there may be continued, and begun anew. */
    twin.twin = 0;
    assert_int_equal(placement_resume(p, &twin, secret, &worker), ERR_OK);
    leave(p, 1, 1);
    enter(p, 2, 1);
    leave(p, 2, 1);
    leave(p, 2, 1);
    assert_int_equal(placement_enter(p, &third, secret, &worker), ERR_OK);
    placement_free(p);
}

static enum err try_to_enter(struct placement *p, uint8_t tunnel, uint8_t identity)
{
    struct placement_key key = key_of(tunnel, identity);
    uint8_t secret[TUNNEL_SECRET_SIZE] = {tunnel, identity};
    unsigned worker;

    return placement_enter(p, &key, secret, &worker);
}

static enum err ask(struct placement *p, uint8_t tunnel, uint8_t identity)
{
    struct placement_key key = key_of(tunnel, identity);
    const char *why;
    enum err e = placement_admit(p, &key, &why);

    assert_int_equal(try_to_enter(p, tunnel, identity), e);
    return e;
}

static void one_source_leaves_room_for_others(void **state)
{
    (void)state;
    struct placement *p = placement_of(1); /* of 100 */

    for (uint8_t i = 0; i < 75; i++) /* nobody else is there */
        assert_int_equal(ask(p, i, 1), ERR_OK);
    assert_int_equal(ask(p, 75, 1), ERR_LIMIT);
    for (uint8_t i = 0; i < 24; i++)
        assert_int_equal(ask(p, i, 2), ERR_OK);
    assert_int_equal(ask(p, 0, 3), ERR_OK);
    assert_int_equal(ask(p, 1, 3), ERR_LIMIT); /* there are no more */
    /* What the first gives back, the second has up to a quarter of all, and then the first again.
     */
    for (uint8_t i = 0; i < 10; i++)
        leave(p, i, 1);
    assert_int_equal(ask(p, 0, 1), ERR_LIMIT);
    assert_int_equal(ask(p, 30, 2), ERR_OK);
    assert_int_equal(ask(p, 31, 2), ERR_LIMIT);
    for (uint8_t i = 10; i < 27; i++)
        leave(p, i, 1);
    assert_int_equal(ask(p, 0, 1), ERR_OK);
    assert_int_equal(ask(p, 1, 1), ERR_LIMIT);
    placement_free(p);
}

/* A source that was restarted has all of its tunnels a second time, for a while. */
static void lost_tunnels_do_not_count_beside_new_ones(void **state)
{
    (void)state;
    struct placement *p = placement_of(1);

    placement_set_max(p, 24); /* of which a source has 8 at least */
    for (uint8_t i = 0; i < 8; i++) {
        const struct placement_key key = key_of(i, 1);

        enter(p, i, 1);
        enter(p, i, 2);
        placement_rest(p, &key);
    }
    enter(p, 9, 3);
    enter(p, 10, 3); /* now the last quarter begins */
    for (uint8_t i = 50; i < 55; i++)
        assert_int_equal(ask(p, i, 1), ERR_OK);
    assert_int_equal(ask(p, 50, 2), ERR_LIMIT);
    /* They are found again after all. */
    for (uint8_t i = 0; i < 4; i++) {
        const struct placement_key key = key_of(i, 1);

        placement_wake(p, &key);
    }
    assert_int_equal(ask(p, 60, 1), ERR_LIMIT); /* 9 with a session */
    assert_int_equal(ask(p, 60, 3), ERR_OK);
    placement_free(p);
}

/* A few tunnels are nobody's greed; and who has no certificate cannot be known. */
static void small_parts_are_not_divided(void **state)
{
    (void)state;
    struct placement *p = placement_of(1);

    placement_set_max(p, PLACEMENT_SOURCE_MIN);
    for (uint8_t i = 0; i < PLACEMENT_SOURCE_MIN; i++)
        enter(p, i, 1);
    assert_int_equal(try_to_enter(p, 100, 1), ERR_LIMIT);
    placement_set_max(p, 100);
    for (uint8_t i = 0; i < 100 - PLACEMENT_SOURCE_MIN; i++)
        enter(p, i, 0);
    assert_int_equal(try_to_enter(p, 100, 0), ERR_LIMIT);
    placement_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_tunnels_spread),
        cmocka_unit_test(a_tunnel_stays_where_it_is),
        cmocka_unit_test(a_worker_that_lost_tunnels_gets_the_next),
        cmocka_unit_test(another_identity_has_a_tunnel_of_its_own),
        cmocka_unit_test(a_tunnel_is_continued_by_its_secret),
        cmocka_unit_test(a_new_tunnel_takes_the_old_ones_place),
        cmocka_unit_test(a_proven_tunnel_keeps_its_place),
        cmocka_unit_test(one_source_leaves_room_for_others),
        cmocka_unit_test(lost_tunnels_do_not_count_beside_new_ones),
        cmocka_unit_test(small_parts_are_not_divided),
        cmocka_unit_test(there_are_only_so_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
