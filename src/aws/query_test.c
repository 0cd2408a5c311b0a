// SPDX-License-Identifier: Apache-2.0
#include "aws/query.h"
#include "aws/bind.h"
#include "aws/probe_api.h"
#include "base/test.h"

#include <math.h>
#include <string.h>

typedef struct probe_Put_in In;

static const struct api_op *op_of(Str name)
{
    for (size_t i = 0; i < probe_api.op_count; i++)
        if (str_eq(probe_api.ops[i].name, name))
            return &probe_api.ops[i];
    CHECK(false);
    return NULL;
}

static Err decode(struct arena *a, const char *op, Str form, void *into, Str *ret_fault)
{
    struct protocol_reader r;
    protocol_query.reader_init(&r, a, form);
    return bind_decode(&r, op_of(str_of(op))->input, a, into, ret_fault);
}

static In decoded(struct arena *a, Str form)
{
    In in = { 0 };
    Str fault = { 0 };
    EXPECT_OK(decode(a, "Put", form, &in, &fault));
    EXPECT(fault.p == NULL);
    return in;
}

static void expect_fault(struct arena *a, Str want, Str form)
{
    In in = { 0 };
    Str fault = { 0 };
    EXPECT_OK(decode(a, "Put", form, &in, &fault));
    EXPECT_STR(want, fault);
}

// ---- Reading

TEST(every_kind_is_read_by_its_shape)
{
    In in = decoded(a, S("Action=Put&Version=2025-01-01&Name=abc&Free=a%26b+c%2Bd&Data=aGk%3D&"
                         "Color=RED&Small=7&Large=9007199254740993&Ratio=0.25&"
                         "Moment=2024-08-20T10%3A53%3A54.567Z&Switch=false&"
                         "Pair.Left=-1&Pair.Right=true&Pair.At=1970-01-01T00:00:01Z&Pair.Half=2&"
                         "Pair.Far=3"));
    EXPECT_STR(S("abc"), in.name);
    EXPECT_STR(S("a&b c+d"), in.free);
    EXPECT_STR(S("hi"), in.data);
    EXPECT_STR(probe_Color_RED, in.color);
    EXPECT(in.has_small && in.small == 7);
    EXPECT(in.has_large && in.large == 9007199254740993);
    EXPECT(in.has_ratio && in.ratio == 0.25);
    EXPECT_INT(1724151234567000000, in.moment);
    EXPECT(in.has_switch_ && !in.switch_);
    EXPECT(in.pair != NULL && in.pair->left == -1 && in.pair->right && in.pair->half == 2.0);
    EXPECT_INT(1000000000, in.pair->at);
    EXPECT(in.page == 20); // defaults are filled in
}

TEST(elements_come_in_the_order_of_their_numbers)
{
    AUTO_BUF(form);
    for (int i = 12; i > 0; i--)
        buf_addf(&form, "%sMany.member.%d.Id=%c", i < 12 ? "&" : "", i, 'a' + i);
    In in = decoded(a, buf_str(&form));
    EXPECT_INT(12, in.many.n);
    for (size_t i = 0; i < 12; i++)
        EXPECT_INT('b' + (int)i, in.many.at[i].id.p[0]);
}

TEST(lists_of_lists_and_of_structs_nest)
{
    In in = decoded(a, S("Grid.member.2.member.1=y&Grid.member.1.member.1=x&"
                         "Grid.member.2.member.2=z&Items.member.1.Inner.Inner.Id=r&"
                         "Items.member.1.Id=q"));
    EXPECT_INT(2, in.grid.n);
    EXPECT_STR(S("x"), in.grid.at[0].at[0]);
    EXPECT_STR(S("z"), in.grid.at[1].at[1]);
    EXPECT_STR(S("r"), in.items.at[0].inner->inner->id);
}

TEST(lists_are_read_flat_and_whatever_stands_around_their_elements)
{
    const Str forms[] = { S("Names.member.1=a&Names.member.2=b"), S("Names.1=a&Names.2=b"),
                          S("Names.Name.1=a&Names.Name.2=b") };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        In in = decoded(a, forms[i]);
        EXPECT_INT(2, in.names.n);
        EXPECT_STR(S("b"), in.names.at[1]);
    }
}

TEST(names_of_their_own_are_read_too)
{
    struct probe_Echo_in in = { 0 };
    Str fault = { 0 };
    EXPECT_OK(decode(a, "Echo",
                     S("Word.1=a&Word.2=b&Marks.entry.1.Name=k&Marks.entry.1.Mark=v&"
                       "Marks.entry.2.key=l&Marks.entry.2.value=w&Each.Word.1=e"),
                     &in, &fault));
    EXPECT(fault.p == NULL && in.called.n == 2 && in.each.n == 1);
    EXPECT_STR(S("b"), in.called.at[1]);
    EXPECT_STR(S("v"), in.marks.at[0].value);
    EXPECT_STR(S("w"), in.marks.at[1].value);
    EXPECT_STR(S("e"), in.each.at[0]);
}

TEST(maps_are_read_by_entry_and_flat)
{
    const Str forms[] = {
        S("Tags.entry.1.key=k&Tags.entry.1.value=v&Tags.entry.2.value=w&Tags.entry.2.key=l"),
        S("Tags.1.key=k&Tags.1.value=v&Tags.2.key=l&Tags.2.value=w"),
    };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        In in = decoded(a, forms[i]);
        EXPECT_INT(2, in.tags.n);
        EXPECT_STR(S("k"), in.tags.at[0].key);
        EXPECT_STR(S("v"), in.tags.at[0].value);
        EXPECT_STR(S("w"), in.tags.at[1].value);
    }
    In in = decoded(a, S("Boxes.entry.1.key=b&Boxes.entry.1.value.Id=q"));
    EXPECT_STR(S("q"), in.boxes.at[0].value.id);
}

TEST(an_empty_value_is_an_empty_list_map_or_struct)
{
    In in = decoded(a, S("Names=&Tags=&Item=&Free="));
    EXPECT(in.names.set && in.names.n == 0);
    EXPECT(in.tags.set && in.tags.n == 0);
    EXPECT(in.item != NULL);
    EXPECT(in.free.p != NULL && in.free.n == 0);
}

TEST(of_a_name_twice_the_last_value_counts)
{
    EXPECT_STR(S("b"), decoded(a, S("Name=a&Name=b")).name);
}

TEST(what_is_unknown_or_names_nothing_is_skipped)
{
    In in = decoded(a, S("Nope.member.1.x.y=1&Name=abc&=5&.x=3&..=4&Nope=7&&Other"));
    EXPECT_STR(S("abc"), in.name);
}

TEST(values_of_another_type_are_told)
{
    expect_fault(a, S("class java.lang.String can not be converted to an Integer"), S("Small=x"));
    expect_fault(a, S("class java.lang.String can not be converted to an Integer"), S("Small="));
    expect_fault(a, S("class java.lang.String can not be converted to an Boolean"), S("Switch=1"));
    expect_fault(a, S("class java.lang.String can not be converted to milliseconds since epoch"),
                 S("Moment=yesterday"));
    expect_fault(a, S("Expected list or null"), S("Names=a"));
    expect_fault(a, S("Expected map or null"), S("Tags=a"));
    expect_fault(a, S("Expected null"), S("Item=a"));
    expect_fault(a, S("Start of structure or map found where not expected."), S("Name.x=1"));
    expect_fault(a, S("Start of structure or map found where not expected."),
                 S("Names.a=1&Names.b=2"));
}

TEST(a_number_that_is_large_or_has_a_fraction_is_cut_as_in_the_other_protocols)
{
    EXPECT_INT(7, decoded(a, S("Small=7.9")).small);
    EXPECT_INT(INT32_MAX, decoded(a, S("Small=99999999999")).small);
    EXPECT(isnan(decoded(a, S("Ratio=NaN")).ratio));
}

TEST(malformed_forms_are_refused)
{
    static const char *const bad[] = { "Name=%", "Name=%4", "Name=%zz", "%C3=1", "Name=%C3" };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        In in = { 0 };
        Str fault = { 0 };
        EXPECT_ERR(ERR_INVALID, decode(a, "Put", str_of(bad[i]), &in, &fault));
    }
}

TEST(forms_have_limits_of_depth_and_of_names)
{
    AUTO_BUF(form);
    In in = { 0 };
    Str fault = { 0 };
    buf_add(&form, S("Item"));
    for (int i = 0; i < EVENT_DEPTH_MAX + 2; i++)
        buf_add(&form, S(".Inner"));
    buf_add(&form, S(".Id=a"));
    EXPECT_ERR(ERR_LIMIT, decode(a, "Put", buf_str(&form), &in, &fault));

    buf_clear(&form);
    for (int i = 0; i < QUERY_PAIRS_MAX + 1; i++)
        buf_add(&form, S("a=1&"));
    EXPECT_ERR(ERR_LIMIT, decode(a, "Put", buf_str(&form), &in, &fault));
}

TEST(a_field_is_found_without_reading_the_form)
{
    EXPECT_STR(S("Put It"), query_field(a, S("A=1&Action=Put+It&Action=x"), S("Action")));
    EXPECT(query_field(a, S("A=1"), S("Action")).p == NULL);
    EXPECT(query_field(a, S("Action=%"), S("Action")).p == NULL);
    EXPECT(query_field(a, S(""), S("Action")).p == NULL);
}

// ---- Writing

#define ECHO_BEGIN "<EchoResponse xmlns=\"http://probe.example/doc/2025-01-01/\"><EchoResult>"
#define ECHO_END \
    "</EchoResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></EchoResponse>"

static void expect_reply(struct arena *a, const char *want, const char *op, const void *out)
{
    AUTO_BUF(b);
    ReplyFrame f = { .api = &probe_api, .op = op_of(str_of(op)), .request_id = S("r") };
    query_write_reply(&f, out, &b);
    EXPECT_STR(str_of(want), str_dup(a, buf_str(&b)));
}

TEST(lists_and_maps_are_named_as_the_api_file_says)
{
    Str words[] = { S("a"), S("b") };
    probe_Marks_entry marks[] = { { S("k"), S("v") } };
    probe_FlatMarks_entry flat[] = { { S("x"), S("1") }, { S("y"), S("2") } };
    struct probe_Echo_out out = { .flat = { words, 2, true },
                                  .called = { words, 2, true },
                                  .each = { words, 2, true },
                                  .marks = { marks, 1, true },
                                  .flat_marks = { flat, 2, true } };
    expect_reply(a,
                 ECHO_BEGIN "<Flat>a</Flat><Flat>b</Flat><Word>a</Word><Word>b</Word>"
                            "<Each><Word>a</Word><Word>b</Word></Each>"
                            "<Marks><entry><Name>k</Name><Mark>v</Mark></entry></Marks>"
                            "<FlatMarks><key>x</key><value>1</value></FlatMarks>"
                            "<FlatMarks><key>y</key><value>2</value></FlatMarks>" ECHO_END,
                 "Echo", &out);
}

TEST(times_are_written_with_milliseconds_where_they_have_some)
{
    struct probe_Echo_out out = { .has_moment = true, .moment = 1724151234000000000 };
    expect_reply(a, ECHO_BEGIN "<Moment>2024-08-20T10:53:54Z</Moment>" ECHO_END, "Echo", &out);
    out.moment += 67000000;
    expect_reply(a, ECHO_BEGIN "<Moment>2024-08-20T10:53:54.067Z</Moment>" ECHO_END, "Echo", &out);
}

TEST(values_of_every_kind_are_written)
{
    probe_Item inner = { .id = S("i"), .has_count = true, .count = 3, .data = S("hi") };
    Str names[] = { S("a"), S("b") };
    struct probe_Put_out out = { .name = S("<a & \"b\">\r\n\x01"),
                                 .has_ratio = true,
                                 .ratio = 0.1,
                                 .has_switch_ = true,
                                 .switch_ = true,
                                 .has_large = true,
                                 .large = -5,
                                 .names = { names, 2, true },
                                 .item = &inner };
    AUTO_BUF(b);
    ReplyFrame f = { .api = &probe_api, .op = op_of(S("Put")), .request_id = S("r") };
    query_write_reply(&f, &out, &b);
    Str got = buf_str(&b);
    EXPECT(str_search(got, S("<Name>&lt;a &amp; &quot;b&quot;&gt;&#xD;\n?</Name>")) < got.n);
    EXPECT(str_search(got, S("<Large>-5</Large><Ratio>0.1</Ratio><Switch>true</Switch>"
                             "<Names><member>a</member><member>b</member></Names>"
                             "<Item><Id>i</Id><Count>3</Count><Data>aGk=</Data></Item>"
                             "<Must>0</Must><Found></Found>")) < got.n);
    out.ratio = 3;
    buf_clear(&b);
    query_write_reply(&f, &out, &b);
    EXPECT(str_search(buf_str(&b), S("<Ratio>3.0</Ratio>")) < b.n);
    out.ratio = (double)INFINITY;
    buf_clear(&b);
    query_write_reply(&f, &out, &b);
    EXPECT(str_search(buf_str(&b), S("<Ratio>Infinity</Ratio>")) < b.n);
}

TEST(an_operation_without_output_has_a_frame_all_the_same)
{
    expect_reply(a,
                 "<DropResponse xmlns=\"http://probe.example/doc/2025-01-01/\"><ResponseMetadata>"
                 "<RequestId>r</RequestId></ResponseMetadata></DropResponse>",
                 "Drop", NULL);
}

TEST(an_error_says_whose_fault_it_is)
{
    AUTO_BUF(b);
    query_write_error(&(ErrorReply){ .code = S("C"), .message = S("a<b"), .request_id = S("r") },
                      &b);
    EXPECT_STR(S("<ErrorResponse><Error><Type>Sender</Type><Code>C</Code><Message>a&lt;b</Message>"
                 "</Error><RequestId>r</RequestId></ErrorResponse>"),
               buf_str(&b));
    buf_clear(&b);
    query_write_error(
        &(ErrorReply){
            .code = S("C"), .ours = true, .request_id = S("r"), .xml_namespace = S("http://n/") },
        &b);
    EXPECT_STR(S("<ErrorResponse xmlns=\"http://n/\"><Error><Type>Receiver</Type><Code>C</Code>"
                 "</Error><RequestId>r</RequestId></ErrorResponse>"),
               buf_str(&b));
}
