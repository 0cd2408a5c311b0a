# SPDX-License-Identifier: Apache-2.0
"""Peers that no Debian package has: npm, Maven and Go bring them below build/bench, once."""
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "bench")
PEERS = os.path.join(ROOT, "bench", "peers")
SECONDS_MAX = 300
MINIO_VERSION, MINIO_SECONDS_MAX = "v0.0.0-20260212201848-7aac2a2c5b7c", 3600


class NotInstalled(Exception):
    """Why a peer cannot be had here."""


def run(command, folder, seconds_max=SECONDS_MAX):
    if shutil.which(command[0]) is None:
        raise NotInstalled(f"there is no {command[0]}")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=seconds_max)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{command[0]} did not end within {seconds_max} s") from None
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["nothing was said"]
        raise NotInstalled(f"{command[0]}: {last[0]}")


def fetched(name, description, command):
    """The folder of build/bench that the command has filled from bench/peers/DESCRIPTION."""
    folder, source = os.path.join(BUILD, name), os.path.join(PEERS, description)
    ready = os.path.join(folder, "ready")
    if not os.path.exists(ready) or os.path.getmtime(ready) < os.path.getmtime(source):
        print(f"Fetching {name} into build/bench", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        shutil.copy(source, folder)
        run(command, folder)
        with open(ready, "w", encoding="utf-8"):
            pass
    return folder


def minio():
    """A server of S3, by the Go module proxy and Go's compiler."""
    folder = os.path.join(BUILD, "minio")
    program = os.path.join(folder, "minio")
    if not os.path.exists(program):
        print("Building MinIO into build/bench, which takes ten minutes", flush=True)
        os.makedirs(folder, exist_ok=True)
        run(["env", f"GOBIN={folder}", "go", "install", f"github.com/minio/minio@{MINIO_VERSION}"], folder, MINIO_SECONDS_MAX)
    return program


def emulators():
    """node_modules with the Kinesis emulators that npm has."""
    folder = fetched("npm", "package.json", ["npm", "install", "--no-audit", "--no-fund", "--silent"])
    return os.path.join(folder, "node_modules")


def kafka():
    """Jars of a broker."""
    folder = fetched("kafka", "pom.xml", ["mvn", "-B", "-q", "dependency:copy-dependencies",
                                          "-DincludeScope=runtime", "-DoutputDirectory=lib"])
    return os.path.join(folder, "lib")
