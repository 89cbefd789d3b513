// The commands of `longspan`, one function each.
#pragma once

#include "comm/error.h"
#include "launch/options.h"

namespace longspan {

/// Reads a prompt with its sequence split over the ranks and writes a continuation. Throws Error.
ExitCode generate(const GenerateOptions& options);

/// A conversation on standard input and output, with its sequence split over the ranks. Throws
/// Error.
ExitCode chat(const ConversationOptions& options);

/// Answers the requests of a batch file, many at once, with their sequences split over the ranks.
/// Throws Error.
ExitCode run_batch(const RunBatchOptions& options);

/// Prints what a model file holds. Throws Error.
ExitCode inspect(const InspectOptions& options);

/// Makes one trace of the traces of all ranks and prints what it says in short. Throws Error.
ExitCode trace_merge(const TraceMergeOptions& options);

/// Says what session files hold, or whether they are as they were written. Throws Error.
ExitCode session(const SessionOptions& options);

/// Times a chunk's attention over the ranks by layout and strategy, and the choice of one, and
/// prints figures beside yardsticks. Throws Error.
ExitCode bench_attention(const BenchAttentionOptions& options);

/// The same of decode attention by decode strategy. Throws Error.
ExitCode bench_decode(const BenchDecodeOptions& options);

/// The same of messages between the ranks. Throws Error.
ExitCode bench_comm(const BenchCommOptions& options);

/// The same of loading a model. Throws Error.
ExitCode bench_load(const BenchLoadOptions& options);

/// The same of a model that reads prompts and writes answers. Throws Error.
ExitCode bench_model(const BenchModelOptions& options);

}  // namespace longspan
