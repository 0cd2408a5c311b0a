// SPDX-License-Identifier: Apache-2.0
// Puts as SDKs and agents write them take the short way past the binder.
#include "aws/scan_check.h"
#include "base/test.h"
#include "gen/firehose_api.h"

static const struct {
    const char *op;
    Str body;
} sent[] = {
    // boto3 and the AWS CLI
    { "PutRecord",
      S_INIT("{\"DeliveryStreamName\": \"clicks\", \"Record\": {\"Data\": \"c2luZ2xlLTAK\"}}") },
    { "PutRecordBatch",
      S_INIT(
          "{\"DeliveryStreamName\": \"clicks\", \"Records\": [{\"Data\": "
          "\"GXidGz6NVlz312jcbGmAeX4Tdpdv/fHee4ve8n6LyhXAKVriyFyqROh2s+SD0hfJAIAw\"}, {\"Data\": "
          "\"\"}]}") },
    // JavaScript, Fluent Bit: members in the order of the caller, no spaces
    { "PutRecordBatch",
      S_INIT("{\"Records\":[{\"Data\":\"YQ==\"},{\"Data\":\"YmI=\"},{\"Data\":\"Y2Nj\"}],"
             "\"DeliveryStreamName\":\"clicks\"}") },
    { "PutRecord", S_INIT("{\"Record\":{\"Data\":\"YQ==\"},\"DeliveryStreamName\":\"clicks\"}") },
};

TEST(puts_of_sdks_are_scanned)
{
    for (size_t i = 0; i < COUNT_OF(sent); i++)
        EXPECT(scan_check(&protocol_json_1_1, scan_check_shape(&firehose_api, str_of(sent[i].op)),
                          sent[i].body));
}

TEST(a_put_with_any_byte_changed_is_scanned_as_it_would_be_bound)
{
    for (size_t i = 0; i < COUNT_OF(sent); i++)
        scan_check_changed(&protocol_json_1_1, scan_check_shape(&firehose_api, str_of(sent[i].op)),
                           sent[i].body);
}
