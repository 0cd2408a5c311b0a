# SPDX-License-Identifier: Apache-2.0
"""Bad input for S3, as tests of bad_input.py: every refusal is AWS's error, and leaves nothing behind."""
import base64
import collections
import hashlib
import http.client
import os
import random
import re
import socket
import threading
import time
import zlib

import headrace
import sigv4
import tap

BUCKET = "bad"
STALLED_BYTES = 400_000
REPLACED, REPLACED_SECONDS_MAX = 40, 240  # times; until readers have seen as many
SETTLE_SECONDS_MAX = 240
KEYS = ("../../etc/passwd", "..", ".", "a/../../b", "/", "//", "/etc/passwd", "%2e%2e/x", "a\\..\\b", " ", "a b", "\x7f", "é" * 512,
        "😀" * 256, "k" * 1024, "con", "null", "a" * 255 + "/" + "b" * 255)
SERVER = None  # set by bad_input.main


def quote(key):
    return "".join(chr(b) if b < 128 and chr(b).isalnum() or b in b"-._~/" else f"%{b:02X}" for b in key.encode())


def ask(method, path, body=b"", query="", headers=None, payload_hash=None, changed=None):
    """(status, headers, body). The path is percent-encoded. `changed`: headers after signing."""
    fields = {"Host": f"127.0.0.1:{SERVER.port}", "X-Amz-Content-Sha256": payload_hash or sigv4.sha256_hex(body),
              **(headers or {})}
    fields = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "s3", method, path, fields, body, query=query,
                        payload_hash=fields["X-Amz-Content-Sha256"])
    connection = http.client.HTTPConnection("127.0.0.1", SERVER.port, timeout=240)
    try:
        connection.putrequest(method, path + ("?" + query if query else ""), skip_host=True, skip_accept_encoding=True)
        for name, value in {**fields, "Content-Length": str(len(body)), **(changed or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def expect(status, code, got):
    found = re.search(rb"<Code>([^<]*)</Code>", got[2])
    assert got[0] == status and (found[1].decode() if found else None) == code, f"expected {status} {code}\ngot {got[0]} {got[2][:600]}"


def make_bucket():
    if ask("HEAD", f"/{BUCKET}")[0] == 404:
        assert ask("PUT", f"/{BUCKET}")[0] == 200


def listed():
    body = ask("GET", f"/{BUCKET}", query="list-type=2&encoding-type=url")[2]
    return re.findall(rb"<Key>([^<]*)</Key>", body)


def files():
    return sum(name != "reserve" for _, _, names in os.walk(os.path.join(SERVER.data_dir, "blobs")) for name in names)


@tap.test
def keys_that_look_like_paths_are_bytes_and_stay_in_their_bucket():
    make_bucket()
    for key in KEYS:
        data = os.urandom(20000)  # more than lies in the database
        path = f"/{BUCKET}/{quote(key)}"
        assert ask("PUT", path, data)[0] == 200, key
        assert ask("GET", path)[2] == data, key
    assert len(listed()) == len(set(KEYS)), listed()
    outside = {name for name in os.listdir(SERVER.data_dir)}
    assert "etc" not in outside and "passwd" not in outside and not os.path.exists(os.path.join(SERVER.data_dir, "blobs", "b"))
    for key in KEYS:
        assert ask("DELETE", f"/{BUCKET}/{quote(key)}")[0] == 204
    assert listed() == []
    expect(400, "KeyTooLongError", ask("PUT", f"/{BUCKET}/{quote('é' * 513)}", b"x"))
    for bad in ("%ff", "%C0%AF", "a%zz", "%"):
        got = ask("PUT", f"/{BUCKET}/{bad}", b"x")
        assert got[0] in (400, 403), got
    assert listed() == []


@tap.test
def xml_that_is_none_or_means_nothing_is_malformed():
    make_bucket()
    rng = random.Random(5)
    rule = b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>"
    bodies = [b"<", b"<a>", b"<CORSConfiguration>", b"<CORSConfiguration/>", rule + b"<x/>", b"{}", b"\x00" * 10, b"<a/>" * 1000,
              b"<CORSConfiguration>" * 5000, b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + rule, rule.replace(b"GET", b"&a;"),
              rule.replace(b"GET", b"FETCH"), b"<CORSConfiguration>" + b"<CORSRule>" * 101, rng.randbytes(400),
              rule.replace(b"*", b"\xff\xfe"), b"<?xml version='1.0' encoding='UTF-16'?>" + rule]
    for body in bodies:
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        got = ask("PUT", f"/{BUCKET}", body, query="cors=", headers={"Content-MD5": digest})
        assert got[0] == 400 and re.search(rb"<Code>(MalformedXML|InvalidRequest)</Code>", got[2]), (body[:80], got)
    expect(404, "NoSuchCORSConfiguration", ask("GET", f"/{BUCKET}", query="cors="))
    for query, body in (("delete=", b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001 + b"</Delete>"),
                        ("tagging=", b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"),
                        ("versioning=", b"<VersioningConfiguration><Status>Maybe</Status></VersioningConfiguration>")):
        method = "POST" if query == "delete=" else "PUT"
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        expect(400, "MalformedXML", ask(method, f"/{BUCKET}", body, query=query, headers={"Content-MD5": digest}))


@tap.test
def bytes_that_are_not_what_their_sender_says_leave_nothing():
    make_bucket()
    before = files()
    for size in (10, 100_000, 700_000):  # in the database; taken at once; streamed
        body = os.urandom(size)
        path = f"/{BUCKET}/bad{size}"
        crc = base64.b64encode(zlib.crc32(body + b"x").to_bytes(4, "big")).decode()
        expect(400, "BadDigest", ask("PUT", path, body, headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}))
        expect(400, "InvalidDigest", ask("PUT", path, body, headers={"Content-MD5": "nonsense"}))
        expect(400, "BadDigest", ask("PUT", path, body, headers={"x-amz-checksum-crc32": crc}))
        expect(400, "InvalidRequest", ask("PUT", path, body, headers={"x-amz-checksum-crc32": "short"}))
        expect(400, "XAmzContentSHA256Mismatch", ask("PUT", path, body, payload_hash=sigv4.sha256_hex(body + b"x")))
        expect(403, "SignatureDoesNotMatch", ask("PUT", path, body, headers={"x-amz-meta-a": "b"}, changed={"x-amz-meta-a": "c"}))
    assert listed() == []
    settles(lambda: files() <= before)


@tap.test
def parts_in_the_wrong_order_missing_or_too_small_make_no_object():
    make_bucket()
    path = f"/{BUCKET}/parts"
    upload = re.search(rb"<UploadId>([^<]*)<", ask("POST", path, query="uploads=")[2])[1].decode()
    tags = [ask("PUT", path, os.urandom(30000), query=f"partNumber={n}&uploadId={upload}")[1]["ETag"] for n in (1, 2)]

    def complete(*parts):
        body = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in parts)
        return ask("POST", path, f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>".encode(), query=f"uploadId={upload}")

    expect(400, "InvalidPartOrder", complete((2, tags[1]), (1, tags[0])))
    expect(400, "InvalidPartOrder", complete((1, tags[0]), (1, tags[0])))
    expect(400, "InvalidPart", complete((1, tags[1])))
    expect(400, "InvalidPart", complete((1, tags[0]), (7, tags[1])))
    expect(400, "EntityTooSmall", complete((1, tags[0]), (2, tags[1])))
    expect(400, "InvalidArgument", complete((0, tags[0])))
    expect(400, "MalformedXML", complete())
    for number in ("0", "10001", "-1", "x", "99999999999999999999"):
        expect(400, "InvalidArgument", ask("PUT", path, b"x", query=f"partNumber={number}&uploadId={upload}"))
    for other in ("x", "0" * 32, upload[::-1]):
        expect(404, "NoSuchUpload", ask("PUT", path, b"x", query=f"partNumber=1&uploadId={other}"))
    assert listed() == []
    assert ask("DELETE", path, query=f"uploadId={upload}")[0] == 204


@tap.test
def nonsense_in_ranges_dates_and_numbers_is_refused_or_not_there():
    make_bucket()
    path = f"/{BUCKET}/ranged"
    data = os.urandom(1000)
    assert ask("PUT", path, data)[0] == 200
    for given in ("bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "bytes=0-1,3-4", "lines=0-5", "bytes=1-2-3", "bytes=--5",
                  "bytes=99999999999999999999-"):
        got = ask("GET", path, headers={"Range": given})
        assert got[0] in (200, 416) and (got[0] == 416 or got[2] == data), (given, got[0])
    for given in ("bytes=1000-", "bytes=-0", "bytes=5000-6000"):
        expect(416, "InvalidRange", ask("GET", path, headers={"Range": given}))
    for query in ("partNumber=0", "partNumber=-1", "partNumber=x", "versionId=x", "versionId=" + "0" * 32):
        assert ask("GET", path, query=query)[0] in (400, 416), query
    for given in ("yesterday", "", "99999999999999999999"):
        assert ask("GET", path, headers={"If-Modified-Since": given})[0] in (200, 400), given
    assert ask("DELETE", path)[0] == 204


def settles(condition):
    """What nobody needs is removed soon, beside the answer."""
    end = time.monotonic() + SETTLE_SECONDS_MAX
    while not condition():
        assert time.monotonic() < end, f"{files()} files, {listed()}"
        time.sleep(0.1)


def half_a_put():
    """A request whose body is announced and does not come."""
    path = f"/{BUCKET}/stalled"
    fields = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "s3", "PUT", path,
                        {"Host": f"127.0.0.1:{SERVER.port}", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}, b"",
                        payload_hash="UNSIGNED-PAYLOAD")
    lines = [f"PUT {path} HTTP/1.1"] + [f"{n}: {v}" for n, v in fields.items()] + ["Content-Length: 50000000"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + b"s" * STALLED_BYTES


def expecting(path, size, query="", secret=headrace.SECRET):
    """The head of a PUT that waits to hear whether its body is wanted."""
    fields = sigv4.sign(headrace.KEY_ID, secret, "us-east-1", "s3", "PUT", path, {
        "Host": f"127.0.0.1:{SERVER.port}", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}, b"", query=query, payload_hash="UNSIGNED-PAYLOAD")
    lines = [f"PUT {path}{'?' + query if query else ''} HTTP/1.1"] + [f"{n}: {v}" for n, v in fields.items()]
    return ("\r\n".join(lines + [f"Content-Length: {size}", "Expect: 100-continue"]) + "\r\n\r\n").encode()


def read_all(s):
    read = b""
    while piece := s.recv(65536):
        read += piece
    return read


@tap.test
def who_waits_to_hear_whether_to_send_is_refused_before_it_is_sent():
    make_bucket()
    path = f"/{BUCKET}/waits"
    for size in (1, 1000, 300_000, 50_000_000):
        for wanted, head in ((b"NoSuchBucket", expecting("/nobody-has-this/k", size)),
                             (b"SignatureDoesNotMatch", expecting(path, size, secret="x" * 40)),
                             (b"NoSuchUpload", expecting(path, size, query="partNumber=1&uploadId=x")),
                             (b"NotImplemented", expecting(path, size, query="policy="))):
            if wanted == b"NotImplemented" and size > 1_000_000:
                continue  # nobody takes as much for a setting
            with socket.create_connection(("127.0.0.1", SERVER.port), timeout=120) as s:
                s.sendall(head)
                raw = read_all(s)  # the connection ends: what would come next could be the body
                assert b"100 Continue" not in raw and b"<Code>" + wanted + b"</Code>" in raw, (size, wanted, raw[:300])
        if size < 1_000_000:
            with socket.create_connection(("127.0.0.1", SERVER.port), timeout=120) as s:
                s.sendall(expecting(path, size))
                assert s.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
                s.sendall(b"w" * size)
                assert s.recv(65536).startswith(b"HTTP/1.1 200")
            assert ask("GET", path)[2] == b"w" * size
    assert ask("DELETE", path)[0] == 204


@tap.test
def a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing():
    make_bucket()
    before = files()
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", SERVER.port), timeout=120) as s:
            s.sendall(half_a_put())
    settles(lambda: files() <= before)
    assert listed() == []


@tap.test
def a_large_object_that_is_replaced_and_removed_while_it_is_read_is_one_of_its_versions():
    make_bucket()
    path, size, before = f"/{BUCKET}/moved", 3_000_000, files()  # it goes from its file, once it was checked
    versions = {hashlib.md5(data).digest(): data for data in (os.urandom(size) for _ in range(4))}
    contents, stop, wrong, seen = list(versions.values()), threading.Event(), [], collections.Counter()

    def read():
        while not stop.is_set():
            first = random.randrange(size) if random.random() < 0.3 else 0
            status, _, body = ask("GET", path, headers={"Range": f"bytes={first}-"} if first else {})
            if status == 404:
                continue
            good = any(body == data[first:] for data in contents)
            seen[good] += 1
            if status not in (200, 206) or not good:
                wrong.append((status, first, len(body)))

    readers = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for reader in readers:
        reader.start()
    turn, end = 0, time.monotonic() + REPLACED_SECONDS_MAX
    while turn < REPLACED or (seen[True] <= REPLACED and time.monotonic() < end):  # readers may be slow
        assert ask("PUT", path, contents[turn % 4])[0] == 200
        time.sleep(0.1)
        if turn % 5 == 4:
            assert ask("DELETE", path)[0] == 204
        turn += 1
    stop.set()
    for reader in readers:
        reader.join(240)
    assert not wrong and seen[True] > REPLACED, (wrong[:5], seen)
    assert ask("DELETE", path)[0] == 204
    settles(lambda: files() <= before)


def nothing_is_left():
    """At the end, when slow clients were cut off."""
    assert listed() == [], listed()
    settles(lambda: files() == 0)
    assert ask("DELETE", f"/{BUCKET}")[0] == 204
