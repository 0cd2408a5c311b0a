#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Event notifications of S3 to functions, from boto3 to what the function is sent: form, filters, tries again, kill -9.

    tests/clients/s3_events_test.py --program build/headrace
"""
import argparse
import http.server
import json
import os
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import headrace  # noqa: E402
import tap  # noqa: E402
from s3_test import client, refused  # noqa: E402

ARN = f"arn:aws:lambda:us-east-1:{headrace.ACCOUNT}:function:watch"
WAIT_SECONDS_MAX = 240


class Function(http.server.BaseHTTPRequestHandler):
    """The function `watch`: keeps what it is sent, or answers with a status that it was told."""
    protocol_version = "HTTP/1.1"
    lock, records, status, seen = threading.Lock(), [], 200, 0

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Function.lock:
            Function.seen += 1
            status = Function.status
            if status == 200:
                Function.records += body["Records"]
        reply = b"null" if status != 299 else b'{"errorMessage":"no","errorType":"No"}'
        self.send_response(200 if status == 299 else status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def waited(done):
    end = time.monotonic() + WAIT_SECONDS_MAX
    while not done():
        assert time.monotonic() < end, (Function.seen, [r["s3"]["object"]["key"] for r in Function.records])
        time.sleep(0.05)


class Path:
    """One server's life, stage by stage."""

    def __init__(self, server):
        self.server, self.s3 = server, client(server)

    def configure(self, EventBridgeToo=False, **more):
        one = {"Id": "all", "LambdaFunctionArn": ARN, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"], **more}
        self.s3.put_bucket_notification_configuration(
            Bucket="watched", NotificationConfiguration={"LambdaFunctionConfigurations": [one], **({"EventBridgeConfiguration": {}} if EventBridgeToo else {})})

    def told(self, count):
        waited(lambda: len(Function.records) >= count)
        with Function.lock:
            records, Function.records = Function.records, []
        return records

    def later(self, done):
        """Moves the clock until it is done: the server notes when it tries again after the function has answered."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not done():
            assert time.monotonic() < end, Function.seen
            time.sleep(0.5)
            self.server.advance_clock("130s")

    def destinations_that_nobody_serves_are_refused(self):
        self.s3.create_bucket(Bucket="watched")
        for arn in (ARN.replace("watch", "other"), "arn:aws:sqs:us-east-1:000000000000:q", "nonsense"):
            refused("InvalidArgument", self.s3.put_bucket_notification_configuration, Bucket="watched", NotificationConfiguration={
                "LambdaFunctionConfigurations": [{"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]})
        for kind, member, service in (("QueueConfigurations", "QueueArn", "sqs"), ("TopicConfigurations", "TopicArn", "sns")):
            refused("InvalidArgument", self.s3.put_bucket_notification_configuration, Bucket="watched", NotificationConfiguration={
                kind: [{member: f"arn:aws:{service}:us-east-1:000000000000:x", "Events": ["s3:ObjectCreated:*"]}]})
        refused("InvalidArgument", self.configure, Events=["s3:Nothing:*"])
        assert "LambdaFunctionConfigurations" not in self.s3.get_bucket_notification_configuration(Bucket="watched")

    def nothing_waits_for_eventbridge_which_nobody_is(self):
        self.s3.put_bucket_notification_configuration(Bucket="watched", NotificationConfiguration={"EventBridgeConfiguration": {}})
        assert self.s3.get_bucket_notification_configuration(Bucket="watched")["EventBridgeConfiguration"] == {}
        for n in range(10):
            self.s3.put_object(Bucket="watched", Key=f"quiet/{n}", Body=b"x")
            self.s3.delete_object(Bucket="watched", Key=f"quiet/{n}")
        assert self.server.metric("headrace_s3_events_waiting") == 0 and not Function.records
        self.configure(EventBridgeToo=True)
        self.s3.put_object(Bucket="watched", Key="both", Body=b"x")
        assert [r["s3"]["object"]["key"] for r in self.told(1)] == ["both"]
        waited(lambda: self.server.metric("headrace_s3_events_waiting") == 0)

    def an_event_has_the_form_that_functions_know(self):
        self.configure()
        made = self.s3.put_object(Bucket="watched", Key="a b/é+.txt", Body=b"hello")
        record, = self.told(1)
        assert record["eventVersion"] == "2.1" and record["eventSource"] == "aws:s3" and record["awsRegion"] == "us-east-1"
        assert record["eventName"] == "ObjectCreated:Put" and record["eventTime"].endswith("Z")
        assert record["userIdentity"]["principalId"] and "sourceIPAddress" in record["requestParameters"]
        assert record["responseElements"]["x-amz-request-id"]
        s3 = record["s3"]
        assert s3["s3SchemaVersion"] == "1.0" and s3["configurationId"] == "all"
        assert s3["bucket"]["name"] == "watched" and s3["bucket"]["arn"] == "arn:aws:s3:::watched" and s3["bucket"]["ownerIdentity"]["principalId"]
        assert urllib.parse.unquote_plus(s3["object"]["key"]) == "a b/é+.txt" and s3["object"]["size"] == 5
        assert f'"{s3["object"]["eTag"]}"' == made["ETag"]
        self.s3.put_object(Bucket="watched", Key="a b/é+.txt", Body=b"again")
        later, = self.told(1)
        assert later["s3"]["object"]["sequencer"] > s3["object"]["sequencer"], (s3, later)

    def every_way_to_make_and_remove_is_told(self):
        self.s3.copy_object(Bucket="watched", Key="copy", CopySource="watched/a b/é+.txt")
        upload = self.s3.create_multipart_upload(Bucket="watched", Key="parts")["UploadId"]
        part = self.s3.upload_part(Bucket="watched", Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
        self.s3.complete_multipart_upload(Bucket="watched", Key="parts", UploadId=upload,
                                          MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        self.s3.delete_object(Bucket="watched", Key="copy")
        self.s3.delete_object(Bucket="watched", Key="never was")
        found = sorted((r["eventName"], r["s3"]["object"]["key"]) for r in self.told(3))
        assert found[:2] == [("ObjectCreated:CompleteMultipartUpload", "parts"), ("ObjectCreated:Copy", "copy")], found
        assert ("ObjectRemoved:Delete", "copy") in found, found

    def filters_decide_by_prefix_and_suffix(self):
        self.configure(Filter={"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]}})
        for key in ("in/a.txt", "out/a.jpg", "in/a.jpg"):
            self.s3.put_object(Bucket="watched", Key=key, Body=b"x")
        assert [r["s3"]["object"]["key"] for r in self.told(1)] == ["in/a.jpg"]

    def one_that_is_away_gets_it_later(self):
        self.configure()
        Function.status, before = 503, Function.seen
        self.s3.put_object(Bucket="watched", Key="later", Body=b"x")
        waited(lambda: Function.seen >= before + 2)
        assert self.server.metric("headrace_s3_events_waiting") == 1
        Function.status = 200
        assert [r["s3"]["object"]["key"] for r in self.told(1)] == ["later"]

    def one_that_fails_gets_it_three_times(self):
        Function.status, before = 299, Function.seen
        self.s3.put_object(Bucket="watched", Key="bad", Body=b"x")
        for n in (1, 2, 3):
            self.later(lambda n=n: Function.seen >= before + n)
        waited(lambda: self.server.metric('headrace_s3_events_total{result="dead"}') == 1)
        assert Function.seen == before + 3 and self.server.metric("headrace_s3_events_waiting") == 0
        Function.status = 200

    def what_rules_end_is_told(self):
        self.configure(Events=["s3:LifecycleExpiration:*", "s3:LifecycleTransition"])
        self.s3.put_object(Bucket="watched", Key="old/a", Body=b"x")
        self.s3.put_object(Bucket="watched", Key="move/a", Body=b"x" * 200000)
        self.s3.put_bucket_lifecycle_configuration(Bucket="watched", LifecycleConfiguration={"Rules": [
            {"ID": "ends", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 2}},
            {"ID": "moves", "Status": "Enabled", "Filter": {"Prefix": "move/"},
             "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}]})
        said = self.s3.head_object(Bucket="watched", Key="old/a")["Expiration"]
        assert said.startswith('expiry-date="') and said.endswith(' 00:00:00 GMT", rule-id="ends"'), said
        assert "Expiration" not in self.s3.head_object(Bucket="watched", Key="move/a")
        self.server.advance_clock("96h")
        found = {r["eventName"]: r for r in self.told(2)}
        gone, moved = found["LifecycleExpiration:Delete"], found["LifecycleTransition"]
        assert gone["s3"]["object"]["key"] == "old/a" and "size" not in gone["s3"]["object"], gone
        assert gone["eventVersion"] == "2.3" and gone["userIdentity"]["principalId"] == "s3.amazonaws.com", gone
        assert moved["s3"]["object"]["key"] == "move/a", moved
        assert moved["lifecycleEventData"]["transitionEventData"]["destinationStorageClass"] == "GLACIER", moved
        refused("NoSuchKey", self.s3.get_object, Bucket="watched", Key="old/a")
        assert self.s3.head_object(Bucket="watched", Key="move/a")["StorageClass"] == "GLACIER"

    def a_restore_is_told_when_it_begins_and_when_it_is_done(self):
        self.configure(Events=["s3:ObjectRestore:*"])
        ask = dict(Bucket="watched", Key="move/a", RestoreRequest={"Days": 2, "GlacierJobParameters": {"Tier": "Bulk"}})
        refused("InvalidObjectState", self.s3.get_object, Bucket="watched", Key="move/a")
        assert self.s3.restore_object(**ask)["ResponseMetadata"]["HTTPStatusCode"] == 202
        begun, = self.told(1)
        assert begun["eventName"] == "ObjectRestore:Post", begun
        assert self.s3.head_object(Bucket="watched", Key="move/a")["Restore"] == 'ongoing-request="true"'
        refused("RestoreAlreadyInProgress", self.s3.restore_object, **ask)
        self.server.kill()
        self.server.start()
        refused("InvalidObjectState", self.s3.get_object, Bucket="watched", Key="move/a")
        self.server.advance_clock("6h")
        done, = self.told(1)
        assert done["eventName"] == "ObjectRestore:Completed" and done["s3"]["object"]["size"] == 200000, done
        data = done["glacierEventData"]["restoreEventData"]
        assert data["lifecycleRestoreStorageClass"] == "GLACIER" and data["lifecycleRestorationExpiryTime"].endswith("T00:00:00.000Z"), data
        assert self.s3.get_object(Bucket="watched", Key="move/a")["Body"].read() == b"x" * 200000
        assert 'ongoing-request="false", expiry-date="' in self.s3.head_object(Bucket="watched", Key="move/a")["Restore"]
        one, = self.s3.list_objects_v2(Bucket="watched", Prefix="move/", OptionalObjectAttributes=["RestoreStatus"])["Contents"]
        assert one["RestoreStatus"]["IsRestoreInProgress"] is False and one["RestoreStatus"]["RestoreExpiryDate"], one
        self.s3.delete_bucket_lifecycle(Bucket="watched")  # which would move the copy, too
        self.s3.copy_object(Bucket="watched", Key="move/b", CopySource="watched/move/a")
        longer = {**ask, "RestoreRequest": {"Days": 4}}
        assert self.s3.restore_object(**longer)["ResponseMetadata"]["HTTPStatusCode"] == 200
        self.server.advance_clock("96h")  # it would have ended
        assert self.s3.get_object(Bucket="watched", Key="move/a")["Body"].read() == b"x" * 200000
        assert not Function.records
        self.server.kill()
        self.server.start()
        self.server.advance_clock("48h")
        ended, = self.told(1)
        assert ended["eventName"] == "ObjectRestore:Delete" and ended["eventVersion"] == "2.3", ended
        assert ended["s3"]["object"]["key"] == "move/a" and ended["userIdentity"]["principalId"] == "s3.amazonaws.com", ended
        refused("InvalidObjectState", self.s3.get_object, Bucket="watched", Key="move/a")
        assert "Restore" not in self.s3.head_object(Bucket="watched", Key="move/a")
        assert self.s3.get_object(Bucket="watched", Key="move/b")["Body"].read() == b"x" * 200000
        self.configure()

    def of_a_restore_that_is_over_before_its_end_nothing_is_told(self):
        self.configure(Events=["s3:ObjectRestore:Delete"])
        for key in ("gone", "replaced", "kept"):
            self.s3.put_object(Bucket="watched", Key=key, Body=b"x", StorageClass="DEEP_ARCHIVE")
            self.s3.restore_object(Bucket="watched", Key=key, RestoreRequest={"Days": 1})
        self.s3.delete_object(Bucket="watched", Key="gone")
        self.s3.put_object(Bucket="watched", Key="replaced", Body=b"y")
        self.server.advance_clock("72h")
        assert [(r["eventName"], r["s3"]["object"]["key"]) for r in self.told(1)] == [("ObjectRestore:Delete", "kept")]
        self.server.advance_clock("72h")
        assert not Function.records
        self.configure()

    def none_is_lost_by_kill_9(self):
        Function.status = 503
        keys = {f"k{n}" for n in range(40)}
        for key in keys:
            self.s3.put_object(Bucket="watched", Key=key, Body=b"x")
        self.server.kill()
        Function.status = 200
        self.server.start()
        waited(lambda: keys <= {r["s3"]["object"]["key"] for r in Function.records})
        waited(lambda: self.server.metric("headrace_s3_events_waiting") == 0)
        Function.records = []

    def what_was_sent_is_not_sent_again(self):
        self.server.stop()
        self.server.start()
        self.s3.put_object(Bucket="watched", Key="last", Body=b"x")
        assert [r["s3"]["object"]["key"] for r in self.told(1)] == ["last"]
        self.s3.put_bucket_notification_configuration(Bucket="watched", NotificationConfiguration={})
        self.s3.put_object(Bucket="watched", Key="silent", Body=b"x")
        assert self.server.metric("headrace_s3_events_waiting") == 0 and not Function.records


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    function = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Function)
    threading.Thread(target=function.serve_forever, daemon=True).start()
    with headrace.Server(options.program, "--functions-endpoints", f"watch=http://127.0.0.1:{function.server_address[1]}",
                         "--s3-restore-delay", "5h",
                         profile="dev") as server:
        path = Path(server)
        for name in [n for n, f in vars(Path).items() if callable(f) and n not in ("__init__", "configure", "told", "later")]:
            report.run(name.replace("_", " "), getattr(path, name))
    function.shutdown()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
