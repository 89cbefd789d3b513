#include "attention/mirrored_decode.h"

#include <algorithm>
#include <vector>

#include "attention/scratch.h"

namespace longspan {

//   compute  | q x own keys | partials to and from all | merge      time -->
//
// There is nothing to do while the partials travel, so the exchange runs on the compute stream,
// which saves two hand-overs between streams and every wait.

std::int64_t MirroredDecode::scratch_values(const HeadShape& shape, const DecodeLimits& limits) {
  return limits.ranks * area_values(limits.rows * partial_values(shape)) +
         area_values(limits.rows * shape.query_heads);
}

void MirroredDecode::run(Stream& compute, const Group& group, const DecodeBatch& batch,
                         const KvPages& pages, const float* q, float* out) {
  const HeadShape& shape = kernels_.shape();
  const std::int64_t width = query_values(shape);
  Scratch scratch(memory_.scratch);
  std::vector<std::vector<int>> owned(batch.size);
  std::vector<float*> message(batch.size);  // rank j's partials of the rows it owns columns of
  const auto values = [&](int j) { return std::ssize(owned[j]) * partial_values(shape); };
  const auto partial_of = [&](int j, std::int64_t i) {
    return partial_row(partial_at(message[j], std::ssize(owned[j]), shape), i, shape);
  };
  for (int j = 0; j < batch.size; ++j) {
    owned[j] = batch.owned(j);
    message[j] = scratch.take(values(j));
  }

  std::vector<DecodeRow> local;
  for (std::int64_t i = 0; i < std::ssize(owned[batch.rank]); ++i) {
    const int row = owned[batch.rank][i];
    local.push_back(local_row(batch, row, pages, q + row * width, partial_of(batch.rank, i)));
  }
  if (!local.empty()) kernels_.decode(compute, std::move(local));

  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (int j = 0; j < batch.size; ++j) {
    if (j == batch.rank) continue;
    sends.push_back({j, message_bytes(message[batch.rank], values(batch.rank))});
    receives.push_back({j, message_bytes(message[j], values(j))});
  }
  group.exchange(compute, std::move(sends), std::move(receives));

  float* unread = scratch.take(std::ssize(batch.rows) * shape.query_heads);  // the merged lse
  const Partial results{out, unread};
  for (int row = 0; row < std::ssize(batch.rows); ++row) {
    std::vector<Partial> partials;
    for (int owner : batch.rows[row].owners) {
      partials.push_back(
          partial_of(owner, std::ranges::find(owned[owner], row) - owned[owner].begin()));
    }
    kernels_.merge(compute, std::move(partials), partial_row(results, row, shape), 1);
  }
}

}  // namespace longspan
