/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prompts that are kept in a folder, each as the file of a session
 * (weir-session(5)): those for which memory has no room, and for the next
 * process.  Under a ceiling of bytes; what was not asked for longest goes
 * first.
 *
 * A file is called MODEL-LEVEL-KV-TEXT.session: the checksum of the model's
 * index, what computed it (WEIR_CPU), the type of its KV cache, and the XXH3 of
 * its tokens, so that only what would have the same bits is found.  Files of
 * other models count, and go like the others; those with other names are left
 * alone.  A file that is damaged is removed and counted, and one that somebody
 * removed is counted: what it had is computed again.  One process at a time has
 * the folder; one thread at a time.
 */
#ifndef WEIR_ENGINE_TEXT_FILES_H
#define WEIR_ENGINE_TEXT_FILES_H

#include "engine/session.h"

struct weir_text_files;
struct weir_text_file;

struct weir_text_files_stats {
    uint64_t most_bytes; /* 0: there is no folder */
    uint64_t n_bytes;    /* of all files */
    size_t n_files;
    uint64_t n_loaded, n_saved;
    uint64_t n_evicted; /* for want of room */
    uint64_t n_failed;  /* not read, or not written */
};

/*
 * Takes the folder, which is made if its parent is there, and looks through it.
 * WEIR_EARG when another process has it.  *files is allocated; release with
 * weir_text_files_free(), which leaves the files.
 */
int weir_text_files_new(weir_model *model, enum weir_kv kv, const char *folder,
                        uint64_t most_bytes, struct weir_text_files **files,
                        struct weir_err *err);
void weir_text_files_free(struct weir_text_files *files);

/*
 * The file from which most of a prompt can be had: *n_tok of its tokens.  NULL:
 * none.  *n_common tokens of the prompt stand in a file.
 */
struct weir_text_file *weir_text_files_find(const struct weir_text_files *files,
                                            const int32_t *ids, size_t n_ids,
                                            size_t *n_tok, size_t *n_common);

/* What a session needs to take all of it */
size_t weir_text_file_tokens(const struct weir_text_file *file);
size_t weir_text_file_places(const struct weir_text_file *file);

/* Until the next call this file does not go for want of room; NULL: any may. */
void weir_text_files_hold(struct weir_text_files *files,
                          const struct weir_text_file *file);

/* Loads it, and has it as the one that was asked for last.  After an error it
 * may be gone. */
int weir_text_files_load(struct weir_text_files *files,
                         struct weir_text_file *file, weir_session *session,
                         struct weir_err *err);

/*
 * Saves a prompt, which is all that the session holds, unless it can be had of
 * a file; `n_bytes` are at least those of its file.  Files of its beginnings
 * go, if it can stand for them.  One that cannot be written is counted.
 */
void weir_text_files_save(struct weir_text_files *files,
                          const weir_session *session, uint64_t n_bytes);

const struct weir_text_files_stats *weir_text_files_get_stats(
    const struct weir_text_files *files);

#endif
