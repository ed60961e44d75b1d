/* The register's recurrence over time, forward and backward (see wavemem/kernels/register.py for the equations).
 *
 *   h_0 <- (1 - v) h_0 + v x(t),   h_j <- (1 - v) h_j + v h_{j-1},   z(t) = sum_j C_j h_j + bias,   y = z or z sigmoid(z)
 *
 * Channels are independent and innermost, x[k, b, t, e], so that one vector instruction serves several of them. A "task"
 * is one run, one batch entry and a block of one or two vectors of channels: its n neurons stay in registers (n <= 4) or
 * in the nearest cache while time goes by. Where every velocity is 1 the register holds the last n inputs, and the
 * functions whose names begin with "shift" take the sum over them directly: an ordinary causal convolution.
 *
 * Nothing but the inputs is kept for the backward pass, which computes the states again chunk by chunk. Each sum is taken
 * in a fixed order within its task: the numbers do not depend on the number of threads.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX__)
#define VL 8
#else
#define VL 4
#endif
#define TIMES 4 /* steps that share one load of C in a convolution */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

typedef float vf __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(VL * 4), aligned(4), may_alias));

typedef struct {
    int64_t B, L, E, n;      /* batch entries per run, steps, channels (a multiple of VL), neurons */
    int64_t silu, per_step;  /* whether y = z sigmoid(z); whether v differs from step to step, (k, b, t, e) */
    int64_t blocks;          /* tasks per batch entry */
} Size;

typedef struct {
    const float *x, *C, *v, *bias, *h0; /* C[k, n, e], v[k, e] or [k, b, t, e], bias[k, e] or NULL, h0[k, b, n, e] or NULL */
} Given;

int64_t register_lanes(void) { return VL; }

INLINE vf load(const float *a) { return *(const vf *)a; }
INLINE void store(float *a, vf v) { *(vf *)a = v; }
INLINE vf splat(float a) { return a - (vf){0}; }
INLINE vf choose(vi where, vf yes, vf no) { return (vf)((where & (vi)yes) | (~where & (vi)no)); }

/* e^x, within two units of the last place; what would overflow is held at the largest power that does not. */
INLINE vf exponential(vf x) {
    x = choose(x > splat(88.0f), splat(88.0f), x);
    x = choose(x < splat(-87.0f), splat(-87.0f), x);
    const vf shifted = x * 1.44269504088896341f + 12582912.0f;
    const vf whole = shifted - 12582912.0f;
    const vf f = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * (f * f) + f + 1.0f;
    return p * (vf)(((vi)shifted - 0x4B400000 + 127) << 23);
}

INLINE vf sigmoid(vf z) { return choose(z < splat(-88.0f), (vf){0}, 1.0f / (1.0f + exponential(-z))); }
INLINE vf finish(vf z, int64_t silu) {
    if (silu) z = z * sigmoid(z);
    return z;
}
INLINE vf slope(vf z, int64_t silu) {
    if (!silu) return splat(1.0f);
    const vf s = sigmoid(z);
    return s * (1.0f + z * (1.0f - s));
}

/* What a slow wave leaves in far neurons is too small for a normal float, and such numbers are a hundred times slower to
 * compute with: they are taken for zero meanwhile. Returns what `usual` needs. */
static unsigned flush_tiny(void) {
#if defined(__SSE2__)
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static void usual(unsigned before) {
#if defined(__SSE2__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

/* Where a task's arrays begin. */
typedef struct {
    int64_t run, entry, at, width; /* run; run and batch entry together; first channel; vectors of channels */
} Task;

static Task task_of(const Size *s, int64_t index) {
    const int64_t entry = index / s->blocks, at = index % s->blocks * 2 * VL;
    return (Task){entry / s->B, entry, at, s->E - at >= 2 * VL ? 2 : 1};
}

/* One step of n neurons of R vectors. */
INLINE void advance(const int64_t n, const int R, vf *h, const vf *stay, const vf *move, const vf *x) {
    UNROLL for (int64_t j = n - 1; j > 0; j--)
        UNROLL for (int r = 0; r < R; r++) h[j * R + r] = stay[r] * h[j * R + r] + move[r] * h[(j - 1) * R + r];
    UNROLL for (int r = 0; r < R; r++) h[r] = stay[r] * h[r] + move[r] * x[r];
}

INLINE void read(const int64_t n, const int R, const vf *h, const vf *C, const vf *bias, vf *z) {
    vf odd[2];
    UNROLL for (int r = 0; r < R; r++) z[r] = bias[r], odd[r] = (vf){0};
    UNROLL for (int64_t j = 0; j + 1 < n; j += 2)
        UNROLL for (int r = 0; r < R; r++) {
            z[r] += C[j * R + r] * h[j * R + r];
            odd[r] += C[(j + 1) * R + r] * h[(j + 1) * R + r];
        }
    if (n & 1)
        UNROLL for (int r = 0; r < R; r++) z[r] += C[(n - 1) * R + r] * h[(n - 1) * R + r];
    UNROLL for (int r = 0; r < R; r++) z[r] += odd[r];
}

/* Constants of a task: C and the bias, and the velocity of its first step. */
INLINE void gather(const Size *s, const Given *g, const Task *a, const int64_t n, const int R, vf *C, vf *bias) {
    for (int64_t j = 0; j < n; j++)
        for (int r = 0; r < R; r++) C[j * R + r] = load(g->C + (a->run * n + j) * s->E + a->at + r * VL);
    for (int r = 0; r < R; r++) bias[r] = g->bias ? load(g->bias + a->run * s->E + a->at + r * VL) : (vf){0};
}

INLINE void start(const Size *s, const float *h0, const Task *a, const int64_t n, const int R, vf *h) {
    for (int64_t j = 0; j < n; j++)
        for (int r = 0; r < R; r++)
            h[j * R + r] = h0 ? load(h0 + (a->entry * n + j) * s->E + a->at + r * VL) : (vf){0};
}

INLINE void finish_state(const Size *s, float *to, const Task *a, const int64_t n, const int R, const vf *h) {
    for (int64_t j = 0; j < n; j++)
        for (int r = 0; r < R; r++) store(to + (a->entry * n + j) * s->E + a->at + r * VL, h[j * R + r]);
}

INLINE const float *velocity_at(const Size *s, const Given *g, const Task *a) {
    return g->v + (s->per_step ? a->entry * s->L : a->run) * s->E + a->at;
}

INLINE void velocity(const float *v, const int R, vf *stay, vf *move) {
    UNROLL for (int r = 0; r < R; r++) move[r] = load(v + r * VL), stay[r] = 1.0f - move[r];
}

/* Outputs and the last state (unless NULL) of one task; h and C: memory for n R vectors each. */
INLINE void forward_task(const int64_t n, const int R, const Size *s, const Given *g, const Task *a, vf *h, vf *C,
                         float *y, float *last) {
    vf bias[2], stay[2], move[2];
    gather(s, g, a, n, R, C, bias);
    start(s, g->h0, a, n, R, h);
    const float *v = velocity_at(s, g, a), *x = g->x + a->entry * s->L * s->E + a->at;
    float *out = y + a->entry * s->L * s->E + a->at;
    velocity(v, R, stay, move);
    for (int64_t t = 0; t < s->L; t++, x += s->E, out += s->E) {
        vf in[2], z[2];
        if (s->per_step) velocity(v + t * s->E, R, stay, move);
        UNROLL for (int r = 0; r < R; r++) in[r] = load(x + r * VL);
        advance(n, R, h, stay, move, in);
        read(n, R, h, C, bias, z);
        UNROLL for (int r = 0; r < R; r++) store(out + r * VL, finish(z[r], s->silu));
    }
    if (last) finish_state(s, last, a, n, R, h);
}

#define FORWARD(N, R)                                                                                                  \
    case N * 4 + R: {                                                                                                  \
        vf h[N * R], C[N * R];                                                                                         \
        forward_task(N, R, s, &g, &a, h, C, y, last);                                                                  \
        break;                                                                                                         \
    }

/* Returns 0, or 1 without memory. */
int register_forward(const Size *s, int64_t from, int64_t to, const float *x, const float *C, const float *v,
                     const float *bias, const float *h0, float *y, float *last) {
    const Given g = {x, C, v, bias, h0};
    vf *room = malloc(sizeof(vf) * 4 * s->n);
    if (!room) return 1;
    const unsigned before = flush_tiny();
    for (int64_t index = from; index < to; index++) {
        const Task a = task_of(s, index);
        switch (s->n > 4 ? a.width : s->n * 4 + a.width) {
            FORWARD(1, 1) FORWARD(1, 2) FORWARD(2, 1) FORWARD(2, 2) FORWARD(3, 1) FORWARD(3, 2) FORWARD(4, 1)
            FORWARD(4, 2)
            case 1: forward_task(s->n, 1, s, &g, &a, room, room + s->n, y, last); break;
            case 2: forward_task(s->n, 2, s, &g, &a, room, room + 2 * s->n, y, last); break;
        }
    }
    usual(before);
    free(room);
    return 0;
}

/* What the loss sends to each argument; sums over time, one slice per batch entry: dC[k, b, n, e], dv[k, b, e] or
 * [k, b, t, e], dbias[k, b, e], dh0[k, b, n, e] or NULL. glast: gradient with respect to the last state, or NULL. */
typedef struct {
    const float *gy, *glast;
    float *dx, *dC, *dv, *dbias, *dh0;
} Sent;

/* States before and after every step of a chunk are held in `held`, the derivative with respect to z in `dz`. */
INLINE void backward_task(const int64_t n, const int R, const Size *s, const Given *g, const Task *a, const Sent *d,
                          int64_t chunk, vf *marks, vf *held, vf *dz, vf *C, vf *back, vf *part, vf *sum) {
    vf bias[2], stay[2], move[2], d_bias[2] = {(vf){0}, (vf){0}}, d_v[2] = {(vf){0}, (vf){0}};
    const int64_t E = s->E, width = n * R, chunks = (s->L + chunk - 1) / chunk;
    const float *v = velocity_at(s, g, a), *x = g->x + a->entry * s->L * E + a->at;
    const float *gy = d->gy + a->entry * s->L * E + a->at;
    float *dx = d->dx + a->entry * s->L * E + a->at;
    float *dv = d->dv + a->entry * (s->per_step ? s->L : 1) * E + a->at;
    gather(s, g, a, n, R, C, bias);
    velocity(v, R, stay, move);
    start(s, g->h0, a, n, R, marks);
    for (int64_t m = 1; m < chunks; m++) { /* the states at which chunks begin */
        vf *h = marks + m * width;
        memcpy(h, h - width, sizeof(vf) * width);
        for (int64_t t = (m - 1) * chunk; t < m * chunk; t++) {
            vf in[2];
            if (s->per_step) velocity(v + t * E, R, stay, move);
            UNROLL for (int r = 0; r < R; r++) in[r] = load(x + t * E + r * VL);
            advance(n, R, h, stay, move, in);
        }
    }
    start(s, d->glast, a, n, R, back);
    memset(sum, 0, sizeof(vf) * width);
    for (int64_t m = chunks - 1; m >= 0; m--) {
        const int64_t first = m * chunk, count = s->L - first < chunk ? s->L - first : chunk;
        memcpy(held, marks + m * width, sizeof(vf) * width);
        for (int64_t t = 0; t < count; t++) {
            vf *h = held + (t + 1) * width, z[2] = {(vf){0}, (vf){0}};
            const vf *before = h - width;
            const float *xt = x + (first + t) * E;
            if (s->per_step) velocity(v + (first + t) * E, R, stay, move);
            UNROLL for (int r = 0; r < R; r++) h[r] = stay[r] * before[r] + move[r] * load(xt + r * VL);
            UNROLL for (int64_t j = 1; j < n; j++)
                UNROLL for (int r = 0; r < R; r++)
                    h[j * R + r] = stay[r] * before[j * R + r] + move[r] * before[(j - 1) * R + r];
            if (s->silu) read(n, R, h, C, bias, z);
            UNROLL for (int r = 0; r < R; r++)
                dz[t * R + r] = load(gy + (first + t) * E + r * VL) * slope(z[r], s->silu);
        }
        vf p_bias[2] = {(vf){0}, (vf){0}}, p_v[2] = {(vf){0}, (vf){0}};
        memset(part, 0, sizeof(vf) * width);
        for (int64_t t = count - 1; t >= 0; t--) {
            const vf *h = held + (t + 1) * width, *before = h - width;
            vf now[2], here[2];
            if (s->per_step) velocity(v + (first + t) * E, R, stay, move);
            UNROLL for (int r = 0; r < R; r++) {
                const vf gz = dz[t * R + r];
                p_bias[r] += gz;
                part[r] += gz * h[r];
                now[r] = back[r] + C[r] * gz;
                here[r] = now[r] * (load(x + (first + t) * E + r * VL) - before[r]);
                store(dx + (first + t) * E + r * VL, move[r] * now[r]);
            }
            UNROLL for (int64_t j = 1; j < n; j++)
                UNROLL for (int r = 0; r < R; r++) {
                    const vf gz = dz[t * R + r], next = back[j * R + r] + C[j * R + r] * gz;
                    part[j * R + r] += gz * h[j * R + r];
                    here[r] += next * (before[(j - 1) * R + r] - before[j * R + r]);
                    back[(j - 1) * R + r] = stay[r] * now[r] + move[r] * next;
                    now[r] = next;
                }
            UNROLL for (int r = 0; r < R; r++) {
                back[(n - 1) * R + r] = stay[r] * now[r];
                if (s->per_step) store(dv + (first + t) * E + r * VL, here[r]);
                p_v[r] += here[r];
            }
        }
        for (int64_t i = 0; i < width; i++) sum[i] += part[i];
        for (int r = 0; r < R; r++) d_bias[r] += p_bias[r], d_v[r] += p_v[r];
    }
    finish_state(s, d->dC, a, n, R, sum);
    if (d->dh0) finish_state(s, d->dh0, a, n, R, back);
    for (int r = 0; r < R; r++) {
        store(d->dbias + a->entry * E + a->at + r * VL, d_bias[r]);
        if (!s->per_step) store(dv + r * VL, d_v[r]);
    }
}

#define BACKWARD(N, R)                                                                                                 \
    case N * 4 + R: {                                                                                                  \
        vf back[N * R], part[N * R];                                                                                   \
        backward_task(N, R, s, &g, &a, &d, chunk, marks, held, dz, C_, back, part, sum);                               \
        break;                                                                                                         \
    }

int register_backward(const Size *s, int64_t from, int64_t to, const float *x, const float *C, const float *v,
                      const float *bias, const float *h0, const float *gy, const float *glast, float *dx, float *dC,
                      float *dv, float *dbias, float *dh0) {
    const Given g = {x, C, v, bias, h0};
    const Sent d = {gy, glast, dx, dC, dv, dbias, dh0};
    const int64_t width = 2 * s->n;
    int64_t chunk = 24576 / (width * (int64_t)sizeof(vf));
    chunk = chunk < 16 ? 16 : chunk > 128 ? 128 : chunk;
    const int64_t chunks = (s->L + chunk - 1) / chunk;
    vf *marks = malloc(sizeof(vf) * (width * (chunks + chunk + 5) + 2 * chunk));
    if (!marks) return 1;
    const unsigned before = flush_tiny();
    vf *held = marks + width * chunks, *C_ = held + width * (chunk + 1), *back_ = C_ + width, *part_ = back_ + width;
    vf *sum = part_ + width, *dz = sum + width;
    for (int64_t index = from; index < to; index++) {
        const Task a = task_of(s, index);
        switch (s->n > 4 ? a.width : s->n * 4 + a.width) {
            BACKWARD(1, 1) BACKWARD(1, 2) BACKWARD(2, 1) BACKWARD(2, 2) BACKWARD(3, 1) BACKWARD(3, 2) BACKWARD(4, 1)
            BACKWARD(4, 2)
            case 1:
                backward_task(s->n, 1, s, &g, &a, &d, chunk, marks, held, dz, C_, back_, part_, sum);
                break;
            case 2:
                backward_task(s->n, 2, s, &g, &a, &d, chunk, marks, held, dz, C_, back_, part_, sum);
                break;
        }
    }
    usual(before);
    free(marks);
    return 0;
}

/* rows[i] of a convolution: `count` sums over j of C_j rows[i - j] at once, each C_j loaded once. */
INLINE void convolve(const int64_t n, const int R, const int count, const vf *C, const vf *rows, const int towards,
                     vf acc[TIMES][2]) {
    UNROLL for (int64_t j = 0; j < n; j++)
        UNROLL for (int q = 0; q < count; q++)
            UNROLL for (int r = 0; r < R; r++) acc[q][r] += C[j * R + r] * rows[(q + towards * j) * R + r];
}

/* Copy steps first … first + count - 1 of x, where a step before the first is a neuron of h0. */
INLINE void copy_inputs(const Size *s, const Given *g, const Task *a, const int R, int64_t first, int64_t count, vf *to) {
    const float *x = g->x + a->entry * s->L * s->E + a->at, *h0 = g->h0 ? g->h0 + a->entry * s->n * s->E + a->at : NULL;
    for (int64_t i = 0; i < count; i++) {
        const int64_t t = first + i;
        const float *row = t >= 0 ? x + t * s->E : h0 ? h0 + (-1 - t) * s->E : NULL;
        UNROLL for (int r = 0; r < R; r++) to[i * R + r] = row ? load(row + r * VL) : (vf){0};
    }
}

INLINE void sums(const int64_t n, const int R, const vf *C, const vf *bias, const vf *rows,
                 int64_t count, vf *z) {
    int64_t t = 0;
    for (; t + TIMES <= count; t += TIMES) {
        vf acc[TIMES][2];
        UNROLL for (int q = 0; q < TIMES; q++)
            UNROLL for (int r = 0; r < R; r++) acc[q][r] = bias[r];
        convolve(n, R, TIMES, C, rows + t * R, -1, acc);
        UNROLL for (int q = 0; q < TIMES; q++)
            UNROLL for (int r = 0; r < R; r++) z[(t + q) * R + r] = acc[q][r];
    }
    for (; t < count; t++) {
        vf acc[TIMES][2];
        UNROLL for (int r = 0; r < R; r++) acc[0][r] = bias[r];
        convolve(n, R, 1, C, rows + t * R, -1, acc);
        UNROLL for (int r = 0; r < R; r++) z[t * R + r] = acc[0][r];
    }
}

INLINE void shift_forward_task(const int64_t n, const int R, const Size *s, const Given *g, const Task *a, int64_t chunk,
                               vf *C, vf *rows, vf *z, float *y, float *last) {
    vf bias[2];
    gather(s, g, a, n, R, C, bias);
    float *out = y + a->entry * s->L * s->E + a->at;
    copy_inputs(s, g, a, R, 1 - n, n - 1, rows);
    for (int64_t first = 0; first < s->L; first += chunk) {
        const int64_t count = s->L - first < chunk ? s->L - first : chunk;
        copy_inputs(s, g, a, R, first, count, rows + (n - 1) * R);
        sums(n, R, C, bias, rows + (n - 1) * R, count, z);
        for (int64_t t = 0; t < count; t++)
            UNROLL for (int r = 0; r < R; r++) store(out + (first + t) * s->E + r * VL, finish(z[t * R + r], s->silu));
        memmove(rows, rows + count * R, sizeof(vf) * (n - 1) * R);
    }
    if (last)
        for (int64_t j = 0; j < n; j++) {
            vf row[2];
            copy_inputs(s, g, a, R, s->L - 1 - j, 1, row);
            for (int r = 0; r < R; r++) store(last + (a->entry * n + j) * s->E + a->at + r * VL, row[r]);
        }
}

static int64_t shift_chunk(int64_t n) { return n < 96 ? 96 : n; }

int register_shift_forward(const Size *s, int64_t from, int64_t to, const float *x, const float *C, const float *v,
                           const float *bias, const float *h0, float *y, float *last) {
    const Given g = {x, C, v, bias, h0};
    const int64_t chunk = shift_chunk(s->n);
    vf *C_ = malloc(sizeof(vf) * 2 * (2 * s->n + 2 * chunk));
    if (!C_) return 1;
    const unsigned before = flush_tiny();
    vf *rows = C_ + 2 * s->n, *z = rows + 2 * (s->n + chunk);
    for (int64_t index = from; index < to; index++) {
        const Task a = task_of(s, index);
        switch (s->n == 4 ? 4 + a.width : a.width) {
            case 5: shift_forward_task(4, 1, s, &g, &a, chunk, C_, rows, z, y, last); break;
            case 6: shift_forward_task(4, 2, s, &g, &a, chunk, C_, rows, z, y, last); break;
            case 1: shift_forward_task(s->n, 1, s, &g, &a, chunk, C_, rows, z, y, last); break;
            case 2: shift_forward_task(s->n, 2, s, &g, &a, chunk, C_, rows, z, y, last); break;
        }
    }
    usual(before);
    free(C_);
    return 0;
}

/* sum[j] += sum over t of dz(t) x(t - j) */
INLINE void correlate(const int64_t n, const int R, const vf *dz, const vf *rows, int64_t count, vf *sum) {
    int64_t j = 0;
    for (; j + TIMES <= n; j += TIMES) {
        vf acc[TIMES][2];
        UNROLL for (int q = 0; q < TIMES; q++)
            UNROLL for (int r = 0; r < R; r++) acc[q][r] = (vf){0};
        for (int64_t t = 0; t < count; t++)
            UNROLL for (int q = 0; q < TIMES; q++)
                UNROLL for (int r = 0; r < R; r++) acc[q][r] += dz[t * R + r] * rows[(t - j - q) * R + r];
        UNROLL for (int q = 0; q < TIMES; q++)
            UNROLL for (int r = 0; r < R; r++) sum[(j + q) * R + r] += acc[q][r];
    }
    for (; j < n; j++)
        for (int r = 0; r < R; r++) {
            vf acc = {0};
            for (int64_t t = 0; t < count; t++) acc += dz[t * R + r] * rows[(t - j) * R + r];
            sum[j * R + r] += acc;
        }
}

INLINE void shift_backward_task(const int64_t n, const int R, const Size *s, const Given *g, const Task *a,
                                const Sent *d, int64_t chunk, vf *C, vf *rows, vf *z, vf *dz, vf *sum) {
    vf bias[2], d_bias[2] = {(vf){0}, (vf){0}};
    const int64_t E = s->E, chunks = (s->L + chunk - 1) / chunk;
    const float *gy = d->gy + a->entry * s->L * E + a->at;
    float *dx = d->dx + a->entry * s->L * E + a->at;
    gather(s, g, a, n, R, C, bias);
    memset(sum, 0, sizeof(vf) * n * R);
    memset(dz, 0, sizeof(vf) * (n + chunk) * R); /* nothing comes back from after the end */
    for (int64_t m = chunks - 1; m >= 0; m--) {
        const int64_t first = m * chunk, count = s->L - first < chunk ? s->L - first : chunk;
        if (m < chunks - 1) memmove(dz + chunk * R, dz, sizeof(vf) * n * R);
        copy_inputs(s, g, a, R, first - (n - 1), n - 1 + count, rows);
        if (s->silu) sums(n, R, C, bias, rows + (n - 1) * R, count, z);
        vf p_bias[2] = {(vf){0}, (vf){0}};
        for (int64_t t = 0; t < count; t++)
            UNROLL for (int r = 0; r < R; r++) {
                const vf gz = load(gy + (first + t) * E + r * VL) * slope(z[t * R + r], s->silu);
                dz[t * R + r] = gz;
                p_bias[r] += gz;
            }
        for (int r = 0; r < R; r++) d_bias[r] += p_bias[r];
        correlate(n, R, dz, rows + (n - 1) * R, count, sum);
        int64_t t = 0;
        for (; t + TIMES <= count; t += TIMES) {
            vf acc[TIMES][2];
            memset(acc, 0, sizeof(acc));
            convolve(n, R, TIMES, C, dz + t * R, 1, acc);
            UNROLL for (int q = 0; q < TIMES; q++)
                UNROLL for (int r = 0; r < R; r++) store(dx + (first + t + q) * E + r * VL, acc[q][r]);
        }
        for (; t < count; t++) {
            vf acc[TIMES][2];
            memset(acc, 0, sizeof(acc));
            convolve(n, R, 1, C, dz + t * R, 1, acc);
            UNROLL for (int r = 0; r < R; r++) store(dx + (first + t) * E + r * VL, acc[0][r]);
        }
    }
    finish_state(s, d->dC, a, n, R, sum);
    for (int r = 0; r < R; r++) store(d->dbias + a->entry * E + a->at + r * VL, d_bias[r]);
    if (d->dh0)
        for (int64_t j = 0; j < n; j++)
            for (int r = 0; r < R; r++) {
                vf acc = {0};
                for (int64_t i = j + 1; i < n; i++) acc += C[i * R + r] * dz[(i - 1 - j) * R + r];
                store(d->dh0 + (a->entry * n + j) * E + a->at + r * VL, acc);
            }
}

int register_shift_backward(const Size *s, int64_t from, int64_t to, const float *x, const float *C, const float *v,
                            const float *bias, const float *h0, const float *gy, const float *glast, float *dx,
                            float *dC, float *dv, float *dbias, float *dh0) {
    const Given g = {x, C, v, bias, h0};
    const Sent d = {gy, glast, dx, dC, dv, dbias, dh0};
    const int64_t chunk = shift_chunk(s->n), long_ = 2 * (s->n + chunk);
    vf *C_ = malloc(sizeof(vf) * (4 * s->n + 2 * long_ + 2 * chunk));
    if (!C_) return 1;
    const unsigned before = flush_tiny();
    vf *sum = C_ + 2 * s->n, *rows = sum + 2 * s->n, *dz = rows + long_, *z = dz + long_;
    for (int64_t index = from; index < to; index++) {
        const Task a = task_of(s, index);
        switch (s->n == 4 ? 4 + a.width : a.width) {
            case 5: shift_backward_task(4, 1, s, &g, &a, &d, chunk, C_, rows, z, dz, sum); break;
            case 6: shift_backward_task(4, 2, s, &g, &a, &d, chunk, C_, rows, z, dz, sum); break;
            case 1: shift_backward_task(s->n, 1, s, &g, &a, &d, chunk, C_, rows, z, dz, sum); break;
            case 2: shift_backward_task(s->n, 2, s, &g, &a, &d, chunk, C_, rows, z, dz, sum); break;
        }
    }
    usual(before);
    free(C_);
    return 0;
}
