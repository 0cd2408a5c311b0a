#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients that race for the same few streams, leave in the middle of requests, and see the server
end under their hands.

  - operations on a stream that others create, change and delete meanwhile end in an answer of the model,
    never in a failure of the server;
  - clients that reset their connections while a put waits for the journal or a read for a worker harm
    nobody;
  - SIGTERM in the middle of all that ends the server with status 0, and what it had acknowledged is there
    when it is started again.

    tests/storm.py --program build-tsan/headrace --seconds 20 --seed 7
"""
import argparse
import base64
import http.client
import json
import random
import socket
import struct
import sys
import threading
import time

import headrace
import tap

NAMES = ["storm-a", "storm-b", "storm-c"]
KEPT = "storm-kept"  # nobody deletes it
RACERS, LEAVERS, STOPS = 12, 4, 5
LARGE_BYTES = 200_000
SLOW_SECONDS_MAX = 240  # more, on a busy machine, for every deed to be done once
GONE = (OSError, http.client.HTTPException)
REFUSALS = {"ResourceNotFoundException", "ResourceInUseException", "LimitExceededException",
            "InvalidArgumentException", "ProvisionedThroughputExceededException", "ThrottlingException"}


class Racer(threading.Thread):
    """Does one thing after the other to streams that may be there or not."""

    def __init__(self, server, seed, stop):
        super().__init__(daemon=True)
        self.server, self.client = server, server.client(timeout=240)
        self.random, self.stop = random.Random(seed), stop
        self.trouble, self.counts, self.iterators, self.kept = None, {}, [], []
        self.may_break = False  # the server is being stopped

    def record(self):
        size = LARGE_BYTES if self.random.random() < 0.03 else self.random.randrange(500)
        return base64.b64encode(self.random.randbytes(size)).decode(), f"k{self.random.randrange(99)}"

    def put_record(self, name):
        data, key = self.record()
        reply = self.client.call("PutRecord", StreamName=name, Data=data, PartitionKey=key)
        if name == KEPT:
            self.kept.append((reply["ShardId"], int(reply["SequenceNumber"])))

    def put_records(self, name):
        records = [self.record() for _ in range(self.random.randint(1, 30))]
        reply = self.client.call("PutRecords", StreamName=name, Records=[
            {"Data": data, "PartitionKey": key} for data, key in records])
        codes = {r["ErrorCode"] for r in reply["Records"] if "ErrorCode" in r}
        if codes - REFUSALS:
            raise AssertionError(f"PutRecords failed with {codes}")
        if name == KEPT:
            self.kept += [(r["ShardId"], int(r["SequenceNumber"])) for r in reply["Records"] if "ShardId" in r]

    def begin_reading(self, name):
        kind = self.random.choice(["TRIM_HORIZON", "LATEST"])
        self.iterators.append(self.client.iterator(name, "shardId-000000000000", kind))

    def get_records(self, name):
        if not self.iterators:
            self.begin_reading(name)
        iterator = self.iterators.pop(self.random.randrange(len(self.iterators)))
        page = self.client.call("GetRecords", ShardIterator=iterator)
        if len(self.iterators) < 5 and "NextShardIterator" in page:
            self.iterators.append(page["NextShardIterator"])

    def create(self, name):
        self.client.call("CreateStream", StreamName=name, ShardCount=self.random.choice([1, 2, 50]))

    def delete(self, name):
        if name != KEPT:
            self.client.call("DeleteStream", StreamName=name)

    def tag(self, name):
        self.client.call("AddTagsToStream", StreamName=name, Tags={f"t{self.random.randrange(60)}": "v" * 50})

    def untag(self, name):
        self.client.call("RemoveTagsFromStream", StreamName=name, TagKeys=[f"t{self.random.randrange(60)}"])

    def list_tags(self, name):
        self.client.call("ListTagsForStream", StreamName=name)

    def keep_longer(self, name):
        self.client.call("IncreaseStreamRetentionPeriod", StreamName=name,
                         RetentionPeriodHours=self.random.randint(24, 100))

    def keep_shorter(self, name):
        self.client.call("DecreaseStreamRetentionPeriod", StreamName=name, RetentionPeriodHours=24)

    def describe(self, name):
        self.client.call("DescribeStream", StreamName=name)
        self.client.call("DescribeStreamSummary", StreamName=name)
        self.client.call("ListShards", StreamName=name)
        self.client.call("ListStreams")
        self.client.call("DescribeLimits")

    def pages(self, _):
        for path in ("/metrics", "/_headrace/health"):
            if self.client.send("GET", path, {"Host": "h"}, b"")[0] != 200:
                raise AssertionError(f"{path} does not answer")

    DEEDS = [(put_record, 30), (put_records, 20), (get_records, 25), (begin_reading, 5), (create, 6), (delete, 3),
             (tag, 4), (untag, 2), (list_tags, 2), (keep_longer, 2), (keep_shorter, 2), (describe, 3), (pages, 1)]

    def run(self):
        deeds, weights = zip(*self.DEEDS)
        try:
            while not self.stop.is_set():
                deed = self.random.choices(deeds, weights)[0]
                try:
                    deed(self, self.random.choice([*NAMES, KEPT]))
                except headrace.AwsError as error:
                    if error.kind not in REFUSALS:
                        raise AssertionError(f"{deed.__name__} was answered {error}; the server said:\n"
                                             f"{self.server.tail(5)}") from None
                self.counts[deed.__name__] = self.counts.get(deed.__name__, 0) + 1
        except GONE as error:
            if not self.may_break:
                self.trouble = f"the connection broke: {type(error).__name__}: {error}"
        except Exception as error:
            self.trouble = f"{type(error).__name__}: {error}"
        finally:
            self.client.close()


class Leaver(threading.Thread):
    """Sends requests, whole or in part, and resets the connection before the answer."""

    def __init__(self, server, seed, stop):
        super().__init__(daemon=True)
        self.port, self.signer, self.stop = server.port, server.client(), stop
        self.random, self.left = random.Random(seed), 0
        self.iterator = self.signer.iterator(KEPT, "shardId-000000000000")
        self.signer.close()

    def request(self):
        data = base64.b64encode(self.random.randbytes(self.random.choice([10, LARGE_BYTES]))).decode()
        operation, members = self.random.choice([
            ("PutRecord", {"StreamName": KEPT, "Data": data, "PartitionKey": "left"}),
            ("GetRecords", {"ShardIterator": self.iterator}),
            ("CreateStream", {"StreamName": self.random.choice(NAMES), "ShardCount": 20})])
        body = json.dumps(members).encode()
        headers = self.signer.headers(operation, body)
        lines = [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(body)}"]
        return ("POST / HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + body

    def run(self):
        while not self.stop.is_set():
            whole = self.request() * self.random.choice([1, 1, 3])
            cut = len(whole) if self.random.random() < 0.7 else self.random.randrange(len(whole))
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                    if self.random.random() < 0.7:
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    s.sendall(whole[:cut])
                    time.sleep(self.random.choice([0, 0, 0.001, 0.01]))
                self.left += 1
            except OSError:
                if not self.stop.is_set():
                    time.sleep(0.01)


def begin(server, rng):
    client = server.client()
    try:
        client.create_stream(KEPT, 2)
    except headrace.AwsError as error:
        if error.kind != "ResourceInUseException":
            raise
    client.close()
    stop = threading.Event()
    threads = [Racer(server, rng.random(), stop) for _ in range(RACERS)]
    threads += [Leaver(server, rng.random(), stop) for _ in range(LEAVERS)]
    for thread in threads:
        thread.start()
    return stop, threads


def end(threads):
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive(), "a client still waits although the storm is over"
        assert getattr(thread, "trouble", None) is None, thread.trouble


def kept_by(threads):
    return [place for t in threads if isinstance(t, Racer) for place in t.kept]


def check_kept(server, kept):
    client = server.client()
    there = {shard: {int(number) for number, _, _ in client.read_shard(KEPT, shard, limit=1000)}
             for shard in client.shards(KEPT)}
    client.close()
    lost = [place for place in kept if place[1] not in there[place[0]]]
    assert not lost, f"{len(lost)} of {len(kept)} acknowledged records are not there, the first is {lost[0]}"


def counted(threads):
    counts = {}
    for racer in threads[:RACERS]:
        for deed, n in list(racer.counts.items()):
            counts[deed] = counts.get(deed, 0) + n
    return counts


def storm(program, seconds, rng, report):
    with headrace.Server(program) as server:
        stop, threads = begin(server, rng)
        time.sleep(seconds)
        late = time.monotonic() + SLOW_SECONDS_MAX
        while len(counted(threads)) < len(Racer.DEEDS) and time.monotonic() < late:
            time.sleep(0.2)
        stop.set()
        end(threads)
        counts = counted(threads)
        assert len(counts) == len(Racer.DEEDS), f"not every deed was done: {counts}"
        check_kept(server, kept_by(threads))
    print(f"# {counts}, {sum(t.left for t in threads[RACERS:])} connections left", flush=True)
    report.ok("clients that race for the same streams get answers of the model")


def stops(program, rng, report):
    server = headrace.Server(program)
    kept = []
    try:
        for _ in range(STOPS):
            server.start()
            stop, threads = begin(server, rng)
            time.sleep(rng.uniform(0.2, 1.0))
            for thread in threads:
                thread.may_break = True
            server.stop()
            stop.set()
            end(threads)
            kept += kept_by(threads)
        server.start()
        check_kept(server, kept)
        server.stop()
    finally:
        server.remove()
    print(f"# {len(kept)} records were acknowledged", flush=True)
    report.ok("SIGTERM under load ends the server well, and what it acknowledged is there")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--seed", type=int, default=20260101)
    options = parser.parse_args()
    report, rng = tap.Tap(), random.Random(options.seed)
    print(f"# seed {options.seed}", flush=True)
    for name, part in (("racing", lambda: storm(options.program, options.seconds, rng, report)),
                       ("stopping", lambda: stops(options.program, rng, report))):
        try:
            part()
        except Exception as error:
            report.not_ok(name, f"{type(error).__name__}: {error}")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
