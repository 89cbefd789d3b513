// `longspan session`: what session files hold, read on this machine alone.
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/launcher.h"
#include "comm/machine.h"
#include "comm/str.h"
#include "launch/commands.h"
#include "launch/progress.h"
#include "runtime/session/session_folder.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

/// "2026-11-27 16:20:05 UTC"
std::string time_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[64];
  const std::size_t length = std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return {text, length};
}

std::string size_text(const SessionIndex& index) {
  return human_bytes(static_cast<std::int64_t>(index.part_bytes()));
}

/// Of files with keys and values.
std::vector<std::string> missing_names(const std::filesystem::path& file,
                                       const SessionIndex& index) {
  std::vector<std::string> names;
  for (const auto& path : missing_parts(file, index)) names.push_back(path.filename().string());
  return names;
}

/// A line where keys and values are gone, else nothing.
std::string missing_text(const std::filesystem::path& file, const SessionIndex& index) {
  const std::vector<std::string> names = missing_names(file, index);
  if (names.empty()) return "";
  return str("  its keys and values are gone: {}{} missing; --recompute reads its tokens again\n",
             names.front(), names.size() == 1 ? " is" : str(" and {} more are", names.size() - 1));
}

json json_of(const std::filesystem::path& file, const SessionIndex& index) {
  return {{"file", file.string()},
          {"tokens", index.tokens.size()},
          {"computed_tokens", index.computed},
          {"messages", index.messages.size()},
          {"model", index.model},
          {"model_digest", hex(index.terms.model_digest)},
          {"kv_dtype", name(index.terms.kv_type)},
          {"kv_bytes", index.part_bytes()},
          {"page_tokens", index.page_tokens},
          {"pages", index.pages()},
          {"parts", index.parts.size()},
          {"layers", index.terms.layers},
          {"kv_heads", index.terms.kv_heads},
          {"head_dim", index.terms.head_dim},
          {"rope", index.terms.rope},
          {"rope_length", index.terms.rope_length},
          {"attention", index.terms.attention},
          {"salt", index.terms.salt},
          {"saved_at", index.saved_at},
          {"missing", missing_names(file, index)}};
}

void print(const json& object) {
  std::cout << object.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
}

/// A damaged session is a line of the list, and not its end.
void list(const SessionOptions& options) {
  const std::filesystem::path folder = options.path;
  for (const std::filesystem::path& file : sessions_in(folder)) {
    try {
      const SessionIndex index = read_index(file);
      if (options.json) {
        print(json_of(file, index));
        continue;
      }
      std::cout << str("{:<32} {:>11} tokens {:>10} {:<8}  {}  {}\n", file.filename().string(),
                       with_thousands(std::ssize(index.tokens)), size_text(index),
                       name(index.terms.kv_type), time_text(index.saved_at), index.model)
                << missing_text(file, index);
    } catch (const Error& error) {
      if (options.json) {
        print({{"file", file.string()}, {"error", error.what()}});
      } else {
        std::cout << str("{:<32} {}\n", file.filename().string(), error.what());
      }
    }
  }
}

void show(const SessionOptions& options) {
  const SessionIndex index = read_index(options.path);
  if (options.json) return print(json_of(options.path, index));
  const SessionTerms& terms = index.terms;
  const std::string kind = index.messages.empty()
                               ? std::string("a text")
                               : str("a conversation of {} messages", index.messages.size());
  std::cout << str("{}: {}\n", options.path, kind)
            << str("  tokens      {}, {} of them computed\n",
                   with_thousands(std::ssize(index.tokens)), with_thousands(index.computed))
            << str("  saved       {}\n", time_text(index.saved_at))
            << str("  model       {}, digest {}\n", index.model, shortened(terms.model_digest))
            << str("  KV          {}, {} in {} pages of {} tokens, {} part{}\n",
                   name(terms.kv_type), size_text(index), with_thousands(index.pages()),
                   index.page_tokens, index.parts.size(), index.parts.size() == 1 ? "" : "s")
            << str("  shape       {} layers, {} KV heads of {}\n", terms.layers, terms.kv_heads,
                   terms.head_dim)
            << str("  RoPE        {}{}\n", terms.rope,
                   terms.rope_length > 0
                       ? str(", for a length of {} tokens", with_thousands(terms.rope_length))
                       : "")
            << str("  attention   {}\n", terms.attention) << missing_text(options.path, index);
}

void verify(const SessionOptions& options) {
  const SessionIndex index = read_index(options.path);
  verify_session(options.path, index);
  if (options.json) return print({{"file", options.path}, {"pages", index.pages()}});
  std::cout << str("{}: {} pages, {}, all as they were written\n", options.path,
                   with_thousands(index.pages()), size_text(index));
}

}  // namespace

ExitCode session(const SessionOptions& options) {
  if (announced_rank() != 0) return ExitCode::kClean;
  switch (options.action) {
    case SessionAction::kList:
      list(options);
      break;
    case SessionAction::kShow:
      show(options);
      break;
    case SessionAction::kVerify:
      verify(options);
      break;
  }
  return ExitCode::kClean;
}

}  // namespace longspan
