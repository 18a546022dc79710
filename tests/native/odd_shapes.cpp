// Compares the native code with plain loops on odd shapes of integers, where both must be equal bit for bit. Each array is
// a heap block of its exact size, so that a sanitizer detects accesses outside of it.
#define SCRATCH 0xff  // of which floats are not numbers
#include "../../src/native/convolution.cpp"
#include "../../src/native/linear.cpp"
#include "../../src/native/training.cpp"

#include <cstdio>
#include <cstdlib>
#include <random>

static std::mt19937 generator(1);

enum Layout { IMAGES_FIRST, IMAGES_LAST, IN_VECTORS };

struct Array {  // (images, channels, rows, columns), in this order, images last, or (images / LANES, ..., LANES)
    int64_t sizes[4], size;
    Tensor tensor;
    Scratch<float> memory;

    Array(int64_t images, int64_t channels, int64_t rows, int64_t columns, Layout layout, bool random)
        : sizes{images, channels, rows, columns} {
        const int64_t lanes = layout == IN_VECTORS ? LANES : 1, outer[4] = {images, channels, rows, columns};
        const int order[2][4] = {{0, 1, 2, 3}, {1, 2, 3, 0}};
        size = lanes;
        for (int axis = 3; axis >= 0; axis--) {
            const int here = order[layout == IMAGES_LAST][axis];
            tensor.stride[here] = size;
            size *= here ? outer[here] : (images + lanes - 1) / lanes;
        }
        tensor.lane = 1;
        if (layout == IN_VECTORS) tensor.stride[0] /= LANES;
        else tensor.lane = tensor.stride[0];
        memory = scratch<float>(size);
        tensor.data = memory.get();
        each([&](float& value) { value = random ? int(generator() % 7) - 3 : 0; });
    }
    float* data() { return memory.get(); }
    float& at(int64_t b, int64_t c, int64_t y, int64_t x) {
        return tensor.at(b / LANES * LANES, c, y, x)[b % LANES * tensor.lane];
    }
    template <class F>
    void each(const F& f) {
        for (int64_t b = 0; b < sizes[0]; b++)
            for (int64_t c = 0; c < sizes[1]; c++)
                for (int64_t y = 0; y < sizes[2]; y++)
                    for (int64_t x = 0; x < sizes[3]; x++) f(at(b, c, y, x));
    }
    std::vector<float> values() {
        std::vector<float> all;
        each([&](float value) { all.push_back(value); });
        return all;
    }
};

static bool check(const Shape& s, Layout layout, int64_t threads) {
    const int64_t rows = (s.height + 2 * s.padding - s.kernel + 1) / 2, columns = (s.width + 2 * s.padding - s.kernel + 1) / 2;
    const int64_t chunk = 32, taps = s.channels * s.kernel * s.kernel;
    Array images(s.images, s.channels, s.height, s.width, layout, true), bias(1, 1, 1, s.filters, IMAGES_FIRST, true);
    Array weight(s.filters, s.channels, s.kernel, s.kernel, IMAGES_FIRST, true);
    Array gradient(s.images, s.filters, rows, columns, layout == IMAGES_FIRST ? IMAGES_LAST : layout, true);
    Array output(s.images, s.filters, rows, columns, layout, false), to_images(s.images, s.channels, s.height, s.width, layout, false);
    Array expected(s.images, s.filters, rows, columns, IMAGES_FIRST, false);
    Array expected_to_images(s.images, s.channels, s.height, s.width, IMAGES_FIRST, false);
    Array expected_to_weight(s.filters, s.channels, s.kernel, s.kernel, IMAGES_FIRST, false);
    std::vector<float> to_weight(s.filters * taps), to_bias(s.filters), expected_to_bias(s.filters);
    std::vector<uint8_t> winners(in_whole_vectors(s.images) * s.filters * rows * columns);

    const Tensor nowhere{}, &back = layout == IMAGES_FIRST ? nowhere : to_images.tensor;
    forward(&s, &images.tensor, weight.data(), bias.data(), &output.tensor, winners.data(), chunk, threads);
    backward(&s, &images.tensor, weight.data(), &gradient.tensor, winners.data(), &back, to_weight.data(), to_bias.data(), false, chunk, threads);

    for (int64_t b = 0; b < s.images; b++)
        for (int64_t o = 0; o < s.filters; o++)
            for (int64_t y = 0; y < rows; y++)
                for (int64_t x = 0; x < columns; x++) {
                    float best = 0;
                    int64_t row = 0, column = 0;
                    // Calls f(channel, row, column, weight's row, weight's column) for all taps of a pixel within the image.
                    auto each = [&](int64_t v, int64_t u, auto f) {
                        for (int64_t c = 0; c < s.channels; c++)
                            for (int64_t j = 0; j < s.kernel; j++)
                                for (int64_t i = 0; i < s.kernel; i++) {
                                    const int64_t yy = v + j - s.padding, xx = u + i - s.padding;
                                    if (yy >= 0 && yy < s.height && xx >= 0 && xx < s.width) f(c, yy, xx, j, i);
                                }
                    };
                    for (int64_t pixel = 0; pixel < 4; pixel++) {
                        const int64_t v = 2 * y + pixel / 2, u = 2 * x + pixel % 2;
                        float sum = bias.data()[o];
                        each(v, u, [&](int64_t c, int64_t yy, int64_t xx, int64_t j, int64_t i) {
                            sum += images.at(b, c, yy, xx) * weight.at(o, c, j, i);
                        });
                        if (pixel == 0 || sum > best) best = sum, row = v, column = u;
                    }
                    if (best <= 0) continue;
                    expected.at(b, o, y, x) = best;
                    const float g = gradient.at(b, o, y, x);
                    expected_to_bias[o] += g;
                    each(row, column, [&](int64_t c, int64_t yy, int64_t xx, int64_t j, int64_t i) {
                        expected_to_weight.at(o, c, j, i) += g * images.at(b, c, yy, xx);
                        expected_to_images.at(b, c, yy, xx) += g * weight.at(o, c, j, i);
                    });
                }
    return output.values() == expected.values() && (!back.data || to_images.values() == expected_to_images.values()) &&
           to_weight == expected_to_weight.values() && to_bias == expected_to_bias;
}

static std::vector<float> numbers(int64_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = int(generator() % 5) - 2;
    return values;
}

static bool check_linear(int64_t images, const std::vector<int64_t>& sizes, bool to_features) {
    const int64_t n = sizes.size() - 1;
    struct Arrays {
        std::vector<float> weight, bias, output, of_weight, of_bias;
    };
    std::vector<Arrays> arrays;
    std::vector<Layer> layers;
    for (int64_t i = 0; i < n; i++) {
        const int64_t in = sizes[i], out = sizes[i + 1];
        const std::vector<float> none(out * images, 9), unset(out * in, 9), unset_bias(out, 9);
        arrays.push_back({numbers(out * in), numbers(out), none, unset, unset_bias});
    }
    for (int64_t i = 0; i < n; i++) {
        Arrays& a = arrays[i];
        layers.push_back({a.weight.data(), a.bias.data(), a.of_weight.data(), a.of_bias.data(), a.output.data(), sizes[i], sizes[i + 1]});
    }
    const std::vector<float> features = numbers(sizes[0] * images), gradient = numbers(sizes[n] * images);
    const auto aligned = scratch<float>(features.size());
    std::copy(features.begin(), features.end(), aligned.get());
    std::vector<float> of_features(to_features ? sizes[0] * images : 0);
    linear_forward(images, aligned.get(), layers.data(), n);
    linear_backward(images, aligned.get(), layers.data(), n, gradient.data(), to_features ? of_features.data() : nullptr, false);

    bool equal = true;
    std::vector<std::vector<float>> values{features};  // each layer's input, features first
    for (int64_t i = 0; i < n; i++) {
        const Arrays& a = arrays[i];
        std::vector<float> output(sizes[i + 1] * images);
        for (int64_t o = 0; o < sizes[i + 1]; o++)
            for (int64_t b = 0; b < images; b++) {
                float total = a.bias[o];
                for (int64_t k = 0; k < sizes[i]; k++) total += a.weight[o * sizes[i] + k] * values[i][k * images + b];
                output[o * images + b] = i + 1 < n ? std::max(total, 0.f) : total;
            }
        equal = equal && output == a.output;
        values.push_back(output);
    }
    std::vector<float> back = gradient;
    for (int64_t i = n - 1; i >= 0; i--) {
        const Arrays& a = arrays[i];
        std::vector<float> of_weight(sizes[i + 1] * sizes[i]), of_bias(sizes[i + 1]), before(sizes[i] * images);
        for (int64_t o = 0; o < sizes[i + 1]; o++)
            for (int64_t b = 0; b < images; b++) {
                const float g = back[o * images + b];
                of_bias[o] += g;
                for (int64_t k = 0; k < sizes[i]; k++) {
                    of_weight[o * sizes[i] + k] += g * values[i][k * images + b];
                    if (i == 0 || values[i][k * images + b] > 0) before[k * images + b] += g * a.weight[o * sizes[i] + k];
                }
            }
        equal = equal && of_weight == a.of_weight && of_bias == a.of_bias;
        back = before;
    }
    return equal && (!to_features || back == of_features);
}

// Trains a small network for three minibatches, in one call and in one call each: both must end with the same numbers. The
// formulas are compared with torch's in test_chain.py; here a sanitizer looks on.
static bool check_training(int64_t rule, bool flag, int64_t threads) {
    const int64_t n = 5 + generator() % 300, channels = 1 + generator() % 3, side = 10 + generator() % 5, classes = 2 + generator() % 5;
    const int64_t number = generator() % 3, kernel = 3, padding = generator() % 2, hidden = 1 + generator() % 20, size = side * side;
    std::vector<Shape> shapes;
    std::vector<int64_t> counts;
    int64_t features = channels * size, depth = channels, edge = side;
    for (int64_t i = 0; i < number; i++) {
        const int64_t filters = 1 + generator() % 5;
        shapes.push_back({0, depth, edge, edge, filters, kernel, padding});
        counts.insert(counts.end(), {filters * depth * kernel * kernel, filters});
        depth = filters, edge = (edge + 2 * padding - kernel + 1) / 2, features = depth * edge * edge;
    }
    counts.insert(counts.end(), {hidden * features, hidden, classes * hidden, classes});
    std::vector<uint8_t> images(n * channels * size);
    for (uint8_t& byte : images) byte = generator() % 256;
    std::vector<int64_t> labels(n), indices(n), sizes{n / 2, n / 3, n - n / 2 - n / 3};
    for (int64_t i = 0; i < n; i++) labels[i] = generator() % classes, indices[i] = (i * 7) % n;
    const std::vector<float> mean(channels, 0.5), std(channels, 0.25);
    std::vector<std::vector<float>> weights;
    for (int64_t count : counts) {
        weights.push_back(numbers(count));
        for (float& weight : weights.back()) weight /= 16;
    }

    std::vector<std::vector<float>> results[2];
    for (int each = 0; each < 2; each++) {
        std::vector<std::vector<float>> w = weights, gradient = weights, first = weights, second = weights;
        for (auto* of_all : {&first, &second})
            for (auto& state : *of_all)
                for (float& value : state) value = std::abs(value);
        const bool stateless = rule == SGD && flag && threads == 1;
        std::vector<Parameter> parameters;
        for (size_t i = 0; i < w.size(); i++)
            parameters.push_back({w[i].data(), gradient[i].data(), stateless ? nullptr : first[i].data(), second[i].data(), counts[i]});
        std::vector<Convolution> convolutions;
        for (int64_t i = 0; i < 2 * number; i += 2)
            convolutions.push_back({shapes[i / 2], w[i].data(), w[i + 1].data(), gradient[i].data(), gradient[i + 1].data()});
        std::vector<Layer> layers;
        for (size_t i = 2 * number; i < w.size(); i += 2)
            layers.push_back({w[i].data(), w[i + 1].data(), gradient[i].data(), gradient[i + 1].data(), nullptr,
                              layers.empty() ? features : hidden, layers.empty() ? hidden : classes});
        const Network network{convolutions.data(), number, layers.data(), 2, 32, threads};
        std::vector<float> losses(3);
        int64_t correct = 0, begin = 0;
        for (int64_t call = 0; call < (each ? 3 : 1); begin += sizes[call++]) {
            const int64_t largest = each ? sizes[call] : *std::max_element(sizes.begin(), sizes.end());
            const Minibatches data{images.data(), channels, size, mean.data(), std.data(), labels.data(), indices.data() + begin, &sizes[call], each ? 1 : 3, largest};
            const Update by{rule, flag, int64_t(parameters.size()), double(call + 1), 0.01, 0.9, 0.99, 1e-8, 0.01, parameters.data()};
            correct += train(&network, &data, &by, &losses[call]);
        }
        std::vector<float> logits(classes * n);
        const Minibatches all{images.data(), channels, size, mean.data(), std.data(), labels.data(), indices.data(), &n, 1, n};
        evaluate(&network, &all, logits.data());
        losses.insert(losses.end(), logits.begin(), logits.end()), losses.push_back(correct);
        results[each] = w;
        for (const auto& more : {gradient, first, second}) results[each].insert(results[each].end(), more.begin(), more.end());
        results[each].push_back(losses);
    }
    const auto finite = [](float value) { return std::isfinite(value); };
    return results[0] == results[1] && std::all_of(results[0].back().begin(), results[0].back().end(), finite);
}

int main(int count, char** arguments) {
    const int trials = count > 1 ? std::atoi(arguments[1]) : 200;  // of each kind
    int wrong = 0;
    for (int trial = 0; trial < trials; trial++) {
        Shape s{};
        s.images = 1 + generator() % 70, s.channels = 1 + generator() % 5, s.filters = 1 + generator() % 35;
        const Layout layout = Layout(trial % 3);
        s.kernel = 1 + generator() % 8, s.padding = layout == IN_VECTORS && trial % 2 ? 0 : generator() % (s.kernel + 2);
        s.height = s.kernel + 1 + generator() % 7, s.width = s.kernel + 1 + generator() % 7;
        if (!check(s, layout, 1 + generator() % 3)) {
            wrong++;
            std::printf("%ld images, %ld channels of %ld x %ld, %ld filters of %ld x %ld, padding %ld\n", long(s.images),
                        long(s.channels), long(s.height), long(s.width), long(s.filters), long(s.kernel), long(s.kernel), long(s.padding));
        }
    }
    for (int trial = 0; trial < trials; trial++) {
        std::vector<int64_t> sizes(2 + generator() % 3);
        for (int64_t& size : sizes) size = 1 + generator() % 40;
        const int64_t images = trial % 3 ? generator() % 70 : LANES * (1 + generator() % 4);  // whole panels, too
        if (!check_linear(images, sizes, trial % 2)) {
            wrong++;
            std::printf("%ld images, %ld linear layers from %ld features\n", long(images), long(sizes.size() - 1), long(sizes[0]));
        }
    }
    for (int trial = 0; trial < trials; trial++)
        if (!check_training(trial % 5, trial / 5 % 2, 1 + trial % 3)) wrong++, std::printf("training by rule %d\n", trial % 5);
    std::printf("%d lanes: %d of %d wrong\n", LANES, wrong, 3 * trials);
    return wrong != 0;
}
