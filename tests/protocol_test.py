#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""botocore's serializers and parsers against ours: what one protocol writes the server reads, and what the
server answers botocore reads, in every protocol that a service may speak.

    tests/protocol_test.py PROGRAM     the probe program of src/aws

botocore comes from the tests' own Python (build/venv) where this one has none; without it the tests
are skipped.
"""
import datetime
import http.client
import os
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap  # noqa: E402

try:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    import botocore.model
    import botocore.parsers
    import botocore.serialize
except ImportError:
    botocore = None
    VENV = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build/venv/bin/python")
    if os.path.exists(VENV) and sys.prefix == sys.base_prefix:
        os.execv(VENV, [VENV, *sys.argv])

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PROTOCOLS = ("query", "json", "smithy-rpc-v2-cbor")
MOMENT = datetime.datetime(2024, 8, 20, 10, 53, 54, tzinfo=datetime.timezone.utc)
TEXT = {"shape": "Text"}

# What src/aws/probe.api says, as a model of AWS would say it.
MEMBERS = {"Flat": {"shape": "Flat"}, "Called": {"shape": "Called"}, "Each": {"shape": "Each"},
           "Marks": {"shape": "Marks"}, "FlatMarks": {"shape": "FlatMarks"}, "Moment": {"shape": "Moment"}}
MODEL = {
    "metadata": {"apiVersion": "2025-01-01", "endpointPrefix": "probe", "serviceId": "Probe",
                 "targetPrefix": "Probe_20250101", "jsonVersion": "1.1", "signatureVersion": "v4",
                 "xmlNamespace": "http://probe.example/doc/2025-01-01/", "awsQueryCompatible": {}},
    "operations": {
        "Echo": {"name": "Echo", "http": {"method": "POST", "requestUri": "/"},
                 "input": {"shape": "EchoIn"}, "output": {"shape": "EchoOut", "resultWrapper": "EchoResult"}},
        "Drop": {"name": "Drop", "http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "DropIn"}},
        "Fail": {"name": "Fail", "http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "FailIn"},
                 "errors": [{"shape": "Taken"}]},
        "Nothing": {"name": "Nothing", "http": {"method": "POST", "requestUri": "/"},
                    "output": {"shape": "NothingOut", "resultWrapper": "NothingResult"}},
    },
    "shapes": {
        "EchoIn": {"type": "structure", "members": MEMBERS},
        "EchoOut": {"type": "structure", "members": MEMBERS},
        "NothingOut": {"type": "structure", "members": {}},
        "DropIn": {"type": "structure", "members": {"Name": TEXT}},
        "FailIn": {"type": "structure", "members": {"How": TEXT}},
        "Taken": {"type": "structure", "members": {}, "exception": True,
                  "error": {"code": "AlreadyTaken", "httpStatusCode": 409, "senderFault": True}},
        "Text": {"type": "string"}, "Moment": {"type": "timestamp"},
        "Flat": {"type": "list", "member": TEXT, "flattened": True},
        "Called": {"type": "list", "member": {"shape": "Text", "locationName": "Word"}, "flattened": True},
        "Each": {"type": "list", "member": {"shape": "Text", "locationName": "Word"}},
        "Marks": {"type": "map", "key": {"shape": "Text", "locationName": "Name"},
                  "value": {"shape": "Text", "locationName": "Mark"}},
        "FlatMarks": {"type": "map", "key": TEXT, "value": TEXT, "flattened": True},
    },
}


class Probe:
    """The server program, for the length of a `with`."""

    def __enter__(self):
        if botocore is None:
            tap.skip("botocore is not installed")
        self.process = subprocess.Popen(["timeout", "600", sys.argv[1], KEY, SECRET, ""], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        status = self.process.wait(240)
        assert status == 0 or error[0] is not None, f"the probe ended with status {status}"

    def call(self, protocol, name, members):
        """(status, what botocore makes of the answer)."""
        if protocol not in botocore.serialize.SERIALIZERS:
            tap.skip(f"this botocore does not speak {protocol}")
        model = botocore.model.ServiceModel({**MODEL, "metadata": {
            **MODEL["metadata"], "protocol": protocol, "protocols": [protocol]}}, "probe")
        operation = model.operation_model(name)
        made = botocore.serialize.create_serializer(protocol, False).serialize_to_request(members, operation)
        body = made["body"]
        if isinstance(body, dict):
            body = urllib.parse.urlencode(body, doseq=True).encode()
        request = botocore.awsrequest.AWSRequest(
            method=made["method"], url=f"http://127.0.0.1:{self.port}{made['url_path']}", data=body,
            headers=made["headers"])
        credentials = botocore.credentials.Credentials(KEY, SECRET)
        botocore.auth.SigV4Auth(credentials, "probe", "eu-west-1").add_auth(request)
        return self.send(protocol, operation, request.prepare(), made["url_path"])

    def send(self, protocol, operation, request, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        connection.request(request.method, path, request.body, headers)
        reply = connection.getresponse()
        answer = {"status_code": reply.status, "headers": dict(reply.headers.items()), "body": reply.read()}
        answer["headers"] = botocore.awsrequest.HeadersDict(answer["headers"])
        connection.close()
        parser = botocore.parsers.create_parser(protocol)
        return reply.status, parser.parse(answer, operation.output_shape)


WHOLE = {"Flat": ["a", "b & c"], "Called": ["x"], "Each": ["1", "2", "ä"], "Marks": {"k": "v", "l": "w+x y"},
         "FlatMarks": {"m": "n"}, "Moment": MOMENT}


def echo(protocol):
    with Probe() as probe:
        status, answer = probe.call(protocol, "Echo", WHOLE)
        meta = answer.pop("ResponseMetadata")
        assert status == 200 and len(meta["RequestId"]) == 36, (status, meta)
        assert answer == WHOLE, answer


def empty(protocol):
    with Probe() as probe:
        for name, members in (("Nothing", {}), ("Drop", {"Name": "abc"}), ("Echo", {})):
            status, answer = probe.call(protocol, name, members)
            answer.pop("ResponseMetadata")
            assert status == 200 and answer == {}, (name, status, answer)


def errors(protocol):
    with Probe() as probe:
        status, answer = probe.call(protocol, "Fail", {"How": "taken"})
        assert status == 409 and answer["Error"]["Code"] == "AlreadyTaken", (status, answer)
        assert answer["Error"]["Message"] == "it is taken", answer
        status, answer = probe.call(protocol, "Drop", {"Name": "A"})
        assert status == 400 and answer["Error"]["Code"] == "ValidationError", (status, answer)


def main():
    report = tap.Tap()
    for protocol in PROTOCOLS:
        for what, function in (("what was sent comes back", echo), ("nothing is sent and comes back", empty),
                               ("errors are understood", errors)):
            report.run(f"{protocol}: {what}", lambda f=function, p=protocol: f(p))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
