// What each decode strategy puts on the wire: exact, per rank and layer, for any owners of any row.
// The tests hold the implementations to it.
#pragma once

#include "attention/decode_batch.h"
#include "attention/strategy.h"
#include "attention/strategy_traffic.h"

namespace longspan {

/// What `rank` sends for the attention of one layer. Of `batch` only what all ranks know is read.
/// Where exchanges are prompt, a message of one sliced row is two of the same bytes, in the same
/// exchange.
Sent decode_sent_by(int rank, DecodeStrategy strategy, const DecodeBatch& batch,
                    const WireShape& wire);

}  // namespace longspan
