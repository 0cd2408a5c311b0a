// SPDX-License-Identifier: Apache-2.0
// Prints what a shell needs so that AWS's tools speak to the server.
#include "cli/commands.h"
#include "cli/remote.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { VERSION_LINE_MAX = 256 };

static const Flag flags[] = {
    { S_INIT("terraform"), 0, S_INIT(""),
      S_INIT("Print a provider block for Terraform or OpenTofu") },
    { S_INIT("tls"), 0, S_INIT(""), S_INIT("Use https and name the server's certificate") },
};

// Single quotes stop the shell from looking inside.
static void print_export(const char *name, Str value)
{
    printf("export %s='", name);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\'')
            fputs("'\\''", stdout);
        else
            fputc(value.p[i], stdout);
    }
    puts("'");
}

// aws-cli knows AWS_ENDPOINT_URL since 2.13.0 and 1.29.0. False: it does, or there is none.
static bool aws_cli_is_old(unsigned *ret_major, unsigned *ret_minor, unsigned *ret_patch)
{
    FILE *f = popen("aws --version 2>&1 </dev/null", "re");
    char line[VERSION_LINE_MAX] = "";
    if (f == NULL)
        return false;
    bool got = fgets(line, sizeof line, f) != NULL;
    pclose(f);
    if (!got || sscanf(line, "aws-cli/%u.%u.%u", ret_major, ret_minor, ret_patch) != 3)
        return false;
    return (*ret_major == 2 && *ret_minor < 13) || (*ret_major == 1 && *ret_minor < 29);
}

static Str with_https(struct arena *a, Str url)
{
    return str_starts(url, S("http://")) ? str_cat(a, S("https://"), str_skip(url, 7)) : url;
}

static void print_terraform(const ClientConfig *c)
{
    Str url = c->endpoint;
    printf("provider \"aws\" {\n"
           "  region                      = \"%.*s\"\n"
           "  access_key                  = \"%.*s\"\n"
           "  secret_key                  = \"%.*s\"\n"
           "  skip_credentials_validation = true\n"
           "  skip_metadata_api_check     = true\n"
           "  skip_requesting_account_id  = true\n"
           "  endpoints {\n"
           "    kinesis = \"%.*s\"\n"
           "  }\n"
           "}\n",
           FMT(c->region), FMT(c->access_key), FMT(c->secret_key), FMT(url));
}

static void print_shell(const ClientConfig *c, bool tls)
{
    print_export("AWS_ENDPOINT_URL", c->endpoint);
    print_export("AWS_ACCESS_KEY_ID", c->access_key);
    print_export("AWS_SECRET_ACCESS_KEY", c->secret_key);
    if (c->session_token.n > 0)
        print_export("AWS_SESSION_TOKEN", c->session_token);
    else
        puts("unset AWS_SESSION_TOKEN"); // of another account
    puts("unset AWS_PROFILE");           // it would win over the keys in some tools
    print_export("AWS_REGION", c->region);
    print_export("AWS_DEFAULT_REGION", c->region);
    puts("export AWS_EC2_METADATA_DISABLED='true'\nexport AWS_PAGER=''");
    if (tls && c->ca_file.n > 0)
        print_export("AWS_CA_BUNDLE", c->ca_file);
    unsigned major, minor, patch;
    if (!aws_cli_is_old(&major, &minor, &patch))
        return;
    puts("aws() { command aws --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"; }");
    fprintf(stderr,
            "headrace: this aws-cli (%u.%u.%u) ignores AWS_ENDPOINT_URL; defined a shell function "
            "aws() that adds --endpoint-url\n",
            major, minor, patch);
}

static ExitCode run(struct invocation *in)
{
    ClientConfig c = { 0 };
    ExitCode code = remote_config(in, &c);
    if (code != EXIT_GOOD)
        return code;
    bool tls = flag_given(in, S("tls"));
    if (tls)
        c.endpoint = with_https(in->a, c.endpoint);
    if (flag_given(in, S("terraform")))
        print_terraform(&c);
    else
        print_shell(&c, tls);
    if (isatty(STDOUT_FILENO) && !flag_given(in, S("terraform")))
        fputs("# Apply it with: eval \"$(headrace env)\"\n", stderr);
    return EXIT_GOOD;
}

const struct command command_env = {
    .name = S_INIT("env"),
    .summary = S_INIT("Print the variables that point AWS tools at the server"),
    .usage = S_INIT("[--terraform] [--tls]"),
    .details = S_INIT("The output contains the secret key. AWS tools that are too old for "
                      "AWS_ENDPOINT_URL get a\nshell function that adds --endpoint-url."),
    .flags = flags,
    .flag_count = COUNT_OF(flags),
    .remote = true,
    .examples = { { S_INIT("eval \"$(headrace env)\""), S_INIT("for this shell") },
                  { S_INIT("headrace env --terraform > provider.tf"), S_INIT("for Terraform") } },
    .see_also = S_INIT("serve, stream ls"),
    .run = run,
};
