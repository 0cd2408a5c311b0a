#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drafts an `.api` file from a public AWS service model (service-2.json of the botocore package).

    api_import.py kinesis                          the newest model of the installed botocore
    api_import.py path/to/service-2.json[.gz]      any model
    api_import.py kinesis --ops PutRecord,GetRecords

Facts only: names, types, limits, errors. Nothing of the model's prose is taken. The draft is then
edited by people: the order of members (it is the order of validation errors), defaults, `blocking`.
"""
import argparse
import glob
import gzip
import json
import math
import os
import re
import sys

KINDS = {"string": "string", "blob": "blob", "boolean": "bool", "integer": "int", "long": "long",
         "float": "double", "double": "double", "timestamp": "time", "list": "list", "map": "map",
         "structure": "struct"}
PROTOCOLS = {"smithy-rpc-v2-cbor": "rpc-v2-cbor", "query": "query",
             "rest-xml": "rest-xml"}  # JSON has a version as well
LINE_MAX = 100


def find_model(name):
    if os.path.exists(name):
        return name
    import botocore  # only needed for a service's name

    root = os.path.join(os.path.dirname(botocore.__file__), "data", name)
    found = sorted(glob.glob(os.path.join(root, "*", "service-2.json*")))
    if not found:
        raise SystemExit(f"api_import: no model named {name} in {os.path.dirname(root)}")
    return found[-1]


def load(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as f:
        return json.loads(f.read())


def word_range(shape):
    if "min" not in shape and "max" not in shape:
        return ""
    # Floating limits are rounded outwards: the format has whole ones.
    low = math.floor(shape["min"]) if "min" in shape else ""
    high = math.ceil(shape["max"]) if "max" in shape else ""
    return f" {low}..{high}"


def element(shape, **names):
    """How elements are called in the Query protocol where it is not as usual."""
    called = ((ours, shape[theirs].get("locationName")) for ours, theirs in names.items())
    return "".join(f" {ours}={name}" for ours, name in called if name is not None)


def place(name, member, shape):
    """Where a member of a REST protocol is, if it is not an element of its own name."""
    words = {"uri": "path", "querystring": "query", "header": "header", "headers": "headers"}
    called = member.get("locationName", name)
    where = words.get(member.get("location"))
    if where == "path":
        return " @path"
    if where:
        return f" @{where}:{called}"
    if shape.get("payload") == name:
        return f" @payload:{called}" if "locationName" in member else " @payload"
    if member.get("xmlAttribute"):
        return f" @attribute:{called.rpartition(':')[2]}"
    return f" @as:{called}" if called != name else ""


def member_texts(shape, rest=False):
    """Members as the format has them."""
    required = set(shape.get("required", ()))
    for name, member in shape.get("members", {}).items():
        at = place(name, member, shape) if rest else ""
        yield f"{name}{'!' if name in required else ''} {member['shape']}{at}"


def fill(line, words):
    """Words after `line`, continued on indented lines."""
    lines = []
    for word in words:
        if len(line) + 1 + len(word) > LINE_MAX:
            lines.append(line)
            line = "   "
        line += " " + word
    return "\n".join(lines + [line])


def wrap(head, texts, tail):
    """`head { a, b }` on one line if it fits, else members on lines between the braces."""
    one = f"{head} {{ {', '.join(texts)} }}{tail}" if texts else f"{head} {{}}{tail}"
    if len(one) <= LINE_MAX:
        return one
    lines, line = [f"{head} {{"], "   "
    for at, text in enumerate(texts):
        text += "," if at + 1 < len(texts) else ""
        if len(line) + 1 + len(text) > LINE_MAX:
            lines.append(line)
            line = "   "
        line += " " + text
    return "\n".join(lines + [line, "}" + tail])


def without_scalar_names(model):
    """The model with shapes that are called like our scalars renamed: `bool` becomes `Bool`."""
    text = json.dumps(model)
    for name in set(model["shapes"]) & set(KINDS.values()):
        text = text.replace(f'"shape": "{name}"', f'"shape": "{name.capitalize()}"')
        text = text.replace(f'"{name}": {{"type"', f'"{name.capitalize()}": {{"type"')
    return json.loads(text)


class Draft:
    def __init__(self, model, ops):
        model = without_scalar_names(model)
        self.model, self.shapes = model, model["shapes"]
        everything = model["operations"]
        self.ops = {n: o for n, o in everything.items() if ops is None or n in ops}
        self.top = {o[side]["shape"] for o in everything.values() for side in ("input", "output")
                    if side in o}
        self.rest = model["metadata"].get("protocol") == "rest-xml"
        self.streams = {n for n, s in self.shapes.items() if s.get("eventstream")}
        self.errors = {e["shape"] for o in everything.values() for e in o.get("errors", ())}

    def service(self, name):
        m = self.model["metadata"]
        spoken = "+".join(f"json-{m.get('jsonVersion', '1.0')}" if p == "json" else PROTOCOLS.get(p, p)
                          for p in m.get("protocols", [m["protocol"]]))
        text = f"service {name}  protocol={spoken}"
        if "targetPrefix" in m:
            text += f"  target={m['targetPrefix']}"
        text += f"  sign={m.get('signingName', m['endpointPrefix'])}  version={m['apiVersion']}"
        return text + (f"\n    xmlns={m['xmlNamespace']}" if "xmlNamespace" in m else "")

    def shape(self, name):
        s = self.shapes[name]
        kind = KINDS[s["type"]]
        if kind == "struct":
            return wrap(f"struct {name}", list(member_texts(s, self.rest)), "")
        if "enum" in s:
            return fill(f"enum {name}", s["enum"])
        flat = " flat" if s.get("flattened") else ""
        if kind == "list":
            return f"list {name} {s['member']['shape']}{word_range(s)}{flat}{element(s, each='member')}"
        if kind == "map":
            return (f"map {name} {s['key']['shape']} {s['value']['shape']}{word_range(s)}{flat}"
                    f"{element(s, key='key', value='value')}")
        if kind == "time" and s.get("timestampFormat") == "iso8601":
            return f"time {name} iso"
        pattern = f" /{s['pattern']}/" if "pattern" in s else ""
        return f"{kind} {name}{word_range(s) if kind not in ('bool', 'time') else ''}{pattern}"

    def op(self, name):
        o = self.ops[name]
        inputs = list(member_texts(self.shapes[o["input"]["shape"]], self.rest)) if "input" in o else []
        http = o.get("http", {})
        head = f"op {name}"
        if self.rest:
            head += f' http="{http["method"]} {http["requestUri"]}"'
            head += f" status={http['responseCode']}" if http.get("responseCode", 200) != 200 else ""
        text = wrap(f"{head} in", inputs, "")
        members = self.shapes.get(o.get("output", {}).get("shape"), {}).get("members", {})
        streams = [m["shape"] for m in members.values() if m["shape"] in self.streams]
        between = " " if text.endswith("\n}") else "\n    "
        if streams:
            if len(members) > len(streams):
                text = "# The output has members beside its event stream, which are left out here.\n" + text
            text += between + wrap("events", self.events(streams[0]), "")
        elif "output" in o:
            outputs = member_texts(self.shapes[o["output"]["shape"]], self.rest)
            text += between + wrap("out", list(outputs), "")
        errors = [e["shape"] for e in o.get("errors", ())]
        return text + "\n" + fill("    throws", errors) if errors else text

    def events(self, name):
        """The members of an event stream that are no exceptions: those are among what the operation throws."""
        members = self.shapes[name]["members"].items()
        return [f"{n} {m['shape']}" for n, m in members if not self.shapes[m["shape"]].get("exception")]

    def error(self, name):
        s = self.shapes[name]
        status = s.get("error", {}).get("httpStatusCode", 500 if s.get("fault") else 400)
        code = s.get("error", {}).get("code", name)
        return f"error {name} {status}" + (f" code={code}" if code != name else "")

    def plain(self, kinds):
        names = sorted(n for n, s in self.shapes.items()
                       if KINDS[s["type"]] in kinds and n not in self.top
                       and not s.get("exception") and not s.get("eventstream"))
        return [self.shape(n) for n in names]

    def text(self, name):
        parts = [[self.service(name)],
                 self.plain(("string", "blob", "bool", "int", "long", "double", "time")),
                 self.plain(("list", "map")), self.plain(("struct",)),
                 [self.error(n) for n in sorted(self.errors)], [self.op(n) for n in sorted(self.ops)]]
        return "\n\n".join("\n".join(p) for p in parts if p) + "\n"


def main(arguments):
    options = argparse.ArgumentParser(description="an .api draft from a botocore model")
    options.add_argument("model", help="a service's name, or a service-2.json[.gz]")
    options.add_argument("--ops", help="only these operations, separated by commas")
    options.add_argument("--name", help="the service's name; default: from the model")
    o = options.parse_args(arguments)
    model = load(find_model(o.model))
    ops = set(o.ops.split(",")) if o.ops else None
    missing = (ops or set()) - set(model["operations"])
    if missing:
        raise SystemExit(f"api_import: not in the model: {' '.join(sorted(missing))}")
    name = o.name or re.sub(r"[^a-z0-9]", "", model["metadata"]["endpointPrefix"].lower())
    sys.stdout.write(Draft(model, ops).text(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
