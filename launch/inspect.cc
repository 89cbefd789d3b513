// `longspan inspect`: what a model holds, without loading its weights.
#include <fmt/ranges.h>

#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "attention/divisors.h"
#include "comm/host_memory.h"
#include "comm/machine.h"
#include "comm/str.h"
#include "launch/commands.h"
#include "launch/progress.h"
#include "launch/write_manifest.h"
#include "runtime/chat/chat_template_source.h"
#include "runtime/engine/load_model.h"
#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"
#include "runtime/model/model_manifest.h"
#include "runtime/model/model_part.h"
#include "runtime/model/tokenizer.h"

namespace longspan {
namespace {

struct TypeTotal {
  int tensors = 0;
  std::int64_t values = 0;
  std::uint64_t bytes = 0;
};

std::map<TensorType, TypeTotal> totals_by_type(const TensorFile& file) {
  std::map<TensorType, TypeTotal> totals;
  for (const TensorInfo& tensor : file.tensors()) {
    std::int64_t values = 1;
    for (std::int64_t extent : tensor.shape) values *= extent;
    TypeTotal& total = totals[tensor.type];
    ++total.tensors;
    total.values += values;
    total.bytes += tensor.bytes;
  }
  return totals;
}

/// "causal", "a window of 4,096 tokens": of the layers in turn.
std::string describe(const LayerMasks& masks) {
  std::string all;
  for (const Mask& mask : masks.distinct()) {
    if (!all.empty()) all += ", ";
    all += mask.is_full()       ? "full"
           : mask.is_windowed() ? str("a window of {} tokens", with_thousands(mask.keys()))
                                : "causal";
  }
  return all;
}

std::vector<std::string> texts(const LayerRopes& ropes) {
  std::vector<std::string> all;
  for (const RopeSpec& spec : ropes.distinct()) all.push_back(describe(spec));
  return all;
}

void print_row(std::string_view label, const std::string& value) {
  std::cout << str("{:<18}{}\n", label, value);
}

/// "(49152, 576)": rows first.
std::string shape_text(const TensorInfo& tensor) {
  return str("({})", fmt::join(tensor.shape, ", "));
}

std::string describe_template(const std::string& model) {
  const auto source = find_chat_template(model);
  if (!source) return "none";
  return str("{} bytes, {}", with_thousands(std::ssize(source->text)), source->where);
}

std::string describe_manifest(const InspectOptions& options,
                              const std::optional<ModelManifest>& manifest,
                              const TensorFile& file) {
  if (options.no_verify) return "ignored (--no-verify)";
  if (!manifest) return "none; --write-manifest makes one";
  return str("{} lists {}; sizes agree, generate compares contents",
             files_of(file).manifest.filename().string(), count_text(manifest->files(), "file"));
}

void print_tensors(const TensorFile& file) {
  for (const TensorInfo& tensor : file.tensors()) {
    std::cout << str("  {:<40} {:<5} {:<16} {}\n", tensor.name, name(tensor.type),
                     shape_text(tensor), human_bytes(static_cast<std::int64_t>(tensor.bytes)));
  }
}

void print_text(const InspectOptions& options, const OpenedModel& model) {
  const TensorFile& file = *model.file;
  const ModelConfig& config = model.config;
  const HeadShape& heads = config.heads;
  print_row("file", str("{}, {}", file.path().string(),
                        human_bytes(static_cast<std::int64_t>(file.file_bytes()))));
  print_row("name", config.name);
  print_row("architecture", config.architecture);
  print_row("layers", str("{}", config.layers));
  print_row("hidden", str("{}, feed-forward {}", config.hidden, config.ffn));
  print_row("heads", str("{} query, {} key/value, {} values each", heads.query_heads,
                         heads.kv_heads, heads.head_dim));
  print_row("Ulysses degrees", str("{}", fmt::join(divisors(heads.query_heads), ", ")));
  print_row("tensor parallel", str("--tp {}", fmt::join(usable_part_counts(config), ", ")));
  print_row("attention", describe(config.masks));
  print_row("vocabulary", str("{}{}", with_thousands(config.vocabulary),
                              config.tied_output ? ", output tied to the embedding" : ""));
  print_row("context", str("{} tokens", with_thousands(config.context)));
  for (const RopeSpec& rope : config.ropes.distinct()) print_row("RoPE", describe(rope));
  print_row("tokenizer", model.tokenizer.description());
  print_row("chat template", describe_template(options.model));
  std::int64_t values = 0;
  for (const auto& [type, total] : totals_by_type(file)) {
    values += total.values;
    print_row(str("{} tensors", name(type)),
              str("{}, {} values, {}", total.tensors, with_thousands(total.values),
                  human_bytes(static_cast<std::int64_t>(total.bytes))));
  }
  print_row("parameters", with_thousands(values));
  print_row("KV per token", str("{} bytes at float32 ({} for the whole context)",
                                with_thousands(config.kv_bytes_per_token()),
                                human_bytes(config.kv_bytes_per_token() * config.context)));
  if (!options.write_manifest)
    print_row("manifest", describe_manifest(options, model.manifest, file));
  if (!options.tensors) return;
  print_row("tensors", count_text(file.tensors().size(), "tensor"));
  print_tensors(file);
}

nlohmann::ordered_json json_of_tensors(const TensorFile& file) {
  auto list = nlohmann::ordered_json::array();
  for (const TensorInfo& tensor : file.tensors()) {
    list.push_back({{"name", tensor.name},
                    {"type", name(tensor.type)},
                    {"shape", tensor.shape},
                    {"bytes", tensor.bytes}});
  }
  return list;
}

void print_json(const InspectOptions& options, const OpenedModel& model) {
  using json = nlohmann::ordered_json;
  const TensorFile& file = *model.file;
  const ModelConfig& config = model.config;
  const auto chat = find_chat_template(options.model);
  json types = json::object();
  for (const auto& [type, total] : totals_by_type(file)) {
    types[std::string(name(type))] = {
        {"tensors", total.tensors}, {"values", total.values}, {"bytes", total.bytes}};
  }
  json object = {{"file", file.path().string()},
                 {"file_bytes", file.file_bytes()},
                 {"name", config.name},
                 {"architecture", config.architecture},
                 {"layers", config.layers},
                 {"hidden", config.hidden},
                 {"ffn", config.ffn},
                 {"query_heads", config.heads.query_heads},
                 {"kv_heads", config.heads.kv_heads},
                 {"head_dim", config.heads.head_dim},
                 {"ulysses_degrees", divisors(config.heads.query_heads)},
                 {"usable_tp", usable_part_counts(config)},
                 {"attention", describe(config.masks)},
                 {"vocabulary", config.vocabulary},
                 {"tied_output", config.tied_output},
                 {"context", config.context},
                 {"rope_base", config.ropes.distinct().front().base},
                 {"rope", texts(config.ropes)},
                 {"tokenizer", model.tokenizer.description()},
                 {"chat_template", chat ? json(chat->where) : json(nullptr)},
                 {"types", types},
                 {"kv_bytes_per_token", config.kv_bytes_per_token()}};
  if (options.tensors) object["tensors"] = json_of_tensors(file);
  std::cout << object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

}  // namespace

ExitCode inspect(const InspectOptions& options) {
  if (announced_rank() != 0) return ExitCode::kClean;
  // One that is about to be written need not be right yet.
  const bool ignore = options.no_verify || options.write_manifest;
  const OpenedModel model =
      open_model(options.model, ignore ? ManifestUse::kIgnore : ManifestUse::kCheck);
  (options.json ? print_json : print_text)(options, model);
  if (options.write_manifest) {
    std::cerr << str("longspan: {}\n", write_manifest(*model.file, options.force));
  }
  return ExitCode::kClean;
}

}  // namespace longspan
