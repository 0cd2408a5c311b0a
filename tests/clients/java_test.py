#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the clients in tests/clients/java against a server, plain and TLS: Path, Kinesis over CBOR, HTTP/1.1 and HTTP/2;
Objects, S3 with the synchronous client, the asynchronous one and the transfer manager.

    tests/clients/java_test.py --program build/headrace

The SDK comes through Maven once, into build/clients/java; later runs ask nobody.
"""
import argparse
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

SOURCE = os.path.join(headrace.ROOT, "tests", "clients", "java")
BUILT = os.path.join(headrace.ROOT, "build", "clients", "java")
CLIENTS = ("Path", "Objects")
PASSWORD = "changeit"
REFUSED_MAX = 0  # all its mistakes are found later
RUN_SECONDS_MAX = 600
FETCHES = 3      # of the SDK: what came is kept, and a network may fail once


def run(*command, tries=1):
    for _ in range(tries):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            break
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def is_older(product, *sources):
    return not os.path.exists(product) or any(os.path.getmtime(product) < os.path.getmtime(s) for s in sources)


def build():
    """The SDK's jars and the compiled clients, as far as they are not there."""
    pom, sources = os.path.join(SOURCE, "pom.xml"), [os.path.join(SOURCE, f"{c}.java") for c in CLIENTS]
    ready, compiled = os.path.join(BUILT, "ready"), [os.path.join(BUILT, "classes", f"{c}.class") for c in CLIENTS]
    if is_older(ready, pom):
        shutil.rmtree(BUILT, ignore_errors=True)  # no jar of another version stays in the class path
        os.makedirs(BUILT)
        run("mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime",
            f"-DoutputDirectory={BUILT}/lib", tries=FETCHES)
        with open(ready, "w", encoding="utf-8"):
            pass
    if any(is_older(c, *sources, ready) for c in compiled):
        run("javac", "-cp", f"{BUILT}/lib/*", "-d", os.path.join(BUILT, "classes"), *sources)


def trust_store(certificate, folder):
    """A key store that trusts the server's certificate alone."""
    store = os.path.join(folder, "trust.p12")
    run("keytool", "-importcert", "-noprompt", "-alias", "headrace", "-file", certificate, "-keystore", store,
        "-storetype", "PKCS12", "-storepass", PASSWORD)
    return store


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
    report.run("the clients are built", build)
    environment = {"AWS_ACCESS_KEY_ID": headrace.KEY_ID, "AWS_SECRET_ACCESS_KEY": headrace.SECRET}
    with headrace.Server(options.program) as server:
        for url in (server.url, server.tls_url):
            store = trust_store(server.certificate, server.data_dir) if url == server.tls_url else ""
            for one in CLIENTS:
                report.include(["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{BUILT}/classes:{BUILT}/lib/*",
                                one, url, store, PASSWORD], environment, RUN_SECONDS_MAX)
        report.run("its puts took the short way past the binder", lambda: plain_puts(server))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
