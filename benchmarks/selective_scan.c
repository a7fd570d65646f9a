// The rival in C of benchmarks/selective_scan.py: what the algorithm of vitrail's fast CPU backend
// gives when it is written by hand, with vector extensions, for 16 states. No part of the package.
//
// A task is one batch element and W channels, one to a lane; the 16 states stay in registers. Both
// directions run within the task, so that what they sum up stays in the cache until the gate.
// Backwards, states are computed again, a chunk at a time, from those the forward pass saved.
//
// All tensors are contiguous float32, laid out as vitrail's `Scan` says; `dim` is a multiple of W.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define K 2  // directions
#define N 16
#ifdef __AVX512F__
#define W 16
#else
#define W 8
#endif
#define LOG2E 1.44269504088896340736f
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

typedef float vec __attribute__((vector_size(4 * W)));
typedef int32_t ivec __attribute__((vector_size(4 * W)));

typedef struct {
    const float *u, *delta, *A, *B, *C, *D, *bias, *z;
    int64_t reverse[K], batch, length, dim, chunk, threads;
} Scan;

// dA, dD and dbias of each batch element, and dB and dC of each block of channels besides: tasks
// share no memory they write to, and the caller's sums are the same however threads take turns.
typedef struct {
    float *du, *ddelta;   // (K, batch, L, D)
    float *dA;            // (K, batch, D, N)
    float *dB, *dC;       // (K, batch, blocks, L, N)
    float *dD, *dbias;    // (K, batch, D)
    float *dz;            // (batch, L, D)
} Gradients;

// What one chunk of the backward pass remembers; `gate` is of the whole length.
typedef struct {
    vec *after, *decay, *step, *slope, *gate;
} Scratch;

int64_t lanes(void) { return W; }

INLINE vec load(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, vec v) { memcpy(p, &v, sizeof v); }
INLINE vec fill(float x) { return x - (vec){0}; }

// p 2^k, for 2^f = p: a polynomial of degree 5 in f, right to 2.4e-7.
INLINE vec power(vec f) {
    vec p = fill(0.0013276468962430954f);
    p = p * f + 0.009675541892647743f;
    p = p * f + 0.05550713464617729f;
    p = p * f + 0.24022120237350464f;
    p = p * f + 0.6931469440460205f;
    return p * f + 1.0000001192092896f;
}

#if W == 16
INLINE vec exp2_of(vec x) {
    vec k = (vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return (vec)_mm512_scalef_ps((__m512)power(x - k), (__m512)k);
}
#elif defined(__AVX2__)
INLINE vec exp2_of(vec x) {
    x = (vec)_mm256_max_ps((__m256)x, _mm256_set1_ps(-126.f));
    vec k = (vec)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return (vec)((ivec)power(x - k) + ((ivec)_mm256_cvtps_epi32((__m256)k) << 23));
}
#else
INLINE vec exp2_of(vec x) {
    ivec keep = x > -126.f;
    x = (vec)(((ivec)x & keep) | ((ivec)fill(-126.f) & ~keep));
    vec shifted = x + 12582912.f;  // 1.5 * 2^23: the sum has no place for a fraction
    ivec k = (ivec)shifted - (ivec)fill(12582912.f);
    return (vec)((ivec)power(x - (shifted - 12582912.f)) + (k << 23));
}
#endif

INLINE vec choose(ivec mask, vec yes, vec no) {
    return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask));
}

// log(1 + exp(x)), and its slope, which is the sigmoid of x.
INLINE vec softplus(vec x, vec *slope) {
    vec minus_abs = (vec)((ivec)x | INT32_MIN);
    vec e = exp2_of(minus_abs * LOG2E), r = 1.f / (1.f + e);
    *slope = choose(x > 0.f, r, e * r);
    // log(1 + e) = 2 artanh(s), and s <= 1/3: nine terms of its series are enough for float32.
    vec s = e / (e + 2.f), q = s * s, p = fill(1.f / 17);
    p = p * q + 1.f / 15;
    p = p * q + 1.f / 13;
    p = p * q + 1.f / 11;
    p = p * q + 1.f / 9;
    p = p * q + 1.f / 7;
    p = p * q + 1.f / 5;
    p = p * q + 1.f / 3;
    return 0.5f * (x - minus_abs) + 2.f * s * (1.f + q * p);
}

INLINE vec sigmoid(vec x) {
    vec e = exp2_of((vec)((ivec)x | INT32_MIN) * LOG2E), r = 1.f / (1.f + e);
    return choose(x > 0.f, r, e * r);
}

// out[n] = the sum over the lanes of v[n], n < 16. Each step folds vectors in pairs, half their
// lanes onto the other half; steps within 128 bits come first, for they are the cheap ones.
#define FOLD(to, from, count, low, high)                                        \
    for (int i = 0; i < (count); i++) {                                         \
        vec a = (from)[2 * i], b = (from)[2 * i + 1];                           \
        (to)[i] = __builtin_shufflevector(a, b, low) + __builtin_shufflevector(a, b, high); \
    }
#define LIST(...) __VA_ARGS__

INLINE void store_sums(float *out, const vec v[N]) {
    vec half[8], quarter[4];
#if W == 16
    vec eighth[2], whole[1];
    UNROLL FOLD(half, v, 8,
                LIST(0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29),
                LIST(2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31))
    UNROLL FOLD(quarter, half, 4,
                LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    UNROLL FOLD(eighth, quarter, 2,
                LIST(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
                LIST(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
    FOLD(whole, eighth, 1,
         LIST(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
         LIST(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
    store(out, whole[0]);
#else
    vec whole[2];
    UNROLL FOLD(half, v, 8, LIST(0, 8, 1, 9, 4, 12, 5, 13), LIST(2, 10, 3, 11, 6, 14, 7, 15))
    UNROLL FOLD(quarter, half, 4, LIST(0, 1, 8, 9, 4, 5, 12, 13), LIST(2, 3, 10, 11, 6, 7, 14, 15))
    UNROLL FOLD(whole, quarter, 2, LIST(0, 1, 2, 3, 8, 9, 10, 11), LIST(4, 5, 6, 7, 12, 13, 14, 15))
    store(out, whole[0]);
    store(out + 8, whole[1]);
#endif
}

// A / ln 2 of W channels, so that exp(step A) = 2^(step rate).
INLINE void load_rates(const Scan *s, int64_t k, int64_t d, vec rate[N]) {
    const float *A = s->A + (k * s->dim + d) * N;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < W; i++) rate[n][i] = A[i * N + n] * LOG2E;
}

INLINE int64_t chunks(const Scan *s) { return (s->length + s->chunk - 1) / s->chunk; }

// Where a task's saved states of one direction begin: (K, batch, blocks, chunks, N, W).
INLINE int64_t saved_at(const Scan *s, int64_t k, int64_t b, int64_t d) {
    return (((k * s->batch + b) * s->dim + d) / W) * chunks(s) * N * W;
}

// One direction of a task: y (L rows, `dim` apart) = or += C h + D u.
static void forward_direction(const Scan *s, int64_t k, int64_t b, int64_t d, float *y,
                              float *saved) {
    vec rate[N], h[N], slope;
    load_rates(s, k, d, rate);
    for (int n = 0; n < N; n++) h[n] = fill(0.f);
    vec skip = load(s->D + k * s->dim + d), bias = load(s->bias + k * s->dim + d);
    int64_t first = (k * s->batch + b) * s->length;
    for (int64_t i = 0; i < s->length; i++) {
        int64_t t = s->reverse[k] ? s->length - 1 - i : i, row = first + t;
        if (saved && i % s->chunk == 0)
            for (int n = 0; n < N; n++) store(saved + (i / s->chunk * N + n) * W, h[n]);
        vec u = load(s->u + row * s->dim + d);
        vec step = softplus(load(s->delta + row * s->dim + d) + bias, &slope);
        vec signal = step * u, even = skip * u, odd = fill(0.f);
        const float *B = s->B + row * N, *C = s->C + row * N;
        UNROLL for (int n = 0; n < N; n += 2) {
            h[n] = exp2_of(step * rate[n]) * h[n] + signal * B[n];
            h[n + 1] = exp2_of(step * rate[n + 1]) * h[n + 1] + signal * B[n + 1];
            even += h[n] * C[n];  // two sums: one would make each addition wait for the last
            odd += h[n + 1] * C[n + 1];
        }
        vec sum = even + odd;
        if (k) sum += load(y + t * s->dim);
        store(y + t * s->dim, sum);
    }
}

// out (batch, L, D). For training, also the sum before the gate, `total`, and states, `saved`; for
// inference both are null.
void scan_forward(const Scan *s, float *out, float *total, float *saved) {
    int64_t blocks = s->dim / W;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (int64_t task = 0; task < s->batch * blocks; task++) {
        int64_t b = task / blocks, d = task % blocks * W, corner = b * s->length * s->dim + d;
        float *y = (total ? total : out) + corner;
        for (int64_t k = 0; k < K; k++)
            forward_direction(s, k, b, d, y, saved ? saved + saved_at(s, k, b, d) : NULL);
        for (int64_t t = 0; t < s->length; t++) {
            vec z = load(s->z + corner + t * s->dim);
            store(out + corner + t * s->dim, load(y + t * s->dim) * z * sigmoid(z));
        }
    }
}

// The gradient of the gate, and `m->gate`, that of the sum before it.
static void backward_gate(const Scan *s, int64_t corner, const float *grad, const float *total,
                          float *dz, const Scratch *m) {
    for (int64_t t = 0; t < s->length; t++) {
        int64_t at = corner + t * s->dim;
        vec z = load(s->z + at), open = sigmoid(z), g = load(grad + at) * open;
        m->gate[t] = g * z;
        store(dz + at, g * load(total + at) * (1.f + z * (1.f - open)));
    }
}

// Steps i0 to i1 once more, keeping what gradients need; `after` begins with the state before.
INLINE void recompute(const Scan *s, int64_t k, int64_t first, int64_t d, int64_t i0, int64_t i1,
                      const vec rate[N], const float *saved, const Scratch *m) {
    vec h[N], bias = load(s->bias + k * s->dim + d);
    for (int n = 0; n < N; n++) m->after[n] = h[n] = load(saved + n * W);
    for (int64_t i = i0, j = 0; i < i1; i++, j++) {
        int64_t row = first + (s->reverse[k] ? s->length - 1 - i : i);
        vec step = softplus(load(s->delta + row * s->dim + d) + bias, &m->slope[j]);
        vec signal = step * load(s->u + row * s->dim + d);
        const float *B = s->B + row * N;
        m->step[j] = step;
        UNROLL for (int n = 0; n < N; n++) {
            vec decay = exp2_of(step * rate[n]);
            m->decay[j * N + n] = decay;
            m->after[(j + 1) * N + n] = h[n] = decay * h[n] + signal * B[n];
        }
    }
}

static void backward_direction(const Scan *s, const Gradients *g, int64_t k, int64_t b, int64_t d,
                               const float *saved, const Scratch *m) {
    vec rate[N], flow[N], d_rate[N], d_skip = fill(0.f), d_bias = fill(0.f);
    load_rates(s, k, d, rate);
    for (int n = 0; n < N; n++) flow[n] = d_rate[n] = fill(0.f);
    vec skip = load(s->D + k * s->dim + d);
    int64_t kb = k * s->batch + b, first = kb * s->length;
    int64_t partial = (kb * s->dim + d) / W * s->length;
    for (int64_t c = chunks(s) - 1; c >= 0; c--) {
        int64_t i0 = c * s->chunk, i1 = i0 + s->chunk < s->length ? i0 + s->chunk : s->length;
        recompute(s, k, first, d, i0, i1, rate, saved + c * N * W, m);
        for (int64_t i = i1 - 1; i >= i0; i--) {
            int64_t t = s->reverse[k] ? s->length - 1 - i : i, j = i - i0, row = first + t;
            const float *B = s->B + row * N, *C = s->C + row * N;
            const vec *before = m->after + j * N, *after = before + N, *decay = m->decay + j * N;
            vec up = m->gate[t], u = load(s->u + row * s->dim + d), step = m->step[j];
            vec signal = step * u, d_signal = fill(0.f), d_power = fill(0.f), to_B[N], to_C[N];
            UNROLL for (int n = 0; n < N; n++) {
                vec d_state = flow[n] + up * C[n];
                to_C[n] = up * after[n];
                to_B[n] = d_state * signal;
                d_signal += d_state * B[n];
                flow[n] = d_state * decay[n];
                vec d_exponent = flow[n] * before[n];  // of step * A
                d_power += d_exponent * rate[n];
                d_rate[n] += d_exponent * step;
            }
            store_sums(g->dC + (partial + t) * N, to_C);
            store_sums(g->dB + (partial + t) * N, to_B);
            vec d_delta = (d_signal * u + d_power * (1.f / LOG2E)) * m->slope[j];
            store(g->du + row * s->dim + d, d_signal * step + skip * up);
            store(g->ddelta + row * s->dim + d, d_delta);
            d_skip += up * u;
            d_bias += d_delta;
        }
    }
    for (int n = 0; n < N; n++)
        for (int i = 0; i < W; i++) g->dA[(kb * s->dim + d + i) * N + n] = d_rate[n][i];
    store(g->dD + kb * s->dim + d, d_skip);
    store(g->dbias + kb * s->dim + d, d_bias);
}

void scan_backward(const Scan *s, const float *grad, const float *total, const float *saved,
                   const Gradients *g) {
    int64_t blocks = s->dim / W, T = s->chunk;
#pragma omp parallel num_threads(s->threads)
    {
        vec *p = aligned_alloc(sizeof(vec), (2 * T * N + N + 2 * T + s->length) * sizeof(vec));
        vec *decay = p + (T + 1) * N, *step = decay + T * N, *slope = step + T;
        Scratch m = {p, decay, step, slope, slope + T};
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < s->batch * blocks; task++) {
            int64_t b = task / blocks, d = task % blocks * W;
            backward_gate(s, b * s->length * s->dim + d, grad, total, g->dz, &m);
            for (int64_t k = 0; k < K; k++)
                backward_direction(s, g, k, b, d, saved + saved_at(s, k, b, d), &m);
        }
        free(p);
    }
}
