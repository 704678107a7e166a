"""What of a private key file must be found nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path


def field(der: bytes, at: int = 0) -> tuple[int, bytes, int]:
    """The DER field there: tag, value, where the next one begins."""
    tag, length = der[at], der[at + 1]
    at += 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[at : at + size], "big")
        at += size
    return tag, der[at : at + length], at + length


def fields(der: bytes) -> list[bytes]:
    values, at = [], 0
    while at < len(der):
        _, value, at = field(der, at)
        values.append(value)
    return values


def secrets_of(path: Path) -> dict[str, bytes]:
    """What of a key file nobody else may have, in the forms in which memory may hold it."""
    text = "".join(line for line in path.read_text().splitlines() if "-----" not in line)
    der = base64.b64decode(text)
    inner = fields(fields(der)[0])[2]  # PrivateKeyInfo: version, algorithm, the key
    tag, value, _ = field(inner)
    if tag == 0x04:  # Ed25519, 32 bytes
        found = {"key": value}
    else:
        parts = fields(value)
        if len(parts) == 2 and len(parts[0]) == 32 and len(parts[1]) > 2000:  # ML-DSA
            # rho and tr in the expanded key are public.
            found = {"seed": parts[0], "K": parts[1][32:64], "s1": parts[1][128:192]}
        elif len(parts) >= 8:  # RSA: version, n, e, d, p, q, ...
            found = {name: parts[i].lstrip(b"\0") for name, i in (("d", 3), ("p", 4), ("q", 5))}
        else:  # EC: version, the number, ...
            found = {"number": parts[1]}
    found |= {f"{name}, reversed": value[::-1] for name, value in dict(found).items()}
    found["PEM"] = text[40:104].encode() if len(text) > 120 else text[20:60].encode()
    return found
