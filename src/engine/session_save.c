/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/path.h"
#include "engine/session_file.h"
#include "offload/checksum.h"

struct saver {
    const weir_session *session;
    char *part; /* the file's name until it is whole */
    int fd;
    uint8_t *head; /* header and table */
    size_t head_bytes;
    uint32_t n; /* sections so far */
    uint64_t offset;
    struct weir_err *err;
};

static int add(struct saver *saver, struct weir_section section,
               const void *data)
{
    int rc = weir_pwrite_all(saver->fd, data, section.n_bytes, saver->offset,
                             saver->part, saver->err);

    section.xxh3 = weir_checksum(data, section.n_bytes);
    weir_section_put(&section, saver->head + WEIR_SESSION_HEADER_BYTES +
                                   WEIR_SESSION_RECORD_BYTES * saver->n++);
    saver->offset += section.n_bytes;
    return rc;
}

static int add_place(struct saver *saver, struct weir_snapshot place, int turn,
                     const float *scores)
{
    struct weir_section section = {
        .kind = WEIR_SECTION_PLACE,
        .flags =
            (turn ? WEIR_PLACE_TURN : 0) | (scores ? WEIR_PLACE_SCORED : 0),
        .n_tok = place.n_tok,
        .n_bytes = saver->session->state.n_mamba * sizeof(float),
    };
    int rc = add(saver, section, place.mamba);

    if (rc || !scores)
        return rc;
    section = (struct weir_section){
        .kind = WEIR_SECTION_SCORES,
        .n_bytes = saver->session->snapshots.n_vocab * sizeof(*scores)};
    return add(saver, section, scores);
}

/* Where the session is comes last, whether it is a snapshot too or not. */
static int add_places(struct saver *saver)
{
    const weir_session *session = saver->session;
    const struct weir_snapshots *snapshots = &session->snapshots;
    size_t n = snapshots->n_kept, n_tok = session->state.n_tok;
    int turn = 0, rc = 0;

    if (n && snapshots->kept[n - 1].n_tok == n_tok)
        turn = snapshots->kept[--n].turn;
    for (size_t i = 0; i < n && !rc; i++) {
        const struct weir_kept *kept = &snapshots->kept[i];

        rc = add_place(saver, weir_snapshots_get(snapshots, kept), kept->turn,
                       kept->scored ? weir_snapshots_scores(snapshots, kept)
                                    : NULL);
    }
    if (rc)
        return rc;
    return add_place(saver, (struct weir_snapshot){n_tok, session->state.mamba},
                     turn, session->scored ? session->scores : NULL);
}

static int add_kv(struct saver *saver, const struct weir_session_shape *shape)
{
    const struct weir_state *state = &saver->session->state;
    struct weir_section k = {.kind = WEIR_SECTION_K,
                             .n_bytes = shape->n_tok * shape->kv_bytes};
    struct weir_section v = k;
    int rc = 0;

    v.kind = WEIR_SECTION_V;
    for (uint32_t i = 0; i < state->n_layers && !rc; i++) {
        if (!state->layers[i].k)
            continue;
        rc = add(saver, k, state->layers[i].k);
        if (!rc)
            rc = add(saver, v, state->layers[i].v);
    }
    return rc;
}

static int write_all(struct saver *saver,
                     const struct weir_session_shape *shape)
{
    const weir_session *session = saver->session;
    int rc = add(
        saver,
        (struct weir_section){.kind = WEIR_SECTION_IDS,
                              .n_bytes = shape->n_tok * sizeof(*session->ids)},
        session->ids);

    if (!rc)
        rc = add_kv(saver, shape);
    if (!rc)
        rc = add_places(saver);
    if (rc)
        return rc;
    weir_session_put_header(shape, saver->n, saver->offset, saver->head);
    return weir_pwrite_all(saver->fd, saver->head, saver->head_bytes, 0,
                           saver->part, saver->err);
}

static uint32_t count_sections(const weir_session *session,
                               const struct weir_session_shape *shape)
{
    const struct weir_snapshots *snapshots = &session->snapshots;
    size_t places = snapshots->n_kept, scores = session->scored != 0;

    if (!places || snapshots->kept[places - 1].n_tok != session->state.n_tok)
        places++;
    for (size_t i = 0; i < snapshots->n_kept; i++)
        scores += snapshots->kept[i].scored &&
                  snapshots->kept[i].n_tok != session->state.n_tok;
    return 1 + 2 * shape->n_attention + (uint32_t)(places + scores);
}

static int take_memory(struct saver *saver, const char *path,
                       const struct weir_session_shape *shape)
{
    size_t size = strlen(path) + sizeof(".part");

    saver->head_bytes =
        WEIR_SESSION_HEADER_BYTES + (size_t)WEIR_SESSION_RECORD_BYTES *
                                        count_sections(saver->session, shape);
    saver->offset = saver->head_bytes;
    saver->head = malloc(saver->head_bytes);
    saver->part = malloc(size);
    if (!saver->head || !saver->part)
        return weir_err_nomem(saver->err, saver->head_bytes + size,
                              "the table of a session");
    snprintf(saver->part, size, "%s.part", path);
    return 0;
}

static int commit(struct saver *saver, const char *path)
{
    int fd = saver->fd;

    if (fsync(fd))
        return weir_err_errno(saver->err, errno, "write", saver->part);
    saver->fd = -1;
    if (close(fd))
        return weir_err_errno(saver->err, errno, "write", saver->part);
    if (rename(saver->part, path))
        return weir_err_errno(saver->err, errno, "rename", saver->part);
    return 0;
}

/* Nobody else is to read what was said. */
static int write_file(struct saver *saver, const char *path,
                      const struct weir_session_shape *shape)
{
    int rc;

    saver->fd =
        open(saver->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (saver->fd < 0)
        return weir_err_errno(saver->err, errno, "create", saver->part);
    rc = write_all(saver, shape);
    if (!rc)
        rc = commit(saver, path);
    if (rc)
        unlink(saver->part);
    return rc;
}

int weir_session_save(const weir_session *session, const char *path,
                      struct weir_err *err)
{
    struct saver saver = {.session = session, .fd = -1, .err = err};
    struct weir_session_shape shape;
    int rc =
        weir_path_check_output(path, session->model->jamba->file->path, err);

    if (rc)
        return rc;
    if (session->state.on_device)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "%s: not written, as the session is on a device; "
                            "use the CPU for sessions in files",
                            path);
    if (session->state.spoiled || session->state.n_tok == 0)
        return weir_err_set(
            err, WEIR_EARG, "%s: not written, as the session %s", path,
            session->state.spoiled ? "failed before; go back in it first"
                                   : "holds no tokens; evaluate some first");
    weir_session_shape(session->model, session->state.kv_dtype,
                       session->state.n_tok, &shape);
    rc = take_memory(&saver, path, &shape);
    if (!rc)
        rc = write_file(&saver, path, &shape);
    if (saver.fd >= 0)
        close(saver.fd);
    free(saver.head);
    free(saver.part);
    return rc;
}
