// SPDX-License-Identifier: Apache-2.0
#include "delivery/sink_secret.h"
#include "aws/sigv4.h"
#include "base/test.h"
#include "hub/hub.h"
#include "hub/secrets.h"
#include "os/io.h"

#include <stdio.h>

// A keeper of one secret.
struct keeper {
    struct hub hub;
    struct hub_secrets offer;
    const char *value;
    HubSecretFault fault;
    size_t asked;
};

static Err get(void *self, struct arena *a, const HubActor *as, Str arn, Str *ret_value,
               HubSecretAnswer *ret)
{
    struct keeper *k = self;
    EXPECT_STR(S("arn:secret"), arn);
    EXPECT_STR(S("arn:role"), as->role_arn);
    EXPECT_STR(S("arn:stream"), as->source_arn);
    k->asked++;
    *ret = (HubSecretAnswer){ .fault = k->fault, .text = S("said so") };
    *ret_value = str_dup(a, str_of(k->value));
    return OK;
}

static const DeliveryConfig with_secret = { .account = S_INIT("0"),
                                            .region = S_INIT("eu-west-1"),
                                            .service = S_INIT("firehose.amazonaws.com"),
                                            .arn = S_INIT("arn:stream"),
                                            .secret_arn = S_INIT("arn:secret"),
                                            .secret_role_arn = S_INIT("arn:role") };

TEST(a_secret_is_asked_for_at_each_attempt_and_its_faults_have_codes)
{
    static const struct {
        const char *value;
        HubSecretFault fault;
        const char *code; // NULL: it is fine
    } cases[] = {
        { "{\"api_key\":\"k\"}", HUB_SECRET_GOOD, NULL },
        { "{\"api_key\":\"a\\nb\"}", HUB_SECRET_GOOD, "SecretsManager.InvalidSecret" },
        { "{\"other\":\"k\"}", HUB_SECRET_GOOD, "SecretsManager.InvalidSecret" },
        { "k", HUB_SECRET_GOOD, "SecretsManager.InvalidSecret" },
        { "", HUB_SECRET_NOT_FOUND, "SecretsManager.ResourceNotFoundException" },
        { "", HUB_SECRET_DENIED, "SecretsManager.AccessDeniedException" },
        { "", HUB_SECRET_KEY, "SecretsManager.DecryptionFailure" },
        { "", HUB_SECRET_STATE, "SecretsManager.InvalidRequestException" },
    };
    struct keeper k = { .offer.get = get };
    struct delivery_env env = { .hub = &k.hub };
    struct sink_secret *s = NULL;
    k.offer.self = &k;
    k.hub.secrets = &k.offer;
    sink_secret_open(&env, &with_secret, &s);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SinkAttempt at = { .arena = a };
        Str value = { 0 };
        k.value = cases[i].value;
        k.fault = cases[i].fault;
        EXPECT_INT(cases[i].code == NULL, sink_secret_get(s, &at, S("api_key"), &value));
        if (cases[i].code == NULL)
            EXPECT_STR(S("k"), value);
        else
            EXPECT_STR(str_of(cases[i].code), at.code);
    }
    EXPECT_INT(COUNT_OF(cases), k.asked);
    sink_secret_close(s);
    sink_secret_open(&env, &(DeliveryConfig){ 0 }, &s);
    EXPECT(s == NULL);
}

TEST(requests_to_domains_of_aws_are_signed_for_their_service_and_region)
{
    static const struct {
        const char *base, *scope; // NULL: not signed
        bool always, serverless;
    } cases[] = {
        { "https://search-x-1.us-west-2.es.amazonaws.com", "us-west-2/es", false, false },
        { "https://x.ap-south-1.aoss.amazonaws.com:443", "ap-south-1/aoss", false, true },
        { "https://x.cn-north-1.es.amazonaws.com.cn", "cn-north-1/es", false, false },
        { "https://es.amazonaws.com", NULL, false, false },
        { "https://x.us-east-1.s3.amazonaws.com", NULL, false, false },
        { "https://search.example.com", NULL, false, false },
        { "https://search.example.com:9200", "eu-west-1/es", true, false },
        { "https://search.example.com:9200", "eu-west-1/aoss", true, true },
    };
    Str path = str_fmt(a, "%.*s/keys", FMT(test_dir(a)));
    FILE *f = fopen(path.p, "w");
    EXPECT(f != NULL);
    fputs("[default]\naws_access_key_id = AKID\naws_secret_access_key=s\n"
          "aws_session_token = t\n[other]\naws_access_key_id = NO\n",
          f);
    fclose(f);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct delivery_env env = { .io = io_real(),
                                    .sign_keys = path,
                                    .sign_always = cases[i].always };
        DeliveryConfig config = with_secret;
        struct sink_signer *s = NULL;
        HttpHeader headers[8] = { { S("Content-Type"), S("application/x-ndjson") } };
        size_t n = 1;
        config.search.serverless = cases[i].serverless;
        sink_signer_open(&env, &config, str_of(cases[i].base), &s);
        EXPECT_INT(cases[i].scope != NULL, s != NULL);
        if (s == NULL)
            continue;
        EXPECT_OK(sink_sign(s, a, S("/_bulk"), headers, &n, S("body")));
        EXPECT_INT(5, n);
        Str scope = str_fmt(a,
                            "/%s/aws4_request, SignedHeaders=content-type;host;"
                            "x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=",
                            cases[i].scope);
        EXPECT(str_starts(headers[3].value, S("AWS4-HMAC-SHA256 Credential=AKID/")));
        EXPECT(str_search(headers[3].value, scope) < headers[3].value.n);
        EXPECT_STR(S("t"), headers[4].value);
        sink_signer_close(s);
    }
}
