// SPDX-License-Identifier: Apache-2.0
// GetRandomPassword: letters that are drawn from the machine's randomness, each as likely as any
// other.
#include "svc/secretsmanager/secretsmanager.h"

#include <string.h>

enum { KINDS = 4, LETTERS_MAX = 128, RANDOM_BYTES = 512 };

struct draw {
    struct io *io;
    unsigned char bytes[RANDOM_BYTES];
    size_t left;
};

// A number below n, which is at most 256 * 256.
static size_t below(struct draw *d, size_t n)
{
    for (;;) {
        if (d->left < 2) {
            d->io->random(d->io, d->bytes, sizeof d->bytes);
            d->left = sizeof d->bytes;
        }
        d->left -= 2;
        size_t x = (size_t)d->bytes[d->left] << 8 | d->bytes[d->left + 1];
        size_t most = 65536 / n * n; // what lies above would make the first ones likelier
        if (x < most)
            return x % n;
    }
}

typedef struct Letters {
    char at[LETTERS_MAX];
    size_t n;
} Letters;

static void add_kind(Letters *all, Letters *kind, Str letters, Str excluded)
{
    for (size_t i = 0; i < letters.n; i++) {
        if (str_find(excluded, letters.p[i]) < excluded.n)
            continue;
        kind->at[kind->n++] = letters.p[i];
        all->at[all->n++] = letters.p[i];
    }
}

static Err gather(struct call *c, const struct secretsmanager_GetRandomPassword_in *in,
                  Letters *all, Letters kinds[KINDS], size_t *ret_kinds)
{
    const struct {
        bool left_out;
        Str letters;
    } groups[KINDS] = {
        { in->exclude_lowercase, S("abcdefghijklmnopqrstuvwxyz") },
        { in->exclude_uppercase, S("ABCDEFGHIJKLMNOPQRSTUVWXYZ") },
        { in->exclude_numbers, S("0123456789") },
        { in->exclude_punctuation, S("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") },
    };
    Letters space = { 0 };
    Str excluded = in->exclude_characters.p != NULL ? in->exclude_characters : S("");
    for (size_t i = 0; i < KINDS; i++) {
        if (groups[i].left_out)
            continue;
        add_kind(all, &kinds[*ret_kinds], groups[i].letters, excluded);
        *ret_kinds += kinds[*ret_kinds].n > 0;
    }
    if (in->include_space)
        add_kind(all, &space, S(" "), excluded);
    if (all->n > 0)
        return OK;
    return call_fail(c, &secretsmanager_InvalidParameterException,
                     "There are no characters left to make a password of.");
}

Err secretsmanager_GetRandomPassword(struct call *c,
                                     const struct secretsmanager_GetRandomPassword_in *in,
                                     struct secretsmanager_GetRandomPassword_out *out)
{
    const struct secrets *s = c->state;
    Letters all = { 0 }, kinds[KINDS] = { 0 };
    size_t kind_count = 0, n = (size_t)in->password_length;
    bool each = !in->has_require_each_included_type || in->require_each_included_type;
    TRY(gather(c, in, &all, kinds, &kind_count));
    if (each && n < kind_count)
        return call_fail(c, &secretsmanager_InvalidParameterException,
                         "Password length is too short based on the required types.");
    struct draw d = { .io = s->env.io };
    char *text = arena_alloc(c->arena, n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        const Letters *from = each && i < kind_count ? &kinds[i] : &all;
        text[i] = from->at[below(&d, from->n)];
    }
    for (size_t i = n; i-- > 1;) { // one of each kind came first: shuffled
        size_t k = below(&d, i + 1);
        char kept = text[i];
        text[i] = text[k];
        text[k] = kept;
    }
    explicit_bzero(&d, sizeof d);
    out->random_password = str_from(text, n);
    return OK;
}
