# SPDX-License-Identifier: Apache-2.0
"""Reads `.api` files: a service's wire contract as lines. The grammar: docs/api-format.md.

parse(text) gives an Api or raises ApiError with the line. Nothing else is raised, whatever the
text; tests/tools/apigen_test.py holds it to that.
"""
import re
from dataclasses import dataclass, field

SCALARS = ("string", "blob", "bool", "int", "long", "double", "time")
NUMBERS = ("int", "long", "double")
PROTOCOLS = {"json-1.0": "API_JSON_1_0", "json-1.1": "API_JSON_1_1", "query": "API_QUERY",
             "rpc-v2-cbor": "API_RPC_CBOR", "rest-xml": "API_REST_XML"}
SERVICE_KEYS = ("protocol", "sign", "target", "version", "xmlns", "message")
# What a service needs further, by the protocols that it speaks.
PROTOCOL_NEEDS = {"json-1.0": ("target",), "json-1.1": ("target",), "rpc-v2-cbor": ("target",),
                  "query": ("version", "xmlns"), "rest-xml": ("xmlns",)}
KEYWORDS = ("service", "string", "blob", "bool", "int", "long", "double", "time", "enum", "list",
            "map", "struct", "op", "error", "unserved", "never")
# Words that stand for a pattern.
FORMATS = {"arn": r"arn:[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:\S+"}
# Where a member of a REST request or reply is, and whether a name follows.
PLACES = {"path": False, "query": True, "header": True, "headers": True, "payload": None,
          "attribute": True, "as": True}
SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
BODY_BYTES_DEFAULT = 7 << 20  # what AWS's front admitted before requests of 10 MiB
NUMBER_MAX = (1 << 63) - 1

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
SERVICE_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
TOKEN = re.compile(r'"[^"]*"|[{}!,=]|[^\s{}!,="]+|"')
C_WORDS = set("""auto break case char const continue default do double else enum extern float for
goto if inline int long register restrict return short signed sizeof static struct switch typedef
union unsigned void volatile while bool true false typeof asm""".split())


class ApiError(Exception):
    def __init__(self, line, text):
        super().__init__(f"{line}: {text}")
        self.line = line
        self.text = text


@dataclass
class Shape:
    kind: str
    name: str
    line: int
    min: int | None = None
    max: int | None = None
    pattern: str | None = None
    values: list = field(default_factory=list)
    key: str | None = None
    member: str | None = None
    members: list = field(default_factory=list)
    flat: bool = False  # in XML without an element around its own
    names: dict = field(default_factory=dict)  # of XML elements: each, key, value
    iso: bool = False  # a time that headers have in ISO 8601, too
    base64: bool = False  # a blob that an operation may get as it came in a document


@dataclass
class Member:
    name: str
    type: str  # the name of a shape; of an inline scalar, the name made for it
    line: int
    required: bool = False
    default: object = None
    place: str | None = None   # of PLACES
    called: str | None = None  # its name there


@dataclass
class Op:
    name: str
    line: int
    input: Shape = None
    output: Shape | None = None
    events: Shape | None = None  # what its reply is a stream of; it has no output then
    blocking: bool = False
    scan: bool = False
    gzip: bool = False
    streams: bool = False
    body_bytes_max: int = BODY_BYTES_DEFAULT
    throws: list = field(default_factory=list)
    http: tuple | None = None  # method, path, query
    status: int = 200
    root: str | None = None  # the element that a reply in XML is


@dataclass
class Error:
    name: str
    status: int
    line: int
    code: str | None = None  # its name in the Query protocol


@dataclass
class Api:
    name: str
    attributes: dict
    shapes: dict
    inline: dict
    ops: dict
    errors: dict
    unserved: list = field(default_factory=list)
    never: dict = field(default_factory=dict)  # (operation, error) -> why it cannot come here

    def shape(self, name):
        return self.shapes.get(name) or self.inline[name]


def snake(name):
    """StreamARN -> stream_arn, MaxRecordSizeInKiB -> max_record_size_in_kib."""
    name = re.sub(r"([KMGT])iB", lambda m: m[1].upper() + "ib", name)
    name = re.sub(r"([A-Z]{2,})s(?=[A-Z]|$)", lambda m: m[1].capitalize() + "s", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).lower()
    return name + "_" if name in C_WORDS else name


class Tokens:
    """One statement's words, with the line that each stands on."""

    def __init__(self, words, line):
        self.words, self.at, self.first_line = words, 0, line

    def line(self):
        if not self.words:
            return self.first_line
        return self.words[min(self.at, len(self.words) - 1)][1]

    def fail(self, text):
        raise ApiError(self.line(), text)

    def peek(self, ahead=0):
        at = self.at + ahead
        return self.words[at][0] if at < len(self.words) else None

    def take(self, what):
        word = self.peek()
        if word is None:
            self.fail(f"expected {what}, but the statement ends")
        self.at += 1
        return word

    def accept(self, word):
        if self.peek() != word:
            return False
        self.at += 1
        return True

    def expect(self, word):
        if not self.accept(word):
            self.fail(f"expected '{word}', found {show(self.peek())}")

    def name(self, what):
        if self.peek() is not None and not IDENTIFIER.match(self.peek()):
            self.fail(f"expected {what}, found {show(self.peek())}")
        return self.take(what)

    def end(self):
        if self.peek() is not None:
            self.fail(f"unexpected {show(self.peek())}")


def show(word):
    return "the end of the statement" if word is None else f"'{word}'"


def statements(text):
    """Yields (tokens, pattern). A statement begins in the first column; indented lines and lines
    that begin with `}` go on with it."""
    words, first, pattern = [], 0, None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip()
        bare = line.lstrip()
        if not bare or bare.startswith("#"):
            continue
        if not line[0].isspace() and line[0] != "}":
            if words:
                yield Tokens(words, first), pattern
            words, first, pattern = [], number, None
        elif not words:
            raise ApiError(number, "an indented line with no statement before it")
        if words == [] and re.match(r"string\s", line):
            # A pattern is the last thing on its line, so that it needs no escaping.
            m = re.match(r"([^/#]*)\s/(.*)/\Z", line)
            if m:
                line, pattern = m[1], m[2]
        line = re.sub(r"(^|\s)#.*", "", line)
        words += [(w, number) for w in TOKEN.findall(line)]
    if words:
        yield Tokens(words, first), pattern


def take_number(t, word, what):
    if not re.match(r"-?[0-9]{1,19}\Z", word) or abs(int(word)) > NUMBER_MAX:
        t.fail(f"{what} must be a whole number of 64 bits, found {show(word)}")
    return int(word)


def take_range(t, kind):
    """`1..128`, `1..`, `..10` or nothing."""
    word = t.peek()
    if word is None or ".." not in word or word.startswith('"'):
        return None, None
    if kind in ("bool", "time", "enum"):
        t.fail(f"a {kind} has no range")
    low, _, high = word.partition("..")
    low = take_number(t, low, "the range's lower end") if low else None
    high = take_number(t, high, "the range's upper end") if high else None
    if low is None and high is None:
        t.fail("a range needs an end")
    if low is not None and high is not None and low > high:
        t.fail(f"the range {word} is empty")
    if kind not in NUMBERS and (low or 0) < 0:
        t.fail("a length is not negative")
    t.at += 1
    return low, high


def take_default(t, kind):
    word = t.take("a default")
    if kind in ("int", "long"):
        return take_number(t, word, "the default")
    if kind == "bool":
        if word not in ("true", "false"):
            t.fail(f"the default of a bool is true or false, found {show(word)}")
        return word == "true"
    if kind in ("string", "enum"):
        return word.strip('"')
    t.fail(f"a {kind} cannot have a default")


class Parser:
    def __init__(self):
        self.api = Api(None, {}, {}, {}, {}, {})
        self.nevers = []

    def run(self, text):
        for t, pattern in statements(text):
            keyword = t.take("a statement")
            if keyword not in KEYWORDS:
                t.at = 0
                t.fail(f"unknown statement {show(keyword)}; it is one of {' '.join(KEYWORDS)}")
            if keyword != "service" and self.api.name is None:
                t.fail("the first statement must be `service`")
            if keyword in SCALARS:
                self.scalar(t, keyword, pattern)
            else:
                getattr(self, "take_" + keyword)(t)
            t.end()
        if self.api.name is None:
            raise ApiError(1, "no `service` statement")
        check(self.api)
        for never in self.nevers:
            apply_never(self.api, *never)
        return self.api

    def take_service(self, t):
        api = self.api
        if api.name is not None:
            t.fail("a second `service` statement")
        api.name = t.take("the service's name")
        if not SERVICE_NAME.match(api.name):
            t.fail("a service's name is lower-case letters, digits and underscores")
        while t.peek() is not None:
            key = t.take("an attribute")
            t.expect("=")
            if key not in SERVICE_KEYS or key in api.attributes:
                t.fail(f"unknown or repeated attribute {show(key)}; known: "
                       + " ".join(SERVICE_KEYS))
            api.attributes[key] = t.take("a value")
        needs, spoken = ["protocol", "sign"], api.attributes.get("protocol", "").split("+")
        for protocol in spoken:
            needs += PROTOCOL_NEEDS.get(protocol, ())
        for key in needs:
            if key not in api.attributes:
                t.fail(f"the service needs {key}=")
        if not set(spoken) <= set(PROTOCOLS):
            t.fail("unknown protocol; known: " + " ".join(PROTOCOLS))
        if api.attributes.get("message", "Message") != "Message":
            t.fail("message= is Message, or not given")
        if len({p.partition("-")[0] for p in spoken}) < len(spoken):
            t.fail("a service speaks a protocol once, and one version of JSON")

    def add(self, t, shape):
        if shape.name in self.api.shapes:
            t.fail(f"{shape.name} was defined on line {self.api.shapes[shape.name].line}")
        if shape.name in SCALARS:
            t.fail(f"{shape.name} is the name of a scalar")
        self.api.shapes[shape.name] = shape
        return shape

    def begin(self, t, kind):
        line = t.line()
        return self.add(t, Shape(kind, t.name("a name"), line))

    def scalar(self, t, kind, pattern):
        shape = self.begin(t, kind)
        shape.min, shape.max = take_range(t, kind)
        shape.pattern = pattern
        shape.iso = kind == "time" and t.accept("iso")
        shape.base64 = kind == "blob" and t.accept("base64")
        if kind == "string" and t.peek() in FORMATS and pattern is None:
            shape.pattern = FORMATS[t.take("a format")]
        if shape.pattern is not None:
            check_pattern(t, shape.pattern)

    def take_enum(self, t):
        shape = self.begin(t, "enum")
        while t.peek() is not None:
            value = t.take("a value").strip('"')
            if not re.match(r"[!-~]+\Z", value) or value in shape.values:
                t.fail(f"bad or repeated value {show(value)}")
            shape.values.append(value)
        if not shape.values:
            t.fail("an enum needs values")

    def take_list(self, t):
        shape = self.begin(t, "list")
        shape.member = t.name("the type of its elements")
        shape.min, shape.max = take_range(t, "list")
        take_elements(t, shape, ("each",))

    def take_map(self, t):
        shape = self.begin(t, "map")
        shape.key = t.name("the type of its keys")
        shape.member = t.name("the type of its values")
        shape.min, shape.max = take_range(t, "map")
        take_elements(t, shape, ("key", "value"))

    def take_struct(self, t):
        shape = self.begin(t, "struct")
        if t.peek() == "{":
            self.braced(t, shape)
        else:
            self.members(t, shape, None)

    def braced(self, t, shape):
        t.expect("{")
        self.members(t, shape, "}")
        t.expect("}")

    def members(self, t, shape, stop):
        names = {}
        while t.peek() != stop:
            member = self.member(t, shape)
            other = names.get(snake(member.name))
            if other is not None:
                t.fail(f"member {member.name} repeats or collides with {other}")
            names[snake(member.name)] = member.name
            shape.members.append(member)
            if not t.accept(","):
                break

    def member(self, t, shape):
        line = t.line()
        m = Member(t.name("a member's name"), None, line)
        m.required = t.accept("!")
        m.type = t.name("a type")
        kind = m.type
        if kind in SCALARS:
            m.type = f"{shape.name}_{m.name}"
            low, high = take_range(t, kind)
            self.api.inline[m.type] = Shape(kind, m.type, line, low, high)
        if t.accept("="):
            if m.required:
                t.fail("a required member has no default")
            m.default = t.take("a default")
            m.default_at = (t, t.at - 1)
        if (t.peek() or "").startswith("@"):
            self.place(t, m)
        return m

    def place(self, t, m):
        word, colon, name = t.take("a place")[1:].partition(":")
        if word not in PLACES or (colon and not name):
            t.fail(f"unknown place {show(word)}; known: " + " ".join(PLACES))
        if PLACES[word] is not None and bool(name) != PLACES[word]:
            t.fail(f"the place {word} {'needs a' if PLACES[word] else 'has no'} name")
        m.place, m.called = word, name or m.name

    def take_op(self, t):
        op = Op(None, t.line())
        op.name = t.name("the operation's name")
        if op.name in self.api.ops:
            t.fail(f"operation {op.name} was defined on line {self.api.ops[op.name].line}")
        self.api.ops[op.name] = op
        while t.peek() not in ("in", None):
            word = t.take("an attribute")
            if word == "blocking":
                op.blocking = True
            elif word == "scan":
                op.scan = True
            elif word == "gzip":
                op.gzip = True
            elif word == "streams":
                op.streams = True
            elif word == "body":
                t.expect("=")
                op.body_bytes_max = take_size(t)
            elif word in ("http", "status", "root"):
                t.expect("=")
                self.rest(t, op, word)
            else:
                t.fail(f"unknown attribute {show(word)}; known: blocking scan gzip streams body= http= status= root=")
        t.expect("in")
        op.input = Shape("struct", op.name + "_in", op.line)
        self.braced(t, op.input)
        if t.accept("out"):
            op.output = Shape("struct", op.name + "_out", op.line)
            self.braced(t, op.output)
        elif t.accept("events"):
            op.events = Shape("struct", op.name + "_events", op.line)
            self.braced(t, op.events)
            if not op.events.members:
                t.fail("`events` needs an event")
        if t.accept("throws"):
            while t.peek() is not None:
                op.throws.append(t.name("an error's name"))
            if not op.throws:
                t.fail("`throws` needs errors")

    def rest(self, t, op, word):
        """What an operation of a REST protocol says besides."""
        if word == "status":
            op.status = take_number(t, t.take("the HTTP status"), "the HTTP status")
            if not 200 <= op.status <= 299:
                t.fail("an operation's HTTP status is 200 to 299")
        elif word == "root":
            op.root = t.name("the name of an element")
        else:
            text = t.take("a method and a path").strip('"')
            m = re.match(r"([A-Z]+) (/[!->@-~]*)(?:\?([!-~]+))?\Z", text)
            if not m:
                t.fail(f'expected "METHOD /path?query", found {show(text)}')
            op.http = (m[1], m[2], m[3] or "")

    def take_unserved(self, t):
        while t.peek() is not None:
            self.api.unserved.append(t.take("the name of a query"))

    def take_never(self, t):
        """Errors that operations declare and that cannot come here: `never ERROR... [in OP...] "why"`."""
        line, errors, ops = t.line(), [], []
        while t.peek() not in ("in", None) and not t.peek().startswith('"'):
            errors.append(t.name("an error's name"))
        if t.accept("in"):
            while t.peek() is not None and not t.peek().startswith('"'):
                ops.append(t.name("an operation's name"))
        why = t.take("why").strip('"')
        if not errors or not why:
            t.fail("`never` needs errors and why they cannot come")
        self.nevers.append((line, errors, ops, why))

    def take_error(self, t):
        line = t.line()
        name = t.name("the error's name")
        status = take_number(t, t.take("the HTTP status"), "the HTTP status")
        if not 300 <= status <= 599:
            t.fail("an error's HTTP status is 300 to 599")
        if name in self.api.errors:
            t.fail(f"error {name} was defined on line {self.api.errors[name].line}")
        code = None
        if t.accept("code"):
            t.expect("=")
            code = t.take("the error's code")
            if not re.match(r"[A-Za-z][A-Za-z0-9_.]*\Z", code):
                t.fail(f"a code is a word, found {show(code)}")
        self.api.errors[name] = Error(name, status, line, code)


def take_elements(t, shape, names):
    """How a list or map lies in the Query protocol: `flat`, and the names of its elements."""
    shape.flat = t.accept("flat")
    while t.peek() in names:
        word = t.take("a name")
        t.expect("=")
        shape.names[word] = t.name("the name of an element")


def take_size(t):
    word = t.take("a size")
    m = re.match(r"([0-9]{1,9})(KiB|MiB|GiB)?\Z", word)
    if not m:
        t.fail(f"a size is a number with KiB, MiB or GiB, found {show(word)}")
    size = int(m[1]) * SIZES.get(m[2], 1)
    if not 0 < size <= 1 << 40:
        t.fail("the size is out of range")
    return size


def check_pattern(t, pattern):
    """Refuses early most of what aws/pattern.c would refuse when the server starts."""
    # Python has neither properties nor surrogate pairs, and reads `[\\w-_]` as a bad range.
    plain = re.sub(r"\\[pP]\{\w{1,2}\}", r"\\w", pattern)
    plain = re.sub(r"(?:\\u[0-9A-Fa-f]{4})+", "~", plain)
    try:
        re.compile(plain)
    except (re.error, OverflowError, RecursionError) as e:
        if not str(e).startswith("bad character range"):
            t.fail(f"the pattern does not compile: {e}")
    outside = re.sub(r"\\\W|\[(?:\\.|[^\]\\])*\]", "x", plain)
    if re.search(r"\\[bBAZz0-9]|\(\?(?![:!=])|[*+?}]\+", outside):
        t.fail("the pattern has look-behind, back references, anchored escapes, flags or possessive "
               "repeats")


def check(api):
    """Names that must exist, and what only the whole file shows."""
    for shape in api.shapes.values():
        for name in (shape.key, shape.member):
            if name is not None and name not in api.shapes:
                raise ApiError(shape.line, f"{shape.name}: type {name} is not defined")
        if shape.kind == "map" and api.shapes[shape.key].kind not in ("string", "enum"):
            raise ApiError(shape.line, f"{shape.name}: a map's keys are strings")
        check_members(api, shape)
    for op in api.ops.values():
        check_members(api, op.input)
        if op.output is not None:
            check_members(api, op.output)
        if op.events is not None:
            check_members(api, op.events)
            check_events(api, op)
        for part in (op.input, op.output, op.events):
            if part is not None and part.name in api.shapes:
                raise ApiError(api.shapes[part.name].line,
                               f"{part.name} is taken by operation {op.name}")
        for part in (op.output, op.events):
            if part is not None:
                check_base64(api, part, set())
        check_rest(api, op)
        for name in op.throws:
            if name not in api.errors:
                raise ApiError(op.line, f"{op.name}: error {name} is not defined")


def apply_never(api, line, errors, ops, why):
    """What is said never to come must be declared, once; without operations: by all that declare it."""
    for error in errors:
        of = ops or [op.name for op in api.ops.values() if error in op.throws]
        if not of:
            raise ApiError(line, f"no operation declares {error}")
        for op in of:
            if op not in api.ops or error not in api.ops[op].throws:
                raise ApiError(line, f"{op} does not declare {error}")
            if (op, error) in api.never:
                raise ApiError(line, f"{error} of {op} is said twice never to come")
            api.never[(op, error)] = why


def check_base64(api, shape, seen):
    """What is written has its bytes: a blob as it came is for input alone."""
    for name in (shape.key, shape.member, *(m.type for m in shape.members)):
        if name is None or name in seen:
            continue
        seen.add(name)
        if api.shape(name).base64:
            raise ApiError(shape.line, f"{shape.name}: {name} is `base64` and cannot be in a reply")
        check_base64(api, api.shape(name), seen)


def check_events(api, op):
    if api.attributes["protocol"] == "query":
        raise ApiError(op.line, f"{op.name}: a stream of events needs another protocol than query")
    shape = op.events
    for m in shape.members:
        if m.required or m.default is not None or api.shape(m.type).kind != "struct":
            raise ApiError(m.line, f"{shape.name}.{m.name}: an event is an optional struct")


def check_rest(api, op):
    """An operation of a REST protocol has its path, whose labels are members, and one payload."""
    is_rest = "rest-xml" in api.attributes.get("protocol", "").split("+")
    if is_rest != (op.http is not None):
        raise ApiError(op.line, f"{op.name}: {'needs' if is_rest else 'its protocol has no'} http=")
    if not is_rest:
        return
    labels = re.findall(r"\{([A-Za-z0-9_]+)\+?\}", op.http[1])
    members = [m.name for m in op.input.members if m.place == "path"]
    if sorted(labels) != sorted(members):
        raise ApiError(op.line, f"{op.name}: the labels of its path are not its members @path")
    for shape in (op.input, op.output):
        if shape is None:
            continue
        payloads = [m for m in shape.members if m.place == "payload"]
        inside = [m for m in shape.members if m.place in (None, "as", "attribute")]
        if len(payloads) > 1 or (payloads and inside):
            raise ApiError(op.line, f"{op.name}: beside a payload there is nothing else in a body")
        for m in shape.members:
            kind = api.shape(m.type).kind
            if m.place == "headers" and kind != "map":
                raise ApiError(m.line, f"{m.name}: headers make a map")
            if m.place in ("path", "query", "header") and kind in ("struct", "map", "blob"):
                raise ApiError(m.line, f"{m.name}: a {kind} cannot be there")


def check_members(api, shape):
    for m in shape.members:
        if m.type not in api.shapes and m.type not in api.inline:
            raise ApiError(m.line, f"{shape.name}.{m.name}: type {m.type} is not defined")
        if m.default is not None:
            t, t.at = m.default_at[0], m.default_at[1]
            m.default = take_default(t, api.shape(m.type).kind)
            check_default(api.shape(m.type), m)


def check_default(shape, m):
    if shape.kind == "enum" and m.default not in shape.values:
        raise ApiError(m.line, f"{m.name}: {m.default} is not a value of {shape.name}")
    size = len(m.default) if isinstance(m.default, str) else m.default
    low = size if shape.min is None else shape.min
    high = size if shape.max is None else shape.max
    if shape.kind not in ("bool", "enum") and not low <= size <= high:
        raise ApiError(m.line, f"{m.name}: the default is outside the range")


def parse(text):
    return Parser().run(text)
