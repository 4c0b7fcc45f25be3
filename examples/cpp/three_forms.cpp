// One rotation in three forms, on the worked example of the texts: "The pig chased the dog", five words, d = 8.
//
//     complex   z_j e^(i p f_j)              a pair of channels is a complex number, a position turns it
//     matrix    R(p) x                       R(p) is block-diagonal, each block [cos -sin; sin cos]
//     real      x cos + (other of pair) sin  what the library computes: no matrix is ever built
//
// with f_j = 10000^(-2j/8) = 1, 0.1, 0.01, 0.001 radians per token, and words at p = 0 ... 4. The forms agree, and the
// score of two words depends on how far they are apart and not on where the sentence stands.
#include <ropewalk/ropewalk.hpp>

#include <array>
#include <cmath>
#include <complex>
#include <cstdio>
#include <numeric>

namespace {

constexpr int kDim = 8, kPairs = kDim / 2;
constexpr std::array kWords = {"The", "pig", "chased", "the", "dog"};
constexpr int kPig = 1, kDog = 4;  // where they stand
using Embedding = std::array<double, kDim>;

/// Some embedding of the word at a place in the sentence; "The" and "the" are the same word.
Embedding embedding_of(int place) {
  constexpr std::array kVocabulary = {1, 2, 3, 1, 4};
  Embedding x{};
  for (int c = 0; c < kDim; ++c)
    x[static_cast<std::size_t>(c)] = std::sin(1.7 * kVocabulary[static_cast<std::size_t>(place)] * (c + 1));
  return x;
}

double frequency_of(int pair) { return std::pow(10000.0, -2.0 * pair / kDim); }

Embedding complex_form(const Embedding& x, double position) {
  Embedding y{};
  for (std::size_t j = 0; j < kPairs; ++j) {
    const std::complex<double> z(x[2 * j], x[2 * j + 1]);
    const auto turned = z * std::polar(1.0, position * frequency_of(static_cast<int>(j)));
    y[2 * j] = turned.real();
    y[2 * j + 1] = turned.imag();
  }
  return y;
}

using Matrix = std::array<Embedding, kDim>;

Matrix rotation_matrix(double position) {
  Matrix r{};
  for (std::size_t j = 0; j < kPairs; ++j) {
    const double angle = position * frequency_of(static_cast<int>(j));
    r[2 * j][2 * j] = r[2 * j + 1][2 * j + 1] = std::cos(angle);
    r[2 * j][2 * j + 1] = -std::sin(angle);
    r[2 * j + 1][2 * j] = std::sin(angle);
  }
  return r;
}

double dot(const Embedding& a, const Embedding& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

Embedding matrix_form(const Embedding& x, double position) {
  const Matrix r = rotation_matrix(position);
  Embedding y{};
  for (std::size_t row = 0; row < kDim; ++row) y[row] = dot(r[row], x);
  return y;
}

Embedding real_form(const ropewalk::Rotary& rotary, const Embedding& x, std::int64_t position) {
  std::array<float, kDim> head{};
  for (std::size_t c = 0; c < kDim; ++c) head[c] = static_cast<float>(x[c]);
  const ropewalk::RotaryOperand operands[] = {
      ropewalk::RotaryOperand::in_place(ropewalk::HeadsView::thd(head.data(), ropewalk::DType::kFloat32, 1, 1, kDim))};
  rotary.apply(operands, ropewalk::PositionsView::row({&position, 1}));
  Embedding y{};
  for (std::size_t c = 0; c < kDim; ++c) y[c] = static_cast<double>(head[c]);
  return y;
}

double distance(const Embedding& a, const Embedding& b) {
  double largest = 0;
  for (std::size_t c = 0; c < kDim; ++c) largest = std::fmax(largest, std::fabs(a[c] - b[c]));
  return largest;
}

}  // namespace

int main() {
  const auto rotary = ropewalk::Rotary::make(
      {.head_dim = kDim, .rotary_dim = kDim, .theta = 10000.0, .layout = ropewalk::PairLayout::kInterleaved});
  if (!rotary) {
    std::fprintf(stderr, "%s\n", rotary.error().line().c_str());
    return 1;
  }

  std::printf("R(1), the matrix that turns the word at position 1 (\"pig\"):\n");
  for (const Embedding& row : rotation_matrix(1)) {
    for (const double entry : row) std::printf(" %7.4f", entry);
    std::printf("\n");
  }

  std::printf("\nword     position   first pair, before     and turned           largest difference of the forms\n");
  double worst = 0;
  for (int p = 0; p < static_cast<int>(kWords.size()); ++p) {
    const Embedding x = embedding_of(p);
    const Embedding by_complex = complex_form(x, p), by_matrix = matrix_form(x, p), real = real_form(*rotary, x, p);
    const double difference = std::fmax(distance(by_complex, by_matrix), distance(by_complex, real));
    std::printf("%-8s %8d   (%7.4f, %7.4f)   (%7.4f, %7.4f)   %.1e\n", kWords[static_cast<std::size_t>(p)], p, x[0],
                x[1], real[0], real[1], difference);
    worst = std::fmax(worst, difference);
  }

  std::printf("\nscore of \"pig\" and \"dog\", three words apart, wherever the sentence begins:\n");
  double lowest = 1e300, highest = -1e300;
  for (const std::int64_t begin : {std::int64_t{0}, std::int64_t{1000}, std::int64_t{1000000}, std::int64_t{1} << 36}) {
    const double score =
        dot(real_form(*rotary, embedding_of(kPig), begin + kPig), real_form(*rotary, embedding_of(kDog), begin + kDog));
    std::printf("  at %11lld   %.6f\n", static_cast<long long>(begin), score);
    lowest = std::fmin(lowest, score);
    highest = std::fmax(highest, score);
  }
  std::printf("and at other distances:\n");
  for (const int apart : {1, 2, 3, 10, 100})
    std::printf(
        "  %3d apart         %.6f\n", apart,
        dot(real_form(*rotary, embedding_of(kPig), kPig), real_form(*rotary, embedding_of(kDog), kPig + apart)));

  return worst < 1e-6 && highest - lowest < 1e-5 ? 0 : 1;
}
