# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/conformance are what tools/conformance.py makes, and it reads what there is."""
import api_grammar
import conformance
import tap

API = """service kinesis  protocol=json-1.1  target=T  sign=kinesis
string Name 1..9
error BadException 400
error OtherException 400
op One in { Name! Name } throws BadException OtherException
op Two in { Name! Name }
"""


@tap.test
def the_conformance_pages_are_what_the_generator_makes():
    assert conformance.stale() == [], "run: tools/conformance.py --write"


@tap.test
def calls_are_taken_from_the_pages_of_metrics():
    text = "\n".join(f'headrace_requests_total{{service="s",op="{op}",code="{code}"}} {n}' for op, code, n in (
        ("A", "2xx", 3), ("A", "4xx", 0), ("B", "4xx", 12), ("C", "5xx", 1), ("D", "2xx", 0), ("E", "2xx", 1),
        ("E", "4xx", 1))) + '\nheadrace_request_seconds_count{service="s",op="F"} 9\n'
    assert conformance.counted(text) == {"s": {"A": ["ok"], "B": ["refused"], "E": ["ok", "refused"]}}


@tap.test
def errors_are_found_in_the_answers_of_every_protocol():
    def names(text):
        return ["".join(groups) for groups in conformance.TYPE.findall(text)]

    assert names('{"__type":"BadException","message":"m"}') == ["BadException"]
    assert names('{"__type":"com.amazonaws.x#BadException"}') == ["BadException"]
    assert names("<Code>NoSuchEntity</Code><Message>m</Message>") == ["NoSuchEntity"]
    assert names('{"Message":"__type"}') == []
    assert names('{"Records":[{"ErrorCode":"BadException"}]}') == ["BadException"]
    assert names('[{"initial-response":{}},{"BadException":{"message":"m"}}]') == ["BadException"]


@tap.test
def callers_that_were_only_refused_are_told_apart():
    calls = {"boto3": {"kinesis": {"One": ["ok"]}}, "java": {"kinesis": {"One": ["refused"]}}}
    assert conformance.callers(calls, "kinesis", "One") == "boto3, (java)"
    assert conformance.callers(calls, "kinesis", "Two") == ""


@tap.test
def what_no_dialogue_shows_is_listed():
    api = api_grammar.parse(API)
    lines = [("One", ["json"], ["BadException"], [], ["OtherException"], [], ""), ("Two", [], [], [], [], [], "")]
    assert "- One: Other" in conformance.missing_section(lines) and conformance.missing_section(lines[1:]) == []
    assert list(api.ops) == ["One", "Two"]


@tap.test
def what_cannot_come_is_told_with_its_reason_and_not_as_missing():
    api = api_grammar.parse(API + 'never OtherException in One "it has no other"\n')
    assert api.never == {("One", "OtherException"): "it has no other"}
    lines = [("One", [], [], [], [], [("OtherException", "it has no other")], "")]
    assert "| Other | it has no other | One |" in conformance.missing_section(lines)
    for wrong in ('never OtherException in Two "x"', 'never NoException "x"', 'never "x"', "never OtherException"):
        try:
            api_grammar.parse(API + wrong + "\n")
            raise AssertionError(wrong)
        except api_grammar.ApiError:
            pass
