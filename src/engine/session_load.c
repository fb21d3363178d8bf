/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First all that the file says of itself is checked, and only then is anything
 * of the session's touched: so a file of another model costs nothing.  A
 * section whose checksum does not match leaves the session empty.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/session_file.h"
#include "offload/checksum.h"

/* A section and where it begins */
struct cursor {
    struct weir_session_file *file;
    uint32_t next; /* section */
    struct weir_section section;
    uint64_t offset;
    struct weir_err *err;
};

static struct cursor begin(struct weir_session_file *file, struct weir_err *err)
{
    return (struct cursor){.file = file,
                           .offset = WEIR_SESSION_HEADER_BYTES +
                                     (uint64_t)WEIR_SESSION_RECORD_BYTES *
                                         file->n_sections,
                           .err = err};
}

/* Goes on to the next section; 0 when there is none. */
static int step(struct cursor *cursor)
{
    const struct weir_session_file *file = cursor->file;

    if (cursor->next)
        cursor->offset += cursor->section.n_bytes;
    if (cursor->next == file->n_sections)
        return 0;
    weir_section_get(&cursor->section,
                     file->head + WEIR_SESSION_HEADER_BYTES +
                         (size_t)WEIR_SESSION_RECORD_BYTES * cursor->next);
    cursor->next++;
    return 1;
}

/* ---- the table ---- */

static int wrong(const struct cursor *cursor, const char *why)
{
    uint32_t at = cursor->next ? cursor->next - 1 : 0;

    return weir_session_file_wrong(cursor->file,
                                   WEIR_SESSION_HEADER_BYTES +
                                       (uint64_t)WEIR_SESSION_RECORD_BYTES * at,
                                   why, cursor->err);
}

/* The next section has to be of this kind and size. */
static int expect(struct cursor *cursor, uint32_t kind, uint64_t n_bytes)
{
    if (!step(cursor))
        return wrong(cursor, "a section is missing");
    if (cursor->section.kind != kind)
        return wrong(cursor, "a section of another kind");
    if (cursor->section.n_bytes != n_bytes)
        return wrong(cursor, "a section of another size");
    if (kind != WEIR_SECTION_PLACE &&
        (cursor->section.flags || cursor->section.n_tok))
        return wrong(cursor, "bytes that must be zero");
    return 0;
}

/* Places ascend to where the session is. */
static int check_places(struct cursor *cursor)
{
    const struct weir_session_shape *shape = &cursor->file->shape;
    const struct weir_section *section = &cursor->section;
    uint64_t before = 0;
    int rc = 0;

    while (before < shape->n_tok && !rc) {
        rc = expect(cursor, WEIR_SECTION_PLACE, shape->n_mamba * sizeof(float));
        if (!rc && (section->flags > (WEIR_PLACE_TURN | WEIR_PLACE_SCORED) ||
                    section->n_tok <= before || section->n_tok > shape->n_tok))
            rc = wrong(cursor, "a place that cannot be");
        before = section->n_tok;
        if (!rc && section->flags & WEIR_PLACE_SCORED)
            rc = expect(cursor, WEIR_SECTION_SCORES,
                        shape->n_vocab * sizeof(float));
    }
    return rc;
}

static int check_table(struct weir_session_file *file, struct weir_err *err)
{
    const struct weir_session_shape *shape = &file->shape;
    struct cursor cursor = begin(file, err);
    uint64_t kv = shape->n_tok * shape->kv_bytes;
    int rc = expect(&cursor, WEIR_SECTION_IDS, shape->n_tok * sizeof(int32_t));

    for (uint32_t i = 0; i < shape->n_attention && !rc; i++) {
        rc = expect(&cursor, WEIR_SECTION_K, kv);
        if (!rc)
            rc = expect(&cursor, WEIR_SECTION_V, kv);
    }
    if (!rc)
        rc = check_places(&cursor);
    if (!rc && step(&cursor))
        rc = wrong(&cursor, "a section too many");
    if (!rc && cursor.offset != file->n_bytes)
        rc = weir_session_file_wrong(file, cursor.offset,
                                     "its sections end before it does", err);
    return rc;
}

/* ---- sections ---- */

/* The section, as it is, to `data`; NULL: it is not wanted. */
static int read_section(const struct cursor *cursor, void *data)
{
    const struct weir_section *section = &cursor->section;
    int rc;

    if (!data)
        return 0;
    rc = weir_pread_all(cursor->file->fd, data, section->n_bytes,
                        cursor->offset, cursor->file->path, cursor->err);
    if (rc || weir_checksum(data, section->n_bytes) == section->xxh3)
        return rc;
    return weir_err_at(cursor->err, WEIR_ECORRUPT, cursor->offset,
                       "%s: the checksum of the %" PRIu64 " bytes from offset "
                       "%" PRIu64
                       " on does not match; remove the file, so that "
                       "the session begins anew",
                       cursor->file->path, section->n_bytes, cursor->offset);
}

static int read_next(struct cursor *cursor, void *data)
{
    step(cursor);
    return read_section(cursor, data);
}

static int read_ids(int32_t *ids, struct cursor *cursor)
{
    const struct weir_session_shape *shape = &cursor->file->shape;
    int rc = read_next(cursor, ids);

    for (uint64_t i = 0; i < shape->n_tok && !rc; i++)
        if ((uint32_t)ids[i] >= shape->n_vocab)
            rc = weir_session_file_wrong(cursor->file, cursor->offset + 4 * i,
                                         "a token that the model does not have",
                                         cursor->err);
    return rc;
}

static int read_kv(weir_session *session, struct cursor *cursor)
{
    struct weir_state *state = &session->state;
    int rc = 0;

    for (uint32_t i = 0; i < state->n_layers && !rc; i++) {
        if (!state->layers[i].k)
            continue;
        rc = read_next(cursor, state->layers[i].k);
        if (!rc)
            rc = read_next(cursor, state->layers[i].v);
    }
    return rc;
}

/* Makes those places of the file for which there is room. */
static void plan_places(weir_session *session, struct cursor cursor)
{
    while (step(&cursor))
        if (cursor.section.kind == WEIR_SECTION_PLACE &&
            (cursor.section.n_tok < cursor.file->shape.n_tok ||
             cursor.section.flags & WEIR_PLACE_TURN))
            weir_snapshots_add(&session->snapshots, cursor.section.n_tok,
                               (cursor.section.flags & WEIR_PLACE_TURN) != 0);
    weir_snapshots_take(&session->snapshots);
}

/* A place and its scores; *scored says whether they came. */
static int read_place(struct cursor *cursor, float *mamba, float *scores,
                      int *scored)
{
    uint32_t flags = cursor->section.flags;
    int rc = read_section(cursor, mamba);

    *scored = !rc && flags & WEIR_PLACE_SCORED && scores;
    if (rc || !(flags & WEIR_PLACE_SCORED))
        return rc;
    return read_next(cursor, scores);
}

/* Where the session is may be a place to go back to, too. */
static void keep_last(weir_session *session)
{
    struct weir_snapshots *snapshots = &session->snapshots;
    struct weir_kept *kept = weir_snapshots_at(snapshots, session->state.n_tok);
    struct weir_snapshot snapshot;

    if (!kept)
        return;
    snapshot = weir_snapshots_get(snapshots, kept);
    weir_state_keep(&session->state, &snapshot);
    kept->scored = session->scored != 0;
    if (kept->scored)
        memcpy(weir_snapshots_scores(snapshots, kept), session->scores,
               snapshots->n_vocab * sizeof(float));
}

static int read_places(weir_session *session, struct cursor *cursor)
{
    struct weir_snapshots *snapshots = &session->snapshots;
    uint64_t n_tok = cursor->file->shape.n_tok;
    int rc = 0, scored;

    while (!rc && step(cursor) && cursor->section.n_tok < n_tok) {
        struct weir_kept *kept =
            weir_snapshots_at(snapshots, cursor->section.n_tok);

        rc = read_place(
            cursor, kept ? weir_snapshots_get(snapshots, kept).mamba : NULL,
            kept ? weir_snapshots_scores(snapshots, kept) : NULL, &scored);
        if (kept)
            kept->scored = (uint8_t)scored;
    }
    if (rc)
        return rc;
    session->state.n_tok = n_tok;
    rc = read_place(cursor, session->state.mamba, session->scores,
                    &session->scored);
    if (!rc)
        keep_last(session);
    return rc;
}

static int read_sections(weir_session *session, struct weir_session_file *file,
                         struct weir_err *err)
{
    struct cursor cursor = begin(file, err);
    int rc;

    weir_session_rewind(session, NULL, 0, NULL);
    plan_places(session, cursor);
    rc = read_ids(session->ids, &cursor);
    if (!rc)
        rc = read_kv(session, &cursor);
    if (!rc)
        rc = read_places(session, &cursor);
    if (rc)
        weir_session_rewind(session, NULL, 0, NULL);
    return rc;
}

static int check_kv(const struct weir_session_file *file, enum weir_kv kv,
                    struct weir_err *err)
{
    if (file->shape.kv == kv)
        return 0;
    return weir_err_at(err, WEIR_EARG, 24,
                       "%s: has a KV cache of type %s; ask for that, or name "
                       "another file",
                       file->path, file->shape.kv ? "f32" : "bf16");
}

int weir_session_load(weir_session *session, const char *path,
                      struct weir_err *err)
{
    struct weir_session_file file;
    const struct weir_state *state = &session->state;
    int rc;

    if (state->on_device)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "%s: cannot be taken to a device; use the CPU for "
                            "sessions in files",
                            path);
    rc = weir_session_file_open(&file, path, session->model, err);
    if (!rc)
        rc = check_kv(&file,
                      state->kv_dtype == WEIR_F32 ? WEIR_KV_F32 : WEIR_KV_BF16,
                      err);
    if (!rc && file.shape.n_tok > state->n_ctx)
        rc = weir_err_at(err, WEIR_ELIMIT, 48,
                         "%s: has %" PRIu64 " tokens, where the session has "
                         "room for %zu; start it with more",
                         path, file.shape.n_tok, state->n_ctx);
    if (!rc)
        rc = check_table(&file, err);
    if (!rc)
        rc = read_sections(session, &file, err);
    weir_session_file_close(&file);
    return rc;
}

/* ---- what a file has ---- */

static int outline_places(struct cursor cursor, struct weir_snapshots *places,
                          struct weir_err *err)
{
    places->kept = calloc(cursor.file->n_sections, sizeof(*places->kept));
    if (!places->kept)
        return weir_err_nomem(
            err, cursor.file->n_sections * sizeof(*places->kept), "places");
    while (step(&cursor))
        if (cursor.section.kind == WEIR_SECTION_PLACE)
            places->kept[places->n_kept++] = (struct weir_kept){
                .n_tok = cursor.section.n_tok,
                .turn = (cursor.section.flags & WEIR_PLACE_TURN) != 0,
                .scored = (cursor.section.flags & WEIR_PLACE_SCORED) != 0};
    return 0;
}

static int outline_file(struct weir_session_file *file,
                        struct weir_session_outline *outline,
                        struct weir_err *err)
{
    struct cursor cursor = begin(file, err);
    size_t n = (size_t)file->shape.n_tok;
    int rc = outline_places(cursor, &outline->places, err);

    if (rc)
        return rc;
    outline->ids = malloc(n * sizeof(*outline->ids));
    if (!outline->ids)
        return weir_err_nomem(err, n * sizeof(*outline->ids), "a text");
    outline->n_tok = n;
    return read_ids(outline->ids, &cursor);
}

int weir_session_outline(const weir_model *model, const char *path,
                         enum weir_kv kv, struct weir_session_outline *outline,
                         struct weir_err *err)
{
    struct weir_session_file file;
    int rc = weir_session_file_open(&file, path, model, err);

    *outline = (struct weir_session_outline){0};
    if (!rc)
        rc = check_kv(&file, kv, err);
    if (!rc)
        rc = check_table(&file, err);
    if (!rc)
        rc = outline_file(&file, outline, err);
    weir_session_file_close(&file);
    return rc;
}

void weir_session_outline_fini(struct weir_session_outline *outline)
{
    free(outline->ids);
    free(outline->places.kept);
    *outline = (struct weir_session_outline){0};
}
