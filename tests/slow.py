#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a suite whose client gets no processor now and then: it sleeps before some of its calls, for moments or for
seconds. What fails then would fail on a busy machine, once in a long time.

    tests/slow.py clients/s3_events_test.py --program build-asan/headrace
    SLOW_SEED=7 SLOW_SHARE=0.25 tests/slow.py fanout.py --program build-asan/headrace

Calls are those of boto3, of tests/headrace.py and of urllib.
"""
import os
import random
import runpy
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import headrace  # noqa: E402

SEED = int(os.environ.get("SLOW_SEED", "1"))
SHARE = float(os.environ.get("SLOW_SHARE", "0.05"))  # of the calls
SECONDS = (0.4, 0.4, 1.2, 3.1, 6.5)  # beyond a look at the clock, a poll, a heartbeat


def slowed(call, rng):
    def slow(*arguments, **named):
        if rng.random() < SHARE:
            time.sleep(rng.choice(SECONDS))
        return call(*arguments, **named)
    return slow


def main():
    rng = random.Random(SEED)
    script = os.path.join(HERE, sys.argv[1])
    sys.argv = [script, *sys.argv[2:]]
    sys.path.insert(0, os.path.dirname(script))
    headrace.Client.send = slowed(headrace.Client.send, rng)
    urllib.request.urlopen = slowed(urllib.request.urlopen, rng)
    try:
        from botocore.httpsession import URLLib3Session
    except ImportError:
        pass  # the suite does without
    else:
        URLLib3Session.send = slowed(URLLib3Session.send, rng)
    print(f"# seed {SEED}, {SHARE:.0%} of the calls are slow", flush=True)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
