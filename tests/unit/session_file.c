/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session that is saved and loaded goes on with the same bits; a file that is
 * not its own, or not what was written, is refused and leaves it of use.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/le.h"
#include "engine/session_parts.h"
#include "model/import.h"
#include "tests/fuzz/tiny_session.h"
#include "tests/tap.h"

#define N_VOCAB 512
#define N_CTX   400

static char folder[] = "session_file.XXXXXX";
static int32_t text[N_CTX];
static struct weir_err err;

/* A path in the folder, valid until the next but one call */
static const char *at(const char *name)
{
    static char paths[2][64];
    static int which;

    which = !which;
    snprintf(paths[which], sizeof(paths[which]), "%s/%s", folder, name);
    return paths[which];
}

/* ---- a real model ---- */

static int pack(const char *name, struct weir_quant quant)
{
    struct weir_import import = {.quant = quant, .tile_ceiling = 65536};
    const char *srcdir = getenv("srcdir");
    char source[4096];

    snprintf(source, sizeof(source), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    return weir_import_folder(&import, source, at(name), &err);
}

static weir_model *open_model(const char *name)
{
    struct weir_model_options options = {.n_threads = 2};
    weir_model *model = NULL;

    if (weir_model_open(at(name), &options, &model, &err))
        tap_diag("%s", err.message);
    return model;
}

static weir_session *start(weir_model *model, enum weir_kv kv, size_t n_ctx,
                           size_t n_slots)
{
    struct weir_session_options options = {.n_ctx = n_ctx, .kv = kv};
    weir_session *session = NULL;

    options.snapshot_bytes =
        n_slots *
        weir_snapshot_bytes(weir_state_mamba_floats(&model->jamba->config),
                            weir_model_n_vocab(model));
    if (weir_session_new(model, &options, &session, &err))
        tap_diag("%s", err.message);
    return session;
}

static int same(const float *a, const float *b)
{
    return !memcmp(a, b, N_VOCAB * sizeof(*a));
}

/* Two turns and the beginning of an answer */
static void talk(weir_session *session, float *logits)
{
    weir_session_prefix(session, text, 100, NULL, NULL, &err);
    for (size_t i = 100; i < 110; i++)
        weir_session_eval(session, text + i, 1, logits, &err);
    weir_session_prefix(session, text, 150, NULL, NULL, &err);
    for (size_t i = 150; i < 155; i++)
        weir_session_eval(session, text + i, 1, logits, &err);
}

/* 1: each of these texts is held, with its scores, as in the one it was */
static int is_same(weir_session *session, weir_session *was)
{
    static const size_t ends[] = {160, 155, 150, 120, 110, 100};
    static float logits[N_VOCAB], wanted[N_VOCAB];
    size_t n, n_wanted;
    int good = 1;

    for (size_t i = 0; i < 6; i++) {
        good &=
            !weir_session_prefix(was, text, ends[i], wanted, &n_wanted, &err) &&
            !weir_session_prefix(session, text, ends[i], logits, &n, &err);
        good &= n == n_wanted && same(logits, wanted);
    }
    return good;
}

static void test_round_trip(enum weir_kv kv, const char *name)
{
    static float logits[N_VOCAB], wanted[N_VOCAB];
    weir_model *model = open_model("model");
    weir_session *was = start(model, kv, N_CTX, 8), *session;
    weir_model *again = open_model("model");
    struct stat st;
    size_t n;
    int good;

    talk(was, wanted);
    good = !weir_session_save(was, at("session"), &err);
    tap_ok(good && !stat(at("session"), &st) && (st.st_mode & 0777) == 0600,
           "%s: saved, for nobody else to read", name);
    good = !weir_session_file_tokens(again, at("session"), &n, &err);
    tap_ok(good && n == 155, "%s: a file says how many tokens it has", name);
    session = start(again, kv, 160, 8);
    weir_session_prefix(session, text + 7, 90, NULL, NULL, &err);
    good = !weir_session_load(session, at("session"), &err);
    tap_ok(good && weir_session_n_tok(session) == 155 &&
               weir_session_rewind(session, text, 155, logits) == 155 &&
               same(logits, wanted),
           "%s: loaded into a session that held another text", name);
    good = !weir_session_save(session, at("again"), &err);
    tap_ok(good && is_same(session, was),
           "%s: it goes on and back as the one that was saved", name);
    weir_session_free(session);
    session = start(again, kv, 160, 2);
    good = !weir_session_load(session, at("again"), &err);
    good &= session->snapshots.n_kept == 2 &&
            weir_session_rewind(session, text, 150, NULL) == 150;
    tap_ok(good, "%s: with room for fewer snapshots the last turn stays", name);
    weir_session_free(session);
    session = start(again, kv, 160, 0);
    good = !weir_session_load(session, at("again"), &err);
    talk(was, wanted);
    good &= !weir_session_prefix(session, text, 160, logits, &n, &err);
    weir_session_prefix(was, text, 160, wanted, NULL, &err);
    tap_ok(good && n == 155 && same(logits, wanted),
           "%s: and without any it goes on", name);
    weir_session_free(session);
    weir_session_free(was);
    weir_model_close(model);
    weir_model_close(again);
}

static void refuse(weir_model *model, enum weir_kv kv, size_t n_ctx, int code,
                   const char *says)
{
    weir_session *session = start(model, kv, n_ctx, 4);
    int rc;

    weir_session_prefix(session, text, 50, NULL, NULL, &err);
    rc = weir_session_load(session, at("session"), &err);
    tap_ok(rc == code && strstr(err.message, says) &&
               weir_session_n_tok(session) == 50,
           "refused: %s", err.message);
    weir_session_free(session);
}

static void test_refusals(void)
{
    weir_model *model = open_model("model"), *other = open_model("other");
    weir_session *session = start(model, WEIR_KV_BF16, N_CTX, 4);
    static float logits[N_VOCAB];

    tap_ok(weir_session_save(session, at("empty"), &err) == WEIR_EARG &&
               access(at("empty"), F_OK),
           "nothing to save: %s", err.message);
    tap_ok(weir_session_load(session, at("nothing"), &err) == WEIR_EIO,
           "no file: %s", err.message);
    tap_ok(weir_session_load(session, folder, &err) < 0, "a folder: %s",
           err.message);
    tap_ok(weir_session_load(session, at("model"), &err) == WEIR_EFORMAT,
           "a model: %s", err.message);
    talk(session, logits);
    tap_ok(weir_session_save(session, at("model"), &err) == WEIR_EARG,
           "over the model: %s", err.message);
    weir_session_save(session, at("session"), &err);
    refuse(other, WEIR_KV_BF16, N_CTX, WEIR_EARG, "another model");
    refuse(model, WEIR_KV_F32, N_CTX, WEIR_EARG, "of type bf16");
    refuse(model, WEIR_KV_BF16, 154, WEIR_ELIMIT, "155 tokens");
    weir_session_free(session);
    weir_model_close(model);
    weir_model_close(other);
}

/* ---- a file that is damaged everywhere ---- */

static struct weir_buf image = WEIR_BUF(1 << 16);

static int write_image(const void *data, size_t n)
{
    const char *path = at("damaged");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), rc;

    rc = fd < 0 || weir_pwrite_all(fd, data, n, 0, path, &err);
    close(fd);
    return rc;
}

/* 1: refused with a reason, and the session is of use */
static int is_refused(weir_session *session)
{
    int rc;

    weir_session_rewind(session, NULL, 0, NULL);
    tiny_session_fill(session, 3);
    *err.message = '\0';
    rc = weir_session_load(session, at("damaged"), &err);
    return rc < 0 && *err.message &&
           (weir_session_n_tok(session) == 3 ||
            weir_session_n_tok(session) == 0) &&
           !session->state.spoiled;
}

static void test_damage(void)
{
    weir_session *session = tiny_session_new();
    int bad = 0;

    tiny_session_fill(session, 20);
    if (weir_session_save(session, at("tiny"), &err) ||
        weir_buf_add_file(&image, at("tiny"), &err))
        tap_ok(0, "a small session: %s", err.message);
    for (size_t i = 0; i < image.n_bytes; i++) {
        image.data[i] ^= 0x20;
        bad += write_image(image.data, image.n_bytes) || !is_refused(session);
        image.data[i] ^= 0x20;
    }
    tap_ok(image.n_bytes > 500 && !bad,
           "each of %zu bytes, if it is another one, is noticed",
           image.n_bytes);
    for (size_t n = 0; n < image.n_bytes; n++)
        bad += write_image(image.data, n) || !is_refused(session);
    tap_ok(!bad, "so is each that is missing");
    bad += write_image(image.data, image.n_bytes + 1) || !is_refused(session);
    tap_ok(!bad, "and one too many");
    bad = write_image(image.data, image.n_bytes) ||
          weir_session_load(session, at("damaged"), &err);
    tap_ok(!bad && weir_session_n_tok(session) == 20,
           "after all that the file itself is loaded");
    weir_session_free(session);
}

/* A number in the file, with all checksums as they should be */
static void lie(size_t offset, size_t size, uint64_t value, int code,
                const char *says)
{
    weir_session *session = tiny_session_new();
    uint8_t copy[1 << 12];
    int good = image.n_bytes <= sizeof(copy);

    memcpy(copy, image.data, good ? image.n_bytes : 0);
    if (size == 4)
        weir_le32_put(copy + offset, (uint32_t)value);
    else
        weir_le64_put(copy + offset, value);
    tiny_session_mend(copy, image.n_bytes);
    good &= !write_image(copy, image.n_bytes) && is_refused(session);
    tap_ok(good && err.code == code && strstr(err.message, says),
           "%zu at offset %zu: %s", (size_t)value, offset, err.message);
    weir_session_free(session);
}

static void test_lies(void)
{
    const size_t table = 80, places = table + 3 * 32;
    size_t first_id = table + 32 * weir_le32(image.data + 12);

    lie(8, 4, 2, WEIR_ENOTSUP, "use a newer weir");
    lie(12, 4, 1u << 30, WEIR_EFORMAT, "too many sections");
    lie(12, 4, 3000, WEIR_EFORMAT, "more sections than bytes");
    lie(16, 8, 1, WEIR_EARG, "another model");
    lie(24, 4, 2, WEIR_EFORMAT, "sizes");
    lie(28, 4, 2, WEIR_EFORMAT, "sizes");
    lie(32, 8, 4096, WEIR_EFORMAT, "sizes");
    lie(40, 8, 1ull << 32, WEIR_EFORMAT, "sizes");
    lie(48, 8, 0, WEIR_EFORMAT, "number of tokens");
    lie(48, 8, UINT64_MAX, WEIR_EFORMAT, "number of tokens");
    lie(48, 8, TINY_CTX + 1, WEIR_ELIMIT, "has room for");
    lie(48, 8, 19, WEIR_EFORMAT, "another size");
    lie(64, 4, 6, WEIR_EFORMAT, "sizes");
    lie(68, 4, 1, WEIR_EFORMAT, "sizes");
    lie(table, 4, 2, WEIR_EFORMAT, "another kind");
    lie(table + 4, 4, 1, WEIR_EFORMAT, "must be zero");
    lie(table + 16, 8, UINT64_MAX, WEIR_EFORMAT, "another size");
    lie(places + 4, 4, 4, WEIR_EFORMAT, "cannot be");
    lie(places + 8, 8, 0, WEIR_EFORMAT, "cannot be");
    lie(places + 8, 8, 21, WEIR_EFORMAT, "cannot be");
    lie(places + 8, 8, 20, WEIR_EFORMAT, "too many");
    lie(first_id, 4, 5, WEIR_EFORMAT, "a token");
}

int main(void)
{
    char command[64];

    for (size_t i = 0; i < N_CTX; i++)
        text[i] = (int32_t)(i * i * 149 % 509);
    if (!mkdtemp(folder) || pack("model", (struct weir_quant){1, 1}) ||
        pack("other", (struct weir_quant){0, 0})) {
        tap_ok(0, "two models: %s", err.message);
        return tap_done();
    }
    test_round_trip(WEIR_KV_BF16, "bf16");
    test_round_trip(WEIR_KV_F32, "f32");
    test_refusals();
    test_damage();
    test_lies();
    weir_buf_fini(&image);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    if (system(command))
        tap_diag("%s was left", folder);
    return tap_done();
}
