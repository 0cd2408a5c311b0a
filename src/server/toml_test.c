// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "server/toml.h"

static TomlDoc parsed(struct arena *a, Str text)
{
    TomlDoc doc = { 0 };
    TomlFault fault = { 0 };
    EXPECT_OK(toml_parse(a, text, &doc, &fault));
    return doc;
}

TEST(every_kind_of_value_is_read_with_its_table_and_line)
{
    TomlDoc d = parsed(a, S("# first\n"
                            "data_dir = \"/srv/\\u00e4\\t\" # end\n"
                            "listen = [ 'a', \"b\", # c\n  'd',\n]\n"
                            "\n"
                            "[journal]\r\n"
                            "file_size = 1_000\r\n"
                            "  [ log . \"x\" ]\n"
                            "a.b = -2.5e1\n"
                            "on = true"));
    EXPECT_INT(5, d.n);
    EXPECT_STR(S("data_dir"), d.at[0].key);
    EXPECT_STR(S("/srv/\xc3\xa4\t"), d.at[0].text);
    EXPECT_INT(2, d.at[0].line);
    EXPECT_INT(TOML_LIST, d.at[1].kind);
    EXPECT_INT(3, d.at[1].item_count);
    EXPECT_STR(S("d"), d.at[1].items[2]);
    EXPECT_STR(S("journal.file_size"), d.at[2].key);
    EXPECT_INT(1000, d.at[2].integer);
    EXPECT_INT(8, d.at[2].line);
    EXPECT_STR(S("log.x.a.b"), d.at[3].key);
    EXPECT(d.at[3].kind == TOML_REAL && d.at[3].real == -25.0);
    EXPECT(d.at[4].kind == TOML_BOOL && d.at[4].integer == 1);
}

TEST(a_literal_string_keeps_its_backslashes)
{
    TomlDoc d = parsed(a, S("x = 'a\\n\"b'\n"));
    EXPECT_STR(S("a\\n\"b"), d.at[0].text);
}

struct refused {
    Str text;
    unsigned line;
    Str reason; // its beginning
};

TEST(what_is_wrong_is_refused_with_its_line_and_reason)
{
    static const struct refused cases[] = {
        { S_INIT("a = 1\na = 2\n"), 2, S_INIT("key 'a' is given twice") },
        { S_INIT("[t]\n[u]\n[t]\n"), 3, S_INIT("table [t] is given twice") },
        { S_INIT("t = 1\n[t]\n"), 2, S_INIT("'t' is a key and a table") },
        { S_INIT("a = \"x\n"), 1, S_INIT("a string is not closed") },
        { S_INIT("a = \"\\q\"\n"), 1, S_INIT("unknown escape") },
        { S_INIT("a = \"\\u12\"\n"), 1, S_INIT("a \\u or \\U escape") },
        { S_INIT("a = \"\\ud800\"\n"), 1, S_INIT("an escape names a code point") },
        { S_INIT("\n\na = {b = 1}\n"), 3, S_INIT("inline tables") },
        { S_INIT("[[a]]\n"), 1, S_INIT("arrays of tables") },
        { S_INIT("a = \"\"\"x\"\"\"\n"), 1, S_INIT("strings over several lines") },
        { S_INIT("a = hello\n"), 1, S_INIT("'hello' is neither") },
        { S_INIT("a = 012\n"), 1, S_INIT("'012' is neither") },
        { S_INIT("a = 1__0\n"), 1, S_INIT("'1__0' is neither") },
        { S_INIT("a = 99999999999999999999\n"), 1, S_INIT("a number is out of range") },
        { S_INIT("a = 1e999\n"), 1, S_INIT("a number is out of range") },
        { S_INIT("a = 2026-01-01\n"), 1, S_INIT("'2026-01-01' is neither") },
        { S_INIT("a =\n"), 1, S_INIT("a value is missing") },
        { S_INIT("a\n"), 1, S_INIT("expected = after a key") },
        { S_INIT("= 1\n"), 1, S_INIT("expected a key") },
        { S_INIT("a = 1 b = 2\n"), 1, S_INIT("unexpected text after the value") },
        { S_INIT("a = [1]\n"), 1, S_INIT("lists hold strings only") },
        { S_INIT("a = ['x' 'y']\n"), 1, S_INIT("expected , or ]") },
        { S_INIT("a = ['x',\n"), 2, S_INIT("a list is not closed") },
        { S_INIT("a = \"\x01\"\n"), 1, S_INIT("a string holds a control byte") },
        { S_INIT("# \x01\n"), 1, S_INIT("a comment holds a control byte") },
        { S_INIT("a = \"\xff\"\n"), 1, S_INIT("the file is not UTF-8") },
        { S_INIT("a = 1\0\n"), 1, S_INIT("the file holds a zero byte") },
        { S_INIT("[a\n"), 1, S_INIT("expected ] after") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        TomlDoc doc = { 0 };
        TomlFault fault = { 0 };
        EXPECT_ERR(ERR_INVALID, toml_parse(a, cases[i].text, &doc, &fault));
        EXPECT_STR(cases[i].reason, str_head(fault.reason, cases[i].reason.n));
        EXPECT_INT(cases[i].line, fault.line);
    }
}

TEST(a_file_over_the_limits_is_refused)
{
    AUTO_BUF(b);
    for (int i = 0; i <= TOML_KEYS_MAX; i++)
        buf_addf(&b, "k%d = 1\n", i);
    TomlDoc doc = { 0 };
    TomlFault fault = { 0 };
    EXPECT_ERR(ERR_LIMIT, toml_parse(a, buf_str(&b), &doc, &fault));
    EXPECT_STR(S("too many keys"), fault.reason);
    EXPECT_INT(TOML_KEYS_MAX + 1, fault.line);
}

TEST(an_empty_file_and_a_byte_order_mark_are_fine)
{
    EXPECT_INT(0, parsed(a, S("")).n);
    EXPECT_INT(1, parsed(a, S("\xef\xbb\xbf"
                              "a = 1"))
                      .n);
}
