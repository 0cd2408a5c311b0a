#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash loop of queues: producers and consumers over HTTP, kill -9 at random moments, restart, compare.

What must hold, on one data directory that is kept through all rounds:
  - a record whose acknowledgement was answered never comes again;
  - a record whose put was answered comes, again and again, until it is acknowledged;
  - nothing comes that was not put, and its data is what was put;
  - a record never comes while it is in flight: not before its visibility has ended;
  - its RecordId stays the same.

    tests/queues.py --program build/headrace --rounds 20 --seed 7

A failed run says its seed and keeps its data directory.
"""
import argparse
import base64
import http.client
import json
import random
import socket
import struct
import sys
import threading
import time

import headrace
import tap

PRODUCERS, CONSUMERS = 2, 4
ROUND_SECONDS = (0.05, 0.8)
VISIBILITY_SECONDS = 2
DRAIN_SECONDS_MAX = 300
LEFT_SECONDS_MAX = 240
FORGOTTEN_SHARE = 0.2  # of what is received is not acknowledged
GONE = (OSError, http.client.HTTPException)


class Ledger:
    """What is known of every record, by its data."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent, self.put, self.done = set(), set(), set()
        self.unsure = set()  # an acknowledgement was sent and not answered: it may be done
        self.ids, self.asked, self.hidden_until, self.trouble = {}, {}, {}, []
        self.counts = {}  # how often each was received from this life of the server

    def say(self, text):
        with self.lock:
            self.trouble.append(text)

    def missing(self):
        """What must still come."""
        with self.lock:
            return self.put - self.done - self.unsure

    def received(self, record, asked, answered):
        """A record that came between two moments."""
        data = base64.b64decode(record["Data"]).decode()
        with self.lock:
            if data not in self.sent:
                self.trouble.append(f"{data} came and was never put")
            # A consumer that got no processor for seconds tells of what came before another one had it.
            is_told_late = record["ReceiveCount"] < self.counts.get(data, 0)
            self.counts[data] = max(record["ReceiveCount"], self.counts.get(data, 0))
            if data in self.done and not is_told_late:
                self.trouble.append(f"{data} came after its acknowledgement")
            if self.hidden_until.get(data, 0) > answered and not is_told_late:
                self.trouble.append(f"{data} came while it was in flight")
            if self.ids.setdefault(data, record["RecordId"]) != record["RecordId"]:
                self.trouble.append(f"{data} came with another RecordId")
            self.asked[data] = max(asked, self.asked.get(data, 0))
            self.hidden_until[data] = self.asked[data] + VISIBILITY_SECONDS
        return data


class Producer(threading.Thread):
    def __init__(self, server, ledger, label):
        super().__init__(daemon=True)
        self.client, self.ledger, self.label, self.stopping, self.count = server.client(), ledger, label, False, 0

    def run(self):
        try:
            while not self.stopping:
                names = [f"{self.label}-{self.count + n}" for n in range(5)]
                self.count += len(names)
                with self.ledger.lock:
                    self.ledger.sent |= set(names)
                reply = self.client.call("PutRecords", StreamName="s", Records=[
                    {"Data": base64.b64encode(name.encode()).decode(), "PartitionKey": name} for name in names])
                with self.ledger.lock:
                    self.ledger.put |= {name for name, r in zip(names, reply["Records"]) if "ShardId" in r}
                time.sleep(0.002)
        except GONE:
            pass
        except Exception as error:
            self.ledger.say(f"a put was answered badly: {error}")


class Consumer(threading.Thread):
    def __init__(self, server, ledger, arn, seed, drains=False):
        super().__init__(daemon=True)
        self.client, self.ledger, self.arn = server.client(timeout=120), ledger, arn
        self.random, self.drains, self.stopping = random.Random(seed), drains, False

    def turn(self):
        asked = time.monotonic()
        reply = self.client.call("ReceiveQueueRecords", QueueARN=self.arn, WaitTimeSeconds=1,
                                 VisibilityTimeoutSeconds=VISIBILITY_SECONDS)
        answered = time.monotonic()
        mine = {}
        for record in reply["QueueRecords"]:
            data = self.ledger.received(record, asked, answered)
            if self.drains or self.random.random() >= FORGOTTEN_SHARE:
                mine[record["ReceiptHandle"]] = data
        if mine:
            self.acknowledge(mine)

    def acknowledge(self, mine):
        # From here on it may be done, whether we hear of it or not.
        with self.ledger.lock:
            self.ledger.unsure |= set(mine.values())
        reply = self.client.call("AcknowledgeQueueRecords", QueueARN=self.arn,
                                 Entries=[{"ReceiptHandle": handle} for handle in mine])
        done = {mine[e["ReceiptHandle"]] for e in reply["Successful"]}
        with self.ledger.lock:
            self.ledger.done |= done
            self.ledger.unsure -= set(mine.values())
        for entry in reply["Failed"]:
            if entry["ErrorCode"] not in ("InvalidArgumentException",):  # it was too late: received by another
                self.ledger.say(f"an acknowledgement failed: {entry}")

    def run(self):
        try:
            while not self.stopping:
                self.turn()
        except GONE:
            pass
        except Exception as error:
            self.ledger.say(f"a consumer was answered badly: {type(error).__name__}: {error}")


def make(server):
    client = server.client()
    client.call("CreateStream", StreamName="s")
    client.wait_active("s")
    return client.call("CreateQueue", QueueName="q", QueueAttributes={
        "DeadLetterConfiguration": {"TargetType": "NONE"}}, StreamConfigurationList=[
        {"StreamARN": f"arn:aws:kinesis:us-east-1:{headrace.ACCOUNT}:stream/s"}])["QueueDescription"]["QueueARN"]


def one_round(server, ledger, arn, number, rng):
    threads = [Producer(server, ledger, f"{number}-{n}") for n in range(PRODUCERS)]
    threads += [Consumer(server, ledger, arn, rng.random()) for _ in range(CONSUMERS)]
    for thread in threads:
        thread.start()
    time.sleep(rng.uniform(*ROUND_SECONDS))
    server.kill()
    for thread in threads:
        thread.stopping = True
        thread.join(240)
    ledger.counts.clear()
    server.start()


def show_all(server, ledger):
    """What is in flight is visible from now on: its time is over."""
    with ledger.lock:
        ledger.hidden_until.clear()
    server.advance_clock("1m")


def drain(server, ledger, arn):
    """Everything that was put and is not done must come now; then nothing more."""
    end = time.monotonic() + DRAIN_SECONDS_MAX
    show_all(server, ledger)
    consumers = [Consumer(server, ledger, arn, n, drains=True) for n in range(CONSUMERS)]
    for consumer in consumers:
        consumer.start()
    while ledger.missing() and time.monotonic() < end and not ledger.trouble:
        time.sleep(0.05)
    for consumer in consumers:
        consumer.stopping = True
    for consumer in consumers:
        consumer.join(240)
    missing = ledger.missing()
    assert not missing, f"{len(missing)} records never came, such as {sorted(missing)[:5]}"
    show_all(server, ledger)
    asked = time.monotonic()
    rest = server.client().call("ReceiveQueueRecords", QueueARN=arn, WaitTimeSeconds=1)["QueueRecords"]
    for record in rest:
        ledger.received(record, asked, time.monotonic())  # only those of which we do not know may still come


def requests(server):
    return server.metric('headrace_http_requests_total{protocol="h1"}')


def connections(server):
    return server.metric('headrace_http_connections{protocol="h1"}')


def wait_in_vain(server, arn):
    """A call that waits for a record, as bytes: its connection is the caller's to close."""
    client = server.client()
    body = json.dumps({"QueueARN": arn, "WaitTimeSeconds": 20}).encode()
    before = requests(server)  # and that question is one more
    connection = client.connect()
    connection.request("POST", "/", body, client.headers("ReceiveQueueRecords", body))
    for asked in range(1, 1000):
        if requests(server) > before + asked:
            break  # it has arrived
    return connection


def leave(program):
    """Who has left gets no record: nobody would acknowledge it."""
    with headrace.Server(program, profile="dev") as server:
        arn = make(server)
        before = connections(server)
        for _ in range(3):
            wait_in_vain(server, arn).close()
        resets = wait_in_vain(server, arn)
        resets.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        resets.close()
        end = time.monotonic() + LEFT_SECONDS_MAX
        while connections(server) > before:
            assert time.monotonic() < end, "the server does not see that its clients have left"
        client = server.client(timeout=240)
        client.put("s", b"x", "k")
        records = client.call("ReceiveQueueRecords", QueueARN=arn, WaitTimeSeconds=20)["QueueRecords"]
        assert [r["ReceiveCount"] for r in records] == [1], records


def stop_while_waiting(program):
    """SIGTERM does not wait for calls that wait: they are answered, with nothing."""
    with headrace.Server(program, "--http-drain-timeout", "8s", profile="dev") as server:
        waits = wait_in_vain(server, make(server))
        server.stop()  # calls that are not answered by then are cut off
        reply = waits.getresponse()
        assert reply.status == 200 and json.load(reply) == {"QueueRecords": []}
        server.start()


def switch_encryption(server, number):
    """Records of both states lie in the stream: every third round writes plain ones."""
    operation = "StopStreamEncryption" if number % 3 == 2 else "StartStreamEncryption"
    server.client().call(operation, StreamName="s", EncryptionType="KMS", KeyId="alias/aws/kinesis")


def kill_and_compare(options, report, rounds, encrypted):
    """The loop on a stream of its own. Gives the server, with its data if something failed."""
    rng, ledger, failures = random.Random(options.seed), Ledger(), report.failures
    server = headrace.Server(options.program, profile="dev")
    server.start()
    arn = make(server)

    def crash():
        for number in range(rounds):
            if encrypted:
                switch_encryption(server, number)
            one_round(server, ledger, arn, number, rng)
            assert not ledger.trouble, ledger.trouble[:5]

    def settle():
        drain(server, ledger, arn)
        assert not ledger.trouble, ledger.trouble[:5]
        print(f"# {len(ledger.put)} records put, {len(ledger.done)} acknowledged", flush=True)

    where = " on a stream that is encrypted now and then" if encrypted else ""
    report.run(f"{rounds} kills{where} and no acknowledged record comes again, nor one in flight", crash)
    report.run(f"every record that was put{where} comes until it is acknowledged", settle)
    if report.failures > failures:
        print(f"# seed {options.seed}, data in {server.data_dir}")
        server.owns_dir = False
        server.kill()
    else:
        server.stop()
        server.remove()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    report = tap.Tap()
    print(f"# seed {options.seed}", flush=True)
    report.run("a client that has left takes no record", lambda: leave(options.program))
    report.run("calls that wait are answered when the server ends", lambda: stop_while_waiting(options.program))
    kill_and_compare(options, report, options.rounds, encrypted=False)
    kill_and_compare(options, report, max(options.rounds // 2, 3), encrypted=True)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
