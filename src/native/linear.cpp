// Linear layers with ReLU between them, all in one call: in networks this small, torch's overhead between operators
// takes as long as the operators. Features are (features, images), image innermost, as the convolution writes them.
#include "kernels.h"
#include "simd.h"

#include <algorithm>
#include <vector>

struct Matrix {
    const float* data;
    int64_t row, column;  // strides
};

constexpr int COLUMNS = REGISTERS / 8, ROWS = ACCUMULATORS / COLUMNS;  // of a tile of a product; a column is a vector

// product (rows, columns) = left (rows, depth) x right (depth, columns), both with any strides.
struct Product {
    float* product;
    int64_t rows, columns, depth;
    Matrix left, right;
    const float* bias = nullptr;    // one per row
    bool rectify = false;           // apply ReLU
    const float* passed = nullptr;  // ReLU's output, for its gradient: the product becomes 0 where this is not above 0
    bool add = false;               // add to what `product` holds

    // Packs N vectors of columns from `first` on, all rows of `right`; zeros follow the last column.
    template <int N>
    void pack(int64_t first, Vector* panel) const {
        for (int n = 0; n < N; n++) {
            const int64_t begin = first + n * LANES, lanes = std::min<int64_t>(LANES, columns - begin);
            const float* from = right.data + begin * right.column;
            int64_t k = 0;
            if (right.row == 1 && right.column != 1 && lanes == LANES)
                for (; k + LANES <= depth; k += LANES) {  // transposes LANES x LANES at a time
                    Vector block[LANES];
#pragma GCC unroll 16
                    for (int i = 0; i < LANES; i++) block[i] = load(from + i * right.column + k, 1, LANES);
                    transpose(block);
#pragma GCC unroll 16
                    for (int i = 0; i < LANES; i++) panel[(k + i) * N + n] = block[i];
                }
            for (; k < depth; k++) panel[k * N + n] = load(from + k * right.row, right.column, lanes);
        }
    }

    template <int M, int N>
    __attribute__((noinline)) void tile(int64_t row, int64_t first, const Vector* panel) const {
        Vector sums[M][N];
        const auto at = [&](int m, int n) { return product + (row + m) * columns + first + n * LANES; };
        const auto lanes = [&](int n) { return std::min<int64_t>(LANES, columns - first - n * LANES); };
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++)
                sums[m][n] = add ? load(at(m, n), 1, lanes(n)) : Vector{} + (bias ? bias[row + m] : 0);
        const float* factors = left.data + row * left.row;
        for (int64_t k = 0; k < depth; k++, factors += left.column, panel += N)
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) sums[m][n] += factors[m * left.row] * panel[n];
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) {
                Vector& value = sums[m][n];
                if (rectify) value = value <= Vector{} ? Vector{} : value;  // NaN stays
                if (passed) value = load(passed + (at(m, n) - product), 1, lanes(n)) <= Vector{} ? Vector{} : value;
                store(value, at(m, n), 1, lanes(n));
            }
    }

    void compute() const {
        const auto packed = scratch<Vector>(depth * COLUMNS);
        in_parts((columns + LANES - 1) / LANES, COLUMNS, [&](int64_t vector, int vectors) {
            with_constant<COLUMNS>(vectors, [&](auto n) {
                // Columns that fill one panel, as a slice's images do with 16 lanes, need not be packed.
                const bool is_panel = columns == n * LANES && right.row == columns && right.column == 1 &&
                                      uintptr_t(right.data) % sizeof(Vector) == 0;
                if (!is_panel) pack<n>(vector * LANES, packed.get());
                const Vector* panel = is_panel ? reinterpret_cast<const Vector*>(right.data) : packed.get();
                in_parts(rows, ROWS, [&](int64_t row, int some) {
                    with_constant<ROWS>(some, [&](auto m) { tile<m, n>(row, vector * LANES, panel); });
                });
            });
        });
    }
};

extern "C" {

void linear_forward(int64_t images, const float* features, const Layer* layers, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const Layer& layer = layers[i];
        const float* input = i ? layers[i - 1].output : features;
        Product{layer.output, layer.outputs, images, layer.inputs, {layer.weight, layer.inputs, 1}, {input, images, 1},
                layer.bias, i + 1 < n}.compute();
    }
}

// `gradient` is that of the last layer's output; of_features may be null. With `add`, the gradients of weights and biases
// are added to those of earlier images. A minibatch may be split over several calls with the same result, bit for bit, if
// every part but the last is a multiple of SLICE.
void linear_backward(int64_t images, const float* features, const Layer* layers, int64_t n, const float* gradient,
                     float* of_features, int64_t add) {
    Scratch<float> here, before;
    for (int64_t i = n - 1; i >= 0; i--) {
        const Layer& layer = layers[i];
        const float* input = i ? layers[i - 1].output : features;
        Product{layer.of_weight, layer.outputs, layer.inputs, images, {gradient, images, 1}, {input, 1, images},
                nullptr, false, nullptr, bool(add)}.compute();
        for (int64_t o = 0; o < layer.outputs; o++) {
            float of_bias = add ? layer.of_bias[o] : 0;
            for (int64_t slice = 0; slice < images; slice += SLICE) {
                Vector total{};
                for (int64_t b = slice; b < std::min(images, slice + SLICE); b += LANES)
                    total += load(gradient + o * images + b, 1, std::min<int64_t>(LANES, images - b));
                of_bias += sum(total);
            }
            layer.of_bias[o] = of_bias;
        }
        if (!i && !of_features) return;
        if (i) before = scratch<float>(images * layer.inputs);
        float* to = i ? before.get() : of_features;
        Product{to, layer.inputs, images, layer.outputs, {layer.weight, 1, layer.inputs}, {gradient, images, 1},
                nullptr, false, i ? input : nullptr}.compute();
        here.swap(before);
        gradient = here.get();
    }
}
}
