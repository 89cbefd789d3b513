#include "launch/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;
using Variables = std::map<std::string, std::string>;

Environment environment_of(const Variables& variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

/// A line cut at its blanks: enough for arguments without blanks.
Words split(const std::string& line) {
  std::istringstream stream(line);
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

GenerateOptions generate_of(const Words& words, const Variables& variables = {}) {
  return std::get<GenerateOptions>(parse_command_line(words, environment_of(variables)));
}

GenerateOptions generate_of(const std::string& line, const Variables& variables = {}) {
  return generate_of(split("generate m.gguf " + line), variables);
}

std::string refusal(const Words& words, const Variables& variables = {}) {
  try {
    parse_command_line(words, environment_of(variables));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "(accepted)";
}

std::string refusal(const std::string& line, const Variables& variables = {}) {
  return refusal(split(line), variables);
}

TEST(OptionsTest, AConversationTakesWhatMakesSenseForItsAnswers) {
  const auto command = parse_command_line(
      split("chat m.gguf --system Hm --max-model-len 8K --max-tokens 9 --degree 3 --json "
            "--attention sinks --logprobs 2"),
      environment_of({{"LONGSPAN_SEED", "5"}, {"LONGSPAN_PROMPT", "Hello"}}));
  const GenerateOptions& options = std::get<ConversationOptions>(command).run;
  EXPECT_EQ(options.model, "m.gguf");
  EXPECT_TRUE(options.chat.wraps);
  EXPECT_EQ(options.chat.system, "Hm");
  EXPECT_EQ(options.max_model_len, 8192);
  EXPECT_EQ(options.max_tokens, 9);
  EXPECT_EQ(options.degree, 3);
  EXPECT_TRUE(options.json);
  EXPECT_EQ(options.attention.kind, AttentionKind::kSinks);
  EXPECT_EQ(options.sampling.seed, 5);
}

TEST(OptionsTest, GroupsAreAsThePolicySaysOrAsTheDegreeDoes) {
  EXPECT_EQ(generate_of("--prompt x").policy, std::nullopt);
  EXPECT_EQ(generate_of("--prompt x --policy static_sp --degree 2").policy, PolicyKind::kStaticSp);
  EXPECT_EQ(generate_of("--prompt x --policy replicas --degree 1").policy, PolicyKind::kReplicas);
  for (const auto& [policy, other] : {std::pair{"replicas", "--degree 2"},
                                      {"chunked_prefill", "--degree 1"},
                                      {"replicas", "--compare-degrees 1,2"},
                                      {"chunked_prefill", "--attention apb"}}) {
    const std::string flag = std::string(other).substr(0, std::string(other).find(' '));
    const std::string line =
        refusal(str("generate m.gguf --prompt x --policy {} {}", policy, other));
    EXPECT_THAT(line, HasSubstr(str("--policy {} and {} do not go together", policy, flag)));
    EXPECT_THAT(line, HasSubstr(str("leave out {}, or use --policy static_sp", flag)));
  }
  EXPECT_THAT(refusal("chat m.gguf --policy replicas --degree 3"), HasSubstr("leave out --degree"));
  EXPECT_THAT(refusal("run-batch m.gguf -i a -o b --policy replicas --degree 3"),
              HasSubstr("leave out --degree"));
}

TEST(OptionsTest, AConversationRefusesWhatItCannotKeep) {
  EXPECT_THAT(refusal("chat m.gguf --attention star"), HasSubstr("exact"));
  EXPECT_THAT(refusal("chat m.gguf --prompt Hi"), HasSubstr("unknown flag --prompt"));
  EXPECT_THAT(refusal("chat m.gguf --block-tokens 5"), HasSubstr("unknown flag"));
  EXPECT_THAT(refusal("chat m.gguf --max-model-len 1"), HasSubstr("--max-model-len"));
  EXPECT_THAT(refusal("chat m.gguf --logprobs 2"), HasSubstr("add --json"));
  EXPECT_THAT(refusal("generate m.gguf --prompt Hi --max-model-len 9"), HasSubstr("unknown flag"));
  EXPECT_THAT(refusal("chat"), HasSubstr("longspan chat MODEL"));
  EXPECT_THAT(refusal("chatt m.gguf"), HasSubstr("nearest: chat"));
}

RunBatchOptions run_batch_of(const std::string& line, const Variables& variables = {}) {
  return std::get<RunBatchOptions>(
      parse_command_line(split("run-batch m.gguf " + line), environment_of(variables)));
}

TEST(OptionsTest, EveryFlagOfABatchReachesItsField) {
  const RunBatchOptions options = run_batch_of(
      "-i in --output out --retry-failed --served-model-name a,b --max-model-len 8K "
      "--max-tokens 9 --temperature 0.5 --degree 3 --max-num-seqs 7 --admission utilize "
      "--max-queue-requests 8 --max-queue-tokens 1K",
      {{"LONGSPAN_SEED", "5"}, {"LONGSPAN_PROMPT", "Hello"}});
  EXPECT_EQ(options.input, "in");
  EXPECT_EQ(options.output, "out");
  EXPECT_TRUE(options.retry_failed);
  EXPECT_FALSE(options.restart);
  EXPECT_THAT(options.names, ElementsAre("a", "b"));
  EXPECT_EQ(options.run.model, "m.gguf");
  EXPECT_EQ(options.run.max_model_len, 8192);
  EXPECT_EQ(options.run.max_tokens, 9);
  EXPECT_EQ(options.run.sampling.temperature, 0.5);
  EXPECT_EQ(options.run.sampling.seed, 5);
  EXPECT_EQ(options.run.degree, 3);
  EXPECT_EQ(options.run.max_num_seqs, 7);
  EXPECT_TRUE(options.run.prefix_cache);
  EXPECT_FALSE(options.run.kv_disk || options.run.kv_disk_bytes || options.run.kv_host_bytes > 0);
  EXPECT_EQ(options.admission, MemoryMode::kUtilize);
  EXPECT_EQ(options.queue.requests, 8);
  EXPECT_EQ(options.queue.tokens, 1024);
  const RunBatchOptions little = run_batch_of("-i in -o out --restart");
  EXPECT_TRUE(little.restart);
  EXPECT_EQ(little.admission, MemoryMode::kNoEvict);
  EXPECT_EQ(little.queue.requests, 256);
  EXPECT_FALSE(little.queue.tokens);
}

TEST(OptionsTest, ABatchRefusesWhatItsRequestsSay) {
  EXPECT_THAT(refusal("run-batch m.gguf -o out"), HasSubstr("-i is missing"));
  EXPECT_THAT(refusal("run-batch m.gguf -i in"), HasSubstr("-o is missing"));
  EXPECT_THAT(refusal("run-batch -i in -o out"), HasSubstr("longspan run-batch MODEL"));
  EXPECT_THAT(refusal("run-batch m.gguf -i in -o out --prompt Hi"), HasSubstr("unknown flag"));
  EXPECT_THAT(refusal("run-batch m.gguf -i in -o out --attention sinks"),
              HasSubstr("unknown flag"));
  EXPECT_THAT(refusal("run-batch m.gguf -i in -o out --restart --retry-failed"),
              HasSubstr("give one"));
  for (const char* names : {",", "a,", ",a", "a,,b"}) {
    EXPECT_THAT(refusal(str("run-batch m.gguf -i in -o out --served-model-name {}", names)),
                HasSubstr("--served-model-name"));
  }
  EXPECT_THAT(refusal("run-bach m.gguf"), HasSubstr("nearest: run-batch"));
}

TEST(OptionsTest, DefaultsAreThoseTheHelpNames) {
  const GenerateOptions options = generate_of("--prompt Hello");
  EXPECT_EQ(options.model, "m.gguf");
  EXPECT_EQ(options.prompt.kind, PromptKind::kText);
  EXPECT_EQ(options.prompt.value, "Hello");
  EXPECT_EQ(options.max_tokens, std::nullopt);
  EXPECT_EQ(options.degree, std::nullopt);
  EXPECT_EQ(options.tp, 1);
  EXPECT_EQ(options.layout, Layout::kBlockCyclic);
  EXPECT_EQ(options.prefill_chunk, std::nullopt);
  EXPECT_FALSE(options.max_step_tokens);  // 2,048, on GPUs 16,384
  EXPECT_FALSE(options.tbt_slo);
  EXPECT_FALSE(options.page_tokens);  // 16, or what suits a GPU
  EXPECT_FALSE(options.backend);
  EXPECT_EQ(options.keep, Retention::kSpread);
  EXPECT_EQ(options.threads, std::nullopt);
  EXPECT_EQ(options.kv_type, std::nullopt);
  EXPECT_FALSE(options.rope_float32);
  EXPECT_EQ(options.dtype, std::nullopt);
  EXPECT_FALSE(options.strategy);
  EXPECT_EQ(options.decode_strategy, DecodeStrategy::kShipped);
  EXPECT_EQ(options.calibrate, CalibrationEffort::kQuick);
  EXPECT_FALSE(options.throttle_link);
  EXPECT_TRUE(options.compare_degrees.empty());
  EXPECT_FALSE(options.ignore_eos);
  EXPECT_EQ(options.logprobs, 0);
  EXPECT_FALSE(options.prompt_nll);
  EXPECT_EQ(options.force_ids, std::nullopt);
  EXPECT_FALSE(options.json);
  EXPECT_EQ(options.max_num_seqs, 64);
  EXPECT_EQ(options.memory_limit_bytes, std::nullopt);
  EXPECT_EQ(options.hang_timeout, std::chrono::seconds(120));
  EXPECT_EQ(options.trace, std::nullopt);
  EXPECT_EQ(options.log_level, LogLevel::kInfo);
  EXPECT_FALSE(options.sampling.temperature);
  EXPECT_FALSE(options.sampling.seed);
  EXPECT_EQ(options.sampling.min_tokens, 0);
  EXPECT_TRUE(options.sampling.stop_texts.empty());
  EXPECT_TRUE(options.sampling.uses_model_defaults);
}

TEST(OptionsTest, EverySamplingFlagReachesItsField) {
  const SamplingOptions options =
      generate_of(
          "--prompt x --temperature 0.7 --top-k 40 --top-p 0.9 --min-p 0.05 --repetition-penalty "
          "1.1 --presence-penalty=-0.5 --frequency-penalty 0.25 --logit-bias 5:-1 --seed=-7 --stop "
          "END --stop-ids 3,4 --min-tokens 2 --generation-config none")
          .sampling;
  EXPECT_EQ(options.temperature, 0.7);
  EXPECT_EQ(options.top_k, 40);
  EXPECT_EQ(options.top_p, 0.9);
  EXPECT_EQ(options.min_p, 0.05);
  EXPECT_EQ(options.repetition_penalty, 1.1);
  EXPECT_EQ(options.presence_penalty, -0.5);
  EXPECT_EQ(options.frequency_penalty, 0.25);
  ASSERT_EQ(options.bias.size(), 1u);
  EXPECT_EQ(options.bias[0].id, 5);
  EXPECT_EQ(options.seed, -7);
  EXPECT_THAT(options.stop_texts, ElementsAre("END"));
  EXPECT_THAT(options.stop_ids, ElementsAre(3, 4));
  EXPECT_EQ(options.min_tokens, 2);
  EXPECT_FALSE(options.uses_model_defaults);
}

TEST(OptionsTest, SessionsAreFilesOfOneSequence) {
  const GenerateOptions options = generate_of("--prompt a --session talk.session --recompute");
  EXPECT_EQ(options.session, "talk.session");
  EXPECT_TRUE(options.recompute);
  EXPECT_TRUE(generate_of("--session talk.session").prompt.value.empty()) << "it goes on";
}

TEST(OptionsTest, SessionCommandsNameAFolderOrAFile) {
  const auto session_of = [](const std::vector<std::string>& words) {
    return std::get<SessionOptions>(parse_command_line(words, environment_of({})));
  };
  EXPECT_EQ(session_of({"session", "list", "d"}).action, SessionAction::kList);
  EXPECT_EQ(session_of({"session", "show", "f", "--json"}).action, SessionAction::kShow);
  const SessionOptions verify = session_of({"session", "verify", "f"});
  EXPECT_EQ(verify.action, SessionAction::kVerify);
  EXPECT_EQ(verify.path, "f");
  EXPECT_FALSE(verify.json);
}

TEST(OptionsTest, EveryFlagReachesItsField) {
  const GenerateOptions options = generate_of(
      "--prompt-file - --degree 3 --tp 2 --layout zigzag --prefill-chunk 64 --page-tokens 128 "
      "--keep fewest --prefix-cache off --cuda-graphs off --threads 2 --max-tokens=1 --n 3 "
      "--ignore-eos --logprobs 20 --prompt-nll "
      "--force-ids ids.json --json --max-num-seqs 4 --memory-limit 512M --hang-timeout 0.5 "
      "--log-level debug --dtype float32 --rope-float32 --trace traces --no-verify "
      "--max-step-tokens 1K --tbt-slo-ms 40 --policy random_elastic --policy-seed 7 "
      "--move-bandwidth 2G");
  EXPECT_EQ(options.prompt.kind, PromptKind::kTextFile);
  EXPECT_EQ(options.prompt.value, "-");
  EXPECT_EQ(options.degree, 3);
  EXPECT_EQ(options.tp, 2);
  EXPECT_EQ(options.layout, Layout::kZigzag);
  EXPECT_EQ(options.prefill_chunk, 64);
  EXPECT_EQ(options.max_step_tokens, 1024);
  EXPECT_EQ(options.tbt_slo, std::chrono::milliseconds(40));
  EXPECT_EQ(options.page_tokens, 128);
  EXPECT_EQ(options.keep, Retention::kFewest);
  EXPECT_FALSE(options.prefix_cache);
  EXPECT_FALSE(options.cuda_graphs);
  EXPECT_TRUE(options.random_elastic);
  EXPECT_EQ(options.policy_seed, 7);
  EXPECT_EQ(options.move_bandwidth, std::int64_t{2} << 30);
  EXPECT_EQ(options.threads, 2);
  EXPECT_EQ(options.max_tokens, 1);
  EXPECT_TRUE(options.ignore_eos);
  EXPECT_EQ(options.n, 3);
  EXPECT_EQ(options.logprobs, 20);
  EXPECT_TRUE(options.prompt_nll);
  EXPECT_EQ(options.force_ids, "ids.json");
  EXPECT_TRUE(options.json);
  EXPECT_TRUE(options.rope_float32);
  EXPECT_EQ(options.max_num_seqs, 4);
  EXPECT_EQ(options.memory_limit_bytes, 512u << 20);
  EXPECT_EQ(options.hang_timeout, std::chrono::milliseconds(500));
  EXPECT_EQ(options.trace, "traces");
  EXPECT_TRUE(options.no_verify);
  EXPECT_EQ(options.log_level, LogLevel::kDebug);
}

TEST(OptionsTest, EvictedPagesMayBeKeptOnADisk) {
  const GenerateOptions options = generate_of("--prompt x --kv-disk /scratch --kv-disk-bytes 20G");
  EXPECT_EQ(options.kv_disk, "/scratch");
  EXPECT_EQ(options.kv_disk_bytes, std::int64_t{20} << 30);
  EXPECT_EQ(run_batch_of("-i in -o out --kv-disk d --kv-disk-bytes 1").run.kv_disk, "d");
  EXPECT_EQ(generate_of("--prompt x --kv-host-bytes 3G").kv_host_bytes, std::int64_t{3} << 30);
  EXPECT_EQ(generate_of("--prompt x --kv-host-bytes 0 --session f").kv_host_bytes, 0);
}

TEST(OptionsTest, AConversationMayBeginWithASystemMessage) {
  EXPECT_FALSE(generate_of("--prompt x").chat.wraps);
  EXPECT_TRUE(generate_of("--prompt x --chat").chat.wraps);
  EXPECT_EQ(generate_of("--prompt x --chat").chat.system, std::nullopt);
  EXPECT_EQ(generate_of("--prompt x --chat --system y").chat.system, "y");
}

TEST(OptionsTest, EveryLayoutHasAWord) {
  EXPECT_EQ(generate_of("--prompt x --layout block-cyclic").layout, Layout::kBlockCyclic);
  EXPECT_EQ(generate_of("--prompt x --layout striped").layout, Layout::kStriped);
  EXPECT_EQ(generate_of("--prompt x --layout zigzag").layout, Layout::kZigzag);
  EXPECT_EQ(generate_of("--prompt x --layout contiguous").layout, Layout::kContiguous);
}

TEST(OptionsTest, EveryDecodeStrategyHasAWord) {
  for (DecodeStrategy strategy : kDecodeStrategies) {
    EXPECT_EQ(
        generate_of("--prompt x --decode-strategy " + std::string(name(strategy))).decode_strategy,
        strategy);
  }
}

TEST(OptionsTest, EveryPatternOfAttentionHasAWordAndItsSizes) {
  EXPECT_TRUE(approximation(generate_of("--prompt x").attention).is_exact());
  for (AttentionKind kind : kAttentionKinds) {
    EXPECT_EQ(generate_of("--prompt x --attention " + std::string(name(kind))).attention.kind,
              kind);
  }
  const Approximation sinks = approximation(
      generate_of("--prompt x --attention sinks --sink-tokens 0 --window-tokens 1K").attention);
  EXPECT_EQ(sinks.kind, AttentionKind::kSinks);
  EXPECT_EQ(sinks.sink_tokens, 0);
  EXPECT_EQ(sinks.window_tokens, 1024);
  const Approximation star = approximation(
      generate_of("--prompt x --attention star --block-tokens 512 --query-tokens 0").attention);
  EXPECT_EQ(star.block_tokens, 512);
  EXPECT_EQ(star.query_tokens, 0);
  EXPECT_EQ(approximation(generate_of("--prompt x --attention star").attention).query_tokens,
            std::nullopt);
  const Approximation apb =
      approximation(generate_of("--prompt x --attention apb --block-tokens 800 --passing-tokens 7 "
                                "--observed-tokens 9")
                        .attention);
  EXPECT_EQ(apb.anchor_tokens, 200);
  EXPECT_EQ(apb.passing_tokens, 7);
  EXPECT_EQ(apb.observed_tokens, 9);
  const Approximation sparse =
      approximation(generate_of("--prompt x --attention block-sparse --block-mass 0.5").attention);
  EXPECT_EQ(sparse.block_tokens, 64);
  EXPECT_EQ(sparse.block_mass, 0.5);
}

TEST(OptionsTest, EveryKindOfPromptIsTold) {
  EXPECT_EQ(generate_of("--prompt-ids i.json").prompt.kind, PromptKind::kIdsFile);
  EXPECT_EQ(generate_of("--prompts p.jsonl").prompt.kind, PromptKind::kLines);
  EXPECT_EQ(generate_of("--prompts p.jsonl").prompt.value, "p.jsonl");
}

TEST(OptionsTest, AutoLeavesTheChoiceToTheCommand) {
  EXPECT_EQ(generate_of("--prompt x --prefill-chunk auto").prefill_chunk, std::nullopt);
  EXPECT_EQ(generate_of("--prompt x --tbt-slo-ms off").tbt_slo, std::nullopt);
  EXPECT_NO_THROW(generate_of("--prompt x --dtype auto"));
}

TEST(OptionsTest, DegreesToCompareComeInOrder) {
  EXPECT_THAT(generate_of("--prompt x --compare-degrees 1,2,3").compare_degrees,
              ElementsAre(1, 2, 3));
  EXPECT_THAT(generate_of("--prompt x --compare-degrees 4,4").compare_degrees, ElementsAre(4, 4));
}

TEST(OptionsTest, SizesTakeSuffixes) {
  const std::map<std::string, std::size_t> sizes = {
      {"7", 7},
      {"1k", 1000},
      {"1K", 1024},
      {"2m", 2'000'000},
      {"2M", 2u << 20},
      {"3g", 3'000'000'000},
      {"3G", std::size_t{3} << 30},
      {"1t", 1'000'000'000'000},
      {"1T", std::size_t{1} << 40},
      {"8388607T", std::size_t{8388607} << 40},  // the largest that fits
  };
  for (const auto& [text, bytes] : sizes) {
    EXPECT_EQ(generate_of("--prompt x --memory-limit " + text).memory_limit_bytes, bytes) << text;
  }
  EXPECT_EQ(generate_of("--prompt x --max-tokens 2K").max_tokens, 2048);
}

// CLI11 reads lists, braces and quotes into values of its own; a prompt must arrive as typed.
TEST(OptionsTest, APromptArrivesByteForByte) {
  for (const std::string prompt :
       {"[a,b]",        "[[a]]",    "[]",    "{}", "{a}", "%%",       "a=b",       "\"quoted\"",
        "'x'",          "-",        "-1",    "--", "++",  " leading", "two words", "line\nbreak",
        "--not-a-flag", "\xff\xfe", "@file", "\\n"}) {
    EXPECT_EQ(generate_of(Words{"generate", "m", "--prompt", prompt}).prompt.value, prompt);
    EXPECT_EQ(generate_of(Words{"generate", "m", "--prompt=" + prompt}).prompt.value, prompt);
  }
}

TEST(OptionsTest, AFlagAsAValueNeedsTheEqualsSign) {
  EXPECT_EQ(refusal("generate m --prompt --json"),
            "--prompt needs TEXT, but the next word is the flag --json");
  EXPECT_EQ(generate_of("--prompt=--json").prompt.value, "--json");
}

TEST(OptionsTest, TheModelMayStandAnywhere) {
  EXPECT_EQ(generate_of(split("generate --prompt x --json m.gguf")).model, "m.gguf");
  EXPECT_EQ(generate_of(split("generate --prompt x -- -odd-name")).model, "-odd-name");
}

TEST(OptionsTest, TheEnvironmentFillsWhatTheCommandLineLeavesOut) {
  const Variables variables = {{"LONGSPAN_PROMPT_FILE", "a.txt"},
                               {"LONGSPAN_MAX_TOKENS", "5"},
                               {"LONGSPAN_DEGREE", "2"},
                               {"LONGSPAN_JSON", "yes"},
                               {"LONGSPAN_IGNORE_EOS", "0"}};
  const GenerateOptions options = generate_of("--degree 3", variables);
  EXPECT_EQ(options.prompt.value, "a.txt");
  EXPECT_EQ(options.max_tokens, 5);
  EXPECT_EQ(options.degree, 3);
  EXPECT_TRUE(options.json);
  EXPECT_FALSE(options.ignore_eos);
  EXPECT_FALSE(generate_of("--json=false", variables).json);
}

TEST(OptionsTest, APromptOnTheCommandLineOutranksAnotherKindInTheEnvironment) {
  const GenerateOptions options = generate_of("--prompt x", {{"LONGSPAN_PROMPT_FILE", "a.txt"}});
  EXPECT_EQ(options.prompt.kind, PromptKind::kText);
}

TEST(OptionsTest, AWrongVariableIsRefusedByItsOwnName) {
  EXPECT_EQ(refusal("generate m --prompt x", {{"LONGSPAN_DEGREE", "two"}}),
            "LONGSPAN_DEGREE must be a whole number from 1 to 65536, not 'two'");
  EXPECT_EQ(refusal("generate m --prompt x", {{"LONGSPAN_JSON", "2"}}),
            "LONGSPAN_JSON must be true, 1, yes, on, false, 0, no or off, not '2'");
  EXPECT_EQ(refusal("generate m", {{"LONGSPAN_PROMPT", "a"}, {"LONGSPAN_PROMPTS", "b"}}),
            "LONGSPAN_PROMPT and LONGSPAN_PROMPTS both give a prompt; give one");
}

TEST(OptionsTest, InspectTakesAModelAndJson) {
  const Command command = parse_command_line(split("inspect m.gguf --json"), environment_of({}));
  EXPECT_EQ(std::get<InspectOptions>(command).model, "m.gguf");
  EXPECT_TRUE(std::get<InspectOptions>(command).json);
  const Variables variables = {{"LONGSPAN_JSON", "1"}};
  EXPECT_TRUE(std::get<InspectOptions>(
                  parse_command_line(split("inspect m.gguf"), environment_of(variables)))
                  .json);
}

TEST(OptionsTest, InspectMayListTensorsAndWriteAManifest) {
  const auto inspect = [](const std::string& line) {
    return std::get<InspectOptions>(parse_command_line(split(line), environment_of({})));
  };
  const InspectOptions plain = inspect("inspect m.gguf");
  EXPECT_FALSE(plain.tensors || plain.write_manifest || plain.force);
  EXPECT_TRUE(inspect("inspect m.gguf --tensors").tensors);
  EXPECT_TRUE(inspect("inspect m.gguf --write-manifest").write_manifest);
  EXPECT_TRUE(inspect("inspect m.gguf --no-verify").no_verify);
  EXPECT_TRUE(inspect("inspect m.gguf --write-manifest --force").force);
}

TEST(OptionsTest, TraceMergeTakesAFolderAndAnOutput) {
  const auto merge = [](const std::string& line, const Variables& variables = {}) {
    return std::get<TraceMergeOptions>(
        parse_command_line(split("trace merge " + line), environment_of(variables)));
  };
  EXPECT_EQ(merge("t").folder, "t");
  EXPECT_EQ(merge("t").output, std::nullopt);
  EXPECT_EQ(merge("t -o all.json").output, "all.json");
  EXPECT_EQ(merge("--output=all.json t").output, "all.json");
  EXPECT_EQ(merge("t", {{"LONGSPAN_OUTPUT", "e.json"}}).output, "e.json");
}

TEST(OptionsTest, VersionAndHelpAreRequestsOfTheirOwn) {
  const auto parsed = [](const std::string& line) {
    return parse_command_line(split(line), environment_of({}));
  };
  EXPECT_TRUE(std::holds_alternative<VersionRequest>(parsed("--version")));
  EXPECT_THAT(std::get<HelpRequest>(parsed("--help")).text, HasSubstr("longspan COMMAND"));
  EXPECT_THAT(std::get<HelpRequest>(parsed("-h")).text, HasSubstr("longspan COMMAND"));
  EXPECT_THAT(std::get<HelpRequest>(parsed("generate --help")).text, HasSubstr("--prompt-file"));
  EXPECT_THAT(std::get<HelpRequest>(parsed("inspect -h")).text, HasSubstr("inspect MODEL"));
  for (const std::string line : {"trace --help", "trace -h", "trace merge --help"}) {
    EXPECT_THAT(std::get<HelpRequest>(parsed(line)).text, HasSubstr("trace merge DIR"));
  }
  // Help beats everything that is missing or wrong beside it.
  EXPECT_THAT(std::get<HelpRequest>(parsed("generate m --degree 0 --help --bogus")).text,
              HasSubstr("--prompt-file"));
}

struct Refusal {
  const char* line;
  const char* message;
};

class RefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, SaysWhatIsWrongAndWhatIsLegal) {
  EXPECT_EQ(refusal(GetParam().line), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Commands, RefusalTest,
    ::testing::Values(
        Refusal{"", "no command; try longspan --help"},
        Refusal{"generat m", "unknown command generat; nearest: generate"},
        Refusal{"inspcet m", "unknown command inspcet; nearest: inspect"},
        Refusal{"serve",
                "unknown command serve; legal: generate, chat, run-batch, inspect, trace, session, "
                "bench"},
        Refusal{"--verison", "unknown flag --verison; nearest: --version"},
        Refusal{"--degree 2", "unknown flag --degree; legal: --help, --version"},
        Refusal{"generate", "MODEL is missing: longspan generate MODEL ..."},
        Refusal{"inspect --json", "MODEL is missing: longspan inspect MODEL ..."},
        Refusal{"trace", "trace needs to know what: longspan trace merge DIR"},
        Refusal{"trace split", "unknown command trace split; legal: trace merge DIR"},
        Refusal{"trace merge", "DIR is missing: longspan trace merge DIR ..."},
        Refusal{"trace merge a b", "unexpected 'b' after DIR; a value with spaces needs quotes"},
        Refusal{"trace merge a -o", "-o needs a value"},
        Refusal{"trace merge a --outptu b", "unknown flag --outptu; nearest: --output"},
        Refusal{"generate m --prompt Hello world",
                "unexpected 'world' after MODEL; a value with spaces needs quotes"}));

INSTANTIATE_TEST_SUITE_P(
    Flags, RefusalTest,
    ::testing::Values(
        Refusal{"generate m --degre 4", "unknown flag --degre; nearest: --degree"},
        Refusal{"generate m --degre=4", "unknown flag --degre; nearest: --degree"},
        Refusal{"generate m -degree 4", "unknown flag -degree; nearest: --degree"},
        Refusal{"generate m --max_tokens 4", "unknown flag --max_tokens; nearest: --max-tokens"},
        Refusal{"generate m --hlep", "unknown flag --hlep; nearest: --help"},
        Refusal{"generate m -x", "unknown flag -x; see longspan generate --help"},
        Refusal{"generate m --prompt x --temperature -0.1",
                "--temperature must be a number from 0 to 2, not '-0.1'"},
        Refusal{"generate m --prompt x --temperature nan",
                "--temperature must be a number from 0 to 2, not 'nan'"},
        Refusal{"generate m --prompt x --top-k -2",
                "--top-k must be a whole number from -1 to 2147483647, not '-2'"},
        Refusal{"generate m --prompt x --top-p 0",
                "--top-p must be a number above 0 and up to 1, not '0'"},
        Refusal{"generate m --prompt x --min-p 1.1",
                "--min-p must be a number from 0 to 1, not '1.1'"},
        Refusal{"generate m --prompt x --repetition-penalty 0",
                "--repetition-penalty must be a number above 0 and up to 10, not '0'"},
        Refusal{"generate m --prompt x --presence-penalty 2.1",
                "--presence-penalty must be a number from -2 to 2, not '2.1'"},
        Refusal{"generate m --prompt x --frequency-penalty -2.1",
                "--frequency-penalty must be a number from -2 to 2, not '-2.1'"},
        Refusal{"generate m --prompt x --logit-bias 5:101",
                "--logit-bias must be ID:BIAS,ID:BIAS,... with token ids and a number from -100 "
                "to 100, not '5:101'"},
        Refusal{"generate m --prompt x --stop-ids 1,x",
                "--stop-ids must be whole numbers from 0 to 2147483647 with commas between them, "
                "not '1,x'"},
        Refusal{"generate m --prompt x --generation-config auto",
                "--generation-config must be model or none, not 'auto'"},
        Refusal{"generate m --prompt x --system y",
                "--system is a message of a conversation; add --chat"},
        Refusal{"generate m --prompt-ids x --chat",
                "--chat needs the prompt as text, but --prompt-ids gives token ids"},
        Refusal{"generate m --beams 2", "unknown flag --beams; see longspan generate --help"},
        Refusal{"inspect m --force", "--force replaces a manifest; add --write-manifest"},
        Refusal{"inspect m --degree 1", "unknown flag --degree; see longspan inspect --help"},
        Refusal{"generate m --prompt", "--prompt needs a value"},
        Refusal{"generate m --prompt= x", "--prompt= has no value after the equals sign"},
        Refusal{"generate m --degree --layout zigzag",
                "--degree needs N, but the next word is the flag --layout"},
        Refusal{"generate m --prompt x --degree 1 --degree 2",
                "--degree was given 2 times, once is enough"}));

INSTANTIATE_TEST_SUITE_P(
    Attention, RefusalTest,
    ::testing::Values(
        Refusal{"generate m --prompt x --attention sink",
                "--attention must be exact, star, apb, sinks or block-sparse, not 'sink'; nearest: "
                "sinks"},
        Refusal{"generate m --prompt x --sink-tokens 4",
                "--sink-tokens is not a size of --attention exact; it is one of sinks"},
        Refusal{"generate m --prompt x --attention sinks --block-tokens 4",
                "--block-tokens is not a size of --attention sinks; it is one of star, apb, "
                "block-sparse"},
        Refusal{"generate m --prompt x --attention star --passing-tokens 4",
                "--passing-tokens is not a size of --attention star; it is one of apb"},
        Refusal{"generate m --prompt x --attention block-sparse --block-mass 1.5",
                "--block-mass must be a number above 0 and up to 1, not '1.5'"},
        Refusal{"generate m --prompt x --attention block-sparse --block-mass 0",
                "--block-mass must be a number above 0 and up to 1, not '0'"},
        Refusal{"generate m --prompt x --attention apb --prefill-chunk 100",
                "--attention apb reads a prompt in one step; leave out --prefill-chunk"},
        Refusal{"generate m --prompt x --attention apb --max-step-tokens 100",
                "--attention apb reads a prompt in one step; leave out --max-step-tokens"},
        Refusal{"generate m --prompt x --attention star --window-tokens 4",
                "--window-tokens is not a size of --attention star; it is one of sinks"},
        Refusal{"generate m --prompt x --attention sinks --window-tokens 0",
                "--window-tokens must be a whole number of at least 1 (k 1000, K 1024; m, M, g, G, "
                "t, T alike), not '0'"},
        Refusal{"generate m --prompt x --attention star --block-tokens 0",
                "--block-tokens must be a whole number of at least 1 (k 1000, K 1024; m, M, g, G, "
                "t, T alike), not '0'"}));

INSTANTIATE_TEST_SUITE_P(
    Prompts, RefusalTest,
    ::testing::Values(
        Refusal{"generate m",
                "no prompt: give one of --prompt TEXT, --prompt-file FILE, --prompt-ids FILE.json, "
                "--prompts FILE.jsonl"},
        Refusal{"generate m --prompt x --prompt-file f",
                "--prompt and --prompt-file both give a prompt; give one"},
        Refusal{"generate m --prompts f --prompt-ids g",
                "--prompt-ids and --prompts both give a prompt; give one"}));

INSTANTIATE_TEST_SUITE_P(
    Numbers, RefusalTest,
    ::testing::Values(
        Refusal{"generate m --prompt x --degree 0",
                "--degree must be a whole number from 1 to 65536, not '0'"},
        Refusal{"generate m --prompt x --degree -1",
                "--degree must be a whole number from 1 to 65536, not '-1'"},
        Refusal{"generate m --prompt x --degree two",
                "--degree must be a whole number from 1 to 65536, not 'two'"},
        Refusal{"generate m --prompt x --degree 1.5",
                "--degree must be a whole number from 1 to 65536, not '1.5'"},
        Refusal{"generate m --prompt x --threads 99999999999999999999",
                "--threads must be a whole number from 1 to 4096, not '99999999999999999999'"},
        Refusal{"generate m --prompt x --logprobs 21",
                "--logprobs must be a whole number from 0 to 20, not '21'"},
        Refusal{"generate m --prompt x --n 0", "--n must be a whole number from 1 to 16, not '0'"},
        Refusal{"generate m --prompt x --logprobs -1",
                "--logprobs must be a whole number from 0 to 20, not '-1'"},
        Refusal{"generate m --prompt x --max-num-seqs 0",
                "--max-num-seqs must be a whole number from 1 to 65536, not '0'"},
        Refusal{"generate m --prompt x --max-tokens 0",
                "--max-tokens must be a whole number of at least 1 (k 1000, K 1024; m, M, g, G, t, "
                "T alike), not '0'"},
        Refusal{"generate m --prompt x --prefill-chunk 0",
                "--prefill-chunk must be a whole number of at least 1 (k 1000, K 1024; m, M, g, G, "
                "t, T alike), not '0'"},
        Refusal{"generate m --prompt x --tbt-slo-ms 0",
                "--tbt-slo-ms must be a whole number from 1 to 3600000, not '0'"},
        Refusal{"generate m --prompt x --page-tokens 24",
                "--page-tokens must be a power of two from 1 to 1024, not '24'"},
        Refusal{"generate m --prompt x --page-tokens 2048",
                "--page-tokens must be a power of two from 1 to 1024, not '2048'"},
        Refusal{"generate m --prompt x --page-tokens 0",
                "--page-tokens must be a power of two from 1 to 1024, not '0'"},
        Refusal{"generate m --prompt x --hang-timeout 0",
                "--hang-timeout must be a number of seconds from 0.001 to 1000000, not '0'"},
        Refusal{"generate m --prompt x --hang-timeout nan",
                "--hang-timeout must be a number of seconds from 0.001 to 1000000, not 'nan'"},
        Refusal{"generate m --prompt x --compare-degrees 1,,2",
                "--compare-degrees must be whole numbers from 1 to 65536 with commas between "
                "them, not '1,,2'"},
        Refusal{"generate m --prompt x --compare-degrees 1,0",
                "--compare-degrees must be whole numbers from 1 to 65536 with commas between "
                "them, not '1,0'"},
        Refusal{"generate m --prompt x --compare-degrees 2",
                "--compare-degrees must be 2 or more numbers with commas between them, not '2'"}));

INSTANTIATE_TEST_SUITE_P(
    Words, RefusalTest,
    ::testing::Values(
        Refusal{
            "generate m --prompt x --layout zigzg",
            "--layout must be block-cyclic, striped, zigzag, contiguous or folded, not 'zigzg'; "
            "nearest: zigzag"},
        Refusal{
            "generate m --prompt x --layout round",
            "--layout must be block-cyclic, striped, zigzag, contiguous or folded, not 'round'"},
        Refusal{"generate m --prompt x --prefix-cache yes",
                "--prefix-cache must be on or off, not 'yes'"},
        Refusal{"generate m --prompt x --keep few", "--keep must be spread or fewest, not 'few'"},
        Refusal{"generate m --prompt x --dtype fp8",
                "--dtype must be auto, float32 or bfloat16, not 'fp8'"},
        Refusal{"generate m --prompt x --log-level warn",
                "--log-level must be debug, info, warning or error, not 'warn'"},
        Refusal{"generate m --prompt x --json=maybe",
                "--json must be true, 1, yes, on, false, 0, no or off, not 'maybe'"}));

INSTANTIATE_TEST_SUITE_P(
    Contradictions, RefusalTest,
    ::testing::Values(
        Refusal{"generate m --prompt x --degree 2 --compare-degrees 1,2",
                "--degree and --compare-degrees both say how many ranks to use; give one"},
        Refusal{"generate m --prompt x --kv-disk d",
                "--kv-disk does not say how much each rank may keep there; add --kv-disk-bytes, as "
                "20G"},
        Refusal{"run-batch m -i a -o b --kv-disk-bytes 1G",
                "--kv-disk-bytes says how much of a folder to take; add --kv-disk DIR"},
        Refusal{"generate m --prompt x --kv-disk d --kv-disk-bytes 1G --prefix-cache off",
                "--kv-disk keeps what the prefix cache has no memory for; leave out --prefix-cache "
                "off"},
        Refusal{
            "generate m --prompt x --kv-disk d --kv-disk-bytes 1G --attention star",
            "--kv-disk keeps what prompts share, and under --attention star they share nothing; "
            "leave out one of them"},
        Refusal{"generate m --prompt x --kv-disk d --kv-disk-bytes 1G --session f",
                "--session and --kv-disk do not go together: a session has pages of its own, and "
                "keeps them"},
        Refusal{"generate m --prompt x --kv-host-bytes 1G --prefix-cache off",
                "--kv-host-bytes keeps what the prefix cache has no memory for; leave out "
                "--prefix-cache off"},
        Refusal{"generate m --prompt x --kv-host-bytes 1G --session f",
                "--session and --kv-host-bytes do not go together: a session has pages of its own, "
                "and keeps them"},
        Refusal{"chat m --kv-host-bytes 1G",
                "unknown flag --kv-host-bytes; see longspan chat --help"},
        Refusal{"chat m --kv-disk d", "unknown flag --kv-disk; see longspan chat --help"},
        Refusal{"generate m --prompt x --tp 2 --decode-strategy sliced",
                "--decode-strategy sliced needs all weights on every rank, but with --tp a rank "
                "holds a part; use shipped, tree or mirrored, or --tp 1"},
        Refusal{"generate m --prompt x --force-ids f --compare-degrees 1,2",
                "--compare-degrees compares chosen tokens, but --force-ids chooses them all"},
        Refusal{"generate m --prompts p --force-ids f",
                "--force-ids holds the tokens of one prompt, but --prompts gives several"}));

TEST(OptionsTest, AnUnfitSizeIsRefusedWithItsSuffixes) {
  for (const std::string text : {"0", "-1", "x", "1.5G", "2X", "G", "1GB", "0K"}) {
    EXPECT_EQ(refusal("generate m --prompt x --memory-limit " + text),
              "--memory-limit must be a whole number of at least 1 (k 1000, K 1024; m, M, g, G, t, "
              "T alike), not '" +
                  text + "'");
  }
}

TEST(OptionsTest, WhatIsTooLargeForAnyNumberIsToldTheWholeRange) {
  for (const std::string text : {"8388608T", "9223372036854775808", "99999999999999999999k"}) {
    EXPECT_EQ(
        refusal("generate m --prompt x --memory-limit " + text),
        "--memory-limit must be a whole number from 1 to 9223372036854775807 (k 1000, K 1024; "
        "m, M, g, G, t, T alike), not '" +
            text + "'");
  }
  EXPECT_EQ(refusal("generate m --prompt x --seed 9223372036854775808"),
            "--seed must be a whole number from -9223372036854775808 to 9223372036854775807, not "
            "'9223372036854775808'");
}

TEST(OptionsTest, AnEmptyPromptIsRefused) {
  EXPECT_EQ(refusal(Words{"generate", "m", "--prompt", ""}),
            "the prompt is empty: --prompt has no text");
  EXPECT_EQ(refusal(Words{"generate", "", "--prompt", "x"}),
            "MODEL is missing: longspan generate MODEL ...");
}

}  // namespace
}  // namespace longspan
