// Our side of bench/attention_vs_torch.py: an attention at a time, as lines on stdin say.
//
//     case DTYPE BATCH TOKENS KEYS HEADS KV_HEADS HEAD_DIM CAUSAL THREADS FOLDER
//
// reads q.bin, k.bin and v.bin from FOLDER, [batch, tokens, heads, head_dim] of the dtype, runs once, writes out.bin
// there and answers "ready". Then
//
//     run SECONDS      answers the median seconds of a call, of as many calls as fit
//     backward         reads d_out.bin too, goes forwards and backwards once, writes d_q.bin, d_k.bin and d_v.bin and
//                      answers "ready"
//     train SECONDS    after that, as run: forwards and backwards
//     read SECONDS     the same of reading k and v once on as many threads: what memory gives
#include <ropewalk/attention.hpp>

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace ropewalk;

struct Case {
  DType dtype = DType::kFloat32;
  std::int64_t batch = 0, tokens = 0, keys = 0, heads = 0, kv_heads = 0, dim = 0;
  int causal = 0, threads = 1;
  std::string folder;
  std::vector<std::byte> q, k, v, out, workspace;
  std::vector<std::byte> d_out, d_q, d_k, d_v, backward_workspace;  // if it is to go backwards
  std::vector<float> log_sum_exp;

  std::vector<std::byte> read(const char* name, std::int64_t elements) const {
    std::vector<std::byte> data(static_cast<std::size_t>(elements) * size_of(dtype));
    std::ifstream file(folder + '/' + name, std::ios::binary);
    if (!file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()))) std::exit(1);
    return data;
  }
  void write(const char* name, const std::vector<std::byte>& data) const {
    std::ofstream(folder + '/' + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  }
  Attention attention() {
    return {.q = HeadsView::bshd(q.data(), dtype, batch, tokens, heads, dim),
            .k = HeadsView::bshd(k.data(), dtype, batch, keys, kv_heads, dim),
            .v = HeadsView::bshd(v.data(), dtype, batch, keys, kv_heads, dim),
            .out = HeadsView::bshd(out.data(), dtype, batch, tokens, heads, dim),
            .softmax_scale = 1.0 / std::sqrt(static_cast<double>(dim)),
            .mask = causal != 0 ? AttentionMask::causal() : AttentionMask::everything(),
            .log_sum_exp = log_sum_exp.empty() ? nullptr : log_sum_exp.data()};
  }
  AttentionGradients gradients() {
    return {.d_out = HeadsView::bshd(d_out.data(), dtype, batch, tokens, heads, dim),
            .d_q = HeadsView::bshd(d_q.data(), dtype, batch, tokens, heads, dim),
            .d_k = HeadsView::bshd(d_k.data(), dtype, batch, keys, kv_heads, dim),
            .d_v = HeadsView::bshd(d_v.data(), dtype, batch, keys, kv_heads, dim)};
  }
  void train() {
    attend(attention(), {.threads = threads, .workspace = workspace});
    attend_backward(attention(), gradients(), {.threads = threads, .workspace = backward_workspace});
  }
};

template <class Body>
double median_seconds(double budget, const Body& body) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  const auto begin = Clock::now();
  do {
    const auto start = Clock::now();
    body();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  } while (std::chrono::duration<double>(Clock::now() - begin).count() < budget);
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// The sum of all words, eight chains to a thread so that nothing but memory is waited for.
std::uint64_t sum_of(const std::vector<std::byte>& data, int threads) {
  const auto* const words = reinterpret_cast<const std::uint64_t*>(data.data());
  const auto count = static_cast<std::int64_t>(data.size() / 8);
  std::uint64_t sum = 0;
#pragma omp parallel for simd num_threads(threads) reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += words[i];
  return sum;
}

}  // namespace

int main() {
  Case now;
  volatile std::uint64_t sink = 0;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, dtype;
    double seconds = 0.0;
    words >> verb;
    if (verb == "case") {
      now = {};
      words >> dtype >> now.batch >> now.tokens >> now.keys >> now.heads >> now.kv_heads >> now.dim >> now.causal >>
          now.threads >> now.folder;
      now.dtype = dtype == "bf16" ? DType::kBFloat16 : DType::kFloat32;
      now.q = now.read("q.bin", now.batch * now.tokens * now.heads * now.dim);
      now.k = now.read("k.bin", now.batch * now.keys * now.kv_heads * now.dim);
      now.v = now.read("v.bin", now.batch * now.keys * now.kv_heads * now.dim);
      now.out.resize(now.q.size());
      now.workspace.resize(static_cast<std::size_t>(attention_workspace(now.attention(), now.threads)));
      const AttentionCall call{.threads = now.threads, .workspace = now.workspace};
      if (const auto error = check_attention(now.attention(), call)) {
        std::cerr << error->line() << '\n';
        return 1;
      }
      attend(now.attention(), call);
      now.write("out.bin", now.out);
      std::cout << "ready" << std::endl;
      continue;
    }
    if (verb == "backward") {
      now.d_out = now.read("d_out.bin", now.batch * now.tokens * now.heads * now.dim);
      now.d_q.resize(now.q.size()), now.d_k.resize(now.k.size()), now.d_v.resize(now.v.size());
      now.log_sum_exp.resize(static_cast<std::size_t>(now.batch * now.heads * now.tokens));
      now.backward_workspace.resize(
          static_cast<std::size_t>(attention_backward_workspace(now.attention(), now.threads)));
      if (const auto error = check_attention_backward(now.attention(), now.gradients(),
                                                      {.threads = now.threads, .workspace = now.backward_workspace})) {
        std::cerr << error->line() << '\n';
        return 1;
      }
      now.train();
      now.write("d_q.bin", now.d_q), now.write("d_k.bin", now.d_k), now.write("d_v.bin", now.d_v);
      std::cout << "ready" << std::endl;
      continue;
    }
    words >> seconds;
    const AttentionCall call{.threads = now.threads, .workspace = now.workspace};
    const double median = median_seconds(seconds, [&] {
      if (verb == "run")
        attend(now.attention(), call);
      else if (verb == "train")
        now.train();
      else
        sink = sum_of(now.k, now.threads) + sum_of(now.v, now.threads);
    });
    std::cout << median << std::endl;
  }
}
