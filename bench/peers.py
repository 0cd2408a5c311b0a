# SPDX-License-Identifier: Apache-2.0
"""The systems under load. Each starts on the folder that it is given, makes a fresh place for the records
of a run, and forgets it afterwards."""
import contextlib
import ctypes
import glob
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import fetch  # noqa: E402
import headrace  # noqa: E402
from fetch import NotInstalled  # noqa: E402

START_SECONDS_MAX, END_SECONDS_MAX = 60, 30
SHARDS = 4
LOG_TAIL_BYTES = 600


def need(program):
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        raise NotInstalled(f"there is no {program}")
    return path


@contextlib.contextmanager
def on_processors(processors):
    """What is started inside runs on these processors alone; None: on all."""
    before = os.sched_getaffinity(0)
    if processors:
        os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Peer:
    """A system under load. `load_name` is the word by which the generator knows its protocol."""

    name = load_name = None
    durable = True    # when it acknowledges
    warm_seconds = 1  # of load before it is measured

    def __init__(self, folder):
        self.folder = os.path.join(folder, self.name.replace(" ", "-"))
        os.makedirs(self.folder, exist_ok=True)
        self.port, self.process, self.log = headrace.free_port(), None, None
        self.environment = {"HEADRACE_ACCESS_KEY_ID": headrace.KEY_ID, "HEADRACE_SECRET_ACCESS_KEY": headrace.SECRET}

    @classmethod
    def install(cls):
        """Raises NotInstalled if it cannot be had."""

    def spawn(self, command, environment=None, **more):
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(environment or {})}, preexec_fn=end_with_parent, **more)
        self.wait_for_port()

    def wait_for_port(self):
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        with open(self.log, "rb") as log:
            said = log.read()[-LOG_TAIL_BYTES:].decode(errors="replace")
        raise RuntimeError(f"{self.name} did not come to listen on port {self.port}; it said:\n{said}")

    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self):
        """As a power cut to the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def make(self, name, shards=SHARDS):
        """A fresh place for records."""

    def forget(self, name):
        """Removes it."""


# ---- Ours, and what speaks the same protocol

class Kinesis(Peer):
    load_name = "kinesis"

    def client(self):
        return headrace.Client(self.port, timeout=120)

    def make(self, name, shards=SHARDS):
        client = self.client()
        client.create_stream(name, shards)
        client.close()

    def forget(self, name):
        client = self.client()
        client.call("DeleteStream", StreamName=name, EnforceConsumerDeletion=True)
        client.close()


class Headrace(Kinesis):
    name = "headrace"

    def __init__(self, folder, program, *arguments, profile=None, name=None):
        self.name = name or self.name
        super().__init__(folder)
        self.server = headrace.Server(program, *arguments, data_dir=os.path.join(self.folder, "data"), port=self.port,
                                      profile=profile)
        os.makedirs(self.server.data_dir, exist_ok=True)

    def start(self):
        begin = time.monotonic()
        self.server.start(START_SECONDS_MAX)
        return time.monotonic() - begin

    def pid(self):
        return self.server.process.pid

    def stop(self):
        self.server.stop()

    def kill(self):
        self.server.kill()


class Zones(Headrace):
    """Three zones on the same disk: what the mirror costs, in time and in processors."""

    name = "zones"

    def __init__(self, folder, program):
        zones = [os.path.join(folder, "zones", name) for name in "abc"]
        super().__init__(folder, program, *[word for zone in zones for word in ("--zones", zone)])


class Kinesalite(Kinesis):
    name, warm_seconds = "kinesalite", 3
    durable = False  # LevelDB writes its log without waiting for the disk

    @classmethod
    def install(cls):
        need("node")
        fetch.emulators()

    def start(self):
        program = os.path.join(fetch.emulators(), "kinesalite", "cli.js")
        self.spawn([need("node"), program, "--port", str(self.port), "--path", os.path.join(self.folder, "db"),
                    "--createStreamMs", "0", "--deleteStreamMs", "0", "--shardLimit", "100000"])


class KinesisLocal(Kinesis):
    name, warm_seconds = "kinesis-local", 3
    durable = False  # it keeps everything in memory

    @classmethod
    def install(cls):
        need("node")
        fetch.emulators()

    def start(self):
        program = os.path.join(fetch.emulators(), "kinesis-local", "main.js")
        self.spawn([need("node"), program],
                   {"KINESIS_MOCK_PLAIN_PORT": str(self.port), "KINESIS_MOCK_TLS_PORT": str(headrace.free_port()),
                    "SHARD_LIMIT": "100000", "CREATE_STREAM_DURATION": "1ms", "DELETE_STREAM_DURATION": "1ms",
                    "LOG_LEVEL": "ERROR"}, cwd=os.path.dirname(program))


class Nginx(Peer):
    """Answers any POST with 200: what HTTP by itself costs. It reads the body and drops it."""

    name, load_name = "nginx", "kinesis"
    durable = False
    protocol = ""

    @classmethod
    def install(cls):
        need("nginx")

    def start(self):
        configuration = os.path.join(self.folder, "nginx.conf")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(f"""
daemon off; worker_processes auto; worker_rlimit_nofile 20000; pid {self.folder}/pid; error_log {self.folder}/log crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 64m;
  client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy; fastcgi_temp_path {self.folder}/fcgi;
  uwsgi_temp_path {self.folder}/uwsgi; scgi_temp_path {self.folder}/scgi;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096 {self.protocol};
    location / {{
      default_type application/x-amz-json-1.1;
      return 200 '{{"SequenceNumber":"49600000000000000000000000000000000000000000000000000000","ShardId":"shardId-0"}}';
    }}
  }}
}}
""")
        self.spawn([need("nginx"), "-c", configuration, "-p", self.folder, "-e", os.path.join(self.folder, "errors")])


class NginxH2(Nginx):
    """The same over HTTP/2 without TLS."""

    name, protocol = "nginx-h2", "http2"


class Floor(Peer):
    """No system, but the least that any has to do on this machine: receive a body, hash it, write it, answer."""

    name, load_name = "floor", "kinesis"
    does = "durable"

    def start(self):
        program = os.path.join(fetch.BUILD, "load")
        self.spawn([program, "floor", str(self.port), os.path.join(self.folder, "file"), self.does])


class FloorReceive(Floor):
    """Without the hash and the disk."""

    name, does, durable = "floor-receive", "receive", False


# ---- Others

class Redis(Peer):
    name = load_name = "redis"
    appendfsync = "always"

    @classmethod
    def install(cls):
        need("redis-server")

    def start(self):
        begin = time.monotonic()
        self.spawn(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                    "--save", "", "--appendonly", "yes", "--appendfsync", self.appendfsync,
                    "--auto-aof-rewrite-percentage", "0"])
        self.wait_until_loaded()
        return time.monotonic() - begin

    def wait_until_loaded(self):
        while not self.command("PING").startswith(b"+PONG"):
            time.sleep(0.01)

    def command(self, text):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(text.encode() + b"\r\n")
            return s.recv(4096)

    def forget(self, name):
        self.command(f"DEL {name}")


class RedisEverysec(Redis):
    name, appendfsync, durable = "redis-everysec", "everysec", False


class Postgres(Peer):
    name = load_name = "postgres"

    @staticmethod
    def programs():
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
        if not found:
            raise NotInstalled("there is no PostgreSQL below /usr/lib/postgresql")
        return os.path.dirname(found[-1])

    @classmethod
    def install(cls):
        cls.programs()
        need("psql")

    def start(self):
        owner = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
        data = os.path.join(self.folder, "data")
        os.mkdir(data, 0o700)
        if owner:
            shutil.chown(data, "nobody", "nogroup")
            for folder in (self.folder, os.path.dirname(self.folder)):  # the latter was made for us alone
                os.chmod(folder, 0o755)
        binaries = self.programs()
        subprocess.run([f"{binaries}/initdb", "-U", "bench", "-A", "trust", "-D", data, "--no-instructions"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", **owner)
        self.spawn([f"{binaries}/postgres", "-D", data, "-p", str(self.port), "-k", data, "-h", "127.0.0.1",
                    "-c", "max_wal_size=8GB"], cwd="/", **owner)
        self.wait_until_it_answers()
        self.sql("create database bench", "postgres")

    def wait_until_it_answers(self):
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            try:
                return self.sql("select 1", "postgres", quiet=True)
            except subprocess.CalledProcessError:
                time.sleep(0.05)
        raise RuntimeError("postgres does not answer")

    def sql(self, text, database="bench", quiet=False):
        subprocess.run(["psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-d", database,
                        "-c", text], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL if quiet else None, cwd="/")

    def make(self, name, shards=SHARDS):
        self.sql(f"create table {name} (id bigserial primary key, data text)")

    def forget(self, name):
        self.sql(f"drop table {name}")


class Kafka(Peer):
    """One broker that is its own controller; flush.messages=1 syncs each batch before it is acknowledged."""

    name = load_name = "kafka"
    warm_seconds = 6  # until its code is compiled
    flush_messages = "1"

    @classmethod
    def install(cls):
        need("java")
        fetch.kafka()

    def java(self, main, *arguments):
        return ["java", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-cp", os.path.join(fetch.kafka(), "*"), main, *arguments]

    def start(self):
        logs = os.path.join(self.folder, "logs")
        configuration = os.path.join(self.folder, "server.properties")
        controller = headrace.free_port()
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
log.dirs={logs}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
""")
        subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", configuration),
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.spawn(self.java("kafka.Kafka", configuration))

    def ask(self, api, version, body):
        """One request of the administration; its answer behind the correlation number."""
        head = struct.pack(">hhih", api, version, 7, len(b"bench")) + b"bench"
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
            s.sendall(struct.pack(">i", len(head + body)) + head + body)
            answer = s.makefile("rb")
            (size,) = struct.unpack(">i", answer.read(4))
            return answer.read(size)[4:]

    @staticmethod
    def text(value):
        return struct.pack(">h", len(value)) + value.encode()

    def make(self, name, shards=SHARDS):
        settings = {"flush.messages": self.flush_messages} if self.flush_messages else {}
        body = struct.pack(">i", 1) + self.text(name) + struct.pack(">ihi", shards, 1, 0)
        body += struct.pack(">i", len(settings)) + b"".join(self.text(k) + self.text(v) for k, v in settings.items())
        body += struct.pack(">ib", 30000, 0)
        answer = self.ask(19, 2, body)  # CreateTopics: throttle time, topics, name, error
        (error,) = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(name))
        if error != 0:
            raise RuntimeError(f"kafka: the topic {name} could not be made: error {error}")
        time.sleep(0.5)  # until the broker leads its partitions

    def forget(self, name):
        self.ask(20, 1, struct.pack(">i", 1) + self.text(name) + struct.pack(">i", 30000))


class KafkaDefault(Kafka):
    name, flush_messages, durable = "kafka-default", None, False


PEERS = {peer.name: peer for peer in (Redis, RedisEverysec, Postgres, Kafka, KafkaDefault, Kinesalite, KinesisLocal,
                                      Nginx, NginxH2, Zones, Floor, FloorReceive)}


def make_peer(name, folder, program):
    return Zones(folder, program) if name == "zones" else PEERS[name](folder)
