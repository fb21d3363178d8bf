/* SPDX-License-Identifier: Apache-2.0 */
/* The selective scan; Gu and Dao 2023, algorithm 2, and steps around it. */
#include "kernels/cpu/ref.h"

static float softplus(float v)
{
    return v > 20.0f ? v : log1pf(expf(v));
}

/* One channel, one token: moves its state on and reads it out. */
static float step(float *state, const float *a, const float *b, const float *c,
                  size_t n_state, float delta, float u)
{
    float sum = 0.0f;

    for (size_t n = 0; n < n_state; n++) {
        state[n] = expf(delta * a[n]) * state[n] + delta * b[n] * u;
        sum += state[n] * c[n];
    }
    return sum;
}

void weir_ref_scan(const struct weir_scan *scan)
{
    size_t n_state = scan->n_state;

    for (size_t t = 0; t < scan->n_tok; t++)
        for (size_t c = 0; c < scan->n_ch; c++) {
            float u = scan->u[t * scan->ld_u + c];
            float z = scan->z[t * scan->ld_z + c];
            float delta =
                softplus(scan->dt[t * scan->ld_dt + c] + scan->dt_bias[c]);
            float sum = step(scan->state + c * n_state, scan->a + c * n_state,
                             scan->b + t * scan->ld_bc,
                             scan->c + t * scan->ld_bc, n_state, delta, u);

            scan->y[t * scan->ld_y + c] = (sum + scan->d[c] * u) * ref_silu(z);
        }
}
