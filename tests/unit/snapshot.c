/* SPDX-License-Identifier: Apache-2.0 */
/* Which places of a timeline are kept, and which go when there is no room. */
#include "engine/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "tests/tap.h"

#define N_MAMBA 3
#define N_VOCAB 2

static struct weir_snapshots snapshots;

static void start(size_t n_slots)
{
    uint64_t n_bytes = n_slots * weir_snapshot_bytes(N_MAMBA, N_VOCAB);

    weir_snapshots_fini(&snapshots);
    if (weir_snapshots_init(&snapshots, N_MAMBA, N_VOCAB, 1 << 18, n_bytes + 1,
                            NULL))
        tap_ok(0, "%zu slots", n_slots);
}

/* "100t 4096 ...": where places are, and which are ends of turns */
static const char *list(void)
{
    static char text[512];
    size_t n = 0;

    *text = '\0';
    for (size_t i = 0; i < snapshots.n_kept; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%zu%s",
                              i ? " " : "", snapshots.kept[i].n_tok,
                              snapshots.kept[i].turn ? "t" : "");
    return text;
}

/* Every place has a slot of its own, and the pass fills the new ones. */
static int is_sound(size_t from, const struct weir_kept *now)
{
    unsigned char seen[64] = {0};
    size_t n_new = 0;

    for (size_t i = 0; i < snapshots.n_kept; i++) {
        const struct weir_kept *kept = &snapshots.kept[i];

        if (kept->slot >= snapshots.n_slots || seen[kept->slot]++)
            return 0;
        if (i && kept->n_tok <= kept[-1].n_tok)
            return 0;
        n_new += kept->n_tok > from;
    }
    for (size_t i = 0; i < snapshots.n_wanted; i++)
        if (snapshots.wanted[i].n_tok <= from)
            return 0;
    return n_new == snapshots.n_wanted && (!now || now->n_tok == from);
}

static void expect(size_t from, size_t to, int turn, const char *wanted)
{
    const struct weir_kept *now =
        weir_snapshots_plan(&snapshots, from, to, turn);

    tap_ok(!strcmp(list(), wanted) && is_sound(from, now),
           "tokens %zu to %zu%s: %s", from, to, turn ? " of a turn" : "",
           wanted);
    if (strcmp(list(), wanted))
        tap_diag("places %s", list());
}

int main(void)
{
    start(6);
    expect(0, 20, 1, "20t");
    expect(20, 30, 0, "20t");
    expect(30, 40, 1, "20t 30t 40t");
    expect(40, 200, 1, "20t 30t 40t 192 200t");
    expect(200, 5000, 1, "20t 30t 40t 200t 4096 5000t");
    expect(5000, 8192, 0, "20t 30t 40t 200t 4096 5000t");
    weir_snapshots_drop(&snapshots, 4500);
    expect(4096, 4100, 1, "20t 30t 40t 200t 4096t 4100t");
    expect(4100, 4200, 1, "20t 40t 200t 4096t 4100t 4200t");
    expect(4200, 9000, 0, "20t 40t 200t 4096t 4100t 4200t");
    expect(9000, 9010, 1, "40t 200t 4096t 4200t 9000t 9010t");

    start(4);
    expect(0, 40960, 1, "16384 24576 32768 40960t");
    start(1);
    expect(0, 100, 1, "100t");
    expect(100, 4100, 0, "100t");
    expect(4100, 4110, 1, "4110t");
    start(0);
    expect(0, 5000, 1, "");
    tap_ok(!weir_snapshots_find(&snapshots, 10, 20), "no places");

    start(8);
    weir_snapshots_plan(&snapshots, 0, 100, 1);
    weir_snapshots_plan(&snapshots, 100, 150, 1);
    snapshots.kept[3].scored = 1;
    tap_ok(weir_snapshots_find(&snapshots, 150, 150)->n_tok == 150 &&
               weir_snapshots_find(&snapshots, 149, 200)->n_tok == 128 &&
               weir_snapshots_find(&snapshots, 128, 128)->n_tok == 100 &&
               !weir_snapshots_find(&snapshots, 63, 200),
           "the last place that a text can be gone on from");
    weir_snapshots_fini(&snapshots);
    return tap_done();
}
