#include "runtime/model/folder_ropes.h"

#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "comm/str.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr double kLargestBase = 1e12;
constexpr double kLargestFactor = 1e6;
constexpr std::int64_t kLongestContext = std::int64_t{1} << 31;

/// What the rules of a model have in common.
struct Setting {
  double base;
  double partial;  // of a head's dimensions, the part that turns
  int head_dim;
  std::int64_t context;
  std::int64_t original_context;  // unless a rule has its own
};

constexpr std::array kRuleKeys = std::to_array<std::string_view>(
    {"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings",
     "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
     "low_freq_factor", "high_freq_factor", "short_factor", "long_factor",
     "partial_rotary_factor"});

RopeScaling scaling_of(const JsonView& rule) {
  auto type = rule.find("rope_type");
  if (!type) type = rule.find("type");
  if (!type) return RopeScaling::kNone;
  const std::string& name = type->text();
  constexpr std::array kNames =
      std::to_array<std::pair<std::string_view, RopeScaling>>({{"default", RopeScaling::kNone},
                                                               {"linear", RopeScaling::kLinear},
                                                               {"dynamic", RopeScaling::kDynamic},
                                                               {"yarn", RopeScaling::kYarn},
                                                               {"llama3", RopeScaling::kLlama3},
                                                               {"longrope", RopeScaling::kLongRope},
                                                               {"su", RopeScaling::kLongRope}});
  for (const auto& [known, scaling] : kNames) {
    if (known == name) return scaling;
  }
  type->fail(str("is '{}'; longspan builds default, linear, dynamic, yarn, llama3 and longrope",
                 printable(name)));
}

void refuse_unknown(const JsonView& rule) {
  for (const auto& [key, value] : rule.value().items()) {
    if (value.is_null() || std::ranges::find(kRuleKeys, key) != kRuleKeys.end()) continue;
    rule.at(key).fail("is not a key longspan knows, and it may change the mathematics");
  }
}

double number_or(const JsonView& rule, std::string_view key, double otherwise, double low,
                 double high) {
  const auto value = rule.find(key);
  return value ? number_between(*value, low, high) : otherwise;
}

/// YaRN's and LongRoPE's, which some files leave out: then the contexts say it.
double factor_or_ratio(const JsonView& rule, const RopeSpec& spec, std::int64_t context) {
  const double ratio = static_cast<double>(context) / static_cast<double>(spec.original_context);
  return number_or(rule, "factor", ratio, 1e-6, kLargestFactor);
}

double yarn_attention_factor(const JsonView& rule, double factor) {
  const auto grown = [&](double by) {
    return factor <= 1 ? 1.0 : 0.1 * by * std::log(factor) + 1.0;
  };
  const double own = number_or(rule, "mscale", 0, 0, kLargestFactor);
  const double all = number_or(rule, "mscale_all_dim", 0, 0, kLargestFactor);
  return own != 0 && all != 0 ? grown(own) / grown(all) : grown(1);
}

double longrope_attention_factor(const RopeSpec& spec) {
  if (spec.factor <= 1) return 1;
  return std::sqrt(1 + std::log(spec.factor) / std::log(spec.original_context));
}

std::vector<double> divisors(const JsonView& rule, std::string_view key, int pairs) {
  const JsonView list = rule.at(key);
  if (list.elements() != static_cast<std::size_t>(pairs)) {
    list.fail(str("has {} numbers; a head turns {} pairs of dimensions", list.elements(), pairs));
  }
  std::vector<double> values;
  for (int i = 0; i < pairs; ++i) {
    values.push_back(number_between(list.element(i), 1e-6, kLargestFactor));
  }
  return values;
}

/// All dimensions, or how many of them turn.
int read_rotated(const JsonView& rule, const Setting& setting) {
  const double part = number_or(rule, "partial_rotary_factor", setting.partial, 0, 1);
  const int rotated = static_cast<int>(setting.head_dim * part);
  if (rotated < 4 || rotated % 2 != 0) {
    rule.fail(str("turns {} of {} dimensions of a head; longspan builds an even number, 4 or more",
                  rotated, setting.head_dim));
  }
  return rotated == setting.head_dim ? 0 : rotated;
}

void read_yarn(const JsonView& rule, const Setting& setting, RopeSpec& spec) {
  spec.factor = factor_or_ratio(rule, spec, setting.context);
  spec.fast_turns = number_or(rule, "beta_fast", 32, 1e-6, kLargestFactor);
  spec.slow_turns = number_or(rule, "beta_slow", 1, 1e-6, kLargestFactor);
  spec.whole_bounds = rule.flag_or("truncate", true);
  spec.attention_factor = number_or(rule, "attention_factor",
                                    yarn_attention_factor(rule, spec.factor), 1e-6, kLargestFactor);
}

void read_llama3(const JsonView& rule, RopeSpec& spec) {
  spec.factor = number_between(rule.at("factor"), 1e-6, kLargestFactor);
  spec.slow_turns = number_between(rule.at("low_freq_factor"), 0, kLargestFactor);
  spec.fast_turns = number_between(rule.at("high_freq_factor"), 0, kLargestFactor);
  if (spec.fast_turns > spec.slow_turns) return;
  rule.fail(str("has a high_freq_factor of {}, not above its low_freq_factor {}", spec.fast_turns,
                spec.slow_turns));
}

void read_longrope(const JsonView& rule, const Setting& setting, RopeSpec& spec) {
  const int pairs = (spec.rotated > 0 ? spec.rotated : setting.head_dim) / 2;
  spec.factor = factor_or_ratio(rule, spec, setting.context);
  spec.short_divisors = divisors(rule, "short_factor", pairs);
  spec.long_divisors = divisors(rule, "long_factor", pairs);
  spec.attention_factor =
      number_or(rule, "attention_factor", longrope_attention_factor(spec), 1e-6, kLargestFactor);
}

RopeSpec read_rule(const JsonView& rule, const Setting& setting) {
  rule.require_object();
  refuse_unknown(rule);
  RopeSpec spec;
  spec.base = number_or(rule, "rope_theta", setting.base, 1.001, kLargestBase);
  spec.rotated = read_rotated(rule, setting);
  spec.scaling = scaling_of(rule);
  if (spec.scaling == RopeScaling::kNone) return spec;
  const auto original = rule.find("original_max_position_embeddings");
  spec.original_context =
      original ? integer_between(*original, 2, kLongestContext) : setting.original_context;
  switch (spec.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      spec.factor = number_between(rule.at("factor"), 1e-6, kLargestFactor);
      break;
    case RopeScaling::kDynamic:
      spec.factor = number_between(rule.at("factor"), 1, kLargestFactor);
      spec.original_context = setting.context;
      break;
    case RopeScaling::kYarn:
      read_yarn(rule, setting, spec);
      break;
    case RopeScaling::kLlama3:
      read_llama3(rule, spec);
      break;
    case RopeScaling::kLongRope:
      read_longrope(rule, setting, spec);
      break;
  }
  return spec;
}

/// Rules that are used beyond the context in the file say by how much.
std::int64_t reach_of(const RopeSpec& spec, std::int64_t context) {
  const bool stretches =
      spec.scaling == RopeScaling::kDynamic || spec.scaling == RopeScaling::kYarn;
  if (!stretches) return context;
  const double reach = static_cast<double>(spec.original_context) * spec.factor;
  return std::max(context,
                  static_cast<std::int64_t>(std::min(reach, static_cast<double>(kLongestContext))));
}

}  // namespace

FolderRopes read_folder_ropes(FolderKeys& keys, int head_dim, std::int64_t context) {
  Setting setting{.base = keys.number_or("rope_theta", 10000, 1.001, kLargestBase),
                  .partial = keys.number_or("partial_rotary_factor", 1, 0, 1),
                  .head_dim = head_dim,
                  .context = context,
                  .original_context =
                      keys.int_or("original_max_position_embeddings", context, 2, kLongestContext)};
  const auto local = keys.find("rope_local_base_freq");
  const auto scaling = keys.find("rope_scaling");
  const auto parameters = keys.find("rope_parameters");
  const nlohmann::json none = nlohmann::json::object();
  const std::filesystem::path here;
  const JsonView plain(none, here);

  FolderRopes ropes;
  if (parameters && parameters->find("full_attention")) {
    ropes.full = read_rule(parameters->at("full_attention"), setting);
    ropes.sliding = read_rule(parameters->at("sliding_attention"), setting);
  } else {
    const auto rule = parameters ? parameters : scaling;
    ropes.full = read_rule(rule ? *rule : plain, setting);
    ropes.sliding = ropes.full;
    if (local) {
      ropes.sliding = RopeSpec{.base = number_between(*local, 1.001, kLargestBase)};
    }
  }
  ropes.reach = reach_of(ropes.full, context);
  return ropes;
}

}  // namespace longspan
