// Vectors as wide as the processor's registers, and loops over registers.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));

// In two steps, since GCC 12 converts bytes to integers, and back, one by one.
typedef uint16_t Shorts __attribute__((vector_size(LANES * sizeof(uint16_t))));
static inline Integers widened(const Bytes& bytes) { return __builtin_convertvector(__builtin_convertvector(bytes, Shorts), Integers); }
static inline Bytes narrowed(const Integers& integers) { return __builtin_convertvector(__builtin_convertvector(integers, Shorts), Bytes); }

constexpr int ACCUMULATORS = REGISTERS * 3 / 4;

static Vector load(const float* from, int64_t stride, int64_t lanes) {
    Vector vector{};
    if (stride == 1 && lanes == LANES)
        std::memcpy(&vector, from, sizeof vector);
    else
        for (int64_t lane = 0; lane < lanes; lane++) vector[lane] = from[lane * stride];
    return vector;
}

static void store(const Vector& vector, float* to, int64_t stride, int64_t lanes) {
    if (stride == 1 && lanes == LANES) {
        std::memcpy(to, &vector, sizeof vector);
    } else {
        const Vector stored = vector;  // else every vector would be written to the stack
        for (int64_t lane = 0; lane < lanes; lane++) to[lane * stride] = stored[lane];
    }
}

// Pairwise by halves, so that few operations depend on each other.
template <int N = LANES>
static inline float sum(const float* lanes) {
    if constexpr (N == 1) {
        return lanes[0];
    } else {
        typedef float Half __attribute__((vector_size(N / 2 * sizeof(float))));
        Half low, high;
        std::memcpy(&low, lanes, sizeof low), std::memcpy(&high, lanes + N / 2, sizeof high);
        low += high;
        float both[N / 2];
        std::memcpy(both, &low, sizeof low);
        return sum<N / 2>(both);
    }
}

static inline float sum(const Vector& vector) {
    float lanes[LANES];
    std::memcpy(lanes, &vector, sizeof vector);
    return sum(lanes);
}

// Interleaves the first halves of `one` and `other`, or their second halves.
template <class V>
static inline V interleave(const V& one, const V& other, bool second) {
    constexpr int N = sizeof(V) / sizeof(one[0]);
#if defined(__GNUC__) && !defined(__clang__)
    decltype(one == other) from;
    for (int i = 0; i < N; i++) from[i] = i / 2 + i % 2 * N + second * N / 2;
    return __builtin_shuffle(one, other, from);
#else
    V both;
    for (int i = 0; i < N; i++) both[i] = (i % 2 ? other : one)[i / 2 + second * N / 2];
    return both;
#endif
}

// Transposes N vectors of N elements in place; in registers, since all loops are unrolled.
template <class V, int N>
static inline void transpose(V (&block)[N]) {
    V next[N];
#pragma GCC unroll 4
    for (int half = N / 2; half; half /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < N / 2; i++) {
            next[2 * i] = interleave(block[i], block[i + N / 2], false);
            next[2 * i + 1] = interleave(block[i], block[i + N / 2], true);
        }
#pragma GCC unroll 16
        for (int i = 0; i < N; i++) block[i] = next[i];
    }
}

// Calls f(std::integral_constant<int, n>) for a run-time n of 1 to MOST: loops over registers need constants.
template <int MOST, class F>
static void with_constant(int n, const F& f) {
    if constexpr (MOST > 0) {
        if (n == MOST) f(std::integral_constant<int, MOST>{});
        else with_constant<MOST - 1>(n, f);
    }
}

// Calls f(begin, size) for parts of [0, n) of nearly equal size, at most `most`.
template <class F>
static void in_parts(int64_t n, int64_t most, const F& f) {
    const int64_t parts = (n + most - 1) / most;
    for (int64_t part = 0; part < parts; part++) {
        const int64_t begin = n * part / parts;
        f(begin, int(n * (part + 1) / parts - begin));
    }
}
