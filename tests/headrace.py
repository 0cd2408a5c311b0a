# SPDX-License-Identifier: Apache-2.0
"""A server under test, and the smallest client that can talk to it.

    with Server(program) as server:
        client = server.client(region="us-east-1")
        client.call("CreateStream", {"StreamName": "s", "ShardCount": 1})
"""
import base64
import contextlib
import ctypes
import errno
import fcntl
import glob
import http.client
import json
import os
import random
import resource
import select
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request

import eventstream
import sigv4

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DATA = os.path.join(ROOT, "build", "test-data")  # a real disk, so that direct I/O is tested
KEY_ID, SECRET = "AKIAHEADRACETESTS001", "tests/SECRET+key+of+forty+characters+1234"
ACCOUNT = "000000000000"
# How long a failure takes to be told, not how long something may take: on a busy machine, under a sanitizer.
READY_SECONDS_MAX = 180  # with a journal to recover
STOP_SECONDS_MAX = 120
CALL_SECONDS_MAX = 120
LOG_LINES_MAX = 2000
DAMAGE_AT, DAMAGE_BYTES = 64 << 10, 64 << 10
JSON_TYPE, CBOR_TYPE = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"


PORTS = {"file": None, "mine": set()}


def is_mine(port):
    """Whether no other process of tests has chosen this port, nor this one before: a lock on one byte for each port,
    which ends with the process."""
    if PORTS["file"] is None:
        PORTS["file"] = open(os.path.join(tempfile.gettempdir(), f"headrace-test-ports-{os.getuid()}"), "ab")
    if port in PORTS["mine"]:
        return False
    try:
        fcntl.lockf(PORTS["file"], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    PORTS["mine"].add(port)
    return True


def free_port():
    """A port that nobody has, that no other test is given while this process lives, and that the kernel gives to no
    connection of a client either: a server that was killed finds it free when it comes back."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low = int(file.read().split()[0])
    while True:
        port = random.SystemRandom().randrange(*((10000, low) if low > 12000 else (61000, 65536)))
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            if is_mine(port):
                return port


FIRST_STEPS = {}


def code_step(seed, steps):
    """Which half minute a code of an MFA device is of: so many behind the one in which that device was used
    first. Between two calls another half minute may begin: what has counted stays that, and what is of the
    next one may be of a later one."""
    now = int(time.time()) // 30
    first = FIRST_STEPS.setdefault(seed, now)
    return first + steps if steps <= 0 else max(first + steps, now)


def new_data_dir():
    os.makedirs(DATA, exist_ok=True)
    return tempfile.mkdtemp(dir=DATA)


def files_of(folder, mode="rb"):
    """(path, open file) of everything below a folder in which a server works: files come and go meanwhile, and what
    has gone is passed over."""
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with contextlib.suppress(FileNotFoundError), open(path, mode) as file:
                yield path, file


def blob_bytes(server):
    """What the files of objects hold together, but for the reserve that a full disk is cleared with."""
    return sum(os.fstat(file.fileno()).st_size for path, file in files_of(os.path.join(server.data_dir, "blobs"))
               if os.path.basename(path) != "reserve")


def small_disk_command(folder, mib):
    """What stands before a command whose `folder` shall be a file system of its own, in memory and gone with the
    process. None where the system lets nobody mount."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-U", "-r", "-m"]
    mount = f'mount -t tmpfs -o size={mib}m tmpfs {shlex.quote(folder)} && exec "$@"'
    command = [*unshare, "sh", "-c", mount, "sh"]
    try:
        done = subprocess.run([*command, "true"], stdin=subprocess.DEVNULL, capture_output=True)
    except FileNotFoundError:
        return None
    return command if done.returncode == 0 else None


def _die_with_parent():
    """The server ends when the test does, however the test ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Server:
    """One server process on a port of its own. It always ends: with `with`, or with its parent."""

    def __init__(self, program, *arguments, data_dir=None, profile=None, limits="off", port=None,
                 environment=None, small_disk_mib=0):
        self.program, self.arguments = os.path.abspath(program), list(arguments)
        self.owns_dir = data_dir is None
        self.data_dir = data_dir or new_data_dir()
        self.before = small_disk_command(self.data_dir, small_disk_mib) if small_disk_mib else []
        self.profile, self.limits = profile, limits
        self.port = port or free_port()
        inherited = {k: v for k, v in os.environ.items() if k != "HEADRACE_RECORD"}
        self.environment = {**inherited, "HEADRACE_ACCESS_KEY_ID": KEY_ID,
                            "HEADRACE_SECRET_ACCESS_KEY": SECRET, **(environment or {})}
        self.process, self.log, self._reader = None, [], None
        self.url = f"http://127.0.0.1:{self.port}"
        self.tls_url = f"https://127.0.0.1:{self.port}"
        self.certificate = os.path.join(self.data_dir, "tls", "cert.pem")

    def command(self):
        command = [*self.before, self.program, "serve", "--data-dir", self.data_dir, "--listen",
                   f"127.0.0.1:{self.port}"]
        if self.limits is not None:
            command += ["--limits", str(self.limits)]
        if self.profile:
            command += ["--profile", self.profile]
        return command + self.arguments

    def start(self, seconds_max=READY_SECONDS_MAX):
        self.spawn()
        self.wait_ready(seconds_max)
        return self

    def spawn(self):
        self.ready, self.log = threading.Event(), []
        self.process = subprocess.Popen(self.command(), env=self.environment, preexec_fn=_die_with_parent,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read_log, args=(self.process, self.log, self.ready),
                                        daemon=True)
        self._reader.start()

    def wait_ready(self, seconds_max=READY_SECONDS_MAX):
        if not self.ready.wait(seconds_max) or "Ready." not in self.log:
            self.kill()
            raise AssertionError(f"the server did not become ready; it said:\n{self.tail()}")

    @staticmethod
    def _read_log(process, log, ready):
        for line in process.stdout:
            log.append(line.rstrip("\n"))
            if line == "Ready.\n":
                ready.set()
            elif len(log) > LOG_LINES_MAX:
                del log[LOG_LINES_MAX // 2]  # the beginning and the end tell most
        ready.set()  # it ended: nobody waits for it in vain

    def wait_said(self, *words):
        """Until a line of the log has all these words: it is written, and read, beside what is answered."""
        end = time.monotonic() + CALL_SECONDS_MAX
        while not any(all(word in line for word in words) for line in list(self.log)):
            assert time.monotonic() < end, f"the log does not say {words}:\n{self.tail()}"
            time.sleep(0.05)

    def wait_end(self, seconds_max=STOP_SECONDS_MAX):
        """The status of a server that ends by itself; what it said is in the log then, to the last line."""
        status = self.process.wait(seconds_max)
        self._reader.join(240)
        return status

    def advance_clock(self, duration, guard=True):
        """Moves the clock of a server of the profile dev as the command line does; the page's answer."""
        request = urllib.request.Request(f"{self.url}/_headrace/clock?advance={duration}", method="POST",
                                         headers={"x-headrace-clock": "1"} if guard else {})
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as reply:
            return json.load(reply)

    def break_disk(self):
        """Every write of the running server to a file fails from now on: no file may have a byte."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def fill_disk(self):
        """Leaves nothing of a small disk, not one page."""
        with open(self._filler(), "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free_disk(self):
        os.unlink(self._filler())

    def _filler(self):
        """A small disk is mounted for the server alone."""
        return f"/proc/{self.process.pid}/root{os.path.join(self.data_dir, 'filler')}"

    def damage_rows(self, text):
        """Spoils the text wherever the rows of services have it, on the disk. What was cached of long rows is read
        again after the next commit."""
        good = text.encode()
        for path in glob.glob(os.path.join(self.data_dir, "headrace.db*")):
            with open(path, "r+b") as file:
                content, at = file.read(), -1
                while (at := content.find(good, at + 1)) >= 0:
                    file.seek(at)
                    file.write(bytes([good[0] ^ 1]))

    def damage_journal(self):
        """Spoils some of what the files of the journal hold, as a bad device does; not the newest bytes."""
        for path in glob.glob(os.path.join(self.data_dir, "journal", "**", "*-*.hr[jc]"), recursive=True):
            with open(path, "r+b") as file:
                file.seek(DAMAGE_AT)
                file.write(b"\x55" * DAMAGE_BYTES)

    def damage_sealed(self):
        """Waits until records have been sealed, and spoils all but the ends of their containers. A container is read
        when it is counted, which is after it was written."""
        end = time.monotonic() + READY_SECONDS_MAX
        while self.metric("headrace_sealed_records") == 0:
            assert time.monotonic() < end, "nothing was sealed"
            time.sleep(0.1)
        for path, file in files_of(os.path.join(self.data_dir, "journal"), "r+b"):
            if path.endswith(".hrc"):
                size = os.path.getsize(path)
                file.seek(size // 4)
                file.write(b"\x55" * (size // 2))

    def metric(self, name):
        """The value of a metric, named with its labels if it has some."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=CALL_SECONDS_MAX) as reply:
            for line in reply.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return int(line.split()[1])
        raise AssertionError(f"there is no metric {name}")

    def scans(self, op):
        """How many requests of a Kinesis operation took the short way past the binder, and how many did not."""
        labels = f'service="kinesis",op="{op}",result='
        return tuple(self.metric(f'headrace_scan_total{{{labels}"{result}"}}') for result in ("fast", "full"))

    def tail(self, lines=40):
        return "\n".join(f"    {line}" for line in self.log[-lines:])

    def record(self):
        """For tools/conformance.py: what was called of this server, as it counted it itself."""
        folder = os.environ.get("HEADRACE_RECORD")
        if not folder or not self.is_running():
            return
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=CALL_SECONDS_MAX) as reply:
            with open(os.path.join(folder, f"{self.process.pid}.metrics"), "wb") as file:
                file.write(reply.read())

    def stop(self):
        """SIGTERM: it must end by itself, with status 0."""
        if self.process is None:
            return
        self.record()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end the server; it said:\n{self.tail()}") from None
        self._reader.join(240)
        self.process = None
        assert status == 0, f"the server ended with status {status}; it said:\n{self.tail()}"

    def kill(self):
        """SIGKILL, as a power cut to the process."""
        if self.process is not None:
            self.record()
            self.process.kill()
            self.process.wait()
            self._reader.join(240)
            self.process = None

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def remove(self):
        self.kill()
        if self.owns_dir:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self.stop()
            else:
                if not self.is_running():
                    print(f"# the server is not running; it said:\n{self.tail()}", flush=True)
                self.kill()
        finally:
            self.remove()

    def client(self, **options):
        return Client(self.port, **options)


class AwsError(Exception):
    """An error reply: its type, message and status."""

    def __init__(self, status, kind, message):
        super().__init__(f"{status} {kind}: {message}")
        self.status, self.kind, self.message = status, kind, message


class Subscription:
    """The messages of one SubscribeToShard, as they come. Reading blocks until one is there."""

    def __init__(self, connection, reply):
        self.connection, self.reply, self.rest = connection, reply, b""
        self.waiting = []

    def message(self):
        """The next (name, document); None at the end of the stream."""
        while not self.waiting:
            data = self.reply.read1(65536)
            if not data:
                assert not self.rest, "the stream ended inside of a message"
                return None
            self.waiting, self.rest = eventstream.split(self.rest + data)
        headers, payload = self.waiting.pop(0)
        return eventstream.name_of(headers), json.loads(payload) if payload else None

    def event(self):
        """The next SubscribeToShardEvent; anything else is an error."""
        message = self.message()
        if message is not None and message[0] == "initial-response":
            message = self.message()
        assert message is not None and message[0] == "SubscribeToShardEvent", message
        return message[1]

    def news(self):
        """The next message that tells something: an event without records comes every few seconds of silence."""
        while True:
            message = self.message()
            if message is None or message[0] != "SubscribeToShardEvent" or message[1]["Records"]:
                return message

    def close(self):
        self.connection.close()


class Client:
    """Signed JSON calls over one HTTP/1.1 connection. Not for several threads at once."""

    def __init__(self, port, region="us-east-1", key_id=KEY_ID, secret=SECRET, tls=None,
                 target="Kinesis_20131202", service="kinesis", timeout=CALL_SECONDS_MAX):
        self.port, self.region, self.key_id, self.secret = port, region, key_id, secret
        self.target, self.service, self.timeout = target, service, timeout
        self.tls = ssl.create_default_context(cafile=tls) if tls else None
        self.connection = None

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def connect(self):
        """A connection that idled until the server ended it is made anew."""
        if self.connection is not None and self.connection.sock is not None and \
                select.select([self.connection.sock], [], [], 0)[0]:
            self.close()
        if self.connection is None:
            if self.tls:
                self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=self.timeout,
                                                              context=self.tls)
            else:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.connection

    def headers(self, operation, body, content_type=JSON_TYPE, **signing):
        headers = {"Host": f"127.0.0.1:{self.port}", "Content-Type": content_type,
                   "X-Amz-Target": f"{self.target}.{operation}"}
        return sigv4.sign(self.key_id, self.secret, self.region, self.service, "POST", "/", headers, body,
                          **signing)

    def send(self, method, path, headers, body):
        """One exchange: (status, headers, body). The connection is dropped if it broke."""
        try:
            connection = self.connect()
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if not any(name.lower() == "content-length" for name in headers):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            content = reply.read()
            if reply.will_close:
                self.close()
            return reply.status, reply.headers, content
        except Exception:
            self.close()
            raise

    def stream(self, method, path, headers, body):
        """A request over a connection of its own: (connection, reply), to be read as it comes."""
        other = Client(self.port, timeout=self.timeout)
        other.tls = self.tls
        connection = other.connect()
        connection.request(method, path, body, headers)
        return connection, connection.getresponse()

    def subscribe(self, consumer, shard="shardId-000000000000", **position):
        """SubscribeToShard over a connection of its own: a Subscription."""
        body = json.dumps({"ConsumerARN": consumer, "ShardId": shard, "StartingPosition": position}).encode()
        connection, reply = self.stream("POST", "/", self.headers("SubscribeToShard", body), body)
        if reply.status != 200:
            error = json.loads(reply.read())
            connection.close()
            raise AwsError(reply.status, error.get("__type"), error.get("message"))
        return Subscription(connection, reply)

    def raw(self, operation, body, content_type=JSON_TYPE, **signing):
        return self.send("POST", "/", self.headers(operation, body, content_type, **signing), body)

    def call(self, operation, **members):
        status, _, content = self.raw(operation, json.dumps(members).encode())
        if status != 200:
            try:
                error = json.loads(content)
            except ValueError:
                raise AwsError(status, None, content.decode(errors="replace")) from None
            raise AwsError(status, error.get("__type"), error.get("message", error.get("Message")))
        return json.loads(content) if content else {}

    # ---- What most tests need of Kinesis.

    def create_stream(self, name, shards=1, seconds_max=CALL_SECONDS_MAX):
        self.call("CreateStream", StreamName=name, ShardCount=shards)
        self.wait_active(name, seconds_max)

    def wait_active(self, name, seconds_max=CALL_SECONDS_MAX):
        end = time.monotonic() + seconds_max
        while True:
            summary = self.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return summary
            assert time.monotonic() < end, f"the stream is still {summary['StreamStatus']}"
            time.sleep(0.05)

    def put(self, name, data, key, **more):
        return self.call("PutRecord", StreamName=name, Data=base64.b64encode(data).decode(),
                         PartitionKey=key, **more)

    def shards(self, name):
        return [s["ShardId"] for s in self.call("ListShards", StreamName=name)["Shards"]]

    def iterator(self, name, shard, kind="TRIM_HORIZON", **more):
        return self.call("GetShardIterator", StreamName=name, ShardId=shard, ShardIteratorType=kind,
                         **more)["ShardIterator"]

    def read_shard(self, name, shard, kind="TRIM_HORIZON", limit=10000, **more):
        """Every record from there to the tip: [(sequence number, data, partition key)]."""
        iterator, records = self.iterator(name, shard, kind, **more), []
        while iterator is not None:
            page = self.call("GetRecords", ShardIterator=iterator, Limit=limit)
            records += [(r["SequenceNumber"], base64.b64decode(r["Data"]), r["PartitionKey"])
                        for r in page["Records"]]
            if not page["Records"] and page.get("MillisBehindLatest", 0) == 0:
                break
            iterator = page.get("NextShardIterator")
        return records
