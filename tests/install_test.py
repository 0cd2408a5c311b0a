#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make install, into an empty root: everything is in its place, fits together and works from there.

    tests/install_test.py --program build/headrace
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

import headrace
import tap

PROGRAM = ROOT = None  # set by main


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240, **options)


def place(path):
    return os.path.join(ROOT, path.lstrip("/"))


def read(path):
    with open(place(path), encoding="utf-8") as file:
        return file.read()


def install():
    environment = {**os.environ, "DESTDIR": ROOT, "PREFIX": "/usr", "PROGRAM": PROGRAM}
    done = run(os.path.join(headrace.ROOT, "tools", "install_files"), env=environment, cwd=headrace.ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configuration():
    return read("/etc/headrace/headrace.toml")


@tap.test
def everything_is_put_in_its_place():
    install()
    for path in ("/usr/bin/headrace", "/usr/lib/systemd/system/headrace.service", "/usr/lib/sysusers.d/headrace.conf",
                 "/usr/lib/tmpfiles.d/headrace.conf", "/etc/headrace/headrace.toml", "/usr/share/man/man1/headrace.1",
                 "/usr/share/bash-completion/completions/headrace"):
        assert os.path.getsize(place(path)) > 0, path
    assert run(place("/usr/bin/headrace"), "version").returncode == 0


@tap.test
def the_unit_names_what_was_installed():
    unit = read("/usr/lib/systemd/system/headrace.service")
    assert "@" not in unit.replace("@system-service", "").replace("@privileged", "").replace("@resources", ""), unit
    assert "ExecStart=/usr/bin/headrace serve --config /etc/headrace/headrace.toml" in unit
    if shutil.which("systemd-analyze"):
        done = run("systemd-analyze", "security", "--offline=yes", "--threshold=20",
                   place("/usr/lib/systemd/system/headrace.service"))
        assert done.returncode == 0, done.stdout[-500:] + done.stderr


@tap.test
def a_configuration_that_is_there_is_kept():
    path = place("/etc/headrace/headrace.toml")
    original = configuration()
    with open(path, "w", encoding="utf-8") as file:
        file.write("# mine\n")
    said = install()
    assert configuration() == "# mine\n" and "stays as it is" in said
    with open(path, "w", encoding="utf-8") as file:
        file.write(original)


def keys_of(text):
    """section.key of every assignment, commented out or not."""
    section, found = "", []
    for line in text.splitlines():
        if match := re.match(r"\[(\w+)\]", line):
            section = match[1] + "."
        elif match := re.match(r"#?(\w+) = ", line):
            found.append(section + match[1])
    return found


EXAMPLE = re.compile(r"(?m)^#\[[\w.]+\]\n(?:#.*\n)*")  # a section that a file may have many of, or none


@tap.test
def the_configuration_shows_every_setting_with_its_default():
    printed = run(PROGRAM, "config", "print", "--config", place("/etc/headrace/headrace.toml"))
    assert printed.returncode == 0, printed.stderr
    plain = EXAMPLE.sub("", configuration())
    assert sorted(keys_of(plain)) == sorted(keys_of(printed.stdout))
    uncommented = re.sub(r"(?m)^#(\w+ = )", r"\1", plain)
    path = place("/etc/headrace/all.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(uncommented)
    explicit = run(PROGRAM, "config", "print", "--config", path)
    assert explicit.returncode == 0, explicit.stderr
    differ = [(a, b) for a, b in zip(printed.stdout.splitlines(), explicit.stdout.splitlines())
              if a != b and not re.match(r"(data_dir|cert|key) ", a)]
    assert not differ, differ


@tap.test
def the_example_of_a_section_shows_each_of_its_settings_with_its_default():
    (example,) = EXAMPLE.findall(configuration())
    path = place("/etc/headrace/example.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"(?m)^#", "", example))
    whole = run(PROGRAM, "config", "print", "--config", path)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(line.lstrip("#") for line in example.splitlines()[:2]) + "\n")
    short = run(PROGRAM, "config", "print", "--config", path)
    assert whole.returncode == 0 and short.returncode == 0, whole.stderr + short.stderr
    assert whole.stdout == short.stdout
    shown = whole.stdout[whole.stdout.index("[s3.remote."):]
    assert sorted(keys_of(shown)) == sorted(keys_of(re.sub(r"(?m)^#\[.*\]$", "", example)))


@tap.test
def the_installed_program_serves_with_the_installed_configuration():
    with headrace.Server(place("/usr/bin/headrace"), "--config", place("/etc/headrace/headrace.toml")) as server:
        server.client().create_stream("s")


@tap.test
def a_setting_that_does_not_exist_is_refused_with_the_nearest_name():
    path = place("/etc/headrace/wrong.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write('[journal]\nfile_sise = "64MiB"\n')
    done = run(PROGRAM, "serve", "--config", path)
    assert done.returncode == 2 and "file_size" in done.stderr and "line 2" in done.stderr, done


def main():
    global PROGRAM, ROOT
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    PROGRAM = os.path.abspath(options.program)
    os.makedirs(headrace.DATA, exist_ok=True)
    ROOT = tempfile.mkdtemp(dir=headrace.DATA)
    try:
        return tap.main(options.words)
    finally:
        shutil.rmtree(ROOT, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
