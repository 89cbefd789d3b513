#include "runtime/model/model_part.h"

#include "attention/divisors.h"
#include "comm/error.h"

namespace longspan {
namespace {

Slice larger_first(int width, const ModelPart& part) {
  return even_slice(width, 1, part.ranks - 1 - part.index, part.ranks);
}

}  // namespace

/// Those that its query heads read.
Slice kv_slice(int kv_heads, const ModelPart& part) {
  if (part.ranks <= kv_heads) return even_slice(kv_heads, 1, part.index, part.ranks);
  return {part.index / (part.ranks / kv_heads), 1};
}

std::vector<int> usable_part_counts(const ModelConfig& whole) {
  const int kv_heads = whole.heads.kv_heads;
  std::vector<int> usable;
  for (int ranks : divisors(whole.heads.query_heads)) {
    const bool deals_kv = kv_heads % ranks == 0 || ranks % kv_heads == 0;
    if (deals_kv && ranks <= whole.ffn && ranks <= whole.vocabulary) usable.push_back(ranks);
  }
  return usable;
}

PartSlices slices_of(const ModelConfig& whole, const ModelPart& part) {
  expects(whole.part == ModelPart{}, "a part is cut from a whole model");
  expects(whole.heads.query_heads % part.ranks == 0, "query heads are dealt evenly");
  return {.query_heads = even_slice(whole.heads.query_heads, 1, part.index, part.ranks),
          .kv_heads = kv_slice(whole.heads.kv_heads, part),
          .ffn = larger_first(whole.ffn, part),
          .vocabulary = vocabulary_slice(whole.vocabulary, part)};
}

ModelConfig part_of(const ModelConfig& whole, const ModelPart& part) {
  const PartSlices own = slices_of(whole, part);
  ModelConfig config = whole;
  config.heads.query_heads = own.query_heads.count;
  config.heads.kv_heads = own.kv_heads.count;
  config.ffn = own.ffn.count;
  config.part = part;
  return config;
}

Slice vocabulary_slice(int vocabulary, const ModelPart& part) {
  return larger_first(vocabulary, part);
}

}  // namespace longspan
