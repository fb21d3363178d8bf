/* SPDX-License-Identifier: Apache-2.0 */
#include "model/layers.h"
#include "model/linear.h"

int weir_layer_mlp(struct weir_jamba *jamba, const struct weir_bind_mlp *mlp,
                   const float *x, size_t n_tok, float *y, struct weir_err *err)
{
    size_t hidden = jamba->config.n_hidden, inter = jamba->config.n_inter;
    float *gate = jamba->work.gate, *up = jamba->work.up;
    int rc;

    rc = weir_linear_apply(jamba, &mlp->gate, x, hidden, n_tok, gate, inter,
                           err);
    if (!rc)
        rc = weir_linear_apply(jamba, &mlp->up, x, hidden, n_tok, up, inter,
                               err);
    if (rc)
        return rc;
    jamba->kernels.silu_mul(gate, inter, up, inter, n_tok, inter);
    return weir_linear_apply(jamba, &mlp->down, gate, inter, n_tok, y, hidden,
                             err);
}
