#include "cuda/machines.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <utility>

namespace machines {
namespace {

using ropewalk::HeadsView;

void need(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

std::string absence() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return std::string("no device: ") + cudaGetErrorString(error);
  return count == 0 ? "no device" : "";
}

/// A stretch of the host's memory on the device, as far from a multiple of 256 bytes, between bytes that nobody writes.
class Copy {
 public:
  Copy(const char* from, std::size_t bytes) : from_(from), bytes_(bytes), before_(kBorder + address(from) % 256) {
    need(cudaMalloc(&all_, before_ + bytes + kBorder));
    need(cudaMemset(all_, kPattern, before_ + bytes + kBorder));
    need(cudaMemcpy(all_ + before_, from, bytes, cudaMemcpyHostToDevice));
  }
  ~Copy() { cudaFree(all_); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  void* at(const void* host) const { return all_ + before_ + (address(host) - address(from_)); }
  bool fetch() const {
    std::vector<unsigned char> all(before_ + bytes_ + kBorder);
    need(cudaMemcpy(all.data(), all_, all.size(), cudaMemcpyDeviceToHost));
    std::memcpy(const_cast<char*>(from_), all.data() + before_, bytes_);
    const auto is_pattern = [](unsigned char byte) { return byte == kPattern; };
    return std::all_of(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(before_), is_pattern) &&
           std::all_of(all.end() - static_cast<std::ptrdiff_t>(kBorder), all.end(), is_pattern);
  }

 private:
  static constexpr std::size_t kBorder = 512;
  static constexpr unsigned char kPattern = 0xa5;
  static std::uintptr_t address(const void* at) { return reinterpret_cast<std::uintptr_t>(at); }
  const char* from_;
  std::size_t bytes_, before_;
  char* all_ = nullptr;
};

/// From the first byte of a view to the last, whichever way its axes go.
std::pair<const char*, std::size_t> stretch(const void* data, std::int64_t size,
                                            std::initializer_list<std::pair<std::int64_t, std::int64_t>> axes) {
  std::int64_t low = 0, high = 0;
  for (const auto& [extent, stride] : axes) (stride < 0 ? low : high) += (extent - 1) * stride;
  return {static_cast<const char*>(data) + low * size, static_cast<std::size_t>((high - low + 1) * size)};
}

std::string run(const Job& job) {
  std::vector<std::unique_ptr<Copy>> copies;
  const auto copied = [&](const HeadsView& x) {
    const auto [from, bytes] =
        stretch(x.data, static_cast<std::int64_t>(size_of(x.dtype)),
                {{x.batch, x.batch_stride}, {x.tokens, x.token_stride}, {x.heads, x.head_stride}, {x.head_dim, 1}});
    copies.push_back(std::make_unique<Copy>(from, bytes));
    HeadsView there = x;
    there.data = copies.back()->at(x.data);
    return there;
  };
  std::vector<ropewalk::RotaryOperand> operands;
  for (const ropewalk::RotaryOperand& operand : job.operands) {
    const HeadsView in = copied(operand.in);
    operands.push_back({in, operand.out.data == operand.in.data ? in : copied(operand.out), operand.role});
  }
  ropewalk::cuda::DevicePositions positions = job.positions;
  std::unique_ptr<Copy> numbers;
  if (positions.data != nullptr) {
    const auto [from, bytes] = stretch(positions.data, positions.is_int32 ? 4 : 8,
                                       {{positions.axes, positions.axis_stride},
                                        {positions.batch, positions.batch_stride},
                                        {positions.tokens, positions.token_stride}});
    numbers = std::make_unique<Copy>(from, bytes);
    positions.data = numbers->at(positions.data);
  }
  cudaStream_t stream = nullptr;
  need(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const auto error = ropewalk::cuda::apply(job.rotary, operands, positions, job.direction, stream);
  need(cudaStreamSynchronize(stream));
  need(cudaStreamDestroy(stream));
  if (error) return error->line();
  for (const auto& copy : copies)
    if (!copy->fetch()) return "bytes outside of the tensors were written";
  return "";
}

}  // namespace

std::vector<Machine> devices() { return {{"device", absence, run}}; }

}  // namespace machines
