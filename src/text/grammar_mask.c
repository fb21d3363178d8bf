/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree lies in the order in which it is walked, and the walk sets one bit
 * at each node without asking whether it has a token: those that have none
 * share a bit behind all others.  Which tokens have the same text is looked at
 * after that.
 *
 * Most tokens are plain: characters that mean nothing in a string of JSON but
 * themselves.  They have a tree of their own, before that of the others, and
 * need no walk where all such characters lead the same way: then a token may
 * come when it has no more of them than there may be.
 */
#include "text/grammar_mask.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_impl.h"

#define TOKEN_BYTES 255 /* most in a token that is in a tree */
#define PLAIN_CHARS 32  /* most in one that counts as plain */

struct node {
    uint32_t after; /* the node behind all that are below it */
    uint32_t bit;   /* its token, or the number of ids */
    uint8_t byte, depth;
};

struct token {
    const char *text;
    uint32_t n_bytes;
    int32_t id;
    uint8_t n_chars; /* of a plain one; 0: it is another */
};

struct weir_token_tree {
    const struct weir_tokenizer *tokenizer;
    struct node *nodes;   /* [n_nodes] */
    uint32_t (*twins)[2]; /* [n_twins] a token, and one with the same text */
    size_t n_nodes, n_twins, n_ids;
    size_t n_plain;  /* nodes of plain tokens, the first ones */
    uint64_t *plain; /* [PLAIN_CHARS + 1][n_words] those of so many or fewer */
    size_t n_words;
};

/* ---- tokens ---- */

/* What a token is when it is shown; a text of its own for a byte */
static void text_of(const struct weir_tokenizer *tokenizer, int32_t id,
                    char *byte, struct token *token)
{
    const struct weir_piece *piece = &tokenizer->vocab.pieces[id];

    token->id = id;
    token->text = weir_vocab_at(&tokenizer->vocab, piece->shown);
    token->n_bytes = piece->shown.n_bytes;
    if (tokenizer->runs && piece->byte >= 0) {
        *byte = (char)piece->byte;
        token->text = byte;
        token->n_bytes = 1;
    }
}

static int is_text(const struct weir_piece *piece)
{
    const unsigned other =
        WEIR_PIECE_SPECIAL | WEIR_PIECE_UNUSED | WEIR_PIECE_UNKNOWN;

    return piece->flags && !(piece->flags & other);
}

static uint8_t plain_chars(const struct token *token)
{
    size_t n;

    if (!weir_walk_is_plain(token->text, token->n_bytes, &n) || n > PLAIN_CHARS)
        return 0;
    return (uint8_t)n;
}

static size_t list_tokens(const struct weir_tokenizer *tokenizer,
                          char bytes[256], struct token *tokens)
{
    size_t n = 0;

    for (size_t id = 0; id < tokenizer->vocab.n; id++) {
        const struct weir_piece *piece = &tokenizer->vocab.pieces[id];

        if (!is_text(piece))
            continue;
        text_of(tokenizer, (int32_t)id, &bytes[piece->byte & 255], &tokens[n]);
        tokens[n].n_chars = plain_chars(&tokens[n]);
        n += tokens[n].n_bytes > 0 && tokens[n].n_bytes <= TOKEN_BYTES;
    }
    return n;
}

/* Plain ones first */
static int compare_tokens(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = !x->n_chars - !y->n_chars;

    if (!order)
        order = memcmp(x->text, y->text, n);
    if (!order && x->n_bytes != y->n_bytes)
        order = x->n_bytes < y->n_bytes ? -1 : 1;
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* ---- the tree ---- */

/* Bytes that both begin with, in a tree that both are in */
static size_t n_common(const struct token *a, const struct token *b)
{
    size_t n = 0;

    if (!a->n_chars != !b->n_chars)
        return 0;
    while (n < a->n_bytes && n < b->n_bytes && a->text[n] == b->text[n])
        n++;
    return n;
}

static size_t count_nodes(const struct token *tokens, size_t n)
{
    size_t n_nodes = 0;

    for (size_t i = 0; i < n; i++)
        n_nodes +=
            tokens[i].n_bytes - (i ? n_common(&tokens[i - 1], &tokens[i]) : 0);
    return n_nodes;
}

/* Nodes of token i that the one before it does not have; those of it that end
 * here get their `after`. */
static void add_token(struct weir_token_tree *tree, const struct token *tokens,
                      size_t i, uint32_t open[TOKEN_BYTES])
{
    size_t depth = i ? n_common(&tokens[i - 1], &tokens[i]) : 0;
    struct node *last;

    for (size_t k = depth; i && k < tokens[i - 1].n_bytes; k++)
        tree->nodes[open[k]].after = (uint32_t)tree->n_nodes;
    for (; depth < tokens[i].n_bytes; depth++) {
        open[depth] = (uint32_t)tree->n_nodes;
        tree->nodes[tree->n_nodes++] =
            (struct node){.bit = (uint32_t)tree->n_ids,
                          .byte = (uint8_t)tokens[i].text[depth],
                          .depth = (uint8_t)depth};
    }
    if (tokens[i].n_chars)
        tree->n_plain = tree->n_nodes;
    last = &tree->nodes[tree->n_nodes - 1];
    if (last->bit == tree->n_ids) {
        last->bit = (uint32_t)tokens[i].id;
        return;
    }
    tree->twins[tree->n_twins][0] = last->bit;
    tree->twins[tree->n_twins++][1] = (uint32_t)tokens[i].id;
}

/* Those of a number of characters, then with those of fewer */
static void find_plain(struct weir_token_tree *tree, const struct token *tokens,
                       size_t n)
{
    for (size_t i = 0; i < n && tokens[i].n_chars; i++)
        tree->plain[tokens[i].n_chars * tree->n_words +
                    (size_t)tokens[i].id / 64] |= (uint64_t)1
                                                  << tokens[i].id % 64;
    for (size_t i = tree->n_words; i < (PLAIN_CHARS + 1) * tree->n_words; i++)
        tree->plain[i] |= tree->plain[i - tree->n_words];
}

static int build(struct weir_token_tree *tree, const struct token *tokens,
                 size_t n, struct weir_err *err)
{
    size_t n_nodes = count_nodes(tokens, n);
    uint32_t open[TOKEN_BYTES];

    tree->nodes = calloc(n_nodes + 1, sizeof(*tree->nodes));
    tree->twins = calloc(n + 1, sizeof(*tree->twins));
    tree->n_words = tree->n_ids / 64 + 1;
    tree->plain =
        calloc((PLAIN_CHARS + 1) * tree->n_words, sizeof(*tree->plain));
    if (!tree->nodes || !tree->twins || !tree->plain)
        return weir_err_nomem(err, n_nodes * sizeof(*tree->nodes),
                              "the tree of a vocabulary");
    for (size_t i = 0; i < n; i++)
        add_token(tree, tokens, i, open);
    for (size_t k = 0; n && k < tokens[n - 1].n_bytes; k++)
        tree->nodes[open[k]].after = (uint32_t)tree->n_nodes;
    find_plain(tree, tokens, n);
    return 0;
}

int weir_token_tree_new(const struct weir_tokenizer *tokenizer,
                        struct weir_token_tree **out, struct weir_err *err)
{
    struct token *tokens = calloc(tokenizer->vocab.n + 1, sizeof(*tokens));
    struct weir_token_tree *tree = calloc(1, sizeof(*tree));
    char bytes[256];
    size_t n;
    int rc;

    *out = NULL;
    if (!tokens || !tree) {
        rc = weir_err_nomem(err, tokenizer->vocab.n * sizeof(*tokens),
                            "the tree of a vocabulary");
    } else if (tokenizer->joins_with_space) {
        rc = weir_err_set(err, WEIR_ENOTSUP,
                          "the tokenizer puts spaces between tokens, so that "
                          "the form of an answer cannot be kept to");
    } else {
        tree->tokenizer = tokenizer;
        tree->n_ids = tokenizer->vocab.n;
        n = list_tokens(tokenizer, bytes, tokens);
        qsort(tokens, n, sizeof(*tokens), compare_tokens);
        rc = build(tree, tokens, n, err);
    }
    free(tokens);
    if (rc)
        weir_token_tree_free(tree);
    else
        *out = tree;
    return rc;
}

void weir_token_tree_free(struct weir_token_tree *tree)
{
    if (!tree)
        return;
    free(tree->nodes);
    free(tree->twins);
    free(tree->plain);
    free(tree);
}

/* ---- masks ---- */

/* The special token with this text, or -1 */
static int32_t find_special(const struct weir_tokenizer *tokenizer,
                            const char *text)
{
    size_t n = strlen(text);

    for (size_t id = 0; id < tokenizer->vocab.n; id++) {
        const struct weir_piece *piece = &tokenizer->vocab.pieces[id];

        if (piece->flags & WEIR_PIECE_SPECIAL && piece->shown.n_bytes == n &&
            !memcmp(weir_vocab_at(&tokenizer->vocab, piece->shown), text, n))
            return (int32_t)id;
    }
    return -1;
}

int weir_mask_init(struct weir_mask *mask, const struct weir_token_tree *tree,
                   struct weir_grammar *grammar, const int32_t *eos,
                   uint32_t n_eos, size_t n_vocab, struct weir_err *err)
{
    const struct weir_tool_style *style = grammar->style;
    size_t n_words = (n_vocab + 63) / 64;

    memset(mask, 0, sizeof(*mask));
    mask->tree = tree;
    mask->grammar = weir_grammar_share(grammar);
    mask->n_vocab = n_vocab;
    mask->n_words = n_words;
    for (; mask->n_eos < n_eos && mask->n_eos < WEIR_MASK_EOS; mask->n_eos++)
        mask->eos[mask->n_eos] = eos[mask->n_eos];
    mask->tags[0] = style ? find_special(tree->tokenizer, style->begin) : -1;
    mask->tags[1] = style ? find_special(tree->tokenizer, style->end) : -1;
    mask->n_stride = tree->n_words;
    if (mask->n_stride < n_words)
        mask->n_stride = n_words;
    mask->bits = calloc(WEIR_MASKS * mask->n_stride, sizeof(*mask->bits));
    mask->states = calloc(WEIR_MASKS, sizeof(*mask->states));
    mask->n_asked = calloc(WEIR_MASKS, sizeof(*mask->n_asked));
    if (mask->bits && mask->states && mask->n_asked)
        return weir_walk_init(&mask->walk, grammar, err);
    weir_mask_fini(mask);
    return weir_err_nomem(err,
                          WEIR_MASKS * mask->n_stride * sizeof(*mask->bits),
                          "masks of a vocabulary");
}

void weir_mask_fini(struct weir_mask *mask)
{
    free(mask->bits);
    free(mask->states);
    free(mask->n_asked);
    weir_walk_fini(&mask->walk);
    weir_grammar_release(mask->grammar);
    memset(mask, 0, sizeof(*mask));
}

static void set_bit(const struct weir_mask *mask, uint64_t *bits, int32_t id)
{
    if ((uint32_t)id < mask->n_vocab)
        bits[id / 64] |= (uint64_t)1 << id % 64;
}

static uint32_t walk_text(struct weir_walk *walk, uint32_t state,
                          const struct token *token)
{
    for (size_t i = 0; i < token->n_bytes && state != WEIR_WALK_DEAD; i++)
        state = weir_walk_step(walk, state, (uint8_t)token->text[i]);
    return state;
}

/* What a token adds to the text: bytes, of which `byte` may hold the one */
static struct token token_of(const struct weir_mask *mask, int32_t id,
                             char *byte)
{
    struct token token = {0};

    if (weir_tokenizer_has(mask->tree->tokenizer, id))
        text_of(mask->tree->tokenizer, id, byte, &token);
    return token;
}

static void set_others(struct weir_mask *mask, uint64_t *bits)
{
    struct weir_walk *walk = &mask->walk;
    char byte;

    for (int i = 0; i < 2; i++) {
        struct token token = token_of(mask, mask->tags[i], &byte);

        if (token.n_bytes &&
            walk_text(walk, walk->at, &token) != WEIR_WALK_DEAD)
            set_bit(mask, bits, mask->tags[i]);
    }
    for (uint32_t i = 0; i < mask->n_eos; i++)
        if (weir_walk_may_end(walk, walk->at))
            set_bit(mask, bits, mask->eos[i]);
}

/* Tokens of the same text, and no others than the model has scores for */
static void finish_bits(const struct weir_mask *mask, uint64_t *bits)
{
    const struct weir_token_tree *tree = mask->tree;

    for (size_t i = 0; i < tree->n_twins; i++) {
        uint32_t a = tree->twins[i][0], b = tree->twins[i][1];

        bits[b / 64] |= (bits[a / 64] >> a % 64 & 1) << b % 64;
    }
    bits[tree->n_ids / 64] &= ~((uint64_t)1 << tree->n_ids % 64);
    if (mask->n_vocab % 64)
        bits[mask->n_vocab / 64] &= ((uint64_t)1 << mask->n_vocab % 64) - 1;
}

static void walk_tree(struct weir_mask *mask, uint64_t *bits,
                      const struct node *node, const struct node *end)
{
    const struct node *nodes = mask->tree->nodes;
    struct weir_walk *walk = &mask->walk;
    uint32_t states[TOKEN_BYTES + 1], to;

    states[0] = walk->at;
    while (node < end) {
        to = weir_walk_step(walk, states[node->depth], node->byte);
        if (to == WEIR_WALK_DEAD) {
            node = nodes + node->after;
            continue;
        }
        states[node->depth + 1] = to;
        bits[node->bit / 64] |= (uint64_t)1 << node->bit % 64;
        node++;
    }
}

/* How many plain characters may come, whichever; -1 when that depends on them,
 * and PLAIN_CHARS when it may be more. */
static int count_plain(struct weir_walk *walk)
{
    uint32_t state = walk->at;
    int n = 0;

    for (; n < PLAIN_CHARS; n++) {
        state = weir_walk_plain(walk, state);
        if (state == WEIR_WALK_MIXED)
            return -1;
        if (state == WEIR_WALK_DEAD)
            break;
    }
    return n;
}

/* Single bytes first: there must be room for the states that these lead to. */
static void make_mask(struct weir_mask *mask, uint64_t *bits)
{
    const struct weir_token_tree *tree = mask->tree;
    struct weir_walk *walk = &mask->walk;
    const struct node *rest = tree->nodes + tree->n_plain;
    int n;

    memset(bits, 0, mask->n_stride * sizeof(*bits));
    for (unsigned byte = 0; byte < 256; byte++)
        weir_walk_step(walk, walk->at, (uint8_t)byte);
    n = count_plain(walk);
    if (n < 0)
        walk_tree(mask, bits, tree->nodes, rest);
    else
        memcpy(bits, tree->plain + (size_t)n * tree->n_words,
               tree->n_words * sizeof(*bits));
    walk_tree(mask, bits, rest, tree->nodes + tree->n_nodes);
    finish_bits(mask, bits);
    set_others(mask, bits);
}

/* The mask of this state, or the one that was not asked for longest */
static size_t find_mask(const struct weir_mask *mask)
{
    size_t oldest = 0;

    for (size_t i = 0; i < WEIR_MASKS; i++) {
        if (mask->states[i] == mask->walk.at)
            return i;
        if (mask->n_asked[i] < mask->n_asked[oldest])
            oldest = i;
    }
    return oldest;
}

const uint64_t *weir_mask_next(struct weir_mask *mask)
{
    uint64_t *bits;
    size_t i;

    if (weir_walk_make_room(&mask->walk)) /* states have other numbers now */
        memset(mask->states, 0, WEIR_MASKS * sizeof(*mask->states));
    i = find_mask(mask);
    bits = mask->bits + i * mask->n_stride;
    mask->n_asked[i] = ++mask->n_asks;
    if (mask->states[i] != mask->walk.at)
        make_mask(mask, bits);
    mask->states[i] = mask->walk.at;
    return bits;
}

static int is_empty(const uint64_t *bits, size_t n_words)
{
    uint64_t any = 0;

    for (size_t i = 0; i < n_words; i++)
        any |= bits[i];
    return !any;
}

int32_t weir_mask_choose(struct weir_mask *mask, struct weir_sampler *sampler,
                         const float *logits)
{
    const uint64_t *bits = mask ? weir_mask_next(mask) : NULL;

    if (mask && is_empty(bits, mask->n_words))
        return WEIR_MASK_NO_TOKEN;
    return weir_sampler_next_of(sampler, logits, bits);
}

int weir_mask_take(struct weir_mask *mask, int32_t id)
{
    uint64_t n_flushes = mask->walk.n_flushes;
    char byte;
    struct token token = token_of(mask, id, &byte);
    int may;

    may =
        token.n_bytes && weir_walk_take(&mask->walk, token.text, token.n_bytes);
    if (mask->walk.n_flushes != n_flushes)
        memset(mask->states, 0, WEIR_MASKS * sizeof(*mask->states));
    return may;
}

int weir_mask_shows(const struct weir_mask *mask, int32_t id)
{
    return id >= 0 && (id == mask->tags[0] || id == mask->tags[1]);
}

int weir_mask_may_end(const struct weir_mask *mask)
{
    return weir_walk_may_end(&mask->walk, mask->walk.at);
}

int weir_mask_must_end(const struct weir_mask *mask)
{
    return weir_walk_must_end(&mask->walk, mask->walk.at);
}
