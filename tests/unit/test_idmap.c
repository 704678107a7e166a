#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../sim/random.h"
#include "base/idmap.h"

#define IDS 3000

/* What the map holds of identifier base + i * stride is &cells[i], or nothing. */
struct model {
    struct idmap map;
    uint64_t base;
    uint64_t stride;
    bool is_in[IDS];
    char cells[IDS];
    size_t count;
};

static uint64_t id_of(const struct model *m, size_t i)
{
    return m->base + i * m->stride;
}

static void model_put(struct model *m, size_t i)
{
    assert_int_equal(idmap_put(&m->map, id_of(m, i), &m->cells[i]), ERR_OK);
    m->is_in[i] = true;
    m->count++;
}

static void model_remove(struct model *m, size_t i)
{
    assert_ptr_equal(idmap_remove(&m->map, id_of(m, i)), m->is_in[i] ? &m->cells[i] : NULL);
    m->count -= m->is_in[i];
    m->is_in[i] = false;
}

static void model_check(const struct model *m)
{
    assert_int_equal(m->map.count, m->count);
    for (size_t i = 0; i < IDS; i++)
        assert_ptr_equal(idmap_get(&m->map, id_of(m, i)),
                         m->is_in[i] ? (const void *)&m->cells[i] : NULL);
}

static void empty_map_has_nothing(void **state)
{
    (void)state;
    struct idmap m;
    char cell;

    idmap_init(&m, 0);
    assert_null(idmap_get(&m, 0));
    assert_null(idmap_remove(&m, 0));
    assert_int_equal(idmap_put(&m, 7, &cell), ERR_OK);
    assert_null(idmap_get(&m, 0));
    assert_null(idmap_remove(&m, 0));
    assert_ptr_equal(idmap_remove(&m, 7), &cell);
    assert_null(idmap_remove(&m, 7));
    assert_null(m.slots); /* an empty map costs nothing */
    idmap_fini(&m);
}

static void behaves_like_its_model(void **state)
{
    (void)state;
    static const uint64_t strides[] = {1, 2, UINT64_C(1) << 20, UINT64_C(1) << 44, 0x9e3779b1};
    static const uint64_t bases[] = {0, UINT64_MAX - 5, 12345, UINT64_C(1) << 62, 1};

    for (size_t run = 0; run < 5; run++) {
        static struct model m;
        struct rng rng = {.state = run};

        m = (struct model){.base = bases[run], .stride = strides[run]};
        idmap_init(&m.map, run);
        for (size_t n = 0; n < 40000; n++) {
            size_t i = rng_below(&rng, IDS);
            /* Waves: mostly filling, then mostly emptying. */
            bool is_filling = n / 8000 % 2 == 0;

            if (!m.is_in[i] && rng_below(&rng, 10) < (is_filling ? 8 : 2))
                model_put(&m, i);
            else if (rng_below(&rng, 10) < (is_filling ? 2 : 8))
                model_remove(&m, i);
            if (n % 1000 == 0)
                model_check(&m);
        }
        for (size_t i = 0; i < IDS; i++)
            model_remove(&m, i);
        model_check(&m);
        idmap_fini(&m.map);
    }
}

/* Removal closes the gap in a run of neighbours, also in one that wraps around the table's end. */
static void removal_keeps_runs_reachable(void **state)
{
    (void)state;
    static struct model m;

    for (size_t first = 0; first < 14; first++) {
        for (uint64_t stride = 1; stride < 40; stride++) {
            m = (struct model){.stride = stride};
            idmap_init(&m.map, 0);
            for (size_t i = 0; i < 14; i++)
                model_put(&m, i);
            assert_int_equal(m.map.size, 16); /* full to its 7/8: long runs */
            for (size_t i = 0; i < 14; i++) {
                model_remove(&m, (first + i * 5) % 14);
                for (size_t j = 0; j < 14; j++)
                    assert_ptr_equal(idmap_get(&m.map, id_of(&m, j)),
                                     m.is_in[j] ? &m.cells[j] : NULL);
            }
            idmap_fini(&m.map);
        }
    }
}

static void shrinks_when_it_empties(void **state)
{
    (void)state;
    static struct model m;
    size_t largest;

    m = (struct model){.stride = 1};
    idmap_init(&m.map, 0);
    for (size_t i = 0; i < IDS; i++)
        model_put(&m, i);
    largest = m.map.size;
    assert_in_range(largest, IDS, 4 * IDS);
    for (size_t i = 0; i < IDS - 10; i++)
        model_remove(&m, i);
    assert_in_range(m.map.size, 10, 160);
    model_check(&m);
    idmap_fini(&m.map);
}

/* On the average, of all that the map holds. */
static size_t mean_distance(const struct model *m)
{
    size_t sum = 0;

    for (size_t i = 0; i < IDS; i++)
        sum += idmap_distance_for_test(&m->map, id_of(m, i));
    return sum / IDS;
}

/* Whoever does not know the seed cannot choose numbers that make the map slow. */
static void chosen_numbers_spread(void **state)
{
    (void)state;
    static const uint64_t strides[] = {1, UINT64_C(1) << 20, UINT64_C(1) << 40, UINT64_C(1) << 50,
                                       0xf1de83e19937733d};
    static struct model m;
    struct rng rng = {.state = 4};

    for (size_t run = 0; run < 100; run++) {
        m = (struct model){.stride = strides[run % 5]};
        idmap_init(&m.map, rng_next(&rng));
        for (size_t i = 0; i < IDS; i++)
            model_put(&m, i);
        assert_in_range(mean_distance(&m), 0, 16);
        idmap_fini(&m.map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_map_has_nothing),        cmocka_unit_test(behaves_like_its_model),
        cmocka_unit_test(removal_keeps_runs_reachable), cmocka_unit_test(shrinks_when_it_empties),
        cmocka_unit_test(chosen_numbers_spread),
    };

    return cmocka_run_group_tests_name("idmap", tests, NULL, NULL);
}
