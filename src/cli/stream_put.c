// SPDX-License-Identifier: Apache-2.0
// Puts records in batches. What the server throttled or failed is sent again, so that each record
// is stored before the command ends well.
#include "base/time.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/term.h"
#include "codec/base64.h"
#include "codec/hash.h"
#include "os/io.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH_RECORDS_MAX = 500,     // PutRecords
    BATCH_BYTES_MAX = 4 << 20,   // below its 5 MiB, so that keys fit as well
    RECORD_BYTES_MAX = 10 << 20, // AWS's largest
    RETRIES_MAX = 60,
    READ_BYTES = 64 << 10,
};
#define RETRY_NS (250 * NS_PER_MS)

static const Flag flags[] = {
    { S_INIT("key"), 'k', S_INIT("KEY"),
      S_INIT("Partition key; else one at random for each record") },
    { S_INIT("file"), 'f', S_INIT("FILE"), S_INIT("One record: the whole content of this file") },
};

struct batch {
    const struct invocation *in;
    struct client *client;
    struct arena *a; // its records; reset when they are stored
    Str data[BATCH_RECORDS_MAX];
    Str keys[BATCH_RECORDS_MAX];
    size_t n, bytes;
    uint64_t stored;
};

static Str new_key(struct batch *b)
{
    Str key = flag_text(b->in, S("key"));
    if (key.n > 0)
        return key;
    unsigned char random[8];
    io_real()->random(io_real(), random, sizeof random);
    return hex_str(b->a, random, sizeof random);
}

static Str request_body(struct batch *b)
{
    AUTO_BUF(out);
    buf_add(&out, S("{\"StreamName\":"));
    add_json_text(&out, b->in->args[0]);
    buf_add(&out, S(",\"Records\":["));
    for (size_t i = 0; i < b->n; i++) {
        buf_add(&out, i > 0 ? S(",{\"Data\":\"") : S("{\"Data\":\""));
        buf_add_base64(&out, b->data[i]);
        buf_add(&out, S("\",\"PartitionKey\":"));
        add_json_text(&out, b->keys[i]);
        buf_add(&out, S("}"));
    }
    buf_add(&out, S("]}"));
    return str_dup(b->a, buf_str(&out));
}

// Keeps only the records that were not stored, in their order.
static ExitCode keep_failed(struct batch *b, const JsonValue *reply)
{
    const JsonValue *results = json_find(reply, S("Records"));
    if (results == NULL || results->kind != JSON_LIST || results->n != b->n)
        return complain(EXIT_FAILED, "the reply to PutRecords does not match the request");
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (json_text(&results->items[i], S("ErrorCode")).p == NULL) {
            b->stored++;
            continue;
        }
        b->data[kept] = b->data[i];
        b->keys[kept++] = b->keys[i];
    }
    b->n = kept;
    return EXIT_GOOD;
}

static ExitCode send_once(struct batch *b)
{
    ClientReply reply = { 0 };
    ExitCode code = remote_send(b->in, b->client, b->a, S("PutRecords"), request_body(b), &reply);
    if (code != EXIT_GOOD)
        return code;
    if (reply.error.p != NULL)
        return client_is_throttle(reply.error) ? EXIT_GOOD : remote_complain(&reply);
    JsonValue *value = NULL;
    if (json_parse(b->a, reply.body, &value).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the reply to PutRecords is not JSON");
    return keep_failed(b, value);
}

static ExitCode flush_batch(struct batch *b)
{
    for (int tries = 0; b->n > 0; tries++) {
        if (tries > RETRIES_MAX)
            return complain(EXIT_THROTTLED, "the server keeps refusing; %llu records were stored",
                            (unsigned long long)b->stored);
        if (tries > 0)
            io_real()->sleep_ns(io_real(), RETRY_NS);
        ExitCode code = send_once(b);
        if (code != EXIT_GOOD)
            return code;
    }
    b->bytes = 0;
    arena_reset(b->a);
    return EXIT_GOOD;
}

static ExitCode add_record(struct batch *b, Str data)
{
    if (data.n > RECORD_BYTES_MAX)
        return complain(EXIT_USAGE, "a record of %zu bytes is over the largest that is stored",
                        data.n);
    if (b->n == BATCH_RECORDS_MAX || (b->n > 0 && b->bytes + data.n > BATCH_BYTES_MAX)) {
        ExitCode code = flush_batch(b);
        if (code != EXIT_GOOD)
            return code;
    }
    b->data[b->n] = str_dup(b->a, data);
    b->keys[b->n++] = new_key(b);
    b->bytes += data.n;
    return EXIT_GOOD;
}

// Every whole line of `pending` becomes a record; at the end of the input the rest does too.
static ExitCode take_lines(struct batch *b, struct buf *pending, bool ended)
{
    size_t taken = 0;
    for (;;) {
        Str rest = str_skip(buf_str(pending), taken), line, after;
        if (!str_cut(rest, '\n', &line, &after)) {
            if (rest.n > RECORD_BYTES_MAX)
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

static ExitCode put_lines(struct batch *b)
{
    AUTO_BUF(pending);
    for (bool ended = false; !ended;) {
        if (b->n > 0 && input_is_quiet()) {
            ExitCode code = flush_batch(b);
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

static ExitCode put_file(struct batch *b, Str path)
{
    Str content = S("");
    Err e = io_read_file(io_real(), b->in->a, path, RECORD_BYTES_MAX, &content);
    if (e.kind != ERR_NONE)
        return complain(e.kind == ERR_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_FAILED,
                        "%.*s cannot be read: %s", FMT(path), e.text);
    return add_record(b, content);
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    Str file = flag_text(in, S("file"));
    if (in->arg_count > 1 && file.p != NULL)
        return complain(EXIT_USAGE, "give either DATA or --file");
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    AUTO(arena) records = arena_open();
    struct batch *b = arena_new(in->a, struct batch, 1);
    *b = (struct batch){ .in = in, .client = c, .a = records };
    if (in->arg_count > 1)
        code = add_record(b, in->args[1]);
    else if (file.p != NULL)
        code = put_file(b, file);
    else
        code = put_lines(b);
    if (code == EXIT_GOOD)
        code = flush_batch(b);
    if (code == EXIT_GOOD && term_is_terminal(STDERR_FILENO))
        fprintf(stderr, "%llu records stored\n", (unsigned long long)b->stored);
    return code;
}

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
    .run = run,
};
