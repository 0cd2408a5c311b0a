// SPDX-License-Identifier: Apache-2.0
// Replies in XML, whose elements are named by members and shapes: for Query and REST-XML.
#pragma once
#include "aws/shape.h"

void xml_open_element(struct buf *b, Str name);
void xml_close_element(struct buf *b, Str name);
void xml_add_text(struct buf *b, Str text); // with its special characters escaped
void xml_add_element(struct buf *b, Str name, Str text);
void xml_add_time(struct buf *b, int64_t ns, bool with_ms); // ISO 8601; ms: even if there are none
// The members of a struct that are elements.
void xml_write_members(struct buf *b, const struct shape *shape, const void *base);
