// SPDX-License-Identifier: Apache-2.0
#include "svc/cloudwatch/search.h"

#include <string.h>

// ---- Reading

static Str skip_blanks(Str s)
{
    while (s.n > 0 && strchr(" \t\r\n", s.p[0]) != NULL)
        s = str_skip(s, 1);
    return s;
}

static Err malformed(void)
{
    return fail(ERR_INVALID, "a search is malformed");
}

// A text in quotes, or up to one of the marks; without blanks at its ends.
static Err take_text(Str *rest, const char *marks, Str *ret, bool *ret_quoted)
{
    Str s = skip_blanks(*rest);
    *ret_quoted = str_starts(s, S("\""));
    if (*ret_quoted) {
        size_t end = str_find(str_skip(s, 1), '"');
        if (end + 1 >= s.n)
            return malformed();
        *ret = str_head(str_skip(s, 1), end);
        *rest = str_skip(s, end + 2);
        return OK;
    }
    size_t n = 0;
    while (n < s.n && strchr(marks, s.p[n]) == NULL)
        n++;
    *ret = str_trim(str_head(s, n));
    *rest = str_skip(s, n);
    return ret->n > 0 ? OK : malformed();
}

static Err take_schema(Str *rest, Search *s)
{
    bool quoted;
    *rest = str_skip(*rest, 1);
    s->has_schema = true;
    TRY(take_text(rest, ",}", &s->name_space, &quoted));
    for (;;) {
        *rest = skip_blanks(*rest);
        if (str_starts(*rest, S("}"))) {
            *rest = str_skip(*rest, 1);
            return OK;
        }
        if (!str_starts(*rest, S(",")) || s->dim_count == SERIES_DIMENSIONS_MAX)
            return malformed();
        *rest = str_skip(*rest, 1);
        TRY(take_text(rest, ",}", &s->dims[s->dim_count++], &quoted));
    }
}

static Err take_term(Str *rest, Search *s)
{
    SearchTerm t = { 0 };
    TRY(take_text(rest, " \t\r\n=(){}", &t.text, &t.exact));
    Str next = skip_blanks(*rest);
    if (str_starts(next, S("="))) {
        t.property = t.text;
        *rest = str_skip(next, 1);
        TRY(take_text(rest, " \t\r\n=(){}", &t.text, &t.exact));
    } else if (!t.exact && str_eq(t.text, S("AND"))) {
        return OK; // what terms mean anyway
    } else if (!t.exact && (str_eq(t.text, S("OR")) || str_eq(t.text, S("NOT")))) {
        return malformed();
    }
    if (s->term_count == SEARCH_TERMS_MAX)
        return malformed();
    s->terms[s->term_count++] = t;
    return OK;
}

Err search_parse(struct arena *a, Str text, Search *ret)
{
    Search s = { 0 };
    Str rest = skip_blanks(str_dup(a, text));
    if (str_starts(rest, S("{")))
        TRY(take_schema(&rest, &s));
    for (rest = skip_blanks(rest); rest.n > 0; rest = skip_blanks(rest))
        TRY(take_term(&rest, &s));
    *ret = s;
    return s.has_schema || s.term_count > 0 ? OK : malformed();
}

// ---- Matching

static bool text_matches(const SearchTerm *t, Str text)
{
    if (t->exact)
        return str_eq(t->text, text);
    for (size_t i = 0; i + t->text.n <= text.n; i++)
        if (str_eq_nocase(str_head(str_skip(text, i), t->text.n), t->text))
            return true;
    return false;
}

static bool term_matches(const SearchTerm *t, const SeriesName *n)
{
    bool any = t->property.p == NULL;
    if ((any || str_eq(t->property, S("MetricName"))) && text_matches(t, n->name))
        return true;
    if ((any || str_eq(t->property, S("Namespace"))) && text_matches(t, n->name_space))
        return true;
    for (size_t i = 0; i < n->dim_count; i++) {
        if ((any || str_eq(t->property, n->dims[i].name)) && text_matches(t, n->dims[i].value))
            return true;
        if (any && text_matches(t, n->dims[i].name))
            return true;
    }
    return false;
}

static bool schema_matches(const Search *s, const SeriesName *n)
{
    if (!s->has_schema)
        return true;
    if (!str_eq(s->name_space, n->name_space) || s->dim_count != n->dim_count)
        return false;
    for (size_t i = 0; i < s->dim_count; i++) {
        bool found = false;
        for (size_t j = 0; j < n->dim_count; j++)
            found = found || str_eq(s->dims[i], n->dims[j].name);
        if (!found)
            return false;
    }
    return true;
}

bool search_matches(const Search *s, const SeriesName *name)
{
    if (!schema_matches(s, name))
        return false;
    for (size_t i = 0; i < s->term_count; i++)
        if (!term_matches(&s->terms[i], name))
            return false;
    return true;
}

Err search_run(const Search *s, const struct series_store *store, struct kv_txn *tx,
               struct arena *a, Str account, Str region, Series *found, size_t max, size_t *ret_n)
{
    SeriesName within = { .account = account, .region = region };
    size_t n = 0;
    Err e = OK;
    if (s->has_schema)
        within.name_space = s->name_space;
    SeriesWalk w = series_walk(store, tx, a, &within, S(""));
    ArenaMark mark = arena_mark(a);
    while (n < max && series_next(&w, &e, &found[n])) {
        if (search_matches(s, &found[n].name)) {
            n++;
            mark = arena_mark(a);
        } else {
            arena_rewind(a, mark);
        }
    }
    series_walk_end(&w);
    *ret_n = n;
    return e;
}
