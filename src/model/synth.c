/* SPDX-License-Identifier: Apache-2.0 */
#include "model/synth.h"

#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/buf.h"
#include "base/path.h"
#include "model/provenance.h"
#include "model/random_weights.h"
#include "offload/stripe.h"

#define MAX_CONFIG (1u << 20)

/* Shapes with a name: those that JambaConfig's defaults do not give. */
static const struct {
    const char *name;
    int hidden, inter, layers, heads, dt_rank;
} shapes[] = {
    {"mini", 4096, 14336, 32, 32, 256},
    {"large", 8192, 24576, 72, 64, 512},
    {"mini-slice", 4096, 14336, 8, 32, 256},
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))
#define NO_SHAPE N_SHAPES

struct synthesiser {
    const struct weir_synth *synth;
    const char *shape;
    struct weir_buf json; /* config.json */
    struct weir_config config;
    struct weir_layout layout;
    struct weir_random_weights *weights;
    char *provenance;
};

/* ---- the shape ---- */

static size_t find_shape(const char *name)
{
    size_t i = 0;

    while (i < N_SHAPES && strcmp(shapes[i].name, name))
        i++;
    return i;
}

static json_t *shape_json(size_t i)
{
    return json_pack(
        "{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, "
        "s:i, s:s, s:i, s:i, s:i, s:i, s:b, s:b, s:f, s:b, s:i, s:i, s:[i, "
        "i], s:i}",
        "architectures", "JambaForCausalLM", "model_type", "jamba",
        "torch_dtype", "bfloat16", "vocab_size", 65536, "hidden_size",
        shapes[i].hidden, "intermediate_size", shapes[i].inter,
        "num_hidden_layers", shapes[i].layers, "num_attention_heads",
        shapes[i].heads, "num_key_value_heads", 8, "attn_layer_period", 8,
        "attn_layer_offset", 4, "num_experts", 16, "num_experts_per_tok", 2,
        "expert_layer_period", 2, "hidden_act", "silu", "expert_layer_offset",
        1, "mamba_d_state", 16, "mamba_d_conv", 4, "mamba_expand", 2,
        "mamba_conv_bias", 1, "mamba_proj_bias", 0, "rms_norm_eps", 1e-6,
        "tie_word_embeddings", 0, "pad_token_id", 0, "bos_token_id", 1,
        "eos_token_id", 2, 518, "mamba_dt_rank", shapes[i].dt_rank);
}

static int write_config(struct synthesiser *in, size_t shape,
                        struct weir_err *err)
{
    json_t *root = shape_json(shape);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    int rc = text ? weir_buf_add(&in->json, text, strlen(text), err)
                  : weir_err_nomem(err, MAX_CONFIG, "config.json");

    free(text);
    json_decref(root);
    return rc;
}

static int read_config(struct synthesiser *in, struct weir_err *err)
{
    if (!weir_path_exists(in->shape))
        return weir_err_set(err, WEIR_EARG,
                            "%s: no such shape; the shapes with a name are "
                            "mini, large and mini-slice, and any other is "
                            "given as the path of a config.json",
                            in->shape);
    return weir_buf_add_file(&in->json, in->shape, err);
}

static int find_config(struct synthesiser *in, struct weir_err *err)
{
    size_t shape = find_shape(in->shape);
    int rc;

    in->json = (struct weir_buf)WEIR_BUF(MAX_CONFIG);
    rc =
        shape == NO_SHAPE ? read_config(in, err) : write_config(in, shape, err);
    return rc ? rc
              : weir_config_parse(in->json.data ? in->json.data : "",
                                  in->json.n_bytes, in->shape, &in->config,
                                  err);
}

/* ---- layers that share their tiles ---- */

enum kind { KIND_MAMBA, KIND_ATTENTION, KIND_DENSE, KIND_MOE, N_KINDS };

/* The kind of the part of a layer that begins with this unit, or N_KINDS. */
static enum kind kind_of(const struct weir_config *config, const char *unit)
{
    const char *part = strrchr(unit, '.');
    uint32_t layer =
        (uint32_t)strtoul(unit + strcspn(unit, ".") + !!part, NULL, 10);

    if (!part)
        return N_KINDS;
    if (!strcmp(part, ".mixer"))
        return weir_config_is_attention(config, layer) ? KIND_ATTENTION
                                                       : KIND_MAMBA;
    if (!strcmp(part, ".mlp"))
        return KIND_DENSE;
    return strcmp(part, ".router") ? N_KINDS : KIND_MOE;
}

/*
 * Each part of a layer shares the tiles of the first of its kind, a MoE with
 * all its experts, which follow their router.
 */
static void share_layers(struct synthesiser *in)
{
    const struct weir_pack_unit *units = in->layout.units;
    uint32_t first[N_KINDS] = {0}, back = 0;

    for (uint32_t u = 0; u < in->layout.n_units; u++) {
        const struct weir_pack_unit *unit = &units[u];
        enum kind kind = kind_of(&in->config, unit->name);

        if (!strchr(unit->name, '.')) {
            back = 0;
        } else if (kind != N_KINDS) {
            if (!first[kind]) /* unit 0 is the embedding */
                first[kind] = u;
            back = u - first[kind];
        }
        for (uint32_t i = 0; i < unit->n_tensors; i++)
            in->layout.tensors[unit->first_tensor + i].share_back =
                unit->first_tensor - units[u - back].first_tensor;
    }
}

/* The path of a config.json is left out: it is no part of the model. */
static int make_provenance(struct synthesiser *in, struct weir_err *err)
{
    const struct weir_synth *synth = in->synth;
    int named = find_shape(in->shape) != NO_SHAPE;
    json_t *sources = json_array();
    json_t *asked =
        json_pack("{s:s, s:I, s:b}", "shape", named ? in->shape : "config.json",
                  "seed", (json_int_t)synth->seed, "alias", synth->alias);

    if (!asked ||
        weir_provenance_add(sources, "config.json", in->json.n_bytes,
                            XXH3_128bits(in->json.data, in->json.n_bytes))) {
        json_decref(sources);
        json_decref(asked);
        return weir_err_nomem(err, 4096, "the provenance");
    }
    return weir_provenance_make(&synth->quant, synth->policy, sources, asked,
                                &in->provenance, err);
}

/* ---- room on the drive ---- */

/* What a tensor takes at the least: planes save a third of bf16, zstd a tenth
 * of int8. */
static uint64_t least_bytes(const struct weir_pack_tensor *tensor,
                            enum weir_codec_policy policy)
{
    uint64_t n = weir_dtype_bytes(tensor->dtype);

    for (unsigned i = 0; i < tensor->n_dims; i++)
        n *= tensor->shape[i];
    if (policy != WEIR_POLICY_RAW && tensor->dtype == WEIR_BF16)
        return n / 5 * 3;
    if (policy == WEIR_POLICY_ZSTD)
        return n / 5 * 4;
    return n;
}

/* Bytes that a file of ours at `path` may grow to; 0: not known. */
static uint64_t room_for(const char *path)
{
    char *part, *folder = strdup(path);
    struct statvfs drive;
    struct stat old;
    uint64_t room = 0;

    if (folder && !statvfs(dirname(folder), &drive))
        room = (uint64_t)drive.f_bavail * drive.f_frsize;
    free(folder);
    if (room && asprintf(&part, "%s.part", path) >= 0) {
        if (!stat(part, &old))
            room += (uint64_t)old.st_blocks * 512;
        free(part);
    }
    return room;
}

static int check_drive(const char *path, uint64_t needed, struct weir_err *err)
{
    uint64_t room = room_for(path);

    if (!room || needed <= room)
        return 0;
    return weir_err_set(err, WEIR_EIO,
                        "%s: takes at least %.1f GB where the drive has %.1f "
                        "GB left; make room or choose a smaller shape",
                        path, (double)needed / 1e9, (double)room / 1e9);
}

static int check_room(const struct synthesiser *in, const char *path,
                      struct weir_err *err)
{
    const struct weir_stripe *stripe = in->synth->stripe;
    uint64_t needed = 0;
    int rc = 0;

    for (uint32_t i = 0; i < in->layout.n_tensors; i++)
        if (!in->layout.tensors[i].share_back)
            needed += least_bytes(&in->layout.tensors[i], in->synth->policy);
    if (!stripe)
        return check_drive(path, needed, err);
    for (unsigned i = 0; i < stripe->n_parts && !rc; i++)
        rc = check_drive(
            stripe->parts[i].path,
            needed / stripe->n_parts * weir_stripe_n_sharing(stripe, i), err);
    return rc;
}

/* ---- writing ---- */

static int make_tensor(void *ctx, const struct weir_pack_tensor *tensor,
                       uint64_t first, size_t n, void *buffer,
                       const void **data, struct weir_err *err)
{
    const struct synthesiser *in = ctx;

    (void)err;
    weir_random_weights_get(in->weights, tensor->source, first, n, buffer);
    *data = buffer;
    return 0;
}

static void show_progress(void *ctx, uint64_t done, uint64_t total)
{
    const struct synthesiser *in = ctx;

    if (in->synth->progress)
        in->synth->progress(in->synth->ctx, done, total);
}

static int write_pack(struct synthesiser *in, const char *path,
                      struct weir_err *err)
{
    struct weir_pack_blob blobs[] = {
        {"config.json", in->json.data, in->json.n_bytes},
        {"provenance.json", in->provenance, strlen(in->provenance)},
    };
    struct weir_pack pack = {
        .tensors = in->layout.tensors,
        .units = in->layout.units,
        .blobs = blobs,
        .n_tensors = in->layout.n_tensors,
        .n_units = in->layout.n_units,
        .n_blobs = sizeof(blobs) / sizeof(blobs[0]),
        .policy = in->synth->policy,
        .tile_ceiling = in->synth->tile_ceiling,
        .n_threads = in->synth->n_threads,
        .stripe = in->synth->stripe,
        .read = make_tensor,
        .progress = show_progress,
        .ctx = in,
    };

    return weir_pack_write(&pack, path, err);
}

int weir_synth_write(const struct weir_synth *synth, const char *shape,
                     const char *path, struct weir_err *err)
{
    struct synthesiser in = {.synth = synth, .shape = shape};
    int rc = find_config(&in, err);

    if (!rc)
        rc = weir_path_check_output(path, shape, err);
    if (!rc)
        rc = weir_layout_init(&in.layout, &in.config, &synth->quant, NULL, err);
    if (!rc && synth->alias)
        share_layers(&in);
    if (!rc)
        rc = check_room(&in, path, err);
    if (!rc)
        rc = weir_random_weights_new(&in.layout, &in.config, synth->seed,
                                     &in.weights, err);
    if (!rc)
        rc = make_provenance(&in, err);
    if (!rc)
        rc = write_pack(&in, path, err);
    free(in.provenance);
    weir_random_weights_free(in.weights);
    weir_layout_fini(&in.layout);
    weir_buf_fini(&in.json);
    return rc;
}
