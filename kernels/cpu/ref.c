/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/ref.h"

const struct weir_kernels weir_kernels_ref = {
    .matmul = weir_ref_matmul,
    .block_fold = weir_ref_block_fold,
    .scale_bias = weir_ref_scale_bias,
    .turn_scale_bias = weir_ref_turn_scale_bias,
    .rms_norm = weir_ref_rms_norm,
    .silu_mul = weir_ref_silu_mul,
    .add_scaled = weir_ref_add_scaled,
    .route = weir_ref_route,
    .conv = weir_ref_conv,
    .scan = weir_ref_scan,
    .attention = weir_ref_attention,
    .attention_join = weir_ref_attention_join,
    .argmax = weir_ref_argmax,
    .probe_read = weir_ref_probe_read,
    .probe_flop = weir_ref_probe_flop,
};
