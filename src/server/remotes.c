// SPDX-License-Identifier: Apache-2.0
#include "server/remotes.h"

#include <stdlib.h>

// An empty variable is the same as none.
static Str variable(const char *name)
{
    Str text = str_of(getenv(name));
    return text.n > 0 ? text : (Str){ 0 };
}

static RemoteBucket remote_of(const NamedSettings *s)
{
    RemoteBucket r = { .name = s->name,
                       .account = settings_named_text(s, S("account")),
                       .endpoint = settings_named_text(s, S("endpoint")),
                       .region = settings_named_text(s, S("region")),
                       .bucket = settings_named_text(s, S("bucket")),
                       .prefix = settings_named_text(s, S("prefix")),
                       .credentials_file = settings_named_text(s, S("credentials_file")),
                       .section = settings_named_text(s, S("credentials_section")),
                       .host_style = str_eq(settings_named_text(s, S("style")), S("host")),
                       .verify = str_eq(settings_named_text(s, S("verify")), S("true")),
                       .public_only = str_eq(settings_named_text(s, S("private")), S("false")),
                       .ca_file = settings_named_text(s, S("ca")) };
    uint64_t connections = 0;
    CHECK(parse_duration(settings_named_text(s, S("timeout")), &r.timeout_ns).kind == ERR_NONE);
    CHECK(str_u64(settings_named_text(s, S("connections")), &connections).kind == ERR_NONE);
    r.connections = (unsigned)connections;
    if (r.bucket.n == 0)
        r.bucket = r.name;
    if (r.ca_file.n == 0)
        r.ca_file = (Str){ 0 };
    if (r.credentials_file.n == 0) {
        r.access_key = variable("AWS_ACCESS_KEY_ID");
        r.secret_key = variable("AWS_SECRET_ACCESS_KEY");
        r.session_token = variable("AWS_SESSION_TOKEN");
    }
    return r;
}

RemoteBucket *remotes_of(struct arena *a, const Settings *settings, size_t *ret_n)
{
    size_t n = 0;
    for (const NamedSettings *s = settings->named; s != NULL; s = s->next)
        n++;
    RemoteBucket *all = arena_new(a, RemoteBucket, n + 1);
    *ret_n = 0;
    for (const NamedSettings *s = settings->named; s != NULL; s = s->next)
        all[(*ret_n)++] = remote_of(s);
    return all;
}
