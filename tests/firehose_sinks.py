#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Destinations of deliveries against real servers and strict doubles, with the network cut meanwhile.

    tests/firehose_sinks.py --program build-asan/headrace [TEST...]

Drives them with headrace-drive (tests/sinks), which lies beside the program. PostgreSQL is Debian's; OpenSearch comes
through Maven once, into build/clients/search: where it cannot be had its tests are skipped.
"""
import argparse
import base64
import gzip
import http.server
import json
import os
import random
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import botocore.exceptions

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "sinks"))
import headrace  # noqa: E402
import streams  # noqa: E402
import tap  # noqa: E402
from engines import POSTGRES, SEARCHES, opensearch, postgres  # noqa: E402
from proxy import Gate, Proxy  # noqa: E402
from redshift import Dripping, Flooding, Hung, Redshift  # noqa: E402
from splunk import TOKEN, Collector  # noqa: E402
from streams import DELIVER_SECONDS_MAX, HINTS, HOSES, ROLE, Hoses, hoses, retry, wait  # noqa: E402
from tap import skip, test  # noqa: E402

DRIVE_SECONDS_MAX = 600
SMALL_DISK_MIB = 256
DELIVERED, RETRY, REFUSED = range(3)
DRIVE = None


class Outcome:
    def __init__(self, output):
        lines = output.splitlines()
        told = [json.loads(line) for line in lines[:-1]]
        self.attempts = [t for t in told if "attempt" in t]
        self.refused = {t["record"]: t for t in told if "record" in t}
        self.result = int(lines[-1].split()[1])
        self.codes = [t["code"] for t in self.attempts]

    def __repr__(self):
        return f"result {self.result}, {len(self.attempts)} attempts: {self.attempts[:9]}, refused {self.refused}"


def start_drive(folder, config, records):
    paths = [os.path.join(folder, name) for name in ("config.json", "records")]
    with open(paths[0], "w", encoding="utf-8") as file:
        json.dump({"folder": folder, **config}, file)
    with open(paths[1], "wb") as file:
        file.write(b"".join(r + b"\n" for r in records))
    return subprocess.Popen([DRIVE, *paths], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def end_drive(process):
    try:
        output, errors = process.communicate(timeout=DRIVE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, errors
    return Outcome(output)


def drive(config, records, objects=None):
    """What came of one batch. `objects`: what lies in the bucket b, by key."""
    with tempfile.TemporaryDirectory() as folder:
        put_objects(folder, objects)
        return end_drive(start_drive(folder, config, records))


def put_objects(folder, objects):
    os.makedirs(os.path.join(folder, "b"), exist_ok=True)
    for key, content in (objects or {}).items():
        with open(os.path.join(folder, "b", key.replace("/", "~")), "wb") as file:
            file.write(content)


# ---- HTTP endpoints


class Endpoint(http.server.ThreadingHTTPServer):
    """Takes batches as the protocol says, and refuses all else."""

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.port = self.server_address[1]
        self.ids, self.got, self.wrong = [], {}, []

    def take(self, headers, body):
        identity = headers["X-Amz-Firehose-Request-Id"]
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        document = json.loads(body)
        if document["requestId"] != identity or not isinstance(document["timestamp"], int):
            self.wrong.append(document["requestId"])
        self.ids.append(identity)
        self.got[identity] = [base64.b64decode(r["data"], validate=True) for r in document["records"]]
        return json.dumps({"requestId": identity, "timestamp": int(time.time() * 1000)}).encode()

    def handle_error(self, request, client_address):
        pass  # connections are cut on purpose

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        reply = self.server.take(self.headers, body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def numbered(count, size=100):
    return [b"%08d" % i + b"x" * size for i in range(count)]


@test
def records_reach_an_http_endpoint_through_a_network_that_is_cut():
    records = numbered(5000)
    seen = {}

    def decide(connection, to_server, data):
        seen[connection] = seen.get(connection, 0) + len(data)
        if connection == 0:
            return "cut"  # at the first byte
        if connection == 1 and seen[connection] > 200000:
            return "cut"  # within the body
        if connection == 2 and not to_server:
            return "cut"  # what was taken is not told
        return "pass"

    for compressed in (False, True):
        seen.clear()
        with Endpoint() as endpoint, Proxy(endpoint.port, decide) as proxy:
            outcome = drive({"sink": "http", "url": f"http://127.0.0.1:{proxy.port}/", "key": "k", "gzip": compressed,
                             "attempts": 10}, records)
            assert outcome.result == DELIVERED, outcome
            assert outcome.codes[:-1] and set(outcome.codes[:-1]) == {"HttpEndpoint.ConnectionReset"}, outcome
            assert len(set(endpoint.ids)) == 1 and not endpoint.wrong, "another request id"
            assert list(endpoint.got.values()) == [records]


@test
def an_http_endpoint_that_comes_back_gets_everything():
    port = headrace.free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = start_drive(folder, {"sink": "http", "url": f"http://127.0.0.1:{port}/", "attempts": 2000},
                              numbered(10))
        first = json.loads(process.stdout.readline())
        assert first["code"] == "HttpEndpoint.ConnectionFailed", first
        with Endpoint(port) as endpoint:
            outcome = end_drive(process)
        assert outcome.result == DELIVERED, outcome
        assert list(endpoint.got.values()) == [numbered(10)]


# ---- PostgreSQL and Redshift


def redshift(port, **more):
    return {"sink": "redshift", "url": f"jdbc:redshift://127.0.0.1:{port}/postgres", "user": "u", "password": "secret",
            "table": "t", "attempts": 1, **more}


def json_objects(count, rows):
    """Zipped objects of JSON rows: number n of all has the id n."""
    return {f"2016/02/25/00/o-{o}.gz": gzip.compress(b"".join(
        json.dumps({"id": n, "name": f"n\t{n}", "at": "2016-02-25 00:00:00"}).encode() + b"\n"
        for n in range(o * rows, (o + 1) * rows))) for o in range(count)}


@test
def rows_reach_postgresql_by_the_copy_options():
    p = postgres()
    p.sql("DROP TABLE IF EXISTS t; CREATE TABLE t (id int, name text, at timestamp)")
    objects = json_objects(3, 1000)
    outcome = drive(redshift(p.port, options="JSON 'auto' GZIP", objects=list(objects)), [], objects)
    assert outcome.result == DELIVERED, outcome
    assert p.sql("SELECT count(*), sum(id), count(distinct name), min(at) FROM t") == \
        "3000|4498500|3000|2016-02-25 00:00:00"
    assert p.sql("SELECT name FROM t WHERE id = 7") == "n\t7"
    outcome = drive(redshift(p.port, columns="name, id", options="DELIMITER ',' IGNOREHEADER 1", objects=["x/y"]), [],
                    {"x/y": b"name,id\nO'Brien \\,-1\n,-2"})
    assert outcome.result == DELIVERED, outcome
    assert p.sql("SELECT id, name, at IS NULL FROM t WHERE id < 0 ORDER BY id") == "-2||t\n-1|O'Brien \\|t"


@test
def a_batch_that_is_cut_off_anywhere_is_loaded_once():
    p = postgres()
    objects = json_objects(2, 20000)
    for moment in ("in the rows", "before the commit", "after the commit"):
        p.sql("DROP TABLE IF EXISTS t; CREATE TABLE t (id int, name text, at timestamp)")
        seen = [0]

        def decide(connection, to_server, data, moment=moment, seen=seen):
            if connection > 0:
                return "pass"
            seen[0] += len(data)
            if moment == "in the rows":
                return "cut" if seen[0] > 500000 else "pass"
            commits = to_server and b"COMMIT" in data
            return "pass" if not commits else "cut" if moment == "before the commit" else "pass-cut"

        with Proxy(p.port, decide) as proxy:
            outcome = drive(redshift(proxy.port, options="JSON 'auto' GZIP", objects=list(objects), attempts=20,
                                     pause_ms=200), [], objects)
            assert outcome.result == DELIVERED and len(outcome.attempts) > 1, outcome
            assert set(outcome.codes[:-1]) == {"Redshift.ConnectionFailed"}, outcome
        assert p.sql("SELECT count(*), count(distinct id) FROM t") == "40000|40000", moment


@test
def a_postgresql_that_is_killed_and_comes_back_has_each_row_once():
    p = postgres()
    p.sql("DROP TABLE IF EXISTS t; CREATE TABLE t (id int, name text, at timestamp)")
    objects = json_objects(2, 30000)
    reached = threading.Event()
    seen = [0]

    def decide(_connection, _to_server, data):
        seen[0] += len(data)
        if seen[0] > 300000 and not reached.is_set():
            p.kill()
            reached.set()
        return "pass"

    with tempfile.TemporaryDirectory() as folder, Proxy(p.port, decide) as proxy:
        put_objects(folder, objects)
        process = start_drive(folder, redshift(proxy.port, options="JSON 'auto' GZIP", objects=list(objects),
                                               attempts=2500, pause_ms=200), [])
        assert reached.wait(DRIVE_SECONDS_MAX)
        time.sleep(1)
        p.start()
        outcome = end_drive(process)
    assert outcome.result == DELIVERED and len(outcome.attempts) > 1, outcome
    assert p.sql("SELECT count(*), count(distinct id) FROM t") == "60000|60000"


@test
def what_postgresql_refuses_has_its_code_and_leaves_a_manifest():
    p = postgres()
    p.sql("DROP TABLE IF EXISTS t; CREATE TABLE t (id int not null, name text)")
    p.sql("DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN PASSWORD 'secret'; GRANT SELECT ON t TO poor")
    good = {"o": b"1|a\n"}
    cases = [("Redshift.AuthenticationFailed", {"password": "wrong!"}, good),
             ("Redshift.DatabaseNotFound", {"url": f"jdbc:redshift://127.0.0.1:{p.port}/nowhere"}, good),
             ("Redshift.ConnectionFailed", {"url": f"jdbc:redshift://127.0.0.1:{headrace.free_port()}/postgres"}, good),
             ("Redshift.TableNotFound", {"table": "nothing"}, good),
             ("Redshift.ColumnNotFound", {"columns": "id, other"}, good),
             ("Redshift.SyntaxError", {"table": "t t t"}, good),
             ("Redshift.InsufficientPrivilege", {"user": "poor"}, good),
             ("Redshift.MissingColumn", {"columns": "name"}, {"o": b"a\n"}),
             ("Redshift.DataLoadFailed", {}, {"o": b"x|a\n"}),
             ("Redshift.DataLoadFailed", {}, {"o": b"1\n"}),
             ("Redshift.IncorrectCopyOptions", {"options": "PARQUET"}, good),
             ("Redshift.MissingS3File", {"objects": ["o", "gone"]}, good)]
    for code, more, objects in cases:
        with tempfile.TemporaryDirectory() as folder:
            put_objects(folder, objects)
            outcome = end_drive(start_drive(folder, redshift(p.port, prefix="p/", **{"objects": ["o"], **more}), []))
            assert outcome.result == RETRY and outcome.codes == [code], (code, outcome)
            assert outcome.attempts[0]["message"], outcome
            name = "manifests~2016~02~25~00~s-2016-02-25-00-01-00-ed4acda5-034f-9f42-bba1-f29aea6d7d8f"
            for key in ("p~" + name, "p~errors~" + name):
                with open(os.path.join(folder, "b", key), encoding="utf-8") as file:
                    assert json.load(file)["entries"][0] == {"url": "s3://b/o", "mandatory": True}
        assert p.sql("SELECT count(*) FROM t") == "0", code


@test
def redshift_is_told_to_copy_what_a_manifest_names():
    with Redshift(lambda sql: None) as server:
        outcome = drive(redshift(server.port, columns="a, b", options="JSON 'auto' GZIP", objects=["k"],
                                 role="arn:aws:iam::0:role/copy"), [], {"k": b""})
        assert outcome.result == DELIVERED, outcome
        assert len(server.copies) == 1
        assert re.fullmatch(r"COPY t \(a, b\) FROM 's3://b/manifests/2016/02/25/00/s-2016-02-25-00-01-00-[-0-9a-f]{36}' "
                            r"IAM_ROLE 'arn:aws:iam::0:role/copy' MANIFEST JSON 'auto' GZIP", server.copies[0]), server.copies


@test
def what_redshift_says_is_told_by_aws_codes():
    cases = [("Redshift.AccessDenied", "XX000", "User arn:aws:redshift:x is not authorized to assume IAM Role arn"),
             ("Redshift.S3BucketAccessDenied", "XX000", "S3ServiceException:Access Denied,Status 403,Error AccessDenied"),
             ("Redshift.DataLoadFailed", "XX000", "Load into table 't' failed.  Check 'stl_load_errors' system table"),
             ("Redshift.MissingS3File", "XX000", "S3ServiceException:The specified key does not exist.,Error NoSuchKey"),
             ("Redshift.IncorrectOrMissingRegion", "XX000", "S3ServiceException:The bucket you are attempting to access "
              "must be addressed using the specified endpoint.,Status 301,Error PermanentRedirect"),
             ("Redshift.ColumnMismatch", "XX000", "Number of jsonpaths and the number of columns should match. JSONPath "
              "size: 2"),
             ("Redshift.IncorrectCopyOptions", "42601", "conflicting or redundant options"),
             ("Redshift.SyntaxError", "42601", 'syntax error at or near "x"'),
             ("Redshift.TableNotFound", "42P01", 'Cannot COPY into nonexistent table t'),
             ("Redshift.DiskFull", "53100", "Disk Full"),
             ("InternalError", "XX000", "something else")]
    for code, state, text in cases:
        with Redshift(lambda sql, state=state, text=text: (state, text)) as server:
            outcome = drive(redshift(server.port, objects=["k"]), [], {"k": b""})
            assert outcome.result == RETRY and outcome.codes == [code], (code, outcome)
            assert outcome.attempts[0]["message"] == text, outcome


@test
def a_database_that_drips_or_floods_ends_an_attempt_no_later():
    for kind, words in ((Dripping, "does not answer in time"), (Flooding, "says too much")):
        with kind() as server:
            outcome = drive(redshift(server.port, objects=["k"]), [], {"k": b""})
            assert outcome.result == RETRY and outcome.codes == ["Redshift.ConnectionFailed"], outcome
            assert words in outcome.attempts[0]["message"], outcome


# ---- OpenSearch


def documents(count, size=100):
    return [json.dumps({"n": n, "text": "x" * size}).encode() for n in range(count)]


@test
def documents_reach_opensearch_once_through_a_network_that_is_cut():
    search = opensearch()

    def decide(connection, to_server, data):
        del data
        return "cut" if connection < 2 and not to_server else "pass"  # indexed, but nobody hears of it

    with Proxy(search.port, decide) as proxy:
        outcome = drive({"sink": "search", "url": f"http://127.0.0.1:{proxy.port}", "index": "cut", "rotation": 2,
                         "attempts": 10}, documents(500))
    assert outcome.result == DELIVERED and outcome.codes[0] == "OS.ConnectionReset", outcome
    assert search.count("cut-2016-02-25") == 500


@test
def requests_that_opensearch_finds_too_large_are_made_smaller():
    search = opensearch()  # takes 1 MiB
    outcome = drive({"sink": "search", "url": search.url, "index": "large", "attempts": 3},
                    documents(3000, 1000) + documents(1, 2 << 20))
    assert outcome.result == DELIVERED, outcome
    assert search.count("large") == 3000
    assert {n: r["code"] for n, r in outcome.refused.items()} == {3000: "413"}


@test
def documents_that_opensearch_refuses_are_told_and_the_others_are_there():
    search = opensearch()
    records = documents(10) + [b'{"n":"not a number"}', b"no JSON", b'{"n":1}}']
    outcome = drive({"sink": "search", "url": search.url, "index": "mixed", "attempts": 2}, records)
    assert outcome.result == DELIVERED, outcome
    assert sorted(outcome.refused) == [10, 11, 12], outcome
    assert json.loads(outcome.refused[10]["message"])["type"] == "mapper_parsing_exception"
    assert search.count("mixed") == 10
    search.call("PUT", "/mixed/_settings", {"index.blocks.write": True})
    outcome = drive({"sink": "search", "url": search.url, "index": "mixed"}, documents(10))
    assert outcome.result == RETRY and outcome.codes == ["403"], outcome
    search.call("PUT", "/mixed/_settings", {"index.blocks.write": False})
    outcome = drive({"sink": "search", "url": search.url, "index": "mixed", "own_ids": True}, documents(10))
    assert outcome.result == DELIVERED and search.count("mixed") == 20, outcome


@test
def an_opensearch_that_is_killed_in_a_request_and_comes_back_has_each_document_once():
    search, gate = opensearch(), Gate(b"_bulk")
    gate.arm()
    with tempfile.TemporaryDirectory() as folder, Proxy(search.port, gate) as proxy:
        process = start_drive(folder, {"sink": "search", "url": f"http://127.0.0.1:{proxy.port}", "index": "killed",
                                       "attempts": 1000, "pause_ms": 300}, documents(2000))
        assert gate.reached.wait(DRIVE_SECONDS_MAX), "there is no request"
        search.kill()
        gate.open("pass")
        first = json.loads(process.stdout.readline())
        assert first["code"] == "OS.ConnectionReset", first
        search.start()
        outcome = end_drive(process)
    assert outcome.result == DELIVERED, outcome
    assert search.count("killed") == 2000


# ---- Every destination through a bad network: what is sent or said is reset, halved, stalled


class BadNetwork:
    """What happens to the first bytes of each connection, by its number; later ones are slow and whole."""
    PLANS = [("server", "reset"), ("server", "half"), ("client", "half"), ("client", "reset"), ("server", "cut"),
             ("client", 2.0)]

    def __init__(self):
        self.done = set()

    def __call__(self, connection, to_server, data):
        del data
        side, verdict = self.PLANS[connection] if connection < len(self.PLANS) else ("server", 0.5)
        if connection in self.done or (side == "client") != to_server:
            return "pass"
        self.done.add(connection)
        return verdict


def codes_but_the_last(outcome):
    assert outcome.result == DELIVERED, outcome
    assert len(outcome.codes) > 3, outcome
    return set(outcome.codes[:-1])


@test
def an_http_endpoint_gets_everything_through_a_bad_network():
    with Endpoint() as endpoint, Proxy(endpoint.port, BadNetwork()) as proxy:
        outcome = drive({"sink": "http", "url": f"http://127.0.0.1:{proxy.port}/", "attempts": 20, "gzip": True},
                        numbered(2000))
        assert codes_but_the_last(outcome) <= {"HttpEndpoint.ConnectionReset",
                                               "HttpEndpoint.InvalidResponseFromDestination"}, outcome
        assert len(set(endpoint.ids)) == 1 and list(endpoint.got.values()) == [numbered(2000)]


@test
def splunk_gets_everything_through_a_bad_network():
    with Collector() as collector, Proxy(collector.port, BadNetwork()) as proxy:
        records = [b"%04d;" % n for n in range(500)]
        outcome = drive({"sink": "splunk", "url": f"http://127.0.0.1:{proxy.port}", "token": TOKEN, "attempts": 20},
                        records)
        assert codes_but_the_last(outcome) <= {"Splunk.ConnectionClosed", "Splunk.InvalidEndpoint"}, outcome
        with collector.lock:
            assert set(collector.indexed) == {b"".join(records)}


@test
def a_splunk_that_is_killed_before_it_has_indexed_gets_the_data_again():
    records, died = [b"%04d;" % n for n in range(100)], threading.Event()

    class Forgetful(Collector):
        """Dies when it is asked for an acknowledgement, and what it had taken is lost."""

        def acknowledge(self, channel, number):
            died.set()
            raise ConnectionResetError

    with Forgetful() as first, tempfile.TemporaryDirectory() as folder:
        process = start_drive(folder, {"sink": "splunk", "url": f"http://127.0.0.1:{first.port}", "token": TOKEN,
                                       "ack_s": 3, "attempts": 2000}, records)
        assert died.wait(DRIVE_SECONDS_MAX), "it was not asked"
    with Collector(port=first.port) as second:
        outcome = end_drive(process)
        assert outcome.result == DELIVERED and outcome.codes[0] == "Splunk.AckTimeout", outcome
        with second.lock:
            assert second.indexed == [b"".join(records)]


@test
def opensearch_has_each_document_once_through_a_bad_network():
    search = opensearch()
    with Proxy(search.port, BadNetwork()) as proxy:
        outcome = drive({"sink": "search", "url": f"http://127.0.0.1:{proxy.port}", "index": "bad", "attempts": 20},
                        documents(500))
    assert codes_but_the_last(outcome) <= {"OS.ConnectionReset", "OS.InvalidResponse"}, outcome
    assert search.count("bad") == 500


@test
def postgresql_has_each_row_once_through_a_bad_network():
    p = postgres()
    objects = json_objects(2, 5000)
    p.sql("DROP TABLE IF EXISTS t; CREATE TABLE t (id int, name text, at timestamp)")
    with Proxy(p.port, BadNetwork()) as proxy:
        outcome = drive(redshift(proxy.port, options="JSON 'auto' GZIP", objects=list(objects), attempts=20,
                                 pause_ms=100), [], objects)
    assert codes_but_the_last(outcome) == {"Redshift.ConnectionFailed"}, outcome
    assert p.sql("SELECT count(*), count(distinct id) FROM t") == "10000|10000"


@test
def an_opensearch_whose_disk_is_full_gets_everything_when_there_is_room_again():
    search = opensearch()
    search.call("PUT", "/flood", {})
    search.call("PUT", "/flood/_settings", {"index.blocks.read_only_allow_delete": True})  # what its flood stage does
    with tempfile.TemporaryDirectory() as folder:
        process = start_drive(folder, {"sink": "search", "url": search.url, "index": "flood", "attempts": 1000,
                                       "pause_ms": 200}, documents(300))
        first = json.loads(process.stdout.readline())
        assert first["code"] in ("403", "429"), first
        search.call("PUT", "/flood/_settings", {"index.blocks.read_only_allow_delete": None})
        outcome = end_drive(process)
    assert outcome.result == DELIVERED, outcome
    assert search.count("flood") == 300


# ---- Every destination answers with garbage


class Babbler(socketserver.ThreadingTCPServer):
    """Says its words to whoever says something, and leaves."""
    allow_reuse_address = daemon_threads = True

    def __init__(self, words):
        self.words = words
        super().__init__(("127.0.0.1", 0), Babble)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # who is told such things leaves


class Babble(socketserver.BaseRequestHandler):
    def handle(self):
        if self.request.recv(65536):
            self.request.sendall(self.server.words)


def babble(rng):
    """Words of HTTP and of PostgreSQL that mean nothing."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    noise = rng.randbytes(3000)
    yield from (b"", noise, b"\0" * 5000, b"HTTP/1.1 200", b"HTTP/1.1 99999999999 X\r\n\r\n", head + noise)
    yield from (head + b"Content-Length: %s\r\n\r\n{}" % n for n in (b"-1", b"99999999999999999999", b"1", b"4294967298"))
    yield from (head + b"Transfer-Encoding: chunked\r\n\r\n%s\r\n{}" % n for n in (b"ffffffffffffffff", b"-2", b"zz"))
    for body in (noise, b"[" * 100000, b'{"requestId":' * 9000, b'{"items":[{"index":5}],"errors":true}', b'{"ackId":1e99}',
                 b'{"ackId":-9223372036854775809}', b'{"items":{}}', b'{"requestId":"\xff","timestamp":"x"}', b"null",
                 b'{"items":[' + b'{"index":{"status":200}},' * 999 + b"0]}", b'{"text":"\\ud800","code":18446744073709551616}'):
        yield head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    yield from (b"N" + noise, b"NR\xff\xff\xff\xff", b"NR\0\0\0\x04", b"NE\0\0\0\x05X", b"NR\0\0\0\x08\0\0\0\0Z\0\0\0\5I" + noise,
                b"NR\0\0\0\x08\0\0\0\0Z\0\0\0\5IT\0\0\0\x07\xff\xff\0D\0\0\0\6\xff\xff")


@test
def no_destination_that_answers_with_garbage_is_believed():
    rng, kinds = random.Random(5), {"http": {}, "splunk": {"token": TOKEN, "ack_s": 1}, "search": {"index": "i"}}
    for words in babble(rng):
        with Babbler(words) as server:
            port = server.server_address[1]
            for sink, more in kinds.items():
                outcome = drive({"sink": sink, "url": f"http://127.0.0.1:{port}", "attempts": 1, **more}, documents(3))
                assert outcome.result == RETRY and outcome.attempts[0]["code"], (sink, words[:80], outcome)
            outcome = drive(redshift(port, objects=["k"]), [], {"k": b""})
            assert outcome.result == RETRY and outcome.codes == ["Redshift.ConnectionFailed"], (words[:80], outcome)
            server.shutdown()


# ---- Through the server: delivery streams, with everything killed meanwhile

SILENT_SECONDS = 180  # that an endpoint has for its answer


@test
def what_is_put_reaches_an_http_endpoint_though_server_and_network_are_killed():
    h = hoses()
    with Endpoint() as endpoint:
        cuts = [0]

        def decide(_connection, to_server, _data):
            cuts[0] += 1
            return "cut" if not to_server and cuts[0] % 5 == 0 else "pass"

        with Proxy(endpoint.port, decide) as proxy:
            h.create("http", "HttpEndpoint", RoleARN=ROLE, BufferingHints=HINTS, **retry(7200), EndpointConfiguration={
                "Url": f"http://127.0.0.1:{proxy.port}/in", "AccessKey": "k"}, RequestConfiguration={
                    "ContentEncoding": "GZIP"})
            acknowledged = h.put_and_kill("http", 4)
            wait(lambda: {r for records in list(endpoint.got.values()) for r in records} >= set(acknowledged))
        assert not endpoint.wrong
    assert h.objects("http/") == {}
    h.firehose.delete_delivery_stream(DeliveryStreamName="http")


@test
def what_an_http_endpoint_refuses_is_in_the_bucket():
    h = hoses()
    status = [500]

    class Refusing(Handler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as endpoint:
        threading.Thread(target=endpoint.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{endpoint.server_address[1]}/"
        h.create("refused", "HttpEndpoint", BufferingHints=HINTS, **retry(0), RoleARN=ROLE,
                 EndpointConfiguration={"Url": url})
        h.put("refused", [b"one", b"two"])
        lines = h.failed("refused/http-endpoint-failed/", 2)
        assert sorted(base64.b64decode(line["rawData"]) for line in lines) == [b"one", b"two"]
        assert {(line["attemptsMade"], line["errorCode"]) for line in lines} == {(1, "HttpEndpoint.DestinationException")}
        status[0] = 413
        h.create("large", "HttpEndpoint", BufferingHints=HINTS, **retry(7200), RoleARN=ROLE,
                 EndpointConfiguration={"Url": url})
        h.put("large", [b"three"])
        assert [line["errorCode"] for line in h.failed("large/http-endpoint-failed/", 1)] == \
            ["HttpEndpoint.DestinationException"]
        endpoint.shutdown()


@test
def a_stream_whose_endpoint_keeps_silent_is_changed_and_deleted_at_once():
    h = hoses()
    with socket.create_server(("127.0.0.1", 0)) as silent, Endpoint() as endpoint:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        h.create("silent", "HttpEndpoint", RoleARN=ROLE, BufferingHints=HINTS, **retry(7200),
                 EndpointConfiguration={"Url": url})
        h.put("silent", [b"one"])
        silent.accept()  # it is being tried
        h.firehose.delete_delivery_stream(DeliveryStreamName="silent")
        wait(lambda: "silent" not in h.firehose.list_delivery_streams()["DeliveryStreamNames"], SILENT_SECONDS - 30)
        closed = f"http://127.0.0.1:{headrace.free_port()}/"
        h.create("mended", "HttpEndpoint", RoleARN=ROLE, BufferingHints=HINTS, **retry(7200),
                 EndpointConfiguration={"Url": closed})
        h.put("mended", [b"two"])
        time.sleep(8)  # the pauses have grown
        h.firehose.update_destination(DeliveryStreamName="mended", CurrentDeliveryStreamVersionId="1",
                                      DestinationId="destinationId-000000000001", HttpEndpointDestinationUpdate={
                                          "EndpointConfiguration": {"Url": f"http://127.0.0.1:{endpoint.port}/"}})
        wait(lambda: list(endpoint.got.values()) == [[b"two"]])
        h.firehose.delete_delivery_stream(DeliveryStreamName="mended")


class Drip(Endpoint):
    """Answers with a byte now and then."""

    def __init__(self):
        super().__init__()
        self.asked, self.over = threading.Event(), threading.Event()
        self.RequestHandlerClass = Dripper


class Dripper(Handler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Y: z")
        while not self.server.over.is_set():
            self.wfile.write(b"z")
            time.sleep(0.05)


@test
def a_stream_whose_destination_hangs_or_drips_is_deleted_at_once_and_does_not_keep_the_server():
    h = Hoses()
    with Hung() as database, Drip() as endpoint:
        def begin(name):
            h.create(f"hung{name}", "Redshift", RoleARN=ROLE, Username="u", Password="secret", **retry(7200),
                     ClusterJDBCURL=f"jdbc:redshift://127.0.0.1:{database.port}/d", CopyCommand={"DataTableName": "t"})
            h.create(f"drip{name}", "HttpEndpoint", RoleARN=ROLE, BufferingHints=HINTS, **retry(7200),
                     EndpointConfiguration={"Url": f"http://127.0.0.1:{endpoint.port}/"})
            for server, stream in ((database, f"hung{name}"), (endpoint, f"drip{name}")):
                server.asked.clear()
                h.put(stream, [b"one"])
                assert server.asked.wait(DELIVER_SECONDS_MAX), f"{stream} asks nobody"

        begin(1)
        for name in ("hung1", "drip1"):
            h.firehose.delete_delivery_stream(DeliveryStreamName=name)
        wait(lambda: not h.firehose.list_delivery_streams()["DeliveryStreamNames"], SILENT_SECONDS - 130)
        begin(2)
        h.close()  # in the middle of both
        endpoint.over.set()


def is_removed(s3, bucket):
    """Empties and removes a bucket, unless one more object came meanwhile: what a kill interrupted comes twice."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for o in page.get("Contents", ()):
            s3.delete_object(Bucket=bucket, Key=o["Key"])
    try:
        s3.delete_bucket(Bucket=bucket)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "BucketNotEmpty", error
        return False
    return True


@test
def what_is_put_is_in_objects_though_the_server_is_killed_and_the_bucket_goes():
    h = hoses()
    h.s3.create_bucket(Bucket="pond")
    place = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::pond", "BufferingHints": HINTS}
    h.firehose.create_delivery_stream(DeliveryStreamName="objects", ExtendedS3DestinationConfiguration={
        **place, "CompressionFormat": "GZIP"})

    def lines():
        pages = h.s3.get_paginator("list_objects_v2").paginate(Bucket="pond")
        keys = [o["Key"] for page in pages for o in page.get("Contents", ())]
        return [line for key in keys for line in gzip.decompress(
            h.s3.get_object(Bucket="pond", Key=key)["Body"].read()).splitlines(True)]

    acknowledged = h.put_and_kill("objects", 4)
    wait(lambda: set(lines()) >= set(acknowledged))
    found = lines()
    assert set(found) == set(acknowledged)
    print(f"# {len(acknowledged)} records, {len(found) - len(set(found))} of them twice after 4 kills")
    wait(lambda: is_removed(h.s3, "pond"))
    late = h.put("objects", [b"nowhere to go\n"])
    time.sleep(3)
    h.restart()
    h.s3.create_bucket(Bucket="pond")
    wait(lambda: set(lines()) >= set(late))
    assert set(lines()) <= set(late) | set(acknowledged)  # what comes twice may come late


@test
def what_is_put_before_the_disk_is_full_is_delivered_when_there_is_room_again():
    if headrace.small_disk_command(tempfile.gettempdir(), 1) is None:
        skip("nobody may mount here")
    h = Hoses(small_disk_mib=SMALL_DISK_MIB)
    try:
        place = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::lake", "BufferingHints": {
            "SizeInMBs": 128, "IntervalInSeconds": 900}}
        for name, more in (("plain", {}), ("zipped", {"CompressionFormat": "GZIP"})):
            h.firehose.create_delivery_stream(DeliveryStreamName=name, ExtendedS3DestinationConfiguration={
                **place, "Prefix": f"{name}/", **more})
        records = [b"%08d" % n + os.urandom(50000).hex().encode() + b"\n" for n in range(30)]
        for name in ("plain", "zipped"):
            assert h.put(name, records) == records
        h.server.fill_disk()
        h.operate("firehose/flush", streams=["plain", "zipped"])
        for name in ("plain", "zipped"):
            wait(lambda name=name: h.operate("firehose/state", stream=name)["attempts"] > 0)
        for _ in range(3):
            answer = h.firehose.put_record_batch(DeliveryStreamName="plain", Records=[{"Data": records[0]}] * 10)
            assert {r.get("ErrorMessage", "Slow down.") for r in answer["RequestResponses"]} == {"Slow down."}, answer
        assert not h.objects("plain/") and not h.objects("zipped/"), "half an object is there"
        h.server.free_disk()
        wait(lambda: set(records) <= {line for body in h.objects("plain/").values() for line in body.splitlines(True)})
        wait(lambda: sorted(line for body in h.objects("zipped/").values()
                            for line in gzip.decompress(body).splitlines(True)) == records)
    finally:
        h.close()


def certificate(folder):
    """A key and a certificate for 127.0.0.1, in one file."""
    path = os.path.join(folder, "endpoint.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", path + ".key", "-out", path, "-days", "2", "-subj", "/CN=endpoint", "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return path


@test
def an_https_endpoint_must_be_vouched_for_and_may_have_to_be_public():
    with tempfile.TemporaryDirectory() as folder, Endpoint() as endpoint:
        path = certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, path + ".key")
        endpoint.socket = context.wrap_socket(endpoint.socket, server_side=True)
        cases = [({}, "HttpEndpoint.SSLHandshakeFailure"),
                 ({"verify": "false"}, None),
                 ({"ca": path}, None),
                 ({"ca": path, "private": "false"}, "HttpEndpoint.ConnectionFailed")]
        for settings, code in cases:
            h = Hoses(**settings)
            try:
                endpoint.got.clear()
                h.create("s", "HttpEndpoint", RoleARN=ROLE, BufferingHints=HINTS, **retry(0), EndpointConfiguration={
                    "Url": f"https://127.0.0.1:{endpoint.port}/"})
                h.put("s", [b"one"])
                if code:
                    assert h.failed("s/http-endpoint-failed/", 1)[0]["errorCode"] == code, settings
                    assert not endpoint.got
                else:
                    wait(lambda: list(endpoint.got.values()) == [[b"one"]])
            finally:
                h.close()


@test
def what_is_put_is_acknowledged_by_splunk_though_the_server_is_killed():
    h = hoses()
    with Collector(lose=1) as collector:
        h.create("splunk", "Splunk", HECEndpoint=f"http://127.0.0.1:{collector.port}", HECEndpointType="Raw",
                 HECToken=TOKEN, HECAcknowledgmentTimeoutInSeconds=180, BufferingHints=HINTS, **retry(7200))
        acknowledged = h.put_and_kill("splunk", 3)

        def all_are_indexed():
            with collector.lock:
                return set(b"".join(collector.indexed).splitlines(True)) >= set(acknowledged)

        wait(all_are_indexed)
    h.firehose.delete_delivery_stream(DeliveryStreamName="splunk")
    with Collector() as collector:
        h.create("token", "Splunk", HECEndpoint=f"http://127.0.0.1:{collector.port}", HECEndpointType="Event",
                 HECToken="00000000-0000-0000-0000-000000000000", BufferingHints=HINTS, **retry(0))
        h.put("token", [b'{"event":1}'])
        line = h.failed("token/splunk-failed/", 1)[0]
        assert line["errorCode"] == "Splunk.InvalidToken" and line["EventId"].endswith(".0"), line


@test
def credentials_of_destinations_are_those_that_their_secrets_have_now():
    h = hoses()
    secrets, iam = h.client("secretsmanager"), h.client("iam")
    iam.put_role_policy(RoleName="delivery", PolicyName="secrets", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*"}]}))
    arn = secrets.create_secret(Name="endpoint", SecretString='{"api_key":"first"}')["ARN"]
    keys = []

    class Asking(Handler):
        def do_POST(self):
            keys.append(self.headers["X-Amz-Firehose-Access-Key"])
            if keys[-1] == "second":
                return super().do_POST()
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            return self.end_headers()

    with Endpoint() as endpoint:
        endpoint.RequestHandlerClass = Asking
        h.create("secret", "HttpEndpoint", RoleARN=ROLE, BufferingHints=HINTS, **retry(7200), EndpointConfiguration={
            "Url": f"http://127.0.0.1:{endpoint.port}/"}, SecretsManagerConfiguration={
                "Enabled": True, "SecretARN": arn, "RoleARN": ROLE})
        h.put("secret", [b"one"])
        wait(lambda: keys)
        secrets.put_secret_value(SecretId=arn, SecretString='{"api_key":"second"}')
        wait(lambda: list(endpoint.got.values()) == [[b"one"]])
        assert keys[0] == "first" and keys[-1] == "second", keys
        h.firehose.delete_delivery_stream(DeliveryStreamName="secret")


@test
def what_is_put_is_in_opensearch_once_though_the_server_is_killed():
    search, h = opensearch(), hoses()
    h.create("search", "Amazonopensearchservice", RoleARN=ROLE, ClusterEndpoint=search.url, IndexName="hose",
             IndexRotationPeriod="NoRotation", BufferingHints=HINTS, S3BackupMode="FailedDocumentsOnly", **retry(7200))
    acknowledged = h.put_and_kill("search", 4)
    wait(lambda: search.count("hose") >= len(acknowledged))
    found = search.call("GET", "/hose/_search?size=10000")["hits"]["hits"]
    assert sorted(d["_source"]["id"] for d in found) == sorted(json.loads(r)["id"] for r in acknowledged)
    h.put("search", [b"no JSON"])
    line = h.failed("search/AmazonOpenSearchService-failed/", 1)[0]
    assert line["errorCode"] == "400" and line["esIndexName"] == "hose" and line["esDocumentId"], line
    assert base64.b64decode(line["rawData"]) == b"no JSON"


@test
def what_is_put_is_in_postgresql_though_the_server_is_killed():
    p, h = postgres(), hoses()
    p.sql("DROP TABLE IF EXISTS hose; CREATE TABLE hose (id int, name text)")
    h.create("red", "Redshift", RoleARN=ROLE, ClusterJDBCURL=f"jdbc:redshift://127.0.0.1:{p.port}/postgres", Username="u",
             Password="secret", CopyCommand={"DataTableName": "hose", "CopyOptions": "JSON 'auto'"}, **retry(7200))
    acknowledged = h.put_and_kill("red", 4)
    wait(lambda: int(p.sql("SELECT count(distinct id) FROM hose")) >= len(acknowledged))
    assert any(json.loads(body)["entries"][0]["url"].startswith("s3://lake/red/")
               for body in h.objects("red/manifests/").values())
    time.sleep(2)
    doubled = int(p.sql("SELECT count(*) - count(distinct id) FROM hose"))
    print(f"# {len(acknowledged)} rows, {doubled} of them twice after 4 kills")
    p.sql("DROP TABLE hose")
    h.firehose.update_destination(DeliveryStreamName="red", CurrentDeliveryStreamVersionId="1",
                                  DestinationId="destinationId-000000000001", RedshiftDestinationUpdate=retry(0))
    h.put("red", [b'{"id":-1}'])
    wait(lambda: h.objects("red/errors/manifests/"))


def main():
    global DRIVE
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build-asan/headrace")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    build = os.path.dirname(os.path.abspath(options.program))
    done = subprocess.run(["ninja", "-C", build, "tests/sinks/headrace-drive"], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"Bail out! {done.stdout[-1000:]}")
        return 1
    streams.PROGRAM = options.program
    DRIVE = os.path.join(build, "tests", "sinks", "headrace-drive")
    import kills  # noqa: F401, behind the tests above
    try:
        return tap.main(options.tests)
    finally:
        for server in HOSES + POSTGRES + SEARCHES:
            server.close()


if __name__ == "__main__":
    sys.exit(main())
