#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/conformance: what is spoken of each service, operation by operation.

    tools/conformance.py                     compares the pages with what they must be
    tools/conformance.py --write             writes them
    tools/conformance.py --record PROGRAM    runs the client suites first and notes what they called

The pages come from the `.api` files (operations and their errors), the `.wire` dialogues (what was sent
and answered, byte for byte) and tests/clients/operations.json (which suite of unmodified clients called
what, as the server counted it; a suite that was skipped keeps what was noted before).
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import api_grammar  # noqa: E402
import check  # noqa: E402
import wire  # noqa: E402

PAGES = os.path.join(ROOT, "docs", "conformance")
RECORD = os.path.join(ROOT, "tests", "clients", "operations.json")
TITLES = {"kinesis": "Kinesis Data Streams", "kms": "KMS", "iam": "IAM", "sts": "STS", "cloudwatch": "CloudWatch",
          "s3": "S3", "glue": "Glue Data Catalog", "firehose": "Data Firehose",
          "secretsmanager": "Secrets Manager"}
# The suites of tests/run.py that drive unmodified clients, and what they are.
SUITES = {
    "boto3": ("clients/boto3_test.py", "boto3, HTTP/1.1, plain and TLS"),
    "boto3-queues": ("clients/boto3_queues_test.py", "boto3, queues on streams"),
    "boto3-channels": ("clients/boto3_channels_test.py", "boto3, channels from streams to buckets"),
    "awscli": ("clients/awscli_test.py", "the AWS command line"),
    "javascript": ("clients/javascript_test.py", "the SDK for JavaScript v3, HTTP/2"),
    "java": ("clients/java_test.py", "the SDK for Java v2, CBOR, HTTP/1.1 and HTTP/2"),
    "cloudwatch": ("clients/cloudwatch_test.py", "boto3 and the AWS command line, metrics and alarms"),
    "access": ("clients/access_test.py", "boto3 and the AWS command line, identities, policies and keys"),
    "glue": ("clients/glue_test.py", "boto3 and the AWS command line, the Data Catalog"),
    "secretsmanager": ("clients/secretsmanager_test.py", "boto3 and the AWS command line, secrets"),
    "boto3-firehose": ("clients/firehose_test.py", "boto3 and the AWS command line, delivery streams"),
    "boto3-s3": ("clients/s3_test.py", "boto3, buckets and objects"),
    "terraform": ("clients/terraform_test.py", "the calls of Terraform's AWS provider, made with boto3"),
}
SUITE_SECONDS_MAX = 900
# Also what single entries of a request were answered with, and the last message of a stream.
TYPE = re.compile(r'"(?:__type|ErrorCode)":"(?:[^"#]*#)?([A-Za-z]+)"|<Code>([A-Za-z.]+)</Code>|\{"([A-Z][A-Za-z]+)":\{"message"')
COUNTED = re.compile(r'headrace_requests_total\{service="([a-z0-9_]+)",op="(\w+)",code="([245])xx"\} ([1-9]\d*)$')


def services():
    """The names of the services that have a contract, in their order."""
    with open(os.path.join(ROOT, "src", "svc", "meson.build"), encoding="utf-8") as file:
        listed = re.search(r"^services = \[(.*?)\]", file.read(), re.M | re.S)[1]
    return re.findall(r"'(\w+)'", listed)


def contract(name):
    with open(os.path.join(ROOT, "src", "svc", name, f"{name}.api"), encoding="utf-8") as file:
        return api_grammar.parse(file.read())


# ---- Dialogues


def operation_of(exchange, api):
    """The operation that a request of a dialogue is for."""
    if api.attributes["protocol"] != "rest-xml":
        return exchange.operation.rpartition(".")[2]
    headers = {d.partition(" ")[2].partition(":")[0].lower() for d in exchange.directives if d.startswith("header ")}
    return check.rest_operation(api, exchange.operation, exchange.body.partition(" ")[0], headers)


def spoken(name, api):
    """{operation: ({protocols in which it succeeded}, {errors it was answered with})}."""
    codes = {error.code: error.name for error in api.errors.values() if error.code}
    found = {op: (set(), set()) for op in api.ops}
    for path in sorted(glob.glob(os.path.join(ROOT, "src", "svc", name, "*.wire"))):
        for dialogue in wire.parse_file(path):
            kinds = {kind for kind, _ in dialogue.kinds(api.attributes["protocol"])}
            for exchange in dialogue.exchanges:
                operation = operation_of(exchange, api)
                if operation not in found:
                    continue
                good, errors = found[operation]
                if exchange.status < 400:
                    good |= kinds
                for match in TYPE.finditer(exchange.answer):
                    error = match[1] or match[2] or match[3]
                    errors.add(codes.get(error, error))
    return found


# ---- Clients


def counted(metrics):
    """What a server's page of metrics says of its calls: {service: {operation: "ok" | "refused" | both}}."""
    calls = {}
    for line in metrics.splitlines():
        match = COUNTED.match(line)
        if match and match[3] != "5":
            ways = calls.setdefault(match[1], {}).setdefault(match[2], set())
            ways.add("ok" if match[3] == "2" else "refused")
    return {s: {op: sorted(ways) for op, ways in ops.items()} for s, ops in calls.items()}


def recorded():
    with open(RECORD, encoding="utf-8") as file:
        return json.load(file)


def run_suite(suite, program, folder):
    """Runs a client suite; what its servers counted, joined. None: it failed, or could not run."""
    environment = {**os.environ, "HEADRACE_RECORD": folder}
    python = os.path.join(ROOT, "build", "venv", "bin", "python3")
    script = os.path.join(ROOT, "tests", SUITES[suite][0])
    done = subprocess.run([python if os.path.exists(python) else sys.executable, script, "--program", program],
                          env=environment, cwd=ROOT, timeout=SUITE_SECONDS_MAX, capture_output=True, text=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith("not ok")]
    if done.returncode != 0 or failed:
        print(f"{suite}: not recorded\n" + "\n".join(failed or [done.stderr[-2000:]]), file=sys.stderr)
        return None
    joined = {}
    for path in glob.glob(os.path.join(folder, "*.metrics")):
        with open(path, encoding="utf-8") as file:
            for service, ops in counted(file.read()).items():
                for op, ways in ops.items():
                    known = joined.setdefault(service, {}).setdefault(op, [])
                    joined[service][op] = sorted({*known, *ways})
    return joined


def record(program, suites):
    calls = recorded() if os.path.exists(RECORD) else {}
    for suite in suites:
        with tempfile.TemporaryDirectory() as folder:
            found = run_suite(suite, os.path.abspath(program), folder)
        if found:
            calls[suite] = {s: dict(sorted(ops.items())) for s, ops in sorted(found.items())}
            print(f"{suite}: {sum(map(len, found.values()))} operations")
    with open(RECORD, "w", encoding="utf-8") as file:
        json.dump({s: calls[s] for s in SUITES if s in calls}, file, indent=1)
        file.write("\n")


# ---- Pages


def callers(calls, service, op):
    """Which suites called it; in parentheses those that were only refused."""
    out = []
    for suite, of_suite in calls.items():
        ways = of_suite.get(service, {}).get(op, [])
        if ways:
            out.append(suite if "ok" in ways else f"({suite})")
    return ", ".join(out)


def rows(name, api, calls):
    dialogues = spoken(name, api)
    is_shared = not any(op.throws for op in api.ops.values())  # the model names errors of the whole service only
    for op in sorted(api.ops.values(), key=lambda op: op.name):
        good, errors = dialogues[op.name]
        known = sorted(errors & set(api.errors)) if is_shared else [e for e in op.throws if e in errors]
        further = sorted(errors - set(known))
        never = [(e, api.never[(op.name, e)]) for e in op.throws if (op.name, e) in api.never]
        came = [e for e, _ in never if e in errors]
        if came:
            raise ValueError(f"{name}: {op.name} is answered with {came[0]} in a dialogue, and said never to be")
        missing = [e for e in op.throws if e not in errors and (op.name, e) not in api.never]
        yield op.name, sorted(good), known, further, missing, never, callers(calls, name, op.name)


def short(error):
    return error.removesuffix("Exception")


def page(name, calls):
    api = contract(name)
    lines = list(rows(name, api, calls))
    declared = sum(len(op.throws) for op in api.ops.values())
    shown = sum(len(known) for _, _, known, *_ in lines)
    cannot = sum(len(never) for *_, never, _ in lines)
    called = sum(bool(clients) for *_, clients in lines)
    title = TITLES.get(name, name)
    of_declared = f"{shown} of {declared} declared errors{f'; {cannot} cannot come here' if cannot else ''}" if declared else "its operations declare no errors of their own"
    out = [f"<!-- SPDX-License-Identifier: Apache-2.0 -->\n# {title}: operation by operation\n",
           "Made by `make conformance` from the contract, the dialogues and what unmodified clients called; a test "
           "compares it.\n",
           f"- Operations served: {len(lines)}. Protocols: {api.attributes['protocol'].replace('+', ', ')}.",
           f"- Answered in a dialogue, byte for byte: {sum(bool(good) for _, good, *_ in lines)} with a result, "
           f"{of_declared}.",
           f"- Called by unmodified clients: {called}.\n",
           "| operation | result | errors in dialogues | clients |", "|---|---|---|---|"]
    for op, good, known, further, _, _, clients in lines:
        errors = ", ".join([short(e) for e in known] + [f"*{short(e)}*" for e in further])
        out.append(f"| {op} | {', '.join(good) or '-'} | {errors or '-'} | {clients or '-'} |")
    out += ["\nResult: the protocols in which dialogues have its success. Errors are written without their `Exception`; "
            "those in\nitalics are not in the operation's model: they are what every operation may answer. Clients in "
            "parentheses were\nonly refused, as their tests want it.\n"]
    out += missing_section(lines)
    out += ["## Clients\n"] + [f"- {s}: {SUITES[s][1]}" for s in SUITES if s in calls] + [""]
    return "\n".join(out)


def never_section(lines):
    """Which declared errors cannot come, and why: a reason, and the operations that it holds for."""
    whys = {}
    for op, *_, never, _ in lines:
        for error, why in never:
            whys.setdefault((error, why), []).append(op)
    if not whys:
        return []
    out = ["## Declared errors that cannot come here\n", "| error | cannot come here: | of |", "|---|---|---|"]
    for (error, why), ops in sorted(whys.items()):
        out.append(f"| {short(error)} | {why} | {', '.join(ops)} |")
    return out + [""]


def missing_section(lines):
    left = [(op, missing) for op, _, _, _, missing, *_ in lines if missing]
    out = never_section(lines)
    if not left:
        return out
    out += ["## Declared errors without a dialogue\n",
           "What a dialogue cannot bring about (a fault inside, a limit that takes an hour) is shown by unit tests, or by "
           "none.\n"]
    return out + [f"- {op}: {', '.join(map(short, missing))}" for op, missing in left] + [""]


def index(calls):
    out = ["<!-- SPDX-License-Identifier: Apache-2.0 -->\n# Conformance\n",
           "Each service that is served, operation by operation. Made by `make conformance`.\n",
           "| service | operations | with a dialogue | called by clients |", "|---|---|---|---|"]
    for name in services():
        lines = list(rows(name, contract(name), calls))
        out.append(f"| [{TITLES.get(name, name)}]({name}.md) | {len(lines)} | {sum(bool(g) for _, g, *_ in lines)} | "
                   f"{sum(bool(c) for *_, c in lines)} |")
    return "\n".join(out) + "\n"


def pages():
    """{path: what must stand there}."""
    calls = recorded() if os.path.exists(RECORD) else {}
    made = {os.path.join(PAGES, f"{name}.md"): page(name, calls) for name in services()}
    made[os.path.join(PAGES, "README.md")] = index(calls)
    return made


def stale():
    """The pages that are not what they must be."""
    found = []
    for path, text in pages().items():
        try:
            with open(path, encoding="utf-8") as file:
                same = file.read() == text
        except FileNotFoundError:
            same = False
        if not same:
            found.append(os.path.relpath(path, ROOT))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--record", metavar="PROGRAM")
    parser.add_argument("--suites", nargs="*", default=list(SUITES))
    options = parser.parse_args()
    if options.record:
        record(options.record, options.suites)
    if options.record or options.write:
        os.makedirs(PAGES, exist_ok=True)
        for path, text in pages().items():
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return 0
    old = stale()
    for path in old:
        print(f"{path} is not what the generator makes; run: tools/conformance.py --write")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
