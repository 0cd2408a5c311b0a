// SPDX-License-Identifier: Apache-2.0
// Manual pages in roff, the reference in Markdown and completion scripts, from the table of
// commands.
#pragma once
#include "base/buf.h"
#include "cli/command.h"

// "headrace-stream-put"; of NULL: "headrace".
Str man_name(struct arena *a, const struct command *c);
void man_page(struct buf *b, struct arena *tmp, const struct command *c); // NULL: the main page
void man_markdown(struct buf *b, struct arena *tmp);                      // docs/cli.md
bool completion_script(struct buf *b, struct arena *tmp, Str shell);      // false: unknown shell
