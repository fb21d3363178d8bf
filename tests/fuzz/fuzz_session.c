/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a session, for a session that holds something already.  The first
 * byte of the input says whether checksums are put right.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/session_file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tiny_session.h"

#define MAX_IMAGE (64 << 10)

/* Every place that the session says it has can be gone back to. */
static void use(weir_session *session)
{
    const struct weir_snapshots *snapshots = &session->snapshots;
    size_t n = weir_session_n_tok(session), n_kept;
    int32_t ids[TINY_CTX];
    float scores[16];

    FUZZ_CHECK(n > 0 && n <= TINY_CTX && snapshots->n_vocab <= 16);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(session->ids[i] >= 0 &&
                   (size_t)session->ids[i] < snapshots->n_vocab);
    memcpy(ids, session->ids, n * sizeof(*ids));
    for (size_t i = n; i > 0; i--) {
        n_kept = weir_session_rewind(session, ids, i, scores);
        FUZZ_CHECK(n_kept <= i && n_kept == weir_session_n_tok(session));
        FUZZ_CHECK(snapshots->n_kept <= snapshots->n_slots);
    }
}

/* Of a file that can be loaded the outline can be had, and says the same. */
static void outline(const weir_session *session, const char *path, int loaded)
{
    struct weir_session_outline outline;
    struct weir_err err = {0};
    int rc = weir_session_outline(session->model, path, WEIR_KV_BF16, &outline,
                                  &err);

    if (rc) {
        fuzz_check_refused(rc, &err);
        FUZZ_CHECK(!loaded);
    } else if (loaded) {
        FUZZ_CHECK(outline.n_tok == weir_session_n_tok(session));
        FUZZ_CHECK(!memcmp(outline.ids, session->ids,
                           outline.n_tok * sizeof(*outline.ids)));
        FUZZ_CHECK(outline.places.n_kept >= session->snapshots.n_kept);
    }
    weir_session_outline_fini(&outline);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static uint8_t image[MAX_IMAGE];
    struct weir_err err = {0};
    weir_session *session;
    const char *path;
    int rc;

    if (n_bytes < 1 || n_bytes > MAX_IMAGE)
        return 0;
    memcpy(image, data + 1, n_bytes - 1);
    if (data[0] & 1)
        tiny_session_mend(image, n_bytes - 1);
    session = tiny_session_new();
    FUZZ_CHECK(session);
    tiny_session_fill(session, 3);
    path = fuzz_path(image, n_bytes - 1);
    rc = weir_session_load(session, path, &err);
    outline(session, path, !rc);
    if (rc) {
        fuzz_check_refused(rc, &err);
        FUZZ_CHECK(weir_session_n_tok(session) == 3 ||
                   weir_session_n_tok(session) == 0);
    } else {
        use(session);
    }
    weir_session_free(session);
    return 0;
}
