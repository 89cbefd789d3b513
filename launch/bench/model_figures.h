// How fast a whole model reads prompts and writes answers, through the engine, beside what the
// device does in the products, the attention and the reading that this takes.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "comm/machine.h"
#include "launch/bench/timing.h"
#include "runtime/engine/job.h"
#include "runtime/engine/load_model.h"

namespace longspan {

/// What a model takes of a device, by its shape alone.
class ModelWork {
 public:
  ModelWork(const ModelConfig& whole, Precision precision, KvType kv);

  /// FLOP of a prompt: every product, that by the vocabulary for its last token alone, and
  /// attention of what each token sees.
  double prefill_flop(std::int64_t tokens) const;
  /// Bytes of the matrices, all of which a token of an answer is multiplied by.
  double weight_bytes() const { return weight_bytes_; }
  /// Bytes of the keys and values that a token at `position` sees, its own included.
  double key_bytes(std::int64_t position) const;

 private:
  /// Rows and keys that they see, over all layers, for rows [first, end) of a sequence.
  double pairs(std::int64_t first, std::int64_t end) const;

  LayerMasks masks_;
  int layers_;
  HeadShape heads_;
  KvType kv_;
  double layer_values_;  // of the matrices of all layers
  double output_values_;
  double weight_bytes_;
};

/// Who computes: what a rank has to do follows from it.
struct ModelSplit {
  int degree = 1;  // instances
  int tp = 1;      // ranks of each
  DecodeStrategy decode = DecodeStrategy::kShipped;

  int ranks() const { return degree * tp; }
  /// That read weights for a token at once: all, or those of the instance that computes it.
  int weight_readers() const;
  /// Of all weights, what each of them reads.
  double weight_share() const;
};

/// The yardsticks, measured in the same run.
struct ModelRates {
  double flop_per_second = 0;          // of a matrix product, all ranks together
  double weight_bytes_per_second = 0;  // of a rank's memory, while all that read weights do
  double key_bytes_per_second = 0;     // the same while all ranks do
};

/// All ranks call it, those beyond the split's too.
ModelRates measure_rates(Machine& machine, ModelOps& ops, const ModelSplit& split,
                         std::chrono::duration<double> per_figure);

struct ModelFigure {
  std::int64_t tokens = 1;     // of the prompt
  Timing read;                 // from its submission to the first token of the answer
  Timing token;                // of each further token, on average of the answer
  double read_yardstick = 0;   // s: products and attention at the matrix product's rate
  double token_bytes = 0;      // that the rank with most reads for a token: weights, then keys
  double token_yardstick = 0;  // s: the same at the rate of memory

  double tokens_per_second() const { return static_cast<double>(tokens) / read.seconds; }
  /// 1 is as fast as the yardstick.
  double read_ratio() const { return read_yardstick / read.seconds; }
  double token_ratio() const { return token_yardstick / token.seconds; }
};

/// What is read and written.
struct ModelRuns {
  std::vector<std::int64_t> lengths;  // of prompts
  std::int64_t answer = 2;            // tokens, 2 at least
  int repeat = 2;                     // the first does not count; 2 at least
};

/// What rank 0 hears: how far a run is, and each length's figures.
struct ModelListener {
  /// Run `run` of `runs` at a length has read so many tokens of it, and written so many.
  std::function<void(std::int64_t length, int run, std::int64_t read, std::int64_t written)>
      progress;
  std::function<void(const ModelFigure&)> figure;
};

/// Every rank calls it; rank 0 with the listener, the others without. Stops behind a step when rank
/// 0 is interrupted. Throws as Engine::open().
void measure_model(Machine& machine, LoadedModel& model, const JobOptions& job,
                   const ModelRuns& runs, const ModelWork& work, const ModelSplit& split,
                   const ModelRates& rates, const ModelListener* listener,
                   const std::atomic<bool>& interrupted);

}  // namespace longspan
