// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "delivery/compress.h"
#include "delivery/sink_copy.h"
#include "delivery/sink_pg.h"

static const CopyColumn columns[] = { { S_INIT("id"), false, false },
                                      { S_INIT("name"), true, false },
                                      { S_INIT("at"), false, true } };

// What a file becomes, fed in pieces of so many bytes; "!..." if it cannot be loaded.
static Str rows_in_pieces(struct arena *a, const char *options, Str file, size_t piece)
{
    CopyOptions o;
    Str text = { 0 };
    struct copy_rows *c;
    AUTO_BUF(out);
    Err e = copy_options_parse(a, str_of(options), &o, &text);
    if (e.kind != ERR_NONE)
        return str_cat(a, S("!"), text);
    copy_rows_open(&o, columns, COUNT_OF(columns), &c);
    for (size_t at = 0; e.kind == ERR_NONE; at += piece) {
        bool end = file.n - at <= piece;
        e = copy_rows_feed(c, str_head(str_skip(file, at), piece), end, &out, &text);
        if (end)
            break;
    }
    Str result = str_dup(a, e.kind == ERR_NONE ? buf_str(&out) : str_cat(a, S("!"), text));
    copy_rows_close(c);
    return result;
}

static Str rows_of(struct arena *a, const char *options, Str file)
{
    Str whole = rows_in_pieces(a, options, file, 1 << 20);
    for (size_t piece = 1; piece < 8; piece++) {
        Str in_pieces = rows_in_pieces(a, options, file, piece);
        if (str_starts(whole, S("!"))) // of the row it shows what is there yet
            EXPECT(str_starts(in_pieces, str_head(whole, str_find(whole, ':'))));
        else
            EXPECT_STR(whole, in_pieces);
    }
    return whole;
}

static Str rows(struct arena *a, const char *options, const char *file)
{
    return rows_of(a, options, str_of(file));
}

TEST(files_become_rows_as_redshift_reads_them)
{
    EXPECT_STR(S("1\ta\\\\b\t2020-01-01\n"), rows(a, "", "1|a\\b|2020-01-01\n"));
    EXPECT_STR(S("1\t\\N\t\\N\n2\t\t\\N\n"), rows(a, "", "1|\\N|\n2||\r\n"));
    EXPECT_STR(S("1\tx\\ty\t\\N\n"), rows(a, "DELIMITER ','", "1,x\ty,"));
    EXPECT_STR(S("1\tx\t\\N\n"), rows(a, "delimiter as '\\t' NULL AS 'none'", "1\tx\tnone\n"));
    EXPECT_STR(S("1\tx|y\\nz\t\\N\n2\t\\\\N\t\\N\n"),
               rows(a, "ESCAPE", "1|x\\|y\\\nz|\\N\n2|\\\\N|\n"));
    EXPECT_STR(S("1\ta|b\t\\N\n"), rows(a, "REMOVEQUOTES", "1|'a|b'|\n"));
    EXPECT_STR(S("1\t\\N\t\\N\n"), rows(a, "EMPTYASNULL", "1||\n"));
    EXPECT_STR(S("1\t\\N\t\\N\n"), rows(a, "BLANKSASNULL", "1|  |\n"));
    EXPECT_STR(S("1\ta\t\\N\n"), rows(a, "TRIMBLANKS", "1|a  |\n"));
    EXPECT_STR(S("1\t\\N\t\\N\n"), rows(a, "FILLRECORD", "1\n"));
    EXPECT_STR(S("2\tb\t\\N\n"), rows(a, "IGNOREHEADER 1 IGNOREBLANKLINES", "id|name\n\n2|b|\n"));
    EXPECT_STR(S("1\tx\t2020-09-13T12:26:40.000Z\n"),
               rows(a, "TIMEFORMAT 'epochsecs'", "1|x|1600000000\n"));
    EXPECT(str_starts(rows(a, "", "1|2\n"), S("!Row 1 of a file cannot be loaded: it has fewer")));
    EXPECT(str_starts(rows(a, "", "1|2|3\n1|2|3|4\n"), S("!Row 2")));
    EXPECT_STR(S(""), rows(a, "", ""));
}

TEST(quoted_csv_is_read_as_redshift_does)
{
    EXPECT_STR(S("1\ta,\"b\\nc\t\\N\n2\t\\\\N\t\\N\n"),
               rows(a, "CSV", "1,\"a,\"\"b\nc\",\n2,\"\\N\",\\N\r\n"));
    EXPECT_STR(S("1\ta\"b\t2\n"),
               rows(a, "FORMAT AS CSV QUOTE '%' DELIMITER AS ';'", "%1%;a\"b;2"));
    EXPECT(str_starts(rows(a, "CSV ESCAPE", ""), S("!What does not go together")));
}

TEST(objects_become_rows_by_the_names_of_columns)
{
    EXPECT_STR(S("1\tx\\\\y\ttrue\n"),
               rows(a, "JSON 'auto'", "{\"id\":1,\"name\":\"x\\\\y\",\"at\":true}"));
    EXPECT_STR(S("1\t\\N\t\\N\n2.50\t{\"a\":[1, \"}\"]}\t[]\n\\N\t\t\\N\n"),
               rows(a, "FORMAT JSON 'auto'",
                    "{\"id\":1,\"other\":{\"id\":9}}{\"name\" : {\"a\":[1, \"}\"]},\"id\":2.50,"
                    "\"at\": []}\n\n {\"name\":\"\",\"Id\":3,\"id\":null}\n"));
    EXPECT_STR(S("3\t\\N\t\\N\n"), rows(a, "JSON 'auto ignorecase'", "{\"ID\":3}"));
    EXPECT(str_starts(rows(a, "JSON 'auto'", "{\"id\":1}\n[1]"), S("!Row 2")));
    EXPECT(str_starts(rows(a, "JSON 'auto'", "{\"id\":1"), S("!Row 1")));
    EXPECT(str_starts(rows(a, "JSON 'auto'", "{\"id\"}"), S("!Row 1")));
    EXPECT(str_starts(rows(a, "JSON 's3://b/paths'", ""), S("!Only JSON 'auto'")));
}

static Err keep(void *self, Str bytes)
{
    buf_add(self, bytes);
    return OK;
}

TEST(gzip_of_several_members_is_read_and_damage_is_seen)
{
    AUTO_BUF(packed);
    for (int i = 0; i < 2; i++) {
        AUTO(compressor) z = NULL;
        compressor_open(DELIVERY_GZIP, false, S(""), keep, &packed, &z);
        EXPECT_OK(compressor_write(z, i == 0 ? S("1|a|\n2|") : S("b|\n")));
        EXPECT_OK(compressor_finish(z));
    }
    EXPECT_STR(S("1\ta\t\\N\n2\tb\t\\N\n"), rows_of(a, "GZIP", buf_str(&packed)));
    EXPECT(
        str_starts(rows_of(a, "GZIP", str_head(buf_str(&packed), packed.n - 3)), S("!A file is")));
    EXPECT(str_starts(rows(a, "gzip", "no gzip"), S("!A file is")));
}

TEST(options_that_cannot_be_followed_are_named)
{
    static const char *const bad[] = { "PARQUET",        "DELIMITER",
                                       "DELIMITER 'ab'", "NULL 'x",
                                       "IGNOREHEADER x", "SOMETHING ON",
                                       "CSV ,",          "JSON" };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        EXPECT(str_starts(rows(a, bad[i], ""), S("!")));
    CopyOptions o;
    Str text;
    EXPECT_OK(
        copy_options_parse(a,
                           S("json 'auto' gzip COMPUPDATE OFF STATUPDATE on region 'us-east-1' "
                             "maxerror as 5 dateformat 'auto' ACCEPTINVCHARS AS '?' "
                             "ACCEPTANYDATE TRUNCATECOLUMNS ;"),
                           &o, &text));
    EXPECT(o.gzip && o.format == COPY_JSON);
}

TEST(urls_of_clusters_are_taken_apart)
{
    PgAddress at;
    Str text;
    EXPECT_OK(
        pg_address_parse(a, S("jdbc:redshift://c.x.redshift.amazonaws.com:5439/dev"), &at, &text));
    EXPECT_STR(S("c.x.redshift.amazonaws.com"), at.host);
    EXPECT_STR(S("5439"), at.port);
    EXPECT_STR(S("dev"), at.database);
    EXPECT(at.ssl_mode.p == NULL);
    EXPECT_OK(
        pg_address_parse(a, S("jdbc:postgresql://[::1]/d?x=y&sslmode=Verify-CA"), &at, &text));
    EXPECT_STR(S("::1"), at.host);
    EXPECT_STR(S("5439"), at.port);
    EXPECT_STR(S("verify-ca"), at.ssl_mode);
    EXPECT_OK(pg_address_parse(a, S("jdbc:redshift://h:1/d;ssl=true"), &at, &text));
    EXPECT_STR(S("require"), at.ssl_mode);
    static const char *const bad[] = { "",
                                       "postgresql://h/d",
                                       "jdbc:redshift://h",
                                       "jdbc:redshift://h/",
                                       "jdbc:redshift:///d",
                                       "jdbc:redshift://h:0/d",
                                       "jdbc:redshift://h:x/d",
                                       "jdbc:redshift://a,b/d",
                                       "jdbc:redshift://h/d?sslmode=maybe" };
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        EXPECT_ERR(ERR_INVALID, pg_address_parse(a, str_of(bad[i]), &at, &text));
    EXPECT_STR(S("'it''s'"), pg_quote(a, S("it's")));
    EXPECT_STR(S("\"a\"\"b\""), pg_name(a, S("a\"b")));
}
