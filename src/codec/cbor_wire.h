// SPDX-License-Identifier: Apache-2.0
// The bytes of RFC 8949, for those who read or write them directly: an item begins with a byte of
// major type (three bits) and additional information (five bits), which is the argument itself up
// to 23.
#pragma once
#include "codec/cbor.h"

enum {
    CBOR_UNSIGNED,
    CBOR_NEGATIVE, // -1 - argument
    CBOR_BYTES,
    CBOR_TEXT,
    CBOR_LIST,
    CBOR_MAP,
    CBOR_TAG,
    CBOR_SIMPLE, // and floats
};

enum {
    CBOR_IN_1_BYTE = 24, // the argument follows in so many bytes
    CBOR_IN_2_BYTES,
    CBOR_IN_4_BYTES,
    CBOR_IN_8_BYTES,
    CBOR_INDEFINITE = 31,
};

enum { CBOR_FALSE = 20, CBOR_TRUE, CBOR_NULL, CBOR_UNDEFINED };

#define CBOR_BYTE(major, information) ((unsigned char)((major) << 5 | (information)))

enum { CBOR_BREAK = 0xff, CBOR_TAG_EPOCH = 1 };
