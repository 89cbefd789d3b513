#include "launch/batch/batch_terms.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/sampling_json.h"
#include "runtime/model/generation_config.h"
#include "runtime/model/model_manifest.h"

namespace longspan {
namespace {

using nlohmann::json;

/// Tokens of one request, prompt and answer, unless memory holds fewer.
std::int64_t wanted_room(const GenerateOptions& options, const ModelConfig& model) {
  const std::int64_t room = options.max_model_len.value_or(model.context);
  if (room <= model.context) return room;
  throw UsageError(str("--max-model-len is {}, but the model's context is {}; lower it to that",
                       room, model.context));
}

/// All that a request may call the model, unless the command line has names for it: what people
/// call it here, and what its author does.
std::vector<std::string> names_of(const RunBatchOptions& options, const ModelConfig& model) {
  if (!options.names.empty()) return options.names;
  const std::filesystem::path path = std::filesystem::path(options.run.model).lexically_normal();
  const auto file = path.has_filename() ? path.filename() : path.parent_path().filename();
  const bool gguf = file.extension() == ".gguf";
  std::vector<std::string> names{(gguf ? file.stem() : file).string()};
  for (const std::string& name : {file.string(), options.run.model, model.name}) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

/// What a request that says nothing of sampling gets. Where nobody says a temperature it is 1, as
/// in OpenAI's API.
SamplingDefaults sampling_defaults(const GenerateOptions& options, const Tokenizer& tokenizer) {
  SamplingOptions asked = options.sampling;
  const GenerationConfig model =
      asked.uses_model_defaults ? generation_config_of(options.model) : GenerationConfig{};
  asked.temperature = asked.temperature.value_or(model.temperature.value_or(1));
  const auto sampling = [&](bool ignore_eos) {
    return resolved(asked, model, tokenizer.ends(), ignore_eos, tokenizer.vocabulary());
  };
  SamplingDefaults defaults{.sampling = sampling(true),
                            .ignore_eos = options.ignore_eos,
                            .stop_texts = options.sampling.stop_texts};
  asked.stop_ids.clear();
  defaults.ends = sampling(false).stops;
  return defaults;
}

json model_facts(const OpenedModel& opened) {
  json facts{{"name", opened.config.name}, {"files", json::object()}};
  if (!opened.file) return facts;  // weights are made up
  const ModelFiles files = files_of(*opened.file);
  for (const std::string& name : files.names) {
    facts["files"][name] = std::filesystem::file_size(files.folder / name);
  }
  return facts;
}

}  // namespace

BatchTerms batch_terms(const RunBatchOptions& options, const OpenedModel& opened) {
  return {.names = names_of(options, opened.config),
          .sampling = sampling_defaults(options.run, opened.tokenizer),
          .max_tokens = options.run.max_tokens,
          .context = wanted_room(options.run, opened.config)};
}

json batch_facts(const RunBatchOptions& batch, const OpenedModel& opened, const BatchTerms& terms,
                 Precision precision) {
  const GenerateOptions& options = batch.run;
  const auto or_null = [](const auto& value) { return value ? json(*value) : json(nullptr); };
  json asked{{"served_model_name", batch.names},
             {"max_model_len", terms.context},
             {"max_tokens", or_null(terms.max_tokens)},
             {"dtype", name(precision)},
             {"kv_dtype", options.kv_type ? json(name(*options.kv_type)) : json("auto")},
             {"rope_float32", options.rope_float32},
             {"ignore_eos", terms.sampling.ignore_eos},
             {"ends", terms.sampling.ends},
             {"stop", terms.sampling.stop_texts},
             {"seed", or_null(options.sampling.seed)}};
  asked.update(json(sampling_json(terms.sampling.sampling)));
  return {{"model", model_facts(opened)}, {"options", asked}};
}

}  // namespace longspan
