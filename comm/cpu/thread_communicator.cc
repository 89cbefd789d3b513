#include "comm/cpu/thread_communicator.h"

#include "comm/cpu/cpu_device.h"
#include "comm/cpu/rendezvous.h"
#include "comm/error.h"
#include "comm/exchange_lists.h"
#include "comm/str.h"
#include "comm/trace_exchange.h"
#include "comm/traffic_counter.h"

namespace longspan {

class ThreadWorld::ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(ThreadWorld& world, int rank, std::chrono::milliseconds deadline)
      : world_(world), rank_(rank), deadline_(deadline) {}

  int rank() const override { return rank_; }
  int size() const override { return world_.size(); }

  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) override {
    expect_known_peers(sends, receives, size());
    drop_empty_messages(sends, receives);
    CpuStream& cpu = as_cpu(stream);
    cpu.enqueue(
        [this, lane = cpu.lane(), sends = std::move(sends), receives = std::move(receives)] {
          const TraceSpan span(lane, exchange_label(sends, receives),
                               lane ? exchange_peers(sends, receives) : "");
          run(sends, receives, {deadline_});
        });
  }

  void transfer(std::vector<Send> sends, std::vector<Receive> receives,
                Patience patience) override {
    expect_known_peers(sends, receives, size());
    drop_empty_messages(sends, receives);
    run(sends, receives, patience);
  }

  Traffic traffic() const override { return traffic_.read(); }
  bool is_prompt() const override { return true; }

 private:
  using Pending = std::shared_ptr<PendingHalves>;

  void run(const std::vector<Send>& sends, const std::vector<Receive>& receives,
           const Patience& patience) {
    const auto pending =
        std::make_shared<PendingHalves>(static_cast<int>(sends.size() + receives.size()));
    for (const Receive& receive : receives) {
      world_.lane(receive.peer, rank_).offer_receive({pending, {}, receive.bytes});
    }
    for (const Send& send : sends) {
      world_.lane(rank_, send.peer).offer_send({pending, send.bytes, {}});
    }
    if (!pending->wait(patience)) give_up(pending, patience);
    traffic_.add(traffic_of(sends, receives));
  }

  // Takes everything back first, so that no peer touches the caller's memory after the throw.
  [[noreturn]] void give_up(const Pending& pending, const Patience& patience) {
    std::string missing;
    for (int peer = 0; peer < size(); ++peer) {
      const std::size_t in = world_.lane(peer, rank_).withdraw(pending);
      const std::size_t out = peer == rank_ ? 0 : world_.lane(rank_, peer).withdraw(pending);
      if (in > 0) missing += str("; no word from rank {} ({} bytes)", peer, in);
      if (out > 0) missing += str("; rank {} did not take {} bytes", peer, out);
    }
    pending->wait_for_copies();
    const std::string failure = pending->failure();
    if (!failure.empty()) throw CommError(str("rank {}: exchange failed: {}", rank_, failure));
    throw CommError(str("rank {}: exchange not done after {:.3f} s{}", rank_,
                        std::chrono::duration<double>(*patience.deadline).count(), missing));
  }

  ThreadWorld& world_;
  const int rank_;
  const std::chrono::milliseconds deadline_;
  TrafficCounter traffic_;
};

ThreadWorld::ThreadWorld(int size, std::chrono::milliseconds deadline) {
  expects(size >= 1, "a world has at least one rank");
  for (int from = 0; from < size; ++from) {
    for (int to = 0; to < size; ++to) lanes_.push_back(std::make_unique<Lane>(from, to));
  }
  for (int rank = 0; rank < size; ++rank) {
    ranks_.push_back(std::make_unique<ThreadCommunicator>(*this, rank, deadline));
  }
}

ThreadWorld::~ThreadWorld() = default;

Communicator& ThreadWorld::rank(int rank) {
  expects(rank >= 0 && rank < size(), "a rank of the world");
  return *ranks_[static_cast<std::size_t>(rank)];
}

void ThreadWorld::leave(int rank) {
  expects(rank >= 0 && rank < size(), "a rank of the world");
  const std::string reason = str("rank {} has left", rank);
  for (int peer = 0; peer < size(); ++peer) {
    lane(rank, peer).close(reason);
    lane(peer, rank).close(reason);
  }
}

Lane& ThreadWorld::lane(int from, int to) {
  return *lanes_[static_cast<std::size_t>(from * size() + to)];
}

}  // namespace longspan
