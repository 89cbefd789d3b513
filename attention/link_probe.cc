#include "attention/link_probe.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "comm/agreement.h"
#include "comm/error.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kSmall = 1 << 10;
constexpr std::size_t kFirstLarge = 1 << 16;
// Messages take turns in buffers of so many: what a step sends is not in a cache from last time.
constexpr std::size_t kTurns = 4;

/// The neighbours of member `index` in a ring of `members`.
std::optional<Neighbours> neighbours_in(const std::vector<int>& members, std::size_t index) {
  const std::size_t size = members.size();
  if (size < 2) return std::nullopt;
  return Neighbours{members[(index + 1) % size], members[(index + size - 1) % size]};
}

std::map<int, std::vector<int>> ranks_by_host(const std::vector<int>& hosts) {
  std::map<int, std::vector<int>> ranks;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    ranks[hosts[rank]].push_back(static_cast<int>(rank));
  }
  return ranks;
}

std::size_t index_in(const std::vector<int>& members, int rank) {
  return static_cast<std::size_t>(std::ranges::find(members, rank) - members.begin());
}

/// The largest of all ranks' values, on every rank: so that all go on in the same way.
double largest(Communicator& control, double seconds) {
  return -1e-9 * static_cast<double>(minimum(control, -std::llround(seconds * 1e9)));
}

}  // namespace

std::optional<Neighbours> neighbours_inside(const std::vector<int>& hosts, int rank) {
  const std::vector<int> members = ranks_by_host(hosts).at(hosts.at(rank));
  return neighbours_in(members, index_in(members, rank));
}

std::optional<Neighbours> neighbours_between(const std::vector<int>& hosts, int rank) {
  const auto by_host = ranks_by_host(hosts);
  const std::size_t index = index_in(by_host.at(hosts.at(rank)), rank);
  std::vector<int> members;
  for (const auto& [host, ranks] : by_host) {
    if (index >= ranks.size()) return std::nullopt;
    members.push_back(ranks[index]);
  }
  return neighbours_in(members, index_in(members, rank));
}

LinkProbe::LinkProbe(Machine& machine, std::size_t most_bytes, std::chrono::duration<double> slice)
    : machine_(machine),
      most_bytes_(std::max(most_bytes, kFirstLarge)),
      slice_(slice),
      transfer_(machine.device().new_stream()),
      compute_(machine.device().new_stream()) {
  // Touched before it is measured: untouched memory costs its first user page faults.
  const std::vector<std::byte> source(kTurns * most_bytes_, std::byte{1});
  for (Buffer* buffer : {&out_, &in_}) {
    *buffer = machine.device().allocate(source.size());
    machine.device().copy(*transfer_, buffer->bytes(), source);
  }
  transfer_->synchronize();
}

std::optional<LinkRate> LinkProbe::measure(const std::optional<Neighbours>& neighbours) {
  agreed_seconds(neighbours, kSmall);  // warms up
  const double latency = median_seconds(neighbours, kSmall, agreed_seconds(neighbours, kSmall));
  std::size_t bytes = kFirstLarge;
  double expected = agreed_seconds(neighbours, bytes);
  while (expected < slice_.count() / 10 && bytes * 2 <= most_bytes_) {
    bytes *= 2;
    expected = agreed_seconds(neighbours, bytes);
  }
  const double large = median_seconds(neighbours, bytes, expected);
  if (!neighbours) return std::nullopt;
  // A link so fast that latency hides the bytes is as fast as the whole exchange says.
  const double moving = large > 2 * latency ? large - latency : large;
  return LinkRate{latency, static_cast<double>(bytes) / std::max(moving, 1e-9)};
}

double LinkProbe::exchange_seconds(const Neighbours& neighbours, std::size_t bytes) {
  turn_ = (turn_ + 1) % kTurns;
  const Bytes out = out_.bytes().subspan(turn_ * most_bytes_, bytes);
  const Bytes in = in_.bytes().subspan(turn_ * most_bytes_, bytes);
  const auto start = Clock::now();
  machine_.data().exchange(*transfer_, {{neighbours.next, out}}, {{neighbours.previous, in}});
  compute_->wait(transfer_->record());
  compute_->synchronize();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double LinkProbe::agreed_seconds(const std::optional<Neighbours>& neighbours, std::size_t bytes) {
  return largest(machine_.control(), neighbours ? exchange_seconds(*neighbours, bytes) : 0);
}

/// As many rounds as fit the slice by what all ranks expect, hence as many on all ranks.
double LinkProbe::median_seconds(const std::optional<Neighbours>& neighbours, std::size_t bytes,
                                 double expected) {
  const double rounds = std::clamp(slice_.count() / std::max(expected, 1e-9), 3.0, 300.0);
  std::vector<double> seconds;
  for (int round = 0; neighbours && round < static_cast<int>(rounds); ++round) {
    seconds.push_back(exchange_seconds(*neighbours, bytes));
  }
  if (seconds.empty()) return 0;
  std::ranges::nth_element(seconds, seconds.begin() + std::ssize(seconds) / 2);
  return seconds[seconds.size() / 2];
}

}  // namespace longspan
