#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line and the server process as a user meets them: messages, exit statuses, files.

    tests/cli/cli_test.py --program build/headrace [part of a test's name]...

The program may also be named by the environment variable HEADRACE.
"""
import argparse
import http.client
import http.server
import json
import os
import pty
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import headrace  # noqa: E402
import objects  # noqa: E402,F401  registers its tests
import deliveries  # noqa: E402,F401  and these
import shell  # noqa: E402
import tap  # noqa: E402
from shell import clean_environment, new_dir, reach, run  # noqa: E402


def new_file(content):
    path = os.path.join(new_dir(), "headrace.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    return path


def get(port, path, tls=None):
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=120,
                                                 context=ssl.create_default_context(cafile=tls))
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path)
    reply = connection.getresponse()
    content = reply.read().decode()
    connection.close()
    return reply.status, content


class Process:
    """`headrace serve` with what it prints, ended with the test."""

    def __init__(self, *arguments, environment=None, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen([shell.PROGRAM, "serve", *arguments], stdin=stdin,
                                        env=environment or clean_environment(), cwd=shell.SCRATCH,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []

    def wait_ready(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line == "Ready.\n":
                return self
        raise AssertionError(f"not ready: {self.lines} {self.process.stderr.read()}")

    def port(self):
        return int(re.search(r"Listening on http://127\.0\.0\.1:(\d+)", "\n".join(self.lines))[1])

    def end(self, number=signal.SIGTERM, status=0):
        if number is not None:
            self.process.send_signal(number)
        _, log = self.process.communicate(timeout=shell.SECONDS_MAX)
        assert self.process.returncode == status, f"status {self.process.returncode}: {log}"
        return log

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def serve(directory, *arguments, **options):
    return Process("--data-dir", directory, "--listen", "127.0.0.1:0", *arguments, **options)


# ---- Usage

@tap.test
def an_unknown_word_is_refused_with_the_nearest_one():
    assert "did you mean 'stream'?" in run("strem", status=2)[1]
    assert "did you mean 'stream put'?" in run("stream", "pot", status=2)[1]
    assert "did you mean '--listen'?" in run("serve", "--lisen", "x", status=2)[1]
    assert "did you mean" not in run("xyzzyx", status=2)[1]


@tap.test
def help_of_every_command_has_examples_and_goes_to_standard_output():
    overview = run("help")[0]
    names = re.findall(r"(?m)^  ([a-z]+(?: [a-z]+)?)  +\S", overview.split("Examples:")[0])
    assert len(names) >= 16, names
    for name in names:
        out, err = run("help", *name.split())
        assert "Examples:" in out and "See also:" in out and err == "", name
        assert run(*name.split(), "--help")[0] == out
    assert "  130  " in run("help", "exit-codes")[0]
    assert "stream tail" in run("stream", "--help")[0] and run("help", "stream") == run("stream", "--help")
    assert "journal.file_size" in run("help", "config")[0]
    assert run(status=2)[1].startswith("headrace:")


@tap.test
def version_is_one_line():
    assert re.fullmatch(r"headrace \d+\.\d+\.\d+\n", run("version")[0])
    assert run("--version") == run("version")


@tap.test
def manual_pages_are_written_and_are_good_roff():
    directory = os.path.join(new_dir(), "man1")
    run("man", "--output", directory)
    pages = sorted(os.listdir(directory))
    assert pages == sorted(run("man", "--list")[0].split()) and "headrace-stream-put.1" in pages
    if not shutil.which("groff"):
        tap.skip("groff is not installed")
    for page in pages:
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", os.path.join(directory, page)],
                              capture_output=True, text=True, timeout=240)
        assert done.returncode == 0 and done.stderr == "", f"{page}: {done.stderr}"
        assert "NAME" in re.sub(r".\x08", "", done.stdout), page  # bold is struck twice


@tap.test
def the_written_reference_is_the_one_the_program_prints():
    with open(os.path.join(headrace.ROOT, "docs", "cli.md"), encoding="utf-8") as file:
        assert file.read() == run("man", "--markdown")[0], "run: build/headrace man --markdown > docs/cli.md"


@tap.test
def completion_scripts_are_good_shell():
    script = run("completion", "bash")[0]
    check = "COMP_WORDS=(headrace stream p); COMP_CWORD=2; _headrace; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", script + check], capture_output=True, text=True, timeout=240)
    assert done.stdout == "put\n" and done.stderr == "", done
    for shell in ("zsh", "fish"):
        script = run("completion", shell)[0]
        if shutil.which(shell):
            subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=240)
    run("completion", "tcsh", status=2)


# ---- Configuration

@tap.test
def a_flag_wins_over_the_environment_and_that_over_the_file():
    path = new_file('region = "file"\nprofile = "dev"\n[log]\nlevel = "debug"\n')
    environment = clean_environment(HEADRACE_REGION="variable", HEADRACE_LOG_LEVEL="warn",
                                    HEADRACE_CONFIG=path)
    out = run("config", "print", "--origin", "--log-level", "error", environment=environment)[0]
    assert 'region = "variable"  # environment HEADRACE_REGION' in out
    assert 'level = "error"  # flag --log-level' in out
    assert f'profile = "dev"  # {path} line 2' in out
    assert 'limits = "on"  # default' in out


@tap.test
def what_config_prints_is_a_configuration():
    first = run("config", "print", "--listen", "127.0.0.1:1", "--listen", "[::1]:2")[0]
    assert run("config", "print", "--config", new_file(first))[0] == first


@tap.test
def an_unknown_key_is_refused_with_its_line_and_the_nearest_name():
    path = new_file("region = 'x'\n\nlisen = ['127.0.0.1:1']\n")
    err = run("serve", "--config", path, status=2)[1]
    assert err == f"headrace: {path}: unknown key 'lisen' in line 3; did you mean 'listen'?\n", err


@tap.test
def a_broken_file_and_a_wrong_value_are_refused():
    assert "line 2: " in run("serve", "--config", new_file("a = 1\nb = {}\n"), status=2)[1]
    assert "flag --limits" in run("serve", "--limits", "-1", status=2)[1]
    assert "cannot be read" in run("serve", "--config", "/nonexistent", status=2)[1]
    assert "must be given together" in run("serve", "--data-dir", new_dir(), "--tls-cert", "x", status=2)[1]


# ---- The server process

@tap.test
def the_first_start_makes_a_key_and_shows_it_once():
    directory = os.path.join(new_dir(), "data")
    with serve(directory) as server:
        server.wait_ready()
        printed = "\n".join(server.lines)
        path = os.path.join(directory, "credentials")
        secret = re.search(r"AWS_SECRET_ACCESS_KEY=(\S+)", printed)[1]
        with open(path, encoding="utf-8") as file:
            assert secret in file.read()
        assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(directory).st_mode & 0o777 == 0o700
        assert server.lines[-1] == "Ready." and "(new)" in printed
        assert secret not in server.end()
    with serve(directory) as server:
        server.wait_ready()
        assert secret not in "\n".join(server.lines) and "(new)" not in server.lines[0]
        server.end()


@tap.test
def a_key_is_not_shown_to_the_log_of_the_service_manager():
    directory, (reader, writer) = new_dir(), os.pipe()
    known = os.fstat(writer)
    environment = clean_environment(JOURNAL_STREAM=f"{known.st_dev}:{known.st_ino}")
    with subprocess.Popen([shell.PROGRAM, "serve", "--data-dir", directory, "--listen", "127.0.0.1:0"], stdout=writer,
                          stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment) as server, \
            os.fdopen(reader, encoding="utf-8") as output:
        os.close(writer)
        printed = ""
        while not printed.endswith("Ready.\n"):
            line = output.readline()
            assert line, printed
            printed += line
        server.terminate()
    assert "Made a root key, kept in" in printed and "SECRET" not in printed, printed


@tap.test
def the_key_of_the_environment_is_never_stored():
    directory = new_dir()
    environment = clean_environment(HEADRACE_ACCESS_KEY_ID="AKIDX", HEADRACE_SECRET_ACCESS_KEY="secret")
    with serve(directory, environment=environment) as server:
        server.wait_ready()
        server.end()
    assert not os.path.exists(os.path.join(directory, "credentials"))
    half = clean_environment(HEADRACE_ACCESS_KEY_ID="AKIDX")
    assert "both" in run("serve", "--data-dir", new_dir(), status=2, environment=half)[1]


@tap.test
def a_data_directory_in_use_is_refused_with_its_holder():
    directory = new_dir()
    with serve(directory) as server:
        server.wait_ready()
        err = run("serve", "--data-dir", directory, "--listen", "127.0.0.1:0", status=10)[1]
        assert f"in use by pid {server.process.pid} (headrace)" in err, err
        server.end()


@tap.test
def an_address_in_use_is_refused_with_its_holder():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        err = run("serve", "--data-dir", new_dir(), "--listen", f"127.0.0.1:{port}", status=11)[1]
    assert f"cannot listen on 127.0.0.1:{port}: address in use by pid {os.getpid()} (" in err, err
    assert f"--listen 127.0.0.1:{port + 1}" in err


@tap.test
def other_machines_are_let_in_only_on_purpose():
    err = run("serve", "--data-dir", new_dir(), "--listen", "0.0.0.0:0", status=2)[1]
    assert "no credentials are configured" in err and "HEADRACE_ACCESS_KEY_ID" in err
    key = clean_environment(HEADRACE_ACCESS_KEY_ID="AKIDX", HEADRACE_SECRET_ACCESS_KEY="secret")
    err = run("serve", "--data-dir", new_dir(), "--listen", ":0", "--profile", "dev", status=2, environment=key)[1]
    assert "--allow-dev-on-network" in err
    with Process("--data-dir", new_dir(), "--listen", "0.0.0.0:0", environment=key) as server:
        server.wait_ready().end()
    with Process("--data-dir", new_dir(), "--listen", "0.0.0.0:0", "--profile", "dev",
                 "--allow-dev-on-network") as server:
        server.wait_ready().end()


@tap.test
def a_refused_exposure_leaves_no_key_behind():
    directory = new_dir()
    for _ in range(2):
        run("serve", "--data-dir", directory, "--listen", "0.0.0.0:0", status=2)
    assert not os.path.exists(os.path.join(directory, "credentials"))


def crc32c(content):
    """Castagnoli's CRC, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def marker(directory, lines):
    with open(os.path.join(directory, "FORMAT"), "w", encoding="utf-8") as file:
        file.write(lines + f"crc32c {crc32c(lines.encode()):08x}\n")


@tap.test
def a_newer_or_damaged_data_directory_is_refused_and_left_alone():
    directory = new_dir()
    marker(directory, "headrace-data\nformat 7\nreader 7\nversion 9.4.0\n")
    err = run("serve", "--data-dir", directory, status=13)[1]
    assert "was written by headrace 9.4.0 (format 7)" in err and "Use headrace >= 9.4.0" in err
    with open(os.path.join(directory, "FORMAT"), "a", encoding="utf-8") as file:
        file.write("x")
    assert "is damaged" in run("serve", "--data-dir", directory, status=12)[1]
    assert sorted(os.listdir(directory)) == ["FORMAT", "lock"]


@tap.test
def every_signal_that_asks_for_the_end_ends_it_well():
    for number in (signal.SIGTERM, signal.SIGINT):
        with serve(new_dir()) as server:
            server.wait_ready()
            assert '"stopped"' in server.end(number)


@tap.test
def a_second_signal_ends_it_at_once():
    with serve(new_dir(), "--http-drain-timeout", "1h") as server:
        port = server.wait_ready().port()
        with socket.create_connection(("127.0.0.1", port), timeout=120) as slow:
            # A request whose body never comes keeps the first signal waiting.
            slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
            assert slow.recv(100).startswith(b"HTTP/1.1 100")
            server.process.send_signal(signal.SIGTERM)
            refused(port)
            server.end(status=130)


def refused(port):
    """Waits until nobody accepts any more: then the first signal has been heard."""
    deadline = time.monotonic() + shell.SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=120).close()
        except OSError:
            return
    raise AssertionError("it still accepts")


@tap.test
def it_listens_on_every_address_it_is_given():
    with Process("--data-dir", new_dir(), "--listen", "localhost:0", "--listen", "[::1]:0") as server:
        printed = "\n".join(server.wait_ready().lines)
        assert re.search(r"http://127\.0\.0\.1:\d+\n", printed) and re.search(r"http://\[::1\]:\d+\n", printed)
        server.end()


@tap.test
def a_reader_that_has_gone_away_does_not_end_it():
    with serve(new_dir()) as server:
        server.process.stdout.close()
        server.process.stdout = open(os.devnull, encoding="utf-8")
        for line in server.process.stderr:
            if '"ready"' in line:
                break
        server.end()


@tap.test
def a_variable_that_is_no_setting_is_warned_of():
    with serve(new_dir(), environment=clean_environment(HEADRACE_LISTN="x")) as server:
        server.wait_ready()
        assert "HEADRACE_LISTN; did you mean HEADRACE_LISTEN?" in server.end()


@tap.test
def a_hang_up_reads_the_log_level_again():
    path = new_file('[log]\nlevel = "error"\n')
    with serve(new_dir(), "--config", path) as server:
        server.wait_ready()
        with open(path, "w", encoding="utf-8") as file:
            file.write('[log]\nlevel = "info"\n')
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 240
        status = None
        while status != 200 and time.monotonic() < deadline:  # it still serves
            status, _ = get(server.port(), "/_headrace/ready")
        log = server.end()
        assert '"the log level was read again"' in log and '"ready"' not in log, log


@tap.test
def an_attached_server_ends_with_its_input_and_not_by_the_terminal():
    with serve(new_dir(), "--attached", stdin=subprocess.PIPE) as server:
        server.wait_ready()
        server.process.send_signal(signal.SIGINT)
        assert get(server.port(), "/_headrace/ready")[0] == 200
        server.process.stdin.close()
        server.process.stdin = None
        server.end(number=None)


@tap.test
def the_service_manager_is_told():
    path = os.path.join(new_dir(), "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(shell.SECONDS_MAX)
        with serve(new_dir(), environment=clean_environment(NOTIFY_SOCKET=path)) as server:
            server.wait_ready()
            assert manager.recv(100) == b"READY=1"
            server.end()
            assert manager.recv(100) == b"STOPPING=1"


@tap.test
def health_is_shown_to_everybody_who_asks_for_it():
    for path in ("/health", "/_localstack/health"):
        status, content = get(shell.SERVER.port, path)
        health = json.loads(content)
        assert status == 200 and health["services"]["kinesis"] == "running" and health["edition"] == "headrace"
    status, content = get(shell.SERVER.port, "/_headrace/health")
    assert status == 200 and json.loads(content)["status"] == "running"
    assert get(shell.SERVER.port, "/_headrace/live")[0] == 200 and get(shell.SERVER.port, "/_headrace/ready")[0] == 200
    assert json.loads(get(shell.SERVER.port, "/_localstack/init")[1])["completed"]["READY"] is True
    assert get(shell.SERVER.port, "/_headrace/nothing")[0] == 404
    assert get(shell.SERVER.port, "/_headrace/ready", tls=shell.SERVER.certificate)[0] == 200


@tap.test
def metrics_are_prometheus_text():
    status, content = get(shell.SERVER.port, "/metrics")
    assert status == 200 and re.search(r'(?m)^headrace_build_info\{version="[\d.]+"\} 1$', content)
    for line in content.splitlines():
        assert line.startswith("# ") or re.fullmatch(r"[a-z_][a-z0-9_]*(\{[^}]*\})? [-+0-9.e]+|.*\+Inf.*", line), line
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "metrics"], input=content, text=True, check=True, timeout=240)


def is_healthy(*arguments, **more):
    """It waits for two seconds, which a busy machine may need."""
    end = time.monotonic() + shell.SECONDS_MAX
    while True:
        out = run("healthcheck", *arguments, status=None, **more)
        if out == ("", ""):
            return
        assert time.monotonic() < end, out


@tap.test
def health_check_tells_a_server_that_is_there_from_none():
    is_healthy(environment=reach())
    is_healthy("--endpoint", shell.SERVER.tls_url)
    run("healthcheck", "--endpoint", "http://127.0.0.1:1", status=1)


# ---- The stream commands

@tap.test
def a_stream_lives_from_create_to_rm():
    user = reach()
    run("stream", "create", "life", "--shards", "2", environment=user)
    rows = [line.split("\t") for line in run("stream", "ls", environment=user)[0].splitlines()]
    assert [row[:3] for row in rows if row[0] == "life"] == [["life", "ACTIVE", "PROVISIONED"]]
    shards = [json.loads(line) for line in run("stream", "show", "life", "--json", environment=user)[0].splitlines()]
    assert [s["shard"] for s in shards] == ["shardId-000000000000", "shardId-000000000001"]
    assert shards[0]["first_hash_key"] == 0 and shards[0]["state"] == "open"
    run("stream", "put", "life", "one", "--key", "k", environment=user)
    run("stream", "put", "life", text_in="two\n\nthree", environment=user)
    path = os.path.join(new_dir(), "record")
    with open(path, "wb") as file:
        file.write(b"\xff\x00four")
    run("stream", "put", "life", "--file", path, environment=user)
    out = run("stream", "tail", "life", "--from", "trim", "--no-follow", environment=user)[0]
    rows = [line.split("\t") for line in out.splitlines()]
    assert sorted(row[4] for row in rows) == sorted(["one", "two", "three", "/wBmb3Vy"]), rows
    assert [row[3] for row in rows if row[4] == "one"] == ["k"]
    out = run("stream", "tail", "life", "--from", "trim", "-n", "2", "--json", environment=user)[0]
    assert len([json.loads(line) for line in out.splitlines()]) == 2
    run("stream", "rm", "life", environment=user)
    assert "ResourceNotFoundException" in run("stream", "show", "life", environment=user, status=3)[1]


@tap.test
def shards_are_split_merged_and_scaled_and_a_tail_reads_them_all():
    user = reach()

    def show():
        out = run("stream", "show", "reshard", "--json", environment=user)[0]
        return [(int(s["shard"][-4:]), s["state"]) for s in map(json.loads, out.splitlines())]

    run("stream", "create", "reshard", environment=user)
    run("stream", "put", "reshard", "a", "--key", "k", environment=user)
    run("stream", "split", "reshard", "0", environment=user)
    assert show() == [(0, "closed"), (1, "open"), (2, "open")]
    run("stream", "put", "reshard", "b", "--key", "k", environment=user)
    run("stream", "merge", "reshard", "1", "shardId-000000000002", environment=user)
    run("stream", "put", "reshard", "c", "--key", "k", environment=user)
    run("stream", "scale", "reshard", "2", environment=user)
    run("stream", "split", "reshard", "4", "--at", "1000", "--no-wait", environment=user)
    assert [number for number, state in show() if state == "open"] == [5, 6, 7]
    out = run("stream", "tail", "reshard", "--from", "trim", "--no-follow", "--data", environment=user)[0]
    assert out.split() == ["a", "b", "c"]
    assert "no shard 99" in run("stream", "split", "reshard", "99", environment=user, status=1)[1]
    run("stream", "split", "reshard", "0", environment=user, status=1)
    run("stream", "scale", "reshard", "many", environment=user, status=2)


@tap.test
def the_consumers_of_a_stream_are_listed_and_keep_it_until_they_are_meant():
    user, client = reach(), shell.SERVER.client()
    run("stream", "create", "pushed", environment=user)
    arn = f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/pushed"
    consumers = [client.call("RegisterStreamConsumer", StreamARN=arn, ConsumerName=name)["Consumer"]["ConsumerARN"]
                 for name in ("one", "two")]
    client.close()
    rows = [line.split("\t") for line in run("stream", "consumers", "pushed", environment=user)[0].splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [("one", "ACTIVE", consumers[0]), ("two", "ACTIVE", consumers[1])]
    run("stream", "consumers", "never", environment=user, status=3)
    assert "ResourceInUseException" in run("stream", "rm", "pushed", environment=user, status=None)[1]
    run("stream", "rm", "pushed", "--with-consumers", environment=user)
    run("stream", "show", "pushed", environment=user, status=3)


@tap.test
def a_tail_follows_what_is_put_while_it_runs():
    user = reach()
    run("stream", "create", "follow", "--shards", "3", environment=user)
    run("stream", "put", "follow", "before", environment=user)
    tail = subprocess.Popen([shell.PROGRAM, "stream", "tail", "follow", "--from", "trim", "-n", "41", "--data"],
                            env=user, cwd=shell.SCRATCH, stdout=subprocess.PIPE, text=True)
    try:
        assert tail.stdout.readline() == "before\n"
        run("stream", "put", "follow", text_in="".join(f"n{i}\n" for i in range(40)), environment=user)
        out, _ = tail.communicate(timeout=shell.SECONDS_MAX)
    finally:
        tail.kill()
        tail.wait()
    assert sorted(out.split()) == sorted(f"n{i}" for i in range(40)) and tail.returncode == 0


def put_json(name, user, documents, key="k"):
    """One record after the other, so that their order is known."""
    for document in documents:
        run("stream", "put", name, json.dumps(document), "--key", key, environment=user)


def tail_of(name, user, *more, start="trim"):
    out = run("stream", "tail", name, "--from", start, "--no-follow", "--json", *more, environment=user)[0]
    return [json.loads(line) for line in out.splitlines()]


@tap.test
def a_tail_prints_all_shards_in_the_order_of_arrival_whichever_way_it_reads():
    user = reach()
    run("stream", "create", "merged", "--shards", "5", environment=user)
    client = shell.SERVER.client()
    for number in range(60):
        client.put("merged", b"%d" % number, f"key {number}")
    client.close()
    for more in ((), ("--as-consumer",)):
        records = tail_of("merged", user, *more)
        arrivals = [r["arrival"] for r in records]
        assert arrivals == sorted(arrivals) and sorted(int(r["data"]) for r in records) == list(range(60)), more
    assert [int(r["data"]) for r in tail_of("merged", user)] == list(range(60))
    assert len({r["shard"] for r in tail_of("merged", user)}) == 5
    middle = tail_of("merged", user)[30]
    assert [int(r["data"]) for r in tail_of("merged", user, start=middle["sequence_number"])] == list(range(30, 60))
    run("stream", "tail", "merged", "--from", middle["sequence_number"], "--as-consumer", environment=user, status=2)


@tap.test
def a_tail_prints_what_meets_a_condition():
    user = reach()
    run("stream", "create", "where", "--shards", "2", environment=user)
    put_json("where", user, [{"page": "/hello", "user": {"id": 1}}, {"page": "/bye", "user": {"id": 2}},
                             {"page": "/hello/you", "tags": ["a", "b"]}, {"other": 1}, [1]])
    run("stream", "put", "where", "plain text", "--key", "another", environment=user)

    def pages(condition):
        return [json.loads(r["data"]).get("page") for r in tail_of("where", user, "--where", condition)]

    assert pages("page = '/hello'") == ["/hello"]
    assert pages("page like '/hello%' and not user.id = 1") == ["/hello/you"]
    assert pages('user.id in (1, 2) or tags[1] = "b"') == ["/hello", "/bye", "/hello/you"]
    assert [r["data"] for r in tail_of("where", user, "--where", "@key = 'another' and @size = 10")] == ["plain text"]
    out = run("stream", "tail", "where", "--from", "trim", "--data", "-n", "1", "--where", "page is null and @size > 3",
              environment=user)[0]
    assert out == '{"other": 1}\n', out
    err = run("stream", "tail", "where", "--where", "page = = 1", environment=user, status=2)[1]
    assert err == "headrace: --where: a value is missing here\n  page = = 1\n         ^\n", err


@tap.test
def a_tail_and_a_replay_spend_nothing_of_the_read_limits():
    with headrace.Server(shell.PROGRAM, limits="on", environment={"HEADRACE_CONFIG": ""}) as server:
        user = clean_environment(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID=headrace.KEY_ID,
                                 AWS_SECRET_ACCESS_KEY=headrace.SECRET)
        client = server.client()
        client.create_stream("limited")
        client.put("limited", b"x", "k")
        iterators = [client.iterator("limited", "shardId-000000000000") for _ in range(5)]
        for _ in range(8):
            assert len(tail_of("limited", user)) == 1
        for iterator in iterators:  # AWS's five, at once
            client.call("GetRecords", ShardIterator=iterator)
        client.close()


def hashed(client, name, count):
    """Records, every second with an explicit hash key that sends it to the last shard."""
    for number in range(count):
        more = {"ExplicitHashKey": str(2 ** 128 - 1 - number)} if number % 2 else {}
        client.put(name, b"%d" % number, f"key {number % 7}", **more)


@tap.test
def a_replay_keeps_order_keys_and_explicit_hash_keys():
    user, client = reach(), shell.SERVER.client()
    for name, shards in (("source", "3"), ("copy", "4")):
        run("stream", "create", name, "--shards", shards, environment=user)
    hashed(client, "source", 40)
    client.close()
    told = json.loads(run("stream", "replay", "source", "copy", "--from", "trim", "--json", environment=user)[0])
    assert (told["read"], told["stored"], told["done"], told["sent_again"]) == (40, 40, True, 0), told
    source, copy = tail_of("source", user), tail_of("copy", user)
    def in_order(records):
        """By what leads to a shard: there, and only there, order is promised."""
        ways = {}
        for r in records:
            ways.setdefault((r["key"], "hash_key" in r), []).append(r["data"])
        return ways

    assert in_order(copy) == in_order(source)
    assert {r["data"]: r.get("hash_key") for r in copy} == {r["data"]: r.get("hash_key") for r in source}
    assert {r["shard"][-1] for r in copy if "hash_key" in r} == {"3"}


@tap.test
def a_replay_takes_a_part_and_may_go_into_its_own_stream():
    user, client = reach(), shell.SERVER.client()
    run("stream", "create", "again", environment=user)
    hashed(client, "again", 20)
    client.close()
    records = tail_of("again", user)
    first, last = records[5]["sequence_number"], records[8]["sequence_number"]
    span = ("--from", first, "--until", last)
    out = run("stream", "replay", "again", "again", *span, "--dry-run", environment=user)[0]
    assert out.startswith("4 of 4 records would go from again to again\n"), out
    assert len(tail_of("again", user)) == 20
    out = run("stream", "replay", "again", "again", *span, "--where", "@data in ('6', '7')", environment=user)[0]
    assert out.startswith("2 of 4 records (") and "they arrived between " in out, out
    assert [r["data"] for r in tail_of("again", user)[20:]] == ["6", "7"]
    late = ("--from", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z")
    assert run("stream", "replay", "again", "again", *late, environment=user)[0].startswith("0 of 0 ")
    run("stream", "replay", "again", "again", environment=user, status=2)
    run("stream", "replay", "again", "again", "--from", "trim", "--rate", "5", "--pace", "1", environment=user, status=2)
    run("stream", "replay", "again", "never", "--from", "trim", environment=user, status=3)


@tap.test
def a_replay_that_was_killed_goes_on_where_it_was():
    user, count = reach(), 1500
    for name in ("long", "longer"):
        run("stream", "create", name, "--shards", "2", environment=user)
    run("stream", "put", "long", text_in="".join(f"{i}\n" for i in range(count)), environment=user)
    state = os.path.join(new_dir(), "state.json")
    command = [shell.PROGRAM, "stream", "replay", "long", "longer", "--from", "trim", "--state", state, "--rate", "100"]
    replay = subprocess.Popen(command, env=user, cwd=shell.SCRATCH, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + shell.SECONDS_MAX
        while not (os.path.exists(state) and json.load(open(state, encoding="utf-8"))["records"] > 100):
            assert time.monotonic() < end and replay.poll() is None
            time.sleep(0.02)
    finally:
        replay.kill()
        replay.wait()
    noted = json.load(open(state, encoding="utf-8"))
    assert not noted["done"] and noted["records"] < count, noted
    command[-2:] = ["--json"]
    out, err = run(*command[1:], environment=user)
    assert json.loads(out)["done"] and f"behind the {noted['records']} records" in err, (out, err)
    seen = [int(r["data"]) for r in tail_of("longer", user)]
    assert set(seen) == set(range(count)) and len(seen) - count <= 500, len(seen)
    assert json.loads(run(*command[1:], environment=user)[0])["stored"] == 0  # nothing is left
    other = ["stream", "replay", "long", "source", "--from", "trim", "--state", state]
    assert "another replay" in run(*other, environment=user, status=2)[1]


@tap.test
def a_replay_ends_well_at_ctrl_c_and_says_what_it_did():
    user = reach()
    run("stream", "create", "paced", environment=user)
    run("stream", "put", "paced", text_in="".join(f"{i}\n" for i in range(400)), environment=user)
    state = os.path.join(new_dir(), "state.json")
    replay = subprocess.Popen([shell.PROGRAM, "stream", "replay", "paced", "paced", "--from", "trim", "--rate", "10",
                               "--state", state], env=user, cwd=shell.SCRATCH, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + shell.SECONDS_MAX
        while not (os.path.exists(state) and json.load(open(state, encoding="utf-8"))["records"] > 0):
            assert time.monotonic() < end and replay.poll() is None
            time.sleep(0.02)
        replay.send_signal(signal.SIGINT)
        out, err = replay.communicate(timeout=shell.SECONDS_MAX)
    finally:
        replay.kill()
        replay.wait()
    assert replay.returncode == 130 and "it is not complete; the same command goes on" in out, (out, err)
    stored = json.load(open(state, encoding="utf-8"))["records"]
    assert 0 < stored < 400 and len(tail_of("paced", user)) == 400 + stored


def lag_of(name, user, *more):
    out = run("stream", "lag", name, "--json", *more, environment=user)[0]
    return [json.loads(line) for line in out.splitlines()]


@tap.test
def the_lag_of_readers_is_told():
    user, client = reach(), shell.SERVER.client()
    run("stream", "create", "lag", "--shards", "2", environment=user)
    hashed(client, "lag", 10)
    assert lag_of("lag", user) == []
    records = tail_of("lag", user)
    last = {r["shard"]: r["sequence_number"] for r in records}
    shard = records[0]["shard"]
    unread = len([r for r in records if r["shard"] == shard]) - 1
    client.call("GetRecords", ShardIterator=client.iterator("lag", shard), Limit=1)
    row, = lag_of("lag", user, "--count")
    assert (row["reader"], row["kind"], row["shard"], row["records"]) == ("GetRecords", "reads", shard, unread), row
    assert (row["behind_ms"] > 0) == (unread > 0) and row["newest_ms"] > 1e12, row
    leases = os.path.join(new_dir(), "leases")
    with open(leases, "w", encoding="utf-8") as file:
        file.write(f"# lease table\n{shard}\tTRIM_HORIZON\n\n")
        file.writelines(f"{s}  {n}\n" for s, n in last.items() if s != shard)
    rows = [r for r in lag_of("lag", user, "--checkpoints", leases, "--count", "--shards") if r["kind"] == "place"]
    assert {r["shard"]: r["records"] for r in rows if r["behind_ms"] > 0} == {shard: unread + 1}, rows
    assert all(r["expires_ms"] is None for r in rows if r["behind_ms"] == 0), rows
    iterator = client.iterator("lag", shard, "LATEST")
    for at, behind in ((last[shard], False), (records[0]["sequence_number"], unread > 0), (iterator, False),
                       ("2020-01-01T00:00:00Z", True)):
        assert any(r["behind_ms"] > 0 for r in lag_of("lag", user, "--at", at) if r["kind"] == "place") == behind, at
    client.close()
    run("stream", "lag", "never", environment=user, status=3)
    run("stream", "lag", "lag", "--at", "nonsense", environment=user, status=2)
    run("stream", "lag", "lag", "--checkpoints", "/nowhere", environment=user, status=3)


class LeaseTable(http.server.BaseHTTPRequestHandler):
    """What of DynamoDB reads a lease table: Scan, two items on a page."""

    items, asked = [], []

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        LeaseTable.asked.append((self.headers["X-Amz-Target"], self.headers["Content-Type"], body))
        at = 0
        if "ExclusiveStartKey" in body:
            at = 1 + [i["leaseKey"] for i in self.items].index(body["ExclusiveStartKey"]["leaseKey"])
        page = {"Items": self.items[at:at + 2], "Count": 2}
        if at + 2 < len(self.items):
            page["LastEvaluatedKey"] = {"leaseKey": page["Items"][-1]["leaseKey"]}
        status, answer = 200, page
        if body["TableName"] != "app":
            status, answer = 400, {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
                                   "message": "Requested resource not found"}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@tap.test
def the_lag_of_an_application_is_read_from_its_lease_table():
    user, client = reach(), shell.SERVER.client()
    run("stream", "create", "leased", "--shards", "3", environment=user)
    hashed(client, "leased", 20)
    last = {r["shard"]: r["sequence_number"] for r in tail_of("leased", user)}
    (first, _), (second, newest), (third, done) = sorted(last.items())
    LeaseTable.items = [
        {"leaseKey": {"S": first}, "checkpoint": {"S": "TRIM_HORIZON"}, "leaseCounter": {"N": "3"}},
        {"leaseKey": {"S": f"000000000000:leased:1700000000:{second}"}, "checkpoint": {"S": newest},
         "entityType": {"S": "LEASE"}},
        {"leaseKey": {"S": "000000000000:another:1700000000:shardId-000000000000"}, "checkpoint": {"S": "TRIM_HORIZON"}},
        {"leaseKey": {"S": "leased"}, "checkpoint": {"S": "1"}, "entityType": {"S": "STREAM"}},
        {"leaseKey": {"S": third}, "checkpoint": {"S": done}},
    ]
    LeaseTable.asked = []
    table = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LeaseTable)
    threading.Thread(target=table.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{table.server_port}"
        rows = [r for r in lag_of("leased", user, "--application", "app", "--leases", url, "--shards")
                if r["kind"] == "place"]
        assert {r["shard"]: r["behind_ms"] > 0 for r in rows} == {first: True, second: False, third: False}, rows
        assert [a[:2] for a in LeaseTable.asked] == [("DynamoDB_20120810.Scan", "application/x-amz-json-1.0")] * 3
        both = {**user, "AWS_ENDPOINT_URL_DYNAMODB": url}
        assert "behind_ms" in run("stream", "lag", "leased", "--json", "--application", "app", environment=both)[0]
        run("stream", "lag", "leased", "--application", "none", environment=both, status=3)
    finally:
        table.shutdown()
        table.server_close()
    run("stream", "lag", "leased", "--application", "app", environment=user, status=2)
    client.close()


@tap.test
def the_lag_of_consumers_and_queues_is_told():
    user, client = reach(), shell.SERVER.client()
    run("stream", "create", "lags", environment=user)
    arn = f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/lags"
    consumer = client.call("RegisterStreamConsumer", StreamARN=arn, ConsumerName="app")["Consumer"]["ConsumerARN"]
    client.call("UpdateStreamMode", StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    client.call("CreateQueue", QueueName="jobs", StreamConfigurationList=[
        {"StreamARN": arn, "StartingPosition": {"Type": "TRIM_HORIZON"}}])
    hashed(client, "lags", 5)
    subscription = client.subscribe(consumer, Type="TRIM_HORIZON")
    pushed = 0
    while pushed < 5:
        pushed += len(subscription.event()["Records"])

    def rows():
        return {r["kind"]: r for r in lag_of("lags", user, "--count")}

    found = rows()
    assert found["consumer"]["reader"] == "app" and found["consumer"]["note"] == "subscribed", found
    assert found["consumer"]["behind_ms"] == 0 and found["queue"]["records"] == 5, found
    assert found["queue"]["note"] == "0 in flight, 0 dead" and found["queue"]["reader"] == "jobs", found
    subscription.close()
    client.put("lags", b"more", "k")
    end = time.monotonic() + shell.SECONDS_MAX
    while rows()["consumer"]["note"] != "not subscribed":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert rows()["consumer"]["records"] <= 1  # whether the last one was sent before it left
    client.close()


@tap.test
def a_configuration_is_checked_and_nothing_is_started():
    good = new_file('profile = "dev"\nlisten = ["127.0.0.1:0"]\n')
    out = run("config", "check", good)[0]
    assert re.match(re.escape(good) + r": good, [23] of \d+ settings are given\n", out), out
    bad = new_file('lisen = 1\n[journal]\nfile_size = "x"\n')
    out, err = run("config", "check", bad, status=2)
    lines = err.splitlines()
    assert out == "" and len(lines) == 2 and "'lisen' in line 1" in lines[0] and "line 3: 'x'" in lines[1], err
    assert run("config", "check", "--config", bad, status=2)[1] == err
    assert "cannot be read" in run("config", "check", "/nowhere", status=2)[1]
    assert "HEADRACE_LISTEM" in run("config", "check", good, environment=clean_environment(HEADRACE_LISTEM="x"))[1]
    assert "flag --limits" in run("config", "check", good, "--limits", "x", status=2)[1]
    run("config", "check", good, "--config", bad, status=2)


@tap.test
def a_thousand_lines_are_put_in_order_of_their_key():
    user = reach()
    run("stream", "create", "lines", environment=user)
    lines = [f"line {i}" for i in range(1234)]
    run("stream", "put", "lines", "--key", "same", text_in="\n".join(lines), environment=user)
    out = run("stream", "tail", "lines", "--from", "trim", "--no-follow", "--data", environment=user)[0]
    assert out.splitlines() == lines


@tap.test
def failures_have_their_exit_statuses():
    run("stream", "ls", "--endpoint", "http://127.0.0.1:1", environment=reach(), status=7)
    wrong = reach()
    wrong["AWS_SECRET_ACCESS_KEY"] = "wrong"
    run("stream", "ls", environment=wrong, status=4)
    nothing = clean_environment(AWS_ENDPOINT_URL=shell.SERVER.url)
    assert "no credentials" in run("stream", "ls", environment=nothing, status=4)[1]
    run("stream", "rm", "never", environment=reach(), status=3)
    run("stream", "tail", "never", environment=reach(), status=3)
    run("stream", "put", "never", "x", environment=reach(), status=3)
    run("stream", "tail", "x", "--from", "yesterday", environment=reach(), status=2)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        run("stream", "ls", "--endpoint", f"http://127.0.0.1:{mute.getsockname()[1]}", "--timeout", "200ms",
            environment=reach(), status=6)


@tap.test
def the_key_and_certificate_of_a_local_server_are_found_by_its_directory():
    directory = new_dir()
    with serve(directory) as server:
        port = server.wait_ready().port()
        user = clean_environment(HEADRACE_DATA_DIR=directory)
        run("stream", "ls", "--endpoint", f"http://127.0.0.1:{port}", environment=user)
        run("stream", "ls", "--endpoint", f"https://127.0.0.1:{port}", environment=user)
        run("stream", "ls", "--endpoint", f"https://127.0.0.1:{port}", environment=reach(), status=7)
        server.end()


@tap.test
def a_terminal_gets_headings_and_a_pipe_does_not():
    run("stream", "create", "seen", environment=reach())
    out = in_terminal([shell.PROGRAM, "stream", "ls"], reach(TERM="xterm"))
    assert re.search(r"NAME +STATUS +MODE +CREATED", out), out
    assert "NAME" not in run("stream", "ls", environment=reach())[0]
    assert "\033" not in in_terminal([shell.PROGRAM, "doctor", "--data-dir", new_dir()], reach(TERM="xterm", NO_COLOR="1"))


def in_terminal(command, environment):
    """What a command prints to a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(shell.SCRATCH)
        os.execve(command[0], command, environment)
    output = b""
    try:
        while chunk := os.read(fd, 65536):
            output += chunk
    except OSError:
        pass  # the end of a terminal is an error
    os.close(fd)
    os.waitpid(pid, 0)
    return output.decode(errors="replace").replace("\r\n", "\n")


# ---- env and doctor

@tap.test
def the_printed_variables_point_a_shell_at_the_server():
    script = f'eval "$({shell.PROGRAM} env 2>/dev/null)"; {shell.PROGRAM} stream ls >/dev/null && ' \
             'echo "$AWS_ENDPOINT_URL $AWS_REGION $AWS_DEFAULT_REGION $AWS_EC2_METADATA_DISABLED [$AWS_PAGER]"'
    done = subprocess.run(["sh", "-c", script], env=reach(AWS_REGION="eu-west-1"), capture_output=True, text=True,
                          timeout=shell.SECONDS_MAX)
    assert done.stdout == f"{shell.SERVER.url} eu-west-1 eu-west-1 true []\n", done
    assert f'kinesis = "{shell.SERVER.url}"' in run("env", "--terraform", environment=reach())[0]
    assert shell.SERVER.tls_url in run("env", "--tls", environment=reach())[0]


@tap.test
def an_aws_cli_that_knows_no_endpoint_variable_gets_a_function():
    for version, old in (("2.9.19", True), ("1.22.34", True), ("2.17.3", False), ("1.32.0", False)):
        directory = new_dir()
        fake = os.path.join(directory, "aws")
        with open(fake, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\necho aws-cli/{version} Python/3.11.2\n")
        os.chmod(fake, 0o755)
        out, err = run("env", environment=reach(PATH=f"{directory}:{os.environ['PATH']}"))
        assert ("aws() {" in out) == old and (f"this aws-cli ({version}) ignores" in err) == old, version


@tap.test
def doctor_checks_the_machine_and_says_what_to_do():
    directory = new_dir()
    port = headrace.free_port()
    # This machine may well have a slow disk: only what is found is compared.
    out = run("doctor", "--data-dir", directory, "--listen", f"127.0.0.1:{port}", "--json", status=None)[0]
    found = {row["check"]: row for row in map(json.loads, out.splitlines())}
    assert set(found) >= {"clock", "disk-latency", "disk-space", "open-files", "io_uring", "certificate", "port"}
    assert found["port"]["verdict"] == "ok" and os.listdir(directory) == []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        out = run("doctor", "--data-dir", directory, "--listen", taken, status=1)[0]
    assert re.search(rf"(?m)^fail\tport\t{taken} is in use by pid {os.getpid()} ", out), out


# ---- The demo

LAST_LINE = r"put (\d+), got (\d+), lost (\d+), duplicated (\d+), out of order (\d+), throttled (\d+), in objects (\d+)"


def damage(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def with_key():
    return clean_environment(AWS_ACCESS_KEY_ID=headrace.KEY_ID, AWS_SECRET_ACCESS_KEY=headrace.SECRET)


@tap.test
def what_a_store_holds_is_shown_by_its_server_and_from_its_directory():
    _, err = run("store", "stat", "--data-dir", os.path.join(new_dir(), "none"), status=3)
    assert "there is no data directory" in err
    server = headrace.Server(shell.PROGRAM)
    try:
        server.start()
        client = server.client()
        client.create_stream("s", 2)
        put = [client.put("s", b"data %d" % i, f"key {i}") for i in range(6)]
        # Nobody said where it listens: the directory does.
        out, _ = run("store", "stat", "--data-dir", server.data_dir, environment=with_key())
        assert "its server" in out and server.data_dir in out, out
        online = [json.loads(line) for line in run(
            "store", "dump", "--data-dir", server.data_dir, "--stream", "s", "--json",
            environment=with_key())[0].splitlines()]
        _, err = run("store", "dump", "--data-dir", server.data_dir, "--blocks", status=2)
        assert "--blocks needs a stopped one" in err
        server.stop()
        stat = json.loads(run("store", "stat", "--data-dir", server.data_dir, "--json")[0])
        assert stat["from"] == "directory" and stat["journal"]["records"] == 6 and stat["problems"] == 0
        assert "reading the directory" in run("store", "stat", "--data-dir", server.data_dir)[0]
        offline = [json.loads(line) for line in run(
            "store", "dump", "--data-dir", server.data_dir, "--stream", "s", "--json")[0].splitlines()]
        key = lambda d: (d["shard_id"], d["sequence_number"], d["position"], d["key"], d["data_base64"])
        assert sorted(map(key, online)) == sorted(map(key, offline))
        assert {d["sequence_number"] for d in offline} == {p["SequenceNumber"] for p in put}
        some, _ = run("store", "dump", "--data-dir", server.data_dir, "--stream", "s", "--raw", "-n", "2",
                      "--shard-id", put[0]["ShardId"], "--from", put[0]["SequenceNumber"])
        assert some.startswith("data 0\n") and some.count("\n") <= 2, some
        keys, _ = run("store", "dump", "--data-dir", server.data_dir, "--keys")
        assert keys.count("\n") == 6 and "ZGF0YSA" not in keys
        blocks, _ = run("store", "dump", "--data-dir", server.data_dir, "--blocks", "--json")
        assert all(json.loads(line)["state"] == "counts" for line in blocks.splitlines())
        run("store", "dump", "--data-dir", server.data_dir, "--containers")
        _, err = run("store", "dump", "--data-dir", server.data_dir, "--stream", "none", status=3)
        assert "no such shard" in err
        _, err = run("store", "dump", "--data-dir", server.data_dir, "--from", "x", status=2)
    finally:
        server.remove()


@tap.test
def a_store_is_checked_while_no_server_runs_on_it():
    _, err = run("store", "check", "--data-dir", os.path.join(new_dir(), "none"), status=3)
    assert "there is no data directory" in err
    server = headrace.Server(shell.PROGRAM)
    try:
        server.start()
        client = server.client()
        client.create_stream("s", 1)
        for _ in range(5):
            client.call("PutRecord", StreamName="s", PartitionKey="k", Data="A" * 20000)
        _, err = run("store", "check", "--data-dir", server.data_dir, status=4)
        assert "no credentials" in err  # it is running: it is asked, and wants its key
        out, _ = run("store", "check", "--data-dir", server.data_dir, environment=with_key())
        assert "by the running server" in out, out
        server.stop()
        out, _ = run("store", "check", "--data-dir", server.data_dir)
        assert "5 records of 1 shards" in out and "\nok\tkv\t" in out, out
        again, _ = run("store", "check", "--data-dir", server.data_dir)
        assert again == out  # it changes nothing
        journal = os.path.join(server.data_dir, "journal")
        first = os.path.join(journal, sorted(n for n in os.listdir(journal) if n.endswith(".hrj"))[0])
        damage(first, 4096 + 4096 + 200)  # inside the second block: whole ones follow it
        _, err = run("store", "check", "--data-dir", server.data_dir, status=12)
        assert "is not sound" in err and "offset" in err, err
    finally:
        server.remove()


def books(out):
    match = re.fullmatch(LAST_LINE, out.splitlines()[-1])
    assert match, out
    return dict(zip(("put", "got", "lost", "duplicated", "disorder", "throttled", "objects"), map(int, match.groups())))


@tap.test
def the_demo_accounts_for_every_record_and_leaves_nothing_behind():
    folder = new_dir()
    out, _ = run("demo", "--seconds", "3", "--rate", "600", "--plain", folder=folder)
    total = books(out)
    assert total["put"] == total["got"] > 0 and total["lost"] == total["disorder"] == total["duplicated"] == 0
    assert total["objects"] == total["put"] and re.search(r"(?m)^\d+ objects, the last s3://lake/clicks/day=", out), out
    assert len(re.findall(r"(?m)^t=\d+ in=\d+ out=\d+ throttled=", out)) == 3 and os.listdir(folder) == []


@tap.test
def the_demo_retries_what_is_throttled():
    out, _ = run("demo", "--seconds", "4", "--rate", "1000", "--shards", "1", "--limits", "0.1", "--plain",
                 folder=new_dir())
    total = books(out)
    assert total["throttled"] > 0 and total["put"] == total["got"] > 0, out
    assert total["lost"] == total["disorder"] == 0, out
    out, _ = run("demo", "--seconds", "2", "--rate", "1500", "--shards", "1", "--limits=off", "--plain",
                 folder=new_dir())
    assert books(out)["throttled"] == 0


def wait_for_second(demo, number):
    """Until it has told of that second, or, on a busy machine, of a later one."""
    for line in demo.stdout:
        told = re.match(r"t=(\d+) ", line)
        if told and int(told[1]) >= number:
            return


@tap.test
def an_interrupt_from_the_terminal_ends_the_demo_cleanly():
    folder = new_dir()
    demo = subprocess.Popen([shell.PROGRAM, "demo", "--rate", "300", "--plain"], env=clean_environment(), cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_for_second(demo, 2)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: the server gets it as well
        out, err = demo.communicate(timeout=shell.SECONDS_MAX)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
    total = books(out)
    assert demo.returncode == 0 and total["put"] == total["got"] > 0 and total["lost"] == 0, err
    assert os.listdir(folder) == []


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


@tap.test
def a_demo_whose_server_dies_says_so_and_keeps_the_evidence():
    folder = new_dir()
    demo = subprocess.Popen([shell.PROGRAM, "demo", "--rate", "300", "--plain"], env=clean_environment(), cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_second(demo, 2)
        os.kill(children(demo.pid)[0], signal.SIGKILL)
        out, err = demo.communicate(timeout=shell.SECONDS_MAX)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
    assert demo.returncode == 1 and "the server ended by itself" in err and books(out)["put"] > 0, err
    assert len(os.listdir(folder)) == 1


@tap.test
def a_server_ends_when_its_demo_is_killed():
    folder = new_dir()
    demo = subprocess.Popen([shell.PROGRAM, "demo", "--rate", "300", "--plain"], env=clean_environment(), cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", demo.stdout.readline())[1])
        assert get(port, "/_headrace/ready")[0] == 200
    finally:
        demo.kill()
        demo.communicate(timeout=shell.SECONDS_MAX)
    refused(port)


@tap.test
def the_demo_draws_over_itself_on_a_terminal():
    out = in_terminal([shell.PROGRAM, "demo", "--seconds", "3", "--rate", "300"],
                      clean_environment(TERM="xterm", COLUMNS="80"))
    assert "\033[10A" in out and "lake" in out and "shard 2" in out and "put to get p50" in out, out
    assert books(out.rstrip("\n"))["lost"] == 0


@tap.test
def a_demo_whose_server_cannot_start_says_why():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        _, err = run("demo", "--seconds", "1", "--listen", f"127.0.0.1:{other.getsockname()[1]}", status=11,
                     folder=new_dir())
    assert "address in use" in err


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=os.environ.get("HEADRACE", "build/headrace"))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    shell.PROGRAM = os.path.abspath(options.program)
    os.makedirs(headrace.DATA, exist_ok=True)
    shell.SCRATCH = tempfile.mkdtemp(dir=headrace.DATA)
    try:
        with headrace.Server(shell.PROGRAM, environment={"HEADRACE_CONFIG": ""}) as shell.SERVER:
            return tap.main(options.words)
    finally:
        shutil.rmtree(shell.SCRATCH, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
