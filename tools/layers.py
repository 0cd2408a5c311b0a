#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the tree is the architecture: includes go only upward in src/LAYERS.

A room may include itself and rooms on lines above its own, never a neighbour on the same line, never
a line below; foo_priv.h only inside its room; gen/<service>_*.h belongs to svc/<service>. Prints each
violation as file:line and ends with status 1 if there is one.
"""
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def read_layers(path):
    """The lines of src/LAYERS as {pattern: line number}, 'svc/*' standing for every room below svc."""
    layers = {}
    with open(path, encoding="utf-8") as file:
        level = 0
        for line in file:
            names = line.split("#", 1)[0].split()
            if names:
                level += 1
            for name in names:
                layers[name] = level
    return layers


class House:
    """The rooms below src/, and what may include what."""

    def __init__(self, src):
        self.src = src
        self.layers = read_layers(os.path.join(src, "LAYERS"))
        self.wild = [name[:-2] for name in self.layers if name.endswith("/*")]

    def room_of(self, path):
        """The room of a path relative to src/: 'svc/kinesis' of 'svc/kinesis/put.c'."""
        parts = path.split("/")
        if parts[0] in self.wild:
            return "/".join(parts[:2]) if len(parts) > 2 else parts[0]
        return parts[0] if len(parts) > 1 else ""

    def level_of(self, room):
        top = room.split("/")[0]
        if top in self.wild:
            return self.layers[top + "/*"]
        return self.layers.get(room)

    def room_of_generated(self, header, including_room):
        """gen/kinesis_api.h is svc/kinesis's; a header of no one service is svc's as a whole."""
        name = os.path.basename(header)
        services = os.path.join(self.src, "svc")
        known = sorted(os.listdir(services), key=len, reverse=True) if os.path.isdir(services) else []
        for service in known:
            if name.startswith(service + "_"):
                return "svc/" + service
        # A test room of another room (a service made up for a test) owns what is made from it.
        if name.startswith("test_") or name.startswith("example_"):
            return including_room
        return "svc"

    def complaint(self, file, header):
        """Why `file` may not include `header` (both relative to src/), or None."""
        mine = self.room_of(file)
        if mine == "":
            return None
        if header.startswith("gen/"):
            theirs = self.room_of_generated(header, mine)
        else:
            theirs = self.room_of(header)
            if theirs == "":
                return f"includes \"{header}\": name the room, as in \"{mine}/{header}\""
        if theirs == mine:
            return None
        if header.endswith("_priv.h"):
            return f"includes \"{header}\", which is private to {theirs}"
        my_level, their_level = self.level_of(mine), self.level_of(theirs)
        if my_level is None:
            return f"the room {mine} is not in LAYERS"
        if their_level is None:
            return f"includes \"{header}\", and the room {theirs} is not in LAYERS"
        if theirs == "svc" and mine.startswith("svc/"):
            return None
        if their_level == my_level:
            return f"includes \"{header}\": {theirs} is a neighbour of {mine}"
        if their_level > my_level:
            return f"includes \"{header}\": {theirs} is below {mine}"
        return None


def check(src):
    """Every violation below src, as 'src/file:line: text'."""
    house = House(src)
    found = []
    for folder, folders, files in os.walk(src):
        folders.sort()
        for name in sorted(files):
            if not name.endswith((".c", ".h")):
                continue
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, src)
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    match = INCLUDE.match(line)
                    complaint = match and house.complaint(relative, match.group(1))
                    if complaint:
                        found.append(f"{path}:{number}: {complaint}")
    return found


def main():
    src = sys.argv[1] if len(sys.argv) > 1 else "src"
    violations = check(src)
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
