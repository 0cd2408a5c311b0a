# SPDX-License-Identifier: Apache-2.0
"""B21: what waits in 100 delivery streams becomes objects, beside programs that make the same files of the same lines.

Ours: records are put to 100 delivery streams that do not deliver yet. Then all are told to; the clock runs until the
last of the 100 objects is listed, durable. The peers read the same lines from files in the page cache, with as many
processes as there are cores, and do not wait for the disk."""
import base64
import json
import os
import re
import subprocess
import sys
import time

import headrace
import machine
import sigv4
from suite import benchmark, children_seconds
from suite_columnar import COLUMNS, PYTHON, write_lines

STREAMS, BATCH, BUCKET = 100, 500, "deliveries"
ROWS, ROWS_THOROUGH = 4000, 10000  # of a stream: half a megabyte, where what an object costs counts
ROWS_OF_5_MB = 42000  # what a stream waits for by default
LINES_OF_1_KB = 8
FRESH = 15
ROLE = f"arn:aws:iam::{headrace.ACCOUNT}:role/deliveries"
GZIP = """
import sys, zlib
for path in sys.argv[1:]:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    with open(path, "rb") as lines, open(path + ".gz", "wb") as out:
        while piece := lines.read(1 << 20):
            out.write(packer.compress(piece))
        out.write(packer.flush())
"""
PARQUET = """
import duckdb, sys
db = duckdb.connect()
db.execute("SET threads = 1; SET enable_progress_bar = false")
for path in sys.argv[2:]:
    db.execute(f"COPY (SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {sys.argv[1]})) "
               f"TO '{path}.parquet' (FORMAT parquet, COMPRESSION snappy)")
"""


class Lake:
    """A server with a bucket, a table and delivery streams."""

    def __init__(self, b, lines):
        self.b, self.peer, self.rounds = b, b.headrace(profile="dev"), 0
        self.sizes = {}  # by name, of all files of the newest run
        self.firehose = self.peer.server.client(target="Firehose_20150804", service="firehose")
        self.s3 = self.peer.server.client(service="s3")
        self.operator = self.peer.server.client(service="headrace")
        glue = self.peer.server.client(target="AWSGlue", service="glue")
        glue.call("CreateDatabase", DatabaseInput={"Name": "bench"})
        columns = [{"Name": name, "Type": kind} for name, (kind, _) in COLUMNS.items()]
        glue.call("CreateTable", DatabaseName="bench",
                  TableInput={"Name": "lines", "StorageDescriptor": {"Columns": columns}})
        glue.close()
        self.ask_s3("PUT", f"/{BUCKET}")
        self.take(lines)

    def take(self, path, group=1):
        """What is put from here on: the file's lines, so many in one record."""
        with open(path, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        self.lines = [b"".join(lines[at:at + group]) for at in range(0, len(lines), group)]

    def ask_s3(self, method, path, query=""):
        headers = {"Host": f"127.0.0.1:{self.peer.port}", "x-amz-content-sha256": sigv4.sha256_hex(b"")}
        headers = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "s3", method, path, headers, b"", query=query)
        status, _, content = self.s3.send(method, path + ("?" + query if query else ""), headers, b"")
        assert status == 200, content
        return content

    def objects(self, prefix):
        listed = self.ask_s3("GET", f"/{BUCKET}", "list-type=2&prefix=" + prefix.replace("/", "%2F")).decode()
        return len(re.findall("<Contents>", listed)), sum(map(int, re.findall(r"<Size>(\d+)</Size>", listed)))

    def make(self, name, prefix, interval=900, **more):
        self.firehose.call("CreateDeliveryStream", DeliveryStreamName=name, ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}", "Prefix": prefix,
            "BufferingHints": {"SizeInMBs": 128, "IntervalInSeconds": interval}, **more})

    def fill(self, names):
        """The same lines to each."""
        bodies = []
        for at in range(0, len(self.lines), BATCH):
            records = [{"Data": base64.b64encode(line).decode()} for line in self.lines[at:at + BATCH]]
            bodies.append(json.dumps(records))
        for name in names:
            for records in bodies:
                body = f'{{"DeliveryStreamName":"{name}","Records":{records}}}'.encode()
                status, _, content = self.firehose.raw("PutRecordBatch", body)
                assert status == 200 and json.loads(content)["FailedPutCount"] == 0, content[:500]

    def flush_call(self, names):
        """All of them by one call, signed before the clock starts."""
        path, body = "/_headrace/admin/firehose/flush", json.dumps({"streams": names}).encode()
        headers = {"Host": f"127.0.0.1:{self.peer.port}", "Content-Type": "application/json"}
        return "POST", path, sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "headrace", "POST", path, headers,
                                        body), body

    def deliver(self, **more):
        """One run: 100 streams, filled before the clock starts."""
        self.rounds += 1
        prefix, names = f"r{self.rounds}/", [f"r{self.rounds}-{i}" for i in range(STREAMS)]
        for name in names:
            self.make(name, prefix, **more)
        self.fill(names)
        self.b.wait()
        call = self.flush_call(names)
        foreign, before, begin = machine.Foreign(self.peer.pid()), children_seconds(), time.monotonic()
        status, _, content = self.operator.send(*call)
        assert status == 200, content
        while (found := self.objects(prefix))[0] < STREAMS:
            assert time.monotonic() - begin < 300, f"{found[0]} of {STREAMS} objects after five minutes"
            time.sleep(0.01)
        run = self.counted("headrace", time.monotonic() - begin, found[1])
        run["foreign"], (server, *_) = foreign.end(children_seconds() - before)
        run["cpu_us_per_record"] = server * 1e6 / (STREAMS * len(self.lines))
        for name in names:
            self.firehose.call("DeleteDeliveryStream", DeliveryStreamName=name)
        return run

    def counted(self, name, seconds, size):
        records, content = STREAMS * len(self.lines), STREAMS * sum(map(len, self.lines))
        run = {"name": name, "rate": records / seconds, "mb_s": content / 1e6 / seconds}
        self.sizes[name] = size
        self.b.say(f"    {name}: {run['rate']:,.0f} records/s, {run['mb_s']:.0f} MB/s into {size / 1e6:.1f} MB")
        return run

    def files(self, name, program, *words, ending):
        """One run of a peer: as many processes as cores, each with its share of 100 files."""
        folder = os.path.join(self.b.folder, "peer")
        os.makedirs(folder, exist_ok=True)
        paths = [os.path.join(folder, f"{i}.json") for i in range(STREAMS)]
        for path in paths:
            with open(path, "wb") as file:
                file.writelines(self.lines)
        self.b.wait()
        foreign, before, begin = machine.Foreign(), children_seconds(), time.monotonic()
        shares = [paths[i::machine.CORES] for i in range(machine.CORES)]
        running = [subprocess.Popen([program[0], "-c", program[1], *words, *share]) for share in shares]
        assert all(p.wait() == 0 for p in running)
        run = self.counted(name, time.monotonic() - begin, sum(os.path.getsize(p + ending) for p in paths))
        cpu = children_seconds() - before
        run["foreign"], _ = foreign.end(cpu)
        run["cpu_us_per_record"] = cpu * 1e6 / (STREAMS * len(self.lines))
        return run

    def freshness(self, name, rest):
        """From a put's answer to the object's being listed, with an interval of 0: milliseconds. Before each put
        nothing comes for `rest` seconds."""
        self.make(name, f"{name}/", interval=0)
        took = []
        for count in range(1, FRESH + 1):
            time.sleep(rest)
            self.firehose.call("PutRecord", DeliveryStreamName=name, Record={"Data": "eA=="})
            begin = time.monotonic()
            while self.objects(f"{name}/")[0] < count:
                assert time.monotonic() - begin < 60, "nothing was delivered"
                time.sleep(0.001)
            took.append((time.monotonic() - begin) * 1000)
        return sorted(took)


@benchmark("B21", "deliveries of 100 streams: GZIP and Parquet, beside zlib -6 and DuckDB", disk=True)
def deliveries(b):
    lines = os.path.join(b.folder, "lines.json")
    write_lines(lines, ROWS_THOROUGH if b.thorough else ROWS)
    lake = Lake(b, lines)
    gzip(b, lake, "GZIP, 0.5 MB of each stream, records of 120 bytes, beside zlib -6")
    conversion = {"DataFormatConversionConfiguration": {
        "Enabled": True, "SchemaConfiguration": {"RoleARN": ROLE, "DatabaseName": "bench", "TableName": "lines"},
        "InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {}}},
        "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {}}}}}
    if os.path.exists(PYTHON):
        columns = json.dumps({name: kind for name, (_, kind) in COLUMNS.items()}).replace('"', "'")
        b.compare("Parquet, beside DuckDB's COPY", lambda: lake.deliver(**conversion),
                  lambda: lake.files("duckdb", (PYTHON, PARQUET), columns, ending=".parquet"), "mb_s", ">=0.9")
    else:
        b.note("no DuckDB: make tests-ready")
    for label, name, rest in (("one at a time", "fresh", 1.1), ("one after the other", "busy", 0)):
        took = lake.freshness(name, rest)
        b.value(f"put to object, interval 0, {label}: median", "ms", [took[len(took) // 2]])
        b.value(f"put to object, interval 0, {label}: the slowest", "ms", [took[-1]])
    large = os.path.join(b.folder, "large.json")
    write_lines(large, ROWS_OF_5_MB)
    lake.take(large, LINES_OF_1_KB)
    gzip(b, lake, "GZIP, 5 MB of each stream, records of 1 KB, beside zlib -6")
    b.profile("GZIP, 5 MB of each stream", lake.peer, make=lambda: lake.deliver(CompressionFormat="GZIP"))


def gzip(b, lake, label):
    """By the clock, with all processors on both sides; by processor time, without that of the puts before; and the bytes."""
    row = b.compare(label, lambda: lake.deliver(CompressionFormat="GZIP"),
                    lambda: lake.files("zlib -6", (sys.executable, GZIP), ending=".gz"), "mb_s", ">=8")
    b.add({"label": f"{label}: processor time", "measure": "cpu_us_per_record",
           "ratio": row["ratios"]["cpu_us_per_record"]}, "<=0.125")
    ours, theirs = (lake.sizes[name] for name in row["names"])
    b.value(f"{label}: size of the files", "times", [ours / theirs], "<=1.12")
