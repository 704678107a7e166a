#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "net/doorkeeper.h"
#include "net/rate_limit.h"
#include "net/strangers.h"

#define SECOND UINT64_C(1000000)
#define START  (1000 * SECOND)
#define CROWD  64

/* A doorkeeper and whom it has let in. */
struct house {
    struct doorkeeper *door;
    struct visitor inside[CROWD];
    size_t count;
};

static void build(struct house *h, uint32_t max_in_flight, uint32_t rate_limit)
{
    const struct doorkeeper_options options = {
        .max_in_flight = max_in_flight, .rate_limit = rate_limit, .rate_window_ms = 10000};

    memset(h, 0, sizeof(*h));
    assert_int_equal(doorkeeper_new(&h->door, &options), ERR_OK);
}

static struct address from(const char *ip, uint16_t port)
{
    struct address a;

    assert_int_equal(address_parse(&a, ip, port), ERR_OK);
    return a;
}

/* Asks, and goes in where it may. */
static enum err come(struct house *h, const char *ip, uint64_t now)
{
    const struct address peer = from(ip, (uint16_t)(1000 + h->count));
    enum err e = doorkeeper_ask(h->door, &h->inside[h->count], &peer, now);

    if (e == ERR_OK) {
        doorkeeper_enter(h->door, &h->inside[h->count]);
        h->count++;
        assert_true(h->count < CROWD);
    }
    return e;
}

static void leave(struct house *h)
{
    assert_true(h->count > 0);
    doorkeeper_leave(h->door, &h->inside[--h->count]);
}

static void meet(struct house *h, const char *ip, uint64_t now)
{
    const struct visitor v = {.peer = from(ip, 1)};

    doorkeeper_get_to_know(h->door, &v, now);
}

/* How many strangers may ask before the first is refused; none of them goes in. */
static unsigned ask_all(struct house *h, uint64_t now)
{
    const struct address peer = from("192.0.2.7", 1);
    struct visitor v;
    unsigned asked = 0;

    while (doorkeeper_ask(h->door, &v, &peer, now) == ERR_OK)
        asked++;
    return asked;
}

static void strangers_may_hold_three_quarters(void **state)
{
    (void)state;
    struct house h;

    build(&h, 4, 0);
    meet(&h, "192.0.2.1", START);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.2", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.3", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.4", START), ERR_LIMIT);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_LIMIT); /* now it is full */
    leave(&h);
    leave(&h);
    assert_int_equal(come(&h, "198.51.100.4", START), ERR_OK);
    doorkeeper_free(h.door);
}

/* Whoever is silent from one address does not keep others out whom nobody knows, either. */
static void a_strangers_address_may_hold_a_quarter(void **state)
{
    (void)state;
    struct house h;

    build(&h, 8, 0);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_LIMIT);
    assert_int_equal(come(&h, "198.51.100.2", START), ERR_OK);
    meet(&h, "198.51.100.1", START);
    for (int i = 0; i < 4; i++)
        assert_int_equal(come(&h, "198.51.100.1", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_LIMIT);
    doorkeeper_free(h.door);

    build(&h, 2, 0); /* one at least */
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_LIMIT);
    doorkeeper_free(h.door);
}

static void an_address_may_hold_three_quarters(void **state)
{
    (void)state;
    struct house h;

    build(&h, 4, 0);
    meet(&h, "192.0.2.1", START);
    meet(&h, "2001:db8::1", START);
    for (int i = 0; i < 3; i++)
        assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_LIMIT);
    assert_int_equal(come(&h, "192.0.2.2", START), ERR_OK);
    while (h.count > 0)
        leave(&h);

    /* In IPv6 the /64 is one. */
    assert_int_equal(come(&h, "2001:db8::1", START), ERR_OK);
    assert_int_equal(come(&h, "2001:db8::2", START), ERR_OK);
    assert_int_equal(come(&h, "2001:db8::ffff:0:0:1", START), ERR_OK);
    assert_int_equal(come(&h, "2001:db8::4", START), ERR_LIMIT);
    assert_int_equal(come(&h, "2001:db8:0:1::4", START), ERR_OK);
    doorkeeper_free(h.door);
}

static void who_is_known_is_only_bound_by_its_own_rate(void **state)
{
    (void)state;
    struct house h;

    build(&h, 8, 1000);
    meet(&h, "192.0.2.1", START);
    assert_int_equal(ask_all(&h, START), STRANGERS_BURST);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_RATE);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    assert_false(h.inside[0].is_stranger);
    doorkeeper_free(h.door);

    build(&h, 64, 2);
    meet(&h, "192.0.2.1", START);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_RATE);
    assert_int_equal(come(&h, "192.0.2.1", START + 5 * SECOND), ERR_OK);
    doorkeeper_free(h.door);
}

static void a_token_comes_back_once(void **state)
{
    (void)state;
    struct house h;

    build(&h, 8, 1000);
    assert_int_equal(come(&h, "192.0.2.9", START), ERR_OK);
    assert_true(h.inside[0].has_paid);
    assert_int_equal(ask_all(&h, START), STRANGERS_BURST - 1);
    doorkeeper_give_back(h.door, &h.inside[0]);
    doorkeeper_give_back(h.door, &h.inside[0]);
    assert_int_equal(ask_all(&h, START), 1);
    doorkeeper_free(h.door);
}

/* Neither bucket loses anything to who is refused for the other. */
static void a_refusal_counts_nowhere(void **state)
{
    (void)state;
    struct visitor v;
    struct house h;

    /* All strangers' budget is used up: whoever tries again and again keeps its own share. */
    build(&h, 64, 2);
    for (int i = 0; i < STRANGERS_BURST; i++) {
        char ip[ADDRESS_TEXT_MAX];

        snprintf(ip, sizeof(ip), "198.51.100.%d", i);
        const struct address peer = from(ip, 1);
        assert_int_equal(doorkeeper_ask(h.door, &v, &peer, START), ERR_OK);
    }
    for (int i = 0; i < 10; i++)
        assert_int_equal(come(&h, "192.0.2.1", START), ERR_RATE);
    assert_int_equal(come(&h, "192.0.2.1", START + SECOND), ERR_OK);
    assert_int_equal(come(&h, "192.0.2.1", START + SECOND), ERR_OK);
    assert_int_equal(come(&h, "192.0.2.1", START + SECOND), ERR_RATE);
    doorkeeper_free(h.door);

    /* Its own share is used up: it takes nothing of what others have together. */
    build(&h, 64, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    for (int i = 0; i < 2 * STRANGERS_BURST; i++)
        assert_int_equal(come(&h, "192.0.2.1", START), ERR_RATE);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_OK);
    doorkeeper_free(h.door);
}

static void without_a_limit_nobody_pays(void **state)
{
    (void)state;
    const struct address peer = from("192.0.2.9", 1);
    struct visitor v;
    struct house h;

    build(&h, 8, 0);
    for (int i = 0; i < 10 * STRANGERS_BURST; i++) {
        assert_int_equal(doorkeeper_ask(h.door, &v, &peer, START), ERR_OK);
        assert_false(v.has_paid);
        doorkeeper_give_back(h.door, &v);
    }
    doorkeeper_free(h.door);
}

/* All of them count from then on, the strangers' burst too, and what is known stays known. */
static void bounds_change(void **state)
{
    (void)state;
    struct doorkeeper_bounds bounds = {.max_in_flight = 1000, .rate_limit = 1000};
    struct house h;

    build(&h, 2, 1000);
    meet(&h, "192.0.2.1", START);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    assert_int_equal(come(&h, "198.51.100.1", START), ERR_OK);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_LIMIT);

    doorkeeper_set_bounds(h.door, &bounds);
    assert_int_equal(come(&h, "192.0.2.1", START), ERR_OK);
    assert_false(h.inside[2].is_stranger);
    /* Only 1,000 of one address: half of what strangers have together. */
    assert_int_equal(ask_all(&h, START), 1000);

    bounds.max_in_flight = 64;
    assert_int_equal(rate_limit_new(&bounds.rate, 100000, 10 * SECOND), ERR_OK);
    doorkeeper_set_bounds(h.door, &bounds);
    assert_int_equal(ask_all(&h, START), 0); /* 1,001 have been taken, the burst is 128 */
    assert_int_equal(ask_all(&h, START + 3600 * SECOND), STRANGERS_BURST);
    doorkeeper_free(h.door);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_may_hold_three_quarters),
        cmocka_unit_test(a_strangers_address_may_hold_a_quarter),
        cmocka_unit_test(an_address_may_hold_three_quarters),
        cmocka_unit_test(who_is_known_is_only_bound_by_its_own_rate),
        cmocka_unit_test(a_token_comes_back_once),
        cmocka_unit_test(a_refusal_counts_nowhere),
        cmocka_unit_test(without_a_limit_nobody_pays),
        cmocka_unit_test(bounds_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
