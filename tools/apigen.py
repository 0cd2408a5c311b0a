#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a service's `.api` file into C, or into JSON for other generators.

    apigen.py kinesis.api --header kinesis_api.h --source kinesis_api.c [--include-dir gen]
    apigen.py kinesis.api --json kinesis.json

The header has the structs that operations see and their prototypes; the source the shape tables
that the binder walks. src/aws/shape.h says how types are mapped, docs/api-format.md what an `.api`
file may say.
"""
import argparse
import json
import sys

from api_grammar import PROTOCOLS, ApiError, parse, snake

KIND = {"string": "SHAPE_STRING", "blob": "SHAPE_BLOB", "enum": "SHAPE_ENUM", "bool": "SHAPE_BOOL",
        "int": "SHAPE_INT", "long": "SHAPE_LONG", "double": "SHAPE_DOUBLE", "time": "SHAPE_TIME",
        "list": "SHAPE_LIST", "map": "SHAPE_MAP", "struct": "SHAPE_STRUCT"}
C_SCALAR = {"string": "Str", "blob": "Str", "enum": "Str", "bool": "bool", "int": "int32_t",
            "long": "int64_t", "double": "double", "time": "int64_t"}
PLACE = {"path": "PLACE_PATH", "query": "PLACE_QUERY", "header": "PLACE_HEADER", "headers": "PLACE_HEADERS",
         "payload": "PLACE_PAYLOAD", "attribute": "PLACE_ATTRIBUTE", "as": "PLACE_DOCUMENT"}
FLAGGED = ("bool", "int", "long", "double", "time")  # kinds whose C value cannot say "absent"
NOTICE = "// Made by tools/apigen.py from {path}: change that file, not this one.\n"


def c_string(text):
    out = []
    for byte in text.encode():
        c = chr(byte)
        if c in '"\\':
            out.append("\\" + c)
        elif 32 <= byte < 127 and c != "?":  # "?" could begin a trigraph
            out.append(c)
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def identifier(text):
    return "".join(c if c.isalnum() else "_" for c in text)


class Generator:
    def __init__(self, api, path, include_dir):
        self.api, self.path = api, path
        self.prefix = api.name + "_"
        self.include = f"{include_dir}/{api.name}_api.h" if include_dir else f"{api.name}_api.h"

    # ---- types

    def element(self, name):
        """The C type of a list's element or a map's value."""
        shape = self.api.shape(name)
        if shape.base64:
            return "Blob"
        return C_SCALAR.get(shape.kind) or self.prefix + shape.name

    def field(self, member):
        shape = self.api.shape(member.type)
        if shape.kind == "struct":
            return f"const struct {self.prefix}{shape.name} *{snake(member.name)}"
        return f"{self.element(member.type)} {snake(member.name)}"

    def flag(self, member):
        """The flag beside a number: has_ for the operation to read, given_ for the binder."""
        if self.api.shape(member.type).kind not in FLAGGED:
            return None
        own = member.required or member.default is not None
        return ("given_" if own else "has_") + snake(member.name)

    def struct(self, shape):
        lines, given = [], []
        for m in shape.members:
            lines.append(f"    {self.field(m)};")
            flag = self.flag(m)
            if flag and flag.startswith("has_"):
                lines.append(f"    bool {flag};")
            elif flag:
                given.append(f"    bool {flag}; // the binder's own")
        if not shape.members:
            lines.append("    char nothing; // C has no empty structs")
        return "\n".join([f"struct {self.prefix}{shape.name} {{"] + lines + given + ["};\n"])

    def structs(self):
        for shape in self.api.shapes.values():
            if shape.kind == "struct":
                yield shape
        for op in self.api.ops.values():
            yield op.input
            if op.output is not None:
                yield op.output
            if op.events is not None:
                yield op.events

    # ---- the header

    def header(self):
        out = [NOTICE.format(path=self.path), "#pragma once\n", '#include "aws/call.h"\n\n']
        out.append(f"extern const struct api_service {self.api.name}_api;\n\n")
        self.enums(out)
        for shape in self.api.shapes.values():
            if shape.kind in ("list", "map", "struct"):
                name = self.prefix + shape.name
                out.append(f"typedef struct {name} {name};\n")
            if shape.kind == "map":
                out.append(f"typedef struct {name}_entry {name}_entry;\n")
        out.append("\n")
        for shape in self.api.shapes.values():
            if shape.kind in ("list", "map"):
                name = self.prefix + shape.name
                at = self.element(shape.member) if shape.kind == "list" else name + "_entry"
                out.append(f"struct {name} {{\n    {at} *at;\n    size_t n;\n    bool set;\n}};\n")
        out.append("\n")
        out += [self.struct(shape) for shape in self.structs()]
        for shape in self.api.shapes.values():
            if shape.kind == "map":
                out.append(f"struct {self.prefix}{shape.name}_entry {{\n    Str key;\n"
                           f"    {self.element(shape.member)} value;\n}};\n")
        self.prototypes(out)
        return "".join(out)

    def enums(self, out):
        for shape in self.api.shapes.values():
            if shape.kind != "enum":
                continue
            for value in shape.values:
                out.append(f"#define {self.prefix}{shape.name}_{identifier(value)} "
                           f"S({c_string(value)})\n")
            out.append("\n")

    def prototypes(self, out):
        if self.api.errors:
            names = [self.prefix + e for e in self.api.errors]
            out.append("\nextern const struct api_error " + ",\n    ".join(names) + ";\n")
        out.append("\n")
        for op in self.api.ops.values():
            out.append(self.prototype(op) + ";\n")

    def prototype(self, op):
        name = self.prefix + op.name
        out = f", struct {name}_out *out" if op.output is not None else ""
        return f"Err {name}(struct call *c, const struct {name}_in *in{out})"

    # ---- the tables

    def reachable(self):
        """The shapes that operations use, each after those it is made of where that can be."""
        seen, order = set(), []

        def visit(shape):
            if shape.name in seen:
                return
            seen.add(shape.name)
            for name in (shape.key, shape.member, *(m.type for m in shape.members)):
                if name is not None:
                    visit(self.api.shape(name))
            order.append(shape)

        for op in self.api.ops.values():
            visit(op.input)
            if op.output is not None:
                visit(op.output)
            if op.events is not None:
                visit(op.events)
        return order

    def source(self):
        shapes = self.reachable()
        out = [NOTICE.format(path=self.path), f'#include "{self.include}"\n\n',
               "#include <stddef.h>\n\n"]
        out += [f"static const struct shape shape_{s.name};\n" for s in shapes]
        out.append("\n")
        for shape in shapes:
            self.table(shape, out)
        self.patterned(out)
        if self.api.unserved:
            rows = ",\n    ".join(f"S_INIT({c_string(q)})" for q in self.api.unserved)
            out.append(f"static const Str unserved[] = {{\n    {rows},\n}};\n")
        for e in self.api.errors.values():
            code = f", S_INIT({c_string(e.code)})" if e.code else ""
            out.append(f"const struct api_error {self.prefix}{e.name} = "
                       f"{{ S_INIT({c_string(e.name)}), {e.status}{code} }};\n")
        self.op_table(out)
        a = self.api.attributes
        spoken = " | ".join(PROTOCOLS[p] for p in a["protocol"].split("+"))
        out.append(f"\nconst struct api_service {self.api.name}_api = {{\n"
                   f"    .name = S_INIT({c_string(self.api.name)}),\n"
                   f"    .signing = S_INIT({c_string(a['sign'])}),\n"
                   f"    .protocols = {spoken},\n")
        for key, field in (("target", "target"), ("version", "version"), ("xmlns", "xml_namespace")):
            if key in a:
                out.append(f"    .{field} = S_INIT({c_string(a[key])}),\n")
        if a.get("message") == "Message":
            out.append("    .capital_message = true,\n")
        if self.api.ops:
            out.append("    .ops = ops,\n    .op_count = COUNT_OF(ops),\n")
        if any(s.pattern is not None for s in shapes):
            out.append("    .patterned = patterned,\n    .patterned_count = COUNT_OF(patterned),\n")
        if self.api.unserved:
            out.append("    .unserved = unserved,\n    .unserved_count = COUNT_OF(unserved),\n")
        out.append("};\n")
        return "".join(out)

    def patterned(self, out):
        """Every shape with a pattern, for api_prepare()."""
        names = [s.name for s in self.reachable() if s.pattern is not None]
        if names:
            rows = ",\n    ".join(f"&shape_{n}" for n in names)
            out.append(f"static const struct shape *const patterned[] = {{\n    {rows},\n}};\n")

    def table(self, shape, out):
        name = shape.name
        fields = [f".name = S_INIT({c_string(name)})", f".kind = {KIND[shape.kind]}"]
        for end in ("min", "max"):
            value = getattr(shape, end)
            if value is not None:
                fields.append(f".has_{end} = true, .{end} = INT64_C({value})")
        if shape.pattern is not None:
            fields.append(f".pattern = S_INIT({c_string(shape.pattern)})")
            out.append(f"static struct pattern_slot pattern_{name};\n")
            fields.append(f".pattern_slot = &pattern_{name}")
        if shape.values:
            values = ",\n    ".join(f"S_INIT({c_string(v)})" for v in shape.values)
            out.append(f"static const Str values_{name}[] = {{\n    {values},\n}};\n")
            fields.append(f".values = values_{name}, .value_count = {len(shape.values)}")
        if shape.flat:
            fields.append(".flat = true")
        if shape.iso:
            fields.append(".iso = true")
        if shape.base64:
            fields.append(".base64 = true")
        for word, name_in_xml in shape.names.items():
            fields.append(f".{word}_name = S_INIT({c_string(name_in_xml)})")
        if shape.kind == "list":
            fields += [f".member = &shape_{shape.member}",
                       f".element_bytes = sizeof({self.element(shape.member)})"]
        if shape.kind == "map":
            entry = f"{self.prefix}{name}_entry"
            fields += [f".key = &shape_{shape.key}", f".member = &shape_{shape.member}",
                       f".element_bytes = sizeof({entry})",
                       f".value_offset = offsetof({entry}, value)"]
        if shape.kind == "struct":
            fields += self.member_table(shape, out)
        body = ",\n    ".join(fields)
        out.append(f"static const struct shape shape_{name} = {{\n    {body},\n}};\n")

    def member_table(self, shape, out):
        c_name = f"struct {self.prefix}{shape.name}"
        fields = [f".struct_bytes = sizeof({c_name})"]
        if not shape.members:
            return fields
        out.append(f"static const struct member members_{shape.name}[] = {{\n")
        for at, m in enumerate(shape.members):
            flag = self.flag(m)
            has = f"offsetof({c_name}, {flag})" if flag else "SIZE_MAX"
            row = [f"S_INIT({c_string(m.name)})", f".shape = &shape_{m.type}",
                   f".offset = offsetof({c_name}, {snake(m.name)})", f".has_offset = {has}",
                   f".check_order = {at}"]
            if m.place:
                row.append(f".place = {PLACE[m.place]}, .called = S_INIT({c_string(m.called)})")
            if m.required:
                row.append(".required = true")
            if m.default is not None:
                text = isinstance(m.default, str)
                row.append(".has_default = true")
                row.append(f".default_text = S_INIT({c_string(m.default)})" if text else
                           f".default_number = INT64_C({int(m.default)})")
            out.append("    { " + ", ".join(row) + " },\n")
        out.append("};\n")
        return fields + [f".members = members_{shape.name}", f".member_count = {len(shape.members)}"]

    def op_table(self, out):
        ops = sorted(self.api.ops.values(), key=lambda op: op.name)
        out.append("\n")
        for op in ops:
            name = self.prefix + op.name
            unused = "" if op.output is not None else "    (void)out;\n"
            argument = ", out" if op.output is not None else ""
            out.append(f"static Err run_{op.name}(struct call *c, const void *in, void *out)\n{{\n"
                       f"{unused}    return {name}(c, in{argument});\n}}\n")
            if op.throws:
                rows = ",\n    ".join("&" + self.prefix + e for e in op.throws)
                out.append(f"static const struct api_error *const errors_{op.name}[] = {{\n"
                           f"    {rows},\n}};\n")
        if not ops:
            return
        out.append("\nstatic const struct api_op ops[] = {\n")
        for op in ops:
            row = [f".name = S_INIT({c_string(op.name)})", f".input = &shape_{op.input.name}",
                   f".body_bytes_max = {op.body_bytes_max}", f".run = run_{op.name}"]
            if op.output is not None:
                row.append(f".output = &shape_{op.output.name}")
            if op.events is not None:
                row.append(f".events = &shape_{op.events.name}")
            if op.blocking:
                row.append(".blocking = true")
            if op.scan:
                row.append(".scan = true")
            if op.gzip:
                row.append(".gzip = true")
            if op.streams:
                row.append(".streams = true")
            if op.http:
                method, path, query = op.http
                row.append(f".method = S_INIT({c_string(method)}), .path = S_INIT({c_string(path)}), "
                           f".query = S_INIT({c_string(query)}), .status = {op.status}")
            if op.root:
                row.append(f".root = S_INIT({c_string(op.root)})")
            if op.throws:
                row.append(f".errors = errors_{op.name}, .error_count = {len(op.throws)}")
            out.append("    { " + ", ".join(row) + " },\n")
        out.append("};\n")


def shape_json(shape):
    out = {"kind": shape.kind, "name": shape.name}
    for key in ("min", "max", "pattern", "key", "member"):
        if getattr(shape, key) is not None:
            out[key] = getattr(shape, key)
    if shape.values:
        out["values"] = shape.values
    if shape.flat or shape.names:
        out["xml"] = {"flat": shape.flat, **shape.names}
    if shape.kind == "struct":
        out["members"] = [{"name": m.name, "c_name": snake(m.name), "type": m.type,
                           "required": m.required, "default": m.default,
                           **({"place": m.place, "called": m.called} if m.place else {})} for m in shape.members]
    return out


def api_json(api):
    return {
        "service": {"name": api.name, **api.attributes},
        "shapes": {n: shape_json(s) for n, s in {**api.shapes, **api.inline}.items()},
        "ops": [{"name": op.name, "blocking": op.blocking, "scan": op.scan,
                 "gzip": op.gzip, "streams": op.streams, "body_bytes_max": op.body_bytes_max, "http": op.http,
                 "in": shape_json(op.input), "out": op.output and shape_json(op.output),
                 "events": op.events and shape_json(op.events),
                 "throws": op.throws} for op in sorted(api.ops.values(), key=lambda o: o.name)],
        "errors": [{"name": e.name, "status": e.status, "code": e.code} for e in api.errors.values()],
    }


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main(arguments):
    options = argparse.ArgumentParser(description="C and JSON from an .api file")
    options.add_argument("api")
    options.add_argument("--header")
    options.add_argument("--source")
    options.add_argument("--json", help="'-' is standard output")
    options.add_argument("--include-dir", default="gen", help="of the header, as the source says it")
    options.add_argument("--name", help="what generated files call the .api file")
    o = options.parse_args(arguments)
    try:
        with open(o.api, encoding="utf-8") as f:
            api = parse(f.read())
    except ApiError as e:
        print(f"{o.api}:{e.line}: {e.text}", file=sys.stderr)
        return 1
    except (OSError, UnicodeDecodeError) as e:
        print(f"{o.api}: {e}", file=sys.stderr)
        return 1
    generator = Generator(api, o.name or o.api.rsplit("/", 1)[-1], o.include_dir)
    if o.header:
        write(o.header, generator.header())
    if o.source:
        write(o.source, generator.source())
    if o.json == "-":
        json.dump(api_json(api), sys.stdout, indent=1)
    elif o.json:
        write(o.json, json.dumps(api_json(api), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
