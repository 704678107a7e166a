/*
 * A tunnel that goes from session to session: cut in the middle of anything and resumed, also
 * while the old session lives, by a peer that says the truth about its streams, and by one whose
 * RESUME and frames are the input's. Owners act meanwhile, with and without a session.
 *
 * As in fuzz_session, and: every byte comes once and in its place, also after a cut; nothing is
 * sent before both sides have told where they are; events come once in a stream's life, not once in
 * a session's; and whatever has happened, with an honest peer the tunnel is whole again after the
 * next resume.
 */
#include <assert.h>

#include "owners.h"
#include "target.h"

static struct line lines[2];
static struct line *newest; /* of both */

static struct line *line_of(const struct session *session)
{
    return session == lines[0].session ? &lines[0] : &lines[1];
}

/* -- what the tunnel's owner is told -- */

static void on_session_ready(struct tunnel_owner *all, struct session *session)
{
    assert(line_of(session)->session == session && session_is_ready(session));
    assert(all->side.tunnel->session == session && session_carries_streams(session));
    all->is_ready = true;
    owners_act_in_event(all);
}

static void on_session_retired(struct tunnel_owner *all, struct session *session)
{
    assert(line_of(session)->session == session);
    assert(all->side.tunnel->session != session);
}

static void on_keys(struct tunnel_owner *all, struct session *session, enum key_event event)
{
    (void)all;
    (void)session;
    assert(event == KEYS_ROTATED);
}

/* -- sessions -- */

static void cut(struct tunnel_owner *all, struct line *l)
{
    bool carried = l->session != NULL && all->side.tunnel->session == l->session;

    line_close(l);
    assert(!carried || all->side.tunnel->session == NULL);
}

static void check(struct tunnel_owner *all, struct line *l, enum err e)
{
    if (e == ERR_OK)
        return;
    assert(!all->side.known.is_honest);
    cut(all, l);
}

static void feed(struct tunnel_owner *all, struct line *l)
{
    check(all, l, line_feed(l));
}

static void drain(struct tunnel_owner *all, struct line *l, size_t most)
{
    check(all, l, line_drain(l, most));
}

/* In the place of the older one. */
static void resume(struct tunnel_owner *all)
{
    if (!all->is_ready)
        return; /* there is nothing yet that could go on */
    newest = newest == &lines[0] ? &lines[1] : &lines[0];
    cut(all, newest);
    line_open(newest, &all->side, SESSION_RESUMED);
}

static void pass_time(struct tunnel_owner *all, uint64_t us)
{
    all->side.now += us;
    for (size_t i = 0; i < 2; i++) {
        if (lines[i].session == NULL)
            continue;
        assert(session_tick(lines[i].session, all->side.now) == ERR_OK);
        drain(all, &lines[i], SIZE_MAX);
    }
}

/* All that a session needs to carry streams, with a peer that does what it should. */
static void say_all(struct tunnel_owner *all, struct line *l)
{
    if (l->session == NULL)
        return;
    feed(all, l);
    peer_settings(&l->peer, STREAM_WINDOW_INITIAL, 100);
    feed(all, l);
    drain(all, l, SIZE_MAX);
    if (l->session == NULL)
        return;
    peer_resume(&l->peer, UINT8_MAX, 0);
    feed(all, l);
    drain(all, l, SIZE_MAX);
}

/* -- steps -- */

static void speak(struct tunnel_owner *all, struct line *l, bool is_sent)
{
    if (l->session == NULL)
        return;
    is_sent = owners_speak(all, &l->peer) || is_sent;
    if (is_sent)
        feed(all, l);
}

static void step_session(struct tunnel_owner *all, struct line *l, uint8_t op)
{
    struct wire_reader *in = &all->in;

    switch (op % 12) {
    case 0:
        feed(all, l);
        break;
    case 1:
        drain(all, l, SIZE_MAX);
        break;
    case 2:
        drain(all, l, owners_read_size(in));
        break;
    case 3:
        pass_time(all, (uint64_t)wire_u8(in) * 1000);
        break;
    case 4:
        cut(all, l);
        break;
    case 5:
        resume(all);
        break;
    case 6: {
        uint8_t most = wire_u8(in);
        uint8_t gives_up = wire_u8(in);

        if (l->session != NULL)
            peer_resume(&l->peer, most, gives_up % 2 == 0 ? 0 : gives_up);
        break;
    }
    case 7: {
        uint8_t entries = wire_u8(in) % 16;

        if (l->session != NULL)
            peer_lie(&l->peer, in, entries);
        break;
    }
    case 8:
        say_all(all, l);
        break;
    case 9:
        if (all->side.tunnel->session == NULL) {
            tunnel_lose_streams(all->side.tunnel);
            all->side.known.engine_gave_up = true;
        }
        break;
    case 10:
        if (l->session != NULL)
            session_ping(l->session, all->side.now);
        break;
    default:
        if (l->session != NULL && all->role == TUNNEL_SOURCE) {
            enum err e = session_rotate(l->session, NULL);

            assert(e == ERR_OK || e == ERR_UNEXPECTED);
        }
        break;
    }
}

/* From 240 on it is the older session that something happens to. */
static void step(struct tunnel_owner *all)
{
    struct line *older = newest == &lines[0] ? &lines[1] : &lines[0];
    uint8_t op = wire_u8(&all->in);

    if (op < 72)
        owners_act(all);
    else if (op < 144)
        speak(all, newest, op >= 96);
    else if (op < 240)
        step_session(all, newest, op);
    else if (op < 246)
        speak(all, older, true);
    else
        step_session(all, older, op);
}

/* -- the end -- */

/* What an owner has committed, as far as the peer's credit goes, is there. */
static void check_arrived(const struct stream_owner *o)
{
    const struct peer_stream *s = peer_find(&newest->peer, o->id);
    bool may_speak = o->all->role == TUNNEL_SOURCE || o->is_accepted;

    if (o->is_reset || o->told_reset || !may_speak || s == NULL || s->reset_sent)
        return;
    assert(s->received == (o->committed < s->receive_limit ? o->committed : s->receive_limit));
    assert(s->fin_received == (o->is_finished && o->committed == s->received));
}

static void settle(struct tunnel_owner *all)
{
    if (!all->is_ready || !all->side.known.is_honest)
        return;
    all->acts_in_events = false;
    cut(all, &lines[0]);
    cut(all, &lines[1]);
    resume(all);
    say_all(all, newest);
    assert(session_carries_streams(newest->session));
    assert(peer_carries_streams(&newest->peer));
    owners_check_bounds(all);
    for (size_t i = 0; i < OWNERS; i++) {
        if (all->owners[i] != NULL)
            check_arrived(all->owners[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tunnel_events of_sessions = {
        .on_session_ready = on_session_ready,
        .on_session_retired = on_session_retired,
        .on_keys = on_keys,
    };
    struct tunnel_owner all = {.max_opened = PEER_STREAMS}; /* the peer tracks no more */
    uint8_t how = owners_init(&all, data, size, &of_sessions);

    newest = &lines[0];
    line_open(newest, &all.side, SESSION_FRESH);
    if ((how & 0x40) == 0)
        say_all(&all, newest);
    while (wire_left(&all.in) > 0) {
        step(&all);
        owners_check_bounds(&all);
    }
    settle(&all);
    if ((how & 0x80) != 0) { /* an orderly end, or all at once */
        owners_release_all(&all);
        drain(&all, newest, SIZE_MAX);
        tunnel_lose_streams(all.side.tunnel);
    }
    owners_fini(&all);
    line_forget(&lines[0]);
    line_forget(&lines[1]);
    return 0;
}
