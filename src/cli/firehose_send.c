// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"
#include "cli/put_input.h"

static const Flag flags[] = {
    { S_INIT("file"), 'f', S_INIT("FILE"), S_INIT("One record: the whole content of this file") },
};

const struct command command_firehose_send = {
    .name = S_INIT("firehose send"),
    .summary = S_INIT("Put records: an argument, a file, or each line of standard input"),
    .usage = S_INIT("NAME [DATA] [--file FILE]"),
    .details = S_INIT("Ends well only when every record is stored. A record has no line end of its "
                      "own: a delivery\nstream adds one if it is made so."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 2,
    .examples = { { S_INIT("headrace firehose send logs '{\"page\":\"/\"}'"),
                    S_INIT("one record") },
                  { S_INIT("journalctl -f -o json | headrace firehose send logs"),
                    S_INIT("each line becomes a record") } },
    .see_also = S_INIT("firehose create, firehose flush"),
    .run = put_input,
};
