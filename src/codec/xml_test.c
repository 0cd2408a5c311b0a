// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "codec/xml.h"

static struct xml_node *parse(struct arena *a, const char *text)
{
    struct xml_node *root = NULL;
    EXPECT_OK(xml_parse(a, str_of(text), &root));
    return root;
}

TEST(elements_attributes_and_text_make_a_tree)
{
    struct xml_node *root = parse(
        a, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><s3:Delete xmlns:s3='u'>\n"
           "<Object at=\"1 &lt; 2\"><Key>a&amp;b&#x41;&#66;</Key></Object><Quiet/></s3:Delete>\n");
    EXPECT_STR(S("Delete"), root->name);
    EXPECT_STR(S("u"), xml_attribute(root, S("s3")));
    const struct xml_node *object = root->first;
    EXPECT_STR(S("1 < 2"), xml_attribute(object, S("at")));
    EXPECT_STR(S("a&bAB"), object->first->text);
    EXPECT(object->first->next == NULL);
    EXPECT_STR(S("Quiet"), object->next->name);
    EXPECT_STR(S(""), object->next->text);
}

TEST(cdata_is_text_and_line_ends_are_one_character)
{
    EXPECT_STR(S("a<b>\nc\nd\n"), parse(a, "<x>a<![CDATA[<b>\r\n]]>c\rd&#10;</x>")->text);
    EXPECT_STR(S("\r"), parse(a, "<x>&#13;</x>")->text);
    EXPECT_STR(S("ab"), parse(a, "<x>a<!-- - -->b</x>")->text);
    EXPECT_STR(S("\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9"),
               parse(a, "<x>&#x1F600;&#8364;&#233;</x>")->text);
}

TEST(what_is_not_well_formed_is_refused)
{
    static const char *const wrong[] = {
        "",
        " ",
        "x",
        "<",
        "<x",
        "<x>",
        "<x></y>",
        "<x></x",
        "<x/><y/>",
        "<x/>t",
        "<x>&nope;</x>",
        "<x>&amp</x>",
        "<x>&#0;</x>",
        "<x>&#xD800;</x>",
        "<x>&#x110000;</x>",
        "<x>&#;</x>",
        "<x>&#99999999999;</x>",
        "<x a=1/>",
        "<x a='1' a='2'/>",
        "<x a='1'b='2'/>",
        "<x a='<'/>",
        "<x a='1/>",
        "<x>]]></x>",
        "<x><!-- -- --></x>",
        "<!DOCTYPE x><x/>",
        "<x><![CDATA[</x>",
        "<x>\x01</x>",
        "<x>\xff</x>",
        "<?xml version='1.0' encoding='UTF-16'?><x/>",
        "<x/><?xml version='1.0'?>",
        "<x><?xml version='1.0'?></x>",
        "</x>",
        "<1x/>",
        "<x/ >",
        "<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>",
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct xml_node *root = NULL;
        Err e = xml_parse(a, str_of(wrong[i]), &root);
        if (e.kind != ERR_INVALID)
            test_fail(__FILE__, __LINE__, "taken: %s", wrong[i]);
    }
}

TEST(depth_is_bounded)
{
    AUTO_BUF(deep);
    struct xml_node *root = NULL;
    for (size_t i = 0; i < XML_DEPTH_MAX; i++)
        buf_add(&deep, S("<x>"));
    EXPECT_ERR(ERR_INVALID, xml_parse(a, buf_str(&deep), &root));
    buf_add(&deep, S("<x>"));
    EXPECT_ERR(ERR_LIMIT, xml_parse(a, buf_str(&deep), &root));
}

TEST(text_in_many_pieces_takes_memory_in_proportion)
{
    enum { PIECES = 20000 };
    AUTO_BUF(text);
    buf_add(&text, S("<x>"));
    for (size_t i = 0; i < PIECES; i++)
        buf_add(&text, S("ab<![CDATA[c]]>"));
    buf_add(&text, S("</x>"));
    AUTO(arena) own = arena_open();
    struct xml_node *root = NULL;
    EXPECT_OK(xml_parse(own, buf_str(&text), &root));
    EXPECT_INT(3 * PIECES, root->text.n);
    EXPECT(arena_bytes(own) < 2 * text.n);
}
