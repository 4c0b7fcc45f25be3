#include "arrays.hpp"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>

namespace ropewalk::python {
namespace nb = nanobind;
namespace {

using Code = nb::dlpack::dtype_code;

Element element_of(const nb::dlpack::dtype& dtype) noexcept {
  if (dtype.lanes != 1) return Element::kOther;
  switch (static_cast<Code>(dtype.code)) {
    case Code::Float:
      return dtype.bits == 32   ? Element::kFloat32
             : dtype.bits == 16 ? Element::kFloat16
             : dtype.bits == 64 ? Element::kFloat64
                                : Element::kOther;
    case Code::Bfloat: return dtype.bits == 16 ? Element::kBFloat16 : Element::kOther;
    case Code::Int:
      return dtype.bits == 64   ? Element::kInt64
             : dtype.bits == 32 ? Element::kInt32
             : dtype.bits == 8  ? Element::kInt8
                                : Element::kOther;
    case Code::UInt: return dtype.bits == 8 ? Element::kUInt8 : Element::kOther;
    case Code::Float8_E4M3FN: return Element::kFloat8E4M3;
    case Code::Bool: return Element::kBool;
    default: return Element::kOther;
  }
}

std::string name_of(const nb::dlpack::dtype& dtype) {
  const std::string bits = std::to_string(dtype.bits);
  if (dtype.lanes != 1) return "another dtype";
  switch (static_cast<Code>(dtype.code)) {
    case Code::Float: return "float" + bits;
    case Code::Int: return "int" + bits;
    case Code::UInt: return "uint" + bits;
    case Code::Complex: return "complex" + bits;
    case Code::Bfloat: return "bfloat" + bits;
    case Code::Bool: return "bool";
    default: return "another dtype";
  }
}

Element element_named(std::string_view dtype_of_torch) noexcept {
  constexpr std::pair<std::string_view, Element> kNames[] = {{"torch.float32", Element::kFloat32},
                                                             {"torch.bfloat16", Element::kBFloat16},
                                                             {"torch.float16", Element::kFloat16},
                                                             {"torch.int64", Element::kInt64},
                                                             {"torch.int32", Element::kInt32}};
  for (const auto& [name, element] : kNames)
    if (name == dtype_of_torch) return element;
  return Element::kOther;
}

std::string kind_of(nb::handle object) { return nb::cast<std::string>(nb::str(nb::type_name(object.type()))); }

// What may be the reason why an array cannot be lent: ">f4", "object", "meta".
std::string kind_of_array(nb::handle object) {
  std::string kind = kind_of(object);
  for (const auto& [attribute, word] : {std::pair{"dtype", " of "}, std::pair{"device", " on "}}) {
    const nb::object value = nb::getattr(object, attribute, nb::none());
    if (!value.is_none()) kind += word + nb::cast<std::string>(nb::str(value));
  }
  return kind;
}

bool is_true(nb::handle object, const char* attribute) {
  const nb::object value = nb::getattr(object, attribute, nb::none());
  return PyObject_IsTrue(value.ptr()) == 1;
}

// numpy knows the bfloat16 of ml_dtypes, but its buffers and its DLPack do not.
bool is_numpy_bfloat16(nb::handle object) {
  if (!nb::hasattr(object, "dtype") || !nb::hasattr(object, "view")) return false;
  const nb::object dtype = object.attr("dtype");
  return nb::hasattr(dtype, "name") && nb::cast<std::string>(nb::str(dtype.attr("name"))) == "bfloat16";
}

// DLPack's table of C functions (dlpack.h, version 1): how torch and others lend an array without a call of Python.
struct ExchangeApi {
  std::uint32_t major, minor;
  void* older;
  void* allocate;
  void* managed_from_object;
  void* managed_to_object;
  int (*tensor_from_object)(void* object, nb::dlpack::dltensor* out);
};

// Of an object's type, or null. The type last asked about is remembered: calls come with tensors of one type.
const ExchangeApi* exchange_api_of(nb::handle object) {
  static PyTypeObject* last = nullptr;
  static const ExchangeApi* answer = nullptr;
  PyTypeObject* const type = Py_TYPE(object.ptr());
  if (type == last) return answer;
  const nb::object capsule =
      nb::getattr(nb::handle(reinterpret_cast<PyObject*>(type)), "__dlpack_c_exchange_api__", nb::none());
  answer = nullptr;
  if (PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api"))
    answer = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (answer != nullptr && (answer->major != 1 || answer->tensor_from_object == nullptr)) answer = nullptr;
  Py_INCREF(type);  // an address that is never given to another type
  last = type;
  return answer;
}

[[noreturn]] void refuse_device(std::string_view name) {
  refuse(std::string(name), "want an array in the memory of the CPU, got one on another device",
         ropewalk::Code::kUnsupported);
}

void refuse_gradient(nb::handle object, std::string_view name) {
  // Some DLPack exporters give a tensor away without its history, and gradients would be lost without a word.
  if (is_true(object, "requires_grad"))
    refuse(std::string(name),
           "want a tensor without gradient (detach it, or use ropewalk.torch), got one that requires it");
}

template <class View>
View view_of(nb::handle object, std::string_view name, bool* was_bfloat16) {
  View view;
  if (nb::try_cast(object, view)) {
    if (view.device_type() != nb::device::cpu::value) refuse_device(name);
    return view;
  }
  PyErr_Clear();
  if (is_numpy_bfloat16(object)) {
    *was_bfloat16 = true;
    try {
      if (nb::try_cast(nb::object(object.attr("view")("uint16")), view)) return view;
    } catch (const nb::python_error&) {
      // whatever it is, it is no array: said below
    }
    PyErr_Clear();
  }
  refuse(std::string(name), "want an array" +
                                std::string(std::is_same_v<View, nb::ndarray<>> ? " that can be written" : "") +
                                " (numpy, torch, anything with DLPack), got " + kind_of_array(object));
}

}  // namespace

bool Array::borrow(nb::handle object) {
  const ExchangeApi* const api = exchange_api_of(object);
  nb::dlpack::dltensor tensor;
  if (api == nullptr) return false;
  if (api->tensor_from_object(object.ptr(), &tensor) != 0) {
    PyErr_Clear();
    return false;
  }
  on_cpu_ = tensor.device.device_type == nb::device::cpu::value;
  owner_ = nb::borrow(object);
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  dims_ = static_cast<std::size_t>(tensor.ndim);
  sizes_ = tensor.shape;
  strides_ = tensor.strides;
  dtype_ = tensor.dtype;
  element_ = element_of(dtype_);
  return true;
}

bool Array::borrow_from_cpu(nb::handle object, std::string_view name) {
  if (!borrow(object)) return false;
  if (!on_cpu_) refuse_device(name);
  return true;
}

template <class View>
void Array::take(nb::handle object, std::string_view name, View& held) {
  bool was_bfloat16 = false;
  held = view_of<View>(object, name, &was_bfloat16);
  data_ = const_cast<void*>(static_cast<const void*>(held.data()));
  dims_ = held.ndim();
  sizes_ = held.shape_ptr();
  strides_ = held.stride_ptr();
  dtype_ = held.dtype();
  element_ = was_bfloat16 ? Element::kBFloat16 : element_of(dtype_);
}

Array Array::to_read(nb::handle object, std::string_view name) {
  refuse_gradient(object, name);
  Array array;
  if (!array.borrow_from_cpu(object, name)) array.take(object, name, array.read_);
  return array;
}

Array Array::to_write(nb::handle object, std::string_view name) {
  refuse_gradient(object, name);
  Array array;
  array.take(object, name, array.written_);
  return array;
}

Array Array::of_tensor(nb::handle tensor, std::string_view name) {
  Array array;
  if (!array.borrow_from_cpu(tensor, name)) array.take(nb::object(tensor.attr("detach")()), name, array.written_);
  return array;
}

Array Array::of_device_tensor(nb::handle tensor) {
  Array array;
  if (array.borrow(tensor)) return array;
  // An older torch: DLPack by way of Python would make streams wait for each other.
  for (const nb::handle size : nb::object(tensor.attr("shape"))) array.axes_.push_back(nb::cast<std::int64_t>(size));
  array.dims_ = array.axes_.size();
  for (const nb::handle stride : nb::object(tensor.attr("stride")()))
    array.axes_.push_back(nb::cast<std::int64_t>(stride));
  array.owner_ = nb::borrow(tensor);
  array.data_ = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(tensor.attr("data_ptr")()));
  array.sizes_ = array.axes_.data();
  array.strides_ = array.axes_.data() + array.dims_;
  array.element_ = element_named(nb::cast<std::string>(nb::str(nb::handle(nb::object(tensor.attr("dtype"))))));
  return array;
}

std::string Array::dtype() const { return name_of(dtype_); }

std::int64_t Array::elements() const noexcept {
  std::int64_t product = 1;
  for (std::size_t axis = 0; axis < dims(); ++axis) product *= size(axis);
  return product;
}

std::string Array::shape() const {
  std::string out = "[";
  for (std::size_t axis = 0; axis < dims(); ++axis) out += (axis == 0 ? "" : ", ") + std::to_string(size(axis));
  return out + "]";
}

Order order_named(std::string_view name) {
  if (name == "bshd") return Order::kBshd;
  if (name == "bhsd") return Order::kBhsd;
  if (name == "sbhd") return Order::kSbhd;
  if (name == "thd") return Order::kThd;
  refuse("layout", "want \"bshd\", \"bhsd\", \"sbhd\" or \"thd\", got \"" + std::string(name) + '"');
}

Direction direction_named(std::string_view name) {
  if (name == "forward") return Direction::kForward;
  if (name == "inverse") return Direction::kInverse;
  if (name == "transpose") return Direction::kTranspose;
  if (name == "shift") return Direction::kShift;
  refuse("direction", "want \"forward\", \"inverse\", \"transpose\" or \"shift\", got \"" + std::string(name) + '"');
}

namespace {

// Which axis of an array is which, by Order; packed tokens have no batch.
struct Axes {
  int batch, tokens, heads;
  const char* shape;
};
constexpr Axes kAxes[] = {{0, 1, 2, "[batch, tokens, heads, head_dim]"},
                          {0, 2, 1, "[batch, heads, tokens, head_dim]"},
                          {1, 0, 2, "[tokens, batch, heads, head_dim]"},
                          {-1, 0, 1, "[tokens, heads, head_dim]"}};

}  // namespace

HeadsView heads_of(const Array& array, Order order, const std::string& name) {
  const Axes& axes = kAxes[static_cast<std::size_t>(order)];
  const std::size_t dims = axes.batch < 0 ? 3 : 4;
  if (array.dims() != dims) refuse(name, std::string("want ") + axes.shape + " (layout says so), got " + array.shape());
  HeadsView view{.data = array.data()};
  switch (array.element()) {
    case Element::kFloat32: view.dtype = DType::kFloat32; break;
    case Element::kBFloat16: view.dtype = DType::kBFloat16; break;
    case Element::kFloat16: view.dtype = DType::kFloat16; break;
    default: refuse(name, "want float32, bfloat16 or float16, got " + array.dtype());
  }
  const auto take = [&](int axis, std::int64_t& size, std::int64_t& stride) {
    if (axis < 0) return;
    size = array.size(static_cast<std::size_t>(axis));
    stride = array.stride(static_cast<std::size_t>(axis));
  };
  take(axes.batch, view.batch, view.batch_stride);
  take(axes.tokens, view.tokens, view.token_stride);
  take(axes.heads, view.heads, view.head_stride);
  view.head_dim = array.size(dims - 1);
  if (view.head_dim > 1 && array.stride(dims - 1) != 1 && array.elements() > 0)
    refuse(name, "want the channels of a head side by side (stride 1), got a stride of " +
                     std::to_string(array.stride(dims - 1)));
  return view;
}

void refuse_operands(std::optional<Error> error) {
  if (!error) return;
  constexpr std::string_view kOperands[][2] = {{"operands[0].", "q"}, {"operands[1].", "k"}};
  for (const auto& [operand, name] : kOperands) {
    if (error->path.rfind(operand, 0) != 0) continue;
    const std::size_t dot = error->path.find('.', operand.size());  // behind "in" or "out"
    error->path = std::string(name) + (dot == std::string::npos ? "" : error->path.substr(dot));
  }
  throw Refused(*std::move(error));
}

namespace {

// Calls use(value) for every element, row after row.
template <class T, class Use>
void for_each_element(const Array& array, const Use& use, std::size_t axis = 0, std::int64_t offset = 0) {
  if (axis == array.dims()) return use(static_cast<const T*>(array.data())[offset]);
  for (std::int64_t i = 0; i < array.size(axis); ++i)
    for_each_element<T>(array, use, axis + 1, offset + i * array.stride(axis));
}

template <class Out>
bool copy_whole(const Array& array, std::vector<Out>& out) {
  out.clear();
  out.reserve(static_cast<std::size_t>(array.elements()));
  const auto add = [&](auto value) { out.push_back(static_cast<Out>(value)); };
  switch (array.element()) {
    case Element::kInt64: for_each_element<std::int64_t>(array, add); return true;
    case Element::kInt32: for_each_element<std::int32_t>(array, add); return true;
    case Element::kInt8: for_each_element<std::int8_t>(array, add); return true;
    case Element::kUInt8:
    case Element::kBool: for_each_element<std::uint8_t>(array, add); return true;
    default: return false;
  }
}

// Arrays have an __index__ too, which fails unless they hold one number.
bool is_number(nb::handle object) {
  if (PyLong_Check(object.ptr())) return true;
  if (!PyIndex_Check(object.ptr())) return false;
  const nb::object dims = nb::getattr(object, "ndim", nb::int_(0));
  int count = 0;
  return !nb::try_cast(dims, count) || count == 0;
}

// A list or a tuple as an array of numpy.
nb::object as_array(nb::handle object) {
  if (nb::isinstance<nb::list>(object) || nb::isinstance<nb::tuple>(object) ||
      nb::isinstance(object, nb::handle((PyObject*)&PyRange_Type)))
    return nb::module_::import_("numpy").attr("asarray")(object);
  return nb::borrow(object);
}

std::int64_t one_number(nb::handle object, std::string_view name) {
  const long long value = PyLong_AsLongLong(nb::object(nb::steal(PyNumber_Index(object.ptr()))).ptr());
  if (value == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    refuse(std::string(name), "want a whole number of 64 bits, got " + nb::cast<std::string>(nb::str(object)));
  }
  return value;
}

}  // namespace

std::vector<std::int64_t> whole_numbers(nb::handle object, std::string_view name) {
  std::vector<std::int64_t> numbers;
  const nb::object held = as_array(object);
  const Array array = Array::to_read(held, name);
  if (array.elements() == 0) return numbers;
  if (!copy_whole(array, numbers)) refuse(std::string(name), "want whole numbers (int64, int32), got " + array.dtype());
  return numbers;
}

void Positions::from_ids(nb::handle ids, int axes) {
  const std::string name = "position_ids";
  const nb::object object = as_array(ids);
  held_ = Array::to_read(object, name);
  const Array& array = *held_;
  const std::size_t dims = array.dims();
  if (dims < 1 || dims > 3)
    refuse(name, "want [tokens], [batch, tokens] or [axes, batch, tokens], got " + array.shape());
  if (dims == 3 && array.size(0) != axes)
    refuse(name, "want [" + std::to_string(axes) + ", batch, tokens], got " + array.shape());
  are_whole_ = array.element() != Element::kFloat32 && array.element() != Element::kFloat64;
  const auto refuse_dtype = [&] {
    refuse(name, "want whole numbers (int64, int32), or float64 or float32 for coordinates, got " + array.dtype());
  };
  if (array.element() == Element::kBool) refuse_dtype();  // a mask
  // Of the array as it lies, or of a copy, row after row.
  const auto fill = [&](auto& view, const auto* data, bool copied) {
    view.data = data;
    const std::int64_t tokens = array.size(dims - 1), batch = dims > 1 ? array.size(dims - 2) : 1;
    view.axes = axes;
    view.batch = batch;
    view.tokens = tokens;
    view.token_stride = copied ? 1 : array.stride(dims - 1);
    view.batch_stride = dims < 2 || batch == 1 ? 0 : copied ? tokens : array.stride(dims - 2);
    view.axis_stride = dims < 3 ? 0 : copied ? batch * tokens : array.stride(0);
  };
  if (are_whole_) {
    if (array.element() == Element::kInt64) {
      fill(whole_, static_cast<const std::int64_t*>(array.data()), false);
    } else {
      if (!copy_whole(array, numbers_)) refuse_dtype();
      numbers_.reserve(1);  // an address even for no token
      fill(whole_, numbers_.data(), true);
    }
  } else if (array.element() == Element::kFloat64) {
    fill(coordinates_, static_cast<const double*>(array.data()), false);
  } else {
    reals_.reserve(static_cast<std::size_t>(array.elements()) + 1);
    for_each_element<float>(array, [&](float value) { reals_.push_back(double{value}); });
    fill(coordinates_, reals_.data(), true);
  }
}

Positions::Positions(nb::handle position_ids, nb::handle seqlen_offsets, nb::handle cu_seqlens, const HeadsView& x,
                     int axes) {
  if (!position_ids.is_none()) {
    if (!seqlen_offsets.is_none() || !cu_seqlens.is_none())
      refuse("position_ids", std::string("want one word for where tokens stand, got ") +
                                 (seqlen_offsets.is_none() ? "cu_seqlens" : "seqlen_offsets") + " beside it");
    from_ids(position_ids, axes);
    return;
  }
  whole_ = {.data = nullptr, .axes = axes, .batch = 1, .tokens = x.tokens};
  std::vector<std::int64_t> offsets;
  if (!seqlen_offsets.is_none()) {
    if (is_number(seqlen_offsets))
      offsets = {one_number(seqlen_offsets, "seqlen_offsets")};
    else
      offsets = whole_numbers(seqlen_offsets, "seqlen_offsets");
    if (offsets.empty() && cu_seqlens.is_none() && x.batch != 0)
      refuse("seqlen_offsets", "want 1 entry or one a row (" + std::to_string(x.batch) + "), got none");
  }
  if (!cu_seqlens.is_none()) {
    if (x.batch != 1)
      refuse("cu_seqlens", "want packed tokens, one row (layout=\"thd\"), got a batch of " + std::to_string(x.batch));
    const std::vector<std::int64_t> ends = whole_numbers(cu_seqlens, "cu_seqlens");
    if (offsets.size() == 1 && ends.size() > 1) offsets.resize(ends.size() - 1, offsets.front());
    numbers_ = value_or_refuse(positions_from_cu_seqlens(ends, offsets));
    if (static_cast<std::int64_t>(numbers_.size()) != x.tokens)
      refuse("cu_seqlens", "want it to end at " + std::to_string(x.tokens) + ", the tokens there are, got " +
                               std::to_string(numbers_.size()));
  } else if (offsets.size() <= 1) {
    if (offsets.empty()) offsets = {0};
    numbers_ = value_or_refuse(positions_from_offsets(offsets, 1, x.tokens));
  } else {
    numbers_ = value_or_refuse(positions_from_offsets(offsets, x.batch, x.tokens));
    whole_.batch = x.batch;
    whole_.batch_stride = x.tokens;
  }
  numbers_.reserve(1);  // an address even for no token
  whole_.data = numbers_.data();
}

namespace {

bool is_of(nb::handle object, const char* package) {
  const nb::handle type = object.type();
  if (!nb::hasattr(type, "__module__")) return false;
  const auto module = nb::cast<std::string>(nb::str(type.attr("__module__")));
  return module == package || module.rfind(std::string(package) + ".", 0) == 0;
}

}  // namespace

nb::object empty_like(nb::handle object) {
  if (is_of(object, "torch")) return nb::module_::import_("torch").attr("empty_like")(object);
  return nb::module_::import_("numpy").attr("empty")(object.attr("shape"), nb::arg("dtype") = object.attr("dtype"));
}

nb::object finished(nb::object filled, nb::handle like) {
  if (is_of(like, "torch") || is_of(like, "numpy") || !nb::hasattr(like, "__array_namespace__")) return filled;
  return like.attr("__array_namespace__")().attr("asarray")(filled);
}

}  // namespace ropewalk::python
