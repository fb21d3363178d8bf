/* SPDX-License-Identifier: Apache-2.0 */
#include "base/seen.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FIRST_CAPACITY 1024

void weir_seen_fini(struct weir_seen *seen)
{
    free(seen->keys);
    memset(seen, 0, sizeof(*seen));
}

/* Where the key is, or would be */
static uint64_t *find(uint64_t (*keys)[2], size_t capacity,
                      const uint64_t key[2])
{
    size_t i = key[0] & (capacity - 1);

    while ((keys[i][0] || keys[i][1]) &&
           (keys[i][0] != key[0] || keys[i][1] != key[1]))
        i = (i + 1) & (capacity - 1);
    return keys[i];
}

/* At most half of the places are taken. */
static int grow(struct weir_seen *seen, struct weir_err *err)
{
    size_t capacity = seen->capacity ? 2 * seen->capacity : FIRST_CAPACITY;
    uint64_t(*keys)[2];

    if (2 * (seen->n + 1) <= seen->capacity)
        return 0;
    keys = calloc(capacity, sizeof(*keys));
    if (!keys)
        return weir_err_nomem(err, capacity * sizeof(*keys), "ids");
    for (size_t i = 0; i < seen->capacity; i++)
        if (seen->keys[i][0] || seen->keys[i][1])
            memcpy(find(keys, capacity, seen->keys[i]), seen->keys[i],
                   sizeof(*keys));
    free(seen->keys);
    seen->keys = keys;
    seen->capacity = capacity;
    return 0;
}

int weir_seen_add(struct weir_seen *seen, const void *data, size_t n_bytes,
                  struct weir_err *err)
{
    XXH128_hash_t hash = XXH3_128bits(data, n_bytes);
    uint64_t key[2] = {hash.low64, hash.high64 | 1}, *place;
    int rc = grow(seen, err);

    if (rc)
        return rc;
    place = find(seen->keys, seen->capacity, key);
    if (place[1])
        return 1;
    memcpy(place, key, sizeof(key));
    seen->n++;
    return 0;
}
