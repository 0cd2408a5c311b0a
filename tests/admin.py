#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every page for operators, asked by several clients at once while records are put and streams come and
go: each answers as it should, and the server works on. Run with the program of the thread sanitizer, too,
which ends the server at a race.

    tests/admin.py --program build/headrace --seconds 8
"""
import argparse
import json
import os
import random
import sys
import threading
import time

import headrace
import sigv4
import tap

ASKERS, WRITERS = 4, 2
SLOW_SECONDS_MAX = 240  # more, on a busy machine, for every page to answer once
ADMIN = ("stat", "access", "check", "backup", "job")
SMALL = ["--journal-file-size", "1MiB", "--journal-seal-size", "1MiB"]  # so that there is something to check


class Worker(threading.Thread):
    """Repeats a turn until it is stopped; what goes wrong is kept."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.server, self.random = server, random.Random(seed)
        self.client = server.client(timeout=240)
        self.stopping, self.trouble, self.turns = False, None, 0

    def run(self):
        try:
            while not self.stopping:
                self.turn()
                self.turns += 1
        except Exception as error:
            self.trouble = f"{type(self).__name__}: {type(error).__name__}: {error}"
        finally:
            self.client.close()


class Writer(Worker):
    def turn(self):
        self.client.put("s", self.random.randbytes(self.random.randrange(20000)), f"k{self.random.random()}")


class Churner(Worker):
    """Streams and identities that come and go, and calls that are refused, for the page that tells of them."""

    def turn(self):
        name = f"churn-{self.turns}"
        self.client.create_stream(name)
        self.client.call("DeleteStream", StreamName=name)
        stranger = self.server.client(key_id="AKIANOBODYNOBODY0001")
        status, _, _ = stranger.raw("ListStreams", b"{}")
        assert status == 400, status
        stranger.close()


class Asker(Worker):
    def __init__(self, server, seed, backup):
        super().__init__(server, seed)
        self.backup, self.seen = backup, {}

    def get(self, path):
        status, _, body = self.client.send("GET", path, {"Host": f"127.0.0.1:{self.server.port}"}, b"")
        assert status == 200 and body, (path, status, body)

    def ask(self, page):
        path = f"/_headrace/admin/{page}"
        body = json.dumps({"to": self.backup}).encode() if page == "backup" else b"{}"
        headers = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "headrace", "POST", path,
                             {"Host": f"127.0.0.1:{self.server.port}", "Content-Type": "application/json"}, body)
        status, _, answer = self.client.send("POST", path, headers, body)
        good = (200, 409) if page in ("check", "backup") else (200,)  # one of them runs at a time
        assert status in good, (page, status, answer)
        told = json.loads(answer)
        assert status == 409 or "error" not in told or told.get("state") == "failed", (page, told)
        assert told.get("state") != "failed", told
        self.seen[page] = self.seen.get(page, 0) + (status == 200)

    def turn(self):
        if self.random.random() < 0.3:
            self.get(self.random.choice(PAGES))
        else:
            self.ask(self.random.choice(ADMIN))


PAGES = ("/metrics", "/_headrace/live", "/_headrace/ready", "/_headrace/health", "/health", "/_localstack/health",
         "/_localstack/init")


def unseen(askers):
    return [page for page in ADMIN if not any(a.seen.get(page) for a in askers)]


def all_pages_at_once(program, seconds):
    with headrace.Server(program, *SMALL) as server:
        backup = os.path.join(server.data_dir, "..", os.path.basename(server.data_dir) + "-backup")
        backup = os.path.abspath(backup)
        server.client().create_stream("s", 2)
        askers = [Asker(server, n, backup) for n in range(ASKERS)]
        workers = [*askers, *(Writer(server, 100 + n) for n in range(WRITERS)), Churner(server, 200)]
        for worker in workers:
            worker.start()
        end = time.monotonic() + seconds
        late = end + SLOW_SECONDS_MAX
        while not any(w.trouble for w in workers) and (
                time.monotonic() < end or (unseen(askers) and time.monotonic() < late)):
            time.sleep(0.1)
        for worker in workers:
            worker.stopping = True
        for worker in workers:
            worker.join(240)
            assert worker.trouble is None, worker.trouble
        assert server.is_running(), "the server has ended"
        assert not unseen(askers), f"{unseen(askers)} have never answered"
        print(f"# {sum(a.turns for a in askers)} pages, {sum(w.turns for w in workers) - sum(a.turns for a in askers)} "
              "other calls", flush=True)
    remove(backup)


def remove(folder):
    for base, folders, names in os.walk(folder, topdown=False):
        for name in names:
            os.unlink(os.path.join(base, name))
        for name in folders:
            os.rmdir(os.path.join(base, name))
    if os.path.isdir(folder):
        os.rmdir(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    report = tap.Tap()
    report.run("every page answers several clients while records are put",
               lambda: all_pages_at_once(options.program, options.seconds))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
