# SPDX-License-Identifier: Apache-2.0
"""`headrace firehose`: delivery streams."""
import gzip
import json
import subprocess
import time

import headrace
import shell
import tap
from objects import blob
from shell import reach, run

SECONDS_MAX = 240


def firehose(*arguments, status=0, text_in=""):
    return run("firehose", *arguments, status=status, text_in=text_in, environment=reach(AWS_REGION="us-east-1"))


def keys(place):
    return [line.split("\t")[0] for line in blob("ls", place, "--recursive")[0].splitlines()]


def content(bucket, key):
    return subprocess.run([shell.PROGRAM, "blob", "cat", f"{bucket}/{key}"], capture_output=True, check=True,
                          env=reach(AWS_REGION="us-east-1"), timeout=shell.SECONDS_MAX).stdout


@tap.test
def records_are_sent_flushed_and_become_an_object():
    blob("mb", "cli-lake")
    firehose("create", "cli-logs", "--to", "s3://cli-lake/logs/", "--gzip", "--interval", "900")
    assert firehose("ls")[0].split("\t")[:4] == ["cli-logs", "ACTIVE", "direct", "s3"]
    firehose("send", "cli-logs", text_in='{"n":1}\n{"n":2}\n')
    firehose("send", "cli-logs", '{"n":3}')
    state = json.loads(firehose("show", "cli-logs", "--json")[0])
    assert state["backlog_records"] == 3 and state["deliveries"] == [], state
    firehose("flush", "cli-logs")
    found = keys("cli-lake/logs/")
    assert len(found) == 1 and found[0].endswith(".gz"), found
    assert gzip.decompress(content("cli-lake", found[0])) == b'{"n":1}{"n":2}{"n":3}'
    assert firehose("show", "cli-logs")[0].split("\t")[1:3] == ["3", "21"]
    firehose("rm", "cli-logs", "--yes")
    assert firehose("ls")[0] == ""


@tap.test
def a_stream_is_delivered_from_and_what_cannot_be_made_is_told():
    environment = reach(AWS_REGION="us-east-1")
    run("stream", "create", "cli-source", environment=environment)
    firehose("create", "cli-copy", "--from", "cli-source", "--to", "s3://cli-lake/copy/", "--interval", "0")
    run("stream", "put", "cli-source", "hello", environment=environment)
    end = time.monotonic() + SECONDS_MAX
    while not keys("cli-lake/copy/"):
        assert time.monotonic() < end, "nothing was delivered"
        time.sleep(0.2)
    assert content("cli-lake", keys("cli-lake/copy/")[0]) == b"hello"
    assert "cli-source" in firehose("ls")[0]
    firehose("rm", "cli-copy", "--yes")
    assert "say where to" in firehose("create", "none", status=2)[1]
    assert "DATABASE.TABLE" in firehose("create", "none", "--to", "s3://cli-lake", "--table", "t", status=2)[1]
    assert "--errors" in firehose("create", "none", "--to", "https://127.0.0.1:1/", status=2)[1]
    assert "ResourceNotFound" in firehose("create", "none", "--from", "nothing", "--to", "s3://cli-lake", status=3)[1]
    assert "ResourceNotFound" in firehose("send", "none", "x", status=3)[1]
    firehose("flush", "none", status=3)


@tap.test
def wrong_arguments_are_told_before_anything_is_made():
    folder = shell.new_dir()

    def told(*arguments, status=2):
        out, errors = firehose(*arguments, status=status)
        assert out == "", out
        return errors

    def file(name, text):
        path = f"{folder}/{name}"
        with open(path, "w", encoding="utf-8") as written:
            written.write(text)
        return path

    for to in ("ftp://h/x", "s4://lake/"):
        assert "--to must be" in told("create", "none", "--to", to), to
    assert "name a bucket" in told("create", "none", "--to", "s3://")
    assert "from 1 to 128" in told("create", "none", "--to", "s3://cli-lake", "--size", "129")
    assert "from 0 to 900" in told("create", "none", "--to", "s3://cli-lake", "--interval", "-1")
    assert "ErrorOutputPrefix" in told("create", "none", "--to", "s3://cli-lake/!{timestamp:yyyy}/", status=1)
    assert "No such file" in told("create", "none", "--request", f"{folder}/nothing", status=3)
    assert "not a JSON object" in told("create", "none", "--request", file("half", "{"))
    assert "not a JSON object" in told("create", "none", "--request", file("list", "[]"))
    assert 'is "other", not "none"' in told("create", "none", "--request", file("other", '{"DeliveryStreamName":"other"}'))
    assert 'is "", not "none"' in told("create", "none", "--request", file("nameless", "{}"))
    assert "No such file" in told("send", "none", "--file", f"{folder}/nothing", status=3)
    assert "NoSuchBucket" in told("redrive", "none", "s3://cli-no-lake/errors/", status=3)
    assert firehose("ls")[0] == "", "something was made"


@tap.test
def what_failed_is_put_again():
    request = {"DeliveryStreamName": "cli-again", "ExtendedS3DestinationConfiguration": {
        "RoleARN": f"arn:aws:iam::{headrace.ACCOUNT}:role/headrace-delivery", "BucketARN": "arn:aws:s3:::cli-lake",
        "Prefix": "again/", "ErrorOutputPrefix": "failed/!{firehose:error-output-type}/",
        "BufferingHints": {"IntervalInSeconds": 900, "SizeInMBs": 5},
        "ProcessingConfiguration": {"Enabled": True, "Processors": [
            {"Type": "AppendDelimiterToRecord", "Parameters": []}]}}}
    path = shell.new_dir() + "/request.json"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(request, file)
    firehose("create", "cli-again", "--request", path)
    lines = [json.dumps({"errorCode": "x", "rawData": raw}) for raw in ("b25l", "dHdv", "dGhyZWU=")]
    blob("put", "cli-lake/failed/processing-failed/1", text_in="\n".join(lines[:2]) + "\n")
    blob("put", "cli-lake/failed/processing-failed/2", text_in=lines[2])  # without an end
    out, _ = firehose("redrive", "cli-again", "s3://cli-lake/failed/", "--dry-run")
    assert out == "3 records of 2 objects would be put again\n", out
    blob("put", "cli-lake/strange/1", text_in="no failed record")
    assert "1 lines are no failed records" in firehose("redrive", "cli-again", "s3://cli-lake/strange/", "--remove", status=1)[1]
    assert keys("cli-lake/strange/") == ["strange/1"]
    firehose("redrive", "cli-again", "s3://cli-lake/failed/", "--remove")
    assert keys("cli-lake/failed/") == []
    firehose("flush", "cli-again")
    assert sorted(content("cli-lake", keys("cli-lake/again/")[0]).splitlines()) == [b"one", b"three", b"two"]
    firehose("rm", "cli-again", "--yes")
    blob("rm", "cli-lake", "--recursive", "--yes")
    blob("rm", "cli-lake")
