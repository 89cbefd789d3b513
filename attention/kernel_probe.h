// Times the attention kernels of one rank on made-up keys, of the type in which new columns reach
// them at best (AttentionKernels::new_columns). The part of calibration that needs no other rank.
//
// Attention is timed to the end, as attend_whole() has it: so all strategies run it but the rings
// of keys, of which a rank alone is none. These attend to one stream after the other and carry a
// state from launch to launch: what that costs beside is in no rate.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "attention/kernels.h"
#include "comm/device.h"

namespace longspan {

class KernelProbe {
 public:
  /// Room for `most_rows` query rows and `most_columns` keys; allocates. Each figure then takes
  /// about `slice`, and three runs at least.
  KernelProbe(Device& device, AttentionKernels& kernels, std::int64_t most_rows,
              std::int64_t most_columns, std::chrono::duration<double> slice);

  /// FLOP/s of `rows` rows on keys that all of them see, to the end.
  double attention_flops_per_second(std::int64_t rows);
  /// FLOP/s of the pairs that count, when each of `rows` rows sees those up to itself. Of fewer
  /// rows if one run of so many takes longer than the slice: tiles are then a larger part of all.
  double masked_flops_per_second(std::int64_t rows);
  /// Bytes read and written per second by a merge of a few partials.
  double merge_bytes_per_second();
  /// Bytes per second of cached columns that are copied from short pages into one message.
  double copy_bytes_per_second();
  /// Of a kernel without work, and of handing over to another stream and back.
  double launch_seconds();

 private:
  double usual_seconds(const std::function<void()>& enqueue);
  double attend_seconds(std::int64_t rows, std::int64_t columns, bool causal);
  void attend_whole(std::int64_t rows, std::int64_t columns, bool causal);
  QueryRows queries(std::int64_t rows) const;
  KvSegment segment(std::int64_t columns, bool causal) const;
  RunningState state() const;
  double flop_per_pair() const;
  Partial partial(Buffer& buffer) const;

  Device& device_;
  AttentionKernels& kernels_;
  const std::int64_t most_rows_;
  const std::int64_t most_columns_;
  const std::chrono::duration<double> slice_;
  const KvType key_type_;
  std::vector<std::int64_t> positions_;
  Buffer q_, keys_, acc_, m_, l_;
  Buffer partials_[2];
  std::unique_ptr<Stream> other_;
  std::unique_ptr<Stream> compute_;  // last: drains before what its work touches goes
};

}  // namespace longspan
