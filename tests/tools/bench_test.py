# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the benchmarks: quantiles, ratios, which runs count, what a schedule leaves in."""
import ctypes
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]
import machine  # noqa: E402
import page  # noqa: E402
import pairs  # noqa: E402
import samples  # noqa: E402
import soak  # noqa: E402
import suite  # noqa: E402
from tap import skip, test  # noqa: E402

LATENCY_ERROR = 1 / 64 + 1e-9  # of bench/latency.h
STALL_SECONDS = 0.5


class Latencies(ctypes.Structure):
    """struct latencies of bench/latency.h."""

    _fields_ = [("n", ctypes.c_uint64), ("most_us", ctypes.c_uint64), ("buckets", ctypes.c_uint32 * (32 * 64))]


def latency_library(folder):
    if not soak.can_build():
        skip("no C compiler or no OpenSSL headers")
    path = os.path.join(folder, "latency.so")
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", "-std=gnu17", "-o", path,
                    os.path.join(ROOT, "bench", "latency.c")], check=True)
    library = ctypes.CDLL(path)
    library.latencies_quantile.restype = ctypes.c_uint64
    library.latencies_quantile.argtypes = [ctypes.POINTER(Latencies), ctypes.c_double]
    library.latencies_add.argtypes = [ctypes.POINTER(Latencies), ctypes.c_uint64]
    return library


@test
def samples_fall_into_the_first_group_that_fits():
    lines = ["# a comment", "", "  20.00%;headrace;libcrypto.so.3;[.] sha256_block_data_order_shaext",
             "  10.00%;headrace;headrace;[.] sha256_pair", "   5.00%;log-expiry;libzstd.so.1;[.] ZSTD_compressBlock_fast",
             "   5.00%;log-expiry;libc.so.6;[.] __memmove_avx_unaligned", "  30.00%;headrace;[kernel.kallsyms];[k] tcp_sendmsg",
             "  20.00%;headrace;headrace;[.] scan_json", "  10.00%;headrace;libsqlite3.so.0;[.] sqlite3VdbeExec"]
    shares = samples.grouped(lines)
    assert abs(sum(shares.values()) - 1) < 1e-9, shares
    assert list(shares)[0] in (samples.group_of("headrace", "libcrypto", "sha256"), samples.group_of("", "[kernel.k", "tcp_x"))
    assert abs(shares[samples.group_of("headrace", "headrace", "sha256_pair")] - 0.30) < 1e-9, shares
    assert abs(shares[samples.group_of("log-expiry", "libc.so.6", "memmove")] - 0.05) < 1e-9, shares
    assert samples.group_of("x", "libother.so", "f") == samples.GROUPS[-1][0]


@test
def quantiles_of_buckets_are_those_of_the_sorted_latencies():
    with tempfile.TemporaryDirectory() as folder:
        library, values = latency_library(folder), []
        counted, part = Latencies(), Latencies()
        dice = random.Random(7)
        for number in range(20000):
            us = int(dice.lognormvariate(6, 2))
            values.append(us)
            library.latencies_add(ctypes.byref(counted if number % 2 else part), us)
        library.latencies_merge(ctypes.byref(counted), ctypes.byref(part))
        values.sort()
        assert counted.n == len(values) and counted.most_us == values[-1]
        for share in (0, 0.01, 0.5, 0.9, 0.99, 0.999):
            exact = values[int(len(values) * share)]
            got = library.latencies_quantile(ctypes.byref(counted), share)
            assert exact <= got <= exact * (1 + LATENCY_ERROR) + 1, (share, exact, got)
        assert library.latencies_quantile(ctypes.byref(counted), 1.0) == values[-1]
        assert library.latencies_quantile(ctypes.byref(Latencies()), 0.5) == 0


def run_of(rate, foreign=0.0):
    return {"name": "x", "rate": rate, "foreign": foreign}


def in_turn(runs, said, name):
    def make():
        said.append(name)
        return runs.pop(0)
    return make


@test
def pairs_turn_and_ratios_are_computed_within_a_pair():
    said = []
    ours, theirs = [run_of(r) for r in (10, 30, 40)], [run_of(r) for r in (5, 10, 40)]
    good, dropped = pairs.turning(3, in_turn(ours, said, "o"), in_turn(theirs, said, "t"))
    assert said == ["o", "t", "t", "o", "o", "t"] and not dropped
    assert pairs.ratios(good, "rate") == {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}


@test
def a_pair_with_a_disturbed_run_is_dropped_and_made_again():
    said = []
    ours = [run_of(10), run_of(99, foreign=0.3), run_of(20)]
    theirs = [run_of(10), run_of(1), run_of(10)]
    good, dropped = pairs.turning(2, in_turn(ours, said, "o"), in_turn(theirs, said, "t"))
    assert [o["rate"] for o, _ in good] == [10, 20] and [o["rate"] for o, _ in dropped] == [99]
    assert all(o["name"] for o, _ in good)


def counted(latencies, **more):
    return {**dict.fromkeys(pairs.SUMS, len(latencies)), "seconds": 2.0, "name": "x", "max_us": max(latencies), "rss_mb": 1,
            "counts": [[us, 1] for us in sorted(latencies)], "cpu_us_per_record": 1.0, "foreign": 0.0, **more}


@test
def runs_are_pooled_by_their_latencies_and_not_by_their_quantiles():
    slow = counted([10] * 50 + [1000] * 50, foreign=0.2, cpu_us_per_record=3.0)
    slow["counts"] = [[10, 50], [1000, 50]]
    total = pairs.pooled([counted([10] * 300), slow])
    assert total["p50_us"] == 10 and total["p99_us"] == 1000 and total["max_us"] == 1000
    assert total["records"] == 400 and total["seconds"] == 4.0 and total["rate"] == 100.0
    assert total["foreign"] == 0.1 and total["cpu_us_per_record"] == 1.5
    many = [random.Random(7).randrange(1, 5000) for _ in range(1000)]
    parts = [counted(many[i::4]) for i in range(4)]
    assert pairs.pooled(parts)["p99_us"] == sorted(many)[990]


@test
def the_sides_of_a_pair_take_short_turns():
    said = []
    one = lambda: said.append("o") or counted([10])  # noqa: E731
    other = lambda: said.append("t") or counted([20])  # noqa: E731
    good, dropped = pairs.turning(2, *pairs.in_turns(3, one, other))
    assert "".join(said) == "ottoot" * 2 and not dropped
    assert pairs.ratios(good, "p99_us") == {"median": 0.5, "min": 0.5, "max": 0.5, "n": 2}


@test
def where_there_is_no_quiet_the_pairs_end_and_are_all_dropped():
    made = []

    def disturbed():
        made.append(1)
        return run_of(1, foreign=0.5)

    good, dropped = pairs.turning(3, disturbed, disturbed)
    assert not good and len(dropped) == 3 * pairs.TRIES_FACTOR and len(made) == 2 * len(dropped)


@test
def what_other_programs_use_is_what_is_left_of_the_machine():
    spent = {"programs": 3.0, "kernel": 0.5, "servers": 1.0, "ours": 0.1}
    unresolved = machine.UNRESOLVED_TICKS * 2 / machine.TICKS
    assert abs(machine.foreign_share(spent, 0.4 - unresolved, 2.0, 2) - 0.25) < 1e-9
    assert machine.foreign_share(spent | {"programs": 2.0 + unresolved}, 0.4, 0.07, 2) == 0.0  # a short run
    assert machine.foreign_share(spent, 5.0, 2.0, 2) == 0.0  # ticks are coarse: never below nothing
    assert machine.growth({1: 5.0, 2: 7.0}, {1: 6.0, 3: 0.5}) == 1.5  # thread 2 has ended
    before, after = [0] * 8, [100, 0, 50, 800, 50, 0, 0, 0]
    assert machine.idle_share(before, after) == 0.85
    n = machine.CORES
    assert machine.threads_of_a_core(0.95 * n) == 1
    assert machine.threads_of_a_core(0.55 * n) == (2 if n > 1 else 1)


def decided(*rows):
    """The ratio and the verdict of rows (ratio, target)."""
    row, met = pairs.verdict([{"ratio": r and {"median": r}, "target": t} for r, t in rows])
    return pairs.value_of(row), row["target"], met


@test
def a_verdict_is_the_ratio_that_misses_its_target_most():
    assert decided((20.0, ">=10"), (12.0, ">=15"), (0.1, None)) == (12.0, ">=15", False)
    assert decided((20.0, ">=10"), (1.4, "<=1.5")) == (1.4, "<=1.5", True)
    assert decided((None, "<=1.5"), (20.0, ">=10")) == (None, "<=1.5", False)
    assert pairs.verdict([{"ratio": {"median": 1.0}, "target": None}]) is None
    assert pairs.Target("<=2").share(1.0) == 2.0 and pairs.Target(">=2").share(1.0) == 0.5


@test
def runs_of_one_thing_are_repeated_until_enough_are_undisturbed():
    runs = pairs.repeat(2, in_turn([run_of(1, foreign=0.2), run_of(2), run_of(3)], [], "x"))
    assert runs.of("rate") == [2, 3] and runs.dropped == 1 and not runs.disturbed
    runs = pairs.repeat(1, lambda: run_of(1, foreign=0.2))
    assert len(runs) == pairs.TRIES_FACTOR and runs.disturbed


@test
def a_spread_has_the_median_and_leaves_out_what_was_not_measured():
    assert pairs.spread([3, None, 1, 2]) == {"median": 2, "min": 1, "max": 3, "n": 3}
    assert pairs.spread([None]) is None and pairs.ratio(1, 0) is None


class StallingServer:
    """Answers any POST with 200, and once keeps a client waiting."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        connection, _ = self.listener.accept()
        stream, answered = connection.makefile("rb"), 0
        while head := self.read_head(stream):
            stream.read(head)
            answered += 1
            if answered == 3:
                time.sleep(STALL_SECONDS)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    @staticmethod
    def read_head(stream):
        length = 0
        while (line := stream.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return length


def against_a_stall(**options):
    if not soak.can_build():
        skip("no C compiler or no OpenSSL headers for the load generator")
    suite.build_load()
    server = StallingServer()
    return suite.Load("kinesis", server.port, "s", clients=1, seconds=1, **options).end()


@test
def a_schedule_counts_what_had_to_wait_behind_a_stall():
    """Half of the second's requests were due while the server did not answer: they are slow, not left out."""
    run = against_a_stall(rate=200)
    assert run["max_us"] >= STALL_SECONDS * 1e6 * 0.9, run
    assert run["p99_us"] >= STALL_SECONDS * 1e6 * 0.5, run


@test
def clients_that_wait_for_answers_see_one_slow_request():
    run = against_a_stall(batches=200)
    assert run["batches"] <= 200 and run["max_us"] >= STALL_SECONDS * 1e6 * 0.9, run


@test
def the_published_page_is_what_its_results_give():
    folder = os.path.join(ROOT, "docs", "bench")
    if not os.path.exists(folder):
        skip("no results are published")
    with open(os.path.join(folder, "results.json"), encoding="utf-8") as file:
        results = json.load(file)
    with tempfile.TemporaryDirectory() as made:
        page.write(results, made)
        assert sorted([*os.listdir(made), "limits.md"]) == sorted(os.listdir(folder))  # that one is written by hand
        for name in os.listdir(made):
            with open(os.path.join(made, name), encoding="utf-8") as new, \
                    open(os.path.join(folder, name), encoding="utf-8") as old:
                assert new.read() == old.read(), f"docs/bench/{name}: bench/page.py build/bench/results.json docs/bench"
