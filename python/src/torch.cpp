// What ropewalk.torch asks of the library: rotations of tensors whose gradient is its own business, with the operator's
// phases or with a caller's table, and the numbers of an operator for those who form phases themselves.
#include "arrays.hpp"
#include "lock.hpp"
#include "rooms.hpp"

#include <ropewalk/frequencies.hpp>
#include <ropewalk/rotary.hpp>

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <tuple>
#include <vector>

#include <dlfcn.h>
#include <pthread.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

constexpr std::string_view kNames[] = {"q", "k"};

/// torch's own OpenMP runtime, by its C interface: calls run on the threads that torch's operators run on, where those
/// of a second runtime would fight with them for the processors.
class TorchThreads {
 public:
  /// `library`: the one that torch has loaded. Without it, or without these names in it, pool() is null.
  explicit TorchThreads(const char* library) {
    void* const opened = ::dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    if (opened == nullptr) return;
    parallel_ = reinterpret_cast<Parallel>(::dlsym(opened, "GOMP_parallel"));
    thread_ = reinterpret_cast<Number>(::dlsym(opened, "omp_get_thread_num"));
    threads_ = reinterpret_cast<Number>(::dlsym(opened, "omp_get_num_threads"));
    inside_ = reinterpret_cast<Number>(::dlsym(opened, "omp_in_parallel"));
    pool_ = {.run = run, .pool = this};
    static_cast<void>(pthread_atfork(nullptr, nullptr, [] { lost_ = used_.load(); }));
  }
  TorchThreads(const TorchThreads&) = delete;
  TorchThreads& operator=(const TorchThreads&) = delete;
  const ThreadPool* pool() const noexcept {
    return parallel_ != nullptr && thread_ != nullptr && threads_ != nullptr && inside_ != nullptr ? &pool_ : nullptr;
  }

 private:
  using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
  using Number = int (*)();
  struct Work {
    const TorchThreads& torch;
    int parts;
    void (*part)(void*, int);
    void* argument;
  };

  static void run(void* pool, int parts, void (*part)(void*, int), void* argument) {
    const auto& torch = *static_cast<const TorchThreads*>(pool);
    Work work{torch, parts, part, argument};
    if (lost_ || torch.inside_() != 0) {
      for (int i = 0; i < parts; ++i) part(argument, i);
      return;
    }
    used_ = true;
    torch.parallel_(
        [](void* shared) {
          const Work& all = *static_cast<const Work*>(shared);
          for (int i = all.torch.thread_(); i < all.parts; i += all.torch.threads_()) all.part(all.argument, i);
        },
        &work, static_cast<unsigned>(parts), 0);
  }

  // Of a process and of what fork() made of it, which waits without end for threads that it has not.
  static inline std::atomic<bool> used_ = false, lost_ = false;

  Parallel parallel_ = nullptr;
  Number thread_ = nullptr, threads_ = nullptr, inside_ = nullptr;
  ThreadPool pool_{};
};
const TorchThreads* torch_threads = nullptr;
const ThreadPool* pool_of_torch() noexcept { return torch_threads != nullptr ? torch_threads->pool() : nullptr; }

// Work of some microseconds is done sooner than the interpreter's lock is given away and taken back.
constexpr std::int64_t kFewElements = 1 << 14;

// From here on new memory is asked for in pages of 2 MiB: the system clears it page by page as it is written, and of
// 167 MB of queries and keys the rotation itself took an eighth.
constexpr std::int64_t kManyBytes = std::int64_t{1} << 22;

void ask_for_large_pages(const Array& x) {
#if defined(__linux__)
  constexpr std::uintptr_t kPage = std::uintptr_t{1} << 21;
  const std::int64_t bytes = x.elements() * (x.element() == Element::kFloat32 ? 4 : 2);
  if (bytes < kManyBytes) return;
  const auto begin = (reinterpret_cast<std::uintptr_t>(x.data()) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<std::uintptr_t>(x.data()) + static_cast<std::uintptr_t>(bytes)) / kPage * kPage;
  if (begin < end) static_cast<void>(madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));
#else
  static_cast<void>(x);
#endif
}

/// One or two tensors and where their results go; the results may be None, for in place.
class Operands {
 public:
  Operands(nb::handle q, nb::handle k, nb::handle q_out, nb::handle k_out, Order order, bool first_is_key) {
    const nb::handle in[] = {q, k}, out[] = {q_out, k_out};
    count_ = k.is_none() ? 1 : 2;
    for (std::size_t i = 0; i < count_; ++i) {
      const std::string name(kNames[i]);
      held_[i] = Array::of_tensor(in[i], name);
      operands_[i].in = operands_[i].out = heads_of(held_[i], order, name);
      if (!out[i].is_none()) {
        held_[2 + i] = Array::of_tensor(out[i], name);
        operands_[i].out = heads_of(held_[2 + i], order, name);
      }
      operands_[i].role = i == 1 || first_is_key ? Role::kKey : Role::kQuery;
    }
  }
  std::span<const RotaryOperand> all() const noexcept { return std::span(operands_).first(count_); }
  /// For results that nobody has written to yet.
  void ask_for_large_pages() const {
    for (std::size_t i = 2; i < 2 + count_; ++i)
      if (held_[i].data() != nullptr) python::ask_for_large_pages(held_[i]);
  }
  std::int64_t elements() const noexcept { return held_[0].elements() + (count_ > 1 ? held_[1].elements() : 0); }
  const HeadsView& front() const noexcept { return operands_.front().in; }

 private:
  std::size_t count_;
  std::array<Array, 4> held_;
  std::array<RotaryOperand, 2> operands_;
};

void turn(const Rotary& rotary, nb::handle q, nb::handle k, nb::handle q_out, nb::handle k_out, nb::handle position_ids,
          nb::handle seqlen_offsets, nb::handle cu_seqlens, const char* layout, const char* direction,
          bool first_is_key, int threads) {
  const Operands operands(q, k, q_out, k_out, order_named(layout), first_is_key);
  const Positions positions(position_ids, seqlen_offsets, cu_seqlens, operands.front(), rotary.spec().axes());
  const RotaryCall how{.direction = direction_named(direction), .threads = threads, .pool = pool_of_torch()};
  const auto run = [&](const auto& view) {
    refuse_operands(rotary.check(operands.all(), view));
    if (operands.elements() < kFewElements) return rotary.apply(operands.all(), view, how);
    const OthersMayRun others_may_run;
    rotary.apply(operands.all(), view, how);
  };
  if (positions.are_whole())
    run(positions.whole());
  else
    run(positions.coordinates());
}

/// What is asked of torch itself, by C functions that torch hands to Python. Set once, by ropewalk.torch.
struct Torch {
  PyObject *tensor, *parameter, *empty_like, *is_grad_enabled, *is_inference, *threads, *forward_ad;
  std::vector<PyObject*> counts;   ///< give 0 or False while nobody listens
  std::vector<PyObject*> objects;  ///< give None while nobody listens
};
Torch* torch = nullptr;

nb::object called(PyObject* function) {
  nb::object value = nb::steal(PyObject_CallNoArgs(function));
  if (!value.is_valid()) throw nb::python_error();
  return value;
}

bool says_yes(PyObject* function) { return PyObject_IsTrue(called(function).ptr()) == 1; }

bool is_yes(nb::handle object, PyObject* attribute) {
  const nb::object value = nb::steal(PyObject_GetAttr(object.ptr(), attribute));
  if (!value.is_valid()) throw nb::python_error();
  return PyObject_IsTrue(value.ptr()) == 1;
}

bool method_says_yes(nb::handle object, PyObject* method) {
  const nb::object value = nb::steal(PyObject_CallMethodNoArgs(object.ptr(), method));
  if (!value.is_valid()) throw nb::python_error();
  return PyObject_IsTrue(value.ptr()) == 1;
}

PyObject* interned(const char* word) { return PyUnicode_InternFromString(word); }

/// A tensor of torch's own class whose memory holds what it says.
bool is_plain(nb::handle x) {
  static PyObject *const is_neg = interned("is_neg"), *const is_cpu = interned("is_cpu");
  PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(x.ptr()));
  return (type == torch->tensor || type == torch->parameter) && is_yes(x, is_cpu) && !method_says_yes(x, is_neg);
}

/// True if no mode, transform or tracer wants to see what torch is asked to do.
bool nobody_listens() {
  static PyObject* const level = interned("_current_level");
  for (PyObject* const count : torch->counts)
    if (says_yes(count)) return false;
  for (PyObject* const object : torch->objects)
    if (!called(object).is_none()) return false;
  const nb::object forward = nb::steal(PyObject_GetAttr(torch->forward_ad, level));
  if (!forward.is_valid()) throw nb::python_error();
  return PyLong_AsLong(forward.ptr()) < 0;
}

bool learns(nb::handle q, nb::handle k) {
  static PyObject* const requires_grad = interned("requires_grad");
  if (!is_yes(q, requires_grad) && (k.is_none() || !is_yes(k, requires_grad))) return false;
  return says_yes(torch->is_grad_enabled);
}

nb::object empty_like_tensor(nb::handle tensor) {
  return nb::steal(nb::handle(PyObject_CallOneArg(torch->empty_like, tensor.ptr())));
}

bool is_served(const Array& x) noexcept {
  const bool dtype =
      x.element() == Element::kFloat32 || x.element() == Element::kBFloat16 || x.element() == Element::kFloat16;
  return dtype && (x.dims() == 0 || x.size(x.dims() - 1) < 2 || x.stride(x.dims() - 1) == 1);
}

bool is_alike(const Array& a, const Array& b) noexcept {
  if (a.element() != b.element() || a.dims() != b.dims()) return false;
  for (std::size_t axis = 0; axis < a.dims(); ++axis)
    if (a.size(axis) != b.size(axis)) return false;
  return true;
}

nb::object turned(const Rotary& rotary, nb::handle q, nb::handle k, nb::handle position_ids, nb::handle seqlen_offsets,
                  nb::handle cu_seqlens, const char* layout, const char* direction, bool first_is_key, int threads) {
  const std::size_t count = k.is_none() ? 1 : 2;
  nb::object out[2] = {nb::none(), nb::none()};
  for (std::size_t i = 0; i < count; ++i) {
    const nb::handle x = i == 0 ? q : k;
    if (!is_served(Array::of_tensor(x, kNames[i]))) return nb::none();
    out[i] = empty_like_tensor(x);
    if (!out[i].is_valid()) throw nb::python_error();
    const Array fresh = Array::of_tensor(out[i], kNames[i]);
    if (!is_served(fresh)) return nb::none();
    ask_for_large_pages(fresh);
  }
  turn(rotary, q, k, out[0], out[1], position_ids, seqlen_offsets, cu_seqlens, layout, direction, first_is_key,
       threads);
  if (count == 1) return out[0];
  return nb::make_tuple(out[0], out[1]);
}

/// The whole of a call where nobody listens and nothing learns; None where torch has to see it.
nb::object turned_straight(const Rotary& rotary, nb::handle q, nb::handle k, nb::handle position_ids,
                           nb::handle seqlen_offsets, nb::handle cu_seqlens, const char* layout,
                           const char* direction) {
  if (!is_plain(q) || (!k.is_none() && !is_plain(k)) || !nobody_listens() || learns(q, k)) return nb::none();
  const int threads = nb::cast<int>(called(torch->threads));
  return turned(rotary, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction, false, threads);
}

/// The same into given tensors, or in place where they are None; False where torch has to see it.
bool turn_straight(const Rotary& rotary, nb::handle q, nb::handle k, nb::handle q_out, nb::handle k_out,
                   nb::handle position_ids, nb::handle seqlen_offsets, nb::handle cu_seqlens, const char* layout,
                   const char* direction) {
  static PyObject* const is_inference = interned("is_inference");
  const std::size_t count = k.is_none() ? 1 : 2;
  const nb::handle in[] = {q, k}, out[] = {q_out.is_none() ? q : q_out, k_out.is_none() ? k : k_out};
  for (std::size_t i = 0; i < count; ++i)
    if (!is_plain(in[i]) || (out[i].ptr() != in[i].ptr() && !is_plain(out[i]))) return false;
  if (!nobody_listens() || learns(q, k) || learns(out[0], out[1])) return false;
  const bool inference = says_yes(torch->is_inference);
  const void* written = nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    const Array from = Array::of_tensor(in[i], kNames[i]), to = Array::of_tensor(out[i], kNames[i]);
    if (!is_served(from) || !is_served(to) || !is_alike(from, to)) return false;
    if (method_says_yes(out[i], is_inference) != inference) return false;
    if (i == 1 && to.data() == written && to.elements() > 0)
      refuse(k_out.is_none() ? "k" : "out", "want memory apart for q and k, got the same: it would be written twice");
    if (to.elements() > 0) written = to.data();
  }
  const int threads = nb::cast<int>(called(torch->threads));
  turn(rotary, q, k, q_out, k_out, position_ids, seqlen_offsets, cu_seqlens, layout, direction, false, threads);
  return true;
}

void ask_torch(nb::dict with) {
  const auto kept = [](nb::handle object) { return nb::borrow(object).release().ptr(); };
  auto* const made = new Torch{.tensor = kept(with["Tensor"]),
                               .parameter = kept(with["Parameter"]),
                               .empty_like = kept(with["empty_like"]),
                               .is_grad_enabled = kept(with["is_grad_enabled"]),
                               .is_inference = kept(with["is_inference_mode_enabled"]),
                               .threads = kept(with["get_num_threads"]),
                               .forward_ad = kept(with["forward_ad"]),
                               .counts = {},
                               .objects = {}};
  for (const nb::handle one : with["counts"]) made->counts.push_back(kept(one));
  for (const nb::handle one : with["objects"]) made->objects.push_back(kept(one));
  torch = made;  // stays until the process ends
  if (const nb::object library = with["openmp"]; !library.is_none())
    torch_threads = new TorchThreads(nb::cast<std::string>(library).c_str());
}

/// The operator that says no more than which channels of a head turn.
const Rotary& channels_that_turn(std::int64_t head_dim, std::int64_t rotary_dim, bool interleaved) {
  using Key = std::tuple<std::int64_t, std::int64_t, bool>;
  static auto* const made = new std::map<Key, Rotary>;  // guarded by the lock that every call from Python holds
  const Key key{head_dim, rotary_dim, interleaved};
  if (const auto found = made->find(key); found != made->end()) return found->second;
  RotarySpec spec;
  spec.head_dim = static_cast<int>(head_dim);
  spec.rotary_dim = static_cast<int>(rotary_dim);
  spec.theta = 10000.0;
  spec.layout = interleaved ? PairLayout::kInterleaved : PairLayout::kHalf;
  return made->emplace(key, value_or_refuse(Rotary::make(spec))).first->second;
}

Array table_of(nb::handle tensor, const char* name) {
  Array table = Array::of_tensor(tensor, name);
  if (table.element() != Element::kFloat32) refuse(name, "want float32, got " + table.dtype());
  if (table.dims() != 2 && table.dims() != 3)
    refuse(name, "want [max_pos, rotary_dim / 2] or [batch, tokens, rotary_dim / 2], got " + table.shape());
  if (table.size(table.dims() - 1) > 1 && table.stride(table.dims() - 1) != 1)
    refuse(name, "want the columns of a row side by side (stride 1), got a stride of " +
                     std::to_string(table.stride(table.dims() - 1)));
  return table;
}

void turn_by_table(nb::handle q, nb::handle k, nb::handle cos, nb::handle sin, nb::handle q_out, nb::handle k_out,
                   nb::handle position_ids, nb::handle seqlen_offsets, nb::handle cu_seqlens, const char* layout,
                   bool interleaved, bool transpose, int threads) {
  const Operands operands(q, k, q_out, k_out, order_named(layout), false);
  const HeadsView& x = operands.front();
  const Array cosines = table_of(cos, "cos"), sines = table_of(sin, "sin");
  if (cosines.shape() != sines.shape())
    refuse("sin", "want the shape of cos, " + cosines.shape() + ", got " + sines.shape());
  const std::size_t dims = cosines.dims();
  const std::int64_t pairs = cosines.size(dims - 1);
  for (std::size_t axis = 0; axis + 1 < dims; ++axis)
    if (cosines.size(axis) > 1 && cosines.stride(axis) != sines.stride(axis))
      refuse("sin", "want the strides of cos, got others");
  if (2 * pairs > x.head_dim || pairs < 1)
    refuse("cos", "want at most " + std::to_string(x.head_dim / 2) + " columns, one for each pair of a head of " +
                      std::to_string(x.head_dim) + ", got " + std::to_string(pairs));
  CosSinTable table{.cos = static_cast<const float*>(cosines.data()), .sin = static_cast<const float*>(sines.data())};
  std::vector<std::int64_t> rows;
  PositionsView view;
  std::optional<Positions> positions;
  if (dims == 3) {  // a row for each token: numbered as they lie
    if (!position_ids.is_none() || !seqlen_offsets.is_none() || !cu_seqlens.is_none())
      refuse("cos", "want [max_pos, rotary_dim / 2] beside positions, got a row for each token, " + cosines.shape());
    const std::int64_t batch = cosines.size(0), tokens = cosines.size(1);
    if ((batch != 1 && batch != x.batch) || tokens != x.tokens)
      refuse("cos", "want rows for " + std::to_string(x.batch) + " x " + std::to_string(x.tokens) + " tokens, got " +
                        cosines.shape());
    table.row_stride = tokens > 1 ? cosines.stride(1) : batch > 1 ? cosines.stride(0) : pairs;
    if (batch > 1 && tokens > 1 && cosines.stride(0) != tokens * table.row_stride)
      refuse("cos", "want its rows evenly spaced, got a stride of " + std::to_string(cosines.stride(0)));
    table.rows = batch * tokens;
    rows = value_or_refuse(positions_from_range(0, table.rows));
    view = PositionsView::rows(rows, batch);
  } else {
    table.rows = cosines.size(0);
    table.row_stride = table.rows > 1 ? cosines.stride(0) : pairs;
    positions.emplace(position_ids, seqlen_offsets, cu_seqlens, x, 1);
    if (!positions->are_whole()) refuse("position_ids", "want rows of the table, whole numbers, got floats");
    view = positions->whole();
    if (view.data == nullptr && x.tokens > 0) refuse("position_ids", "want an address, got null");
  }
  operands.ask_for_large_pages();
  const Rotary& rotary = channels_that_turn(x.head_dim, 2 * pairs, interleaved);
  const RotaryCall how{.direction = transpose ? Direction::kTranspose : Direction::kForward,
                       .threads = threads,
                       .pool = pool_of_torch()};
  refuse_operands(rotary.check(operands.all(), table, view, how.direction));
  const OthersMayRun others_may_run;
  rotary.apply(operands.all(), table, view, how);
}

std::vector<std::int64_t> as_signed(const std::vector<std::uint64_t>& turns) { return {turns.begin(), turns.end()}; }

nb::dict numbers_of(const Rotary& rotary) {
  const RotarySpec& spec = rotary.spec();
  const Frequencies& f = rotary.frequencies();
  nb::dict numbers;
  std::vector<int> in, out;
  for (int second = 0; second < 2; ++second)
    for (int j = 0; j < spec.pairs(); ++j) {
      const ChannelPair from = spec.channels(j), to = spec.output_channels(j);
      in.push_back(second ? from.second : from.first);
      out.push_back(second ? to.second : to.first);
    }
  numbers["channels"] = nb::tuple(nb::cast(in));
  numbers["output_channels"] = nb::tuple(nb::cast(out));
  const auto lists = [&](const char* prefix, const auto& turns, const auto& units, const auto& fp32) {
    const std::string p(prefix);
    std::vector<double> high, low;
    for (const TurnsPerUnit& unit : units) {
      high.push_back(unit.high);
      low.push_back(unit.low);
    }
    numbers[(p + "turns_per_token").c_str()] = nb::tuple(nb::cast(as_signed(turns)));
    numbers[(p + "turns_per_unit_high").c_str()] = nb::tuple(nb::cast(high));
    numbers[(p + "turns_per_unit_low").c_str()] = nb::tuple(nb::cast(low));
    numbers[(p + "inv_freq_fp32").c_str()] = nb::tuple(nb::cast(fp32));
  };
  lists("", f.turns_per_token, f.turns_per_unit, f.inv_freq_fp32);
  lists("second_", f.second_turns_per_token, f.second_turns_per_unit, f.second_inv_freq_fp32);
  numbers["centre"] = f.centre;
  return numbers;
}

}  // namespace

void bind_torch(nb::module_& m) {
  m.def("turn_tensors", turn, "rotary"_a, "q"_a, "k"_a.none(), "q_out"_a.none(), "k_out"_a.none(),
        "position_ids"_a.none(), "seqlen_offsets"_a.none(), "cu_seqlens"_a.none(), "layout"_a, "direction"_a,
        "first_is_key"_a, "threads"_a,
        "Rotary.apply and its kin for ropewalk.torch: into given tensors (None: in place), requires_grad not asked.");
  m.def("turned_tensors", turned, "rotary"_a, "q"_a, "k"_a.none(), "position_ids"_a.none(), "seqlen_offsets"_a.none(),
        "cu_seqlens"_a.none(), "layout"_a, "direction"_a, "first_is_key"_a, "threads"_a,
        "turn_tensors into new tensors like q and k; None if the kernels serve not their dtypes or strides.");
  m.def("turned_straight", turned_straight, "rotary"_a, "q"_a, "k"_a.none(), "position_ids"_a.none(),
        "seqlen_offsets"_a.none(), "cu_seqlens"_a.none(), "layout"_a, "direction"_a,
        "turned_tensors if torch need not see the call (no mode, transform, tracer or gradient); else None.");
  m.def("turn_straight", turn_straight, "rotary"_a, "q"_a, "k"_a.none(), "q_out"_a.none(), "k_out"_a.none(),
        "position_ids"_a.none(), "seqlen_offsets"_a.none(), "cu_seqlens"_a.none(), "layout"_a, "direction"_a,
        "turn_tensors if torch need not see the call; else False and nothing is written.");
  m.def("ask_torch", ask_torch, "functions"_a, "Which functions of torch say who listens.");
  m.def("turn_tensors_by_table", turn_by_table, "q"_a, "k"_a.none(), "cos"_a, "sin"_a, "q_out"_a.none(),
        "k_out"_a.none(), "position_ids"_a.none(), "seqlen_offsets"_a.none(), "cu_seqlens"_a.none(), "layout"_a,
        "interleaved"_a, "transpose"_a, "threads"_a,
        "The same with a caller's cosines and sines, float32 [max_pos, pairs] or [batch, tokens, pairs].");
  m.def("numbers_of", numbers_of, "rotary"_a,
        "What forms the phases of an operator: turns_per_token (as signed int64), turns_per_unit_high and _low,\n"
        "inv_freq_fp32 ([heads, axes, pairs], flat), the same with second_ before it, channels and output_channels\n"
        "([2, pairs], flat) and centre.");
}

}  // namespace ropewalk::python
