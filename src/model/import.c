/* SPDX-License-Identifier: Apache-2.0 */
#include "model/import.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/path.h"
#include "base/pool.h"
#include "model/provenance.h"

#define MAX_SMALL_FILE (64u << 20)
#define HASH_BLOCK     (2u << 20)

/* Files that are kept in the model when the folder has them. */
static const char *const kept_files[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
};

#define N_KEPT (sizeof(kept_files) / sizeof(kept_files[0]))

struct importer {
    const struct weir_import *import;
    const char *folder;
    struct weir_checkpoint checkpoint;
    struct weir_config config;
    struct weir_layout layout;
    struct weir_buf files[N_KEPT];
    int has_file[N_KEPT];
    char *provenance;
};

/* ---- the small files ---- */

static int read_small_file(struct importer *in, size_t i, struct weir_err *err)
{
    char *path;
    int rc;

    in->files[i] = (struct weir_buf)WEIR_BUF(MAX_SMALL_FILE);
    if (asprintf(&path, "%s/%s", in->folder, kept_files[i]) < 0)
        return weir_err_nomem(err, strlen(in->folder), "a path");
    in->has_file[i] = weir_path_exists(path);
    rc = in->has_file[i] ? weir_buf_add_file(&in->files[i], path, err) : 0;
    if (!rc && i == 0 && !in->has_file[i])
        rc = weir_err_set(err, WEIR_EIO,
                          "%s: no config.json; name the folder of a Hugging "
                          "Face checkpoint",
                          in->folder);
    if (!rc && i == 0)
        rc = weir_config_parse(in->files[i].data ? in->files[i].data : "",
                               in->files[i].n_bytes, path, &in->config, err);
    free(path);
    return rc;
}

static int has_kept(const struct importer *in, const char *name)
{
    for (size_t i = 0; i < N_KEPT; i++)
        if (!strcmp(kept_files[i], name))
            return in->has_file[i];
    return 0;
}

static int read_small_files(struct importer *in, struct weir_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < N_KEPT && !rc; i++)
        rc = read_small_file(in, i, err);
    if (!rc && !has_kept(in, "tokenizer.json") &&
        !has_kept(in, "tokenizer.model") && in->import->warn)
        in->import->warn(in->import->ctx,
                         "the folder has no tokenizer.json and no "
                         "tokenizer.model: the model will take and give token "
                         "ids only");
    return rc;
}

/* ---- hashes of the sources ---- */

struct hasher {
    const struct importer *in;
    pthread_mutex_t lock;
    uint64_t done, total;
    XXH128_hash_t *sums; /* one for each file of the checkpoint */
    int failed;
    struct weir_err *err;
};

static void hash_progress(struct hasher *hasher, uint64_t n)
{
    const struct weir_import *import = hasher->in->import;

    pthread_mutex_lock(&hasher->lock);
    hasher->done += n;
    if (import->progress)
        import->progress(import->ctx, "hashing", hasher->done, hasher->total);
    pthread_mutex_unlock(&hasher->lock);
}

static int hash_blocks(struct hasher *hasher,
                       const struct weir_source_file *file, XXH3_state_t *state,
                       void *block, struct weir_err *err)
{
    uint64_t at = 0, n;
    const void *data;
    int rc;

    while (at < file->n_bytes) {
        n = file->n_bytes - at < HASH_BLOCK ? file->n_bytes - at : HASH_BLOCK;
        rc = weir_source_read(file, at, n, block, &data, err);
        if (rc)
            return rc;
        XXH3_128bits_update(state, data, n);
        hash_progress(hasher, n);
        at += n;
    }
    return 0;
}

static void hash_file(void *ctx, size_t item, unsigned worker)
{
    struct hasher *hasher = ctx;
    XXH3_state_t *state = XXH3_createState();
    void *block = weir_source_buffer(HASH_BLOCK);
    struct weir_err why = {0};
    int rc;

    (void)worker;
    if (state && block) {
        XXH3_128bits_reset(state);
        rc = hash_blocks(hasher, &hasher->in->checkpoint.files[item], state,
                         block, &why);
        hasher->sums[item] = XXH3_128bits_digest(state);
    } else {
        rc = weir_err_nomem(&why, HASH_BLOCK, "hashing");
    }
    pthread_mutex_lock(&hasher->lock);
    if (rc && !hasher->failed) {
        hasher->failed = rc;
        if (hasher->err)
            *hasher->err = why;
    }
    pthread_mutex_unlock(&hasher->lock);
    free(block);
    XXH3_freeState(state);
}

static int hash_sources(const struct importer *in, XXH128_hash_t *sums,
                        struct weir_err *err)
{
    struct hasher hasher = {.in = in, .sums = sums, .err = err};
    struct weir_pool *pool;
    int rc = weir_pool_new(in->import->n_threads, &pool, err);

    if (rc)
        return rc;
    pthread_mutex_init(&hasher.lock, NULL);
    for (uint32_t i = 0; i < in->checkpoint.n_files; i++)
        hasher.total += in->checkpoint.files[i].n_bytes;
    weir_pool_run(pool, in->checkpoint.n_files, hash_file, &hasher);
    pthread_mutex_destroy(&hasher.lock);
    weir_pool_free(pool);
    return hasher.failed;
}

/* ---- provenance ---- */

static json_t *source_list(const struct importer *in, const XXH128_hash_t *sums)
{
    json_t *list = json_array();
    int bad = !list;

    for (size_t i = 0; i < N_KEPT && !bad; i++)
        if (in->has_file[i])
            bad = weir_provenance_add(
                list, kept_files[i], in->files[i].n_bytes,
                XXH3_128bits(in->files[i].data ? in->files[i].data : "",
                             in->files[i].n_bytes));
    for (uint32_t i = 0; i < in->checkpoint.n_files && !bad; i++)
        bad = weir_provenance_add(list, in->checkpoint.files[i].name,
                                  in->checkpoint.files[i].n_bytes, sums[i]);
    if (!bad)
        return list;
    json_decref(list);
    return NULL;
}

static int make_provenance(struct importer *in, const XXH128_hash_t *sums,
                           struct weir_err *err)
{
    const struct weir_import *import = in->import;

    return weir_provenance_make(&import->quant, import->policy,
                                source_list(in, sums), NULL, &in->provenance,
                                err);
}

/* Before the work begins: may `path` be written at all? */
static int check_output(const struct importer *in, const char *path,
                        struct weir_err *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < in->checkpoint.n_files && !rc; i++)
        rc = weir_path_check_output(path, in->checkpoint.files[i].path, err);
    return rc;
}

static int check_outputs(const struct importer *in, const char *path,
                         struct weir_err *err)
{
    const struct weir_stripe *stripe = in->import->stripe;
    int rc = check_output(in, path, err);

    for (unsigned i = 1; stripe && i < stripe->n_parts && !rc; i++)
        rc = check_output(in, stripe->parts[i].path, err);
    return rc;
}

static int hash_and_describe(struct importer *in, struct weir_err *err)
{
    XXH128_hash_t *sums = calloc(in->checkpoint.n_files, sizeof(*sums));
    int rc;

    if (!sums)
        return weir_err_nomem(err, sizeof(*sums), "hashes");
    rc = hash_sources(in, sums, err);
    if (!rc)
        rc = make_provenance(in, sums, err);
    free(sums);
    return rc;
}

/* ---- packing ---- */

static int read_tensor(void *ctx, const struct weir_pack_tensor *tensor,
                       uint64_t first, size_t n, void *buffer,
                       const void **data, struct weir_err *err)
{
    const struct importer *in = ctx;
    size_t bytes = weir_dtype_bytes(tensor->src_dtype);

    return weir_checkpoint_read(&in->checkpoint, tensor->source,
                                (tensor->source_first + first) * bytes,
                                n * bytes, buffer, data, err);
}

static void pack_progress(void *ctx, uint64_t done, uint64_t total)
{
    const struct importer *in = ctx;

    if (in->import->progress)
        in->import->progress(in->import->ctx, "packing", done, total);
}

static int write_pack(struct importer *in, const char *path,
                      struct weir_err *err)
{
    struct weir_pack_blob blobs[N_KEPT + 1];
    struct weir_pack pack = {
        .tensors = in->layout.tensors,
        .units = in->layout.units,
        .blobs = blobs,
        .n_tensors = in->layout.n_tensors,
        .n_units = in->layout.n_units,
        .policy = in->import->policy,
        .tile_ceiling = in->import->tile_ceiling,
        .n_threads = in->import->n_threads,
        .stripe = in->import->stripe,
        .read = read_tensor,
        .progress = pack_progress,
        .ctx = in,
    };

    for (size_t i = 0; i < N_KEPT; i++)
        if (in->has_file[i])
            blobs[pack.n_blobs++] = (struct weir_pack_blob){
                kept_files[i], in->files[i].data ? in->files[i].data : "",
                in->files[i].n_bytes};
    blobs[pack.n_blobs++] = (struct weir_pack_blob){
        "provenance.json", in->provenance, strlen(in->provenance)};
    return weir_pack_write(&pack, path, err);
}

int weir_import_folder(const struct weir_import *import, const char *folder,
                       const char *path, struct weir_err *err)
{
    struct importer in = {.import = import, .folder = folder};
    int rc = read_small_files(&in, err);

    if (!rc)
        rc = weir_checkpoint_open(folder, &in.checkpoint, err);
    if (!rc)
        rc = weir_layout_init(&in.layout, &in.config, &import->quant,
                              &in.checkpoint, err);
    if (!rc)
        rc = check_outputs(&in, path, err);
    if (!rc)
        rc = hash_and_describe(&in, err);
    if (!rc)
        rc = write_pack(&in, path, err);
    free(in.provenance);
    weir_layout_fini(&in.layout);
    weir_checkpoint_close(&in.checkpoint);
    for (size_t i = 0; i < N_KEPT; i++)
        weir_buf_fini(&in.files[i]);
    return rc;
}
