// From a model file to a model that can run, with weights shared by the ranks of a host.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "attention/precision.h"
#include "comm/machine.h"
#include "runtime/engine/worker.h"
#include "runtime/model/model_manifest.h"
#include "runtime/model/tensor_file.h"
#include "runtime/model/tokenizer.h"

namespace longspan {

struct LoadModelOptions {
  Precision precision = Precision::kFloat32;  // of matrix products and attention
  /// The most this host's ranks may use together; absent: what the host, or its GPUs, have.
  std::optional<std::int64_t> memory_limit;
  /// Ranks of an instance, which hold the weights together (InstanceRanks): one of
  /// usable_part_counts(), of which the number of ranks is a multiple.
  int tp = 1;
  /// Bytes of the file read so far and in all; called on the first rank of each host.
  std::function<void(std::uint64_t, std::uint64_t)> progress;
  /// The same while files are compared with the model's manifest, which comes before.
  std::function<void(std::uint64_t, std::uint64_t)> check_progress;
};

/// Dummy: the configuration of a folder, and made-up weights.
enum class LoadFormat { kAuto, kDummy };

/// Whether a model is compared with its manifest, if it has one.
enum class ManifestUse { kCheck, kIgnore };

/// What a model says of itself: enough to check prompts and plan memory before weights are read.
struct OpenedModel {
  std::unique_ptr<TensorFile> file;  // null: weights are made up
  ModelConfig config;
  Tokenizer tokenizer;
  std::optional<ModelManifest> manifest = {};  // which lists the model's files, of these sizes
};

/// `wish`, or else what is fastest on every rank of the job: bfloat16 on GPUs or where all have
/// AMX, float32 if any has not. Every rank calls it.
Precision agreed_precision(Machine& machine, std::optional<Precision> wish);

/// The GGUF file or Hugging Face folder at `path`, its weights unread. Throws MissingInput or
/// DataError, also where files are not those that the manifest lists.
OpenedModel open_model(const std::string& path, ManifestUse use = ManifestUse::kCheck);

/// Every rank calls these two alike; a failure of any rank is thrown on all. open_model throws
/// MissingInput, DataError, or UsageError for made-up weights of a file; load_model DataError or
/// OutOfMemory. A model with a manifest is read
/// and compared with it first, by one rank of each host.
OpenedModel open_model(Machine& machine, const std::string& path,
                       ManifestUse use = ManifestUse::kCheck,
                       LoadFormat format = LoadFormat::kAuto);
LoadedModel load_model(Machine& machine, OpenedModel opened, const LoadModelOptions& options);

/// Bytes that the scarcest rank of the job can still take: of its device's memory, or of an equal
/// share of its host's, idle ranks having one too. The same on every rank.
std::int64_t memory_left_per_rank(Machine& machine, const LoadedModel& model,
                                  std::optional<std::int64_t> memory_limit);

}  // namespace longspan
