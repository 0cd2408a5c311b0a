#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a data directory as docs/format.md describes it, and shares no code with the server.

    tests/format_reader.py DIR            prints every record, one JSON object on a line
"""
import base64
import glob
import json
import os
import shutil
import sqlite3
import struct
import sys
import tempfile

import zstandard

PAGE = 4096
KNOWN = {"data": 1, "clock": 2, "journal": 1, "checkpoint": 1, "container": 1, "kv": 2, "stream": 2}


class Damaged(Exception):
    pass


class Newer(Exception):
    """Written by a newer program."""


def check(condition, what):
    if not condition:
        raise Damaged(what)


def check_reader(least, kind):
    if least > KNOWN[kind]:
        raise Newer(f"{kind}: only programs that know format {least} can read it")


# ---- CRC32C

def _table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


_CRC = _table()


def crc32c(*pieces):
    crc = 0xFFFFFFFF
    for piece in pieces:
        for byte in piece:
            crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def u16(p, at):
    return struct.unpack_from("<H", p, at)[0]


def u32(p, at):
    return struct.unpack_from("<I", p, at)[0]


def u64(p, at):
    return struct.unpack_from("<Q", p, at)[0]


def i64(p, at):
    return struct.unpack_from("<q", p, at)[0]


# ---- Marker files

def read_marker(path, kind):
    with open(path, "rb") as file:
        content = file.read()
    lines = content.decode().split("\n")
    check(lines[-1] == "" and lines[0] == f"headrace-{kind}", f"{path}: no marker of this kind")
    last = content.rindex(b"crc32c ")
    check(content[last:].decode() == f"crc32c {crc32c(content[:last]):08x}\n", f"{path}: checksum")
    values = dict(line.split(" ", 1) for line in lines[1:-2])
    check_reader(int(values["reader"]), kind)
    return values


# ---- Records

class Record:
    def __init__(self, shard, position, arrival_ms, key, hash_key, data):
        self.shard, self.position, self.arrival_ms = shard, position, arrival_ms
        self.key, self.hash_key, self.data = key, hash_key, data


def parse_records(p, count, shard, position, arrival_ms):
    at, records = 0, []
    for i in range(count):
        k, h, d = u16(p, at), p[at + 2], u32(p, at + 4)
        at += 8
        check(at + k + h + d <= len(p), "a record is longer than what holds it")
        records.append(Record(shard, position + i, arrival_ms, p[at:at + k].decode(),
                              p[at + k:at + k + h].decode(), p[at + k + h:at + k + h + d]))
        at += k + h + d
    check(at == len(p), "records of another length")
    return records


def sequence_number(position, arrival_ms, shard_index, created_s):
    seconds = max(arrival_ms // 1000, created_s)
    return str(2 | shard_index << 4 | seconds << 36 | position << 80 | (shard_index & 15) << 144
               | created_s << 148 | 2 << 184)


# ---- The journal

class Block:
    def __init__(self, p):
        (self.epoch, self.number, self.predecessor, self.durable, self.arrival_ms) = \
            struct.unpack_from("<QQQQq", p, 16)
        self.bytes, self.previous_crc, self.extents = u32(p, 60), u32(p, 64), u32(p, 68)
        self.part, self.parts, self.used = u16(p, 72), u16(p, 74), u32(p, 76)
        self.crc = u32(p, 92)
        self.records, self.dropped, self.ended = [], [], []

    def follows(self, before):
        return self.predecessor == before.number and self.previous_crc == before.crc


def parse_extents(block, p):
    at, ordinal = 96, 0
    for _ in range(block.extents):
        shard, first, count, size, kind = u64(p, at), u32(p, at + 8), u32(p, at + 12), u32(p, at + 16), p[at + 20]
        body = p[at + 32:at + 32 + size]
        check(crc32c(struct.pack("<Q", block.number), p[at:at + 28], body) == u32(p, at + 28), "extent")
        check(first == ordinal, "ordinals")
        if u32(p, at + 24) != 0 or kind > 1:
            raise Newer("an extent of an unknown kind")
        if kind == 0:
            block.records += parse_records(body, count, shard, block.number << 18 | first, block.arrival_ms)
        for i in range(count if kind == 1 else 0):
            what, incarnation, position = body[32 * i], u64(body, 32 * i + 8), u64(body, 32 * i + 16)
            if what == 1:
                block.ended.append((incarnation, position))
            elif what == 2:
                block.dropped.append(incarnation)
            else:
                raise Newer("a control record of an unknown kind")
        ordinal += count
        at += 32 + size


def good_block(p, at, salt):
    head = p[at:at + 96]
    if head[:8] != b"HRBLOCK\n" or u64(head, 8) != salt or u32(head, 56) * PAGE != at:
        return None
    block = Block(head)
    whole = p[at:at + block.bytes]
    if len(whole) != block.bytes or block.bytes == 0 or block.bytes % PAGE or \
            crc32c(whole[:92], bytes(4), whole[96:]) != block.crc:
        return None
    parse_extents(block, whole)
    return block


def read_journal_file(path):
    """(number, salt, content), or None for a damaged head."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:8] != b"HRJOURN\n" or crc32c(content[:4092]) != u32(content, 4092):
        return None
    check_reader(u32(content, 12), "journal")
    check(u64(content, 48) == len(content), f"{path}: another length than it says")
    return u64(content, 16), u64(content, 24), content


def journal_files(directory, first):
    files, damaged = {}, []
    for path in glob.glob(os.path.join(directory, "journal-*.hrj")):
        digits = os.path.basename(path)[8:-4]
        if not digits.isdigit():
            continue
        found = read_journal_file(path)
        if found is None:
            damaged.append(int(digits))
        elif found[0] not in files or found[0] == int(digits):
            files[found[0]] = found
    numbers = sorted(n for n in files if n >= first)
    check(numbers == list(range(first, first + len(numbers))), f"journal files from {first}: there are {numbers}")
    check(not any(first <= n <= max(numbers, default=0) for n in damaged), "the head of a journal file")
    return [files[n] for n in numbers]


class Chain:
    def __init__(self, sealed_block):
        self.blocks, self.sealed = [], sealed_block

    def place(self, block):
        """How many blocks count before this one; None: it does not go on from any."""
        for n in range(len(self.blocks), 0, -1):
            if block.follows(self.blocks[n - 1]):
                return n
        return 0 if block.predecessor == self.sealed else None

    def add(self, block):
        newest = self.blocks[-1] if self.blocks else None
        number, epoch = (newest.number, newest.epoch) if newest else (self.sealed, 0)
        place = self.place(block)
        if place == len(self.blocks) and block.epoch >= epoch:
            self.blocks.append(block)
        elif place is not None and block.epoch > epoch:
            self.blocks[place:] = [block]
        else:
            check(block.durable <= number, f"a block after {number} is missing")

    def counting(self):
        """Blocks of appends that are whole."""
        at = 0
        while at < len(self.blocks):
            first, n = self.blocks[at], 1
            while at + n < len(self.blocks) and first.part + n < first.parts:
                b = self.blocks[at + n]
                if (b.epoch, b.parts, b.part) != (first.epoch, first.parts, first.part + n):
                    break
                n += 1
            begins = first.part == 0 or (at == 0 and self.sealed)
            if begins and first.part + n == first.parts:
                yield from self.blocks[at:at + n]
            at += n


def read_journal(directory, checkpoint):
    chain = Chain(checkpoint.sealed_block)
    for _, salt, content in journal_files(directory, checkpoint.journal_file):
        at = PAGE
        while at + PAGE <= len(content):
            block = good_block(content, at, salt)
            if block is not None:
                chain.add(block)
            at += block.bytes if block is not None else PAGE
    return list(chain.counting())


# ---- The checkpoint

class Checkpoint:
    """Without one: a log that has sealed nothing."""
    sealed_block, journal_file = 0, 1

    def __init__(self):
        self.shards, self.containers = {}, []


def read_checkpoint(path):
    checkpoint = Checkpoint()
    if not os.path.exists(path):
        return checkpoint
    with open(path, "rb") as file:
        p = file.read()
    check(p[:8] == b"HRPOINT\n" and crc32c(p[:-4]) == u32(p, len(p) - 4), "the checkpoint")
    check_reader(u32(p, 12), "checkpoint")
    checkpoint.sealed_block, checkpoint.journal_file = u64(p, 24), u64(p, 32)
    shards, containers = u64(p, 80), u64(p, 88)
    check(len(p) == 128 + shards * 48 + containers * 96 + 4, "the rows of the checkpoint")
    for i in range(shards):
        row = struct.unpack_from("<QQQqQq", p, 128 + 48 * i)
        checkpoint.shards[row[0]] = row[1:]
    for i in range(containers):
        checkpoint.containers.append(struct.unpack_from("<QQQQQQQqqQQII", p, 128 + 48 * shards + 96 * i))
    return checkpoint


# ---- Containers

class Container:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.p = file.read()
        p = self.p
        check(p[:8] == b"HRCONTN\n" and crc32c(p[:4092]) == u32(p, 4092), f"{path}: head")
        check_reader(u32(p, 12), "container")
        self.number, self.id = u64(p, 16), u64(p, 24)
        tail_at = len(p) - 64
        tail = p[tail_at:]
        check(tail[:8] == b"HRCTAIL\n" and self.keyed(tail_at, tail[:60]) == u32(tail, 60), f"{path}: tail")
        check_reader(u32(tail, 12), "container")
        at, size, shards, chunks = u64(tail, 16), u64(tail, 24), u32(tail, 32), u32(tail, 36)
        footer = p[at:at + size]
        check(size == 64 * shards + 56 * chunks and self.keyed(at, footer) == u32(tail, 40), f"{path}: footer")
        self.shards = [struct.unpack_from("<QQQqqQQII", footer, 64 * i) for i in range(shards)]
        self.chunks = [struct.unpack_from("<QIIIIQQqq", footer, 64 * shards + 56 * i) for i in range(chunks)]

    def keyed(self, at, *pieces):
        return crc32c(struct.pack("<QQQ", self.id, self.number, at), *pieces)

    def runs(self, chunk):
        at, stored, raw = chunk[0], chunk[1], chunk[2]
        head, body = self.p[at:at + 64], self.p[at + 64:at + 64 + stored]
        check(head[:8] == b"HRCHUNK\n" and self.keyed(at, head[:60], body) == u32(head, 60), "chunk")
        packing, key = u32(head, 40), u32(head, 44)
        if packing > 1 or key != 0:
            raise Newer("a chunk that is packed in an unknown way")
        runs = zstandard.ZstdDecompressor().decompress(body, max_output_size=raw) if packing else body
        check(len(runs) == raw, "a chunk of another length")
        return runs

    def records(self, shard_row):
        shard, first, n = shard_row[0], shard_row[7], shard_row[8]
        for chunk in self.chunks[first:first + n]:
            runs, at = self.runs(chunk), 0
            while at < len(runs):
                position, arrival_ms, count, size = struct.unpack_from("<QqII", runs, at)
                yield from parse_records(runs[at + 32:at + 32 + size], count, shard, position, arrival_ms)
                at += 32 + size


# ---- The key-value store

def seal_row(table, key, value):
    return value + struct.pack("<I", crc32c(struct.pack("<QI", table, len(key)), key, value))


def read_streams(data_dir):
    """{incarnation: (stream, index, created_s)}; the files are copied, because SQLite changes them."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("headrace.db", "headrace.db-wal"):
            if os.path.exists(os.path.join(data_dir, name)):
                shutil.copy(os.path.join(data_dir, name), copy)
        db = sqlite3.connect(os.path.join(copy, "headrace.db"))
        check(db.execute("PRAGMA application_id").fetchone()[0] == 0x48524B56, "headrace.db")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        check_reader(version, "kv")
        check(version == 2, f"kv is of format {version}, this reads 2")
        rows = db.execute("SELECT t, k, v FROM kv_row WHERE t = (SELECT id FROM kv_table WHERE name = ?)",
                          (b"kinesis.streams",)).fetchall()
        db.close()
    shards = {}
    for table, key, sealed in rows:
        check(sealed == seal_row(table, key, sealed[:-4]), f"kv: the row {key} is damaged")
        name, row = key.decode().split("/")[2], json.loads(sealed[:-4])
        check_reader(row["version"], "stream")
        for place, shard in enumerate(row["shards"]):
            shards[int(shard["id"])] = (name, shard.get("index", place), shard["created_s"])
    return shards


# ---- All of it

def read_log(directory):
    """Every record that counts: {incarnation: [Record in the order of positions]}."""
    checkpoint = read_checkpoint(os.path.join(directory, "checkpoint.hrp"))
    blocks = read_journal(directory, checkpoint)
    dropped = {shard for block in blocks for shard in block.dropped}
    found = {}
    for facts in checkpoint.containers:
        path = os.path.join(directory, "sealed", f"container-{facts[0]:010}.hrc")
        check(os.path.exists(path), f"{path} is missing")
        container = Container(path)
        check((container.number, container.id, len(container.p)) == facts[:3], f"{path} is another file")
        for row in container.shards:
            sealed = checkpoint.shards.get(row[0])
            if sealed is not None and sealed[1] != 0 and row[0] not in dropped:
                found.setdefault(row[0], []).extend(container.records(row))
    for block in blocks:
        for record in block.records:
            if record.shard not in dropped:
                found.setdefault(record.shard, []).append(record)
    for records in found.values():
        records.sort(key=lambda r: r.position)
    return found


def read_data_dir(data_dir):
    """{stream: {shard index: [(sequence number, Record)]}}"""
    read_marker(os.path.join(data_dir, "FORMAT"), "data")
    streams, result = read_streams(data_dir), {}
    for shard, records in read_log(os.path.join(data_dir, "journal")).items():
        check(shard in streams, f"records of shard {shard}, which has no row")
        name, index, created_s = streams[shard]
        result.setdefault(name, {})[index] = [
            (sequence_number(r.position, r.arrival_ms, index, created_s), r) for r in records]
    return result


def main():
    for stream, shards in sorted(read_data_dir(sys.argv[1]).items()):
        for index, records in sorted(shards.items()):
            for number, r in records:
                print(json.dumps({"stream": stream, "shard": index, "sequence_number": number,
                                  "arrival_ms": r.arrival_ms, "key": r.key, "hash_key": r.hash_key,
                                  "data_base64": base64.b64encode(r.data).decode()}))


if __name__ == "__main__":
    main()
