// SPDX-License-Identifier: Apache-2.0
// Help on the terminal, from the table of commands.
#pragma once
#include "cli/command.h"

#include <stdio.h>

void help_overview(FILE *out);
void help_group(FILE *out, Str group); // the commands below one word
void help_command(struct arena *a, const struct command *c);
