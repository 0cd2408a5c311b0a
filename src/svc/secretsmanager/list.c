// SPDX-License-Identifier: Apache-2.0
// ListSecrets, and which secrets filters mean (user guide, "Find secrets in Secrets Manager"):
// every filter must hold, of one of its values; a value is the beginning of what it is about, and
// with an exclamation mark before it must not be.
#include "codec/base64.h"
#include "svc/secretsmanager/secretsmanager.h"

#include <stdlib.h>

enum { TOKEN_BYTES_MAX = 1024 };

// ---- Filters

Err secrets_check_filters(struct call *c, secretsmanager_FiltersListType filters)
{
    for (size_t i = 0; i < filters.n; i++) {
        const secretsmanager_Filter *f = &filters.at[i];
        if (f->key.p == NULL)
            return call_fail(c, &secretsmanager_InvalidParameterException,
                             "Invalid filter key: a filter must have a key.");
        if (f->values.n == 0)
            return call_fail(c, &secretsmanager_InvalidParameterException,
                             "Invalid filter values for key: %.*s", FMT(f->key));
    }
    return OK;
}

static bool begins_nocase(struct arena *tmp, Str text, Str prefix)
{
    return text.p != NULL && str_starts(str_lower(tmp, text), str_lower(tmp, prefix));
}

static bool in_tags(const struct secret *x, bool keys, Str prefix)
{
    for (size_t i = 0; i < x->d.tags.n; i++)
        if (str_starts(keys ? x->d.tags.at[i].key : x->d.tags.at[i].value, prefix))
            return true;
    return false;
}

static bool holds_nocase(struct arena *tmp, Str text, Str word)
{
    Str low = text.p != NULL ? str_lower(tmp, text) : S("");
    return str_search(low, word) < low.n || word.n == 0;
}

static bool word_somewhere(struct arena *tmp, const struct secret *x, Str word)
{
    Str low = str_lower(tmp, word);
    bool found = holds_nocase(tmp, x->d.name, low) || holds_nocase(tmp, x->d.description, low);
    for (size_t i = 0; i < x->d.tags.n && !found; i++)
        found = holds_nocase(tmp, x->d.tags.at[i].key, low) ||
                holds_nocase(tmp, x->d.tags.at[i].value, low);
    return found;
}

// "all": every word of the value, anywhere.
static bool all_words(struct arena *tmp, const struct secret *x, Str value)
{
    Str word;
    for (bool more = true; more;) {
        more = str_cut(value, ' ', &word, &value);
        if (!word_somewhere(tmp, x, word))
            return false;
    }
    return true;
}

static bool matches(struct arena *tmp, const struct secret *x, Str key, Str value)
{
    if (str_eq(key, secretsmanager_FilterNameStringType_name))
        return str_starts(x->d.name, value);
    if (str_eq(key, secretsmanager_FilterNameStringType_description))
        return begins_nocase(tmp, x->d.description, value);
    if (str_eq(key, secretsmanager_FilterNameStringType_tag_key))
        return in_tags(x, true, value);
    if (str_eq(key, secretsmanager_FilterNameStringType_tag_value))
        return in_tags(x, false, value);
    if (str_eq(key, secretsmanager_FilterNameStringType_all))
        return all_words(tmp, x, value);
    return false; // primary-region, owning-service: there are none
}

static bool holds(struct arena *tmp, const struct secret *x, const secretsmanager_Filter *f)
{
    for (size_t i = 0; i < f->values.n; i++) {
        Str value = f->values.at[i];
        bool negated = str_starts(value, S("!"));
        if (matches(tmp, x, f->key, negated ? str_skip(value, 1) : value) != negated)
            return true;
    }
    return false;
}

bool secrets_match(struct arena *tmp, const struct secret *x,
                   secretsmanager_FiltersListType filters)
{
    for (size_t i = 0; i < filters.n; i++)
        if (!holds(tmp, x, &filters.at[i]))
            return false;
    return true;
}

// ---- Order

typedef struct SecretOrder {
    Str by;
    bool descending;
} SecretOrder;

static int64_t time_of(const struct secret *x, Str by)
{
    if (str_eq(by, secretsmanager_SortByType_last_accessed_date))
        return x->d.has_last_accessed_date ? x->d.last_accessed_date : 0;
    if (str_eq(by, secretsmanager_SortByType_last_changed_date))
        return x->d.last_changed_date;
    return x->d.created_date;
}

static int compare(const void *p, const void *q, void *self)
{
    const struct secret *x = *(struct secret *const *)p, *y = *(struct secret *const *)q;
    const SecretOrder *o = self;
    int64_t a = time_of(x, o->by), b = time_of(y, o->by);
    int order = a < b ? -1 : a > b;
    if (order == 0 || str_eq(o->by, secretsmanager_SortByType_name))
        order = str_cmp(x->d.name, y->d.name);
    return o->descending ? -order : order;
}

struct secret **secrets_select(struct call *c, secretsmanager_FiltersListType filters,
                               bool with_deleted, Str sort_by, bool descending, size_t *ret_n)
{
    SecretOrder order = { .by = sort_by, .descending = descending };
    AUTO(arena) tmp = arena_open();
    size_t n, kept = 0;
    struct secret **all = secrets_all(c, &n);
    for (size_t i = 0; i < n; i++) {
        arena_reset(tmp);
        bool shown =
            (with_deleted || !all[i]->d.has_deleted_date) && secrets_match(tmp, all[i], filters);
        if (shown)
            all[kept++] = all[i];
        else
            secret_unref(all[i]);
    }
    if (kept > 0)
        qsort_r(all, kept, sizeof(struct secret *), compare, &order);
    *ret_n = kept;
    return all;
}

void secrets_release(struct secret **all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        secret_unref(all[i]);
    free(all);
}

// ---- Pages: a token is the name of the last secret of a page

Str secrets_token(struct arena *a, const struct secret *last)
{
    size_t n = base64_encoded_bytes(last->d.name.n);
    char *text = arena_alloc(a, n + 1, 1);
    base64_encode(text, last->d.name.p, last->d.name.n);
    return str_from(text, n);
}

Err secrets_token_read(struct call *c, Str token, struct secret *const *all, size_t n,
                       size_t *ret_first)
{
    char name[TOKEN_BYTES_MAX];
    *ret_first = 0;
    if (token.p == NULL)
        return OK;
    Base64Result r = { .fault = BASE64_LENGTH };
    if (base64_decoded_max(token.n) <= sizeof name)
        r = base64_decode(name, token.p, token.n);
    for (size_t i = 0; r.fault == BASE64_GOOD && i < n; i++)
        if (str_eq(all[i]->d.name, str_from(name, r.n))) {
            *ret_first = i + 1;
            return OK;
        }
    return call_fail(c, &secretsmanager_InvalidNextTokenException, "Invalid NextToken.");
}

// ---- ListSecrets

static secretsmanager_TagListType copy_tags(struct arena *a, const struct secret *x)
{
    secretsmanager_TagListType tags = { .set = true,
                                        .at = arena_new(a, secretsmanager_Tag, x->d.tags.n) };
    for (; tags.n < x->d.tags.n; tags.n++)
        tags.at[tags.n] = (secretsmanager_Tag){ str_dup(a, x->d.tags.at[tags.n].key),
                                                str_dup(a, x->d.tags.at[tags.n].value) };
    return tags;
}

static secretsmanager_SecretVersionsToStagesMapType copy_stages(struct arena *a,
                                                                const struct secret *x)
{
    const secretsmanager_SecretVersionsToStagesMapType *from = &x->d.version_ids_to_stages;
    secretsmanager_SecretVersionsToStagesMapType to = { .set = from->n > 0 };
    to.at = arena_new(a, VersionStages, from->n);
    for (; to.n < from->n; to.n++) {
        const VersionStages *v = &from->at[to.n];
        VersionStages *copy = &to.at[to.n];
        copy->key = str_dup(a, v->key);
        copy->value.set = true;
        copy->value.at = arena_new(a, Str, v->value.n);
        for (; copy->value.n < v->value.n; copy->value.n++)
            copy->value.at[copy->value.n] = str_dup(a, v->value.at[copy->value.n]);
    }
    return to;
}

static Str copy_text(struct arena *a, Str s)
{
    return s.p != NULL ? str_dup(a, s) : s;
}

static const struct secretsmanager_RotationRulesType *
copy_rules(struct arena *a, const struct secretsmanager_RotationRulesType *rules)
{
    if (rules == NULL)
        return NULL;
    struct secretsmanager_RotationRulesType *copy =
        arena_new(a, struct secretsmanager_RotationRulesType, 1);
    *copy = *rules;
    copy->duration = copy_text(a, rules->duration);
    copy->schedule_expression = copy_text(a, rules->schedule_expression);
    return copy;
}

static secretsmanager_SecretListEntry entry_of(struct arena *a, const struct secret *x)
{
    return (secretsmanager_SecretListEntry){
        .arn = str_dup(a, x->d.arn),
        .name = str_dup(a, x->d.name),
        .description = copy_text(a, x->d.description),
        .kms_key_id = copy_text(a, x->d.kms_key_id),
        .rotation_enabled = x->d.rotation_enabled,
        .has_rotation_enabled = x->d.has_rotation_enabled,
        .rotation_lambda_arn = copy_text(a, x->d.rotation_lambda_arn),
        .rotation_rules = copy_rules(a, x->d.rotation_rules),
        .last_rotated_date = x->d.last_rotated_date,
        .has_last_rotated_date = x->d.has_last_rotated_date,
        .next_rotation_date = x->d.next_rotation_date,
        .has_next_rotation_date = x->d.has_next_rotation_date,
        .last_changed_date = x->d.last_changed_date,
        .has_last_changed_date = true,
        .last_accessed_date = x->d.last_accessed_date,
        .has_last_accessed_date = x->d.has_last_accessed_date,
        .deleted_date = x->d.deleted_date,
        .has_deleted_date = x->d.has_deleted_date,
        .tags = copy_tags(a, x),
        .secret_versions_to_stages = copy_stages(a, x),
        .created_date = x->d.created_date,
        .has_created_date = true,
    };
}

static Err list_page(struct call *c, const struct secretsmanager_ListSecrets_in *in,
                     struct secret **all, size_t n, struct secretsmanager_ListSecrets_out *out)
{
    size_t first, max = in->has_max_results ? (size_t)in->max_results : 100;
    TRY(secrets_token_read(c, in->next_token, all, n, &first));
    size_t end = MIN(n, first + max);
    out->secret_list.set = true;
    out->secret_list.at = arena_new(c->arena, secretsmanager_SecretListEntry, end - first);
    for (size_t i = first; i < end; i++)
        out->secret_list.at[out->secret_list.n++] = entry_of(c->arena, all[i]);
    if (end < n)
        out->next_token = secrets_token(c->arena, all[end - 1]);
    return OK;
}

Err secretsmanager_ListSecrets(struct call *c, const struct secretsmanager_ListSecrets_in *in,
                               struct secretsmanager_ListSecrets_out *out)
{
    size_t n;
    bool descending = in->sort_order.p == NULL || str_eq(in->sort_order, S("desc"));
    TRY(secrets_check_filters(c, in->filters));
    struct secret **all =
        secrets_select(c, in->filters, in->include_planned_deletion, in->sort_by, descending, &n);
    Err e = list_page(c, in, all, n, out);
    secrets_release(all, n);
    return e;
}
