// Keys and values in narrow types: conversion, and kernels that read them.
#include "attention/kv_type.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "attention/cpu/cpu_kernels.h"
#include "attention/cpu/instruction_set.h"
#include "attention/kv_pages.h"
#include "comm/cpu/cpu_device.h"
#include "tests/attention/dense_attention.h"

namespace longspan {
namespace {

constexpr std::array kNarrow{KvType::kFloat16, KvType::kBFloat16};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const ValueConversion& conversion(const CompiledKernels& kernels, KvType type) {
  return type == KvType::kFloat16 ? kernels.float16 : kernels.bfloat16;
}

std::vector<std::uint16_t> narrowed(KvType type, const std::vector<float>& values) {
  std::vector<std::uint16_t> out(values.size());
  narrow(type, values.data(), std::ssize(values), out.data());
  return out;
}

std::vector<float> there_and_back(KvType type, const std::vector<float>& values) {
  const auto there = narrowed(type, values);
  std::vector<float> out(values.size());
  widen(type, there.data(), std::ssize(values), out.data());
  return out;
}

/// Borders of rounding, of exponents and of the types' ranges, each with both signs.
std::vector<float> hard_values() {
  std::vector<float> values{0, 1, 65504, 65519.99f, 65520, 70000, 1e30f, kInfinity};
  for (int exponent = -149; exponent <= 127; ++exponent) {
    for (float mantissa : {1.0f, 1.00048828125f, 1.0004883f, 1.00390625f, 1.0039063f, 1.01171875f,
                           1.5f, 1.9995117f, 1.99999988f}) {
      values.push_back(std::ldexp(mantissa, exponent));
    }
  }
  const std::size_t positive = values.size();
  for (std::size_t i = 0; i < positive; ++i) values.push_back(-values[i]);
  return values;
}

TEST(KvTypeTest, EveryNarrowValueComesBack) {
  std::vector<std::uint16_t> all(1 << 16);
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  for (KvType type : kNarrow) {
    std::vector<float> wide(all.size());
    widen(type, all.data(), std::ssize(all), wide.data());
    const auto back = narrowed(type, wide);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (std::isnan(wide[i])) continue;
      if (type == KvType::kFloat16 && std::isinf(wide[i])) continue;  // becomes the largest number
      ASSERT_EQ(back[i], all[i]) << name(type);
    }
  }
}

TEST(KvTypeTest, RoundingIsToTheNearest) {
  const std::vector<float> values = hard_values();
  for (KvType type : kNarrow) {
    const float largest = type == KvType::kFloat16 ? 65504.0f : std::bit_cast<float>(0x7f7f0000u);
    const int digits = type == KvType::kFloat16 ? 11 : 8;
    const float smallest = std::ldexp(1.0f, type == KvType::kFloat16 ? -24 : -133);
    const auto rounded = there_and_back(type, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (std::abs(values[i]) > largest) continue;
      const float unit = std::max(smallest, std::ldexp(std::abs(values[i]), -digits));
      EXPECT_LE(std::abs(rounded[i] - values[i]), unit) << name(type) << " " << values[i];
    }
  }
}

TEST(KvTypeTest, WhatIsTooLargeForFloat16BecomesItsLargestNumber) {
  EXPECT_EQ(there_and_back(KvType::kFloat16, {65520, -1e30f, kInfinity, -kInfinity}),
            (std::vector<float>{65504, -65504, 65504, -65504}));
  for (KvType type : kNarrow) {
    EXPECT_TRUE(std::isnan(there_and_back(type, {std::bit_cast<float>(0x7f800001u)})[0]));
  }
}

TEST(KvTypeTest, EveryInstructionSetConvertsAlike) {
  const std::vector<float> values = hard_values();
  const auto count = std::ssize(values);
  for (const CompiledKernels* kernels : supported_kernels()) {
    for (KvType type : kNarrow) {
      const auto expected = narrowed(type, values);
      std::vector<std::uint16_t> narrow_values(count);
      conversion(*kernels, type).narrow(values.data(), count, narrow_values.data());
      EXPECT_EQ(narrow_values, expected) << kernels->name << " " << name(type);
      std::vector<float> wide(count);
      conversion(*kernels, type).widen(expected.data(), count, wide.data());
      EXPECT_EQ(wide, there_and_back(type, values)) << kernels->name << " " << name(type);
    }
  }
}

struct Int8 {
  float scale;
  std::vector<std::int8_t> integers;

  bool operator==(const Int8&) const = default;
};

Int8 to_int8(const std::vector<float>& values) {
  const auto rounded = narrowed(KvType::kBFloat16, values);
  Int8 out{.scale = 0, .integers = std::vector<std::int8_t>(values.size(), 99)};
  out.scale = narrow_to_int8(rounded.data(), std::ssize(rounded), out.integers.data());
  return out;
}

std::vector<float> from_int8(const Int8& from) {
  std::vector<float> out(from.integers.size());
  widen_int8(from.integers.data(), std::ssize(out), from.scale, out.data());
  return out;
}

TEST(Int8Test, ValuesAreWholeMultiplesOfThe127thOfTheLargestTiesToEven) {
  const Int8 ones = to_int8({0, -127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 3.25, -3.75});
  EXPECT_EQ(ones.scale, 1.0f);
  EXPECT_EQ(ones.integers, (std::vector<std::int8_t>{0, -127, 0, 2, 2, 0, -2, -2, 126, 3, -4}));
  EXPECT_EQ(to_int8({-3}).integers.front(), -127);
}

TEST(Int8Test, NothingIsFurtherOffThanHalfAStep) {
  const auto problem = test::random_problem({4, 4, 64}, 1, 1024, 3);
  const auto exact = there_and_back(KvType::kBFloat16, problem.k);
  const Int8 rounded = to_int8(problem.k);
  const auto wide = from_int8(rounded);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    ASSERT_LE(std::abs(wide[i] - exact[i]), rounded.scale * 0.5f * 1.00001f);
  }
}

TEST(Int8Test, AllZeroHasScaleZero) {
  EXPECT_EQ(to_int8({0, -0.0f, 0}), (Int8{0, {0, 0, 0}}));
  EXPECT_EQ(from_int8({0, {0, 0}}), (std::vector<float>{0, 0}));
}

TEST(Int8Test, TheLargestAndTheSmallestNumbersKeepTheirPlace) {
  const float largest = std::bit_cast<float>(0x7f7f0000u), smallest = std::ldexp(1.0f, -133);
  for (float most : {largest, smallest, std::ldexp(1.0f, -126), 1e30f, 1e-30f}) {
    const Int8 rounded = to_int8({most, -most, 0});
    EXPECT_EQ(rounded.integers, (std::vector<std::int8_t>{127, -127, 0})) << most;
    EXPECT_TRUE(std::isfinite(from_int8(rounded)[0])) << most;
    EXPECT_NEAR(from_int8(rounded)[0] / most, 1, 1.0 / 256) << most;  // bfloat16 first
  }
}

TEST(Int8Test, WhatIsNotAFiniteNumberMakesTheWholeHeadNotANumber) {
  for (float bad : {kInfinity, -kInfinity, std::bit_cast<float>(0x7fc00000u),
                    std::bit_cast<float>(0xffffffffu)}) {
    const Int8 rounded = to_int8({1, bad, -2});
    EXPECT_TRUE(std::isnan(rounded.scale));
    EXPECT_EQ(rounded.integers, (std::vector<std::int8_t>{0, 0, 0}));
    for (float value : from_int8(rounded)) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Int8Test, EveryInstructionSetRoundsAlike) {
  std::vector<std::vector<float>> cases{
      {0, 0}, {1, kInfinity}, {std::bit_cast<float>(0x7f7f0000u)}};
  for (std::int64_t count : {1, 7, 8, 15, 16, 17, 31, 64, 1000}) {
    cases.push_back(test::random_problem({1, 1, 1}, 1, count, 7).k);
  }
  std::vector<float> finite = hard_values();
  std::erase_if(finite, [](float value) { return std::abs(value) > 3.3e38f; });
  cases.push_back(finite);
  for (const CompiledKernels* kernels : supported_kernels()) {
    for (const auto& values : cases) {
      const Int8 expected = to_int8(values);
      const auto halves = narrowed(KvType::kBFloat16, values);
      Int8 found{.scale = 0, .integers = std::vector<std::int8_t>(values.size())};
      found.scale = kernels->int8.narrow(halves.data(), std::ssize(halves), found.integers.data());
      EXPECT_EQ(std::bit_cast<std::uint32_t>(found.scale) & 0x7fffffffu,
                std::bit_cast<std::uint32_t>(expected.scale) & 0x7fffffffu);
      EXPECT_EQ(found.integers, expected.integers) << kernels->name;
      if (std::isnan(expected.scale)) continue;
      std::vector<float> wide(values.size());
      kernels->int8.widen(expected.integers.data(), std::ssize(wide), expected.scale, wide.data());
      EXPECT_EQ(wide, from_int8(expected)) << kernels->name;
    }
  }
}

/// The same keys twice: float32 pages that hold what narrow pages widen to, and the narrow pages.
struct TwoPools {
  TwoPools(const test::DenseProblem& problem, std::int64_t page_tokens, KvType type)
      : wide(problem, test::iota(problem.keys()), page_tokens),
        narrow_memory(wide.memory().size()) {
    const auto values = wide.memory();
    narrow(type, values.data(), std::ssize(values), narrow_memory.data());
    narrow_view = wide.view();
    const auto v_offset = wide.view().values() - wide.view().keys();
    narrow_view.k = narrow_memory.data();
    narrow_view.v = narrow_memory.data() + v_offset;
    narrow_view.type = type;
    widen(type, narrow_memory.data(), std::ssize(values), values.data());
  }

  test::PagedKv wide;
  std::vector<std::uint16_t> narrow_memory;
  KvView narrow_view;
};

std::vector<float> attended(AttentionKernels& kernels, Stream& stream,
                            const test::DenseProblem& problem, const KvSegment& segment) {
  const auto items = problem.rows() * problem.shape.query_heads;
  std::vector<float> acc(items * problem.shape.head_dim), m(items), l(items);
  std::vector<std::int64_t> positions = test::iota(problem.rows());
  for (auto& position : positions) position += problem.keys() - problem.rows();
  const RunningState state{acc.data(), m.data(), l.data()};
  kernels.reset(stream, state, problem.rows());
  kernels.attend(stream, {.q = problem.q.data(), .positions = positions}, {segment}, state);
  kernels.finish(stream, state, {acc.data(), m.data()}, problem.rows());
  std::vector<float> decoded(problem.shape.query_heads * (problem.shape.head_dim + 1));
  const Partial out{decoded.data(),
                    decoded.data() + problem.shape.query_heads * problem.shape.head_dim};
  KvSegment whole = segment;
  whole.mask = Mask::full();
  kernels.decode(stream, {{problem.q.data(), {whole}, out}});
  stream.synchronize();
  acc.insert(acc.end(), m.begin(), m.end());
  acc.insert(acc.end(), decoded.begin(), decoded.end());
  return acc;
}

/// Queries and keys in eighths: then scores are exact, in whatever order a kernel adds products up.
test::DenseProblem problem_in_eighths(const HeadShape& shape, std::int64_t keys) {
  auto problem = test::random_problem(shape, std::min<std::int64_t>(keys, 40), keys, 5);
  for (auto* values : {&problem.q, &problem.k}) {
    for (float& value : *values) value = std::round(8 * value) / 8;
  }
  problem.scale = 0.125f;
  return problem;
}

TEST(KvTypeTest, AttentionOverNarrowPagesIsThatOverTheirValues) {
  CpuDevice device(1);
  const auto stream = device.new_stream();
  for (const CompiledKernels* compiled : supported_kernels()) {
    for (const HeadShape& shape : {HeadShape{9, 3, 64}, HeadShape{2, 1, 24}, HeadShape{4, 1, 40}}) {
      for (std::int64_t keys : {1, 7, 64, 65, 700}) {
        const auto problem = problem_in_eighths(shape, keys);
        for (std::int64_t page_tokens : {0, 1, 7, 16, 128}) {
          for (KvType type : kNarrow) {
            const TwoPools pools(problem, page_tokens, type);
            CpuAttentionKernels kernels(shape, problem.scale, *compiled);
            const PositionRun all{.first = 0, .block = keys, .stride = keys, .count = keys};
            KvSegment segment = pools.wide.causal_segment(all);
            const auto expected = attended(kernels, *stream, problem, segment);
            segment.view = pools.narrow_view;
            ASSERT_EQ(attended(kernels, *stream, problem, segment), expected)
                << compiled->name << ", " << keys << " keys in pages of " << page_tokens << ", "
                << name(type);
          }
        }
      }
    }
  }
}

TEST(KvTypeTest, CopiesConvertBetweenPagesOfAnySize) {
  const HeadShape shape{2, 2, 24};
  const auto problem = test::random_problem(shape, 1, 100, 6);
  CpuDevice device(1);
  const auto stream = device.new_stream();
  for (const CompiledKernels* compiled : supported_kernels()) {
    CpuAttentionKernels kernels(shape, 1.0f, *compiled);
    for (KvType type : kNarrow) {
      const test::PagedKv source(problem, test::iota(100), 7);
      TwoPools pools(problem, 16, type);
      const std::vector<float> expected(pools.wide.memory().begin(), pools.wide.memory().end());
      std::ranges::fill(pools.narrow_memory, 0xffff);
      std::ranges::fill(pools.wide.memory(), std::numeric_limits<float>::quiet_NaN());
      const PositionRun all{.first = 0, .block = 100, .stride = 100, .count = 100};
      kernels.copy_kv(*stream, {{source.view(), 0, pools.narrow_view, all}});
      kernels.copy_kv(*stream, {{pools.narrow_view, 0, pools.wide.view(), all}});
      stream->synchronize();
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const float found = pools.wide.memory()[i];
        ASSERT_TRUE(found == expected[i] || (std::isnan(found) && std::isnan(expected[i]))) << i;
      }
      EXPECT_THROW(kernels.copy_kv(*stream, {{pools.narrow_view, 0,
                                              [&] {
                                                KvView other = pools.narrow_view;
                                                other.type = type == KvType::kFloat16
                                                                 ? KvType::kBFloat16
                                                                 : KvType::kFloat16;
                                                return other;
                                              }(),
                                              all}}),
                   std::logic_error);
    }
  }
}

/// Whole int8 pages in slots that run backwards, and float32 pages that hold what they widen to.
struct Int8Pools {
  Int8Pools(AttentionKernels& kernels, Stream& stream, const test::DenseProblem& problem,
            std::int64_t page_tokens)
      : pages((problem.keys() + page_tokens - 1) / page_tokens),
        wide(problem, test::iota(problem.keys()), page_tokens, test::PagedKv::kReversed),
        filling(pages * page_bytes(KvType::kBFloat16, problem.shape, page_tokens)),
        memory(pages * page_bytes(KvType::kInt8, problem.shape, page_tokens), std::byte{0x55}) {
    for (std::int64_t page = pages; page-- > 0;) {
      table.push_back(static_cast<std::int32_t>(page));
    }
    view = pages_at(memory.data(), KvType::kInt8, problem.shape, page_tokens);
    view.table = table.data();
    const KvView half =
        pages_at(filling.data(), KvType::kBFloat16, problem.shape, page_tokens);  // zeros at first
    const auto run = [](std::int64_t count) {
      return PositionRun{.first = 0, .block = count, .stride = count, .count = count};
    };
    kernels.copy_kv(stream, {{wide.view(), 0, half, run(problem.keys())}});
    kernels.copy_kv(stream, {{half, 0, view, run(pages * page_tokens)}});
    kernels.copy_kv(stream, {{view, 0, wide.view(), run(problem.keys())}});
    stream.synchronize();
  }

  std::int64_t pages;
  test::PagedKv wide;
  std::vector<std::byte> filling, memory;
  std::vector<std::int32_t> table;
  KvView view;
};

TEST(Int8Test, AttentionOverPagesIsThatOverTheirValues) {
  CpuDevice device(1);
  const auto stream = device.new_stream();
  for (const CompiledKernels* compiled : supported_kernels()) {
    for (const HeadShape& shape : {HeadShape{9, 3, 64}, HeadShape{2, 1, 24}}) {
      for (std::int64_t keys : {1, 7, 64, 65, 700}) {
        const auto problem = test::random_problem(shape, std::min<std::int64_t>(keys, 40), keys, 5);
        CpuAttentionKernels kernels(shape, problem.scale, *compiled);
        for (std::int64_t page_tokens : {1, 2, 7, 16, 1024}) {
          const Int8Pools pools(kernels, *stream, problem, page_tokens);
          const PositionRun all{.first = 0, .block = keys, .stride = keys, .count = keys};
          KvSegment segment = pools.wide.causal_segment(all);
          const auto expected = attended(kernels, *stream, problem, segment);
          segment.view = pools.view;
          ASSERT_EQ(attended(kernels, *stream, problem, segment), expected)
              << compiled->name << ", " << keys << " keys in pages of " << page_tokens;
        }
      }
    }
  }
}

TEST(Int8Test, AHeadOfAPageIsRoundedByItselfAndPagesAreCopiedWithTheirScales) {
  const HeadShape shape{2, 2, 16};
  CpuDevice device(1);
  const auto stream = device.new_stream();
  const auto problem = test::random_problem(shape, 1, 12, 6);
  CpuAttentionKernels kernels(shape, 1.0f, *supported_kernels().front());
  const Int8Pools pools(kernels, *stream, problem, 4);
  std::vector<std::byte> memory(pools.memory.size());
  const KvView copied = pages_at(memory.data(), KvType::kInt8, shape, 4);
  kernels.copy_kv(*stream,
                  {{pools.view, 0, copied, {.first = 0, .block = 12, .stride = 12, .count = 12}}});
  stream->synchronize();
  for (std::int64_t page = 0; page < 3; ++page) {
    for (int head = 0; head < 2; ++head) {
      std::vector<float> values;
      for (std::int64_t column = 4 * page; column < 4 * page + 4; ++column) {
        const auto first = problem.v.begin() + (column * 2 + head) * 16;
        values.insert(values.end(), first, first + 16);
      }
      const Int8 expected = to_int8(values);
      for (const KvView& view : {pools.view, copied}) {
        EXPECT_EQ(*view.v_scale(4 * page, head), expected.scale);
        const auto* integers =
            static_cast<const std::int8_t*>(view.shifted(view.offset(4 * page, head, 16)).v);
        EXPECT_EQ(std::vector(integers, integers + 64), expected.integers);
      }
    }
  }
}

TEST(Int8Test, OnlyWholePagesOfBFloat16BecomeInt8) {
  const HeadShape shape{2, 2, 16};
  CpuDevice device(1);
  const auto problem = test::random_problem(shape, 1, 8, 6);
  CpuAttentionKernels kernels(shape, 1.0f, *supported_kernels().front());
  const auto stream = device.new_stream();
  const Int8Pools pools(kernels, *stream, problem, 4);
  std::vector<std::byte> memory(pools.filling);
  const auto run = [](std::int64_t first, std::int64_t count) {
    return PositionRun{.first = first, .block = count, .stride = count, .count = count};
  };
  for (KvType type : {KvType::kFloat32, KvType::kFloat16}) {
    KvView other = pages_at(memory.data(), type, shape, 4);
    EXPECT_THROW(kernels.copy_kv(*stream, {{other, 0, pools.view, run(0, 4)}}), std::logic_error);
  }
  const KvView halves = pages_at(memory.data(), KvType::kBFloat16, shape, 4);
  const auto other_stream = device.new_stream();
  kernels.copy_kv(*other_stream, {{halves, 0, pools.view, run(0, 3)}});
  EXPECT_THROW(other_stream->synchronize(), std::logic_error);
}

}  // namespace
}  // namespace longspan
