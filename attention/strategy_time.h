// How long a strategy should take: the time of one layer on the slowest rank.
//
// The streamed strategies follow one recurrence, the way the streams and events of their code do:
//
//   arrival   | exchange 1 | exchange 2 | ...    starts when both ranks are free and the landing
//                                                buffer, one of two, has been read
//   compute   | own | stream 1 | stream 2 | ...  each after its arrival
//
// With equal shards that is (N - 1) max(a, c) + a, of an attention time a and a message time c (as
// in arXiv 2411.01783, which compares pass-KV and pass-Q by it); with shards and pairs as they are
// it shows what imbalance costs. Attention costs what it was measured at, to the end: neither what
// a ring of keys adds by carrying a running softmax from stream to stream is modelled, nor what
// transfers take from ranks that compute.
//
// A short chunk spends its time on what no rate says: streams that hand over, threads that wake,
// kernels on a few columns. A strategy that was probed on small chunks is therefore corrected by
// what the model was out there: in seconds, so that it counts for less the longer the chunk.
#pragma once

#include <span>

#include "attention/machine_rates.h"
#include "attention/strategy_traffic.h"

namespace longspan {

/// Seconds, of the recurrence alone. `hosts`: a number for the host of each rank of the group;
/// equal numbers share a host. `plan` is legal for the group and the heads.
double modelled_seconds(const PlannedStrategy& plan, const SplitShape& shape, const WireShape& wire,
                        std::span<const int> hosts, const MachineRates& rates);

/// The same, corrected by what was probed.
double predicted_seconds(const PlannedStrategy& plan, const SplitShape& shape,
                         const WireShape& wire, std::span<const int> hosts,
                         const MachineRates& rates);

}  // namespace longspan
