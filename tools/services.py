#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of services that the server opens: services.py services.c services.h name..."""
import sys

NOTICE = "// Made by tools/services.py from src/svc/meson.build: change that file, not this one.\n"
HEADER = """#pragma once
#include "hub/service.h"

extern const struct service *const services[]; // in the order of src/svc/meson.build
extern const size_t service_count;
"""


def table(names):
    out = [NOTICE, '#include "hub/service.h"\n\n',
           "extern const struct service *const services[];\nextern const size_t service_count;\n"]
    out += [f"extern const struct service {n}_service;\n" for n in names]
    # C has no empty arrays: without a service the one entry is never looked at.
    entries = ", ".join(f"&{n}_service" for n in names) or "0"
    out.append(f"\nconst struct service *const services[] = {{ {entries} }};\n"
               f"const size_t service_count = {len(names)};\n")
    return "".join(out)


def main(source, header, *names):
    with open(source, "w", encoding="utf-8") as f:
        f.write(table(names))
    with open(header, "w", encoding="utf-8") as f:
        f.write(NOTICE + HEADER)


if __name__ == "__main__":
    main(*sys.argv[1:])
