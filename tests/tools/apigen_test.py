#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the .api tools: what they accept, what they make of it, and that they fail cleanly."""
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import api_import  # noqa: E402
import apigen  # noqa: E402
import services  # noqa: E402
import tap  # noqa: E402
from api_grammar import ApiError, parse, snake  # noqa: E402

HEAD = "service t protocol=json-1.1 target=T sign=t\n"
MUTATIONS = 1000


def generated(text):
    generator = apigen.Generator(parse(text), "t.api", "gen")
    return generator.header(), generator.source()


class Names(unittest.TestCase):
    def test_wire_names_become_snake_case(self):
        for wire, c in {
            "StreamARN": "stream_arn", "MaxRecordSizeInKiB": "max_record_size_in_kib",
            "WarmThroughputMiBps": "warm_throughput_mibps", "HashKeyRange": "hash_key_range",
            "StreamARNs": "stream_arns", "KMSKeyId": "kms_key_id", "Switch": "switch_",
            "S3TablesList": "s3_tables_list", "id": "id", "SSEType": "sse_type",
            "MillisBehindLatest": "millis_behind_latest", "key-pair": "key_pair",
        }.items():
            self.assertEqual(snake(wire), c)


class Accepted(unittest.TestCase):
    def test_the_example_of_the_manual_is_understood(self):
        with open(os.path.join(ROOT, "docs/api-format.md"), encoding="utf-8") as f:
            api = parse(f.read().split("```text\n")[1].split("```")[0])
        self.assertEqual(api.name, "tags")
        self.assertEqual(sorted(api.ops), ["ListTags", "PutTags"])
        most = api.ops["ListTags"].input.members[1]
        self.assertEqual((most.name, most.default, most.required), ("MaxItems", 20, False))
        self.assertEqual((api.shape(most.type).min, api.shape(most.type).max), (1, 50))
        self.assertTrue(api.shapes["Arn"].pattern.startswith("arn:"))

    def test_statements_go_on_over_lines(self):
        api = parse(HEAD + "op Do blocking scan body=2MiB in {\n  A! int, # first\n  B string\n}\n"
                           " out {} throws\n  E\nerror E 404\n")
        op = api.ops["Do"]
        self.assertEqual([m.name for m in op.input.members], ["A", "B"])
        self.assertEqual((op.blocking, op.scan, op.body_bytes_max, op.throws), (True, True, 2 << 20, ["E"]))
        self.assertEqual(op.output.members, [])

    def test_a_pattern_is_verbatim_to_the_last_slash(self):
        api = parse(HEAD + r"string A 1..9 /a\/b/[^#,= ]+/" + "\n")
        self.assertEqual(api.shapes["A"].pattern, r"a\/b/[^#,= ]+")

    def test_what_models_have_and_python_has_not_is_a_pattern(self):
        for pattern in (r"^(?!aws:)[\p{L}\p{Z}_-]*$", r"[\uD800\uDC00-\uDBFF\uDFFF]*", r"[\w-_]+?"):
            self.assertEqual(parse(HEAD + f"string A /{pattern}/").shapes["A"].pattern, pattern)

    def test_open_ranges_and_defaults_of_every_kind(self):
        api = parse(HEAD + 'enum C X Y\nop O in { A int 1.. = 3, B string ..4 = "x y", '
                           "D bool = false, E C = Y, F long = -1 }\n")
        self.assertEqual([m.default for m in api.ops["O"].input.members], [3, "x y", False, "Y", -1])


    def test_a_blob_may_stay_as_it_came_in_input(self):
        api = parse(HEAD + "blob P 0..9 base64\nblob Q 0..9\nlist L P\nop O in { A! P, B Q, C L } out { B Q }\n")
        self.assertEqual([s.base64 for s in api.shapes.values()], [True, False, False])
        generator = apigen.Generator(api, "t.api", "gen")
        for words in ("    Blob a;", "    Str b;", "    Blob *at;"):
            self.assertIn(words, generator.header())
        self.assertEqual(generator.source().count(".base64 = true"), 1)

    def test_a_service_may_speak_several_protocols(self):
        api = parse("service t protocol=json-1.0+rpc-v2-cbor+query sign=t target=T version=1\n"
                    "    xmlns=http://x/y/\nstring S\nlist L S 1..2 flat each=Word\n"
                    "map M S S key=Name value=Mark\nop O gzip in { L L, M M }\nerror E 400 code=a.B\n")
        self.assertEqual(api.attributes["xmlns"], "http://x/y/")
        lists, maps = api.shapes["L"], api.shapes["M"]
        self.assertEqual((lists.flat, lists.names, maps.flat), (True, {"each": "Word"}, False))
        self.assertEqual(maps.names, {"key": "Name", "value": "Mark"})
        self.assertEqual((api.ops["O"].gzip, api.errors["E"].code), (True, "a.B"))
        source = apigen.Generator(api, "t.api", "gen").source()
        for words in (".protocols = API_JSON_1_0 | API_RPC_CBOR | API_QUERY,", ".flat = true",
                      '.each_name = S_INIT("Word")', '.value_name = S_INIT("Mark")', ".gzip = true",
                      '.xml_namespace = S_INIT("http://x/y/")', '{ S_INIT("E"), 400, S_INIT("a.B") }'):
            self.assertIn(words, source)
        query = parse("service t protocol=query sign=t version=1 xmlns=x\n")
        self.assertNotIn(".target", apigen.Generator(query, "t.api", "gen").source())


class Refused(unittest.TestCase):
    CASES = [
        (3, HEAD + "blob P base64\nop O in {} out { A P }\n", "cannot be in a reply"),
        (3, HEAD + "struct T A L\nlist L P\nblob P base64\nop O in {} out { A T }\n", "cannot be in a reply"),
        (2, HEAD + "string S base64\n", "base64"),
        (1, "", "no `service`"),
        (1, "string A\n", "must be `service`"),
        (2, HEAD + "strnig A\n", "unknown statement"),
        (2, HEAD + HEAD, "second `service`"),
        (1, "service T protocol=json-1.1 target=T sign=t", "lower-case"),
        (1, "service t protocol=soap target=T sign=t", "unknown protocol"),
        (1, "service t protocol=json-1.1 sign=t", "needs target="),
        (1, "service t protocol=query sign=t version=1", "needs xmlns="),
        (1, "service t protocol=query sign=t xmlns=http://x/", "needs version="),
        (1, "service t protocol=json-1.0+json-1.1 target=T sign=t", "one version of JSON"),
        (1, "service t protocol=query+query sign=t version=1 xmlns=x", "a protocol once"),
        (3, HEAD + "string S\nlist L S each=", "the name of an element"),
        (2, HEAD + "error E 400 code=", "the error's code"),
        (2, HEAD + "error E 400 code=!", "a code is a word"),
        (1, "service t colour=red", "unknown or repeated attribute"),
        (1, "  string A\n", "no statement before it"),
        (3, HEAD + "string A\nstring A\n", "was defined on line 2"),
        (2, HEAD + "string A 5..1\n", "is empty"),
        (2, HEAD + "string A ..\n", "needs an end"),
        (2, HEAD + "bool A 1..2\n", "has no range"),
        (2, HEAD + "string A 1..x\n", "whole number"),
        (2, HEAD + "string A -1..2\n", "not negative"),
        (2, HEAD + "string A 1..2 extra\n", "unexpected 'extra'"),
        (2, HEAD + "string A /[/\n", "does not compile"),
        (2, HEAD + "string A /(?<=a)/\n", "look-behind"),
        (2, HEAD + "string A /a++/\n", "possessive"),
        (2, HEAD + "enum A\n", "needs values"),
        (2, HEAD + "enum A X X\n", "repeated value"),
        (2, HEAD + "list A B\n", "type B is not defined"),
        (3, HEAD + "int B\nmap A B B\n", "keys are strings"),
        (3, HEAD + "struct A {\n X Nope }\n", "type Nope is not defined"),
        (2, HEAD + "struct A X int, X int\n", "repeats or collides"),
        (2, HEAD + "struct A StreamARN int, StreamArn int\n", "collides with StreamARN"),
        (2, HEAD + "struct A { X int\n", "expected '}'"),
        (2, HEAD + "struct A X! int = 3\n", "no default"),
        (2, HEAD + "struct A X int 1..2 = 3\n", "outside the range"),
        (2, HEAD + "struct A X time = 3\n", "cannot have a default"),
        (3, HEAD + "enum C X\nstruct A M C = Y\n", "not a value of C"),
        (2, HEAD + "op O\n", "expected 'in'"),
        (2, HEAD + "op O quickly in {}\n", "unknown attribute"),
        (2, HEAD + "op O body=big in {}\n", "a size is"),
        (2, HEAD + "op O in {} throws E\n", "error E is not defined"),
        (2, HEAD + "op O in {} events {}\n", "needs an event"),
        (3, "service t protocol=query sign=t version=1 xmlns=x\nstruct S X int\nop O in {} events { A S }\n",
         "needs another protocol"),
        (3, HEAD + "string S\nop O in {} events { A S }\n", "an optional struct"),
        (3, HEAD + "struct S X int\nop O in {} events { A! S }\n", "an optional struct"),
        (3, HEAD + "struct S X int\nop O in {} out {} events { A S }\n", "unexpected 'events'"),
        (2, HEAD + "op O in {} throws\n", "needs errors"),
        (3, HEAD + "op O in {}\nop O in {}\n", "was defined on line 2"),
        (3, HEAD + "op O in {}\nstruct O_in X int\n", "taken by operation O"),
        (2, HEAD + "error E 200\n", "300 to 599"),
        (3, HEAD + "error E 400\nerror E 400\n", "was defined on line 2"),
    ]

    def test_every_mistake_is_told_with_its_line(self):
        for line, text, words in self.CASES:
            with self.subTest(text=text):
                with self.assertRaises(ApiError) as caught:
                    parse(text)
                self.assertIn(words, str(caught.exception))
                self.assertEqual(caught.exception.line, line)

    def test_the_program_names_file_and_line(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.api")
            with open(path, "w", encoding="utf-8") as f:
                f.write(HEAD + "list A B\n")
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                self.assertEqual(apigen.main([path, "--json", "-"]), 1)
                self.assertEqual(apigen.main([path + ".none", "--json", "-"]), 1)
            self.assertIn("x.api:2: A: type B is not defined", errors.getvalue())

    def test_damaged_files_give_only_clean_errors(self):
        texts = []
        for name in ("src/aws/probe.api", "src/svc/kinesis/kinesis.api"):
            with open(os.path.join(ROOT, name), encoding="utf-8") as f:
                texts.append(f.read()[-6000:] if name.endswith("kinesis.api") else f.read())
        texts = [t if t.startswith("#") else HEAD + t[t.index("\nop ") + 1:] for t in texts]
        chance = random.Random(20131202)
        parsed = 0
        for _ in range(MUTATIONS):
            try:
                api = parse(mutated(chance, chance.choice(texts)))
                apigen.Generator(api, "x", "").source()
                parsed += 1
            except ApiError:
                pass
        self.assertGreater(parsed, 0)
        self.assertLess(parsed, MUTATIONS)


def mutated(chance, text):
    pieces = ["{", "}", ",", "=", "!", "..", "1..", "/", "#", '"', "\n", " ", "in", "out", "throws",
              "op", "list", "\x00", "\u00e9", "99999999999999999999", "[", "(", "\\"]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.choice((0, 1, 1, 5, 40)))
        text = text[:at] + chance.choice(pieces + [""] * 8) + text[end:]
    return text


class Generated(unittest.TestCase):
    TEXT = HEAD + r"""
string Name 1..8 /"\d?\\/
enum Kind A B-C
list Names Name
map Tags Name Item
struct Item Id! int, Count int, Inner Item
op Do blocking in { Names Names, Item Item, When! time } out {} throws Bad
op Ask scan in {}
op Watch in {} events { Item Item, Other Item } throws Bad
error Bad 418
"""

    def test_the_header_has_what_code_is_written_against(self):
        header, _ = generated(self.TEXT)
        for line in (
            "extern const struct api_service t_api;", '#define t_Kind_B_C S("B-C")',
            "struct t_Names {\n    Str *at;\n    size_t n;\n    bool set;\n};",
            "struct t_Tags {\n    t_Tags_entry *at;",
            "struct t_Tags_entry {\n    Str key;\n    t_Item value;\n};",
            "struct t_Item {\n    int32_t id;\n    int32_t count;\n    bool has_count;\n"
            "    const struct t_Item *inner;\n    bool given_id;",
            "extern const struct api_error t_Bad;",
            "Err t_Do(struct call *c, const struct t_Do_in *in, struct t_Do_out *out);",
            "Err t_Ask(struct call *c, const struct t_Ask_in *in);",
            "struct t_Watch_events {\n    const struct t_Item *item;\n    const struct t_Item *other;\n};",
            "Err t_Watch(struct call *c, const struct t_Watch_in *in);",
        ):
            self.assertIn(line, header)

    def test_the_table_is_sorted_and_complete(self):
        _, source = generated(self.TEXT)
        self.assertLess(source.index('.name = S_INIT("Ask")'), source.index('.name = S_INIT("Do")'))
        self.assertIn('S_INIT("\\"\\\\d\\077\\\\\\\\")', source)  # the pattern, for a C compiler
        self.assertIn("{ S_INIT(\"Bad\"), 418 }", source)
        self.assertEqual(source.count(".scan = true"), 1)
        self.assertNotIn("shape_Tags", source)  # no operation uses it

    def test_a_service_without_operations_is_valid(self):
        _, source = generated(HEAD)
        self.assertNotIn("ops", source)

    def test_json_says_the_same(self):
        api = apigen.api_json(parse(self.TEXT))
        text = json.loads(json.dumps(api))
        self.assertEqual([op["name"] for op in text["ops"]], ["Ask", "Do", "Watch"])
        self.assertEqual(text["shapes"]["Item"]["members"][0],
                         {"name": "Id", "c_name": "id", "type": "Item_Id", "required": True,
                          "default": None})
        self.assertIsNone(text["ops"][0]["out"])
        self.assertEqual(text["ops"][1]["throws"], ["Bad"])
        self.assertEqual([m["name"] for m in text["ops"][2]["events"]["members"]], ["Item", "Other"])
        self.assertIsNone(text["ops"][2]["out"])

    def test_the_service_table_names_each_service(self):
        self.assertIn("{ &a_service, &b_service }", services.table(["a", "b"]))
        self.assertIn("service_count = 0", services.table([]))


class Imported(unittest.TestCase):
    MODEL = {
        "metadata": {"protocol": "json", "jsonVersion": "1.1", "targetPrefix": "T_1",
                     "endpointPrefix": "t", "apiVersion": "2025-01-01"},
        "operations": {
            "Put": {"input": {"shape": "PutInput"}, "errors": [{"shape": "Busy"}]},
            "Get": {"input": {"shape": "GetInput"}, "output": {"shape": "GetOutput"}},
        },
        "shapes": {
            "PutInput": {"type": "structure", "required": ["Name"], "members": {
                "Name": {"shape": "Name"}, "Tags": {"shape": "Tags"}}},
            "GetInput": {"type": "structure", "members": {}},
            "GetOutput": {"type": "structure", "members": {"At": {"shape": "When"}}},
            "Name": {"type": "string", "min": 1, "max": 8, "pattern": "[a-z/]+",
                     "documentation": "<p>prose</p>"},
            "Kind": {"type": "string", "enum": ["A", "B"]},
            "When": {"type": "timestamp"},
            "Tags": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Kind"}, "max": 3},
            "Busy": {"type": "structure", "members": {}, "exception": True,
                     "error": {"httpStatusCode": 409}},
        },
    }

    REST = ("service r protocol=rest-xml sign=r xmlns=u\nstring T\nmap M T T\nunserved a b\n"
            'op X http="PUT /{B}/{K+}?q" status=204 root=R streams in '
            "{ B! string @path, K! string @path, H T @header:x-h, M M @headers:x-m-, P blob @payload } "
            "out { A T @as:Other, C T @attribute:type }\n")

    def test_places_of_rest_are_kept(self):
        api = parse(self.REST)
        op = api.ops["X"]
        self.assertEqual((op.http, op.status, op.root, op.streams), (("PUT", "/{B}/{K+}", "q"), 204, "R", True))
        self.assertEqual([(m.place, m.called) for m in op.input.members],
                         [("path", "B"), ("path", "K"), ("header", "x-h"), ("headers", "x-m-"), ("payload", "P")])
        self.assertEqual(api.unserved, ["a", "b"])

    def test_rest_that_makes_no_sense_is_refused(self):
        for old, new in (("{K+}", "{L+}"), ("@header:x-h", "@header"), ("@path, K", "@path:x, K"), ("M M @headers", "M T @headers"),
                         ("P blob @payload", "P blob @payload, Q T"), ("H T @header:x-h", "H M @header:x-h"), ("204", "404"),
                         ('http="PUT /{B}/{K+}?q"', ""), ("protocol=rest-xml", "protocol=json-1.1 target=t"), ("xmlns=u", ""),
                         ("@as:Other", "@nowhere:Other"), ('"PUT /', '"put /')):
            with self.subTest(new=new), self.assertRaises(ApiError):
                parse(self.REST.replace(old, new, 1))

    def test_a_draft_is_a_valid_api_file_without_prose(self):
        text = api_import.Draft(self.MODEL, None).text("t")
        self.assertNotIn("prose", text)
        api = parse(text)
        self.assertEqual(sorted(api.ops), ["Get", "Put"])
        self.assertEqual(api.shapes["Name"].pattern, "[a-z/]+")
        self.assertEqual(api.errors["Busy"].status, 409)
        self.assertEqual((api.shapes["Tags"].min, api.shapes["Tags"].max), (None, 3))
        self.assertTrue(api.ops["Put"].input.members[0].required)
        self.assertIsNone(api.ops["Put"].output)

    def test_an_event_stream_is_drafted_as_events(self):
        model = json.loads(json.dumps(self.MODEL))
        model["operations"]["Watch"] = {"input": {"shape": "GetInput"}, "output": {"shape": "WatchOutput"}}
        model["shapes"] |= {
            "WatchOutput": {"type": "structure", "members": {"Stream": {"shape": "Stream"}}},
            "Stream": {"type": "structure", "eventstream": True,
                       "members": {"Tick": {"shape": "Tick"}, "Busy": {"shape": "Busy"}}},
            "Tick": {"type": "structure", "event": True, "members": {"At": {"shape": "When"}}},
        }
        op = parse(api_import.Draft(model, None).text("t")).ops["Watch"]
        self.assertEqual([m.name for m in op.events.members], ["Tick"])
        self.assertIsNone(op.output)

    def test_only_the_named_operations_are_drafted(self):
        self.assertNotIn("op Put", api_import.Draft(self.MODEL, {"Get"}).text("t"))

    def test_the_program_reads_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "service-2.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump(self.MODEL, f)
            run = subprocess.run([sys.executable, os.path.join(ROOT, "tools/api_import.py"), path],
                                 capture_output=True, text=True, check=True)
            self.assertEqual(sorted(parse(run.stdout).ops), ["Get", "Put"])
            run = subprocess.run([sys.executable, os.path.join(ROOT, "tools/api_import.py"), path,
                                  "--ops", "None"], capture_output=True, text=True, check=False)
            self.assertNotEqual(run.returncode, 0)


class Kinesis(unittest.TestCase):
    def test_the_contract_keeps_the_orders_on_record(self):
        with open(os.path.join(ROOT, "src/svc/kinesis/kinesis.api"), encoding="utf-8") as f:
            api = parse(f.read())

        def order(op, n):
            return [m.name for m in api.ops[op].input.members][:n]

        self.assertEqual(order("PutRecord", 5), ["SequenceNumberForOrdering", "PartitionKey",
                                                 "ExplicitHashKey", "Data", "StreamName"])
        self.assertEqual(order("PutRecords", 2), ["Records", "StreamName"])
        self.assertEqual(order("GetRecords", 2), ["Limit", "ShardIterator"])
        self.assertEqual(order("GetShardIterator", 4), ["ShardId", "ShardIteratorType",
                                                        "StartingSequenceNumber", "StreamName"])
        self.assertEqual([m.name for m in api.shapes["PutRecordsRequestEntry"].members],
                         ["PartitionKey", "ExplicitHashKey", "Data"])
        self.assertEqual(api.shapes["ShardIteratorType"].values,
                         ["AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER",
                          "TRIM_HORIZON"])
        self.assertIsNone(api.ops["CreateStream"].output)
        self.assertEqual({n for n, op in api.ops.items() if op.blocking},
                         {"CreateQueue", "DeleteQueue", "UpdateQueue", "CreateChannel",
                          "UpdateChannel", "DeleteChannel",
                          "CreateStream", "DeleteStream", "IncreaseStreamRetentionPeriod",
                          "DecreaseStreamRetentionPeriod", "AddTagsToStream", "RemoveTagsFromStream",
                          "TagResource", "UntagResource", "GetShardIterator", "SplitShard", "MergeShards",
                          "EnableEnhancedMonitoring", "DisableEnhancedMonitoring",
                          "UpdateShardCount", "DescribeAccountSettings", "UpdateAccountSettings",
                          "UpdateMaxRecordSize", "UpdateStreamMode", "UpdateStreamWarmThroughput",
                          "UpdateStreamRecordDistributionStrategy", "PutResourcePolicy",
                          "DeleteResourcePolicy", "StartStreamEncryption", "StopStreamEncryption",
                          "RegisterStreamConsumer", "DeregisterStreamConsumer", "SubscribeToShard"})


def every_test(suite):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from every_test(part)
        else:
            yield part


def main():
    """Runs all and speaks TAP, as every suite here does."""
    speaker = tap.Tap()
    for case in every_test(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])):
        result = unittest.TestResult()
        case.run(result)
        name = case.id().rsplit(".", 1)[-1].removeprefix("test_").replace("_", " ")
        faults = [text for _, text in result.failures + result.errors]
        if faults:
            speaker.not_ok(name, "\n".join(faults))
        else:
            speaker.ok(name)
    return speaker.end()


if __name__ == "__main__":
    sys.exit(main())
