#include "tests/comm/communicator_conformance.h"

#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "comm/collective.h"
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

/// A rank's device, and a stream of it.
class Desk {
 public:
  explicit Desk(const World& world) : device_(world.new_device()), stream_(device_->new_stream()) {}

  Device& device() { return *device_; }
  Stream& stream() { return *stream_; }
  Buffer hold(const std::vector<int>& values) {
    Buffer buffer = device_->allocate(values.size() * sizeof(int));
    device_->copy(*stream_, buffer.bytes(), bytes_of(values));
    stream_->synchronize();
    return buffer;
  }
  /// For what arrives.
  Buffer room(std::size_t count) { return hold(std::vector<int>(count, -1)); }
  std::vector<int> read(const Buffer& buffer) {
    std::vector<int> values(buffer.bytes().size() / sizeof(int));
    device_->copy(*stream_, landing(values), buffer.bytes());
    stream_->synchronize();
    return values;
  }

 private:
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
};

int next(const Communicator& comm) { return (comm.rank() + 1) % comm.size(); }
int previous(const Communicator& comm) { return (comm.rank() + comm.size() - 1) % comm.size(); }

TEST_P(CommunicatorConformance, ARingPassesEveryShardToEveryRank) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    Buffer held = desk.hold(values(comm.rank(), 1000));
    Buffer incoming = desk.room(1000);
    for (int step = 1; step < comm.size(); ++step) {
      comm.exchange(desk.stream(), {{next(comm), held.bytes()}},
                    {{previous(comm), incoming.bytes()}});
      desk.stream().synchronize();
      std::swap(held, incoming);
      const int owner = (comm.rank() + comm.size() - step) % comm.size();
      EXPECT_EQ(desk.read(held), values(owner, 1000)) << "step " << step;
    }
  });
}

TEST_P(CommunicatorConformance, EveryPairMaySpeakAtOnceWithSizesOfItsOwn) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    const auto count = [](int from, int to) { return static_cast<std::size_t>(from * 37 + to); };
    std::vector<Buffer> out;
    std::vector<Buffer> in;
    for (int peer = 0; peer < comm.size(); ++peer) {
      out.push_back(desk.hold(values(comm.rank(), count(comm.rank(), peer))));
      in.push_back(desk.room(count(peer, comm.rank())));
    }
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (int peer = 0; peer < comm.size(); ++peer) {
      sends.push_back({peer, out[static_cast<std::size_t>(peer)].bytes()});
      receives.push_back({peer, in[static_cast<std::size_t>(peer)].bytes()});
    }
    comm.transfer(std::move(sends), std::move(receives), kPatience);
    for (int peer = 0; peer < comm.size(); ++peer) {
      EXPECT_EQ(desk.read(in[static_cast<std::size_t>(peer)]),
                values(peer, count(peer, comm.rank())));
    }
  });
}

TEST_P(CommunicatorConformance, MessagesToOnePeerArriveInListOrderAndInExchangeOrder) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    std::vector<Buffer> out;
    std::vector<Buffer> in;
    for (int i = 0; i < 8; ++i) {
      out.push_back(desk.hold(values(comm.rank() * 8 + i, 3)));
      in.push_back(desk.room(3));
    }
    for (std::size_t i = 0; i < 8; i += 4) {
      std::vector<Send> sends;
      std::vector<Receive> receives;
      for (std::size_t j = i; j < i + 4; ++j) {
        sends.push_back({next(comm), out[j].bytes()});
        receives.push_back({previous(comm), in[j].bytes()});
      }
      comm.exchange(desk.stream(), std::move(sends), std::move(receives));
    }
    desk.stream().synchronize();
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(desk.read(in[static_cast<std::size_t>(i)]), values(previous(comm) * 8 + i, 3));
    }
  });
}

TEST_P(CommunicatorConformance, ARankMayTalkToItself) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    const Buffer out = desk.hold(values(comm.rank(), 5));
    const Buffer in = desk.room(5);
    comm.transfer({{comm.rank(), out.bytes()}}, {{comm.rank(), in.bytes()}}, kPatience);
    EXPECT_EQ(desk.read(in), values(comm.rank(), 5));
  });
}

TEST_P(CommunicatorConformance, NothingIsSentForZeroBytes) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    const Traffic before = comm.traffic();
    // The peer does not even know of it: a message would be left over and spoil what follows.
    comm.exchange(desk.stream(), {{next(comm), {}}}, {});
    comm.exchange(desk.stream(), {}, {});
    comm.transfer({}, {{previous(comm), {}}}, kPatience);
    const Buffer out = desk.hold(values(comm.rank(), 1));
    const Buffer in = desk.room(1);
    comm.exchange(desk.stream(), {{next(comm), {}}, {next(comm), out.bytes()}},
                  {{previous(comm), in.bytes()}});
    desk.stream().synchronize();
    EXPECT_EQ(desk.read(in), values(previous(comm), 1));
    EXPECT_EQ(comm.traffic().sent_messages - before.sent_messages, 1U);
  });
}

TEST_P(CommunicatorConformance, LargeMessagesArriveWhole) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    // No multiple of any piece, page or eager limit.
    const Buffer out = desk.hold(values(comm.rank(), 700'001));
    const Buffer in = desk.room(700'001);
    comm.exchange(desk.stream(), {{next(comm), out.bytes()}}, {{previous(comm), in.bytes()}});
    desk.stream().synchronize();
    EXPECT_TRUE(desk.read(in) == values(previous(comm), 700'001));
  });
}

TEST_P(CommunicatorConformance, TrafficCountsMessagesAndBytesOnce) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    const Traffic before = comm.traffic();
    const Buffer out = desk.hold(values(comm.rank(), 5'000));
    const Buffer in = desk.room(5'000);
    comm.transfer({{next(comm), out.bytes()}}, {{previous(comm), in.bytes()}}, kPatience);
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
    Desk desk(GetParam());
    const Buffer out = desk.hold(values(group.rank(), 4));
    const Buffer in = desk.room(4);
    const int from = (group.rank() + group.size() - 1) % group.size();
    group.exchange(desk.stream(), {{(group.rank() + 1) % group.size(), out.bytes()}},
                   {{from, in.bytes()}});
    desk.stream().synchronize();
    EXPECT_EQ(desk.read(in), values(from, 4));
  });
}

TEST_P(CommunicatorConformance, AnExchangeWaitsForWorkEnqueuedBeforeItAndHoldsUpWorkBehind) {
  GetParam().run([](Communicator& comm) {
    Desk desk(GetParam());
    const Buffer late = desk.hold(values(comm.rank() + 50, 100));
    const Buffer out = desk.hold(values(comm.rank(), 100));
    const Buffer in = desk.room(100);
    const Buffer seen = desk.room(100);
    desk.stream().call([] { std::this_thread::sleep_for(20ms); });
    desk.device().copy(desk.stream(), out.bytes(), late.bytes());
    comm.exchange(desk.stream(), {{next(comm), out.bytes()}}, {{previous(comm), in.bytes()}});
    desk.device().copy(desk.stream(), seen.bytes(), in.bytes());
    desk.stream().synchronize();
    EXPECT_EQ(desk.read(seen), values(previous(comm) + 50, 100));
  });
}

// The receiver always notices. Whether the sender does depends on the transport.
TEST_P(CommunicatorConformance, AMessageOfAnotherSizeIsACommErrorThatNamesBothSizes) {
  if (!GetParam().takes_host_memory) GTEST_SKIP() << "sizes are not told between GPUs";
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
  if (!GetParam().takes_host_memory) GTEST_SKIP() << "they use the host's memory";
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
  if (!GetParam().takes_host_memory) GTEST_SKIP() << "failures are told in the host's memory";
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
    Desk transfer(GetParam());
    const auto compute = transfer.device().new_stream();
    const Buffer in = transfer.room(10);
    bool computed = false;
    const auto begun = std::chrono::steady_clock::now();
    comm.exchange(transfer.stream(), {}, {{next(comm), in.bytes()}});  // nobody sends
    compute->wait(transfer.stream().record());
    compute->call([&] { computed = true; });
    try {
      compute->synchronize();
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
