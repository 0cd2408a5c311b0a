// SPDX-License-Identifier: Apache-2.0
// Puts records in batches. What the server throttled or failed is sent again, so that each record
// is stored before the command ends well.
#include "cli/commands.h"
#include "cli/put_input.h"

static const Flag flags[] = {
    { S_INIT("key"), 'k', S_INIT("KEY"),
      S_INIT("Partition key; else one at random for each record") },
    { S_INIT("file"), 'f', S_INIT("FILE"), S_INIT("One record: the whole content of this file") },
};

const struct command command_stream_put = {
    .name = S_INIT("stream put"),
    .summary = S_INIT("Put records: an argument, a file, or each line of standard input"),
    .usage = S_INIT("STREAM [DATA] [--file FILE] [--key KEY]"),
    .details = S_INIT("Ends well only when every record is stored. Empty lines are left out."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_min = 1,
    .args_max = 2,
    .examples = { { S_INIT("headrace stream put clicks '{\"page\":\"/\"}' --key me"),
                    S_INIT("one record") },
                  { S_INIT("journalctl -f -o json | headrace stream put logs"),
                    S_INIT("each line becomes a record") } },
    .see_also = S_INIT("stream tail, stream create"),
    .run = put_input,
};
