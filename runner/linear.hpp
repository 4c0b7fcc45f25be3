#pragma once

#include <ropewalk/dtype.hpp>
#include <ropewalk/result.hpp>

#include <cstdint>
#include <functional>
#include <memory>

namespace ropewalk::runner {

/// Makes oneDNN and OpenMP use `threads` threads for what this thread starts, as long as it lives.
class ThreadScope {
 public:
  explicit ThreadScope(int threads);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

/// y = x W^T with a fixed W, by oneDNN: W is packed once into the order its kernels like best, and the primitives are
/// kept, one a number of rows. Several threads may use one at once. All calls run under the same number of threads.
class Linear {
 public:
  /// One engine and one set of primitives for all the matrices of a model; matrices of one shape share primitives.
  class Pool;
  static std::shared_ptr<Pool> make_pool(DType dtype);

  Linear() = default;

  /// `fill(first, count, to)` writes rows [first, first + count) of W, [out_features, in_features], as float32.
  /// `usual_rows` is the number of rows of x for which the packing is chosen; others work too.
  /// Errors: kUnavailable, with oneDNN's reason, if this processor has no product in the pool's dtype.
  static Result<Linear> make(const std::shared_ptr<Pool>& pool, std::int64_t out_features, std::int64_t in_features,
                             std::int64_t usual_rows,
                             const std::function<void(std::int64_t first, std::int64_t count, float* to)>& fill);

  /// y [rows, out_features] in float32, contiguous; x [rows, in_features] in the pool's dtype, contiguous. Added to
  /// what is there if `accumulate`.
  void apply(const void* x, std::int64_t rows, float* y, bool accumulate = false) const;

  std::int64_t out_features() const noexcept { return out_features_; }
  std::int64_t in_features() const noexcept { return in_features_; }

 private:
  struct Packed;
  std::shared_ptr<Pool> pool_;
  std::shared_ptr<const Packed> packed_;
  std::int64_t out_features_ = 0;
  std::int64_t in_features_ = 0;
};

}  // namespace ropewalk::runner
