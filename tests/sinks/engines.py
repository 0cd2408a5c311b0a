# SPDX-License-Identifier: Apache-2.0
"""Real destinations, each in a folder and on a port of its own: Debian's PostgreSQL, and OpenSearch that comes through
Maven once. They can be killed, and come back on their port with what they had."""
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

import headrace
from tap import skip

POSTGRES_BIN = "/usr/lib/postgresql/15/bin"
SEARCH = os.path.join(headrace.ROOT, "tests", "sinks", "search")
SEARCH_BUILT = os.path.join(headrace.ROOT, "build", "clients", "search")
SEARCH_SECONDS_MAX = 400  # until it answers, on a busy machine
START_SECONDS_MAX = 240


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def has_ended(pid):
    """Also one whose end nobody wants to know."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


class Postgres:
    """A PostgreSQL of its own in a folder, on a port, as Debian's user if we are root."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="headrace-pg-")
        self.port = headrace.free_port()
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.process = None
        self.command("initdb", "-D", self.folder + "/data", "-A", "md5", "-U", "u", "--no-sync", "--pwfile",
                     self.password_file())

    def password_file(self):
        path = os.path.join(self.folder, "password")
        with open(path, "w", encoding="utf-8") as file:
            file.write("secret\n")
        os.chmod(path, 0o644)
        return path

    def as_user(self):
        if self.user:
            os.setgid(self.user.pw_gid)
            os.setuid(self.user.pw_uid)

    def command(self, name, *arguments):
        done = subprocess.run([os.path.join(POSTGRES_BIN, name), *arguments], preexec_fn=self.as_user, cwd="/",
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self):
        def prepare():
            headrace._die_with_parent()
            self.as_user()

        self.process = subprocess.Popen(
            [os.path.join(POSTGRES_BIN, "postgres"), "-D", self.folder + "/data", "-p", str(self.port), "-k",
             self.folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"],
            preexec_fn=prepare, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(os.path.join(self.folder, "log"), "ab"))
        self.wait()

    def wait(self):
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            ready = subprocess.run([os.path.join(POSTGRES_BIN, "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)],
                                   stdout=subprocess.DEVNULL)
            if ready.returncode == 0:
                return
            assert time.monotonic() < end and self.process.poll() is None, "PostgreSQL did not become ready"
            time.sleep(0.1)

    def kill(self):
        """Its children end when they notice, each in its time: one that was left would keep the next one out."""
        children = children_of(self.process.pid)
        self.process.kill()
        self.process.wait(240)
        end = time.monotonic() + START_SECONDS_MAX
        while not all(map(has_ended, children)):
            assert time.monotonic() < end, "children of PostgreSQL stay"
            time.sleep(0.1)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.folder}/data/postmaster.pid")

    def sql(self, text, database="postgres"):
        done = subprocess.run(["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "u", "-d", database, "-AtXq", "-c",
                               text], env={**os.environ, "PGPASSWORD": "secret"}, capture_output=True, text=True,
                              timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def close(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                self.process.wait(240)
            except subprocess.TimeoutExpired:
                self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


POSTGRES = []


def postgres():
    """One for all tests."""
    if not os.path.exists(os.path.join(POSTGRES_BIN, "initdb")):
        skip("PostgreSQL is not installed")
    if not POSTGRES:
        POSTGRES.append(Postgres())
        POSTGRES[0].start()
    return POSTGRES[0]


class Search:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="headrace-search-")
        self.port, self.transport = headrace.free_port(), headrace.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    @staticmethod
    def build():
        ready, compiled = os.path.join(SEARCH_BUILT, "ready"), os.path.join(SEARCH_BUILT, "classes")
        if not os.path.exists(ready):
            shutil.rmtree(SEARCH_BUILT, ignore_errors=True)
            os.makedirs(SEARCH_BUILT)
            for command in (["mvn", "-B", "-q", "-f", os.path.join(SEARCH, "pom.xml"),
                             "dependency:copy-dependencies", "-DincludeScope=runtime",
                             f"-DoutputDirectory={SEARCH_BUILT}/lib"],
                            ["javac", "-cp", f"{SEARCH_BUILT}/lib/*", "-d", compiled,
                             os.path.join(SEARCH, "OneNode.java")]):
                done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
                if done.returncode != 0:
                    skip("OpenSearch cannot be had: " + (done.stdout + done.stderr)[-200:].replace("\n", " "))
            with open(ready, "w", encoding="utf-8"):
                pass

    def start(self):
        self.process = subprocess.Popen(
            ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{SEARCH_BUILT}/classes:{SEARCH_BUILT}/lib/*",
             "OneNode", self.folder, str(self.port), str(self.transport)],
            preexec_fn=headrace._die_with_parent, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        end = time.monotonic() + SEARCH_SECONDS_MAX
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.call("GET", "/_cluster/health?wait_for_status=yellow&timeout=10s")
                return
            time.sleep(0.5)
        raise AssertionError("OpenSearch does not start")

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=body and json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=240) as reply:
            return json.load(reply)

    def count(self, index):
        self.call("POST", f"/{index}/_refresh")
        return self.call("GET", f"/{index}/_count")["count"]

    def kill(self):
        self.process.kill()
        self.process.wait(240)

    def close(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


SEARCHES = []


def opensearch():
    """One for all tests."""
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        skip("there is no Maven")
    if not SEARCHES:
        Search.build()
        search = Search()
        SEARCHES.append(search)
        search.start()
    return SEARCHES[0]
