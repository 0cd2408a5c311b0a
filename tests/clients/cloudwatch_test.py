#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3 and the AWS command line, unmodified, against CloudWatch: metrics of clients and of Kinesis, alarms on
them, and what is left after kill -9.

    tests/clients/cloudwatch_test.py --program build/headrace
"""
import argparse
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone

import boto3
import botocore.config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

AWS = os.path.join(os.path.dirname(sys.executable), "aws")
TICK_SECONDS_MAX = 240  # after the clock was moved, until the server has seen it, on a busy machine
LARGE = 1000           # data of one request: more than SDKs send uncompressed


def client(server, service, **more):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, **more)
    return boto3.client(service, region_name="us-east-1", endpoint_url=server.url,
                        aws_access_key_id=headrace.KEY_ID, aws_secret_access_key=headrace.SECRET, config=config)


def statistics(cloudwatch, name, namespace="Test", hours=1, period=60, dimensions=(), names=("Sum", "SampleCount")):
    """Of the last hours and the two to come: all that is within, in order of time."""
    now = datetime.now(timezone.utc)
    answer = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName=name, StartTime=now - timedelta(hours=hours),
        EndTime=now + timedelta(hours=2), Period=period, Statistics=list(names),
        Dimensions=[{"Name": n, "Value": v} for n, v in dimensions])
    return sorted(answer["Datapoints"], key=lambda p: p["Timestamp"])


def total(points):
    return sum(p["Sum"] for p in points)


def wait_for(what, ask):
    end = time.monotonic() + TICK_SECONDS_MAX
    while True:
        found = ask()
        if found:
            return found
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.2)


def push_to_a_consumer(kinesis, wanted):
    arn = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    wait_for("the consumer is ACTIVE", lambda: kinesis.describe_stream_consumer(
        ConsumerARN=consumer)["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE")
    stream = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId="shardId-000000000000",
                                             StartingPosition={"Type": "TRIM_HORIZON"})["EventStream"]
    found = 0
    for event in stream:
        found += len(event["SubscribeToShardEvent"]["Records"])
        if found >= wanted:
            break
    stream.close()
    assert found == wanted, found


class Path:
    """Stages of one path: each builds on those before it."""

    def __init__(self, server):
        self.server = server
        self.cloudwatch, self.kinesis = client(server, "cloudwatch"), client(server, "kinesis")

    def values_are_put_and_told(self):
        now = datetime.now(timezone.utc).replace(microsecond=0)
        self.cloudwatch.put_metric_data(Namespace="Test", MetricData=[
            {"MetricName": "m", "Value": 1.5, "Unit": "Count"},
            {"MetricName": "m", "Values": [2.0, 4.0], "Counts": [1.0, 3.0], "Unit": "Count", "Timestamp": now},
            {"MetricName": "d", "Value": 1.0, "Dimensions": [{"Name": "Host", "Value": "a"}]}])
        points = statistics(self.cloudwatch, "m")
        assert total(points) == 15.5 and sum(p["SampleCount"] for p in points) == 5, points
        assert all(abs((p["Timestamp"] - now).total_seconds()) <= 120 for p in points), points
        assert points[0]["Unit"] == "Count", points

    def metrics_are_listed(self):
        pages = self.cloudwatch.get_paginator("list_metrics").paginate(Namespace="Test")
        found = {m["MetricName"]: m["Dimensions"] for page in pages for m in page["Metrics"]}
        assert found == {"m": [], "d": [{"Name": "Host", "Value": "a"}]}, found

    def queries_reckon(self):
        now = datetime.now(timezone.utc)
        metric = {"Metric": {"Namespace": "Test", "MetricName": "m"}, "Period": 3600, "Stat": "Sum"}
        pages = self.cloudwatch.get_paginator("get_metric_data").paginate(
            StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1),
            MetricDataQueries=[{"Id": "m", "MetricStat": metric, "ReturnData": False},
                               {"Id": "twice", "Expression": "2 * m", "Label": "double"}])
        results = [r for page in pages for r in page["MetricDataResults"]]
        assert [r["Id"] for r in results] == ["twice"] and results[0]["Label"] == "double", results
        assert sum(results[0]["Values"]) == 31 and results[0]["StatusCode"] == "Complete", results

    def large_requests_come_compressed(self):
        seen = []
        self.cloudwatch.meta.events.register("before-send.cloudwatch.*", lambda request, **_: seen.append(
            request.headers.get("Content-Encoding")))
        self.cloudwatch.put_metric_data(Namespace="Large", MetricData=[
            {"MetricName": f"metric-{n}", "Value": float(n)} for n in range(LARGE)])
        assert seen and seen[0] in ("gzip", b"gzip"), seen
        pages = self.cloudwatch.get_paginator("list_metrics").paginate(Namespace="Large")
        assert sum(len(page["Metrics"]) for page in pages) == LARGE
        assert total(statistics(self.cloudwatch, "metric-999", "Large")) == 999

    def errors_are_the_sdks_own(self):
        try:
            self.cloudwatch.put_metric_data(Namespace="Test", MetricData=[{"MetricName": "m"}])
            raise AssertionError("a datum without a value was taken")
        except self.cloudwatch.exceptions.MissingRequiredParameterException as error:
            assert error.response["Error"]["Code"] in ("MissingParameter", "MissingRequiredParameterException"), error
        try:
            self.cloudwatch.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="r")
            raise AssertionError("an alarm that does not exist has a state")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ResourceNotFound", error
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 404, error

    def what_was_acknowledged_is_there_after_kill_9(self):
        self.cloudwatch.put_metric_data(Namespace="Test", MetricData=[{"MetricName": "killed", "Value": 7.0}])
        self.server.kill()
        self.server.start()
        assert total(statistics(self.cloudwatch, "killed")) == 7

    def kinesis_tells_its_metrics(self):
        self.kinesis.create_stream(StreamName="s", ShardCount=1)
        wait_for("the stream is ACTIVE", lambda: self.kinesis.describe_stream_summary(
            StreamName="s")["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")
        for n in range(5):
            self.kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"0123456789")
        self.kinesis.put_records(StreamName="s", Records=[{"PartitionKey": "k", "Data": b"x"}] * 3)
        iterator = self.kinesis.get_shard_iterator(StreamName="s", ShardId="shardId-000000000000",
                                                   ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        assert len(self.kinesis.get_records(ShardIterator=iterator)["Records"]) == 8
        push_to_a_consumer(self.kinesis, 8)
        self.server.advance_clock("2m")

        def told(name, *more):
            dimensions = [("StreamName", "s"), *more]
            return total(statistics(self.cloudwatch, name, "AWS/Kinesis", dimensions=dimensions))

        def wait_told(expected, *more):  # a minute may have ended between two calls: then some is told before
            got = {}

            def is_told():
                got.update({name: told(name, *more) for name in expected})
                return got == expected

            wait_for(f"Kinesis tells {expected}, and not {got}", is_told)

        wait_told({"IncomingRecords": 8, "IncomingBytes": 5 * 11 + 3 * 2, "PutRecord.Success": 5, "PutRecords.Success": 1,
                   "PutRecords.TotalRecords": 3, "GetRecords.Records": 8, "GetRecords.Success": 1,
                   "WriteProvisionedThroughputExceeded": 0})
        wait_told({"SubscribeToShard.Success": 1, "SubscribeToShard.RateExceeded": 0,
                   "SubscribeToShardEvent.Records": 8, "SubscribeToShardEvent.Bytes": 5 * 11 + 3 * 2},
                  ("ConsumerName", "c"))
        assert told("SubscribeToShardEvent.Success", ("ConsumerName", "c")) > 0
        now = datetime.now(timezone.utc)
        points = self.cloudwatch.get_metric_statistics(
            Namespace="AWS/Kinesis", MetricName="PutRecord.Latency", Dimensions=[{"Name": "StreamName", "Value": "s"}],
            StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=2), Period=3600,
            Statistics=["Minimum", "Maximum"], ExtendedStatistics=["p50", "p99", "p99.9"])["Datapoints"]
        assert points, "no latency is told"
        for p in points:
            told_of = p["ExtendedStatistics"]
            assert (p["Minimum"] <= told_of["p50"] <= told_of["p99"] <= told_of["p99.9"] <= p["Maximum"]), p

    def an_alarm_follows_a_metric_of_kinesis(self):
        self.server.advance_clock("10m")  # what came in before is none of the alarm's periods
        self.cloudwatch.put_metric_alarm(
            AlarmName="busy", Namespace="AWS/Kinesis", MetricName="IncomingRecords", Statistic="Sum", Period=60,
            Dimensions=[{"Name": "StreamName", "Value": "s"}], EvaluationPeriods=1, Threshold=3,
            ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching")
        self.cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=["busy"])

        def state():
            return self.cloudwatch.describe_alarms(AlarmNames=["busy"])["MetricAlarms"][0]["StateValue"]

        self.server.advance_clock("1m")
        wait_for("the alarm is OK", lambda: state() == "OK")
        self.kinesis.put_records(StreamName="s", Records=[{"PartitionKey": "k", "Data": b"x"}] * 4)  # of one minute
        self.server.advance_clock("1m")
        wait_for("the alarm is ALARM", lambda: state() == "ALARM")
        history = self.cloudwatch.describe_alarm_history(AlarmName="busy", HistoryItemType="StateUpdate",
                                                         ScanBy="TimestampAscending")["AlarmHistoryItems"]
        assert [h["HistorySummary"] for h in history] == ["Alarm updated from INSUFFICIENT_DATA to OK",
                                                          "Alarm updated from OK to ALARM"], history
        assert json.loads(history[1]["HistoryData"])["newState"]["stateReason"].startswith(
            "Threshold Crossed: 1 datapoint [4.0 ("), history[1]

    def a_composite_alarm_follows_others(self):
        for name in ("load", "deploys"):
            self.cloudwatch.put_metric_alarm(
                AlarmName=name, Namespace="N", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
                Threshold=1, ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore")
        self.cloudwatch.put_composite_alarm(AlarmName="trouble", AlarmRule='ALARM(load) AND NOT ALARM("deploys")')
        which = {"AlarmNames": ["trouble"], "AlarmTypes": ["CompositeAlarm"]}
        self.cloudwatch.get_waiter("composite_alarm_exists").wait(**which)

        def told():
            return self.cloudwatch.describe_alarms(**which)["CompositeAlarms"][0]

        for child, state, wanted in (("load", "ALARM", "ALARM"), ("deploys", "ALARM", "OK"), ("deploys", "OK", "ALARM")):
            self.cloudwatch.set_alarm_state(AlarmName=child, StateValue=state, StateReason="test")
            wait_for(f"the composite alarm is {wanted}", lambda w=wanted: told()["StateValue"] == w)
        assert " transitioned to OK at " in told()["StateReason"], told()
        children = self.cloudwatch.describe_alarms(ChildrenOfAlarmName="trouble")["MetricAlarms"]
        assert [a["AlarmName"] for a in children] == ["deploys", "load"], children
        try:
            self.cloudwatch.delete_alarms(AlarmNames=["deploys"])
            raise AssertionError("an alarm was deleted that another one watches")
        except ClientError as error:
            assert error.response["Error"]["Message"] == (
                "Cannot delete deploys as there are composite alarm(s) depending on it."), error
        self.cloudwatch.delete_alarms(AlarmNames=["trouble"])
        self.cloudwatch.delete_alarms(AlarmNames=["deploys", "load"])

    def the_command_line_does_the_same(self):
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "HOME": home, "AWS_ACCESS_KEY_ID": headrace.KEY_ID,
                           "AWS_SECRET_ACCESS_KEY": headrace.SECRET, "AWS_DEFAULT_REGION": "us-east-1",
                           "AWS_PAGER": "", "AWS_ENDPOINT_URL": self.server.url}

            def aws(*words):
                run = subprocess.run([AWS, "cloudwatch", *words], env=environment, capture_output=True, text=True,
                                     stdin=subprocess.DEVNULL, timeout=240)
                assert run.returncode == 0, run.stderr
                return json.loads(run.stdout) if run.stdout.strip() else None

            aws("put-metric-data", "--namespace", "Cli", "--metric-name", "m", "--value", "3", "--dimensions", "a=b")
            assert aws("list-metrics", "--namespace", "Cli")["Metrics"] == [
                {"Namespace": "Cli", "MetricName": "m", "Dimensions": [{"Name": "a", "Value": "b"}]}]
            alarms = aws("describe-alarms", "--alarm-names", "busy")["MetricAlarms"]
            assert alarms[0]["MetricName"] == "IncomingRecords", alarms
            aws("delete-alarms", "--alarm-names", "busy")
            assert aws("describe-alarms")["MetricAlarms"] == []


class Function:
    """A function's endpoint: keeps the events that it was called with; while `broken`, answers as one that is down."""

    def __init__(self):
        self.events, self.refused, self.broken = [], 0, True
        function = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if function.broken:
                    function.refused += 1
                else:
                    function.events.append(json.loads(body))
                self.send_response(503 if function.broken else 202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


def alarms_call_functions_whatever_is_killed(program):
    function = Function()
    arn = f"arn:aws:lambda:us-east-1:{headrace.ACCOUNT}:function:notify"
    topic = f"arn:aws:sns:us-east-1:{headrace.ACCOUNT}:topic"
    with headrace.Server(program, "--functions-endpoints", f"notify={function.url}", profile="dev") as server:
        cloudwatch = client(server, "cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName="high", AlarmDescription="too much", Namespace="Test", MetricName="m", Statistic="Sum", Period=60,
            EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore",
            Dimensions=[{"Name": "Host", "Value": "a"}], AlarmActions=[arn, topic], OKActions=[arn])
        cloudwatch.put_composite_alarm(AlarmName="any", AlarmRule="ALARM(high)", AlarmActions=[arn])
        cloudwatch.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="a test")
        wait_for("the function is called, in vain", lambda: function.refused)
        server.kill()
        function.broken = False
        server.start()
        cloudwatch = client(server, "cloudwatch")
        wait_for("both alarms' events", lambda: {e["alarmData"]["alarmName"] for e in function.events} == {"high", "any"})
        event = next(e for e in function.events if e["alarmData"]["alarmName"] == "high")
        assert event["source"] == "aws.cloudwatch" and event["accountId"] == headrace.ACCOUNT, event
        assert event["alarmArn"].endswith(":alarm:high") and event["region"] == "us-east-1", event
        data = event["alarmData"]
        assert (data["state"]["value"], data["state"]["reason"]) == ("ALARM", "a test"), data
        assert data["previousState"]["value"] == "INSUFFICIENT_DATA", data
        metric, = data["configuration"]["metrics"]
        assert metric["metricStat"]["metric"] == {"namespace": "Test", "name": "m", "dimensions": {"Host": "a"}}, metric
        composite = next(e for e in function.events if e["alarmData"]["alarmName"] == "any")["alarmData"]
        assert composite["configuration"]["alarmRule"] == "ALARM(high)", composite

        def summaries():
            return {i["HistorySummary"] for i in cloudwatch.describe_alarm_history(
                AlarmName="high", HistoryItemType="Action")["AlarmHistoryItems"]}

        wait_for("the history of both actions", lambda: len(summaries()) == 2)
        assert summaries() == {f"Successfully executed action {arn}", f"Failed to execute action {topic}. Received "
                               'error: "This server does no actions of the service sns."'}, summaries()
        before = len(function.events)
        cloudwatch.disable_alarm_actions(AlarmNames=["high"])
        cloudwatch.set_alarm_state(AlarmName="high", StateValue="OK", StateReason="nobody is told")
        cloudwatch.enable_alarm_actions(AlarmNames=["high"])
        cloudwatch.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="again")
        wait_for("the next event", lambda: any(e["alarmData"]["state"]["reason"] == "again" for e in function.events))
        assert not [e for e in function.events[before:] if e["alarmData"]["state"]["reason"] == "nobody is told"]


def alarms_are_deleted_together_or_not_at_all(program):
    with headrace.Server(program, profile="dev") as server:
        cloudwatch = client(server, "cloudwatch")
        for name in ("a", "b", "c"):
            cloudwatch.put_metric_alarm(
                AlarmName=name, Namespace="Test", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
                Threshold=1, ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore")

        def names():
            return [a["AlarmName"] for a in cloudwatch.describe_alarms()["MetricAlarms"]]

        cloudwatch.put_composite_alarm(AlarmName="d", AlarmRule="ALARM(b)")
        try:
            cloudwatch.delete_alarms(AlarmNames=["a", "b", "c"])
            raise AssertionError("an alarm on which another depends was deleted")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationError", error
        assert names() == ["a", "b", "c"], names()
        cloudwatch.delete_alarms(AlarmNames=["a", "none", "d"])  # names that do not exist are passed over
        assert names() == ["b", "c"], names()
        cloudwatch.delete_alarms(AlarmNames=["b", "c"])
        assert names() == [], names()


STAGES = [function for name, function in vars(Path).items() if callable(function) and name != "__init__"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program, profile="dev") as server:
        path = Path(server)
        for stage in STAGES:
            report.run(stage.__name__.replace("_", " "), lambda s=stage: s(path))
    for test in (alarms_call_functions_whatever_is_killed, alarms_are_deleted_together_or_not_at_all):
        report.run(test.__name__.replace("_", " "), lambda t=test: t(options.program))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
