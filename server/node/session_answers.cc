#include "server/node/session_answers.h"

namespace quorate::server {

void SessionAnswers::Begin(uint64_t session, Instant now) {
  Expire(now);
  if (!answers_.try_emplace(session).second) return;
  order_.emplace_back(now, session);
  if (answers_.size() > max_) DropOldest();
}

void SessionAnswers::Finish(uint64_t session, v1::SessionCommitResponse response) {
  const auto it = answers_.find(session);
  if (it != answers_.end()) it->second = std::move(response);
}

SessionAnswers::Found SessionAnswers::Find(uint64_t session) const {
  const auto it = answers_.find(session);
  if (it == answers_.end()) return {};
  return {true, it->second};
}

void SessionAnswers::Expire(Instant now) {
  while (!order_.empty() && order_.front().first + limits::kNameRetention < now) DropOldest();
}

void SessionAnswers::DropOldest() {
  answers_.erase(order_.front().second);
  order_.pop_front();
}

}  // namespace quorate::server
