/*
 * Streams, resume and sessions of a UTun tunnel, as a Promela model. Source: docs/PROTOCOL.md,
 * sections 7, 9.1 and 9.2; the code: src/tunnel/stream*.c, resume.c, session.c, plan.c and tunnel.c.
 * What is modelled, what is left out and how to run it: README.md beside this file.
 *
 * Names are those of the code, so that the two can be read side by side. `me` is a peer (SOURCE or
 * DEST), `s` a stream, `k` a session's number. What happens in one call into the engine is one
 * d_step.
 */

/* -- the size of the world; tests/model/test_model.py sets it -- */

#ifndef STREAMS
#define STREAMS 1
#endif
#ifndef SESSIONS
#define SESSIONS 2 /* sessions that can be made; every one but the last can be cut */
#endif
#ifndef UP_UNITS
#define UP_UNITS 1 /* what a source's client can send, in units of data */
#endif
#ifndef DOWN_UNITS
#define DOWN_UNITS 1 /* what a dest's target can send */
#endif
#ifndef WINDOW
#define WINDOW 2 /* units of a stream's window */
#endif
#ifndef ROOM
#define ROOM 1 /* frames that are on their way in one direction of one session */
#endif
#ifndef RESETS
#define RESETS 0 /* who may reset: 1 the client, 2 the target, 3 both */
#endif
#ifndef GIVE_UP
#define GIVE_UP 0 /* streams are given up: 1 by the source, 2 the dest forgets the tunnel */
#endif

/* -- planted bugs: each must make Spin find a counterexample -- */

#ifndef BUG
#define BUG NONE
#endif
#define NONE                0
#define RESUME_OFFSET       1  /* R3: goes on one unit behind where the peer is */
#define FIN_NOT_RESENT      2  /* R3: a FIN that was sent is taken for arrived */
#define RESET_NOT_RESENT    3  /* R3: a RESET that was sent is taken for arrived */
#define ACCEPT_NOT_RESENT   4  /* R3: an ACCEPT that was sent is taken for arrived */
#define HAS_RESET_IGNORED   5  /* R2: HAS_RESET is not taken for the answer */
#define OPENED_TWICE        6  /* R4: what has not been accepted is opened again */
#define FORGOTTEN_IGNORED   7  /* R4: a stream that the peer does not name just stays */
#define RESET_OVERTAKES     8  /* R3: a RESET goes out before the data that is sent again */
#define RETIRED_ACCEPTED    9  /* 9.1: frames of streams count on any session */
#define NOT_FROZEN          10 /* R1, R5: does not wait for the peer's LAST before it sends */
#define OLDER_TAKES_OVER    11 /* 9.1: whichever session becomes ready becomes current */
#define FORGETS_SENT        12 /* 7: bytes are dropped when sent, not when acknowledged */
#define ANSWER_NOT_SENT     13 /* 7: a RESET is not answered */

#define SOURCE 0
#define DEST   1

#define UNITS(me) ((me) == SOURCE -> UP_UNITS : DOWN_UNITS)

/* Frames, PROTOCOL 6.1. FIN is a STREAM_DATA_FIN without data, LAST a RESUME without entries. */
mtype = { SETTINGS, RESUME, LAST, OPEN, ACCEPT, DATA, FIN, CREDIT, RESET };

/* Flags of an entry of RESUME. */
#define F_ACCEPTED  1
#define F_HAS_RESET 2

/* -- sessions: struct session, and what of struct tunnel is about them -- */

#define ABSENT 0
#define OPENED 1 /* the handshake is done */
#define READY  2 /* the peer's SETTINGS have come */
#define CLOSED 3

/* One direction of one session: strictly in order. Type, stream, two numbers, flags. */
chan wire[2 * SESSIONS] = [ROOM] of { mtype, byte, byte, byte, byte };
#define WIRE(from, k) wire[2 * ((k) - 1) + (from)]

typedef tunnel {
    byte state[SESSIONS + 1]; /* of this peer's end of session k */
    byte carriers;            /* ends that are not closed */
    byte session;             /* the one that carries the streams, 0: none */
    byte ready_number;
    byte next_id;
    bit has_run;
    bit resume_sent; /* these two and those below: of the current session */
    bit resume_received;
    bit listed[STREAMS];
    bit seen[STREAMS];
};
tunnel tun[2];
#define T tun[me]

byte sessions; /* made so far */
bit broken[SESSIONS + 1]; /* nothing that is sent on it arrives any more */
bit fresh[SESSIONS + 1];  /* not RESUMED */
bit gave_up;   /* somebody has: streams may be lost from then on */
bit forgotten; /* the dest does not know the tunnel: the next session begins a new one */

/* -- streams: struct stream. At [me * STREAMS + s]. -- */

#define N_OPEN   1
#define N_ACCEPT 2
#define N_CREDIT 4
#define N_RESET  8

typedef stream {
    bit known; /* in tunnel.streams: protocol or owner still needs it */
    bit over;  /* freed */

    byte out_start;
    byte out_end;
    byte sent;
    byte send_limit;

    byte in_end;
    byte limit; /* window.limit */
    bit acked; /* the acknowledgement that the peer has been sent covers its FIN */

    byte notices;

    bit accepted;
    bit released;
    bit lost;

    bit finish;
    bit fin_sent;
    bit fin_acked;
    bit send_abandoned;

    bit fin_received;
    bit finish_told;
    bit recv_abandoned;

    bit reset_wanted;
    bit reset_sent;
    bit reset_received;
    bit reset_told;

    /* What the code has no need to remember, but the assertions have. */
    bit owner_reset;  /* its owner has reset it */
    bit dropped_some; /* by RESET_NOW: what was committed need not arrive */
};
stream st[2 * STREAMS];
#define S     st[(me) * STREAMS + (s)]
#define OTHER st[(1 - (me)) * STREAMS + (s)]

#define SENDABLE \
    (!S.send_abandoned && (S.sent < S.out_end || (S.finish && !S.fin_sent)))
#define ARRIVED (S.in_end + S.fin_received)
#define HAS(n)  ((S.notices & (n)) != 0)

/* Scratch of one d_step. */
hidden mtype type;
hidden byte sx;
hidden byte ax;
hidden byte bx;
hidden byte fx;
hidden byte i;
hidden byte kx;

/*
 * No honest peer breaks a rule in the eyes of another: whatever would end a session by a protocol
 * error (PROTOCOL 6.2 and 9.2) is a fault here.
 */
#define must(rule) assert(rule)

#define notify(n)   S.notices = S.notices | (n)
#define unnotify(n) S.notices = S.notices & (15 - (n))

/* -- stream.c -- */

inline stream_send_abandon(me, s)
{
    S.send_abandoned = 1;
    S.out_start = S.out_end;
}

inline stream_recv_abandon(me, s)
{
    S.recv_abandoned = 1;
}

/* What must be true when a peer forgets a stream. */
inline audit(me, s)
{
    /* Its owner has heard how the other direction ended, and all that came before. */
    assert(S.finish_told || S.owner_reset || S.reset_told || gave_up);
    assert(S.in_end == OTHER.out_end || S.owner_reset || OTHER.dropped_some || gave_up);
    /* A reset says nothing to one for whom all was complete, but is lost for nobody else. */
    assert(!OTHER.owner_reset || S.owner_reset || S.reset_told || gave_up ||
           (S.finish && S.finish_told))
}

inline stream_reap(me, s)
{
    if
    :: S.released && !S.over &&
       (S.lost || (S.reset_received && S.reset_sent) ||
        (!S.reset_received && S.fin_acked && S.fin_received && S.acked)) ->
        audit(me, s);
        S.over = 1;
        S.known = 0;
        /* What nobody looks at any more, so that equal states are equal. */
        S.out_start = 0;
        S.sent = 0;
        S.send_limit = 0;
        S.limit = 0;
        S.acked = 0;
        S.notices = 0;
        S.accepted = 0;
        S.in_end = 0;
        S.fin_received = 0;
        S.finish_told = 0;
        S.reset_told = 0;
        S.fin_sent = 0;
        S.fin_acked = 0;
        S.send_abandoned = 0;
        S.recv_abandoned = 0;
        S.reset_wanted = 0;
        S.reset_sent = 0;
        S.reset_received = 0;
        T.listed[s] = 0;
        T.seen[s] = 0
    :: else
    fi
}

inline stream_new(me, s)
{
    S.known = 1;
    S.send_limit = (WINDOW < UNITS(me) -> WINDOW : UNITS(me));
    S.limit = (WINDOW < UNITS(1 - me) -> WINDOW : UNITS(1 - me))
}

/* What was kept is taken at once by an owner that is there. */
inline stream_recv_advance(me, s)
{
    if
    :: !S.fin_received && !S.recv_abandoned && S.accepted ->
        S.limit = (S.in_end + WINDOW < UNITS(1 - me) -> S.in_end + WINDOW : UNITS(1 - me))
    :: else
    fi
}

inline finish_receiving(me, s)
{
    if
    :: S.fin_received && !S.finish_told && !S.recv_abandoned && S.accepted ->
        S.finish_told = 1;
        assert(OTHER.finish && S.in_end == OTHER.out_end) /* all of it, and it was meant */
    :: else
    fi
}

inline stream_tell_reset(me, s)
{
    if
    :: !S.released && !S.reset_told -> S.reset_told = 1
    :: else
    fi
}

inline stream_push_reset(me, s)
{
    if
    :: S.reset_wanted && !S.reset_sent && !SENDABLE && !S.lost -> notify(N_RESET)
    :: else
    fi
}

inline stream_send_raise_limit(me, s, to)
{
    if
    :: to > S.send_limit -> S.send_limit = to
    :: else
    fi
}

inline stream_send_complete(me, s)
{
    S.fin_sent = 1;
    S.fin_acked = 1;
    S.sent = S.out_end;
    S.out_start = S.out_end
}

inline stream_on_accept(me, s)
{
    must(!S.accepted && !S.reset_received);
    S.accepted = 1;
    stream_send_raise_limit(me, s, bx);
    finish_receiving(me, s)
}

inline stream_on_data(me, s)
{
    must(!S.fin_received && !S.reset_received);
    must(ax == S.in_end);
    if
    :: type == DATA ->
        must(S.recv_abandoned || S.in_end < S.limit);
        assert(S.recv_abandoned || bx == S.in_end); /* exactly once, in order */
        S.in_end++
    :: else -> S.fin_received = 1
    fi;
    finish_receiving(me, s);
    if
    :: !S.reset_sent -> notify(N_CREDIT)
    :: else
    fi
}

inline stream_on_credit(me, s)
{
    must(ax <= S.sent + S.fin_sent);
    if
    :: S.reset_received
    :: else ->
        if
        :: S.fin_sent && ax == S.out_end + 1 && !S.fin_acked -> stream_send_complete(me, s)
        :: else ->
            if
            :: ax > S.out_start && ax <= S.out_end -> S.out_start = ax
            :: else
            fi
        fi;
        stream_send_raise_limit(me, s, bx);
        stream_reap(me, s)
    fi
}

inline stream_on_reset(me, s)
{
    must(!S.reset_received);
    must(ax == S.in_end);
    S.reset_received = 1;
    stream_send_abandon(me, s);
    if
    :: !S.reset_wanted ->
        /* Nobody is reset for nothing, and everything that was to come before it has come. */
        assert(OTHER.owner_reset);
        assert(OTHER.dropped_some || S.in_end == OTHER.out_end);
        assert(OTHER.dropped_some || !OTHER.finish || S.fin_received);
        stream_tell_reset(me, s)
    :: else
    fi;
    if
    :: !S.reset_sent && BUG != ANSWER_NOT_SENT ->
        S.reset_wanted = 1;
        notify(N_RESET)
    :: else
    fi;
    stream_reap(me, s)
}

inline stream_on_lost(me, s)
{
    S.notices = 0;
    S.known = 0;
    S.lost = 1;
    stream_send_abandon(me, s);
    if
    :: !(S.fin_acked && S.fin_received) && !S.reset_wanted ->
        assert(gave_up); /* no stream is lost that nobody has given up */
        stream_tell_reset(me, s)
    :: else
    fi;
    stream_reap(me, s)
}

/* -- what owners do -- */

inline stream_reset_by_owner(me, s, now)
{
    if
    :: S.lost || S.reset_received
    :: else ->
        if
        :: !S.reset_wanted ->
            S.owner_reset = 1;
            S.reset_wanted = 1;
            stream_recv_abandon(me, s)
        :: else
        fi;
        if
        :: now && !S.reset_sent ->
            S.dropped_some = (S.out_start < S.out_end || (S.finish && !S.fin_acked));
            stream_send_abandon(me, s)
        :: else
        fi;
        stream_push_reset(me, s)
    fi
}

inline stream_release(me, s)
{
    S.released = 1;
    stream_recv_abandon(me, s);
    stream_reap(me, s)
}

inline stream_accept(me, s)
{
    S.accepted = 1;
    if
    :: !S.reset_received -> notify(N_ACCEPT)
    :: else
    fi;
    finish_receiving(me, s)
}

/* -- from one session to the next: stream.c and resume.c, PROTOCOL 9.2 -- */

inline stream_send_rewind(me, s, offset)
{
    if
    :: offset > S.out_start -> S.out_start = offset
    :: else
    fi;
    S.sent = offset;
    S.fin_sent = (BUG == FIN_NOT_RESENT -> S.fin_sent : 0)
}

/* R3: ax is received, bx limit, fx flags. */
inline stream_on_resume(me, s)
{
    must(ax <= S.sent + S.fin_sent);
    must(ax >= S.out_start || S.send_abandoned);
    if
    :: S.fin_acked || (S.fin_sent && ax > S.out_end) -> stream_send_complete(me, s)
    :: else -> stream_send_rewind(me, s, ax + (BUG == RESUME_OFFSET && ax < S.out_end))
    fi;
    if
    :: (fx & F_HAS_RESET) && S.reset_wanted && BUG != HAS_RESET_IGNORED -> S.reset_received = 1
    :: else ->
        if
        :: !S.reset_received && BUG != RESET_NOT_RESENT -> S.reset_sent = 0
        :: else
        fi
    fi;
    if
    :: me == DEST && S.accepted && !(fx & F_ACCEPTED) && BUG != ACCEPT_NOT_RESENT ->
        notify(N_ACCEPT)
    :: else
    fi;
    stream_send_raise_limit(me, s, bx);
    stream_reap(me, s)
}

#define KNOWN(me, s) st[(me) * STREAMS + (s)].known
#define NEVER_CAME(me, s) \
    ((s) >= ax || (BUG == OPENED_TWICE && !st[(me) * STREAMS + (s)].accepted))

/* R4: the OPEN never came. */
inline stream_on_unopened(me, s)
{
    must(!S.accepted && (S.out_start == 0 || S.send_abandoned) && S.in_end == 0);
    stream_send_rewind(me, s, 0);
    S.reset_sent = 0;
    notify(N_OPEN)
}

/* R4: the peer does not have it any more. */
inline stream_on_forgotten(me, s)
{
    if
    :: S.reset_wanted ->
        S.reset_sent = 1;
        S.reset_received = 1;
        stream_reap(me, s)
    :: else ->
        if
        :: S.fin_received && S.finish && S.sent == S.out_end ->
            S.acked = 1;
            stream_send_complete(me, s);
            stream_reap(me, s)
        :: else -> stream_on_lost(me, s)
        fi
    fi
}

inline stream_requeue(me, s)
{
    if
    :: BUG != RESET_OVERTAKES -> unnotify(N_RESET)
    :: else
    fi;
    if
    :: S.reset_received -> S.notices = 0
    :: else
    fi;
    stream_push_reset(me, s)
}

/* R4: ax is the peer's next. */
inline on_last(me)
{
    must((me == SOURCE -> ax <= T.next_id : ax >= T.next_id));
    for (i : 0 .. STREAMS - 1) {
        if
        :: !KNOWN(me, i)
        :: KNOWN(me, i) && me == SOURCE && NEVER_CAME(me, i) -> stream_on_unopened(me, i)
        :: KNOWN(me, i) && !(me == SOURCE && NEVER_CAME(me, i)) && !T.seen[i] ->
            if
            :: BUG != FORGOTTEN_IGNORED -> stream_on_forgotten(me, i)
            :: else
            fi
        :: else
        fi
    }
}

inline finish_resume(me)
{
    if
    :: T.resume_sent && T.resume_received ->
        for (i : 0 .. STREAMS - 1) {
            if
            :: st[me * STREAMS + i].known -> stream_requeue(me, i)
            :: else
            fi;
            T.listed[i] = 0;
            T.seen[i] = 0
        }
    :: else
    fi
}

/* -- session.c -- */

#define IS_RESUMED(k) (!fresh[k])
#define MAY_CARRY(k) \
    (!IS_RESUMED(k) || (T.resume_sent && (T.resume_received || BUG == NOT_FROZEN)))

inline begin_resume(me)
{
    T.resume_sent = 0;
    T.resume_received = 0;
    for (i : 0 .. STREAMS - 1) {
        T.listed[i] = 0;
        T.seen[i] = 0
    }
    i = 0
}

inline session_close(me, k)
{
    do
    :: nempty(WIRE(1 - me, k)) -> WIRE(1 - me, k)?_, _, _, _, _
    :: else -> break
    od;
    T.state[k] = CLOSED;
    T.carriers--;
    broken[k] = 1;
    if
    :: T.session == k ->
        T.session = 0;
        begin_resume(me)
    :: else
    fi
}

/*
 * What has been overtaken is closed: at once, because its frames are ignored anyway, and its peer
 * notices some time later.
 */
inline retire(me, k)
{
    if
    :: BUG != RETIRED_ACCEPTED -> session_close(me, k)
    :: else
    fi
}

inline make_current(me, k)
{
    if
    :: T.session != 0 -> retire(me, T.session)
    :: else
    fi;
    T.session = k;
    T.ready_number = k;
    T.has_run = 1;
    begin_resume(me)
}

inline on_settings(me, k)
{
    T.state[k] = READY;
    if
    :: k > T.ready_number || BUG == OLDER_TAKES_OVER -> make_current(me, k)
    :: else -> retire(me, k)
    fi
}

inline on_resume(me, k)
{
    must(IS_RESUMED(k) && !T.resume_received);
    if
    :: type == RESUME ->
        if
        :: st[me * STREAMS + sx].known ->
            must(!T.seen[sx]);
            T.seen[sx] = 1;
            stream_on_resume(me, sx)
        :: else -> must(me == DEST || sx < T.next_id)
        fi
    :: else ->
        on_last(me);
        T.resume_received = 1;
        finish_resume(me)
    fi
}

inline on_open(me)
{
    must(me == DEST && sx >= T.next_id);
    stream_new(me, sx);
    T.next_id = sx + 1;
    stream_send_raise_limit(me, sx, bx)
}

/* tunnel.c: a frame of a stream that is over is ignored; of one never opened, a fault. */
inline on_stream_frame(me, k)
{
    must(!IS_RESUMED(k) || T.resume_received || BUG == RETIRED_ACCEPTED);
    if
    :: type == OPEN -> on_open(me)
    :: else ->
        if
        :: !KNOWN(me, sx) -> must(sx < T.next_id)
        :: else ->
            must((st[me * STREAMS + sx].notices & N_OPEN) == 0);
            if
            :: type == ACCEPT -> must(me == SOURCE); stream_on_accept(me, sx)
            :: type == DATA || type == FIN -> stream_on_data(me, sx)
            :: type == CREDIT -> stream_on_credit(me, sx)
            :: type == RESET -> stream_on_reset(me, sx)
            fi
        fi
    fi
}

inline on_frame(me, k)
{
    if
    :: type == SETTINGS -> on_settings(me, k)
    :: (type == RESUME || type == LAST) && T.session == k -> on_resume(me, k)
    :: type != SETTINGS && type != RESUME && type != LAST &&
       (T.session == k || BUG == RETIRED_ACCEPTED) -> on_stream_frame(me, k)
    :: else /* of an older session */
    fi
}

/* What is sent on a session that is broken is lost, and its sender does not know. */
#define send(k, type, s, a, b, flags) \
    if \
    :: broken[k] \
    :: else -> WIRE(me, k)!type, s, a, b, flags \
    fi

#define CAN_SEND(k) (broken[k] || nfull(WIRE(me, k)))

inline send_entry(me, s, k)
{
    T.listed[s] = 1;
    S.acked = S.fin_received;
    if
    :: S.reset_received ->
        S.reset_sent = 1;
        unnotify(N_RESET)
    :: else
    fi;
    send(k, RESUME, s, ARRIVED, S.limit,
         S.accepted * F_ACCEPTED + S.reset_received * F_HAS_RESET);
    stream_reap(me, s)
}

/* One entry of RESUME, or LAST when none is left. */
inline send_resume(me, k)
{
    sx = 0;
    do
    :: sx < STREAMS && (!KNOWN(me, sx) || T.listed[sx]) -> sx++
    :: else -> break
    od;
    if
    :: sx < STREAMS -> send_entry(me, sx, k)
    :: else ->
        send(k, LAST, 0, T.next_id, 0, 0);
        T.resume_sent = 1;
        finish_resume(me)
    fi
}

/*
 * One end of one session. It ends some time after its connection has been cut, with or without
 * what was still on its way, and when a newer session has taken the streams.
 */
proctype session_end(bit me; byte k)
{
end_absent:
    T.state[k] != ABSENT;
end_serve:
    do
    :: d_step { T.state[k] != CLOSED && nempty(WIRE(1 - me, k)) ->
            WIRE(1 - me, k)?type, sx, ax, bx, fx;
            on_frame(me, k)
        }
    :: d_step { T.session == k && IS_RESUMED(k) && !T.resume_sent && CAN_SEND(k) ->
            send_resume(me, k)
        }
    :: d_step { T.state[k] != CLOSED && (broken[k] || (T.state[k] == READY && T.session != k)) ->
            session_close(me, k)
        }
    :: T.state[k] == CLOSED -> break
    od
}

/* -- one end of one stream: its owner (a client or a target), and what it sends -- */

#define IS_OWNED (S.known && !S.released)
#define CAN_COMMIT \
    (IS_OWNED && (me == SOURCE || S.accepted) && \
     !S.finish && !S.reset_wanted && !S.reset_received && !S.lost)
#define IS_OVER_FOR_OWNER \
    ((S.finish && S.finish_told) || S.reset_wanted || S.reset_received || S.lost)
#define SPEAKS (T.session != 0 && MAY_CARRY(T.session) && CAN_SEND(T.session) && S.known)

proctype stream_end(bit me; byte s)
{
end:
    do
    /* the owner */
    :: d_step { me == SOURCE && T.has_run && T.next_id == s ->
            stream_new(me, s);
            T.next_id = s + 1;
            notify(N_OPEN)
        }
    :: d_step { me == DEST && IS_OWNED && !S.accepted && !S.recv_abandoned ->
            stream_accept(me, s)
        }
    :: d_step { CAN_COMMIT && S.out_end < S.send_limit -> S.out_end++ }
    :: d_step { CAN_COMMIT && S.out_end == UNITS(me) -> S.finish = 1 }
    :: d_step { (RESETS & (1 + me)) && IS_OWNED && !IS_OVER_FOR_OWNER &&
               (me == SOURCE || S.accepted) ->
            stream_reset_by_owner(me, s, 0)
        }
    :: d_step { (RESETS & (1 + me)) && IS_OWNED && !IS_OVER_FOR_OWNER ->
            stream_reset_by_owner(me, s, 1)
        }
    :: d_step { (IS_OWNED || S.lost) && !S.released && IS_OVER_FOR_OWNER ->
            stream_release(me, s)
        }

    /* plan.c: plan_notices, plan_data */
    :: d_step { SPEAKS && HAS(N_OPEN) && (s == 0 || !(st[me * STREAMS + s - 1].notices & N_OPEN)) ->
            stream_recv_advance(me, s);
            send(T.session, OPEN, s, 0, S.limit, 0);
            unnotify(N_OPEN)
        }
    :: d_step { SPEAKS && HAS(N_ACCEPT) ->
            stream_recv_advance(me, s);
            send(T.session, ACCEPT, s, 0, S.limit, 0);
            unnotify(N_ACCEPT)
        }
    :: d_step { SPEAKS && HAS(N_CREDIT) && !HAS(N_OPEN + N_ACCEPT) ->
            stream_recv_advance(me, s);
            S.acked = S.fin_received;
            send(T.session, CREDIT, s, ARRIVED, S.limit, 0);
            unnotify(N_CREDIT);
            stream_reap(me, s)
        }
    :: d_step { SPEAKS && !HAS(N_OPEN + N_ACCEPT) && SENDABLE ->
            if
            :: S.sent < S.out_end ->
                send(T.session, DATA, s, S.sent, S.sent, 0);
                S.sent++
            :: else ->
                send(T.session, FIN, s, S.sent, 0, 0);
                S.fin_sent = 1
            fi;
            if
            :: BUG == FORGETS_SENT -> S.out_start = S.sent
            :: else
            fi;
            stream_push_reset(me, s)
        }
    :: d_step { SPEAKS && HAS(N_RESET) && !HAS(N_OPEN + N_ACCEPT + N_CREDIT) ->
            send(T.session, RESET, s, S.sent, 0, 0);
            unnotify(N_RESET);
            S.reset_sent = 1;
            stream_reap(me, s)
        }
    od
}

/* -- the world -- */

/* Over at both peers; a dest need never have heard of what was given up. */
#define ENDED(s) \
    (st[s].over && (st[STREAMS + s].over || (!st[STREAMS + s].known && !st[STREAMS + s].lost)))

#if STREAMS == 1
#define ALL_ENDED ENDED(0)
#else
#define ALL_ENDED (ENDED(0) && ENDED(1))
#endif

inline lose_streams(me)
{
    for (i : 0 .. STREAMS - 1) {
        if
        :: KNOWN(me, i) -> stream_on_lost(me, i)
        :: else
        fi
    }
    i = 0
}

inline lose_tunnel(me)
{
    lose_streams(me);
    for (kx : 1 .. SESSIONS) {
        if
        :: T.state[kx] == OPENED || T.state[kx] == READY -> session_close(me, kx)
        :: else
        fi
    }
    T.ready_number = 0;
    T.has_run = 0
}

/*
 * A handshake, which begins a session at both ends at once. SETTINGS are the first that each says.
 * Where the dest does not know the tunnel a new one begins, and the source gives up the old one.
 */
inline dial()
{
    sessions++;
    fresh[sessions] = (sessions == 1 || forgotten);
    if
    :: forgotten ->
        forgotten = 0;
        lose_tunnel(SOURCE)
    :: else
    fi;
    tun[SOURCE].state[sessions] = OPENED;
    tun[SOURCE].carriers++;
    WIRE(SOURCE, sessions)!SETTINGS, 0, 0, 0, 0;
    tun[DEST].state[sessions] = OPENED;
    tun[DEST].carriers++;
    WIRE(DEST, sessions)!SETTINGS, 0, 0, 0, 0
}

/* role/uplink.c: whenever no session is left, the source makes another. */
proctype uplink()
{
end:
    do
    :: d_step { sessions < SESSIONS && tun[SOURCE].carriers == 0 ->
            dial()
        }
    od
}

/*
 * The path of a session breaks, a session is refreshed beside one that works or does not: at any
 * time, as often as there are sessions for it, and sooner or later no more.
 */
proctype weather()
{
    do
#if SESSIONS > 1
    :: d_step { sessions >= 1 && !broken[1] && !ALL_ENDED -> broken[1] = 1 }
#endif
#if SESSIONS > 2
    :: d_step { sessions >= 2 && !broken[2] && !ALL_ENDED -> broken[2] = 1 }
#endif
#if SESSIONS > 3
    :: d_step { sessions >= 3 && !broken[3] && !ALL_ENDED -> broken[3] = 1 }
#endif
    :: d_step { sessions < SESSIONS && !ALL_ENDED -> dial() }
    :: break
    od
}

#if GIVE_UP
/* Who has waited too long for a session gives up; a dest may also be killed and start again. */
proctype impatience()
{
    if
#if GIVE_UP & 1
    :: d_step { tun[SOURCE].has_run && tun[SOURCE].session == 0 ->
            gave_up = 1;
            lose_streams(SOURCE)
        }
#endif
#if GIVE_UP & 2
    :: d_step { sessions > 0 && sessions < SESSIONS ->
            gave_up = 1;
            forgotten = 1;
            lose_tunnel(DEST);
            tun[DEST].next_id = 0
        }
#endif
    :: skip
    fi
}
#endif

/* -- what must be true -- */

/* Nothing can happen any more: has everything? */
proctype at_rest()
{
    timeout;
    d_step {
        for (i : 0 .. STREAMS - 1) {
            assert(ENDED(i))
        }
        i = 0
    }
}

#ifdef LIVE
/* Time goes on for ever, so that nothing ends merely because nothing else can happen. */
proctype time()
{
    do
    :: i = 0
    od
}

ltl every_stream_ends { [] (st[0].known -> <> ENDED(0)) }
#endif

init {
    atomic {
        for (i : 1 .. SESSIONS) {
            run session_end(SOURCE, i);
            run session_end(DEST, i)
        }
        for (i : 0 .. STREAMS - 1) {
            run stream_end(SOURCE, i);
            run stream_end(DEST, i)
        }
        run uplink();
        run weather();
#if GIVE_UP
        run impatience();
#endif
#ifdef LIVE
        run time();
#else
        run at_rest();
#endif
        i = 0
    }
}
