/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prompts that are kept: what follows one of them is what it would be without,
 * bit for bit; only what is new is computed, and what is kept stays below its
 * ceiling, in memory and in a folder.
 */
#include "engine/texts.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/schedule.h"
#include "engine/session_parts.h"
#include "engine/text_files.h"
#include "model/import.h"
#include "model/work.h"
#include "tests/tap.h"

#define N_VOCAB  512
#define N_CTX    6000
#define N_ANSWER 12

struct answer {
    int32_t ids[N_ANSWER];
    size_t n_ids, n_cached;
    int n_told;
};

static char path[] = "texts.XXXXXX";
static int32_t text[N_CTX];
static struct weir_err err;
static size_t n_piece_tok;
static enum weir_kv kv;
static const char *folder; /* NULL: none */
static uint64_t file_bytes;
static weir_model *model;
static struct weir_schedule *schedule;
static struct weir_texts_stats stats;

static int take_answer(void *ctx, const struct weir_answer *got,
                       struct weir_err *e)
{
    struct answer *answer = got->tag;

    (void)ctx;
    (void)e;
    answer->n_ids = got->n_ids;
    answer->n_cached = got->n_cached;
    answer->n_told++;
    memcpy(answer->ids, got->ids, got->n_ids * sizeof(*got->ids));
    return 0;
}

static void start(uint64_t cache_bytes)
{
    const struct weir_schedule_options options = {.n_places = 4,
                                                  .n_ctx = N_CTX,
                                                  .kv = kv,
                                                  .n_piece_tok = n_piece_tok,
                                                  .cache_bytes = cache_bytes,
                                                  .cache_folder = folder,
                                                  .cache_file_bytes =
                                                      file_bytes};

    if (weir_schedule_new(model, &options, take_answer, NULL, &schedule, &err))
        tap_ok(0, "%s", err.message);
}

static void add(const int32_t *ids, size_t n_ids, struct answer *answer)
{
    static const struct weir_sampling neutral = WEIR_SAMPLING_NEUTRAL;
    static struct weir_request request;

    memset(answer, 0, sizeof(*answer));
    request = (struct weir_request){.ids = ids,
                                    .n_ids = n_ids,
                                    .n_tokens = N_ANSWER,
                                    .sampling = neutral,
                                    .tag = answer};
    request.sampling.temperature = 1.5;
    request.sampling.seed = 7;
    weir_stop_init(&request.stop);
    if (weir_schedule_add(schedule, &request, &err))
        tap_ok(0, "%s", err.message);
}

/* Until all have ended; *flop is what passes took, if it is wanted. */
static void run(double *flop)
{
    double before = weir_schedule_tally(schedule)->flop;

    while (weir_schedule_n_running(schedule))
        if (weir_schedule_step(schedule, &err)) {
            tap_ok(0, "%s", err.message);
            break;
        }
    if (flop)
        *flop = weir_schedule_tally(schedule)->flop - before;
    weir_schedule_get_texts(schedule, &stats);
}

static void end(void)
{
    weir_schedule_free(schedule);
}

static void ask(const int32_t *ids, size_t n_ids, struct answer *answer)
{
    add(ids, n_ids, answer);
    run(NULL);
}

/* The same without anything that was kept */
static int is_answer(const struct answer *answer, const int32_t *ids,
                     size_t n_ids)
{
    struct weir_schedule *kept = schedule;
    struct weir_texts_stats kept_stats = stats;
    struct answer alone;

    start(0);
    ask(ids, n_ids, &alone);
    weir_schedule_free(schedule);
    schedule = kept;
    stats = kept_stats;
    return answer->n_told == 1 && alone.n_ids == N_ANSWER &&
           answer->n_ids == alone.n_ids && alone.n_cached == 0 &&
           !memcmp(answer->ids, alone.ids, sizeof(alone.ids));
}

/* The first n tokens of the text, and then others */
static const int32_t *change(size_t n)
{
    static int32_t other[N_CTX];

    memcpy(other, text, sizeof(other));
    for (size_t i = n; i < N_CTX; i++)
        other[i] = (text[i] + 1) % N_VOCAB;
    return other;
}

static void test_turns(void)
{
    struct answer answer;
    double first, again;

    start(UINT64_C(1) << 30);
    add(text, 3000, &answer);
    run(&first);
    tap_ok(answer.n_cached == 0 && is_answer(&answer, text, 3000),
           "pieces of %zu: a prompt", n_piece_tok);
    add(text, 3000, &answer);
    run(&again);
    tap_ok(answer.n_cached == 3000 && is_answer(&answer, text, 3000),
           "again: nothing of it is computed");
    tap_ok(again < first / 50, "which is %.4f of the arithmetic",
           again / first);
    tap_ok(stats.n_texts == 1 && stats.n_hits == 1 && stats.n_misses == 1 &&
               stats.n_tok == 3000,
           "a hit, of 3000 tokens");
    ask(text, 3010, &answer);
    tap_ok(answer.n_cached == 3000 && is_answer(&answer, text, 3010),
           "10 tokens more: they are computed");
    tap_ok(stats.n_texts == 1, "the longer one stands for both");
    ask(text, 3000, &answer);
    tap_ok(answer.n_cached == 3000 && is_answer(&answer, text, 3000),
           "back to the first");
    ask(change(3005), 3050, &answer);
    tap_ok(answer.n_cached == 3000 && is_answer(&answer, change(3005), 3050),
           "what was edited behind it");
    ask(text, 5000, &answer);
    tap_ok(answer.n_cached == 3010 && is_answer(&answer, text, 5000),
           "a long one");
    ask(change(4500), 4600, &answer);
    tap_ok(answer.n_cached == 4096 && is_answer(&answer, change(4500), 4600),
           "one that differs inside a turn goes on from a place in it");
    weir_schedule_free(schedule);
}

/* A beginning that all have, as a message of the system */
static void test_branches(void)
{
    struct answer answers[4];

    start(UINT64_C(1) << 30);
    ask(text, 1000, &answers[0]);
    ask(change(300), 1000, &answers[1]);
    tap_ok(answers[1].n_cached == 0 &&
               is_answer(&answers[1], change(300), 1000),
           "pieces of %zu: another text that begins alike", n_piece_tok);
    ask(change(301), 900, &answers[2]);
    tap_ok(answers[2].n_cached == 300 &&
               is_answer(&answers[2], change(301), 900),
           "a third goes on from where they part");
    for (size_t i = 0; i < 4; i++)
        add(text, 1000 + i * 20, &answers[i]);
    run(NULL);
    for (size_t i = 0; i < 4; i++)
        tap_ok(answers[i].n_cached == 1000 &&
                   is_answer(&answers[i], text, 1000 + i * 20),
               "branch %zu of a text, in step", i);
    weir_schedule_free(schedule);
}

/* Texts that begin alike and come at once: one of them reads for all. */
static void test_together(void)
{
    struct answer answers[4];
    double alone, together;
    int good = 1;

    start(UINT64_C(1) << 30);
    add(text, 1500, &answers[0]);
    run(&alone);
    end();
    start(UINT64_C(1) << 30);
    for (size_t i = 0; i < 4; i++)
        add(text, 1500, &answers[i]);
    run(&together);
    for (size_t i = 0; i < 4; i++)
        good &= answers[i].n_cached == (i ? 1500 : 0) &&
                is_answer(&answers[i], text, 1500);
    tap_ok(good, "pieces of %zu: a prompt four times at once", n_piece_tok);
    tap_ok(together < 1.2 * alone, "costs %.2f of one", together / alone);
    end();
    start(UINT64_C(1) << 30);
    add(text, 1500, &answers[0]);
    add(change(800), 1600, &answers[1]);
    add(change(800), 900, &answers[2]);
    add(change(20), 1000, &answers[3]);
    run(NULL);
    tap_ok(answers[0].n_cached == 0 && is_answer(&answers[0], text, 1500) &&
               answers[3].n_cached == 0 &&
               is_answer(&answers[3], change(20), 1000),
           "others that begin alike");
    tap_ok(answers[1].n_cached >= 800 && answers[2].n_cached >= 800 &&
               is_answer(&answers[1], change(800), 1600) &&
               is_answer(&answers[2], change(800), 900),
           "%zu and %zu tokens are shared", answers[1].n_cached,
           answers[2].n_cached);
    end();
}

/* The one that reads for others goes. */
static void test_left(void)
{
    struct answer answers[3];

    start(UINT64_C(1) << 30);
    for (size_t i = 0; i < 3; i++)
        add(text, 1500, &answers[i]);
    if (n_piece_tok)
        weir_schedule_step(schedule, &err);
    weir_schedule_cancel(schedule, &answers[0]);
    run(NULL);
    tap_ok(answers[0].n_told == 0 &&
               answers[1].n_cached + answers[2].n_cached == 1500 &&
               is_answer(&answers[1], text, 1500) &&
               is_answer(&answers[2], text, 1500),
           "another one reads when it goes");
    end();
    start(1000);
    for (size_t i = 0; i < 3; i++)
        add(text, 1500, &answers[i]);
    run(NULL);
    tap_ok(answers[0].n_cached + answers[1].n_cached + answers[2].n_cached == 0,
           "nobody waits for what cannot be kept");
    end();
}

/* One that comes when what both have in common was read gets nothing of it. */
static void test_late(void)
{
    struct answer answers[2];

    start(UINT64_C(1) << 30);
    add(text, 1500, &answers[0]);
    for (int i = 0; i < 3; i++)
        weir_schedule_step(schedule, &err);
    add(change(400), 500, &answers[1]);
    while (!answers[0].n_told && !weir_schedule_step(schedule, &err) &&
           !answers[1].n_told)
        ;
    tap_ok(answers[1].n_told && !answers[0].n_told &&
               is_answer(&answers[1], change(400), 500),
           "pieces of %zu: a text does not wait in vain", n_piece_tok);
    end();
}

/* Few tokens are computed as single ones, which shows in the bits. */
static void test_short(void)
{
    struct answer answer;

    start(UINT64_C(1) << 30);
    for (size_t n = WEIR_PROMPT_TOK - 2; n < WEIR_PROMPT_TOK + 3; n++) {
        size_t kept = n - 1 < WEIR_PROMPT_TOK ? 0 : n - 1;

        ask(text, n, &answer);
        tap_ok(answer.n_cached == kept && is_answer(&answer, text, n),
               "%zu tokens, of which %zu were kept", n, answer.n_cached);
    }
    weir_schedule_free(schedule);
}

/* Memory of a prompt of 500 tokens that is kept */
static uint64_t bytes_of_each(void)
{
    const struct weir_session_options options = {
        .n_ctx = 500,
        .kv = kv,
        .snapshot_bytes =
            3 * weir_snapshot_bytes(
                    weir_state_mamba_floats(&model->jamba->config), N_VOCAB)};

    return weir_session_bytes(model, &options);
}

static void test_ceiling(void)
{
    struct answer answer;
    uint64_t each = bytes_of_each(), most = 0;
    int good = 1;

    start(3 * each);
    for (size_t i = 0; i < 8; i++) {
        ask(text + i, 500, &answer);
        good &= stats.n_bytes <= 3 * each && answer.n_cached == 0;
        most = stats.n_bytes > most ? stats.n_bytes : most;
    }
    tap_ok(good && most > each && stats.n_evicted >= 4,
           "%llu bytes of %llu, and %llu prompts made room",
           (unsigned long long)most, (unsigned long long)(3 * each),
           (unsigned long long)stats.n_evicted);
    ask(text + 7, 500, &answer);
    tap_ok(answer.n_cached == 500, "the last one is there");
    ask(text, 500, &answer);
    tap_ok(answer.n_cached == 0 && is_answer(&answer, text, 500),
           "the first one is not");
    ask(text, 5900, &answer);
    tap_ok(answer.n_cached == 500 && stats.n_bytes <= 3 * each &&
               is_answer(&answer, text, 5900),
           "one that is larger than the ceiling is not kept");
    ask(text, 500, &answer);
    tap_ok(answer.n_cached == 500, "nor does its beginning go for it");
    weir_schedule_free(schedule);
}

/* Under a budget of memory they have their part of it. */
static void test_budget(void)
{
    struct weir_model_options options = {
        .n_threads = 1, .io = WEIR_IO_PREAD, .ram_bytes = 1 << 30};
    weir_model *mapped = model;
    struct answer answer;

    if (weir_model_open(path, &options, &model, &err)) {
        tap_ok(0, "%s", err.message);
        model = mapped;
        return;
    }
    start(UINT64_C(64) << 20);
    ask(text, 1000, &answer);
    ask(text, 1000, &answer);
    tap_ok(answer.n_cached == 1000 && stats.n_texts == 1, "under a budget");
    weir_schedule_free(schedule);
    tap_ok(model->jamba->budget.session_bytes == 0, "which gets all back");
    tap_ok(weir_schedule_new(model,
                             &(struct weir_schedule_options){
                                 .n_places = 1,
                                 .n_ctx = N_CTX,
                                 .cache_bytes = UINT64_C(1) << 40},
                             take_answer, NULL, &schedule, &err) == WEIR_ELIMIT,
           "more than it has is refused: %s", err.message);
    weir_model_close(model);
    model = mapped;
}

/* ---- a folder ---- */

static char kept_in[] = "texts_in.XXXXXX";

/* Calls `see` with the path of each file there; how many there are. */
static int each_file(void (*see)(const char *file))
{
    DIR *dir = opendir(kept_in);
    const struct dirent *found;
    char file[512];
    int n = 0;

    while (dir && (found = readdir(dir))) {
        if (!strstr(found->d_name, ".session"))
            continue;
        snprintf(file, sizeof(file), "%s/%s", kept_in, found->d_name);
        if (see)
            see(file);
        n++;
    }
    if (dir)
        closedir(dir);
    return n;
}

static void remove_file(const char *file)
{
    unlink(file);
}

static void cut_file(const char *file)
{
    if (truncate(file, 1000))
        tap_diag("%s", file);
}

/* In the keys of the first layer that has some */
static void damage_file(const char *file)
{
    int fd = open(file, O_RDWR);
    char byte;

    if (pread(fd, &byte, 1, 5000) != 1)
        tap_diag("%s", file);
    byte ^= 1;
    if (pwrite(fd, &byte, 1, 5000) != 1)
        tap_diag("%s", file);
    close(fd);
}

/* Asks for `n` prompts of 500 tokens; the first of them that are new. */
static size_t ask_many(size_t n)
{
    struct answer answer;
    size_t n_new = 0;

    for (size_t i = 0; i < n; i++) {
        ask(text + i, 500, &answer);
        n_new += answer.n_cached == 0;
        tap_ok(stats.n_bytes <= stats.most_bytes &&
                   stats.files.n_bytes <= stats.files.most_bytes,
               "prompt %zu: %zu in memory, %zu in files", i, stats.n_texts,
               stats.files.n_files);
    }
    return n_new;
}

static void test_folder(void)
{
    uint64_t each = bytes_of_each();
    struct answer answer;

    start(2 * each);
    tap_ok(ask_many(5) == 5 && stats.files.n_saved == 3 &&
               stats.files.n_files == 3 && each_file(NULL) == 3,
           "what memory has no room for goes to files");
    ask(text, 500, &answer);
    tap_ok(answer.n_cached == 500 && is_answer(&answer, text, 500) &&
               stats.files.n_loaded == 1,
           "and comes back");
    ask(change(450), 510, &answer);
    tap_ok(answer.n_cached == 7 * WEIR_SNAPSHOT_LAST_TOK &&
               is_answer(&answer, change(450), 510),
           "with the places in it: %zu", answer.n_cached);
    end();
    tap_ok(each_file(NULL) == 6, "at the end all are in files");
    start(2 * each);
    tap_ok(ask_many(5) == 0 && stats.files.n_loaded == 5,
           "where the next one finds them");
    ask(text + 4, 510, &answer);
    tap_ok(answer.n_cached == 500 && is_answer(&answer, text + 4, 510),
           "to go on with");
    end();
    tap_ok(each_file(NULL) == 6, "a longer one takes the place of its file");
}

static void test_lock(void)
{
    const struct weir_schedule_options options = {.n_places = 1,
                                                  .n_ctx = N_CTX,
                                                  .cache_bytes = 1 << 20,
                                                  .cache_folder = folder,
                                                  .cache_file_bytes = 1 << 30};
    struct weir_schedule *second;

    start(1 << 20);
    tap_ok(weir_schedule_new(model, &options, take_answer, NULL, &second,
                             &err) == WEIR_EARG &&
               !second && strstr(err.message, kept_in),
           "another one does not get the folder: %s", err.message);
    end();
    tap_ok(weir_schedule_new(
               model,
               &(struct weir_schedule_options){.n_places = 1,
                                               .n_ctx = N_CTX,
                                               .cache_bytes = 1 << 20,
                                               .cache_folder = path,
                                               .cache_file_bytes = 1 << 30},
               take_answer, NULL, &second, &err) == WEIR_EARG,
           "nor is a file one: %s", err.message);
}

/* Files that are wrong cost their prompts, and nothing else. */
static void test_damage(void)
{
    uint64_t each = bytes_of_each();
    struct answer answer;
    int n = each_file(damage_file);

    start(2 * each);
    tap_ok(stats.n_texts <= 2, "damaged files");
    ask(text, 500, &answer);
    tap_ok(answer.n_cached == 0 && is_answer(&answer, text, 500) &&
               stats.files.n_failed == 1 && each_file(NULL) == n - 1,
           "one of them is read again, and its file goes");
    end();
    n = each_file(cut_file);
    start(2 * each);
    ask(text + 1, 500, &answer);
    tap_ok(answer.n_cached == 0 && is_answer(&answer, text + 1, 500) &&
               stats.files.n_failed == (uint64_t)n && each_file(NULL) == 0,
           "%d that were cut go at once", n);
    end();
    start(2 * each);
    tap_ok(each_file(remove_file) == 1, "the new one is kept");
    ask(text + 1, 500, &answer);
    tap_ok(answer.n_cached == 0 && stats.files.n_failed == 1 &&
               stats.files.n_files == 0,
           "one that somebody removed is forgotten");
    end();
    tap_ok(each_file(remove_file) == 1, "and is written again");
}

static void touch(const char *name)
{
    char file[512];
    int fd;

    snprintf(file, sizeof(file), "%s/%s", kept_in, name);
    fd = open(file, O_CREAT | O_WRONLY, 0600);
    if (fd >= 0)
        close(fd);
}

static void test_names(void)
{
    static const char *const strange[] = {
        "notes.session", "0123456789abcdef-ref-bf16-0123456789abcdeg.session",
        "0123456789abcdef-ref-f64-0123456789abcdef.session",
        "0123456789abcdef-ref-bf16-0123456789abcdef.sessions"};

    for (size_t i = 0; i < 4; i++)
        touch(strange[i]);
    touch("0123456789abcdef-ref-bf16-0123456789abcdef.session.part");
    touch("0123456789abcdef-ref-bf16-0123456789abcdef.session");
    start(1 << 20);
    run(NULL);
    tap_ok(stats.files.n_files == 1 && each_file(NULL) == 5,
           "of another model one counts, and what was begun goes");
    end();
    each_file(remove_file);
}

/* What was computed in another way is not the same prompt. */
static void test_kinds(void)
{
    uint64_t each = bytes_of_each();
    struct answer answer;

    start(2 * each);
    ask(text, 500, &answer);
    end();
    kv = WEIR_KV_F32;
    start(2 * bytes_of_each());
    ask(text, 500, &answer);
    tap_ok(answer.n_cached == 0 && stats.files.n_files == 1 &&
               is_answer(&answer, text, 500),
           "another type of KV cache");
    end();
    kv = WEIR_KV_BF16;
    tap_ok(each_file(NULL) == 2, "has a file beside it");
    start(each / 2);
    ask(text, 500, &answer);
    tap_ok(answer.n_cached == 0 && is_answer(&answer, text, 500),
           "a file that memory has no room for is no help");
    end();
    file_bytes = each;
    start(2 * each);
    ask_many(4);
    end();
    tap_ok(each_file(NULL) == 1, "a ceiling for one file");
    each_file(remove_file);
    start(each);
    ask_many(2);
    ask(text, 500, &answer);
    tap_ok(answer.n_cached == 500 && stats.n_texts == 1 &&
               stats.files.n_files == 1,
           "which stays while it is loaded");
    end();
    each_file(remove_file);
    file_bytes = 1000;
    start(2 * each);
    ask_many(4);
    end();
    tap_ok(each_file(NULL) == 0, "and for none");
}

/* Room for what is to be loaded may be made by saving what has all of it. */
static void test_held(void)
{
    const struct weir_session_options options = {
        .n_ctx = 600, .kv = kv, .snapshot_bytes = UINT64_C(1) << 24};
    struct weir_text_files *files = NULL;
    weir_session *session = NULL;
    size_t n, n_common;

    if (weir_text_files_new(model, kv, kept_in, file_bytes, &files, &err) ||
        weir_session_new(model, &options, &session, &err) ||
        weir_session_prefix(session, text, 500, NULL, &n, &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    weir_text_files_save(files, session, 1);
    weir_text_files_hold(files,
                         weir_text_files_find(files, text, 500, &n, &n_common));
    if (weir_session_prefix(session, text, 600, NULL, &n, &err))
        tap_ok(0, "%s", err.message);
    weir_text_files_save(files, session, 1);
    tap_ok(weir_text_files_get_stats(files)->n_files == 2,
           "what is to be loaded stays beside what has all of it");
    weir_text_files_hold(files, NULL);
    weir_session_free(session);
    weir_text_files_free(files);
    each_file(remove_file);
}

static void test_folders(void)
{
    char lock[64];

    if (!mkdtemp(kept_in) || rmdir(kept_in)) {
        tap_ok(0, "%s", kept_in);
        return;
    }
    folder = kept_in;
    file_bytes = UINT64_C(1) << 30;
    n_piece_tok = 0;
    test_folder();
    test_lock();
    test_damage();
    test_names();
    test_kinds();
    file_bytes = UINT64_C(1) << 30;
    test_held();
    snprintf(lock, sizeof(lock), "%s/lock", kept_in);
    tap_ok(!unlink(lock) && !rmdir(kept_in), "nothing else is left there");
    folder = NULL;
}

int main(void)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 65536};
    struct weir_model_options options = {.n_threads = 1};
    const char *srcdir = getenv("srcdir");
    char source[4096];
    int fd = mkstemp(path);

    for (size_t i = 0; i < N_CTX; i++)
        text[i] = (int32_t)(i * i * 149 % 509);
    snprintf(source, sizeof(source), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    if (fd < 0 || weir_import_folder(&import, source, path, &err) ||
        weir_model_open(path, &options, &model, &err)) {
        tap_ok(0, "a model: %s", err.message);
        return tap_done();
    }
    for (n_piece_tok = 0; n_piece_tok <= 200; n_piece_tok += 200) {
        test_turns();
        test_branches();
        test_together();
        test_left();
        if (n_piece_tok)
            test_late();
    }
    test_short();
    test_ceiling();
    test_budget();
    test_folders();
    weir_model_close(model);
    close(fd);
    unlink(path);
    return tap_done();
}
