/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace has more spans than a picture has room for, so that spans are not
 * drawn: a column of pixels is split by what its time went into, in the order
 * of enum trace_share, work below and waiting on top.  Where a thread did one
 * thing for long, that is a block of one colour; where it did many in turn, the
 * heights say how much of each.
 */
#include "tools/trace_svg.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tools/trace_print.h"

#define WIDTH      1280
#define LEFT       90
#define CHART      TRACE_COLUMNS /* pixels of the time */
#define RIGHT      (LEFT + CHART)
#define LANES_HIGH 480 /* of all threads, unless they are many */
#define MOST_HIGH  64  /* of a lane */
#define LEAST_HIGH 16  /* for a line of text */
#define DRIVE_HIGH 70
#define LAYER_HIGH 130

static const char *const colours[TRACE_N_SHARES] = {
    [TRACE_MAMBA] = "#2563a8",     [TRACE_ATTENTION] = "#7fb3e6",
    [TRACE_EXPERTS] = "#1b7f4d",   [TRACE_MLP] = "#7ccf9a",
    [TRACE_OTHER] = "#6b7a99",     [TRACE_DECODE] = "#f28e1c",
    [TRACE_CHECK] = "#e3c21a",     [TRACE_SERIAL] = "#8e5bb5",
    [TRACE_WAIT_TILE] = "#d62839", [TRACE_WAIT_POOL] = "#c9c9c9",
    [TRACE_NOTHING] = "#f3f3f3",
};

/* The class of words on a colour */
static const char *ink_on(enum trace_share share)
{
    return share == TRACE_ATTENTION || share == TRACE_MLP ||
                   share == TRACE_CHECK || share >= TRACE_WAIT_POOL
               ? "dark"
               : "light";
}

/* A picture on its way from top to bottom */
struct picture {
    const struct trace *trace;
    FILE *file;
    double y;
};

static double percent(double n, double of)
{
    return of > 0 ? 100 * n / of : 0;
}

static void text(const struct picture *p, double x, double y, const char *class,
                 const char *words)
{
    fprintf(p->file, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", x,
            y, class, words);
}

static void box(const struct picture *p, double x, double y, double w, double h,
                const char *colour)
{
    fprintf(p->file,
            "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
            "fill=\"%s\"/>\n",
            x, y, w, h, colour);
}

/* Seconds as a person would say them */
static void say_time(char *out, size_t n, double s)
{
    if (s >= 100)
        snprintf(out, n, "%.0f s", s);
    else if (s >= 1)
        snprintf(out, n, "%.2f s", s);
    else if (s >= 1e-3)
        snprintf(out, n, "%.1f ms", s * 1e3);
    else
        snprintf(out, n, "%.1f us", s * 1e6);
}

/* A name of the trace with what XML would take for its own written out */
static const char *escape(char *out, size_t size, const char *name)
{
    static const char *const marks[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    static const char raw[] = "&<>\"";
    const char *mark;
    size_t at = 0;

    for (; *name && at + 7 < size; name++) {
        mark = strchr(raw, *name);
        if (mark)
            at +=
                (size_t)snprintf(out + at, size - at, "%s", marks[mark - raw]);
        else
            out[at++] = *name;
    }
    out[at] = '\0';
    return out;
}

/* ---- the top: where the time went ---- */

static void draw_title(struct picture *p)
{
    const struct trace *trace = p->trace;
    unsigned n = trace_n_threads(trace);
    char words[256], name[128], length[32];

    say_time(length, sizeof(length), (double)trace->length_ns * 1e-9);
    snprintf(words, sizeof(words), "weir %s: %s of %u thread%s",
             escape(name, sizeof(name), trace->command), length, n,
             n == 1 ? "" : "s");
    text(p, 20, 34, "title", words);
    p->y = 50;
    if (!trace->n_dropped)
        return;
    say_time(length, sizeof(length), (double)trace->begin_ns * 1e-9);
    snprintf(words, sizeof(words),
             "begins after %s; %" PRIu64 " spans before were forgotten", length,
             trace->n_dropped);
    text(p, 20, 54, "small", words);
    p->y = 64;
}

/* One bar for the time of all threads, split by what it went into */
static void draw_bar(struct picture *p)
{
    enum trace_share order[TRACE_N_SHARES];
    double all = (double)trace_all_ns(p->trace), x = 20, w, share;
    char words[96];

    trace_sort_shares(p->trace, order);
    for (int i = 0; i < TRACE_N_SHARES; i++) {
        share = percent((double)p->trace->ns[order[i]], all);
        w = share / 100 * (WIDTH - 40);
        if (w <= 0)
            continue;
        box(p, x, p->y, w, 42, colours[order[i]]);
        snprintf(words, sizeof(words), "%.0f %%", share);
        if (w > 40)
            text(p, x + 6, p->y + 17, ink_on(order[i]), words);
        if (w > 7.2 * (double)strlen(trace_share_name(order[i])) + 8)
            text(p, x + 6, p->y + 34, ink_on(order[i]),
                 trace_share_name(order[i]));
        x += w;
    }
    p->y += 64;
}

static double draw_legend(const struct picture *p)
{
    enum trace_share order[TRACE_N_SHARES];
    double all = (double)trace_all_ns(p->trace), y = p->y;
    char words[96], time[32];

    trace_sort_shares(p->trace, order);
    text(p, 20, y, "head", "Where the time of all threads went");
    for (int i = 0; i < TRACE_N_SHARES; i++) {
        uint64_t ns = p->trace->ns[order[i]];

        if (!ns)
            continue;
        y += 19;
        box(p, 20, y - 11, 13, 13, colours[order[i]]);
        text(p, 42, y, "words", trace_share_name(order[i]));
        say_time(time, sizeof(time), (double)ns * 1e-9);
        text(p, 290, y, "number", time);
        snprintf(words, sizeof(words), "%.1f %%", percent((double)ns, all));
        text(p, 360, y, "number", words);
    }
    return y;
}

static double draw_ops(const struct picture *p)
{
    const struct trace_op *order[TRACE_OPS];
    double all = (double)trace_all_ns(p->trace), y = p->y;
    char words[256], name[128], part[128], time[32];

    trace_sort_ops(p->trace, order);
    text(p, 430, y, "head", "Computing what, without decoding and waiting");
    for (unsigned i = 0; i < p->trace->n_ops && i < 10; i++) {
        const struct trace_op *op = order[i];

        y += 19;
        box(p, 430, y - 11, 13, 13, colours[op->share]);
        snprintf(words, sizeof(words), "%s%s%s",
                 escape(part, sizeof(part), op->part), *op->part ? ": " : "",
                 op->share == TRACE_SERIAL
                     ? "one thread alone"
                     : escape(name, sizeof(name), op->name));
        text(p, 452, y, "words", words);
        say_time(time, sizeof(time), (double)op->ns * 1e-9);
        text(p, 740, y, "number", time);
        snprintf(words, sizeof(words), "%.1f %%", percent((double)op->ns, all));
        text(p, 810, y, "number", words);
    }
    return y;
}

static double draw_numbers(const struct picture *p)
{
    const struct trace_drive *drive = &p->trace->drive;
    double y = p->y, all = (double)p->trace->length_ns;
    char words[128];

    text(p, 880, y, "head", "The drive");
    if (!drive->n_reads) {
        text(p, 880, y + 19, "words", "no requests: the weights were mapped");
        text(p, 880, y + 38, "words", "or in memory");
        return y + 38;
    }
    snprintf(words, sizeof(words), "%.1f MB in %" PRIu64 " requests",
             (double)drive->n_bytes * 1e-6, drive->n_reads);
    text(p, 880, y + 19, "words", words);
    snprintf(words, sizeof(words), "%.2f GB/s while busy",
             drive->busy_ns ? (double)drive->n_bytes / (double)drive->busy_ns
                            : 0);
    text(p, 880, y + 38, "words", words);
    snprintf(words, sizeof(words), "busy %.1f %% of the time",
             percent((double)drive->busy_ns, all));
    text(p, 880, y + 57, "words", words);
    snprintf(words, sizeof(words),
             "a request took %.2f ms in the mean, %.2f at most",
             (double)drive->sum_ns / (double)drive->n_reads * 1e-6,
             (double)drive->most_ns * 1e-6);
    text(p, 880, y + 76, "words", words);
    return y + 76;
}

static void draw_top(struct picture *p)
{
    double a, b, c;

    draw_title(p);
    draw_bar(p);
    a = draw_legend(p);
    b = draw_ops(p);
    c = draw_numbers(p);
    a = a > b ? a : b;
    p->y = (a > c ? a : c) + 40;
}

/* ---- over the time ---- */

/* The length of a step of the axis: 1, 2 or 5 times a power of ten */
static double find_step(double length, double n)
{
    double step = pow(10, floor(log10(length / n)));

    if (step * n * 5 < length)
        return step * 10;
    if (step * n * 2 < length)
        return step * 5;
    return step * n < length ? step * 2 : step;
}

static void draw_axis(const struct picture *p, double top, double bottom)
{
    double length = (double)p->trace->length_ns * 1e-9;
    double step = find_step(length, 10), x;
    double unit = length >= 1 ? 1 : length >= 1e-3 ? 1e-3 : 1e-6;
    const char *name = length >= 1 ? "s" : length >= 1e-3 ? "ms" : "us";
    char words[48];

    for (int i = 0; i * step <= length * 1.0001; i++) {
        x = LEFT + i * step / length * CHART;
        fprintf(p->file,
                "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                "class=\"grid\"/>\n",
                x, top - 4, x, bottom + 4);
        snprintf(words, sizeof(words), "%g %s", i * step / unit, name);
        text(p, x, top - 8, "tick", words);
    }
}

/* The columns of a lane, as a path of each colour */
static void draw_columns(const struct picture *p, const uint64_t *ns,
                         const struct trace_column *columns, double top,
                         double high)
{
    double scale = high * TRACE_COLUMNS / (double)p->trace->length_ns;

    for (int share = 0; share < TRACE_N_SHARES; share++) {
        if (!ns[share])
            continue;
        fprintf(p->file, "<path fill=\"%s\" d=\"", colours[share]);
        for (unsigned i = 0; i < TRACE_COLUMNS; i++) {
            double below = 0, mine = (double)columns[i].ns[share] * scale;

            for (int s = 0; s < share; s++)
                below += (double)columns[i].ns[s] * scale;
            if (mine > high - below)
                mine = high - below;
            if (mine > 0.02)
                fprintf(p->file, "M%u %.2fh1v-%.2fh-1z", LEFT + i,
                        top + high - below, mine);
        }
        fputs("\"/>\n", p->file);
    }
}

/* A lane, what it is called, and how long its thread was busy */
static void draw_lane(struct picture *p, const uint64_t *ns, double n_threads,
                      const struct trace_column *columns, const char *name,
                      double high)
{
    double all = n_threads * (double)p->trace->length_ns, busy = 0;
    double gap = high > 20 ? 5 : 2, middle = p->y + (high - gap) / 2 + 4;
    char words[64];

    for (int i = 0; i < TRACE_WAIT_TILE; i++)
        busy += (double)ns[i];
    busy = percent(busy, all);
    box(p, LEFT, p->y, CHART, high - gap, colours[TRACE_NOTHING]);
    draw_columns(p, ns, columns, p->y, high - gap);
    text(p, LEFT - 8, middle, "number", name);
    snprintf(words, sizeof(words), "busy %.0f %%, idle %.0f %%", busy,
             100 - busy);
    text(p, RIGHT + 8, middle, "small", words);
    p->y += high;
}

static void draw_lanes(struct picture *p)
{
    const struct trace *trace = p->trace;
    unsigned n = trace_n_threads(trace);
    double high = n ? LANES_HIGH / (double)n : 0;
    char name[32];

    high = high > MOST_HIGH ? MOST_HIGH : high;
    high = high < LEAST_HIGH ? LEAST_HIGH : high;
    if (n > 1) {
        draw_lane(p, trace->ns, n, trace->columns, "all threads", MOST_HIGH);
        p->y += 8;
    }
    for (unsigned i = 0; i < trace->n_lanes; i++) {
        snprintf(name, sizeof(name), "thread %u", i);
        if (trace->lanes[i].columns)
            draw_lane(p, trace->lanes[i].ns, 1, trace->lanes[i].columns, name,
                      high);
    }
}

/* Bytes a second over the time */
static void draw_drive(struct picture *p)
{
    const struct trace_drive *drive = &p->trace->drive;
    double width = (double)p->trace->length_ns / TRACE_COLUMNS, most = 0;
    char words[64];

    if (!drive->n_reads)
        return;
    for (int i = 0; i < TRACE_COLUMNS; i++)
        most = drive->bytes[i] > most ? drive->bytes[i] : most;
    p->y += 8;
    box(p, LEFT, p->y, CHART, DRIVE_HIGH, colours[TRACE_NOTHING]);
    fputs("<path fill=\"#0e8f9c\" d=\"", p->file);
    for (unsigned i = 0; i < TRACE_COLUMNS && most > 0; i++)
        if (drive->bytes[i] > most / 1000)
            fprintf(p->file, "M%u %.2fh1v-%.2fh-1z", LEFT + i,
                    p->y + DRIVE_HIGH, drive->bytes[i] / most * DRIVE_HIGH);
    fputs("\"/>\n", p->file);
    text(p, LEFT - 8, p->y + DRIVE_HIGH / 2.0, "number", "drive");
    snprintf(words, sizeof(words), "at most %.2f GB/s", most / width);
    text(p, RIGHT + 8, p->y + 12, "small", words);
    snprintf(words, sizeof(words), "busy %.0f %%",
             percent((double)drive->busy_ns, (double)p->trace->length_ns));
    text(p, RIGHT + 8, p->y + DRIVE_HIGH / 2.0 + 4, "small", words);
    p->y += DRIVE_HIGH;
}

static void draw_timeline(struct picture *p)
{
    double top;

    text(p, 20, p->y, "head",
         "Over the time: each column is split by what the thread did then, "
         "work below, waiting above");
    p->y += 34;
    top = p->y;
    draw_lanes(p);
    draw_drive(p);
    draw_axis(p, top, p->y);
    p->y += 44;
}

/* ---- by layer ---- */

static uint64_t layer_ns(const struct trace *trace, unsigned layer)
{
    uint64_t ns = 0;

    for (int i = 0; i < TRACE_N_SHARES; i++)
        ns += trace->layers[layer][i];
    return ns;
}

static void draw_layer(const struct picture *p, unsigned layer, double x,
                       double w, double scale)
{
    double y = p->y + LAYER_HIGH, h;
    char number[16];

    for (int i = 0; i < TRACE_N_SHARES; i++) {
        h = (double)p->trace->layers[layer][i] * scale;
        if (h < 0.02)
            continue;
        y -= h;
        box(p, x, y, w > 3 ? w - 1.5 : w, h, colours[i]);
    }
    if (w < 20 && layer % 8)
        return;
    snprintf(number, sizeof(number), "%u", layer);
    text(p, x + w / 2, p->y + LAYER_HIGH + 15, "tick", number);
}

static void draw_layers(struct picture *p)
{
    const struct trace *trace = p->trace;
    unsigned n = trace->n_layers;
    double w = n ? CHART / (double)n : 0;
    uint64_t most = 1;
    char words[64];

    if (!n)
        return;
    w = w > 60 ? 60 : w;
    text(p, 20, p->y, "head", "By layer: the time of all threads, all tokens");
    p->y += 20;
    for (unsigned i = 0; i < n; i++)
        most = layer_ns(trace, i) > most ? layer_ns(trace, i) : most;
    for (unsigned i = 0; i < n; i++)
        draw_layer(p, i, LEFT + i * w, w, LAYER_HIGH / (double)most);
    text(p, LEFT - 8, p->y + LAYER_HIGH + 15, "number", "layer");
    say_time(words, sizeof(words), (double)most * 1e-9);
    text(p, LEFT - 8, p->y + 10, "number", words);
    p->y += LAYER_HIGH + 30;
}

/* ---- */

/* The height is known at the end, so that the view is set by a second pass. */
static void draw_head(FILE *file, double high)
{
    fprintf(file,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
            "height=\"%.0f\" viewBox=\"0 0 %d %.0f\">\n"
            "<style>text{font-family:sans-serif;font-size:13px;fill:#222}"
            ".title{font-size:22px;font-weight:bold}"
            ".head{font-size:14px;font-weight:bold}"
            ".number{text-anchor:end}.small{font-size:12px}"
            ".tick{text-anchor:middle;font-size:12px}"
            ".light{fill:#fff}.dark{fill:#333}"
            ".grid{stroke:#000;stroke-opacity:.18}"
            "rect,path,line{shape-rendering:crispEdges}</style>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            WIDTH, high, WIDTH, high);
}

static double draw_body(const struct trace *trace, FILE *file)
{
    struct picture p = {.trace = trace, .file = file};

    draw_top(&p);
    draw_timeline(&p);
    draw_layers(&p);
    return p.y + 10;
}

void trace_draw(const struct trace *trace, FILE *file)
{
    FILE *nowhere = fopen("/dev/null", "we");
    double high = 1200;

    if (nowhere) {
        high = draw_body(trace, nowhere);
        fclose(nowhere);
    }
    draw_head(file, high);
    draw_body(trace, file);
    fputs("</svg>\n", file);
}
