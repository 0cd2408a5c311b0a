#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory that runs out: by the budget of requests, and by what the system gives.

Whatever is refused gets AWS's error, which SDKs try again, on a connection that goes on; small calls are
served meanwhile; the process does not end; what was acknowledged is there after a restart.

    tests/memory.py --program build/headrace [WORDS ...]     only the tests whose names contain WORDS

The release program is what to run it with for the limit of the address space: sanitizers reserve too
much of it, so that test is skipped under them.
"""
import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import resource
import socket
import sys
import threading
import time

import headrace
import tap

MIB = 1 << 20
BUDGET = "64MiB"              # the least there is
TINY = ("--memory-requests", BUDGET, "--journal-tail-cache", "8MiB", "--journal-queue", "32MiB")
RECORDS, RECORD_BYTES = 10, MIB - 1000   # of a request that is nearly 14 MB of JSON
STREAM = "s"
SILENT, LARGE_BYTES = 200, 30_000_000    # connections, and what each announces
WRITERS = 16
CALL_SECONDS_MAX = 120        # under a sanitizer, with many beside it
SMALL_SECONDS_MAX = 120
REFUSALS = {503, 500}
SPARE_BYTES = 96 * MIB        # of address space, beyond what the server has when it is idle
SPARE_BYTES_LEAST = 12 * MIB  # less than one large request needs

PROGRAM = None  # set by main


def large_request(client, seed):
    """A PutRecords of nearly 10 MiB, ready to be sent; what its records hold."""
    data = [hashlib.sha256(f"{seed} {i}".encode()).digest() * (RECORD_BYTES // 32) for i in range(RECORDS)]
    body = json.dumps({"StreamName": STREAM, "Records": [
        {"PartitionKey": f"{seed}-{i}", "Data": base64.b64encode(d).decode()} for i, d in enumerate(data)]})
    return body.encode(), {f"{seed}-{i}": hashlib.sha256(d).hexdigest() for i, d in enumerate(data)}


class Acknowledged:
    """What was acknowledged, by partition key, and how calls ended, from several threads."""

    def __init__(self):
        self.lock, self.records = threading.Lock(), {}
        self.good = self.refused = 0
        self.wrong = []

    def note(self, status, content, records):
        with self.lock:
            if status in REFUSALS:
                self.refused += 1
                kind = json.loads(content)["__type"] if content else None
                if kind not in ("ServiceUnavailable", "InternalFailureException"):
                    self.wrong.append(f"{status} {content[:200]}")
            elif status == 200:
                self.good += 1
                answers = json.loads(content)["Records"]
                for (key, digest), answer in zip(records.items(), answers):
                    if "SequenceNumber" in answer:
                        self.records[key] = digest
            else:
                self.wrong.append(f"{status} {content[:200]}")


def put_large(server, seen, seed, rounds):
    """Puts on one connection, which must stay open whatever the answers are."""
    client = server.client(timeout=CALL_SECONDS_MAX)
    try:
        for i in range(rounds):
            body, records = large_request(client, f"{seed}-{i}")
            client.connect()
            before = client.connection
            status, _, content = client.raw("PutRecords", body)
            seen.note(status, content, records)
            if client.connection is not before:
                seen.wrong.append(f"the connection was closed after {status}")
    except Exception as error:  # told by the test's own thread
        seen.wrong.append(repr(error))
    finally:
        client.close()


class Neighbour(threading.Thread):
    """Small puts and gets all the while; every one must succeed."""

    def __init__(self, server, seen, patient=False):
        super().__init__(daemon=True)
        self.server, self.seen, self.patient = server, seen, patient
        self.over, self.calls, self.refused, self.error = threading.Event(), 0, 0, None

    def once(self, client):
        data = f"small {self.calls}".encode()
        status, _, content = client.raw("PutRecord", json.dumps({
            "StreamName": STREAM, "PartitionKey": f"small-{self.calls}",
            "Data": base64.b64encode(data).decode()}).encode())
        if status in REFUSALS and self.patient:
            self.refused += 1
            return
        assert status == 200, f"{status} {content[:200]}"
        with self.seen.lock:
            self.seen.records[f"small-{self.calls}"] = hashlib.sha256(data).hexdigest()
        self.calls += 1

    def run(self):
        client = self.server.client(timeout=SMALL_SECONDS_MAX)
        try:
            while not self.over.is_set():
                try:
                    self.once(client)
                except (OSError, http.client.HTTPException):
                    if not self.patient:
                        raise
                    self.refused += 1  # there was no memory for the connection
                    time.sleep(0.01)
        except Exception as error:
            self.error = error
        finally:
            client.close()

    def end(self):
        self.over.set()
        self.join(SMALL_SECONDS_MAX)
        if self.error is not None:
            raise AssertionError(f"a small call failed: {self.error!r}")
        assert self.calls > 0, "no small call was answered"


def stored(server):
    """Every record of the stream: the digest of its data by partition key."""
    client, found = server.client(timeout=CALL_SECONDS_MAX), {}
    for shard in client.shards(STREAM):
        iterator = client.iterator(STREAM, shard)
        while iterator is not None:
            status, _, content = client.raw("GetRecords", json.dumps({"ShardIterator": iterator}).encode())
            if status in REFUSALS:
                continue  # it is told to come again
            assert status == 200, f"{status} {content[:200]}"
            page = json.loads(content)
            for r in page["Records"]:
                found[r["PartitionKey"]] = hashlib.sha256(base64.b64decode(r["Data"])).hexdigest()
            if not page["Records"] and page["MillisBehindLatest"] == 0:
                break
            iterator = page.get("NextShardIterator")
    client.close()
    return found


def expect_all(server, seen):
    found = stored(server)
    missing = [k for k, digest in seen.records.items() if found.get(k) != digest]
    assert not missing, f"{len(missing)} of {len(seen.records)} acknowledged records are not there: {missing[:5]}"


def storm(server, seen, rounds):
    threads = [threading.Thread(target=put_large, args=(server, seen, n, rounds), daemon=True)
               for n in range(WRITERS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(CALL_SECONDS_MAX * rounds)
        assert not t.is_alive(), "a call was not answered"


def restarted(server, *arguments):
    server.stop()
    again = headrace.Server(PROGRAM, *arguments, data_dir=server.data_dir)
    again.start()
    return again


@tap.test
def many_large_requests_at_once_are_served_or_refused_and_small_ones_go_on():
    server = headrace.Server(PROGRAM, *TINY)
    with server:
        server.client().create_stream(STREAM, shards=4)
        seen = Acknowledged()
        neighbour = Neighbour(server, seen)
        neighbour.start()
        storm(server, seen, rounds=1)
        neighbour.end()
        assert not seen.wrong, seen.wrong[:3]
        assert seen.good > 0, "no large request was served"
        assert server.metric("headrace_memory_refused_total") == seen.refused
        wait_for_zero(server, "headrace_memory_requests_bytes")
        expect_all(server, seen)
        again = restarted(server, *TINY)
        try:
            expect_all(again, seen)
            again.stop()
        finally:
            again.kill()
        print(f"# {seen.good} large requests served, {seen.refused} refused, {neighbour.calls} small ones beside them")


def wait_for_zero(server, name):
    """Up to what the loops keep in advance and one small request: the one that asks."""
    end = time.monotonic() + SMALL_SECONDS_MAX
    while server.metric(name) > 16 * MIB:
        assert time.monotonic() < end, f"{name} stays at {server.metric(name)}"
        time.sleep(0.05)


def announce(server, n_bytes):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=CALL_SECONDS_MAX)
    s.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-amz-json-1.1\r\n"
              b"X-Amz-Target: Kinesis_20131202.PutRecords\r\nContent-Length: %d\r\n\r\n" % n_bytes)
    return s


@tap.test
def announced_bodies_that_do_not_come_cost_others_nothing():
    server = headrace.Server(PROGRAM, *TINY)
    with server:
        server.client().create_stream(STREAM)
        seen = Acknowledged()
        # The first announce more than any request may have; the others the largest that may come, of
        # which they send a little.
        silent = [announce(server, LARGE_BYTES) for _ in range(SILENT)]
        for s in silent:
            assert s.recv(64).startswith(b"HTTP/1.1 413 "), "an announced body that is too large"
            s.close()
        silent = [announce(server, 13 * MIB) for _ in range(SILENT)]
        for i, s in enumerate(silent):
            s.sendall(b"x" * 1000 * (i % 50))
        neighbour = Neighbour(server, seen)
        neighbour.start()
        put_large(server, seen, "beside", 2)
        neighbour.end()
        assert not seen.wrong and seen.good + seen.refused == 2, seen.wrong
        for s in silent:
            s.close()
        wait_for_zero(server, "headrace_memory_requests_bytes")
        put_large(server, seen, "after", 1)
        assert seen.good > 0 and not seen.wrong, seen.wrong
        expect_all(server, seen)


@tap.test
def slow_large_bodies_fill_the_budget_and_small_requests_pass():
    server = headrace.Server(PROGRAM, *TINY)
    with server:
        server.client().create_stream(STREAM)
        seen = Acknowledged()
        slow = []
        for _ in range(12):  # more than the budget holds
            s = announce(server, 13 * MIB)
            s.settimeout(1)
            slow.append(s)
            try:
                s.sendall(b"x" * (9 * MIB))
            except TimeoutError:
                pass  # it is not read any further, for now
        neighbour = Neighbour(server, seen)
        neighbour.start()
        client = server.client(timeout=SMALL_SECONDS_MAX)
        for _ in range(20):
            client.call("DescribeStreamSummary", StreamName=STREAM)
        neighbour.end()
        for s in slow:
            s.close()
        wait_for_zero(server, "headrace_memory_requests_bytes")
        put_large(server, seen, "after", 1)
        assert seen.good == 1 and not seen.wrong, seen.wrong


def is_sanitized():
    with open(PROGRAM, "rb") as f:
        return b"__asan_init" in f.read() or b"__tsan_init" in f.read()


def address_space(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmSize:\s*(\d+) kB", f.read()).group(1)) * 1024


@tap.test
def a_system_without_memory_ends_requests_and_not_the_server():
    if is_sanitized():
        tap.skip("sanitizers need the address space for themselves")
    # The budget alone would allow all of it; the limit of the process does not.
    arguments = ("--memory-requests", "4GiB", "--http-body-pool", "4GiB", "--journal-tail-cache", "8MiB")
    server = headrace.Server(PROGRAM, *arguments)
    with server:
        server.client().create_stream(STREAM, shards=4)
        seen = Acknowledged()
        put_large(server, seen, "before", 1)
        assert seen.good == 1, seen.wrong
        neighbour = Neighbour(server, seen, patient=True)
        neighbour.start()
        broken, spare = 0, SPARE_BYTES
        # On slow processors the requests come one after the other and fit: then there is less.
        while seen.refused + broken == 0 and spare >= SPARE_BYTES_LEAST:
            limit = address_space(server.process.pid) + spare
            resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            broken += storm_patiently(server, seen)
            spare //= 2
        neighbour.end()
        assert server.is_running(), "the server has ended"
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_ready(server)
        put_large(server, seen, "later", 2)
        assert seen.refused + broken > 0, "nothing was refused: the limit was not felt"
        expect_all(server, seen)
        again = restarted(server, *arguments)
        try:
            expect_all(again, seen)
            again.stop()
        finally:
            again.kill()
        print(f"# {seen.good} large requests served, {seen.refused} refused, {broken} connections closed, "
              f"{neighbour.calls} small ones served and {neighbour.refused} refused")


def storm_patiently(server, seen):
    """As storm, but a connection for which there is no memory at all may be closed. How many were."""
    lost, mark = [], Acknowledged()
    storm(server, mark, rounds=1)
    for text in mark.wrong:
        closed = any(word in text for word in ("ConnectionReset", "BrokenPipe", "RemoteDisconnected", "connection was closed"))
        assert closed, text
        lost.append(text)
    seen.records.update(mark.records)
    seen.good += mark.good
    seen.refused += mark.refused
    return len(lost)


def wait_ready(server):
    end = time.monotonic() + SMALL_SECONDS_MAX
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SMALL_SECONDS_MAX)
        connection.request("GET", "/_headrace/ready")
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        if reply.status == 200:
            return
        assert time.monotonic() < end, f"not ready: {text}"
        time.sleep(0.05)


def main():
    global PROGRAM
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    PROGRAM = os.path.abspath(options.program)
    return tap.main(options.words)


if __name__ == "__main__":
    sys.exit(main())
