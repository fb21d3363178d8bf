/* SPDX-License-Identifier: Apache-2.0 */
#include "model/config.h"

#include <string.h>

#include "base/json.h"

#define MAX_VOCAB  (1 << 24)
#define MAX_WIDTH  (1 << 20) /* of hidden, intermediate, inner */
#define MAX_PERIOD WEIR_MAX_LAYERS

/* A document being read: its root, its name, and where errors go. */
struct reader {
    const json_t *root;
    const char *what;
    struct weir_err *err;
};

static int refuse(const struct reader *in, const char *key, const char *why)
{
    return weir_err_set(in->err, WEIR_ENOTSUP, "%s: %s: %s", in->what, key,
                        why);
}

static int get_u32(const struct reader *in, const char *key, int64_t fallback,
                   int64_t min, int64_t max, uint32_t *out)
{
    int64_t value = fallback;
    int rc =
        weir_json_get_int(in->root, key, in->what, min, max, &value, in->err);

    *out = (uint32_t)value;
    return rc;
}

/* The defaults are those of transformers' JambaConfig. */
static int read_numbers(const struct reader *in, struct weir_config *c)
{
    const struct {
        const char *key;
        int64_t fallback, min, max;
        uint32_t *out;
    } keys[] = {
        {"vocab_size", 65536, 1, MAX_VOCAB, &c->n_vocab},
        {"hidden_size", 4096, 1, MAX_WIDTH, &c->n_hidden},
        {"intermediate_size", 14336, 1, MAX_WIDTH, &c->n_inter},
        {"num_hidden_layers", 32, 1, WEIR_MAX_LAYERS, &c->n_layers},
        {"num_attention_heads", 32, 1, MAX_WIDTH, &c->n_heads},
        {"num_experts", 16, 1, WEIR_MAX_EXPERTS, &c->n_experts},
        {"num_experts_per_tok", 2, 1, WEIR_MAX_EXPERTS, &c->n_top},
        {"expert_layer_period", 2, 1, MAX_PERIOD, &c->expert_period},
        {"expert_layer_offset", 1, 0, MAX_PERIOD, &c->expert_offset},
        {"attn_layer_period", 8, 1, MAX_PERIOD, &c->attn_period},
        {"attn_layer_offset", 4, 0, MAX_PERIOD, &c->attn_offset},
        {"mamba_d_state", 16, 1, 4096, &c->n_state},
        {"mamba_d_conv", 4, 1, 256, &c->d_conv},
        {"max_position_embeddings", 262144, 1, INT32_MAX, &c->max_context},
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !rc; i++)
        rc = get_u32(in, keys[i].key, keys[i].fallback, keys[i].min,
                     keys[i].max, keys[i].out);
    return rc;
}

/* Widths that follow from others; null KV heads are as many as heads. */
static int read_widths(const struct reader *in, struct weir_config *c)
{
    const json_t *rank = json_object_get(in->root, "mamba_dt_rank");
    int has_kv = !!json_object_get(in->root, "num_key_value_heads");
    uint32_t expand = 0;
    int rc;

    rc = get_u32(in, "num_key_value_heads", has_kv ? c->n_heads : 8, 1,
                 MAX_WIDTH, &c->n_kv_heads);
    if (!rc)
        rc = get_u32(in, "mamba_expand", 2, 1, 64, &expand);
    if (rc)
        return rc;
    if (expand > MAX_WIDTH / c->n_hidden)
        return refuse(in, "mamba_expand", "the inner width is too large");
    c->n_inner = expand * c->n_hidden;
    c->dt_rank = (c->n_hidden + 15) / 16;
    if (json_is_string(rank) && !strcmp(json_string_value(rank), "auto"))
        return 0;
    if (json_is_string(rank))
        return refuse(in, "mamba_dt_rank", "must be \"auto\" or a number");
    return get_u32(in, "mamba_dt_rank", c->dt_rank, 1, MAX_WIDTH, &c->dt_rank);
}

static int read_flags(const struct reader *in, struct weir_config *c)
{
    double eps = 1e-6;
    int rc;

    c->conv_bias = 1;
    rc = weir_json_get_bool(in->root, "mamba_conv_bias", in->what,
                            &c->conv_bias, in->err);
    if (!rc)
        rc = weir_json_get_bool(in->root, "mamba_proj_bias", in->what,
                                &c->proj_bias, in->err);
    if (!rc)
        rc = weir_json_get_bool(in->root, "tie_word_embeddings", in->what,
                                &c->tied, in->err);
    if (!rc)
        rc = weir_json_get_real(in->root, "rms_norm_eps", in->what, 0, 1, &eps,
                                in->err);
    c->rms_eps = (float)eps;
    return rc;
}

static int read_token(const struct reader *in, const struct weir_config *c,
                      const char *key, int32_t fallback, int32_t *out)
{
    int64_t id = fallback;
    int rc = weir_json_get_int(in->root, key, in->what, -1, c->n_vocab - 1, &id,
                               in->err);

    *out = (int32_t)id;
    return rc;
}

int weir_config_add_eos(const json_t *root, const char *what,
                        struct weir_config *c, struct weir_err *err)
{
    const json_t *eos = json_object_get(root, "eos_token_id"), *id;
    size_t n = json_is_array(eos) ? json_array_size(eos) : 1;
    uint32_t seen;

    if (!eos || json_is_null(eos))
        return 0;
    for (size_t i = 0; i < n; i++) {
        id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= c->n_vocab)
            return weir_err_set(err, WEIR_EFORMAT,
                                "%s: eos_token_id must be an id below "
                                "vocab_size, or a list of such",
                                what);
        for (seen = 0; seen < c->n_eos; seen++)
            if (c->eos[seen] == json_integer_value(id))
                break;
        if (seen < c->n_eos)
            continue;
        if (c->n_eos == WEIR_MAX_EOS)
            return weir_err_set(err, WEIR_ELIMIT,
                                "%s: eos_token_id: more than %d ids", what,
                                WEIR_MAX_EOS);
        c->eos[c->n_eos++] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int read_tokens(const struct reader *in, struct weir_config *c)
{
    int rc =
        read_token(in, c, "bos_token_id", 1 % (int32_t)c->n_vocab, &c->bos);

    if (!rc)
        rc = read_token(in, c, "pad_token_id", 0, &c->pad);
    if (!rc && !json_object_get(in->root, "eos_token_id") && c->n_vocab > 2) {
        c->eos[0] = 2;
        c->n_eos = 1;
    }
    return rc ? rc : weir_config_add_eos(in->root, in->what, c, in->err);
}

/* Keys whose other values would change the arithmetic. */
static int check_supported(const struct reader *in)
{
    const char *type = NULL, *act = "silu";
    const json_t *window = json_object_get(in->root, "sliding_window");
    const json_t *quant = json_object_get(in->root, "quantization_config");
    int rc;

    rc = weir_json_get_string(in->root, "model_type", in->what, &type, in->err);
    if (!rc)
        rc = weir_json_get_string(in->root, "hidden_act", in->what, &act,
                                  in->err);
    if (rc)
        return rc;
    if (!type || strcmp(type, "jamba"))
        return refuse(in, "model_type", "weir runs \"jamba\" models only");
    if (strcmp(act, "silu"))
        return refuse(in, "hidden_act", "weir runs \"silu\" only");
    if (window && !json_is_null(window))
        return refuse(in, "sliding_window", "weir runs null only");
    if (quant && !json_is_null(quant))
        return refuse(in, "quantization_config",
                      "a quantised checkpoint; pack the full-precision one");
    return 0;
}

static int check_shape(const struct reader *in, struct weir_config *c)
{
    if (c->n_hidden % c->n_heads)
        return refuse(in, "num_attention_heads", "must divide hidden_size");
    c->head_dim = c->n_hidden / c->n_heads;
    if (c->n_heads % c->n_kv_heads)
        return refuse(in, "num_key_value_heads",
                      "must divide num_attention_heads");
    if (c->attn_offset >= c->attn_period)
        return refuse(in, "attn_layer_offset",
                      "must be below attn_layer_period");
    if (c->n_experts > 1 && c->expert_offset >= c->expert_period)
        return refuse(in, "expert_layer_offset",
                      "must be below expert_layer_period");
    if (c->n_top > c->n_experts && c->n_experts > 1)
        return refuse(in, "num_experts_per_tok", "more than num_experts");
    return 0;
}

/* Newer checkpoints list the layers' kinds too; they must say the same. */
static int check_block_types(const struct reader *in,
                             const struct weir_config *c)
{
    const json_t *list = json_object_get(in->root, "layers_block_type");
    const char *kind, *expected;

    if (!list || json_is_null(list))
        return 0;
    if (json_array_size(list) != c->n_layers)
        return refuse(in, "layers_block_type",
                      "must have num_hidden_layers entries");
    for (uint32_t i = 0; i < c->n_layers; i++) {
        kind = json_string_value(json_array_get(list, i));
        expected = weir_config_is_attention(c, i) ? "attention" : "mamba";
        if (!kind || strcmp(kind, expected))
            return refuse(in, "layers_block_type",
                          "contradicts attn_layer_period and "
                          "attn_layer_offset");
    }
    return 0;
}

static int read_config(const struct reader *in, struct weir_config *c)
{
    int rc = check_supported(in);

    if (!rc)
        rc = read_numbers(in, c);
    if (!rc)
        rc = read_widths(in, c);
    if (!rc)
        rc = read_flags(in, c);
    if (!rc)
        rc = read_tokens(in, c);
    if (!rc)
        rc = check_shape(in, c);
    return rc ? rc : check_block_types(in, c);
}

int weir_config_parse(const char *json, size_t n_bytes, const char *what,
                      struct weir_config *config, struct weir_err *err)
{
    struct reader in = {.what = what, .err = err};
    json_t *root;
    int rc;

    memset(config, 0, sizeof(*config));
    rc = weir_json_parse(json, n_bytes, what, &root, err);
    if (rc)
        return rc;
    in.root = root;
    if (json_is_object(root))
        rc = read_config(&in, config);
    else
        rc = weir_err_set(err, WEIR_EFORMAT, "%s: not a JSON object", what);
    json_decref(root);
    return rc;
}

int weir_config_read(const struct weir_file *file, struct weir_config *config,
                     struct weir_err *err)
{
    static const char what[] = "config.json";
    size_t n_bytes;
    char *json;
    int rc = weir_file_read_blob(file, what, &json, &n_bytes, err);

    if (rc)
        return rc;
    if (!json)
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: has no config.json; pack the model again",
                            file->path);
    rc = weir_config_parse(json, n_bytes, what, config, err);
    free(json);
    return rc;
}

int weir_config_is_attention(const struct weir_config *config, uint32_t layer)
{
    return layer % config->attn_period == config->attn_offset;
}

int weir_config_is_moe(const struct weir_config *config, uint32_t layer)
{
    return config->n_experts > 1 &&
           layer % config->expert_period == config->expert_offset;
}
