#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input of every kind: the answer is AWS's error or a closed connection, and nobody else notices.

A neighbour puts and gets on the same server all the while; all its calls must succeed, and at the end
everything it put is there. Clients that dawdle are started first and looked at last, so that their
timeouts pass while the other tests run.

    tests/bad_input.py --program build/headrace [WORDS ...]     only the tests whose names contain WORDS
"""
import argparse
import base64
import json
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time

import bad_firehose
import bad_objects
import cbor
import headrace
import sigv4
import tap

READ_SECONDS_MAX = 180
DAWDLE_SECONDS_MAX = 300   # until a slow client must have been cut off
IDLE_TIMEOUT = "40s"       # of the server, instead of its two minutes: a silent client is cut off in time
NEIGHBOUR_SECONDS_MAX = 120  # for one call of the neighbour; the slowest one is told
SHARD_LIMIT_BYTES = 1 << 20
REFUSALS = {400, 403, 404, 405, 408, 411, 413, 414, 417, 431, 501, 503, 505}
STREAM = "busy"
SIGNATURE_TEXT = ("The request signature we calculated does not match the signature you provided. Check "
                  "your AWS Secret Access Key and signing method. Consult the service documentation for "
                  "details.")

SERVER = None  # set by main


# ---- Small helpers.


def connect():
    return socket.create_connection(("127.0.0.1", SERVER.port), timeout=READ_SECONDS_MAX)


def read_to_end(s):
    """Everything until the other side closes; fails if it stays open and silent."""
    pieces = []
    try:
        while piece := s.recv(65536):
            pieces.append(piece)
    except ConnectionError:
        pass
    except TimeoutError:
        raise AssertionError(f"still open after {READ_SECONDS_MAX} s; got {b''.join(pieces)[:200]}") from None
    return b"".join(pieces)


def statuses(raw):
    return [int(s) for s in re.findall(rb"HTTP/1\.[01] (\d{3})", raw)]


def send_all(s, data):
    try:
        s.sendall(data)
    except OSError:
        pass  # the server may have closed already, which is one way to refuse


def end_sending(s):
    try:
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # as above


def refused(data, allow_open=False):
    """Sends bytes on a fresh connection: no reply but a refusal, and then the end of the connection."""
    with connect() as s:
        send_all(s, data)
        if not allow_open:
            end_sending(s)
        got = statuses(read_to_end(s))
    assert len([g for g in got if g != 100]) <= 1 and set(got) <= REFUSALS | {100}, f"answered {got}"
    return got


def signed_head(body, operation="ListStreams", extra=(), framing=None, headers=None):
    """A whole correct HTTP/1.1 request as bytes, but for what is varied."""
    fields = {"Host": f"127.0.0.1:{SERVER.port}", "Content-Type": headrace.JSON_TYPE,
              "X-Amz-Target": f"Kinesis_20131202.{operation}", **(headers or {})}
    fields = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "kinesis", "POST", "/", fields, body)
    lines = ["POST / HTTP/1.1"] + [f"{n}: {v}" for n, v in fields.items()]
    lines += [f"Content-Length: {len(body)}"] if framing is None else list(framing)
    lines += list(extra)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(method="POST", path="/", headers=None, body=b"", sign=True, **signing):
    """(status, headers, body) of one request with the default headers, changed by `headers`."""
    fields = {"Host": f"127.0.0.1:{SERVER.port}", "Content-Type": headrace.JSON_TYPE,
              "X-Amz-Target": "Kinesis_20131202.ListStreams"}
    for name, value in (headers or {}).items():
        fields.pop(name, None)
        if value is not None:
            fields[name] = value
    if sign:
        place, _, query = path.partition("?")
        fields = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "kinesis", method, place, fields,
                            body, query=query, **signing)
    client = SERVER.client()
    try:
        return client.send(method, path, fields, body)
    finally:
        client.close()


def expect(got, status, content):
    """content: bytes exactly, or a dict that the JSON reply must equal."""
    if isinstance(content, dict):
        content = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    assert (got[0], got[2]) == (status, content), f"expected {status} {content}\ngot {got[0]} {got[2][:600]}"


def expect_error(got, kind, message=None, status=400):
    reply = json.loads(got[2])
    wanted = {"__type": kind} if message is None else {"__type": kind, "message": message}
    assert got[0] == status and reply == wanted, f"expected {status} {wanted}\ngot {got[0]} {got[2][:600]}"


def put_body(**changes):
    members = {"StreamName": STREAM, "Data": "aGVsbG8=", "PartitionKey": "k", **changes}
    return json.dumps({n: v for n, v in members.items() if v is not None}).encode()


def put(body):
    return answer(headers={"X-Amz-Target": "Kinesis_20131202.PutRecord"}, body=body)


def call(operation, body):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer(headers={"X-Amz-Target": f"Kinesis_20131202.{operation}"}, body=raw)


class Neighbour(threading.Thread):
    """A well-behaved client; its troubles are the suite's failure."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stopping, self.trouble, self.puts, self.slowest = False, None, [], 0.0

    def run(self):
        client = SERVER.client(timeout=NEIGHBOUR_SECONDS_MAX)
        try:
            while not self.stopping:
                start = time.monotonic()
                data = f"neighbour-{len(self.puts)}".encode()
                self.puts.append((client.put(STREAM, data, "k")["SequenceNumber"], data, "k"))
                if len(self.puts) % 20 == 0:
                    client.call("DescribeStreamSummary", StreamName=STREAM)
                self.slowest = max(self.slowest, time.monotonic() - start)
                time.sleep(0.02)
        except Exception as error:
            self.trouble = f"call {len(self.puts)}: {type(error).__name__}: {error}"
        client.close()


# ---- What is not a request for us: reference texts of the AWS front end.

NO_OPERATION = (b"<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be "
                b"authorized</Message>\n</AccessDeniedException>\n")


@tap.test
def another_method_than_post_is_answered_with_403():
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        expect(answer(method, headers={"X-Amz-Target": None}, sign=False), 403, NO_OPERATION)


@tap.test
def a_request_without_a_body_is_a_serialization_error_or_an_unknown_operation():
    expect(answer(), 400, {"__type": "SerializationException"})
    expect(answer(headers={"X-Amz-Target": "Kinesis_20131202.Nothing"}), 400,
           {"__type": "UnknownOperationException"})
    got = answer(headers={"Content-Type": headrace.CBOR_TYPE})
    assert got[0] == 400 and cbor.decode(got[2]) == {"__type": "SerializationException"}, got


@tap.test
def an_unknown_content_type_is_answered_in_xml():
    expect(answer(headers={"Content-Type": "text/plain", "X-Amz-Target": None}, body=b"{}"), 403, NO_OPERATION)
    expect(answer(headers={"Content-Type": "text/plain"}, body=b"{}"), 404, b"<UnknownOperationException/>\n")


@tap.test
def a_body_that_is_no_json_is_a_serialization_error():
    for body in (b"{", b"}", b"[", b"{'a':1}", b"nul", b"\x00", b'{"a":1,}', b'{"a":1}x', b"\xff\xfe", b'"',
                 b'{"StreamName":"\\ud8', b"{\"a\":01}", b'{"a":"\x01"}'):
        expect(answer(body=body), 400, {"__type": "SerializationException"})


@tap.test
def plain_application_json_gets_the_envelope():
    coral = "com.amazon.coral.service#"
    expect(answer(headers={"Content-Type": "application/json"}, body=b"{"), 400,
           {"Output": {"__type": coral + "SerializationException"}, "Version": "1.0"})
    expect(answer(headers={"Content-Type": "application/json"}, body=b"{}"), 404,
           {"Output": {"__type": coral + "UnknownOperationException"}, "Version": "1.0"})


@tap.test
def an_unknown_target_is_an_unknown_operation():
    for target in ("Kinesis_20131202.Nothing", "Kinesis_20131202", "Nothing.ListStreams", ".", "x" * 300):
        expect(answer(headers={"X-Amz-Target": target}, body=b"{}"), 400,
               {"__type": "UnknownOperationException"})


# ---- Who asks: reference texts of SigV4.


@tap.test
def a_request_without_a_signature_is_refused():
    expect_error(answer(body=b"{}", sign=False), "MissingAuthenticationTokenException",
                 "Missing Authentication Token")


@tap.test
def a_signature_in_header_and_query_is_refused():
    expect_error(answer(path="/?X-Amz-Algorithm=AWS4-HMAC-SHA256", body=b"{}"), "InvalidSignatureException",
                 "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")


@tap.test
def an_authorization_header_lists_what_it_lacks():
    lacks = {p: f"Authorization header requires '{p}' parameter. "
             for p in ("Credential", "Signature", "SignedHeaders")}
    date = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
    cases = [
        ("AWS4-HMAC-SHA256 Signature=b, Credential=a", {"X-Amz-Date": "a"}, lacks["SignedHeaders"]),
        ("AWS4-HMAC-SHA256 Credential=a", {"X-Amz-Date": "a"}, lacks["Signature"] + lacks["SignedHeaders"]),
        ("AWS4-HMAC-SHA256 Signature=b", {}, lacks["Credential"] + lacks["SignedHeaders"] + date),
        ("X", {}, "".join(lacks.values()) + date),
    ]
    for header, more, text in cases:
        got = answer(headers={"Authorization": header, **more}, body=b"{}", sign=False)
        expect_error(got, "IncompleteSignatureException", f"{text}Authorization={header}")


@tap.test
def a_query_signature_lists_what_it_lacks():
    names = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"]
    text = "".join(f"AWS query-string parameters must include '{n}'. " for n in names[1:])
    got = answer(path="/?X-Amz-Algorithm=AWS4-HMAC-SHA256", body=b"{}", sign=False)
    expect_error(got, "IncompleteSignatureException", text + "Re-examine the query-string parameters.")


@tap.test
def a_wrong_secret_a_changed_body_and_a_changed_header_are_refused():
    fields = SERVER.client(secret="x" * 40).headers("ListStreams", b"{}")
    expect_error(SERVER.client().send("POST", "/", fields, b"{}"), "InvalidSignatureException",
                 SIGNATURE_TEXT)
    fields = SERVER.client().headers("ListStreams", b'{"Limit":1}')
    expect_error(SERVER.client().send("POST", "/", fields, b'{"Limit":2}'), "InvalidSignatureException",
                 SIGNATURE_TEXT)
    fields = SERVER.client().headers("ListStreams", b"{}")
    fields["X-Amz-Target"] = "Kinesis_20131202.DescribeLimits"
    expect_error(SERVER.client().send("POST", "/", fields, b"{}"), "InvalidSignatureException",
                 SIGNATURE_TEXT)


@tap.test
def an_unknown_key_is_refused():
    fields = SERVER.client(key_id="AKIANOBODYKNOWSTHIS0").headers("ListStreams", b"{}")
    expect_error(SERVER.client().send("POST", "/", fields, b"{}"), "UnrecognizedClientException",
                 "The security token included in the request is invalid.")


@tap.test
def a_clock_that_is_six_minutes_off_is_refused():
    for seconds, text in ((-360, r"Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z "
                                 r"\(\d{8}T\d{6}Z - 5 min\.\)"),
                          (360, r"Signature not yet current: \d{8}T\d{6}Z is still later than "
                                r"\d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 5 min\.\)")):
        got = answer(body=b"{}", now=time.time() + seconds)
        reply = json.loads(got[2])
        assert got[0] == 400 and reply["__type"] == "InvalidSignatureException", got
        assert re.fullmatch(text, reply["message"]), reply
    for seconds in (-240, 240):
        assert answer(body=b"{}", now=time.time() + seconds)[0] == 200


@tap.test
def nonsense_in_the_signature_is_refused():
    good = SERVER.client().headers("ListStreams", b"{}")
    signature = good["Authorization"].rsplit("=", 1)[1]
    scope = "/".join(good["Authorization"].split("Credential=")[1].split(",")[0].split("/")[1:])
    changes = [(signature, signature[:-1]), (signature, ""), (signature, "0" * 64), (signature, "g" * 64),
               (scope, "x"), (scope, "////"), (scope, scope.replace("aws4_request", "aws5_request")),
               (scope, scope.replace("kinesis", "s3")), ("SignedHeaders=", "SignedHeaders=no-such-header;"),
               ("SignedHeaders=", "SignedHeaders=;;;"), ("host;", ""), ("Credential=", "Credential=/"),
               ("Credential=", "Credential=" + "A" * 2000)]
    for old, new in changes:
        fields = {**good, "Authorization": good["Authorization"].replace(old, new)}
        got = SERVER.client().send("POST", "/", fields, b"{}")
        assert got[0] in (400, 403) and b"xception" in got[2], f"{old} -> {new}: {got[0]} {got[2]}"
    for date in ("", "x", "20260101", "20261301T000000Z", "99999999T999999Z", "2026-01-01T00:00:00Z"):
        fields = {**good, "X-Amz-Date": date}
        got = SERVER.client().send("POST", "/", fields, b"{}")
        assert got[0] in (400, 403) and b"xception" in got[2], f"date {date}: {got[0]} {got[2]}"


# ---- What is asked: types and constraints.


@tap.test
def wrong_types_are_told_in_the_words_of_aws():
    boolean = "class java.lang.Boolean can not be converted to an "
    number = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to "
    cases = [
        ({"StreamName": True}, boolean + "String"),
        ({"StreamName": 5}, number + "an String"),
        ({"StreamName": []}, "Start of list found where not expected"),
        ({"StreamName": {}}, "Start of structure or map found where not expected."),
        ({"Data": 5}, number + "a Blob"),
        ({"Data": "A"}, "'A' can not be converted to a Blob: Base64 encoded length is expected a multiple "
                        "of 4 bytes but found: 1"),
        ({"Data": "====" }, None),
        ({"Data": "A!==" }, "'A!==' can not be converted to a Blob: Invalid Base64 character: '!'"),
    ]
    for change, text in cases:
        got = put(put_body(**change))
        reply = json.loads(got[2])
        assert got[0] == 400 and reply["__type"] == "SerializationException", (change, got)
        assert text is None or reply == {"__type": "SerializationException", "Message": text}, (change, got)
    for body, text in (({"ShardCount": "1", "StreamName": "x"},
                        "class java.lang.String can not be converted to an Integer"),
                       ({"ShardCount": True, "StreamName": "x"}, boolean + "Integer")):
        expect(call("CreateStream", body), 400, {"__type": "SerializationException", "Message": text})
    expect(call("PutRecords", {"StreamName": STREAM, "Records": "x"}), 400,
           {"__type": "SerializationException", "Message": "Expected list or null"})
    expect(call("AddTagsToStream", {"StreamName": STREAM, "Tags": "x"}), 400,
           {"__type": "SerializationException", "Message": "Expected map or null"})
    expect(call("PutRecords", {"StreamName": STREAM, "Records": ["x"]}), 400,
           {"__type": "SerializationException", "Message": "Expected null"})


@tap.test
def constraints_are_told_in_the_words_of_aws():
    got = put(put_body(PartitionKey="k" * 257))
    expect_error(got, "ValidationException",
                 f"1 validation error detected: Value '{'k' * 257}' at 'partitionKey' failed to satisfy "
                 "constraint: Member must have length less than or equal to 256")
    got = put(put_body(PartitionKey=None))
    expect_error(got, "ValidationException", "1 validation error detected: Value null at 'partitionKey' "
                 "failed to satisfy constraint: Member must not be null")
    reply = json.loads(put(b"{}")[2])
    assert reply["__type"] == "ValidationException", reply
    assert reply["message"].startswith("1 validation error detected: Value null at 'data' "), reply


@tap.test
def a_record_over_a_mebibyte_is_refused_and_one_of_a_mebibyte_is_stored():
    body = put_body(Data=base64.b64encode(bytes(SHARD_LIMIT_BYTES + 1)).decode())
    reply = json.loads(put(body)[2])
    assert reply["__type"] == "ValidationException" and "1048576" in reply["message"], reply
    assert put(put_body(Data=base64.b64encode(bytes(SHARD_LIMIT_BYTES)).decode()))[0] == 200


@tap.test
def more_than_500_records_are_refused_whole():
    entry = {"Data": "eA==", "PartitionKey": "k"}
    got = call("PutRecords", {"StreamName": STREAM, "Records": [entry] * 501})
    reply = json.loads(got[2])
    assert got[0] == 400 and reply["__type"] == "ValidationException", reply
    assert reply["message"].endswith("Member must have length less than or equal to 500"), reply["message"][-200:]
    assert call("PutRecords", {"StreamName": STREAM, "Records": [entry] * 500})[0] == 200


@tap.test
def a_body_over_the_limit_gets_413():
    with connect() as s:
        send_all(s, signed_head(b"", framing=["Content-Length: 1073741824"]) + b"x" * 100000)
        raw = s.recv(65536)
    assert statuses(raw) == [413], raw[:200]


@tap.test
def odd_but_valid_json_is_understood():
    name = "".join(f"\\u{ord(c):04x}" for c in STREAM)
    for body in (f'{{"StreamName":"{name}"}}', f' \t\r\n{{ "StreamName" : "{STREAM}" }} ',
                 f'{{"StreamName":"{STREAM}","Unknown":[{{"a":[1e5,null,"\\ud83d\\ude00"]}}]}}',
                 f'{{"StreamARN":null,"StreamName":"{STREAM}"}}'):
        got = call("DescribeStreamSummary", body.encode())
        assert got[0] == 200, (body, got)


@tap.test
def deep_nesting_and_huge_numbers_break_nothing():
    for body in (b"[" * 200000, b'{"a":' * 200000, b'{"Limit":' + b"9" * 100000 + b"}",
                 b'{"Limit":1e999}', b'{"Limit":-1}', b'{"Limit":9223372036854775808}',
                 b'{"x":' + b"[" * 100000 + b"]" * 100000 + b"}", b'{"ExclusiveStartStreamName":"' + b"\\u0000" * 20000 + b'"}'):
        got = answer(body=body)
        assert got[0] == 400 and b"xception" in got[2], (body[:20], got[0], got[2][:200])


@tap.test
def bad_cbor_is_a_serialization_error():
    cases = [b"\xff", b"\xa1", b"\xbf", b"\x5b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8, b"\x9f" * 100000,
             b"\xa1\x61", b"\xa1\x01\x02", b"\x1c", b"\xa0\xa0", b"\xa1\x62\xff\xff\x01", b"\xd8", b"\x80"]
    for body in cases:
        got = answer(headers={"Content-Type": headrace.CBOR_TYPE}, body=body)
        assert got[0] == 400, (body[:12], got)
        assert cbor.decode(got[2])["__type"] in ("SerializationException", "ValidationException"), got


@tap.test
def random_changes_of_a_good_request_never_break_the_server():
    rng = random.Random(5)
    good = put_body(ExplicitHashKey="5", SequenceNumberForOrdering="7")
    for _ in range(300):
        body = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        got = put(bytes(body))
        assert got[0] in (200, 400), (bytes(body), got)


# ---- HTTP/1.1 that is none.


@tap.test
def garbage_bytes_end_the_connection():
    rng = random.Random(3)
    for size in (1, 3, 10, 100, 5000, 100000):
        refused(rng.randbytes(size))
    refused(b"\x00" * 1000)
    refused(b"\r\n" * 5000)
    refused(b"GET")
    refused(b"HELLO WORLD\r\n\r\n")


@tap.test
def malformed_request_lines_are_refused():
    for line in (b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1 x\r\n\r\n",
                 b" GET / HTTP/1.1\r\n\r\n", b"G\x00T / HTTP/1.1\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n",
                 b"POST  / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\rHost: x\r\n\r\n", b"\x80\x81 / HTTP/1.1\r\n\r\n",
                 b"POST / http/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost x\r\n\r\n"):
        refused(line)


@tap.test
def both_lengths_at_once_are_refused_and_nothing_behind_them_is_run():
    inner = signed_head(b"{}") + b"{}"
    body = b"0\r\n\r\n" + inner
    for framing in (["Content-Length: %d" % len(body), "Transfer-Encoding: chunked"],
                    ["Transfer-Encoding: chunked", "Content-Length: %d" % len(body)]):
        refused(signed_head(body, framing=framing) + body)


@tap.test
def ambiguous_lengths_are_refused():
    for framing in (["Content-Length: 2", "Content-Length: 3"], ["Content-Length: 2, 3"],
                    ["Content-Length: +2"], ["Content-Length: -2"], ["Content-Length: 0x2"],
                    ["Content-Length: 2 2"], ["Content-Length: "], ["Content-Length: 99999999999999999999"],
                    ["Content-Length : 2"], ["Transfer-Encoding: chunked, identity"],
                    ["Transfer-Encoding: xchunked"], ["Transfer-Encoding : chunked"],
                    ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
                    ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding:\x0bchunked"],
                    ["Transfer-Encoding: chunked\r\n chunked"]):
        refused(signed_head(b"{}", framing=framing) + b"{}" + signed_head(b"{}") + b"{}")


@tap.test
def malformed_chunks_are_refused():
    for chunks in (b"x\r\n", b"-1\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n", b"ffffffffffffffff\r\n{}",
                   b"fffffffffffffffff\r\n{}", b"0x2\r\n{}\r\n0\r\n\r\n", b"2 \n{}\r\n0\r\n\r\n",
                   b"2\r{}\r\n0\r\n\r\n", b"\r\n", b"2\r\n{}\r\n0\r\nbad trailer\r\n\r\n",
                   b"2;" + b"x" * 200000 + b"\r\n{}\r\n0\r\n\r\n"):
        refused(signed_head(b"{}", framing=["Transfer-Encoding: chunked"]) + chunks)


@tap.test
def malformed_headers_are_refused():
    for line in ("X y: z", ": z", "X\x00: z", "X: a\x00b", "X : z", " X: folded", "X: a\rb", "novalue",
                 "X\x7f: z"):
        refused(signed_head(b"{}", extra=[line]) + b"{}")
    refused(signed_head(b"{}", extra=["Host: other"]) + b"{}")


@tap.test
def floods_of_headers_are_refused():
    refused(signed_head(b"{}", extra=[f"X-{i}: y" for i in range(2000)]) + b"{}")
    refused(signed_head(b"{}", extra=["X: " + "y" * 200000]) + b"{}")
    refused(b"POST /" + b"x" * 200000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    refused(b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 50000)
    refused(b"POST " + b"/" * 1000000)


@tap.test
def a_truncated_request_changes_nothing():
    body = put_body(Data=base64.b64encode(b"truncated").decode())
    whole = signed_head(body, "PutRecord") + body
    for end in (20, len(whole) // 2, len(whole) - len(body), len(whole) - 1):
        with connect() as s:
            s.sendall(whole[:end])
            s.shutdown(socket.SHUT_WR)
            got = statuses(read_to_end(s))
            assert set(got) <= REFUSALS, got
    records = SERVER.client().read_shard(STREAM, "shardId-000000000000")
    assert b"truncated" not in [data for _, data, _ in records]


@tap.test
def pipelined_and_chunked_requests_are_all_answered_in_order():
    chunked = signed_head(b"{}", "DescribeLimits", framing=["Transfer-Encoding: chunked"])
    chunked += b"1;ext=1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    with connect() as s:
        s.sendall((signed_head(b"{}") + b"{}" + chunked) * 5)
        s.shutdown(socket.SHUT_WR)
        raw = read_to_end(s)
    assert statuses(raw) == [200] * 10, raw[:400]
    assert [b"StreamNames" in part for part in raw.split(b"HTTP/1.1 ")[1:]] == [True, False] * 5


@tap.test
def expect_100_continue_is_answered_before_the_body():
    with connect() as s:
        s.sendall(signed_head(b"{}", extra=["Expect: 100-continue"]))
        assert s.recv(65536).startswith(b"HTTP/1.1 100")
        s.sendall(b"{}")
        assert statuses(s.recv(65536)) == [200]


@tap.test
def reset_connections_are_forgotten():
    linger = struct.pack("ii", 1, 0)
    for number in range(200):
        s = connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        s.sendall((signed_head(b"{}") + b"{}")[:number * 3 + 1])
        s.close()


# ---- HTTP/2 and TLS that are none.

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def head_block():
    authority = f"127.0.0.1:{SERVER.port}".encode()
    return b"\x83\x86\x84\x41" + bytes([len(authority)]) + authority  # POST http / and :authority


def ends(data):
    """Sends HTTP/2 bytes: the server must close, with or without GOAWAY."""
    with connect() as s:
        send_all(s, data)
        return read_to_end(s)


@tap.test
def a_broken_http2_preface_ends_the_connection():
    for data in (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", PREFACE[:10] + b"\x00" * 50, PREFACE + b"\xff" * 200,
                 PREFACE + b"GET / HTTP/1.1\r\n\r\n" * 20):
        ends(data)


@tap.test
def http2_frames_that_break_the_protocol_end_the_connection():
    start = PREFACE + SETTINGS
    for data in (frame(1, 4, 1, b"\xff" * 50), frame(0, 0, 1, b"data on an idle stream"), frame(4, 0, 1, b"x" * 6),
                 frame(4, 0, 0, b"x" * 5), frame(1, 4, 2, head_block()), frame(9, 4, 1, head_block()),
                 frame(8, 0, 0, b"\x00\x00\x00\x00"), frame(6, 0, 0, b"short"), frame(3, 0, 1, b"\x00" * 4),
                 b"\xff\xff\xff" + b"\x00\x00\x00\x00\x00\x01" + b"x" * 100000, frame(5, 4, 1, b"\x00" * 20)):
        ends(start + data)


@tap.test
def an_http2_stream_that_is_opened_and_reset_over_and_over_is_bounded():
    block = head_block()
    flood = b"".join(frame(1, 4, i, block) + frame(3, 0, i, b"\x00\x00\x00\x08") for i in range(1, 20001, 2))
    with connect() as s:
        send_all(s, PREFACE + SETTINGS + flood)


@tap.test
def floods_of_http2_control_frames_are_survived():
    for flood in (frame(6, 0, 0, b"12345678") * 20000, SETTINGS * 20000, frame(2, 0, 1, b"\x00" * 5) * 20000,
                  frame(1, 0, 1, head_block()) + frame(9, 0, 1, b"") * 20000):
        with connect() as s:
            s.settimeout(2)
            send_all(s, PREFACE + SETTINGS + flood)


@tap.test
def tls_garbage_ends_the_connection():
    rng = random.Random(9)
    for data in (b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + rng.randbytes(70000),
                 b"\x16\x03\x01\x00\x00" * 50, b"\x16\x03\x03\x00\x01\x01", b"\x16" + rng.randbytes(300)):
        with connect() as s:
            send_all(s, data)
            end_sending(s)
            read_to_end(s)


@tap.test
def garbage_inside_tls_ends_the_connection():
    context = ssl.create_default_context(cafile=SERVER.certificate)
    rng = random.Random(11)
    for data in (rng.randbytes(500), b"GET\r\n\r\n", PREFACE + rng.randbytes(300)):
        with connect() as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
            s.sendall(data)
            try:
                while s.recv(65536):
                    pass
            except (ConnectionError, ssl.SSLError):
                pass


# ---- Clients that dawdle, and the neighbour.


class Dawdler:
    """A client that does too little; the server must end it by itself."""

    def __init__(self, name, start, step=None):
        self.name, self.step, self.started = name, step, time.monotonic()
        self.socket = connect()
        self.socket.sendall(start)
        self.socket.setblocking(False)
        self.ended = None

    def poll(self):
        if self.ended is not None:
            return
        try:
            if self.step:
                self.socket.send(self.step)
            while self.socket.recv(65536):
                pass
            self.ended = time.monotonic() - self.started
        except BlockingIOError:
            pass
        except OSError:
            self.ended = time.monotonic() - self.started


def start_dawdlers():
    return [
        Dawdler("a client that connects and says nothing", b""),
        Dawdler("a client that sends half a method", b"PO"),
        Dawdler("a client that begins a TLS handshake", b"\x16\x03\x01\x02\x00\x01"),
        Dawdler("a client that sends half its headers", b"POST / HTTP/1.1\r\nHost: x\r\n"),
        Dawdler("a client that sends a header byte a second", b"POST / HTTP/1.1\r\nX: ", b"y"),
        Dawdler("a client that sends half a body",
                signed_head(b"{}", framing=["Content-Length: 100"]) + b"{"),
        Dawdler("a client that sends a body byte a second",
                signed_head(b"{}", framing=["Content-Length: 100000"]), b" "),
        Dawdler("a client that sends a part of an object", bad_objects.half_a_put()),
        Dawdler("an HTTP/2 client that sends half a frame", PREFACE + SETTINGS + b"\x00\x00\x20\x01"),
    ]


def judge_dawdlers(report, dawdlers):
    end = dawdlers[0].started + DAWDLE_SECONDS_MAX
    while True:
        for dawdler in dawdlers:
            dawdler.poll()
        if time.monotonic() > end or all(d.ended is not None for d in dawdlers):
            break
        time.sleep(1)
    for dawdler in dawdlers:
        if dawdler.ended is None:
            report.not_ok(f"{dawdler.name} is cut off", f"still connected after {DAWDLE_SECONDS_MAX} s")
        else:
            report.ok(f"{dawdler.name} is cut off")
        dawdler.socket.close()


def judge_neighbour(report, neighbour):
    neighbour.stopping = True
    neighbour.join(NEIGHBOUR_SECONDS_MAX + 5)

    def all_calls_succeeded():
        assert neighbour.trouble is None, neighbour.trouble
        assert len(neighbour.puts) > 50, f"only {len(neighbour.puts)} calls: nothing was tested"

    def everything_is_there():
        records = [r for shard in SERVER.client().shards(STREAM)
                   for r in SERVER.client().read_shard(STREAM, shard)]
        lost = set(neighbour.puts) - set(records)
        assert not lost, f"{len(lost)} of {len(neighbour.puts)} records are lost"

    report.run("all calls of the neighbour succeeded", all_calls_succeeded)
    report.run("everything that the neighbour put is there", everything_is_there)
    print(f"# the neighbour's slowest call took {neighbour.slowest:.2f} s", flush=True)


def main():
    global SERVER
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--no-dawdlers", action="store_true", help="leaves out the minute of slow clients")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program, "--http-idle-timeout", IDLE_TIMEOUT) as SERVER:
        SERVER.client().create_stream(STREAM)
        bad_objects.SERVER = bad_firehose.SERVER = SERVER
        bad_objects.make_bucket()
        neighbour = Neighbour()
        neighbour.start()
        dawdlers = [] if options.no_dawdlers else start_dawdlers()
        for function in tap.TESTS:
            name = function.__name__.replace("_", " ")
            if options.words and not any(w in name for w in options.words):
                continue
            report.run(name, function)
            for dawdler in dawdlers:
                dawdler.poll()
            if not SERVER.is_running():
                report.not_ok(f"the server survives: {name}", SERVER.tail())
                break
        if SERVER.is_running():
            if dawdlers:
                judge_dawdlers(report, dawdlers)
            judge_neighbour(report, neighbour)
            report.run("what was delivered is removed", bad_firehose.what_was_delivered_is_removed)
            report.run("nothing is left of objects that were refused", bad_objects.nothing_is_left)
            report.run("the server ends well after all that", SERVER.stop)
        SERVER.kill()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
