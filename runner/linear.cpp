#include "runner/linear.hpp"

#include <omp.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include <dnnl.hpp>

namespace ropewalk::runner {

ThreadScope::ThreadScope(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
ThreadScope::~ThreadScope() { omp_set_num_threads(before_); }

class Linear::Pool {
 public:
  explicit Pool(DType dtype)
      : type(dtype == DType::kFloat32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16),
        engine(dnnl::engine::kind::cpu, 0),
        stream(engine) {}

  // out_features, in_features, rows, accumulate
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, bool>;

  const dnnl::memory::data_type type;
  const dnnl::engine engine;
  dnnl::stream stream;

  dnnl::matmul::primitive_desc describe(std::int64_t out, std::int64_t in, std::int64_t rows, bool accumulate,
                                        const dnnl::memory::desc& weights) const {
    using Tag = dnnl::memory::format_tag;
    dnnl::post_ops after;
    if (accumulate) after.append_sum(1.0f);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(after);
    const dnnl::matmul::desc shape({{rows, in}, type, Tag::ab}, weights,
                                   {{rows, out}, dnnl::memory::data_type::f32, Tag::ab});
    return {shape, attributes, engine};
  }

  // All matrices of one shape are packed alike: as oneDNN wants it for the first number of rows asked for.
  dnnl::memory::desc packing(std::int64_t out, std::int64_t in, std::int64_t usual_rows) {
    const std::lock_guard lock(mutex_);
    const auto [slot, is_new] = packings_.try_emplace({out, in});
    if (is_new)
      slot->second =
          describe(out, in, usual_rows, false, {{in, out}, type, dnnl::memory::format_tag::any}).weights_desc();
    return slot->second;
  }

  dnnl::matmul primitive(std::int64_t out, std::int64_t in, std::int64_t rows, bool accumulate,
                         const dnnl::memory::desc& weights) {
    const std::lock_guard lock(mutex_);
    const auto [slot, is_new] = primitives_.try_emplace({out, in, rows, accumulate});
    if (is_new) slot->second = dnnl::matmul(describe(out, in, rows, accumulate, weights));
    return slot->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<std::int64_t, std::int64_t>, dnnl::memory::desc> packings_;
  std::map<Key, dnnl::matmul> primitives_;
};

struct Linear::Packed {
  dnnl::memory::desc layout;
  dnnl::memory weights;
};

std::shared_ptr<Linear::Pool> Linear::make_pool(DType dtype) { return std::make_shared<Pool>(dtype); }

Result<Linear> Linear::make(const std::shared_ptr<Pool>& pool, std::int64_t out_features, std::int64_t in_features,
                            std::int64_t usual_rows,
                            const std::function<void(std::int64_t first, std::int64_t count, float* to)>& fill) {
  try {
    auto packed = std::make_shared<Packed>();
    packed->layout = pool->packing(out_features, in_features, usual_rows);
    packed->weights = dnnl::memory(packed->layout, pool->engine);
    std::vector<float> plain(static_cast<std::size_t>(out_features * in_features));
    fill(0, out_features, plain.data());
    // W as it lies, read as its transpose.
    dnnl::memory source({{in_features, out_features}, dnnl::memory::data_type::f32, {1, in_features}}, pool->engine,
                        plain.data());
    dnnl::reorder(source, packed->weights).execute(pool->stream, source, packed->weights);
    pool->stream.wait();
    Linear linear;
    linear.pool_ = pool;
    linear.packed_ = std::move(packed);
    linear.out_features_ = out_features;
    linear.in_features_ = in_features;
    return linear;
  } catch (const dnnl::error& error) {
    return Error{Code::kUnavailable, "--dtype",
                 std::string("want a product that oneDNN has on this processor, got \"") + error.what() + "\""};
  }
}

void Linear::apply(const void* x, std::int64_t rows, float* y, bool accumulate) const {
  if (rows == 0) return;
  using Tag = dnnl::memory::format_tag;
  const dnnl::matmul product = pool_->primitive(out_features_, in_features_, rows, accumulate, packed_->layout);
  const dnnl::memory from({{rows, in_features_}, pool_->type, Tag::ab}, pool_->engine, const_cast<void*>(x));
  const dnnl::memory to({{rows, out_features_}, dnnl::memory::data_type::f32, Tag::ab}, pool_->engine, y);
  product.execute(pool_->stream, {{DNNL_ARG_SRC, from}, {DNNL_ARG_WEIGHTS, packed_->weights}, {DNNL_ARG_DST, to}});
  pool_->stream.wait();
}

}  // namespace ropewalk::runner
