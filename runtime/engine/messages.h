// What the coordinator and the workers say to each other.
//
//   coordinator -> worker   Admission   a request exists, or goes on: its tokens, what to measure
//                           StepOrder   do this step, this way
//                           SendPages   pages for another group's ranks, which expect them
//                           Stop        leave; answered with a RankSummary
//   worker -> coordinator   StepReport  what the step sampled and measured
//
// And in a run of steps (decode_run.h), which one of its ranks leads:
//
//   leader -> member        StepOrder   the next step
//                           RunEnd      there is none; answered with a StepReport
//   member -> leader        StepReport  what it sampled, if it had to
//   leader -> coordinator   RunReport   what a step sampled, and whether it was the last
//   coordinator -> leader   RunWord     of the step before the last one: whether to go on
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "attention/strategy.h"
#include "runtime/model/sampler.h"
#include "scheduler/step_plan.h"

namespace longspan {

enum class MessageType : std::int32_t {
  kAdmission,
  kPlan,
  kSendPages,
  kStop,
  kReport,
  kSummary,
  kSavePages,  // these three: session_messages.h
  kRestorePages,
  kPagesReport,
  kRunEnd,  // these three: run_leader.h
  kRunReport,
  kRunWord,
};

struct Message {
  MessageType type = MessageType::kStop;
  std::vector<std::byte> payload;
};

/// A request as workers know it. `forced` tokens replace the sampled ones, from the first on.
struct Admission {
  RequestId request = 0;
  std::vector<TokenId> prompt;
  std::vector<TokenId> forced;
  /// Of its answer, what was sampled before and is read with the prompt: it goes on behind that.
  std::vector<TokenId> written;
  int top = 0;        // alternatives to report with each token
  Sampling sampling;  // its stops end the request
  /// Prompt and all tokens that may be generated, or the room for them: fixed when the sequence
  /// starts, since the keys of some models are turned by it.
  std::int64_t length = 0;

  /// Positions that are read as its prompt.
  std::int64_t to_read() const { return std::ssize(prompt) + std::ssize(written); }
  /// The token at one of them.
  TokenId token_at(std::int64_t position) const {
    const std::int64_t behind = position - std::ssize(prompt);
    return behind < 0 ? prompt.at(position) : written.at(behind);
  }
};

/// The token sampled for one row.
struct RowResult {
  RequestId request = 0;
  Scored scored;
};

/// Sum of -ln p(next token) over prompt rows of a chunk.
struct NllSum {
  RequestId request = 0;
  double sum = 0;
};

/// What to do, from the scheduler, and how, from the choice of strategies.
struct StepOrder {
  static constexpr int kNobody = -1;

  StepPlan plan;
  std::vector<Strategy> strategies;  // of each prefill chunk
  DecodeStrategy decode_strategy = DecodeStrategy::kShipped;
  int leader = kNobody;  // the rank that leads the steps of the plan's run, if that goes on
};

struct StepReport {
  std::uint64_t epoch = 0;
  std::int64_t kv_pages = 0;  // of the rank that sequences refer to
  std::vector<RowResult> rows;
  std::vector<NllSum> nll;
  TierNews tier;
};

struct RankReport {
  int rank = 0;
  StepReport report;
};

/// What all of them sampled, as long as they live.
std::vector<const RowResult*> rows_of(const std::vector<RankReport>& reports);
/// Of each row its token.
std::vector<SampledToken> sampled(const std::vector<const RowResult*>& rows);

/// What came of a step of a run: of who sampled and, with the last, of all that were in it.
struct RunReport {
  std::vector<RankReport> reports;
  bool over = false;
};

/// What a rank was and did, at the end.
struct RankSummary {
  int rank = 0;
  std::string host;
  std::string device;
  std::int64_t kv_pages_used = 0;  // the most at once
  std::int64_t kv_pages_total = 0;
  std::int64_t planned_bytes = 0;   // of KV pages, a step and a tier
  std::int64_t resident_bytes = 0;  // by which this process has grown since they were allocated
  std::uint64_t sent_bytes = 0;     // of the data plane
  std::uint64_t received_bytes = 0;
};

Message to_message(const Admission& admission);
Message to_message(const StepOrder& order);
Message to_message(const std::vector<PageSend>& pages);
Message to_message(const StepReport& report);
Message to_message(const RunReport& report);
Message to_message(const RankSummary& summary);
/// That a run is over.
Message run_end();
/// Whether it is to end.
Message run_word(bool ends);

class WireReader;
/// Of the payload. Throws CommError when the type is another than `expected`.
WireReader open_message(const Message& message, MessageType expected);

/// The reverse; CommError when the type is another or the payload is cut short.
Admission read_admission(const Message& message);
StepOrder read_order(const Message& message);
std::vector<PageSend> read_page_sends(const Message& message);
StepReport read_report(const Message& message);
RunReport read_run_report(const Message& message);
RankSummary read_summary(const Message& message);
bool read_run_word(const Message& message);

}  // namespace longspan
