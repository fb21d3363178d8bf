/* SPDX-License-Identifier: Apache-2.0 */
#include "text/protobuf.h"

#include "base/le.h"

static int broken(const struct weir_proto *proto, struct weir_err *err)
{
    uint64_t offset = proto->offset + proto->at;

    return weir_err_at(err, WEIR_EFORMAT, offset,
                       "%s: byte %llu: neither a tokenizer.json nor a whole "
                       "SentencePiece model; fetch the file again",
                       proto->what, (unsigned long long)offset);
}

/* At most 10 bytes of 7 bits, the lowest first. */
static int read_varint(struct weir_proto *proto, uint64_t *value,
                       struct weir_err *err)
{
    unsigned char c;

    *value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (proto->at == proto->n_bytes)
            return broken(proto, err);
        c = (unsigned char)proto->data[proto->at++];
        if (shift == 63 && c > 1)
            return broken(proto, err);
        *value |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return 0;
    }
    return broken(proto, err);
}

/* Passes `n_bytes`, which the field then names. */
static int take(struct weir_proto *proto, uint64_t n_bytes,
                struct weir_proto_field *field, struct weir_err *err)
{
    if (n_bytes > proto->n_bytes - proto->at)
        return broken(proto, err);
    field->data = proto->data + proto->at;
    field->n_bytes = (size_t)n_bytes;
    field->offset = proto->offset + proto->at;
    proto->at += (size_t)n_bytes;
    return 0;
}

static int read_value(struct weir_proto *proto, struct weir_proto_field *field,
                      struct weir_err *err)
{
    uint64_t n_bytes;
    int rc;

    switch (field->wire) {
    case WEIR_PROTO_VARINT:
        field->offset = proto->offset + proto->at;
        return read_varint(proto, &field->value, err);
    case WEIR_PROTO_BYTES:
        rc = read_varint(proto, &n_bytes, err);
        return rc ? rc : take(proto, n_bytes, field, err);
    case WEIR_PROTO_FIXED64:
        rc = take(proto, 8, field, err);
        field->value = rc ? 0 : weir_le64(field->data);
        return rc;
    case WEIR_PROTO_FIXED32:
        rc = take(proto, 4, field, err);
        field->value = rc ? 0 : weir_le32(field->data);
        return rc;
    }
    return broken(proto, err);
}

int weir_proto_next(struct weir_proto *proto, struct weir_proto_field *field,
                    struct weir_err *err)
{
    uint64_t key;
    int rc;

    if (proto->at == proto->n_bytes)
        return 0;
    rc = read_varint(proto, &key, err);
    if (rc)
        return rc;
    if (key >> 3 == 0 || key >> 32)
        return broken(proto, err);
    field->number = (uint32_t)(key >> 3);
    field->wire = (enum weir_proto_wire)(key & 7);
    rc = read_value(proto, field, err);
    return rc ? rc : 1;
}

int weir_proto_want(const struct weir_proto *proto,
                    const struct weir_proto_field *field,
                    enum weir_proto_wire wire, struct weir_err *err)
{
    if (field->wire == wire)
        return 0;
    return weir_err_at(err, WEIR_EFORMAT, field->offset,
                       "%s: byte %llu: field %u has wire type %d, not %d; "
                       "fetch the file again",
                       proto->what, (unsigned long long)field->offset,
                       (unsigned)field->number, (int)field->wire, (int)wire);
}

struct weir_proto weir_proto_enter(const struct weir_proto *proto,
                                   const struct weir_proto_field *field)
{
    struct weir_proto inner = {.data = field->data,
                               .n_bytes = field->n_bytes,
                               .offset = field->offset,
                               .what = proto->what};

    return inner;
}
