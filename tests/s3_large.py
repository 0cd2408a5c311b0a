#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One large object up and down again, whole: the server's memory stays flat, the bytes are the same, and the
disk is as it was when the object is gone.

    tests/s3_large.py --program build/headrace --gib 5
"""
import argparse
import hashlib
import http.client
import os
import re
import sys
import threading
import time

import headrace
import sigv4
import tap

PIECE = 1 << 20
RSS_MAX_MB = 64
SETTLE_SECONDS_MAX = 240
PATH = "/large/object"
OPTIONS = None


def memory_mb(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.M)[1]) / 1024


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pieces:
    """Bytes that do not repeat and cost little: one random piece, with its number in front."""

    def __init__(self, count):
        self.count, self.base, self.digest = count, bytearray(os.urandom(PIECE)), hashlib.md5()

    def __iter__(self):
        for number in range(self.count):
            self.base[:8] = number.to_bytes(8, "little")
            self.digest.update(self.base)
            yield self.base


class Server:
    """The server, and how much memory it takes while something goes on."""

    def __init__(self, server):
        self.server, self.pid, self.most, self.stopping = server, server.process.pid, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopping.wait(0.1):
            self.most = max(self.most, memory_mb(self.pid, "VmRSS"))

    def ask(self, method, path, body=b"", length=0):
        fields = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "s3", method, path,
                            {"Host": f"127.0.0.1:{self.server.port}", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}, b"",
                            payload_hash="UNSIGNED-PAYLOAD")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=600, blocksize=PIECE)
        connection.request(method, path, body=body, headers={**fields, "Content-Length": str(length)})
        return connection.getresponse()

    def files(self):
        return sum(name != "reserve" for _, _, names in os.walk(os.path.join(self.server.data_dir, "blobs")) for name in names)


@tap.test
def a_large_object_goes_up_and_down_in_flat_memory():
    count = OPTIONS.gib << 10
    with headrace.Server(OPTIONS.program) as started:
        server = Server(started)
        assert server.ask("PUT", "/large").status == 200
        before = memory_mb(server.pid, "VmRSS")
        pieces = Pieces(count)
        for what, act in (("up", up), ("down", down)):
            begin, cpu = time.monotonic(), processor_seconds(server.pid)
            act(server, pieces)
            seconds, cpu = time.monotonic() - begin, processor_seconds(server.pid) - cpu
            print(f"# {OPTIONS.gib} GiB {what}: {seconds:.1f} s, {count / seconds:.0f} MiB/s, {cpu / OPTIONS.gib:.2f} s of CPU for a "
                  f"GiB, {server.most:.0f} MB resident at most ({before:.0f} before)", flush=True)
        server.stopping.set()
        server.thread.join()
        assert server.most < RSS_MAX_MB, f"{server.most:.0f} MB resident"
        assert server.ask("DELETE", PATH).status == 204
        end = time.monotonic() + SETTLE_SECONDS_MAX
        while server.files() > 0:
            assert time.monotonic() < end, f"{server.files()} files are left"
            time.sleep(0.2)


def up(server, pieces):
    reply = server.ask("PUT", PATH, iter(pieces), pieces.count * PIECE)
    assert reply.status == 200 and reply.headers["ETag"] == f'"{pieces.digest.hexdigest()}"', (reply.status, reply.read()[:500])


def down(server, pieces):
    reply, digest, room, n = server.ask("GET", PATH), hashlib.md5(), memoryview(bytearray(PIECE)), 0
    assert reply.status == 200
    while got := reply.readinto(room):
        digest.update(room[:got])
        n += got
    assert n == pieces.count * PIECE and digest.digest() == pieces.digest.digest(), f"{n} bytes"


def main():
    global OPTIONS
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--gib", type=int, default=5, help="5 is the most that one PUT takes")
    OPTIONS = parser.parse_args()
    return tap.main([])


if __name__ == "__main__":
    sys.exit(main())
