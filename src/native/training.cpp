// A block of minibatches in one call: pixels, forward pass, cross-entropy, backward pass, update. If Python called each of
// these, it would take as long as a small network's arithmetic, and push the network's data out of the cache.
#include "kernels.h"
#include "simd.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

struct Convolution {  // with bias, 2 x 2 max pooling and ReLU
    Shape shape;
    const float *weight, *bias;
    float *of_weight, *of_bias;
};

struct Network {  // convolutions, then linear layers, whose `output` is not used
    const Convolution* convolutions;
    int64_t number_of_convolutions;
    const Layer* layers;
    int64_t number_of_layers, chunk, threads;
};

struct Minibatches {
    const uint8_t* images;  // all images, (channels, size) each
    int64_t channels, size;
    const float *mean, *std;  // (channels)
    const int64_t *labels;  // of all images
    const int64_t *indices, *sizes;
    int64_t number, largest;
};

struct Parameter {
    float* value;
    const float* gradient;
    float *first, *second;  // the optimizer's state, if it has it
    int64_t size;
};

enum Rule : int64_t { KEEP, SGD, ADAGRAD, ADAM, RMSPROP };  // as in update.py, but KEEP, which changes no parameter

struct Update {
    int64_t rule, flag, number_of_parameters;
    double steps, lr, first, second, eps, weight_decay;
    const Parameter* parameters;
    const double *lrs = nullptr, *firsts = nullptr;  // one for each minibatch, or null if `lr` and `first` are those of all
};

// The formulas are those of torch.optim's documentation; `step` counts from 1.
static void update(const Update& by, double step) {
    const float lr = by.lr, decay = by.weight_decay, eps = by.eps, first = by.first, second = by.second;
    for (int64_t number = 0; number < by.number_of_parameters; number++) {
        const Parameter& parameter = by.parameters[number];
        float *__restrict w = parameter.value, *__restrict m = parameter.first, *__restrict v = parameter.second;
        const float* __restrict gradient = parameter.gradient;
        const auto each = [&](auto f) {
            if (decay == 0) for (int64_t i = 0; i < parameter.size; i++) f(i, gradient[i]);  // 0 x infinity is not 0
            else for (int64_t i = 0; i < parameter.size; i++) f(i, gradient[i] + decay * w[i]);
        };
        if (by.rule == SGD && !m) {
            each([&](int64_t i, float g) { w[i] -= lr * g; });
        } else if (by.rule == SGD) {  // momentum, dampening, whether Nesterov's
            const float rest = 1 - by.second;
            if (by.flag) each([&](int64_t i, float g) { m[i] = first * m[i] + rest * g, w[i] -= lr * (g + first * m[i]); });
            else each([&](int64_t i, float g) { m[i] = first * m[i] + rest * g, w[i] -= lr * m[i]; });
        } else if (by.rule == ADAGRAD) {  // lr_decay
            const float rate = by.lr / (1 + (step - 1) * by.first);
            each([&](int64_t i, float g) { m[i] += g * g, w[i] -= rate * (g / (std::sqrt(m[i]) + eps)); });
        } else if (by.rule == RMSPROP) {  // alpha
            const float rest = 1 - by.first;
            each([&](int64_t i, float g) { m[i] = first * m[i] + rest * g * g, w[i] -= lr * (g / (std::sqrt(m[i]) + eps)); });
        } else if (by.rule == ADAM) {  // betas, whether weight decay is decoupled (AdamW)
            // Both bias corrections are moved to the rate and to eps, which saves a division per element.
            const double root = std::sqrt(1 - std::pow(by.second, step));
            const float rate = by.lr * root / (1 - std::pow(by.first, step)), corrected_eps = by.eps * root;
            const float toward = 1 - by.first, rest = 1 - by.second, keep = 1 - by.lr * by.weight_decay;
            const auto adam = [&](int64_t i, float g) {
                m[i] += toward * (g - m[i]), v[i] = second * v[i] + rest * g * g;
                w[i] -= rate * (m[i] / (std::sqrt(v[i]) + corrected_eps));
            };
            if (by.flag) for (int64_t i = 0; i < parameter.size; i++) w[i] *= keep, adam(i, gradient[i]);
            else each(adam);
        }
    }
}

// Adds the cross-entropy of the logits (classes, n) to `total`, and the number of correct predictions to `correct`. Then
// overwrites the logits with the gradient of the mean loss over `whole` images.
static void cross_entropy(float* logits, int64_t classes, int64_t n, int64_t whole, const int64_t* indices,
                          const int64_t* labels, double& total, int64_t& correct) {
    for (int64_t b = 0; b < n; b++) {
        const int64_t label = labels[indices[b]];
        int64_t best = 0;
        for (int64_t k = 1; k < classes; k++) {
            const float value = logits[k * n + b], most = logits[best * n + b];
            if (value > most || (std::isnan(value) && !std::isnan(most))) best = k;  // as torch.argmax
        }
        const float most = logits[best * n + b], of_label = logits[label * n + b] - most;
        float sum = 0;
        for (int64_t k = 0; k < classes; k++) sum += logits[k * n + b] = std::exp(logits[k * n + b] - most);
        for (int64_t k = 0; k < classes; k++) logits[k * n + b] = (logits[k * n + b] / sum - float(k == label)) / whole;
        total += std::log(sum) - of_label;
        correct += best == label;
    }
}

static int64_t in_whole_vectors(int64_t images) { return (images + LANES - 1) / LANES * LANES; }

class Step {
public:
    const int64_t slice;  // images taken at once: if threads share convolutions, all, since a slice is too small to share

private:
    struct Maps {
        int64_t channels, height, width;
        Scratch<float> values, gradient;
        Scratch<uint8_t> winners;
    };
    const Network& network;
    const Minibatches& data;
    const size_t convolutions;
    std::vector<Maps> maps;  // the pixels, without gradient and winners; then each convolution's output
    std::vector<Scratch<float>> outputs;
    std::vector<Layer> layers;

    void add_maps(int64_t channels, int64_t height, int64_t width) {
        const int64_t size = channels * height * width * in_whole_vectors(slice);
        const int64_t more = maps.empty() ? 0 : size;
        maps.push_back({channels, height, width, scratch<float>(size), scratch<float>(more), scratch<uint8_t>(more)});
    }

    // The i-th maps of n images, or their gradient; the last are features of the linear layers, (C x H x W, n).
    Tensor tensor(size_t i, int64_t n, bool gradient = false) const {
        const auto& [channels, height, width, values, of_values, winners] = maps[i];
        float* data = (gradient ? of_values : values).get();
        if (i == convolutions) return {data, 1, {1, height * width * n, width * n, n}};
        return {data, 1, {channels * height * width, height * width * LANES, width * LANES, LANES}};
    }

    Shape shape_of(size_t i, int64_t n) const {
        Shape shape = network.convolutions[i].shape;
        shape.images = n;
        return shape;
    }

public:
    Step(const Network& network, const Minibatches& data)
        : slice(network.threads > 1 && network.number_of_convolutions ? data.largest : std::min(data.largest, SLICE)),
          network(network), data(data), convolutions(network.number_of_convolutions),
          layers(network.layers, network.layers + network.number_of_layers) {
        add_maps(data.channels, 1, data.size);  // a convolution knows height and width
        for (size_t i = 0; i < convolutions; i++) {
            const Shape& shape = network.convolutions[i].shape;
            maps.back().height = shape.height, maps.back().width = shape.width;
            add_maps(shape.filters, shape.pooled(shape.height), shape.pooled(shape.width));
        }
        for (Layer& layer : layers) {
            outputs.push_back(scratch<float>(layer.outputs * slice));
            layer.output = outputs.back().get();
        }
    }

    int64_t classes() const { return layers.back().outputs; }
    float* logits() const { return layers.back().output; }  // (classes, n)

    void forward(const int64_t* indices, int64_t n) {
        for (int64_t i = 0; i < n; i++) __builtin_prefetch(data.labels + indices[i]);  // which the loss reads
        const Tensor pixels = tensor(0, n);
        gather(data.images, data.channels, data.size, indices, n, data.mean, data.std, &pixels);
        for (size_t i = 0; i < convolutions; i++) {
            const Convolution& convolution = network.convolutions[i];
            const Shape shape = shape_of(i, n);
            const Tensor from = tensor(i, n), to = tensor(i + 1, n);
            ::forward(&shape, &from, convolution.weight, convolution.bias, &to, maps[i + 1].winners.get(), network.chunk,
                      network.threads);
        }
        linear_forward(n, maps.back().values.get(), layers.data(), layers.size());
    }

    // Computes the gradients of the n images of the last forward pass, or adds them to those of earlier slices; `logits` has
    // been overwritten with its gradient.
    void backward(int64_t n, bool add) {
        linear_backward(n, maps.back().values.get(), layers.data(), layers.size(), logits(),
                        convolutions ? maps.back().gradient.get() : nullptr, add);
        for (size_t i = convolutions; i-- > 0;) {
            const Convolution& convolution = network.convolutions[i];
            const Shape shape = shape_of(i, n);
            const Tensor from = tensor(i, n), of_output = tensor(i + 1, n, true), to = i ? tensor(i, n, true) : Tensor{};
            ::backward(&shape, &from, convolution.weight, &of_output, maps[i + 1].winners.get(), &to,
                       convolution.of_weight, convolution.of_bias, add, network.chunk, network.threads);
        }
    }
};

// Calls f(step, indices, n, i, first) after the forward pass of each slice: n images, from the first-th of minibatch i on.
// Returns false without memory.
template <class F>
static bool for_each_slice(const Network& network, const Minibatches& data, const F& f) {
    try {
        Step step(network, data);
        const int64_t* indices = data.indices;
        for (int64_t i = 0; i < data.number; indices += data.sizes[i++]) {
            int64_t first = 0;
            do {  // once without images, too, which have gradients of 0
                const int64_t n = std::min(step.slice, data.sizes[i] - first);
                step.forward(indices + first, n);
                f(step, indices + first, n, i, first);
            } while ((first += step.slice) < data.sizes[i]);
        }
        return true;
    } catch (const std::bad_alloc&) {  // which must not reach Python
        return false;
    }
}

extern "C" {

// Trains on minibatches, and writes the mean loss of each, from before its update. Returns the number of correct
// predictions, or -1 without memory.
int64_t train(const Network* network, const Minibatches* data, const Update* by, float* losses) {
    double total = 0;
    int64_t correct = 0;
    const auto learn = [&](Step& step, const int64_t* indices, int64_t n, int64_t i, int64_t first) {
        const int64_t whole = data->sizes[i];
        cross_entropy(step.logits(), step.classes(), n, whole, indices, data->labels, total, correct);
        step.backward(n, first > 0);
        if (first + n < whole) return;
        losses[i] = total / whole, total = 0;
        Update now = *by;
        if (by->lrs) now.lr = by->lrs[i];
        if (by->firsts) now.first = by->firsts[i];
        update(now, by->steps + i + 1);
    };
    return for_each_slice(*network, *data, learn) ? correct : -1;
}

// Writes the logits (classes, N) of all N images of the minibatches. Returns -1 without memory.
int64_t evaluate(const Network* network, const Minibatches* data, float* logits) {
    int64_t all = 0;
    for (int64_t i = 0; i < data->number; i++) all += data->sizes[i];
    const auto copy = [&](Step& step, const int64_t*, int64_t n, int64_t, int64_t) {
        for (int64_t k = 0; k < step.classes(); k++) std::copy_n(step.logits() + k * n, n, logits + k * all);
        logits += n;
    };
    return for_each_slice(*network, *data, copy) ? 0 : -1;
}
}
