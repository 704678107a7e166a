#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "role/admission.h"

static struct config_exposed_service rows[] = {
    {.name = "web",
     .target_ip = "127.0.0.1",
     .port = 80,
     .target_port = 80,
     .protocol = CONFIG_TCP},
    {.name = "ssh",
     .target_ip = "127.0.0.1",
     .port = 22,
     .target_port = 22,
     .protocol = CONFIG_TCP},
    {.name = "db",
     .target_ip = "127.0.0.1",
     .port = 5432,
     .target_port = 5432,
     .protocol = CONFIG_TCP},
};

static struct config config = {
    .path = "no such file",
    .dest = {.exposed_services = rows, .exposed_service_count = 3},
};

struct stage {
    struct services *services;
    struct admission *a;
    const struct service *web;
    const struct service *ssh;
};

static void find_rows(struct stage *s)
{
    s->web = services_find(s->services, 80, "", CONFIG_TCP);
    s->ssh = services_find(s->services, 22, "", CONFIG_TCP);
}

static void open_stage(struct stage *s, uint32_t limit)
{
    config.dest.max_connections_per_service = limit;
    assert_int_equal(services_new(&s->services, &config, NULL), ERR_OK);
    assert_int_equal(admission_new(&s->a, s->services), ERR_OK);
    find_rows(s);
}

static void close_stage(struct stage *s)
{
    admission_free(s->a);
    services_free(s->services);
}

/* As a reload does: first count rows, with that limit. */
static void reload(struct stage *s, size_t count, uint32_t limit)
{
    struct services *before = s->services;

    config.dest.max_connections_per_service = limit;
    config.dest.exposed_service_count = count;
    assert_int_equal(services_new(&s->services, &config, before), ERR_OK);
    config.dest.exposed_service_count = 3;
    admission_set_services(s->a, s->services);
    services_free(before);
    find_rows(s);
}

static struct admitted *join(struct stage *s, uint8_t name)
{
    uint8_t identity[32] = {name};
    struct admitted *source;

    assert_int_equal(admission_join(s->a, &source, identity, NULL), ERR_OK);
    return source;
}

/* How many of `want` places it gets. */
static unsigned enter(struct stage *s, struct admitted *source, const struct service *service,
                      unsigned want)
{
    const char *why = NULL;

    for (unsigned got = 0; got < want; got++) {
        enum err e = admission_enter(s->a, source, service, &why);
        if (e != ERR_OK) {
            assert_int_equal(e, ERR_LIMIT);
            assert_non_null(strstr(why, "max_connections_per_service"));
            return got;
        }
    }
    return want;
}

static void leave(struct stage *s, struct admitted *source, const struct service *service,
                  unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        admission_leave(s->a, source, service->places);
}

static void one_alone_may_have_all(void **state)
{
    struct stage s;
    struct admitted *source;

    (void)state;
    open_stage(&s, 10);
    source = join(&s, 1);
    assert_int_equal(enter(&s, source, s.web, 20), 10);
    assert_int_equal(s.web->places->active, 10);
    assert_int_equal(enter(&s, source, s.ssh, 20), 10); /* each service has its own count */
    leave(&s, source, s.web, 1);
    assert_int_equal(enter(&s, source, s.web, 20), 1);
    leave(&s, source, s.web, 10);
    leave(&s, source, s.ssh, 10);
    assert_int_equal(s.web->places->active, 0);
    admission_part(s.a, source);
    close_stage(&s);
}

/* Two sources, 100 places: 25 are kept for each, 50 are for whoever comes first. */
static void a_source_cannot_use_up_everything(void **state)
{
    struct stage s;
    struct admitted *greedy;
    struct admitted *modest;

    (void)state;
    open_stage(&s, 100);
    greedy = join(&s, 1);
    modest = join(&s, 2);
    assert_int_equal(enter(&s, greedy, s.web, 1000), 75);
    assert_int_equal(enter(&s, modest, s.web, 1000), 25);
    assert_int_equal(s.web->places->active, 100);
    /* What one gives back goes where it lacks. */
    leave(&s, greedy, s.web, 10);
    assert_int_equal(enter(&s, modest, s.web, 1000), 10);
    leave(&s, modest, s.web, 20);
    assert_int_equal(enter(&s, greedy, s.web, 1000), 10);
    assert_int_equal(enter(&s, modest, s.web, 1000), 10);
    leave(&s, greedy, s.web, 75);
    leave(&s, modest, s.web, 25);
    admission_part(s.a, greedy);
    admission_part(s.a, modest);
    close_stage(&s);
}

/* All hosts together are divided like a service; and their limit may be another after a reload. */
static void hosts_are_divided_too(void **state)
{
    struct stage s;
    struct admitted *greedy;
    struct admitted *modest;
    const char *why = NULL;

    (void)state;
    config.dest.allowed_targets_max_connections = 40;
    open_stage(&s, 100);
    greedy = join(&s, 1);
    modest = join(&s, 2);
    for (int i = 0; i < 30; i++)
        assert_int_equal(admission_enter(s.a, greedy, &s.services->hosts, &why), ERR_OK);
    assert_int_equal(admission_enter(s.a, greedy, &s.services->hosts, &why), ERR_LIMIT);
    assert_non_null(strstr(why, "[dest.allowed_targets]"));
    assert_non_null(strstr(why, "kept for other sources"));
    for (int i = 0; i < 10; i++)
        assert_int_equal(admission_enter(s.a, modest, &s.services->hosts, &why), ERR_OK);
    assert_int_equal(admission_enter(s.a, modest, &s.services->hosts, &why), ERR_LIMIT);
    assert_non_null(strstr(why, "[dest.allowed_targets] are there"));
    /* Services have places of their own. */
    assert_int_equal(enter(&s, greedy, s.web, 1000), 75);
    leave(&s, greedy, s.web, 75);
    config.dest.allowed_targets_max_connections = 44;
    reload(&s, 3, 100);
    assert_int_equal(s.services->hosts.places->active, 40);
    assert_int_equal(admission_enter(s.a, greedy, &s.services->hosts, &why), ERR_OK);
    leave(&s, greedy, &s.services->hosts, 31);
    leave(&s, modest, &s.services->hosts, 10);
    assert_int_equal(s.services->hosts.places->active, 0);
    admission_part(s.a, greedy);
    admission_part(s.a, modest);
    close_stage(&s);
}

/* Who was alone has taken everything: nothing of it ends, but what it gives back is the others'. */
static void a_latecomer_gets_what_becomes_free(void **state)
{
    struct stage s;
    struct admitted *first;
    struct admitted *late;

    (void)state;
    open_stage(&s, 100);
    first = join(&s, 1);
    assert_int_equal(enter(&s, first, s.web, 1000), 100);
    late = join(&s, 2);
    assert_int_equal(enter(&s, late, s.web, 1), 0);
    leave(&s, first, s.web, 20);
    assert_int_equal(enter(&s, first, s.web, 1), 0);
    assert_int_equal(enter(&s, late, s.web, 1000), 20);
    leave(&s, first, s.web, 80);
    leave(&s, late, s.web, 20);
    /* Alone again. */
    admission_part(s.a, late);
    assert_int_equal(enter(&s, first, s.web, 1000), 100);
    leave(&s, first, s.web, 100);
    admission_part(s.a, first);
    close_stage(&s);
}

/* However they come and go, nobody is kept out of his share and no place is lost. */
static void the_sums_hold(void **state)
{
    struct stage s;
    struct admitted *sources[8] = {NULL};
    unsigned held[8] = {0};
    uint32_t dice = 1;

    (void)state;
    open_stage(&s, 40);
    for (int step = 0; step < 200000; step++) {
        unsigned i;
        unsigned others = 0;

        dice = dice * 1664525 + 1013904223;
        i = dice >> 29;
        if (sources[i] == NULL) {
            sources[i] = join(&s, (uint8_t)(i + 1));
        } else if ((dice >> 16 & 15) == 0) {
            leave(&s, sources[i], s.web, held[i]);
            held[i] = 0;
            admission_part(s.a, sources[i]);
            sources[i] = NULL;
        } else if ((dice >> 20 & 3) != 0) {
            held[i] += enter(&s, sources[i], s.web, 1);
        } else if (held[i] > 0) {
            leave(&s, sources[i], s.web, 1);
            held[i]--;
        }
        for (unsigned k = 0; k < 8; k++)
            others += held[k];
        assert_int_equal(s.web->places->active, others);
        assert_true(others <= 40);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (sources[i] == NULL)
            continue;
        leave(&s, sources[i], s.web, held[i]);
        admission_part(s.a, sources[i]);
    }
    struct admitted *last = join(&s, 99);
    assert_int_equal(enter(&s, last, s.web, 1000), 40);
    leave(&s, last, s.web, 40);
    admission_part(s.a, last);
    close_stage(&s);
}

static void tunnels_of_one_source_count_together(void **state)
{
    struct stage s;
    struct admitted *first;
    struct admitted *again;
    uint8_t identity[32] = {1};
    struct admitted *refused = NULL;
    static struct admitted *tunnels[ADMISSION_TUNNELS_MAX];

    (void)state;
    open_stage(&s, 10);
    first = join(&s, 1);
    again = join(&s, 1);
    assert_int_equal(enter(&s, first, s.web, 6), 6);
    assert_int_equal(enter(&s, again, s.web, 6), 4);
    leave(&s, again, s.web, 10); /* either of them may give them back */
    for (int i = 2; i < ADMISSION_TUNNELS_MAX; i++)
        tunnels[i] = join(&s, 1);
    assert_int_equal(admission_join(s.a, &refused, identity, NULL), ERR_LIMIT);
    assert_null(refused);
    for (int i = 2; i < ADMISSION_TUNNELS_MAX; i++)
        admission_part(s.a, tunnels[i]);
    admission_part(s.a, first);
    admission_part(s.a, again);
    close_stage(&s);
}

/* A rule that names somebody is not met by one without a certificate. */
static void no_certificate_is_named_by_no_rule(void **state)
{
    const char *names[] = {"edge-1"};
    struct stage s;
    struct admitted *source;
    const char *why = NULL;

    (void)state;
    rows[0].allowed_clients = (struct config_strings){.items = names, .count = 1};
    open_stage(&s, 10);
    source = join(&s, 1);
    assert_false(admission_is_allowed(s.a, source, s.web));
    assert_true(admission_is_allowed(s.a, source, s.ssh));
    assert_int_equal(admission_enter(s.a, source, s.web, &why), ERR_NOT_ALLOWED);
    assert_non_null(strstr(why, "allowed_clients"));
    assert_int_equal(s.web->places->active, 0);
    /* Asked again once the rules are others. */
    rows[0].allowed_clients.count = 0;
    assert_false(admission_is_allowed(s.a, source, s.web));
    reload(&s, 3, 10);
    assert_true(admission_is_allowed(s.a, source, s.web));
    admission_part(s.a, source);
    close_stage(&s);
}

/* What runs keeps its places; the new limit counts for who comes next. */
static void a_reload_keeps_what_runs(void **state)
{
    struct stage s;
    struct admitted *first;
    struct admitted *second;

    (void)state;
    open_stage(&s, 10);
    first = join(&s, 1);
    assert_int_equal(enter(&s, first, s.web, 8), 8);
    reload(&s, 3, 4);
    assert_int_equal(s.web->places->active, 8);
    assert_int_equal(enter(&s, first, s.web, 1), 0);
    leave(&s, first, s.web, 5);
    assert_int_equal(enter(&s, first, s.web, 9), 1);
    reload(&s, 3, 40);
    second = join(&s, 2);
    assert_int_equal(enter(&s, first, s.web, 100), 26); /* 10 of 40 are kept for the second */
    assert_int_equal(enter(&s, second, s.web, 100), 10);
    leave(&s, first, s.web, 30);
    leave(&s, second, s.web, 10);
    assert_int_equal(s.web->places->active, 0);
    admission_part(s.a, first);
    admission_part(s.a, second);
    close_stage(&s);
}

/* Its streams may end after it has gone, also when one of the same name has come back. */
static void a_service_that_is_removed(void **state)
{
    struct stage s;
    struct admitted *source;
    struct service_places *gone;
    const char *why;

    (void)state;
    open_stage(&s, 10);
    source = join(&s, 1);
    assert_int_equal(enter(&s, source, s.web, 3), 3);
    gone = service_places_share(s.web->places);
    reload(&s, 0, 10);
    assert_null(s.web);
    admission_leave(s.a, source, gone);
    admission_part(s.a, join(&s, 2));
    reload(&s, 3, 10);
    assert_ptr_not_equal(s.web->places, gone);
    assert_int_equal(admission_enter(s.a, source, s.web, &why), ERR_OK);
    admission_leave(s.a, source, gone);
    admission_leave(s.a, source, gone);
    assert_int_equal(s.web->places->active, 1);
    assert_int_equal(gone->active, 0);
    leave(&s, source, s.web, 1);
    service_places_free(gone);
    admission_part(s.a, source);
    close_stage(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_alone_may_have_all),
        cmocka_unit_test(a_source_cannot_use_up_everything),
        cmocka_unit_test(hosts_are_divided_too),
        cmocka_unit_test(a_latecomer_gets_what_becomes_free),
        cmocka_unit_test(the_sums_hold),
        cmocka_unit_test(tunnels_of_one_source_count_together),
        cmocka_unit_test(no_certificate_is_named_by_no_rule),
        cmocka_unit_test(a_reload_keeps_what_runs),
        cmocka_unit_test(a_service_that_is_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
