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

TEST(KvTypeTest, AttentionOverNarrowPagesIsThatOverTheirValues) {
  CpuDevice device(1);
  const auto stream = device.new_stream();
  for (const CompiledKernels* compiled : supported_kernels()) {
    for (const HeadShape& shape : {HeadShape{9, 3, 64}, HeadShape{2, 1, 24}}) {
      for (std::int64_t keys : {1, 7, 64, 65, 700}) {
        const auto problem = test::random_problem(shape, std::min<std::int64_t>(keys, 40), keys, 5);
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

}  // namespace
}  // namespace longspan
