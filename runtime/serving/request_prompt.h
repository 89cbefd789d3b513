// What a request wants to be gone on from: the messages of a chat, or prompts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/serving/openai_request.h"
#include "runtime/serving/request_fields.h"

namespace longspan {

/// All throw ApiRefusal, which names the place: "messages[3].content[0].type".

/// `prompt`: a string, token ids, or an array of either; one at least, none of them empty.
std::vector<CompletionPrompt> read_prompts(RequestFields& fields, std::int64_t vocabulary);
/// `messages`: one at least, the text parts of each as one text.
std::vector<ChatMessage> read_messages(RequestFields& fields);
/// `array`, at `param`, as token ids.
std::vector<TokenId> read_token_ids(const nlohmann::json& array, const std::string& param,
                                    std::int64_t vocabulary);

}  // namespace longspan
