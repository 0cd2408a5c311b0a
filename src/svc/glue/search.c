// SPDX-License-Identifier: Apache-2.0
// SearchTables (API reference): tables of all databases by what they say of themselves. A filter on
// a text is met by one of the tokens that punctuation divides it into; one on a time by comparing;
// the search text is anywhere, or, in quotes, the whole of something.
#include "base/time.h"
#include "svc/glue/glue.h"

#include <stdlib.h>

typedef struct Hit {
    Str sort, key; // key: database \1 table
} Hit;

typedef struct Search {
    const struct glue_SearchTables_in *in;
    struct arena *tmp; // of one table
    const glue_Table *table;
} Search;

// ---- Texts

static bool is_mark(char k)
{
    unsigned char u = (unsigned char)k;
    bool letter = (k >= 'a' && k <= 'z') || (k >= 'A' && k <= 'Z') || (k >= '0' && k <= '9');
    return !letter && u < 0x80 && k != '_';
}

static bool has_token(Str text, Str token)
{
    size_t from = 0;
    if (str_eq_nocase(text, token))
        return true;
    for (size_t i = 0; i <= text.n; i++) {
        if (i < text.n && !is_mark(text.p[i]))
            continue;
        if (str_eq_nocase(str_from(text.p + from, i - from), token))
            return true;
        from = i + 1;
    }
    return false;
}

static bool says(const Search *s, Str text, Str sought, bool whole)
{
    if (text.p == NULL)
        return false;
    if (whole)
        return str_eq_nocase(text, sought);
    Str low = str_lower(s->tmp, text);
    return str_search(low, sought) < low.n;
}

static bool columns_say(const Search *s, glue_ColumnList columns, Str sought, bool whole)
{
    for (size_t i = 0; i < columns.n; i++)
        if (says(s, columns.at[i].name, sought, whole) ||
            says(s, columns.at[i].comment, sought, whole))
            return true;
    return false;
}

static bool is_sought(const Search *s)
{
    Str text = s->in->search_text;
    const glue_Table *t = s->table;
    if (text.n == 0)
        return true;
    bool whole = text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"';
    Str sought = str_lower(s->tmp, whole ? str_from(text.p + 1, text.n - 2) : text);
    const Str own[] = { t->name, t->database_name, t->description, t->owner, t->table_type };
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (says(s, own[i], sought, whole))
            return true;
    for (size_t i = 0; i < t->parameters.n; i++)
        if (says(s, t->parameters.at[i].key, sought, whole) ||
            says(s, t->parameters.at[i].value, sought, whole))
            return true;
    return columns_say(s, t->partition_keys, sought, whole) ||
           (t->storage_descriptor != NULL &&
            columns_say(s, t->storage_descriptor->columns, sought, whole));
}

// ---- Properties

static bool time_of(const glue_Table *t, Str key, int64_t *ret_ns)
{
    if (str_eq_nocase(key, S("CreateTime")))
        *ret_ns = t->create_time;
    else if (str_eq_nocase(key, S("UpdateTime")))
        *ret_ns = t->update_time;
    else if (str_eq_nocase(key, S("LastAccessTime")))
        *ret_ns = t->last_access_time;
    else
        return false;
    return true;
}

static Str text_of(const glue_Table *t, Str key)
{
    const struct {
        Str name, value;
    } texts[] = { { S("Name"), t->name },
                  { S("DatabaseName"), t->database_name },
                  { S("Description"), t->description },
                  { S("Owner"), t->owner },
                  { S("TableType"), t->table_type },
                  { S("CreatedBy"), t->created_by },
                  { S("VersionId"), t->version_id } };
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (str_eq_nocase(key, texts[i].name))
            return texts[i].value;
    for (size_t i = 0; i < t->parameters.n; i++) // "classification" and others
        if (str_eq_nocase(key, t->parameters.at[i].key))
            return t->parameters.at[i].value;
    return (Str){ 0 };
}

static bool compares(int64_t x, int64_t y, Str comparator)
{
    if (str_eq(comparator, glue_Comparator_GREATER_THAN))
        return x > y;
    if (str_eq(comparator, glue_Comparator_LESS_THAN))
        return x < y;
    if (str_eq(comparator, glue_Comparator_GREATER_THAN_EQUALS))
        return x >= y;
    if (str_eq(comparator, glue_Comparator_LESS_THAN_EQUALS))
        return x <= y;
    return x == y;
}

static bool meets(const Search *s, const glue_PropertyPredicate *p)
{
    int64_t at_ns, seconds;
    Str value = p->value.p != NULL ? p->value : S("");
    if (time_of(s->table, p->key, &at_ns)) {
        CHECK(str_i64(value, &seconds).kind == ERR_NONE); // checked before
        return compares(at_ns / NS_PER_S, seconds, p->comparator);
    }
    Str text = text_of(s->table, p->key);
    return text.p != NULL && has_token(text, value);
}

static bool matches(const Search *s)
{
    for (size_t i = 0; i < s->in->filters.n; i++)
        if (!meets(s, &s->in->filters.at[i]))
            return false;
    return is_sought(s);
}

static Err check(struct call *c, const struct glue_SearchTables_in *in)
{
    const glue_Table none = { 0 };
    int64_t number;
    for (size_t i = 0; i < in->filters.n; i++) {
        const glue_PropertyPredicate *p = &in->filters.at[i];
        if (p->key.p == NULL)
            return glue_invalid(c, "A filter must have a key.");
        if (time_of(&none, p->key, &number) && str_i64(p->value, &number).kind != ERR_NONE)
            return glue_invalid(c, "A time is compared with seconds since 1970.");
    }
    for (size_t i = 0; i < in->sort_criteria.n; i++)
        if (in->sort_criteria.at[i].field_name.p == NULL)
            return glue_invalid(c, "A sort criterion must have a field name.");
    return OK;
}

// ---- Order

static Str sort_text(const Search *s)
{
    int64_t at_ns;
    if (s->in->sort_criteria.n == 0)
        return S("");
    Str field = s->in->sort_criteria.at[0].field_name;
    if (time_of(s->table, field, &at_ns))
        return str_fmt(s->tmp, "%020lld", (long long)at_ns);
    Str text = text_of(s->table, field);
    return text.p != NULL ? text : S("");
}

static int by_sort(const void *p, const void *q, void *self)
{
    const Hit *x = p, *y = q;
    const bool *descending = self;
    int order = str_cmp(x->sort, y->sort);
    if (order == 0)
        order = str_cmp(x->key, y->key);
    return *descending ? -order : order;
}

// ---- The operation

static Err gather(struct call *c, struct kv_txn *tx, const Place *p,
                  const struct glue_SearchTables_in *in, Hit **ret, size_t *ret_n)
{
    struct glue *g = c->state;
    size_t n, found = 0;
    Str prefix = glue_database_prefix(c->arena, p);
    kv_on(tx, g->tables);
    TRY(kv_count(tx, prefix, &n));
    Hit *hits = arena_try_new(c->arena, Hit, n + 1);
    if (hits == NULL)
        return fail(ERR_MEMORY, "no memory for the tables of a search");
    struct kv_scan scan = kv_scan_start(tx, prefix, S(""));
    Err e = OK;
    while (e.kind == ERR_NONE && found < n && kv_scan_next(&scan)) {
        AUTO(arena) tmp = arena_open();
        TableRow row;
        Str database, name;
        CHECK(str_cut(scan.rest, '\1', &database, &name));
        e = glue_read_table(g, tmp, str_dup(tmp, scan.value), &row);
        if (e.kind != ERR_NONE)
            break;
        row.table.name = name;
        row.table.database_name = database;
        Search s = { .in = in, .tmp = tmp, .table = &row.table };
        if (matches(&s))
            hits[found++] = (Hit){ .sort = str_dup(c->arena, sort_text(&s)),
                                   .key = str_dup(c->arena, scan.rest) };
    }
    if (e.kind == ERR_NONE)
        e = scan.err;
    kv_scan_end(&scan);
    *ret = hits;
    *ret_n = found;
    return e;
}

static Err give(struct call *c, struct kv_txn *tx, Place p, const Hit *hit, glue_Table *ret)
{
    struct glue *g = c->state;
    TableRow row;
    CHECK(str_cut(hit->key, '\1', &p.database, &p.table));
    TRY(glue_get_table(g, tx, c->arena, &p, &row));
    *ret = row.table;
    return OK;
}

Err glue_SearchTables(struct call *c, const struct glue_SearchTables_in *in,
                      struct glue_SearchTables_out *out)
{
    struct glue *g = c->state;
    Place p;
    Hit *hits;
    size_t n, first = 0, max = (size_t)in->max_results;
    Str after;
    TRY(glue_begin(c, in->catalog_id, (Str){ 0 }, (Str){ 0 }, &p));
    TRY(glue_token_read(c, in->next_token, &after));
    TRY(check(c, in));
    AUTO(kv_txn) tx = kv_read(g->tables);
    TRY(gather(c, tx, &p, in, &hits, &n));
    bool descending =
        in->sort_criteria.n > 0 && str_eq(in->sort_criteria.at[0].sort, glue_Sort_DESC);
    if (n > 0)
        qsort_r(hits, n, sizeof *hits, by_sort, &descending);
    Hit last = { .key = after };
    if (str_cut(after, '\2', &last.sort, &last.key))
        while (first < n && by_sort(&hits[first], &last, &descending) <= 0)
            first++;
    size_t end = MIN(n, first + max);
    out->table_list =
        (glue_TableList){ .set = true, .at = arena_new(c->arena, glue_Table, end - first) };
    for (size_t i = first; i < end; i++)
        TRY(give(c, tx, p, &hits[i], &out->table_list.at[out->table_list.n++]));
    if (end < n)
        out->next_token = glue_token(
            c->arena, str_cat3(c->arena, hits[end - 1].sort, S("\2"), hits[end - 1].key));
    return OK;
}
