#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients of eight services that race for the same few names: streams, queues, channels and consumers, keys, secrets,
identities, the catalog, alarms and delivery streams.

What must hold, whoever else does what:
  - no answer is a failure of the server, none is a refusal that its operation does not declare (the .api files), none
    takes forever, and the server has nothing to log as an error;
  - what was acknowledged and not removed is there in the end, and after a restart: records are read, received and
    delivered, ciphertexts are decrypted, versions of secrets are got;
  - a policy that is shown is the one in force.

    tests/races.py --program build/headrace --seed 7 --rounds 10
"""
import argparse
import base64
import collections
import http.client
import http.server
import itertools
import json
import os
import random
import re
import sys
import threading
import time
import traceback
import types
import urllib.parse

import headrace
import races_deeds as deeds
import sigv4
import tap

sys.path.insert(0, os.path.join(headrace.ROOT, "tools"))
import api_grammar  # noqa: E402

RACERS, SUBSCRIBERS = 8, 2
STEPS = 700  # deeds of each racer
MESSAGES = 4  # of a subscription, then the subscriber leaves
STRANGE_SHOWN = 12
ROUNDS = 8  # of each race that has an outcome
CALL_SECONDS_MAX, SETTLE_SECONDS_MAX = 240, 240
WEIGHTS = {"kinesis": 40, "kms": 12, "secretsmanager": 11, "iam": 12, "sts": 5, "glue": 9, "cloudwatch": 5, "firehose": 10}
TARGETS = {"kinesis": "Kinesis_20131202", "kms": "TrentService", "secretsmanager": "secretsmanager", "glue": "AWSGlue",
           "firehose": "Firehose_20150804", "cloudwatch": "GraniteServiceVersion20100801"}
VERSIONS = {"iam": "2010-05-08", "sts": "2011-06-15"}
SIGN = {"cloudwatch": "monitoring"}
ROOT = (headrace.KEY_ID, headrace.SECRET)
BUSY = {"ThrottlingException", "Throttling"}  # of a full queue of calls: every operation may say it
# Of a caller whose key is deleted or whose permissions change meanwhile.
UNKNOWN = {"AccessDenied", "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId"}
TROUBLE = re.compile(r'level=error|"level":"error"|Sanitizer|runtime error|check failed')  # in the log
# Errors of every service, and such as AWS answers though its model does not name them, that the root gets, too.
COMMON = {("sts", "AssumeRole"): {"AccessDenied"}, ("iam", "GetAccessKeyLastUsed"): {"NoSuchEntity"},
          ("glue", "UpdatePartition"): {"AlreadyExistsException"}}
# A stream of Kinesis that is deleted takes with it what was not delivered of it.
EXPECTED = re.compile(r'"msg":"records were not delivered before .*"delivery":"race-')
STRANGE = []  # refusals that no operation declares: told all together
SEED, ROUND_FACTOR, PROGRAM, TELLS = 0, 1, None, False


def read_apis():
    """By service and operation the codes of the errors that it declares, but for those of the server's own faults."""
    codes = {}
    for service in deeds.DEEDS:
        with open(os.path.join(headrace.ROOT, "src/svc", service, f"{service}.api"), encoding="utf-8") as file:
            api = api_grammar.parse(file.read())
        good = {name: {name, error.code or name} for name, error in api.errors.items() if error.status < 500}
        codes[service] = {name: set().union(*[good.get(e, set()) for e in op.throws]) for name, op in api.ops.items()}
    return codes


DECLARED = read_apis()


class Server(headrace.Server):
    """Remembers what it said of errors."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.errors = []

    def watched(self, lines):
        for line in lines:
            if TROUBLE.search(line) and not EXPECTED.search(line):
                self.errors.append(line.rstrip())
            yield line

    def _read_log(self, process, log, ready):
        headrace.Server._read_log(types.SimpleNamespace(stdout=self.watched(process.stdout)), log, ready)

    def check(self):
        assert self.is_running(), f"the server has ended:\n{self.tail()}"
        said, self.errors = self.errors, []
        assert not said, "the server said:\n" + "\n".join(said[:5])


class Function(http.server.ThreadingHTTPServer):
    """Rotates secrets as AWS's templates do, also such as go meanwhile; of alarms it takes what comes."""
    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            good = "Step" not in event or self.server.step(event["Step"], event["SecretId"], event["ClientRequestToken"])
            body = b"null" if good else b'{"errorMessage": "refused", "errorType": "Error"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.caller, self.trouble, self.done, self.lock = None, None, 0, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def step(self, step, secret, token):
        with self.lock:
            return self.caller is not None and self.rotate(step, secret, token)

    def rotate(self, step, secret, token):
        try:
            if step == "createSecret":
                return self.ask("PutSecretValue", SecretId=secret, ClientRequestToken=token, SecretString="rotated", VersionStages=["AWSPENDING"])
            if step != "finishSecret":
                return True
            told = self.ask("DescribeSecret", SecretId=secret)
            current = [v for v, stages in (told or {}).get("VersionIdsToStages", {}).items() if "AWSCURRENT" in stages]
            moved = current and self.ask("UpdateSecretVersionStage", SecretId=secret, VersionStage="AWSCURRENT", MoveToVersionId=token,
                                         RemoveFromVersionId=current[0])
            self.done += bool(moved)
            return moved
        except Exception:  # told by the test
            self.trouble = traceback.format_exc()
            return False

    def ask(self, op, **members):
        return self.caller.ask("secretsmanager", op, **members)

    def handle_error(self, *_):
        pass  # the server has ended

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class World:
    """What all racers know of; lists that may lose a thing at any time."""

    def __init__(self):
        self.shards, self.iterators, self.consumers, self.queues, self.channels = {}, [], [], [], []
        self.receipts, self.keys, self.versions, self.access_keys, self.hose_versions = [], [], [], [], {}
        self.kept_queue = None


class Caller:
    """Calls of every service, each over a connection of its own."""

    numbers = itertools.count()

    def __init__(self, server, world, seed):
        self.server, self.world, self.random = server, world, random.Random(seed)
        self.clients, self.code, self.counts = {}, None, {}
        self.kept, self.blobs, self.versions, self.lines, self.received = {deeds.SHARDED: [], deeds.QUEUED: []}, [], [], [], []

    def client(self, service, keys):
        if (service, keys) not in self.clients:
            if len(self.clients) > 2 * len(TARGETS):
                self.close()
            self.clients[service, keys] = self.server.client(
                service=SIGN.get(service, service), target=TARGETS.get(service, ""), key_id=keys[0], secret=keys[1], timeout=CALL_SECONDS_MAX)
        return self.clients[service, keys]

    def close(self):
        for client in self.clients.values():
            client.close()
        self.clients = {}

    def query(self, client, service, op, members):
        body = urllib.parse.urlencode({"Action": op, "Version": VERSIONS[service], **members}).encode()
        fields = {"Host": f"127.0.0.1:{self.server.port}", "Content-Type": "application/x-www-form-urlencoded"}
        fields = sigv4.sign(client.key_id, client.secret, client.region, service, "POST", "/", fields, body)
        status, _, content = client.send("POST", "/", fields, body)
        found = dict(re.findall(rb"<(\w+)>([^<]*)</\1>", content)[::-1])  # of each the first
        return status, {name.decode(): text.decode() for name, text in found.items()}

    def ask(self, service, op, keys=None, **members):
        """The answer; None: it was refused as the operation declares it, and `code` says how."""
        client = self.client(service, keys or ROOT)
        if service in VERSIONS:
            status, answer = self.query(client, service, op, members)
            code = answer.get("Code")
        else:
            kind = "application/x-amz-json-1.0" if service == "cloudwatch" else headrace.JSON_TYPE
            status, _, content = client.raw(op, json.dumps(members).encode(), kind)
            answer = json.loads(content) if content else {}
            code = answer.get("__type", "").split("#")[-1]
        self.code = code if status != 200 else None
        self.counts[service, op, self.code] = self.counts.get((service, op, self.code), 0) + 1
        if status == 200:
            return answer
        assert status < 500, f"{service} {op} {members} was answered {status} {answer}; the server said:\n{self.server.tail(5)}"
        self.check_codes(service, op, [code], members, UNKNOWN if keys else set())
        return None

    def page(self, name, members):
        """A page for operators: it may say that it knows no such stream, or that its key cannot be used."""
        client, path = self.client("kinesis", ROOT), f"/_headrace/admin/{name}"
        body = json.dumps(members).encode()
        fields = {"Host": f"127.0.0.1:{self.server.port}", "Content-Type": "application/json"}
        status, _, content = client.send("POST", path, sigv4.sign(*ROOT, client.region, "headrace", "POST", path, fields, body), body)
        assert status in (200, 400, 404), (name, members, status, content)

    def check_codes(self, service, op, codes, members="", also=frozenset(), of=None):
        """None of them is one that the operation, or the one that it stands for, does not declare."""
        wrong = {code for code in codes if code is not None} - DECLARED[service][of or op] - BUSY - also - COMMON.get((service, op), set())
        if wrong:
            STRANGE.append(f"{service} {op} {members} was refused with {wrong}, which it does not declare")

    def data(self):
        """Of a record that is like no other, as it goes over the wire."""
        n = self.random.choice([0, 10, 100, 3000])
        return base64.b64encode(f"{next(self.numbers)} ".encode() + self.random.randbytes(n)).decode()

    def line(self):
        return base64.b64encode(f"line {next(self.numbers)}\n".encode()).decode()


class Racer(threading.Thread, Caller):
    """Does so many deeds of all services, one after the other."""

    def __init__(self, server, world, seed, steps):
        threading.Thread.__init__(self, daemon=True)
        Caller.__init__(self, server, world, seed)
        self.steps, self.trouble = steps, None

    def run(self):
        services, weights = zip(*WEIGHTS.items())
        try:
            for _ in range(self.steps):
                service = self.random.choices(services, weights)[0]
                functions, shares = zip(*deeds.DEEDS[service])
                self.random.choices(functions, shares)[0](self)
        except BaseException:  # told by the test
            self.trouble = traceback.format_exc()
        finally:
            self.close()


class Subscriber(threading.Thread):
    """Is pushed a little by one consumer after the other, however these come and go."""

    def __init__(self, server, world, seed, over):
        super().__init__(daemon=True)
        self.client, self.world, self.random, self.over = server.client(timeout=CALL_SECONDS_MAX), world, random.Random(seed), over
        self.trouble, self.events = None, 0

    def subscribe(self, consumer):
        declared = DECLARED["kinesis"]["SubscribeToShard"]
        shard = f"shardId-{self.random.randrange(4):012}"
        try:
            subscription = self.client.subscribe(consumer, shard, Type=self.random.choice(["TRIM_HORIZON", "LATEST"]))
        except headrace.AwsError as error:
            assert error.kind in declared | BUSY, f"SubscribeToShard was answered {error}"
            return
        for _ in range(MESSAGES):
            message = subscription.message()
            assert message is None or message[0] in {"initial-response", "SubscribeToShardEvent"} | declared, f"a subscription was sent {message}"
            self.events += 1
            if message is None or message[0] in declared or self.over.is_set():
                break
        subscription.close()

    def run(self):
        try:
            while not self.over.wait(0.01):
                consumer = deeds.one_of(self.random, self.world.consumers)
                if consumer:
                    self.subscribe(consumer)
        except BaseException:  # told by the test
            self.trouble = traceback.format_exc()


def race(*calls):
    """All at once; their results in order. One that raises fails the test."""
    barrier, results, trouble = threading.Barrier(len(calls)), [None] * len(calls), []

    def run(n, call):
        try:
            barrier.wait()
            results[n] = call()
        except BaseException as error:  # told below
            trouble.append(error)

    threads = [threading.Thread(target=run, args=(n, call), daemon=True) for n, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CALL_SECONDS_MAX + 60)
        assert not thread.is_alive(), "a call has no end"
    if trouble:
        raise trouble[0]
    return results


def until(good, what):
    end = time.monotonic() + SETTLE_SECONDS_MAX
    while not good():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.1)


# ---- The storm

def s3(server, method, path, query=""):
    fields = {"Host": f"127.0.0.1:{server.port}", "X-Amz-Content-Sha256": sigv4.sha256_hex(b"")}
    fields = sigv4.sign(*ROOT, "us-east-1", "s3", method, path, fields, b"", query=query, payload_hash=fields["X-Amz-Content-Sha256"])
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=CALL_SECONDS_MAX)
    connection.request(method, path + ("?" + query if query else ""), headers=fields)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    assert reply.status == 200, (method, path, reply.status, content)
    return content


def make_world(server):
    """What is kept, and what all need."""
    world = World()
    c = Caller(server, world, 0)

    def must(*arguments, **members):
        reply = c.ask(*arguments, **members)
        assert reply is not None, (arguments, c.code)
        return reply

    s3(server, "PUT", f"/{deeds.BUCKET}")
    must("iam", "CreateRole", RoleName="service", AssumeRolePolicyDocument=deeds.trust(
        Service=["firehose.amazonaws.com", "kinesis.amazonaws.com"]))
    must("iam", "PutRolePolicy", RoleName="service", PolicyName="all", PolicyDocument=deeds.policy(deeds.allow(["s3:*", "kinesis:*", "kms:*"])))
    for alias in deeds.ALIASES:
        world.keys.append(must("kms", "CreateKey")["KeyMetadata"]["KeyId"])
        must("kms", "CreateAlias", AliasName=alias, TargetKeyId=world.keys[-1])
    must("kinesis", "CreateStream", StreamName=deeds.SHARDED, ShardCount=2)
    must("kinesis", "CreateStream", StreamName=deeds.QUEUED, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    for name in (deeds.SHARDED, deeds.QUEUED):
        c.client("kinesis", ROOT).wait_active(name, CALL_SECONDS_MAX)
    world.kept_queue = must("kinesis", "CreateQueue", QueueName="kept", QueueAttributes={"VisibilityTimeoutSeconds": 1}, StreamConfigurationList=[
        {"StreamARN": deeds.stream_arn(deeds.QUEUED), "StartingPosition": {"Type": "TRIM_HORIZON"}}])["QueueDescription"]["QueueARN"]
    must("secretsmanager", "CreateSecret", Name=deeds.KEPT_SECRET)
    must("firehose", "CreateDeliveryStream", DeliveryStreamName=deeds.KEPT_HOSE, ExtendedS3DestinationConfiguration=deeds.place("kept/"))
    c.close()
    return world


class Storm:
    """One server, on which the tests are stages, in order."""

    def __init__(self, server, function):
        self.server, self.function, self.world, self.racers = server, function, None, []

    def clients_that_race_get_no_failure_and_no_refusal_that_is_not_declared(self):
        self.world = make_world(self.server)
        self.function.caller = Caller(self.server, self.world, 0)
        over = threading.Event()
        self.racers = [Racer(self.server, self.world, f"{SEED} {n}", STEPS * ROUND_FACTOR) for n in range(RACERS)]
        subscribers = [Subscriber(self.server, self.world, f"{SEED} s{n}", over) for n in range(SUBSCRIBERS)]
        for thread in [*self.racers, *subscribers]:
            thread.start()
        for thread in self.racers:
            thread.join()
        over.set()
        for thread in subscribers:
            thread.join(CALL_SECONDS_MAX)
            assert not thread.is_alive(), "a subscription has no end"
        self.tell(sum(s.events for s in subscribers))
        for thread in [*self.racers, *subscribers, self.function]:
            assert thread.trouble is None, thread.trouble

    def tell(self, events):
        counts, by_service = collections.Counter(), collections.Counter()
        for racer in self.racers:
            counts.update(racer.counts)
        for (service, _, code), n in counts.items():
            by_service[service, code is None] += n
        told = [f"{s} {by_service[s, True]}+{by_service[s, False]}" for s in WEIGHTS]
        print(f"# answered and refused: {', '.join(told)}; {events} messages pushed, {self.function.done} secrets rotated", flush=True)
        for key, n in sorted(counts.items(), key=str) if TELLS else ():
            print("#  ", *key, n, flush=True)

    def enable_keys(self):
        c = Caller(self.server, self.world, 0)
        for key in self.world.keys:
            c.ask("kms", "CancelKeyDeletion", KeyId=key)
            assert c.ask("kms", "EnableKey", KeyId=key) is not None, c.code
        c.close()

    def gathered(self, name):
        return [thing for racer in self.racers for thing in getattr(racer, name)]

    def what_was_acknowledged_is_there(self):
        self.enable_keys()
        self.look()

    def look(self):
        """Records, ciphertexts, versions."""
        c = Caller(self.server, self.world, 0)
        kinesis = c.client("kinesis", ROOT)
        for name in (deeds.SHARDED, deeds.QUEUED):
            put = {data for racer in self.racers for data in racer.kept[name]}
            there = [base64.b64encode(data).decode() for shard in kinesis.shards(name) for _, data, _ in kinesis.read_shard(name, shard)]
            assert put <= set(there), f"{len(put - set(there))} of {len(put)} records of {name} are lost"
            assert len(there) == len(set(there)), f"{name} has records twice"
        for blob, text in self.gathered("blobs"):
            reply = c.ask("kms", "Decrypt", CiphertextBlob=blob, EncryptionContext={"a": "b", "c": "d"})
            assert reply is not None and reply["Plaintext"] == text, c.code
        for token, text in self.gathered("versions"):
            reply = c.ask("secretsmanager", "GetSecretValue", SecretId=deeds.KEPT_SECRET, VersionId=token)
            assert reply is not None and reply["SecretString"] == text, c.code
        c.close()

    def what_was_acknowledged_is_received_from_the_queue_and_delivered(self):
        c = Caller(self.server, self.world, 0)
        put = {data for racer in self.racers for data in racer.kept[deeds.QUEUED]}
        missing = put - set(self.gathered("received"))

        def receive():
            for op in ("ReceiveQueueRecords", "ReceiveDeadLetterQueueRecords"):
                reply = c.ask("kinesis", op, QueueARN=self.world.kept_queue, WaitTimeSeconds=1)
                missing.difference_update(record["Data"] for record in reply["QueueRecords"])
            return not missing

        until(receive, lambda: f"{len(missing)} of {len(put)} records do not come from the queue")
        lines = {line.strip() for line in self.gathered("lines")}
        until(lambda: lines <= self.delivered(), lambda: f"{len(lines - self.delivered())} of {len(lines)} records were not delivered")
        c.close()

    def delivered(self):
        listing, found, token = b"", set(), ""
        while True:
            listing = s3(self.server, "GET", f"/{deeds.BUCKET}", f"{token}list-type=2&prefix=kept%2F")
            for key in re.findall(rb"<Key>([^<]*)</Key>", listing):
                found.update(s3(self.server, "GET", f"/{deeds.BUCKET}/{key.decode()}").split(b"\n"))
            after = re.search(rb"<NextContinuationToken>([^<]*)<", listing)
            if after is None:
                return found
            token = f"continuation-token={urllib.parse.quote(after[1].decode(), safe='')}&"

    def it_is_also_there_after_a_restart(self):
        self.server.stop()
        self.server.start()
        self.look()

    STAGES = (clients_that_race_get_no_failure_and_no_refusal_that_is_not_declared, what_was_acknowledged_is_there,
              what_was_acknowledged_is_received_from_the_queue_and_delivered, it_is_also_there_after_a_restart)


# ---- Races that have an outcome

class Races:
    """On another server; each test makes what it needs."""

    def __init__(self, server, _):
        self.server, self.random = server, random.Random(f"{SEED} races")
        self.world = World()

    def callers(self, n):
        return [Caller(self.server, self.world, self.random.random()) for _ in range(n)]

    def stream(self, c, name, **members):
        assert c.ask("kinesis", "CreateStream", StreamName=name, **members) is not None, c.code
        c.client("kinesis", ROOT).wait_active(name, CALL_SECONDS_MAX)

    def puts_go_on_while_their_stream_changes_its_key(self):
        """Every record that was acknowledged is read; the stream is never without an answer."""
        c, *others = self.callers(5)
        self.stream(c, "keys", ShardCount=1)
        keys = [c.ask("kms", "CreateKey")["KeyMetadata"]["KeyId"] for _ in range(2)]
        stored = []

        def put(other):
            for _ in range(ROUNDS):
                data = other.data()
                assert other.ask("kinesis", "PutRecord", StreamName="keys", Data=data, PartitionKey="k") is not None, other.code
                stored.append(data)

        for n in range(ROUNDS):
            change = {"op": "StopStreamEncryption", "KeyId": keys[0]} if n % 4 == 3 else {"op": "StartStreamEncryption", "KeyId": keys[n % 2]}
            race(lambda: c.ask("kinesis", change["op"], StreamName="keys", EncryptionType="KMS", KeyId=change["KeyId"]),
                 *[lambda other=other: put(other) for other in others])
        there = {base64.b64encode(data).decode() for _, data, _ in c.client("kinesis", ROOT).read_shard("keys", "shardId-000000000000")}
        assert set(stored) <= there, "acknowledged records are not there"

    def readers_of_encrypted_streams_see_them_go(self):
        """With data keys that this process has not unwrapped yet: they go with their stream."""
        c, *others = self.callers(5)
        names = [f"going-{n}" for n in range(ROUNDS)]
        for name in names:
            self.stream(c, name, ShardCount=1)
            assert c.ask("kinesis", "StartStreamEncryption", StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis") is not None, c.code
            for _ in range(3):
                assert c.ask("kinesis", "PutRecord", StreamName=name, Data="eA==", PartitionKey="k") is not None, c.code
        for caller in (c, *others):
            caller.close()
        self.server.stop()
        self.server.start()
        for name in names:
            iterator = c.client("kinesis", ROOT).iterator(name, "shardId-000000000000")
            *_, gone = race(*[lambda other=other: other.ask("kinesis", "GetRecords", ShardIterator=iterator) for other in others],
                            lambda: c.ask("kinesis", "DeleteStream", StreamName=name))
            assert gone is not None, c.code
            assert c.ask("kinesis", "GetRecords", ShardIterator=iterator) is None and c.code == "ResourceNotFoundException", c.code

    def a_queue_and_its_stream_go_under_their_clients(self):
        c, *others = self.callers(7)
        for n in range(ROUNDS):
            name = f"queued-{n}"
            self.stream(c, name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
            queue = c.ask("kinesis", "CreateQueue", QueueName=name, StreamConfigurationList=[
                {"StreamARN": deeds.stream_arn(name), "StartingPosition": {"Type": "TRIM_HORIZON"}}])["QueueDescription"]["QueueARN"]
            assert c.ask("kinesis", "PutRecord", StreamName=name, Data="eA==", PartitionKey="k") is not None, c.code
            calls = [("ReceiveQueueRecords", {"WaitTimeSeconds": 1}), ("ReceiveQueueRecords", {"WaitTimeSeconds": 9}), ("DescribeQueue", {}),
                     ("UpdateQueue", {"QueueAttributes": {"VisibilityTimeoutSeconds": 3}}), ("DeleteQueue", {})]

            def tag(other):
                return other.ask("kinesis", "TagResource", ResourceARN=queue, Tags={"a": "b"}), other.ask("kinesis", "ListQueues")

            def go():
                c.ask("kinesis", "DeleteQueue", QueueARN=queue)
                until(lambda: c.ask("kinesis", "DeleteStream", StreamName=name) is not None or c.code != "ResourceInUseException",
                      "a stream whose queue was deleted cannot be deleted")

            race(*[lambda other=other, call=call: other.ask("kinesis", call[0], QueueARN=queue, **call[1]) for other, call in zip(others, calls)],
                 lambda: tag(others[5]), go)
            assert c.ask("kinesis", "DescribeQueue", QueueARN=queue) is None and c.code == "ResourceNotFoundException", c.code

    def a_key_that_is_deleted_makes_no_session_that_may_more(self):
        """A session that a user got in time may what the user may: less and less, and never what the root may."""
        c, *others = self.callers(4)
        for _ in range(ROUNDS):
            assert c.ask("iam", "CreateUser", UserName="short") is not None, c.code
            key = c.ask("iam", "CreateAccessKey", UserName="short")
            keys = (key["AccessKeyId"], key["SecretAccessKey"])

            def sessions(other):
                """The last two; the key is good for one at least, and for none in the end."""
                made = list(iter(lambda: other.ask("sts", "GetSessionToken", keys=keys), None))
                return made[-2:]

            *made, gone = race(*[lambda other=other: sessions(other) for other in others],
                               lambda: c.ask("iam", "DeleteAccessKey", UserName="short", AccessKeyId=keys[0]))
            assert gone is not None, c.code
            for session in itertools.chain(*made):
                assert self.who_may(session) == "AccessDenied", "a user's session may what the root may"
            assert c.ask("iam", "DeleteUser", UserName="short") is not None, c.code

    def who_may(self, session):
        """How the session is refused what needs a permission; None: it is not."""
        body = urllib.parse.urlencode({"Action": "ListUsers", "Version": VERSIONS["iam"]}).encode()
        fields = {"Host": f"127.0.0.1:{self.server.port}", "Content-Type": "application/x-www-form-urlencoded",
                  "X-Amz-Security-Token": session["SessionToken"]}
        fields = sigv4.sign(session["AccessKeyId"], session["SecretAccessKey"], "us-east-1", "iam", "POST", "/", fields, body)
        client = self.server.client()
        status, _, content = client.send("POST", "/", fields, body)
        client.close()
        code = re.search(rb"<Code>([^<]*)<", content)
        assert status == 200 or code, (status, content)
        return None if status == 200 else code[1].decode()

    def two_who_put_the_same_version_are_answered_though_their_secret_goes(self):
        c, *others = self.callers(5)
        for n in range(ROUNDS):
            token = f"token-of-a-race-that-is-long-enough-{n}"
            assert c.ask("secretsmanager", "CreateSecret", Name="going") is not None, c.code
            race(*[lambda other=other: other.ask("secretsmanager", "PutSecretValue", SecretId="going", ClientRequestToken=token, SecretString="s")
                   for other in others], lambda: c.ask("secretsmanager", "DeleteSecret", SecretId="going", ForceDeleteWithoutRecovery=True))
            assert c.ask("secretsmanager", "GetSecretValue", SecretId="going") is None and c.code == "ResourceNotFoundException", c.code

    def the_policy_that_is_shown_is_the_one_in_force(self):
        """The catalog's, which says whether a user without policies of its own may look."""
        c, *others = self.callers(5)
        assert c.ask("iam", "CreateUser", UserName="looker") is not None, c.code
        key = c.ask("iam", "CreateAccessKey", UserName="looker")
        keys, arn = (key["AccessKeyId"], key["SecretAccessKey"]), f"arn:aws:glue:us-east-1:{headrace.ACCOUNT}:catalog"
        user = f"arn:aws:iam::{headrace.ACCOUNT}:user/looker"
        documents = [deeds.policy({**deeds.allow("glue:GetDatabases", arn), "Effect": effect, "Principal": {"AWS": user}})
                     for effect in ("Allow", "Deny")]
        for _ in range(2 * ROUNDS):
            race(*[lambda other=other, n=n: other.ask("glue", "PutResourcePolicy", PolicyInJson=documents[n % 2]) for n, other in enumerate(others)])
            shown = c.ask("glue", "GetResourcePolicy")["PolicyInJson"]
            may = c.ask("glue", "GetDatabases", keys=keys) is not None
            assert may == (shown == documents[0]), (shown, may)

    ALL = (puts_go_on_while_their_stream_changes_its_key, readers_of_encrypted_streams_see_them_go, a_queue_and_its_stream_go_under_their_clients,
           a_key_that_is_deleted_makes_no_session_that_may_more, two_who_put_the_same_version_are_answered_though_their_secret_goes,
           the_policy_that_is_shown_is_the_one_in_force)


def check(server):
    server.check()
    strange, STRANGE[:] = list(STRANGE), []
    assert not strange, "\n".join([f"{len(strange)} times:", *sorted(set(strange))[:STRANGE_SHOWN]])


def run_all(report, words, kind, functions):
    wanted = [f for f in functions if not words or any(w in f.__name__.replace("_", " ") for w in words)]
    if not wanted:
        return
    if kind is Storm:
        wanted = functions  # each goes on from the one before
    with Function() as function, Server(
            PROGRAM, "--functions-endpoints", f"{deeds.FUNCTION_NAME}=http://127.0.0.1:{function.server_address[1]}/") as server:
        stages = kind(server, function)
        for function in wanted:
            before = report.failures
            report.run(function.__name__.replace("_", " "), lambda f=function: (f(stages), check(server)))
            if report.failures > before and (kind is Storm or not server.is_running()):
                break


def main():
    global SEED, ROUND_FACTOR, PROGRAM, ROUNDS, TELLS
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rounds", type=int, default=1, help="so many times the usual number of deeds and races")
    parser.add_argument("--counts", action="store_true", help="tells what every operation was answered how often")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    SEED, ROUND_FACTOR, PROGRAM, TELLS = options.seed, options.rounds, options.program, options.counts
    ROUNDS *= options.rounds
    print(f"# seed {SEED}", flush=True)
    report = tap.Tap()
    run_all(report, options.words, Storm, Storm.STAGES)
    run_all(report, options.words, Races, Races.ALL)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
