#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the scripts in tests/clients/node against a server: Kinesis over HTTP/2 by prior knowledge, and by ALPN over TLS; CloudWatch; S3.

    tests/clients/javascript_test.py --program build/headrace
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402
import wire  # noqa: E402

MODULES = os.path.join(headrace.ROOT, "build", "clients", "node")
SCRIPTS = [os.path.join(headrace.ROOT, "tests", "clients", "node", name)
           for name in ("path.mjs", "cloudwatch.mjs", "objects.mjs", "firehose.mjs")]
REFUSED_MAX = 2  # an empty partition key, once over each address
RUN_SECONDS_MAX = 400


def plain_puts(server):
    """All but those that were to be refused."""
    fast, full = server.scans("PutRecords")
    assert fast > 0 and full == 0, (fast, full)
    fast, full = server.scans("PutRecord")
    assert fast > 0 and full <= REFUSED_MAX, (fast, full)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program) as server:
        wire.make_role(server, "delivery")
        for url in (server.url, server.tls_url):
            environment = {"ENDPOINT": url, "CLIENT_MODULES": MODULES, "AWS_ACCESS_KEY_ID": headrace.KEY_ID,
                           "AWS_SECRET_ACCESS_KEY": headrace.SECRET, "NODE_EXTRA_CA_CERTS": server.certificate}
            for script in SCRIPTS:
                report.include(["node", script], environment, RUN_SECONDS_MAX)
        report.run("its puts took the short way past the binder", lambda: plain_puts(server))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
