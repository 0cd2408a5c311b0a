# SPDX-License-Identifier: Apache-2.0
"""B20: JSON to Snappy Parquet, beside DuckDB's COPY of the same file, each on one thread.

The rate is records per second of processor time: both compute with one thread and wait for nothing else, and other
programs of the machine disturb that less than the clock. Both read the same lines, out of the page cache, into columns of the same types, and write one file. DuckDB is the one of
the tests' environment (build/venv-s3). It makes dictionaries of texts as it sees fit; Headrace as Firehose's default has
it, none, and in a row of its own with them."""
import json
import os
import random
import re
import subprocess

import machine
from suite import ROOT, benchmark, children_seconds

PROGRAM = os.path.join("tests", "columnar", "headrace-columnar")
PYTHON = os.path.join(ROOT, "build", "venv-s3", "bin", "python")
COLUMNS = {"id": ("bigint", "BIGINT"), "user": ("string", "VARCHAR"), "time": ("timestamp", "TIMESTAMP"), "page": ("string", "VARCHAR"),
           "price": ("double", "DOUBLE"), "items": ("int", "INTEGER"), "bot": ("boolean", "BOOLEAN")}
PAGES = ("/", "/cart", "/checkout", "/account", "/product/{}", "/search?q={}")
ROWS, ROWS_THOROUGH = 300_000, 1_000_000
TARGET = ">=0.9"
COPY = """
import duckdb, sys, time
db = duckdb.connect()
db.execute("SET threads = 1; SET enable_progress_bar = false")
cpu = time.process_time()
db.execute(f"COPY (SELECT * FROM read_json('{sys.argv[1]}', format = 'newline_delimited', columns = {sys.argv[3]})) "
           f"TO '{sys.argv[2]}' (FORMAT parquet, COMPRESSION {sys.argv[4]})")
print(time.process_time() - cpu)
"""


def write_lines(path, rows):
    r = random.Random(1)
    with open(path, "w", encoding="utf-8") as file:
        for i in range(rows):
            time = f"2026-11-{r.randint(1, 28):02}T{r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}.{r.randrange(1000):03}Z"
            page = r.choice(PAGES).format(r.randrange(10000))
            file.write(f'{{"id":{i},"user":"u{r.randrange(10 ** 7):07}","time":"{time}","page":"{page}",'
                       f'"price":{r.random() * 500:.2f},"items":{r.randrange(9)},"bot":{"false" if r.randrange(10) else "true"}}}\n')


def build(b):
    """The program that converts, from the release build; None if there is none."""
    folder = os.path.dirname(os.path.abspath(b.options.program))
    done = subprocess.run(["ninja", "-C", folder, PROGRAM], capture_output=True, text=True)
    return os.path.join(folder, PROGRAM) if done.returncode == 0 else None


class Converter:
    """One way from the lines to a file, as runs."""

    def __init__(self, b, lines, rows):
        self.b, self.lines, self.rows = b, lines, rows
        self.out = os.path.join(b.folder, "converted")

    def run(self, name, convert):
        self.b.wait()
        foreign, before = machine.Foreign(), children_seconds()
        cpu = convert()
        run = {"name": name, "rate": self.rows / cpu, "mb_s": os.path.getsize(self.lines) / 1e6 / cpu,
               "cpu_us_per_record": cpu * 1e6 / self.rows}
        run["foreign"], _ = foreign.end(children_seconds() - before)
        self.b.say(f"    {name}: {run['rate']:,.0f} records/s, {run['mb_s']:.0f} MB/s of JSON, "
                   f"{run['cpu_us_per_record']:.2f} us each, {os.path.getsize(self.out) / 1e6:.1f} MB")
        return run

    def ours(self, program, **words):
        command = [program, self.out, *(f"column={name}:{t}" for name, (t, _) in COLUMNS.items()),
                   *(f"{name}={value}" for name, value in words.items())]

        def convert():
            with open(self.lines, "rb") as file:
                said = subprocess.run(command, stdin=file, check=True, capture_output=True, text=True).stdout
            rows, cpu = re.search(r"rows (\d+),.* processor ([\d.]+)", said).groups()
            assert int(rows) == self.rows, said
            return float(cpu)
        return lambda: self.run("headrace", convert)

    def duckdb(self, compression):
        columns = json.dumps({name: t for name, (_, t) in COLUMNS.items()}).replace('"', "'")

        def convert():
            return float(subprocess.run([PYTHON, "-c", COPY, self.lines, self.out, columns, compression], check=True,
                                        capture_output=True, text=True).stdout)
        return lambda: self.run("duckdb", convert)


@benchmark("B20", "JSON to Parquet, beside DuckDB's COPY, on one thread")
def columnar(b):
    program = build(b)
    if program is None or not os.path.exists(PYTHON):
        b.note("left out: there is no tests/columnar/headrace-columnar, or no DuckDB: make tests-ready")
        return
    rows = ROWS_THOROUGH if b.thorough else ROWS
    lines = os.path.join(b.folder, "lines.json")
    write_lines(lines, rows)
    c = Converter(b, lines, rows)
    b.compare("Snappy", c.ours(program), c.duckdb("snappy"), target=TARGET)
    b.compare("Snappy, dictionaries", c.ours(program, dictionary=1), c.duckdb("snappy"), target=TARGET)
    b.compare("GZIP", c.ours(program, compression="GZIP"), c.duckdb("gzip"), target=TARGET)
    b.compare("ORC with Snappy, beside Parquet", c.ours(program, format="orc"), c.duckdb("snappy"))
