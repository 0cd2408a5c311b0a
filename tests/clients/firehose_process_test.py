#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processors of delivery streams, from boto3 to objects: a function behind HTTP that changes, drops and fails
records, logs that are unpacked, records that are split and given delimiters, aggregates in a stream, kills.

    tests/clients/firehose_process_test.py --program build/headrace
"""
import argparse
import base64
import gzip
import hashlib
import http.server
import json
import os
import sys
import threading
import time

import boto3
import botocore.config

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

ACCOUNT = headrace.ACCOUNT
REGION = "us-east-1"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:transform"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/firehose"
WAIT_SECONDS_MAX = 240
TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "firehose.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
MAY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:*", "kinesis:*", "lambda:InvokeFunction"], "Resource": "*"}]}


class Function:
    """What Lambda's API would be: what it is asked is kept, what a record becomes is decided by its text."""

    def __init__(self):
        function = self
        self.events, self.paths, self.failures = [], [], 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                function.paths.append(self.path)
                event = json.loads(body)
                function.events.append(event)
                failing, function.failures = function.failures > 0, max(function.failures - 1, 0)
                reply = b"{}" if failing else json.dumps(
                    {"records": [function.result(r) for r in event["records"]]}).encode()
                self.send_response(200)
                if failing:
                    self.send_header("X-Amz-Function-Error", "Unhandled")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def result(record):
        text = base64.b64decode(record["data"]).decode()
        said = {"recordId": record["recordId"], "result": "Ok",
                "data": base64.b64encode(text.upper().encode()).decode()}
        if "drop" in text:
            said = {"recordId": record["recordId"], "result": "Dropped"}
        elif "fail" in text:
            said["result"] = "ProcessingFailed"
        return said


def client(server, service):
    config = botocore.config.Config(retries={"total_max_attempts": 3, "mode": "standard"}, connect_timeout=60,
                                    read_timeout=240, s3={"addressing_style": "path"})
    return boto3.client(service, region_name=REGION, endpoint_url=server.url, config=config,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)


def processor(kind, **parameters):
    return {"Type": kind, "Parameters": [{"ParameterName": k, "ParameterValue": v} for k, v in parameters.items()]}


def envelope(*messages, kind="DATA_MESSAGE"):
    return gzip.compress(json.dumps({
        "messageType": kind, "owner": ACCOUNT, "logGroup": "g", "logStream": "s", "subscriptionFilters": ["f"],
        "logEvents": [{"id": str(i), "timestamp": i, "message": m} for i, m in enumerate(messages)]}).encode())


def aggregate(*records):
    """As the Kinesis Producer Library packs them."""

    def field(number, data):
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    body = field(1, b"key") + b"".join(field(3, b"\x08\x00" + field(3, r)) for r in records)
    return b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()


class Path:
    """One server; a delivery stream for each stage."""

    def __init__(self, server, function):
        self.server, self.function = server, function
        self.connect()
        iam = client(server, "iam")
        iam.create_role(RoleName="firehose", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.put_role_policy(RoleName="firehose", PolicyName="may", PolicyDocument=json.dumps(MAY))
        self.s3.create_bucket(Bucket="lake")

    def connect(self):
        self.s3, self.firehose = client(self.server, "s3"), client(self.server, "firehose")
        self.kinesis = client(self.server, "kinesis")

    def create(self, name, *processors, **more):
        self.firehose.create_delivery_stream(
            DeliveryStreamName=name, ExtendedS3DestinationConfiguration={
                "RoleARN": ROLE, "BucketARN": "arn:aws:s3:::lake", "Prefix": f"{name}/data/",
                "ErrorOutputPrefix": f"{name}/errors/!{{firehose:error-output-type}}/",
                "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 1},
                "ProcessingConfiguration": {"Enabled": True, "Processors": list(processors)}}, **more)
        self.until(lambda: self.firehose.describe_delivery_stream(DeliveryStreamName=name)[
            "DeliveryStreamDescription"]["DeliveryStreamStatus"] == "ACTIVE", f"{name} is ACTIVE")

    def put(self, name, *records):
        answer = self.firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": r} for r in records])
        assert answer["FailedPutCount"] == 0, answer

    def lines(self, prefix):
        """Of several puts, and so of several objects: the names of two of one second are in no order."""
        return sorted(self.content(prefix).splitlines())

    def content(self, prefix):
        found = self.s3.list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", [])
        return b"".join(self.s3.get_object(Bucket="lake", Key=o["Key"])["Body"].read() for o in found)

    def errors(self, prefix):
        return [json.loads(line) for line in self.content(prefix).decode().splitlines()]

    def until(self, ask, what):
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not ask():
            assert time.monotonic() < end, f"in vain: {what}\n{self.server.tail()}"
            time.sleep(0.2)

    def a_function_changes_drops_and_fails_records(self):
        self.create("changed", processor("Lambda", LambdaArn=FUNCTION + ":$LATEST", NumberOfRetries="1"),
                    processor("AppendDelimiterToRecord", Delimiter="\\n"))
        self.put("changed", b"one", b"drop", b"fail", b"two")
        self.until(lambda: self.content("changed/data/") == b"ONE\nTWO\n", "the records that were changed")
        self.until(lambda: len(self.errors("changed/errors/processing-failed/")) == 1, "the one that failed")
        failed = self.errors("changed/errors/processing-failed/")[0]
        assert failed["errorCode"] == "Lambda.ProcessingFailedStatus", failed
        assert base64.b64decode(failed["rawData"]) == b"fail" and failed["attemptsMade"] == 1, failed
        event = self.function.events[0]
        assert event["region"] == REGION and "sourceKinesisStreamArn" not in event, event
        assert event["deliveryStreamArn"].endswith(":deliverystream/changed"), event
        assert self.function.paths[0] == "/2015-03-31/functions/transform/invocations", self.function.paths

    def a_function_that_fails_once_is_called_again(self):
        calls, self.function.failures = len(self.function.events), 1
        self.put("changed", b"three")
        self.until(lambda: b"THREE\n" in self.content("changed/data/"), "the record of the second call")
        first, second = self.function.events[calls:calls + 2]
        assert first["records"] == second["records"] and first["invocationId"] != second["invocationId"]

    def logs_are_unpacked(self):
        # Only CloudWatch Logs may put such records itself; a stream brings them, too.
        arn = self.stream("logs-in")
        self.create("logs", processor("Decompression", CompressionFormat="GZIP"),
                    processor("CloudWatchLogProcessing", DataMessageExtraction="true"),
                    DeliveryStreamType="KinesisStreamAsSource",
                    KinesisStreamSourceConfiguration={"KinesisStreamARN": arn, "RoleARN": ROLE})
        self.put_stream("logs-in", envelope("a", "b"), envelope("", kind="CONTROL_MESSAGE"), b"no gzip", envelope("c"))
        self.until(lambda: self.lines("logs/data/") == [b"a", b"b", b"c"], "the messages")
        self.until(lambda: len(self.errors("logs/errors/decompression-failed/")) == 1, "what is no gzip")
        assert base64.b64decode(self.errors("logs/errors/decompression-failed/")[0]["rawData"]) == b"no gzip"

    def stream(self, name):
        self.kinesis.create_stream(StreamName=name, ShardCount=1)
        self.kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 240})
        return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"

    def put_stream(self, name, *records):
        """When the delivery is there: it begins with what comes then."""
        for record in records:
            self.kinesis.put_record(StreamName=name, Data=record, PartitionKey="k")

    def aggregates_of_a_stream_are_taken_apart_before_the_function(self):
        calls = len(self.function.events)
        arn = self.stream("packed-in")
        self.create("packed", processor("Lambda", LambdaArn=FUNCTION), processor("AppendDelimiterToRecord"),
                    DeliveryStreamType="KinesisStreamAsSource",
                    KinesisStreamSourceConfiguration={"KinesisStreamARN": arn, "RoleARN": ROLE})
        self.put_stream("packed-in", aggregate(b"x", b"y"), b"z")
        self.until(lambda: self.lines("packed/data/") == [b"X", b"Y", b"Z"], "the inner records")
        records = [r for event in self.function.events[calls:] for r in event["records"]]
        about = [r["kinesisRecordMetadata"] for r in records]
        assert [m["partitionKey"] for m in about] == ["key", "key", "k"], about
        assert [m["subsequenceNumber"] for m in about] == ["0", "1", "0"], about
        assert about[0]["sequenceNumber"] == about[1]["sequenceNumber"] and about[0]["shardId"] == "shardId-000000000000"

    def records_go_where_their_keys_say(self):
        self.firehose.create_delivery_stream(
            DeliveryStreamName="keyed", ExtendedS3DestinationConfiguration={
                "RoleARN": ROLE, "BucketARN": "arn:aws:s3:::lake", "Prefix": "keyed/data/!{partitionKeyFromQuery:c}/",
                "ErrorOutputPrefix": "keyed/errors/!{firehose:error-output-type}/",
                "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 1},
                "DynamicPartitioningConfiguration": {"Enabled": True},
                "ProcessingConfiguration": {"Enabled": True, "Processors": [
                    processor("RecordDeAggregation", SubRecordType="JSON"),
                    processor("MetadataExtraction", MetadataExtractionQuery="if .loop then def f: f; f else {c:.c} end",
                              JsonParsingEngine="JQ-1.6"),
                    processor("AppendDelimiterToRecord")]}})
        self.until(lambda: self.firehose.describe_delivery_stream(DeliveryStreamName="keyed")[
            "DeliveryStreamDescription"]["DeliveryStreamStatus"] == "ACTIVE", "keyed is ACTIVE")
        self.put("keyed", b'{"c":"x","n":1}{"c":"y","n":2}', b'{"c":"x","n":3}', b'{"c":null}', b"no json", b'{"loop":true}')
        self.until(lambda: self.content("keyed/data/x/") == b'{"c":"x","n":1}\n{"c":"x","n":3}\n', "those of x")
        self.until(lambda: self.content("keyed/data/y/") == b'{"c":"y","n":2}\n', "that of y")
        self.until(lambda: len(self.errors("keyed/errors/metadata-extraction-failed/")) == 3, "those without a key")
        failed = self.errors("keyed/errors/metadata-extraction-failed/")
        assert {f["errorCode"] for f in failed} == {"DynamicPartitioning.MetadataExtractionFailed"}, failed
        assert {base64.b64decode(f["rawData"]) for f in failed} == {b'{"c":null}', b"no json", b'{"loop":true}'}, failed

    def records_are_split_and_all_is_there_after_kills(self):
        # Partition keys alone make de-aggregation possible in AWS's console; its API takes it by itself.
        self.create("split", processor("RecordDeAggregation", SubRecordType="JSON"),
                    processor("Lambda", LambdaArn=FUNCTION), processor("AppendDelimiterToRecord"))
        wanted = set()
        for round_ in range(3):
            for i in range(20):
                parts = [json.dumps({"n": f"{round_}-{i}-{k}"}) for k in range(3)]
                wanted |= {p.upper() for p in parts}
                self.put("split", "".join(parts).encode())
            self.server.kill()
            self.server.start()
            self.connect()
        self.until(lambda: wanted <= set(self.content("split/data/").decode().splitlines()), "every part of every record")
        assert set(self.content("split/data/").decode().splitlines()) == wanted


STAGES = [function for name, function in vars(Path).items()
          if callable(function) and name.split("_")[0] in ("a", "logs", "aggregates", "records") and "_" in name]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    function = Function()
    with headrace.Server(options.program, "--functions-endpoints",
                         f"transform=http://127.0.0.1:{function.port}") as server:
        path = Path(server, function)
        for stage in STAGES:
            report.run(stage.__name__.replace("_", " "), lambda s=stage: s(path))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
