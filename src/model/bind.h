/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tensors that a Jamba model is made of, found in a file by the names of
 * the checkpoint and checked: shape, type, scales.  Matrices stay where they
 * are and are named by number; vectors are widened to f32 here, once, into one
 * arena, because every token needs them.
 */
#ifndef WEIR_MODEL_BIND_H
#define WEIR_MODEL_BIND_H

#include "model/config.h"
#include "offload/residency.h"

/* y = W x * scale + bias; W [rows][cols] is a tensor of the file. */
struct weir_linear {
    uint32_t tensor;
    const float *scale; /* [rows], of an int8 matrix; else NULL */
    const float *bias;  /* [rows] or NULL */
};

struct weir_bind_attention {
    struct weir_linear q, k, v, o;
};

struct weir_bind_mamba {
    struct weir_linear in_proj;  /* [2 n_inner][n_hidden]: x, then z */
    struct weir_linear x_proj;   /* [dt_rank + 2 n_state][n_inner]: dt, B, C */
    struct weir_linear dt_proj;  /* [n_inner][dt_rank], bias left to the scan */
    struct weir_linear out_proj; /* [n_hidden][n_inner] */
    const float *conv_w;         /* [n_inner][d_conv] */
    const float *conv_bias;      /* [n_inner] or NULL */
    const float *dt_norm, *b_norm, *c_norm; /* [dt_rank], [n_state] twice */
    const float *dt_bias;                   /* [n_inner] */
    const float *a;                         /* [n_inner][n_state] */
    const float *d;                         /* [n_inner] */
};

/* The dense MLP of a layer, or one expert */
struct weir_bind_mlp {
    uint32_t unit;
    struct weir_linear gate, up; /* [n_inter][n_hidden] */
    struct weir_linear down;     /* [n_hidden][n_inter] */
};

struct weir_bind_layer {
    uint32_t mixer_unit;
    uint32_t ff_unit; /* "layers.N.mlp" or "layers.N.router" */
    const float *input_norm, *pre_ff_norm; /* [n_hidden] */
    struct weir_bind_attention attention;  /* one of these two */
    struct weir_bind_mamba mamba;
    struct weir_linear router;  /* [n_experts][n_hidden], of a MoE layer */
    struct weir_bind_mlp *mlps; /* [n_experts], or [1] of a dense layer */
};

struct weir_bind {
    uint32_t embed_unit, head_unit;
    uint32_t embed;          /* tensor [n_vocab][n_hidden] */
    struct weir_linear head; /* the same matrix when the model is tied */
    const float *final_norm; /* [n_hidden] */
    struct weir_bind_layer *layers;
    struct weir_bind_mlp *mlps; /* of all layers */
    float *arena;               /* what the vectors point into, n_floats */
    size_t n_floats;
    uint32_t max_tile_rows; /* of the matrices */
};

/*
 * Finds and checks every tensor that `config` calls for, then reads the
 * vectors.  An error names the tensor.  Release with weir_bind_fini().
 */
int weir_bind_init(struct weir_bind *bind, const struct weir_config *config,
                   const struct weir_file *file,
                   struct weir_residency *residency, struct weir_err *err);
void weir_bind_fini(struct weir_bind *bind);

#endif
