// SPDX-License-Identifier: Apache-2.0
#include "aws/probe_api.h"
#include "aws/scan_check.h"
#include "base/test.h"
#include "codec/base64.h"

static bool taken(const struct protocol *p, Str body)
{
    return scan_check(p, scan_check_shape(&probe_api, S("Batch")), body);
}

static bool takes(const char *json)
{
    return taken(&protocol_json_1_1, str_of(json));
}

TEST(the_scan_takes_what_sdks_write)
{
    static const char *const bodies[] = {
        // Separators of Python, none, and those of people; members in any order.
        "{\"Entries\": [{\"Data\": \"aGVsbG8=\", \"Name\": \"abc\"}], \"Name\": \"clicks\"}",
        "{\"Name\":\"clicks\",\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk=\"},"
        "{\"Data\":\"\",\"Hash\":\"0\",\"Name\":\"b\"}]}",
        " {\n  \"Entries\" : [\r\n\t{ \"Name\" : \"a\", \"Data\" : \"aGkh\" } ] } \n",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGkh\"}],\"Colors\":[\"RED\",\"GREEN\"],"
        "\"Names\":[\"a\"],\"Item\":{\"Id\":\"x\",\"Inner\":{\"Id\":\"y\"}},\"Mode\":\"RED\"}",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"\"}],\"Colors\":[]}",
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++)
        EXPECT(takes(bodies[i]));
}

TEST(the_scan_takes_cbor_with_lengths_known_and_unknown)
{
    EXPECT(taken(&protocol_cbor_1_1, S("\xbf\x67"
                                       "Entries\x9f\xbf\x64Name\x61"
                                       "a\x64"
                                       "Data\x42\x00\xff\xff\xff\x64Name\x61x\xff")));
    EXPECT(taken(&protocol_cbor_1_1, S("\xa2\x67"
                                       "Entries\x81\xa2\x64"
                                       "Data\x58\x02hi\x64Name\x61"
                                       "a\x64Name\x78\x01x")));
}

TEST(the_scan_leaves_the_unusual_to_the_binder)
{
#define ONE "\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk=\"}]"
    static const char *const bodies[] = {
        "",
        "{}",
        "[]",
        "null",
        "{" ONE, // cut off
        "{" ONE "}x",
        "{" ONE ",}",
        "{" ONE ",\"Name\":null}",
        "{" ONE ",\"Name\":\"a\\u0062\"}",
        "{" ONE ",\"Name\":\"toolongname\"}",
        "{" ONE ",\"Name\":\"UPPER\"}",
        "{" ONE ",\"Name\":\"\"}",
        "{" ONE ",\"Name\":\"a\",\"Name\":\"a\"}",
        "{" ONE ",\"Other\":\"a\"}",
        "{" ONE ",\"Page\":3}",
        "{" ONE ",\"Switch\":true}",
        "{" ONE ",\"Mode\":\"BLUE\"}",
        "{" ONE ",\"Colors\":[\"RED\",null]}",
        "{" ONE ",\"Colors\":\"RED\"}",
        "{" ONE ",\"Item\":{}}",
        "{" ONE ",\"Item\":[]}",
        "{" ONE "\v}",
        "{\"Entries\":[{\"Name\":\"a\"}]}",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk\"}]}",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGl=\"}]}",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aG\\u006b=\"}]}",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aG k\"}]}",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk=\",\"Hash\":\"007\"}]}",
        "{\"Entries\":[null]}",
        "{\"Entries\":[{\"Name\":\"a\",\"Data\":\"aGk=\"},]}",
        "{\"Entries\":[{\"Name\":\"\xc3\x28\",\"Data\":\"aGk=\"}]}",
        "{\"Entries\":[{\"Name\":\"a\x01\",\"Data\":\"aGk=\"}]}",
        "{\"Entries\":{\"Name\":\"a\",\"Data\":\"aGk=\"}}",
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++)
        if (takes(bodies[i]))
            test_fail(__FILE__, __LINE__, "taken: %s", bodies[i]);
    EXPECT(!taken(&protocol_json_1_1, S("{" ONE "}\0")));
    EXPECT(takes("{" ONE "}"));
#undef ONE
    static const struct {
        const char *bytes;
        size_t n;
    } cbor[] = {
        // A tag, a text in pieces, a text for a blob, a null, a length that is too long, a break.
        { "\xa1\x67"
          "Entries\xc1\x81\xa2\x64Name\x61"
          "a\x64"
          "Data\x40",
          25 },
        { "\xa1\x67"
          "Entries\x81\xa2\x64Name\x7f\x61"
          "a\xff\x64"
          "Data\x40",
          26 },
        { "\xa1\x67"
          "Entries\x81\xa2\x64Name\x61"
          "a\x64"
          "Data\x60",
          24 },
        { "\xa1\x67"
          "Entries\x81\xf6",
          11 },
        { "\xa1\x67"
          "Entries\x81\xa2\x64Name\x61"
          "a\x64"
          "Data\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
          32 },
        { "\xa1\x67"
          "Entries\xff",
          10 },
    };
    for (size_t i = 0; i < COUNT_OF(cbor); i++)
        EXPECT(!taken(&protocol_cbor_1_1, str_from(cbor[i].bytes, cbor[i].n)));
}

TEST(lists_are_taken_up_to_their_maximum_and_blobs_up_to_theirs)
{
    for (size_t n = 0; n <= 6; n++) {
        AUTO_BUF(b);
        buf_add(&b, S("{\"Entries\":["));
        for (size_t i = 0; i < n; i++) {
            buf_add(&b, i > 0 ? S(",") : S(""));
            buf_add(&b, S("{\"Name\":\"a\",\"Data\":\""));
            size_t bytes = i == 0 ? 4096 : 1000 + i;
            buf_add_base64(&b, str_from(arena_alloc(a, bytes, 1), bytes));
            buf_add(&b, S("\"}"));
        }
        buf_add(&b, S("]}"));
        EXPECT_INT(n >= 1 && n <= 5, taken(&protocol_json_1_1, buf_str(&b)));
    }
    AUTO_BUF(b);
    buf_add(&b, S("{\"Entries\":[{\"Name\":\"a\",\"Data\":\""));
    buf_add_base64(&b, str_from(arena_alloc(a, 4097, 1), 4097));
    buf_add(&b, S("\"}]}"));
    EXPECT(!taken(&protocol_json_1_1, buf_str(&b)));
}

TEST(structs_in_structs_are_taken_to_a_depth_and_then_left)
{
    for (size_t depth = 1; depth < 20; depth++) {
        AUTO_BUF(b);
        buf_add(&b, S("{\"Entries\":[{\"Name\":\"a\",\"Data\":\"\"}],\"Item\":"));
        for (size_t i = 0; i < depth; i++)
            buf_add(&b, i + 1 < depth ? S("{\"Id\":\"x\",\"Inner\":") : S("{\"Id\":\"x\""));
        for (size_t i = 0; i <= depth; i++)
            buf_add_byte(&b, '}');
        EXPECT_INT(depth < 8, taken(&protocol_json_1_1, buf_str(&b)));
    }
}

TEST(a_changed_body_is_never_taken_for_what_it_is_not)
{
    const struct shape *shape = scan_check_shape(&probe_api, S("Batch"));
    scan_check_changed(
        &protocol_json_1_1, shape,
        S("{\"Entries\": [{\"Data\": \"aGVsbG8sIHdvcmxkLCB0aGlzIGlzIGxvbmdlciB0aGFuIGEgdmVjdG9y\", "
          "\"Name\": \"abc\", \"Hash\": \"17\"}, {\"Name\":\"b\",\"Data\":\"\"}], "
          "\"Name\": \"clicks\"}"));
    scan_check_changed(&protocol_cbor_1_1, shape,
                       S("\xa2\x67"
                         "Entries\x82\xa2\x64"
                         "Data\x58\x02hi\x64Name\x61"
                         "a\xa3\x64Name\x61"
                         "b\x64"
                         "Data\x41x\x64Hash\x62"
                         "17\x64Name\x78\x01x"));
}
