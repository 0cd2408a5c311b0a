# SPDX-License-Identifier: Apache-2.0
"""Bad input for Firehose, as tests of bad_input.py: what is refused is refused whole, and no byte of it is delivered."""
import base64
import json
import random
import re
import socket
import time
import urllib.parse
import zlib

import headrace
import sigv4
import tap

BUCKET, STREAM = "bad-deliveries", "bad"
ROLE = f"arn:aws:iam::{headrace.ACCOUNT}:role/bad-deliveries"
DELIVERED_SECONDS_MAX = 240
SERVER = None  # set by bad_input.main


def raw(operation, body):
    client = SERVER.client(target="Firehose_20150804", service="firehose")
    try:
        status, _, content = client.raw(operation, body if isinstance(body, bytes) else json.dumps(body).encode())
        return status, content
    finally:
        client.close()


def signed(service, method, path, body=b"", query="", **headers):
    client = SERVER.client(service=service)
    fields = {"Host": f"127.0.0.1:{SERVER.port}", "X-Amz-Content-Sha256": sigv4.sha256_hex(body), **headers}
    fields = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", service, method, path, fields, body, query=query)
    try:
        status, _, content = client.send(method, path + ("?" + query if query else ""), fields, body)
        return status, content
    finally:
        client.close()


def destination(prefix, **more):
    return {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}", "Prefix": f"{prefix}/",
            "BufferingHints": {"SizeInMBs": 64 if more else 1, "IntervalInSeconds": 1}, **more}


def make(name, **more):
    got = raw("CreateDeliveryStream", {"DeliveryStreamName": name,
                                       "ExtendedS3DestinationConfiguration": destination(name, **more)})
    assert got[0] == 200, got


def prepare():
    """A bucket, a role and a delivery stream; fine if they are there."""
    if signed("s3", "PUT", f"/{BUCKET}")[0] == 409 or raw("DescribeDeliveryStream", {"DeliveryStreamName": STREAM})[0] == 200:
        return
    trust = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "firehose.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
    allow = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
    for action in ({"Action": "CreateRole", "RoleName": "bad-deliveries", "AssumeRolePolicyDocument": trust},
                   {"Action": "PutRolePolicy", "RoleName": "bad-deliveries", "PolicyName": "all", "PolicyDocument": allow}):
        body = urllib.parse.urlencode({**action, "Version": "2010-05-08"}).encode()
        got = signed("iam", "POST", "/", body, **{"Content-Type": "application/x-www-form-urlencoded"})
        assert got[0] == 200, got
    make(STREAM)


def keys(prefix=""):
    """Percent-encoded, as they go into paths."""
    query = "encoding-type=url&list-type=2&prefix=" + urllib.parse.quote(prefix, safe="")
    listed = re.findall("<Key>([^<]*)</Key>", signed("s3", "GET", f"/{BUCKET}", query=query)[1].decode())
    return [urllib.parse.quote(urllib.parse.unquote_plus(key), safe="/~") for key in listed]


def content(prefix):
    return b"".join(signed("s3", "GET", f"/{BUCKET}/{key}")[1] for key in keys(prefix))


def arrives(what, prefix):
    until = time.monotonic() + DELIVERED_SECONDS_MAX
    while what not in content(prefix):
        assert time.monotonic() < until, f"{what} did not arrive under {prefix}"
        time.sleep(0.1)
    return content(prefix)


def put(data, **more):
    return raw("PutRecord", {"DeliveryStreamName": STREAM, "Record": {"Data": base64.b64encode(data).decode()}, **more})


@tap.test
def delivery_streams_take_a_batch_whole_or_not_at_all():
    prepare()
    good, large = {"Data": base64.b64encode(b"refused\n").decode()}, {"Data": base64.b64encode(bytes(1024001)).decode()}
    mebibyte = {"Data": base64.b64encode(bytes(1000000)).decode()}
    batches = ([good, {"Data": "A"}], [good, {"Data": 5}], [good, {}], [good, None], [good, {"Data": None}], [good, "x"],
               [good, large], [good] + [mebibyte] * 5, [good] * 501, [], "x", None, {"a": good})
    for records in batches:
        status, reply = raw("PutRecordBatch", {"DeliveryStreamName": STREAM, "Records": records})
        kind = json.loads(reply)["__type"]
        assert status == 400 and kind in ("SerializationException", "ValidationException", "InvalidArgumentException"), \
            (str(records)[:80], status, reply[:300])
    body = json.dumps({"DeliveryStreamName": STREAM, "Records": [good] * 20}).encode()
    for cut in range(1, len(body), 37):
        assert raw("PutRecordBatch", body[:cut])[0] == 400
    status, reply = put(b"the end of the first\n")
    assert status == 200, reply
    assert b"refused" not in arrives(b"the end of the first\n", f"{STREAM}/")


@tap.test
def delivery_streams_take_random_changes_of_a_put_or_refuse_them():
    prepare()
    rng = random.Random(11)
    one = json.dumps({"DeliveryStreamName": STREAM, "Record": {"Data": "Z29vZAo="}}).encode()
    many = json.dumps({"DeliveryStreamName": STREAM, "Records": [{"Data": "Z29vZAo="}] * 3}).encode()
    for turn in range(200):
        operation, body = (("PutRecord", bytearray(one)), ("PutRecordBatch", bytearray(many)))[turn % 2]
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        status, reply = raw(operation, bytes(body))
        assert status in (200, 400), (bytes(body), status, reply)
    assert put(b"the end of the second\n")[0] == 200
    arrives(b"the end of the second\n", f"{STREAM}/")


@tap.test
def delivery_streams_refuse_configurations_that_mean_nothing():
    prepare()
    bad = (("BufferingHints", {"SizeInMBs": 0}), ("BufferingHints", {"IntervalInSeconds": 901}), ("BufferingHints", "x"),
           ("Prefix", "!{"), ("Prefix", "!{nonsense:x}/"), ("Prefix", "!{timestamp:'}/"), ("CompressionFormat", "LZ4"),
           ("BucketARN", "arn:aws:s3:::" + "b" * 2048), ("BucketARN", "../../etc"), ("RoleARN", "root"),
           ("CustomTimeZone", "../../../etc/passwd"), ("FileExtension", "x/../y"), ("ErrorOutputPrefix", 5),
           ("ProcessingConfiguration", {"Enabled": True, "Processors": [{"Type": "Nonsense"}]}),
           ("ProcessingConfiguration", {"Enabled": True, "Processors": [{"Type": "MetadataExtraction", "Parameters": [
               {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{a: " * 500}]}]}),
           ("DynamicPartitioningConfiguration", {"Enabled": True, "RetryOptions": {"DurationInSeconds": -1}}),
           ("DataFormatConversionConfiguration", {"Enabled": True}))
    for name, value in bad:
        config = {**destination("never"), name: value}
        status, reply = raw("CreateDeliveryStream", {"DeliveryStreamName": "never", "ExtendedS3DestinationConfiguration": config})
        assert status == 400, (name, value, status, reply)
        assert raw("DescribeDeliveryStream", {"DeliveryStreamName": "never"})[0] == 400, (name, value)
    for name in ("", "a/b", "a b", "x" * 65, "../x", "\u0000"):
        status, reply = raw("CreateDeliveryStream", {"DeliveryStreamName": name,
                                                     "ExtendedS3DestinationConfiguration": destination("never")})
        assert status == 400, (name, status, reply)


@tap.test
def delivery_streams_survive_records_that_their_processors_cannot_read():
    prepare()
    rng = random.Random(13)
    query = [{"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{p:.p}"},
             {"ParameterName": "JsonParsingEngine", "ParameterValue": "JQ-1.6"}]
    steps = [{"Type": "MetadataExtraction", "Parameters": query}]
    make("bad-parted", Prefix="bad-parted/!{partitionKeyFromQuery:p}/", ErrorOutputPrefix="bad-errors/",
         DynamicPartitioningConfiguration={"Enabled": True}, ProcessingConfiguration={"Enabled": True, "Processors": steps})
    bombs = [b"", b"{", b"[" * 100000, b'{"p":' * 20000, b'{"p":"../../../x"}', b'{"p":"' + b"k" * 70000 + b'"}', b'{"p":null}',
             b'{"p":[1]}', b'{"p":1e999}', b"\xff\xfe", b"\x1f\x8b\x08" + rng.randbytes(50), zlib.compress(bytes(100000)),
             rng.randbytes(1000), b'{"p":"\\ud800"}', b'{"p":"a\\u0000b"}', b'{"p":"!{timestamp:yyyy}"}']
    records = [{"Data": base64.b64encode(data).decode()} for data in bombs] + [{"Data": base64.b64encode(b'{"p":"good"}\n').decode()}]
    status, reply = raw("PutRecordBatch", {"DeliveryStreamName": "bad-parted", "Records": records})
    assert status == 200 and json.loads(reply)["FailedPutCount"] == 0, reply
    arrives(b'{"p":"good"}\n', "bad-parted/good/")
    until = time.monotonic() + DELIVERED_SECONDS_MAX
    while len(keys("bad-parted/")) + content("bad-errors/").count(b"\n") < len(records):  # each is one's alone, or an error
        assert time.monotonic() < until, (keys(), content("bad-errors/")[-2000:])
        time.sleep(0.1)
    assert all(key.startswith(("bad/", "bad-parted/", "bad-errors/")) for key in keys()), keys()


@tap.test
def delivery_streams_keep_nothing_of_a_put_whose_sender_goes():
    prepare()
    body = json.dumps({"DeliveryStreamName": STREAM, "Record": {"Data": base64.b64encode(b"half a put\n" * 9000).decode()}}).encode()
    client = SERVER.client(target="Firehose_20150804", service="firehose")
    head = "POST / HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in client.headers("PutRecord", body).items())
    for cut in (0, 1, 100, len(body) // 2, len(body) - 1):
        with socket.create_connection(("127.0.0.1", SERVER.port), timeout=120) as s:
            s.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:cut])
    assert put(b"the end of the third\n")[0] == 200
    assert b"half a put" not in arrives(b"the end of the third\n", f"{STREAM}/")


def what_was_delivered_is_removed():
    """For those who count files afterwards."""
    for name in (STREAM, "bad-parted"):
        raw("DeleteDeliveryStream", {"DeliveryStreamName": name})
    until = time.monotonic() + DELIVERED_SECONDS_MAX
    while signed("s3", "DELETE", f"/{BUCKET}")[0] not in (204, 404):
        assert time.monotonic() < until, "the bucket is never empty"
        for key in keys():
            assert signed("s3", "DELETE", f"/{BUCKET}/{key}")[0] == 204, key
        time.sleep(0.1)
