// SPDX-License-Identifier: Apache-2.0
// The tags of one resource: few, so a sorted row of pairs.
#pragma once
#include "base/str.h"

typedef struct TagPair {
    Str key, value; // owned by the set
} TagPair;

typedef struct TagSet {
    TagPair *at; // sorted by key
    size_t n;
} TagSet;

void tag_set_put(TagSet *t, Str key, Str value);   // adds or replaces; the caller checks the limits
void tag_set_drop(TagSet *t, Str key);             // fine if it is not there
Str tag_set_find(const TagSet *t, Str key);        // absent if it is not there
void tag_set_copy(TagSet *to, const TagSet *from); // `to` is empty
void tag_set_done(TagSet *t);                      // empty again
