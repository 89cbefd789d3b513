#include "tests/comm/communicator_conformance.h"

#include <gmock/gmock.h>

#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "comm/collective.h"
#include "comm/cpu/cpu_device.h"
#include "comm/error.h"
#include "comm/group.h"

namespace longspan::test {
namespace {

using namespace std::chrono_literals;

constexpr Patience kPatience{20s};

/// `count` values that tell who sent them and where they stood.
std::vector<int> values(int sender, std::size_t count) {
  std::vector<int> made(count);
  std::iota(made.begin(), made.end(), sender * 1'000'000);
  return made;
}

ConstBytes bytes_of(const std::vector<int>& values) { return std::as_bytes(std::span(values)); }
Bytes landing(std::vector<int>& values) { return std::as_writable_bytes(std::span(values)); }

int next(const Communicator& comm) { return (comm.rank() + 1) % comm.size(); }
int previous(const Communicator& comm) { return (comm.rank() + comm.size() - 1) % comm.size(); }

TEST_P(CommunicatorConformance, ARingPassesEveryShardToEveryRank) {
  GetParam().run([](Communicator& comm) {
    CpuStream stream(1);
    std::vector<int> held = values(comm.rank(), 1000);
    std::vector<int> incoming(1000);
    for (int step = 1; step < comm.size(); ++step) {
      comm.exchange(stream, {{next(comm), bytes_of(held)}}, {{previous(comm), landing(incoming)}});
      stream.synchronize();
      std::swap(held, incoming);
      const int owner = (comm.rank() + comm.size() - step) % comm.size();
      EXPECT_EQ(held, values(owner, 1000)) << "step " << step;
    }
  });
}

TEST_P(CommunicatorConformance, EveryPairMaySpeakAtOnceWithSizesOfItsOwn) {
  GetParam().run([](Communicator& comm) {
    const auto count = [](int from, int to) { return static_cast<std::size_t>(from * 37 + to); };
    std::vector<std::vector<int>> out;
    std::vector<std::vector<int>> in;
    for (int peer = 0; peer < comm.size(); ++peer) {
      out.push_back(values(comm.rank(), count(comm.rank(), peer)));
      in.emplace_back(count(peer, comm.rank()), -1);
    }
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (int peer = 0; peer < comm.size(); ++peer) {
      sends.push_back({peer, bytes_of(out[static_cast<std::size_t>(peer)])});
      receives.push_back({peer, landing(in[static_cast<std::size_t>(peer)])});
    }
    comm.transfer(std::move(sends), std::move(receives), kPatience);
    for (int peer = 0; peer < comm.size(); ++peer) {
      EXPECT_EQ(in[static_cast<std::size_t>(peer)], values(peer, count(peer, comm.rank())));
    }
  });
}

TEST_P(CommunicatorConformance, MessagesToOnePeerArriveInListOrderAndInExchangeOrder) {
  GetParam().run([](Communicator& comm) {
    CpuStream stream(1);
    std::vector<std::vector<int>> out;
    std::vector<std::vector<int>> in(8, std::vector<int>(3));
    for (int i = 0; i < 8; ++i) out.push_back(values(comm.rank() * 8 + i, 3));
    for (std::size_t i = 0; i < 8; i += 4) {
      std::vector<Send> sends;
      std::vector<Receive> receives;
      for (std::size_t j = i; j < i + 4; ++j) {
        sends.push_back({next(comm), bytes_of(out[j])});
        receives.push_back({previous(comm), landing(in[j])});
      }
      comm.exchange(stream, std::move(sends), std::move(receives));
    }
    stream.synchronize();
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(in[static_cast<std::size_t>(i)], values(previous(comm) * 8 + i, 3));
    }
  });
}

TEST_P(CommunicatorConformance, ARankMayTalkToItself) {
  GetParam().run([](Communicator& comm) {
    const std::vector<int> out = values(comm.rank(), 5);
    std::vector<int> in(5);
    comm.transfer({{comm.rank(), bytes_of(out)}}, {{comm.rank(), landing(in)}}, kPatience);
    EXPECT_EQ(in, out);
  });
}

TEST_P(CommunicatorConformance, NothingIsSentForZeroBytes) {
  GetParam().run([](Communicator& comm) {
    CpuStream stream(1);
    const Traffic before = comm.traffic();
    // The peer does not even know of it: a message would be left over and spoil what follows.
    comm.exchange(stream, {{next(comm), {}}}, {});
    comm.exchange(stream, {}, {});
    comm.transfer({}, {{previous(comm), {}}}, kPatience);
    const std::vector<int> out = values(comm.rank(), 1);
    std::vector<int> in(1);
    comm.exchange(stream, {{next(comm), {}}, {next(comm), bytes_of(out)}},
                  {{previous(comm), landing(in)}});
    stream.synchronize();
    EXPECT_EQ(in, values(previous(comm), 1));
    EXPECT_EQ(comm.traffic().sent_messages - before.sent_messages, 1U);
  });
}

TEST_P(CommunicatorConformance, LargeMessagesArriveWhole) {
  GetParam().run([](Communicator& comm) {
    CpuStream stream(1);
    // No multiple of any piece, page or eager limit.
    const std::vector<int> out = values(comm.rank(), 700'001);
    std::vector<int> in(700'001);
    comm.exchange(stream, {{next(comm), bytes_of(out)}}, {{previous(comm), landing(in)}});
    stream.synchronize();
    EXPECT_TRUE(in == values(previous(comm), 700'001));
  });
}

TEST_P(CommunicatorConformance, TrafficCountsMessagesAndBytesOnce) {
  GetParam().run([](Communicator& comm) {
    const Traffic before = comm.traffic();
    const std::vector<int> out = values(comm.rank(), 5'000);
    std::vector<int> in(5'000);
    comm.transfer({{next(comm), bytes_of(out)}}, {{previous(comm), landing(in)}}, kPatience);
    const Traffic after = comm.traffic();
    EXPECT_EQ(after.sent_messages - before.sent_messages, 1U);
    EXPECT_EQ(after.received_messages - before.received_messages, 1U);
    EXPECT_EQ(after.sent_bytes - before.sent_bytes, 20'000U);
    EXPECT_EQ(after.received_bytes - before.received_bytes, 20'000U);
  });
}

TEST_P(CommunicatorConformance, AGroupTranslatesItsIndices) {
  GetParam().run([](Communicator& comm) {
    std::vector<int> ranks(static_cast<std::size_t>(comm.size()));
    for (int i = 0; i < comm.size(); ++i) {
      ranks[static_cast<std::size_t>(i)] = comm.size() - 1 - i;  // backwards
    }
    const Group group(comm, ranks);
    EXPECT_EQ(group.rank(), comm.size() - 1 - comm.rank());
    CpuStream stream(1);
    const std::vector<int> out = values(group.rank(), 4);
    std::vector<int> in(4);
    const int from = (group.rank() + group.size() - 1) % group.size();
    group.exchange(stream, {{(group.rank() + 1) % group.size(), bytes_of(out)}},
                   {{from, landing(in)}});
    stream.synchronize();
    EXPECT_EQ(in, values(from, 4));
  });
}

TEST_P(CommunicatorConformance, AnExchangeWaitsForWorkEnqueuedBeforeItAndHoldsUpWorkBehind) {
  GetParam().run([](Communicator& comm) {
    CpuStream stream(1);
    std::vector<int> out(100, -1);
    std::vector<int> in(100);
    std::vector<int> seen;
    stream.enqueue([&] { out = values(comm.rank(), 100); });
    stream.synchronize();  // `out` has its memory; the values come again, late
    stream.enqueue([&] { std::ranges::copy(values(comm.rank() + 50, 100), out.begin()); });
    comm.exchange(stream, {{next(comm), bytes_of(out)}}, {{previous(comm), landing(in)}});
    stream.enqueue([&] { seen = in; });
    stream.synchronize();
    EXPECT_EQ(seen, values(previous(comm) + 50, 100));
  });
}

// The receiver always notices. Whether the sender does depends on the transport.
TEST_P(CommunicatorConformance, AMessageOfAnotherSizeIsACommErrorThatNamesBothSizes) {
  GetParam().run([](Communicator& comm) {
    if (comm.size() == 1) return;
    for (const std::size_t expected : {8, 12}) {
      const std::vector<int> out = values(comm.rank(), 10);
      std::vector<int> in(expected);
      std::string failure;
      try {
        if (comm.rank() == 0) comm.transfer({{1, bytes_of(out)}}, {}, kPatience);
        if (comm.rank() == 1) comm.transfer({}, {{0, landing(in)}}, kPatience);
      } catch (const CommError& error) {
        failure = error.what();
      }
      if (comm.rank() == 1) {
        EXPECT_THAT(failure, testing::HasSubstr("sent 40 bytes"));
        EXPECT_THAT(failure, testing::HasSubstr("expected " + std::to_string(expected * 4)));
      }
      barrier(comm);  // and the communicator goes on
    }
  });
}

TEST_P(CommunicatorConformance, APeerOutsideTheCommunicatorIsTheCallersMistake) {
  GetParam().run([](Communicator& comm) {
    const std::vector<int> out(1);
    EXPECT_THROW(comm.transfer({{comm.size(), bytes_of(out)}}, {}, kPatience), std::logic_error);
    EXPECT_THROW(Group(comm, {comm.rank(), comm.size()}), std::logic_error);
    EXPECT_THROW(Group(comm, {comm.rank(), comm.rank()}), std::logic_error);
    EXPECT_THROW(Group(comm, {}), std::logic_error);
  });
}

TEST_P(CommunicatorConformance, TheStartUpCollectivesWorkFromEveryRoot) {
  GetParam().run([](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root) {
      const auto size = static_cast<std::size_t>(comm.rank() * 3);  // nothing from rank 0
      const std::vector<std::byte> mine(size, static_cast<std::byte>(comm.rank()));
      const auto gathered = gather(comm, mine, root);
      EXPECT_EQ(gathered.size(), comm.rank() == root ? static_cast<std::size_t>(comm.size()) : 0U);
      for (std::size_t rank = 0; rank < gathered.size(); ++rank) {
        EXPECT_EQ(gathered[rank], std::vector(rank * 3, static_cast<std::byte>(rank)));
      }
      auto told = mine;
      broadcast(comm, told, root);
      EXPECT_EQ(told,
                std::vector(static_cast<std::size_t>(root) * 3, static_cast<std::byte>(root)));
      barrier(comm);
    }
  });
}

TEST_P(CommunicatorConformance, AllRanksThrowTheFailureOfTheLowestFailingRank) {
  GetParam().run([](Communicator& comm) {
    EXPECT_NO_THROW(agree(comm, std::nullopt));
    const bool fails = comm.rank() > 0 || comm.size() == 1;
    try {
      agree(comm,
            fails ? std::optional(Failure{ExitCode::kNoInput, "no model here"}) : std::nullopt);
      ADD_FAILURE() << "nobody threw";
    } catch (const MissingInput& error) {
      EXPECT_THAT(error.what(), testing::EndsWith("no model here"));
      EXPECT_THAT(error.what(), testing::StartsWith(comm.size() > 1 ? "rank 1 on " : "no model"));
    }
  });
}

TEST_P(CommunicatorLossConformance, ALostPeerFailsTheStreamByTheDeadlineAndWhatDependsOnIt) {
  GetParam().run([](Communicator& comm) {
    CpuStream transfer(1);
    CpuStream compute(1);
    std::vector<int> in(10);
    bool computed = false;
    const auto begun = std::chrono::steady_clock::now();
    comm.exchange(transfer, {}, {{next(comm), landing(in)}});  // nobody sends
    compute.wait(transfer.record());
    compute.enqueue([&] { computed = true; });
    try {
      compute.synchronize();
      ADD_FAILURE() << "a message that nobody sent was waited for in vain, without an error";
    } catch (const CommError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(next(comm)) + " (40 bytes)"));
      EXPECT_THAT(error.what(), testing::HasSubstr("0.300 s"));
    }
    EXPECT_FALSE(computed);
    EXPECT_GE(std::chrono::steady_clock::now() - begun, 300ms);
    std::this_thread::sleep_for(500ms);  // a rank that left by now would be another kind of loss
  });
}

}  // namespace
}  // namespace longspan::test
