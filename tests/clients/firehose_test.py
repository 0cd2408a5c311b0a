#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3 and the AWS command line, unmodified, against delivery streams: records into S3 byte for byte, compression,
partial failures, encryption, a Kinesis stream as the source, updates, Terraform's calls, and what is left after
kill -9.

    tests/clients/firehose_test.py --program build/headrace
"""
import argparse
import gzip
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import boto3
import botocore.config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import sigv4  # noqa: E402
import tap  # noqa: E402

AWS = os.path.join(os.path.dirname(sys.executable), "aws")
ACCOUNT, REGION = headrace.ACCOUNT, "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/delivery"
BUCKET = "lake"
WAIT_SECONDS_MAX = 240
KEYS = {"aws_access_key_id": headrace.KEY_ID, "aws_secret_access_key": headrace.SECRET}
FAST = {"SizeInMBs": 1, "IntervalInSeconds": 0}   # delivered within seconds
SLOW = {"SizeInMBs": 128, "IntervalInSeconds": 900}  # not by itself


def client(server, service):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=60,
                                    read_timeout=240)
    return boto3.client(service, region_name=REGION, endpoint_url=server.url, config=config, **KEYS)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response["Error"]
        return error.response["Error"]["Message"]
    raise AssertionError(f"{code} was expected, and the call succeeded")


def place(**more):
    return {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}", "BufferingHints": FAST, **more}


def operate(server, page, **body):
    """A page for operators."""
    path, data = f"/_headrace/admin/{page}", json.dumps(body).encode()
    headers = sigv4.sign(headrace.KEY_ID, headrace.SECRET, REGION, "headrace", "POST", path,
                         {"Host": f"127.0.0.1:{server.port}", "Content-Type": "application/json"}, data)
    request = urllib.request.Request(server.url + path, data=data, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


class Search(http.server.ThreadingHTTPServer):
    """As much of a search engine as takes documents; in `documents` index, document and credentials."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
            items = []
            for action, document in zip(lines[::2], lines[1::2]):
                index = json.loads(action)["index"]
                self.server.documents.append((index["_index"], json.loads(document), self.headers["Authorization"]))
                items.append({"index": {**index, "status": 201}})
            body = json.dumps({"took": 1, "errors": False, "items": items}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port, self.documents = self.server_address[1], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Path:
    """Stages of one path: each builds on those before it."""

    def __init__(self, server):
        self.server = server
        self.connect()

    def connect(self):
        self.firehose, self.s3 = client(self.server, "firehose"), client(self.server, "s3")
        self.iam, self.kinesis = client(self.server, "iam"), client(self.server, "kinesis")

    # ---- Helpers

    def create(self, name, **destination):
        self.firehose.create_delivery_stream(DeliveryStreamName=name, **destination)

    def describe(self, name):
        return self.firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]

    def keys(self, prefix, bucket=BUCKET):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", ())]

    def body(self, key, bucket=BUCKET):
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def delivered(self, prefix, size, unpack=lambda data: data):
        """What objects below a prefix hold together, once it is so many bytes."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            data = b"".join(unpack(self.body(key)) for key in self.keys(prefix))
            if len(data) >= size or time.monotonic() > end:
                return data
            time.sleep(0.1)

    # ---- Stages

    def a_role_and_a_bucket_are_made(self):
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                         "Principal": {"Service": "firehose.amazonaws.com"}}]}
        may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "kinesis:*"],
                                                       "Resource": "*"}]}
        self.iam.create_role(RoleName="delivery", AssumeRolePolicyDocument=json.dumps(trust))
        self.iam.put_role_policy(RoleName="delivery", PolicyName="p", PolicyDocument=json.dumps(may))
        self.s3.create_bucket(Bucket=BUCKET)

    def a_role_is_lent_for_what_its_trust_policy_names(self):
        arn = f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/"
        only = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "firehose.amazonaws.com"},
            "Condition": {"ArnLike": {"aws:SourceArn": arn + "mine-*"}, "StringEquals": {
                "aws:SourceAccount": ACCOUNT, "sts:ExternalId": ACCOUNT}}}]}
        may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        self.iam.create_role(RoleName="narrow", AssumeRolePolicyDocument=json.dumps(only))
        self.iam.put_role_policy(RoleName="narrow", PolicyName="p", PolicyDocument=json.dumps(may))
        role = f"arn:aws:iam::{ACCOUNT}:role/narrow"
        text = refused("InvalidArgumentException", self.firehose.create_delivery_stream, DeliveryStreamName="yours",
                       S3DestinationConfiguration=place(RoleARN=role))
        assert text == f"Firehose is unable to assume role {role}. Please check the role provided.", text
        self.create("mine-1", S3DestinationConfiguration=place(RoleARN=role, Prefix="mine/"))
        self.firehose.put_record(DeliveryStreamName="mine-1", Record={"Data": b"lent"})
        assert self.delivered("mine/", 4) == b"lent"  # the engine names the stream, too
        self.firehose.delete_delivery_stream(DeliveryStreamName="mine-1")

    def records_of_both_calls_are_in_s3_byte_for_byte(self):
        # One object: the names of two of one second are in no order.
        self.create("plain", S3DestinationConfiguration=place(Prefix="plain/", BufferingHints=SLOW))
        records = [os.urandom(n) for n in (0, 1, 1000, 1024000)] + [b"line %d\n" % i for i in range(300)]
        ids = [self.firehose.put_record(DeliveryStreamName="plain", Record={"Data": r})["RecordId"] for r in records[:4]]
        answer = self.firehose.put_record_batch(DeliveryStreamName="plain", Records=[{"Data": r} for r in records[4:]])
        assert answer["FailedPutCount"] == 0 and not answer["Encrypted"], answer
        ids += [r["RecordId"] for r in answer["RequestResponses"]]
        assert len(set(ids)) == len(records) and all(len(i) == 224 for i in ids), ids[:2]
        want = b"".join(records)
        operate(self.server, "firehose/flush", stream="plain")
        assert self.delivered("plain/", len(want)) == want
        for key in self.keys("plain/"):
            day = time.strftime("%Y/%m/%d/", time.gmtime())
            assert key.startswith("plain/" + day[:5]) and "/plain-1-" in key and "." not in key, key

    def objects_are_compressed(self):
        self.create("zipped", ExtendedS3DestinationConfiguration=place(Prefix="zipped/", CompressionFormat="GZIP"))
        data = b"a line that is repeated\n" * 2000
        self.firehose.put_record(DeliveryStreamName="zipped", Record={"Data": data})
        assert self.delivered("zipped/", len(data), gzip.decompress) == data
        assert all(key.endswith(".gz") for key in self.keys("zipped/"))

    def an_object_has_an_etag_that_is_no_md5_and_is_its_own(self):
        self.create("tagged", S3DestinationConfiguration=place(Prefix="tagged/", BufferingHints=SLOW))
        for n in (1, 2):  # the same bytes
            self.firehose.put_record(DeliveryStreamName="tagged", Record={"Data": b"a" * 70000})
            operate(self.server, "firehose/flush", stream="tagged")
            assert self.delivered("tagged/", n * 70000) == b"a" * n * 70000
        first, second = (self.s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED") for key in self.keys("tagged/"))
        assert all(re.fullmatch('"[0-9a-f]{32}-1"', o["ETag"]) for o in (first, second)), (first, second)
        assert first["ETag"] != second["ETag"] and first["ChecksumCRC64NVME"] == second["ChecksumCRC64NVME"]
        key, etag = self.keys("tagged/")[0], first["ETag"]
        at = {"Bucket": BUCKET, "Key": key}
        assert self.s3.get_object(**at, IfMatch=etag)["Body"].read() == b"a" * 70000
        refused("304", self.s3.get_object, **at, IfNoneMatch=etag)
        refused("PreconditionFailed", self.s3.get_object, **at, IfMatch=second["ETag"])
        part = self.s3.get_object(**at, PartNumber=1)  # as those ask who take it for an upload in parts
        assert part["Body"].read() == b"a" * 70000 and part["ContentRange"] == "bytes 0-69999/70000", part
        refused("InvalidPartNumber", self.s3.get_object, **at, PartNumber=2)
        told = self.s3.get_object_attributes(**at, ObjectAttributes=["ETag", "ObjectParts", "ObjectSize"])
        assert (told["ETag"], told["ObjectSize"]) == (etag.strip('"'), 70000) and "ObjectParts" not in told, told
        md5 = f'"{hashlib.md5(b"a" * 70000).hexdigest()}"'
        copy = self.s3.copy_object(Bucket=BUCKET, Key="copied", CopySource=at, CopySourceIfMatch=etag)
        assert copy["CopyObjectResult"]["ETag"] == md5, copy
        upload = {"Bucket": BUCKET, "Key": "joined"}
        upload["UploadId"] = self.s3.create_multipart_upload(**upload)["UploadId"]
        part = self.s3.upload_part_copy(**upload, PartNumber=1, CopySource=at)["CopyPartResult"]["ETag"]
        assert part == md5, part
        self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
        assert self.body("joined") == self.body("copied") == b"a" * 70000
        refused("PreconditionFailed", self.s3.delete_object, **at, IfMatch=second["ETag"])
        self.s3.delete_object(**at, IfMatch=etag)
        assert self.keys("tagged/") == [key for key in self.keys("tagged/") if key != at["Key"]] != []

    def what_waits_is_told_and_delivered_when_an_operator_says_so(self):
        self.create("slow", S3DestinationConfiguration=place(Prefix="slow/", BufferingHints=SLOW))
        self.firehose.put_record(DeliveryStreamName="slow", Record={"Data": b"waits"})
        state = operate(self.server, "firehose/state", stream="slow")
        assert (state["name"], state["backlog_records"], state["backlog_bytes"]) == ("slow", 1, 5), state
        assert self.keys("slow/") == []
        operate(self.server, "firehose/flush", stream="slow")
        assert self.delivered("slow/", 5) == b"waits"
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not (state := operate(self.server, "firehose/state", stream="slow"))["deliveries"]:
            assert time.monotonic() < end, state
            time.sleep(0.1)
        note = state["deliveries"][0]
        assert (note["records"], note["bytes"]) == (1, 5) and note["place"].startswith(f"s3://{BUCKET}/slow/"), note

    def encrypted_records_are_delivered_in_plain(self):
        self.create("sealed", S3DestinationConfiguration=place(Prefix="sealed/", BufferingHints=SLOW),
                    DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"})
        kms = client(self.server, "kms")
        arn = kms.create_key()["KeyMetadata"]["Arn"]
        put = self.firehose.put_record
        assert put(DeliveryStreamName="sealed", Record={"Data": b"owned,"})["Encrypted"]
        self.firehose.start_delivery_stream_encryption(
            DeliveryStreamName="sealed",
            DeliveryStreamEncryptionConfigurationInput={"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": arn})
        assert self.describe("sealed")["DeliveryStreamEncryptionConfiguration"] == {
            "KeyARN": arn, "KeyType": "CUSTOMER_MANAGED_CMK", "Status": "ENABLED"}
        assert put(DeliveryStreamName="sealed", Record={"Data": b"customer's,"})["Encrypted"]
        self.firehose.stop_delivery_stream_encryption(DeliveryStreamName="sealed")
        assert not put(DeliveryStreamName="sealed", Record={"Data": b"plain"})["Encrypted"]
        operate(self.server, "firehose/flush", stream="sealed")
        assert self.delivered("sealed/", 22) == b"owned,customer's,plain"

    def a_domain_is_where_the_configuration_says(self):
        with Search() as search, headrace.Server(
                self.server.program, "--destinations-domains", f"logs=http://u:p@127.0.0.1:{search.port}",
                profile="dev") as server:
            hose, arn = client(server, "firehose"), f"arn:aws:es:{REGION}:{ACCOUNT}:domain/"
            client(server, "s3").create_bucket(Bucket=BUCKET)
            config = {"RoleARN": ROLE, "IndexName": "i", "IndexRotationPeriod": "NoRotation", "S3Configuration": place(),
                      "BufferingHints": FAST, "DomainARN": arn + "logs"}
            text = refused("InvalidArgumentException", hose.create_delivery_stream, DeliveryStreamName="s",
                           AmazonopensearchserviceDestinationConfiguration={**config, "DomainARN": arn + "others"})
            assert f"Domain {arn}others is not among" in text, text
            hose.create_delivery_stream(DeliveryStreamName="s", AmazonopensearchserviceDestinationConfiguration=config)
            told = hose.describe_delivery_stream(DeliveryStreamName="s")["DeliveryStreamDescription"]["Destinations"][0]
            told = told["AmazonopensearchserviceDestinationDescription"]
            assert told["DomainARN"] == arn + "logs" and "ClusterEndpoint" not in told, told
            hose.put_record(DeliveryStreamName="s", Record={"Data": b'{"a":1}'})
            end = time.monotonic() + WAIT_SECONDS_MAX
            while not search.documents:
                assert time.monotonic() < end, "no document came"
                time.sleep(0.05)
            assert search.documents[0] == ("i", {"a": 1}, "Basic dTpw"), search.documents

    def several_are_flushed_at_once_or_none(self):
        for name in ("one", "two"):
            self.create(name, S3DestinationConfiguration=place(Prefix=f"{name}/", BufferingHints=SLOW))
            self.firehose.put_record(DeliveryStreamName=name, Record={"Data": name.encode()})
        try:
            operate(self.server, "firehose/flush", streams=["one", "three"])
            raise AssertionError("a stream that is not there was flushed")
        except urllib.error.HTTPError as error:
            assert error.code == 400, error
        assert self.keys("one/") == []
        operate(self.server, "firehose/flush", streams=["one", "two"])
        assert self.delivered("one/", 3) == b"one" and self.delivered("two/", 3) == b"two"

    def a_kinesis_stream_is_a_source(self):
        self.kinesis.create_stream(StreamName="clicks", ShardCount=2)
        arn = self.kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"]["StreamARN"]
        self.kinesis.put_record(StreamName="clicks", PartitionKey="k", Data=b"before\n")
        self.create("from-stream", DeliveryStreamType="KinesisStreamAsSource",
                    KinesisStreamSourceConfiguration={"KinesisStreamARN": arn, "RoleARN": ROLE},
                    S3DestinationConfiguration=place(Prefix="from-stream/"))
        source = self.describe("from-stream")["Source"]["KinesisStreamSourceDescription"]
        assert source["KinesisStreamARN"] == arn and source["RoleARN"] == ROLE, source
        want = sorted(b"%d\n" % i for i in range(400))
        self.kinesis.put_records(StreamName="clicks",
                                 Records=[{"PartitionKey": r.decode(), "Data": r} for r in want])
        got = self.delivered("from-stream/", sum(map(len, want)))
        assert sorted(got.splitlines(keepends=True)) == want, len(got)
        text = refused("InvalidArgumentException", self.firehose.put_record, DeliveryStreamName="from-stream",
                       Record={"Data": b"x"})
        assert text == "This operation is not permitted on KinesisStreamAsSource delivery stream type.", text

    def an_update_changes_where_the_next_records_go(self):
        description = self.describe("plain")
        self.firehose.update_destination(DeliveryStreamName="plain",
                                         CurrentDeliveryStreamVersionId=description["VersionId"],
                                         DestinationId=description["Destinations"][0]["DestinationId"],
                                         ExtendedS3DestinationUpdate={"Prefix": "updated/", "BufferingHints": FAST})
        self.firehose.put_record(DeliveryStreamName="plain", Record={"Data": b"after"})
        assert self.delivered("updated/", 5) == b"after"
        assert all("/plain-2-" in key for key in self.keys("updated/")), self.keys("updated/")
        refused("ConcurrentModificationException", self.firehose.update_destination, DeliveryStreamName="plain",
                CurrentDeliveryStreamVersionId="1", DestinationId=description["Destinations"][0]["DestinationId"],
                ExtendedS3DestinationUpdate={"Prefix": "no/"})

    def every_destination_is_described_as_it_was_configured(self):
        s3 = {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}"}
        cases = {
            "HttpEndpointDestination": {"EndpointConfiguration": {"Url": "https://e.example/", "Name": "n", "AccessKey": "k"}},
            "SplunkDestination": {"HECEndpoint": "https://s.example:8088", "HECEndpointType": "Event", "HECToken": "t"},
            "AmazonopensearchserviceDestination": {"RoleARN": ROLE, "ClusterEndpoint": "https://o.example", "IndexName": "i"},
            "ElasticsearchDestination": {"RoleARN": ROLE, "ClusterEndpoint": "https://o.example", "IndexName": "i"},
            "AmazonOpenSearchServerlessDestination": {"RoleARN": ROLE, "CollectionEndpoint": "https://o.example",
                                                      "IndexName": "i"},
            "RedshiftDestination": {"RoleARN": ROLE, "ClusterJDBCURL": "jdbc:redshift://h.example:5439/db",
                                    "CopyCommand": {"DataTableName": "t"}, "Username": "u", "Password": "s3cretPass"},
        }
        for kind, given in cases.items():
            self.create(kind, **{kind + "Configuration": {**given, "S3Configuration": s3}})
            described = self.describe(kind)["Destinations"][0][kind + "Description"]
            for name, value in given.items():
                if name == "Password":
                    assert name not in described, described
                elif name == "EndpointConfiguration":
                    assert described[name] == {"Url": "https://e.example/", "Name": "n"}, described
                else:
                    assert described[name] == value, (name, described)
            assert described["S3DestinationDescription"]["BucketARN"] == s3["BucketARN"], described
            self.firehose.delete_delivery_stream(DeliveryStreamName=kind)

    def terraform_makes_changes_and_destroys_a_stream(self):
        """The calls of aws_kinesis_firehose_delivery_stream, in the provider's order."""
        name, config = "tf", place(Prefix="tf/", CompressionFormat="GZIP",
                                   CloudWatchLoggingOptions={"Enabled": False},
                                   ProcessingConfiguration={"Enabled": False, "Processors": []})
        self.firehose.create_delivery_stream(DeliveryStreamName=name, DeliveryStreamType="DirectPut",
                                             ExtendedS3DestinationConfiguration=config,
                                             Tags=[{"Key": "team", "Value": "a"}])
        first = self.describe(name)
        assert first["DeliveryStreamStatus"] == "ACTIVE" and first["VersionId"] == "1", first
        extended = first["Destinations"][0]["ExtendedS3DestinationDescription"]
        for member, value in config.items():
            assert extended[member] == value, (member, extended)
        assert self.firehose.list_tags_for_delivery_stream(DeliveryStreamName=name)["Tags"] == [
            {"Key": "team", "Value": "a"}]
        self.firehose.start_delivery_stream_encryption(
            DeliveryStreamName=name, DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"})
        update = {**config, "BufferingHints": {"SizeInMBs": 9, "IntervalInSeconds": 400}}
        self.firehose.update_destination(DeliveryStreamName=name, CurrentDeliveryStreamVersionId="1",
                                         DestinationId=first["Destinations"][0]["DestinationId"],
                                         ExtendedS3DestinationUpdate=update)
        self.firehose.untag_delivery_stream(DeliveryStreamName=name, TagKeys=["team"])
        self.firehose.tag_delivery_stream(DeliveryStreamName=name, Tags=[{"Key": "team", "Value": "b"}])
        again = self.describe(name)
        extended = again["Destinations"][0]["ExtendedS3DestinationDescription"]
        for member, value in update.items():
            assert extended[member] == value, (member, extended)
        assert again["VersionId"] == "2" and again["LastUpdateTimestamp"] >= again["CreateTimestamp"], again
        self.firehose.delete_delivery_stream(DeliveryStreamName=name)
        refused("ResourceNotFoundException", self.firehose.describe_delivery_stream, DeliveryStreamName=name)

    def a_stream_made_again_shares_nothing(self):
        self.create("again", S3DestinationConfiguration=place(Prefix="first/", BufferingHints=SLOW))
        self.firehose.put_record(DeliveryStreamName="again", Record={"Data": b"of the first"})
        self.firehose.delete_delivery_stream(DeliveryStreamName="again")
        self.create("again", S3DestinationConfiguration=place(Prefix="second/", BufferingHints=SLOW))
        self.firehose.put_record(DeliveryStreamName="again", Record={"Data": b"second"})
        operate(self.server, "firehose/flush", stream="again")
        assert self.delivered("second/", 6) == b"second"
        assert self.keys("first/") == []

    def the_command_line_does_it_too(self):
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "HOME": home, "AWS_ACCESS_KEY_ID": headrace.KEY_ID,
                           "AWS_SECRET_ACCESS_KEY": headrace.SECRET, "AWS_DEFAULT_REGION": REGION}

            def run(*arguments):
                done = subprocess.run([AWS, "--endpoint-url", self.server.url, "firehose", *arguments],
                                      env=environment, capture_output=True, text=True, timeout=240, check=True)
                return json.loads(done.stdout) if done.stdout.strip() else {}
            run("create-delivery-stream", "--delivery-stream-name", "cli", "--extended-s3-destination-configuration",
                json.dumps(place(Prefix="cli/")))
            run("put-record-batch", "--delivery-stream-name", "cli", "--records", '[{"Data":"hello"}]')
            assert "cli" in run("list-delivery-streams", "--limit", "100")["DeliveryStreamNames"]
        assert self.delivered("cli/", 5) == b"hello"  # version 1 takes data as it is

    def what_was_acknowledged_is_delivered_after_a_kill(self):
        self.create("killed", S3DestinationConfiguration=place(Prefix="killed/", BufferingHints=SLOW),
                    DeliveryStreamEncryptionConfigurationInput={"KeyType": "AWS_OWNED_CMK"})
        want = [b"record %d\n" % i for i in range(500)]
        self.firehose.put_record_batch(DeliveryStreamName="killed", Records=[{"Data": r} for r in want])
        self.server.kill()
        self.server.start()
        self.connect()
        self.firehose.put_record(DeliveryStreamName="killed", Record={"Data": b"and one more\n"})
        operate(self.server, "firehose/flush", stream="killed")
        want.append(b"and one more\n")
        got = self.delivered("killed/", sum(map(len, want)))
        assert sorted(got.splitlines(keepends=True)) == sorted(want), len(got)

    def all_streams_go(self):
        names = self.firehose.list_delivery_streams(Limit=1000)["DeliveryStreamNames"]
        assert len(names) > 5, names
        for name in names:
            self.firehose.delete_delivery_stream(DeliveryStreamName=name)
        assert self.firehose.list_delivery_streams()["DeliveryStreamNames"] == []


STAGES = [(name, function) for name, function in vars(Path).items() if "_" in name.strip("_")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=os.path.join(headrace.ROOT, "build", "headrace"))
    parser.add_argument("words", nargs="*", help="only the stages whose names contain one, and the first")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program) as server:
        path = Path(server)
        for at, (name, stage) in enumerate(STAGES):
            if at == 0 or not options.words or any(word in name for word in options.words):
                report.run(name.replace("_", " "), lambda s=stage: s(path))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
