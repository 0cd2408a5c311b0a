// SPDX-License-Identifier: Apache-2.0
#include "cli/blob.h"
#include "cli/commands.h"
#include "cli/term.h"
#include "codec/xml.h"

static const Flag flags[] = {
    { S_INIT("recursive"), 'r', S_INIT(""), S_INIT("All keys, not only up to the next slash") },
    { S_INIT("json"), 0, S_INIT(""), S_INIT("Print one JSON object on each line") },
};
static const Column bucket_columns[] = {
    { S_INIT("bucket"), false },
    { S_INIT("created"), false },
};
static const Column columns[] = {
    { S_INIT("key"), false },
    { S_INIT("bytes"), true },
    { S_INIT("modified"), false },
};

static Str child_text(const struct xml_node *n, Str name)
{
    for (const struct xml_node *child = n->first; child != NULL; child = child->next)
        if (str_eq(child->name, name))
            return child->text;
    return S("");
}

static ExitCode list_buckets(struct invocation *in, struct client *c)
{
    S3OutReply reply;
    struct xml_node *root = NULL;
    ExitCode code = blob_call(in, c, &(S3OutCall){ .method = S("GET") }, &reply);
    if (code != EXIT_GOOD)
        return code;
    if (xml_parse(in->a, reply.http.body, &root).kind != ERR_NONE)
        return complain(EXIT_FAILED, "the server's list is not XML");
    struct table t = table_begin(in->a, table_style(flag_given(in, S("json"))), bucket_columns,
                                 COUNT_OF(bucket_columns));
    for (const struct xml_node *n = root->first; n != NULL; n = n->next)
        for (const struct xml_node *b = n->first; b != NULL; b = b->next)
            if (str_eq(b->name, S("Bucket")))
                table_row(&t,
                          (Str[]){ child_text(b, S("Name")), child_text(b, S("CreationDate")) });
    table_end(&t);
    return EXIT_GOOD;
}

static ExitCode list_keys(struct invocation *in, struct client *c)
{
    BlobPlace place;
    BlobEntry *entries;
    size_t n;
    Str token = { 0 };
    TableStyle style = table_style(flag_given(in, S("json")));
    ExitCode code = blob_place(in->args[0], false, &place);
    if (code != EXIT_GOOD)
        return code;
    struct table t = table_begin(in->a, style, columns, COUNT_OF(columns));
    do {
        code = blob_entries(in, c, &place, flag_given(in, S("recursive")), &token, &entries, &n);
        for (size_t i = 0; i < n && code == EXIT_GOOD; i++) {
            Str bytes = entries[i].bytes;
            if (entries[i].is_prefix && style == TABLE_JSON)
                bytes = S("null");
            table_row(&t, (Str[]){ entries[i].key, bytes, entries[i].modified });
        }
    } while (code == EXIT_GOOD && token.n > 0);
    if (code == EXIT_GOOD)
        table_end(&t);
    return code;
}

static ExitCode run(struct invocation *in)
{
    AUTO(client) c = NULL;
    ExitCode code = remote_open(in, &c);
    if (code != EXIT_GOOD)
        return code;
    return in->arg_count == 0 ? list_buckets(in, c) : list_keys(in, c);
}

const struct command command_blob_ls = {
    .name = S_INIT("blob ls"),
    .summary = S_INIT("List buckets, or the objects of one"),
    .usage = S_INIT("[BUCKET[/PREFIX]] [--recursive] [--json]"),
    .details = S_INIT("Keys end at the next slash after the prefix, as directories do."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .args_max = 1,
    .examples = { { S_INIT("headrace blob ls"), S_INIT("the buckets") },
                  { S_INIT("headrace blob ls lake/clicks/ --recursive"),
                    S_INIT("all objects whose keys begin so") } },
    .see_also = S_INIT("blob cat, blob put"),
    .run = run,
};
