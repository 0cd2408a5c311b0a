#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make soak-hour: an hour at 80 % of what the machine can do, with everything turning over.

    bench/soak.py [--minutes 60] [--seed 1] [--out build/soak] [--serve=--journal-file-size=16MiB]

One server of the profile dev on a disk; the streams below, of which some are hot, some sparse and some
idle. First all writers go as fast as they are answered, for a short while: the peak. Then requests come
at 80 % of it by a schedule that does not wait for answers; latencies count from the time at which a
request was due. Consumers follow the hot shards; another reads every shard from its oldest record, at
full speed, again and again, and compares each record with what must be there. Meanwhile
  - the server's clock moves by an hour every few seconds, so that records, iterators and files expire;
  - streams are created and deleted;
  - the server is killed with SIGKILL at times that the seed chooses; the last sixth runs without.
At the end: one more kill, everything is read once more, the server is stopped and its files are checked.

What must hold: bench/soak.h. It ends with status 1 when anything acknowledged is missing, changed, twice
or out of order; when a call gets an error; when what should be gone is there; or when memory grows: the
median of RSS in the last third of the time exceeds that of the second third by more than 15 % (samples of
servers older than 20 s, and as if the server's bounded caches were as full in both). No latency is judged.
soak.csv has a row for each window of 5 s and each event; bench/soak_plot.py draws it again.
"""
import argparse
import csv
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]
import headrace  # noqa: E402
import soak_plot  # noqa: E402
from machine import MB, machine_seconds, memory_of, processor_seconds  # noqa: E402

LOAD = os.path.join(ROOT, "build", "bench", "soak")
NAMES = ("soak", "soak_lane", "soak_put", "soak_read", "json", "latency", "schedule", "call", "net")
SOURCES = [os.path.join(ROOT, "bench", f"{name}.c") for name in NAMES]
HEADERS = [os.path.join(ROOT, "bench", f"{name}.h") for name in ("soak", "call", "load", "json", "latency", "schedule")]

# name, shards, retention in hours, share of the requests, use
STREAMS = [("web", 32, 24, 55, "hot"), ("app", 64, 24, 20, "hot"), ("audit", 16, 168, 19, "hot"),
           ("archive", 8, 8760, 2, "hot"), ("sensors", 1000, 24, 4, "sparse"), ("idle", 3000, 24, 1, "idle")]
CONNECTIONS, WINDOW_SECONDS = 8, 5
LOAD_SHARE = 0.8
PEAK_SECONDS = (40, 120)  # a part of the time, between these
PEAK_SHARE, PEAK_WARM_WINDOWS = 1 / 30, 3
DISK_FREE_MB_LEAST = 4000
HOUR_SECONDS = 3.0                  # of real time for an hour of the server's
LIFE_SECONDS = (20.0, 600.0)        # least and most, of a server until it is killed
LIFE_MEAN_SECONDS, KILLS_LEAST = 120.0, 4
QUIET_SHARE = 1 / 6                 # of the time, at the end, without kills
CHURN_SECONDS, CHURN_STREAMS_MAX = 5.0, 6
READY_SECONDS_MAX, VERIFY_SECONDS_MAX = 300, 1800
GONE = (OSError, http.client.HTTPException)
COLUMNS = ("t_s seconds event hours_moved requests records mb p50_ms p99_ms p999_ms max_ms backlog_ms refused broken "
           "errors shed expired_iterators tail_records tail_mb sweep_records sweep_mb sweeps behind_records rss_mb "
           "anon_mb file_mb cache_mb server_age_s disk_mb journal_mb containers_mb containers server_cpu load_cpu "
           "other_cpu").split()


def build_load():
    os.makedirs(os.path.dirname(LOAD), exist_ok=True)
    newest = max(os.path.getmtime(s) for s in SOURCES + HEADERS)
    if not os.path.exists(LOAD) or newest > os.path.getmtime(LOAD):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-g", "-D_GNU_SOURCE", "-std=gnu17", "-Wall", "-o", LOAD,
                        *SOURCES, "-lssl", "-lcrypto", "-lpthread", "-lm"], check=True)


def can_build():
    """Whether there is what build_load needs."""
    probe = [os.environ.get("CC", "cc"), "-E", "-include", "openssl/evp.h", "-x", "c", os.devnull]
    return shutil.which(probe[0]) is not None and subprocess.run(probe, capture_output=True).returncode == 0


class Failure(Exception):
    pass


# ---- What a window is described by, besides what the generator counts

def disk_of(folder):
    """Bytes that files occupy: all, those of the journal, those of containers."""
    every = journal = containers = count = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size = os.stat(os.path.join(path, name)).st_blocks * 512 / MB
            except OSError:
                continue  # it was removed meanwhile
            every += size
            journal += size if name.endswith((".hrj", ".tmp")) else 0
            containers += size if name.endswith(".hrc") else 0
            count += name.endswith(".hrc")
    return {"disk_mb": every, "journal_mb": journal, "containers_mb": containers, "containers": count}


def caches_of(url):
    """Memory that the server's bounded caches hold: of the newest records, and of unpacked containers."""
    with urllib.request.urlopen(url + "/metrics", timeout=2) as reply:
        text = reply.read().decode()
    found = re.findall(r"^headrace_(?:journal|read)_cache_bytes(?:{.*})? (\d+)$", text, re.M)
    return {"cache_mb": sum(map(int, found)) / MB} if found else {}


class Meter:
    """Processor time between two windows: the server's (of whichever process it is), ours, all others'."""

    def __init__(self):
        self.last = {}

    def share(self, name, total, seconds):
        before = self.last.get(name)
        self.last[name] = total
        return max(total - before, 0) / seconds if before is not None else None

    def read(self, server_pid, load_pid, seconds):
        machine = self.share("machine", machine_seconds(), seconds)
        load = self.share("load", processor_seconds(load_pid), seconds)
        try:
            server = self.share(("server", server_pid), processor_seconds(server_pid), seconds)
        except OSError:
            server = None
        other = max(machine - load - server, 0) if None not in (machine, load, server) else None
        return {"server_cpu": server, "load_cpu": load, "other_cpu": other}


# ---- The generator

class Generator:
    """The process of bench/soak.c: commands go in, events come out, on a thread of their own."""

    def __init__(self, port, seed, on_window, streams=STREAMS, connections=CONNECTIONS, window=WINDOW_SECONDS):
        streams = [":".join(map(str, s)) for s in streams]
        environment = {**os.environ, "HEADRACE_ACCESS_KEY_ID": headrace.KEY_ID,
                       "HEADRACE_SECRET_ACCESS_KEY": headrace.SECRET}
        self.process = subprocess.Popen([LOAD, str(port), str(connections), str(seed), str(window), *streams],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.on_window, self.violations, self.troubles = on_window, [], []
        self.paused, self.verified, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            event = json.loads(line)
            kind = event.pop("event")
            if kind == "window":
                self.on_window(event)
            elif kind == "violation":
                self.violations.append(event["text"])
                print(f"VIOLATION: {event['text']}", flush=True)
            elif kind == "trouble":
                self.troubles.append(event["text"])
                print(f"error: {event['text']}", flush=True)
            else:
                getattr(self, kind).set()
        self.ended.set()

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def close(self):
        if self.process.poll() is None:
            self.tell("quit")
            self.process.wait(30)
        self.thread.join(30)


# ---- Streams that come and go

class Churn(threading.Thread):
    """Creates, fills, reads and deletes streams; knows which must be there and which must not."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.client, self.random, self.lock = server.client(), random.Random(seed), threading.Lock()
        self.there, self.gone, self.unsure, self.count, self.trouble = [], set(), set(), 0, None
        self.deleted_count = 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.wait(CHURN_SECONDS * self.random.uniform(0.5, 1.5)):
            with self.lock:
                try:
                    self.turn()
                except GONE:
                    pass  # killed meanwhile: what was not answered is in `unsure`
                except Exception as error:
                    self.trouble = f"a stream operation went wrong: {type(error).__name__}: {error}"
                    return

    def turn(self):
        if len(self.there) >= CHURN_STREAMS_MAX:
            name = self.there.pop(0)
            self.unsure.add(name)
            self.client.call("DeleteStream", StreamName=name)
            self.unsure.discard(name)
            self.gone.add(name)
            self.deleted_count += 1
            return
        self.count += 1
        name = f"churn-{self.count:05d}"
        self.unsure.add(name)
        self.client.call("CreateStream", StreamName=name, ShardCount=self.random.randint(1, 16))
        self.unsure.discard(name)
        self.there.append(name)
        sent = [f"{name}-{i}" for i in range(20)]
        reply = self.client.call("PutRecords", StreamName=name, Records=[
            {"Data": self.encoded(text), "PartitionKey": text} for text in sent])
        assert reply["FailedRecordCount"] == 0, reply
        for shard in {r["ShardId"] for r in reply["Records"]}:
            wanted = [text for text, r in zip(sent, reply["Records"]) if r["ShardId"] == shard]
            got = [data.decode() for _, data, _ in self.read(name, shard)]
            assert got == wanted, f"{name} {shard}: read {got} where {wanted} was put"

    def read(self, name, shard):
        while True:
            try:
                return self.client.read_shard(name, shard)
            except headrace.AwsError as error:
                if error.kind != "ExpiredIteratorException":  # the clock has moved in between
                    raise

    @staticmethod
    def encoded(text):
        return headrace.base64.b64encode(text.encode()).decode()

    def verify(self, client):
        listed, after = set(), None
        while True:
            page = client.call("ListStreams", **({"ExclusiveStartStreamName": after} if after else {}))
            listed |= {n for n in page["StreamNames"] if n.startswith("churn-")}
            if not page["HasMoreStreams"]:
                break
            after = page["StreamNames"][-1]
        with self.lock:
            lost = set(self.there) - listed
            risen = listed & self.gone
            if lost or risen:
                raise Failure(f"streams that were created are gone: {sorted(lost)}; "
                              f"streams that were deleted are there: {sorted(risen)}")
            self.there += sorted(listed & self.unsure)  # a kill left these open; now it is known
            self.gone |= self.unsure - listed
            self.unsure.clear()


# ---- The soak

class Soak:
    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.out, self.begin = options.out, time.monotonic()
        os.makedirs(self.out, exist_ok=True)
        program = os.path.join(self.out, "headrace")  # a copy: builds beside us change nothing
        shutil.copy2(options.program, program)
        self.server = headrace.Server(program, *options.serve, profile="dev", data_dir=options.data_dir)
        self.generator = self.churn = None
        self.ahead_hours = self.kills = 0
        self.hours_before = 0  # of the last window
        self.meter, self.windows, self.recoveries = Meter(), [], []
        self.born = self.begin
        self.csv = open(os.path.join(self.out, "soak.csv"), "w", encoding="utf-8", newline="")
        self.writer = csv.DictWriter(self.csv, COLUMNS)
        self.writer.writeheader()
        self.writing = threading.Lock()

    # ---- Rows

    def row(self, **columns):
        columns["t_s"] = round(time.monotonic() - self.begin, 2)
        with self.writing:
            self.writer.writerow({k: f"{v:.3f}".rstrip("0").rstrip(".") if isinstance(v, float) else v
                                  for k, v in columns.items() if v is not None})
            self.csv.flush()

    def event(self, text):
        self.row(event=text)
        print(f"{(time.monotonic() - self.begin) / 60:6.2f} min  {text}", flush=True)

    def on_window(self, w):
        """On the generator's thread, so that windows come also while the server is recovering."""
        columns = {k: w[k] for k in ("seconds", "requests", "records", "refused", "broken", "errors", "shed",
                                     "expired_iterators", "tail_records", "sweep_records", "sweeps", "behind_records")}
        columns |= {f"{k}_mb": w[f"{k}_bytes"] / MB for k in ("tail", "sweep")}
        columns |= {"mb": w["bytes"] / MB, "backlog_ms": w["backlog_us"] / 1000}
        if w["requests"]:
            columns |= {f"{k}_ms": w[f"{k}_us"] / 1000 for k in ("p50", "p99", "p999", "max")}
        columns["hours_moved"] = self.ahead_hours - self.hours_before
        self.hours_before = self.ahead_hours
        columns |= disk_of(self.server.data_dir)
        process = self.server.process
        pid = process.pid if process is not None else 0
        try:
            columns |= memory_of(pid)
            columns["server_age_s"] = time.monotonic() - self.born
            columns |= caches_of(self.server.url)
        except (*GONE, KeyError):
            pass  # dead at the moment
        columns |= self.meter.read(pid, self.generator.process.pid, w["seconds"])
        self.windows.append(w)
        self.row(**columns)

    # ---- Doing

    def page(self, path, **headers):
        request = urllib.request.Request(self.server.url + path, headers=headers, method="POST" if headers else "GET")
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def tell_clock(self, hours_most):
        self.generator.tell(f"clock {self.ahead_hours * 3600000} {hours_most * 3600000}")

    def move_clock(self):
        self.tell_clock(self.ahead_hours + 1)
        offset = self.page("/_headrace/clock?advance=1h", **{"x-headrace-clock": "1"})["offset_seconds"]
        self.ahead_hours += 1
        if offset != self.ahead_hours * 3600:
            raise Failure(f"the clock is {offset} s ahead where {self.ahead_hours} h were asked for")
        self.tell_clock(self.ahead_hours)

    def make_streams(self):
        client = self.server.client()
        for name, shards, hours, _, _ in STREAMS:
            client.create_stream(name, shards)
            if hours > 24:
                client.call("IncreaseStreamRetentionPeriod", StreamName=name, RetentionPeriodHours=hours)
        client.close()

    def start_server(self):
        begin = time.monotonic()
        self.server.start(READY_SECONDS_MAX)
        self.born = time.monotonic()
        return self.born - begin

    def kill(self):
        self.event("kill")
        self.kills += 1
        self.server.kill()
        self.keep_log()
        took = self.start_server()
        self.recoveries.append(took)
        self.event(f"ready {took:.2f}")
        if self.page("/_headrace/clock")["offset_seconds"] != self.ahead_hours * 3600:
            raise Failure("the clock's offset was lost by the kill")
        client = self.server.client()
        self.churn.verify(client)
        for name, shards, hours, _, _ in STREAMS:
            s = client.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]
            if (s["OpenShardCount"], s["RetentionPeriodHours"]) != (shards, hours):
                raise Failure(f"the stream {name} is another after the kill: {s}")
        client.close()

    def keep_log(self):
        with open(os.path.join(self.out, "server.log"), "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in self.server.log) + "\n")

    def check(self):
        generator = self.generator
        if generator.violations or generator.troubles:
            raise Failure((generator.violations + generator.troubles)[0])
        if generator.ended.is_set():
            raise Failure("the generator has ended")
        disk = os.statvfs(self.server.data_dir)
        if disk.f_bavail * disk.f_frsize / MB < DISK_FREE_MB_LEAST:
            raise Failure("the disk is nearly full: this run keeps more than it has")
        if self.churn.trouble:
            raise Failure(self.churn.trouble)
        if not self.server.is_running():
            raise Failure("the server has ended by itself")

    def drive(self, seconds, kills):
        """Lets the load run while the clock moves, with kills at random times."""
        end = time.monotonic() + seconds
        next_hour = time.monotonic() + HOUR_SECONDS
        next_kill = time.monotonic() + self.life() if kills else end + 1
        while (now := time.monotonic()) < end:
            self.check()
            if now >= next_kill:
                self.kill()
                next_kill = time.monotonic() + self.life()
            elif now >= next_hour:
                self.move_clock()
                next_hour = max(next_hour + HOUR_SECONDS, now)
            else:
                time.sleep(min(0.2, max(min(next_kill, next_hour, end) - now, 0.001)))

    def life(self):
        least, most = LIFE_SECONDS
        mean = max(min(LIFE_MEAN_SECONDS, self.options.minutes * 60 / KILLS_LEAST), 2 * least)
        return min(least + self.random.expovariate(1 / (mean - least)), most)

    def measure_peak(self):
        self.event("closed: all writers as fast as they are answered")
        self.generator.tell("closed")
        first = len(self.windows)
        least, most = PEAK_SECONDS
        self.drive(min(max(self.options.minutes * 60 * PEAK_SHARE, least), most), kills=False)
        windows = self.windows[first + PEAK_WARM_WINDOWS:]

        def rate(name):
            return statistics.median(w[name] / w["seconds"] for w in windows)
        self.event(f"peak {rate('requests'):.1f} requests/s, {rate('records'):.0f} records/s, "
                   f"{rate('bytes') / MB:.1f} MB/s")
        return rate("requests")

    def await_event(self, event, seconds_max, what):
        end = time.monotonic() + seconds_max
        while not event.wait(0.2):
            self.check()
            if time.monotonic() > end:
                raise Failure(f"{what} did not come about within {seconds_max} s")

    def verify_all(self):
        self.event("pause")
        self.generator.tell("pause")
        self.await_event(self.generator.paused, 120, "the end of all requests")
        self.churn.stopping.set()
        self.churn.join(60)
        self.kill()
        self.event("verify: everything is read once more")
        self.generator.tell("verify")
        self.await_event(self.generator.verified, VERIFY_SECONDS_MAX, "a whole reading")
        self.event("verified")

    def check_files(self):
        run = subprocess.run([self.server.program, "store", "check", "--data-dir", self.server.data_dir],
                             capture_output=True, text=True)
        if run.returncode != 0:
            raise Failure(f"store check: status {run.returncode}: {run.stdout} {run.stderr}")
        self.event("store check found nothing wrong")

    def run(self):
        print(f"seed {self.options.seed}, {self.options.minutes:g} minutes, data in "
              f"{os.path.relpath(self.server.data_dir)}, results in {os.path.relpath(self.out)}", flush=True)
        self.start_server()
        self.make_streams()
        self.churn = Churn(self.server, self.options.seed)
        self.generator = Generator(self.server.port, self.options.seed, self.on_window)
        self.churn.start()
        rate = self.options.rate or LOAD_SHARE * self.measure_peak()
        self.event(f"open {rate:.1f} requests/s")
        self.generator.tell(f"open {rate:.3f}")
        seconds = self.options.minutes * 60
        self.drive(seconds * (1 - QUIET_SHARE), kills=True)
        self.drive(seconds * QUIET_SHARE, kills=False)
        self.verify_all()
        self.generator.close()
        self.check_after()
        self.server.stop()
        self.keep_log()
        self.check_files()

    def check_after(self):
        if self.generator.violations or self.generator.troubles:
            raise Failure((self.generator.violations + self.generator.troubles)[0])

    def judge(self):
        """The figures, drawn and said. Memory is the last thing that can fail."""
        self.csv.close()
        found = soak_plot.draw(self.out)
        for name, value in found:
            print(f"  {name}: {value}")
        windows, events = soak_plot.read_csv(os.path.join(self.out, "soak.csv"))
        growth = soak_plot.memory_growth(soak_plot.load_windows(windows, events))
        if growth and growth[2] > soak_plot.GROWTH_MAX:
            raise Failure(f"memory grows: RSS was {growth[0]:.0f} MB in the second third of the time and would be "
                          f"{growth[1]:.0f} MB in the last with caches as full")
        return dict(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "headrace"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, help="requests/s, instead of a share of the measured peak")
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "soak"))
    parser.add_argument("--data-dir", help="on a disk; kept. Without it one is made, and removed when all went well")
    parser.add_argument("--serve", action="append", default=[], help="one more argument for the server")
    options = parser.parse_args()
    build_load()
    soak = Soak(options)
    failure = None
    try:
        soak.run()
    except (Failure, AssertionError, *GONE, headrace.AwsError) as error:
        failure = f"{type(error).__name__}: {error}"
        soak.keep_log()
    finally:
        if soak.generator is not None and soak.generator.process.poll() is None:
            soak.generator.process.kill()
            soak.generator.thread.join(10)
    try:
        said = soak.judge()
    except Failure as error:
        failure, said = failure or str(error), {}
    if failure:
        soak.server.kill()
        print(f"FAILED after {soak.kills} kills, seed {options.seed}: {failure}")
        print(f"kept: {os.path.relpath(soak.server.data_dir)}; the server said:\n{soak.server.tail(20)}")
        return 1
    soak.server.remove()
    load = f"{options.rate:g} requests/s" if options.rate else f"{LOAD_SHARE:.0%} of the peak"
    print(f"soak: {options.minutes:g} min at {load}, {soak.kills} kills, "
          f"{said['records acknowledged']}: nothing lost, nothing twice, in order; "
          f"RSS {said.get('RSS', 'not judged')}; p99 {said.get('p99', '-')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
