// Compares the native code with plain loops on odd shapes of integers, where both must be equal bit for bit. Each array is
// a heap block of its exact size, so that a sanitizer detects accesses outside of it.
#include "../../src/native/convolution.cpp"
#include "../../src/native/linear.cpp"

#include <cstdio>
#include <cstdlib>
#include <random>

static std::mt19937 generator(1);

struct Array : std::vector<float> {  // (images, channels, rows, columns), in this order or images last
    int64_t sizes[4], stride[4];

    Array(int64_t images, int64_t channels, int64_t rows, int64_t columns, bool images_last, bool random)
        : std::vector<float>(images * channels * rows * columns), sizes{images, channels, rows, columns} {
        const int order[2][4] = {{0, 1, 2, 3}, {1, 2, 3, 0}};
        int64_t next = 1;
        for (int axis = 3; axis >= 0; axis--) {
            stride[order[images_last][axis]] = next;
            next *= sizes[order[images_last][axis]];
        }
        for (float& value : *this) value = random ? int(generator() % 7) - 3 : 0;
    }
    float& at(int64_t b, int64_t c, int64_t y, int64_t x) {
        return (*this)[b * stride[0] + c * stride[1] + y * stride[2] + x * stride[3]];
    }
    Tensor tensor() { return {data(), {stride[0], stride[1], stride[2], stride[3]}}; }
};

static bool check(const Shape& s, bool images_last, int64_t threads) {
    const int64_t rows = (s.height + 2 * s.padding - s.kernel + 1) / 2, columns = (s.width + 2 * s.padding - s.kernel + 1) / 2;
    const int64_t chunk = 32, taps = s.channels * s.kernel * s.kernel;
    Array images(s.images, s.channels, s.height, s.width, images_last, true), weight(s.filters, s.channels, s.kernel, s.kernel, false, true);
    Array bias(1, 1, 1, s.filters, false, true), gradient(s.images, s.filters, rows, columns, !images_last, true);
    Array output(s.images, s.filters, rows, columns, true, false), expected = output;
    Array to_images(s.images, s.channels, s.height, s.width, true, false), expected_to_images = to_images;
    Array expected_to_weight(s.filters, s.channels, s.kernel, s.kernel, false, false);
    std::vector<float> to_weight(s.filters * taps), to_bias(s.filters), expected_to_bias(s.filters);
    std::vector<uint8_t> winners(output.size());

    const Tensor in = images.tensor(), out = gradient.tensor(), nowhere{}, back = images_last ? to_images.tensor() : nowhere;
    forward(&s, &in, weight.data(), bias.data(), output.data(), winners.data(), chunk, threads);
    backward(&s, &in, weight.data(), &out, winners.data(), &back, to_weight.data(), to_bias.data(), chunk, threads);

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
                        float sum = bias[o];
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
    return output == expected && (!images_last || to_images == expected_to_images) && to_weight == expected_to_weight && to_bias == expected_to_bias;
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
        layers.push_back({a.weight.data(), a.bias.data(), a.output.data(), a.of_weight.data(), a.of_bias.data(), sizes[i], sizes[i + 1]});
    }
    const std::vector<float> features = numbers(sizes[0] * images), gradient = numbers(sizes[n] * images);
    std::vector<float> of_features(to_features ? sizes[0] * images : 0);
    linear_forward(images, features.data(), layers.data(), n);
    linear_backward(images, features.data(), layers.data(), n, gradient.data(), to_features ? of_features.data() : nullptr);

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

int main(int count, char** arguments) {
    const int trials = count > 1 ? std::atoi(arguments[1]) : 200;  // of each kind
    int wrong = 0;
    for (int trial = 0; trial < trials; trial++) {
        Shape s{};
        s.images = 1 + generator() % 70, s.channels = 1 + generator() % 5, s.filters = 1 + generator() % 35;
        s.kernel = 1 + generator() % 8, s.padding = generator() % (s.kernel + 2);
        s.height = s.kernel + 1 + generator() % 7, s.width = s.kernel + 1 + generator() % 7;
        if (!check(s, trial % 2, 1 + trial % 3)) {
            wrong++;
            std::printf("%ld images, %ld channels of %ld x %ld, %ld filters of %ld x %ld, padding %ld\n", long(s.images),
                        long(s.channels), long(s.height), long(s.width), long(s.filters), long(s.kernel), long(s.kernel), long(s.padding));
        }
    }
    for (int trial = 0; trial < trials; trial++) {
        std::vector<int64_t> sizes(2 + generator() % 3);
        for (int64_t& size : sizes) size = 1 + generator() % 40;
        const int64_t images = generator() % 70;
        if (!check_linear(images, sizes, trial % 2)) {
            wrong++;
            std::printf("%ld images, %ld linear layers from %ld features\n", long(images), long(sizes.size() - 1), long(sizes[0]));
        }
    }
    std::printf("%d lanes: %d of %d wrong\n", LANES, wrong, 2 * trials);
    return wrong != 0;
}
