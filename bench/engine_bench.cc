#include "bench/engine_bench.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "bench/thread_ranks.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/engine/load_model.h"

namespace longspan::bench {
namespace {

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw UsageError(str("'{}' is not a whole number", text));
  }
  return value;
}

}  // namespace

EngineBench parse_engine_bench(int count, char** words,
                               std::map<std::string, std::int64_t> numbers) {
  EngineBench bench{.model = {}, .numbers = std::move(numbers)};
  for (int i = 1; i < count; ++i) {
    const std::string name = words[i];
    if (name == "--json") {
      bench.json = true;
      continue;
    }
    if (++i == count) throw UsageError(str("{} needs a value", name));
    if (name == "--model") {
      bench.model = words[i];
    } else if (name == "--ranks") {
      bench.ranks = static_cast<int>(number(words[i]));
    } else if (name == "--threads") {
      bench.threads = static_cast<int>(number(words[i]));
    } else if (const auto own = bench.numbers.find(name); own != bench.numbers.end()) {
      own->second = number(words[i]);
    } else {
      throw UsageError(str("unknown option {}", name));
    }
  }
  if (bench.model.empty() || bench.ranks < 1 || bench.threads < 1) {
    throw UsageError("--model names a file, and there is a rank with a thread at least");
  }
  return bench;
}

void run_engine(const EngineBench& bench, const JobOptions& options, const SessionInput& session) {
  run_on_threads(bench.ranks, bench.threads, [&](Machine& machine) {
    LoadedModel model = load_model(machine, open_model(machine, bench.model), {});
    if (machine.rank() != 0) {
      run_session(machine, model, options, nullptr);
      return;
    }
    SessionInput input = session;
    run_session(machine, model, options, &input);
  });
}

std::vector<TokenId> random_prompt(std::mt19937& random, std::int64_t tokens) {
  constexpr TokenId kFirst = 100, kTokens = 30'000;  // of most vocabularies, plain text
  std::vector<TokenId> prompt(tokens);
  for (TokenId& token : prompt) token = kFirst + static_cast<TokenId>(random() % kTokens);
  return prompt;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double percentile(std::vector<double>& values, double share) {
  std::ranges::sort(values);
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(share * last + 0.5)];
}

}  // namespace longspan::bench
