#include "runtime/model/weights.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <vector>

#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"
#include "runtime/model/block_offer.h"
#include "runtime/model/dummy_weights.h"
#include "runtime/model/model_part.h"
#include "runtime/model/model_tensors.h"
#include "runtime/model/shared_block.h"
#include "runtime/model/weight_plan.h"

namespace longspan {
namespace {

/// One load: gives the filled block, by one of three ways.
struct Loading {
  const TensorFile& file;
  const ModelConfig& config;
  const WeightPlan& plan;
  const HostRanks& host;
  const LoadOptions& options;
  LoadReport& report;

  Mapping block() const {
    if (host.alone()) return private_block(options.threads, options.progress);
    return host.leads() ? shared_block() : followed_block();
  }

 private:
  Mapping private_block(int threads, const LoadProgress& progress) const {
    Mapping mapping = Mapping::anonymous(plan.bytes());
    mapping.populate_for_writing(threads);
    fill(mapping.bytes(), threads, progress);
    mapping.make_read_only();
    return mapping;
  }

  Mapping shared_block() const {
    BlockOffer offer(host, options.patience);
    try {
      const BlockFile block = agreed_block(offer);
      {
        const Mapping writable = block.map_writable();
        fill(writable.bytes(), options.threads, options.progress);
      }
      report.shared = true;
      Mapping mapping = block.seal_and_map();
      mapping.populate();
      offer.ready();
      return mapping;
    } catch (const CommError&) {
      throw;  // nobody to tell
    } catch (const std::exception& failure) {
      offer.failed(failure);
      throw;
    }
  }

  /// A memfd, unless somebody cannot map it and a temporary file can be had.
  BlockFile agreed_block(BlockOffer& offer) const {
    BlockFile memory = BlockFile::memory(plan.bytes());
    memory.use_large_pages(options.threads);
    if (offer.offer(memory, mark(memory))) return memory;
    std::optional<BlockFile> temporary = BlockFile::try_temporary(plan.bytes());
    if (!temporary) return memory;
    offer.offer(*temporary, mark(*temporary));
    temporary->unlink();
    return std::move(*temporary);
  }

  BlockMark mark(const BlockFile& block) const {
    const BlockMark mark = BlockMark::fresh(plan.digest());
    static_assert(sizeof(mark) <= WeightPlan::kHeaderBytes);
    const Mapping writable = block.map_writable();
    std::memcpy(writable.bytes().data() + plan.header(), &mark, sizeof(mark));
    return mark;
  }

  Mapping followed_block() const {
    std::optional<Mapping> mapping =
        await_block(host, plan.bytes(), plan.digest(), options.patience);
    if (mapping) {
      report.shared = true;
      mapping->populate();
      return std::move(*mapping);
    }
    log(LogLevel::kWarning,
        str("cannot share the weights of this host's rank {}: loading a copy of {} MB; give the "
            "ranks of a host one PID namespace, or a common $TMPDIR with that much room",
            host.leader(), plan.bytes() / 1'000'000));
    return private_block(std::max(1, options.threads / host.size()), {});
  }

  void fill(Bytes block, int threads, const LoadProgress& progress) const {
    report.file_bytes = fill_weights(file, config, options.part, plan, block, threads, progress);
  }
};

}  // namespace

struct ModelWeights::Parts {
  explicit Parts(WeightPlan the_plan) : plan(std::move(the_plan)) {}

  const std::byte* at(std::size_t offset) const {
    return (copy.bytes().empty() ? block.bytes() : copy.bytes()).data() + offset;
  }
  void move_to(Device& device) {
    copy = device.allocate(plan.bytes());
    const std::unique_ptr<Stream> stream = device.new_stream();
    device.copy(*stream, copy.bytes(), block.bytes());
    stream->synchronize();
    block = Mapping();
  }
  /// Null where the model has none.
  const float* values(std::optional<std::size_t> offset) const {
    return offset ? reinterpret_cast<const float*>(at(*offset)) : nullptr;
  }

  LayerWeights layer(const ModelConfig& config, const WeightPlan::Layer& offsets) const {
    const auto norm = [&](std::optional<std::size_t> offset, int width) {
      return NormWeight{values(offset), width, config.norm_epsilon};
    };
    const int hidden = config.hidden, dim = config.heads.head_dim;
    return {.attention_norm = norm(offsets.attention_norm, hidden),
            .qkv = {&plan.qkv_layout(), at(offsets.qkv), "matmul qkv"},
            .qkv_bias = values(offsets.qkv_bias),
            .query_norm = norm(offsets.query_norm, dim),
            .key_norm = norm(offsets.key_norm, dim),
            .attention_output = {&plan.attention_output_layout(), at(offsets.attention_output),
                                 "matmul attention_output"},
            .attention_post_norm = norm(offsets.attention_post_norm, hidden),
            .ffn_norm = norm(offsets.ffn_norm, hidden),
            .gate_up = {&plan.gate_up_layout(), at(offsets.gate_up), "matmul gate_up"},
            .down = {&plan.down_layout(), at(offsets.down), "matmul down"},
            .ffn_post_norm = norm(offsets.ffn_post_norm, hidden)};
  }

  void lay_out(const ModelConfig& config) {
    const TensorType type = plan.embedding_type();
    embedding = {type,
                 {at(plan.embedding()), byte_size(type, config.hidden) * config.vocabulary},
                 config.vocabulary,
                 config.hidden,
                 config.embedding_scale};
    for (int i = 0; i < config.layers; ++i) layers.push_back(layer(config, plan.layer(i)));
    output_norm = {values(plan.output_norm()), config.hidden, config.norm_epsilon};
    output = {&plan.output_layout(), at(plan.output()), "matmul logits"};
  }

  WeightPlan plan;
  Mapping block;
  Buffer copy;  // of the block, on a device with memory of its own
  LoadReport report;
  Embedding embedding;
  std::vector<LayerWeights> layers;
  NormWeight output_norm;
  PackedMatrix output;
};

ModelWeights ModelWeights::load(const TensorFile& file, const ModelConfig& config,
                                const ModelOps& ops, const HostRanks& host,
                                const LoadOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check_tensors(file, config);
  const ModelConfig own = part_of(config, options.part);
  auto parts = std::make_unique<Parts>(WeightPlan(own, embedding_type(file, config), ops));
  parts->block = Loading{file, config, parts->plan, host, options, parts->report}.block();
  if (options.device) parts->move_to(*options.device);
  parts->lay_out(own);
  parts->report.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return ModelWeights(std::move(parts));
}

ModelWeights ModelWeights::made_up(const ModelConfig& config, const ModelOps& ops, Device& device,
                                   const ModelPart& part) {
  const auto start = std::chrono::steady_clock::now();
  const ModelConfig own = part_of(config, part);
  auto parts = std::make_unique<Parts>(WeightPlan(own, TensorType::kBF16, ops));
  parts->copy = device.allocate(parts->plan.bytes());
  fill_with_dummies(device, own, parts->plan, parts->copy.bytes());
  parts->lay_out(own);
  parts->report.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return ModelWeights(std::move(parts));
}

ModelWeights::ModelWeights(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ModelWeights::~ModelWeights() = default;
ModelWeights::ModelWeights(ModelWeights&&) noexcept = default;
ModelWeights& ModelWeights::operator=(ModelWeights&&) noexcept = default;

const Embedding& ModelWeights::embedding() const { return parts_->embedding; }
const LayerWeights& ModelWeights::layer(int index) const { return parts_->layers.at(index); }
const NormWeight& ModelWeights::output_norm() const { return parts_->output_norm; }
const PackedMatrix& ModelWeights::output() const { return parts_->output; }
std::size_t ModelWeights::bytes() const { return parts_->plan.bytes(); }
const LoadReport& ModelWeights::report() const { return parts_->report; }

}  // namespace longspan
