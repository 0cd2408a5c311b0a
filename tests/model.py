#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random operations against a server and a model of what it must say.

The model is a list of records for each shard. Puts append to it, by hash keys computed here; iterators
of all five kinds are places in it; reads must return exactly what follows the place, in order, and say
truly whether they reached the tip. Some iterators are kept and read on much later. Now and then the
server is killed, with a put on its way: after the restart that put is there whole or not at all, and all
else, iterators included, is as before. Now and then the stream is deleted and made again under the same
name: nothing of the old one may be seen through the new one.

    tests/model.py --program build/headrace --seconds 40 --seed 7
"""
import argparse
import base64
import bisect
import hashlib
import http.client
import random
import sys
import threading
import time

import headrace
import tap

STREAM = "model"
KEYS_MAX = 2**128
KILL_SHARE, RECREATE_SHARE = 0.012, 0.004
ITERATORS_KEPT, RECORDS_LARGE = 12, 200_000
AHEAD_OF_CLOCK_MS = 5000
GONE = (OSError, http.client.HTTPException)


class Record:
    """A record as it was put; its number is known from the reply, its arrival from the first read."""

    def __init__(self, data, key, hash_key):
        self.data, self.key, self.hash_key = data, key, hash_key
        self.number = self.arrival_ms = None

    def hash(self):
        if self.hash_key is not None:
            return int(self.hash_key)
        return int.from_bytes(hashlib.md5(self.key.encode()).digest(), "big")

    def members(self):
        members = {"Data": base64.b64encode(self.data).decode(), "PartitionKey": self.key}
        return members | ({"ExplicitHashKey": self.hash_key} if self.hash_key is not None else {})


class Iterator:
    def __init__(self, token, shard, place):
        self.token, self.shard, self.place = token, shard, place


def fields_of(number):
    """(creation s, index, time s, shard) of a sequence number, and its constant parts checked."""
    assert number >> 184 == 2 and number & 15 == 2, f"{number} is no sequence number of version 2"
    shard = number >> 4 & 0xffffffff
    assert number >> 144 & 15 == shard & 15, f"{number} has another shard's low bits"
    return number >> 148 & (1 << 36) - 1, number >> 80 & (1 << 64) - 1, number >> 36 & (1 << 36) - 1, shard


class Model:
    def __init__(self, options):
        self.random = random.Random(options.seed)
        self.server = headrace.Server(options.program)
        self.client, self.done = None, {}

    # ---- Beginnings and ends

    def connect(self):
        self.client = self.server.client(timeout=240)

    def create(self):
        self.count = self.random.randint(1, 5)
        self.client.create_stream(STREAM, self.count)
        self.shards, self.iterators, self.early = [[] for _ in range(self.count)], [], []
        shards = self.client.call("ListShards", StreamName=STREAM)["Shards"]
        self.names = [s["ShardId"] for s in shards]
        assert self.names == [f"shardId-{i:012d}" for i in range(self.count)], self.names
        self.starts = [int(s["HashKeyRange"]["StartingHashKey"]) for s in shards]
        assert self.starts == [KEYS_MAX // self.count * i for i in range(self.count)], self.starts
        self.first_numbers = [s["SequenceNumberRange"]["StartingSequenceNumber"] for s in shards]

    def recreate(self):
        old, name = self.iterators, self.names[0]
        number = next((r.number for r in self.shards[0]), None)
        time.sleep(1.1)  # numbers tell streams of one name apart by the second of their creation
        self.client.call("DeleteStream", StreamName=STREAM)
        self.create()
        for it in old:
            self.refused("ResourceNotFoundException", "GetRecords", ShardIterator=it.token)
        if number is not None:
            self.refused("InvalidArgumentException", "GetShardIterator", StreamName=STREAM, ShardId=name,
                         ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=str(number))

    def refused(self, kind, operation, **members):
        try:
            self.client.call(operation, **members)
        except headrace.AwsError as error:
            assert error.kind == kind, f"{operation} was answered {error} instead of {kind}"
            return
        raise AssertionError(f"{operation} succeeded instead of {kind}")

    # ---- Puts

    def key(self):
        letters = self.random.choice(["abc", "äöü", "日本語", "😀🚀🜁", "0"])
        return "".join(self.random.choice(letters) for _ in range(self.random.choice([1, 5, 256])))

    def record(self):
        size = self.random.choice([0, 1, 100, 1000, 5000, self.random.randrange(RECORDS_LARGE)])
        hash_key = None
        if self.random.random() < 0.4:
            edge = self.random.choice([*self.starts, KEYS_MAX, self.random.randrange(1, KEYS_MAX)])
            hash_key = str(min(max(edge - self.random.randint(0, 1), 0), KEYS_MAX - 1))
        return Record(self.random.randbytes(size), self.key(), hash_key)

    def shard_of(self, record):
        return bisect.bisect_right(self.starts, record.hash()) - 1

    def add(self, shard, record, number):
        before = self.shards[shard][-1].number if self.shards[shard] else int(self.first_numbers[shard])
        assert number > before, f"{number} does not follow {before}"
        created, _, _, index = fields_of(number)
        assert index == shard and created == fields_of(int(self.first_numbers[shard]))[0], number
        record.number = number
        self.shards[shard].append(record)

    def put_one(self):
        record = self.record()
        more = {}
        if self.random.random() < 0.3 and any(self.shards):
            shard = self.random.choice([s for s in self.shards if s])
            more["SequenceNumberForOrdering"] = str(shard[-1].number)
        reply = self.client.call("PutRecord", StreamName=STREAM, **record.members(), **more)
        shard = self.shard_of(record)
        assert reply["ShardId"] == self.names[shard], f"{reply['ShardId']} for hash key {record.hash()}"
        self.add(shard, record, int(reply["SequenceNumber"]))

    def batch(self):
        return [self.record() for _ in range(self.random.choice([1, 2, 10, 40]))]

    def put_many(self):
        records = self.batch()
        reply = self.client.call("PutRecords", StreamName=STREAM, Records=[r.members() for r in records])
        assert reply["FailedRecordCount"] == 0 and len(reply["Records"]) == len(records), reply
        for record, place in zip(records, reply["Records"]):
            assert place["ShardId"] == self.names[self.shard_of(record)], place
            self.add(self.shard_of(record), record, int(place["SequenceNumber"]))

    # ---- Iterators

    def known_arrivals(self, shard):
        return [(i, r.arrival_ms) for i, r in enumerate(self.shards[shard]) if r.arrival_ms is not None]

    def choose_start(self, shard):
        """(members of GetShardIterator, the place in the model)."""
        records, kind = self.shards[shard], self.random.choice(
            ["TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "AT_TIMESTAMP", "START"])
        if kind == "START":
            kind = self.random.choice(["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"])
            return {"ShardIteratorType": kind, "StartingSequenceNumber": self.first_numbers[shard]}, 0
        if kind.endswith("NUMBER") and records:
            at = self.random.randrange(len(records))
            members = {"ShardIteratorType": kind, "StartingSequenceNumber": str(records[at].number)}
            return members, at + kind.startswith("AFTER")
        arrivals = self.known_arrivals(shard)
        if kind == "AT_TIMESTAMP" and len(arrivals) == len(records) and records:
            at_ms = self.random.choice(arrivals)[1] + self.random.choice([-1000, -1, 0, 0, 1])
            place = sum(ms < at_ms for _, ms in arrivals)
            return {"ShardIteratorType": kind, "Timestamp": at_ms / 1000}, place
        if kind == "LATEST":
            return {"ShardIteratorType": kind}, len(records)
        return {"ShardIteratorType": "TRIM_HORIZON"}, 0

    def begin_reading(self):
        shard = self.random.randrange(self.count)
        members, place = self.choose_start(shard)
        reply = self.client.call("GetShardIterator", StreamName=STREAM, ShardId=self.names[shard], **members)
        self.iterators.append(Iterator(reply["ShardIterator"], shard, place))
        if len(self.iterators) > ITERATORS_KEPT:
            self.iterators.pop(self.random.randrange(len(self.iterators)))

    def check_record(self, got, want, before_ms):
        assert int(got["SequenceNumber"]) == want.number, f"{got['SequenceNumber']} instead of {want.number}"
        assert base64.b64decode(got["Data"]) == want.data and got["PartitionKey"] == want.key, want.number
        arrival_ms = round(got["ApproximateArrivalTimestamp"] * 1000)
        assert want.arrival_ms in (None, arrival_ms), f"{want.number} arrived at {want.arrival_ms} before"
        assert arrival_ms >= before_ms, f"{want.number} arrived before the record in front of it"
        assert fields_of(want.number)[2] == arrival_ms // 1000, f"{want.number} arrived at {arrival_ms}"
        want.arrival_ms = arrival_ms
        return arrival_ms

    def read(self, it):
        limit = self.random.choice([1, 2, 10, 1000, 10000])
        page = self.client.call("GetRecords", ShardIterator=it.token, Limit=limit)
        records, rest, arrived_ms = page["Records"], self.shards[it.shard][it.place:], 0
        assert len(records) <= min(limit, len(rest)), f"{len(records)} of {len(rest)}, {limit} were asked for"
        assert records or not rest, f"nothing, although {len(rest)} records follow"
        for got, want in zip(records, rest):
            arrived_ms = self.check_record(got, want, arrived_ms)
        behind_ms, at_tip = page["MillisBehindLatest"], len(records) == len(rest)
        age_ms = time.time() * 1000 - arrived_ms
        assert behind_ms == 0 if at_tip else 0 <= behind_ms <= age_ms + AHEAD_OF_CLOCK_MS, (
            f"{behind_ms} ms behind, {len(rest) - len(records)} records follow")
        it.place += len(records)
        it.token = page["NextShardIterator"]
        return at_tip

    def read_one(self):
        if not self.iterators:
            self.begin_reading()
        self.read(self.random.choice(self.iterators))

    def read_twice(self):
        """An iterator may be used again: it says the same, and more if more has come."""
        if not self.iterators:
            self.begin_reading()
        it = self.random.choice(self.iterators)
        again = Iterator(it.token, it.shard, it.place)
        self.read(it)
        self.read(again)

    def read_all(self):
        for shard, name in enumerate(self.names):
            it = Iterator(self.client.iterator(STREAM, name), shard, 0)
            while not self.read(it):
                pass

    # ---- Crashes

    def kill(self):
        """With one put under way: its reply may come or not."""
        records, reply = self.batch(), {}
        other = self.server.client(timeout=240)

        def put():
            try:
                reply.update(other.call("PutRecords", StreamName=STREAM, Records=[r.members() for r in records]))
            except GONE:
                pass

        thread = threading.Thread(target=put)
        thread.start()
        time.sleep(self.random.choice([0, 0.002, 0.01, 0.03]))
        self.server.kill()
        thread.join(240)
        other.close()
        self.client.close()
        self.server.start()
        self.connect()
        self.settle(records, reply)

    def settle(self, records, reply):
        """Finds out whether the put is there, and that it is there whole."""
        there = []
        for shard, name in enumerate(self.names):
            known = self.shards[shard]
            start = ({"kind": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": str(known[-1].number)}
                     if known else {"kind": "TRIM_HORIZON"})
            got = self.client.read_shard(STREAM, name, **start)
            wanted = [r for r in records if self.shard_of(r) == shard]
            there += [len(got) == len(wanted)] if wanted else []
            assert len(got) in (0, len(wanted)), f"{name}: {len(got)} of the {len(wanted)} records of one put"
            for (number, data, key), record in zip(got, wanted):
                assert (data, key) == (record.data, record.key), f"{number} is not what was put"
                self.add(shard, record, int(number))
        assert len(set(there)) <= 1, "a put is there in one shard and not in another"
        numbers = [int(r["SequenceNumber"]) for r in reply.get("Records", [])]
        assert not numbers or numbers == [r.number for r in records], "an acknowledged put is lost or renumbered"

    # ---- The run

    DEEDS = [(put_one, 25), (put_many, 20), (begin_reading, 15), (read_one, 30), (read_twice, 5), (read_all, 2)]

    def step(self):
        chance = self.random.random()
        deeds, weights = zip(*self.DEEDS)
        deed = (Model.kill if chance < KILL_SHARE else
                Model.recreate if chance < KILL_SHARE + RECREATE_SHARE else
                self.random.choices(deeds, weights)[0])
        deed(self)
        self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1

    def run(self, seconds, steps):
        self.server.start()
        self.connect()
        self.create()
        end = time.monotonic() + seconds
        while time.monotonic() < end and sum(self.done.values()) < steps:
            self.step()
        for deed in (Model.kill, Model.read_all, Model.recreate):  # in the shortest of runs too
            deed(self)
        self.client.close()
        self.server.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--steps", type=int, default=sys.maxsize, help="end after so many, to repeat a run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    report, model = tap.Tap(), Model(options)
    print(f"# seed {options.seed}", flush=True)
    try:
        model.run(options.seconds, options.steps)
        report.ok("random operations are answered as the model says, also across crashes")
    except Exception as error:
        report.not_ok(f"seed {options.seed}, step {sum(model.done.values()) + 1}",
                      f"{type(error).__name__}: {error}\nthe server said:\n{model.server.tail()}")
    finally:
        model.server.remove()
    print(f"# {model.done}", flush=True)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
