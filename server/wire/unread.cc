#include "server/wire/unread.h"

#include "base/clock.h"

namespace quorate::server {
namespace {

constexpr Duration kPatience = 5s;
constexpr Duration kSweepInterval = 1s;

}  // namespace

void UnreadAnswers::Answer::Begin(UnreadAnswers* answers, std::function<void()> give_up) {
  Left();
  answers_ = answers;
  since_ = answers->env_.Now();
  give_up_ = std::move(give_up);
  at_ = answers->oldest_first_.insert(answers->oldest_first_.end(), this);
  if (answers->timer_ == 0) {
    answers->timer_ = answers->env_.executor.After(kSweepInterval, [answers] { answers->Sweep(); });
  }
}

void UnreadAnswers::Answer::Left() {
  if (answers_ == nullptr) return;
  answers_->oldest_first_.erase(at_);
  answers_ = nullptr;
}

void UnreadAnswers::Sweep() {
  timer_ = 0;
  // What is given up is not free at once: nothing to look at twice.
  if (short_of_room_()) {
    while (!oldest_first_.empty() && env_.Now() - oldest_first_.front()->since_ >= kPatience) {
      Answer* answer = oldest_first_.front();
      answer->Left();
      answer->give_up_();
    }
  }
  if (oldest_first_.empty()) return;
  timer_ = env_.executor.After(kSweepInterval, [this] { Sweep(); });
}

}  // namespace quorate::server
