#include "launch/bench/bench_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "comm/error.h"
#include "launch/bench/bench_help.h"
#include "launch/bench/bench_option_table.h"
#include "launch/options.h"

namespace longspan {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Variables = std::map<std::string, std::string>;

Command parsed(const std::string& line, const Variables& variables = {}) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return parse_command_line(words, [&](const std::string& name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::optional<std::string>() : found->second;
  });
}

BenchAttentionOptions attention(const std::string& line, const Variables& variables = {}) {
  return std::get<BenchAttentionOptions>(parsed("bench attention " + line, variables));
}

BenchCommOptions comm(const std::string& line) {
  return std::get<BenchCommOptions>(parsed("bench comm " + line));
}

std::string refusal(const std::string& line) {
  try {
    parsed(line);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST(BenchOptionsTest, AttentionsDefaultsAreThoseTheHelpNames) {
  const BenchAttentionOptions options = attention("");
  EXPECT_THAT(options.tokens, ElementsAre(512, 2048, 8192));
  EXPECT_FALSE(options.cached);
  EXPECT_FALSE(options.random);
  EXPECT_EQ(options.heads.query_heads, 9);
  EXPECT_EQ(options.heads.kv_heads, 3);
  EXPECT_EQ(options.heads.head_dim, 64);
  EXPECT_THAT(options.layouts, ElementsAre(Layout::kBlockCyclic));
  EXPECT_EQ(options.strategies, StrategyWish{});
  EXPECT_EQ(options.page(), 16);
  EXPECT_FALSE(options.degree);
  EXPECT_FALSE(options.threads);
  EXPECT_EQ(options.seconds, std::chrono::seconds(1));
  EXPECT_EQ(options.calibrate, std::nullopt);
  EXPECT_EQ(options.backend, std::nullopt);
  EXPECT_FALSE(options.throttle_link);
  EXPECT_FALSE(options.json);
  EXPECT_FALSE(options.plot);
  EXPECT_EQ(options.log_level, LogLevel::kInfo);
}

TEST(BenchOptionsTest, EveryFlagOfAttentionReachesItsField) {
  const BenchAttentionOptions options = attention(
      "--tokens 1,2K --cached 3 --random 4 --heads 32/8x128 --layout zigzag,folded --strategy "
      "ring,ulysses --page-tokens 128 --degree 5 --threads 6 --seconds 0.05 --calibrate full "
      "--throttle-link 25M,1ms --json --plot p.svg --log-level debug");
  EXPECT_THAT(options.tokens, ElementsAre(1, 2048));
  EXPECT_EQ(options.cached, 3);
  EXPECT_EQ(options.random, 4);
  EXPECT_EQ(options.heads.query_heads, 32);
  EXPECT_EQ(options.heads.kv_heads, 8);
  EXPECT_EQ(options.heads.head_dim, 128);
  EXPECT_THAT(options.layouts, ElementsAre(Layout::kZigzag, Layout::kFolded));
  EXPECT_THAT(options.strategies.named, ElementsAre(Strategy::kRing, Strategy::kUlysses));
  EXPECT_FALSE(options.strategies.chosen_only);
  EXPECT_EQ(options.page_tokens, 128);
  EXPECT_EQ(options.degree, 5);
  EXPECT_EQ(options.threads, 6);
  EXPECT_EQ(options.seconds, std::chrono::milliseconds(50));
  EXPECT_EQ(options.calibrate, CalibrationEffort::kFull);
  EXPECT_EQ(options.throttle_link, "25M,1ms");
  EXPECT_TRUE(options.json);
  EXPECT_EQ(options.plot, "p.svg");
  EXPECT_EQ(options.log_level, LogLevel::kDebug);
}

TEST(BenchOptionsTest, APredictionNeedsToKnowForHowManyRanks) {
  EXPECT_EQ(attention("--predict two.json --degree 8").predict, "two.json");
  EXPECT_FALSE(attention("").predict);
  EXPECT_EQ(refusal("bench attention --predict two.json"),
            "--predict needs to know for how many ranks; add --degree N");
  EXPECT_EQ(refusal("bench attention --predict two.json --degree 8 --plot p.svg"),
            "--plot draws what was measured; leave it out with --predict");
}

TEST(BenchOptionsTest, AllAndAutoAreWordsOfTheirOwn) {
  EXPECT_EQ(attention("--layout all").layouts.size(), 5u);
  EXPECT_EQ(attention("--strategy all").strategies, StrategyWish{});
  EXPECT_TRUE(attention("--strategy auto").strategies.chosen_only);
  EXPECT_TRUE(attention("--strategy auto").strategies.named.empty());
}

TEST(BenchOptionsTest, HeadsAreWrittenInTwoWays) {
  for (const std::string text : {"9/3x64", "9x3x64"}) {
    const HeadShape heads = attention("--heads " + text).heads;
    EXPECT_EQ(heads.query_heads, 9) << text;
    EXPECT_EQ(heads.kv_heads, 3) << text;
    EXPECT_EQ(heads.head_dim, 64) << text;
  }
}

TEST(BenchOptionsTest, DecodeTakesContextsRowsAndStrategies) {
  const auto decode = [](const std::string& line) {
    return std::get<BenchDecodeOptions>(parsed("bench decode " + line));
  };
  EXPECT_THAT(decode("").contexts, ElementsAre(4096, 32768));
  EXPECT_THAT(decode("").rows, ElementsAre(1, 8));
  EXPECT_EQ(decode("").strategies.size(), 4u);
  EXPECT_EQ(decode("").heads.query_heads, 9);
  EXPECT_EQ(decode("").page(), 16);
  EXPECT_THAT(decode("").row_keys, ElementsAre(RowKeys::kOwn));
  EXPECT_THAT(decode("--keys shared,own").row_keys, ElementsAre(RowKeys::kShared, RowKeys::kOwn));
  const BenchDecodeOptions options = decode(
      "--context 1,2k --rows 3 --heads 4/2x16 --decode-strategy tree,shipped --page-tokens 1 "
      "--degree 2");
  EXPECT_THAT(options.contexts, ElementsAre(1, 2000));
  EXPECT_THAT(options.rows, ElementsAre(3));
  EXPECT_EQ(options.heads.kv_heads, 2);
  EXPECT_THAT(options.strategies, ElementsAre(DecodeStrategy::kTree, DecodeStrategy::kShipped));
  EXPECT_EQ(options.page_tokens, 1);
  EXPECT_EQ(options.degree, 2);
}

TEST(BenchOptionsTest, CommTakesSizes) {
  EXPECT_THAT(comm("").bytes, ElementsAre(1 << 10, 16 << 10, 256 << 10, 4 << 20, 16 << 20));
  const BenchCommOptions options = comm("--bytes 1,3k --degree 2 --seconds 2 --json");
  EXPECT_THAT(options.bytes, ElementsAre(1, 3000));
  EXPECT_EQ(options.degree, 2);
  EXPECT_EQ(options.seconds, std::chrono::seconds(2));
  EXPECT_TRUE(options.json);
}

TEST(BenchOptionsTest, ModelTakesLengthsAndWhatGenerateTakes) {
  const auto model = [](const std::string& line) {
    return std::get<BenchModelOptions>(parsed("bench model m " + line));
  };
  EXPECT_THAT(model("").tokens, ElementsAre());
  EXPECT_FALSE(model("").run.prefix_cache);
  const BenchModelOptions options = model(
      "--tokens 5,4K --answer 2 --repeat 9 --seconds 2 --degree 3 --load-format dummy --json");
  EXPECT_THAT(options.tokens, ElementsAre(5, 4096));
  EXPECT_EQ(options.answer, 2);
  EXPECT_EQ(options.repeat, 9);
  EXPECT_EQ(options.seconds, std::chrono::seconds(2));
  EXPECT_EQ(options.run.model, "m");
  EXPECT_EQ(options.run.degree, 3);
  EXPECT_TRUE(options.run.dummy_weights);
  EXPECT_TRUE(options.run.json);
}

TEST(BenchOptionsTest, TheEnvironmentFillsWhatTheCommandLineLeavesOut) {
  const Variables variables = {{"LONGSPAN_TOKENS", "7"}, {"LONGSPAN_SECONDS", "3"}};
  EXPECT_THAT(attention("", variables).tokens, ElementsAre(7));
  EXPECT_THAT(attention("--tokens 8", variables).tokens, ElementsAre(8));
  EXPECT_EQ(attention("", variables).seconds, std::chrono::seconds(3));
}

TEST(BenchOptionsTest, HelpIsThereForAllAndForEach) {
  const auto help = [](const std::string& line) {
    return std::get<HelpRequest>(parsed(line)).text;
  };
  EXPECT_EQ(help("bench --help"), bench_help());
  EXPECT_EQ(help("bench -h"), bench_help());
  EXPECT_EQ(help("bench attention --tokens 0 --help"), bench_attention_help());
  EXPECT_EQ(help("bench decode --help"), bench_decode_help());
  EXPECT_EQ(help("bench comm --help"), bench_comm_help());
  EXPECT_EQ(help("bench load --help"), bench_load_help());
  EXPECT_EQ(help("bench model --help"), bench_model_help());
  for (const auto& option : bench_model_options()) {
    EXPECT_THAT(bench_model_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : bench_model_run_options()) {
    EXPECT_THAT(bench_model_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : bench_load_options()) {
    EXPECT_THAT(bench_load_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : bench_attention_options()) {
    EXPECT_THAT(bench_attention_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : bench_decode_options()) {
    EXPECT_THAT(bench_decode_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : bench_comm_options()) {
    EXPECT_THAT(bench_comm_help(), HasSubstr("  " + option.flag()));
  }
}

TEST(BenchOptionsTest, HelpFitsATerminalOfAHundredColumns) {
  for (const std::string& text : {bench_help(), bench_attention_help(), bench_decode_help(),
                                  bench_comm_help(), bench_load_help(), bench_model_help()}) {
    EXPECT_THAT(text, HasSubstr("Exit codes:"));
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 100u) << line;
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
  }
}

TEST(BenchOptionsTest, WhatIsWrongIsSaidWithWhatIsLegal) {
  const std::string kMost = "1073741824 (k 1000, K 1024; m, M, g, G, t, T alike), not ";
  const std::map<std::string, std::string> refusals = {
      {"bench",
       "bench needs to know what: longspan bench attention, longspan bench decode, longspan bench "
       "comm, longspan bench load MODEL, longspan bench model MODEL"},
      {"bench model", "MODEL is missing: longspan bench model MODEL ..."},
      {"bench model m --prompt hello", "unknown flag --prompt; see longspan bench model --help"},
      {"bench model m --answer 1", "--answer must be a whole number from 2 to " + kMost + "'1'"},
      {"bench model m --repeat 1", "--repeat must be a whole number from 2 to 10000, not '1'"},
      {"bench model m --tp 2 --decode-strategy sliced",
       "--decode-strategy sliced needs all weights on every rank, but with --tp a rank holds a "
       "part; use shipped, tree or mirrored, or --tp 1"},
      {"bench load", "MODEL is missing: longspan bench load MODEL ..."},
      {"bench load m --tokens 1", "unknown flag --tokens; see longspan bench load --help"},
      {"bench attn",
       "unknown command bench attn; legal: longspan bench attention, longspan bench decode, "
       "longspan "
       "bench comm, longspan bench load MODEL, longspan bench model MODEL"},
      {"bench comm m.gguf", "unexpected 'm.gguf'; bench comm takes options only"},
      {"bench comm --tokens 1", "unknown flag --tokens; see longspan bench comm --help"},
      {"bench attention --token 1", "unknown flag --token; nearest: --tokens"},
      {"bench attention --tokens 0", "--tokens must be a whole number from 1 to " + kMost + "'0'"},
      {"bench attention --tokens 1,,2",
       "--tokens must be a whole number from 1 to " + kMost + "''"},
      {"bench attention --tokens 2G",
       "--tokens must be a whole number from 1 to " + kMost + "'2G'"},
      {"bench attention --cached -1",
       "--cached must be a whole number from 0 to " + kMost + "'-1'"},
      {"bench attention --random 0", "--random must be a whole number from 1 to 10000, not '0'"},
      {"bench attention --heads 9/3",
       "--heads must be QUERYxKVxSIZE, as 32x8x128 or 32/8x128, not '9/3'"},
      {"bench attention --heads 8/3x64",
       "--heads needs KV heads that divide the query heads, but 3 does not divide 8"},
      {"bench attention --heads 8/8x20",
       "--heads needs a head size that is a multiple of 8, not 20"},
      {"bench attention --heads 8/8x264",
       "--heads must be a whole number from 16 to 256, not '264'"},
      {"bench attention --heads 8/0x64", "--heads must be a whole number from 1 to 1024, not '0'"},
      {"bench attention --layout zigzag,zigzag", "--layout names zigzag twice"},
      {"bench attention --layout zigzag,strip",
       "--layout must be block-cyclic, striped, zigzag, contiguous or folded, not 'strip'; "
       "nearest: "
       "striped"},
      {"bench attention --strategy ring,auto",
       "--strategy must be ring, query-ring, all-gather, gather-q, ulysses, usp or double-ring, "
       "not "
       "'auto'"},
      {"bench attention --page-tokens 3",
       "--page-tokens must be a power of two from 1 to 1024, not '3'"},
      {"bench attention --seconds 0",
       "--seconds must be a number of seconds from 0.001 to 1000000, not '0'"},
      {"bench attention --plot=", "--plot= has no value after the equals sign"},
      {"bench decode --rows 0",
       "--rows must be whole numbers from 1 to 4096 with commas between them, not '0'"},
      {"bench decode --kv-dtype int8",
       "--kv-dtype must be float32, float16 or bfloat16, not 'int8'"},
      {"bench decode --decode-strategy ring",
       "--decode-strategy must be shipped, mirrored, tree or sliced, not 'ring'"},
      {"bench comm --bytes 0", "--bytes must be a whole number from 1 to " + kMost + "'0'"},
      {"bench comm --throttle-link fast",
       "--throttle-link must be bytes per second, and a latency if wanted, as 25M or 1.25G,200us, "
       "not 'fast'"}};
  for (const auto& [line, message] : refusals) EXPECT_EQ(refusal(line), message);
}

}  // namespace
}  // namespace longspan
