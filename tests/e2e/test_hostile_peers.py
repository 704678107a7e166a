#!/usr/bin/env python3
"""Peers that mean harm: with a certificate that is right, and all that follows from it (tests/hostile).

Each attack is set on a real daemon, which ends the session for the right reason or bears it: it lives,
keeps within its memory, goes quiet when the attack is over and leaves nothing open; and beside it
another source's streams move their bytes, exactly, all the time."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from harness.hostile import (
    LIVES,
    PATIENT,
    Attacked,
    Neighbour,
    attacked_dest,
    attacked_source,
    beside,
    fair,
    rest,
)
from harness.process import SANITIZED
from harness.suite import LONG, Suite, check
from harness.utun import Authority

MODE = "mlkem768"

ON_SESSION: dict[str, str | None] = {
    "settings_missing": "unexpected",
    "settings_twice": "unexpected",
    "settings_later": "unexpected",
    "settings_too_many": "malformed",
    "settings_repeated": "malformed",
    "settings_unknown": LIVES,
    "settings_wild": LIVES,
    "settings_of_a_moment": "key_expired",
    "pings_in_one_record": "limit",
    "pings_that_are_read": LIVES,
    "pings_unread": "limit",
    "pongs_unasked": LIVES,
    "go_away_flood": LIVES,
    "frames_to_be_ignored": LIVES,
    "frame_unknown": "unknown_frame",
    "frames_malformed": "malformed",
    "frame_longer_than_its_record": "malformed",
    "record_empty": "malformed",
    "record_too_long": "malformed",
    "record_of_another_kind": "malformed",
    "record_of_another_epoch": "unexpected",
    "record_of_garbage": "auth_tag",
    "record_first_of_garbage": "key_confirm",
    "record_twice": "auth_tag",
    "switch_flood": "limit",
    "switch_not_last": "unexpected",
    "switch_to_what_is_not": "unexpected",
    "switch_far": "unexpected",
    "exchange_of_another_generation": "unexpected",
    "exchange_unfinished": LIVES,
    "exchange_of_a_wrong_key": "malformed",
    "exchange_too_long": "malformed",
    "exchange_with_a_gap": "malformed",
    "exchange_twice_at_once": "unexpected",
    "exchange_flood": "limit",
}
ON_STREAM: dict[str, str | None] = {
    "open_backwards": "stream_state",
    "open_twice": "stream_state",
    "open_the_last": "stream_state",
    "open_beyond_the_service": LIVES,
    "open_without_end": "limit",
    "rapid_reset": LIVES,
    "rapid_reset_unread": "limit",
    "targets_not_allowed": LIVES,
    "data_on_none": "stream_state",
    "data_with_a_gap": "stream_state",
    "data_again": "stream_state",
    "data_behind_fin": "stream_state",
    "data_behind_reset": "stream_state",
    "data_beyond_credit": "flow_control",
    "data_before_accept": "flow_control",
    "data_at_the_end_of_numbers": "malformed",
    "data_byte_by_byte": LIVES,
    "credit_for_none": "stream_state",
    "credit_for_what_was_not_sent": "flow_control",
    "credit_that_shrinks": LIVES,
    "credit_byte_by_byte": LIVES,
    "never_reads": LIVES,
    "never_acknowledges": LIVES,
    "accept_by_a_source": "unexpected",
    "reset_twice": "stream_state",
    "reset_of_another_size": "stream_state",
    "reset_of_none": "stream_state",
    "flows_without_end": LIVES,
    "flows_open_and_shut": LIVES,
    "datagrams_of_none": LIVES,
    "datagrams_without_end": LIVES,
    "datagram_too_long": "malformed",
}
ON_TUNNEL: dict[str, str | None] = {
    "resume_on_fresh": "unexpected",
    "resume_of_more_than_was_sent": "resume",
    "resume_of_less_than_was_acknowledged": "resume",
    "resume_of_a_stream_twice": "resume",
    "resume_with_fewer_streams": "resume",
    "resume_again": "unexpected",
    "resume_of_streams_unknown": LIVES,
    "resume_without_end": LIVES,
    "stream_before_resume": "unexpected",
    "session_of_an_old_number": "superseded",
    "session_fresh_behind_resumed": "superseded",
    "sessions_beyond": LIVES,
    "tunnel_of_another": LIVES,
    "tunnel_without_its_secret": LIVES,
    "records_unfinished": LIVES,
    "handshake_messages": LIVES,
    "handshakes_that_stop": LIVES,
}
ON_DEST = {
    "sessions": ON_SESSION,
    "streams and flows": ON_STREAM,
    "tunnels": ON_TUNNEL,
}
# What a session bears from a source, it does not from a dest, which must not begin an exchange.
ON_SESSION_OF_SOURCE = ON_SESSION | {
    "exchange_unfinished": "unexpected",
    "exchange_of_a_wrong_key": "unexpected",
    "exchange_too_long": "unexpected",
    "exchange_with_a_gap": "unexpected",
}
del ON_SESSION_OF_SOURCE["exchange_twice_at_once"]
del ON_SESSION_OF_SOURCE["exchange_flood"]
ON_SOURCE: dict[str, str | None] = {
    "opens_a_stream": "unexpected",
    "opens_a_flow": "unexpected",
    "accept_of_none": "stream_state",
    "accept_twice": "stream_state",
    "accept_behind_reset": "stream_state",
    "data_of_none": "stream_state",
    "data_with_a_gap": "stream_state",
    "data_behind_fin": "stream_state",
    "data_beyond_credit": "flow_control",
    "ack_of_what_was_not_sent": "flow_control",
    "reset_of_another_size": "stream_state",
    "reset_twice": "stream_state",
    "resume_of_more_streams": "resume",
    "resume_of_a_stream_unknown": "resume",
    "resume_of_more_than_was_sent": "resume",
    "resume_of_fewer_streams": "resume",
    "takes_no_streams": LIVES,
    "never_reads": LIVES,
}


def all_tunnels(attacked: Attacked, neighbour: Neighbour) -> str:
    """One source takes what it gets; it is told why it gets no more, and another is let in."""
    done = beside(attacked, neighbour, {"tunnels_beyond": LIVES})
    refused = attacked.daemon.events("handshake.failed", error="limit")
    told = [event for event in refused if "kept for other sources" in event["detail"]]
    check(told and told[-1]["retry_after_ms"] > 0, f"refused otherwise: {refused[-1:]}")
    return done


def anything(attacked: Attacked) -> str:
    count = (2000 if LONG else 40) // (4 if SANITIZED else 1)
    seed = random.randrange(2**32) if LONG else 1
    attacked.attack("any", None, seconds=120 if LONG else 30, seed=seed, count=count)
    return f"{count} sessions from seed {seed}"


# Attacks by which a dest would have its source make one session after the other. The breaker lets it
# make six, then it waits for a minute.
WITHOUT_END = ("sends_away_for_ever", "hangs_up_for_ever", "ages_keys_for_ever")
SESSIONS = 6


def without_end(suite: Suite, authority: Authority) -> str:
    """All at the same time: each takes seconds, and next to nothing else."""
    usual = {"max_reconnect_delay_ms": 60000}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        tries = []
        for name in WITHOUT_END:
            source = stack.enter_context(attacked_source(suite, authority, MODE, name, usual))
            tries.append(pool.submit(source.attack, name, LIVES, count=SESSIONS))
        return ", ".join(one.result() for one in tries)


FAIR = (
    "memory_of_many_tunnels",
    "credit_hoarded",
    "flood_of_datagrams",
    "flood_of_refusals",
    "flood_of_brief_streams",
    "flood_of_shut_flows",
)


def main() -> int:
    with Suite("hostile peers") as suite:
        authority = Authority(suite.folder, algorithm="ecdsa-p256")
        with attacked_dest(suite, authority, MODE) as dest:
            with Neighbour(dest.words["echo"]) as neighbour:
                for name, table in ON_DEST.items():
                    suite.run(f"a source: {name}", beside, dest, neighbour, table)
                for name in FAIR:
                    suite.run(f"a source: {name}", fair, dest, neighbour, name)
                suite.run("a source: anything", anything, dest)
                # The last: they stay for a second.
                suite.run("a source: all the tunnels", all_tunnels, dest, neighbour)
            rest(suite, dest)
        places = {"max_connections_per_service": 1000}
        with attacked_dest(suite, authority, MODE, "dest-of-many", places) as dest:
            with Neighbour(dest.words["echo"]) as neighbour:
                name = "memory_of_waiting_streams"
                suite.run(f"a source: {name}", fair, dest, neighbour, name, 8)
        hosts = {"allowed_targets": {"allowed_ips": ["192.0.2.0/24"]}}
        with attacked_dest(suite, authority, MODE, "dest-of-hosts", hosts) as dest:
            with Neighbour(dest.words["echo"]) as neighbour:
                name = "flood_of_forbidden_names"
                suite.run(f"a source: {name}", fair, dest, neighbour, name)
        with attacked_source(suite, authority, MODE, "source", PATIENT) as source:
            suite.run("a dest: sessions", source.attacks, ON_SESSION_OF_SOURCE)
            suite.run("a dest: streams", source.attacks, ON_SOURCE)
            suite.run("a dest: anything", anything, source)
            rest(suite, source)
        suite.run("a dest: what never ends", without_end, suite, authority)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
