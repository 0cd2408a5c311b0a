# SPDX-License-Identifier: Apache-2.0
"""CBOR as the AWS SDKs for Java write and read it: enough of RFC 8949 for the tests, no more.

Byte strings are `bytes`; a timestamp is Timestamp(milliseconds): tag 1 around an integer, which AWS
counts in milliseconds although the RFC says seconds.
"""
import struct


class Timestamp(int):
    """Milliseconds since the epoch."""


def _head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * size):
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")
    raise ValueError(f"{value} is too large for CBOR")


def encode(value):
    if value is None:
        return b"\xf6"
    if value is True or value is False:
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, Timestamp):
        return _head(6, 1) + encode(int(value))
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        raw = value.encode()
        return _head(3, len(raw)) + raw
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())
    raise TypeError(f"no CBOR for {type(value)}")


class _Break(Exception):
    pass


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise ValueError("CBOR ends early")
        piece = self.data[self.at:self.at + count]
        self.at += count
        return piece

    def argument(self, low):
        """The number behind an initial byte; None: of indefinite length."""
        if low < 24:
            return low
        if low <= 27:
            return int.from_bytes(self.take(1 << (low - 24)), "big")
        if low == 31:
            return None
        raise ValueError("reserved CBOR length")

    def items(self, count):
        """`count` items, or, if it is None, those before the break."""
        found = []
        while count is None or len(found) < count:
            try:
                found.append(self.item())
            except _Break:
                if count is not None:
                    raise ValueError("CBOR break inside a counted item") from None
                break
        return found

    def item(self):
        initial = self.take(1)[0]
        major, low = initial >> 5, initial & 31
        if major == 7:
            return self.simple(low)
        n = self.argument(low)
        if major == 0:
            return n
        if major == 1:
            return -1 - n
        if major in (2, 3):
            raw = self.take(n) if n is not None else b"".join(
                p if isinstance(p, bytes) else p.encode() for p in self.items(None))
            return raw if major == 2 else raw.decode()
        if major == 4:
            return self.items(n)
        if major == 5:
            flat = self.items(None if n is None else 2 * n)
            return dict(zip(flat[::2], flat[1::2], strict=True))
        inner = self.item()
        return Timestamp(inner) if n == 1 and isinstance(inner, int) else inner

    def simple(self, low):
        if low == 31:
            raise _Break
        if low in (20, 21):
            return low == 21
        if low in (22, 23):
            return None
        sizes = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}
        if low not in sizes:
            raise ValueError(f"CBOR simple value {low}")
        size, form = sizes[low]
        return struct.unpack(form, self.take(size))[0]


def decode(data):
    reader = _Reader(data)
    value = reader.item()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes after the CBOR item")
    return value
