// SPDX-License-Identifier: Apache-2.0
// What is a schema, and which one reads what another has written.
#include "base/test.h"
#include "svc/glue/avro.h"

static Str avro_problem(struct arena *a, const char *definition)
{
    const struct avro *t;
    Str text = S("");
    Err e = avro_read(a, str_of(definition), &t, &text);
    return e.kind == ERR_NONE ? S("") : text;
}

TEST(avro_schemas_are_read_or_refused_with_what_is_wrong)
{
    const struct {
        const char *definition, *problem;
    } cases[] = {
        { "\"int\"", "" },
        { "{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", "" },
        { "[\"null\",\"string\"]", "" },
        { "{\"type\":\"record\",\"name\":\"a.R\",\"fields\":[{\"name\":\"next\",\"type\":[\"null\","
          "\"R\"]}]}",
          "" },
        { "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", "" },
        { "{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}", "" },
        { "{\"type\":\"map\",\"values\":{\"type\":\"array\",\"items\":\"bytes\"}}", "" },
        { "nonsense", "The schema definition is not valid JSON." },
        { "7", "A schema must be a name, an object or a list." },
        { "{}", "No type." },
        { "\"strang\"", "Undefined name: strang" },
        { "{\"type\":\"record\",\"name\":\"R\"}", "Record has no fields." },
        { "{\"type\":\"record\",\"name\":\"1R\",\"fields\":[]}", "Illegal or missing name: 1R" },
        { "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},"
          "{\"name\":\"a\",\"type\":\"int\"}]}",
          "Duplicate field a in record R" },
        { "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\"}]}",
          "No type of field a" },
        { "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"A\"]}",
          "Duplicate enum symbol: A" },
        { "{\"type\":\"fixed\",\"name\":\"F\"}", "Invalid or no size." },
        { "{\"type\":\"array\"}", "Array has no items type." },
        { "[\"int\",\"int\"]", "A union may hold each type once." },
        { "[\"int\",[\"null\"]]", "A union may not hold another union." },
        { "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":{\"type\":"
          "\"fixed\",\"name\":\"R\",\"size\":1}}]}",
          "Can't redefine: R" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        EXPECT_STR(str_of(cases[i].problem), avro_problem(a, cases[i].definition));
}

static bool avro_pair(struct arena *a, const char *reader, const char *writer)
{
    const struct avro *r = NULL, *w = NULL;
    Str text;
    EXPECT_OK(avro_read(a, str_of(reader), &r, &text));
    EXPECT_OK(avro_read(a, str_of(writer), &w, &text));
    return avro_reads(r, w);
}

#define RECORD(fields) "{\"type\":\"record\",\"name\":\"R\",\"fields\":[" fields "]}"
#define FIELD(name, type) "{\"name\":\"" name "\",\"type\":" type "}"
#define LIST RECORD(FIELD("v", "\"int\"") "," FIELD("next", "[\"null\",\"R\"]"))

TEST(avro_resolution_is_that_of_the_specification)
{
    const struct {
        const char *reader, *writer;
        bool reads;
    } cases[] = {
        { "\"int\"", "\"int\"", true },
        { "\"long\"", "\"int\"", true },
        { "\"int\"", "\"long\"", false },
        { "\"double\"", "\"float\"", true },
        { "\"float\"", "\"double\"", false },
        { "\"string\"", "\"bytes\"", true },
        { "\"boolean\"", "\"int\"", false },
        { "[\"null\",\"int\"]", "\"int\"", true },
        { "\"int\"", "[\"null\",\"int\"]", false },
        { "[\"null\",\"long\"]", "[\"null\",\"int\"]", true },
        { RECORD(FIELD("a", "\"int\"")), RECORD(FIELD("a", "\"int\"") "," FIELD("b", "\"int\"")),
          true },
        { RECORD(FIELD("a", "\"int\"") "," FIELD("b", "\"int\"")), RECORD(FIELD("a", "\"int\"")),
          false },
        { RECORD(FIELD("a", "\"int\"") ",{\"name\":\"b\",\"type\":\"int\",\"default\":0}"),
          RECORD(FIELD("a", "\"int\"")), true },
        { RECORD("{\"name\":\"b\",\"type\":\"int\",\"aliases\":[\"a\"]}"),
          RECORD(FIELD("a", "\"int\"")), true },
        { "{\"type\":\"record\",\"name\":\"S\",\"fields\":[]}", RECORD(""), false },
        { "{\"type\":\"record\",\"name\":\"x.S\",\"aliases\":[\"R\"],\"fields\":[]}", RECORD(""),
          true },
        { LIST, LIST, true },
        { "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}",
          "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", false },
        { "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"],\"default\":\"A\"}",
          "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", true },
        { "{\"type\":\"fixed\",\"name\":\"F\",\"size\":4}",
          "{\"type\":\"fixed\",\"name\":\"F\",\"size\":5}", false },
        { "{\"type\":\"array\",\"items\":\"long\"}", "{\"type\":\"array\",\"items\":\"int\"}",
          true },
        { "{\"type\":\"map\",\"values\":\"int\"}", "{\"type\":\"array\",\"items\":\"int\"}",
          false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (avro_pair(a, cases[i].reader, cases[i].writer) != cases[i].reads)
            test_fail(__FILE__, __LINE__, "%s reading %s", cases[i].reader, cases[i].writer);
}

// Records of which each has the one before: deep, though the document is flat.
static Str chain(struct arena *a, size_t n)
{
    AUTO_BUF(b);
    buf_add(&b, S("[{\"type\":\"record\",\"name\":\"R0\",\"fields\":[]}"));
    for (size_t i = 1; i < n; i++)
        buf_addf(&b,
                 ",{\"type\":\"record\",\"name\":\"R%zu\",\"fields\":[{\"name\":\"f\",\"type\":"
                 "\"R%zu\"}]}",
                 i, i - 1);
    buf_add(&b, S("]"));
    return str_dup(a, buf_str(&b));
}

TEST(a_question_that_leads_too_deep_is_answered_no)
{
    const struct avro *t = NULL;
    Str text;
    EXPECT_OK(avro_read(a, chain(a, 100), &t, &text));
    EXPECT(avro_reads(t, t));
    EXPECT_OK(avro_read(a, chain(a, 2500), &t, &text)); // as long as a definition may be
    EXPECT(!avro_reads(t, t));
}

static Str json_problem(struct arena *a, const char *definition)
{
    const JsonValue *v;
    Str text = S("");
    Err e = json_schema_read(a, str_of(definition), &v, &text);
    return e.kind == ERR_NONE ? S("") : text;
}

TEST(json_schemas_are_compared_by_their_types_enums_and_properties)
{
    const struct {
        const char *reader, *writer;
        bool reads;
    } cases[] = {
        { "true", "{\"type\":\"string\"}", true },
        { "{\"type\":\"string\"}", "true", false },
        { "{\"type\":\"number\"}", "{\"type\":\"integer\"}", true },
        { "{\"type\":\"integer\"}", "{\"type\":\"number\"}", false },
        { "{\"type\":[\"null\",\"string\"]}", "{\"type\":\"string\"}", true },
        { "{\"enum\":[1,\"a\"]}", "{\"enum\":[\"a\"]}", true },
        { "{\"enum\":[1]}", "{\"enum\":[1,2]}", false },
        { "{\"required\":[\"a\"]}", "{}", false },
        { "{}", "{\"required\":[\"a\"]}", true },
        { "{\"properties\":{\"a\":{\"type\":\"string\"}}}",
          "{\"properties\":{\"a\":{\"type\":\"integer\"}}}", false },
        { "{\"additionalProperties\":false,\"properties\":{\"a\":true}}",
          "{\"additionalProperties\":false,\"properties\":{\"a\":true,\"b\":true}}", false },
        { "{\"additionalProperties\":false}", "{}", false },
        { "{\"items\":{\"type\":\"number\"}}", "{\"items\":{\"type\":\"string\"}}", false },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const JsonValue *r = NULL, *w = NULL;
        Str text;
        EXPECT_OK(json_schema_read(a, str_of(cases[i].reader), &r, &text));
        EXPECT_OK(json_schema_read(a, str_of(cases[i].writer), &w, &text));
        if (json_schema_reads(r, w) != cases[i].reads)
            test_fail(__FILE__, __LINE__, "%s reading %s", cases[i].reader, cases[i].writer);
    }
    EXPECT_STR(S("The value of type is not valid."), json_problem(a, "{\"type\":\"strang\"}"));
    EXPECT_STR(S("A schema must be an object or a boolean."), json_problem(a, "[]"));
    EXPECT_STR(S("properties and definitions must be objects."),
               json_problem(a, "{\"properties\":[]}"));
    EXPECT_STR(S("The schema definition is not valid JSON."), json_problem(a, "{"));
}

TEST(definitions_that_differ_in_white_space_are_the_same)
{
    Str x, y, z;
    EXPECT_OK(schema_canonical(a, S("{ \"type\" : [ 1.50, true, null, \"a\" ] }"), &x));
    EXPECT_OK(schema_canonical(a, S("{\"type\":[1.50,true,null,\"a\"]}"), &y));
    EXPECT_OK(schema_canonical(a, S("{\"type\":[1.5,true,null,\"a\"]}"), &z));
    EXPECT_STR(x, y);
    EXPECT(!str_eq(x, z));
}
