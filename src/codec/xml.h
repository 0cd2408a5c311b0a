// SPDX-License-Identifier: Apache-2.0
// XML 1.0 documents as a tree, read strictly and within bounds: what requests of AWS's REST-XML
// protocol are made of.
//
// One root element; elements, attributes, character data, CDATA, comments and processing
// instructions. Refused: a document type (and with it every entity but the five of XML itself),
// encodings other than UTF-8, control characters, and whatever is not well-formed. Names lose their
// prefix: AWS looks at no namespace.
#pragma once
#include "base/str.h"

enum { XML_DEPTH_MAX = 64, XML_NODES_MAX = 1 << 20 };

struct xml_attribute {
    Str name, value;
    struct xml_attribute *next;
};

struct xml_node {
    Str name; // without its prefix
    Str text; // its own character data, references resolved, line ends as '\n'; never absent
    struct xml_node *first, *next; // its elements, in their order; the element after it
    struct xml_attribute *attributes;
};

// The root. Text borrows from the input where it can. ERR_INVALID: not such a document. ERR_LIMIT:
// too deep or too many elements. ERR_MEMORY.
Err xml_parse(struct arena *a, Str input, struct xml_node **ret);

Str xml_attribute(const struct xml_node *n, Str name); // absent if there is none
