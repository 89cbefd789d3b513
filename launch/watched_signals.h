// The signals that end a command or a part of it, or ask for its state, as a thread waits for them.
#pragma once

#include <chrono>

namespace longspan {

/// SIGINT and SIGTERM of this thread and of every thread made from here on wait for
/// signal_within(), SIGUSR2 for state_signal_came().
void block_watched_signals();
/// Waits up to `timeout` for one of them; 0 if none came.
int signal_within(std::chrono::milliseconds timeout);

/// Whether a SIGUSR2 came since this was asked last: somebody wants to see the scheduler's state.
bool state_signal_came();

/// Gives a process that is to leave after `signal` the time it has: half a second after a Ctrl-C, a
/// tenth after SIGTERM, until the next signal at most. mpirun turns a Ctrl-C into SIGTERM a second
/// later and kills a second after that: what then remains is not for waiting.
void await_end(int signal);
/// With 130 or 143, at once; rank 0 says so in a line.
[[noreturn]] void leave_after(int signal);

}  // namespace longspan
