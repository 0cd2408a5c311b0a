// SPDX-License-Identifier: Apache-2.0
#include "cli/delivery_role.h"
#include "codec/xml.h"

#define ROLE S("headrace-delivery")
#define TRUST                                                                            \
    S("{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":"  \
      "{\"Service\":[\"firehose.amazonaws.com\",\"kinesis.amazonaws.com\"]},\"Action\":" \
      "\"sts:AssumeRole\"}]}")
#define PERMITS                                                                                \
    S("{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":["          \
      "\"s3:*\",\"kinesis:DescribeStream\",\"kinesis:GetShardIterator\","                      \
      "\"kinesis:GetRecords\",\"kinesis:ListShards\",\"glue:GetTable\","                       \
      "\"glue:GetTableVersion\",\"glue:GetTableVersions\",\"lambda:InvokeFunction\","          \
      "\"secretsmanager:GetSecretValue\",\"lambda:GetFunctionConfiguration\",\"kms:Decrypt\"," \
      "\"kms:GenerateDataKey\"],"                                                              \
      "\"Resource\":\"*\"}]}")

static ExitCode call(const struct invocation *in, struct client *c, Str body, Str forgiven,
                     Str *ret_xml)
{
    ClientReply reply = { 0 };
    Err e = client_form(c, in->a, S("iam"), body, &reply);
    if (e.kind != ERR_NONE)
        return remote_unreachable(in, e);
    if (reply.error.p != NULL && !str_eq(reply.error, forgiven))
        return remote_complain(&reply);
    *ret_xml = reply.body;
    return EXIT_GOOD;
}

static const struct xml_node *child(const struct xml_node *n, Str name)
{
    const struct xml_node *found = n != NULL ? n->first : NULL;
    while (found != NULL && !str_eq(found->name, name))
        found = found->next;
    return found;
}

ExitCode delivery_role(const struct invocation *in, struct client *c, Str *ret_arn)
{
    struct arena *a = in->a;
    Str xml;
    struct xml_node *root = NULL;
    ExitCode code =
        call(in, c,
             str_fmt(a,
                     "Action=CreateRole&Version=2010-05-08&RoleName=%.*s&AssumeRolePolicyDocument="
                     "%.*s",
                     FMT(ROLE), FMT(s3_out_encoded(a, TRUST))),
             S("EntityAlreadyExists"), &xml);
    if (code == EXIT_GOOD)
        code = call(in, c,
                    str_fmt(a,
                            "Action=PutRolePolicy&Version=2010-05-08&RoleName=%.*s&PolicyName="
                            "delivery&PolicyDocument=%.*s",
                            FMT(ROLE), FMT(s3_out_encoded(a, PERMITS))),
                    (Str){ 0 }, &xml);
    if (code == EXIT_GOOD)
        code = call(in, c, str_fmt(a, "Action=GetRole&Version=2010-05-08&RoleName=%.*s", FMT(ROLE)),
                    (Str){ 0 }, &xml);
    if (code != EXIT_GOOD)
        return code;
    if (xml_parse(a, xml, &root).kind == ERR_NONE) {
        const struct xml_node *arn =
            child(child(child(root, S("GetRoleResult")), S("Role")), S("Arn"));
        if (arn != NULL) {
            *ret_arn = arn->text;
            return EXIT_GOOD;
        }
    }
    return complain(EXIT_FAILED, "the server does not tell the role's ARN");
}
