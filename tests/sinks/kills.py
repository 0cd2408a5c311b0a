# SPDX-License-Identifier: Apache-2.0
"""Server, destination and network are killed, each in the middle of a request, to every destination of delivery streams
and of channels. Afterwards everything that was acknowledged is there, at most twice, nothing else is, and nothing was
given up: the error prefixes are empty."""
import collections
import contextlib
import gzip
import json
import os
import re
import secrets
import signal
import tempfile
import time

import boto3

import headrace
import streams
from engines import opensearch, postgres
from proxy import Gate, Proxy
from redshift import Redshift
from splunk import TOKEN, Collector
from streams import DELIVER_SECONDS_MAX, HINTS, ROLE, Hoses, retry, wait
from tap import test
from vendors import Datadog, MongoDB, NewRelic, Vendor

BATCH = 50


class Target:
    """A destination behind a gate. kill, revive; has: how often it has the number of each record; put: of lines,
    the acknowledged ones."""

    def __init__(self, name, port, mark, kill, revive, has, put=None):
        self.name, self.kill, self.revive, self.has, self.send = name, kill, revive, has, put
        self.gate, self.put = Gate(mark), set()
        self.proxy = Proxy(port, self.gate)
        self.url = f"http://127.0.0.1:{self.proxy.port}"

    def put_some(self, h):
        first = len(self.put)
        lines = [b'{"n":%d}\n' % n for n in range(first, first + BATCH)]
        self.put |= set(numbers(self.send(lines) if self.send else h.put(self.name, lines)))


def numbers(lines):
    return collections.Counter(json.loads(line)["n"] for line in lines)


# ---- Delivery streams


class AnyEndpoint(Vendor):
    """What takes the protocol, and belongs to nobody."""
    target, key = "/in", "k"


def vendor_target(h, vendor, compressed):
    name = type(vendor).__name__
    t = Target(name, vendor.port, b"POST", vendor.kill, vendor.revive, lambda: numbers(vendor.has()))
    attributes = [{"AttributeName": k, "AttributeValue": v} for k, v in vendor.attributes.items()]
    h.create(name, "HttpEndpoint", RoleARN=ROLE, BufferingHints=HINTS, **retry(7200), EndpointConfiguration={
        "Url": t.url + vendor.target, "Name": name, "AccessKey": vendor.key}, RequestConfiguration={
            "ContentEncoding": compressed, "CommonAttributes": attributes})
    return t


def redshift_target(h, name, port, kill, revive, has):
    t = Target(name, port, b"COPY", kill, revive, has)
    h.create(name, "Redshift", RoleARN=ROLE, ClusterJDBCURL=f"jdbc:redshift://127.0.0.1:{t.proxy.port}/postgres",
             Username="u", Password="secret", CopyCommand={"DataTableName": "kills", "CopyOptions": "JSON 'auto'"},
             **retry(7200))
    return t


def copied(h, server):
    """What lies in the objects that COPYs have named, of those that were answered."""
    found = collections.Counter()
    for sql in list(server.loaded):
        manifest = h.objects(re.search(r"FROM 's3://lake/([^']+)'", sql)[1])
        for body in manifest.values():
            for entry in json.loads(body)["entries"]:
                for content in h.objects(entry["url"].removeprefix("s3://lake/")).values():
                    found += numbers(content.splitlines())
    return found


def splunk_target(h, name, collector, mark, kill, revive):
    def has():
        with collector.lock:
            return numbers(b"".join(collector.indexed).splitlines())

    t = Target(name, collector.port, mark, kill, revive, has)
    h.create(name, "Splunk", HECEndpoint=t.url, HECEndpointType="Raw", HECToken=TOKEN, BufferingHints=HINTS,
             HECAcknowledgmentTimeoutInSeconds=180, **retry(7200))
    return t


def splunk_targets(h, collectors):
    """Killed while it is sent data, and while it is asked whether it has indexed them: one that comes back has a disk."""
    data, acknowledged = collectors
    return [splunk_target(h, "Splunk", data, b"POST /services/collector/raw", data.kill, data.revive),
            splunk_target(h, "SplunkAcks", acknowledged, b"POST /services/collector/ack", acknowledged.life_ends,
                          acknowledged.revive)]


class WithDisk(Collector):
    """Remembers over its death what it has not acknowledged yet."""

    def life_ends(self):
        self.life.die()


# ---- Buckets elsewhere


class Far:
    """Another server with two buckets: ours name them far and wide."""

    def __init__(self, folder):
        self.server, self.folder = headrace.Server(streams.PROGRAM), folder
        self.server.start()
        self.s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=self.server.url,
                               aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)
        self.targets = [Target("S3", self.server.port, b"PUT /", self.server.kill, self.server.start,
                               lambda: self.has("far"))]
        self.targets.append(Target("channel", self.server.port, b"PUT /", lambda: None, lambda: None,
                                   lambda: self.has("wide")))
        for bucket in ("far", "wide"):
            self.s3.create_bucket(Bucket=bucket)

    def has(self, bucket):
        found = collections.Counter()
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", ()):
                body = self.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                found += numbers(gzip.decompress(body).splitlines())
        return found

    def config(self):
        """Says where the buckets are."""
        path, keys = (os.path.join(self.folder, name) for name in ("headrace.toml", "keys"))
        with open(keys, "w", encoding="utf-8") as file:
            file.write(f"[default]\naws_access_key_id = {headrace.KEY_ID}\naws_secret_access_key = {headrace.SECRET}\n")
        with open(path, "w", encoding="utf-8") as file:
            for name, t in zip(("far", "wide"), self.targets):
                file.write(f'[s3.remote.{name}]\nendpoint = "{t.url}"\nbucket = "{name}"\n'
                           f'credentials_file = "{keys}"\n')
        return path

    def begin(self, h):
        """A delivery stream and a channel to them."""
        h.firehose.create_delivery_stream(DeliveryStreamName="S3", ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE, "BucketARN": "arn:aws:s3:::far", "BufferingHints": HINTS, "CompressionFormat": "GZIP"})
        make_channel(h, "wide", "GZIP")
        self.targets[1].send = lambda lines: put_to_channel(h, [line[:-1] for line in lines])

    def close(self):
        self.server.kill()
        self.server.remove()


CHANNEL_ROLE = f"arn:aws:iam::{headrace.ACCOUNT}:role/channels"
STREAM_ARN = f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/channeled"


def make_channel(h, bucket, compression):
    """A stream, and a channel that writes its records as lines."""
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                     "Principal": {"Service": "kinesis.amazonaws.com"}}]}
    may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "kinesis:*"], "Resource": "*"}]}
    iam, kinesis = h.client("iam"), h.client("kinesis")
    iam.create_role(RoleName="channels", AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName="channels", PolicyName="p", PolicyDocument=json.dumps(may))
    kinesis.create_stream(StreamName="channeled", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    kinesis.get_waiter("stream_exists").wait(StreamName="channeled", WaiterConfig={"Delay": 1})
    kinesis.create_channel(
        ChannelName="channel", ServiceExecutionRoleARN=CHANNEL_ROLE, StreamConfigurationList=[
            {"StreamARN": STREAM_ARN, "RecordConfiguration": {"RecordFormatType": "STRING"}}],
        S3DestinationConfiguration={"DataFreshnessInSeconds": 1, "StorageConfiguration": {
            "BucketARN": f"arn:aws:s3:::{bucket}", "CompressionType": compression,
            "ExpectedBucketOwner": headrace.ACCOUNT, "OutputKeyTemplate": "channel/"}})


def put_to_channel(h, records):
    """Those that were acknowledged."""
    answer = h.client("kinesis").put_records(StreamName="channeled", Records=[
        {"Data": data, "PartitionKey": str(n)} for n, data in enumerate(records)])
    return [data for data, told in zip(records, answer["Records"]) if "SequenceNumber" in told]


# ---- All at once


def kill_in_requests(h, targets, what):
    for t in targets:
        t.gate.arm()
    for t in targets:
        t.put_some(h)
    for t in targets:
        assert t.gate.reached.wait(DELIVER_SECONDS_MAX), f"{t.name} is asked for nothing"
    if what == "server":
        h.restart()
    for t in targets if what == "destination" else ():
        t.kill()
    for t in targets:
        t.gate.open({"server": "cut", "destination": "pass", "network": "reset"}[what])
    for t in targets if what == "destination" else ():
        t.revive()


def kill_everything(h, targets):
    for what in ("server", "destination", "network"):
        kill_in_requests(h, targets, what)
    for t in targets:
        wait(lambda t=t: set(t.has()) >= t.put)
        found = t.has()
        assert len(t.put) == 3 * BATCH and set(found) == t.put, f"{t.name} has what nobody put"
        assert max(found.values()) <= 2, f"{t.name} has something more than twice"
        print(f"# {t.name}: {len(found)} records, {found.total() - len(found)} of them twice after 3 kills")


@test
def every_destination_gets_everything_though_server_destination_and_network_are_killed_in_its_requests():
    p, vendors = postgres(), [Datadog(), NewRelic(), MongoDB(), AnyEndpoint()]
    p.sql("DROP TABLE IF EXISTS kills; CREATE TABLE kills (n int)")
    with contextlib.ExitStack() as stack:
        far = Far(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(far.close)
        warehouse = stack.enter_context(Redshift(lambda sql: None))
        collectors = [stack.enter_context(c) for c in (Collector(), WithDisk())]
        for v in vendors:
            stack.callback(v.kill)
        h = Hoses("--config", far.config())
        stack.callback(h.close)
        targets = [vendor_target(h, v, c) for v, c in zip(vendors, ("GZIP", "NONE", "NONE", "GZIP"))]
        targets += splunk_targets(h, collectors)
        quiet = [t.name for t in targets]  # whose objects are those that failed
        targets += [redshift_target(h, "Redshift", warehouse.port, warehouse.kill, warehouse.revive,
                                    lambda: copied(h, warehouse)),
                    redshift_target(h, "PostgreSQL", p.port, p.kill, p.start,
                                    lambda: collections.Counter(map(int, p.sql("SELECT n FROM kills").split())))]
        far.begin(h)
        kill_everything(h, targets + far.targets)
        assert not [v.wrong for v in vendors if v.wrong], [v.wrong for v in vendors]
        assert [v.kinds for v in vendors] == [{"gzip"}, {None}, {None}, {"gzip"}]
        given_up = [key for key in h.objects("") if key.split("/")[0] in quiet or "errors/" in key or "failed/" in key]
        assert not given_up, given_up


@test
def opensearch_has_each_document_once_though_server_destination_and_network_are_killed_in_its_requests():
    search = opensearch()

    def has():
        search.count("kills")  # a refresh
        hits = search.call("GET", "/kills/_search?size=1000")["hits"]["hits"]
        return collections.Counter(d["_source"]["n"] for d in hits)

    t = Target("OpenSearch", search.port, b"_bulk", search.kill, search.start, has)
    h = Hoses()
    try:
        search.call("PUT", "/kills", {})
        h.create("OpenSearch", "Amazonopensearchservice", RoleARN=ROLE, ClusterEndpoint=t.url, IndexName="kills",
                 IndexRotationPeriod="NoRotation", BufferingHints=HINTS, S3BackupMode="FailedDocumentsOnly",
                 **retry(7200))
        kill_everything(h, [t])
        assert max(has().values()) == 1, "a document has two ids"
        assert not h.objects(""), "something was given up"
    finally:
        h.close()


# ---- Buckets of the server itself: it is stopped as soon as a part of an object is on its disk, and killed

RECORD_BYTES = 999_983  # so that no part of an object is as long as another object
RECORDS_AT_ONCE = 4
TRIES_MAX = 30


def large_records(first):
    """Lines that nothing can pack."""
    for n in range(first, first + RECORDS_AT_ONCE):
        head = b'{"n":%d,"x":"' % n
        tail = b'"}\n'
        yield head + secrets.token_hex(RECORD_BYTES // 2 + 1).encode()[:RECORD_BYTES - len(head) - len(tail)] + tail


class Files:
    """Those of objects on the disk of a server, and how long they are."""

    def __init__(self, server):
        self.folder = os.path.join(server.data_dir, "blobs")
        self.known = set(self.look())

    def look(self):
        found = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    path = os.path.join(folder, name)
                    found[path] = os.path.getsize(path)
        return found

    def new(self):
        """The length of a file that was not there before, and has something."""
        return next((size for path, size in self.look().items() if size > 0 and path not in self.known), None)


def put_until_killed_in_an_object(h, put, number):
    """Puts records until the server dies while it writes an object of them; how many were acknowledged."""
    for _ in range(TRIES_MAX):
        files, until = Files(h.server), time.monotonic() + DELIVER_SECONDS_MAX
        got = put(list(large_records(number)))
        assert len(got) == RECORDS_AT_ONCE, "a put was refused"
        number += RECORDS_AT_ONCE
        while (size := files.new()) is None:
            assert time.monotonic() < until, "nothing is delivered"
        h.server.process.send_signal(signal.SIGSTOP)
        size = files.new() or size
        h.restart()
        if size not in sizes(h):
            return number
    raise AssertionError("it is never met in the middle of an object")


def sizes(h):
    pages = h.s3.get_paginator("list_objects_v2").paginate(Bucket="lake")
    return {o["Size"] for page in pages for o in page.get("Contents", ())}


def expect_all(h, prefix, count):
    def found():
        return numbers(line for content in h.objects(prefix).values() for line in content.splitlines())

    wait(lambda: set(found()) >= set(range(count)))
    got = found()
    assert set(got) == set(range(count)), "there is what nobody put"
    assert max(got.values()) <= 2 + TRIES_MAX, "it comes again and again"
    print(f"# {prefix} {count} records, {got.total() - count} of them again")
    assert not [key for key in h.objects("") if "failed/" in key or "errors/" in key], "something was given up"


@test
def an_object_in_the_middle_of_which_the_server_dies_is_not_there_and_its_records_come_whole():
    h = Hoses()
    try:
        h.firehose.create_delivery_stream(DeliveryStreamName="own", ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE, "BucketARN": "arn:aws:s3:::lake", "Prefix": "own/", "BufferingHints": HINTS})
        count = put_until_killed_in_an_object(h, lambda records: h.put("own", records), 0)
        expect_all(h, "own/", count)
        make_channel(h, "lake", "NONE")
        count = put_until_killed_in_an_object(
            h, lambda records: put_to_channel(h, [r[:-1] for r in records]), 0)
        expect_all(h, "channel/", count)
    finally:
        h.close()
