# SPDX-License-Identifier: Apache-2.0
"""What a benchmark stands on: servers that are started and stopped for it, runs of the generator, the raw
disk, rows of results. The benchmarks themselves are in suite_*.py."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]
import fetch  # noqa: E402
import headrace  # noqa: E402
import machine  # noqa: E402
import pairs  # noqa: E402
import peers  # noqa: E402
import samples  # noqa: E402

LOAD = os.path.join(fetch.BUILD, "load")
NAMES = ("load", "net", "latency", "schedule", "probe", "call", "json", "kinesis", "many", "h2", "read", "redis", "postgres",
         "kafka", "queue", "push", "push_raw", "object", "floor")
SOURCES = [os.path.join(ROOT, "bench", f"{name}.c") for name in NAMES]
HEADERS = [os.path.join(ROOT, "bench", f"{name}.h") for name in ("load", "latency", "schedule", "call", "json", "push")]
PROBE_SECONDS = 1
THOROUGH_PAIRS = 7
IMPATIENT_SECONDS = 0.5
BESIDE_SECONDS = 0.5  # what goes on beside a run begins so much earlier
BENCHMARKS = {}  # in the order of their definition


def benchmark(identity, title, disk=False):
    """Registers a function of one Bench. With `disk` the raw disk is measured before and after."""
    def register(function):
        BENCHMARKS[identity] = (title, function, disk)
        return function
    return register


def build_load():
    os.makedirs(fetch.BUILD, exist_ok=True)
    newest = max(os.path.getmtime(path) for path in SOURCES + HEADERS)
    if not os.path.exists(LOAD) or newest > os.path.getmtime(LOAD):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-g", "-D_GNU_SOURCE", "-std=gnu17", "-Wall",
                        "-o", LOAD, *SOURCES, "-lnghttp2", "-lssl", "-lcrypto", "-lpthread", "-lm"], check=True)


class Load:
    """The generator as a process; `end` waits for it."""

    def __init__(self, *words, environment=None, processors=None, **options):
        words += tuple(f"{name}={int(value)}" for name, value in options.items() if value is not None)
        self.words = [str(word) for word in words]
        with peers.on_processors(processors):
            self.process = subprocess.Popen([LOAD, *self.words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                            text=True, env={**os.environ, **(environment or {})})

    def end(self):
        out, said = self.process.communicate()
        if self.process.returncode != 0:
            raise RuntimeError(f"load {' '.join(self.words)}: {said.strip()[:500]} {out.strip()}")
        return json.loads(out)


def children_seconds():
    """Processor time of our children that have ended: clients of a run, between two calls."""
    times = os.times()
    return times.children_user + times.children_system


class Bench:
    """One benchmark while it runs."""

    def __init__(self, identity, options):
        self.identity, self.options = identity, options
        self.title, self.function, self.uses_disk = BENCHMARKS[identity]
        self.rows, self.notes, self.series, self.profiles = [], [], {}, []
        self.disk, self.waits, self.gave_up, self.runs = {}, 0, 0, 0
        self.stack = contextlib.ExitStack()
        self.folder = None
        self.patience_seconds = options.quiet_seconds
        self.warmed = set()
        self.helpers = []  # processes that belong to the disk or the load

    @property
    def thorough(self):
        """Whether there is time for more than the defaults."""
        return self.options.pairs >= THOROUGH_PAIRS

    # ---- Saying

    def say(self, text):
        print(text, flush=True)

    def note(self, text):
        """Something that a reader of the figures must know."""
        self.notes.append(text)
        self.say(f"    note: {text}")

    # ---- Servers

    def headrace(self, *arguments, **more):
        return self.start(peers.Headrace(self.folder, self.options.program, *arguments, **more))

    def start(self, peer):
        with peers.on_processors(self.options.server_processors):
            peer.start()
        self.stack.callback(peer.stop)
        return peer

    def others(self, *names):
        """Those of the named peers that can be had here, started one after the other: each runs only while it
        is compared. What cannot be had is named."""
        wanted = self.options.peers
        for name in names:
            if wanted is not None and name not in wanted:
                continue
            try:
                peers.PEERS[name].install()
                peer = self.start(peers.make_peer(name, self.folder, self.options.program))
            except (fetch.NotInstalled, RuntimeError, subprocess.CalledProcessError) as why:
                self.note(f"{name} is left out: {why}")
                continue
            yield peer
            peer.stop()

    # ---- Runs

    def wait(self):
        """Once it was in vain, it is not waited for so long until the machine has been quiet again."""
        quiet, idle = machine.wait_until_quiet(min(self.options.quiet_seconds, self.patience_seconds))
        self.patience_seconds = self.options.quiet_seconds if quiet else IMPATIENT_SECONDS
        self.waits += 1
        if not quiet:
            self.gave_up += 1
            if self.gave_up == 1:
                self.say(f"    the machine is not quiet: {idle:.0%} idle after {self.options.quiet_seconds:g} s; "
                         "measuring all the same")

    def run(self, peer, records=1, record_bytes=1024, clients=1, shards=peers.SHARDS, seconds=None, forget=True,
            place=None, load_name=None, beside=None, **options):
        """One run of the generator on a fresh place, or on one that is there. Returns what it counted, and what it
        cost the server. `beside` starts a Load that goes on beside it, once the machine is quiet; it is waited for, too."""
        self.runs += 1
        name = place or f"bench{self.runs}"
        if place is None:
            self.warm(peer, records=records, bytes=record_bytes, loops=options.get("loops"), inflight=options.get("inflight"))
            peer.make(name, shards)
        self.wait()
        foreign, before = machine.Foreign(peer.pid(), *self.helpers), children_seconds()
        other = beside() if beside is not None else None
        if other is not None:
            time.sleep(BESIDE_SECONDS)
        run = self.load(peer, name, load_name, clients=clients, records=records, bytes=record_bytes, shards=shards,
                        seconds=seconds or self.options.seconds, **options).end()
        if other is not None:
            run["beside"] = other.end()
        run["name"] = peer.name
        run["foreign"], (server_seconds, *_) = foreign.end(children_seconds() - before)
        run["cpu_us_per_record"] = server_seconds * 1e6 / max(run["records"], 1)
        run["rss_mb"] = machine.family_rss_mb(peer.pid())
        self.show(run)
        if forget and place is None:
            peer.forget(name)
        return run

    def load(self, peer, name, load_name=None, **options):
        return Load(load_name or peer.load_name, peer.port, name, environment=peer.environment,
                    processors=self.options.load_processors, **options)

    def warm(self, peer, **options):
        """A server that has just started has files to fill and, some of them, code to compile: not measured."""
        if peer not in self.warmed:
            self.warmed.add(peer)
            peer.make("warm")
            self.load(peer, "warm", clients=4, shards=peers.SHARDS, seconds=peer.warm_seconds, **options).end()
            peer.forget("warm")

    def show(self, run):
        disturbed = f"   others {run['foreign']:.0%}" if pairs.is_disturbed(run) else ""
        self.say(f"    {run['name']:14s} {run['rate']:11.0f} records/s {run['mb_s']:8.1f} MB/s   p50 {run['p50_us']:7d} us   "
                 f"p99 {run['p99_us']:7d} us   CPU {run['cpu_us_per_record']:7.2f} us/record   "
                 f"RSS {run['rss_mb']:5.0f} MB{disturbed}")

    def probe_disk(self, folder=None):
        """The raw disk, before and after: durable writes of 4 KiB and 1 MiB, one after the other."""
        folder = folder or self.folder
        for size in (4096, 1 << 20):
            self.wait()
            result = Load("writes", folder, size, PROBE_SECONDS, processors=self.options.load_processors).end()
            self.disk.setdefault(str(size), []).append(result)
            self.say(f"    disk, {size >> 10:4d} KiB durable writes: p50 {result['p50_us']} us, p99 {result['p99_us']} us, "
                     f"{result['mb_s']:.1f} MB/s")

    def disk_median(self, size, name):
        values = pairs.spread([result[name] for result in self.disk.get(str(size), [])])
        return values["median"] if values else None

    def profile(self, label, peer, make=None, **options):
        """A run that is sampled, and so a little slower: where the server's time goes. `make` makes it, if it is no
        plain one."""
        if (why := samples.missing()) is not None:
            self.note(f"no profile: {why}")
            return
        self.say(f"  profile: {label}")
        sampling = samples.Sampling(peer.pid(), self.folder)
        try:
            run = make() if make else self.run(peer, **options)
        finally:
            shares = sampling.end()
        self.profiles.append({"label": label, "cpu_us_per_record": run["cpu_us_per_record"], "shares": shares})
        for name, share in shares.items():
            if share >= samples.LEAST_SHARE:
                self.say(f"    {share:6.1%} {share * run['cpu_us_per_record']:8.2f} us/record  {name}")

    # ---- Results

    def compare(self, label, ours, theirs, measure="rate", target=None):
        """Pairs of two functions that make one run each. The ratio is ours to theirs; returns its median."""
        self.say(f"  {label}")
        good, dropped = pairs.turning(self.options.pairs, ours, theirs)
        used = good or dropped
        row = {"label": label, "measure": measure, "pairs": len(used), "dropped": len(dropped) if good else 0,
               "disturbed": not good, "ours": pairs.summary([o for o, _ in used], measure),
               "theirs": pairs.summary([t for _, t in used], measure), "names": [used[0][0]["name"], used[0][1]["name"]],
               "ratios": {name: pairs.ratios(used, name) for name in (*pairs.NUMBERS, measure)}}
        row["ratio"] = row["ratios"].get(measure)
        row["of_device"] = self.of_device(row)
        self.add(row, target)
        return row

    def of_device(self, row):
        """Our MB/s of what the raw disk takes in durable writes of 1 MiB, as far as both were measured."""
        ours = row.get("ours", {}).get("mb_s")
        return pairs.ratio(ours["median"] if ours else None, self.disk_median(1 << 20, "mb_s"))

    def add(self, row, target=None):
        """A row of results; with a target it decides about the benchmark."""
        row["target"] = target
        self.rows.append(row)
        ratio = row.get("ratio")
        if ratio:
            aim = f", target {target}" if target else ""
            trouble = f", {row['of_device']:.2g} of the raw disk's MB/s" if row.get("of_device") else ""
            trouble += ", DISTURBED by other programs" if row.get("disturbed") else ""
            trouble += f", {row['dropped']} pairs dropped" if row.get("dropped") else ""
            times = row["measure"] if row.get("unscaled") else "times"
            self.say(f"  {row['label']}: {row['measure'] + ' ' if times == 'times' else ''}{ratio['median']:.3g} {times} "
                     f"(from {ratio['min']:.3g} to {ratio['max']:.3g}, n {ratio['n']}{trouble}{aim})")

    def repeat(self, make):
        """Runs of one thing alone."""
        return pairs.repeat(self.options.pairs, make)

    def value(self, label, measure, values, target=None, unit="", scale=None, runs=None):
        """A row for something that is measured without another: each value is compared with `scale` if given.
        `runs` are those that the values come from."""
        runs = runs or pairs.Runs()
        row = {"label": label, "measure": measure, "unit": unit, "values": pairs.spread(values), "pairs": len(values),
               "dropped": runs.dropped, "disturbed": runs.disturbed, "unscaled": scale is None,
               "ratio": pairs.spread([v / scale for v in values if v is not None] if scale else values)}
        self.add(row, target)
        return row

    def measure(self):
        """Runs it; returns the entry of results.json."""
        begin = time.monotonic()
        self.say(f"{self.identity}: {self.title}")
        os.makedirs(headrace.DATA, exist_ok=True)
        self.folder = tempfile.mkdtemp(dir=headrace.DATA)
        failure = None
        try:
            with self.stack:
                if self.uses_disk:
                    self.probe_disk()
                self.function(self)
                if self.uses_disk:
                    self.probe_disk()
        except (RuntimeError, AssertionError, OSError, headrace.AwsError, subprocess.CalledProcessError) as error:
            failure = f"{type(error).__name__}: {error}".replace(self.folder, "DIR")  # no path of this machine
            self.note(f"it failed: {failure}")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.gave_up:
            self.note(f"{self.gave_up} of {self.waits} times the machine had not become quiet")
        return self.entry(failure, time.monotonic() - begin)

    def entry(self, failure, seconds):
        for row in self.rows:
            row["of_device"] = self.of_device(row)  # of the disk before and after
        decided = pairs.verdict(self.rows)
        row, met = decided if decided else ({}, bool(self.rows))
        met = met and failure is None
        ratio, target = pairs.value_of(row), row.get("target") or "-"
        shown = f"{ratio:.3g}" if ratio is not None else "-"
        self.say(f"{self.identity} ratio={shown} target={target} {'ok' if met else 'short'}\n")
        return {"title": self.title, "rows": self.rows, "notes": self.notes, "disk": self.disk, "series": self.series,
                "profiles": self.profiles,
                "decides": row.get("label"), "ratio": ratio, "target": target, "ok": met, "failure": failure,
                "disturbed": any(r.get("disturbed") for r in self.rows), "took_seconds": round(seconds, 1),
                "seconds": self.options.seconds, "pairs": self.options.pairs,
                "date": time.strftime("%Y-%m-%d", time.gmtime())}
