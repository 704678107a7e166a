/*
 * Key rotation inside a session of a UTun tunnel, as a Promela model: exchange, switch, ratchet,
 * and what happens when any of it fails. Source: docs/PROTOCOL.md, sections 4.3, 4.5 and 9.3; the
 * code: src/tunnel/rotation.c, rekey.c and key_age.c. What is modelled, what is left out and how to
 * run it: README.md beside this file.
 *
 * `me` is a peer (SOURCE or DEST). Sessions of a tunnel share no key, so there is one at a time
 * here; streams.pml has several. What happens in one call into the engine is one d_step.
 */

/* -- the size of the world; tests/model/test_model.py sets it -- */

#ifndef CHUNKS
#define CHUNKS 2 /* KEY_EXCHANGE frames of an offer */
#endif
#ifndef ROOM
#define ROOM 1 /* records that are on their way in one direction of one session */
#endif

/* Ages of keys, in ticks. */
#define BEGIN_AT   1 /* lifetime - margin: an exchange begins */
#define REFRESH_AT 2 /* lifetime - margin / 2: it has failed; a new session is made */
#define LIFETIME   3 /* the session ends */

/* Counts that go round: what differs by so much is never alive at once. */
#define GENERATIONS 3
#define RATCHETS    2

/* -- planted bugs: each must make Spin find a counterexample -- */

#ifndef BUG
#define BUG NONE
#endif
#define NONE               0
#define SOURCE_OPENS_EARLY 1  /* K3: opens under the new key once it has the answer */
#define DEST_OPENS_EARLY   2  /* K2: opens under the new key once it has sent its own switch */
#define SEALS_EARLY        3  /* K3: the source seals under the new key before it has said so */
#define NEXT_TOO_EARLY     4  /* K4: the source begins an exchange before the last one is over */
#define OLD_KEPT           5  /* K3, K4: the old traffic secret is not wiped at the switch */
#define ROTATION_KEPT      6  /* K2, K3: the old rotation secret is not wiped */
#define RATCHET_IS_FRESH   7  /* KEY_SWITCH of the same generation is taken for the next one's */
#define OLD_GONE_EARLY     8  /* K2: the dest wipes what the source may still ratchet */
#define OUTLIVES_SESSION   9  /* an exchange goes on in the next session */
#define NO_EXPIRY          10 /* a session is not ended at its lifetime */
#define NO_REFRESH         11 /* a stalled exchange is waited for until the session must end */

#define SOURCE 0
#define DEST   1

/* A record: the frame of interest in it, that frame's number, and the key that sealed it. */
mtype = { DATA, OFFER, ANSWER, SWITCH };

chan wire[2] = [ROOM] of { mtype, byte, byte };
#define WIRE(from) wire[from]

/* How far an exchange is. */
#define IDLE      0
#define OFFERING  1 /* source: sends its offer. dest: collects it */
#define WAITING   2 /* source: for the answer. dest: has derived the secrets, answers */
#define ANSWERED  3 /* source: has derived the secrets. dest: has answered */
#define SWITCHING 4 /* source: the dest has switched. dest: waits for the source to */

typedef session_state {
    bit up;
    byte out_generation;
    byte out_ratchet;
    byte in_generation;
    byte in_ratchet;
    byte phase;
    byte chunks;      /* of the offer, sent or collected */
    bit has_next;     /* secrets of the next generation are there */
    byte age;         /* of the keys, in ticks since they were derived */
    byte next_age;    /* of those that are not in use in both directions yet */
    bit has_refreshed;
    byte out_held;    /* set of generations whose traffic secrets are in memory */
    byte in_held;
    byte rotation_held;
};
session_state ends[2];
#define E ends[me]

bit broken; /* nothing that is sent arrives any more */

hidden mtype type;
hidden byte nx;
hidden byte keyx;

#define NEXT(generation) (((generation) + 1) % GENERATIONS)
#define KEY(generation, ratchet) ((generation) * RATCHETS + (ratchet))
#define OUT_KEY KEY(E.out_generation, E.out_ratchet)
#define IN_KEY  KEY(E.in_generation, E.in_ratchet)
#define BIT(generation) (1 << (generation))

/* The only use of the outward key. */
#define seal(what, number) \
    assert(E.age <= LIFETIME && (E.out_held & BIT(E.out_generation)) != 0); \
    if \
    :: broken \
    :: else -> WIRE(me)!what, number, OUT_KEY \
    fi

#define CAN_SEAL (E.up && (broken || nfull(WIRE(me))))

/* -- secrets -- */

/* Generation g+1 from rotation[g] and the exchange's shared secrets; rotation[g] is wiped. */
inline derive(me)
{
    assert(!E.has_next);
    assert((E.rotation_held & BIT(E.in_generation)) != 0);
    E.has_next = 1;
    E.next_age = 0;
    E.out_held = E.out_held | BIT(NEXT(E.out_generation));
    E.in_held = E.in_held | BIT(NEXT(E.in_generation));
    if
    :: BUG == ROTATION_KEPT -> E.rotation_held = E.rotation_held | BIT(NEXT(E.in_generation))
    :: else -> E.rotation_held = BIT(NEXT(E.in_generation))
    fi
}

inline switch_out(me)
{
    if
    :: BUG != OLD_KEPT -> E.out_held = E.out_held & (255 - BIT(E.out_generation))
    :: else
    fi;
    E.out_generation = NEXT(E.out_generation);
    E.out_ratchet = 0
}

inline switch_in(me)
{
    if
    :: (E.in_held & BIT(E.in_generation)) != 0 ->
        E.in_held = E.in_held - BIT(E.in_generation)
    :: else
    fi;
    E.in_generation = NEXT(E.in_generation);
    E.in_ratchet = 0
}

/* Both directions are at the new generation: nothing older is left in memory. */
inline finish(me)
{
    E.phase = IDLE;
    E.chunks = 0;
    E.has_next = 0;
    E.age = E.next_age;
    E.next_age = 0;
    assert(E.out_generation == E.in_generation);
    assert(E.out_held == BIT(E.out_generation));
    assert(E.in_held == BIT(E.in_generation));
    assert(E.rotation_held == BIT(E.in_generation))
}

/* -- in -- */

inline on_offer(me)
{
    /* One at a time, the next of both directions, and in order. */
    assert(me == DEST && (E.phase == IDLE || E.phase == OFFERING));
    assert(E.out_generation == E.in_generation && !E.has_next);
    assert(nx == NEXT(E.in_generation));
    E.phase = OFFERING;
    E.chunks++;
    if
    :: E.chunks == CHUNKS ->
        derive(me);
        E.phase = WAITING;
        if
        :: BUG == OLD_GONE_EARLY -> E.in_held = BIT(NEXT(E.in_generation))
        :: else
        fi
    :: else
    fi
}

inline on_answer(me)
{
    assert(me == SOURCE && E.phase == WAITING && nx == NEXT(E.in_generation));
    derive(me);
    E.phase = ANSWERED;
    if
    :: BUG == SOURCE_OPENS_EARLY -> switch_in(me)
    :: else
    fi
}

inline on_switch(me)
{
    if
    :: nx == E.in_generation && BUG != RATCHET_IS_FRESH ->
        assert((E.in_held & BIT(E.in_generation)) != 0); /* to ratchet it takes the secret */
        E.in_ratchet = (E.in_ratchet + 1) % RATCHETS
    :: else ->
        assert(E.has_next && (nx == NEXT(E.in_generation) || BUG == RATCHET_IS_FRESH));
        switch_in(me);
        if
        :: me == SOURCE -> E.phase = SWITCHING
        :: else -> finish(me)
        fi
    fi
}

/* The only use of the inward key. */
inline on_record(me)
{
    assert(keyx == IN_KEY && E.age <= LIFETIME);
    if
    :: type == DATA
    :: type == OFFER -> on_offer(me)
    :: type == ANSWER -> on_answer(me)
    :: type == SWITCH -> on_switch(me)
    fi
}

/* -- the life of an end -- */

inline end_open(me)
{
    E.up = 1;
    E.out_held = BIT(0);
    E.in_held = BIT(0);
    E.rotation_held = BIT(0)
}

/* Everything is wiped, and an exchange dies with its session. */
inline end_close(me)
{
    do
    :: nempty(WIRE(1 - me)) -> WIRE(1 - me)?_, _, _
    :: else -> break
    od;
    broken = 1;
    E.up = 0;
    E.out_generation = 0;
    E.out_ratchet = 0;
    E.in_generation = 0;
    E.in_ratchet = 0;
    if
    :: BUG != OUTLIVES_SESSION ->
        E.phase = IDLE;
        E.chunks = 0;
        E.has_next = 0
    :: else
    fi;
    E.age = 0;
    E.next_age = 0;
    E.has_refreshed = 0;
    E.out_held = 0;
    E.in_held = 0;
    E.rotation_held = 0
}

#define MAY_BEGIN \
    (E.up && E.age >= BEGIN_AT && E.age < REFRESH_AT && \
     (E.phase == IDLE || (BUG == NEXT_TOO_EARLY && E.phase == SWITCHING)))

/*
 * One end of the session is four processes, so that fairness is owed to each: no traffic keeps a
 * timer from running.
 */
proctype receiver(bit me)
{
end:
    do
    :: d_step { E.up && nempty(WIRE(1 - me)) ->
            WIRE(1 - me)?type, nx, keyx;
            on_record(me)
        }
    od
}

/* Data, and the ratchet: at any time, in either direction. */
proctype traffic(bit me)
{
end:
    do
    :: d_step { CAN_SEAL ->
            seal(DATA, 0)
        }
    :: d_step { CAN_SEAL ->
            seal(SWITCH, E.out_generation);
            E.out_ratchet = (E.out_ratchet + 1) % RATCHETS
        }
    od
}

proctype exchange(bit me)
{
end:
    do
    /* K1: the source begins, and sends its offer a chunk at a time. */
    :: d_step { me == SOURCE && MAY_BEGIN ->
            E.phase = OFFERING;
            E.chunks = 0
        }
    :: d_step { me == SOURCE && CAN_SEAL && E.phase == OFFERING ->
            seal(OFFER, NEXT(E.in_generation));
            E.chunks++;
            if
            :: E.chunks == CHUNKS -> E.phase = WAITING
            :: else
            fi
        }

    /* K2: the dest answers, then switches what it sends. */
    :: d_step { me == DEST && CAN_SEAL && E.phase == WAITING ->
            seal(ANSWER, NEXT(E.in_generation));
            E.phase = ANSWERED
        }
    :: d_step { me == DEST && CAN_SEAL && E.phase == ANSWERED ->
            seal(SWITCH, NEXT(E.out_generation));
            switch_out(me);
            E.phase = SWITCHING;
            if
            :: BUG == DEST_OPENS_EARLY -> switch_in(me)
            :: else
            fi
        }

    /* K3: the source follows. */
    :: d_step { me == SOURCE && CAN_SEAL && E.phase == SWITCHING ->
            if
            :: BUG == SEALS_EARLY ->
                switch_out(me);
                seal(SWITCH, E.out_generation)
            :: else ->
                seal(SWITCH, NEXT(E.out_generation));
                switch_out(me)
            fi;
            finish(me)
        }

    od
}

/* It ends: its connection was cut, or its keys are too old. */
proctype ending(bit me)
{
end:
    do
    :: d_step { E.up && broken ->
            end_close(me)
        }
    :: d_step { E.up && E.age == LIFETIME && BUG != NO_EXPIRY ->
            assert(me == DEST || E.has_refreshed);
            end_close(me)
        }
    od
}

/* -- the world -- */

#define UP(me) ends[me].up

inline end_replace(me)
{
    if
    :: E.up -> end_close(me)
    :: else
    fi;
    end_open(me)
}

/* A handshake: a session at both ends at once, in the place of what may be left of the last one. */
inline dial()
{
    end_replace(SOURCE);
    end_replace(DEST);
    broken = 0
}

/* role/uplink.c: a new session when there is none. */
proctype uplink()
{
end:
    do
    :: d_step { !UP(SOURCE) -> dial() }
    od
}

#define NEEDS_REFRESH \
    (UP(SOURCE) && ends[SOURCE].age == REFRESH_AT && !ends[SOURCE].has_refreshed && \
     BUG != NO_REFRESH)

/* A refresh where an exchange has stalled. It may fail, and is not tried again then. */
proctype refresh()
{
end:
    do
    :: d_step { NEEDS_REFRESH -> dial() }
    :: d_step { NEEDS_REFRESH -> ends[SOURCE].has_refreshed = 1 }
    od
}

/* The connection breaks. */
proctype weather()
{
end:
    do
    :: d_step { UP(SOURCE) && !broken -> broken = 1 }
    od
}

/* A timer that has come due runs before time goes on. */
#define IS_DUE \
    (NEEDS_REFRESH || \
     (BUG != NO_EXPIRY && \
      ((UP(SOURCE) && ends[SOURCE].age == LIFETIME) || (UP(DEST) && ends[DEST].age == LIFETIME))))

inline tick(me)
{
    if
    :: E.up && E.age <= LIFETIME -> E.age++
    :: else
    fi;
    if
    :: E.up && E.has_next && E.next_age < LIFETIME -> E.next_age++
    :: else
    fi
}

proctype clock()
{
end:
    do
    :: d_step { !IS_DUE && (UP(SOURCE) || UP(DEST)) ->
            tick(SOURCE);
            tick(DEST)
        }
    od
}

/* -- what must be true besides the assertions -- */

/* The tunnel is never stranded: again and again there is a session with young keys. */
#define IS_YOUNG(me) (ends[me].up && ends[me].age < BEGIN_AT)

#ifdef LIVE
ltl never_stranded { [] <> (IS_YOUNG(SOURCE) && IS_YOUNG(DEST)) }
#endif

init {
    atomic {
        run receiver(SOURCE);
        run receiver(DEST);
        run traffic(SOURCE);
        run traffic(DEST);
        run exchange(SOURCE);
        run exchange(DEST);
        run ending(SOURCE);
        run ending(DEST);
        run uplink();
        run refresh();
        run weather();
        run clock()
    }
}
