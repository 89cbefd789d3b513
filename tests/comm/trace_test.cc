#include "comm/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "comm/group.h"
#include "comm/trace_file.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

TraceEvent::Time at(int nanoseconds) {
  return TraceEvent::Time(std::chrono::nanoseconds(nanoseconds));
}

std::vector<std::int64_t> drained(TraceLane& lane) {
  std::vector<std::int64_t> begins;
  lane.drain(
      [&](const TraceEvent& event) { begins.push_back(event.begin.time_since_epoch().count()); });
  return begins;
}

TEST(TraceLaneTest, SpansComeOutInTheOrderInWhichTheyEnded) {
  TraceLane lane(8);
  for (int i : {3, 1, 2}) lane.add({"work"}, at(i), at(i + 1));
  EXPECT_THAT(drained(lane), ElementsAre(3, 1, 2));
  EXPECT_THAT(drained(lane), ElementsAre());
}

TEST(TraceLaneTest, AFullLaneDropsAndCountsAndTakesAgainOnceDrained) {
  TraceLane lane(2);
  for (int i = 1; i <= 5; ++i) lane.add({"work"}, at(i), at(i));
  EXPECT_EQ(lane.dropped(), 3u);
  EXPECT_THAT(drained(lane), ElementsAre(1, 2));
  lane.add({"work"}, at(6), at(6));
  EXPECT_THAT(drained(lane), ElementsAre(6));
  EXPECT_EQ(lane.dropped(), 3u);
}

// What ThreadSanitizer looks at: a stream adds while the host drains.
TEST(TraceLaneTest, NothingIsLostOrTornBetweenTwoThreads) {
  constexpr int kSpans = 20'000;
  TraceLane lane(64);
  std::jthread adder([&] {
    for (int i = 0; i < kSpans; ++i) lane.add({"work"}, at(i), at(2 * i), std::to_string(i));
  });
  std::int64_t taken = 0, last = -1;
  while (taken + static_cast<std::int64_t>(lane.dropped()) < kSpans) {
    lane.drain([&](const TraceEvent& event) {
      const auto begin = event.begin.time_since_epoch().count();
      EXPECT_GT(begin, last);
      EXPECT_EQ(event.end.time_since_epoch().count(), 2 * begin);
      EXPECT_EQ(event.more, std::to_string(begin));
      last = begin;
      ++taken;
    });
  }
}

/// The one file of a traced rank, and what stands in it once it is finished.
class TraceTest : public testing::Test {
 protected:
  TraceTest() { device_.trace_into(&file_); }

  json finished() {
    file_.finish();
    std::ifstream in(folder_ / "t" / "rank-3.json");
    return json::parse(in);
  }

  /// Of the finished file: spans of that name.
  static std::vector<json> spans(const json& trace, const std::string& name) {
    std::vector<json> found;
    for (const json& event : trace["traceEvents"]) {
      if (event["ph"] == "X" && event["name"] == name) found.push_back(event);
    }
    return found;
  }

  static double end(const json& span) {
    return span["ts"].get<double>() + span["dur"].get<double>();
  }

  static std::vector<std::string> thread_names(const json& trace) {
    std::vector<std::string> names;
    for (const json& event : trace["traceEvents"]) {
      if (event["name"] == "thread_name") names.push_back(event["args"]["name"]);
    }
    return names;
  }

  test::TemporaryDirectory folder_;
  TraceFile file_{folder_ / "t", {.rank = 3, .ranks = 5, .host = "a \"host\"\n"}, 64};
  CpuDevice device_{1};
};

TEST_F(TraceTest, LabelledWorkLeavesASpanAndOtherWorkNone) {
  {
    const auto stream = device_.new_stream();
    as_cpu(*stream).enqueue({.name = "norm", .args = {{"rows", 7}, {"width", 9}}}, [] {});
    as_cpu(*stream).enqueue([] {});
  }
  const json trace = finished();
  const auto norms = spans(trace, "norm");
  ASSERT_EQ(norms.size(), 1u);
  EXPECT_EQ(norms[0]["cat"], "compute");
  EXPECT_EQ(norms[0]["pid"], 3);
  EXPECT_EQ(norms[0]["args"], (json{{"rows", 7}, {"width", 9}}));
  EXPECT_GE(norms[0]["dur"], 0);
  EXPECT_THAT(spans(trace, "work"), ElementsAre());
}

TEST_F(TraceTest, AnUntracedDeviceGivesStreamsWithoutALane) {
  EXPECT_EQ(as_cpu(*CpuDevice(1).new_stream()).lane(), nullptr);
  EXPECT_NE(as_cpu(*device_.new_stream()).lane(), nullptr);
}

TEST_F(TraceTest, AStreamThatWaitsForAnotherSaysSo) {
  {
    const auto first = device_.new_stream();
    const auto second = device_.new_stream();
    std::promise<void> open;
    as_cpu(*first).enqueue({"slow"}, [&] { open.get_future().wait(); });
    second->wait(first->record());
    as_cpu(*second).enqueue({"after"}, [] {});
    std::this_thread::sleep_for(2ms);
    open.set_value();
    second->synchronize();
    second->wait(first->record());  // happened or about to: no wait worth a span is asserted
  }
  const json trace = finished();
  const auto waits = spans(trace, "wait");
  ASSERT_GE(waits.size(), 1u);
  EXPECT_EQ(waits[0]["cat"], "wait");
  EXPECT_GE(waits[0]["dur"], 1000);  // microseconds; slept for two thousand
  EXPECT_EQ(waits[0]["tid"], spans(trace, "after").at(0)["tid"]);
  EXPECT_LE(end(waits[0]), spans(trace, "after")[0]["ts"]);
  EXPECT_LE(end(spans(trace, "slow").at(0)), end(waits[0]));
}

TEST_F(TraceTest, AnOutlineHoldsWhatIsEnqueuedMeanwhile) {
  {
    const auto stream = device_.new_stream();
    const StreamSpan step(*stream, {"step", TraceCategory::kStep});
    for (int layer = 0; layer < 2; ++layer) {
      const StreamSpan span(*stream, {"layer", TraceCategory::kStep, {{"layer", layer}}});
      as_cpu(*stream).enqueue({"norm"}, [] {});
    }
  }
  const json trace = finished();
  const json step = spans(trace, "step").at(0);
  const auto layers = spans(trace, "layer"), norms = spans(trace, "norm");
  ASSERT_EQ(layers.size(), 2u);
  ASSERT_EQ(norms.size(), 2u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(layers[i]["args"]["layer"], i);
    EXPECT_LE(step["ts"], layers[i]["ts"]);
    EXPECT_LE(layers[i]["ts"], norms[i]["ts"]);
    EXPECT_LE(end(norms[i]), end(layers[i]));
    EXPECT_LE(end(layers[i]), end(step));
  }
  EXPECT_LE(end(layers[0]), layers[1]["ts"]);
}

TEST_F(TraceTest, AFailedStreamStillClosesItsOutlines) {
  {
    const auto stream = device_.new_stream();
    const StreamSpan step(*stream, {"step", TraceCategory::kStep});
    as_cpu(*stream).enqueue({"lost"}, [] { throw CommError("gone"); });
  }
  const json trace = finished();
  EXPECT_EQ(spans(trace, "step").size(), 1u);
  EXPECT_EQ(spans(trace, "lost").size(), 1u);
}

TEST_F(TraceTest, StreamsOneAfterTheOtherShareALane) {
  const TraceLane* first = as_cpu(*device_.new_stream()).lane();
  EXPECT_EQ(as_cpu(*device_.new_stream()).lane(), first);
  const auto both = std::array{device_.new_stream(), device_.new_stream()};
  EXPECT_NE(as_cpu(*both[0]).lane(), as_cpu(*both[1]).lane());
}

TEST_F(TraceTest, LanesAreCalledAfterWhatTheyDid) {
  file_.host().add({"step", TraceCategory::kStep}, at(1), at(2));
  {
    const std::array streams{device_.new_stream(), device_.new_stream(), device_.new_stream(),
                             device_.new_stream()};
    as_cpu(*streams[0]).lane()->add({"exchange", TraceCategory::kExchange}, at(1), at(2));
    as_cpu(*streams[1]).lane()->add({"exchange", TraceCategory::kExchange}, at(1), at(2));
    as_cpu(*streams[2]).lane()->add({"norm"}, at(1), at(2));
  }
  EXPECT_THAT(thread_names(finished()), ElementsAre("host", "transfer", "transfer 2", "compute"));
}

TEST_F(TraceTest, TheFileSaysWhoseItIsAndWhatItLacks) {
  {
    const auto stream = device_.new_stream();
    for (int i = 0; i < 100; ++i) as_cpu(*stream).enqueue({"norm"}, [] {});
  }
  const json trace = finished();
  EXPECT_EQ(spans(trace, "norm").size(), 64u);
  EXPECT_EQ(trace["otherData"]["dropped"], 36);
  EXPECT_EQ(trace["otherData"]["rank"], 3);
  EXPECT_EQ(trace["otherData"]["ranks"], 5);
  EXPECT_EQ(trace["otherData"]["host"], "a ?host??");
}

TEST_F(TraceTest, KeepingUpLeavesRoomForTheNextStep) {
  const auto stream = device_.new_stream();
  for (int step = 0; step < 10; ++step) {
    for (int i = 0; i < 30; ++i) as_cpu(*stream).enqueue({"norm"}, [] {});
    stream->synchronize();
    file_.keep_up();
  }
  EXPECT_EQ(file_.dropped(), 0u);
  const json trace = finished();
  EXPECT_EQ(spans(trace, "norm").size(), 300u);
  EXPECT_GE(spans(trace, "write trace").size(), 1u);
}

TEST_F(TraceTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(folder_ / "file") << "x";
  try {
    const TraceFile file(folder_ / "file" / "below", {});
    ADD_FAILURE() << "a folder inside a file";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr((folder_ / "file" / "below").string()));
    EXPECT_THAT(error.what(), HasSubstr("name another folder"));
  }
}

TEST(TraceExchangeTest, BothSidesOfAnExchangeLeaveASpanWithBytesAndPeers) {
  const test::TemporaryDirectory folder;
  test::run_machines(3, [&](Machine& machine) {
    TraceFile file(folder.path(), {.rank = machine.rank(), .ranks = 3});
    machine.device().trace_into(&file);
    const Group group(machine.data(), {0, 1, 2});
    const int next = (machine.rank() + 1) % 3, previous = (machine.rank() + 2) % 3;
    std::vector<std::byte> out(40), in(40);
    {
      const auto stream = machine.device().new_stream();
      group.exchange(*stream, {{next, out}}, {{previous, in}});
      stream->synchronize();
    }
    file.finish();
    std::ifstream text(folder / ("rank-" + std::to_string(machine.rank()) + ".json"));
    const json trace = json::parse(text);
    int exchanges = 0;
    for (const json& event : trace["traceEvents"]) {
      if (event["name"] != "exchange") continue;
      ++exchanges;
      EXPECT_EQ(event["cat"], "exchange");
      const json args = {
          {"to", {next}}, {"from", {previous}}, {"sent_bytes", 40}, {"received_bytes", 40}};
      EXPECT_EQ(event["args"], args);
    }
    EXPECT_EQ(exchanges, 1);
  });
}

}  // namespace
}  // namespace longspan
