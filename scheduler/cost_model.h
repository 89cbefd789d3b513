// What steps will take, for every degree: what the scheduler prices its choices with.
//
// Measured for some degrees; the others lie between them. Where costs are compared, they are
// compared as whole nanoseconds, so that two compilers decide alike.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "scheduler/decode_cost.h"
#include "scheduler/prefill_cost.h"

namespace longspan {

using Nanoseconds = std::int64_t;

Nanoseconds to_nanoseconds(double seconds);

class CostModel {
 public:
  /// By degree, one each at least. Plans and the log of decisions name the version.
  CostModel(std::map<int, PrefillCost> prefill, std::map<int, DecodeCost> decode, int version);

  int version() const { return version_; }
  /// Of any degree from 1 on. Between two that were measured a, s b, s c and s d are taken to be
  /// linear in the degree s; beyond the last they stay as they are there.
  PrefillCost prefill(int degree) const;
  DecodeCost decode(int degree) const;

  /// A step with chunks and rows; either may be missing.
  Nanoseconds step(int degree, std::span<const ChunkSize> chunks, const DecodeShape& rows) const;
  /// The least, over degrees 1 ... `most_degree`, that the rest of a prompt takes by itself in
  /// chunks of `chunk_per_rank` tokens a rank.
  Nanoseconds solo(const ChunkSize& rest, int most_degree, std::int64_t chunk_per_rank) const;

 private:
  std::map<int, PrefillCost> prefill_;
  std::map<int, DecodeCost> decode_;
  int version_;
};

/// Llama-3-8B's on A100s, degrees 1 ... 16: a fit of what Tetris (arXiv 2511.06247) reports in its
/// first table. What simulations take until something was measured.
std::map<int, PrefillCost> a100_prefill_costs();

}  // namespace longspan
