// SPDX-License-Identifier: Apache-2.0
// Shapes as data: what tools/apigen.py makes of a service's .api file, and what the binder walks to
// fill a C struct from a request and to write a reply from one, whatever the protocol.
//
//     .api type     C member (absent means)                          notes
//     string        Str x (x.p == NULL)                              length in code points
//     blob          Str x (x.p == NULL)                              length in bytes
//     blob base64   Blob x (x.p == NULL)                             perhaps not decoded yet
//     enum          Str x (x.p == NULL) and X_VALUE constants        checked against the list
//     bool          bool x; bool has_x
//     int, long     int32_t / int64_t x; bool has_x
//     float,double  double x; bool has_x
//     time          int64_t x (nanoseconds since 1970); bool has_x
//     list          struct { T *at; size_t n; bool set; } x          set: present, maybe empty
//     map           struct { Entry *at; size_t n; bool set; } x      Entry { Str key; T value; }
//     struct        const struct service_Name *x (NULL)
//
// Required members (`!`) and members with a default have no has_ flag: input is complete when the
// operation sees it, and output writes them always; their numbers have a given_ flag that is the
// binder's own, to tell "absent" from zero. Member names are the wire names in snake_case.
#pragma once
#include "codec/base64.h"

typedef enum ShapeKind {
    SHAPE_STRING,
    SHAPE_BLOB,
    SHAPE_ENUM,
    SHAPE_BOOL,
    SHAPE_INT,
    SHAPE_LONG,
    SHAPE_DOUBLE,
    SHAPE_TIME,
    SHAPE_LIST,
    SHAPE_MAP,
    SHAPE_STRUCT,
} ShapeKind;

// Where a pattern's compiled form is kept: filled by api_prepare() before the first call.
struct pattern;
struct pattern_slot {
    struct pattern *program;
};

struct shape {
    Str name;
    ShapeKind kind;
    bool has_min, has_max;
    int64_t min, max;                  // length, or value of numbers
    Str pattern;                       // as the model spells it, for error texts; absent: none
    struct pattern_slot *pattern_slot; // NULL without a pattern
    const Str *values;                 // of an enum, in the order AWS prints them
    size_t value_count;
    bool flat;                           // list or map: in XML without an element around its own
    bool iso;                            // time: ISO 8601 in headers too, where others are HTTP's
    bool base64;                         // blob: a Blob, of input only
    Str each_name, key_name, value_name; // of XML elements; absent: as is usual
    const struct shape *key;             // of a map
    const struct shape *member;          // of a list, or a map's values
    size_t element_bytes;                // of a list's or map's C element
    size_t value_offset;                 // of the value in a map's entry
    const struct member *members;
    size_t member_count;
    size_t struct_bytes;
};

// Where a member of a REST request or reply is.
typedef enum MemberPlace {
    PLACE_DOCUMENT,  // an element of the body
    PLACE_PATH,      // a label of the path
    PLACE_QUERY,     // a parameter
    PLACE_HEADER,    // one header; of a list, its elements between commas
    PLACE_HEADERS,   // a map: all headers that begin with a prefix
    PLACE_PAYLOAD,   // the body: as it is of a text or blob, else the root element
    PLACE_ATTRIBUTE, // of the element around it
} MemberPlace;

struct member {
    Str name; // on the wire
    const struct shape *shape;
    size_t offset;
    size_t has_offset; // of the has_ or given_ flag; SIZE_MAX: none
    bool required;
    bool has_default;
    int64_t default_number; // of numbers and booleans
    Str default_text;       // of strings and enums
    unsigned check_order;   // validation errors are listed in this order
    MemberPlace place;      // of REST
    Str called;             // its name there; absent: `name`
};

struct api_error {
    Str name;
    unsigned status;
    Str code; // its name in the Query protocol; absent: the same, or as aws/query.h has it
};

struct call;
struct api_op {
    Str name;
    const struct shape *input;  // never NULL; may have no members
    const struct shape *output; // NULL: the reply has an empty body
    const struct shape *events; // its reply is a stream of these, one member each; NULL: it is not
    size_t body_bytes_max;
    bool blocking; // runs on the worker pool
    bool scan;     // its requests are many: the protocol's short way is tried first
    bool gzip;     // its requests may come compressed
    bool streams;  // its payload is of any size and taken in pieces (call_take_body)
    Err (*run)(struct call *c, const void *in, void *out);
    const struct api_error *const *errors;
    size_t error_count;
    // Of REST: "GET", "/{Bucket}/{Key+}" and what the query must hold, "tagging" or "list-type=2".
    Str method, path, query;
    unsigned status; // of a reply that is none of an error
    Str root;        // the element that a reply is; absent: Result behind the operation's name
};

// What a service speaks. CBOR by content type (application/x-amz-cbor-1.1) comes with JSON.
typedef enum ApiProtocol {
    API_JSON_1_0 = 1,
    API_JSON_1_1 = 2,
    API_QUERY = 4,
    API_RPC_CBOR = 8,
    API_REST_XML = 16,
} ApiProtocol;

struct api_service {
    Str name;                 // "kinesis"
    Str target;               // "Kinesis_20131202"; absent: it speaks Query alone
    Str signing;              // name in the credential scope
    unsigned protocols;       // some of ApiProtocol
    Str version;              // of Query: "2010-05-08"
    Str xml_namespace;        // of replies in XML
    const struct api_op *ops; // sorted by name
    size_t op_count;
    const struct shape *const *patterned; // the shapes that have a pattern
    size_t patterned_count;
    const Str *unserved; // names of queries that stand for operations that there are not (REST)
    size_t unserved_count;
    bool capital_message; // its own errors carry their text as `Message`, not `message` (JSON)
};
