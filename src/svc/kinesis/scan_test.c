// SPDX-License-Identifier: Apache-2.0
// Puts as SDKs write them take the short way past the binder.
#include "aws/scan_check.h"
#include "base/test.h"
#include "gen/kinesis_api.h"

static const struct {
    const char *op;
    const struct protocol *protocol;
    Str body;
} sent[] = {
    // boto3 and the AWS CLI
    { "PutRecord", &protocol_json_1_1,
      S_INIT(
          "{\"StreamName\": \"clicks\", \"Data\": \"c2luZ2xlLTA=\", \"PartitionKey\": \"k0\"}") },
    { "PutRecords", &protocol_json_1_1,
      S_INIT(
          "{\"StreamARN\": \"arn:aws:kinesis:us-east-1:000000000000:stream/clicks\", \"Records\": "
          "[{\"Data\": \"GXidGz6NVlz312jcbGmAeX4Tdpdv/fHee4ve8n6LyhXAKVriyFyqROh2s+SD0hfJAIAw\", "
          "\"PartitionKey\": \"key-0\"}, {\"Data\": \"\", \"ExplicitHashKey\": "
          "\"340282366920938463463374607431768211455\", \"PartitionKey\": \"key-1\"}]}") },
    // JavaScript: members in the order of the caller; UTF-8 as it is
    { "PutRecord", &protocol_json_1_1,
      S_INIT(
          "{\"Data\":\"c2luZ2xlLTA=\",\"StreamName\":\"clicks\",\"PartitionKey\":\"k\xc3\xa9\"}") },
    // Java: CBOR of lengths that are not told
    { "PutRecord", &protocol_cbor_1_1,
      S_INIT("\xbf\x6aStreamName\x66"
             "clicks\x64"
             "Data\x48single-0\x6cPartitionKey\x6a\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87-0\xff") },
    { "PutRecords", &protocol_cbor_1_1,
      S_INIT("\xbf\x67Records\x9f\xbf\x64"
             "Data\x46many-0\x6cPartitionKey\x62q0\xff\xbf\x64"
             "Data\x46many-1\x6cPartitionKey\x62q1\xff\xff\x6aStreamName\x66"
             "clicks\xff") },
};

TEST(puts_of_sdks_are_scanned)
{
    for (size_t i = 0; i < COUNT_OF(sent); i++)
        EXPECT(scan_check(sent[i].protocol, scan_check_shape(&kinesis_api, str_of(sent[i].op)),
                          sent[i].body));
}

TEST(a_put_with_any_byte_changed_is_scanned_as_it_would_be_bound)
{
    for (size_t i = 0; i < COUNT_OF(sent); i++)
        scan_check_changed(sent[i].protocol, scan_check_shape(&kinesis_api, str_of(sent[i].op)),
                           sent[i].body);
}
