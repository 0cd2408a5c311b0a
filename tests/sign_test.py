#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""botocore's signer against ours: what it signs must be believed, in every form it has.

    tests/sign_test.py PROGRAM     the probe program of src/aws

botocore comes from the tests' own Python (build/venv) where this one has none; without it the tests
are skipped.
"""
import hashlib
import http.client
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap  # noqa: E402

try:
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
except ImportError:
    botocore = None
    VENV = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build/venv/bin/python")
    if os.path.exists(VENV) and sys.prefix == sys.base_prefix:
        os.execv(VENV, [VENV, *sys.argv])

KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3/+=="
BODY = b'{"Name":"abc"}'


if botocore is not None:
    class QueryAuth(botocore.auth.SigV4QueryAuth):
        """botocore moves a body into the query string before it signs; a JSON body stays a body."""

        def payload(self, request):
            return hashlib.sha256(BODY).hexdigest()


class Probe:
    """The server program, for the length of a `with`."""

    def __init__(self, token=""):
        if botocore is None:
            tap.skip("botocore is not installed")
        self.token = token

    def __enter__(self):
        self.process = subprocess.Popen(["timeout", "600", sys.argv[1], KEY, SECRET, self.token],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        status = self.process.wait(240)
        assert status == 0 or error[0] is not None, f"the probe ended with status {status}"

    def signed(self, signer, path="/", body=BODY, **headers):
        request = botocore.awsrequest.AWSRequest(
            method="POST", url=f"http://127.0.0.1:{self.port}{path}", data=body,
            headers={"X-Amz-Target": "Probe_20250101.Drop",
                     "Content-Type": "application/x-amz-json-1.1", **headers})
        credentials = botocore.credentials.Credentials(KEY, SECRET, self.token or None)
        signer(credentials, "probe", "eu-west-1").add_auth(request)
        return request.prepare()

    def send(self, request, body=BODY):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        path = request.url.split(str(self.port), 1)[1] or "/"
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        connection.request(request.method, path, body, headers)
        reply = connection.getresponse()
        got = reply.status, reply.read()
        connection.close()
        return got


def believed(got):
    assert got == (200, b""), got


def refused(got, words):
    assert got[0] == 400 and words in got[1], got


@tap.test
def the_header_form_is_believed():
    with Probe() as probe:
        believed(probe.send(probe.signed(botocore.auth.SigV4Auth)))


@tap.test
def a_changed_body_is_not_believed():
    with Probe() as probe:
        request = probe.signed(botocore.auth.SigV4Auth)
        refused(probe.send(request, b'{"Name":"abd"}'), b"InvalidSignatureException")


@tap.test
def the_query_form_is_believed():
    with Probe() as probe:
        believed(probe.send(probe.signed(QueryAuth, body=None)))


@tap.test
def session_tokens_are_believed_in_both_forms():
    with Probe(TOKEN) as probe:
        believed(probe.send(probe.signed(botocore.auth.SigV4Auth)))
        believed(probe.send(probe.signed(QueryAuth, body=None)))


@tap.test
def odd_paths_queries_and_headers_are_believed():
    with Probe() as probe:
        for path in ("/a/b", "/a%20b", "/%C3%A9/x", "/?b=2&a=1&a=0", "/?x=%2F&empty",
                     "/a?q=%20&z=~-_."):
            got = probe.send(probe.signed(botocore.auth.SigV4Auth, path))
            assert got == (200, b""), (path, got)
        believed(probe.send(probe.signed(botocore.auth.SigV4Auth, **{
            "X-Amz-Meta-Note": "  two   words ", "X-Amz-Z": "a,b"})))


@tap.test
def a_secret_that_is_not_ours_is_not_believed():
    with Probe() as probe:
        def other(_, service, region):
            return botocore.auth.SigV4Auth(botocore.credentials.Credentials(KEY, "x"), service, region)
        refused(probe.send(probe.signed(other)), b"InvalidSignatureException")


if __name__ == "__main__":
    sys.exit(tap.main(sys.argv[2:]))
