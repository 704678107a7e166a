#!/usr/bin/env python3
"""Peers that mean harm with the keys of half a megabyte of `hybrid` and `mceliece460896`.

As test_hostile_peers.py, which has everything that is alike in all modes: attacks on the exchange of the
handshake and on that inside a session, by a source and by a dest."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from harness import memcheck
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

BY_KEY: dict[str, str | None] = {
    "kem_key_of_another_length": LIVES,
    "kem_key_in_another_place": LIVES,
    "kem_key_twice": LIVES,
    "kem_key_and_more": LIVES,
    "kem_key_of_zeros": "key_confirm",
    "kem_key_of_ones": "key_confirm",
    "kem_key_that_repeats": "key_confirm",
    "kem_keys_that_stop": LIVES,
    "kem_keys_hung_up": LIVES,
    "kem_key_byte_by_byte": LIVES,
}
BY_OFFER: dict[str, str | None] = {
    "offer_that_is_right": LIVES,
    "offer_byte_by_byte": LIVES,
    "offer_that_stops": LIVES,
    "offer_too_long": "malformed",
    "offer_with_a_gap": "malformed",
    "offer_said_again": "malformed",
    "offer_of_another_generation": "unexpected",
    "offer_twice": "unexpected",
    "offer_of_the_last_generation": "unexpected",
    "switch_before_the_answer": "unexpected",
    "offer_of_zeros": "auth_tag",
    "offer_of_ones": "auth_tag",
    "offers_begun": LIVES,
}
BY_ANSWER: dict[str, str | None] = {
    "kem_answer_of_garbage": "key_confirm",
    "kem_answer_of_zeros": "key_confirm",
    "kem_answer_too_early": "key_confirm",
    "kem_answer_of_another_length": LIVES,
    "kem_answer_of_another_kind": LIVES,
    "kem_answer_twice": LIVES,
    "kem_keys_not_awaited": LIVES,
}
BY_ANSWER_IN_SESSION: dict[str, str | None] = {
    "answer_to_none": "unexpected",
    "answer_too_long": "malformed",
    "answer_with_a_gap": "malformed",
    "answer_of_another_generation": "unexpected",
    "answer_twice": "unexpected",
    "switch_without_answer": "unexpected",
    "answer_of_garbage": "auth_tag",
}
if memcheck.ON:
    del BY_KEY["kem_key_byte_by_byte"]  # half a million records in half a minute
if LONG:
    BY_ANSWER_IN_SESSION["answer_that_never_ends"] = "key_expired"


def kept(attacked: Attacked, neighbour: Neighbour) -> str:
    """Exchanges that are never ended, each with half a megabyte at the dest, are not without bound."""
    attacked.attack("offers_kept", LIVES, count=1)  # what a first session takes, code too
    before = attacked.daemon.status_kib("VmHWM")
    attacked.attack("offers_kept", LIVES, count=20)
    grown = (attacked.daemon.status_kib("VmHWM") - before) // 1024
    neighbour.check()
    if not SANITIZED:
        check(grown < 6, f"{grown} MiB for exchanges that are not ended")
    return f"{grown} MiB for 20 of them"


def at_once(suite: Suite, authority: Authority, mode: str, names: list[str]) -> None:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        tries = []
        for name in names:
            source = stack.enter_context(
                attacked_source(suite, authority, mode, f"{name}-{mode}", PATIENT)
            )
            tries.append(pool.submit(source.attack, name, BY_ANSWER_IN_SESSION[name]))
        for one in tries:
            one.result()


def in_sessions(suite: Suite, authority: Authority, mode: str) -> str:
    """All at the same time: each waits for an exchange that a source begins when keys are old."""
    names = list(BY_ANSWER_IN_SESSION)
    width = 1 if memcheck.ON else len(names)  # a key pair of McEliece's is seconds of work there
    for start in range(0, len(names), width):
        at_once(suite, authority, mode, names[start : start + width])
    return f"{len(names)} attacks"


def slowly(suite: Suite, authority: Authority, mode: str, dest: Attacked) -> str:
    """What is never ended meets its deadline, which is half a minute."""
    began = time.monotonic()
    with attacked_source(suite, authority, mode, f"slowly-{mode}", PATIENT) as source:
        with ThreadPoolExecutor() as pool:
            tries = [
                pool.submit(dest.attack, "kem_key_that_never_ends", LIVES, seconds=60),
                pool.submit(source.attack, "kem_answer_that_never_ends", LIVES, seconds=60),
            ]
            for one in tries:
                one.result()
    return f"in {time.monotonic() - began:.0f} s"


def in_mode(suite: Suite, authority: Authority, mode: str) -> None:
    with attacked_dest(suite, authority, mode, f"dest-of-{mode}") as dest:
        with Neighbour(dest.words["echo"]) as neighbour:
            suite.run(f"{mode}: offers that are kept", kept, dest, neighbour)
            suite.run(f"{mode}: a source, in the handshake", beside, dest, neighbour, BY_KEY)
            suite.run(f"{mode}: a source, in a session", beside, dest, neighbour, BY_OFFER)
            suite.run(f"{mode}: keys without end", fair, dest, neighbour, "kem_keys_without_end")
            if LONG:
                suite.run(f"{mode}: keys that never end", slowly, suite, authority, mode, dest)
        rest(suite, dest)
    with attacked_source(suite, authority, mode, f"source-of-{mode}", PATIENT) as source:
        suite.run(f"{mode}: a dest, in the handshake", source.attacks, BY_ANSWER)
        rest(suite, source)
    suite.run(f"{mode}: a dest, in a session", in_sessions, suite, authority, mode)


def main() -> int:
    with Suite("hostile keys") as suite:
        authority = Authority(suite.folder, algorithm="ecdsa-p256")
        for mode in ("hybrid", "mceliece460896") if LONG else ("hybrid",):
            in_mode(suite, authority, mode)
    return suite.status()


if __name__ == "__main__":
    sys.exit(main())
