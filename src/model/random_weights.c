/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive is faster than any generator of normal numbers.  So a million of them
 * are made once, and rounded once for each standard deviation, or to int8,
 * where it goes into the scales; a matrix is put together from pieces of that
 * table, each from an offset that the hash of its place gives.  Two pieces may
 * overlap in the table, but hardly ever lie in the same columns of two rows.
 *
 * Standard deviations.  A matrix has 1/sqrt(columns), so that it maps vectors
 * of unit variance to such.  Those that add to the residual stream have less:
 * the stream begins with an embedding of variance 1 and shall end below 2,
 * neither dying nor exploding.  Most of that is given to the MLPs, as what they
 * add is another thing for every token.  What a mixer adds has a mean over the
 * tokens, and so much of that in the stream would make every token like some
 * experts better.  For the same reason rows of the router have length 1
 * exactly. A tied embedding is the output matrix too and has 1/sqrt(columns):
 * the first norm makes up for it.
 *
 * What Mamba has besides is set as its authors do: A_log to the logarithms of
 * 1 to n_state, the bias of dt so that softplus makes it log-uniform from 1e-3
 * to 1e-1 (Gu and Dao 2023, section 3.6 and appendix), D to 1, all with a
 * little noise.
 */
#include "model/random_weights.h"

#include <math.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/le.h"

#define TABLE_NUMEL (1u << 20)
#define PIECE_NUMEL 1024u
#define MAX_TABLES  8
#define NOISE       0.1 /* about 1, and on logarithms; uniform */

enum fill {
    FILL_NORMAL,
    FILL_UNIT_ROWS, /* normal, then made to have length 1 */
    FILL_ONES,      /* about 1 */
    FILL_ZEROS,     /* about 0 */
    FILL_UNIFORM,   /* within 1/sqrt(d_conv) */
    FILL_A_LOG,
    FILL_DT_BIAS,
};

/* An int8 weight of 127 is this many standard deviations: what the largest of
 * some thousand, which sets the scale of a quantised row, is on average. */
#define LARGEST 3.8

/* By the end of the name; the last is for all others. */
static const struct {
    const char *ending;
    enum fill fill;
} fills[] = {
    {"norm.weight", FILL_ONES},
    {"mamba.D", FILL_ONES},
    {"mamba.A_log", FILL_A_LOG},
    {"mamba.dt_proj.bias", FILL_DT_BIAS},
    {"mamba.conv1d.weight", FILL_UNIFORM},
    {"mamba.conv1d.bias", FILL_UNIFORM},
    {"_proj.bias", FILL_ZEROS},
    {"router.weight", FILL_UNIT_ROWS},
    {"", FILL_NORMAL},
};

/* Normal numbers of one standard deviation, rounded. */
struct table {
    double deviation;
    uint16_t values[TABLE_NUMEL + PIECE_NUMEL];
};

/* How a tensor is filled. */
struct recipe {
    enum fill fill;
    uint64_t key;
    const struct table *table; /* of normal ones */
};

struct weir_random_weights {
    struct weir_layout *layout;
    const struct weir_config *config;
    struct recipe *recipes; /* one for each tensor */
    float *normals;         /* [TABLE_NUMEL + PIECE_NUMEL] */
    int8_t *int8;           /* the same, 127 being LARGEST */
    struct table *tables[MAX_TABLES];
    size_t n_tables;
};

/* ---- numbers ---- */

/* 64 bits for place `at` of what `key` stands for. */
static uint64_t hash(uint64_t key, uint64_t at)
{
    uint8_t bytes[8];

    weir_le64_put(bytes, at);
    return XXH3_64bits_withSeed(bytes, sizeof(bytes), key);
}

/* Uniform in (0, 1). */
static double uniform(uint64_t key, uint64_t at)
{
    return ((double)(hash(key, at) >> 12) + 0.5) * 0x1p-52;
}

/* Uniform in (-width, width). */
static double noise(uint64_t key, uint64_t at, double width)
{
    return width * (2 * uniform(key, at) - 1);
}

/* Two normal numbers from two uniform ones (Box and Muller 1958). */
static void make_normals(uint64_t seed, float *out, size_t n)
{
    const double turn = 6.283185307179586;

    for (size_t i = 0; i + 1 < n; i += 2) {
        double length = sqrt(-2 * log(uniform(seed, i)));
        double angle = turn * uniform(seed, i + 1);

        out[i] = (float)(length * cos(angle));
        out[i + 1] = (float)(length * sin(angle));
    }
}

/* ---- how each tensor is filled ---- */

static int ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);

    return n >= m && !strcmp(name + n - m, ending);
}

/* Of a matrix, times the root of its columns; see the top. */
static double gain_of(const struct weir_config *config,
                      const struct weir_pack_tensor *tensor)
{
    double cols = (double)tensor->shape[tensor->n_dims - 1];

    if (ends_in(tensor->name, "embed_tokens.weight"))
        return config->tied ? 1 : sqrt(cols);
    if (ends_in(tensor->name, "dt_proj.weight"))
        return sqrt(1.0 / 3); /* as a uniform one within 1/sqrt(columns) */
    if (ends_in(tensor->name, "down_proj.weight"))
        return sqrt(2.0 / config->n_layers);
    if (ends_in(tensor->name, "out_proj.weight") ||
        ends_in(tensor->name, "o_proj.weight"))
        return sqrt(0.0625 / config->n_layers);
    return 1;
}

static double deviation_of(const struct weir_config *config,
                           const struct weir_pack_tensor *tensor)
{
    return gain_of(config, tensor) /
           sqrt((double)tensor->shape[tensor->n_dims - 1]);
}

/* The table for a deviation, made when it is new; NULL without memory. */
static const struct table *find_table(struct weir_random_weights *weights,
                                      double deviation)
{
    struct table *table;

    for (size_t i = 0; i < weights->n_tables; i++)
        if (weights->tables[i]->deviation == deviation)
            return weights->tables[i];
    table = malloc(sizeof(*table));
    if (!table)
        return NULL;
    table->deviation = deviation;
    for (size_t i = 0; i < TABLE_NUMEL + PIECE_NUMEL; i++)
        table->values[i] =
            weir_f32_to_bf16((float)(weights->normals[i] * deviation));
    weights->tables[weights->n_tables++] = table;
    return table;
}

/* The deviation of an int8 tensor is in its scales. */
static void plan_int8(const struct weir_config *config,
                      struct weir_pack_tensor *tensor)
{
    tensor->src_dtype = WEIR_I8;
    tensor->src_scale = (float)(deviation_of(config, tensor) * LARGEST / 127);
}

static int plan_tensor(struct weir_random_weights *weights, uint32_t i,
                       uint64_t seed, struct weir_err *err)
{
    struct weir_pack_tensor *tensor = &weights->layout->tensors[i];
    struct recipe *recipe = &weights->recipes[i];
    size_t f = 0;

    while (!ends_in(tensor->name, fills[f].ending))
        f++;
    recipe->fill = fills[f].fill;
    recipe->key =
        XXH3_64bits_withSeed(tensor->name, strlen(tensor->name), seed);
    if (tensor->dtype == WEIR_I8) {
        plan_int8(weights->config, tensor);
    } else if (recipe->fill == FILL_NORMAL && !tensor->is_scales) {
        recipe->table =
            find_table(weights, deviation_of(weights->config, tensor));
        if (!recipe->table)
            return weir_err_nomem(err, sizeof(*recipe->table),
                                  "random weights");
    }
    return 0;
}

/* The numbers that all tables are made of. */
static int make_numbers(struct weir_random_weights *weights, uint64_t seed,
                        struct weir_err *err)
{
    size_t n = TABLE_NUMEL + PIECE_NUMEL;
    double q;

    weights->normals = malloc(n * sizeof(*weights->normals));
    weights->int8 = malloc(n);
    if (!weights->normals || !weights->int8)
        return weir_err_nomem(err, n * sizeof(*weights->normals),
                              "random weights");
    make_normals(seed, weights->normals, n);
    for (size_t i = 0; i < n; i++) {
        q = rint(weights->normals[i] * (127 / LARGEST));
        weights->int8[i] = (int8_t)fmax(-127, fmin(127, q));
    }
    return 0;
}

int weir_random_weights_new(struct weir_layout *layout,
                            const struct weir_config *config, uint64_t seed,
                            struct weir_random_weights **out,
                            struct weir_err *err)
{
    struct weir_random_weights *weights = calloc(1, sizeof(*weights));
    int rc;

    *out = NULL;
    if (!weights)
        return weir_err_nomem(err, sizeof(*weights), "random weights");
    weights->layout = layout;
    weights->config = config;
    weights->recipes = calloc(layout->n_tensors, sizeof(*weights->recipes));
    if (weights->recipes)
        rc = make_numbers(weights, seed, err);
    else
        rc = weir_err_nomem(err, layout->n_tensors * sizeof(*weights->recipes),
                            "random weights");
    for (uint32_t i = 0; i < layout->n_tensors && !rc; i++)
        rc = plan_tensor(weights, i, seed, err);
    if (rc) {
        weir_random_weights_free(weights);
        return rc;
    }
    *out = weights;
    return 0;
}

void weir_random_weights_free(struct weir_random_weights *weights)
{
    if (!weights)
        return;
    for (size_t i = 0; i < weights->n_tables; i++)
        free(weights->tables[i]);
    free(weights->int8);
    free(weights->normals);
    free(weights->recipes);
    free(weights);
}

/* ---- filling ---- */

/* The piece of the table that stands at `piece` of a tensor. */
static size_t piece_at(uint64_t key, uint64_t piece)
{
    return hash(key, piece) % (TABLE_NUMEL + 1);
}

/* From a table of elements of `size` bytes. */
static void fill_normal(const void *table, size_t size, uint64_t key,
                        uint64_t first, size_t n, uint8_t *out)
{
    size_t from, run;

    for (; n; first += run, out += run * size, n -= run) {
        from = first % PIECE_NUMEL;
        run = PIECE_NUMEL - from < n ? PIECE_NUMEL - from : n;
        from += piece_at(key, first / PIECE_NUMEL);
        memcpy(out, (const uint8_t *)table + from * size, run * size);
    }
}

/* Element `at` of the row number `row`, before it is scaled. */
static double row_value(const struct weir_random_weights *weights,
                        uint64_t row_key, uint64_t at)
{
    return weights
        ->normals[piece_at(row_key, at / PIECE_NUMEL) + at % PIECE_NUMEL];
}

static void fill_unit_row(const struct weir_random_weights *weights,
                          uint64_t row_key, size_t cols, uint16_t *out)
{
    double squares = 0, x;

    for (size_t c = 0; c < cols; c++) {
        x = row_value(weights, row_key, c);
        squares += x * x;
    }
    for (size_t c = 0; c < cols; c++)
        out[c] = weir_f32_to_bf16(
            (float)(row_value(weights, row_key, c) / sqrt(squares)));
}

/* The inverse of softplus, of a dt that is log-uniform from 1e-3 to 1e-1. */
static double dt_bias(uint64_t key, uint64_t at)
{
    double dt = exp(log(1e-3) + uniform(key, at) * log(1e2));

    return log(expm1(dt));
}

/* Of vectors and what else is small; `cols` is the last dimension. */
static double small_value(const struct weir_config *config,
                          const struct recipe *recipe, uint64_t at,
                          uint64_t cols)
{
    switch (recipe->fill) {
    case FILL_ONES:
        return 1 + noise(recipe->key, at, NOISE);
    case FILL_ZEROS:
        return noise(recipe->key, at, NOISE);
    case FILL_UNIFORM:
        return noise(recipe->key, at, 1 / sqrt(config->d_conv));
    case FILL_A_LOG:
        return log(1.0 + (double)(at % cols)) + noise(recipe->key, at, NOISE);
    default:
        return dt_bias(recipe->key, at);
    }
}

static void fill_small(const struct weir_random_weights *weights,
                       const struct recipe *recipe, uint64_t first, size_t n,
                       size_t cols, uint16_t *out)
{
    if (recipe->fill == FILL_UNIT_ROWS) {
        for (size_t i = 0; i < n; i += cols)
            fill_unit_row(weights, hash(recipe->key, (first + i) / cols), cols,
                          out + i);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = weir_f32_to_bf16(
            (float)small_value(weights->config, recipe, first + i, cols));
}

void weir_random_weights_get(const struct weir_random_weights *weights,
                             uint32_t tensor, uint64_t first, size_t n,
                             void *out)
{
    const struct weir_pack_tensor *shape = &weights->layout->tensors[tensor];
    const struct recipe *recipe = &weights->recipes[tensor];

    if (shape->src_dtype == WEIR_I8)
        fill_normal(weights->int8, 1, recipe->key, first, n, out);
    else if (recipe->fill == FILL_NORMAL)
        fill_normal(recipe->table->values, sizeof(uint16_t), recipe->key, first,
                    n, out);
    else
        fill_small(weights, recipe, first, n, shape->shape[shape->n_dims - 1],
                   out);
}
