// Learned tables moved to other grids. torch's own figures stand in tests/python/test_encodings_vs_torch.py.
#include <ropewalk/absolute.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace ropewalk {
namespace {

std::vector<float> normal(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> variate;
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = variate(random);
  return x;
}

TableResize resize_of(std::int64_t rows, std::int64_t columns, std::int64_t new_rows, std::int64_t new_columns) {
  TableResize r;
  r.rows = rows;
  r.columns = columns;
  r.new_rows = new_rows;
  r.new_columns = new_columns;
  return r;
}

std::vector<TableResize> every_way() {
  std::vector<TableResize> ways;
  for (const auto& [rows, columns, new_rows, new_columns] :
       {std::array<std::int64_t, 4>{4, 6, 9, 5}, {7, 5, 3, 2}, {10, 1, 25, 1}, {1, 1, 3, 4}, {5, 8, 5, 8}})
    for (const Resampling resampling : {Resampling::kLinear, Resampling::kCubic})
      for (const int way : {0, 1, 2}) {
        TableResize r = resize_of(rows, columns, new_rows, new_columns);
        r.resampling = resampling;
        r.antialias = way == 1;
        if (way == 2) {
          r.row_step = static_cast<double>(rows) / (static_cast<double>(new_rows) + 0.1);
          r.column_step = static_cast<double>(columns) / (static_cast<double>(new_columns) + 0.1);
        }
        r.leading_rows = way;
        r.trailing_rows = 3 - way;
        ways.push_back(r);
      }
  return ways;
}

std::vector<float> resized(const TableResize& r, std::int64_t dim, const std::vector<float>& table) {
  std::vector<float> out(static_cast<std::size_t>(r.rows_out() * dim), NAN);
  const auto error = resize_table(r, dim, table, out);
  EXPECT_FALSE(error) << error->line();
  return out;
}

TEST(Resize, KeepsConstantsAndTheRowsAroundTheGrid) {
  for (const TableResize& r : every_way()) {
    std::vector<float> table(static_cast<std::size_t>(r.rows_in() * 2), 0.75f);
    for (std::size_t i = 0; i < 2 * static_cast<std::size_t>(r.leading_rows); ++i)
      table[i] = 5.0f + static_cast<float>(i);
    for (std::size_t i = 1; i <= 2 * static_cast<std::size_t>(r.trailing_rows); ++i)
      table[table.size() - i] = -static_cast<float>(i);
    const auto out = resized(r, 2, table);
    for (std::size_t i = 0; i < 2 * static_cast<std::size_t>(r.leading_rows); ++i) EXPECT_EQ(out[i], table[i]);
    for (std::size_t i = 1; i <= 2 * static_cast<std::size_t>(r.trailing_rows); ++i)
      EXPECT_EQ(out[out.size() - i], table[table.size() - i]);
    for (std::size_t i = 2 * static_cast<std::size_t>(r.leading_rows);
         i < out.size() - 2 * static_cast<std::size_t>(r.trailing_rows); ++i)
      EXPECT_NEAR(out[i], 0.75f, 1e-7);
  }
}

TEST(Resize, TheSameGridIsTheSameTable) {
  for (const Resampling resampling : {Resampling::kLinear, Resampling::kCubic})
    for (const bool antialias : {false, true}) {
      TableResize r = resize_of(5, 7, 5, 7);
      r.resampling = resampling;
      r.antialias = antialias;
      const auto table = normal(35 * 3, 1);
      EXPECT_EQ(resized(r, 3, table), table);
    }
}

// Halves of the way, worked out by hand: centres at -1/4, 1/4, 3/4 ... of the old grid, the border repeated.
TEST(Resize, DoublingALineIsTorchsFigures) {
  TableResize r = resize_of(3, 1, 6, 1);
  r.resampling = Resampling::kLinear;
  EXPECT_EQ(resized(r, 1, {0.0f, 4.0f, 8.0f}), (std::vector<float>{0, 1, 3, 5, 7, 8}));
  r.resampling = Resampling::kCubic;
  // At 1/4 the weights of -1, 0, 1, 2 are -0.10546875, 0.87890625, 0.26171875, -0.03515625.
  EXPECT_EQ(resized(r, 1, {0.0f, 1.0f, 0.0f})[2], 0.87890625f);
  EXPECT_EQ(resized(r, 1, {0.0f, 1.0f, 0.0f})[1], 0.26171875f);
  EXPECT_EQ(resized(r, 1, {1.0f, 0.0f, 0.0f})[1], 0.87890625f - 0.10546875f);
}

// <resize(t), g> = <t, gradient(g)> for any t and g.
TEST(Resize, TheGradientIsTheTranspose) {
  for (const TableResize& r : every_way()) {
    const auto table = normal(r.rows_in() * 3, 2), d_out = normal(r.rows_out() * 3, 3);
    const auto out = resized(r, 3, table);
    std::vector<float> d_in(table.size(), 1.0f);
    ASSERT_FALSE(add_resize_gradient(r, 3, d_out, d_in));
    double forward = 0, back = 0;
    for (std::size_t i = 0; i < out.size(); ++i) forward += double{out[i]} * double{d_out[i]};
    for (std::size_t i = 0; i < table.size(); ++i) back += double{table[i]} * (double{d_in[i]} - 1.0);
    EXPECT_NEAR(forward, back, 1e-4);
  }
}

TEST(Resize, RefusesByName) {
  std::vector<float> in(24), out(45);
  const auto line = [&](const TableResize& r, std::int64_t dim = 1) {
    const auto error = resize_table(r, dim, in, out);
    return error ? error->line() : "nothing";
  };
  const TableResize good = resize_of(4, 6, 9, 5);
  EXPECT_EQ(line(good), "nothing");
  auto r = good;
  r.new_columns = 0;
  EXPECT_EQ(line(r), "new_columns: want a number in [1, 2^20], got 0");
  r = good;
  r.leading_rows = -1;
  EXPECT_EQ(line(r), "leading_rows: want a number in [0, 2^20], got -1");
  r = good;
  r.leading_rows = 1;
  EXPECT_EQ(line(r), "table_in.size: want 25, got 24");
  r = good;
  r.new_rows = 8;
  EXPECT_EQ(line(r), "table_out.size: want 40, got 45");
  r = good;
  r.row_step = 0.0;
  EXPECT_EQ(line(r), "row_step: want a number in (0, 2^20], got 0");
  r.row_step = 0.5;
  r.antialias = true;
  EXPECT_EQ(line(r), "row_step: want none with antialias, got 0.5");
  EXPECT_EQ(line(good, 0), "dim: want a number in [1, 2^20], got 0");
}

TEST(SinusoidGrid, FamiliesPlaceTheirPatches) {
  const auto mae = *sinusoid_grid(2, 3, find_sinusoid_grid_family("mae")->grid);
  EXPECT_EQ(mae, (std::vector<double>{0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1}));
  const auto timm = *sinusoid_grid(2, 3, find_sinusoid_grid_family("timm")->grid);
  EXPECT_EQ(timm, (std::vector<double>{0, 0, 0, 1, 1, 1, 0, 1, 2, 0, 1, 2}));
  const auto detr = *sinusoid_grid(2, 3, find_sinusoid_grid_family("detr")->grid);
  EXPECT_NEAR(detr[0], 3.14159265, 1e-5);
  EXPECT_NEAR(detr[6], 2.09439510, 1e-5);
  EXPECT_EQ(find_sinusoid_grid_family("vit"), nullptr);
  EXPECT_EQ(sinusoid_grid(0, 3).error().line(), "rows: want at least 1, got 0");
  EXPECT_EQ(sinusoid_grid(1 << 20, 1 << 20).error().path, "columns");
  for (const SinusoidGridFamily& family : sinusoid_grid_families()) {
    SinusoidalSpec spec = family.spec;
    spec.dim = 32;
    EXPECT_TRUE(Sinusoidal::make(spec)) << family.name;
  }
}

}  // namespace
}  // namespace ropewalk
