// Tensor parallelism as shapes: what each rank of an instance holds of the model.
//
// The ranks of an instance hold one copy of the weights together, each a part of every layer
// (Megatron-LM, arXiv 1909.08053):
//
//   QKV                 outputs: own query heads, and the KV heads that they read
//   output projection   inputs: own query heads                 a partial sum of every output
//   gate, up            outputs: own columns of the feed-forward network
//   down                inputs: those columns                   a partial sum of every output
//   vocabulary          outputs: own tokens                     a part of the logits
//   embedding, norms    all of it, on every rank
//
// Query heads are dealt evenly. With more ranks than KV heads several ranks hold the same KV head;
// each keeps keys and values of its own. Columns and tokens are cut anywhere, and where they do not
// divide evenly the larger parts come first: memory is planned by the first rank, for all.
#pragma once

#include <vector>

#include "attention/even_slice.h"
#include "runtime/model/model_config.h"

namespace longspan {

/// A part, as slices of the whole model.
struct PartSlices {
  Slice query_heads;
  Slice kv_heads;
  Slice ffn;
  Slice vocabulary;
};

/// How many ranks may hold the model together, ascending: a number that divides the query heads,
/// that divides the KV heads or is a multiple of them, and that leaves nobody without a column.
std::vector<int> usable_part_counts(const ModelConfig& whole);

/// `part.ranks` is usable.
PartSlices slices_of(const ModelConfig& whole, const ModelPart& part);
/// The KV heads, of so many, that the part holds.
Slice kv_slice(int kv_heads, const ModelPart& part);
/// The model as the rank of that part computes it.
ModelConfig part_of(const ModelConfig& whole, const ModelPart& part);

/// The tokens whose logits a part computes.
Slice vocabulary_slice(int vocabulary, const ModelPart& part);

}  // namespace longspan
