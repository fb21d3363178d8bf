/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of a Jamba model: config.json, checked. */
#ifndef WEIR_MODEL_CONFIG_H
#define WEIR_MODEL_CONFIG_H

#include "base/json.h"
#include "offload/file.h"

#define WEIR_MAX_LAYERS  1024
#define WEIR_MAX_EXPERTS 1024
#define WEIR_MAX_EOS     16

struct weir_config {
    uint32_t n_vocab;
    uint32_t n_hidden;
    uint32_t n_inter; /* width of an expert and of the dense MLP */
    uint32_t n_layers;
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t n_experts, n_top; /* n_experts 1: no layer has experts */
    uint32_t expert_period, expert_offset;
    uint32_t attn_period, attn_offset;
    uint32_t n_state, d_conv, n_inner, dt_rank; /* of Mamba layers */
    int conv_bias, proj_bias;
    int tied; /* the embedding serves as lm_head too */
    float rms_eps;
    uint32_t max_context; /* advertised; the arithmetic has no limit */
    int32_t bos, pad;     /* -1: none */
    int32_t eos[WEIR_MAX_EOS];
    uint32_t n_eos;
};

/*
 * Reads config.json.  `what` names it in messages.  WEIR_ENOTSUP, naming the
 * key, for a value that weir does not run; WEIR_EFORMAT for one that makes no
 * sense.
 */
int weir_config_parse(const char *json, size_t n_bytes, const char *what,
                      struct weir_config *config, struct weir_err *err);

/* Reads the config.json in a packed model; WEIR_EFORMAT when it has none. */
int weir_config_read(const struct weir_file *file, struct weir_config *config,
                     struct weir_err *err);

/*
 * Adds the eos_token_id of `root` (config.json or generation_config.json), an
 * id or a list of ids, to those that `config` has.
 */
int weir_config_add_eos(const json_t *root, const char *what,
                        struct weir_config *config, struct weir_err *err);

int weir_config_is_attention(const struct weir_config *config, uint32_t layer);
int weir_config_is_moe(const struct weir_config *config, uint32_t layer);

#endif
