#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What lies on the disk is what docs/format.md says: a reader that knows only that page finds every
acknowledged record, with its sequence number; and every kind of file says which format it has, so that
a newer one is refused by name and left as it was.

    tests/format.py --program build/headrace
"""
import argparse
import base64
import glob
import hashlib
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys

import format_reader
import headrace
import tap

EXIT_FORMAT = 13
# Files are small, so that containers come of what a test writes.
SMALL = ["--journal-file-size", "1MiB", "--journal-reserve", "1MiB", "--journal-seal-size", "1MiB"]
SECONDS_MAX = 120
PROGRAM = None
NEWER = 99  # a format number that no program knows


class Writer:
    """Puts records of many shapes and remembers what was acknowledged."""

    def __init__(self, client, seed):
        self.client, self.random, self.acknowledged = client, random.Random(seed), {}

    def data(self):
        n = self.random.choice([0, 1, 20, 300, 5000, 60000])
        return bytes(self.random.choices(b"abcdefgh \x00\xff", k=n)) if n < 1000 else self.random.randbytes(n)

    def record(self):
        record = {"Data": base64.b64encode(self.data()).decode(),
                  "PartitionKey": self.random.choice(["k", "käse", "x" * 256, "\U0001f300" * 9])}
        if self.random.random() < 0.3:
            record["ExplicitHashKey"] = str(self.random.randrange(2 ** 128))
        return record

    def note(self, stream, record, answer):
        self.acknowledged[stream, answer["ShardId"], answer["SequenceNumber"]] = record

    def put(self, stream):
        record = self.record()
        self.note(stream, record, self.client.call("PutRecord", StreamName=stream, **record))

    def put_many(self, stream, n):
        records = [self.record() for _ in range(n)]
        answer = self.client.call("PutRecords", StreamName=stream, Records=records)
        for record, each in zip(records, answer["Records"]):
            if "SequenceNumber" in each:
                self.note(stream, record, each)

    def fill(self, streams, bytes_least):
        put = 0
        while put < bytes_least:
            self.put(self.random.choice(streams))
            before = len(self.acknowledged)
            self.put_many(self.random.choice(streams), self.random.randrange(1, 40))
            put += sum(len(r["Data"]) * 3 // 4 for r in list(self.acknowledged.values())[before - 1:])


def what_is_read(data_dir):
    """{(stream, shard id, sequence number): record as it was put}"""
    found = {}
    for stream, shards in format_reader.read_data_dir(data_dir).items():
        for index, records in shards.items():
            before = 0
            for number, r in records:
                assert int(number) > before, "sequence numbers do not grow"
                before = int(number)
                record = {"Data": base64.b64encode(r.data).decode(), "PartitionKey": r.key}
                if r.hash_key:
                    record["ExplicitHashKey"] = r.hash_key
                found[stream, f"shardId-{index:012}", number] = record
    return found


def compare(writer, data_dir, dropped=()):
    expected = {k: v for k, v in writer.acknowledged.items() if k[0] not in dropped}
    found = what_is_read(data_dir)
    missing = [k for k in expected if k not in found]
    assert not missing, f"{len(missing)} of {len(expected)} are missing, such as {missing[0]}"
    wrong = [k for k in expected if found[k] != expected[k]]
    assert not wrong, f"{len(wrong)} are not what was put, such as {wrong[0]}"
    assert len(found) == len(expected), f"{len(found) - len(expected)} were never acknowledged"


def containers(data_dir):
    return glob.glob(os.path.join(data_dir, "journal", "sealed", "container-*.hrc"))


def run(*arguments, status=0):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE", "AWS_"))}
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=SECONDS_MAX,
                          env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == status, f"status {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


@tap.test
def a_reader_that_knows_only_the_page_finds_what_was_acknowledged():
    server = headrace.Server(PROGRAM, *SMALL)
    try:
        server.start()
        client = server.client()
        for name in ("clicks", "orders", "gone"):
            client.create_stream(name, shards=3)
        writer = Writer(client, 1)
        writer.fill(["clicks", "orders", "gone"], 4 << 20)
        client.call("DeleteStream", StreamName="gone")
        client.create_stream("again", shards=1)
        writer.fill(["clicks", "again"], 1 << 20)
        server.stop()
        assert containers(server.data_dir), "nothing was sealed"
        compare(writer, server.data_dir, dropped=["gone"])

        # The program's own reader says the same.
        out, _ = run("store", "dump", "--data-dir", server.data_dir, "--json")
        dumped = [json.loads(line) for line in out.splitlines()]
        assert {(d["stream"], d["shard_id"], d["sequence_number"]) for d in dumped} == \
            {k for k in writer.acknowledged if k[0] != "gone"}
        assert all(writer.acknowledged[d["stream"], d["shard_id"], d["sequence_number"]]["Data"] ==
                   d["data_base64"] for d in dumped)
    finally:
        server.remove()


@tap.test
def and_after_every_kill_9_too():
    server = headrace.Server(PROGRAM, *SMALL)
    try:
        server.start()
        client = server.client()
        client.create_stream("clicks", shards=2)
        writer = Writer(client, 2)
        for _ in range(4):
            writer.client = server.client()
            writer.fill(["clicks"], 700 << 10)
            server.kill()
            compare(writer, server.data_dir)
            server.start()
        server.stop()
        compare(writer, server.data_dir)
    finally:
        server.remove()


@tap.test
def damage_is_told_by_the_reader_and_by_the_program():
    server = headrace.Server(PROGRAM, *SMALL)
    try:
        server.start()
        client = server.client()
        client.create_stream("clicks", shards=1)
        writer = Writer(client, 3)
        writer.fill(["clicks"], 3 << 20)
        server.stop()
        path = containers(server.data_dir)[0]
        with open(path, "r+b") as file:
            file.seek(5000)
            byte = file.read(1)
            file.seek(5000)
            file.write(bytes([byte[0] ^ 1]))
        before = snapshot(server.data_dir)
        try:
            what_is_read(server.data_dir)
        except format_reader.Damaged:
            pass
        else:
            raise AssertionError("the reader did not see the damage")
        out, err = run("store", "dump", "--data-dir", server.data_dir, "--json", status=12)
        assert os.path.basename(path) in err and 0 < len(out.splitlines()) < len(writer.acknowledged)
        run("store", "check", "--data-dir", server.data_dir, status=12)
        assert json.loads(run("store", "stat", "--data-dir", server.data_dir, "--json")[0])["problems"] >= 0
        assert snapshot(server.data_dir) == before, "reading changed something"
    finally:
        server.remove()


# ---- Formats

def snapshot(data_dir):
    """What every file holds, but for the lock."""
    found = {}
    for folder, _, names in os.walk(data_dir):
        for name in names:
            path = os.path.join(folder, name)
            if name != "lock":
                with open(path, "rb") as file:
                    found[os.path.relpath(path, data_dir)] = hashlib.sha256(file.read()).hexdigest()
    return found


def raise_marker(path):
    with open(path, encoding="ascii") as file:
        lines = file.read().split("\n")[:-2]
    lines[1:3] = [f"format {NEWER}", f"reader {NEWER}"]
    body = "\n".join(lines) + "\n"
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{body}crc32c {format_reader.crc32c(body.encode()):08x}\n")


def raise_head(path, head_bytes):
    """Format and least reader at 8 and 12, the checksum in the last four bytes of the head."""
    with open(path, "r+b") as file:
        head = bytearray(file.read(head_bytes or os.path.getsize(path)))
        struct.pack_into("<II", head, 8, NEWER, NEWER)
        struct.pack_into("<I", head, len(head) - 4, format_reader.crc32c(bytes(head[:-4])))
        file.seek(0)
        file.write(head)


def raise_sql(path, sql):
    db = sqlite3.connect(path)
    db.execute(sql)
    db.commit()
    db.close()


def newest_journal(data_dir):
    return sorted(glob.glob(os.path.join(data_dir, "journal", "journal-*.hrj")))[-1]


def raise_row(data_dir):
    db = sqlite3.connect(os.path.join(data_dir, "headrace.db"))
    rows = db.execute("SELECT t, k, v FROM kv_row WHERE t = (SELECT id FROM kv_table WHERE name = ?)",
                      (b"kinesis.streams",)).fetchall()
    for table, key, sealed in rows:
        value = sealed[:-4].replace(b'"version":2', f'"version":{NEWER}'.encode())
        db.execute("UPDATE kv_row SET v = ? WHERE t = ? AND k = ?",
                   (format_reader.seal_row(table, key, value), table, key))
    db.commit()
    db.close()


# What raises the format of one kind of file, and the commands that must refuse it.
SERVE = ("serve", "--listen", "127.0.0.1:0")
KINDS = {
    "FORMAT": (lambda d: raise_marker(os.path.join(d, "FORMAT")), SERVE),
    "clock": (lambda d: raise_marker(os.path.join(d, "clock")), SERVE),
    "a journal file": (lambda d: raise_head(newest_journal(d), 4096), SERVE),
    "the checkpoint": (lambda d: raise_head(os.path.join(d, "journal", "checkpoint.hrp"), None), SERVE),
    "a container": (lambda d: raise_head(containers(d)[0], 4096), ("store", "check")),
    "headrace.db": (lambda d: raise_sql(os.path.join(d, "headrace.db"), f"PRAGMA user_version = {NEWER}"),
                    SERVE),
    "a stream's row": (raise_row, SERVE),
}


@tap.test
def a_newer_format_of_every_kind_of_file_is_refused_by_name_and_nothing_is_changed():
    server = headrace.Server(PROGRAM, *SMALL, profile="dev")
    copy = server.data_dir + "-copy"
    try:
        server.start()
        client = server.client()
        client.create_stream("clicks", shards=1)
        Writer(client, 4).fill(["clicks"], 3 << 20)
        run("clock", "advance", "1s", "--endpoint", server.url)
        server.stop()
        for kind, (change, command) in KINDS.items():
            shutil.copytree(server.data_dir, copy)
            change(copy)
            before = snapshot(copy)
            _, err = run(*command, "--data-dir", copy, *(SMALL if command == SERVE else ()),
                         status=EXIT_FORMAT)
            assert "newer" in err or "format" in err, f"{kind}: {err}"
            after = snapshot(copy)
            made = {"headrace.db-wal", "credentials", "tls/cert.pem", "tls/key.pem"}
            changed = {p for p in before | after if before.get(p) != after.get(p)} - made
            if kind == "a stream's row":  # read when the journal is open, which begins with a block
                changed = {p for p in changed if not p.startswith("journal/journal-")}
            assert not changed, f"{kind}: {changed} changed"
            try:
                format_reader.read_data_dir(copy)
                format_reader.read_marker(os.path.join(copy, "clock"), "clock")
            except format_reader.Newer:
                pass
            else:
                raise AssertionError(f"{kind}: the page's reader takes it")
            shutil.rmtree(copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        server.remove()


@tap.test
def a_newer_format_of_a_zone_is_refused_by_name_too():
    server = headrace.Server(PROGRAM, *SMALL)
    zones = [f"{server.data_dir}-zone-{i}" for i in range(3)]
    server.arguments += [word for zone in zones for word in ("--zones", zone)] + ["--zones-lag", "60s"]
    try:
        server.start()
        server.client().create_stream("clicks")
        server.stop()
        raise_marker(os.path.join(zones[1], "zone.hrz"))
        before = [snapshot(zone) for zone in zones]
        _, err = run("serve", "--data-dir", server.data_dir, "--listen", "127.0.0.1:0", *server.arguments,
                     status=EXIT_FORMAT)
        assert zones[1] in err and "newer" in err, err
        assert [snapshot(zone) for zone in zones] == before
    finally:
        server.remove()
        for zone in zones:
            shutil.rmtree(zone, ignore_errors=True)


def main():
    global PROGRAM
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    PROGRAM = os.path.abspath(options.program)
    return tap.main(options.names)


if __name__ == "__main__":
    sys.exit(main())
