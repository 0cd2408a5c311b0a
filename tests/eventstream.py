# SPDX-License-Identifier: Apache-2.0
"""Messages of application/vnd.amazon.eventstream: only what the tests read.

    messages, rest = split(received)     whole messages [(headers, payload)], and what is left
"""
import struct
import zlib

CONTENT_TYPE = "application/vnd.amazon.eventstream"
STRING = 7


def _headers(raw):
    found = {}
    while raw:
        size = raw[0]
        name, kind = raw[1:1 + size].decode(), raw[1 + size]
        assert kind == STRING, f"header {name} has type {kind}"
        (n,) = struct.unpack_from(">H", raw, 2 + size)
        found[name] = raw[4 + size:4 + size + n].decode()
        raw = raw[4 + size + n:]
    return found


def split(data):
    found = []
    while len(data) >= 12:
        size, header_size, check = struct.unpack_from(">III", data)
        assert zlib.crc32(data[:8]) == check, "the checksum of a message's lengths is wrong"
        if len(data) < size:
            break
        assert zlib.crc32(data[:size - 4]) == struct.unpack_from(">I", data, size - 4)[0], \
            "the checksum of a message is wrong"
        found.append((_headers(data[12:12 + header_size]), data[12 + header_size:size - 4]))
        data = data[size:]
    return found, data


def name_of(headers):
    """What a message is: the name of its event, exception or error."""
    kind = headers[":message-type"]
    return headers[{"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}[kind]]
