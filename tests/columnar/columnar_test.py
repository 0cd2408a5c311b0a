#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of src/columnar, read back by pyarrow (Parquet and ORC) and DuckDB (Parquet): every row must be equal.

    tests/columnar/columnar_test.py [--program build-asan/tests/columnar/headrace-columnar] [--seeds N] [names...]

Schemas, rows, nulls and options are made up from fixed seeds (made.py). The clients live in an environment of
their own, build/venv-s3, because of their size.
"""
import argparse
import datetime
import decimal
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests"), HERE]
PYTHON = os.path.join(ROOT, "build", "venv-s3", "bin", "python")
if os.path.exists(PYTHON) and os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(PYTHON))):
    os.execv(PYTHON, [PYTHON, *sys.argv])

import duckdb  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.orc as orc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import made  # noqa: E402
import tap  # noqa: E402
from tap import test  # noqa: E402

SECONDS_MAX = 120
options = None


class Converted:
    """A file that the program made, and what it said."""

    def __init__(self, columns, lines, **words):
        self.folder = tempfile.TemporaryDirectory(prefix="headrace-columnar-")
        self.path = os.path.join(self.folder.name, "file")
        command = [options.program, self.path, *(f"column={name}:{made.type_text(t)}" for name, t in columns)]
        for name, value in words.items():
            command += [f"{name}={v}" for v in (value if isinstance(value, list) else [value])]
        with tempfile.TemporaryFile() as file:
            file.write("".join(line + "\n" for line in lines).encode())
            file.seek(0)
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=SECONDS_MAX)
        assert done.returncode == 0, f"{command}\n{done.stderr.decode(errors='replace')[-3000:]}"
        *said, last = done.stdout.decode().splitlines()
        self.refused = {int(line.split(" ", 2)[0]): line.split(" ", 2)[1:] for line in said}
        self.rows, self.bytes, self.held = map(int, re.match(r"rows (\d+), bytes (\d+), held (\d+)", last).groups())
        assert self.bytes == os.path.getsize(self.path)


# ---- Reading

def in_microseconds(t):
    """The type with times that Python has: it knows no nanoseconds."""
    if pa.types.is_timestamp(t):
        return pa.timestamp("us")
    if pa.types.is_list(t):
        return pa.list_(in_microseconds(t.value_type))
    if pa.types.is_map(t):
        return pa.map_(in_microseconds(t.key_type), in_microseconds(t.item_type))
    if pa.types.is_struct(t):
        return pa.struct([(f.name, in_microseconds(f.type)) for f in t])
    return t


def read_parquet(path):
    return pq.read_table(path, coerce_int96_timestamp_unit="us", page_checksum_verification=True).to_pylist()


def read_orc(path):
    table = orc.ORCFile(path).read()
    return table.cast(pa.schema([(f.name, in_microseconds(f.type)) for f in table.schema])).to_pylist()


def read_duckdb(path):
    with duckdb.connect() as db:
        db.execute("SET threads=1; SET TimeZone='UTC'")
        rows = db.execute(f"SELECT * FROM read_parquet('{path}')")
        names = [d[0] for d in rows.description]
        return [dict(zip(names, row)) for row in rows.fetchall()]


def plain(value):
    """One form for what the readers give: maps as sorted pairs, chars without blanks at their end."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(x, tuple) for x in value):
            return {str(k): plain(v) for k, v in value}
        return [plain(x) for x in value]
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, bytearray):
        return bytes(value)
    return value


def is_equal(a, b):
    if isinstance(a, dict) and a == {} or isinstance(b, dict) and b == {}:
        return not a and not b and a is not None and b is not None  # a map without members, or a list
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(is_equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(is_equal, a, b))
    return type(a) is type(b) and a == b


def compare(who, want, got):
    assert len(want) == len(got), f"{who}: {len(got)} rows instead of {len(want)}"
    for number, (w, g) in enumerate(zip(want, got)):
        w, g = plain(w), plain(g)
        for name in w:
            assert name in g, f"{who}: row {number} has no {name!r}: {list(g)}"
            assert is_equal(w[name], g[name]), f"{who}: row {number}, {name!r}: {g[name]!r} instead of {w[name]!r}"


def check_parquet(file, want):
    compare("pyarrow", want, read_parquet(file.path))
    compare("DuckDB", want, read_duckdb(file.path))


def random_case(seed, rows, **words):
    m = made.Maker(seed, hive=seed % 3 == 2)
    columns = m.columns()
    lines, refused, want = m.records(columns, rows if m.r.random() < 0.9 else 0)
    words["serde"] = "hive" if m.hive else "openx"
    file = Converted(columns, lines, **words)
    assert_refused(file, lines, refused)
    assert file.rows == len(want)
    return m, file, want


def parquet_words(r):
    return {"compression": r.choice(["NONE", "SNAPPY", "GZIP"]), "v2": r.choice([0, 1]), "dictionary": r.choice([0, 1]),
            "page": r.choice([1024, 4096, 65536, 1 << 20]), "block": r.choice([20000, 300000, 1 << 28]),
            "padding": r.choice([0, 0, 3000])}


def orc_words(r):
    return {"compression": r.choice(["NONE", "SNAPPY", "ZLIB"]), "v0_11": r.choice([0, 1]), "dictionary": r.choice([0, 0.5, 1]),
            "stripe": r.choice([10000, 200000, 1 << 26]), "stride": r.choice([7, 100, 1000, 10000]),
            "block": r.choice([100000, 1 << 28]), "padding": r.choice([0, 1]), "tolerance": 0.9}


def every_seed(first, check):
    for seed in range(first, first + options.seeds):
        try:
            check(seed)
        except Exception as why:
            raise AssertionError(f"seed {seed}: {why}") from why


# ---- The tests

@test
def every_row_of_random_parquet_files_is_read_back_by_pyarrow_and_duckdb():
    def check(seed):
        words = parquet_words(made.random.Random(-seed))
        _, file, want = random_case(seed, made.random.Random(seed).choice([1, 20, 400, 2500]), format="parquet", **words)
        check_parquet(file, want)
    every_seed(1, check)


@test
def every_row_of_random_orc_files_is_read_back_by_pyarrow():
    def check(seed):
        words = orc_words(made.random.Random(-seed))
        _, file, want = random_case(seed, made.random.Random(seed).choice([1, 20, 400, 2500]), format="orc", **words)
        compare("pyarrow", want, read_orc(file.path))
    every_seed(1001, check)


def assert_refused(file, lines, refused):
    wrong = sorted(set(file.refused) ^ set(refused))
    assert not wrong, [(n, lines[n], file.refused.get(n, "was taken")) for n in wrong[:3]]


def every_type(nulls, form, check, **words):
    for seed, t in enumerate(made.SCALARS):
        m = made.Maker(seed)
        columns = [("a", t), ("b", ("array", t)), ("c", ("map", "string", t)), ("d", ("struct", [("x", t), ("y", "int")])),
                   ("e", ("array", ("struct", [("z", ("array", t))])))]
        lines, refused, want = m.records(columns, 400, nulls)
        file = Converted(columns, lines, format=form, **words)
        assert_refused(file, lines, refused)
        check(file, want)


@test
def every_type_is_read_back_alone_and_nested_with_every_pattern_of_nulls():
    for nulls in (0, 0.3, 1):
        every_type(nulls, "parquet", check_parquet, page=4096)
        every_type(nulls, "orc", lambda file, want: compare("pyarrow", want, read_orc(file.path)), stride=100)


@test
def a_dictionary_is_used_where_it_makes_a_column_smaller_and_left_where_it_does_not():
    columns = [("few", "string"), ("many", "string"), ("n", "bigint"), ("id", "bigint"), ("x", "double")]
    want = [{"few": f"kind {i % 7} of them", "many": f"{i:08} is another", "n": i % 9 - 4, "id": i * 7, "x": i % 5 / 4} for i in range(20000)]
    sizes = {}
    for dictionary in (0, 1):
        file = Converted(columns, map(json.dumps, want), dictionary=dictionary, compression="NONE")
        group = pq.ParquetFile(file.path).metadata.row_group(0)
        sizes[dictionary] = [group.column(i).total_compressed_size for i in range(len(columns))]
        kept = [group.column(i).has_dictionary_page for i in range(len(columns))]
        assert kept == ([True, False, True, False, True] if dictionary else [False] * 5), kept
        check_parquet(file, want)
    for i in (0, 2, 4):
        assert sizes[1][i] * 10 < sizes[0][i], sizes
    assert sizes[1][1] == sizes[0][1] and sizes[1][3] == sizes[0][3], sizes


@test
def statistics_and_indexes_name_least_and_greatest_values():
    columns = [("i", "int"), ("d", "double"), ("s", "string"), ("c", "decimal(10,2)"), ("t", "date"), ("b", "boolean")]
    lines = [f'{{"i":{i - 500},"d":{i / 4 - 3},"s":"v{i:05}","c":"{i - 3}.25","t":"2020-01-{i % 28 + 1:02}","b":{"true" if i % 2 else "false"}}}'
             for i in range(1000)] + ["{}"] * 5
    file = Converted(columns, lines, page=1024)
    metadata = pq.ParquetFile(file.path).metadata
    want = [(-500, 499), (-3.0, 246.75), ("v00000", "v00999"), (decimal.Decimal("-3.25"), decimal.Decimal("996.25")),
            (datetime.date(2020, 1, 1), datetime.date(2020, 1, 28)), (False, True)]
    for i, pair in enumerate(want):
        column = metadata.row_group(0).column(i)
        assert (column.statistics.min, column.statistics.max) == pair, column.statistics
        assert column.statistics.null_count == 5
        assert column.has_offset_index and column.has_column_index


@test
def row_groups_and_pages_keep_to_their_sizes_and_memory_does_not_grow_with_the_file():
    columns = [("a", "bigint"), ("s", "string")]
    m = made.Maker(5)
    lines = [f'{{"a":{m.r.getrandbits(60)},"s":"{m.r.getrandbits(200):x}"}}' for _ in range(60000)]
    for form in ("parquet", "orc"):
        words = {"format": form, "compression": "NONE", "block": 500000, "stripe": 500000, "page": 65536}
        once = Converted(columns, lines[:20000], **words)
        file = Converted(columns, lines, **words)
        assert file.held < 2.2e6 and file.held < once.held * 1.3, (form, once.held, file.held)
        if form == "parquet":
            metadata = pq.ParquetFile(file.path).metadata
            sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
        else:
            sizes = [file.bytes / orc.ORCFile(file.path).nstripes]
        assert all(size < 800000 for size in sizes) and all(size > 400000 for size in sizes[:-1]), sizes


@test
def columns_that_are_nearly_always_null_cost_next_to_nothing():
    columns = [("a", "bigint")] + [(f"n{i}", "string") for i in range(300)]
    r = made.random.Random(9)
    want = [{"a": i} if r.random() < 0.999 else {"a": i, f"n{r.randrange(300)}": "here"} for i in range(60000)]
    file = Converted(columns, map(made.dump, want))
    assert file.held < 12e6 and file.bytes < 600000, (file.held, file.bytes)
    got = pq.read_table(file.path).to_pylist()
    assert [{k: v for k, v in row.items() if v is not None} for row in got] == want


@test
def mappings_dots_and_case_choose_the_members():
    columns = [("ts", "int"), ("a_b", "int"), ("c", "int")]
    cases = [({}, '{"TS":1,"a.b":2,"a_b":3,"C":4}', (1, 3, 4)),
             ({"map": "ts:Timestamp"}, '{"ts":1,"timestamp":9,"c":2}', (9, None, 2)),
             ({"dots": 1}, '{"a.b":7}', (None, 7, None)),
             ({"case_sensitive": 1}, '{"TS":1,"ts":2,"C":3}', (2, None, None)),
             ({"case_sensitive": 1, "map": "ts:TS"}, '{"TS":1,"ts":2}', (1, None, None)),
             ({"serde": "hive"}, '{"TS":5,"a.b":6}', (5, None, None))]
    for words, line, want in cases:
        file = Converted(columns, [line], **words)
        got = read_parquet(file.path)
        assert [tuple(row.values()) for row in got] == [want], (words, got)


@test
def times_of_each_deserializer_are_read_to_the_nanosecond():
    def times(lines, **words):
        file = Converted([("t", "timestamp")], [f'{{"t":{line}}}' for line in lines], **words)
        table = pq.read_table(file.path, coerce_int96_timestamp_unit="ns")
        return [x.value if x.is_valid else None for x in table["t"]], {n: why[0] for n, why in file.refused.items()}
    got, refused = times(['"2017-02-07T15:13:01.39256Z"', '"2017-2-7 15:13:01.123456789"', "1469728460", "1469728460123", "1469728460.5",
                          '"1469728460123"', '"1969-12-31T23:59:58.25Z"', "-5", '"2017-02-30 00:00:00"', '"tomorrow"', "true",
                          '"2017-02-07T15:13:01+01:00"'])
    assert got == [1486480381392560000, 1486480381123456789, 1469728460000000000, 1469728460123000000, 1469728460500000000,
                   1469728460123000000, -1750000000, -5000000000], got
    assert set(refused) == {8, 9, 10, 11} and set(refused.values()) == {"mismatch"}, refused
    got, refused = times(['"07/02/2017 03:13 PM"', '"20170207151301123"', "1486480381392", '"7 Feb 2017 15:13:01 +0100"', '"2017-02-07 15:13:01"'],
                         serde="hive", timestamps=["dd/MM/yyyy hh:mm a", "yyyyMMddHHmmssSSS", "d MMM yyyy HH:mm:ss Z", "millis"])
    assert got == [1486480380000000000, 1486480381123000000, 1486480381392000000, 1486476781000000000], got
    assert set(refused) == {4}, refused
    got, refused = times(['"2017-02-07 15:13:01.5"', "1486480381", '"2017-02-07T15:13:01Z"'], serde="hive")
    assert got == [1486480381500000000] and set(refused) == {1, 2}, (got, refused)


@test
def a_value_that_its_column_cannot_hold_refuses_the_record_and_names_the_column():
    columns = [("i", "tinyint"), ("d", "decimal(4,2)"), ("f", "float"), ("b", "boolean"), ("x", ("struct", [("y", ("array", "int"))])),
               ("m", ("map", "string", "int"))]
    bad = ['{"i":128}', '{"i":1.5}', '{"i":"x"}', '{"d":100}', '{"f":1e39}', '{"b":1}', '{"x":{"y":[1,"z"]}}', '{"x":[]}', '{"i":[1]}',
           '{"m":{"a":1,"b":2,"a":3}}']
    good = '{"i":-128,"d":"99.994","f":1e38,"b":"True","x":{"y":[null,3]},"m":{"k":1}}'
    file = Converted(columns, [line for x in bad for line in (x, good, good + x)])
    assert len(file.refused) == 2 * len(bad) and file.rows == len(bad), file.refused
    assert all(kind == "mismatch" for kind, _ in file.refused.values())
    assert "'x.y.element'" in file.refused[18][1], file.refused[18]
    row = {"i": -128, "d": decimal.Decimal("99.99"), "f": 9.999999680285692e+37, "b": True, "x": {"y": [None, 3]}, "m": [("k", 1)]}
    check_parquet(file, [row] * len(bad))
    hive = Converted(columns, ['{"i":"1"}', '{"b":"true"}', '{"d":"1"}', '{"i":1}'], serde="hive")
    assert sorted(hive.refused) == [0, 1, 2]


def main():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=os.path.join(ROOT, "build-asan", "tests", "columnar", "headrace-columnar"))
    parser.add_argument("--seeds", type=int, default=25)
    options, names = parser.parse_known_args()
    return tap.main(names)


if __name__ == "__main__":
    sys.exit(main())
