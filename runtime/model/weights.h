// A model's weights as the layers use them, in one block of memory that all ranks of a host share
// that hold the same part of the model (model_part.h): all of them, unless instances have several
// ranks.
//
//   leader (first rank of the host)             the other ranks of the host
//   offers a memfd of the planned size  ----->  open /proc/<pid>/fd/<n>, check it, map it read-only
//   reads, dequantises, packs                   wait
//   seals it, maps it read-only         ----->  use it
//
// Where a rank cannot open the memfd (other PID namespace, other user) the leader offers an
// unlinked file in $TMPDIR instead; a rank that cannot open that either loads a copy of its own
// and says so in one warning.
//
// A device with memory of its own gets a copy of the block, and the host's is then let go.
//
// Queries and keys are converted here from the file's order of rows to the half-split order that
// rope.h rotates (head_order.h).
#pragma once

#include <cstdint>
#include <memory>

#include "comm/communicator.h"
#include "runtime/model/host_ranks.h"
#include "runtime/model/model_config.h"
#include "runtime/model/ops.h"
#include "runtime/model/tensor_file.h"
#include "runtime/model/weight_filler.h"

namespace longspan {

/// Widths are those of the rank's part. Biases and norms that the model has not are null.
struct LayerWeights {
  NormWeight attention_norm;
  PackedMatrix qkv;                 // (q_width + 2 kv_width, hidden)
  const float* qkv_bias = nullptr;  // (q_width + 2 kv_width)
  NormWeight query_norm;            // of each query head, (head_dim)
  NormWeight key_norm;
  PackedMatrix attention_output;  // (hidden, q_width)
  NormWeight attention_post_norm;
  NormWeight ffn_norm;
  PackedMatrix gate_up;  // (2 ffn, hidden): gate first
  PackedMatrix down;     // (hidden, ffn)
  NormWeight ffn_post_norm;
};

struct LoadOptions {
  /// Threads of the leader: the host's allowed cores, since the other ranks only wait.
  int threads = 1;
  LoadProgress progress = {};  // called on the leader
  ModelPart part = {};         // what is loaded of the model; the same on all ranks of `host`
  /// Where the block is copied to when it is filled; null: it stays in the host's memory.
  Device* device = nullptr;
  /// How long the other ranks wait for the leader.
  Patience patience = Patience::forever();
};

/// What loading did, for logs and metrics.
struct LoadReport {
  std::uint64_t file_bytes = 0;  // read by this rank; 0 where the leader read
  double seconds = 0;            // until the weights could be used
  bool shared = false;           // with the other ranks of the host

  double gigabytes_per_second() const { return seconds > 0 ? file_bytes / seconds / 1e9 : 0; }
};

class ModelWeights {
 public:
  /// Every rank of `host` calls this with the same file and its (whole) configuration. Throws
  /// DataError naming the tensor that is missing, unknown, misshapen or holds a value that is not
  /// finite; the other ranks throw what their leader threw.
  static ModelWeights load(const TensorFile& file, const ModelConfig& config, const ModelOps& ops,
                           const HostRanks& host, const LoadOptions& options);
  /// Made-up weights in the device's memory (dummy_weights.h), for `part` of the model: no file is
  /// read and nothing is shared. Throws OutOfMemory.
  static ModelWeights made_up(const ModelConfig& config, const ModelOps& ops, Device& device,
                              const ModelPart& part);
  ~ModelWeights();
  ModelWeights(ModelWeights&&) noexcept;
  ModelWeights& operator=(ModelWeights&&) noexcept;

  const Embedding& embedding() const;
  const LayerWeights& layer(int index) const;
  const NormWeight& output_norm() const;
  const PackedMatrix& output() const;  // (vocabulary, hidden), or the part's tokens of it

  /// Bytes of the block, which ranks of a host with the same part share, unless their devices have
  /// copies.
  std::size_t bytes() const;
  const LoadReport& report() const;

 private:
  struct Parts;
  explicit ModelWeights(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace longspan
