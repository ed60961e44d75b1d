/* The Wave-RNN recurrence over time, forward and backward (see wavemem/kernels/wave.py for the equations).
 *
 *   h(t)[o, i] = act( sum_{c, j} u[o, c, j] h(t-1)[c, i + j - p] + sum_d V[o, i, d] x(t)[d] + b[o, i] ),   p = k / 2
 *
 * Runs are independent, and so are the entries of a batch. A "task" is one run with BT entries of its batch; everything
 * a task touches at one time step fits a core's cache. Batch entries are the innermost axis, so that one vector
 * instruction serves several of them, and a block of outputs is kept in registers while the taps go by:
 *
 *   x[task, t, d, BT]     h[task, t, c, n + 2p, BT]     y[task, t, o, BT]
 *
 * The state is stored with p units more at both ends of the ring, copies of the units on the other side, so that no
 * index ever wraps. Each sum is taken in a fixed order: the numbers do not depend on the number of threads.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define VL 16
#define BLOCK 12 /* outputs per block: BLOCK * R accumulators must leave a few of the 32 registers free */
#define P 4
#define Q 6
#elif defined(__AVX__)
#define VL 8
#define BLOCK 6
#define P 3
#define Q 4
#else
#define VL 4
#define BLOCK 6
#define P 3
#define Q 4
#endif
#define R 2   /* vectors of batch entries per accumulator block */
#define BT 32 /* batch entries per task */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(VL * 4), aligned(4), may_alias));

enum { LINEAR, RELU, TANH };

typedef struct {
    int64_t T, c, n, k, d, o; /* steps, channels, units, taps, inputs, outputs */
    int64_t every, act, keep; /* outputs at every step or the last; activation; keep all states or two */
    int64_t Q_;               /* tasks per run */
    int64_t gh_every;         /* on the way back: whether the loss sends to every state, or to the last alone */
} Size;

INLINE vf load(const float *a) { return *(const vf *)a; }
INLINE void store(float *a, vf v) { *(vf *)a = v; }
INLINE vf splat(float a) { return a - (vf){0}; }

INLINE float total(vf v) {
    float lanes[VL];
    store(lanes, v);
    for (int half = VL / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

INLINE vf activate(vf v, int act) {
    if (act == RELU) return (vf)((vi)v & ~(v <= (vf){0})); /* NaN stays NaN */
    if (act == TANH)
        for (int l = 0; l < VL; l++) v[l] = tanhf(v[l]);
    return v;
}

/* Derivative of the activation, from its value. */
INLINE vf slope(vf v, vf h, int act) {
    if (act == RELU) return (vf)((vi)v & (h > (vf){0}));
    if (act == TANH) return v * (1.0f - h * h);
    return v;
}

static int64_t blocks_of(int64_t c) { return (c + BLOCK - 1) / BLOCK; }
/* First output of a block; blocks differ by at most one in size. */
static int64_t block_start(int64_t c, int64_t b) { return b * c / blocks_of(c); }

typedef struct {
    int64_t c, n, p, k;
    const float *taps;  /* [block][c][k][outputs of the block] */
    const float *drive; /* [n][block][inputs][outputs of the block] */
    const float *bias;  /* [c][n] or NULL */
    int64_t inputs;
} Weights;

/* Outputs of one block at all units. extra: added before the activation; before: the state whose slope multiplies. */
INLINE void block_step(const int outputs, const int act, const Weights *w, int64_t first, int64_t drive_at,
                       const float *taps, const float *prev, float *next, const float *x, const int32_t *active,
                       int64_t n_active, const float *extra, const float *before) {
    const int64_t n = w->n, p = w->p, k = w->k, c = w->c, row = (n + 2 * p) * BT;
    for (int64_t i = 0; i < n; i++)
        for (int64_t part = 0; part < BT; part += VL * R) {
            vf acc[BLOCK][R];
            for (int o = 0; o < outputs; o++)
                for (int r = 0; r < R; r++) {
                    acc[o][r] = w->bias ? splat(w->bias[(first + o) * n + i]) : (vf){0};
                    if (extra) acc[o][r] += load(extra + ((first + o) * n + i) * BT + part + r * VL);
                }
            const float *v = w->drive + i * c * w->inputs + drive_at;
            for (int64_t a = 0; a < n_active; a++) {
                const float *xa = x + active[a] * BT + part, *va = v + active[a] * outputs;
                for (int o = 0; o < outputs; o++)
                    for (int r = 0; r < R; r++) acc[o][r] += va[o] * load(xa + r * VL);
            }
            if (prev) {
                const float *u = taps;
                for (int64_t ci = 0; ci < c; ci++) {
                    const float *h = prev + ci * row + i * BT + part;
                    for (int64_t j = 0; j < k; j++, u += outputs, h += BT)
                        for (int o = 0; o < outputs; o++)
                            for (int r = 0; r < R; r++) acc[o][r] += u[o] * load(h + r * VL);
                }
            }
            for (int o = 0; o < outputs; o++)
                for (int r = 0; r < R; r++) {
                    const int64_t at = (first + o) * row + (p + i) * BT + part + r * VL;
                    store(next + at, before ? slope(acc[o][r], load(before + at), act) : activate(acc[o][r], act));
                }
        }
}

static void step(const Weights *w, const float *prev, float *next, const float *x, const int32_t *active,
                 int64_t n_active, const float *extra, const float *before, int act) {
    const int64_t c = w->c, n = w->n, p = w->p, row = (n + 2 * p) * BT;
    for (int64_t b = 0; b < blocks_of(c); b++) {
        const int64_t first = block_start(c, b), outputs = block_start(c, b + 1) - first;
#define STEP(N)                                                                                                        \
    case N:                                                                                                            \
        block_step(N, act, w, first, first * w->inputs, w->taps + first * c * w->k, prev, next, x, active, n_active,   \
                   extra, before);                                                                                     \
        break;
        switch (outputs) {
            STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6)
#if BLOCK > 6
            STEP(7) STEP(8) STEP(9) STEP(10) STEP(11) STEP(12)
#endif
        }
    }
    if (p) /* the ring closes; p <= n */
        for (int64_t o = 0; o < c; o++) {
            float *h = next + o * row;
            memcpy(h, h + n * BT, p * BT * sizeof(float));
            memcpy(h + (n + p) * BT, h + p * BT, p * BT * sizeof(float));
        }
}

/* Inputs that are not zero in the whole task: one-hot symbols and padding leave most of them out. */
static int64_t find_active(const float *x, int64_t rows, int32_t *active) {
    int64_t count = 0;
    for (int64_t a = 0; a < rows; a++) {
        int any = 0;
        for (int64_t b = 0; b < BT; b++) any |= x[a * BT + b] != 0.0f;
        if (any) active[count++] = (int32_t)a;
    }
    return count;
}

/* y[o] = b[o] + sum over channels and units of W[o, c, i] h[c, i]; W packed [c][n][o of the block]. */
INLINE void readout_block(const int outputs, const Size *s, const float *W, const float *b, const float *h, float *y) {
    const int64_t p = s->k / 2, row = (s->n + 2 * p) * BT;
    for (int64_t part = 0; part < BT; part += VL * R) {
        vf acc[BLOCK][R];
        for (int o = 0; o < outputs; o++)
            for (int r = 0; r < R; r++) acc[o][r] = splat(b[o]);
        const float *w = W;
        for (int64_t c = 0; c < s->c; c++) {
            const float *hc = h + c * row + p * BT + part;
            for (int64_t i = 0; i < s->n; i++, w += outputs, hc += BT)
                for (int o = 0; o < outputs; o++)
                    for (int r = 0; r < R; r++) acc[o][r] += w[o] * load(hc + r * VL);
        }
        for (int o = 0; o < outputs; o++)
            for (int r = 0; r < R; r++) store(y + o * BT + part + r * VL, acc[o][r]);
    }
}

static void readout(const Size *s, const float *W, const float *b, const float *h, float *y) {
    const int64_t cn = s->c * s->n;
    for (int64_t g = 0; g < blocks_of(s->o); g++) {
        const int64_t first = block_start(s->o, g), outputs = block_start(s->o, g + 1) - first;
#define READ(N)                                                                                                        \
    case N: readout_block(N, s, W + first * cn, b + first, h, y + first * BT); break;
        switch (outputs) {
            READ(1) READ(2) READ(3) READ(4) READ(5) READ(6)
#if BLOCK > 6
            READ(7) READ(8) READ(9) READ(10) READ(11) READ(12)
#endif
        }
    }
}

static void pack_taps(const Size *s, const float *u, float *packed, int transposed) {
    for (int64_t b = 0; b < blocks_of(s->c); b++)
        for (int64_t ci = 0; ci < s->c; ci++)
            for (int64_t j = 0; j < s->k; j++)
                for (int64_t o = block_start(s->c, b); o < block_start(s->c, b + 1); o++)
                    *packed++ = transposed ? u[(ci * s->c + o) * s->k + s->k - 1 - j] : u[(o * s->c + ci) * s->k + j];
}

/* V (c n, d) or the transpose of W (o, c n) as [unit][block][input][output of the block]. */
static void pack_drive(const Size *s, const float *V, int64_t inputs, float *packed, int transposed) {
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t b = 0; b < blocks_of(s->c); b++)
            for (int64_t a = 0; a < inputs; a++)
                for (int64_t o = block_start(s->c, b); o < block_start(s->c, b + 1); o++)
                    *packed++ = transposed ? V[a * s->c * s->n + o * s->n + i] : V[(o * s->n + i) * inputs + a];
}

static void pack_readout(const Size *s, const float *W, float *packed) {
    const int64_t cn = s->c * s->n;
    for (int64_t g = 0; g < blocks_of(s->o); g++)
        for (int64_t j = 0; j < cn; j++)
            for (int64_t o = block_start(s->o, g); o < block_start(s->o, g + 1); o++) *packed++ = W[o * cn + j];
}

/* States h(1) ... h(T) from h(0), which lies at h[task, 0] with its halo, and outputs. Returns 0, or 1 without memory. */
int wave_forward(const Size *s, int64_t from, int64_t to, const float *u, const float *V, const float *b,
                 const float *W, const float *b_y, const float *x, float *h, float *y) {
    const int64_t c = s->c, n = s->n, p = s->k / 2, cn = c * n, state = c * (n + 2 * p) * BT;
    const int64_t held = s->keep ? s->T + 1 : 2;
    float *taps = malloc(sizeof(float) * (c * c * s->k + cn * s->d + cn * s->o + 1));
    int32_t *active = malloc(sizeof(int32_t) * (s->d + 1));
    if (!taps || !active) return free(taps), free(active), 1;
    float *drive = taps + c * c * s->k, *read = drive + cn * s->d;
    for (int64_t task = from, packed = -1; task < to; task++) {
        const int64_t run = task / s->Q_;
        if (run != packed) {
            pack_taps(s, u + run * c * c * s->k, taps, 0);
            pack_drive(s, V + run * cn * s->d, s->d, drive, 0);
            if (W) pack_readout(s, W + run * s->o * cn, read);
            packed = run;
        }
        const Weights w = {c, n, p, s->k, taps, drive, b + run * cn, s->d};
        float *states = h + task * held * state;
        for (int64_t t = 0; t < s->T; t++) {
            const float *xt = x + (task * s->T + t) * s->d * BT;
            float *next = states + (t + 1) % held * state;
            step(&w, states + t % held * state, next, xt, active, find_active(xt, s->d, active), NULL, NULL,
                 (int)s->act);
            if (W && (s->every || t == s->T - 1))
                readout(s, read, b_y + run * s->o, next, y + (s->every ? task * s->T + t : task) * s->o * BT);
        }
    }
    free(taps);
    free(active);
    return 0;
}

/* out[i * ld_a + j * ld_b] += sum over steps and entries of A_i B_j, for rows that lie stride apart from step to step. */
INLINE void gram_block(const int rows_a, const int rows_b, const float *const *A, int64_t stride_a,
                       const float *const *B, const int64_t *stride_b, int64_t steps, int64_t length, float *out,
                       int64_t ld_a, const int64_t *at_b) {
    vf acc[P][Q];
    for (int i = 0; i < rows_a; i++)
        for (int j = 0; j < rows_b; j++) acc[i][j] = (vf){0};
    for (int64_t t = 0; t < steps; t++) {
        const float *a[P], *b[Q];
        for (int i = 0; i < rows_a; i++) a[i] = A[i] + t * stride_a;
        for (int j = 0; j < rows_b; j++) b[j] = B[j] + t * stride_b[j];
        for (int64_t m = 0; m < length; m += VL) {
            vf va[P];
            for (int i = 0; i < rows_a; i++) va[i] = load(a[i] + m);
            for (int j = 0; j < rows_b; j++) {
                const vf vb = load(b[j] + m);
                for (int i = 0; i < rows_a; i++) acc[i][j] += va[i] * vb;
            }
        }
    }
    for (int i = 0; i < rows_a; i++)
        for (int j = 0; j < rows_b; j++) out[i * ld_a + at_b[j]] += total(acc[i][j]);
}

/* The same for any number of rows: A_i = A + i * row_a (in the state's rows), B given row by row. */
static void gram(const float *const *A, int64_t count_a, int64_t stride_a, const float *const *B,
                 const int64_t *stride_b, const int64_t *at_b, int64_t count_b, int64_t steps, int64_t length,
                 float *out, int64_t ld_a) {
    for (int64_t j = 0; j < count_b; j += Q) {
        const int64_t rb = count_b - j < Q ? count_b - j : Q;
        for (int64_t i = 0; i < count_a; i += P) {
            const int64_t ra = count_a - i < P ? count_a - i : P;
#define GRAM(a, b)                                                                                                     \
    case a * 8 + b:                                                                                                    \
        gram_block(a, b, A + i, stride_a, B + j, stride_b + j, steps, length, out + i * ld_a, ld_a, at_b + j);         \
        break;
#define GRAMS(b) GRAM(1, b) GRAM(2, b) GRAM(3, b)
            switch (ra * 8 + rb) {
                GRAMS(1) GRAMS(2) GRAMS(3) GRAMS(4)
#if VL == 16
                GRAMS(5) GRAMS(6) GRAM(4, 1) GRAM(4, 2) GRAM(4, 3) GRAM(4, 4) GRAM(4, 5) GRAM(4, 6)
#endif
            }
        }
    }
}

/* Gradients, one slice per task, zeroed by the caller: du (c, c, k), dV (c n, d), db (c n), dW (o, c n).
 * gy: what the loss sends to the outputs (or NULL); gh: to the states, [task][c][n][BT] at the last step only, or
 * [task][t][c][n][BT] where s->gh_every is set (or NULL). Returns 0, or 1 without memory. */
int wave_backward(const Size *s, int64_t from, int64_t to, const float *u, const float *W, const float *x,
                  const float *h, const float *gy, const float *gh, float *du, float *dV, float *db, float *dW) {
    const int64_t c = s->c, n = s->n, p = s->k / 2, cn = c * n, state = c * (n + 2 * p) * BT, row = (n + 2 * p) * BT;
    int64_t chunk = (int64_t)(400000 / (state * sizeof(float)));
    chunk = chunk < 1 ? 1 : chunk > 64 ? 64 : chunk;
    const int64_t widest = c * s->k + cn + s->d + s->o + 2;
    float *taps = malloc(sizeof(float) * (c * c * s->k + cn * (s->o + 1) + 2 * chunk * state + BT));
    const float **rows = malloc(sizeof(float *) * (widest + cn + c));
    int64_t *strides = malloc(sizeof(int64_t) * 2 * widest);
    int32_t *all = malloc(sizeof(int32_t) * (s->o + s->d + 1));
    if (!taps || !rows || !strides || !all) return free(taps), free(rows), free(strides), free(all), 1;
    float *drive = taps + c * c * s->k, *deltas = drive + cn * (s->o + 1), *ones = deltas + 2 * chunk * state;
    int64_t *at = strides + widest;
    for (int64_t b = 0; b < BT; b++) ones[b] = 1.0f;
    for (int64_t task = from, packed = -1; task < to; task++) {
        const int64_t run = task / s->Q_;
        if (run != packed) {
            pack_taps(s, u + run * c * c * s->k, taps, 1);
            if (gy) pack_drive(s, W + run * s->o * cn, s->o, drive, 1);
            packed = run;
        }
        const Weights w = {c, n, p, s->k, taps, drive, NULL, s->o};
        const float *states = h + task * (s->T + 1) * state, *xs = x + task * s->T * s->d * BT;
        const float *gys = gy ? gy + task * (s->every ? s->T : 1) * s->o * BT : NULL;
        const float *ghs = gh ? gh + task * (s->gh_every ? s->T : 1) * cn * BT : NULL;
        const float *later = NULL; /* delta(t + 1) */
        for (int64_t end = s->T, which = 0; end > 0; which ^= 1) {
            const int64_t count = end < chunk ? end : chunk, last = end - 1;
            float *delta = deltas + which * chunk * state;
            for (int64_t q = 0; q < count; q++) {
                const int64_t t = last - q;
                const int read = gys && (s->every || t == s->T - 1), sent = ghs && (s->gh_every || t == s->T - 1);
                for (int64_t a = 0; a < s->o; a++) all[a] = (int32_t)a;
                step(&w, later, delta + q * state, read ? gys + (s->every ? t * s->o * BT : 0) : NULL, all,
                     read ? s->o : 0, sent ? ghs + (s->gh_every ? t * cn * BT : 0) : NULL, states + (t + 1) * state,
                     (int)s->act);
                later = delta + q * state;
            }
            /* du[o, c, j] += delta(t)[o, i] h(t-1)[c, i + j - p] */
            for (int64_t o = 0; o < c; o++) rows[o] = delta + o * row + p * BT;
            for (int64_t q = 0; q < c * s->k; q++) {
                rows[c + q] = states + last * state + q / s->k * row + q % s->k * BT;
                strides[q] = -state, at[q] = q;
            }
            gram(rows, c, state, rows + c, strides, at, c * s->k, count, n * BT, du + task * c * c * s->k, c * s->k);
            /* dV[o, i, d] += delta(t)[o, i] x(t)[d], and db with an input that is always 1 */
            const float **B = rows + cn;
            for (int64_t q = 0; q < cn; q++) rows[q] = delta + q / n * row + (p + q % n) * BT;
            int64_t inputs = 0;
            for (int64_t a = 0; a < s->d; a++) {
                int any = 0;
                for (int64_t t = last; t > last - count; t--)
                    for (int64_t b = 0; b < BT; b++) any |= xs[(t * s->d + a) * BT + b] != 0.0f;
                if (any) B[inputs] = xs + (last * s->d + a) * BT, strides[inputs] = -s->d * BT, at[inputs++] = a;
            }
            gram(rows, cn, state, B, strides, at, inputs, count, BT, dV + task * cn * s->d, s->d);
            B[0] = ones, strides[0] = 0, at[0] = 0;
            gram(rows, cn, state, B, strides, at, 1, count, BT, db + task * cn, 1);
            /* dW[o, c, i] += gy(t)[o] h(t)[c, i] */
            if (gys && (s->every || end == s->T)) {
                for (int64_t q = 0; q < cn; q++)
                    rows[q] = states + end * state + q / n * row + (p + q % n) * BT;
                for (int64_t a = 0; a < s->o; a++) {
                    B[a] = gys + ((s->every ? last * s->o : 0) + a) * BT;
                    strides[a] = -s->o * BT, at[a] = a * cn;
                }
                gram(rows, cn, -state, B, strides, at, s->o, s->every ? count : 1, BT, dW + task * s->o * cn, 1);
            }
            end -= count;
        }
    }
    free(taps);
    free(rows);
    free(strides);
    free(all);
    return 0;
}
