#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the general category of every code point as runs, from Python's own Unicode data:
unicode_runs.py unicode_runs.c. What patterns call \\p{L} is looked up there (src/aws/pattern.c)."""
import sys
import unicodedata

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co "
              "Cn").split()
CATEGORY_BITS = 5
IN_ONE_LINE = 8


def runs():
    """The first code point of each run, shifted, with the category's number below it."""
    last = None
    for point in range(sys.maxunicode + 1):
        category = CATEGORIES.index(unicodedata.category(chr(point)))
        if category != last:
            yield point << CATEGORY_BITS | category
            last = category


def main(path):
    words = [f"0x{run:x}" for run in runs()]
    lines = [", ".join(words[i:i + IN_ONE_LINE]) for i in range(0, len(words), IN_ONE_LINE)]
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"// Made by tools/unicode_runs.py: Unicode {unicodedata.unidata_version}.\n"
                '#include "aws/pattern_priv.h"\n\n'
                f"const char unicode_categories[] = \"{''.join(CATEGORIES)}\";\n"
                "const uint32_t unicode_runs[] = {\n    " + ",\n    ".join(lines) + ",\n};\n"
                f"const size_t unicode_run_count = {len(words)};\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
