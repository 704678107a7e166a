#!/usr/bin/env python3
"""Runs the ProVerif models of docs/model: each world, against what is expected of each claim.

usage: prove.py [--check] [--jobs N] [--only WORD] [--table FILE] MODEL_FOLDER

A world is a model and the switches that it goes through the C preprocessor with: what the attacker
can break, and which binding is left out. ProVerif must prove each claim that is expected to hold,
and must find an attack on each other. --check runs nothing: it only compares the switches of the
models with those of the worlds.
"""

import argparse
import concurrent.futures
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 3600
INSTALL = (
    "proverif is not on the PATH. Debian has no package of it: install ProVerif 2.05 from its authors"
    " (https://proverif.inria.fr/), or with opam: `opam install proverif`."
)


@dataclass
class World:
    """expected: for each claim in the model's order, T: holds, F: ProVerif finds an attack."""

    what: str
    model: str
    switches: str
    expected: str


def in_mode(mode, what, switches, expected):
    return World(f"{mode}: {what}", "session", f"MODE={mode} {switches}", expected)


def hybrid(what, switches, expected):
    return in_mode("hybrid", what, switches, expected)


def mixed(what, switches, expected):
    return World(f"any modes: {what}", "session", f"MIXED {switches}", expected)


def resume(what, switches, expected):
    return World(f"resume: {what}", "resume", switches, expected)


def rekey(what, switches, expected):
    return World(f"rekey: {what}", "rekey", switches, expected)


# The claims: the source's data of epoch 0, of epoch 1, the dest's data; the dest's agreement with the
# source, the source's with the dest. With ASK_SECRECY the first three only.
ALL, NOTHING = "TTTTT", "FFFFF"

SESSION = [
    *[in_mode(m, "nothing is broken", "", ALL) for m in ("hybrid", "mlkem768", "mceliece460896")],
    *[
        in_mode(m, "a session can come up", "ASK_COMPLETES", "FF")
        for m in ("hybrid", "mlkem768", "mceliece460896")
    ],
    # Key agreements. Where a break during the handshake changes nothing, one afterwards cannot.
    hybrid("X25519, McEliece broken from the start", "X_NOW M_NOW", ALL),
    hybrid("ML-KEM, McEliece broken from the start", "K_NOW M_NOW", ALL),
    hybrid("X25519, ML-KEM broken later", "X_LATER K_LATER ASK_SECRECY", "TTT"),
    hybrid("X25519, ML-KEM broken from the start", "X_NOW K_NOW", NOTHING),
    hybrid("all three broken later", "X_LATER K_LATER M_LATER ASK_SECRECY", "FFF"),
    in_mode("mlkem768", "X25519 broken from the start", "X_NOW", ALL),
    in_mode("mlkem768", "ML-KEM broken from the start", "K_NOW", ALL),
    in_mode("mlkem768", "both broken later", "X_LATER K_LATER ASK_SECRECY", "FFF"),
    in_mode("mceliece460896", "McEliece broken from the start", "M_NOW", ALL),
    in_mode("mceliece460896", "X25519 broken later", "X_LATER ASK_SECRECY", "TTT"),
    in_mode("mceliece460896", "X25519 broken from the start", "X_NOW", NOTHING),
    in_mode("mceliece460896", "both broken later", "X_LATER M_LATER ASK_SECRECY", "FFF"),
    # Long-term keys.
    hybrid("the key of the source is stolen", "LS_NOW", "TTFFT"),
    hybrid("the key of the dest is stolen", "LD_NOW", "FFTTF"),
    hybrid("that of the source, X25519, McEliece broken", "LS_NOW X_NOW M_NOW", "TTFFT"),
    hybrid("that of the dest, ML-KEM, McEliece broken", "LD_NOW K_NOW M_NOW", "FFTTF"),
    hybrid("that of the source, ML-KEM broken", "LS_NOW K_NOW", "TTFFT"),
    hybrid("that of the dest, X25519 broken", "LD_NOW X_NOW", "FFTTF"),
    hybrid("both are stolen", "LS_NOW LD_NOW", NOTHING),
    in_mode("mceliece460896", "the key of the source is stolen", "LS_NOW", "TTFFT"),
    in_mode("mceliece460896", "the key of the dest is stolen", "LD_NOW", "FFTTF"),
    in_mode("mlkem768", "the key of the source is stolen", "LS_NOW", "TTFFT"),
    in_mode("mlkem768", "the key of the dest is stolen", "LD_NOW", "FFTTF"),
    in_mode(
        "mlkem768", "both stolen later, X25519 broken later", "L_LATER X_LATER ASK_SECRECY", "TTT"
    ),
    in_mode(
        "mceliece460896",
        "both stolen later, X25519 broken later",
        "L_LATER X_LATER ASK_SECRECY",
        "TTT",
    ),
    hybrid("both stolen later, two broken later", "L_LATER X_LATER K_LATER ASK_SECRECY", "TTT"),
    hybrid("both stolen later, two others broken", "L_LATER X_NOW M_NOW ASK_SECRECY", "TTT"),
    hybrid("both stolen later, again two others", "L_LATER K_NOW M_NOW ASK_SECRECY", "TTT"),
    # Traffic keys: what is lost is what they open, and what is ratcheted from a secret.
    hybrid("a traffic key, two broken later", "T_LATER X_LATER K_LATER ASK_SECRECY", "FTT"),
    hybrid("a traffic key, McEliece broken later", "T_LATER M_LATER ASK_SECRECY", "FTT"),
    in_mode(
        "mceliece460896",
        "a traffic key, X25519 broken later",
        "T_LATER X_LATER ASK_SECRECY",
        "FTT",
    ),
    in_mode(
        "mceliece460896",
        "a traffic key, McEliece broken later",
        "T_LATER M_LATER ASK_SECRECY",
        "FTT",
    ),
    hybrid("a traffic key, the long-term keys later", "T_LATER L_LATER ASK_SECRECY", "FTT"),
    hybrid("a secret after a ratchet, two broken", "TN_LATER X_LATER K_LATER ASK_SECRECY", "TFT"),
    # Keys of TLS alone.
    hybrid("the handshake keys of TLS are known", "HS_KEYS", ALL),
    hybrid("the application keys of TLS are known", "AP_KEYS", ALL),
    hybrid("those, and McEliece is broken", "AP_KEYS M_NOW", ALL),
    # No downgrade: the attacker chooses each peer's mode, and all of another mode may be broken.
    mixed("nothing is broken", "ASKED=m", ALL),
    mixed("hybrid where mceliece460896 is broken", "ASKED=hybrid X_NOW M_NOW", ALL),
    mixed("mlkem768 where mceliece460896 is broken", "ASKED=mlkem768 X_NOW M_NOW", ALL),
    # What is left out, and what it is good for.
    hybrid("without the certificate of the source", "WITHOUT_SOURCE_CERT HS_KEYS", "TTTTF"),
    hybrid("without the certificate of the dest", "WITHOUT_DEST_CERT HS_KEYS", ALL),
    hybrid("without the mode", "WITHOUT_MODE AP_KEYS", ALL),
    hybrid("without the messages", "WITHOUT_TRANSCRIPT AP_KEYS", "TTTFF"),
    hybrid("without the exporter", "WITHOUT_EXPORTER AP_KEYS M_NOW", NOTHING),
    hybrid("without McEliece", "WITHOUT_MCELIECE X_LATER K_LATER ASK_SECRECY", "FFF"),
    hybrid("without ML-KEM", "WITHOUT_MLKEM X_LATER M_LATER ASK_SECRECY", "FFF"),
    hybrid("without CertificateVerify of the source", "WITHOUT_SOURCE_VERIFY", "TTFFT"),
    hybrid("without CertificateVerify of the dest", "WITHOUT_DEST_VERIFY", "FFTTF"),
    hybrid("without a check of the name", "WITHOUT_NAME", "FFTFF"),
    hybrid("without a check of the usage", "WITHOUT_USAGE", NOTHING),
    hybrid("without key confirmation", "WITHOUT_CONFIRMATION", "TTTFF"),
]

# The claims: the dest resumes for nobody but its source; the source goes on with nobody but its dest.
RESUME = [
    resume("nothing is stolen", "", "TT"),
    resume("a tunnel can be resumed", "ASK_COMPLETES", "F"),
    resume("the key of the source is stolen", "LS_NOW", "TT"),
    resume("the key of the dest is stolen", "LD_NOW", "TT"),
    resume("both are stolen", "LS_NOW LD_NOW", "TT"),
    resume("the tunnel secret is stolen", "SECRET_NOW", "TT"),
    resume("secret and key of the source", "SECRET_NOW LS_NOW", "FT"),
    resume("secret and key of the dest", "SECRET_NOW LD_NOW", "TF"),
    resume("without the proof", "LS_NOW WITHOUT_PROOF", "FT"),
    resume("without the binder", "LS_NOW LD_NOW WITHOUT_BINDER", "FF"),
    resume("without labels of their own", "LD_NOW WITHOUT_LABEL", "TF"),
    resume("without the identity", "SECRET_NOW WITHOUT_IDENTITY", "FT"),
    resume("without the tunnel's id in the proof", "LS_NOW LD_NOW WITHOUT_TUNNEL", "TT"),
]

# The claims: data of generation 0 up, down, of generation 1 up, down; agreement of source and dest.
REKEY = [
    rekey("nothing is broken", "", "TTTTTT"),
    rekey("an exchange can end", "ASK_COMPLETES", "FF"),
    rekey("both KEMs are broken", "K_NOW M_NOW", "TTTTTT"),
    rekey("generation 0 later, ML-KEM", "G0_LATER K_LATER ASK_SECRECY", "FFTT"),
    rekey("generation 0 later, McEliece", "G0_LATER M_LATER ASK_SECRECY", "FFTT"),
    rekey("generation 0 later, both", "G0_LATER K_LATER M_LATER ASK_SECRECY", "FFFF"),
    rekey("generation 1 later", "G1_LATER K_LATER M_LATER ASK_SECRECY", "TTFF"),
    rekey("traffic secrets at once, both KEMs", "T_NOW K_NOW M_NOW", "FFTTTT"),
    rekey("all of generation 0 at once", "G0_NOW", "FFFFFF"),
    rekey("without the last generation", "T_NOW K_NOW M_NOW WITHOUT_ROTATION", "FFFFFF"),
    rekey("without the offer", "T_NOW WITHOUT_OFFER", "FFTTTT"),
    rekey("without the answer", "T_NOW WITHOUT_ANSWER", "FFTTTT"),
    rekey("without either", "T_NOW WITHOUT_OFFER WITHOUT_ANSWER", "FFTTFF"),
    rekey("without ML-KEM", "G0_LATER M_LATER WITHOUT_MLKEM ASK_SECRECY", "FFFF"),
    rekey("without McEliece", "G0_LATER K_LATER WITHOUT_MCELIECE ASK_SECRECY", "FFFF"),
]

WORLDS = SESSION + RESUME + REKEY


class Failed(Exception):
    """A world that is not as expected."""


def switches_differ(folder):
    """What a model knows and no world sets, and the other way round."""
    said = []
    for name in sorted({w.model for w in WORLDS}):
        text = (folder / f"{name}.pv").read_text()
        known = set(re.findall(r"^#\s*(?:ifdef|ifndef)\s+(\w+)", text, re.M))
        known |= set(re.findall(r"defined\((\w+)\)", text))
        used = {s.split("=")[0] for w in WORLDS if w.model == name for s in w.switches.split()}
        optional = {"MODE", "ASKED"}
        said += [f"{name}.pv: no world sets {s}" for s in sorted(known - used - optional)]
        said += [f"{name}.pv: does not know {s}" for s in sorted(used - known - optional)]
    return said


def letters(output):
    """One letter a claim, from ProVerif's result lines."""
    found = ""
    for line in output.splitlines():
        if not line.startswith("RESULT ") or line.startswith("RESULT ("):
            continue
        if line.endswith("is true."):
            found += "T"
        elif line.endswith("is false."):
            found += "F"
        else:
            found += "?"  # it could neither prove it nor find the attack
    return found


def preprocessed(world, folder):
    source = folder / f"{world.model}.pv"
    flags = [f"-D{s}" for s in world.switches.split()]
    done = subprocess.run(
        ["cpp", "-P", "-undef", "-Werror", *flags, str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise Failed(f"{world.what}: {done.stdout}")
    return done.stdout


def prove(world, folder):
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="utun-prove-") as place:
        file = Path(place) / "world.pv"
        file.write_text(preprocessed(world, folder))
        try:
            done = subprocess.run(
                ["proverif", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as e:
            raise Failed(f"{world.what}: no end within {SECONDS} s") from e
    found = letters(done.stdout)
    seconds = time.monotonic() - started
    if found != world.expected:
        results = "\n".join(re.findall(r"^(?:RESULT|Error|File).*$", done.stdout, re.M))
        raise Failed(
            f"{world.what} ({world.switches}): {found} instead of {world.expected}\n" f"{results}"
        )
    return found, seconds


def prove_all(worlds, folder, jobs, table):
    failures = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        runs = [(w, pool.submit(prove, w, folder)) for w in worlds]
        for world, run in runs:
            try:
                found, seconds = run.result()
            except Failed as e:
                failures.append(e)
                print(f"FAILED {e}", flush=True)
                continue
            print(f"{found:7} {seconds:6.1f} s  {world.what} ({world.switches})", flush=True)
            table.append(f"| {world.what} | `{world.switches}` | {found} | {seconds:.1f} |")
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()

    said = switches_differ(options.folder)
    try:
        for world in WORLDS:
            preprocessed(world, options.folder)
    except Failed as e:
        said.append(str(e))
    for line in said:
        print(f"FAILED {line}")
    if said or options.check:
        return 1 if said else 0
    if shutil.which("proverif") is None:
        print(INSTALL)
        return 1

    worlds = [w for w in WORLDS if options.only in w.what]
    started = time.monotonic()
    table = []
    failures = prove_all(worlds, options.folder, options.jobs, table)
    if options.table:
        options.table.write_text("\n".join(table) + "\n")
    print(
        f"{len(worlds) - len(failures)} worlds as expected, {len(failures)} not, "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if failures or not worlds else 0


if __name__ == "__main__":
    sys.exit(main())
