// SPDX-License-Identifier: Apache-2.0
// SEARCH of metric math: which metrics a text means.
//
//     search  =  [ {namespace, dimension, ...} ] term...
//     term    =  [ name = ] ( word | "exact words" )
//
// A schema takes the metrics of a namespace with exactly these dimensions. Every term must match:
// of a property (MetricName, Namespace or a dimension), or without a name any of a metric's texts;
// a word matches a part of a text in any case, quotes a whole one. OR, NOT and brackets are not
// understood. Source: CloudWatch user guide, "search expression syntax".
#pragma once
#include "svc/cloudwatch/series.h"

enum { SEARCH_TERMS_MAX = 30 };

typedef struct SearchTerm {
    Str property; // absent: any
    Str text;
    bool exact;
} SearchTerm;

typedef struct Search {
    Str name_space; // absent: any
    Str dims[SERIES_DIMENSIONS_MAX];
    size_t dim_count;
    bool has_schema;
    SearchTerm terms[SEARCH_TERMS_MAX];
    size_t term_count;
} Search;

Err search_parse(struct arena *a, Str text, Search *ret); // ERR_INVALID
bool search_matches(const Search *s, const SeriesName *name);

// The first `max` metrics that it means.
Err search_run(const Search *s, const struct series_store *store, struct kv_txn *tx,
               struct arena *a, Str account, Str region, Series *found, size_t max, size_t *ret_n);
