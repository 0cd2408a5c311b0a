// SPDX-License-Identifier: Apache-2.0
#include "cli/put_input.h"
#include "cli/term.h"
#include "os/io.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 64 << 10 };

static ExitCode add_record(struct put_batch *b, Str data)
{
    if (data.n > put_batch_record_max(b))
        return complain(EXIT_USAGE, "a record of %zu bytes is over the largest that is stored",
                        data.n);
    if (!put_batch_has_room(b, data.n)) {
        ExitCode code = put_batch_flush(b);
        if (code != EXIT_GOOD)
            return code;
    }
    put_batch_add(b, &(PutEntry){ .key = flag_text(b->in, S("key")), .data = data });
    return EXIT_GOOD;
}

// Every whole line of `pending` becomes a record; at the end of the input the rest does too.
static ExitCode take_lines(struct put_batch *b, struct buf *pending, bool ended)
{
    size_t taken = 0;
    for (;;) {
        Str rest = str_skip(buf_str(pending), taken), line, after;
        if (!str_cut(rest, '\n', &line, &after)) {
            if (rest.n > put_batch_record_max(b))
                return complain(EXIT_USAGE, "a line is over the largest record that is stored");
            if (!ended || rest.n == 0)
                break;
        }
        taken += line.n + (line.n < rest.n);
        ExitCode code = line.n > 0 ? add_record(b, line) : EXIT_GOOD;
        if (code != EXIT_GOOD)
            return code;
    }
    buf_drop(pending, taken);
    return EXIT_GOOD;
}

// Whether reading would wait: then what has come so far is put at once.
static bool input_is_quiet(void)
{
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
    return poll(&p, 1, 0) == 0;
}

static ExitCode put_lines(struct put_batch *b)
{
    AUTO_BUF(pending);
    for (bool ended = false; !ended;) {
        if (b->n > 0 && input_is_quiet()) {
            ExitCode code = put_batch_flush(b);
            if (code != EXIT_GOOD)
                return code;
        }
        CHECK(buf_reserve(&pending, READ_BYTES));
        ssize_t n = read(STDIN_FILENO, pending.p + pending.n, READ_BYTES);
        if (n < 0 && errno != EINTR)
            return complain(EXIT_FAILED, "standard input cannot be read: %s",
                            strerrordesc_np(errno));
        ended = n == 0;
        pending.n += n > 0 ? (size_t)n : 0;
        ExitCode code = take_lines(b, &pending, ended);
        if (code != EXIT_GOOD)
            return code;
    }
    return EXIT_GOOD;
}

static ExitCode put_file(struct put_batch *b, Str path)
{
    Str content = S("");
    Err e = io_read_file(io_real(), b->in->a, path, put_batch_record_max(b), &content);
    if (e.kind != ERR_NONE)
        return complain_unread(path, e);
    return add_record(b, content);
}

ExitCode put_input(struct invocation *in)
{
    AUTO(client) c = NULL;
    Str file = flag_text(in, S("file"));
    if (in->arg_count > 1 && file.p != NULL)
        return complain(EXIT_USAGE, "give either DATA or --file");
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO(put_batch) b = put_batch_open(in, c, in->args[0]);
    if (in->arg_count > 1)
        code = add_record(b, in->args[1]);
    else if (file.p != NULL)
        code = put_file(b, file);
    else
        code = put_lines(b);
    if (code == EXIT_GOOD)
        code = put_batch_flush(b);
    if (code == EXIT_GOOD && term_is_terminal(STDERR_FILENO))
        fprintf(stderr, "%llu records stored\n", (unsigned long long)b->stored);
    return code;
}
