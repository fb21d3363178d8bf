/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format of protocol buffers, read field by field. */
#ifndef WEIR_TEXT_PROTOBUF_H
#define WEIR_TEXT_PROTOBUF_H

#include "base/err.h"

struct weir_proto {
    const char *data; /* [n_bytes] the message */
    size_t n_bytes, at;
    uint64_t offset;  /* of the message in the file */
    const char *what; /* the file, for messages */
};

enum weir_proto_wire {
    WEIR_PROTO_VARINT = 0,
    WEIR_PROTO_FIXED64 = 1,
    WEIR_PROTO_BYTES = 2,
    WEIR_PROTO_FIXED32 = 5
};

struct weir_proto_field {
    uint32_t number;
    enum weir_proto_wire wire;
    uint64_t value;   /* of a number */
    const char *data; /* [n_bytes] of WEIR_PROTO_BYTES, inside the message */
    size_t n_bytes;
    uint64_t offset; /* of `data` or of the number in the file */
};

/*
 * The next field: 1, or 0 at the end of the message, or WEIR_EFORMAT.  Every
 * length is checked against the message.
 */
int weir_proto_next(struct weir_proto *proto, struct weir_proto_field *field,
                    struct weir_err *err);

/* WEIR_EFORMAT unless the field has this wire type. */
int weir_proto_want(const struct weir_proto *proto,
                    const struct weir_proto_field *field,
                    enum weir_proto_wire wire, struct weir_err *err);

/* The message that `field`, which is WEIR_PROTO_BYTES, holds. */
struct weir_proto weir_proto_enter(const struct weir_proto *proto,
                                   const struct weir_proto_field *field);

#endif
