/* The thread of handshakes: what reaches it from others, and its end. */
#include "handshaker_ends.h"

/* Whoever is kept out by the bounds of the start comes in after a call has set others. */
struct new_bounds {
    struct handshaker_call call;
    struct handshaker_bounds bounds;
};

static void set_bounds(struct handshaker_call *call, struct handshaker *h)
{
    handshaker_set_bounds(h, &list_entry(call, struct new_bounds, call)->bounds);
}

static void a_call_sets_other_bounds(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_MLKEM768};
    struct new_bounds change = {.call = {.run = set_bounds}, .bounds = {.max_in_flight = 64}};
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
    await(&d.story, 0, EVENT_REFUSED);
    assert_true(handshaker_run(d.handshaker, &change.call));
    source_start(&s, *state, &setup_of);
    source_dial(&s, "127.0.0.1", d.port);
    await(&s.story, 0, EVENT_ESTABLISHED);
    await(&d.story, 1, EVENT_ESTABLISHED);
    handshaker_stop(d.handshaker);
    assert_false(handshaker_run(d.handshaker, &change.call));
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    source_end(&s);
    dest_end(&d);
}

static enum err admit_aloud(struct handshaker_owner *owner, struct handshake_visitor *visitor)
{
    assert_false(visitor->is_resumed);
    tell(&list_entry(owner, struct dest, owner)->story, EVENT_ADMITTED, NULL, NULL);
    return ERR_OK;
}

static uint32_t advise(struct handshaker_owner *owner, enum err why)
{
    (void)owner;
    return why == ERR_LIMIT ? 4321 : 1234;
}

/* A source in the test's hands that has finished TLS, and keeps everything behind that to itself.
 */
struct slow_source {
    struct handshake *handshake;
    int fd;
};

static void slow_source_read(struct slow_source *s, bool until_failed)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    uint8_t buffer[4096];

    while (handshake_status(s->handshake) == HANDSHAKE_IN_PROGRESS) {
        const uint8_t *out;
        size_t len;

        handshake_drain(s->handshake, &out, &len);
        /* The Finished goes out with the OFFER behind it; both fit into this, the key does not. */
        len = len < 8192 ? len : 8192;
        if (len > 0) {
            assert_int_equal(send(s->fd, out, len, MSG_NOSIGNAL), len);
            handshake_drained(s->handshake, len, 0);
            if (len == 8192 && !until_failed)
                return;
        }
        if (poll(&p, 1, len > 0 ? 0 : PATIENCE_S * 1000) == 0)
            continue;
        ssize_t n = TEMP_FAILURE_RETRY(read(s->fd, buffer, sizeof(buffer)));
        assert_true(n > 0);
        (void)!handshake_feed(s->handshake, buffer, (size_t)n, 0);
    }
}

static void stopping_tells_who_is_authenticated(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.owner = {.on_admit = admit_aloud, .on_advise = advise}};
    struct slow_source s;

    dest_start(&d, *state, &setup_of, dest_bounds());
    s.handshake = source_new(*state, setup_of);
    s.fd = stranger(d.port);
    slow_source_read(&s, false);
    await(&d.story, 0, EVENT_ADMITTED); /* and now in the middle of KEM_KEY */
    handshaker_stop(d.handshaker);
    const struct event *far = await(&d.story, 1, EVENT_FAILED);
    assert_int_equal(far->why, ERR_SHUTDOWN);
    assert_int_equal(far->retry_after_ms, 1234);
    slow_source_read(&s, true);
    assert_int_equal(handshake_error(s.handshake), ERR_SHUTDOWN);
    assert_int_equal(handshake_retry_after_ms(s.handshake), 1234);
    handshake_free(s.handshake);
    close(s.fd);
    dest_end(&d);
}

static void stopping_waits_for_nobody_who_is_silent(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    struct dest d = {.owner = {.on_admit = admit_aloud, .on_advise = advise}};
    struct slow_source s;
    size_t len;

    dest_start(&d, *state, &setup_of, dest_bounds());
    s.handshake = source_new(*state, setup_of);
    s.fd = stranger(d.port);
    slow_source_read(&s, false);
    int fd = stranger(d.port);
    await(&d.story, 0, EVENT_ADMITTED);
    uint64_t started = uv_hrtime();
    dest_end(&d);
    assert_true(uv_hrtime() - started < (uint64_t)(HANDSHAKER_FAREWELL_MS + 5000) * 1000000);
    (void)read_to_end(fd, &len); /* reset where it was not even accepted any more */
    assert_int_equal(len, 0);    /* before TLS there are no words */
    close(fd);
    close(s.fd);
    handshake_free(s.handshake);
}

static void stopping_ends_what_is_under_way(void **state)
{
    struct peer_setup setup_of = {.mode = KEM_HYBRID};
    const struct listener_bind bind = {.ip = "127.0.0.1", .count = 1};
    size_t before = open_descriptors();
    struct dest d = {.port = 0};
    struct source s = {.pool = NULL};
    struct err_detail detail;
    uint16_t port;
    int silent;

    assert_int_equal(listener_bind(&silent, &port, &bind, &detail), ERR_OK);
    dest_start(&d, *state, &setup_of, dest_bounds());
    source_start(&s, *state, &setup_of);
    source_dial(&s, "localhost", port); /* connects, and nobody answers */
    int fd = stranger(d.port);
    assert_int_equal(told(&s.story), 0);
    handshaker_stop(s.handshaker);
    assert_int_equal(await(&s.story, 0, EVENT_FAILED)->why, ERR_SHUTDOWN);
    source_dial(&s, "localhost", port);
    assert_int_equal(await(&s.story, 1, EVENT_FAILED)->why, ERR_SHUTDOWN);
    source_end(&s);
    dest_end(&d);
    close(fd);
    close(silent);
    assert_int_equal(open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_sets_other_bounds),
        cmocka_unit_test(stopping_tells_who_is_authenticated),
        cmocka_unit_test(stopping_waits_for_nobody_who_is_silent),
        cmocka_unit_test(stopping_ends_what_is_under_way),
    };

    return cmocka_run_group_tests(tests, ends_setup, pki_teardown);
}
