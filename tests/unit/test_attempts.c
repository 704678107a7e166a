/* What becomes of one try at a session, and of many at once. */
#include "handshaker_ends.h"

static bool nobody(struct handshaker_owner *owner, const struct address *peer)
{
    (void)owner;
    (void)peer;
    return false;
}

static void a_dial_becomes_a_session(void **state)
{
    static const enum kem_mode modes[] = {KEM_HYBRID, KEM_MLKEM768, KEM_MCELIECE460896};

    for (size_t i = 0; i < 3; i++) {
        size_t before = open_descriptors();
        struct peer_setup setup_of = {.mode = modes[i]};
        struct dest d = {.port = 0};
        struct source s = {.pool = NULL};
        char byte = 0;

        dest_start(&d, *state, &setup_of, dest_bounds());
        source_start(&s, *state, &setup_of);
        source_dial(&s, "localhost", d.port);
        struct established *near = &await(&s.story, 0, EVENT_ESTABLISHED)->e;
        struct established *far = &await(&d.story, 0, EVENT_ESTABLISHED)->e;

        assert_string_equal(near->info->peer.common_name, "dest");
        assert_string_equal(far->info->peer.common_name, "edge-1");
        assert_int_equal(near->info->kem_mode, modes[i]);
        assert_true(near->info->duration_us > 0);
        assert_int_equal(address_port(&near->peer), d.port);
        for (int k = 0; k < TUNNEL_ID_SIZE; k++)
            assert_int_equal(far->info->tunnel_id[k], 0x42);
        struct handshake_result keys[2] = {{.keys = near->keys}, {.keys = far->keys}};
        assert_true(same_keys(&keys[0], &keys[1]));
        /* Nothing of the handshake is left in the connection. */
        assert_int_equal(near->leftover_len + far->leftover_len, 0);
        assert_int_equal(write(near->fd, "x", 1), 1);
        struct pollfd p = {.fd = far->fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
        assert_int_equal(read(far->fd, &byte, 1), 1);
        assert_int_equal(byte, 'x');

        source_end(&s);
        dest_end(&d);
        assert_int_equal(open_descriptors(), before);
    }
}

static void many_dials_at_once(void **state)
{
    enum { DIALS = 12 };
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.port = 0};
    struct source s[DIALS];

    memset(s, 0, sizeof(s));
    dest_start(&d, *state, &setup_of, dest_bounds());
    for (size_t i = 0; i < DIALS; i++) {
        source_start(&s[i], *state, &setup_of);
        source_dial(&s[i], "127.0.0.1", d.port);
    }
    for (size_t i = 0; i < DIALS; i++) {
        await(&s[i].story, 0, EVENT_ESTABLISHED);
        await(&d.story, i, EVENT_ESTABLISHED);
    }
    for (size_t i = 0; i < DIALS; i++)
        source_end(&s[i]);
    dest_end(&d);
}

static void an_address_that_is_not_allowed_is_reset_at_once(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct dest d = {.owner = {.is_allowed = nobody}};
    size_t len;

    dest_start(&d, *state, &setup_of, dest_bounds());
    int fd = stranger(d.port);
    assert_int_equal(read_to_end(fd, &len), ECONNRESET);
    assert_int_equal(len, 0);
    struct event *event = await(&d.story, 0, EVENT_REFUSED);
    assert_int_equal(event->why, ERR_NOT_ALLOWED);
    assert_false(address_is_none(&event->peer));
    close(fd);
    dest_end(&d);
}

static void an_address_that_comes_too_often_is_reset_at_once(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    int fds[3];
    size_t len;

    bounds.rate_limit = 2;
    bounds.rate_window_ms = 600 * 1000;
    dest_start(&d, *state, &setup_of, bounds);
    for (size_t i = 0; i < 3; i++)
        fds[i] = stranger(d.port);
    assert_int_equal(read_to_end(fds[2], &len), ECONNRESET);
    assert_int_equal(await(&d.story, 0, EVENT_REFUSED)->why, ERR_RATE);
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    dest_end(&d);
}

static void only_so_many_are_in_flight(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    int fds[3];
    size_t len;

    bounds.max_in_flight = 8; /* a stranger has a quarter */
    dest_start(&d, *state, &setup_of, bounds);
    for (size_t i = 0; i < 3; i++)
        fds[i] = stranger(d.port);
    assert_int_equal(read_to_end(fds[2], &len), ECONNRESET);
    assert_int_equal(await(&d.story, 0, EVENT_REFUSED)->why, ERR_LIMIT);

    /* Two who are silent go, and there is room again. */
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(await(&d.story, 1, EVENT_FAILED)->why, ERR_CLOSED);
    assert_int_equal(await(&d.story, 2, EVENT_FAILED)->why, ERR_CLOSED);
    source_start(&s, *state, &setup_of);
    source_dial(&s, "localhost", d.port);
    await(&s.story, 0, EVENT_ESTABLISHED);
    source_end(&s);
    close(fds[2]);
    dest_end(&d);
}

/* Whose sessions have been here is served when strangers hold all that they may. */
static void who_is_known_finds_room(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    int fds[4];
    size_t len;

    bounds.max_in_flight = 4;
    dest_start(&d, *state, &setup_of, bounds);
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 0, EVENT_ESTABLISHED);
    await(&d.story, 0, EVENT_ESTABLISHED);

    for (uint8_t i = 0; i < 4; i++)
        fds[i] = stranger_from(10 + i, d.port);
    assert_int_equal(read_to_end(fds[3], &len), ECONNRESET);
    assert_int_equal(await(&d.story, 1, EVENT_REFUSED)->why, ERR_LIMIT);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 1, EVENT_ESTABLISHED);
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
    source_end(&s);
    dest_end(&d);
}

/* From however many addresses: when all together have failed too often, strangers wait outside. */
static void strangers_use_up_their_budget(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct handshaker_options bounds = dest_bounds();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    struct event *last;
    size_t tries = 1;

    bounds.rate_limit = 100000;
    dest_start(&d, *state, &setup_of, bounds);
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 0, EVENT_ESTABLISHED);
    last = await(&d.story, 0, EVENT_ESTABLISHED);
    do {
        int fd = stranger_from((uint8_t)(2 + tries % 250), d.port);

        (void)!send(fd, "garbage", 7, MSG_NOSIGNAL);
        close(fd);
        last = await_any(&d.story, tries++);
    } while (last->type != EVENT_REFUSED && tries < EVENTS_MAX - 2);
    assert_int_equal(last->type, EVENT_REFUSED);
    assert_int_equal(last->why, ERR_RATE);
    assert_true(tries > 128);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 1, EVENT_ESTABLISHED);
    source_end(&s);
    dest_end(&d);
}

static void a_mismatch_is_told_to_both(void **state)
{
    struct peer_setup near_setup = {.mode = KEM_HYBRID};
    struct peer_setup far_setup = {.mode = KEM_MLKEM768};
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};

    dest_start(&d, *state, &far_setup, dest_bounds());
    source_start(&s, *state, &near_setup);
    source_dial(&s, "localhost", d.port);
    const struct event *near = await(&s.story, 0, EVENT_FAILED);
    const struct event *far = await(&d.story, 0, EVENT_FAILED);
    assert_int_equal(near->why, ERR_KEM_MODE);
    assert_int_equal(far->why, ERR_KEM_MODE);
    assert_non_null(strstr(near->detail, "hybrid"));
    assert_non_null(strstr(near->detail, "mlkem768"));
    assert_non_null(strstr(far->detail, "hybrid"));
    assert_non_null(strstr(far->detail, "mlkem768"));
    source_end(&s);
    dest_end(&d);
}

/* Whoever answers there has not shown who it is. */
static void a_dial_that_fails_early_takes_no_pair(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    const struct listener_bind bind = {.ip = "127.0.0.1", .count = 1};
    struct keypair_pool_counters c;
    struct err_detail detail;
    struct source s = {.pool = NULL};
    uint16_t port;
    int door;

    assert_int_equal(listener_bind(&door, &port, &bind, &detail), ERR_OK);
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", port);
    struct pollfd p = {.fd = door, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
    close(accept(door, NULL, NULL));
    await(&s.story, 0, EVENT_FAILED);
    handshaker_free(s.handshaker); /* so that all of it is over */
    s.handshaker = NULL;
    keypair_pool_count(s.pool, &c);
    assert_int_equal(c.taken + c.missed, 0);
    source_end(&s);
    close(door);
}

static void a_port_that_refuses_is_named(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    struct source s = {.pool = NULL};
    char port[32];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(port, sizeof(port), "127.0.0.1 port %u", ntohs(address.sin_port));
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", ntohs(address.sin_port));
    const struct event *event = await(&s.story, 0, EVENT_FAILED);
    assert_int_equal(event->why, ERR_REFUSED);
    assert_non_null(strstr(event->detail, port));
    source_end(&s);
    close(fd);
}

/* A FIN, not a reset, although more was sent than the handshake has read. */
static void garbage_gets_an_end_and_no_reset(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct dest d = {.port = 0};
    char garbage[64 * 1024];
    size_t len;

    memset(garbage, 'G', sizeof(garbage));
    dest_start(&d, *state, &setup_of, dest_bounds());
    int fd = stranger(d.port);
    for (int i = 0; i < 16; i++)
        assert_int_equal(send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL), sizeof(garbage));
    assert_int_equal(read_to_end(fd, &len), 0);
    const struct event *event = await(&d.story, 0, EVENT_FAILED);
    assert_int_equal(err_class(event->why), ERR_CLASS_PROTOCOL);
    assert_true(event->detail[0] != 0);
    close(fd);
    dest_end(&d);
}

/* Who goes on talking after the refusal is cut off in the end: by bytes here, by time elsewhere. */
static void nobody_is_listened_to_for_ever(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct dest d = {.port = 0};
    char garbage[64 * 1024];
    size_t sent = 0;
    ssize_t n;

    memset(garbage, 'G', sizeof(garbage));
    dest_start(&d, *state, &setup_of, dest_bounds());
    int fd = stranger(d.port);
    while ((n = send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL)) > 0) {
        sent += (size_t)n;
        assert_true(sent < (size_t)64 * 1024 * 1024);
    }
    assert_true(errno == EPIPE || errno == ECONNRESET);
    close(fd);
    dest_end(&d);
}

static enum err full(struct handshaker_owner *owner, struct handshake_visitor *visitor)
{
    (void)owner;
    (void)visitor;
    return ERR_LIMIT;
}

static uint32_t advise(struct handshaker_owner *owner, enum err why)
{
    (void)owner;
    return why == ERR_LIMIT ? 4321 : 1234;
}

static void who_is_refused_is_told_when_to_come_back(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.owner = {.on_admit = full, .on_advise = advise}};
    struct source s = {.pool = NULL};

    dest_start(&d, *state, &setup_of, dest_bounds());
    source_start(&s, *state, &setup_of);
    source_dial(&s, "localhost", d.port);
    const struct event *near = await(&s.story, 0, EVENT_FAILED);
    const struct event *far = await(&d.story, 0, EVENT_FAILED);
    assert_int_equal(near->why, ERR_LIMIT);
    assert_int_equal(near->retry_after_ms, 4321);
    assert_int_equal(far->why, ERR_LIMIT);
    assert_int_equal(far->retry_after_ms, 4321);
    source_end(&s);
    dest_end(&d);
}

/* -- one who goes at the last moment -- */

static int leaving = -1;

/* A RST, before what this is the answer to has been sent. */
static enum err see_it_leave(struct handshaker_owner *owner, struct handshake_visitor *visitor)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};

    (void)owner;
    (void)visitor;
    assert_int_equal(setsockopt(leaving, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(leaving);
    return ERR_OK;
}

/* Its place is free at once, and not when it should have taken the answer at the latest. */
static void who_leaves_before_the_answer_is_gone_at_once(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct dest d = {.owner = {.on_admit = see_it_leave}};
    struct handshake *h = source_new(*state, setup_of);
    uint8_t buffer[16384];
    const uint8_t *data;
    size_t len;

    dest_start(&d, *state, &setup_of, dest_bounds());
    leaving = stranger(d.port);
    for (;;) {
        handshake_drain(h, &data, &len);
        while (len > 0) {
            ssize_t n = send(leaving, data, len, MSG_NOSIGNAL);

            assert_true(n > 0);
            handshake_drained(h, (size_t)n, PEERS_NOW);
            handshake_drain(h, &data, &len);
        }
        if (handshake_is_authenticated(h))
            break;
        struct pollfd p = {.fd = leaving, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
        ssize_t n = recv(leaving, buffer, sizeof(buffer), 0);
        assert_true(n > 0);
        assert_int_equal(handshake_feed(h, buffer, (size_t)n, PEERS_NOW), ERR_OK);
    }
    assert_int_equal(await(&d.story, 0, EVENT_FAILED)->why, ERR_RESET);
    handshake_free(h);
    dest_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dial_becomes_a_session),
        cmocka_unit_test(many_dials_at_once),
        cmocka_unit_test(an_address_that_is_not_allowed_is_reset_at_once),
        cmocka_unit_test(an_address_that_comes_too_often_is_reset_at_once),
        cmocka_unit_test(only_so_many_are_in_flight),
        cmocka_unit_test(who_is_known_finds_room),
        cmocka_unit_test(strangers_use_up_their_budget),
        cmocka_unit_test(a_mismatch_is_told_to_both),
        cmocka_unit_test(a_dial_that_fails_early_takes_no_pair),
        cmocka_unit_test(a_port_that_refuses_is_named),
        cmocka_unit_test(garbage_gets_an_end_and_no_reset),
        cmocka_unit_test(nobody_is_listened_to_for_ever),
        cmocka_unit_test(who_is_refused_is_told_when_to_come_back),
        cmocka_unit_test(who_leaves_before_the_answer_is_gone_at_once),
    };

    return cmocka_run_group_tests(tests, ends_setup, pki_teardown);
}
