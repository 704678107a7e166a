/*
 * An engine, its owners and its peer, all told what to do by the input: the peer by frames that are
 * right (peer.h) and by bytes of the input that it seals, owners from outside and from inside
 * events. Nothing may crash, hang or leak; a peer that obeys the protocol is never cut off; an
 * owner is told only what its contract says; no bound on memory is passed; the end leaves nothing
 * over.
 */
#include <assert.h>

#include "owners.h"
#include "target.h"

static struct line line;
static uint64_t rotations; /* of the session's keys */

static void on_session_ready(struct tunnel_owner *all, struct session *session)
{
    assert(!all->is_ready && session_is_ready(session));
    all->is_ready = true;
    owners_act_in_event(all);
}

static void on_session_retired(struct tunnel_owner *all, struct session *session)
{
    (void)all;
    (void)session;
    assert(false && "there is no other session");
}

static void on_keys(struct tunnel_owner *all, struct session *session, enum key_event event)
{
    assert(event == KEYS_ROTATED); /* keys do not age here */
    rotations++;
    assert(!all->side.known.is_honest || session_generation(session) == rotations);
}

/* Its streams are given up. */
static void end(struct tunnel_owner *all)
{
    if (line.session == NULL)
        return;
    line_close(&line);
    tunnel_lose_streams(all->side.tunnel);
}

/* What has gone wrong must be the peer's fault. */
static void check(struct tunnel_owner *all, enum err e)
{
    if (e == ERR_OK)
        return;
    assert(!all->side.known.is_honest);
    end(all);
}

static void feed(struct tunnel_owner *all)
{
    check(all, line_feed(&line));
}

static void drain(struct tunnel_owner *all, size_t most)
{
    check(all, line_drain(&line, most));
}

static void pass_time(struct tunnel_owner *all, uint64_t us)
{
    all->side.now += us;
    if (line.session == NULL)
        return;
    assert(session_tick(line.session, all->side.now) == ERR_OK); /* there is no heartbeat */
    drain(all, SIZE_MAX);
    /* Whoever sleeps until the deadline must not wake up at once. */
    assert(line.session == NULL || session_deadline(line.session) > all->side.now);
}

/* To where keys are switched, or are at their end. */
static void skip_records(struct tunnel_owner *all)
{
    struct peer *peer = &line.peer;

    drain(all, SIZE_MAX);
    if (line.session == NULL || peer->opened > RECORD_SOFT_LIMIT_RECORDS - 3)
        return;
    session_skip_to_for_test(line.session, RECORD_SOFT_LIMIT_RECORDS - 3, peer->sealed);
    record_opener_skip_to_for_test(peer->opener, RECORD_SOFT_LIMIT_RECORDS - 3);
    peer->opened = RECORD_SOFT_LIMIT_RECORDS - 3;
}

/* A source's keys are renewed; whether it can is the engine's matter. */
static void rotate(const struct tunnel_owner *all)
{
    enum err e;

    if (all->role != TUNNEL_SOURCE)
        return;
    e = session_rotate(line.session, NULL);
    assert(e == ERR_OK || e == ERR_UNEXPECTED);
}

static void speak(struct tunnel_owner *all, bool is_sent)
{
    if (line.session == NULL)
        return;
    is_sent = owners_speak(all, &line.peer) || is_sent;
    if (is_sent)
        feed(all);
}

static void step(struct tunnel_owner *all)
{
    uint8_t op = wire_u8(&all->in);

    if (op < 96) {
        owners_act(all);
        return;
    }
    if (op < 192) {
        speak(all, op >= 128);
        return;
    }
    switch (op % 8) {
    case 0:
        feed(all);
        break;
    case 1:
        drain(all, SIZE_MAX);
        break;
    case 2:
        drain(all, owners_read_size(&all->in));
        break;
    case 3:
        pass_time(all, (uint64_t)wire_u8(&all->in) * 1000);
        break;
    case 4:
        if (line.session != NULL && op % 16 == 4)
            session_ping(line.session, all->side.now);
        else if (line.session != NULL)
            rotate(all);
        break;
    case 5:
        if (line.session != NULL)
            session_go_away(line.session, WIRE_SHUTDOWN, op, op % 16 == 5 ? "bye" : NULL);
        break;
    case 6:
        skip_records(all);
        break;
    default:
        end(all);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tunnel_events of_sessions = {
        .on_session_ready = on_session_ready,
        .on_session_retired = on_session_retired,
        .on_keys = on_keys,
    };
    struct tunnel_owner all = {.max_opened = UINT64_MAX};
    uint8_t how = owners_init(&all, data, size, &of_sessions);

    rotations = 0;
    line_open(&line, &all.side, SESSION_FRESH);
    if ((how & 0x40) == 0) {
        peer_settings(&line.peer, STREAM_WINDOW_INITIAL, 100);
        feed(&all);
    }
    while (wire_left(&all.in) > 0) {
        step(&all);
        owners_check_bounds(&all);
    }

    if ((how & 0x80) != 0) { /* an orderly end, or all at once */
        owners_release_all(&all);
        drain(&all, SIZE_MAX);
        end(&all);
    }
    owners_fini(&all);
    line_forget(&line);
    return 0;
}
