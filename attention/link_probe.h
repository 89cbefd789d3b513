// Times messages between neighbours, all ranks at once. The part of calibration that needs the
// other ranks.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "attention/machine_rates.h"
#include "comm/machine.h"

namespace longspan {

/// Whom a rank sends to and receives from.
struct Neighbours {
  int next;
  int previous;
};

/// Of `rank` in a ring of the ranks of its host; nothing if it is alone there. `hosts`: a number
/// for the host of each rank.
std::optional<Neighbours> neighbours_inside(const std::vector<int>& hosts, int rank);
/// In a ring over the hosts, of the ranks that are as many-eth on theirs; nothing with one host, or
/// if some host has no such rank.
std::optional<Neighbours> neighbours_between(const std::vector<int>& hosts, int rank);

class LinkProbe {
 public:
  /// Messages up to `most_bytes`; each figure takes about `slice`. Allocates.
  LinkProbe(Machine& machine, std::size_t most_bytes, std::chrono::duration<double> slice);

  /// All ranks call it, in the same order; the ranks without neighbours wait for the others.
  /// What this rank saw: nothing without neighbours.
  std::optional<LinkRate> measure(const std::optional<Neighbours>& neighbours);

 private:
  double exchange_seconds(const Neighbours& neighbours, std::size_t bytes);
  double agreed_seconds(const std::optional<Neighbours>& neighbours, std::size_t bytes);
  double median_seconds(const std::optional<Neighbours>& neighbours, std::size_t bytes,
                        double expected);

  Machine& machine_;
  const std::size_t most_bytes_;
  const std::chrono::duration<double> slice_;
  Buffer out_, in_;
  std::size_t turn_ = 0;
  std::unique_ptr<Stream> transfer_;
  std::unique_ptr<Stream> compute_;
};

}  // namespace longspan
