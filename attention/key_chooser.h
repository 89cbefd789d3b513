// Chooses, layer by layer, the keys that count where a mask leaves that open (key_choice.h).
//
// Every rank of the group makes the whole choice, from what all ranks say of their rows: so all
// agree to the bit, any rank can attend any row, and no strategy need know. A prompt is one chunk:
// what is chosen for its rows depends on all of it.
#pragma once

#include <cstdint>
#include <memory>

#include "attention/approximation.h"
#include "attention/kernels.h"
#include "attention/prefill_attention.h"
#include "attention/split_chunk.h"
#include "comm/device.h"
#include "comm/group.h"

namespace longspan {

/// Queries and keys of this rank's rows of a chunk.
struct ChunkRows {
  const float* q = nullptr;  // (rows, query_heads, head_dim) after RoPE
  KvView keys;               // float32, a column for each row
};

class KeyChooser {
 public:
  virtual ~KeyChooser() = default;

  /// Where the choice for a prompt of `tokens` is from one choose() to the next.
  virtual KeyChoice choice(std::int64_t tokens) const = 0;
  /// Enqueues the choice for `chunk`, a whole prompt, which must live until `compute` is past the
  /// call. Ranks of the group exchange on `compute`.
  virtual void choose(Stream& compute, const Group& group, const SplitChunk& chunk,
                      const ChunkRows& rows) = 0;
};

/// What a chooser for prompts within `limits` allocates; 0 if the approximation needs none.
std::size_t chooser_bytes(const HeadShape& shape, const Approximation& approximation,
                          const PrefillLimits& limits);

/// Nothing if the approximation needs none. Throws ConfigError for kernels that read no choices.
std::unique_ptr<KeyChooser> new_key_chooser(Device& device, const AttentionKernels& kernels,
                                            const Approximation& approximation,
                                            const PrefillLimits& limits);

}  // namespace longspan
