// A target without a product of bf16. No include guard on purpose: it is read once per target.
constexpr auto kMultiplyPairs = static_cast<void (*)(const Product<std::uint32_t>&) noexcept>(nullptr);
constexpr auto kSoftmaxPairs = static_cast<void (*)(const SoftmaxPanel&, std::uint32_t*) noexcept>(nullptr);
constexpr auto kPairRows =
    static_cast<void (*)(const void*, std::int64_t, std::int64_t, std::int64_t, std::uint32_t*, std::int64_t) noexcept>(
        nullptr);
