#!/usr/bin/env python3
"""The test vectors of docs/PROTOCOL.md, section 13.

An implementation of sections 4 and 5 that shares nothing with the C code: only Python's hashlib and
hmac, and an AES-256-GCM written out below. Without an argument it prints the section; with the path
of the document it compares, and fails where the two differ.
"""

import hashlib
import hmac
import struct
import sys

MODES = {"hybrid": 1, "mlkem768": 2, "mceliece460896": 3}
MCELIECE_PUBLIC_KEY_SIZE = 524160
MCELIECE_CIPHERTEXT_SIZE = 156


def H(data):
    return hashlib.sha384(data).digest()


def hmac384(key, data):
    return hmac.new(key, data, hashlib.sha384).digest()


def hkdf_expand(prk, info, n):
    out, block, i = b"", b"", 1
    while len(out) < n:
        block = hmac384(prk, block + info + bytes([i]))
        out += block
        i += 1
    return out[:n]


def expand_label(secret, label, context, n):
    name = b"utun1 " + label.encode()
    info = struct.pack(">H", n) + bytes([len(name)]) + name + bytes([len(context)]) + context
    return hkdf_expand(secret, info, n)


# AES-256-GCM, as FIPS 197 and SP 800-38D describe it. Slow and not constant-time: for vectors only.


def _sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= ((p << 1) ^ (0x1B if p & 0x80 else 0)) & 0xFF
        for s in (1, 2, 4):
            q ^= (q << s) & 0xFF
        if q & 0x80:
            q ^= 0x09
        rot = lambda n: ((q << n) | (q >> (8 - n))) & 0xFF
        box[p] = q ^ rot(1) ^ rot(2) ^ rot(3) ^ rot(4) ^ 0x63
        if p == 1:
            box[0] = 0x63
            return box


SBOX = _sbox()


def aes256_block(key, block):
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    rcon = 1
    while len(words) < 60:
        w = list(words[-1])
        if len(words) % 8 == 0:
            w = [SBOX[b] for b in w[1:] + w[:1]]
            w[0] ^= rcon
            rcon <<= 1
        elif len(words) % 8 == 4:
            w = [SBOX[b] for b in w]
        words.append([a ^ b for a, b in zip(words[-8], w)])
    round_keys = [sum(words[i : i + 4], []) for i in range(0, 60, 4)]
    double = lambda b: ((b << 1) ^ (0x1B if b & 0x80 else 0)) & 0xFF

    state = [a ^ b for a, b in zip(block, round_keys[0])]
    for n in range(1, 15):
        state = [SBOX[b] for b in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if n < 14:
            mixed = []
            for c in range(0, 16, 4):
                a = state[c : c + 4]
                for i in range(4):
                    x, y = a[i], a[(i + 1) % 4]
                    mixed.append(double(x) ^ double(y) ^ y ^ a[(i + 2) % 4] ^ a[(i + 3) % 4])
            state = mixed
        state = [a ^ b for a, b in zip(state, round_keys[n])]
    return bytes(state)


def ghash(h, data):
    h, y = int.from_bytes(h, "big"), 0
    for i in range(0, len(data), 16):
        y ^= int.from_bytes(data[i : i + 16], "big")
        z, v = 0, h
        for bit in range(127, -1, -1):
            if y >> bit & 1:
                z ^= v
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
        y = z
    return y.to_bytes(16, "big")


def gcm_seal(key, nonce, aad, plain):
    pad = lambda b: b + bytes(-len(b) % 16)
    counter = lambda n: aes256_block(key, nonce + struct.pack(">I", n))
    xor = lambda a, b: bytes(x ^ y for x, y in zip(a, b))
    ct = b""
    for i in range(0, len(plain), 16):
        ct += xor(plain[i : i + 16], counter(2 + i // 16))
    lengths = struct.pack(">QQ", 8 * len(aad), 8 * len(ct))
    s = ghash(aes256_block(key, bytes(16)), pad(aad) + pad(ct) + lengths)
    return ct + xor(counter(1), s)


def record(keys, prefix, epoch, counter, plain):
    header = bytes([0x75, epoch % 256]) + (len(plain) + 16).to_bytes(3, "big")
    return header + gcm_seal(keys, prefix + struct.pack(">Q", counter), header, plain)


def sample(name, n):
    """n bytes that look random and are not."""
    out = b""
    while len(out) < n:
        out += H(name.encode() + bytes([len(out) // 48]))
    return out[:n]


def message(kind, body):
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def traffic_keys(side, epoch, traffic):
    return {
        f"traffic[{side},{epoch}]": traffic,
        f"key[{side},{epoch}]": expand_label(traffic, "key", b"", 32),
        f"prefix[{side},{epoch}]": expand_label(traffic, "nonce", b"", 4),
    }


def exchange(name, generation, mceliece, old_context, old_rotation):
    """Section 4.5: what a key exchange inside the session leads to."""
    v = {}
    tag = f"{name} exchange {generation} "
    sizes = {"offer": 1184 + (MCELIECE_PUBLIC_KEY_SIZE if mceliece else 0)}
    sizes["answer"] = 1088 + (MCELIECE_CIPHERTEXT_SIZE if mceliece else 0)
    for part, size in sizes.items():
        v[f"{part}_hash[{generation}]"] = H(bytes((7 * i + i // 256 + generation) % 256 for i in range(size)))
    secret = sample(tag + "mlkem", 32) + (sample(tag + "mceliece", 32) if mceliece else b"")
    v[f"exchange_secret[{generation}]"] = secret
    context = H(old_context + v[f"offer_hash[{generation}]"] + v[f"answer_hash[{generation}]"])
    v[f"context[{generation}]"] = context
    ikm = b"".join(struct.pack(">H", len(s)) + s for s in (old_rotation, secret))
    v[f"root[{generation}]"] = root = expand_label(hmac384(context, ikm), "root", context, 48)
    for side in ("source", "dest"):
        traffic = expand_label(root, side + " traffic", context, 48)
        v.update(traffic_keys(side, 2 + generation, traffic))
    v[f"rotation[{generation}]"] = expand_label(root, "rotation", context, 48)
    return v


def vectors(name):
    mode = MODES[name]
    mceliece = name != "mlkem768"
    v = {"kem_mode": bytes([mode])}
    v["source_cert"] = b"" if mode == 3 else sample(name + " source certificate", 40)
    v["dest_cert"] = sample(name + " dest certificate", 40)
    tunnel_id = sample(name + " tunnel", 16)
    v["offer"] = message(1, struct.pack(">HBB", 1, mode, 0) + tunnel_id + bytes(48))
    public_key = bytes((7 * i + i // 256) % 256 for i in range(MCELIECE_PUBLIC_KEY_SIZE))
    kem_key = message(2, public_key) if mceliece else b""
    v["kem_key_hash"] = H(kem_key)
    ciphertext = sample(name + " ciphertext", MCELIECE_CIPHERTEXT_SIZE) if mceliece else b""
    answer = struct.pack(">HBB", 1, mode, 0) + bytes(48) + struct.pack(">H", len(ciphertext))
    v["answer"] = message(3, answer + ciphertext)
    v["tls_secret"] = sample(name + " tls", 48)
    v["kem_secret"] = sample(name + " kem", 32) if mceliece else b""

    v["transcript_hash"] = H(v["offer"] + kem_key + v["answer"])
    context = H(
        bytes([6])
        + b"utun/1"
        + v["kem_mode"]
        + H(v["source_cert"])
        + H(v["dest_cert"])
        + v["transcript_hash"]
    )
    v["context"] = context
    ikm = b"".join(struct.pack(">H", len(s)) + s for s in (v["tls_secret"], v["kem_secret"]))
    v["extracted"] = hmac384(context, ikm)
    v["root"] = root = expand_label(v["extracted"], "root", context, 48)

    for side in ("source", "dest"):
        traffic = expand_label(root, side + " traffic", context, 48)
        for epoch in (0, 1, 2):
            v.update(traffic_keys(side, epoch, traffic))
            traffic = expand_label(traffic, "ratchet", b"", 48)
    v["rotation[0]"] = rotation = expand_label(root, "rotation", context, 48)

    v["tunnel_secret"] = expand_label(root, "tunnel", context, 48)
    v["tunnel_id"] = tunnel_id
    v["binder"] = sample(name + " binder of another session", 48)
    for side in ("source", "dest"):
        key = expand_label(v["tunnel_secret"], "resume " + side, tunnel_id, 48)
        v[f"proof[{side}]"] = hmac384(key, v["binder"])

    v["plaintext"] = b"the first record of an epoch"
    for side, epoch, counter in (("source", 0, 0), ("source", 0, 1), ("dest", 0, 0), ("dest", 1, 0)):
        v[f"record[{side},{epoch},{counter}]"] = record(
            v[f"key[{side},{epoch}]"], v[f"prefix[{side},{epoch}]"], epoch, counter, v["plaintext"]
        )
    for generation in (1, 2):
        v.update(exchange(name, generation, mceliece, context, rotation))
        context, rotation = v[f"context[{generation}]"], v[f"rotation[{generation}]"]
    return v


INTRODUCTION = """\
## 13. Test vectors

Hexadecimal; a value that goes on is indented on the next line. Inputs come first in each block, then
every step of section 4 in order, then records of section 5. The certificates and the McEliece
ciphertext are arbitrary bytes; `source_cert` is absent in the last block, to show how an absent
certificate counts. Byte i of the McEliece public key in KEM_KEY is (7 i + floor(i / 256)) mod 256;
`kem_key_hash` is H of the whole message, and of nothing where there is no such message. `extracted` is
the output of HKDF-Extract. `record[d,e,n]` is the record with `plaintext` and counter n.

Epochs 1 and 2 are ratchets; epochs 3 and 4 begin generations 1 and 2. Byte i of the offer and of the
answer of generation g is (7 i + floor(i / 256) + g) mod 256; their hashes are given.

The vectors come from `tests/vectors/key_schedule.py`, which uses no code of the implementation;
the unit tests read them here.
"""


def section():
    out = INTRODUCTION
    for name in MODES:
        out += f"\n### 13.{MODES[name]} {name}\n\n```\n"
        for key, value in vectors(name).items():
            text = value.hex()
            rows = [text[i : i + 64] for i in range(0, len(text), 64)] or [""]
            out += f"{key} = {rows[0]}".rstrip() + "\n" + "".join(f"  {r}\n" for r in rows[1:])
        out += "```\n"
    return out


def self_test():
    # GCM specification, test case 14; RFC 4231, test case 2.
    want = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    assert gcm_seal(bytes(32), bytes(12), b"", bytes(16)).hex() == want
    want = "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"
    assert hmac384(b"Jefe", b"what do ya want for nothing?").hex() == want


def main():
    self_test()
    if len(sys.argv) == 1:
        sys.stdout.write(section())
        return 0
    with open(sys.argv[1], encoding="utf-8") as f:
        if section() in f.read():
            return 0
    print(f"{sys.argv[1]}: section 13 is not what {sys.argv[0]} prints", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
