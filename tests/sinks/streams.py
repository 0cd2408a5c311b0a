# SPDX-License-Identifier: Apache-2.0
"""Delivery streams of a server that is killed and started anew. PROGRAM is set by whoever runs the tests."""
import json
import time
import urllib.request

import boto3
import botocore.config

import headrace
import sigv4

PROGRAM = None
ROLE = f"arn:aws:iam::{headrace.ACCOUNT}:role/delivery"
DELIVER_SECONDS_MAX = 240


class Hoses:
    """A server with a bucket and a role, that is killed and started anew as a test wants it."""

    def __init__(self, *arguments, small_disk_mib=0, **settings):
        environment = {f"HEADRACE_DESTINATIONS_{name.upper()}": value for name, value in settings.items()}
        self.server = headrace.Server(PROGRAM, *arguments, environment=environment, small_disk_mib=small_disk_mib)
        self.server.start()
        self.connect()
        self.s3.create_bucket(Bucket="lake")
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                         "Principal": {"Service": "firehose.amazonaws.com"}}]}
        may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam = self.client("iam")
        iam.create_role(RoleName="delivery", AssumeRolePolicyDocument=json.dumps(trust))
        iam.put_role_policy(RoleName="delivery", PolicyName="p", PolicyDocument=json.dumps(may))

    def client(self, service):
        config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=60,
                                        read_timeout=240)
        return boto3.client(service, region_name="us-east-1", endpoint_url=self.server.url, config=config,
                            aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET)

    def connect(self):
        self.firehose, self.s3 = self.client("firehose"), self.client("s3")

    def restart(self):
        self.server.kill()
        self.server.start()
        self.connect()

    def create(self, name, kind, **destination):
        place = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::lake", "Prefix": f"{name}/",
                 "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0}}
        self.firehose.create_delivery_stream(
            DeliveryStreamName=name,
            **{f"{kind}DestinationConfiguration": {"S3Configuration": place, **destination}})

    def put(self, name, records):
        """Those that were acknowledged."""
        answer = self.firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": r} for r in records])
        return [r for r, told in zip(records, answer["RequestResponses"]) if "RecordId" in told]

    def objects(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix)
        keys = [o["Key"] for page in pages for o in page.get("Contents", ())]
        return {key: self.s3.get_object(Bucket="lake", Key=key)["Body"].read() for key in keys}

    def failed(self, prefix, count):
        """Error records below a prefix, once there are so many."""
        lines = []

        def are_there():
            lines[:] = [json.loads(line) for body in self.objects(prefix).values() for line in body.splitlines()]
            return len(lines) >= count

        wait(are_there)
        return lines

    def put_and_kill(self, name, rounds):
        """Puts documents while the server is killed again and again; the acknowledged ones."""
        acknowledged = []
        for r in range(rounds):
            for batch in range(10):
                first = (r * 10 + batch) * 50
                acknowledged += self.put(name, [json.dumps({"id": n, "name": f"n{n}"}).encode() + b"\n"
                                                for n in range(first, first + 50)])
            time.sleep(0.3 * r)  # in the middle of one thing or another
            self.restart()
        return acknowledged

    def operate(self, page, **body):
        """A page for operators."""
        path, data = f"/_headrace/admin/{page}", json.dumps(body).encode()
        headers = sigv4.sign(headrace.KEY_ID, headrace.SECRET, "us-east-1", "headrace", "POST", path,
                             {"Host": f"127.0.0.1:{self.server.port}", "Content-Type": "application/json"}, data)
        request = urllib.request.Request(self.server.url + path, data=data, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=DELIVER_SECONDS_MAX) as reply:
            return json.load(reply)

    def close(self):
        self.server.stop()
        self.server.remove()


HOSES = []


def hoses():
    if not HOSES:
        HOSES.append(Hoses())
    return HOSES[0]


def wait(is_so, seconds_max=DELIVER_SECONDS_MAX):
    end = time.monotonic() + seconds_max
    while not is_so():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.2)


def retry(seconds):
    return {"RetryOptions": {"DurationInSeconds": seconds}}


HINTS = {"SizeInMBs": 1, "IntervalInSeconds": 0}
