// SPDX-License-Identifier: Apache-2.0
// A condition on a record, as SQL writes it:
//
//     condition   any [ or any ]...          any    all [ and all ]...      all  [ not ] test
//     test        ( condition )  |  value  |  value OP value  |  value is [ not ] null
//                 value [ not ] in ( value, ... )  |  value [ not ] like 'text'
//                 value [ not ] between value and value
//     OP          =  ==  !=  <>  <  <=  >  >=
//     value       field  user.id  items[0].sku  `odd name`  @key  @shard  @size  @arrival  @data
//                 'text'  "text"  12  -1.5  true  false
//
// Fields are those of data that is a JSON object. @size is the bytes of the data, @data the data
// itself, @shard a number or 'shardId-...', @arrival is compared with a time such as
// '2026-01-31T12:00:00Z'. Inside of quotes the quote is written twice. In patterns of `like` a %
// stands for anything, a _ for one character, and a backslash takes what follows as it is. Words
// are known in capitals, too.
//
// What a record does not have is equal to nothing, less than nothing and greater than nothing: such
// a test is not met, and `not` turns that round. Numbers are compared as numbers and texts byte by
// byte; a number and a text are different. A value alone is met if it is true.
#pragma once
#include "base/str.h"

enum { WHERE_BYTES_MAX = 4096, WHERE_DEPTH_MAX = 64 };

struct where;

typedef struct WhereRecord {
    Str key, data;
    uint32_t shard; // its index
    int64_t arrival_ns;
} WhereRecord;

// Why a text is no condition, and where in it.
typedef struct WhereFault {
    size_t at;
    Str reason;
} WhereFault;

// ERR_INVALID, ERR_LIMIT: the fault is set. The condition lives in the arena and borrows the text.
Err where_parse(struct arena *a, Str text, struct where **ret, WhereFault *ret_fault);

bool where_matches(const struct where *w, struct arena *tmp, const WhereRecord *r);
