#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The AWS command line, unmodified, against the server, as a person would type it.

    tests/clients/awscli_test.py --program build/headrace
"""
import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

STREAM, RECORDS = "cli", 9
AWS = os.path.join(os.path.dirname(sys.executable), "aws")
CALL_SECONDS_MAX = 240


class Shell:
    def __init__(self, server, home, tls=False):
        self.url = server.tls_url if tls else server.url
        self.environment = {**os.environ, "HOME": home, "AWS_ACCESS_KEY_ID": headrace.KEY_ID,
                            "AWS_SECRET_ACCESS_KEY": headrace.SECRET, "AWS_DEFAULT_REGION": "us-east-1",
                            "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1", "AWS_ENDPOINT_URL": self.url,
                            "AWS_EC2_METADATA_DISABLED": "true"}
        if tls:
            self.environment["AWS_CA_BUNDLE"] = server.certificate

    def run(self, *words):
        return subprocess.run([AWS, "kinesis", *words], env=self.environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=CALL_SECONDS_MAX)

    def aws(self, *words):
        run = self.run(*words)
        assert run.returncode == 0, f"aws kinesis {' '.join(words)}: {run.stderr.strip()}"
        return json.loads(run.stdout) if run.stdout.strip() else None

    def refused(self, text, *words):
        run = self.run(*words)
        assert run.returncode != 0 and text in run.stderr, f"expected '{text}', got '{run.stderr.strip()}'"


def put_all(shell):
    """Version 1 of the command line takes a blob as it is typed, and prints it in base64."""
    put = {}
    for number in range(RECORDS // 3):
        data = f"one {number}"
        reply = shell.aws("put-record", "--stream-name", STREAM, "--partition-key", f"p{number}", "--data",
                          data)
        put.setdefault(reply["ShardId"], []).append((reply["SequenceNumber"], data))
    entries = [{"Data": f"many {n}", "PartitionKey": f"q{n}"}
               for n in range(RECORDS)]
    reply = shell.aws("put-records", "--stream-name", STREAM, "--records", json.dumps(entries))
    assert reply["FailedRecordCount"] == 0, reply
    for number, result in enumerate(reply["Records"]):
        put.setdefault(result["ShardId"], []).append((result["SequenceNumber"], f"many {number}"))
    return put


def read_shard(shell, shard, *iterator):
    found = shell.aws("get-shard-iterator", "--stream-name", STREAM, "--shard-id", shard,
                      "--shard-iterator-type", *iterator)
    page = shell.aws("get-records", "--shard-iterator", found["ShardIterator"])
    return [(r["SequenceNumber"], base64.b64decode(r["Data"]).decode()) for r in page["Records"]]


def walk(report, server, home):
    shell = Shell(server, home)

    def a_stream_is_created_waited_for_and_described():
        shell.aws("create-stream", "--stream-name", STREAM, "--shard-count", "3")
        shell.aws("wait", "stream-exists", "--stream-name", STREAM)
        about = shell.aws("describe-stream", "--stream-name", STREAM)["StreamDescription"]
        assert len(about["Shards"]) == 3 and about["StreamStatus"] == "ACTIVE", about
        assert shell.aws("list-streams")["StreamNames"] == [STREAM]

    def records_go_in_and_come_back_in_order():
        stored = put_all(shell)
        assert server.scans("PutRecord") == (RECORDS // 3, 0) and server.scans("PutRecords") == (1, 0)
        for shard, put in stored.items():
            put.sort(key=lambda r: int(r[0]))
            assert read_shard(shell, shard, "TRIM_HORIZON") == put
            assert read_shard(shell, shard, "AFTER_SEQUENCE_NUMBER", "--starting-sequence-number",
                              put[0][0]) == put[1:]

    def tags_and_retention_are_set():
        shell.aws("add-tags-to-stream", "--stream-name", STREAM, "--tags", "env=test,team=rivers")
        tags = shell.aws("list-tags-for-stream", "--stream-name", STREAM)["Tags"]
        assert tags == [{"Key": "env", "Value": "test"}, {"Key": "team", "Value": "rivers"}], tags
        shell.aws("increase-stream-retention-period", "--stream-name", STREAM, "--retention-period-hours", "48")
        about = shell.aws("describe-stream-summary", "--stream-name", STREAM)["StreamDescriptionSummary"]
        assert about["RetentionPeriodHours"] == 48, about

    def mistakes_show_the_message_of_aws():
        shell.refused("An error occurred (ResourceNotFoundException) when calling the PutRecord operation: "
                      f"Stream nothing under account {headrace.ACCOUNT} not found.", "put-record",
                      "--stream-name", "nothing", "--partition-key", "p", "--data", "eA==")

    def the_same_works_over_tls():
        secure = Shell(server, home, tls=True)
        assert secure.aws("list-shards", "--stream-name", STREAM)["Shards"][2]["ShardId"] == "shardId-000000000002"

    def the_stream_is_deleted():
        shell.aws("delete-stream", "--stream-name", STREAM)
        shell.aws("wait", "stream-not-exists", "--stream-name", STREAM)

    for stage in (a_stream_is_created_waited_for_and_described, records_go_in_and_come_back_in_order,
                  tags_and_retention_are_set, mistakes_show_the_message_of_aws, the_same_works_over_tls,
                  the_stream_is_deleted):
        report.run(stage.__name__.replace("_", " "), stage)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program) as server, tempfile.TemporaryDirectory() as home:
        walk(report, server, home)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
