# SPDX-License-Identifier: Apache-2.0
"""How the tests of the command line run it."""
import os
import subprocess
import tempfile

import headrace

SECONDS_MAX = 240
PROGRAM = SCRATCH = SERVER = None  # set by the main program


def clean_environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE", "AWS_"))}
    return {**kept, "HOME": SCRATCH, **more}


def run(*arguments, status=0, text_in="", environment=None, folder=None):
    """Runs the program to its end; its (stdout, stderr). A status of None is any."""
    done = subprocess.run([PROGRAM, *arguments], input=text_in, env=environment or clean_environment(),
                          cwd=folder or SCRATCH, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert status is None or done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def reach(**more):
    """The environment of a user whose shell points at the shared server."""
    return clean_environment(AWS_ENDPOINT_URL=SERVER.url, AWS_ACCESS_KEY_ID=headrace.KEY_ID,
                             AWS_SECRET_ACCESS_KEY=headrace.SECRET, **more)


def new_dir():
    return tempfile.mkdtemp(dir=SCRATCH)
