/* RESUME from a peer that follows no rule: each contradiction ends the session, and only that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine_pair.h"
#include "tunnel/engine.h"

#define MAX_STREAMS 4
#define SENT        5 /* bytes of stream 0, each way, before the session was lost */

/* An engine with one stream, number 0, that has lost its session. */
struct scene {
    struct end end;
    struct hostile hostile;
    struct stream_owner owner;
    enum tunnel_role role;
};

static struct scene scene;

static const struct resume_entry entry = {
    .id = 0, .received = 3, .limit = 100000, .is_accepted = true};

/* One more session of the scene's tunnel, ready for RESUME. */
static struct hostile *resume(uint8_t number)
{
    struct hostile *h = &scene.hostile;

    hostile_fini(h);
    session_close(scene.end.session);
    end_start(&scene.end, SESSION_RESUMED, number, 1000);
    hostile_init(h, &scene.end, scene.role, number);
    hostile_settings(h, 32768, 100);
    assert_int_equal(hostile_send(h), ERR_OK);
    return h;
}

static struct hostile *begin(enum tunnel_role role)
{
    struct hostile *h = &scene.hostile;
    struct stream_target to = {.port = 80, .name = "web"};
    struct frame f;

    memset(&scene, 0, sizeof(scene));
    scene.role = role;
    end_init(&scene.end, role, PAIR_MEMORY, MAX_STREAMS);
    end_attach(&scene.end, 1, 1000);
    hostile_init(h, &scene.end, role, 1);
    scene.owner.appetite = SIZE_MAX;
    scene.end.owner.next = &scene.owner;
    hostile_settings(h, 32768, 100);
    if (role == TUNNEL_DEST)
        hostile_open(h, 0);
    assert_int_equal(hostile_send(h), ERR_OK);
    if (role == TUNNEL_SOURCE) {
        assert_int_equal(stream_open(&scene.owner.stream, scene.end.tunnel, &to, &scene.owner),
                         ERR_OK);
        assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_OPEN, &f), 1);
        hostile_accept(h, 0);
    }
    hostile_data(h, 0, 0, SENT);
    assert_int_equal(hostile_send(h), ERR_OK);
    pair_send_text(&scene.owner, "hello");
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_DATA, &f), 1);
    return resume(2);
}

static void end_scene(void)
{
    hostile_fini(&scene.hostile);
    end_fini(&scene.end);
}

/* The record that was written ends the session; the stream waits for the next one, unharmed. */
static void expect_end(enum err e)
{
    unsigned readies = scene.end.owner.readies;
    struct hostile *h = &scene.hostile;

    assert_int_equal(hostile_send(h), e);
    assert_int_equal(scene.end.owner.readies, readies);
    assert_int_equal(scene.owner.resets, 0);
    h = resume(9);
    hostile_resume(h, 1, true, &entry, 1);
    hostile_data(h, 0, SENT, 3);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.received, SENT + 3);
    end_scene();
}

static void a_right_one_goes_on_from_there(void **state)
{
    static const enum tunnel_role roles[] = {TUNNEL_SOURCE, TUNNEL_DEST};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct hostile *h = begin(roles[i]);
        struct frame f;

        hostile_resume(h, 1, false, &entry, 1);
        assert_int_equal(hostile_send(h), ERR_OK);
        assert_int_equal(scene.end.owner.readies, 1);
        hostile_resume(h, 1, true, NULL, 0);
        assert_int_equal(hostile_send(h), ERR_OK);
        /* What the peer had not got comes again, in this session only. */
        assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_DATA, &f), 1);
        assert_int_equal(f.data.offset, 3);
        assert_int_equal(f.data.len, SENT - 3);
        assert_int_equal(scene.end.owner.readies, 2);
        end_scene();
    }
}

static void on_a_fresh_session(void **state)
{
    (void)state;
    struct hostile *h = begin(TUNNEL_DEST);

    hostile_fini(h);
    session_close(scene.end.session);
    end_attach(&scene.end, 3, 1000);
    hostile_init(h, &scene.end, TUNNEL_DEST, 3);
    hostile_settings(h, 32768, 100);
    hostile_resume(h, 1, true, &entry, 1);
    assert_int_equal(hostile_send(h), ERR_UNEXPECTED);
    end_scene();
}

static void behind_the_last(void **state)
{
    (void)state;
    struct hostile *h = begin(TUNNEL_DEST);

    hostile_resume(h, 1, true, &entry, 1);
    assert_int_equal(hostile_send(h), ERR_OK);
    hostile_resume(h, 1, true, NULL, 0);
    assert_int_equal(hostile_send(h), ERR_UNEXPECTED);
    end_scene();
}

static void streams_before_the_last(void **state)
{
    (void)state;
    struct hostile *h = begin(TUNNEL_DEST);

    hostile_data(h, 0, SENT, 1);
    expect_end(ERR_UNEXPECTED);
    h = begin(TUNNEL_DEST);
    hostile_resume(h, 1, false, &entry, 1);
    hostile_open(h, 1);
    expect_end(ERR_UNEXPECTED);
}

static void an_entry_twice(void **state)
{
    (void)state;
    const struct resume_entry twice[] = {entry, entry};

    hostile_resume(begin(TUNNEL_DEST), 1, true, twice, 2);
    expect_end(ERR_RESUME);
}

static void more_received_than_was_sent(void **state)
{
    (void)state;
    struct resume_entry wrong = entry;

    wrong.received = SENT + 1;
    hostile_resume(begin(TUNNEL_DEST), 1, true, &wrong, 1);
    expect_end(ERR_RESUME);
    hostile_resume(begin(TUNNEL_SOURCE), 1, true, &wrong, 1);
    expect_end(ERR_RESUME);
}

static void less_received_than_was_acknowledged(void **state)
{
    (void)state;
    struct hostile *h = begin(TUNNEL_DEST);
    struct resume_entry wrong = entry;

    hostile_resume(h, 1, true, &entry, 1);
    assert_int_equal(hostile_send(h), ERR_OK);
    h = resume(3);
    wrong.received = entry.received - 1;
    hostile_resume(h, 1, true, &wrong, 1);
    expect_end(ERR_RESUME);
}

static void numbers_that_cannot_be(void **state)
{
    (void)state;

    /* A dest that has seen more than the source has opened; a source that has opened less. */
    hostile_resume(begin(TUNNEL_SOURCE), 2, true, &entry, 1);
    expect_end(ERR_RESUME);
    hostile_resume(begin(TUNNEL_DEST), 0, true, &entry, 1);
    expect_end(ERR_RESUME);
}

static void a_stream_that_was_never_opened(void **state)
{
    (void)state;
    struct resume_entry wrong = entry;

    wrong.id = 1;
    hostile_resume(begin(TUNNEL_SOURCE), 1, true, &wrong, 1);
    expect_end(ERR_RESUME);
}

static void a_stream_that_is_not_named_is_given_up(void **state)
{
    (void)state;
    struct hostile *h = begin(TUNNEL_DEST);

    hostile_resume(h, 1, true, NULL, 0);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.resets, 1);
    assert_int_equal(scene.owner.code, WIRE_SESSION_LOST);
    end_scene();
}

static void a_stream_the_dest_never_saw_is_opened_again(void **state)
{
    (void)state;
    struct hostile *h = begin(TUNNEL_SOURCE);
    struct stream_owner late = {.appetite = SIZE_MAX};
    const struct stream_target to = {.port = 81};
    struct frame f;

    assert_int_equal(stream_open(&late.stream, scene.end.tunnel, &to, &late), ERR_OK);
    hostile_resume(h, 1, true, &entry, 1);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_OPEN, &f), 1);
    assert_int_equal(f.open.id, 1);
    assert_int_equal(scene.owner.resets + late.resets, 0);
    pair_release(&late);
    end_scene();
}

/* What the dest has said of a stream that it has seen, were it but an empty FIN. */
static void say_fin(struct hostile *h)
{
    hostile_fin(h, 1, 0);
}

static void say_reset(struct hostile *h)
{
    hostile_reset(h, 1, 0);
}

static void say_that_the_fin_came(struct hostile *h)
{
    hostile_credit(h, 1, 1, 0);
}

static void a_stream_the_dest_spoke_of_was_seen(void **state)
{
    (void)state;
    void (*const said[])(struct hostile *) = {say_fin, say_reset, say_that_the_fin_came};
    const struct stream_target to = {.port = 81};

    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        struct hostile *h = begin(TUNNEL_SOURCE);
        struct stream_owner late = {.appetite = SIZE_MAX};
        struct frame f;

        hostile_resume(h, 1, true, &entry, 1);
        assert_int_equal(hostile_send(h), ERR_OK);
        assert_int_equal(stream_open(&late.stream, scene.end.tunnel, &to, &late), ERR_OK);
        stream_send_finish(late.stream);
        assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_DATA_FIN, &f), 1);
        said[i](h);
        assert_int_equal(hostile_send(h), ERR_OK);
        h = resume(3);
        hostile_resume(h, 1, true, &entry, 1);
        assert_int_equal(hostile_send(h), ERR_RESUME);
        pair_release(&late);
        end_scene();
    }
}

static void open_another(struct stream_owner *o)
{
    const struct stream_target to = {.port = 82};

    if (o->resets == 1)
        assert_int_equal(stream_open(&o->victim->stream, scene.end.tunnel, &to, o->victim), ERR_OK);
}

/* A dest takes no number that is not above all before. */
static void one_opened_by_an_event_comes_behind_those_opened_again(void **state)
{
    (void)state;
    struct hostile *h = begin(TUNNEL_SOURCE);
    struct stream_owner late = {.appetite = SIZE_MAX};
    struct stream_owner latest = {.appetite = SIZE_MAX};
    const struct stream_target to = {.port = 81};
    struct frame f;

    assert_int_equal(stream_open(&late.stream, scene.end.tunnel, &to, &late), ERR_OK);
    scene.owner.act = open_another;
    scene.owner.victim = &latest;
    hostile_resume(h, 1, true, NULL, 0);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.resets, 1);
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_OPEN, &f), 2);
    assert_int_equal(f.open.id, 2);
    pair_release(&late);
    pair_release(&latest);
    end_scene();
}

/* Of a stream whose other direction goes on. */
static void that_all_has_arrived_is_told_once(void **state)
{
    static const struct resume_entry whole = {
        .id = 0, .received = SENT + 1, .limit = 100000, .is_accepted = true};
    struct resume_entry less = whole;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct hostile *h = begin(i == 0 ? TUNNEL_SOURCE : TUNNEL_DEST);
        struct frame f;

        hostile_resume(h, 1, true, &entry, 1);
        assert_int_equal(hostile_send(h), ERR_OK);
        stream_send_finish(scene.owner.stream);
        assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_DATA_FIN, &f), 1);
        hostile_credit(h, 0, SENT + 1, 100000);
        assert_int_equal(hostile_send(h), ERR_OK);
        assert_int_equal(scene.owner.sents, 1);
        h = resume(3);
        hostile_resume(h, 1, true, &whole, 1);
        assert_int_equal(hostile_send(h), ERR_OK);
        assert_int_equal(scene.owner.sents, 1);
        h = resume(4);
        less.received = SENT; /* without the FIN, which it has acknowledged */
        hostile_resume(h, 1, true, &less, 1);
        assert_int_equal(hostile_send(h), ERR_RESUME);
        end_scene();
    }
}

static void a_session_that_resumes_says_so(void **state)
{
    struct session_state now;

    (void)state;
    begin(TUNNEL_DEST);
    session_get_state(scene.end.session, &now);
    assert_int_equal(now.phase, SESSION_RESUMING);
    end_scene();
}

static void an_older_number_never_carries(void **state)
{
    (void)state;
    begin(TUNNEL_DEST);
    struct hostile *h = resume(1);

    assert_int_equal(scene.end.owner.retirements, 1);
    hostile_resume(h, 1, true, &entry, 1);
    hostile_data(h, 0, SENT, 3);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.owner.received, SENT);
    end_scene();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_one_goes_on_from_there),
        cmocka_unit_test(on_a_fresh_session),
        cmocka_unit_test(behind_the_last),
        cmocka_unit_test(streams_before_the_last),
        cmocka_unit_test(an_entry_twice),
        cmocka_unit_test(more_received_than_was_sent),
        cmocka_unit_test(less_received_than_was_acknowledged),
        cmocka_unit_test(numbers_that_cannot_be),
        cmocka_unit_test(a_stream_that_was_never_opened),
        cmocka_unit_test(a_stream_that_is_not_named_is_given_up),
        cmocka_unit_test(a_stream_the_dest_never_saw_is_opened_again),
        cmocka_unit_test(a_stream_the_dest_spoke_of_was_seen),
        cmocka_unit_test(one_opened_by_an_event_comes_behind_those_opened_again),
        cmocka_unit_test(that_all_has_arrived_is_told_once),
        cmocka_unit_test(a_session_that_resumes_says_so),
        cmocka_unit_test(an_older_number_never_carries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
