// What of a training step torch's own operators are slow at, on one core: convolution, bias, 2 x 2 max pooling and ReLU
// as one operation, forward and backward, for networks of few channels; and the gathering of a minibatch's pixels.
//
// The maps of an image are too few to fill a vector, but images are many: LANES of them, a slice, are laid out with the
// image innermost and zeros around the borders. Every operation is then one on full vectors, whatever the batch size,
// padding, strides and channels are. A tap is one of the C x K x K weights of a filter.
#include <algorithm>
#include <array>
#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));

constexpr int ACCUMULATORS = REGISTERS * 3 / 4;
constexpr int FORWARD = REGISTERS / 2;        // filters at once
constexpr int WEIGHTS = REGISTERS / 8;        // taps at once, in the gradient of the weights
constexpr int INPUT = REGISTERS / 4;          // taps at once, in the gradient of the input
constexpr uint8_t NONE = 4;                   // which pixel of a 2 x 2 window has the gradient: 0 to 3, or none

struct Shape {  // what Python passes; kernels are square, the stride is 1
    int64_t images, channels, height, width, filters, kernel, padding;
};

struct Tensor {  // of images, channels, rows, columns; strides in floats, and 1 or more images from the first
    float* data;
    int64_t stride[4];
    float* at(int64_t image, int64_t channel, int64_t row, int64_t column) const {
        return data + image * stride[0] + channel * stride[1] + row * stride[2] + column * stride[3];
    }
};

// A vector that is used several times stays in its register; compilers rather load it anew for each use, and a load costs
// as much as a multiplication.
#if defined(__aarch64__)
#define IN_REGISTER(vector) asm("" : "+w"(vector))
#else
#define IN_REGISTER(vector) asm("" : "+v"(vector))
#endif

static Vector load(const float* from, int64_t stride, int64_t lanes) {
    Vector vector{};
    if (stride == 1 && lanes == LANES)
        std::memcpy(&vector, from, sizeof vector);
    else
        for (int64_t lane = 0; lane < lanes; lane++) vector[lane] = from[lane * stride];
    return vector;
}

static void store(const Vector& vector, float* to, int64_t stride, int64_t lanes) {
    if (stride == 1 && lanes == LANES)
        std::memcpy(to, &vector, sizeof vector);
    else
        for (int64_t lane = 0; lane < lanes; lane++) to[lane * stride] = vector[lane];
}

static float sum(const Vector& vector) {
    std::array<float, LANES> part;
    std::memcpy(part.data(), &vector, sizeof vector);
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) part[lane] += part[lane + half];
    return part[0];
}

// f(std::integral_constant<int, n>) for an n known only now, of 1 to MOST: loops over registers need constants.
template <int MOST, class F>
static void with_constant(int n, const F& f) {
    if constexpr (MOST > 0) {
        if (n == MOST) f(std::integral_constant<int, MOST>{});
        else with_constant<MOST - 1>(n, f);
    }
}

// f(begin, size) for parts of 0 to n of nearly the same size, at most `most`.
template <class F>
static void in_parts(int64_t n, int64_t most, const F& f) {
    const int64_t parts = (n + most - 1) / most;
    for (int64_t part = 0; part < parts; part++) {
        const int64_t begin = n * part / parts;
        f(begin, int(n * (part + 1) / parts - begin));
    }
}

struct Slices : Shape {
    int64_t rows, columns, pooled_rows, pooled_columns, taps;
    std::vector<int64_t> offset;      // of each tap from the first, in vectors; then some into a map too many
    std::vector<Vector> input;        // (C + 1, rows, columns), of which the last is that map
    const float *weight, *bias;

    Slices(const Shape& shape, const float* weight, const float* bias) : Shape(shape), weight(weight), bias(bias) {
        rows = height + 2 * padding, columns = width + 2 * padding;
        pooled_rows = (rows - kernel + 1) / 2, pooled_columns = (columns - kernel + 1) / 2;
        taps = channels * kernel * kernel;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < kernel; y++)
                for (int64_t x = 0; x < kernel; x++) offset.push_back((c * rows + y) * columns + x);
        offset.resize(taps + INPUT, channels * rows * columns);
        input.resize((channels + 1) * rows * columns);
    }

    // Where in a padded map a pixel of an image is.
    int64_t padded(int64_t c, int64_t y, int64_t x) const { return (c * rows + y + padding) * columns + x + padding; }

    void take(const Tensor& images, int64_t first, int64_t lanes) {
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < height; y++)
                for (int64_t x = 0; x < width; x++)
                    input[padded(c, y, x)] = load(images.at(first, c, y, x), images.stride[0], lanes);
    }

    // N filters from `filter` on: P of a window's four pixels at a time, an accumulator for each pixel and filter.
    template <int N>
    __attribute__((noinline)) void forward(int64_t filter, int64_t first, int64_t lanes, float* output, uint8_t* winners) const {
        constexpr int P = 4 * N <= ACCUMULATORS ? 4 : 2 * N <= ACCUMULATORS ? 2 : 1;
        std::vector<float> weights(taps * N);
        for (int64_t tap = 0; tap < taps; tap++)
            for (int n = 0; n < N; n++) weights[tap * N + n] = weight[(filter + n) * taps + tap];
        for (int64_t y = 0; y < pooled_rows; y++)
            for (int64_t x = 0; x < pooled_columns; x++) {
                Vector window[4][N];
                for (int pixel = 0; pixel < 4; pixel += P) {
                    Vector sums[P][N];
                    const Vector* at[P];
                    for (int p = 0; p < P; p++) {
                        at[p] = &input[(2 * y + (pixel + p) / 2) * columns + 2 * x + (pixel + p) % 2];
                        for (int n = 0; n < N; n++) sums[p][n] = Vector{} + bias[filter + n];
                    }
                    for (int64_t tap = 0; tap < taps; tap++)
                        for (int p = 0; p < P; p++) {
                            const Vector in = at[p][offset[tap]];
                            for (int n = 0; n < N; n++) sums[p][n] += in * weights[tap * N + n];
                        }
                    std::memcpy(window[pixel], sums, sizeof sums);
                }
                for (int n = 0; n < N; n++) {
                    Vector best = window[0][n];
                    Integers winner{};
                    for (int pixel = 1; pixel < 4; pixel++) {
                        const Vector value = window[pixel][n];
                        const Integers better = (value > best) | (value != value);  // as torch does: NaN wins
                        best = better ? value : best;
                        winner = better ? Integers{} + pixel : winner;
                    }
                    const Integers negative = best <= Vector{};
                    const int64_t place = (((filter + n) * pooled_rows + y) * pooled_columns + x) * images + first;
                    store(negative ? Vector{} : best, output + place, 1, lanes);
                    const Bytes bytes = __builtin_convertvector(negative ? Integers{} + NONE : winner, Bytes);
                    std::memcpy(winners + place, &bytes, lanes);
                }
            }
    }
};

struct Gradients : Slices {
    std::vector<Vector> row;          // (2, 2 * pooled_columns, O): gradients before pooling, under one row of it
    std::vector<Vector> of_input;     // as `input`
    std::vector<Vector> of_weight;    // (O, taps in whole tiles)
    std::vector<Vector> of_bias;      // (O)
    std::vector<float> padded_weight; // (O, taps in whole tiles)

    Gradients(const Shape& shape, const float* weight) : Slices(shape, weight, nullptr) {
        row.resize(4 * pooled_columns * filters);
        of_input.resize(input.size());
        of_weight.resize(filters * (taps + INPUT));
        of_bias.resize(filters);
        padded_weight.resize(filters * (taps + INPUT));
        for (int64_t filter = 0; filter < filters; filter++)
            std::copy_n(weight + filter * taps, taps, &padded_weight[filter * (taps + INPUT)]);
    }

    void unpool(int64_t y, const Tensor& gradient, const uint8_t* winners, int64_t first, int64_t lanes) {
        for (int64_t filter = 0; filter < filters; filter++)
            for (int64_t x = 0; x < pooled_columns; x++) {
                const Vector value = load(gradient.at(first, filter, y, x), gradient.stride[0], lanes);
                Bytes bytes{};
                std::memcpy(&bytes, winners + ((filter * pooled_rows + y) * pooled_columns + x) * images + first, lanes);
                const Integers winner = __builtin_convertvector(bytes, Integers);
                of_bias[filter] += winner < NONE ? value : Vector{};
                for (int p = 0; p < 4; p++)
                    row[((p / 2 * 2 * pooled_columns) + 2 * x + p % 2) * filters + filter] = winner == p ? value : Vector{};
            }
    }

    // WEIGHTS taps of N filters, over the pixels under a row.
    template <int N>
    __attribute__((noinline)) void add_to_weight(int64_t filter, int64_t y) {
        for (int64_t tap = 0; tap < taps; tap += WEIGHTS) {
            Vector sums[N][WEIGHTS];
            for (int n = 0; n < N; n++)
                for (int t = 0; t < WEIGHTS; t++) sums[n][t] = of_weight[(filter + n) * (taps + INPUT) + tap + t];
            const Vector* gradient = &row[filter];
            for (int64_t half = 0; half < 2; half++) {
                const Vector* in = &input[(2 * y + half) * columns];
                for (int64_t x = 0; x < 2 * pooled_columns; x++, in++, gradient += filters) {
                    Vector ins[WEIGHTS];
                    for (int t = 0; t < WEIGHTS; t++) {
                        ins[t] = in[offset[tap + t]];
                        IN_REGISTER(ins[t]);
                    }
                    for (int n = 0; n < N; n++) {
                        Vector factor = gradient[n];
                        IN_REGISTER(factor);
                        for (int t = 0; t < WEIGHTS; t++) sums[n][t] += factor * ins[t];
                    }
                }
            }
            for (int n = 0; n < N; n++)
                for (int t = 0; t < WEIGHTS; t++) of_weight[(filter + n) * (taps + INPUT) + tap + t] = sums[n][t];
        }
    }

    // Through all taps of N filters, from the pixels under a row.
    template <int N>
    __attribute__((noinline)) void add_to_input(int64_t filter, int64_t y) {
        const Vector* from = &row[filter];
        for (int64_t half = 0; half < 2; half++) {
            Vector* in = &of_input[(2 * y + half) * columns];
            for (int64_t x = 0; x < 2 * pooled_columns; x++, in++, from += filters) {
                Vector gradient[N];
                for (int n = 0; n < N; n++) gradient[n] = from[n];
                for (int64_t tap = 0; tap < taps; tap += INPUT) {
                    Vector sums[INPUT];
                    for (int t = 0; t < INPUT; t++) sums[t] = in[offset[tap + t]];
                    for (int n = 0; n < N; n++)
                        for (int t = 0; t < INPUT; t++)
                            sums[t] += gradient[n] * padded_weight[(filter + n) * (taps + INPUT) + tap + t];
                    for (int t = 0; t < INPUT; t++) in[offset[tap + t]] = sums[t];
                }
            }
        }
    }

    void differentiate(const Tensor& gradient, const uint8_t* winners, const Tensor& images, int64_t first, int64_t lanes) {
        std::fill(of_input.begin(), of_input.end(), Vector{});
        for (int64_t y = 0; y < pooled_rows; y++) {
            unpool(y, gradient, winners, first, lanes);
            in_parts(filters, ACCUMULATORS / WEIGHTS, [&](int64_t filter, int size) {
                with_constant<ACCUMULATORS / WEIGHTS>(size, [&](auto n) { add_to_weight<n>(filter, y); });
            });
            if (images.data)
                in_parts(filters, FORWARD, [&](int64_t filter, int size) {
                    with_constant<FORWARD>(size, [&](auto n) { add_to_input<n>(filter, y); });
                });
        }
        if (images.data)
            for (int64_t c = 0; c < channels; c++)
                for (int64_t y = 0; y < height; y++)
                    for (int64_t x = 0; x < width; x++)
                        store(of_input[padded(c, y, x)], images.at(first, c, y, x), images.stride[0], lanes);
    }

    // What a chunk of images has come to; then begin the next.
    void sum_up(float* to_weight, float* to_bias) {
        for (int64_t filter = 0; filter < filters; filter++) {
            for (int64_t tap = 0; tap < taps; tap++)
                to_weight[filter * taps + tap] = sum(of_weight[filter * (taps + INPUT) + tap]);
            to_bias[filter] = sum(of_bias[filter]);
        }
        std::fill(of_weight.begin(), of_weight.end(), Vector{});
        std::fill(of_bias.begin(), of_bias.end(), Vector{});
    }
};

// Threads that share a call's work. A step's calls follow each other closely, so they look out for the next one for a
// while before they sleep.
class Crew {
    static constexpr int LOOKS = 20000;
    std::vector<std::thread> others;
    std::function<void(int64_t)> work;
    std::fenv_t arithmetic;  // of the caller: how it treats denormal numbers
    std::atomic<int64_t> calls{0}, done{0};
    std::mutex mutex;
    std::condition_variable called;

    void serve(int64_t part) {
        for (int64_t seen = 0;; seen++) {
            for (int look = 0; look < LOOKS && calls == seen; look++) std::this_thread::yield();
            if (calls == seen) {
                std::unique_lock<std::mutex> lock(mutex);
                called.wait(lock, [&] { return calls != seen; });
            }
            std::fesetenv(&arithmetic);
            work(part);
            done++;
        }
    }

public:
    explicit Crew(int64_t number) {
        try {
            for (int64_t part = 1; part < number; part++) others.emplace_back([this, part] { serve(part); });
        } catch (const std::system_error&) {  // the system gives no more; those there are will do
        }
    }
    int64_t size() const { return int64_t(others.size()) + 1; }
    // f(part) for as many parts as there are threads, this one included.
    void share(const std::function<void(int64_t)>& f) {
        work = f, done = 0;
        std::fegetenv(&arithmetic);
        {
            const std::lock_guard<std::mutex> lock(mutex);
            calls++;
        }
        called.notify_all();
        f(0);
        while (done != size() - 1) std::this_thread::yield();
    }
};

// f(begin, end) for parts of the images, of whole chunks but for the last.
static void in_chunks(int64_t images, int64_t chunk, int64_t threads, const std::function<void(int64_t, int64_t)>& f) {
    const int64_t chunks = (images + chunk - 1) / chunk;
    threads = std::min(threads, chunks);
    if (threads < 2) return f(0, images);
    static std::mutex one_call;
    const std::lock_guard<std::mutex> lock(one_call);
    static std::vector<Crew*> crews;  // by their number; they end with the process
    static pid_t process = 0;
    if (process != getpid()) crews.clear(), process = getpid();  // a fork has no threads but its own
    if (int64_t(crews.size()) <= threads) crews.resize(threads + 1);
    if (!crews[threads]) crews[threads] = new Crew(threads);
    const int64_t parts = crews[threads]->size();
    const auto cut = [&](int64_t part) { return std::min(images, chunks * part / parts * chunk); };
    crews[threads]->share([&](int64_t part) {
        if (cut(part) < cut(part + 1)) f(cut(part), cut(part + 1));
    });
}

extern "C" {

int lanes() { return LANES; }

void forward(const Shape* shape, const Tensor* images, const float* weight, const float* bias, float* output,
             uint8_t* winners, int64_t chunk, int64_t threads) {
    in_chunks(shape->images, chunk, threads, [&](int64_t begin, int64_t end) {
        Slices slices(*shape, weight, bias);
        for (int64_t first = begin; first < end; first += LANES) {
            const int64_t lanes = std::min<int64_t>(LANES, end - first);
            slices.take(*images, first, lanes);
            in_parts(shape->filters, FORWARD, [&](int64_t filter, int size) {
                with_constant<FORWARD>(size, [&](auto n) { slices.forward<n>(filter, first, lanes, output, winners); });
            });
        }
    });
}

// Gradients of weight and bias are sums over a chunk's images: (chunks, O, C, K, K) and (chunks, O).
void backward(const Shape* shape, const Tensor* images, const float* weight, const Tensor* gradient,
              const uint8_t* winners, const Tensor* of_images, float* of_weight, float* of_bias, int64_t chunk,
              int64_t threads) {
    in_chunks(shape->images, chunk, threads, [&](int64_t begin, int64_t end) {
        Gradients slices(*shape, weight);
        for (int64_t first = begin; first < end; first += LANES) {
            const int64_t lanes = std::min<int64_t>(LANES, end - first), o = shape->filters;
            slices.take(*images, first, lanes);
            slices.differentiate(*gradient, winners, *of_images, first, lanes);
            if (first + LANES >= end || (first + LANES) % chunk == 0)
                slices.sum_up(of_weight + first / chunk * o * slices.taps, of_bias + first / chunk * o);
        }
    });
}

// The values of the pixels of some images, one after the other; size is an image's, in pixels.
void gather(const uint8_t* images, int64_t size, const int64_t* indices, int64_t n, const float* values, float* to) {
    constexpr int64_t AHEAD = 4, LINE = 64;  // images; bytes of a cache line
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            for (int64_t byte = 0; byte < size; byte += LINE) __builtin_prefetch(images + indices[i + AHEAD] * size + byte);
        const uint8_t* image = images + indices[i] * size;
        for (int64_t pixel = 0; pixel < size; pixel++) *to++ = values[image[pixel]];
    }
}
}
