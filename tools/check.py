#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make check: everything about the source that a machine can judge without running it.

Each check prints one line, ok or not ok, with what it found below it. The last line is the total;
the total also goes to build/total-check, for .ci/run. Names of checks as arguments run only those.
"""
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import api_grammar

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layers  # noqa: E402

FUNCTION_LINES_GOOD = 70   # above it a function is reported
FUNCTION_LINES_MAX = 90    # above it the check fails
FILE_LINES_GOOD = 1000     # above it a file is reported
README_LINES_MAX = 60
FILE_BYTES_MAX = 1 << 20
CPPCHECK_SECONDS_MAX = 400
SHOWN_MAX = 40             # findings shown of one check

BANNED = ["strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "atol", "gmtime", "localtime"]
BANNED_BUT_IN = {"__builtin_prefetch": "src/base/prefetch.h"}  # its calls may be left out: see there
UNFINISHED = ["TO" + "DO", "FIX" + "ME"]
LICENSED = (".c", ".h", ".py", ".sh", ".js", ".mjs", ".java", ".toml", ".ini", "meson.build", "Makefile")
COPYRIGHT = "SPDX-License-Identifier: Apache-2.0"


def tracked_files():
    """Every file of the repository: git's list, or, in an unpacked release, what is there."""
    git = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         capture_output=True)
    if git.returncode == 0:
        names = git.stdout.decode().split("\0")
        return sorted(n for n in names if n and os.path.isfile(n))
    found = []
    for folder, folders, files in os.walk("."):
        folders[:] = [f for f in folders if not f.startswith((".", "build")) and f != "node_modules"]
        found += [os.path.relpath(os.path.join(folder, f), ".") for f in files]
    return sorted(found)


FILES = []


def c_files():
    return [f for f in FILES if f.endswith((".c", ".h")) and f.startswith(("src/", "bench/", "tests/"))]


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


CODE_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text):
    """C source without comments and literals; line numbers stay what they were."""
    return CODE_TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


# ---- The checks. Each returns (findings, remarks): findings fail it, remarks are only shown.


def check_layers():
    return layers.check("src"), []


def check_format():
    tool = shutil.which("clang-format-14")
    if tool is None:
        return ["clang-format-14 is not installed: tools/install_packages check"], []
    files = c_files()
    if not files:
        return [], []
    run = subprocess.run([tool, "--dry-run", "-Werror", "--ferror-limit=3", *files],
                         capture_output=True, text=True)
    return [line for line in run.stderr.splitlines() if ": error:" in line], []


def check_banned_calls():
    pattern = re.compile(r"\b(" + "|".join([*BANNED, *BANNED_BUT_IN]) + r")\s*\(|\b(goto)\b")
    found = []
    for path in c_files():
        for number, line in enumerate(code_only(read(path)).splitlines(), 1):
            for match in pattern.finditer(line):
                word = match.group(1) or match.group(2)
                if BANNED_BUT_IN.get(word) != path:
                    found.append(f"{path}:{number}: {word}")
    return found, []


def is_licensed_kind(path):
    if path.endswith(LICENSED):
        return True
    if "." in os.path.basename(path):
        return False
    return read(path).startswith("#!")


def check_licences():
    found = []
    for path in FILES:
        if is_licensed_kind(path) and COPYRIGHT not in "\n".join(read(path).splitlines()[:3]):
            found.append(f"{path}: no line \"{COPYRIGHT}\" at its top")
    return found, []


def check_readmes():
    rooms = {os.path.dirname(f) for f in FILES if f.startswith("src/") and f.endswith((".c", ".h"))}
    rooms.discard("src")
    found = []
    for room in sorted(rooms):
        path = os.path.join(room, "README.md")
        if not os.path.exists(path):
            found.append(f"{room}: has no README.md")
            continue
        lines = len(read(path).splitlines())
        if lines > README_LINES_MAX:
            found.append(f"{path}: {lines} lines, at most {README_LINES_MAX}")
    return found, []


def check_unfinished():
    pattern = re.compile(r"\b(" + "|".join(UNFINISHED) + r")\b")
    found = []
    for path in FILES:
        if path.startswith(("src/", "tools/", "tests/", "bench/", "docs/", "packaging/")):
            for number, line in enumerate(read(path).splitlines(), 1):
                if pattern.search(line):
                    found.append(f"{path}:{number}: {line.strip()[:80]}")
    return found, []


def functions_of(text):
    """(first line, lines, name, head) of each function; the format puts its braces into the first column."""
    lines = text.splitlines()
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = start - 1
            while head > 1 and lines[head - 2].strip() and not lines[head - 2].startswith(("}", "//", "#")):
                head -= 1
            said = " ".join(lines[head - 1:start - 1])
            name = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", said))
            yield head, number - start + 1, name.group(1) if name else "?", said
            start = None


def check_function_length():
    found, remarks = [], []
    for path in c_files():
        for line, length, name, _ in functions_of(read(path)):
            if length > FUNCTION_LINES_MAX:
                found.append(f"{path}:{line}: {name} has {length} lines, at most {FUNCTION_LINES_MAX}")
            elif length > FUNCTION_LINES_GOOD:
                remarks.append(f"{path}:{line}: {name} has {length} lines")
    return found, remarks


STANDS_IN = re.compile(r"(_test|_fuzz|/fake|/test_\w+)\.c$|^(tests|bench)/")


def names_twice(texts):
    """Rooms are static libraries: of two functions of one name the linker takes either, and says nothing."""
    places = {}
    for path, text in texts.items():
        if path.endswith(".c") and not STANDS_IN.search(path):
            for line, _, name, head in functions_of(text):
                if not re.search(r"\bstatic\b|\w+_INLINE\b", head) and name not in ("main", "?"):
                    places.setdefault(name, []).append(f"{path}:{line}")
    return [f"{name} is defined {len(at)} times: {', '.join(at)}" for name, at in sorted(places.items())
            if len(at) > 1]


def check_names():
    return names_twice({path: read(path) for path in c_files()}), []


INTRINSICS = [(re.compile(r"<\w*(?:intrin|cpuid)\.h>|\b_mm\d*_\w+|\b__m(?:64|128|256|512)\w*|\b__builtin_(?:ia32_|cpu_)\w+"),
               re.compile(r"__x86_64__|__SSE\w*__|__AVX\w*__")),
              (re.compile(r"<arm_\w+\.h>|\bv\w+_[usp](?:8|16|32|64|128)(?:_\w+)?\(|\b(?:uint|int|poly|float)\d+x\d+\w*_t\b"),
               re.compile(r"__aarch64__|__ARM_\w+"))]


def unguarded(text):
    """(line, what) of each use of one processor's instructions where another one's compiler would see it."""
    conditions, found = [], []
    for number, line in enumerate(code_only(text).splitlines(), 1):
        words = re.match(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)", line)
        if words is None:
            for uses, guards in INTRINSICS:
                use = uses.search(line)
                if use and not any(guards.search(c) for c in conditions):
                    found.append((number, use.group()))
        elif words[1] in ("if", "ifdef"):
            conditions.append(words[2])
        elif words[1] == "ifndef":
            conditions.append("")
        elif words[1] == "endif":
            conditions and conditions.pop()
        elif conditions:
            conditions[-1] = words[2] if words[1] == "elif" else ""
    return found


def check_intrinsics():
    """What only one kind of processor understands stands in `#if` for it: the rest compiles everywhere."""
    return [f"{path}:{line}: {what} outside of an #if for its processor" for path in c_files()
            if path.startswith("src/") for line, what in unguarded(read(path))], []


def check_file_length():
    remarks = []
    for path in c_files():
        length = len(read(path).splitlines())
        if length > FILE_LINES_GOOD:
            remarks.append(f"{path}: {length} lines")
    return [], remarks


def rest_operation(api, method, path, headers):
    """The operation that a request of REST is for, as src/aws/rest_route.c finds it; None: none."""
    place, _, query = path.partition("?")
    names = {pair.partition("=")[0] for pair in query.split("&")}
    best = (-1, None)
    for op in api.ops.values():
        form = re.sub(r"\\\{\w+\\\+\\\}", ".+", re.escape(op.http[1]))
        form = re.sub(r"\\\{\w+\\\}", "[^/]+", form)
        wanted = {pair.partition("=")[0] for pair in op.http[2].split("&") if pair}
        required = {m.called for m in op.input.members if m.required and m.place == "query"}
        required_headers = {m.called.lower() for m in op.input.members if m.required and m.place == "header"}
        if (op.http[0] == method and re.fullmatch(form + "/?", place) and wanted | required <= names
                and required_headers <= headers):
            best = max(best, (2 * len(wanted) + len(required) + len(required_headers), op.name))
    return best[1]


def rest_spoken(api, text):
    """The operations that a dialogue in REST speaks."""
    spoken, headers = set(), set()
    for line in text.splitlines():
        name = re.match(r"! header ([\w-]+):", line)
        if name:
            headers.add(name[1].lower())
        request = re.match(r">\s*([A-Z]+) (\S+)", line)
        if request:
            spoken.add(rest_operation(api, request[1], request[2], headers))
            headers = set()
    return spoken


def check_dialogues():
    """Every operation of an .api file is spoken at least once in a .wire file beside it."""
    found = []
    for path in FILES:
        if not path.endswith(".api") or not path.startswith("src/svc/"):
            continue
        operations = re.findall(r"^op\s+(\w+)", read(path), re.M)
        folder = os.path.dirname(path)
        spoken = set()
        for wire in FILES:
            if wire.endswith(".wire") and os.path.dirname(wire) == folder:
                if "protocol=rest-xml" in read(path):
                    spoken |= rest_spoken(api_grammar.parse(read(path)), read(wire))
                spoken |= set(re.findall(r"^>\s*(\w+)", read(wire), re.M))
        found += [f"{path}: no dialogue speaks {op}" for op in operations if op not in spoken]
    return found, []


def check_large_files():
    return [f"{f}: {os.path.getsize(f)} bytes" for f in FILES if os.path.getsize(f) > FILE_BYTES_MAX], []


def check_scripts():
    """Python compiles, shell parses, and what starts with #! may be executed."""
    found = []
    for path in FILES:
        first = read(path)[:80].split("\n")[0] if os.path.getsize(path) else ""
        if path.endswith(".py"):
            try:
                compile(read(path), path, "exec")
            except SyntaxError as error:
                found.append(f"{path}:{error.lineno}: {error.msg}")
        elif re.match(r"#!.*\b(ba)?sh\b", first):
            shell = "bash" if "bash" in first else "sh"
            run = subprocess.run([shell, "-n", path], capture_output=True, text=True)
            found += run.stderr.splitlines()
        if first.startswith("#!") and not os.access(path, os.X_OK):
            found.append(f"{path}: starts with #! but is not executable")
    return found, []


def check_cppcheck():
    tool = shutil.which("cppcheck")
    if tool is None:
        return ["cppcheck is not installed: tools/install_packages check"], []
    cache = os.path.abspath("build/cppcheck")
    os.makedirs(cache, exist_ok=True)
    command = [tool, "--quiet", "-j2", "--std=c11", "--enable=warning,portability", "--inline-suppr",
               "--error-exitcode=1", "--template={file}:{line}: {id}: {message}", "-Isrc",
               f"--cppcheck-build-dir={cache}", "--suppressions-list=tools/cppcheck.txt", "src"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=CPPCHECK_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return [], [f"stopped after {CPPCHECK_SECONDS_MAX} s; nothing found until then"]
    findings = [line for line in run.stderr.splitlines() if re.match(r"\S+:\d+: ", line)]
    if run.returncode != 0 and not findings:
        findings = run.stderr.splitlines() or [f"cppcheck ended with status {run.returncode}"]
    return findings, []


CHECKS = [
    ("layers", check_layers),
    ("format", check_format),
    ("banned-calls", check_banned_calls),
    ("licences", check_licences),
    ("readmes", check_readmes),
    ("unfinished", check_unfinished),
    ("function-length", check_function_length),
    ("names", check_names),
    ("intrinsics", check_intrinsics),
    ("file-length", check_file_length),
    ("dialogues", check_dialogues),
    ("large-files", check_large_files),
    ("scripts", check_scripts),
    ("cppcheck", check_cppcheck),
]


def show(name, result):
    findings, remarks = result
    print(f"{'not ok' if findings else 'ok'} - check: {name}")
    for line in findings[:SHOWN_MAX]:
        print(f"    {line}")
    if len(findings) > SHOWN_MAX:
        print(f"    ... and {len(findings) - SHOWN_MAX} more")
    for line in remarks[:SHOWN_MAX]:
        print(f"    note: {line}")
    sys.stdout.flush()


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    FILES.extend(tracked_files())
    wanted = sys.argv[1:]
    unknown = set(wanted) - {name for name, _ in CHECKS}
    if unknown:
        print(f"no such check: {' '.join(sorted(unknown))}")
        return 2
    chosen = [(n, c) for n, c in CHECKS if not wanted or n in wanted]
    with ThreadPoolExecutor(2) as pool:  # cppcheck, the slow one, starts at once
        running = {name: pool.submit(c) for name, c in reversed(chosen)}
        failed = 0
        for name, _ in chosen:
            result = running[name].result()
            show(name, result)
            failed += bool(result[0])
    passed = len(chosen) - failed
    if not wanted:
        os.makedirs("build", exist_ok=True)
        with open("build/total-check", "w", encoding="utf-8") as file:
            file.write(f"{passed} {failed}\n")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
