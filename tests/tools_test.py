#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks of tools/ are themselves checked: each finds what it is there to find."""
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.path.insert(0, os.path.join(ROOT, "tests"))
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))
import bench_test  # noqa: E402,F401: its tests are among these
import conformance_test  # noqa: E402,F401: and these
import check  # noqa: E402
import layers  # noqa: E402
import cbor  # noqa: E402
import crash  # noqa: E402
import sigv4  # noqa: E402
import tap  # noqa: E402
import wire  # noqa: E402

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
    assert [found[:3] for found in check.functions_of(text)] == [(5, 7, "f")]


@tap.test
def a_global_name_is_defined_once():
    one, other = "void f(void)\n{\n}\n", "static void f(void)\n{\n}\nX_INLINE void g(void)\n{\n}\n"
    assert check.names_twice({"src/a/a.c": one, "src/b/b.c": other, "src/a/a_test.c": one}) == []
    assert check.names_twice({"src/a/a.c": one, "src/b/b.c": one}) == [
        "f is defined 2 times: src/a/a.c:1, src/b/b.c:1"]


@tap.test
def instructions_of_one_processor_stand_behind_its_condition():
    x86, arm = "#include <immintrin.h>\n__m128i x;\n", "uint8x16_t x = vld1q_u8(p);\n"
    for text in (f"#if defined(__x86_64__)\n{x86}#elif defined(__aarch64__)\n{arm}#endif\n",
                 f"#ifdef __SSE2__\n#if A\n{x86}#endif\n{x86}#endif\n", "// _mm_add_epi8(x)\nint v_of_x(void);\n"):
        assert check.unguarded(text) == [], text
    assert check.unguarded(x86) == [(1, "<immintrin.h>"), (2, "__m128i")]
    assert check.unguarded(f"#ifndef __x86_64__\n{x86}#endif\n") == [(2, "<immintrin.h>"), (3, "__m128i")]
    assert check.unguarded(f"#ifdef __x86_64__\n#else\n{arm}#endif\n{arm}") == [(3, "uint8x16_t"), (5, "uint8x16_t")]


def answer_matches(expected, got, **variables):
    match = wire.pattern_of(expected, variables).fullmatch(got)
    return None if match is None else match.groupdict()


@tap.test
def an_expected_answer_is_compared_byte_for_byte():
    assert answer_matches('{"A":1}', '{"A":1}') == {}
    assert answer_matches('{"A":1}', '{"A": 1}') is None
    assert answer_matches('{"A":"."}', '{"A":"x"}') is None


@tap.test
def a_variable_captures_once_and_is_compared_afterwards():
    assert answer_matches('{"A":"x$v","B":$n}', '{"A":"xyz","B":-1.5}') == {"v": "yz", "n": "-1.5"}
    assert answer_matches('["$v","$v"]', '["a","a"]') == {"v": "a"}
    assert answer_matches('["$v","$v"]', '["a","b"]') is None
    assert answer_matches('["$v"]', '["b"]', v="a") is None


@tap.test
def wildcards_match_one_value_or_the_rest_of_an_object():
    assert answer_matches('{"A":$*,"B":1}', '{"A":{"x":[1,"}"]},"B":1}') == {}
    assert answer_matches('{"A":"$*"}', '{"A":"q","B":2}') is None
    assert answer_matches('{"A":1,$...}', '{"A":1,"B":{"C":[2]}}') == {}
    assert answer_matches('{"A":1,$...}', '{"A":1}') == {}
    assert answer_matches('{"A":1,$...}', '{"A":2}') is None
    assert answer_matches('[' + '$*,' * 20 + '1]', '[' + '1234567890,' * 20 + '2]') is None


@tap.test
def a_dialogue_is_read_with_its_directives_and_continuations():
    text = """
# comment
@cbor
== first
! region=eu-west-1
! header X: y
> Put {"A":
      "$(b*3)"}
< 200 {}
: Date: $*
== second
@json
>~ Get {}
< 400
"""
    first, second = wire.Parser("t.wire").parse(text)
    assert (first.title, first.cbor_too, second.cbor_too) == ("first", True, False)
    assert first.exchanges[0].before == [("region", "eu-west-1")]
    put, get = first.exchanges[0], second.exchanges[0]
    assert wire.substitute(put.body, {}) == '{"A":"bbb"}' and put.directives == ["header X: y"]
    assert put.headers == [("Date", "$*")] and (get.repeat, get.status, get.answer) == (True, 400, "")


@tap.test
def a_request_without_an_answer_is_an_error_of_the_file():
    try:
        wire.Parser("t.wire").parse("> A {}\n> B {}\n< 200\n")
    except wire.WireError as error:
        assert "t.wire:2" in str(error)
    else:
        raise AssertionError("it was accepted")


@tap.test
def cbor_comes_back_as_it_was_and_indefinite_lengths_are_read():
    value = {"a": [1, -5, 1.5, b"x", None, True, 1 << 40, "\u00e9"], "b": {}}
    assert cbor.decode(cbor.encode(value)) == value
    assert cbor.decode(bytes.fromhex("bf61619f01ffff")) == {"a": [1]}
    assert isinstance(cbor.decode(cbor.encode(cbor.Timestamp(5))), cbor.Timestamp)


@tap.test
def the_signer_gives_the_signature_of_the_published_example():
    """The example of AWS's signing documentation: GET ListUsers of 2015-08-30."""
    headers = {"host": "iam.amazonaws.com",
               "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    signed = sigv4.sign("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "iam",
                        "GET", "/", headers, b"", query="Action=ListUsers&Version=2010-05-08",
                        now=1440938160)
    assert signed["Authorization"].endswith(
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")


SHARD = "shardId-000000000000"


def crash_verdict(new, promised, sent=("a", "b", "c"), before=()):
    """What the crash loop says of a shard that shows `new` after `before`; None if it is content."""
    history = crash.History()
    history.keep(SHARD, list(before))
    history.known = {content for _, content in before}
    try:
        history.check_new(SHARD, list(new), dict(promised), set(sent))
    except AssertionError as error:
        return str(error)
    return None


@tap.test
def the_crash_loop_is_content_with_what_was_promised_and_with_more():
    assert crash_verdict([(1, "a"), (2, "b")], {1: "a"}) is None
    assert crash_verdict([(5, "b")], {5: "b"}, before=[(4, "a")]) is None


@tap.test
def the_crash_loop_finds_what_is_lost_changed_doubled_or_out_of_order():
    assert "are lost" in crash_verdict([(1, "a")], {1: "a", 2: "b"})
    assert "for other data" in crash_verdict([(1, "a")], {1: "b"})
    assert "a second time" in crash_verdict([(1, "a"), (2, "a")], {1: "a"})
    assert "a second time" in crash_verdict([(5, "a")], {}, before=[(4, "a")])
    assert "comes after" in crash_verdict([(2, "a"), (1, "b")], {})
    assert "comes after" in crash_verdict([(4, "a")], {}, before=[(4, "b")])
    assert "nobody sent" in crash_verdict([(1, "x")], {})


@tap.test
def the_crash_loop_knows_what_is_past_its_retention_and_nothing_else():
    history = crash.History()
    for number, hours in enumerate((9, 9, 5, 1, 9), 1):
        history.keep(SHARD, [(number, str(number))])
        history.later(hours)
    # Born at 0, 9, 18, 23 and 24 hours; it is hour 33 now.
    assert [number for number, _ in history.records[SHARD]] == [3, 4, 5]
    assert history.gone[SHARD] == 2 and history.last(SHARD) == 5


@tap.test
def the_crash_loop_finds_a_put_that_got_a_smaller_number_than_the_one_before():
    class Writer:
        acknowledged = [[(SHARD, 2, "a")], [(SHARD, 1, "b")]]

    try:
        crash.History.check_writer_order(Writer)
    except AssertionError:
        return
    raise AssertionError("it was not found")


if __name__ == "__main__":
    sys.exit(tap.main())
