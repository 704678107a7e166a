/* Names of a worker, with a resolver that answers when the test wants it to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "net/names.h"

#define PATIENCE_MS 20000

/* -- a name server of our own -- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_dumb;       /* it answers nothing but "fast" */
    bool is_failing;    /* it has never answered in time */
    char order[32][16]; /* the names that it was asked for */
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
static atomic_int asked;

/* In place of the C library's: names that end in .test. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    bool is_failing;

    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    pthread_mutex_lock(&server.lock);
    snprintf(server.order[atomic_fetch_add(&asked, 1) % 32], sizeof(server.order[0]), "%s", name);
    while (server.is_dumb && strcmp(name, "fast.test") != 0)
        pthread_cond_wait(&server.changed, &server.lock);
    is_failing = server.is_failing;
    pthread_mutex_unlock(&server.lock);
    if (strcmp(name, "nobody.test") == 0)
        return EAI_NONAME;
    return is_failing ? EAI_AGAIN : next("127.0.0.1", service, hints, out);
}

static void server_set(bool is_dumb, bool is_failing)
{
    pthread_mutex_lock(&server.lock);
    server.is_dumb = is_dumb;
    server.is_failing = is_failing;
    pthread_cond_broadcast(&server.changed);
    pthread_mutex_unlock(&server.lock);
}

/* -- who asks -- */

static uv_loop_t loop;
static struct names *names;

struct user {
    struct name_user user;
    struct name *name;
    int news;
};

static void on_news(struct name_user *user)
{
    list_entry(user, struct user, user)->news++;
}

static void open_names(unsigned of_peers)
{
    server_set(true, false);
    atomic_store(&asked, 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(names_new(&names, &loop, of_peers), ERR_OK);
}

static void close_names(void)
{
    server_set(false, false);
    names_close(names);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void enter(struct user *u, const char *host)
{
    *u = (struct user){.user.on_news = on_news};
    assert_int_equal(name_enter(names, &u->name, host, &u->user), ERR_OK);
}

static enum name_answer look(struct user *u, const void *asker)
{
    return name_look(u->name, &u->user, NAME_TTL_MS, asker);
}

static void turn_for(uint64_t ms)
{
    uint64_t until = uv_hrtime() + ms * 1000000;

    do {
        uv_run(&loop, UV_RUN_NOWAIT);
        poll(NULL, 0, 1);
    } while (uv_hrtime() < until);
}

static void await_news(const struct user *u)
{
    for (int i = 0; i < PATIENCE_MS && u->news == 0; i++)
        turn_for(1);
    assert_int_equal(u->news, 1);
}

static void await_asked(int wanted)
{
    for (int i = 0; i < PATIENCE_MS && atomic_load(&asked) < wanted; i++)
        turn_for(1);
    turn_for(20); /* and no more than that */
    assert_int_equal(atomic_load(&asked), wanted);
}

static const char a_peer, another_peer;

/* -- tests -- */

static void a_name_is_asked_once(void **state)
{
    struct user u[2];

    (void)state;
    open_names(4);
    for (int i = 0; i < 2; i++) {
        enter(&u[i], "slow.test");
        assert_int_equal(look(&u[i], NULL), NAME_COMING);
    }
    assert_ptr_equal(u[0].name, u[1].name);
    await_asked(1);
    /* Nor by somebody who comes when all have gone. */
    name_leave(u[0].name, &u[0].user);
    name_leave(u[1].name, &u[1].user);
    enter(&u[0], "slow.test");
    assert_int_equal(look(&u[0], NULL), NAME_COMING);
    await_asked(1);
    server_set(false, false);
    await_news(&u[0]);
    assert_int_equal(look(&u[0], NULL), NAME_KNOWN);
    assert_int_equal(name_addresses(u[0].name)->count, 1);
    assert_int_equal(address_port(&name_addresses(u[0].name)->items[0]), 0);
    /* It is kept. */
    name_leave(u[0].name, &u[0].user);
    enter(&u[0], "slow.test");
    assert_int_equal(look(&u[0], NULL), NAME_KNOWN);
    await_asked(1);
    name_leave(u[0].name, &u[0].user);
    close_names();
}

static void enter_many(struct user u[], int count, const char *prefix)
{
    for (int i = 0; i < count; i++) {
        char host[64];

        snprintf(host, sizeof(host), "%s%d.test", prefix, i);
        enter(&u[i], host);
    }
}

static void leave_all(struct user u[], int count)
{
    for (int i = 0; i < count; i++)
        name_leave(u[i].name, &u[i].user);
}

/* However many names peers have that nobody answers for. */
static void services_always_get_through(void **state)
{
    struct user dead[20];
    struct user service;

    (void)state;
    open_names(4);
    enter_many(dead, 20, "dead");
    for (int i = 0; i < 20; i++)
        assert_int_equal(look(&dead[i], i % 2 == 0 ? &a_peer : &another_peer), NAME_COMING);
    await_asked(4);
    enter(&service, "fast.test");
    assert_int_equal(look(&service, NULL), NAME_COMING);
    await_news(&service);
    assert_int_equal(look(&service, NULL), NAME_KNOWN);
    /* Also by a name that waits in the queue for a peer. */
    assert_int_equal(look(&dead[19], NULL), NAME_COMING);
    await_asked(6);
    leave_all(dead, 20);
    name_leave(service.name, &service.user);
    close_names();
}

static void a_peer_has_half(void **state)
{
    struct user dead[5];
    struct user other;
    const char *text;

    (void)state;
    open_names(4);
    enter_many(dead, 5, "dead");
    for (int i = 0; i < 5; i++)
        assert_int_equal(look(&dead[i], &a_peer), NAME_COMING);
    await_asked(2);
    enter(&other, "fast.test");
    assert_int_equal(look(&other, &another_peer), NAME_COMING);
    await_news(&other);
    assert_int_equal(look(&other, &another_peer), NAME_KNOWN);
    /* What has begun and what has not are told apart. */
    assert_int_equal(name_trouble(dead[0].name, &text), ERR_RESOLVE);
    assert_string_equal(text, "dead0.test: the name server does not answer");
    assert_int_equal(name_trouble(dead[4].name, &text), ERR_RESOLVE);
    assert_string_equal(text, "dead4.test: the name server does not answer for names before it");
    /* Who leaves while a lookup runs still has it; who leaves the queue is gone. */
    name_leave(dead[0].name, &dead[0].user);
    name_leave(dead[4].name, &dead[4].user);
    await_asked(3);
    server_set(false, false);
    for (int i = 1; i < 4; i++)
        await_news(&dead[i]);
    await_asked(5);
    leave_all(&dead[1], 3);
    name_leave(other.name, &other.user);
    close_names();
}

static void assert_order(const char *const wanted[], int count)
{
    await_asked(count);
    for (int i = 0; i < count; i++)
        assert_string_equal(server.order[i], wanted[i]);
}

/* A name that waits for a peer who has had his part is there at once for one who has not. */
static void a_name_waits_for_nobody_else(void **state)
{
    struct user dead[2];
    struct user wanted[2];

    (void)state;
    open_names(4);
    enter_many(dead, 2, "dead");
    enter(&wanted[0], "fast.test");
    enter(&wanted[1], "fast.test");
    for (int i = 0; i < 2; i++)
        assert_int_equal(look(&dead[i], &a_peer), NAME_COMING);
    assert_int_equal(look(&wanted[0], &a_peer), NAME_COMING);
    await_asked(2);
    assert_int_equal(look(&wanted[1], &another_peer), NAME_COMING);
    await_news(&wanted[1]);
    assert_int_equal(look(&wanted[1], &another_peer), NAME_KNOWN);
    leave_all(dead, 2);
    leave_all(wanted, 2);
    close_names();
}

/* Where there is one lookup for all of them. */
static void peers_take_turns(void **state)
{
    static const char *const order[] = {"dead0.test", "other.test", "dead1.test", "dead2.test"};
    struct user dead[3];
    struct user other;

    (void)state;
    open_names(1);
    enter_many(dead, 3, "dead");
    for (int i = 0; i < 3; i++)
        assert_int_equal(look(&dead[i], &a_peer), NAME_COMING);
    enter(&other, "other.test");
    assert_int_equal(look(&other, &another_peer), NAME_COMING);
    await_asked(1);
    server_set(false, false);
    await_news(&other);
    await_news(&dead[2]);
    assert_order(order, 4);
    leave_all(dead, 3);
    name_leave(other.name, &other.user);
    close_names();
}

static void a_name_has_the_turn_of_each_who_wants_it(void **state)
{
    static const char *const order[] = {"dead0.test", "dead2.test", "dead1.test"};
    struct user dead[3];
    struct user other;

    (void)state;
    open_names(1);
    enter_many(dead, 3, "dead");
    for (int i = 0; i < 3; i++)
        assert_int_equal(look(&dead[i], &a_peer), NAME_COMING);
    enter(&other, "dead2.test");
    for (int i = 0; i < 2; i++)
        assert_int_equal(look(&other, &another_peer), NAME_COMING);
    await_asked(1);
    server_set(false, false);
    await_news(&other);
    await_news(&dead[1]);
    assert_order(order, 3);
    leave_all(dead, 3);
    name_leave(other.name, &other.user);
    close_names();
}

/* A name server that does not answer takes nothing from whom it has served before. */
static void old_addresses_are_good_enough(void **state)
{
    struct user u;
    struct user second;

    (void)state;
    open_names(4);
    server_set(false, false);
    enter(&u, "slow.test");
    assert_int_equal(look(&u, NULL), NAME_COMING);
    await_news(&u);
    server_set(true, false);
    name_doubt(u.name, NULL);
    u.news = 0;
    while (look(&u, NULL) == NAME_KNOWN) /* for NAME_PAUSE_MS */
        turn_for(10);
    assert_int_equal(u.news, 0);
    await_news(&u);
    await_asked(2);
    assert_int_equal(look(&u, NULL), NAME_KNOWN);
    /* Then nobody waits for it any more. */
    enter(&second, "slow.test");
    assert_int_equal(look(&second, NULL), NAME_KNOWN);
    server_set(false, true);
    turn_for(NAME_PAUSE_MS + 200);
    server_set(true, true);
    assert_int_equal(look(&second, NULL), NAME_KNOWN);
    await_asked(3);
    name_leave(u.name, &u.user);
    name_leave(second.name, &second.user);
    close_names();
}

/* What a peer says of a name makes peers ask again, and nobody else. */
static void peers_doubt_for_themselves(void **state)
{
    struct user first;
    struct user service;
    struct user peer;

    (void)state;
    open_names(4);
    server_set(false, false);
    enter(&first, "slow.test");
    assert_int_equal(look(&first, NULL), NAME_COMING);
    await_news(&first);
    turn_for(NAME_PAUSE_MS + 200);
    server_set(true, false);
    name_doubt(first.name, &a_peer);
    enter(&service, "slow.test");
    assert_int_equal(look(&service, NULL), NAME_KNOWN);
    await_asked(1);
    enter(&peer, "slow.test");
    assert_int_equal(look(&peer, &another_peer), NAME_COMING);
    await_asked(2);
    assert_int_equal(look(&service, NULL), NAME_KNOWN); /* also while a peer is waiting */
    server_set(false, false);
    await_news(&peer);
    assert_int_equal(look(&peer, &another_peer), NAME_KNOWN);
    turn_for(NAME_PAUSE_MS + 200);
    name_doubt(first.name, NULL); /* a service's word counts for all */
    assert_int_equal(look(&peer, &another_peer), NAME_COMING);
    await_asked(3);
    name_leave(first.name, &first.user);
    name_leave(service.name, &service.user);
    name_leave(peer.name, &peer.user);
    close_names();
}

static void fails_with(const char *host, const char *text)
{
    struct user u;
    const char *why;

    enter(&u, host);
    assert_int_equal(look(&u, &a_peer), NAME_COMING);
    await_news(&u);
    assert_int_equal(look(&u, &a_peer), NAME_FAILED);
    assert_int_equal(name_trouble(u.name, &why), ERR_RESOLVE);
    assert_string_equal(why, text);
    name_leave(u.name, &u.user);
}

static void says_why_there_are_none(void **state)
{
    char host[2000];
    struct user u;
    const char *why;

    (void)state;
    open_names(1);
    server_set(false, false);
    fails_with("nobody.test", "nobody.test: no such name");
    server_set(false, true);
    fails_with("slow.test", "slow.test: the name server does not answer");
    /* What is no name at all is not asked for, and is nobody's lack of memory. */
    enter(&u, "\xff\xff.test");
    assert_int_equal(look(&u, &a_peer), NAME_FAILED);
    assert_int_equal(name_trouble(u.name, &why), ERR_RESOLVE);
    assert_string_equal(why, "\xff\xff.test: no such name");
    name_leave(u.name, &u.user);
    await_asked(2); /* of one that has failed nothing is kept, and nobody asks at once again */
    memset(host, 'a', sizeof(host) - 1);
    host[sizeof(host) - 1] = 0;
    assert_int_equal(name_enter(names, &u.name, host, &u.user), ERR_TOO_LARGE);
    close_names();
}

static void ends_while_it_asks(void **state)
{
    struct user u[3];

    (void)state;
    open_names(1);
    enter_many(u, 3, "slow");
    for (int i = 0; i < 3; i++)
        assert_int_equal(look(&u[i], &a_peer), NAME_COMING);
    await_asked(1);
    leave_all(u, 3);
    close_names();
}

/* Half of libuv's threads look names up; half of those are kept from peers. */
static void the_pool_fits_the_workers(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 64; workers++) {
        unsigned of_peers = workers * names_of_peers(workers);
        char text[16];
        size_t size = sizeof(text);
        unsigned lookups;

        assert_int_equal(names_size_pool(workers), ERR_OK);
        assert_int_equal(uv_os_getenv("UV_THREADPOOL_SIZE", text, &size), 0);
        lookups = (unsigned)strtoul(text, NULL, 10) / 2;
        assert_true(of_peers >= workers);
        assert_true(2 * of_peers <= lookups);
        assert_true(2 * lookups <= 256);
    }
}

static int size_pool(void **state)
{
    (void)state;
    return names_size_pool(1) == ERR_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_asked_once),
        cmocka_unit_test(services_always_get_through),
        cmocka_unit_test(a_peer_has_half),
        cmocka_unit_test(a_name_waits_for_nobody_else),
        cmocka_unit_test(peers_take_turns),
        cmocka_unit_test(a_name_has_the_turn_of_each_who_wants_it),
        cmocka_unit_test(old_addresses_are_good_enough),
        cmocka_unit_test(peers_doubt_for_themselves),
        cmocka_unit_test(says_why_there_are_none),
        cmocka_unit_test(ends_while_it_asks),
        cmocka_unit_test(the_pool_fits_the_workers),
    };

    return cmocka_run_group_tests(tests, size_pool, NULL);
}
