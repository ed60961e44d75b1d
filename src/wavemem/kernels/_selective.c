/* The selective scan over time, forward and backward (see wavemem/kernels/selective.py for the equations).
 *
 *   d(t) = softplus(delta(t) + bias)          h(t)[n] = exp(d(t) A[n]) h(t-1)[n] + d(t) u(t) B(t)[n]
 *   y(t) = (sum_n C(t)[n] h(t)[n] + D u(t)) * silu(z(t))
 *
 * Channels are the innermost axis, so that one vector serves VL of them. A "task" is one sequence of one run and GROUP
 * of its channels; it is worked through CHUNK steps and VL channels at a time, the states in registers. The forward pass
 * keeps the states between chunks alone; the backward pass computes decays and states of one chunk and a few n anew,
 * which stay in the nearest cache until they have been used. Sums are taken in a fixed order, those over the channels
 * of one group here, those over groups and the batch by the caller: the numbers do not depend on the number of threads.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512DQ__)
#include <immintrin.h>
#define VL 16
#define FORWARD 16 /* states that are carried along at once: they must fit the registers */
#define BACKWARD 8
#elif defined(__AVX__)
#define VL 8
#define FORWARD 8
#define BACKWARD 4
#else
#define VL 4
#define FORWARD 8
#define BACKWARD 4
#endif
#define CHUNK 48 /* steps between kept states: CHUNK * BACKWARD decays and as many states stay in a near cache */
#define GROUP 64 /* channels of a task */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));

typedef struct {
    int64_t rows, batch, L, E, N;                    /* sequences in all, those of one run, steps, channels, states */
    int64_t softplus;                                /* whether step sizes go through a softplus */
    int64_t u[3], delta[3], B[3], C[3], z[3], gy[3]; /* strides of run, sequence and step */
} Size;

int64_t selective_lanes(void) { return VL; }
int64_t selective_chunk(void) { return CHUNK; }
int64_t selective_group(void) { return GROUP; }

INLINE vf load(const float *a) { return *(const vf *)a; }
INLINE void store(float *a, vf v) { *(vf *)a = v; }
INLINE vf splat(float a) { return a - (vf){0}; }
INLINE vf choose(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

/* The first `lanes` channels; the others are 0. */
INLINE vf load_some(const float *a, int64_t lanes) {
    if (lanes == VL) return load(a);
    float all[VL] = {0};
    memcpy(all, a, lanes * sizeof(float));
    return load(all);
}
INLINE void store_some(float *a, vf v, int64_t lanes) {
    if (lanes == VL) return store(a, v);
    float all[VL];
    store(all, v);
    memcpy(a, all, lanes * sizeof(float));
}

/* Lanes 4q + i, j, k, l of two vectors, those of the second counted from VL. */
#if VL == 4
#define QUADS(i, j, k, l) i, j, k, l
#elif VL == 8
#define QUADS(i, j, k, l) i, j, k, l, i + 4, j + 4, k + 4, l + 4
#else
#define QUADS(i, j, k, l) i, j, k, l, i + 4, j + 4, k + 4, l + 4, i + 8, j + 8, k + 8, l + 8, i + 12, j + 12, k + 12, l + 12
#endif
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

/* The sums of the lanes of four vectors. */
INLINE v4 totals(const vf *v) {
    const vf ab = SHUFFLE(v[0], v[1], QUADS(0, VL, 1, VL + 1)) + SHUFFLE(v[0], v[1], QUADS(2, VL + 2, 3, VL + 3));
    const vf cd = SHUFFLE(v[2], v[3], QUADS(0, VL, 1, VL + 1)) + SHUFFLE(v[2], v[3], QUADS(2, VL + 2, 3, VL + 3));
    union {
        vf whole;
        v4 quad[VL / 4];
    } all;
    all.whole = SHUFFLE(ab, cd, QUADS(0, 1, VL, VL + 1)) + SHUFFLE(ab, cd, QUADS(2, 3, VL + 2, VL + 3));
    for (int q = 1; q < VL / 4; q++) all.quad[0] += all.quad[q];
    return all.quad[0];
}

#define LOG2E 1.44269504088896341f
#define LN2 0.693147180559945309f

/* 2^f for |f| <= 1/2, to 2e-9 before rounding. */
INLINE vf exp2_fraction(vf f) {
    vf p = 1.3398874e-3f + f * 1.5353362e-4f;
    p = 9.6184373e-3f + f * p;
    p = 5.5503325e-2f + f * p;
    p = 2.4022647e-1f + f * p;
    p = 6.9314718e-1f + f * p;
    return 1.0f + f * p;
}

/* 2^n p for whole n; what is smaller than the smallest normal number need not be exact. */
#if defined(__AVX512DQ__)
INLINE vf times_power(vf p, vf n) { return (vf)_mm512_scalef_ps((__m512)p, (__m512)n); }
INLINE vf whole_part(vf x) { return (vf)_mm512_roundscale_ps((__m512)x, 8); }
INLINE vf fraction(vf x) { return (vf)_mm512_reduce_ps((__m512)x, 8); }
INLINE vf bounded(vf x) { return x; }
INLINE vf limited(vf x, float low, float high) { /* NaN stays NaN */
    return (vf)_mm512_min_ps((__m512)splat(high), _mm512_max_ps((__m512)splat(low), (__m512)x));
}
#else
INLINE vf times_power(vf p, vf n) { return p * (vf)(((vi)(n + 12582912.0f) - (0x4b400000 - 127)) << 23); }
INLINE vf whole_part(vf x) { return (x + 12582912.0f) - 12582912.0f; }
INLINE vf fraction(vf x) { return x - whole_part(x); }
INLINE vf limited(vf x, float low, float high) { /* NaN stays NaN */
    x = choose(x < splat(low), splat(low), x);
    return choose(x > splat(high), splat(high), x);
}
INLINE vf bounded(vf x) { return limited(x, -126.0f, 128.0f); } /* the exponents there are */
#endif

/* exp(x y) with y in units of ln 2. */
INLINE vf decay(vf x, vf y) {
    const vf power = bounded(x * y), f = fraction(power);
    return times_power(exp2_fraction(f), power - f);
}

INLINE vf exponential(vf x) {
    x = limited(x, -87.0f, 88.5f);
    const vf n = whole_part(x * LOG2E), f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    return times_power(exp2_fraction(f * LOG2E), n);
}

INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + exponential(-x)); }

/* log(1 + exp(x)) = max(x, 0) + log1p(w) with w = exp(-|x|), log1p(w) = 2 artanh(w / (2 + w)); and its slope. */
INLINE vf softplus(vf x, vf *slope) {
    const vf w = exponential((vf)((vi)x | INT32_MIN)), s = w / (2.0f + w), q = s * s;
    const vi positive = x > (vf){0};
    if (slope) *slope = choose(positive, splat(1.0f), w) / (1.0f + w);
    vf p = 1.0f / 13 + q * (1.0f / 15);
    p = 1.0f / 11 + q * p;
    p = 1.0f / 9 + q * p;
    p = 1.0f / 7 + q * p;
    p = 1.0f / 5 + q * p;
    p = 1.0f / 3 + q * p;
    return (vf)((vi)x & positive) + 2.0f * (s + s * (q * p));
}

/* What one thread works with: constants and sums of a task's channels, and VL of them through one chunk. */
typedef struct {
    float u[CHUNK * VL], d[CHUNK * VL], slope[CHUNK * VL], x[CHUNK * VL], go[CHUNK * VL], gate[CHUNK * VL];
    float o[CHUNK * VL], dd[CHUNK * VL], gb[CHUNK * VL]; /* of every step */
    float decays[CHUNK * BACKWARD * VL], states[(CHUNK + 1) * BACKWARD * VL];
    float *A, *h, *G, *dA; /* [N][VL] of the present channels, A in units of ln 2 */
    float *of_task;        /* the same of all channels of the task, one after the other */
} __attribute__((aligned(64))) Work;

static Work *get_work(int64_t N) {
    const size_t size = sizeof(Work) + 4 * GROUP * N * sizeof(float); /* both are multiples of 64 */
    Work *w = aligned_alloc(64, size);
    if (w) w->of_task = (float *)(w + 1);
    return w;
}

/* Step sizes and drives of one chunk; slopes of the softplus if they are wanted. */
INLINE void read_chunk(const int slopes, const Size *s, Work *w, int64_t steps, int64_t lanes, const float *u,
                       const float *delta, vf bias) {
    for (int64_t t = 0; t < steps; t++) {
        const vf raw = load_some(delta + t * s->delta[2], lanes) + bias, ut = load_some(u + t * s->u[2], lanes);
        vf slope = splat(1.0f);
        const vf d = s->softplus ? softplus(raw, slopes ? &slope : NULL) : raw;
        store(w->u + t * VL, ut), store(w->d + t * VL, d), store(w->x + t * VL, d * ut);
        if (slopes) store(w->slope + t * VL, slope);
    }
}

/* Carry `count` states, from n on, through one chunk: adds to the sums over n of C h. Keeps decays and states if asked. */
INLINE void carry(const int count, const int keep, Work *w, int64_t n, int64_t steps, const float *B, int64_t to_B,
                  const float *C, int64_t to_C) {
    vf h[16];
    const float *A = w->A + n * VL;
    for (int i = 0; i < count; i++) {
        h[i] = load(w->h + (n + i) * VL);
        if (keep) store(w->states + i * VL, h[i]);
    }
    for (int64_t t = 0; t < steps; t++) {
        const vf d = load(w->d + t * VL), x = load(w->x + t * VL);
        vf sum = load(w->o + t * VL);
#pragma GCC unroll 16
        for (int i = 0; i < count; i++) {
            const vf a = decay(d, load(A + i * VL));
            h[i] = a * h[i] + x * B[t * to_B + n + i];
            sum += h[i] * C[t * to_C + n + i];
            if (keep) {
                store(w->decays + (t * count + i) * VL, a);
                store(w->states + ((t + 1) * count + i) * VL, h[i]);
            }
        }
        store(w->o + t * VL, sum);
    }
    for (int i = 0; i < count; i++) store(w->h + (n + i) * VL, h[i]);
}

/* The adjoint of `carry`, from the last step of the chunk to its first. */
INLINE void carry_back(const int count, Work *w, int64_t n, int64_t N, int64_t steps, const float *B, int64_t to_B,
                       const float *C, int64_t to_C, float *dB, float *dC) {
    vf G[8], dA[8];
    for (int i = 0; i < count; i++) G[i] = load(w->G + (n + i) * VL), dA[i] = load(w->dA + (n + i) * VL);
    for (int64_t t = steps - 1; t >= 0; t--) {
        const vf d = load(w->d + t * VL), x = load(w->x + t * VL), go = load(w->go + t * VL);
        vf dd = load(w->dd + t * VL), gb = load(w->gb + t * VL);
#pragma GCC unroll 2
        for (int i = 0; i < count; i += 4) {
            const int four = count - i < 4 ? count - i : 4;
            vf to_b[4] = {{0}}, to_c[4] = {{0}};
            for (int j = 0; j < four; j++) {
                const int m = i + j;
                const vf g = G[m] + go * C[t * to_C + n + m];
                to_c[j] = go * load(w->states + ((t + 1) * count + m) * VL);
                to_b[j] = g * x;
                gb += g * B[t * to_B + n + m];
                G[m] = g * load(w->decays + (t * count + m) * VL);
                const vf q = G[m] * load(w->states + (t * count + m) * VL);
                dd += q * load(w->A + (n + m) * VL);
                dA[m] += q * d;
            }
            const v4 b = totals(to_b), c = totals(to_c);
            float *at_b = dB + t * N + n + i, *at_c = dC + t * N + n + i;
            if (four == 4) *(v4 *)at_b += b, *(v4 *)at_c += c;
            else
                for (int j = 0; j < four; j++) at_b[j] += b[j], at_c[j] += c[j];
        }
        store(w->dd + t * VL, dd), store(w->gb + t * VL, gb);
    }
    for (int i = 0; i < count; i++) store(w->G + (n + i) * VL, G[i]), store(w->dA + (n + i) * VL, dA[i]);
}

static void carry_all(const Size *s, Work *w, int64_t steps, const float *B, const float *C) {
    int64_t n = 0;
#define CARRY(count)                                                                                                   \
    for (; count <= FORWARD && s->N - n >= count; n += count) carry(count, 0, w, n, steps, B, s->B[2], C, s->C[2]);
    CARRY(16) CARRY(8) CARRY(4) CARRY(2) CARRY(1)
}

static void carry_all_back(const Size *s, Work *w, int64_t steps, const float *B, const float *C, float *dB,
                           float *dC) {
    int64_t n = 0;
#define CARRY_BACK(count)                                                                                              \
    for (; count <= BACKWARD && s->N - n >= count; n += count) {                                                                            \
        carry(count, 1, w, n, steps, B, s->B[2], C, s->C[2]);                                                          \
        carry_back(count, w, n, s->N, steps, B, s->B[2], C, s->C[2], dB, dC);                                          \
    }
    CARRY_BACK(8) CARRY_BACK(4) CARRY_BACK(2) CARRY_BACK(1)
}

/* [E][N] of memory from or to [N][VL] of work; a pointer that is NULL stands for zeros. */
static void gather(const float *from, float *to, int64_t N, int64_t lanes) {
    memset(to, 0, N * VL * sizeof(float));
    if (from)
        for (int64_t l = 0; l < lanes; l++)
            for (int64_t n = 0; n < N; n++) to[n * VL + l] = from[l * N + n];
}
static void scatter(const float *from, float *to, int64_t N, int64_t lanes) {
    for (int64_t l = 0; l < lanes; l++)
        for (int64_t n = 0; n < N; n++) to[l * N + n] = from[n * VL + l];
}

/* One sequence of one run and the channels of one group. */
typedef struct {
    int64_t row, run, group, first, end, between, blocks; /* between, blocks: kept states in time, blocks of channels */
    const float *u, *delta, *B, *C, *z, *gy;
} Task;

static Task task_of(const Size *s, int64_t task, const float *u, const float *delta, const float *B, const float *C,
                    const float *z, const float *gy) {
    const int64_t groups = (s->E + GROUP - 1) / GROUP, row = task / groups, k = row / s->batch, b = row % s->batch;
    const int64_t first = task % groups * GROUP, end = first + GROUP < s->E ? first + GROUP : s->E;
#define AT(x) (x ? x + k * s->x[0] + b * s->x[1] : NULL)
    return (Task){row, k, task % groups, first, end, (s->L - 1) / CHUNK, (s->E + VL - 1) / VL,
                  AT(u), AT(delta), AT(B), AT(C), AT(z), AT(gy)};
}

/* Turn to the channels from e on; whether the task has them, and how many. */
INLINE int64_t turn_to(Work *w, const Size *s, const Task *k, int64_t e) {
    w->A = w->of_task + (e - k->first) * s->N;
    w->h = w->A + GROUP * s->N, w->G = w->h + GROUP * s->N, w->dA = w->G + GROUP * s->N;
    return e >= k->end ? 0 : k->end - e < VL ? k->end - e : VL;
}
#define CHANNELS for (int64_t e = k.first, lanes; (lanes = turn_to(w, s, &k, e)); e += VL)
#define KEPT(chunk) (kept + ((k.row * k.between + (chunk) - 1) * k.blocks + e / VL) * N * VL)

/* A: (run, N, E) in units of ln 2. D, z, bias, h0 may be NULL. last: (row, E, N). kept: states before every chunk but
 * the first, (row, chunk, block of VL channels, N, VL), or NULL. Returns 0, or 1 without memory. */
int selective_forward(const Size *s, int64_t from, int64_t to, const float *u, const float *delta, const float *A,
                      const float *B, const float *C, const float *D, const float *z, const float *bias,
                      const float *h0, float *y, float *last, float *kept) {
    const int64_t L = s->L, E = s->E, N = s->N;
    Work *w = get_work(N);
    if (!w) return 1;
    for (int64_t task = from; task < to; task++) {
        const Task k = task_of(s, task, u, delta, B, C, z, NULL);
        CHANNELS {
            for (int64_t n = 0; n < N; n++) store(w->A + n * VL, load_some(A + (k.run * N + n) * E + e, lanes));
            gather(h0 ? h0 + (k.row * E + e) * N : NULL, w->h, N, lanes);
        }
        for (int64_t t0 = 0; t0 < L; t0 += CHUNK) {
            const int64_t steps = L - t0 < CHUNK ? L - t0 : CHUNK;
            CHANNELS {
                const vf De = D ? load_some(D + k.run * E + e, lanes) : (vf){0};
                const vf be = bias ? load_some(bias + k.run * E + e, lanes) : (vf){0};
                if (kept && t0) memcpy(KEPT(t0 / CHUNK), w->h, N * VL * sizeof(float));
                read_chunk(0, s, w, steps, lanes, k.u + t0 * s->u[2] + e, k.delta + t0 * s->delta[2] + e, be);
                for (int64_t t = 0; t < steps; t++) store(w->o + t * VL, De * load(w->u + t * VL));
                carry_all(s, w, steps, k.B + t0 * s->B[2], k.C + t0 * s->C[2]);
                for (int64_t t = 0; t < steps; t++) {
                    vf out = load(w->o + t * VL);
                    if (z) {
                        const vf zt = load_some(k.z + (t0 + t) * s->z[2] + e, lanes);
                        out *= zt * sigmoid(zt);
                    }
                    store_some(y + (k.row * L + t0 + t) * E + e, out, lanes);
                }
            }
        }
        CHANNELS scatter(w->h, last + (k.row * E + e) * N, N, lanes);
    }
    free(w);
    return 0;
}

/* Gradients. du, ddelta, dz: (row, L, E); dB, dC: (group, row, L, N); dA: (row, N, E); dD, dbias: (row, E); dh0:
 * (row, E, N). gh, and the gradients of what was not given, may be NULL. Returns 0, or 1 without memory. */
int selective_backward(const Size *s, int64_t from, int64_t to, const float *u, const float *delta, const float *A,
                       const float *B, const float *C, const float *D, const float *z, const float *bias,
                       const float *h0, const float *kept, const float *gy, const float *gh, float *du, float *ddelta,
                       float *dA, float *dB, float *dC, float *dD, float *dz, float *dbias, float *dh0) {
    const int64_t L = s->L, E = s->E, N = s->N;
    Work *w = get_work(N);
    if (!w) return 1;
    for (int64_t task = from; task < to; task++) {
        const Task k = task_of(s, task, u, delta, B, C, z, gy);
        vf sum_D[GROUP / VL], sum_bias[GROUP / VL];
        CHANNELS {
            for (int64_t n = 0; n < N; n++) store(w->A + n * VL, load_some(A + (k.run * N + n) * E + e, lanes));
            memset(w->dA, 0, N * VL * sizeof(float));
            gather(gh ? gh + (k.row * E + e) * N : NULL, w->G, N, lanes);
            sum_D[(e - k.first) / VL] = sum_bias[(e - k.first) / VL] = (vf){0};
        }
        for (int64_t chunk = k.between; chunk >= 0; chunk--) {
            const int64_t t0 = chunk * CHUNK, steps = L - t0 < CHUNK ? L - t0 : CHUNK;
            float *dBs = dB + ((k.group * s->rows + k.row) * L + t0) * N, *dCs = dC + (dBs - dB);
            memset(dBs, 0, steps * N * sizeof(float)), memset(dCs, 0, steps * N * sizeof(float));
            CHANNELS {
                const vf De = D ? load_some(D + k.run * E + e, lanes) : (vf){0};
                const vf be = bias ? load_some(bias + k.run * E + e, lanes) : (vf){0};
                if (chunk) memcpy(w->h, KEPT(chunk), N * VL * sizeof(float));
                else gather(h0 ? h0 + (k.row * E + e) * N : NULL, w->h, N, lanes);
                read_chunk(1, s, w, steps, lanes, k.u + t0 * s->u[2] + e, k.delta + t0 * s->delta[2] + e, be);
                for (int64_t t = 0; t < steps; t++) {
                    vf go = load_some(k.gy + (t0 + t) * s->gy[2] + e, lanes);
                    if (z) {
                        const vf zt = load_some(k.z + (t0 + t) * s->z[2] + e, lanes), open = sigmoid(zt);
                        store(w->gate + t * VL, go * open * (1.0f + zt * (1.0f - open))); /* times the output: dz */
                        go *= zt * open;
                    }
                    store(w->go + t * VL, go);
                    store(w->o + t * VL, De * load(w->u + t * VL));
                    store(w->dd + t * VL, (vf){0}), store(w->gb + t * VL, (vf){0});
                }
                carry_all_back(s, w, steps, k.B + t0 * s->B[2], k.C + t0 * s->C[2], dBs, dCs);
                vf *to_D = sum_D + (e - k.first) / VL, *to_bias = sum_bias + (e - k.first) / VL;
                for (int64_t t = 0; t < steps; t++) {
                    const int64_t out = (k.row * L + t0 + t) * E + e;
                    const vf ut = load(w->u + t * VL), go = load(w->go + t * VL), gb = load(w->gb + t * VL);
                    const vf to_delta = (load(w->dd + t * VL) * LN2 + ut * gb) * load(w->slope + t * VL);
                    store_some(du + out, De * go + load(w->d + t * VL) * gb, lanes);
                    store_some(ddelta + out, to_delta, lanes);
                    if (z) store_some(dz + out, load(w->gate + t * VL) * load(w->o + t * VL), lanes);
                    *to_D += go * ut, *to_bias += to_delta;
                }
            }
        }
        CHANNELS {
            for (int64_t n = 0; n < N; n++) store_some(dA + (k.row * N + n) * E + e, load(w->dA + n * VL), lanes);
            if (dD) store_some(dD + k.row * E + e, sum_D[(e - k.first) / VL], lanes);
            if (dbias) store_some(dbias + k.row * E + e, sum_bias[(e - k.first) / VL], lanes);
            if (dh0) scatter(w->G, dh0 + (k.row * E + e) * N, N, lanes);
        }
    }
    free(w);
    return 0;
}
