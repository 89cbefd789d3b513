// A line of a batch file and the line that answers it, as OpenAI's batch format has them:
//
//   {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
//   {"id": "batch_req_7_9f86d081884c7d65", "custom_id": "a",
//    "response": {"status_code": 200, "request_id": ..., "body": {...}}, "error": null}
//
// The id of an answer says which line it answers: its number, and the digest of its text.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "launch/batch/batch_input.h"
#include "runtime/serving/api_error.h"
#include "runtime/serving/openai_request.h"

namespace longspan {

struct BatchLine {
  std::string custom_id;                     // empty where there is none
  std::optional<CompletionRequest> request;  // absent where the line asks for what cannot be done
  ApiError error;                            // then: why
};

/// Never throws for what a line says. `vocabulary`: of the model.
BatchLine read_batch_line(const InputLine& line, std::int64_t vocabulary);

/// Which input line an answer is for.
struct LineName {
  std::int64_t number = 0;
  std::uint64_t digest = 0;

  std::string text() const;  // "7_9f86d081884c7d65"
};

/// Lines of the output, with their ends.
std::string answer_line(const LineName& name, const std::string& custom_id,
                        const nlohmann::ordered_json& body);
std::string error_line(const LineName& name, const std::string& custom_id, ApiError error);

/// What a line of the output answers.
struct AnsweredLine {
  LineName name;
  bool failed = false;
};

/// Whether `line` could be what is left of one that answer_line() or error_line() made.
bool begins_as_answer(std::string_view line);

/// Nothing when `line` is none that answer_line() or error_line() made.
std::optional<AnsweredLine> read_answered_line(std::string_view line);

}  // namespace longspan
