/*
 * A session, or a stream in it, against a peer that follows no rule. Failures end the test.
 */
#ifndef UTUN_TESTS_UNIT_HOSTILE_SCENE_H
#define UTUN_TESTS_UNIT_HOSTILE_SCENE_H

#include "engine_pair.h"
#include "tunnel/engine.h"

#define MAX_STREAMS 4

/* A dest with a session, the hostile source it talks to, and an owner for the first stream. */
struct scene {
    struct end end;
    struct hostile hostile;
    struct stream_owner owner;
};

static struct scene scene;

static inline void begin(enum tunnel_role role)
{
    memset(&scene, 0, sizeof(scene));
    end_init(&scene.end, role, PAIR_MEMORY, MAX_STREAMS);
    end_attach(&scene.end, 1, 1000);
    hostile_init(&scene.hostile, &scene.end, role, 1);
    scene.owner.appetite = SIZE_MAX;
    scene.end.owner.next = &scene.owner;
}

static inline void end_scene(void)
{
    hostile_fini(&scene.hostile);
    end_fini(&scene.end);
}

/* A scene in which the handshake of SETTINGS is done. */
static inline struct hostile *begin_ready(enum tunnel_role role)
{
    begin(role);
    hostile_settings(&scene.hostile, 32768, 100);
    assert_int_equal(hostile_send(&scene.hostile), ERR_OK);
    assert_int_equal(scene.end.owner.readies, 1);
    return &scene.hostile;
}

/* A dest with one accepted stream. */
static inline struct hostile *begin_stream(void)
{
    struct hostile *h = begin_ready(TUNNEL_DEST);

    hostile_open(h, 0);
    assert_int_equal(hostile_send(h), ERR_OK);
    assert_int_equal(scene.end.owner.opens, 1);
    return h;
}

/* A source with one stream whose OPEN has been sent. */
static inline struct hostile *begin_client(void)
{
    struct hostile *h = begin_ready(TUNNEL_SOURCE);
    struct stream_target target = {.port = 80};
    struct frame f;

    assert_int_equal(stream_open(&scene.owner.stream, scene.end.tunnel, &target, &scene.owner),
                     ERR_OK);
    assert_int_equal(hostile_read(h, 1000, FRAME_STREAM_OPEN, &f), 1);
    return h;
}

/* What has been written ends the session with e, and everything after it is refused. */
static inline void expect_end(enum err e)
{
    const uint8_t *data;
    size_t len;

    assert_int_equal(hostile_send(&scene.hostile), e);
    hostile_settings(&scene.hostile, 0, 0);
    assert_int_equal(hostile_send(&scene.hostile), e);
    assert_false(session_has_output(scene.end.session));
    assert_int_equal(session_drain(scene.end.session, &data, &len, 1000), e);
    assert_int_equal(len, 0);
    end_scene();
}

#endif
