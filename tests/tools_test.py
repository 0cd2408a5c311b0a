#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks of tools/ are themselves checked: each finds what it is there to find."""
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import check  # noqa: E402
import layers  # noqa: E402
import tap  # noqa: E402

LAYERS = "base\nos codec\nstore\nsvc/* bridge/*\nserver\n"


def violations(files):
    """What layers.py says of a house with these files; each value is the file's one include."""
    with tempfile.TemporaryDirectory() as src:
        with open(os.path.join(src, "LAYERS"), "w", encoding="utf-8") as file:
            file.write(LAYERS)
        for path, header in files.items():
            os.makedirs(os.path.dirname(os.path.join(src, path)), exist_ok=True)
            with open(os.path.join(src, path), "w", encoding="utf-8") as file:
                file.write(f'#include "{header}"\n')
        return layers.check(src)


def expect_violation(files, part):
    found = violations(files)
    assert len(found) == 1 and part in found[0], found


@tap.test
def includes_upward_and_of_the_own_room_are_fine():
    assert violations({"store/log.c": "os/io.h", "store/kv.c": "store/kv_priv.h",
                       "svc/kinesis/put.c": "store/log.h", "svc/kinesis/a.c": "gen/kinesis_api.h",
                       "server/main.c": "gen/kinesis_api.h"}) == []


@tap.test
def an_include_downward_is_found():
    expect_violation({"os/loop.c": "store/log.h"}, "store is below os")


@tap.test
def an_include_of_a_neighbour_is_found():
    expect_violation({"os/loop.c": "codec/json.h"}, "codec is a neighbour of os")


@tap.test
def a_service_that_includes_another_is_found():
    expect_violation({"svc/sqs/a.c": "svc/kinesis/stream.h"}, "neighbour")


@tap.test
def a_private_header_outside_its_room_is_found():
    expect_violation({"store/log.c": "os/loop_priv.h"}, "private to os")


@tap.test
def a_generated_header_of_another_service_is_found():
    expect_violation({"svc/kinesis/x.h": "base/str.h", "svc/sqs/a.c": "gen/kinesis_api.h"}, "neighbour")


@tap.test
def a_generated_header_used_above_the_services_is_found():
    expect_violation({"svc/kinesis/x.h": "base/str.h", "store/a.c": "gen/kinesis_api.h"}, "below")


@tap.test
def a_room_that_layers_does_not_name_is_found():
    expect_violation({"attic/a.c": "base/str.h"}, "not in LAYERS")


@tap.test
def literals_and_comments_are_not_code():
    text = check.code_only('a("goto") // atoi(\n/* strcpy(\n */ b(\'"\'); goto end;')
    assert "atoi" not in text and "strcpy" not in text
    assert text.count("goto") == 1 and text.count("\n") == 2


@tap.test
def functions_are_measured_between_their_braces():
    body = "\n".join(["    x();"] * 5)
    text = f"static int table[] = {{\n    1,\n}};\n\nstatic void f(int a,\n              int b)\n{{\n{body}\n}}\n"
    assert list(check.functions_of(text)) == [(5, 7, "f")]


if __name__ == "__main__":
    sys.exit(tap.main())
