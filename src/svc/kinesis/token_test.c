// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "svc/kinesis/token.h"

#include <string.h>

static struct sealer sealer_of(char fill)
{
    struct sealer s = { .io = io_real() };
    memset(s.secret, fill, sizeof s.secret);
    return s;
}

TEST(a_token_gives_back_what_was_sealed)
{
    struct sealer s = sealer_of('k');
    Str t = token_seal(&s, a, TOKEN_ITERATOR, S("0/us"), 1234, S("payload"));
    int64_t issued;
    Str payload;
    EXPECT_OK(token_open(&s, a, TOKEN_ITERATOR, S("0/us"), t, &issued, &payload));
    EXPECT_INT(1234, issued);
    EXPECT_STR(S("payload"), payload);
}

TEST(two_tokens_for_the_same_place_differ)
{
    struct sealer s = sealer_of('k');
    EXPECT(!str_eq(token_seal(&s, a, TOKEN_ITERATOR, S("0/us"), 1, S("p")),
                   token_seal(&s, a, TOKEN_ITERATOR, S("0/us"), 1, S("p"))));
}

TEST(a_token_is_refused_elsewhere_or_changed)
{
    struct sealer s = sealer_of('k'), other = sealer_of('o');
    Str t = token_seal(&s, a, TOKEN_ITERATOR, S("0/us"), 1, S("p"));
    int64_t issued;
    Str payload;
    EXPECT_ERR(ERR_INVALID, token_open(&s, a, TOKEN_ITERATOR, S("1/us"), t, &issued, &payload));
    EXPECT_ERR(ERR_INVALID, token_open(&s, a, TOKEN_SHARDS, S("0/us"), t, &issued, &payload));
    EXPECT_ERR(ERR_INVALID, token_open(&other, a, TOKEN_ITERATOR, S("0/us"), t, &issued, &payload));
    EXPECT_ERR(ERR_INVALID, token_open(&s, a, TOKEN_ITERATOR, S("0/us"), S(""), &issued, &payload));
    EXPECT_ERR(ERR_INVALID,
               token_open(&s, a, TOKEN_ITERATOR, S("0/us"), S("AAAA"), &issued, &payload));
    char *changed = str_c(a, t);
    for (size_t i = 0; i < t.n; i++) {
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        EXPECT_ERR(ERR_INVALID, token_open(&s, a, TOKEN_ITERATOR, S("0/us"), str_from(changed, t.n),
                                           &issued, &payload));
        changed[i] = t.p[i];
    }
}
