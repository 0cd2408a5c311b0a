// SPDX-License-Identifier: Apache-2.0
// A small client of AWS's JSON protocol: signs a call, sends it, and tells a reply from an error.
// It works against this server and against anything else that speaks the protocol.
//
// One client has one connection and belongs to one thread at a time.
#pragma once
#include "aws/s3_out.h"

struct client;

typedef struct ClientConfig {
    Str endpoint; // http://host:port or https://host:port
    Str region;
    Str access_key, secret_key;
    Str session_token;  // absent: none
    bool verify;        // certificates of https
    Str ca_file;        // absent: the system's
    int64_t timeout_ns; // for connecting and between two reads
} ClientConfig;

// A service as its wire protocol names it.
typedef struct ClientService {
    Str signing;   // "kinesis"
    Str target;    // "Kinesis_20131202"
    bool json_1_0; // the version of its protocol; else 1.1
} ClientService;
extern const ClientService client_kinesis, client_firehose, client_glue, client_dynamodb;

typedef struct ClientReply {
    unsigned status;
    Str body;
    Str error;      // "ResourceNotFoundException", or absent when the call succeeded
    Str message;    // the server's explanation of an error, maybe empty
    Str request_id; // maybe empty
} ClientReply;

// ERR_INVALID: the endpoint is not a URL. Nothing is connected yet.
Err client_open(const ClientConfig *config, struct client **ret);
void client_close(struct client *c); // NULL is fine
AUTO_CLOSE(client)

// One operation with its JSON body. OK means that the server replied, with a result or an error.
// Otherwise the error is http_client_call's: ERR_NOT_FOUND nobody listens, ERR_TIMEOUT, ERR_CLOSED
// (the call may or may not have been carried out).
Err client_call(struct client *c, struct arena *a, const ClientService *service, Str operation,
                Str body, ClientReply *ret);

// One of the server's pages for operators ("stream/read"; server/admin.h), with the root's key. As
// client_call; the error is the page's kind ("not-found"), else "HTTP status 404" and the like.
Err client_ask(struct client *c, struct arena *a, Str page, Str body, ClientReply *ret);

// One call of a service with the Query protocol ("iam"): a form, and a reply in XML.
Err client_form(struct client *c, struct arena *a, Str service, Str body, ClientReply *ret);

// One request to S3 (aws/s3_out.h), over the same connection.
Err client_s3(struct client *c, struct arena *a, const S3OutCall *call, S3OutReply *ret);

// Whether an AWS error says that the same call may succeed a little later.
bool client_is_throttle(Str error);
