// SPDX-License-Identifier: Apache-2.0
// Keys of other endpoints, in the format of AWS's shared credentials file.
#include "svc/s3/remote.h"

Err s3_remote_keys_read(Str content, Str section, Str *ret_access_key, Str *ret_secret_key,
                        Str *ret_session_token)
{
    bool inside = false;
    Str access = { 0 }, secret = { 0 }, token = { 0 };
    for (Str line, name, value; content.n > 0;) {
        (void)str_cut(content, '\n', &line, &content);
        line = str_trim(line);
        if (str_starts(line, S("[")) && str_ends(line, S("]"))) {
            inside = str_eq(str_trim(str_from(line.p + 1, line.n - 2)), section);
            continue;
        }
        if (!inside || str_starts(line, S("#")) || !str_cut(line, '=', &name, &value))
            continue;
        name = str_trim(name);
        value = str_trim(value);
        if (str_eq(name, S("aws_access_key_id")))
            access = value;
        else if (str_eq(name, S("aws_secret_access_key")))
            secret = value;
        else if (str_eq(name, S("aws_session_token")))
            token = value;
    }
    if (access.n == 0 || secret.n == 0)
        return fail(ERR_NOT_FOUND, "the credentials file holds no key in that section");
    *ret_access_key = access;
    *ret_secret_key = secret;
    *ret_session_token = token.n > 0 ? token : (Str){ 0 };
    return OK;
}
