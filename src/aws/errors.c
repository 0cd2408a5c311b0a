// SPDX-License-Identifier: Apache-2.0
// The errors that every service has, whether its model names them or not.
#include "aws/call.h"

const struct api_error aws_ValidationException = { S_INIT("ValidationException"), 400 };
const struct api_error aws_AccessDeniedException = { S_INIT("AccessDeniedException"), 400 };
const struct api_error aws_InternalFailure = { S_INIT("InternalFailure"), 500 };
const struct api_error aws_UnrecognizedClientException = { S_INIT("UnrecognizedClientException"),
                                                           400 };
const struct api_error aws_ThrottlingException = { S_INIT("ThrottlingException"), 400 };
const struct api_error aws_ServiceUnavailable = { S_INIT("ServiceUnavailable"), 503 };
const struct api_error aws_SerializationException = { S_INIT("SerializationException"), 400 };
