#include "launch/options.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>  // NOLINT(misc-include-cleaner): an umbrella
#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>
#include <string_view>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/bench/bench_help.h"
#include "launch/bench/bench_option_table.h"
#include "launch/nearest_word.h"
#include "launch/option_help.h"
#include "launch/option_table.h"

namespace longspan {
namespace {

using Words = std::vector<std::string>;

/// What was given for each row of a command's table, and the one word without a flag.
struct Arguments {
  std::string subject;
  std::vector<std::optional<Given>> given;
  bool wants_help = false;
};

bool is_flag(const std::string& word) { return word.size() > 1 && word.front() == '-'; }

[[noreturn]] void refuse_unknown_flag(const std::string& word, const std::string& command,
                                      std::span<const OptionText> options) {
  const std::string flag = word.substr(0, word.find('='));
  Words known = {"help"};
  for (const OptionText& option : options) known.emplace_back(option.name);
  const auto bare = std::min(flag.find_first_not_of('-'), flag.size());
  const auto nearest = nearest_word(flag.substr(bare), known);
  if (nearest) throw UsageError(str("unknown flag {}; nearest: --{}", flag, *nearest));
  throw UsageError(str("unknown flag {}; see longspan {} --help", flag, command));
}

/// CLI11 would take the next word as the value of `--flag=`.
void refuse_dangling_equals(const Words& words) {
  for (const std::string& word : words) {
    if (word == "--") return;
    if (!word.starts_with("--") || word.find('=') != word.size() - 1) continue;
    throw UsageError(str("{} has no value after the equals sign", word));
  }
}

/// The value of one option, if it was given. CLI11 hands out the word after a flag whatever it is,
/// so a flag there means that the value was forgotten; `--flag=value` can still say any value.
std::optional<Given> given_value(const CLI::Option& parsed, const OptionText& option,
                                 const Words& words, std::span<const OptionText> options) {
  const Words& results = parsed.results();
  if (results.empty()) return std::nullopt;
  const std::string flag = option.flag();
  if (option.is_switch()) return Given{flag, results.back()};
  if (results.size() > 1) {
    throw UsageError(str("{} was given {} times, once is enough", flag, results.size()));
  }
  const auto is_this = [&](const OptionText& other) { return other.flag() == results[0]; };
  const bool after_equals = std::ranges::find(words, flag + "=" + results[0]) != words.end();
  if (!after_equals && std::ranges::any_of(options, is_this)) {
    throw UsageError(
        str("{} needs {}, but the next word is the flag {}", flag, option.value, results[0]));
  }
  return Given{flag, results[0]};
}

void refuse_leftovers(Words leftovers, const std::string& command, const std::string& subject,
                      std::span<const OptionText> options) {
  std::erase(leftovers, "--");  // CLI11 hands this mark out too
  const auto flag = std::ranges::find_if(leftovers, is_flag);
  if (flag != leftovers.end()) refuse_unknown_flag(*flag, command, options);
  if (!leftovers.empty() && subject.empty()) {
    throw UsageError(str("unexpected '{}'; {} takes options only", leftovers.front(), command));
  }
  if (!leftovers.empty()) {
    throw UsageError(str("unexpected '{}' after {}; a value with spaces needs quotes",
                         leftovers.front(), subject));
  }
}

std::string cli11_name(const OptionText& option) {
  return option.short_flag ? str("-{},{}", option.short_flag, option.flag()) : option.flag();
}

/// The words after `command`, matched with its options and its one `subject`, as MODEL, if it has
/// one. Options have no CLI11 type, validator or environment name: every message is ours, and
/// values arrive exactly as they were typed.
Arguments read_words(const std::string& command, const std::string& subject,
                     std::span<const OptionText> options, const Words& words) {
  refuse_dangling_equals(words);
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  const CLI::Option* named = subject.empty() ? nullptr : app.add_option(subject);
  const CLI::Option* help = app.add_flag("-h,--help");
  std::vector<const CLI::Option*> parsed;
  for (const OptionText& option : options) {
    const std::string name = cli11_name(option);
    parsed.push_back(option.is_switch() ? app.add_flag(name) : app.add_option(name)->take_all());
  }
  try {
    app.parse(Words(words.rbegin(), words.rend()));  // CLI11 takes them last first
  } catch (const CLI::ArgumentMismatch&) {
    throw UsageError(str("{} needs a value", words.back()));
  }

  Arguments arguments;
  arguments.wants_help = help->count() > 0;
  if (arguments.wants_help) return arguments;
  for (std::size_t i = 0; i < options.size(); ++i) {
    arguments.given.push_back(given_value(*parsed[i], options[i], words, options));
  }
  refuse_leftovers(app.remaining(), command, subject, options);
  if (named == nullptr) return arguments;
  if (!named->results().empty()) arguments.subject = named->results().front();
  if (arguments.subject.empty()) {
    throw UsageError(str("{} is missing: longspan {} {} ...", subject, command, subject));
  }
  return arguments;
}

/// A prompt on the command line also outranks a prompt of another kind in the environment.
void add_environment(Arguments& arguments, std::span<const OptionText> options,
                     const Environment& environment) {
  bool has_prompt = false;
  for (std::size_t i = 0; i < options.size(); ++i) {
    has_prompt |= options[i].group == kPromptGroup && arguments.given[i];
  }
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (arguments.given[i] || (has_prompt && options[i].group == kPromptGroup)) continue;
    const std::string name = options[i].environment_name();
    if (const auto value = environment(name.c_str())) arguments.given[i] = Given{name, *value};
  }
}

/// A session can go on without one: then there may be none.
void expect_one_prompt(const Arguments& arguments, std::span<const OptionText> options) {
  std::optional<std::string> first;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (options[i].group != kPromptGroup || !arguments.given[i]) continue;
    const std::string& name = arguments.given[i]->name;
    if (first) throw UsageError(str("{} and {} both give a prompt; give one", *first, name));
    first = name;
  }
  const auto session = std::ranges::find(options, "session", &OptionText::name);
  if (!first && !arguments.given[session - options.begin()]) {
    throw UsageError(
        "no prompt: give one of --prompt TEXT, --prompt-file FILE, --prompt-ids FILE.json, "
        "--prompts FILE.jsonl");
  }
}

void expect_groups_as_asked(const GenerateOptions& options) {
  if (!options.policy || options.policy == PolicyKind::kStaticSp) return;
  const auto refuse = [&](std::string_view other, std::string_view why) {
    throw UsageError(
        str("--policy {} and {} do not go together: {}; leave out {}, or use --policy "
            "static_sp",
            name(*options.policy), other, why, other));
  };
  const bool replicas = options.policy == PolicyKind::kReplicas;
  if (options.degree && (!replicas || *options.degree > 1)) {
    refuse("--degree", replicas ? "each rank serves sequences of its own"
                                : "all ranks together serve every sequence");
  }
  if (!options.compare_degrees.empty()) {
    refuse("--compare-degrees", "the policy alone says how many ranks share a sequence");
  }
  if (!replicas && approximation(options.attention).needs_choice()) {
    refuse("--attention", "what chooses keys reads a prompt in one step, whatever the budget");
  }
}

/// A folder and how much of it, and a cache whose pages are kept.
void expect_whole_tier(const GenerateOptions& options) {
  if (options.kv_disk && !options.kv_disk_bytes) {
    throw UsageError(
        "--kv-disk does not say how much each rank may keep there; add --kv-disk-bytes, as 20G");
  }
  if (options.kv_disk_bytes && !options.kv_disk) {
    throw UsageError("--kv-disk-bytes says how much of a folder to take; add --kv-disk DIR");
  }
  if (!options.kv_disk && options.kv_host_bytes == 0) return;
  const std::string_view asked = options.kv_disk ? "--kv-disk" : "--kv-host-bytes";
  if (!options.prefix_cache) {
    throw UsageError(str(
        "{} keeps what the prefix cache has no memory for; leave out --prefix-cache off", asked));
  }
  if (!approximation(options.attention).is_exact()) {
    throw UsageError(
        str("{} keeps what prompts share, and under --attention {} they share nothing; leave out "
            "one of them",
            asked, name(options.attention.kind)));
  }
}

void expect_no_contradiction(const GenerateOptions& options) {
  if (options.degree && !options.compare_degrees.empty()) {
    throw UsageError("--degree and --compare-degrees both say how many ranks to use; give one");
  }
  expect_groups_as_asked(options);
  expect_whole_tier(options);
  if (options.tp > 1 && options.decode_strategy == DecodeStrategy::kSliced) {
    throw UsageError(
        "--decode-strategy sliced needs all weights on every rank, but with --tp a rank holds a "
        "part; use shipped, tree or mirrored, or --tp 1");
  }
  if (options.ulysses_degree && options.strategy != Strategy::kUsp) {
    throw UsageError("--ulysses-degree divides the ranks of usp; add --strategy usp");
  }
  if (options.ring_shape && options.strategy != Strategy::kDoubleRing) {
    throw UsageError("--ring-shape divides the ranks of double-ring; add --strategy double-ring");
  }
  if (approximation(options.attention).needs_choice() && options.prefill_chunk) {
    throw UsageError(str("--attention {} reads a prompt in one step; leave out --prefill-chunk",
                         name(options.attention.kind)));
  }
  if (approximation(options.attention).needs_choice() && options.max_step_tokens) {
    throw UsageError(str("--attention {} reads a prompt in one step; leave out --max-step-tokens",
                         name(options.attention.kind)));
  }
  if (options.chat.system && !options.chat.wraps) {
    throw UsageError("--system is a message of a conversation; add --chat");
  }
  if (options.chat.wraps && options.prompt.kind == PromptKind::kIdsFile) {
    throw UsageError("--chat needs the prompt as text, but --prompt-ids gives token ids");
  }
  if (options.force_ids && !options.compare_degrees.empty()) {
    throw UsageError("--compare-degrees compares chosen tokens, but --force-ids chooses them all");
  }
  if (options.force_ids == "-" && options.prompt.from_standard_input()) {
    throw UsageError(
        "prompt and --force-ids cannot both come from standard input; name a file for one");
  }
  if (options.force_ids && options.prompt.kind == PromptKind::kLines) {
    throw UsageError("--force-ids holds the tokens of one prompt, but --prompts gives several");
  }
}

/// A session is one sequence, of which every later token sees the same as before.
void expect_one_sequence(const GenerateOptions& options) {
  if (options.recompute && !options.session) {
    throw UsageError("--recompute is about a session's keys and values; add --session FILE");
  }
  if (!options.session) return;
  const auto refuse = [](const std::string& other, const std::string& why) {
    throw UsageError(str("--session and {} do not go together: {}", other, why));
  };
  if (options.prompt.kind == PromptKind::kLines) refuse("--prompts", "a session is one text");
  if (options.n > 1) refuse("--n", "a session goes on from one answer");
  if (!options.compare_degrees.empty()) {
    refuse("--compare-degrees", "a session would go on with each degree");
  }
  if (options.kv_host_bytes > 0 || options.kv_disk) {
    refuse(options.kv_disk ? "--kv-disk" : "--kv-host-bytes",
           "a session has pages of its own, and keeps them");
  }
  if (options.prompt_nll) refuse("--prompt-nll", "what was kept of a prompt is not computed");
  const AttentionKind attention = options.attention.kind;
  if (attention != AttentionKind::kExact && attention != AttentionKind::kSinks) {
    refuse(str("--attention {}", name(attention)), "its keys depend on where a prompt ends");
  }
}

template <typename Options>
Options applied(const Arguments& arguments, std::span<const Option<Options>> table) {
  Options options;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (arguments.given[i]) table[i].apply(options, *arguments.given[i]);
  }
  return options;
}

Command parse_generate(const Words& words, const Environment& environment) {
  const auto options = texts(generate_options());
  Arguments arguments = read_words("generate", "MODEL", options, words);
  if (arguments.wants_help) return HelpRequest{generate_help()};
  add_environment(arguments, options, environment);
  expect_one_prompt(arguments, options);
  GenerateOptions parsed = applied(arguments, generate_options());
  parsed.model = arguments.subject;
  expect_no_contradiction(parsed);
  expect_one_sequence(parsed);
  return parsed;
}

Command parse_chat(const Words& words, const Environment& environment) {
  const auto options = texts(conversation_options());
  Arguments arguments = read_words("chat", "MODEL", options, words);
  if (arguments.wants_help) return HelpRequest{chat_help()};
  add_environment(arguments, options, environment);
  ConversationOptions parsed{.run = applied(arguments, conversation_options())};
  parsed.run.model = arguments.subject;
  parsed.run.chat.wraps = true;
  expect_no_contradiction(parsed.run);
  expect_one_sequence(parsed.run);
  if (parsed.run.logprobs > 0 && !parsed.run.json) {
    throw UsageError("--logprobs are numbers beside a conversation's text; add --json");
  }
  return parsed;
}

Command parse_run_batch(const Words& words, const Environment& environment) {
  std::vector<OptionText> options = texts(run_batch_options());
  const std::size_t own = options.size();
  for (const OptionText& option : texts(batch_request_options())) options.push_back(option);
  Arguments arguments = read_words("run-batch", "MODEL", options, words);
  if (arguments.wants_help) return HelpRequest{run_batch_help()};
  add_environment(arguments, options, environment);
  RunBatchOptions parsed = applied(arguments, run_batch_options());
  arguments.given.erase(arguments.given.begin(),
                        arguments.given.begin() + static_cast<std::ptrdiff_t>(own));
  parsed.run = applied(arguments, batch_request_options());
  parsed.run.model = arguments.subject;
  expect_no_contradiction(parsed.run);
  if (parsed.input.empty() || parsed.output.empty()) {
    throw UsageError(str("{} is missing: longspan run-batch MODEL -i in.jsonl -o out.jsonl",
                         parsed.input.empty() ? "-i" : "-o"));
  }
  if (parsed.restart && parsed.retry_failed) {
    throw UsageError(
        "--restart answers every line anew and --retry-failed those that failed; give one");
  }
  return parsed;
}

/// A command about one thing, which the options keep as `subject`.
template <typename Options>
Command parse_subject(const std::string& command, const std::string& placeholder,
                      std::span<const Option<Options>> table, std::string Options::* subject,
                      std::string (*help)(), const Words& words, const Environment& environment) {
  const auto options = texts(table);
  Arguments arguments = read_words(command, placeholder, options, words);
  if (arguments.wants_help) return HelpRequest{help()};
  add_environment(arguments, options, environment);
  Options parsed = applied(arguments, table);
  parsed.*subject = arguments.subject;
  return parsed;
}

Command parse_inspect(const Words& words, const Environment& environment) {
  const auto options = texts(inspect_options());
  Arguments arguments = read_words("inspect", "MODEL", options, words);
  if (arguments.wants_help) return HelpRequest{inspect_help()};
  add_environment(arguments, options, environment);
  InspectOptions parsed = applied(arguments, inspect_options());
  parsed.model = arguments.subject;
  if (parsed.force && !parsed.write_manifest) {
    throw UsageError("--force replaces a manifest; add --write-manifest");
  }
  return parsed;
}

/// What one may do with a trace has a word of its own, so that there can be more.
Command parse_trace(const Words& words, const Environment& environment) {
  if (words.empty()) throw UsageError("trace needs to know what: longspan trace merge DIR");
  if (words.front() == "--help" || words.front() == "-h") return HelpRequest{trace_help()};
  if (words.front() != "merge") {
    throw UsageError(str("unknown command trace {}; legal: trace merge DIR", words.front()));
  }
  return parse_subject("trace merge", "DIR", trace_merge_options(), &TraceMergeOptions::folder,
                       trace_help, Words(words.begin() + 1, words.end()), environment);
}

Command parse_session(const Words& words, const Environment& environment) {
  const std::string legal =
      "longspan session list DIR, longspan session show FILE, longspan session verify FILE";
  if (words.empty()) throw UsageError(str("session needs to know what: {}", legal));
  const std::string& what = words.front();
  if (what == "--help" || what == "-h") return HelpRequest{session_help()};
  constexpr std::array<std::string_view, 3> kActions{"list", "show", "verify"};
  const auto action = std::ranges::find(kActions, what);
  if (action == kActions.end()) {
    throw UsageError(str("unknown command session {}; legal: {}", what, legal));
  }
  Command parsed = parse_subject("session " + what, what == "list" ? "DIR" : "FILE",
                                 session_options(), &SessionOptions::path, session_help,
                                 Words(words.begin() + 1, words.end()), environment);
  if (auto* options = std::get_if<SessionOptions>(&parsed)) {
    options->action = static_cast<SessionAction>(action - kActions.begin());
  }
  return parsed;
}

/// One bench: options only.
template <typename Options>
Command parse_one_bench(const std::string& command, std::span<const Option<Options>> table,
                        std::string (*help)(), const Words& words, const Environment& environment) {
  const auto options = texts(table);
  Arguments arguments = read_words(command, "", options, words);
  if (arguments.wants_help) return HelpRequest{help()};
  add_environment(arguments, options, environment);
  return applied(arguments, table);
}

void expect_whole_prediction(const BenchAttentionOptions& options) {
  if (!options.predict) return;
  if (!options.degree) {
    throw UsageError("--predict needs to know for how many ranks; add --degree N");
  }
  if (options.plot) throw UsageError("--plot draws what was measured; leave it out with --predict");
}

Command parse_bench_attention(const Words& words, const Environment& environment) {
  Command parsed = parse_one_bench("bench attention", bench_attention_options(),
                                   bench_attention_help, words, environment);
  if (const auto* options = std::get_if<BenchAttentionOptions>(&parsed)) {
    expect_whole_prediction(*options);
  }
  return parsed;
}

/// The one of a model.
Command parse_bench_load(const Words& words, const Environment& environment) {
  return parse_subject("bench load", "MODEL", bench_load_options(), &BenchLoadOptions::model,
                       bench_load_help, words, environment);
}

/// The one that runs a model as `generate` does, whose options it takes besides its own.
Command parse_bench_model(const Words& words, const Environment& environment) {
  std::vector<OptionText> options = texts(bench_model_options());
  const auto own = std::ssize(options);
  for (const OptionText& option : texts(bench_model_run_options())) options.push_back(option);
  Arguments arguments = read_words("bench model", "MODEL", options, words);
  if (arguments.wants_help) return HelpRequest{bench_model_help()};
  add_environment(arguments, options, environment);
  BenchModelOptions parsed = applied(arguments, bench_model_options());
  arguments.given.erase(arguments.given.begin(), arguments.given.begin() + own);
  parsed.run = applied(arguments, bench_model_run_options());
  parsed.run.model = arguments.subject;
  parsed.run.prefix_cache = false;  // every prompt is read
  expect_no_contradiction(parsed.run);
  return parsed;
}

Command parse_bench(const Words& words, const Environment& environment) {
  const std::string legal =
      "longspan bench attention, longspan bench decode, longspan bench comm, longspan bench load "
      "MODEL, longspan bench model MODEL";
  if (words.empty()) throw UsageError(str("bench needs to know what: {}", legal));
  const std::string& what = words.front();
  const Words rest(words.begin() + 1, words.end());
  if (what == "--help" || what == "-h") return HelpRequest{bench_help()};
  if (what == "attention") return parse_bench_attention(rest, environment);
  if (what == "decode") {
    return parse_one_bench("bench decode", bench_decode_options(), bench_decode_help, rest,
                           environment);
  }
  if (what == "comm") {
    return parse_one_bench("bench comm", bench_comm_options(), bench_comm_help, rest, environment);
  }
  if (what == "load") return parse_bench_load(rest, environment);
  if (what == "model") return parse_bench_model(rest, environment);
  throw UsageError(str("unknown command bench {}; legal: {}", what, legal));
}

[[noreturn]] void refuse_first_word(const std::string& word) {
  const Words known = is_flag(word) ? Words{"--help", "--version"}
                                    : Words{"generate", "chat",    "run-batch", "inspect",
                                            "trace",    "session", "bench"};
  const std::string kind = is_flag(word) ? "flag" : "command";
  const auto nearest = nearest_word(word, known);
  const std::string hint =
      nearest ? "nearest: " + *nearest : str("legal: {}", fmt::join(known, ", "));
  throw UsageError(str("unknown {} {}; {}", kind, word, hint));
}

}  // namespace

Command parse_command_line(const std::vector<std::string>& arguments,
                           const Environment& environment) {
  if (arguments.empty()) throw UsageError("no command; try longspan --help");
  const std::string& first = arguments.front();
  const Words rest(arguments.begin() + 1, arguments.end());
  if (first == "generate") return parse_generate(rest, environment);
  if (first == "chat") return parse_chat(rest, environment);
  if (first == "run-batch") return parse_run_batch(rest, environment);
  if (first == "inspect") return parse_inspect(rest, environment);
  if (first == "trace") return parse_trace(rest, environment);
  if (first == "session") return parse_session(rest, environment);
  if (first == "bench") return parse_bench(rest, environment);
  if (first == "--help" || first == "-h") return HelpRequest{program_help()};
  if (first == "--version") return VersionRequest{};
  refuse_first_word(first);
}

}  // namespace longspan
