"""Bytes to send through tunnels: made fast, never repeating, and summed on both sides."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

MIB = 1024 * 1024


def write_file(path: Path, mebibytes: int) -> str:
    """Fills a file so that no two of its mebibytes are equal; its SHA-256."""
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    with open(path, "wb", buffering=0) as out:
        for number in range(mebibytes):
            turn = number * 4099 % MIB
            piece = struct.pack("!Q", number) + block[turn:] + block[: max(turn - 8, 0)]
            piece = piece[:MIB].ljust(MIB, b"\0")
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def sum_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
