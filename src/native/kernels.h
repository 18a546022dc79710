// The kernels that a training step calls, and what they work on. Python's counterparts of the structs have the same
// fields in the same order. In memory, the image is innermost: (channels, rows, columns, images), or, between convolutions,
// (images / LANES, channels, rows, columns, LANES), so that kernels read it in order.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

// Images that pass through all layers together on one core: their features stay in the second-level cache. A multiple of
// CHUNK in convolution.py, or the order of sums would depend on the number of threads.
constexpr int64_t SLICE = 64;

// Memory that is not initialised: filling it with zeros would take as long as some kernels. Tests fill it with SCRATCH.
// It is aligned to cache lines, since a vector that lies in two takes twice as long to load.
constexpr int64_t LINE = 64;  // bytes of a cache line
struct Release {
    void operator()(void* memory) const { ::operator delete[](memory, std::align_val_t(LINE)); }
};
template <class T>
using Scratch = std::unique_ptr<T[], Release>;

template <class T>
static Scratch<T> scratch(int64_t n) {
    Scratch<T> memory(static_cast<T*>(::operator new[](n * sizeof(T), std::align_val_t(LINE))));
#ifdef SCRATCH
    std::memset(static_cast<void*>(memory.get()), SCRATCH, n * sizeof(T));
#endif
    return memory;
}

struct Shape {  // of a convolution; kernels are square, the stride is 1
    int64_t images, channels, height, width, filters, kernel, padding;
    int64_t pooled(int64_t side) const { return (side + 2 * padding - kernel + 1) / 2; }  // height or width of the output
};

struct Tensor {  // (images, channels, rows, columns); strides are in floats
    float* data;
    int64_t lane, stride[4];  // image b is at b / LANES * LANES * stride[0] + b % LANES * lane
    float* at(int64_t image, int64_t channel, int64_t row, int64_t column) const {  // image is a multiple of LANES
        return data + image * stride[0] + channel * stride[1] + row * stride[2] + column * stride[3];
    }
};

struct Layer {  // linear; weight is (outputs, inputs), output (outputs, images)
    const float *weight, *bias;
    float *of_weight, *of_bias, *output;
    int64_t inputs, outputs;
};

extern "C" {
void forward(const Shape* shape, const Tensor* images, const float* weight, const float* bias, const Tensor* output,
             uint8_t* winners, int64_t chunk, int64_t threads);
void backward(const Shape* shape, const Tensor* images, const float* weight, const Tensor* gradient,
              const uint8_t* winners, const Tensor* of_images, float* of_weight, float* of_bias, int64_t add,
              int64_t chunk, int64_t threads);
void linear_forward(int64_t images, const float* features, const Layer* layers, int64_t n);
void linear_backward(int64_t images, const float* features, const Layer* layers, int64_t n, const float* gradient,
                     float* of_features, int64_t add);
void gather(const uint8_t* images, int64_t channels, int64_t size, const int64_t* indices, int64_t n,
            const float* mean, const float* std, const Tensor* to);
}
