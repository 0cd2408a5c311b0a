# SPDX-License-Identifier: Apache-2.0
"""Schemas, rows and options made up at random: JSON as it is written, and the values that must be read."""
import datetime
import decimal
import json
import random
import struct

SCALARS = ["boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal(9,2)", "decimal(18,0)",
           "decimal(38,10)", "decimal", "string", "varchar(5)", "char(4)", "binary", "timestamp", "date"]
KEYS = ["string", "int", "bigint", "boolean", "date"]
BITS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
EPOCH = datetime.datetime(1970, 1, 1)
WORDS = ["", "a", "ab", "été", "Zürich", "日本語テキスト", "😀", "with \"quotes\" and \\", "tab\tand\nline", "x" * 15, "y" * 16,
         "z" * 17, "w" * 70, "null", "0", "\u0001", "\x7f"]
UNWANTED = ['null', 'true', '[1,{"a":[]}]', '{"x":{"y":"\\ud83d\\ude00"}}', '-0.5e-7', '"}"']


class Raw(str):
    """A piece of JSON as it is to be written."""


def dump(value):
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=len(k) % 2 == 0)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=isinstance(value, str) and len(value) % 3 == 0)


class Maker:
    """All randomness of one test."""

    def __init__(self, seed, hive=False):
        self.r, self.hive = random.Random(seed), hive

    # ---- Types: a scalar's text, or ("array", t), ("map", k, v), ("struct", [(name, t)])

    def type(self, depth=0):
        kind = self.r.random()
        if depth > 3 or kind < 0.6:
            return self.r.choice(SCALARS)
        if kind < 0.75:
            return "array", self.type(depth + 1)
        if kind < 0.85:
            return "map", self.r.choice(KEYS), self.type(depth + 1)
        return "struct", [(f"f{i}", self.type(depth + 1)) for i in range(self.r.randint(1, 5))]

    def columns(self):
        names = ["id", "name", "at_time", "kind", "x" * 40, "übung", "value_of_the_thing", "k", "l", "m", "n", "o"]
        return [(name, self.type()) for name in names[:self.r.randint(1, len(names))]]

    # ---- Values: (what is written, what is read)

    def text(self):
        if self.r.random() < 0.5:
            return self.r.choice(WORDS)
        return "".join(self.r.choice("abcdefgh ") for _ in range(self.r.randint(0, 40)))

    def quoted(self, text):
        """A number or boolean; OpenX takes it in quotes, too."""
        return Raw(text) if self.hive or self.r.random() < 0.7 else Raw(f'"{text}"')

    def whole(self, bits):
        r = self.r
        x = r.choice([0, 1, -1, r.randint(-100, 100), r.randint(-2 ** (bits - 1), 2 ** (bits - 1) - 1),
                      2 ** (bits - 1) - 1, -2 ** (bits - 1)])
        forms = [str(x), str(x), str(x), f"{x}.0"] + ([f"{x // 100}e2"] if x % 100 == 0 else [])
        return self.quoted(r.choice(forms)), x

    def real(self, single):
        r = self.r
        x = r.choice([0.0, 1.5, -2.25, r.uniform(-1e3, 1e3), round(r.uniform(-1e6, 1e6), 3), r.random() * 10.0 ** r.randint(-30, 30),
                      123456789.125])
        text = r.choice([repr(x), f"{x:.17g}", f"{x:.3f}", f"{x:e}"])
        value = float(text)
        return self.quoted(text), struct.unpack("<f", struct.pack("<f", value))[0] if single else value

    def decimal(self, precision, scale):
        digits = self.r.randint(1, precision - 1)
        unscaled = self.r.randint(-10 ** digits, 10 ** digits)
        x = decimal.Decimal(unscaled).scaleb(-self.r.randint(0, scale + 2))
        rounded = x.quantize(decimal.Decimal(1).scaleb(-scale), decimal.ROUND_HALF_UP, decimal.Context(prec=60))
        if abs(rounded) >= 10 ** (precision - scale):
            return self.decimal(precision, scale)
        return self.quoted(f"{x:f}"), rounded

    def moment(self):
        r = self.r
        us = r.choice([0, 1000, 10 ** 6, r.randint(-2 * 10 ** 15, 7 * 10 ** 15), r.randint(0, 2 * 10 ** 9) * 10 ** 6])
        us = 0 if -10 ** 6 <= us < 0 else us  # a second that ORC's readers do not agree about
        t = EPOCH + datetime.timedelta(microseconds=us)
        day = f"{t.year}-{t.month:02}-{t.day:02}"
        rest = f"{t.hour:02}:{t.minute:02}:{t.second:02}" + (f".{t.microsecond:06}" if t.microsecond else "")
        forms = [f'"{day} {rest}"']
        if not self.hive:
            forms += [f'"{day}T{rest}Z"', f"{us // 10 ** 6}.{us % 10 ** 6:06}" if us >= 0 else f'"{day} {rest}"']
            if us % 1000 == 0 and us >= 10 ** 15:
                forms.append(str(us // 1000))
        return Raw(r.choice(forms)), t

    def scalar(self, t):
        r = self.r
        if t in BITS:
            return self.whole(BITS[t])
        if t == "boolean":
            x = r.random() < 0.5
            return self.quoted("true" if x else "false"), x
        if t in ("float", "double"):
            return self.real(t == "float")
        if t.startswith("decimal"):
            precision, _, scale = (t[8:-1] or "10,0").partition(",")
            return self.decimal(int(precision), int(scale or 0))
        if t == "timestamp":
            return self.moment()
        if t == "date":
            x = datetime.date(1900, 1, 1) + datetime.timedelta(days=r.randint(0, 110000))
            return x.isoformat(), x
        text = self.text()
        if t == "binary":
            return text, text.encode()
        if t.startswith("varchar"):
            return text, text[:int(t[8:-1])]
        if t.startswith("char"):
            return text, text[:int(t[5:-1])].rstrip(" ")
        if r.random() < 0.1 and t == "string":
            return r.choice([(Raw("12.50"), "12.50"), (Raw("true"), "true")] +
                            ([] if self.hive else [(Raw('{"a": [1]}'), '{"a": [1]}')]))
        return text, text

    def value(self, t, nulls):
        if self.r.random() < nulls:
            return None, None
        if isinstance(t, str):
            return self.scalar(t)
        if t[0] == "array":
            pairs = [self.value(t[1], nulls) for _ in range(self.r.choice([0, 1, 2, 3, self.r.randint(0, 20)]))]
            return [w for w, _ in pairs], [x for _, x in pairs]
        if t[0] == "map":
            return self.map(t, nulls)
        return self.struct(t[1], nulls)

    def map(self, t, nulls):
        written, read = {}, {}
        for _ in range(self.r.randint(0, 4)):
            key, x = self.scalar(t[1])
            key = str(key).strip('"') if isinstance(key, Raw) else key
            if x in read or (t[1] == "string" and not isinstance(key, str)):
                continue
            written[key], read[x] = self.value(t[2], nulls)
        return written, list(read.items())

    def struct(self, fields, nulls, spread=None):
        members, read = [], {}
        for name, t in fields:
            w, read[name] = self.value(t, spread[name] if spread else nulls)
            if w is not None or self.r.random() < 0.5:
                members.append((name.upper() if self.r.random() < 0.05 and name.isascii() else name, w))
        if self.r.random() < 0.1:
            self.r.shuffle(members)
        if self.r.random() < 0.1:
            members.insert(self.r.randint(0, len(members)), ("unwanted", Raw(self.r.choice(UNWANTED))))
        if self.r.random() < 0.05 and members:
            members.insert(0, members[self.r.randint(0, len(members) - 1)])  # twice
        text = ",".join(f"{dump(k)}:{dump(w)}" for k, w in members)
        return Raw("{" + (" " if self.r.random() < 0.1 else "") + text + "}"), read

    # ---- Records

    def bad(self, good):
        """A record that is refused for its form: a good one, spoilt."""
        return self.r.choice([good.rstrip()[:-1], good + "x", good + "{", '{"a" 1}', "[1]", '{"\\ud800":1}', "", "{]", '{"a":01}',
                              '{"a":tru}', '{"a":"\t"}', good + '{"a":1,}'])

    def records(self, columns, rows, nulls=None):
        """(lines, which of them are refused, rows that must be read)."""
        lines, refused, read = [], [], []
        spread = {name: self.r.choice([0, 0, 0.1, 0.5, 0.95, 1]) if nulls is None else nulls for name, _ in columns}
        while len(read) < rows:
            if self.r.random() < 0.02:
                refused.append(len(lines))
                lines.append(self.bad(lines[-1] if lines and self.r.random() < 0.8 and len(lines) - 1 not in refused else "{}"))
                continue
            text = ""
            for _ in range(self.r.choice([1, 1, 1, 1, 2, 3])):
                written, members = self.struct(columns, 0, spread)
                text += written + self.r.choice(["", "", " "])
                read.append(members)
            lines.append(text)
        return lines, refused, read


def type_text(t):
    if isinstance(t, str):
        return t
    if t[0] == "array":
        return f"array<{type_text(t[1])}>"
    if t[0] == "map":
        return f"map<{t[1]},{type_text(t[2])}>"
    return "struct<" + ",".join(f"{name}:{type_text(inner)}" for name, inner in t[1]) + ">"
