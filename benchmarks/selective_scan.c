// The rival in C of benchmarks/selective_scan.py: what the algorithm of vitrail's fast CPU backend
// gives when it is written by hand, for 16 states, on a processor with AVX-512. No part of the
// package.
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
    vec p = fill(0.00133335392f);
    p = p * f + 0.00966624543f;
    p = p * f + 0.0555050038f;
    p = p * f + 0.240223512f;
    p = p * f + 0.693147123f;
    return p * f + 1.f;
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
    vec q = e * e, even = fill(0.0198514629f), odd = fill(-0.0032440252f);
    even = even * q + 0.106036551f;  odd = odd * q - 0.0569595359f;
    even = even * q + 0.196759388f;  odd = odd * q - 0.153055921f;
    even = even * q + 0.333299637f;  odd = odd * q - 0.249541342f;
    even = even * q + 1.f;           odd = odd * q - 0.499999017f;
    return (odd * e + even) * e + 0.5f * (x - minus_abs);
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

#define S 4
// One direction of a task: y (L rows, `dim` apart) = or += C h + D u.
static void forward_direction(const Scan *s, int64_t k, int64_t b, int64_t d, float *y,
                              float *saved) {
    vec rate[N], state[N], slope, step[64], signal[64], sum[64];
    load_rates(s, k, d, rate);
    for (int n = 0; n < N; n++) state[n] = fill(0.f);
    vec skip = load(s->D + k * s->dim + d), bias = load(s->bias + k * s->dim + d);
    int64_t first = (k * s->batch + b) * s->length, L = s->length, way = s->reverse[k] ? -1 : 1;
    int64_t start = s->reverse[k] ? L - 1 : 0;
    for (int64_t i0 = 0; i0 < L; i0 += 64) {
        int64_t many = L - i0 < 64 ? L - i0 : 64, t0 = start + way * i0;
        for (int64_t j = 0; j < many; j++) {
            int64_t at = (first + t0 + way * j) * s->dim + d;
            __builtin_prefetch(s->u + at + 64 * way * s->dim);
            __builtin_prefetch(s->delta + at + 64 * way * s->dim);
            vec u = load(s->u + at);
            step[j] = softplus(load(s->delta + at) + bias, &slope);
            signal[j] = step[j] * u;
            sum[j] = skip * u;
        }
        for (int q = 0; q < N; q += S) {
            vec h[S], r[S];
            for (int n = 0; n < S; n++) { h[n] = state[q + n]; r[n] = rate[q + n]; }
            if (saved) for (int n = 0; n < S; n++) store(saved + (i0 / 64 * N + q + n) * W, h[n]);
            const float *B = s->B + (first + t0) * N + q, *C = s->C + (first + t0) * N + q;
            for (int64_t j = 0; j < many; j++, B += way * N, C += way * N) {
                vec y_ = sum[j];
                UNROLL for (int n = 0; n < S; n++) {
                    h[n] = exp2_of(step[j] * r[n]) * h[n] + signal[j] * B[n];
                    y_ += h[n] * C[n];
                }
                sum[j] = y_;
            }
            for (int n = 0; n < S; n++) state[q + n] = h[n];
        }
        for (int64_t j = 0; j < many; j++) {
            float *at = y + (t0 + way * j) * s->dim;
            store(at, k ? sum[j] + load(at) : sum[j]);
        }
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

typedef float four __attribute__((vector_size(16)));
INLINE void add_sums(float *to_B, float *to_C, const vec v[8]) {
    vec half[4], quarter[2];
    UNROLL FOLD(half, v, 4,
                LIST(0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29),
                LIST(2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31))
    UNROLL FOLD(quarter, half, 2,
                LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    vec a = quarter[0], b = quarter[1];
    vec x = __builtin_shufflevector(a, b, 0,1,2,3,8,9,10,11,16,17,18,19,24,25,26,27)
        + __builtin_shufflevector(a, b, 4,5,6,7,12,13,14,15,20,21,22,23,28,29,30,31);
    __m512 z = (__m512)x;
    __m128 B = _mm512_extractf32x4_ps(z, 0) + _mm512_extractf32x4_ps(z, 1);
    __m128 C = _mm512_extractf32x4_ps(z, 2) + _mm512_extractf32x4_ps(z, 3);
    _mm_storeu_ps(to_B, _mm_loadu_ps(to_B) + B);
    _mm_storeu_ps(to_C, _mm_loadu_ps(to_C) + C);
}

typedef struct { vec step, signal, slope, u, d_signal, d_power; } Token;

static void backward_direction(const Scan *s, const Gradients *g, int64_t k, int64_t b, int64_t d,
                               const float *saved, const Scratch *m, int64_t part, int64_t parts) {
    vec rate[N], all_flow[N], all_d_rate[N], d_skip = fill(0.f), d_bias = fill(0.f);
    static __thread Token token[64];
    static __thread vec kept_[65 * 2 * S];
    load_rates(s, k, d, rate);
    for (int n = 0; n < N; n++) all_flow[n] = all_d_rate[n] = fill(0.f);
    vec skip = load(s->D + k * s->dim + d), bias = load(s->bias + k * s->dim + d);
    int64_t kb = k * s->batch + b, first = kb * s->length, L = s->length;
    int64_t way = s->reverse[k] ? -1 : 1, start = s->reverse[k] ? L - 1 : 0;
    int64_t partial = (kb * parts + part) * L;
    for (int64_t c = chunks(s) - 1; c >= 0; c--) {
        int64_t i0 = c * 64, many = L - i0 < 64 ? L - i0 : 64, t0 = start + way * i0;
        for (int64_t j = 0; j < many; j++) {
            int64_t at = (first + t0 + way * j) * s->dim + d;
            __builtin_prefetch(s->u + at - 64 * way * s->dim);
            __builtin_prefetch(s->delta + at - 64 * way * s->dim);
            vec u = load(s->u + at), slope;
            vec step = softplus(load(s->delta + at) + bias, &slope);
            token[j] = (Token){step, step * u, slope, u, fill(0.f), fill(0.f)};
        }
        for (int q = 0; q < N; q += S) {
            vec h[S], r[S], flow[S], d_rate[S];
            vec *kept = kept_ + 2 * S;
            for (int n = 0; n < S; n++) {
                r[n] = rate[q + n]; flow[n] = all_flow[q + n]; d_rate[n] = all_d_rate[q + n];
                kept[n - S] = h[n] = load(saved + (c * N + q + n) * W);
            }
            const float *B = s->B + (first + t0) * N + q, *C = s->C + (first + t0) * N + q;
            for (int64_t j = 0; j < many; j++, B += way * N, kept += 2 * S) {
                vec step = token[j].step, signal = token[j].signal;
                UNROLL for (int n = 0; n < S; n++) {
                    vec decay = exp2_of(step * r[n]);
                    kept[n] = decay;
                    kept[S + n] = h[n] = decay * h[n] + signal * B[n];
                }
            }
            C += way * N * many;
            for (int64_t j = many - 1; j >= 0; j--) {
                B -= way * N; C -= way * N; kept -= 2 * S;
                int64_t t = t0 + way * j;
                vec up = m->gate[t], to[8], d_signal = token[j].d_signal, d_power = token[j].d_power;
                vec step = token[j].step, signal = token[j].signal;
                UNROLL for (int n = 0; n < S; n++) {
                    vec before = kept[n - S];
                    vec d_state = flow[n] + up * C[n];
                    to[4 + n] = up * h[n];
                    to[n] = d_state * signal;
                    d_signal += d_state * B[n];
                    flow[n] = d_state * kept[n];
                    vec d_exponent = flow[n] * before;
                    d_power += d_exponent * r[n];
                    d_rate[n] += d_exponent * step;
                    h[n] = before;
                }
                token[j].d_signal = d_signal; token[j].d_power = d_power;
                add_sums(g->dB + (partial + t) * N + q, g->dC + (partial + t) * N + q, to);
            }
            for (int n = 0; n < S; n++) { all_flow[q + n] = flow[n]; all_d_rate[q + n] = d_rate[n]; }
        }
        for (int64_t j = 0; j < many; j++) {
            Token *o = token + j;
            int64_t t = t0 + way * j, at = (first + t) * s->dim + d;
            vec up = m->gate[t];
            vec d_delta = (o->d_signal * o->u + o->d_power * (1.f / LOG2E)) * o->slope;
            store(g->du + at, o->d_signal * o->step + skip * up);
            store(g->ddelta + at, d_delta);
            d_skip += up * o->u;
            d_bias += d_delta;
        }
    }
    for (int n = 0; n < N; n++)
        for (int i = 0; i < W; i++) g->dA[(kb * s->dim + d + i) * N + n] = all_d_rate[n][i];
    store(g->dD + kb * s->dim + d, d_skip);
    store(g->dbias + kb * s->dim + d, d_bias);
}

void scan_backward(const Scan *s, const float *grad, const float *total, const float *saved,
                   const Gradients *g) {
    int64_t blocks = s->dim / W, T = s->chunk;
#pragma omp parallel num_threads(s->threads)
    {
        vec *p = aligned_alloc(sizeof(vec), s->length * sizeof(vec));
        Scratch m = {0, 0, 0, 0, p};
        int64_t tasks = s->batch * blocks, each = (tasks + 31) / 32;
        if (each > blocks) each = blocks;
        int64_t parts = (blocks + each - 1) / each;
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < s->batch * parts; task++) {
            int64_t b = task / parts, part = task % parts;
            for (int64_t k = 0; k < K; k++) {
                size_t at = ((k * s->batch + b) * parts + part) * s->length * N;
                memset(g->dB + at, 0, s->length * N * 4);
                memset(g->dC + at, 0, s->length * N * 4);
            }
            for (int64_t block = part * each; block < blocks && block < (part + 1) * each; block++) {
                int64_t d = block * W;
                backward_gate(s, b * s->length * s->dim + d, grad, total, g->dz, &m);
                for (int64_t k = 0; k < K; k++)
                    backward_direction(s, g, k, b, d, saved + saved_at(s, k, b, d), &m, part, parts);
            }
        }
        free(p);
    }
}
