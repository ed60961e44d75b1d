/* The Elman recurrence over time, forward and backward (see wavemem/kernels/elman.py for the equations).
 *
 *   h(t) = act( W_hh h(t-1) + W_uh u(t) ),   y(t) = W_r h(t)
 *
 * Runs are independent, and so are the entries of a batch. A "task" is one run with a slice of its batch, small enough
 * that a step's states stay in the first cache. Units are the innermost axis: a step multiplies rows (one per entry) by a
 * matrix that was packed in panels of PW columns, so that the sums of a tile of MR rows and PW columns stay in registers
 * until the activation has been taken. Each sum is taken in a fixed order and has one owner: the numbers do not depend on
 * the number of threads, which take their tasks from a common counter.
 *
 * Rows of states are `ld` floats apart, an odd number of cache lines, so that a column of rows fills all sets of a cache.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define VL 16
#define MR 8 /* rows of a tile: MR * NV sums leave a few of the 32 registers free */
#elif defined(__AVX__)
#define VL 8
#define MR 6
#else
#define VL 4
#define MR 6
#endif
#define NV 2 /* vectors of a row of a tile */
#define PW (NV * VL)
#define SLICE 32 /* entries of a task at most */
#define ROWS 128 /* rows of delta, over steps and entries, from which a share of the weights' gradients is summed */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(VL * 4), aligned(4), may_alias));

typedef struct {
    int64_t K, T, S, B, N, d; /* runs, steps, steps with inputs, batch, units, inputs */
    int64_t tanh, still;      /* activation is tanh, not linear; h(0) = 0 */
    int64_t next;             /* first task that no thread has taken */
    int64_t lengths[];        /* steps of each run's outputs that count, where there is a loss */
} Size;

INLINE vf load(const float *a) { return *(const vf *)a; }
INLINE void store(float *a, vf v) { *(vf *)a = v; }
INLINE vf choose(vi which, float yes, vf no) { return (vf)((which & (vi)(yes - (vf){0})) | (~which & (vi)no)); }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Row length of states, deltas and gradients. */
int64_t elman_row(int64_t N) { return ((N + 15) / 16 | 1) * 16; }
int64_t elman_slices(int64_t B) { return (B + SLICE - 1) / SLICE; }

/* tanh x = -sign(x) m / (m + 2) with m = exp(-2|x|) - 1 = (2^n - 1) + 2^n (exp(r) - 1), within 3 units in the last
 * place and never beyond 1. The polynomial is a minimax fit of exp(r) - 1 to |r| <= ln 2 / 2, to 1.4e-8 of its value. */
INLINE vf tanh_of(vf x) {
    const vi sign = (vi)x & INT32_MIN;
    vf z = (vf)((vi)x | INT32_MIN) * 2.0f;
    z = choose(z < -20.0f, -20.0f, z); /* NaN stays NaN */
    const float shift = 12582912.0f;   /* 1.5 * 2^23: n is in the last bits of the sum */
    const vf n = z * 1.44269504f + shift, whole = n - shift;
    const vf power = (vf)(((vi)n << 23) + 0x3f800000);
    const vf r = z - whole * 0.693359375f - whole * -2.12194440e-4f;
    const vf upper = 4.16672213e-2f + r * (8.36718089e-3f + r * 1.38823957e-3f);
    const vf q = 4.99999980e-1f + r * (1.66665387e-1f + r * upper);
    const vf m = power * (r + r * r * q) + (power - 1.0f);
    return (vf)(((vi)(m / (m + 2.0f)) & INT32_MAX) | sign);
}

/* Rows times a packed matrix: out[r, :] = sum over i < count of rows[r * stride + i] matrix[i, :]. */
typedef struct {
    const float *rows;
    int64_t stride, count;
    const float *panels; /* [panel][count][PW] */
} Product;

enum { PLAIN, TANH, SLOPE }; /* what is done to a sum: nothing, tanh, multiplication by tanh' = 1 - h^2 */

/* Pack a matrix of `count` rows and `width` columns, or the transpose of one of `width` rows; zeros fill the panels. */
static void pack(const float *W, int64_t count, int64_t width, int transposed, float *panels) {
    for (int64_t j = 0; j < width; j += PW, panels += count * PW)
        for (int64_t l = 0; l < PW; l++)
            for (int64_t i = 0; i < count; i++)
                panels[i * PW + l] = j + l >= width ? 0.0f : transposed ? W[(j + l) * count + i] : W[i * width + j + l];
}

INLINE void accumulate(const int rows, const int vecs, vf sum[MR][NV], Product x, int64_t first, int64_t panel) {
    const float *a = x.rows + first * x.stride, *p = x.panels + panel * x.count * PW;
    for (int64_t i = 0; i < x.count; i++, p += PW) {
        vf right[NV];
        for (int v = 0; v < vecs; v++) right[v] = load(p + v * VL);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vecs; v++) sum[r][v] += a[r * x.stride + i] * right[v];
    }
}

INLINE void tile(const int rows, const int vecs, int after, Product x, Product y, int64_t first, int64_t panel,
                 const float *add, const float *h, float *out, int64_t ld) {
    vf sum[MR][NV];
    const int64_t at = first * ld + panel * PW;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) sum[r][v] = add ? load(add + at + r * ld + v * VL) : (vf){0};
    accumulate(rows, vecs, sum, x, first, panel);
    accumulate(rows, vecs, sum, y, first, panel);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) {
            const int64_t here = at + r * ld + v * VL;
            if (after == TANH) sum[r][v] = tanh_of(sum[r][v]);
            if (after == SLOPE) sum[r][v] *= 1.0f - load(h + here) * load(h + here);
            store(out + here, sum[r][v]);
        }
}

/* out = after(add + x + y) for all rows, with `width` columns; blocks of rows differ by at most one in size. */
static void step(int64_t rows, int64_t width, int after, Product x, Product y, const float *add, const float *h,
                 float *out, int64_t ld) {
    const int64_t blocks = (rows + MR - 1) / MR;
    for (int64_t panel = 0; panel * PW < width; panel++)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t first = b * rows / blocks, n = (b + 1) * rows / blocks - first;
#define TILE(n)                                                                                                        \
    case n:                                                                                                            \
        if (width - panel * PW > VL) tile(n, 2, after, x, y, first, panel, add, h, out, ld);                           \
        else tile(n, 1, after, x, y, first, panel, add, h, out, ld);                                                   \
        break;
            switch (n) {
                TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if MR > 6
                TILE(7) TILE(8)
#endif
            }
        }
}

/* Numbers of one slice over time: entry r at step t begins at first + t * step + r * row. */
typedef struct {
    const float *first;
    int64_t step, row;
} Series;

INLINE void outer_tile(const int count, const int vecs, Series a, Series x, int64_t steps, int64_t rows, float *out,
                       int64_t ld) {
    vf sum[MR][NV];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vecs; v++) sum[i][v] = load(out + i * ld + v * VL);
    for (int64_t t = 0; t < steps; t++) {
        const float *at = a.first + t * a.step, *xt = x.first + t * x.step;
        for (int64_t r = 0; r < rows; r++, at += a.row, xt += x.row) {
            vf right[NV];
            for (int v = 0; v < vecs; v++) right[v] = load(xt + v * VL);
            for (int i = 0; i < count; i++)
                for (int v = 0; v < vecs; v++) sum[i][v] += at[i] * right[v];
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vecs; v++) store(out + i * ld + v * VL, sum[i][v]);
}

/* out[i, j] += sum over steps and entries of a_i x_j, i < count, j < width: a share of a weight's gradient. */
static void outer(int64_t count, int64_t width, Series a, Series x, int64_t steps, int64_t rows, float *out,
                  int64_t ld) {
    const int64_t blocks = (count + MR - 1) / MR;
    for (int64_t j = 0; j < width; j += PW)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t first = b * count / blocks, n = (b + 1) * count / blocks - first;
            const Series left = {a.first + first, a.step, a.row}, right = {x.first + j, x.step, x.row};
            float *to = out + first * ld + j;
#define OUTER(n)                                                                                                       \
    case n:                                                                                                            \
        if (width - j > VL) outer_tile(n, 2, left, right, steps, rows, to, ld);                                        \
        else outer_tile(n, 1, left, right, steps, rows, to, ld);                                                       \
        break;
            switch (n) {
                OUTER(1) OUTER(2) OUTER(3) OUTER(4) OUTER(5) OUTER(6)
#if MR > 6
                OUTER(7) OUTER(8)
#endif
            }
        }
}

/* A run's matrices, packed; those that a call does not need are NULL. */
typedef struct {
    float *hh, *hh_back, *uh, *uh_back, *r, *r_back; /* W h or W u, and the transposed ones for what is sent back */
} Weights;

/* h(1) ... h(steps) of one slice; a step's states begin `size` floats after those of the step before. */
static void forward(const Size *s, const Weights *w, const float *u, int64_t rows, int64_t steps, float *states,
                    int64_t size) {
    const int64_t ld = elman_row(s->N);
    for (int64_t t = 0; t < steps; t++) {
        const Product driven = {u + t * s->d, s->S * s->d, t < s->S ? s->d : 0, w->uh};
        const Product recurrent = {states + t * size, ld, t || !s->still ? s->N : 0, w->hh};
        step(rows, s->N, s->tanh ? TANH : PLAIN, driven, recurrent, NULL, NULL, states + (t + 1) * size, ld);
    }
}

/* What the loss sends to the states: given at every step, or the mean squared error of the outputs after step S. */
typedef struct {
    const float *given;
    const float *goal; /* [entry][T - S][d] */
    float scale;       /* error to gradient of the loss */
    float *error;      /* room for ROWS rows of outputs */
    float *squares, *right; /* [T - S]: sums over entries and dimensions of squared errors, and of right signs */
} Loss;

/* Read one step out: turn its outputs into what the loss sends to them, and count. */
static void read_out(const Size *s, const Weights *w, const Loss *loss, int64_t t, int64_t rows, const float *h,
                     float *error) {
    const int64_t d = s->d, at = t - s->S, ld = elman_row(d);
    step(rows, d, PLAIN, (Product){h, elman_row(s->N), s->N, w->r}, (Product){0}, NULL, NULL, error, ld);
    float squares = 0.0f, right = 0.0f;
    for (int64_t b = 0; b < rows; b++) {
        const float *goal = loss->goal + (b * (s->T - s->S) + at) * d;
        float *y = error + b * ld;
        for (int64_t i = 0; i < d; i++) {
            const float e = y[i] - goal[i];
            squares += e * e;
            right += y[i] * goal[i] > 0.0f;
            y[i] = e * loss->scale;
        }
    }
    loss->squares[at] = squares;
    loss->right[at] = right;
}

/* Gradients of one slice, to which its shares are added: d_hh (N, ld), the transpose of d_uh (d, ld), d_r (d, ld), and,
 * where asked for, du [entry][S][row of d]. delta: room for 2 ROWS rows. Returns delta(1). */
static const float *backward(const Size *s, const Weights *w, const Loss *loss, const float *u, int64_t rows,
                             int64_t steps, const float *states, int64_t size, float *delta, float *d_hh, float *d_uh,
                             float *d_r, float *du) {
    const int64_t N = s->N, d = s->d, ld = elman_row(N), ld_d = elman_row(d), each = rows * ld;
    const int64_t length = rows < ROWS ? ROWS / rows : 1;
    float *later = NULL; /* delta(t + 1) */
    for (int64_t stop = steps, which = 0; stop > 0; which ^= 1) {
        const int64_t start = stop < length ? 0 : stop - length;
        float *block = delta + which * length * each;
        for (int64_t t = stop - 1; t >= start; t--) {
            float *now = block + (t - start) * each, *error = loss->error + (t - start) * rows * ld_d;
            const int read = loss->goal && t >= s->S;
            if (read) read_out(s, w, loss, t, rows, states + (t + 1) * size, error);
            step(rows, N, s->tanh ? SLOPE : PLAIN, (Product){error, ld_d, read ? d : 0, w->r_back},
                 (Product){later, ld, later ? N : 0, w->hh_back}, loss->given ? loss->given + t * size : NULL,
                 states + (t + 1) * size, now, ld);
            if (du && t < s->S)
                step(rows, d, PLAIN, (Product){now, ld, N, w->uh_back}, (Product){0}, NULL, NULL, du + t * ld_d,
                     s->S * ld_d);
            later = now;
        }
        const int64_t seen = start == 0 && s->still, read = start < s->S ? s->S : start, driven = least(stop, s->S);
        outer(N, N, (Series){block + seen * each, each, ld}, (Series){states + (start + seen) * size, size, ld},
              stop - start - seen, rows, d_hh, ld);
        outer(d, N, (Series){u + start * d, d, s->S * d}, (Series){block, each, ld}, driven - start, rows, d_uh, ld);
        if (loss->goal)
            outer(d, N, (Series){loss->error + (read - start) * rows * ld_d, rows * ld_d, ld_d},
                  (Series){states + (read + 1) * size, size, ld}, stop - read, rows, d_r, ld);
        stop = start;
    }
    return later;
}

typedef struct {
    float *start, *at;
} Memory;

static float *take(Memory *m, int64_t count) {
    float *found = m->at;
    m->at += (count + 15) / 16 * 16;
    return found;
}

static float *take_panels(Memory *m, int64_t count, int64_t width) { return take(m, count * (width + PW)); }

/* Room for a task's packed matrices and `more` floats; start is NULL where there is none. */
static Memory reserve(const Size *s, int64_t more) {
    const int64_t matrices = 2 * s->N * (s->N + PW) + 2 * (s->N * (s->d + PW) + s->d * (s->N + PW));
    float *start = aligned_alloc(64, sizeof(float) * ((matrices + more + 16 * 16) / 16 * 16));
    return (Memory){start, start};
}

/* Take the next task, whichever share `from` to `to` is: its run, the first entry of its slice and their number; 0 at the
 * end. Runs may differ in length, so that shares of equal size would not end at the same time. */
typedef struct {
    int64_t task, run, first, rows;
} Task;

static int next_task(Size *s, Task *task) {
    const int64_t slices = elman_slices(s->B), i = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED);
    if (i >= s->K * slices) return 0;
    const int64_t first = i % slices * s->B / slices;
    *task = (Task){i, i / slices, first, (i % slices + 1) * s->B / slices - first};
    return 1;
}

/* Fill in states[run, 1 ... T, entry, ld] from states[run, 0], given u[run, entry, S, d]. Returns 1 without memory. */
int elman_forward(Size *s, int64_t from, int64_t to, const float *W_hh, const float *W_uh, const float *u,
                  float *states) {
    const int64_t N = s->N, d = s->d, ld = elman_row(N);
    Memory memory = reserve(s, 0);
    if (!memory.start) return 1;
    const Weights w = {.hh = take_panels(&memory, N, N), .uh = take_panels(&memory, d, N)};
    for (Task k; next_task(s, &k);) {
        pack(W_hh + k.run * N * N, N, N, 1, w.hh);
        pack(W_uh + k.run * N * d, d, N, 1, w.uh);
        forward(s, &w, u + (k.run * s->B + k.first) * s->S * d, k.rows, s->T,
                states + (k.run * (s->T + 1) * s->B + k.first) * ld, s->B * ld);
    }
    free(memory.start);
    return 0;
}

/* Gradients from what the loss sends to the states, given[run, T, entry, ld]. d_hh[task, N, ld] and d_uh[task, d, ld]
 * are zeroed by the caller; du is [run, entry, S, row of d], dh0 [run, entry, ld]. Returns 1 without memory. */
int elman_backward(Size *s, int64_t from, int64_t to, const float *W_hh, const float *W_uh, const float *u,
                   const float *states, const float *given, float *d_hh, float *d_uh, float *du, float *dh0) {
    const int64_t N = s->N, d = s->d, ld = elman_row(N), size = s->B * ld;
    Memory memory = reserve(s, 2 * ROWS * ld);
    if (!memory.start) return 1;
    const Weights w = {.hh_back = take_panels(&memory, N, N), .uh_back = take_panels(&memory, N, d)};
    float *delta = take(&memory, 2 * ROWS * ld);
    for (Task k; next_task(s, &k);) {
        const int64_t entry = k.run * s->B + k.first;
        const Loss loss = {.given = given + (k.run * s->T * s->B + k.first) * ld};
        pack(W_hh + k.run * N * N, N, N, 0, w.hh_back);
        pack(W_uh + k.run * N * d, N, d, 0, w.uh_back);
        const float *first = backward(s, &w, &loss, u + entry * s->S * d, k.rows, s->T,
                                      states + (k.run * (s->T + 1) * s->B + k.first) * ld, size, delta,
                                      d_hh + k.task * N * ld, d_uh + k.task * d * ld, NULL,
                                      du + entry * s->S * elman_row(d));
        step(k.rows, N, PLAIN, (Product){first, ld, N, w.hh_back}, (Product){0}, NULL, NULL, dh0 + entry * ld, ld);
    }
    free(memory.start);
    return 0;
}

/* Forward and back with the loss of wavemem/kernels/elman.py; the first s->lengths[run] of T - S outputs count.
 * squares and right [task, T - S], d_hh [task, N, ld], d_uh and d_r [task, d, ld] are zeroed by the caller.
 * Returns 1 without memory. */
int elman_train(Size *s, int64_t from, int64_t to, const float *W_hh, const float *W_uh, const float *W_r,
                const float *u, const float *goal, float *squares, float *right, float *d_hh, float *d_uh, float *d_r) {
    const int64_t N = s->N, d = s->d, H = s->T - s->S, ld = elman_row(N), most = least(s->B, SLICE);
    const int64_t held = (s->T + 1) * most * ld, errors = ROWS * elman_row(d);
    Memory memory = reserve(s, 2 * ROWS * ld + errors + held);
    if (!memory.start) return 1;
    const Weights w = {take_panels(&memory, N, N), take_panels(&memory, N, N), take_panels(&memory, d, N), NULL,
                       take_panels(&memory, N, d), take_panels(&memory, d, N)};
    float *delta = take(&memory, 2 * ROWS * ld), *error = take(&memory, errors), *states = take(&memory, held);
    memset(states, 0, sizeof(float) * most * ld);
    for (Task k; next_task(s, &k);) {
        const int64_t entry = k.run * s->B + k.first, steps = s->S + s->lengths[k.run], size = k.rows * ld;
        const Loss loss = {NULL, goal + entry * H * d, 2.0f / (float)(s->lengths[k.run] * s->B * d), error,
                           squares + k.task * H, right + k.task * H};
        pack(W_hh + k.run * N * N, N, N, 1, w.hh);
        pack(W_hh + k.run * N * N, N, N, 0, w.hh_back);
        pack(W_uh + k.run * N * d, d, N, 1, w.uh);
        pack(W_r + k.run * d * N, N, d, 1, w.r);
        pack(W_r + k.run * d * N, d, N, 0, w.r_back);
        forward(s, &w, u + entry * s->S * d, k.rows, steps, states, size);
        backward(s, &w, &loss, u + entry * s->S * d, k.rows, steps, states, size, delta, d_hh + k.task * N * ld,
                 d_uh + k.task * d * ld, d_r + k.task * d * ld, NULL);
    }
    free(memory.start);
    return 0;
}
