// The parts of a training step at which torch's operators are slow on one core: convolution, bias, 2 x 2 max pooling
// and ReLU as one operation, forward and backward, for networks with few channels; and the gathering of a minibatch's
// pixels.
//
// An image has too few maps to fill a vector, but a batch has many images. So a slice of LANES images is stored with
// the image innermost and zeros around the borders, and every operation works on full vectors, whatever the batch size,
// padding, strides and channels are. A tap is one of the C x K x K weights of a filter.
#include "kernels.h"
#include "simd.h"

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

constexpr int FORWARD = ACCUMULATORS / 4;     // filters computed at once
constexpr int CHOICES = LANES / 4;            // selections from one vector
constexpr int INPUT = REGISTERS * 5 / 8;      // pixels computed at once in the gradient of the input
constexpr int TILE_ROWS = 5, TILE_COLUMNS = REGISTERS / 10;  // weights computed at once in their gradient
constexpr uint8_t NONE = 4;                   // winner of a 2 x 2 window: pixel 0 to 3, or NONE if ReLU zeroed it

// Selects for each image one of the same four values, from `first` on; any of them for NONE, whose gradient is 0.
static inline Vector choose(const Vector& values, int first, const Integers& which) {
#if defined(__GNUC__) && !defined(__clang__)
    return __builtin_shuffle(values, which + first);  // one instruction on processors that have it
#else
    const Integers right = (which & 1) != 0, below = (which & 2) != 0;
    const auto either = [&](int one) { return right ? Vector{} + values[one + 1] : Vector{} + values[one]; };
    return below ? either(first + 2) : either(first);
#endif
}

struct Slices : Shape {
    int64_t rows, columns, pooled_rows, pooled_columns, windows, taps;  // windows per filter
    std::vector<int64_t> offset;      // of each tap from the first, in units of vectors
    Scratch<Vector> copied;
    const Vector* input;              // (C, rows, columns)
    const float* bias;                // without it, no forward pass follows
    Scratch<float> factors;           // of the forward pass, for each part of the filters: (taps, filters of the part)

    Slices(const Shape& shape, const float* weight, const float* bias) : Shape(shape), bias(bias) {
        rows = height + 2 * padding, columns = width + 2 * padding;
        pooled_rows = pooled(height), pooled_columns = pooled(width), windows = pooled_rows * pooled_columns;
        taps = channels * kernel * kernel;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < kernel; y++)
                for (int64_t x = 0; x < kernel; x++) offset.push_back((c * rows + y) * columns + x);
        const int64_t inputs = channels * rows * columns;
        copied = scratch<Vector>(inputs);
        if (padding) std::fill_n(copied.get(), inputs, Vector{});  // `take` writes the rest
        if (!bias) return;
        factors = scratch<float>(filters * taps);
        float* to = factors.get();
        in_parts(filters, FORWARD, [&](int64_t filter, int size) {
            for (int64_t tap = 0; tap < taps; tap++)
                for (int n = 0; n < size; n++) *to++ = weight[(filter + n) * taps + tap];
        });
    }

    // Index of an image's pixel in the padded maps.
    int64_t padded(int64_t c, int64_t y, int64_t x) const { return (c * rows + y + padding) * columns + x + padding; }

    // Returns the maps where they are, if they are stored as here, or null.
    Vector* in_place(const Tensor& maps, int64_t first, int64_t lanes) const {
        const int64_t strides[] = {rows * columns * LANES, columns * LANES, LANES};
        const bool as_here = !padding && maps.lane == 1 && std::equal(strides, strides + 3, maps.stride + 1);
        float* at = maps.at(first, 0, 0, 0);
        return as_here && lanes == LANES && uintptr_t(at) % sizeof(Vector) == 0 ? reinterpret_cast<Vector*>(at) : nullptr;
    }

    void take(const Tensor& images, int64_t first, int64_t lanes) {
        if ((input = in_place(images, first, lanes))) return;
        input = copied.get();
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < height; y++)
                for (int64_t x = 0; x < width; x++)
                    copied[padded(c, y, x)] = load(images.at(first, c, y, x), images.lane, lanes);
    }

    // Computes N filters from `filter` on, all four pixels of a window at a time: an accumulator per pixel and filter.
    template <int N>
    __attribute__((noinline)) void forward(int64_t filter, int64_t first, int64_t lanes, const Tensor& output, uint8_t* winners) const {
        winners += (first * filters + filter * LANES) * windows;
        for (int64_t y = 0; y < pooled_rows; y++)
            for (int64_t x = 0; x < pooled_columns; x++, winners += LANES) {
                const Vector* at = &input[2 * y * columns + 2 * x];
                const float* weights = &factors[filter * taps];
                Vector sums[4][N];
                for (int pixel = 0; pixel < 4; pixel++)
                    for (int n = 0; n < N; n++) sums[pixel][n] = Vector{} + bias[filter + n];
                for (int64_t tap = 0; tap < taps; tap++, weights += N)
                    for (int pixel = 0; pixel < 4; pixel++) {
                        const Vector in = at[offset[tap] + pixel / 2 * columns + pixel % 2];
                        for (int n = 0; n < N; n++) sums[pixel][n] += in * weights[n];
                    }
                Vector best[N];
                Bytes winner[N];
                for (int n = 0; n < N; n++) {
                    const auto beats = [&](const Vector& one, const Vector& other) {
                        return (one > other) | (one != one);  // NaN wins, as in torch
                    };
                    const Integers right = beats(sums[1][n], sums[0][n]), right_below = beats(sums[3][n], sums[2][n]);
                    const Vector above = right ? sums[1][n] : sums[0][n], beneath = right_below ? sums[3][n] : sums[2][n];
                    const Integers below = beats(beneath, above);
                    best[n] = below ? beneath : above;
                    const Integers negative = best[n] <= Vector{};
                    // A comparison is -1 where it is true.
                    winner[n] = narrowed(negative ? Integers{} + NONE : below ? 2 - right_below : -right);
                    best[n] = negative ? Vector{} : best[n];
                }
                for (int n = 0; n < N; n++) {
                    store(best[n], output.at(first, filter + n, y, x), output.lane, lanes);
                    std::memcpy(winners + n * windows * LANES, &winner[n], LANES);
                }
            }
    }
};

// Only the winner of a window has a gradient, and it differs between images. Instead of computing four pixels, three of
// them zero, each image's inputs or weights are selected by its winner.
struct Gradients : Slices {
    int64_t patch;                    // inputs of a window in a channel, (K + 1) x (K + 1)
    int64_t of_patch = 0;             // vectors of choices for a patch
    Scratch<Vector> gradient, sums;   // (O, windows), of the winners; (C, rows, columns)
    Vector* of_input;                 // (C, rows, columns)
    Scratch<Integers> winner;         // (O, windows)
    std::vector<Vector> of_weight;    // (O, C, K, K)
    std::vector<Vector> of_bias;      // (O)
    Scratch<Vector> choices;          // (C, O, of_patch): weights between each input and the four pixels of a window

    static int64_t vectors(int64_t inputs) { return (inputs + CHOICES - 1) / CHOICES; }  // of their choices

    Gradients(const Shape& shape, const float* weight) : Slices(shape, weight, nullptr) {
        patch = (kernel + 1) * (kernel + 1);
        gradient = scratch<Vector>(filters * windows), winner = scratch<Integers>(filters * windows);
        sums = scratch<Vector>(channels * rows * columns);
        of_weight.resize(filters * taps), of_bias.resize(filters);
        if (!weight) return;          // the gradient of the input is not needed
        std::vector<int64_t> places;  // of each input's choices
        in_parts(patch, INPUT, [&](int64_t, int size) {
            for (int n = 0; n < size; n++) places.push_back(of_patch * LANES + 4 * n);
            of_patch += vectors(size);
        });
        choices = scratch<Vector>(channels * filters * of_patch);
        std::fill_n(choices.get(), channels * filters * of_patch, Vector{});
        for (int64_t filter = 0; filter < filters; filter++)
            for (int64_t c = 0; c < channels; c++) {
                float* to = reinterpret_cast<float*>(&choices[(c * filters + filter) * of_patch]);
                for (int64_t y = 0; y < kernel; y++)
                    for (int64_t x = 0; x < kernel; x++, weight++)
                        for (int64_t pixel = 0; pixel < 4; pixel++)
                            to[places[(y + pixel / 2) * (kernel + 1) + x + pixel % 2] + pixel] = *weight;
            }
    }

    void unpool(const Tensor& from, const uint8_t* winners, int64_t first, int64_t lanes) {
        int64_t place = 0;
        winners += first * filters * windows;
        for (int64_t filter = 0; filter < filters; filter++) {
            Vector sum = of_bias[filter];
            for (int64_t y = 0; y < pooled_rows; y++)
                for (int64_t x = 0; x < pooled_columns; x++, place++) {
                    const Vector value = load(from.at(first, filter, y, x), from.lane, lanes);
                    Bytes bytes;
                    std::memcpy(&bytes, winners + place * LANES, LANES);
                    winner[place] = widened(bytes);
                    gradient[place] = winner[place] < NONE ? value : Vector{};
                    sum += gradient[place];
                }
            of_bias[filter] = sum;
        }
    }

    // Adds to the gradient of R x S weights from (j, i) on: the winners' inputs are selected by column, then by row.
    template <int R, int S>
    __attribute__((noinline)) void add_to_weight(int64_t filter, int64_t c, int64_t j, int64_t i) {
        Vector* to = &of_weight[((filter * channels + c) * kernel + j) * kernel + i];
        Vector sums[R][S];
        for (int r = 0; r < R; r++)
            for (int s = 0; s < S; s++) sums[r][s] = to[r * kernel + s];
        for (int64_t y = 0; y < pooled_rows; y++)
            for (int64_t x = 0; x < pooled_columns; x++) {
                const int64_t place = filter * windows + y * pooled_columns + x;
                const Integers right = (winner[place] & 1) != 0, below = (winner[place] & 2) != 0;
                const Vector factor = gradient[place];
                const Vector* in = &input[(c * rows + 2 * y + j) * columns + 2 * x + i];
                Vector above[S];
                for (int s = 0; s < S; s++) above[s] = right ? in[s + 1] : in[s];
                for (int r = 0; r < R; r++) {
                    in += columns;
                    for (int s = 0; s < S; s++) {
                        const Vector next = right ? in[s + 1] : in[s];
                        sums[r][s] += factor * (below ? next : above[s]);
                        above[s] = next;
                    }
                }
            }
        for (int r = 0; r < R; r++)
            for (int s = 0; s < S; s++) to[r * kernel + s] = sums[r][s];
    }

    // Adds to the gradient of N inputs of each window's patch, from the `begin`-th on, over all filters. Their choices are
    // from the `first`-th on.
    template <int N>
    __attribute__((noinline)) void add_to_input(int64_t c, int64_t begin, int64_t first) {
        int64_t offsets[N];
        for (int n = 0; n < N; n++) offsets[n] = (begin + n) / (kernel + 1) * columns + (begin + n) % (kernel + 1);
        for (int64_t y = 0; y < pooled_rows; y++)
            for (int64_t x = 0; x < pooled_columns; x++) {
                Vector* to = &of_input[(c * rows + 2 * y) * columns + 2 * x];
                Vector sums[N];
#pragma GCC unroll 32
                for (int n = 0; n < N; n++) sums[n] = to[offsets[n]];
                for (int64_t filter = 0; filter < filters; filter++) {
                    const int64_t place = filter * windows + y * pooled_columns + x;
                    const Vector* among = &choices[(c * filters + filter) * of_patch + first];
                    const Vector factor = gradient[place];
                    const Integers which = winner[place];
#pragma GCC unroll 32
                    for (int n = 0; n < N; n++) sums[n] += factor * choose(among[n / CHOICES], n % CHOICES * 4, which);
                }
#pragma GCC unroll 32
                for (int n = 0; n < N; n++) to[offsets[n]] = sums[n];
            }
    }

    void differentiate(const Tensor& from, const uint8_t* winners, const Tensor& images, int64_t first, int64_t lanes) {
        unpool(from, winners, first, lanes);
        for (int64_t c = 0; c < channels; c++)  // outside, since a channel stays in the first-level cache
            for (int64_t filter = 0; filter < filters; filter++)
                in_parts(kernel, TILE_ROWS, [&](int64_t j, int height) {
                    in_parts(kernel, TILE_COLUMNS, [&](int64_t i, int width) {
                        with_constant<TILE_ROWS>(height, [&](auto r) {
                            with_constant<TILE_COLUMNS>(width, [&](auto s) { add_to_weight<r, s>(filter, c, j, i); });
                        });
                    });
                });
        if (!images.data) return;
        Vector* const there = in_place(images, first, lanes);
        of_input = there ? there : sums.get();
        std::fill_n(of_input, channels * rows * columns, Vector{});
        for (int64_t c = 0; c < channels; c++) {
            int64_t first_choice = 0;
            in_parts(patch, INPUT, [&](int64_t begin, int size) {
                with_constant<INPUT>(size, [&](auto n) { add_to_input<n>(c, begin, first_choice); });
                first_choice += vectors(size);
            });
        }
        if (there) return;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t y = 0; y < height; y++)
                for (int64_t x = 0; x < width; x++)
                    store(of_input[padded(c, y, x)], images.at(first, c, y, x), images.lane, lanes);
    }

    // Writes the gradients of a chunk of images and clears the sums for the next.
    void sum_up(float* to_weight, float* to_bias) {
        for (Vector& each : of_weight) *to_weight++ = sum(each), each = Vector{};
        for (Vector& each : of_bias) *to_bias++ = sum(each), each = Vector{};
    }
};

// Threads that share a call's work. The calls of a step follow each other closely, so idle threads poll for a while
// before they sleep.
class Crew {
    static constexpr int LOOKS = 20000;
    std::vector<std::thread> others;
    std::function<void(int64_t)> work;
    std::fenv_t arithmetic;  // the caller's floating-point mode, such as flushing of denormals
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
        } catch (const std::system_error&) {  // no more threads available: work with those started
        }
    }
    int64_t size() const { return int64_t(others.size()) + 1; }
    // Calls f(part) once per thread, including the calling one, and waits for all.
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

// Calls f(begin, end) for parts of the images; all parts except the last are whole chunks.
static void in_chunks(int64_t images, int64_t chunk, int64_t threads, const std::function<void(int64_t, int64_t)>& f) {
    const int64_t chunks = (images + chunk - 1) / chunk;
    threads = std::min(threads, chunks);
    if (threads < 2) return f(0, images);
    static std::mutex one_call;
    const std::lock_guard<std::mutex> lock(one_call);
    static std::vector<Crew*> crews;  // by thread count; they live as long as the process
    static pid_t process = 0;
    if (process != getpid()) crews.clear(), process = getpid();  // threads do not survive a fork
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

// Winners are (images / LANES, O, H', W', LANES), rounded up.
void forward(const Shape* shape, const Tensor* images, const float* weight, const float* bias, const Tensor* output,
             uint8_t* winners, int64_t chunk, int64_t threads) {
    in_chunks(shape->images, chunk, threads, [&](int64_t begin, int64_t end) {
        Slices slices(*shape, weight, bias);
        for (int64_t first = begin; first < end; first += LANES) {
            const int64_t lanes = std::min<int64_t>(LANES, end - first);
            slices.take(*images, first, lanes);
            in_parts(shape->filters, FORWARD, [&](int64_t filter, int size) {
                with_constant<FORWARD>(size, [&](auto n) { slices.forward<n>(filter, first, lanes, *output, winners); });
            });
        }
    });
}

// The gradients of weight and bias are summed by chunk, so that they do not depend on the number of threads. With `add`
// they are added to those of earlier images.
void backward(const Shape* shape, const Tensor* images, const float* weight, const Tensor* gradient,
              const uint8_t* winners, const Tensor* of_images, float* of_weight, float* of_bias, int64_t add,
              int64_t chunk, int64_t threads) {
    const int64_t o = shape->filters, weights = o * shape->channels * shape->kernel * shape->kernel;
    const int64_t chunks = (shape->images + chunk - 1) / chunk;
    std::vector<float> chunk_weight(chunks * weights), chunk_bias(chunks * o);
    in_chunks(shape->images, chunk, threads, [&](int64_t begin, int64_t end) {
        Gradients slices(*shape, of_images->data ? weight : nullptr);
        for (int64_t first = begin; first < end; first += LANES) {
            const int64_t lanes = std::min<int64_t>(LANES, end - first);
            slices.take(*images, first, lanes);
            slices.differentiate(*gradient, winners, *of_images, first, lanes);
            if (first + LANES >= end || (first + LANES) % chunk == 0)
                slices.sum_up(&chunk_weight[first / chunk * weights], &chunk_bias[first / chunk * o]);
        }
    });
    if (!add) std::fill_n(of_weight, weights, 0.f), std::fill_n(of_bias, o, 0.f);
    for (int64_t part = 0; part < chunks; part++) {
        for (int64_t i = 0; i < weights; i++) of_weight[i] += chunk_weight[part * weights + i];
        for (int64_t i = 0; i < o; i++) of_bias[i] += chunk_bias[part * o + i];
    }
}

// Divides with the rounding of a division, unless the remainder underflows. With fused multiply-add, this takes less time
// than a division (Markstein 1990).
struct Divisor {
    float divisor, inverse = 1 / divisor;
    Vector operator()(const Vector& dividend) const {
#if defined(__FMA__) || defined(__aarch64__)
        const Vector near = dividend * inverse;
        return near + (dividend - near * divisor) * inverse;
#else
        return dividend / divisor;
#endif
    }
};

// Writes (byte / 255 - mean) / std of the selected images' pixels, image innermost as for the convolution; size is pixels per
// channel, and each channel has its mean and std.
void gather(const uint8_t* images, int64_t channels, int64_t size, const int64_t* indices, int64_t n, const float* mean,
            const float* std, const Tensor* to) {
    typedef uint8_t Pixels __attribute__((vector_size(16)));
    constexpr int64_t TOGETHER = sizeof(Pixels);  // images, and their pixels
    const int64_t bytes = channels * size, lane = to->lane;
    const Divisor white{255};
    for (int64_t first = 0; first < n; first += TOGETHER) {
        const int64_t together = std::min(TOGETHER, n - first), next = std::min(TOGETHER, n - first - together);
        const uint8_t* image[TOGETHER];
        for (int64_t i = 0; i < TOGETHER; i++) image[i] = images + indices[first + std::min(i, together - 1)] * bytes;
        for (int64_t pixel = 0, line = 0; pixel < bytes; line += LINE) {
            const int64_t channel = pixel / size, end = std::min(pixel + TOGETHER, (channel + 1) * size);
            const float shift = mean[channel];
            const Divisor scale{std[channel]};
            if (line < bytes)
                for (int64_t i = 0; i < next; i++) __builtin_prefetch(images + indices[first + together + i] * bytes + line);
            Pixels block[TOGETHER];
            for (int64_t i = 0; i < TOGETHER; i++) {
                if (pixel + TOGETHER > bytes) block[i] = Pixels{}, std::memcpy(&block[i], image[i] + pixel, end - pixel);
                else std::memcpy(&block[i], image[i] + pixel, sizeof(Pixels));
            }
            transpose(block);
            for (const Pixels* each = block; pixel < end; pixel++, each++) {
                float* place = to->at(first, 0, 0, pixel);
                for (int64_t i = 0; i < together; i += LANES, place += LANES * to->stride[0]) {
                    Bytes some;
                    std::memcpy(&some, reinterpret_cast<const uint8_t*>(each) + i, sizeof some);
                    const Vector value = white(__builtin_convertvector(widened(some), Vector)) - shift;
                    store(scale(value), place, lane, std::min<int64_t>(LANES, together - i));
                }
            }
        }
    }
}
}
