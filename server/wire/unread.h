// UnreadAnswers: the calls whose answers are with gRPC and have not left. Nothing says how long a
// client takes to read, and until it has, the node holds the answer for it. When clients together
// hold so much that others are short of room, the answers that have waited for the longest are
// given up.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <list>
#include <utility>

#include "base/env.h"

namespace quorate::server {

class UnreadAnswers {
 public:
  // `env` outlives the object, which outlives the answers. `short_of_room`: whether others are.
  UnreadAnswers(Env& env, std::function<bool()> short_of_room)
      : env_(env), short_of_room_(std::move(short_of_room)) {}
  UnreadAnswers(const UnreadAnswers&) = delete;
  ~UnreadAnswers() { env_.executor.Cancel(timer_); }

  // One answer, from when gRPC has it until the object ends.
  class Answer {
   public:
    Answer() = default;
    Answer(const Answer&) = delete;
    ~Answer() { Left(); }
    // `give_up` is called at most once, later, and ends the call.
    void Begin(UnreadAnswers* answers, std::function<void()> give_up);
    void Left();

   private:
    friend class UnreadAnswers;
    UnreadAnswers* answers_ = nullptr;  // while it is there
    Instant since_;
    std::function<void()> give_up_;
    std::list<Answer*>::iterator at_;
  };

 private:
  void Sweep();

  Env& env_;
  const std::function<bool()> short_of_room_;
  std::list<Answer*> oldest_first_;
  TimerId timer_ = 0;  // runs while there are some
};

}  // namespace quorate::server
