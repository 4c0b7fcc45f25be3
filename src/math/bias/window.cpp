// Tables of displacements in a window: Swin's, BEiT's, and the one that Swin v2's network makes.
#include "math/bias/kinds.hpp"
#include "math/real.hpp"

namespace ropewalk::math {
namespace {

double sigmoid(double x) noexcept { return 1.0 / (1.0 + fast_exp(-x)); }

// sign(u) log2(|u| + 1) / log2(8)
double compressed(double u) noexcept {
  const double log = fast_log1p(std::abs(u)) / (3.0 * kLn2.hi);
  return u < 0.0 ? -log : log;
}

}  // namespace

Window::Window(const WindowBias& options)
    : heads_(index(options.heads)),
      rows_(options.rows),
      columns_(options.columns),
      class_token_(options.class_token),
      table_(options.table) {}

Window::Window(const LogCpbBias& options)
    : heads_(index(options.heads)), rows_(options.rows), columns_(options.columns) {
  const std::size_t width = index(options.width);
  Network network{width,
                  {options.w1.begin(), options.w1.end()},
                  {options.b1.begin(), options.b1.end()},
                  {options.w2.begin(), options.w2.end()},
                  {}};
  // The displacement of a whole window counts as 8.
  const auto unit = [](int pretrained, std::int64_t side) {
    const std::int64_t whole = pretrained > 0 ? pretrained : side;
    return whole > 1 ? 8.0 / static_cast<double>(whole - 1) : 8.0;
  };
  const double row_unit = unit(options.pretrained_rows, rows_),
               column_unit = unit(options.pretrained_columns, columns_);
  for (std::int64_t down = 1 - rows_; down < rows_; ++down)
    for (std::int64_t right = 1 - columns_; right < columns_; ++right) {
      const double y = compressed(static_cast<double>(down) * row_unit);
      const double x = compressed(static_cast<double>(right) * column_unit);
      network.inputs.insert(network.inputs.end(), {y, x});
      std::vector<double> sums(heads_);
      for (std::size_t k = 0; k < width; ++k) {
        const double hidden = network.w1[2 * k] * y + network.w1[2 * k + 1] * x + network.b1[k];
        if (hidden > 0.0)
          for (std::size_t h = 0; h < heads_; ++h) sums[h] += network.w2[h * width + k] * hidden;
      }
      for (const double sum : sums) table_.push_back(static_cast<float>(16.0 * sigmoid(sum)));
    }
  network_ = std::move(network);
}

void Window::propagate(std::span<const double> d_table, std::span<double> out) const {
  if (!network_) {
    for (std::size_t i = 0; i < d_table.size(); ++i) out[i] += d_table[i];
    return;
  }
  const Network& net = *network_;
  const std::size_t width = net.width;
  const std::span<double> d_w1 = out.first(2 * width), d_b1 = out.subspan(2 * width, width),
                          d_w2 = out.subspan(3 * width);
  std::vector<double> hidden(width), sums(heads_);
  for (std::size_t row = 0; row * heads_ < d_table.size(); ++row) {
    const std::span<const double> d = d_table.subspan(row * heads_, heads_);
    if (std::all_of(d.begin(), d.end(), [](double x) { return x == 0.0; })) continue;
    const double y = net.inputs[2 * row], x = net.inputs[2 * row + 1];
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::size_t k = 0; k < width; ++k) {
      hidden[k] = std::max(net.w1[2 * k] * y + net.w1[2 * k + 1] * x + net.b1[k], 0.0);
      for (std::size_t h = 0; h < heads_; ++h) sums[h] += net.w2[h * width + k] * hidden[k];
    }
    for (std::size_t h = 0; h < heads_; ++h) {
      const double share = sigmoid(sums[h]), d_sum = 16.0 * share * (1.0 - share) * d[h];
      for (std::size_t k = 0; k < width; ++k) {
        if (!(hidden[k] > 0.0)) continue;
        d_w2[h * width + k] += d_sum * hidden[k];
        const double d_hidden = d_sum * net.w2[h * width + k];
        d_w1[2 * k] += d_hidden * y;
        d_w1[2 * k + 1] += d_hidden * x;
        d_b1[k] += d_hidden;
      }
    }
  }
}

}  // namespace ropewalk::math
