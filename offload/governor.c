/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/governor.h"

int weir_governor_allows(struct weir_governor *governor)
{
    if (!governor->n_paused)
        return 1;
    governor->n_paused--;
    return 0;
}

void weir_governor_note(struct weir_governor *governor, int is_right)
{
    governor->right = governor->right << 1 | (is_right != 0);
    if (governor->n_known < WEIR_GOVERNOR_WINDOW)
        governor->n_known++;
    if (governor->n_known < WEIR_GOVERNOR_WINDOW ||
        __builtin_popcount(governor->right) >= WEIR_GOVERNOR_LEAST)
        return;
    governor->n_known = 0;
    governor->n_paused = WEIR_GOVERNOR_PAUSE;
}
