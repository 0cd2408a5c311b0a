// SPDX-License-Identifier: Apache-2.0
#include "server/credentials.h"
#include "aws/keyring.h"
#include "base/buf.h"

enum { CREDENTIALS_BYTES_MAX = 4096, ACCESS_KEY_RANDOM = 16, SECRET_KEY_RANDOM = 40 };

// Visible ASCII without the characters that delimit a credential scope.
static bool is_key(Str s, size_t max, Str excluded)
{
    if (s.n == 0 || s.n > max)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || str_find(excluded, s.p[i]) < excluded.n)
            return false;
    return true;
}

Err credentials_given(Str access_key, Str secret_key, Credentials *ret)
{
    if (access_key.n == 0 && secret_key.n == 0)
        return fail(ERR_NOT_FOUND, "no credentials given");
    if (!is_key(access_key, ACCESS_KEY_BYTES_MAX, S("/,=")) ||
        !is_key(secret_key, SECRET_KEY_BYTES_MAX, S("")))
        return fail(ERR_INVALID, "HEADRACE_ACCESS_KEY_ID and HEADRACE_SECRET_ACCESS_KEY must both "
                                 "be set, to visible ASCII; the id without '/', ',' and '='");
    *ret = (Credentials){ .access_key = access_key, .secret_key = secret_key };
    return OK;
}

// Takes what stands before the next section, and the name of the section that it stands in: absent
// at the beginning of the file.
static Credentials next_section(Str *content, Str *ret_section)
{
    Credentials c = { 0 };
    *ret_section = (Str){ 0 };
    for (bool first = true; content->n > 0; first = false) {
        Str line, name, value, rest;
        (void)str_cut(*content, '\n', &line, &rest);
        line = str_trim(line);
        bool begins = str_starts(line, S("[")) && str_ends(line, S("]"));
        if (begins && !first)
            break;
        *content = rest;
        if (begins)
            *ret_section = str_trim(str_from(line.p + 1, line.n - 2));
        else if (!str_cut(line, '=', &name, &value))
            continue; // an empty line or a comment
        else if (str_eq(str_trim(name), S("aws_access_key_id")))
            c.access_key = str_trim(value);
        else if (str_eq(str_trim(name), S("aws_secret_access_key")))
            c.secret_key = str_trim(value);
    }
    return c;
}

Err credentials_read(struct io *io, struct arena *a, Str dir, Credentials *ret)
{
    Str content = S("");
    if (dir.n == 0)
        return fail(ERR_NOT_FOUND, "no data directory");
    TRY(io_read_file(io, a, str_cat(a, dir, S("/credentials")), CREDENTIALS_BYTES_MAX, &content));
    Credentials c = { 0 };
    bool counts = true; // what stands before any section does
    for (Str section; content.n > 0;) {
        Credentials one = next_section(&content, &section);
        if (section.p == NULL ? counts : str_eq(section, S("default")))
            c = one;
        counts = false;
    }
    if (c.access_key.n == 0 || c.secret_key.n == 0)
        return fail(ERR_INVALID, "the credentials file holds no key");
    return credentials_given(c.access_key, c.secret_key, ret);
}

static bool is_account(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n == sizeof "000000000000" - 1;
}

Err credentials_accounts(struct io *io, struct arena *a, Str dir, AccountKey **ret, size_t *ret_n)
{
    Str content = S(""), section;
    Err e = dir.n > 0 ? io_read_file(io, a, str_cat(a, dir, S("/credentials")),
                                     CREDENTIALS_BYTES_MAX, &content)
                      : OK;
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    size_t n = 0;
    AccountKey *keys = arena_new(a, AccountKey, content.n / sizeof "[000000000000]" + 1);
    while (content.n > 0) {
        Credentials c = next_section(&content, &section);
        if (section.p == NULL || !is_account(section))
            continue;
        keys[n].account = section;
        TRY(credentials_given(c.access_key, c.secret_key, &keys[n].key));
        n++;
    }
    *ret = keys;
    *ret_n = n;
    return OK;
}

// `n` characters of the alphabet, each equally likely.
static void add_random(struct io *io, struct buf *b, Str alphabet, size_t n)
{
    const unsigned limit = 256 - 256 % (unsigned)alphabet.n;
    while (n > 0) {
        unsigned char byte;
        io->random(io, &byte, 1);
        if (byte >= limit)
            continue;
        buf_add_byte(b, alphabet.p[byte % alphabet.n]);
        n--;
    }
}

Err credentials_make(struct io *io, struct arena *a, Str dir, Credentials *ret)
{
    AUTO_BUF(access);
    AUTO_BUF(secret);
    // As long as AWS's, but never to be mistaken for one of theirs.
    buf_add(&access, S("HRAK"));
    add_random(io, &access, S("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), ACCESS_KEY_RANDOM);
    add_random(io, &secret, S("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
               SECRET_KEY_RANDOM);
    Credentials c = { .access_key = str_dup(a, buf_str(&access)),
                      .secret_key = str_dup(a, buf_str(&secret)) };
    Str content = str_fmt(a, "[default]\naws_access_key_id = %.*s\naws_secret_access_key = %.*s\n",
                          FMT(c.access_key), FMT(c.secret_key));
    TRY(io_write_file(io, a, str_cat(a, dir, S("/credentials")), content));
    *ret = c;
    return OK;
}
