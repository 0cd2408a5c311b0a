// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "delivery/sink_reply.h"

TEST(replies_of_endpoints_are_read_and_nothing_else)
{
    EndpointReply r;
    EXPECT_OK(endpoint_reply_read(
        a, S(" {\"x\":[{}],\"requestId\":\"i\",\"timestamp\":1.5,\"errorMessage\":\"e\"} "), &r));
    EXPECT_STR(S("i"), r.request_id);
    EXPECT_STR(S("e"), r.error_message);
    EXPECT(r.timestamp);
    EXPECT_OK(endpoint_reply_read(a, S("{\"requestId\":1,\"timestamp\":\"1x\"}"), &r));
    EXPECT(r.request_id.p == NULL && !r.timestamp && r.error_message.p == NULL);
    EXPECT_ERR(ERR_INVALID, endpoint_reply_read(a, S(""), &r));
    EXPECT_ERR(ERR_INVALID, endpoint_reply_read(a, S("{} {}"), &r));
    EXPECT_ERR(ERR_INVALID, endpoint_reply_read(a, S("\"{}\""), &r));
    EXPECT_ERR(ERR_INVALID, endpoint_reply_read(a, S("{\"requestId\":\"i\""), &r));
}

TEST(replies_of_the_event_collector_are_read)
{
    HecReply r;
    bool indexed;
    EXPECT_OK(hec_reply_read(a, S("{\"text\":\"Success\",\"code\":0,\"ackId\":7}"), &r));
    EXPECT(r.code == 0 && r.ack_id == 7 && r.event == -1);
    EXPECT_OK(hec_reply_read(
        a, S("{\"text\":\"Invalid data format\",\"code\":6,\"invalid-event-number\":2}"), &r));
    EXPECT(r.code == 6 && r.ack_id == -1 && r.event == 2);
    EXPECT_OK(hec_reply_read(a, S("{\"code\":-1,\"ackId\":\"7\"}"), &r));
    EXPECT(r.code == -1 && r.ack_id == -1 && r.text.p == NULL);
    EXPECT_ERR(ERR_INVALID, hec_reply_read(a, S("<html>"), &r));
    EXPECT_OK(hec_ack_read(a, S("{\"acks\":{\"1\":true,\"7\":false,\"70\":true}}"), 7, &indexed));
    EXPECT(!indexed);
    EXPECT_OK(hec_ack_read(a, S("{\"x\":{},\"acks\":{\"7\":true}}"), 7, &indexed));
    EXPECT(indexed);
    EXPECT_OK(hec_ack_read(a, S("{\"acks\":{}}"), 7, &indexed));
    EXPECT(!indexed);
    EXPECT_ERR(ERR_INVALID, hec_ack_read(a, S("{\"acks\":[7]}"), 7, &indexed));
    EXPECT_ERR(ERR_INVALID, hec_ack_read(a, S("{}"), 7, &indexed));
}

TEST(replies_to_bulk_requests_tell_of_each_item)
{
    BulkItem items[3];
    Str body = S("{\"took\":3,\"errors\":true,\"items\":["
                 "{\"index\":{\"_index\":\"i\",\"_id\":\"1\",\"status\":201}},"
                 "{\"index\":{\"status\":400,\"error\" : {\"type\":\"m\",\"reason\":\"a{b\"}}},"
                 "{\"create\":{\"error\":\"MapperParsingException[x]\",\"status\":429}}]}");
    EXPECT_OK(bulk_reply_read(a, body, items, 3));
    EXPECT_INT(201, items[0].status);
    EXPECT(items[0].error.p == NULL);
    EXPECT_INT(400, items[1].status);
    EXPECT_STR(S("{\"type\":\"m\",\"reason\":\"a{b\"}"), items[1].error);
    EXPECT_INT(429, items[2].status);
    EXPECT_STR(S("MapperParsingException[x]"), items[2].error);
    EXPECT_ERR(ERR_INVALID, bulk_reply_read(a, body, items, 2));
    EXPECT_ERR(ERR_INVALID, bulk_reply_read(a, str_head(body, body.n - 1), items, 3));
    EXPECT_ERR(ERR_INVALID, bulk_reply_read(a, S("{\"items\":[{}]}"), items, 1));
    EXPECT_ERR(ERR_INVALID, bulk_reply_read(a, S("{\"items\":[{\"index\":{}}]}"), items, 1));
    EXPECT_ERR(ERR_INVALID, bulk_reply_read(a, S("{\"items\":[1]}"), items, 1));
    EXPECT_ERR(
        ERR_INVALID,
        bulk_reply_read(a, S("{\"items\":[{\"index\":{\"status\":200},\"x\":{\"status\":200}}]}"),
                        items, 1));
    EXPECT_ERR(ERR_INVALID, bulk_reply_read(a, S("{\"items\":[],\"items\":[]}"), items, 0));
    EXPECT_ERR(ERR_INVALID, bulk_reply_read(a, S("{\"error\":{}}"), items, 0));
}
